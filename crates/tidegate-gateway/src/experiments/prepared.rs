//! The entries of `experiments:` made ready, once for each configuration.

use std::collections::HashMap;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use tidegate_catalog::{Catalog, NanoDollars};
use tidegate_config::{Design, Experiment, Guard, Retry, Settings, Unit};
use tidegate_policy::experiments::{BanditSettings, CanarySettings, GuardSettings, Metric};
use tidegate_policy::{Budget, BudgetKind, BudgetPeriod, Limits};
use tidegate_store::{Level, Scope, Text};

use super::shadow::ShadowCounts;
use crate::plan::{ArmTarget, EntryTarget, Planned};
use crate::provider::Provider;

/// The arms of a canary, by the names that it has in reports.
pub(super) const CONTROL: &str = "control";
pub(super) const CANARY: &str = "canary";
/// How many points of all traffic a single decision of a bandit may move, so that few sessions change their arm.
const MOST_MOVED: f64 = 0.1;

/// All experiments of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Experiments {
    by_model: HashMap<String, OfModel>,
}

/// The experiments of one model.
#[derive(Debug, Default)]
pub(crate) struct OfModel {
    /// An A/B test or a canary; there is one at most.
    pub(crate) split: Option<Arc<Split>>,
    pub(crate) shadows: Vec<Arc<Shadow>>,
}

/// An A/B test or a canary: a model's calls are split over arms.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) name: Text,
    /// Tells definitions of the same name apart.
    pub(crate) run: Text,
    pub(crate) by: Unit,
    pub(crate) arms: Vec<Arm>,
    /// The arm that others are compared with.
    pub(crate) control: usize,
    pub(crate) guard: Option<GuardSettings>,
    pub(crate) bandit: Option<BanditSettings>,
    pub(crate) canary: Option<CanarySettings>,
}

/// One side of a split.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) name: Text,
    /// Its share of the calls by the configuration, 0 to 1.
    pub(crate) share: f64,
    /// Where its calls go; where the model's go anyway, where there is none.
    pub(crate) target: Option<Arc<ArmTarget>>,
}

/// A part of a model's calls is also sent to a candidate.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) name: Text,
    pub(crate) run: Text,
    pub(crate) share: f64,
    /// The candidate, behind a provider of its own: what shadows do to keys and targets must not be felt by callers.
    pub(crate) planned: Planned,
    /// The same provider as callers know it.
    pub(crate) provider: Arc<Provider>,
    /// Its own budget.
    pub(crate) level: Option<Level>,
    pub(crate) counts: Arc<ShadowCounts>,
}

/// What experiments are made ready with.
pub(crate) struct Means<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) catalog: &'a Catalog,
    pub(crate) provider: &'a dyn Fn(&str) -> Option<Arc<Provider>>,
    /// The provider of this name once more, with health of its own.
    pub(crate) second_provider: &'a dyn Fn(&str) -> Option<Arc<Provider>>,
}

impl Experiments {
    /// Makes all experiments ready; counts of shadows go on after a reload.
    pub(crate) fn build(means: &Means<'_>, before: Option<&Self>) -> Self {
        let mut by_model = HashMap::<String, OfModel>::new();
        for experiment in means.settings.experiments.values() {
            let of_model = by_model.entry(experiment.model.clone()).or_default();
            match Prepared::of(experiment, means) {
                Some(Prepared::Split(split)) => of_model.split = Some(Arc::new(split)),
                Some(Prepared::Shadow(mut shadow)) => {
                    if let Some(known) = before.and_then(|before| before.shadow(&shadow.name)) {
                        shadow.counts = Arc::clone(&known.counts);
                    }
                    of_model.shadows.push(Arc::new(shadow));
                }
                // The configuration refuses experiments with providers that are not there.
                None => tracing::error!(
                    experiment = experiment.name,
                    "an experiment has a target without a provider"
                ),
            }
        }
        Self { by_model }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_model.is_empty()
    }

    /// Those of a model, by the name that a caller uses.
    pub(crate) fn of_model(&self, model: &str) -> Option<&OfModel> {
        if self.by_model.is_empty() {
            return None;
        }
        self.by_model.get(model.strip_prefix("models/").unwrap_or(model))
    }

    /// All tests and canaries.
    pub(crate) fn splits(&self) -> impl Iterator<Item = &Arc<Split>> {
        self.by_model.values().filter_map(|of_model| of_model.split.as_ref())
    }

    /// All shadows.
    pub(crate) fn shadows(&self) -> impl Iterator<Item = &Arc<Shadow>> {
        self.by_model.values().flat_map(|of_model| &of_model.shadows)
    }

    pub(super) fn shadow(&self, name: &str) -> Option<&Arc<Shadow>> {
        self.shadows().find(|shadow| &*shadow.name == name)
    }
}

enum Prepared {
    Split(Split),
    Shadow(Shadow),
}

