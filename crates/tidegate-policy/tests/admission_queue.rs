//! Properties of the queue for a place: what comes in goes out once, in the right order, nobody fills it alone, and nobody
//! waits in it for ever.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidegate_policy::{AdmissionQueue, BATCH_TURN, Displaced, Priority, Queued, Ticket};

/// A group, and a party of it.
type Who = (u8, u8);

/// Something that happens to the queue.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A call of this party comes.
    Push(Who, Priority),
    /// A place is free.
    Pop,
    /// One of those who wait goes away.
    Leave(usize),
    /// One of those who wait turns out to be one in the background.
    MakeBatch(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let priority = prop_oneof![2 => Just(Priority::Interactive), 1 => Just(Priority::Batch)];
    // Group 0 asks as often as all others together, and so does the first party of each.
    let group = prop_oneof![Just(0u8), 1u8..4];
    let party = prop_oneof![Just(0u8), 1u8..4];
    let event = prop_oneof![
        6 => ((group, party), priority).prop_map(|(who, priority)| Event::Push(who, priority)),
        3 => Just(Event::Pop),
        1 => any::<usize>().prop_map(Event::Leave),
        1 => any::<usize>().prop_map(Event::MakeBatch),
    ];
    prop::collection::vec(event, 1..300)
}

/// One call, as the test knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    number: usize,
    who: Who,
    priority: Priority,
    ticket: Ticket,
}

/// What waits according to the test: in the order in which it came.
#[derive(Debug, Default)]
struct Expected(Vec<Call>);

impl Expected {
    fn take(&mut self, number: usize) -> Call {
        let place = self.0.iter().position(|call| call.number == number).unwrap();
        self.0.remove(place)
    }

    fn of(&self, priority: Priority) -> impl Iterator<Item = &Call> {
        self.0.iter().filter(move |call| call.priority == priority)
    }

    fn of_group(&self, group: u8, priority: Priority) -> usize {
        self.of(priority).filter(|call| call.who.0 == group).count()
    }

    fn of_party(&self, who: Who, priority: Priority) -> usize {
        self.of(priority).filter(|call| call.who == who).count()
    }

    /// Whether batch calls have more than their part of the queue, so that they go for interactive ones.
    fn has_batch_to_spare(&self, limit: usize) -> bool {
        self.of(Priority::Batch).count() > limit / BATCH_TURN
    }

    /// Checks that this call, which is gone already, was the right one to go for another.
    fn check_displaced(&self, gone: Call, by: (Who, Priority), limit: usize) {
        let (who, priority) = by;
        if gone.priority == Priority::Batch && priority == Priority::Interactive {
            assert!(
                self.of(Priority::Batch).all(|call| call.ticket < gone.ticket),
                "the newest batch call goes"
            );
            assert!(self.of(Priority::Batch).count() >= limit / BATCH_TURN, "their part is theirs");
            return;
        }
        assert_eq!(gone.priority, priority, "only a batch call goes for one of another urgency");
        assert!(
            priority == Priority::Batch || !self.has_batch_to_spare(limit),
            "a batch call goes first, where there are many"
        );
        if gone.who.0 == who.0 {
            let left = self.of_party(gone.who, priority);
            assert!(left > self.of_party(who, priority), "who has more gives way, and still has as many");
        } else {
            let left = self.of_group(gone.who.0, priority);
            assert!(left > self.of_group(who.0, priority), "the group that has more gives way");
            assert!(
                self.of(priority).all(|it| self.of_group(it.who.0, priority) <= left + 1),
                "it had the most"
            );
        }
        let left = self.of_party(gone.who, priority);
        let mut others = self.of(priority).filter(|call| call.who.0 == gone.who.0);
        assert!(others.all(|it| self.of_party(it.who, priority) <= left + 1), "it had the most of its group");
        let mut own = self.of(priority).filter(|call| call.who == gone.who);
        assert!(own.all(|call| call.ticket < gone.ticket), "its newest goes");
    }

    /// Whether somebody should have gone for a call that was turned away.
    fn should_have_displaced(&self, (group, party): Who, priority: Priority, limit: usize) -> bool {
        let groups_own = self.of_group(group, priority);
        let own = self.of_party((group, party), priority);
        (priority == Priority::Interactive && self.has_batch_to_spare(limit))
            || self.of(priority).any(|it| self.of_group(it.who.0, priority) > groups_own + 1)
            || self.of(priority).any(|it| it.who.0 == group && self.of_party(it.who, priority) > own + 1)
    }
}

