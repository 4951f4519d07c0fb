//! One line of the audit log, and the hash that chains it to the line before.

use jiff::Timestamp;
use ring::digest::{Context, SHA256};

/// What comes before the first line.
pub(crate) const BEGINNING: [u8; 32] = [0; 32];

/// Who did what, from where, to what, and how it was before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its place, from 1 on, without gaps.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who: the id of a key, `cli:<user>`, `system` or `anonymous`.
    pub actor: String,
    /// From which address.
    pub address: Option<String>,
    /// What: `key.create`, `team.update`, `permission.refused`.
    pub action: String,
    /// To what: `key:key_…`.
    pub object: String,
    /// How it was before, as JSON.
    pub before: Option<String>,
    /// How it was after, as JSON; of a refusal, why and how often.
    pub after: Option<String>,
    /// The hash of the line before.
    pub previous_hash: [u8; 32],
    /// The hash of all of the above.
    pub hash: [u8; 32],
}

impl AuditLine {
    /// What the hash must be.
    pub(crate) fn computed_hash(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(b"tidegate audit 1");
        context.update(&self.previous_hash);
        context.update(&self.sequence.to_be_bytes());
        context.update(&self.at.as_millisecond().to_be_bytes());
        let fields = [
            Some(&self.actor),
            self.address.as_ref(),
            Some(&self.action),
            Some(&self.object),
            self.before.as_ref(),
            self.after.as_ref(),
        ];
        for field in fields {
            // The length before each field: two lines that differ only in where a field ends have two hashes.
            match field {
                None => context.update(&[0]),
                Some(text) => {
                    context.update(&[1]);
                    context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                    context.update(text.as_bytes());
                }
            }
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_hash_and_so_is_where_it_ends() {
        let line = AuditLine {
            sequence: 7,
            at: Timestamp::from_millisecond(1_000).unwrap(),
            actor: "key_1".into(),
            address: None,
            action: "key.create".into(),
            object: "key:key_2".into(),
            before: None,
            after: Some("{}".into()),
            previous_hash: BEGINNING,
            hash: BEGINNING,
        };
        let mut hashes = vec![line.computed_hash()];
        let mut other = |change: fn(&mut AuditLine)| {
            let mut changed = line.clone();
            change(&mut changed);
            hashes.push(changed.computed_hash());
        };
        other(|line| line.sequence = 8);
        other(|line| line.at = Timestamp::from_millisecond(1_001).unwrap());
        other(|line| line.actor = "key_2".into());
        other(|line| line.address = Some(String::new()));
        other(|line| line.action = "key.creat".into());
        other(|line| (line.action, line.object) = ("key.creat".into(), "ekey:key_2".into()));
        other(|line| line.before = Some("{}".into()));
        other(|line| (line.before, line.after) = (Some("{}".into()), None));
        other(|line| line.previous_hash = [1; 32]);
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }
}
