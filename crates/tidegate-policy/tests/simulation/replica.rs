//! One gateway's view of the targets: the real figures, breakers, limits and budgets, kept as the gateway keeps them.

use std::time::Duration;

use tidegate_policy::routing::{
    AffinityKey, Allowance, Choice, Figures, HedgeBudget, ProviderLimits, Ranking, Standing, Strategy, rank,
};
use tidegate_policy::{
    Breaker, BreakerSettings, Comeback, HealthEffect, Moment, Readiness, RetryBudget, WhyOut,
    is_retry_allowed, rule,
};
use tidegate_wire::FailureKind;

use crate::random::Random;
use crate::world::{LimitSaid, Request, Target};

/// What a gateway knows of one target.
pub(crate) struct Known {
    pub(crate) figures: Figures,
    pub(crate) breaker: Breaker,
    pub(crate) limits: ProviderLimits,
    pub(crate) cool_until: Moment,
}

pub(crate) struct Replica {
    pub(crate) targets: Vec<Known>,
    pub(crate) names: Vec<String>,
    pub(crate) random: Random,
    pub(crate) calls: usize,
    pub(crate) retries: usize,
    pub(crate) hedges: HedgeBudget,
}

impl Replica {
    pub(crate) fn new(targets: usize, random: Random) -> Self {
        let known = |_| Known {
            figures: Figures::new(Moment::ZERO),
            breaker: Breaker::new(BreakerSettings::default()),
            limits: ProviderLimits::default(),
            cool_until: Moment::ZERO,
        };
        Self {
            targets: (0..targets).map(known).collect(),
            names: (0..targets).map(|index| format!("provider-{index}/model")).collect(),
            random,
            calls: 0,
            retries: 0,
            hedges: HedgeBudget::new(),
        }
    }

    pub(crate) fn readiness(&self, target: usize, now: Moment) -> Readiness {
        let known = &self.targets[target];
        if known.cool_until > now {
            Readiness::Cooling { until: known.cool_until }
        } else if known.breaker.is_ready(now) {
            Readiness::Ready
        } else {
            Readiness::Out { why: WhyOut::Failing, probe_at: known.breaker.ready_at() }
        }
    }

    pub(crate) fn rank(
        &mut self,
        strategy: Strategy,
        world: &[Target],
        request: Request,
        now: Moment,
    ) -> Ranking {
        let session = AffinityKey::new(&request.session.to_le_bytes());
        let choices: Vec<Choice> = (0..self.targets.len())
            .map(|index| {
                let known = &self.targets[index];
                Choice {
                    weight: world[index].nature.weight,
                    measured: known.figures.measured(now),
                    price: Some(world[index].price(request, 200, false)),
                    affinity: session.score(&self.names[index]),
                    headroom: known.limits.headroom(now, request.input_tokens),
                    standing: if known.cool_until > now {
                        Standing::Out
                    } else {
                        known.breaker.standing(now)
                    },
                }
            })
            .collect();
        let random = &mut self.random;
        rank(strategy, &choices, || random.unit())
    }

    pub(crate) fn may_retry(&self) -> bool {
        is_retry_allowed(RetryBudget { calls: self.calls, retries: self.retries })
    }

    pub(crate) fn was_told(&mut self, target: usize, said: LimitSaid, now: Moment) {
        let (limit, remaining, whole_in) = said;
        self.targets[target].limits.requests = Allowance::new(now, limit, remaining, whole_in);
    }

    pub(crate) fn succeeded(&mut self, target: usize, began: Moment, now: Moment) {
        let known = &mut self.targets[target];
        match known.breaker.succeed(began, now) {
            Comeback::FromOutage => known.figures.recovered(now),
            Comeback::FromFailures => known.figures.forgive(),
            Comeback::None => {}
        }
    }

    /// What a failure does to the health of its target; its figures are told by whoever holds the call.
    pub(crate) fn failed(
        &mut self,
        target: usize,
        kind: FailureKind,
        retry_after: Option<Duration>,
        began: Moment,
        now: Moment,
    ) {
        let known = &mut self.targets[target];
        match rule(kind).health {
            HealthEffect::Counts => known.breaker.fail(began, now),
            HealthEffect::KeyCools => {
                known.breaker.abandon();
                let rest = retry_after.unwrap_or(Duration::from_millis(200));
                known.cool_until = known.cool_until.max(now + rest);
            }
            HealthEffect::None | HealthEffect::KeyOut | HealthEffect::TargetOut => known.breaker.abandon(),
        }
    }
}