/// How often others were served while somebody waited for a turn.
#[derive(Debug, Default)]
struct Turns<Who>(BTreeMap<(Priority, Who), BTreeMap<Who, usize>>);

impl<Who: Ord + Copy + std::fmt::Debug> Turns<Who> {
    fn served(&mut self, lane: Priority, who: Who, waiting: &BTreeSet<Who>) {
        self.0.remove(&(lane, who));
        for other in waiting.iter().filter(|it| **it != who) {
            let times = self.0.entry((lane, *other)).or_default().entry(who).or_default();
            *times += 1;
            assert!(*times == 1, "{who:?} had two turns while {other:?} waited");
        }
    }

    /// Who does not wait any more has no turn to wait for.
    fn forget(&mut self, waits: impl Fn(Priority, Who) -> bool) {
        self.0.retain(|(lane, who), _| waits(*lane, *who));
    }
}

proptest! {
    #[test]
    fn calls_leave_once_and_in_their_order_and_never_more_wait_than_may(
        limit in 0usize..25,
        events in events(),
    ) {
        let mut queue: AdmissionQueue<u8, u8, usize> = AdmissionQueue::default();
        let mut expected = Expected::default();
        let (mut groups, mut parties) = (Turns::default(), Turns::default());
        // Places that went to interactive calls while batch calls waited.
        let mut passed_over = 0;
        for (number, event) in events.into_iter().enumerate() {
            match event {
                Event::Push(who, priority) => {
                    let was_full = expected.0.len() >= limit;
                    match queue.push(limit, who.0, who.1, priority, number) {
                        Queued::Waits(ticket) => {
                            prop_assert!(!was_full);
                            expected.0.push(Call { number, who, priority, ticket });
                        }
                        Queued::Displaces(ticket, Displaced { item, priority: said }) => {
                            prop_assert!(was_full);
                            let gone = expected.take(item);
                            prop_assert_eq!(gone.priority, said);
                            expected.check_displaced(gone, (who, priority), limit);
                            expected.0.push(Call { number, who, priority, ticket });
                        }
                        Queued::Full(item) => {
                            prop_assert!(was_full && item == number);
                            prop_assert!(limit == 0 || !expected.should_have_displaced(who, priority, limit));
                        }
                    }
                }
                Event::Pop => match queue.pop() {
                    None => prop_assert!(expected.0.is_empty()),
                    Some(item) => {
                        let oldest_batch = expected.of(Priority::Batch).map(|call| call.ticket).min();
                        let has_interactive = expected.of(Priority::Interactive).next().is_some();
                        let call = expected.take(item);
                        let lane = call.priority;
                        let is_due = oldest_batch.is_some() && passed_over + 1 >= BATCH_TURN;
                        if has_interactive {
                            prop_assert_eq!(lane == Priority::Batch, is_due, "every tenth place, and no other");
                        }
                        passed_over =
                            if lane == Priority::Interactive && oldest_batch.is_some() { passed_over + 1 } else { 0 };
                        if is_due {
                            prop_assert_eq!(Some(call.ticket), oldest_batch, "who has waited longest");
                            groups = Turns::default();
                            parties = Turns::default();
                        } else {
                            prop_assert!(
                                expected.of(lane).all(|it| it.who != call.who || it.ticket > call.ticket),
                                "the calls of one party go in the order in which they came"
                            );
                            let waiting = expected.of(lane).map(|it| it.who.0).collect();
                            groups.served(lane, call.who.0, &waiting);
                            let waiting = expected.of(lane).map(|it| it.who).filter(|it| it.0 == call.who.0).collect();
                            parties.served(lane, call.who, &waiting);
                        }
                    }
                },
                Event::Leave(which) if !expected.0.is_empty() => {
                    let call = expected.0[which % expected.0.len()];
                    prop_assert_eq!(queue.remove(call.ticket), Some(call.number));
                    prop_assert_eq!(queue.remove(call.ticket), None);
                    expected.take(call.number);
                }
                Event::MakeBatch(which) if !expected.0.is_empty() => {
                    let place = which % expected.0.len();
                    let call = &mut expected.0[place];
                    queue.make_batch(call.ticket);
                    call.priority = Priority::Batch;
                }
                Event::Leave(_) | Event::MakeBatch(_) => {}
            }
            groups.forget(|lane, group| expected.of_group(group, lane) > 0);
            parties.forget(|lane, who| expected.of_party(who, lane) > 0);
            prop_assert_eq!(queue.len(), expected.0.len());
            prop_assert!(queue.len() <= limit);
            for priority in Priority::ALL {
                prop_assert_eq!(queue.waiting(priority), expected.of(priority).count());
            }
        }
        while let Some(item) = queue.pop() {
            expected.take(item);
        }
        prop_assert!(expected.0.is_empty() && queue.is_empty());
    }
}

