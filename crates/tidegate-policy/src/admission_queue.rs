//! Who waits for a place when Tidegate works on as many calls as it may, who is next, and who has to go when too many
//! wait. Used by the gateway's `queue`.
//!
//! Interactive calls go before batch calls. Within each, parties (callers) take turns, however many calls each of them
//! has waiting; the calls of one party go in the order in which they came. When the queue is full, the newest batch call
//! makes room for an interactive one, and the party that has most waiting makes room for those with less. So nobody can
//! fill the queue alone, and nothing here grows beyond the limit.

use std::collections::{BTreeMap, BTreeSet};

/// How urgent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// Nobody does: a job in the background.
    Batch,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    /// The word for headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// What a waiting call is known by; given in the order of arrival and never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What came of a call that wanted to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Queued<Item> {
    /// It waits.
    Waits(Ticket),
    /// It waits, and another call has to go for it.
    Displaces(Ticket, Displaced<Item>),
    /// There is no room for it.
    Full(Item),
}

/// A call that has to go.
#[derive(Debug, PartialEq, Eq)]
pub struct Displaced<Item> {
    /// How urgent it was.
    pub priority: Priority,
    /// What waited.
    pub item: Item,
}

/// The calls that wait.
#[derive(Debug)]
pub struct AdmissionQueue<Party, Item> {
    waiting: BTreeMap<Ticket, Waiting<Party, Item>>,
    interactive: Lane<Party>,
    batch: Lane<Party>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiting<Party, Item> {
    party: Party,
    priority: Priority,
    item: Item,
}

impl<Party: Ord + Clone, Item> Default for AdmissionQueue<Party, Item> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            interactive: Lane::default(),
            batch: Lane::default(),
            next_ticket: 0,
        }
    }
}

impl<Party: Ord + Clone, Item> AdmissionQueue<Party, Item> {
    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many calls of this urgency wait.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.lane(priority).tickets.len()
    }

    /// Lets a call wait, if it may. At most `limit` wait afterwards, or as many as did before.
    pub fn push(&mut self, limit: usize, party: Party, priority: Priority, item: Item) -> Queued<Item> {
        let mut displaced = None;
        if self.waiting.len() >= limit {
            let last = self.who_goes_for(&party, priority).filter(|_| limit > 0);
            displaced = last.and_then(|ticket| self.take(ticket));
            if displaced.is_none() {
                return Queued::Full(item);
            }
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.lane_mut(priority).insert(ticket, &party);
        self.waiting.insert(ticket, Waiting { party, priority, item });
        match displaced {
            None => Queued::Waits(ticket),
            Some(Waiting { priority, item, .. }) => Queued::Displaces(ticket, Displaced { priority, item }),
        }
    }

    /// The next whose turn it is; it waits no longer.
    pub fn pop(&mut self) -> Option<Item> {
        let ticket = self.interactive.next().or_else(|| self.batch.next())?;
        let waiting = self.take(ticket)?;
        self.lane_mut(waiting.priority).end_turn(&waiting.party);
        Some(waiting.item)
    }

    /// A call waits no longer: its caller has gone, or has waited long enough. Nothing, if it had left already.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Item> {
        self.take(ticket).map(|waiting| waiting.item)
    }

    /// A call turns out to be one in the background.
    pub fn make_batch(&mut self, ticket: Ticket) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        if waiting.priority == Priority::Batch {
            return;
        }
        waiting.priority = Priority::Batch;
        let party = waiting.party.clone();
        self.lane_mut(Priority::Interactive).remove(ticket, &party);
        self.lane_mut(Priority::Batch).insert(ticket, &party);
    }

    /// Whose call has to go when the queue is full and this one comes; `None`: this one itself.
    fn who_goes_for(&self, party: &Party, priority: Priority) -> Option<Ticket> {
        if priority == Priority::Interactive
            && let Some(newest) = self.batch.tickets.last()
        {
            return Some(*newest);
        }
        let lane = self.lane(priority);
        let own = lane.parties.get(party).map_or(0, |it| it.tickets.len());
        let (most, whose) = lane.lengths.last()?;
        // With a difference of one, the two would only change places.
        if own + 1 < *most { lane.parties.get(whose)?.tickets.last().copied() } else { None }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Waiting<Party, Item>> {
        let waiting = self.waiting.remove(&ticket)?;
        self.lane_mut(waiting.priority).remove(ticket, &waiting.party);
        Some(waiting)
    }

    fn lane(&self, priority: Priority) -> &Lane<Party> {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        }
    }

    fn lane_mut(&mut self, priority: Priority) -> &mut Lane<Party> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}

/// The calls of one urgency, by whose they are.
#[derive(Debug)]
struct Lane<Party> {
    parties: BTreeMap<Party, Share>,
    /// The parties by their turns, the next first.
    turns: BTreeMap<u64, Party>,
    /// The parties by how many calls they have waiting.
    lengths: BTreeSet<(usize, Party)>,
    /// All that wait here.
    tickets: BTreeSet<Ticket>,
    next_turn: u64,
}

/// What one party has waiting.
#[derive(Debug, Default)]
struct Share {
    turn: u64,
    tickets: BTreeSet<Ticket>,
}

impl<Party> Default for Lane<Party> {
    fn default() -> Self {
        Self {
            parties: BTreeMap::new(),
            turns: BTreeMap::new(),
            lengths: BTreeSet::new(),
            tickets: BTreeSet::new(),
            next_turn: 0,
        }
    }
}

impl<Party: Ord + Clone> Lane<Party> {
    fn next(&self) -> Option<Ticket> {
        let party = self.turns.values().next()?;
        self.parties.get(party)?.tickets.first().copied()
    }

    /// A party that was not here takes its turn after all others.
    fn insert(&mut self, ticket: Ticket, party: &Party) {
        let share = self.parties.entry(party.clone()).or_default();
        self.lengths.remove(&(share.tickets.len(), party.clone()));
        if share.tickets.is_empty() {
            share.turn = self.next_turn;
            self.turns.insert(share.turn, party.clone());
            self.next_turn += 1;
        }
        share.tickets.insert(ticket);
        self.lengths.insert((share.tickets.len(), party.clone()));
        self.tickets.insert(ticket);
    }

    fn remove(&mut self, ticket: Ticket, party: &Party) {
        let Some(share) = self.parties.get_mut(party) else { return };
        self.tickets.remove(&ticket);
        self.lengths.remove(&(share.tickets.len(), party.clone()));
        share.tickets.remove(&ticket);
        if share.tickets.is_empty() {
            self.turns.remove(&share.turn);
            self.parties.remove(party);
        } else {
            self.lengths.insert((share.tickets.len(), party.clone()));
        }
    }

    /// All others have their turns before this party has its next.
    fn end_turn(&mut self, party: &Party) {
        let Some(share) = self.parties.get_mut(party) else { return };
        self.turns.remove(&share.turn);
        share.turn = self.next_turn;
        self.turns.insert(share.turn, party.clone());
        self.next_turn += 1;
    }
}
