//! How a replica comes into an era: of a Redis that is new to it, that was away, or that has lost what it knew. It brings
//! along what its calls hold and what the ledger may not have, and asks for room only when all replicas had time for that.

use uuid::Uuid;

use super::dispatch::{Dispatch, Failed, PROBE_PATIENCE};
use super::question;

/// Calls that are brought along together.
const BROUGHT_AT_A_TIME: usize = 256;

/// A command that is meant whichever era it is.
const ANY_ERA: &str = "";

/// Levels of which is told together.
const TOLD_AT_A_TIME: usize = 512;

impl Dispatch {
    /// One step into the era; whether room may be asked for. Said again, it changes nothing.
    pub(super) async fn come_in(&mut self) -> Result<bool, Failed> {
        self.look_at_ledger();
        let enter = question::enter(&Uuid::now_v7().to_string());
        let answers = self.run_in(ANY_ERA, &[enter], PROBE_PATIENCE).await?;
        self.link.set_answered();
        if let Some(era) = answers.first().and_then(|words| words.get(1))
            && *era != self.era
        {
            self.begin_anew(era.clone());
        }
        self.bring().await?;
        while self.owes() {
            self.exchange(&mut Vec::new(), false).await?;
        }
        if self.is_telling {
            self.tell().await?;
        }
        let replicas = if self.has_counted { self.link.replicas() } else { 0 };
        let texts = [self.beat(), question::joined(&self.replica, replicas)];
        let answers = self.run(&texts, PROBE_PATIENCE).await?;
        let is_open = answers.get(1).and_then(|words| words.first()).is_some_and(|word| word == "open");
        // Before all have come it would hear of too few replicas, and take too large a share if Redis went away again.
        if is_open {
            self.hear_beat(answers.first());
        }
        Ok(is_open)
    }

    /// Forgets what this Redis was to be told of calls that it does not know. What they have cost is told from what the ledger
    /// lacks.
    fn begin_anew(&mut self, era: String) {
        self.era = era;
        for settle in self.link.take_settles(usize::MAX) {
            self.outstanding.remove(&settle.call);
        }
        self.addition = None;
        drop(self.link.take_owed(usize::MAX));
        self.to_bring = self.outstanding.iter().map(|(call, held)| (*call, held.clone())).collect();
        self.is_telling = true;
        self.look_at_ledger();
    }

    /// Brings along what calls hold that Redis may not know of, those included that were let in without it.
    pub(super) async fn bring(&mut self) -> Result<(), Failed> {
        for (call, held) in self.link.take_outage_holds() {
            self.outstanding.insert(call, held.clone());
            self.to_bring.push((call, held));
        }
        while !self.to_bring.is_empty() {
            let rest = self.to_bring.len().saturating_sub(BROUGHT_AT_A_TIME);
            let text = question::bring(&self.to_bring[rest..]);
            self.run_done(text).await?;
            self.to_bring.truncate(rest);
        }
        Ok(())
    }

    /// Tells what the ledger may lack, for levels that are filled from it.
    pub(super) async fn tell(&mut self) -> Result<(), Failed> {
        self.look_at_ledger();
        let told = self.unwritten.told();
        for some in told.chunks(TOLD_AT_A_TIME) {
            self.run_done(question::tell(&self.replica, some)).await?;
        }
        self.is_telling = !told.is_empty();
        Ok(())
    }

    /// Hears what was spent, and how far the ledger is.
    pub(super) fn look_at_ledger(&mut self) {
        self.unwritten.look(self.link.take_spent(), self.link.now());
    }
}
