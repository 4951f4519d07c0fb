//! Who waits for a place when Tidegate works on as many calls as it may, who is next, and who has to go when too many
//! wait. Used by the gateway's `queue`.
//!
//! Interactive calls go before batch calls, but for one place in [`BATCH_TURN`]. Within each, groups (organisations) take
//! turns, and within a group its parties (callers), however many calls each of them has waiting; the calls of one party
//! go in the order in which they came. When the queue is full, the newest batch call makes room for an interactive one,
//! and the group that has most waiting makes room for those with less, likewise the party within a group. So nobody can
//! fill the queue alone, no organisation gets more by having more keys, and nothing here grows beyond the limit.

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

/// While interactive calls wait as well, every so-many-th place goes to the batch call that has waited longest: seldom
/// enough that nobody who sits before a screen notices, and often enough that a load that never ends does not keep jobs
/// waiting for ever. For the same reason a batch call does not have to go for an interactive one while those of its kind
/// have no more than this part of the queue.
pub const BATCH_TURN: usize = 10;

/// The calls that wait.
#[derive(Debug)]
pub struct AdmissionQueue<Group, Party, Item> {
    waiting: BTreeMap<Ticket, Waiting<Group, Party, Item>>,
    interactive: Lane<Group, Party>,
    batch: Lane<Group, Party>,
    next_ticket: u64,
    /// Places that went to interactive calls since a batch call waits and had none.
    passed_over: usize,
}

#[derive(Debug)]
struct Waiting<Group, Party, Item> {
    group: Group,
    party: Party,
    priority: Priority,
    item: Item,
}

impl<Group: Ord + Clone, Party: Ord + Clone, Item> Default for AdmissionQueue<Group, Party, Item> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            interactive: Lane::default(),
            batch: Lane::default(),
            next_ticket: 0,
            passed_over: 0,
        }
    }
}

impl<Group: Ord + Clone, Party: Ord + Clone, Item> AdmissionQueue<Group, Party, Item> {
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
    pub fn push(
        &mut self,
        limit: usize,
        group: Group,
        party: Party,
        priority: Priority,
        item: Item,
    ) -> Queued<Item> {
        let mut displaced = None;
        if self.waiting.len() >= limit {
            let last = self.who_goes_for(limit, &group, &party, priority).filter(|_| limit > 0);
            displaced = last.and_then(|ticket| self.take(ticket));
            if displaced.is_none() {
                return Queued::Full(item);
            }
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.lane_mut(priority).insert(ticket, &group, &party);
        self.waiting.insert(ticket, Waiting { group, party, priority, item });
        match displaced {
            None => Queued::Waits(ticket),
            Some(Waiting { priority, item, .. }) => Queued::Displaces(ticket, Displaced { priority, item }),
        }
    }

    /// The next whose turn it is; it waits no longer.
    pub fn pop(&mut self) -> Option<Item> {
        let longest = self.batch.tickets.first().copied();
        let is_batch_due = longest.is_some() && self.passed_over + 1 >= BATCH_TURN;
        let interactive = self.interactive.next().filter(|_| !is_batch_due);
        let turn = || if is_batch_due { longest } else { self.batch.next() };
        let ticket = interactive.or_else(turn)?;
        let waiting = self.take(ticket)?;
        let is_passed_over = waiting.priority == Priority::Interactive && longest.is_some();
        self.passed_over = if is_passed_over { self.passed_over + 1 } else { 0 };
        self.lane_mut(waiting.priority).end_turn(&waiting.group, &waiting.party);
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
        let (group, party) = (waiting.group.clone(), waiting.party.clone());
        self.lane_mut(Priority::Interactive).remove(ticket, &group, &party);
        self.lane_mut(Priority::Batch).insert(ticket, &group, &party);
    }

    /// Whose call has to go when the queue is full and this one comes; `None`: this one itself.
    fn who_goes_for(&self, limit: usize, group: &Group, party: &Party, priority: Priority) -> Option<Ticket> {
        if priority == Priority::Interactive && self.batch.tickets.len() > limit / BATCH_TURN {
            return self.batch.tickets.last().copied();
        }
        let groups = &self.lane(priority).groups;
        let gives_way = groups.who_gives_way(group).and_then(Line::last_ticket);
        gives_way.or_else(|| groups.share(group)?.who_gives_way(party)?.last_ticket())
    }

    fn take(&mut self, ticket: Ticket) -> Option<Waiting<Group, Party, Item>> {
        let waiting = self.waiting.remove(&ticket)?;
        self.lane_mut(waiting.priority).remove(ticket, &waiting.group, &waiting.party);
        Some(waiting)
    }

    fn lane(&self, priority: Priority) -> &Lane<Group, Party> {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        }
    }

