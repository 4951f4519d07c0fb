//! The places that calls take, shared by all workers.
//!
//! While there is room, taking and giving back a place is one atomic operation each, on a number that holds both how many
//! places are taken and how many calls wait. Only when calls wait, or have to, the queue's lock is taken, and never
//! across an await. A place that becomes free is handed to who is next, so that nobody who comes later gets it first.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_config::Settings;
use tidegate_policy::{AdmissionQueue, Priority, Queued, Ticket};
use tokio::sync::oneshot;

use super::refusal::NoPlace;
use super::waiting::Waiting;
use crate::admit::Principal;
use crate::error::GatewayError;
use crate::series::QueueSeries;

/// Whose turn is whose within an organisation: a key, the bearer of a token, or the address of somebody who needs neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Party {
    pub(super) name: Arc<str>,
    pub(super) address: Option<IpAddr>,
}

/// The organisation of a caller who has one: organisations take turns, however many keys they have.
pub(super) type Organization = Option<Arc<str>>;

impl Party {
    fn of(principal: &Principal) -> Self {
        let actor = principal.actor();
        let is_known = principal.organization().is_some();
        Self { name: actor.name, address: actor.address.filter(|_| !is_known) }
    }
}

/// The places for calls, and those who wait for one. One for the whole process.
#[derive(Debug)]
pub struct Places {
    /// How many places are taken, and how many calls wait. The latter changes under the lock only.
    state: AtomicU64,
    most: AtomicUsize,
    line: Mutex<Line>,
    pub(super) series: QueueSeries,
}

/// What the lock protects.
#[derive(Debug, Default)]
struct Line {
    queue: AdmissionQueue<Organization, Party, oneshot::Sender<Place>>,
    longest: usize,
    patience: Duration,
}

/// How full it is, for `/health/ready` and `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacesStatus {
    /// How many calls may be worked on at once.
    pub most: usize,
    /// How many are.
    pub taken: usize,
    /// How many interactive calls wait.
    pub interactive: usize,
    /// How many batch calls wait.
    pub batch: usize,
    /// Whether calls are turned away for want of room.
    pub is_full: bool,
}

/// The two halves of the state.
#[derive(Debug, Clone, Copy)]
struct State {
    waiting: u32,
    taken: u32,
}

impl State {
    fn unpack(packed: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
        Self { waiting: half(packed >> 32), taken: half(packed & u64::from(u32::MAX)) }
    }

    fn pack(self) -> u64 {
        (u64::from(self.waiting) << 32) | u64::from(self.taken)
    }

    fn taken(self) -> usize {
        usize::try_from(self.taken).unwrap_or(usize::MAX)
    }

    fn is_free(self, most: usize) -> bool {
        self.waiting == 0 && self.taken() < most
    }
}

