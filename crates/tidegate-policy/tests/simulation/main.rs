//! Nights in virtual time: ten targets that slow down, fail, limit, flap and die by a script, and the real routing policy
//! before them. The table is `docs/routing-simulation.md`.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unchecked_time_subtraction,
    reason = "a test may fail loudly, and its numbers are small"
)]

mod outcome;
mod random;
mod replica;
mod report;
mod run;
mod scenes;
mod world;

use std::thread;

use tidegate_policy::routing::{Hedging, Mix, Strategy};

use crate::outcome::Outcome;
use crate::run::{Routing, run};
use crate::scenes::{Scene, event};
use crate::world::Fate;

const SEED: u64 = 4;

/// The nights of the table.
const SEEDS: [u64; 3] = [1, 2, 3];

const fn plain(strategy: Strategy) -> Routing {
    Routing { strategy, hedging: None }
}

fn routings() -> Vec<(&'static str, Routing)> {
    let score = Strategy::Score(Mix::default());
    vec![
        ("order", plain(Strategy::Order)),
        ("weighted", plain(Strategy::Weighted)),
        ("latency", plain(Strategy::Latency)),
        ("latency, hedged", Routing { strategy: Strategy::Latency, hedging: Some(Hedging { share: 0.05 }) }),
        ("throughput", plain(Strategy::Throughput)),
        ("cost", plain(Strategy::Cost)),
        ("least-busy", plain(Strategy::LeastBusy)),
        ("sticky", plain(Strategy::Sticky)),
        ("score", plain(score)),
    ]
}

#[test]
fn the_table_in_the_documentation_is_what_comes_out() {
    let scenes: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> =
            scenes::all().into_iter().map(|scene| scope.spawn(|| everybody_in(scene))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let table = report::table(&scenes);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/routing-simulation.md");
    if std::env::var_os("UPDATE_SIMULATION").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    if has_the_same_logarithms() {
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == table, "the figures changed: look at them with UPDATE_SIMULATION=1\n{table}");
    }
}

/// Elsewhere logarithms differ in their last bit from those of the machine that wrote the table, and after some thousand
/// calls no figure is the same.
fn has_the_same_logarithms() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
    return false;
}

fn everybody_in(scene: Scene) -> (Scene, Vec<(&'static str, Outcome)>) {
    let nights =
        |routing| SEEDS.into_iter().map(|seed| run(&scene, routing, seed)).reduce(Outcome::and).unwrap();
    let outcomes = routings().into_iter().map(|(name, routing)| (name, nights(routing))).collect();
    (scene, outcomes)
}

#[test]
fn latency_and_score_are_three_times_better_than_weighted_when_one_target_browns_out() {
    for seed in SEEDS {
        let p99 = |strategy| run(&scenes::brown_out(), plain(strategy), seed).first_token(0.99);
        let weighted = p99(Strategy::Weighted);
        for strategy in [Strategy::Latency, Strategy::Score(Mix::default())] {
            let here = p99(strategy);
            assert!(here * 3.0 < weighted, "seed {seed}: {strategy:?} {here}, weighted {weighted}");
        }
    }
}

#[test]
fn hedging_keeps_to_its_share_and_saves_the_calls_that_a_silent_target_has_taken() {
    let scene = scenes::scene(
        "silence",
        "",
        (30..130).step_by(20).map(|from| event(1, from, from + 8, Fate::Silent)).collect(),
    );
    let p995 = |hedging| {
        let outcome = run(&scene, Routing { strategy: Strategy::LeastBusy, hedging }, SEED);
        assert!(outcome.hedged_share() < 0.06, "{}", outcome.hedged_share());
        outcome.first_token(0.995)
    };
    let (with, without) = (p995(Some(Hedging { share: 0.05 })), p995(None));
    assert!(with * 2.0 < without, "{with} with hedging, {without} without");
}

#[test]
fn when_everybody_fails_retries_come_in_a_storm_and_never_exceed_their_budget() {
    let script = (0..10).map(|target| event(target, 20, 130, Fate::Failing(0.4))).collect();
    let scene = Scene { rate: 40.0, ..scenes::scene("storm", "", script) };
    for strategy in [Strategy::Order, Strategy::Weighted, Strategy::Latency] {
        // That it is never exceeded is checked whenever a retry begins. Where breakers are open nobody retries.
        let (retries, budget) = run(&scene, plain(strategy), SEED).most_retries();
        assert!(retries * 3 >= budget, "{strategy:?}: {retries} of {budget} is no storm");
    }
}

#[test]
fn a_minute_of_503_opens_the_breaker_at_once_costs_few_probes_and_is_over_five_seconds_after_it() {
    let scene = scenes::scene("503", "", vec![event(0, 40, 100, Fate::Failing(1.0))]);
    for (name, routing) in routings() {
        let outcome = run(&scene, routing, SEED);
        let asked = |from, until| outcome.times_asked(0, from, until);
        if name == "cost" {
            continue; // Cheaper ones are asked; this one by chance.
        }
        let before = asked(25, 35);
        assert!(before >= 20, "{name}: {before}");
        // Two gateways, five failures each, and what was under way. Under `order` ten calls a second go there, and answers
        // to calls from before still come in.
        let few = if name == "order" { 2 * 15 } else { 2 * 7 };
        assert!(asked(40, 42) <= few, "{name}: {} calls before the breaker opened", asked(40, 42));
        // A probe after 1, 2, 3, 3, 3 … seconds, by each gateway: 21 in a minute. Where failures alone make a target
        // unattractive, it takes a little longer until there are five.
        assert!(asked(40, 100) <= few + 2 * 21, "{name}: {} calls in vain", asked(40, 100));
        let after = asked(105, 115);
        assert!(after * 2 >= before, "{name}: {after} calls in ten seconds after it, {before} before it");
        assert!(outcome.success_rate() > 0.999, "{name}: {}", outcome.success_rate());
    }
}

#[test]
fn the_same_seed_gives_the_same_night() {
    let scene = scenes::brown_out();
    let twice = [(); 2].map(|()| run(&scene, plain(Strategy::Latency), SEED));
    assert_eq!(format!("{:?}", twice[0]), format!("{:?}", twice[1]));
}
