//! The `experiments` section: models that are entries, arms that can be told apart, steps that rise to the whole.

use std::collections::HashMap;
use std::time::Duration;

use indexmap::IndexMap;

use super::Resolver;
use crate::diagnostic::Mistake;
use crate::file::{
    ArmSection, BanditSection, CanarySection, ExperimentSection, File, GuardEntry, MetricKind, ModelSection,
    Named, PeriodKind, ShadowSection, UnitKind,
};
use crate::read::Located;
use crate::settings::{
    Arm, ArmsDesign, Bandit, BudgetPeriod, CanaryDesign, Design, Experiment, Guard, Metric, Settings,
    ShadowBudget, ShadowDesign, Share, Target, Unit,
};
use crate::suggest;
use crate::units::ShareText;

/// Each is kept in memory with its sums, and looked for in every call.
const MOST_EXPERIMENTS: usize = 100;
/// More arms than these need more calls than anybody has.
const MOST_ARMS: usize = 10;
/// Every call would be sent as often again.
const MOST_SHADOWS_A_MODEL: usize = 3;
/// A step takes an hour or so.
const MOST_STEPS: usize = 20;
/// Ten times as dear is no bound any more.
const LARGEST_GUARD: Share = Share::from_percent(1_000);
/// More calls than that, and a step ends never.
const MOST_CALLS_A_STEP: u32 = 10_000_000;
const USUAL_STEPS: [Share; 4] =
    [Share::from_percent(1), Share::from_percent(5), Share::from_percent(25), Share::WHOLE];
const USUAL_CALLS: u32 = 200;
const USUAL_AFTER: Duration = Duration::from_secs(600);
const USUAL_SHADOW: Share = Share::from_percent(10);
const USUAL_LEAST: Share = Share::from_percent(5);

