//! A night in virtual time: calls arrive, gateways decide with the real policy, targets react.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tidegate_policy::routing::{Answering, Asked, Hedging, Ranking, Strategy};
use tidegate_policy::{
    Backoff, Candidate, Course, CourseSettings, FailureFacts, Moment, Readiness, Step, WhyOut,
};
use tidegate_wire::FailureKind;

use crate::outcome::Outcome;
use crate::random::Random;
use crate::replica::Replica;
use crate::scenes::Scene;
use crate::world::{Reaction, Request, Target};

/// The caller's deadline, and what a call that failed counts as having waited.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(15);
const BACKOFF: Backoff = Backoff { shortest: Duration::from_millis(200), longest: Duration::from_secs(5) };
/// Gateways side by side, which know nothing of each other.
const REPLICAS: usize = 2;
/// Conversations going on.
const SESSIONS: u64 = 400;
/// Calls of the first seconds are not counted: nothing was measured yet.
pub(crate) const WARM_UP: Duration = Duration::from_secs(20);

/// How calls are routed in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routing {
    pub(crate) strategy: Strategy,
    pub(crate) hedging: Option<Hedging>,
}

struct Call {
    replica: usize,
    request: Request,
    arrived: Moment,
    ranking: Ranking,
    course: Course,
    asked: Vec<usize>,
    /// Attempts that may still answer.
    open: Vec<usize>,
    holds_retry: bool,
    has_spoken: bool,
}

struct Attempt {
    call: usize,
    target: usize,
    asked: Option<Asked>,
    request: Request,
    began: Moment,
    spoke: Option<Moment>,
    last_token: Option<Moment>,
    has_slot: bool,
    cached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives,
    Sends { call: usize, target: usize },
    Speaks(usize),
    Ends(usize),
    Fails { attempt: usize, kind: u8, retry_after: Option<Duration> },
    Late(usize),
    HedgeDue(usize),
    Dies { target: usize },
}

const KINDS: [FailureKind; 5] = [
    FailureKind::Unreachable,
    FailureKind::Overloaded,
    FailureKind::RateLimited,
    FailureKind::Timeout,
    FailureKind::Truncated,
];

pub(crate) struct Run {
    seed: u64,
    scene: Scene,
    routing: Routing,
    world: Vec<Target>,
    replicas: Vec<Replica>,
    calls: Vec<Call>,
    attempts: Vec<Attempt>,
    due: BinaryHeap<Reverse<(Moment, u64, Happening)>>,
    sequence: u64,
    arrivals: Random,
    outcome: Outcome,
}

/// Runs one scene under one routing.
pub(crate) fn run(scene: &Scene, routing: Routing, seed: u64) -> Outcome {
    let natures = scene.natures.iter().enumerate();
    let world: Vec<Target> = natures
        .map(|(index, &nature)| Target::new(index, nature, &scene.script, scene.seconds, seed))
        .collect();
    let replicas = (0..REPLICAS)
        .map(|index| Replica::new(world.len(), Random::of(seed, [5, index as u64, 0])))
        .collect();
    let mut run = Run {
        seed,
        scene: scene.clone(),
        routing,
        world,
        replicas,
        calls: Vec::new(),
        attempts: Vec::new(),
        due: BinaryHeap::new(),
        sequence: 0,
        arrivals: Random::of(seed, [6, 0, 0]),
        outcome: Outcome::default(),
    };
    run.at(Moment::ZERO, Happening::Arrives);
    for event in &scene.script {
        run.at(Moment::from_secs(event.from), Happening::Dies { target: event.target });
    }
    while let Some(Reverse((now, _, happening))) = run.due.pop() {
        run.happens(happening, now);
    }
    assert!(run.replicas.iter().all(|replica| replica.calls == 0 && replica.retries == 0));
    for replica in &run.replicas {
        for known in &replica.targets {
            assert_eq!(known.figures.measured(Moment::ZERO).in_flight, 0);
        }
    }
    run.outcome
}

