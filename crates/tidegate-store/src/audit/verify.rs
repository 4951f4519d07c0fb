//! Going through the whole chain, and saying what is wrong with it.

use std::fmt;

use super::BEGINNING;
use super::line::AuditLine;
use super::operations::{AuditHead, sealed_bytes};
use crate::access::Access;
use crate::credentials::MasterKey;
use crate::error::StoreError;
use crate::queries;

/// Lines that one statement brings.
const PAGE: u32 = 1_000;
/// Findings that are kept; the rest is counted.
const MAX_FINDINGS: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many lines were read.
    pub lines: u64,
    /// Up to which line the seal vouches for the log; `None` without a seal or without the master key.
    pub sealed_through: Option<u64>,
    /// What is wrong, in the order of the lines; the first hundred.
    pub findings: Vec<Finding>,
    /// How many findings there are besides.
    pub more: u64,
}

/// Something that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A line says something else than when it was written.
    Altered {
        /// Its number.
        sequence: u64,
    },
    /// A line does not follow from the line before, which is another one than when it was written.
    Unchained {
        /// Its number.
        sequence: u64,
    },
    /// Lines are missing.
    Removed {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// Lines stand after the last one.
    Added {
        /// The first of them.
        first: u64,
    },
    /// The last line is another one than the head says.
    OtherEnd {
        /// Its number.
        sequence: u64,
    },
    /// The row that says which line is the last is gone.
    NoHead,
    /// Nothing vouches for the log although a master key is configured.
    NotSealed,
    /// The seal was made with another master key, or of other lines.
    WrongSeal {
        /// The line that it is said to be of.
        sequence: u64,
    },
}

impl Verification {
    /// Whether everything is as it was written.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { sequence } => write!(formatter, "line {sequence} was altered"),
            Self::Unchained { sequence } => {
                write!(formatter, "line {sequence} does not follow from the line before it, which was replaced or altered")
            }
            Self::Removed { first, last } if first == last => write!(formatter, "line {first} was removed"),
            Self::Removed { first, last } => write!(formatter, "lines {first} to {last} were removed"),
            Self::Added { first } => write!(formatter, "line {first} and what follows was added behind the end"),
            Self::OtherEnd { sequence } => write!(formatter, "the last line, {sequence}, is not the one that was written"),
            Self::NoHead => formatter.write_str("the row that says which line is the last is gone"),
            Self::NotSealed => formatter.write_str(
                "the log has no seal although a master key is configured: it was removed, or nothing was done since the \
                 key was configured",
            ),
            Self::WrongSeal { sequence } => write!(
                formatter,
                "the seal at line {sequence} is not of this log, or was made with another master key"
            ),
        }
    }
}

impl Access {
    /// Goes through all lines of the audit log. Lines that are added meanwhile are left out.
    pub async fn verify_audit(&self) -> Result<Verification, StoreError> {
        let head = queries::audit::head(&self.database).await?;
        let mut walk = Walk::new(head.as_ref(), self.master_key.as_ref());
        // Below the first: a line with the number 0 or less must not hide.
        let mut after = i64::MIN;
        loop {
            let page = queries::audit::following(&self.database, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = i64::try_from(last.sequence).unwrap_or(i64::MAX);
            for line in &page {
                walk.line(line);
            }
        }
        if head.is_some() {
            // Lines that came while it was read are behind the head that was read; those behind the head of now are not.
            let now = queries::audit::head(&self.database).await?.map_or(0, |head| head.sequence);
            walk.end(now);
        }
        Ok(walk.verification)
    }
}

/// The state of going through.
struct Walk<'a> {
    head: Option<&'a AuditHead>,
    master_key: Option<&'a MasterKey>,
    previous: (u64, [u8; 32]),
    behind: Option<u64>,
    is_sealed: bool,
    verification: Verification,
}

impl<'a> Walk<'a> {
    fn new(head: Option<&'a AuditHead>, master_key: Option<&'a MasterKey>) -> Self {
        let verification = Verification { lines: 0, sealed_through: None, findings: Vec::new(), more: 0 };
        let mut walk =
            Self { head, master_key, previous: (0, BEGINNING), behind: None, is_sealed: false, verification };
        if head.is_none() {
            walk.find(Finding::NoHead);
        }
        walk
    }

    fn line(&mut self, line: &AuditLine) {
        let (before, hash) = self.previous;
        if self.head.is_some_and(|head| line.sequence > head.sequence) {
            self.behind.get_or_insert(line.sequence);
            return;
        }
        self.verification.lines += 1;
        if line.sequence > before + 1 {
            self.find(Finding::Removed { first: before + 1, last: line.sequence - 1 });
        } else if line.previous_hash != hash {
            self.find(Finding::Unchained { sequence: line.sequence });
        }
        if line.computed_hash() != line.hash {
            self.find(Finding::Altered { sequence: line.sequence });
        }
        if self.head.is_some_and(|head| head.sealed_sequence == line.sequence) {
            self.check_seal(line);
        }
        self.previous = (line.sequence, line.hash);
    }

    fn check_seal(&mut self, line: &AuditLine) {
        let (Some(head), Some(master_key)) = (self.head, self.master_key) else { return };
        let Some(seal) = &head.seal else { return };
        self.is_sealed = true;
        if master_key.is_seal_of(&sealed_bytes(line.sequence, &line.hash), seal) {
            self.verification.sealed_through = Some(line.sequence);
        } else {
            self.find(Finding::WrongSeal { sequence: line.sequence });
        }
    }

    /// All lines were read; the head of this moment says that the last is this one.
    fn end(&mut self, last_now: u64) {
        let Some(head) = self.head else { return };
        let (last, hash) = self.previous;
        if last < head.sequence {
            self.find(Finding::Removed { first: last + 1, last: head.sequence });
        } else if hash != head.hash {
            self.find(Finding::OtherEnd { sequence: last });
        }
        if let Some(first) = self.behind.filter(|_| last_now == head.sequence) {
            self.find(Finding::Added { first });
        }
        if self.master_key.is_some() && head.sequence > 0 && !self.is_sealed {
            match &head.seal {
                None => self.find(Finding::NotSealed),
                Some(_) => self.find(Finding::WrongSeal { sequence: head.sealed_sequence }),
            }
        }
    }

    fn find(&mut self, finding: Finding) {
        if self.verification.findings.len() < MAX_FINDINGS {
            self.verification.findings.push(finding);
        } else {
            self.verification.more += 1;
        }
    }
}
