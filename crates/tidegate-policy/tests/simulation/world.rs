//! The targets: how quick they are, how much they can take, what befalls them. They know nothing of gateways.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tidegate_policy::Moment;
use tidegate_wire::FailureKind;

use crate::random::Random;

/// What a target is like in peace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    pub(crate) weight: u32,
    /// Seconds to the first token, for a prompt of usual size.
    pub(crate) first_token: f64,
    /// Tokens a second, when it has little to do.
    pub(crate) rate: f64,
    /// Nano-dollars for a token of input and of output.
    pub(crate) prices: (u64, u64),
    /// Answers at a time. More wait in a queue of the same length; beyond that it answers 503.
    pub(crate) slots: usize,
}

/// What befalls a target for a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// Everything takes so many times longer.
    Slow(f64),
    /// This share of calls is answered 503 at once.
    Failing(f64),
    /// Takes calls and says nothing.
    Silent,
    /// Refuses connections, and cuts the streams that it was answering.
    Dead,
    /// So many requests a minute; more are answered 429.
    Limited(f64),
}

/// From when until when what befalls whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) target: usize,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) fate: Fate,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) call: u64,
    pub(crate) session: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

/// What a target does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reaction {
    /// It works on it: the first token after this time, the last after that.
    Works { first_token: Duration, last_token: Duration, cached: bool },
    /// It waits for a slot.
    Queues,
    /// It fails after this time.
    Fails { after: Duration, kind: FailureKind, retry_after: Option<Duration> },
    /// It never says anything.
    Silent,
}

/// A provider's word about its limit: limit, remaining, time until it is whole.
pub(crate) type LimitSaid = (u64, u64, Duration);

/// One target at work.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) nature: Nature,
    index: usize,
    seed: u64,
    script: Vec<Event>,
    busy: usize,
    pub(crate) queue: VecDeque<usize>,
    /// The bucket of its limit: requests left, and when that was.
    bucket: Option<(f64, Moment)>,
    /// The logarithm of a noise that changes slowly, by steps of five seconds.
    drift: Vec<f64>,
    /// When each session's prompt was last read: within five minutes it is cached.
    prompts: HashMap<u64, Moment>,
}

const DRIFT_STEP: u64 = 5;
const PROMPTS_ARE_KEPT: Duration = Duration::from_secs(300);
/// Input tokens read from the cache cost so much less, …
pub(crate) const CACHED_PRICE: f64 = 0.25;
/// … and shorten the time to the first token to this part.
const CACHED_TIME: f64 = 0.6;
/// A usual prompt.
const USUAL_INPUT: f64 = 2_000.0;

impl Target {
    pub(crate) fn new(index: usize, nature: Nature, script: &[Event], seconds: u64, seed: u64) -> Self {
        // Three targets in a row are one provider's: they have their bad minutes together.
        let provider = (index / 3) as u64;
        let (mut own, mut shared) =
            (Random::of(seed, [1, index as u64, 0]), Random::of(seed, [2, provider, 0]));
        let (mut state, mut common) = (0.0, 0.0);
        let drift = (0..=seconds / DRIFT_STEP)
            .map(|_| {
                state = 0.85 * state + 0.08 * own.normal();
                common = 0.85 * common + 0.08 * shared.normal();
                state + common
            })
            .collect();
        let script = script.iter().filter(|event| event.target == index).copied().collect();
        Self {
            nature,
            index,
            seed,
            script,
            busy: 0,
            queue: VecDeque::new(),
            bucket: None,
            drift,
            prompts: HashMap::new(),
        }
    }

    fn fates(&self, now: Moment) -> impl Iterator<Item = Fate> {
        let second = now.as_secs();
        self.script
            .iter()
            .filter(move |event| (event.from..event.until).contains(&second))
            .map(|event| event.fate)
    }

    pub(crate) fn is_dead(&self, now: Moment) -> bool {
        self.fates(now).any(|fate| matches!(fate, Fate::Dead))
    }