impl Run {
    fn at(&mut self, moment: Moment, happening: Happening) {
        self.sequence += 1;
        self.due.push(Reverse((moment, self.sequence, happening)));
    }

    fn happens(&mut self, happening: Happening, now: Moment) {
        match happening {
            Happening::Arrives => self.arrives(now),
            Happening::Sends { call, target } => self.sends(call, target, now),
            Happening::Speaks(attempt) => self.speaks(attempt, now),
            Happening::Ends(attempt) => self.ends(attempt, now),
            Happening::Fails { attempt, kind, retry_after } => {
                self.fails(attempt, KINDS[usize::from(kind)], retry_after, now);
            }
            Happening::Late(attempt) if self.attempts[attempt].spoke.is_none() => {
                self.fails(attempt, FailureKind::Timeout, None, now);
            }
            Happening::Late(_) => {}
            Happening::HedgeDue(attempt) => self.hedge(attempt, now),
            Happening::Dies { target } => {
                if self.world[target].is_dead(now) {
                    let is_cut = |attempt: &Attempt| {
                        attempt.target == target && attempt.asked.is_some() && attempt.has_slot
                    };
                    let cut: Vec<usize> =
                        (0..self.attempts.len()).filter(|&index| is_cut(&self.attempts[index])).collect();
                    for attempt in cut {
                        self.fails(attempt, FailureKind::Truncated, None, now);
                    }
                }
            }
        }
    }

    fn arrives(&mut self, now: Moment) {
        let number = self.calls.len() as u64;
        let mut random = Random::of(self.seed, [7, number, 0]);
        let request = Request {
            call: number,
            session: (SESSIONS as f64 * random.unit()) as u64,
            input_tokens: (1_500.0 * random.lognormal(0.6)) as u64,
            output_tokens: 20 + random.exponential(110.0) as u64,
        };
        let replica = (REPLICAS as f64 * random.unit()) as usize;
        let here = &mut self.replicas[replica];
        here.calls += 1;
        if let Some(hedging) = self.routing.hedging {
            here.hedges.call(hedging);
        }
        let ranking = here.rank(self.routing.strategy, &self.world, request, now);
        let candidates = ranking.iter().map(|_| Candidate { window: None, attempts: 2, backoff: BACKOFF });
        let settings = CourseSettings { deadline: now + DEADLINE, falls_back_on_content_policy: false };
        let mut course = Course::new(candidates, settings);
        let step = course.begin(now, |place| here.readiness(ranking[place], now));
        self.calls.push(Call {
            replica,
            request,
            arrived: now,
            ranking,
            course,
            asked: Vec::new(),
            open: Vec::new(),
            holds_retry: false,
            has_spoken: false,
        });
        self.outcome.arrived(now);
        self.follow(self.calls.len() - 1, step, now);
        let next = now + Duration::from_secs_f64(self.arrivals.exponential(1.0 / self.scene.rate));
        if next < Moment::from_secs(self.scene.seconds) {
            self.at(next, Happening::Arrives);
        }
    }

    fn follow(&mut self, call: usize, step: Step, now: Moment) {
        match step {
            Step::Try { candidate, after, .. } => {
                let target = self.calls[call].ranking[candidate];
                self.at(now + after, Happening::Sends { call, target });
            }
            Step::GiveUp { .. } => self.over(call, None),
        }
    }

