//! Records that wait a moment, so that they are one write: those that are alike in one frame. Filled and emptied under the
//! lock of the journal's [end](super::append).

use super::{Record, frame, group};

/// Kinds of calls that are told apart; whatever else comes begins anew.
const MOST_GROUPS: usize = 4;
/// A frame that is damaged costs no more calls than this.
const MOST_IN_GROUP: usize = 64;
/// Room that is kept for the next ones.
const MOST_KEPT_ROOM: usize = 64 << 10;

/// What is gathered.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Whole frames.
    bytes: Vec<u8>,
    /// Where each of them ends, and how many records are in it.
    ends: Vec<(usize, usize)>,
    groups: Vec<Group>,
}

/// A frame that is still open, behind the room for its header.
#[derive(Debug)]
struct Group {
    frame: Vec<u8>,
    /// How many bytes of it are what its calls have in common.
    common: usize,
    records: usize,
}

impl Gathering {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.groups.is_empty()
    }

    pub(super) fn add(&mut self, record: &Record) {
        match record {
            Record::Alone(frame) => self.put(frame, 1),
            Record::Alike(call) => {
                let open = self.groups.iter_mut().find(|group| group.takes(call));
                if let Some(open) = open {
                    open.frame.extend_from_slice(call.own());
                    open.records += 1;
                    return;
                }
                if self.groups.len() >= MOST_GROUPS {
                    let oldest = self.groups.remove(0);
                    self.close(oldest);
                }
                self.groups.push(Group::of(call));
            }
        }
    }

    /// Takes out all frames, with where each ends and how many records are in it.
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<(usize, usize)>) {
        for group in std::mem::take(&mut self.groups) {
            self.close(group);
        }
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends))
    }

    /// Takes back the room, to be used again.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>, mut ends: Vec<(usize, usize)>) {
        bytes.clear();
        bytes.shrink_to(MOST_KEPT_ROOM);
        ends.clear();
        (self.bytes, self.ends) = (bytes, ends);
    }

    fn close(&mut self, Group { mut frame, records, .. }: Group) {
        if frame::seal(&mut frame).is_some() {
            self.put(&frame, records);
        } else {
            // Its limits exclude that.
            tracing::error!(records, "entries of the ledger could not be encoded and are lost");
            self.put(&[], records);
        }
    }

    fn put(&mut self, frame: &[u8], records: usize) {
        self.bytes.extend_from_slice(frame);
        self.ends.push((self.bytes.len(), records));
    }
}

impl Group {
    fn of(call: &group::Alike) -> Self {
        let mut frame = frame::begin(group::VERSION);
        frame.extend_from_slice(call.common());
        frame.extend_from_slice(call.own());
        Self { frame, common: call.common().len(), records: 1 }
    }

    fn takes(&self, call: &group::Alike) -> bool {
        let common = self.frame.get(frame::HEADER_BYTES..frame::HEADER_BYTES + self.common);
        self.records < MOST_IN_GROUP
            && self.frame.len() + call.own().len() <= frame::MAX_PAYLOAD_BYTES
            && common == Some(call.common())
    }
}
