//! The scenes: ten targets, and what befalls them.

use crate::world::{Event, Fate, Nature};

/// What happens in a run.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) natures: Vec<Nature>,
    pub(crate) script: Vec<Event>,
    /// Calls a second.
    pub(crate) rate: f64,
    pub(crate) seconds: u64,
}

/// Large ones and small ones, quick and dear, slow and cheap. Together they can answer three times as many calls as come;
/// none could answer all.
const TARGETS: [Nature; 10] = [
    target(8, 0.45, 90.0, (1000, 4000), 80),
    target(4, 0.50, 80.0, (1000, 4000), 32),
    target(4, 0.60, 80.0, (900, 3600), 32),
    target(3, 0.40, 120.0, (2000, 8000), 24),
    target(3, 0.70, 60.0, (600, 2400), 24),
    target(2, 0.80, 60.0, (500, 2000), 16),
    target(2, 0.50, 150.0, (2500, 10_000), 16),
    target(2, 0.60, 100.0, (1200, 4800), 16),
    target(1, 0.90, 50.0, (400, 1600), 12),
    target(1, 1.00, 45.0, (300, 1200), 12),
];

const fn target(weight: u32, first_token: f64, rate: f64, prices: (u64, u64), slots: usize) -> Nature {
    Nature { weight, first_token, rate, prices, slots }
}

pub(crate) const fn event(target: usize, from: u64, until: u64, fate: Fate) -> Event {
    Event { target, from, until, fate }
}

/// All scenes of the table.
pub(crate) fn all() -> Vec<Scene> {
    vec![
        scene("calm", "Nothing happens.", vec![]),
        brown_out(),
        scene(
            "outage",
            "The largest target answers 503 from 0:40 to 1:40; another says nothing at all in the same time.",
            vec![event(0, 40, 100, Fate::Failing(1.0)), event(4, 40, 100, Fate::Silent)],
        ),
        scene(
            "limits",
            "Three targets may be asked 60 times a minute each, all the time.",
            vec![
                event(0, 0, 150, Fate::Limited(60.0)),
                event(3, 0, 150, Fate::Limited(60.0)),
                event(9, 0, 150, Fate::Limited(60.0)),
            ],
        ),
        scene(
            "flapping",
            "Two targets refuse connections for five seconds of every ten, and a third fails every fourth call.",
            (30..130)
                .step_by(10)
                .flat_map(|from| {
                    [event(0, from, from + 5, Fate::Dead), event(6, from + 3, from + 8, Fate::Dead)]
                })
                .chain([event(2, 30, 130, Fate::Failing(0.25))])
                .collect(),
        ),
        scene(
            "everything",
            "One target slows down 12 times, one fails, one is silent, one flaps, two are limited, one dies with its streams.",
            vec![
                event(0, 40, 100, Fate::Slow(12.0)),
                event(1, 60, 90, Fate::Failing(1.0)),
                event(2, 50, 130, Fate::Failing(0.2)),
                event(3, 0, 150, Fate::Limited(60.0)),
                event(4, 70, 110, Fate::Silent),
                event(5, 30, 40, Fate::Dead),
                event(5, 60, 70, Fate::Dead),
                event(5, 90, 100, Fate::Dead),
                event(7, 80, 150, Fate::Dead),
                event(9, 0, 150, Fate::Limited(30.0)),
            ],
        ),
    ]
}

/// The largest of ten targets slows down for a minute, without a single failure.
pub(crate) fn brown_out() -> Scene {
    scene(
        "brown-out",
        "The largest target becomes 20 times slower from 0:40 to 1:40, without failing.",
        vec![event(0, 40, 100, Fate::Slow(20.0))],
    )
}

pub(crate) fn scene(name: &'static str, about: &'static str, script: Vec<Event>) -> Scene {
    Scene { name, about, natures: TARGETS.to_vec(), script, rate: 20.0, seconds: 150 }
}