    fn lane_mut(&mut self, priority: Priority) -> &mut Lane<Group, Party> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}

/// The calls of one urgency, by whose they are.
#[derive(Debug)]
struct Lane<Group, Party> {
    groups: Rota<Group, Rota<Party, BTreeSet<Ticket>>>,
    /// All that wait here.
    tickets: BTreeSet<Ticket>,
}

impl<Group, Party> Default for Lane<Group, Party> {
    fn default() -> Self {
        Self { groups: Rota::default(), tickets: BTreeSet::new() }
    }
}

impl<Group: Ord + Clone, Party: Ord + Clone> Lane<Group, Party> {
    fn next(&self) -> Option<Ticket> {
        self.groups.next_ticket()
    }

    fn insert(&mut self, ticket: Ticket, group: &Group, party: &Party) {
        self.groups.change(group, |parties| parties.change(party, |tickets| tickets.insert(ticket)));
        self.tickets.insert(ticket);
    }

    fn remove(&mut self, ticket: Ticket, group: &Group, party: &Party) {
        self.groups.change(group, |parties| parties.change(party, |tickets| tickets.remove(&ticket)));
        self.tickets.remove(&ticket);
    }

    fn end_turn(&mut self, group: &Group, party: &Party) {
        self.groups.change(group, |parties| parties.end_turn(party));
        self.groups.end_turn(group);
    }
}

/// Calls that wait, of somebody or of several.
trait Line: Default {
    fn count(&self) -> usize;
    /// Whose turn is next.
    fn next_ticket(&self) -> Option<Ticket>;
    /// The newest of whoever has most.
    fn last_ticket(&self) -> Option<Ticket>;
}

/// One party's calls, in the order in which they came.
impl Line for BTreeSet<Ticket> {
    fn count(&self) -> usize {
        self.len()
    }

    fn next_ticket(&self) -> Option<Ticket> {
        self.first().copied()
    }

    fn last_ticket(&self) -> Option<Ticket> {
        self.last().copied()
    }
}

/// Those who take turns, each with what it has waiting.
#[derive(Debug)]
struct Rota<Key, Share> {
    shares: BTreeMap<Key, (u64, Share)>,
    /// By their turns, the next first.
    turns: BTreeMap<u64, Key>,
    /// By how many calls they have waiting.
    lengths: BTreeSet<(usize, Key)>,
    next_turn: u64,
    count: usize,
}

impl<Key, Share> Default for Rota<Key, Share> {
    fn default() -> Self {
        Self {
            shares: BTreeMap::new(),
            turns: BTreeMap::new(),
            lengths: BTreeSet::new(),
            next_turn: 0,
            count: 0,
        }
    }
}

impl<Key: Ord + Clone, Share: Line> Line for Rota<Key, Share> {
    fn count(&self) -> usize {
        self.count
    }

    fn next_ticket(&self) -> Option<Ticket> {
        self.share(self.turns.values().next()?)?.next_ticket()
    }

    fn last_ticket(&self) -> Option<Ticket> {
        self.share(&self.lengths.last()?.1)?.last_ticket()
    }
}

impl<Key: Ord + Clone, Share: Line> Rota<Key, Share> {
    fn share(&self, key: &Key) -> Option<&Share> {
        self.shares.get(key).map(|(_, share)| share)
    }

    /// Whose calls are more than one call of this one more would be; with a difference of one, the two would only change
    /// places.
    fn who_gives_way(&self, key: &Key) -> Option<&Share> {
        let own = self.share(key).map_or(0, Line::count);
        let (most, whose) = self.lengths.last()?;
        if own + 1 < *most { self.share(whose) } else { None }
    }

    /// Changes what one of them has waiting. Who was not here takes its turn after all others; who has nothing left goes.
    fn change<R>(&mut self, key: &Key, change: impl FnOnce(&mut Share) -> R) -> R {
        let (turn, share) = self.shares.entry(key.clone()).or_default();
        let before = share.count();
        let outcome = change(share);
        let after = share.count();
        self.lengths.remove(&(before, key.clone()));
        self.count = self.count + after - before;
        if after == 0 {
            if before > 0 {
                self.turns.remove(turn);
            }
            self.shares.remove(key);
            return outcome;
        }
        self.lengths.insert((after, key.clone()));
        if before == 0 {
            *turn = self.next_turn;
            self.turns.insert(*turn, key.clone());
            self.next_turn += 1;
        }
        outcome
    }

    /// All others have their turns before this one has its next.
    fn end_turn(&mut self, key: &Key) {
        let Some((turn, _)) = self.shares.get_mut(key) else { return };
        self.turns.remove(turn);
        *turn = self.next_turn;
        self.turns.insert(*turn, key.clone());
        self.next_turn += 1;
    }
}