impl Places {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        let places = Self::empty();
        places.resize(settings);
        places
    }

    /// Without any place.
    pub(super) fn empty() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU64::new(0),
            most: AtomicUsize::new(0),
            line: Mutex::new(Line::default()),
            series: QueueSeries::new(),
        })
    }

    /// Other settings are in force. Nobody who has a place, or waits for one, is turned away for it.
    pub(crate) fn resize(self: &Arc<Self>, settings: &Settings) {
        let (queue, most) = (&settings.server.queue, settings.server.max_calls);
        self.set(most, queue.length, queue.wait);
    }

    pub(super) fn set(self: &Arc<Self>, most: usize, longest: usize, patience: Duration) {
        let mut line = self.line();
        self.most.store(most, Ordering::Relaxed);
        (line.longest, line.patience) = (longest, patience);
        drop(line);
        // There may be more places than before.
        while let Some(next) = self.next_for_one_more() {
            // Who has gone in this moment drops the place, which then goes to the next.
            drop(next.send(self.place()));
        }
    }

    /// A place, if one is free and nobody waits.
    pub fn try_take(self: &Arc<Self>) -> Option<Place> {
        let most = self.most.load(Ordering::Relaxed);
        self.update(|state| {
            state.is_free(most).then_some(State { taken: state.taken.saturating_add(1), ..state })
        })
        .ok()
        .map(|_| self.place())
    }

    /// Whether a call that came now would have a place.
    pub(crate) fn has_room(&self) -> bool {
        self.state().is_free(self.most.load(Ordering::Relaxed))
    }

    /// Lets a call wait for a place, for no longer than it has time itself.
    pub fn wait(
        self: &Arc<Self>,
        principal: &Principal,
        priority: Priority,
        time: Option<Duration>,
    ) -> Result<Waiting, NoPlace> {
        let organization = principal.organization().map(|it| Arc::clone(it.id.shared()));
        self.wait_as(organization, Party::of(principal), priority, time)
    }

    pub(super) fn wait_as(
        self: &Arc<Self>,
        organization: Organization,
        party: Party,
        priority: Priority,
        time: Option<Duration>,
    ) -> Result<Waiting, NoPlace> {
        let (sender, granted) = oneshot::channel();
        let mut line = self.line();
        let patience = line.patience.min(time.unwrap_or(Duration::MAX));
        let waiting = |ticket| Waiting::new(Arc::clone(self), granted, priority, ticket, patience);
        // A place may have become free since the caller looked. Where none has, the call is counted in the same step:
        // whoever gives back a place from then on comes to the lock.
        let most = self.most.load(Ordering::Relaxed);
        let before = self.update(|state| {
            Some(if state.is_free(most) {
                State { taken: state.taken.saturating_add(1), ..state }
            } else {
                State { waiting: state.waiting.saturating_add(1), ..state }
            })
        });
        if before.is_ok_and(|state| state.is_free(most)) {
            drop(line);
            // Its receiver is here, in `waiting`.
            drop(sender.send(self.place()));
            return Ok(waiting(None));
        }
        let longest = line.longest;
        match line.queue.push(longest, organization, party, priority, sender) {
            Queued::Waits(ticket) => Ok(waiting(Some(ticket))),
            Queued::Displaces(ticket, displaced) => {
                self.count_out();
                drop(line);
                self.series.refused(displaced.priority, NoPlace::Displaced);
                // What it waits on is dropped, and so it hears of it.
                drop(displaced);
                Ok(waiting(Some(ticket)))
            }
            Queued::Full(_) => {
                self.count_out();
                drop(line);
                self.series.refused(priority, NoPlace::Full);
                Err(NoPlace::Full)
            }
        }
    }

    /// A call waits no longer.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut line = self.line();
        let left = line.queue.remove(ticket);
        if left.is_some() {
            self.count_out();
        }
        drop(line);
    }

    /// A call turns out to be one in the background.
    pub(super) fn make_batch(&self, ticket: Ticket) {
        self.line().queue.make_batch(ticket);
    }

    /// The error for one that got no place.
    pub fn refusal(&self, priority: Priority, why: NoPlace) -> GatewayError {
        let patience = self.line().patience;
        why.to_error(priority, patience, self.most.load(Ordering::Relaxed))
    }

    /// How full it is.
    pub fn status(&self) -> PlacesStatus {
        let line = self.line();
        let (most, taken) = (self.most.load(Ordering::Relaxed), self.state().taken());
        PlacesStatus {
            most,
            taken,
            interactive: line.queue.waiting(Priority::Interactive),
            batch: line.queue.waiting(Priority::Batch),
            is_full: taken >= most && line.queue.len() >= line.longest,
        }
    }

    /// Hands a place that is not needed any more to who is next.
    fn pass_on(self: &Arc<Self>) {
        let freed = self.update(|state| {
            (state.waiting == 0).then_some(State { taken: state.taken.saturating_sub(1), ..state })
        });
        if freed.is_ok() {
            return;
        }
        while let Some(next) = self.next_or_free() {
            match next.send(self.place()) {
                Ok(()) => return,
                // The caller has gone in this moment: the place is still to be given.
                Err(place) => place.forget(),
            }
        }
    }

    /// Who gets a place that is given back; frees it where nobody does.
    fn next_or_free(&self) -> Option<oneshot::Sender<Place>> {
        let mut line = self.line();
        let are_too_many = self.state().taken() > self.most.load(Ordering::Relaxed);
        let next = if are_too_many { None } else { line.queue.pop() };
        if next.is_some() {
            self.count_out();
        } else {
            self.state.fetch_sub(State { waiting: 0, taken: 1 }.pack(), Ordering::AcqRel);
        }
        next
    }

    /// Who gets a place that was not there before.
    fn next_for_one_more(&self) -> Option<oneshot::Sender<Place>> {
        let mut line = self.line();
        if self.state().taken() >= self.most.load(Ordering::Relaxed) {
            return None;
        }
        let next = line.queue.pop()?;
        self.count_out();
        self.state.fetch_add(State { waiting: 0, taken: 1 }.pack(), Ordering::AcqRel);
        Some(next)
    }

    /// One call less waits. Under the lock.
    fn count_out(&self) {
        self.state.fetch_sub(State { waiting: 1, taken: 0 }.pack(), Ordering::AcqRel);
    }

    fn state(&self) -> State {
        State::unpack(self.state.load(Ordering::Acquire))
    }

    /// Gives what the state was before, as an error where it stays as it is.
    fn update(&self, change: impl Fn(State) -> Option<State>) -> Result<State, State> {
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |packed| {
                change(State::unpack(packed)).map(State::pack)
            })
            .map(State::unpack)
            .map_err(State::unpack)
    }

    fn place(self: &Arc<Self>) -> Place {
        Place(Some(Arc::clone(self)))
    }

    /// The queue is whole after every step; a panic elsewhere does not spoil it.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, taken until it is dropped.
pub struct Place(Option<Arc<Places>>);

impl Place {
    /// Without giving it back.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.pass_on();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Place")
    }
}