#[test]
fn an_organisation_with_many_keys_gets_no_more_turns_than_one_with_a_single_key() {
    let mut queue = AdmissionQueue::default();
    for key in 0..20 {
        queue.push(100, "many", key, Priority::Interactive, "many");
        queue.push(100, "one", 0, Priority::Interactive, "one");
    }
    let served: Vec<_> = std::iter::from_fn(|| queue.pop()).take(20).collect();
    assert_eq!(served.iter().filter(|it| **it == "one").count(), 10, "{served:?}");
}

#[test]
fn under_a_load_that_never_ends_every_tenth_place_goes_to_the_batch_call_that_has_waited_longest() {
    let mut queue = AdmissionQueue::default();
    for number in 0..3 {
        queue.push(100, "jobs", "key", Priority::Batch, format!("batch {number}"));
    }
    let mut served = Vec::new();
    for _ in 0..3 * BATCH_TURN {
        // Somebody who sits before a screen is always there.
        queue.push(100, "people", "key", Priority::Interactive, "interactive".to_owned());
        served.push(queue.pop().unwrap());
    }
    let batch: Vec<_> = served.iter().enumerate().filter(|(_, it)| it.starts_with("batch")).collect();
    let expected: Vec<_> =
        (0..3).map(|number| (BATCH_TURN * (number + 1) - 1, format!("batch {number}"))).collect();
    assert!(batch.into_iter().eq(expected.iter().map(|(place, name)| (*place, name))), "{served:?}");
}

#[test]
fn interactive_calls_do_not_drive_the_last_batch_calls_out_of_a_full_queue() {
    const KEYS: [&str; 2] = ["one", "other"];
    let mut queue = AdmissionQueue::default();
    for _ in 0..20 {
        queue.push(20, "jobs", "key", Priority::Batch, "batch");
    }
    for number in 0..40 {
        queue.push(20, "people", KEYS[number % 2], Priority::Interactive, "interactive");
    }
    assert_eq!((queue.waiting(Priority::Interactive), queue.waiting(Priority::Batch)), (18, 2));
}

#[test]
fn a_party_with_a_thousand_calls_takes_turns_with_one_that_asks_again_and_again() {
    let mut queue = AdmissionQueue::default();
    for _ in 0..1_000 {
        queue.push(2_000, "", "many", Priority::Interactive, "many");
    }
    let mut served = Vec::new();
    queue.push(2_000, "", "one", Priority::Interactive, "one");
    for _ in 0..20 {
        let next = queue.pop().unwrap();
        served.push(next);
        if next == "one" {
            queue.push(2_000, "", "one", Priority::Interactive, "one");
        }
    }
    assert_eq!(served.iter().filter(|it| **it == "one").count(), 10, "{served:?}");
}

#[test]
fn a_full_queue_makes_room_for_those_who_have_less_in_it_until_all_have_the_same() {
    let mut queue = AdmissionQueue::default();
    for _ in 0..8 {
        queue.push(8, "", "many", Priority::Batch, "many");
    }
    for _ in 0..4 {
        let Queued::Displaces(_, gone) = queue.push(8, "", "few", Priority::Batch, "few") else {
            panic!("no room")
        };
        assert_eq!(gone.item, "many");
    }
    assert_eq!(queue.push(8, "", "few", Priority::Batch, "few"), Queued::Full("few"));
    let Queued::Displaces(_, gone) = queue.push(8, "", "few", Priority::Interactive, "few") else {
        panic!("no room")
    };
    assert_eq!(gone, Displaced { priority: Priority::Batch, item: "few" }, "the newest batch call");
}
