//! Properties of the queue for a place: what comes in goes out once, in the right order, and nobody fills it alone.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidegate_policy::{AdmissionQueue, Displaced, Priority, Queued, Ticket};

/// Something that happens to the queue.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A call of this party comes.
    Push(u8, Priority),
    /// A place is free.
    Pop,
    /// One of those who wait goes away.
    Leave(usize),
    /// One of those who wait turns out to be one in the background.
    MakeBatch(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let priority = prop_oneof![Just(Priority::Interactive), Just(Priority::Batch)];
    // Party 0 asks as often as all others together.
    let party = prop_oneof![Just(0u8), 1u8..6];
    let event = prop_oneof![
        6 => (party, priority).prop_map(|(party, priority)| Event::Push(party, priority)),
        3 => Just(Event::Pop),
        1 => any::<usize>().prop_map(Event::Leave),
        1 => any::<usize>().prop_map(Event::MakeBatch),
    ];
    prop::collection::vec(event, 1..200)
}

/// One call, as the test knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    number: usize,
    party: u8,
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

    fn count(&self, party: u8, priority: Priority) -> usize {
        self.0.iter().filter(|call| call.party == party && call.priority == priority).count()
    }

    fn has(&self, priority: Priority) -> bool {
        self.0.iter().any(|call| call.priority == priority)
    }

    fn parties(&self, priority: Priority) -> BTreeSet<u8> {
        self.0.iter().filter(|call| call.priority == priority).map(|call| call.party).collect()
    }

    /// Checks that this call was the right one to go for another.
    fn check_displaced(&self, gone: Call, by: (u8, Priority)) {
        let (party, priority) = by;
        if gone.priority == Priority::Batch && priority == Priority::Interactive {
            assert!(
                self.0.iter().all(|call| call.priority == Priority::Interactive || call.ticket < gone.ticket),
                "the newest batch call goes"
            );
            return;
        }
        assert_eq!(gone.priority, priority, "only a batch call goes for one of another urgency");
        assert!(!(priority == Priority::Interactive && self.has(Priority::Batch)), "a batch call goes first");
        let left = self.count(gone.party, priority);
        assert!(
            left > self.count(party, priority),
            "who has more gives way, and still has as many as the other"
        );
        assert!(self.0.iter().all(|call| self.count(call.party, priority) <= left + 1), "it had the most");
        assert!(
            self.0.iter().all(
                |call| (call.party, call.priority) != (gone.party, priority) || call.ticket < gone.ticket
            ),
            "its newest goes"
        );
    }
}

proptest! {
    #[test]
    fn calls_leave_once_and_in_their_order_and_never_more_wait_than_may(
        limit in 0usize..12,
        events in events(),
    ) {
        let mut queue: AdmissionQueue<u8, usize> = AdmissionQueue::default();
        let mut expected = Expected::default();
        // How often each other party of the lane was served while this one waited for its turn.
        let mut served_since: BTreeMap<(Priority, u8), BTreeMap<u8, usize>> = BTreeMap::new();
        for (number, event) in events.into_iter().enumerate() {
            match event {
                Event::Push(party, priority) => {
                    let was_full = expected.0.len() >= limit;
                    match queue.push(limit, party, priority, number) {
                        Queued::Waits(ticket) => {
                            prop_assert!(!was_full);
                            expected.0.push(Call { number, party, priority, ticket });
                        }
                        Queued::Displaces(ticket, Displaced { item, priority: said }) => {
                            prop_assert!(was_full);
                            let gone = expected.take(item);
                            prop_assert_eq!(gone.priority, said);
                            expected.check_displaced(gone, (party, priority));
                            expected.0.push(Call { number, party, priority, ticket });
                        }
                        Queued::Full(item) => {
                            prop_assert!(was_full && item == number);
                            prop_assert!(limit == 0 || priority == Priority::Batch || !expected.has(Priority::Batch));
                            let own = expected.count(party, priority);
                            prop_assert!(
                                expected.parties(priority).into_iter().all(|it| expected.count(it, priority) <= own + 1),
                                "another has more, and should have given way"
                            );
                        }
                    }
                }
                Event::Pop => match queue.pop() {
                    None => prop_assert!(expected.0.is_empty()),
                    Some(item) => {
                        let call = expected.take(item);
                        let lane = call.priority;
                        prop_assert!(lane == Priority::Interactive || !expected.has(Priority::Interactive));
                        prop_assert!(
                            expected.0.iter().all(|it| (it.party, it.priority) != (call.party, lane) || it.ticket > call.ticket),
                            "the calls of one party go in the order in which they came"
                        );
                        served_since.remove(&(lane, call.party));
                        for waiting in expected.parties(lane).into_iter().filter(|it| *it != call.party) {
                            let times = served_since.entry((lane, waiting)).or_default().entry(call.party).or_default();
                            *times += 1;
                            prop_assert!(*times == 1, "party {} had two turns while {waiting} waited", call.party);
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
            // Who does not wait any more has no turn to wait for.
            served_since.retain(|(lane, party), _| expected.count(*party, *lane) > 0);
            prop_assert_eq!(queue.len(), expected.0.len());
            prop_assert!(queue.len() <= limit);
            for priority in Priority::ALL {
                let known = expected.0.iter().filter(|call| call.priority == priority).count();
                prop_assert_eq!(queue.waiting(priority), known);
            }
        }
        while let Some(item) = queue.pop() {
            expected.take(item);
        }
        prop_assert!(expected.0.is_empty() && queue.is_empty());
    }
}

#[test]
fn a_party_with_a_thousand_calls_takes_turns_with_one_that_asks_again_and_again() {
    let mut queue = AdmissionQueue::default();
    for _ in 0..1_000 {
        queue.push(2_000, "many", Priority::Interactive, "many");
    }
    let mut served = Vec::new();
    queue.push(2_000, "one", Priority::Interactive, "one");
    for _ in 0..20 {
        let next = queue.pop().unwrap();
        served.push(next);
        if next == "one" {
            queue.push(2_000, "one", Priority::Interactive, "one");
        }
    }
    assert_eq!(served.iter().filter(|it| **it == "one").count(), 10, "{served:?}");
}

#[test]
fn a_full_queue_makes_room_for_those_who_have_less_in_it_until_all_have_the_same() {
    let mut queue = AdmissionQueue::default();
    for _ in 0..8 {
        queue.push(8, "many", Priority::Batch, "many");
    }
    for _ in 0..4 {
        let Queued::Displaces(_, gone) = queue.push(8, "few", Priority::Batch, "few") else {
            panic!("no room")
        };
        assert_eq!(gone.item, "many");
    }
    assert_eq!(queue.push(8, "few", Priority::Batch, "few"), Queued::Full("few"));
    let Queued::Displaces(_, gone) = queue.push(8, "few", Priority::Interactive, "few") else {
        panic!("no room")
    };
    assert_eq!(gone, Displaced { priority: Priority::Batch, item: "few" }, "the newest batch call");
}
