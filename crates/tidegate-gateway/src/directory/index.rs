//! How keys are found: by the hash of their secret, by the one before the last rotation, and by their id.
//!
//! What is looked for stands in the key itself, so that each table holds no more than a pointer to a key.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidegate_store::{KeyHash, KeyId};

use super::ActiveKey;

/// Keys are spread over so many tables, so that a change of one holds up few callers, and so that a table that grows is a
/// small one.
const SHARDS: usize = 64;

/// Room is made for so many keys at most, whatever was counted.
const MOST_EXPECTED: usize = 1 << 24;

/// All keys.
#[derive(Debug)]
pub(super) struct KeyIndex {
    hashes: [RwLock<HashSet<ByHash, HashIsHash>>; SHARDS],
    ids: [RwLock<HashSet<ById>>; SHARDS],
    /// By hashes that were replaced: few, as they work no longer than the time of grace.
    previous_hashes: RwLock<HashMap<KeyHash, Arc<ActiveKey>>>,
}

/// A hash of a secret needs no other: nobody can choose it.
type HashIsHash = BuildHasherDefault<LastBytes>;

/// The last eight bytes.
#[derive(Debug, Default)]
struct LastBytes(u64);

#[derive(Debug)]
struct ByHash(Arc<ActiveKey>);

#[derive(Debug)]
struct ById(Arc<ActiveKey>);

impl Default for KeyIndex {
    fn default() -> Self {
        Self {
            hashes: std::array::from_fn(|_| RwLock::default()),
            ids: std::array::from_fn(|_| RwLock::default()),
            previous_hashes: RwLock::default(),
        }
    }
}

impl KeyIndex {
    /// Makes room for so many, as to grow means to look at every key again.
    pub(super) fn expect(&self, count: usize) {
        let each = count.min(MOST_EXPECTED).div_ceil(SHARDS);
        for shard in &self.hashes {
            let mut shard = write(shard);
            let more = each.saturating_sub(shard.len());
            shard.reserve(more);
        }
        for shard in &self.ids {
            let mut shard = write(shard);
            let more = each.saturating_sub(shard.len());
            shard.reserve(more);
        }
    }

    /// The key whose secret has this hash, or had it before the last rotation.
    pub(super) fn find(&self, hash: &KeyHash) -> Option<Arc<ActiveKey>> {
        let current = read(self.shard(hash)).get(hash).map(|found| Arc::clone(&found.0));
        current.or_else(|| read(&self.previous_hashes).get(hash).map(Arc::clone))
    }

    /// The key with this id.
    pub(super) fn with_id(&self, id: &KeyId) -> Option<Arc<ActiveKey>> {
        read(self.id_shard(id)).get(id).map(|found| Arc::clone(&found.0))
    }

    /// Puts a key in the place of what there was under its id.
    pub(super) fn put(&self, key: &Arc<ActiveKey>) {
        let before = write(self.id_shard(&key.id)).replace(ById(Arc::clone(key)));
        // The new ones first: a key whose name alone changes works at every moment.
        write(self.shard(&key.hash)).replace(ByHash(Arc::clone(key)));
        let previous = |key: &ActiveKey| key.previous.as_ref().map(|previous| previous.0);
        if let Some(hash) = previous(key) {
            write(&self.previous_hashes).insert(hash, Arc::clone(key));
        }
        let Some(ById(before)) = before else { return };
        if before.hash != key.hash {
            write(self.shard(&before.hash)).remove(&before.hash);
        }
        if let Some(hash) = previous(&before).filter(|hash| previous(key) != Some(*hash)) {
            write(&self.previous_hashes).remove(&hash);
        }
    }

    fn shard(&self, hash: &KeyHash) -> &RwLock<HashSet<ByHash, HashIsHash>> {
        &self.hashes[usize::from(hash.0[0]) % SHARDS]
    }

    /// By the id's last character and the one before: those at the front are the time.
    fn id_shard(&self, id: &KeyId) -> &RwLock<HashSet<ById>> {
        let folded =
            id.as_str().bytes().rev().take(2).fold(0, |folded, byte| folded * 31 + usize::from(byte));
        &self.ids[folded % SHARDS]
    }
}

impl Hasher for LastBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    }

    /// The length that comes before the bytes.
    fn write_usize(&mut self, _length: usize) {}
}

impl Borrow<KeyHash> for ByHash {
    fn borrow(&self) -> &KeyHash {
        &self.0.hash
    }
}

impl Hash for ByHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash.hash(state);
    }
}

impl PartialEq for ByHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for ByHash {}

impl Borrow<KeyId> for ById {
    fn borrow(&self) -> &KeyId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

// A panic while a table is being changed cannot leave it half changed: every change is one insertion or removal.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