    /// Somebody asks. What was said about the limit comes with the answer.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        attempt: usize,
        now: Moment,
    ) -> (Reaction, Option<LimitSaid>) {
        let mut random = Random::of(self.seed, [3, request.call, self.index as u64]);
        let soon = Duration::from_secs_f64(0.03 * random.lognormal(0.5));
        let fails = |kind, retry_after| Reaction::Fails { after: soon, kind, retry_after };
        let mut said = None;
        let fates: Vec<Fate> = self.fates(now).collect();
        for fate in fates {
            match fate {
                Fate::Dead => return (fails(FailureKind::Unreachable, None), None),
                Fate::Silent => return (Reaction::Silent, None),
                Fate::Failing(share) if random.unit() < share => {
                    return (fails(FailureKind::Overloaded, None), None);
                }
                Fate::Limited(limit) => {
                    let (left, at) = self.bucket.unwrap_or((limit, now));
                    let left = (left + (now - at).as_secs_f64() * limit / 60.0).min(limit);
                    if left < 1.0 {
                        self.bucket = Some((left, now));
                        // Providers let one wait for a part of the window rather than for one request.
                        let wait = Duration::from_secs_f64(5.0);
                        return (fails(FailureKind::RateLimited, Some(wait)), None);
                    }
                    let left = left - 1.0;
                    self.bucket = Some((left, now));
                    let whole_in = Duration::from_secs_f64((limit - left) * 60.0 / limit);
                    said = Some((limit as u64, left as u64, whole_in));
                }
                Fate::Failing(_) | Fate::Slow(_) => {}
            }
        }
        if self.busy < self.nature.slots {
            return (self.work(request, now), said);
        }
        if self.queue.len() >= self.nature.slots {
            return (fails(FailureKind::Overloaded, None), said);
        }
        self.queue.push_back(attempt);
        (Reaction::Queues, said)
    }

    /// Takes a slot.
    pub(crate) fn work(&mut self, request: Request, now: Moment) -> Reaction {
        let mut random = Random::of(self.seed, [4, request.call, self.index as u64]);
        let slow: f64 =
            self.fates(now).map(|fate| if let Fate::Slow(factor) = fate { factor } else { 1.0 }).product();
        let step = (now.as_secs() / DRIFT_STEP) as usize;
        let drift = self.drift.get(step).copied().unwrap_or(0.0).exp();
        self.busy += 1;
        let load = self.busy as f64 / self.nature.slots as f64;
        let seen = self.prompts.insert(request.session, now);
        let cached = seen.is_some_and(|at| now - at < PROMPTS_ARE_KEPT);
        let reading = 0.5 + 0.5 * (request.input_tokens as f64 / USUAL_INPUT).min(8.0);
        let first = self.nature.first_token
            * reading
            * if cached { CACHED_TIME } else { 1.0 }
            * drift
            * slow
            // Batches grow with load: everything becomes slower well before the queue begins.
            * (1.0 + load * load)
            * random.lognormal(0.3);
        let rate = self.nature.rate / (slow * drift * (1.0 + 0.5 * load)) * random.lognormal(0.1);
        let first_token = Duration::from_secs_f64(first);
        let speaking = Duration::from_secs_f64(request.output_tokens as f64 / rate);
        Reaction::Works { first_token, last_token: first_token + speaking, cached }
    }

    /// A slot is free again. Who waits for it begins now.
    pub(crate) fn free(&mut self) -> Option<usize> {
        self.busy -= 1;
        self.queue.pop_front()
    }

    /// Nano-dollars.
    pub(crate) fn price(&self, request: Request, output_tokens: u64, cached: bool) -> u64 {
        let (input, output) = self.nature.prices;
        let reading = (input * request.input_tokens) as f64 * if cached { CACHED_PRICE } else { 1.0 };
        reading as u64 + output * output_tokens
    }
}