    fn sends(&mut self, call: usize, target: usize, now: Moment) {
        let index = self.attempts.len();
        let replica = &mut self.replicas[self.calls[call].replica];
        let request = self.calls[call].request;
        let known = &mut replica.targets[target];
        known.breaker.begin(now);
        known.limits.take(request.input_tokens);
        let asked = known.figures.begin(now, Answering::Streamed);
        let p95 = known.figures.slowest(Answering::Streamed).late_after;
        self.calls[call].asked.push(target);
        self.calls[call].open.push(index);
        self.attempts.push(Attempt {
            call,
            target,
            asked: Some(asked),
            request,
            began: now,
            spoke: None,
            last_token: None,
            has_slot: false,
            cached: false,
        });
        self.outcome.asked(target, now);
        let (reaction, said) = self.world[target].ask(request, index, now);
        if let Some(said) = said {
            self.replicas[self.calls[call].replica].was_told(target, said, now);
        }
        self.reacts(index, reaction, now);
        let deadline = self.calls[call].arrived + DEADLINE;
        self.at((now + FIRST_TOKEN_TIMEOUT).min(deadline), Happening::Late(index));
        let is_first = self.calls[call].asked.len() == 1;
        if self.routing.hedging.is_some() && is_first {
            self.at(now + Hedging::delay(None, p95, Answering::Streamed), Happening::HedgeDue(index));
        }
    }

    fn reacts(&mut self, attempt: usize, reaction: Reaction, now: Moment) {
        match reaction {
            Reaction::Works { first_token, last_token, cached } => {
                let one = &mut self.attempts[attempt];
                (one.has_slot, one.cached, one.last_token) = (true, cached, Some(now + last_token));
                self.at(now + first_token, Happening::Speaks(attempt));
                self.at(now + last_token, Happening::Ends(attempt));
            }
            Reaction::Fails { after, kind, retry_after } => {
                let kind = KINDS.iter().position(|&known| known == kind).unwrap() as u8;
                self.at(now + after, Happening::Fails { attempt, kind, retry_after });
            }
            Reaction::Queues | Reaction::Silent => {}
        }
    }

    /// The attempt is over: its slot is free for who waits for it.
    fn leaves(&mut self, attempt: usize, now: Moment) -> Option<Asked> {
        let one = &mut self.attempts[attempt];
        let asked = one.asked.take()?;
        let (target, call) = (one.target, one.call);
        let had_slot = std::mem::take(&mut one.has_slot);
        self.calls[call].open.retain(|&open| open != attempt);
        if had_slot {
            if let Some(next) = self.world[target].free() {
                let reaction = self.world[target].work(self.attempts[next].request, now);
                self.reacts(next, reaction, now);
            }
        } else {
            self.world[target].queue.retain(|&waiting| waiting != attempt);
        }
        Some(asked)
    }

    fn speaks(&mut self, attempt: usize, now: Moment) {
        let one = &mut self.attempts[attempt];
        let Some(asked) = &mut one.asked else { return };
        one.spoke = Some(now);
        let (call, target, began) = (one.call, one.target, one.began);
        let replica = self.calls[call].replica;
        self.replicas[replica].targets[target].figures.first_token(asked, now);
        self.replicas[replica].succeeded(target, began, now);
        self.release_retry(call);
        let here = &mut self.calls[call];
        if !here.has_spoken {
            here.has_spoken = true;
            self.outcome.spoke(here.arrived, now);
        }
        // Whoever is late is not waited for.
        for other in here.open.clone() {
            if other != attempt {
                let loser = &self.attempts[other];
                let target = loser.target;
                let read =
                    if loser.has_slot { self.world[target].price(loser.request, 0, loser.cached) } else { 0 };
                self.outcome.wasted(read);
                if let Some(asked) = self.leaves(other, now) {
                    let known = &mut self.replicas[replica].targets[target];
                    known.figures.abandoned(asked, now);
                    known.breaker.abandon();
                }
            }
        }
    }

    fn ends(&mut self, attempt: usize, now: Moment) {
        let Some(asked) = self.leaves(attempt, now) else { return };
        let one = &self.attempts[attempt];
        let (call, target, request, cached) = (one.call, one.target, one.request, one.cached);
        let replica = self.calls[call].replica;
        self.replicas[replica].targets[target].figures.ended(asked, now, request.output_tokens);
        let cost = self.world[target].price(request, request.output_tokens, cached);
        self.over(call, Some(cost));
    }