impl Resolver<'_> {
    pub(super) fn experiments(&mut self, file: &File, settings: &Settings) -> IndexMap<String, Experiment> {
        let sections = &file.experiments;
        if let Some((_, beyond)) = sections.0.get(MOST_EXPERIMENTS) {
            let mistake = Mistake::new(format!("there are more than {MOST_EXPERIMENTS} experiments"));
            self.mistakes.push(mistake.at(beyond.key_place.clone()));
        }
        let mut experiments = IndexMap::<String, Experiment>::new();
        for (name, section) in &sections.0 {
            self.check_name("experiment", name, &section.key_place, false);
            let Some(experiment) = self.experiment(name, section, file, settings) else { continue };
            self.refuse_rivals(&experiment, section, &experiments);
            experiments.insert(name.clone(), experiment);
        }
        experiments
    }

    fn experiment(
        &mut self,
        name: &str,
        section: &Located<ExperimentSection>,
        file: &File,
        settings: &Settings,
    ) -> Option<Experiment> {
        let mut wrong = |mistake: Mistake| self.mistakes.push(mistake.at(section.key_place.clone()));
        let Some(model) = &section.value.model else {
            wrong(
                Mistake::new(format!("the experiment `{name}` has no `model`"))
                    .help("name the entry of `models` whose calls take part"),
            );
            return None;
        };
        let ExperimentSection { by, arms, shadow, canary, guard, bandit, .. } = &section.value;
        let designs = [arms.is_some(), shadow.is_some(), canary.is_some()];
        if designs.into_iter().filter(|is_there| *is_there).count() != 1 {
            wrong(
                Mistake::new(format!("the experiment `{name}` is not one of `arms`, `shadow`, `canary`"))
                    .help("write one of them; two experiments can share a model"),
            );
            return None;
        }
        let base = self.entry(model, &file.models)?;
        let place = Place { base, settings };
        let by_unit = by.as_ref().map_or(Unit::default(), |by| unit(by.value));
        let design = if let Some(arms) = arms {
            Design::Arms(ArmsDesign {
                by: by_unit,
                arms: self.arms(name, arms, &place),
                guard: self.guard(guard.as_ref()),
                bandit: bandit.as_ref().map(|bandit| self.bandit(&bandit.value, arms.value.0.len())),
            })
        } else if let Some(canary) = canary {
            self.refuse_idle("bandit", "an A/B test", bandit.as_ref());
            let guard = self.guard(guard.as_ref());
            Design::Canary(self.canary(&canary.value, by_unit, guard, &place)?)
        } else if let Some(shadow) = shadow {
            self.refuse_idle("bandit", "an A/B test", bandit.as_ref());
            self.refuse_idle("guard", "an A/B test and for a canary", guard.as_ref());
            self.refuse_idle("by", "an A/B test and for a canary", by.as_ref());
            Design::Shadow(self.shadow(&shadow.value, &place)?)
        } else {
            return None;
        };
        Some(Experiment { name: name.to_owned(), model: model.value.trim().to_owned(), design })
    }

    /// The entry of `models:` of that name.
    fn entry<'m>(
        &mut self,
        model: &Located<String>,
        models: &'m Named<ModelSection>,
    ) -> Option<&'m Located<ModelSection>> {
        let name = model.value.trim();
        let found = models.0.iter().find(|(known, _)| known == name);
        // One that was written and could not be read has been reported.
        if found.is_none() && self.tree.get("models").is_none_or(|models| models.get(name).is_none()) {
            let mistake = Mistake::new(format!("no entry of `models` is called `{name}`"));
            let help = suggest::hint(name, models.0.iter().map(|(known, _)| known.as_str()))
                .or_else(|| Some("an experiment takes the calls of an entry of `models`".to_owned()));
            self.report(Mistake { help, ..mistake }, model);
        }
        found.map(|(_, section)| section)
    }

    fn refuse_idle<T>(&mut self, key: &str, what_for: &str, written: Option<&Located<T>>) {
        let Some(written) = written else { return };
        let mistake = Mistake::new(format!("`{key}` is there for {what_for} only")).help("leave it out");
        self.mistakes.push(mistake.at(written.key_place.clone()));
    }

    /// Two experiments that decide where a call goes cannot both be right.
    fn refuse_rivals(
        &mut self,
        experiment: &Experiment,
        section: &Located<ExperimentSection>,
        others: &IndexMap<String, Experiment>,
    ) {
        let is_shadow = |experiment: &Experiment| matches!(experiment.design, Design::Shadow(_));
        let of_model = || {
            others
                .values()
                .filter(|other| other.model == experiment.model && is_shadow(other) == is_shadow(experiment))
        };
        let mistake = if !is_shadow(experiment)
            && let Some(rival) = of_model().next()
        {
            Mistake::new(format!(
                "the experiments `{}` and `{}` both decide where the calls of `{}` go",
                rival.name, experiment.name, experiment.model
            ))
            .help("let one of them end first, or make them one test with several arms")
        } else if is_shadow(experiment) && of_model().count() >= MOST_SHADOWS_A_MODEL {
            Mistake::new(format!("`{}` has more than {MOST_SHADOWS_A_MODEL} shadows", experiment.model))
        } else {
            return;
        };
        self.mistakes.push(mistake.at(section.key_place.clone()));
    }

    fn candidate(&mut self, written: &Located<String>, place: &Place<'_>) -> Option<Target> {
        let Place { base, settings } = place;
        let general = &settings.policy;
        let policy = self.quiet(|resolver| resolver.model_policy(general, &base.value));
        self.target(written, None, &base.value, general, &policy, &settings.providers)
    }

    fn arms(
        &mut self,
        name: &str,
        section: &Located<Named<Option<ArmSection>>>,
        place: &Place<'_>,
    ) -> IndexMap<String, Arm> {
        let written = &section.value.0;
        if !(2..=MOST_ARMS).contains(&written.len()) {
            let mistake =
                Mistake::new(format!("`{name}` has {} arms, and needs 2 to {MOST_ARMS}", written.len()));
            let help = "one without a target is the model as it is: `control: { weight: 9 }`";
            self.mistakes.push(mistake.help(help).at(section.key_place.clone()));
        }
        let nothing = ArmSection::default();
        let mut arms = IndexMap::new();
        let mut seen: HashMap<Option<String>, &str> = HashMap::new();
        for (arm_name, arm) in written {
            self.check_name("arm", arm_name, &arm.key_place, false);
            let section = arm.value.as_ref().unwrap_or(&nothing);
            let target = match &section.target {
                Some(target) => match self.candidate(target, place) {
                    Some(target) => Some(target),
                    None => continue, // Reported, and not to be taken for one without a target.
                },
                None => None,
            };
            let goes_to = target.as_ref().map(|target| format!("{}/{}", target.provider, target.model));
            if let Some(twin) = seen.insert(goes_to, arm_name) {
                let mistake = Mistake::new(format!("the arms `{twin}` and `{arm_name}` are the same"));
                self.mistakes.push(mistake.help("give one of them another target").at(arm.key_place.clone()));
            }
            let weight = self.weight(section.weight.as_ref());
            arms.insert(arm_name.clone(), Arm { weight, target });
        }
        arms
    }

    fn guard(&mut self, written: Option<&Located<GuardEntry>>) -> Option<Guard> {
        let Some(written) = written else { return Some(Guard::default()) };
        let section = match &written.value {
            GuardEntry::Text(text) if text.trim() == "false" => return None,
            GuardEntry::Text(_) => {
                let mistake = Mistake::new("`guard` is `false`, or says how much worse an arm may be");
                self.report(mistake.help("such as `guard: { errors: 5%, cost: 50% }`"), written);
                return None;
            }
            GuardEntry::Mapping(section) => section,
        };
        for bound in [&section.errors, &section.cost].into_iter().flatten() {
            if bound.value.0 > LARGEST_GUARD || bound.value.0 == Share::NONE {
                let mistake = Mistake::new(format!("a guard is above 0 and at most {LARGEST_GUARD}"));
                self.report(mistake, bound);
            }
        }
        if section.errors.is_none() && section.cost.is_none() {
            self.report(Mistake::new("`guard` guards nothing").help("`guard: false` says so"), written);
        }
        let share = |bound: &Option<Located<ShareText>>| bound.as_ref().map(|bound| bound.value.0);
        Some(Guard { errors: share(&section.errors), cost: share(&section.cost) })
    }

    fn bandit(&mut self, section: &BanditSection, arms: usize) -> Bandit {
        let least = section.least.as_ref().map_or(USUAL_LEAST, |least| least.value.0);
        let taken = u64::from(least.millionths()).saturating_mul(u64::try_from(arms).unwrap_or(u64::MAX));
        if let Some(written) = &section.least
            && (least == Share::NONE || taken >= u64::from(Share::WHOLE.millionths()))
        {
            let mistake =
                Mistake::new(format!("`least` for {arms} arms is above 0 and leaves something to shift"));
            self.report(mistake.help("such as `least: 5%`"), written);
        }
        let metric = match section.metric.value {
            MetricKind::Feedback => Metric::Feedback,
            MetricKind::Cost => Metric::Cost,
            MetricKind::Latency => Metric::Latency,
            MetricKind::Errors => Metric::Errors,
        };
        Bandit { metric, least }
    }

    fn shadow(&mut self, section: &ShadowSection, place: &Place<'_>) -> Option<ShadowDesign> {
        let share = section.share.as_ref().map_or(USUAL_SHADOW, |share| share.value.0);
        if let Some(written) = &section.share {
            self.check_share(written);
        }
        let budget = section.budget.as_ref().map(|budget| ShadowBudget {
            nano_dollars: budget.usd.value.0,
            per: match budget.per.unwrap_or(PeriodKind::Day) {
                PeriodKind::Hour => BudgetPeriod::Hour,
                PeriodKind::Day => BudgetPeriod::Day,
                PeriodKind::Week => BudgetPeriod::Week,
                PeriodKind::Month => BudgetPeriod::Month,
                PeriodKind::Lifetime => BudgetPeriod::Lifetime,
            },
        });
        Some(ShadowDesign { target: self.candidate(&section.target, place)?, share, budget })
    }

    fn canary(
        &mut self,
        section: &CanarySection,
        by: Unit,
        guard: Option<Guard>,
        place: &Place<'_>,
    ) -> Option<CanaryDesign> {
        let steps = section.steps.as_ref().map_or(USUAL_STEPS.to_vec(), |steps| self.steps(steps));
        let calls = section.calls.as_ref().map_or(USUAL_CALLS, |calls| calls.value);
        if let Some(written) = &section.calls
            && !(1..=MOST_CALLS_A_STEP).contains(&calls)
        {
            self.report(Mistake::new(format!("`calls` is between 1 and {MOST_CALLS_A_STEP}")), written);
        }
        let after = section.after.map_or(USUAL_AFTER, |after| after.0);
        let target = self.candidate(&section.target, place)?;
        Some(CanaryDesign { by, target, steps, calls: u64::from(calls), after, guard })
    }

    fn steps(&mut self, written: &Located<Vec<Located<ShareText>>>) -> Vec<Share> {
        let steps = &written.value;
        if steps.len() > MOST_STEPS {
            self.report(Mistake::new(format!("a canary has at most {MOST_STEPS} steps")), written);
        }
        let mut before = Share::NONE;
        for step in steps {
            let share = step.value.0;
            if self.check_share(step) && share <= before {
                let mistake =
                    Mistake::new(format!("the step {share} comes after {before} and is not above it"));
                self.report(mistake.help("let the steps rise, such as `[1%, 5%, 25%, 100%]`"), step);
            }
            before = share;
        }
        match steps.last() {
            Some(last) if last.value.0 < Share::WHOLE => {
                let mistake = Mistake::new(format!("the last step is {}, not 100%", last.value.0));
                self.report(mistake.help("a canary ends with all calls: `[1%, 5%, 25%, 100%]`"), last);
            }
            Some(_) => {}
            None => self.report(Mistake::new("`steps` is empty"), written),
        }
        steps.iter().map(|step| step.value.0).collect()
    }

    /// Whether it is a part of something that exists.
    fn check_share(&mut self, written: &Located<ShareText>) -> bool {
        let is_fit = written.value.0 > Share::NONE && written.value.0 <= Share::WHOLE;
        if !is_fit {
            let mistake = Mistake::new(format!("{} is no part of the calls", written.value.0));
            self.report(mistake.help("it is above 0 and at most 100%"), written);
        }
        is_fit
    }
}

/// What a candidate's settings follow from.
struct Place<'a> {
    base: &'a Located<ModelSection>,
    settings: &'a Settings,
}

fn unit(kind: UnitKind) -> Unit {
    match kind {
        UnitKind::Session => Unit::Session,
        UnitKind::User => Unit::User,
        UnitKind::Key => Unit::Key,
        UnitKind::Call => Unit::Call,
    }
}
