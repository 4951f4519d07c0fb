//! The journal's directory: its lock, its id and the segments in it.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::error::StoreError;

/// Held as long as a process uses the journal; it goes with the process, also by a crash.
const LOCK_FILE: &str = "lock";
/// Holds the id by which databases know this journal.
const ID_FILE: &str = "id";
/// What segments are called behind their number.
const SEGMENT_EXTENSION: &str = "log";

/// A journal's directory, which belongs to this process as long as this value lives.
#[derive(Debug)]
pub(in crate::ledger) struct JournalFiles {
    directory: PathBuf,
    id: String,
    lock: File,
}

impl JournalFiles {
    /// Takes the directory for this process; makes it where it does not exist.
    pub(in crate::ledger) fn open(directory: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Journal { directory: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK_FILE))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::JournalInUse { directory: directory.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let id = id_in(directory).map_err(failed)?;
        Ok(Self { directory: directory.to_owned(), id, lock })
    }

    /// The id by which databases knew this journal when it was opened.
    pub(in crate::ledger) fn id(&self) -> &str {
        &self.id
    }

    /// Gives the journal another id, by which no database knows it yet.
    pub(in crate::ledger) fn renew_id(&self) -> io::Result<String> {
        new_id_in(&self.directory)
    }

    /// Gives the directory up: another writer may take it. Nothing may be written to it any more.
    pub(in crate::ledger) fn give_up(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "the journal's lock goes with the process only");
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The segments that are there, with their sizes.
    pub(super) fn segments(&self) -> io::Result<BTreeMap<u64, u64>> {
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != SEGMENT_EXTENSION) {
                continue;
            }
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let Some(number) = number {
                segments.insert(number, entry.metadata()?.len());
            }
        }
        Ok(segments)
    }

    /// Makes a new segment.
    pub(super) fn create(&self, segment: u64) -> io::Result<File> {
        let mut options = File::options();
        options.append(true).create_new(true);
        // Who calls what is nobody else's business, in a data directory that was there before as well.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(self.path(segment))
    }

    /// Opens a segment to read it.
    pub(super) fn read(&self, segment: u64) -> io::Result<File> {
        File::open(self.path(segment))
    }

    /// Cuts a segment to this size.
    pub(super) fn cut(&self, segment: u64, bytes: u64) -> io::Result<()> {
        File::options().write(true).open(self.path(segment))?.set_len(bytes)
    }

    pub(super) fn remove(&self, segment: u64) -> io::Result<()> {
        match fs::remove_file(self.path(segment)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.directory.join(format!("{segment:08}.{SEGMENT_EXTENSION}"))
    }
}

/// The id that is there, or a new one. Written beside its place first: a crash leaves a whole id or none.
fn id_in(directory: &Path) -> io::Result<String> {
    let path = directory.join(ID_FILE);
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    new_id_in(directory)
}

fn new_id_in(directory: &Path) -> io::Result<String> {
    let id = Uuid::now_v7().simple().to_string();
    let beside = directory.join(format!("{ID_FILE}.new"));
    let mut file = File::create(&beside)?;
    file.write_all(id.as_bytes())?;
    // The only thing here that waits for the disk, once in a journal's life: without its id, all that is in the journal
    // would be written a second time.
    file.sync_all()?;
    fs::rename(beside, directory.join(ID_FILE))?;
    Ok(id)
}