impl Prepared {
    fn of(experiment: &Experiment, means: &Means<'_>) -> Option<Self> {
        let name = Text::from(experiment.name.clone());
        let run = Text::from(run_of(experiment));
        let arm_target = |target: &tidegate_config::Target| -> Option<Arc<ArmTarget>> {
            let target = entry_target((means.provider)(&target.provider)?, target, means);
            Some(Arc::new(ArmTarget { model: experiment.model.as_str().into(), target }))
        };
        Some(match &experiment.design {
            Design::Arms(design) => {
                let whole: f64 = design.arms.values().map(|arm| f64::from(arm.weight)).sum();
                let mut arms = Vec::with_capacity(design.arms.len());
                for (name, arm) in &design.arms {
                    let target = match &arm.target {
                        None => None,
                        Some(target) => Some(arm_target(target)?),
                    };
                    let share = f64::from(arm.weight) / whole.max(1.0);
                    arms.push(Arm { name: Text::from(name.clone()), share, target });
                }
                let bandit = design.bandit.map(|bandit| BanditSettings {
                    metric: metric(bandit.metric),
                    least: bandit.least.fraction(),
                    most_moved: MOST_MOVED,
                });
                let control = design.control();
                let guard = design.guard.as_ref().map(guard);
                Self::Split(Split { name, run, by: design.by, arms, control, guard, bandit, canary: None })
            }
            Design::Canary(design) => {
                let control = Arm { name: CONTROL.into(), share: 1.0, target: None };
                let canary =
                    Arm { name: CANARY.into(), share: 0.0, target: Some(arm_target(&design.target)?) };
                Self::Split(Split {
                    name,
                    run,
                    by: design.by,
                    arms: vec![control, canary],
                    control: 0,
                    guard: None,
                    bandit: None,
                    canary: Some(canary_settings(design)),
                })
            }
            Design::Shadow(design) => {
                let provider = (means.provider)(&design.target.provider)?;
                let second = (means.second_provider)(&design.target.provider)?;
                let level = design.budget.map(|budget| {
                    let budgets = vec![Budget {
                        usd: NanoDollars(i64::try_from(budget.nano_dollars).unwrap_or(i64::MAX)),
                        per: period(budget.per),
                        kind: BudgetKind::Hard,
                    }];
                    let scope = Scope::Experiment(experiment.name.as_str().into());
                    Level::new(scope, Arc::new(Limits { budgets, ..Limits::default() }))
                });
                // Whoever waits to be let in again would keep other shadows from their place.
                let retry = Retry { attempts: 1, ..design.target.retry };
                let once = tidegate_config::Target { retry, ..design.target.clone() };
                Self::Shadow(Shadow {
                    planned: entry_target(second, &once, means).planned,
                    counts: Arc::new(ShadowCounts::new(&experiment.name)),
                    share: design.share.fraction(),
                    name,
                    run,
                    provider,
                    level,
                })
            }
        })
    }
}

/// A hash of what makes two definitions two experiments: arms and targets, not how many calls go where.
pub(super) fn run_of(experiment: &Experiment) -> String {
    let label = |target: &tidegate_config::Target| format!("{}/{}", target.provider, target.model);
    let definition = match &experiment.design {
        Design::Arms(design) => {
            let arms: Vec<(&String, Option<String>)> =
                design.arms.iter().map(|(name, arm)| (name, arm.target.as_ref().map(label))).collect();
            format!("arms {:?} {:?} {arms:?}", experiment.model, design.by)
        }
        Design::Canary(design) => {
            format!("canary {:?} {:?} {:?}", experiment.model, design.by, label(&design.target))
        }
        Design::Shadow(design) => format!("shadow {:?} {:?}", experiment.model, label(&design.target)),
    };
    let hash = digest(&SHA256, definition.as_bytes());
    let first = hash.as_ref().first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first));
    // Twelve digits: enough to tell the definitions of one name apart.
    format!("{:012x}", first >> 16)
}

fn entry_target(provider: Arc<Provider>, target: &tidegate_config::Target, means: &Means<'_>) -> EntryTarget {
    EntryTarget::alone(provider, target, means.settings, means.catalog)
}

pub(super) fn canary_settings(design: &tidegate_config::CanaryDesign) -> CanarySettings {
    // Without a guard nothing is ever too bad.
    let never = GuardSettings { errors: None, cost: None, first_token: None, latency: None };
    CanarySettings {
        steps: design.steps.iter().map(|share| share.fraction()).collect(),
        calls: design.calls,
        after: design.after,
        guard: design.guard.as_ref().map_or(never, guard),
    }
}

fn guard(guard: &Guard) -> GuardSettings {
    GuardSettings {
        errors: guard.errors.map(tidegate_config::Share::fraction),
        cost: guard.cost.map(tidegate_config::Share::fraction),
        first_token: None,
        latency: None,
    }
}

fn metric(metric: tidegate_config::Metric) -> Metric {
    match metric {
        tidegate_config::Metric::Feedback => Metric::Feedback,
        tidegate_config::Metric::Cost => Metric::Cost,
        tidegate_config::Metric::Latency => Metric::Latency,
        tidegate_config::Metric::Errors => Metric::Errors,
    }
}

fn period(period: tidegate_config::BudgetPeriod) -> BudgetPeriod {
    match period {
        tidegate_config::BudgetPeriod::Hour => BudgetPeriod::Hour,
        tidegate_config::BudgetPeriod::Day => BudgetPeriod::Day,
        tidegate_config::BudgetPeriod::Week => BudgetPeriod::Week,
        tidegate_config::BudgetPeriod::Month => BudgetPeriod::Month,
        tidegate_config::BudgetPeriod::Lifetime => BudgetPeriod::Lifetime,
    }
}
