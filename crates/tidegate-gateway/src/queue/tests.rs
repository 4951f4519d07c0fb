//! Places under many threads: never more than there are, none lost, and every caller hears something.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_policy::Priority;

use super::places::{Party, Places};
use super::{NoPlace, Place};

const PATIENCE: Duration = Duration::from_secs(20);

fn places(most: usize, longest: usize, patience: Duration) -> Arc<Places> {
    let places = Places::empty();
    places.set(most, longest, patience);
    places
}

fn party(number: u8) -> Party {
    Party { name: "anybody".into(), address: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))) }
}

async fn enter(places: &Arc<Places>, number: u8) -> Result<Place, NoPlace> {
    if let Some(place) = places.try_take() {
        return Ok(place);
    }
    places.wait_as(None, party(number), Priority::Interactive, None)?.place().await
}

#[test]
fn on_many_threads_no_more_places_are_taken_than_there_are_and_none_is_lost() {
    let places = places(3, 8, Duration::from_millis(50));
    let (inside, most_inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcomes: [AtomicUsize; 3] = Default::default();
    std::thread::scope(|scope| {
        for worker in 0..4u8 {
            let (places, inside, most_inside, outcomes) = (&places, &inside, &most_inside, &outcomes);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let local = async {
                    let one = async |number: u8| {
                        for round in 0..200u32 {
                            // Some hang up while they wait.
                            let entering = enter(places, worker * 5 + number);
                            let patience = if round % 7 == 0 { Duration::from_micros(50) } else { PATIENCE };
                            let Ok(entered) = tokio::time::timeout(patience, entering).await else {
                                continue;
                            };
                            match entered {
                                Ok(place) => {
                                    outcomes[0].fetch_add(1, Ordering::Relaxed);
                                    most_inside.fetch_max(
                                        inside.fetch_add(1, Ordering::SeqCst) + 1,
                                        Ordering::SeqCst,
                                    );
                                    tokio::task::yield_now().await;
                                    inside.fetch_sub(1, Ordering::SeqCst);
                                    drop(place);
                                }
                                Err(NoPlace::Full | NoPlace::Displaced) => {
                                    outcomes[1].fetch_add(1, Ordering::Relaxed);
                                    tokio::task::yield_now().await;
                                }
                                Err(NoPlace::TooLong) => {
                                    outcomes[2].fetch_add(1, Ordering::Relaxed);
                                }
                            }
                        }
                    };
                    tokio::join!(one(0), one(1), one(2), one(3), one(4));
                };
                runtime.block_on(local);
            });
        }
    });
    assert!(most_inside.load(Ordering::SeqCst) <= 3);
    assert!(outcomes[0].load(Ordering::SeqCst) > 500, "{outcomes:?}");
    let status = places.status();
    assert_eq!((status.taken, status.interactive, status.batch), (0, 0, 0));
    let taken: Vec<_> = std::iter::from_fn(|| places.try_take()).take(10).collect();
    assert_eq!(taken.len(), 3, "none is lost, and none too many");
}

#[tokio::test]
async fn a_place_that_becomes_free_goes_to_who_waits_and_not_to_who_comes() {
    let places = places(1, 8, PATIENCE);
    let first = places.try_take().unwrap();
    let mut waiting = places.wait_as(None, party(1), Priority::Interactive, None).unwrap();
    drop(first);
    assert!(places.try_take().is_none() && !places.has_room(), "it is promised");
    let place = waiting.place().await.unwrap();
    drop((waiting, place));
    assert!(places.has_room() && places.try_take().is_some());
}

#[tokio::test]
async fn a_promised_place_whose_caller_has_gone_goes_to_the_next() {
    let places = places(1, 8, PATIENCE);
    let first = places.try_take().unwrap();
    let gone = places.wait_as(None, party(1), Priority::Interactive, None).unwrap();
    let mut next = places.wait_as(None, party(2), Priority::Interactive, None).unwrap();
    drop(first);
    drop(gone);
    assert!(next.place().await.is_ok());
}

#[tokio::test]
async fn waiting_ends_with_the_patience_and_with_the_callers_own_time() {
    for (patience, time) in [(Duration::from_millis(5), None), (PATIENCE, Some(Duration::from_millis(5)))] {
        let places = places(1, 8, patience);
        let _first = places.try_take().unwrap();
        let mut waiting = places.wait_as(None, party(1), Priority::Interactive, time).unwrap();
        assert_eq!(waiting.place().await.unwrap_err(), NoPlace::TooLong);
        drop(waiting);
        assert_eq!(places.status().interactive, 0);
    }
}

#[tokio::test]
async fn a_call_in_the_background_makes_room_for_one_that_somebody_waits_for() {
    let places = places(1, 1, PATIENCE);
    let first = places.try_take().unwrap();
    let mut batch = places.wait_as(None, party(1), Priority::Interactive, None).unwrap();
    batch.make_batch();
    assert_eq!(places.status().batch, 1);
    let mut interactive = places.wait_as(None, party(1), Priority::Interactive, None).unwrap();
    assert_eq!(batch.place().await.unwrap_err(), NoPlace::Displaced);
    assert_eq!(
        places.wait_as(None, party(1), Priority::Interactive, None).unwrap_err(),
        NoPlace::Full,
        "no party displaces itself"
    );
    drop(first);
    assert!(interactive.place().await.is_ok());
}

#[tokio::test]
async fn more_places_are_given_at_once_and_fewer_as_calls_end() {
    let places = places(1, 8, PATIENCE);
    let first = places.try_take().unwrap();
    let mut waiting = places.wait_as(None, party(1), Priority::Interactive, None).unwrap();
    places.set(2, 8, PATIENCE);
    let second = waiting.place().await.unwrap();
    places.set(1, 8, PATIENCE);
    let mut waiting = places.wait_as(None, party(1), Priority::Interactive, None).unwrap();
    drop(first);
    let early = tokio::time::timeout(Duration::from_millis(20), waiting.place()).await;
    assert!(early.is_err(), "two were taken, and one may be");
    drop(second);
    assert!(waiting.place().await.is_ok());
}