    fn fails(&mut self, attempt: usize, kind: FailureKind, retry_after: Option<Duration>, now: Moment) {
        let Some(asked) = self.leaves(attempt, now) else { return };
        let one = &self.attempts[attempt];
        let (call, target, spoke) = (one.call, one.target, one.spoke);
        let read =
            if one.last_token.is_some() { self.world[target].price(one.request, 0, one.cached) } else { 0 };
        // A caller without the patience says nothing about the target.
        let is_cut_short = kind == FailureKind::Timeout && now < one.began + FIRST_TOKEN_TIMEOUT;
        let part_left = match (spoke, one.last_token) {
            (Some(from), Some(until)) if until > from => {
                (until - now).as_secs_f64() / (until - from).as_secs_f64()
            }
            _ => 1.0,
        };
        self.outcome.wasted(read);
        let replica = &mut self.replicas[self.calls[call].replica];
        let known = &mut replica.targets[target];
        if kind == FailureKind::RateLimited || is_cut_short {
            known.figures.abandoned(asked, now);
        } else {
            known.figures.failed(asked, now);
        }
        if is_cut_short {
            known.breaker.abandon();
        } else {
            replica.failed(target, kind, retry_after, one.began, now);
        }
        self.release_retry(call);
        if !self.calls[call].open.is_empty() {
            return; // The other one may still answer.
        }
        let here = &mut self.calls[call];
        let replica = &mut self.replicas[here.replica];
        if spoke.is_some() {
            here.request.output_tokens = (here.request.output_tokens as f64 * part_left) as u64 + 1;
            let ranking = here.ranking.clone();
            let step = here.course.after_break(kind, now, |place| replica.readiness(ranking[place], now));
            self.follow(call, step, now);
            return;
        }
        let is_invited_back = kind == FailureKind::RateLimited;
        let may_retry = !is_invited_back && replica.may_retry();
        let facts = FailureFacts {
            kind,
            retry_after,
            was_sent_again: false,
            is_other_key_ready: false,
            is_retry_allowed: is_invited_back || may_retry,
        };
        let random = replica.random.unit();
        let ranking = here.ranking.clone();
        let hedged: Vec<usize> = here.asked.clone();
        let readiness = |place: usize| -> Readiness {
            // Whom a hedge has asked in vain is not asked anew.
            if hedged.len() > 1 && hedged.contains(&ranking[place]) {
                return Readiness::Out { why: WhyOut::NoSuchModel, probe_at: Moment::MAX };
            }
            replica.readiness(ranking[place], now)
        };
        let step = here.course.after_failure(facts, now, random, readiness);
        if may_retry && matches!(step, Step::Try { is_retry: true, .. }) {
            here.holds_retry = true;
            replica.retries += 1;
            self.outcome.retries(replica.retries, replica.calls);
        }
        self.follow(call, step, now);
    }

    fn hedge(&mut self, attempt: usize, now: Moment) {
        let one = &self.attempts[attempt];
        let call = &self.calls[one.call];
        if one.asked.is_none() || one.spoke.is_some() {
            return;
        }
        let replica = &mut self.replicas[call.replica];
        let late = replica.targets[one.target].figures.measured(now);
        let second = call.ranking.iter().copied().find(|&target| {
            let known = &replica.targets[target];
            !call.asked.contains(&target)
                && replica.readiness(target, now) == Readiness::Ready
                && Hedging::may_ask(&known.figures.measured(now), &late, known.limits.headroom(now, 0))
        });
        if let Some(target) = second.filter(|_| replica.hedges.take()) {
            let call = one.call;
            self.outcome.hedged(now);
            self.sends(call, target, now);
        }
    }

    fn release_retry(&mut self, call: usize) {
        let here = &mut self.calls[call];
        if std::mem::take(&mut here.holds_retry) {
            self.replicas[here.replica].retries -= 1;
        }
    }

    fn over(&mut self, call: usize, cost: Option<u64>) {
        self.release_retry(call);
        let here = &self.calls[call];
        self.replicas[here.replica].calls -= 1;
        self.outcome.over(here.arrived, cost, here.has_spoken);
    }
}
