//! What is tried out, in a few lines for each experiment. A part of the page of `tidegate check`.

use std::fmt::Write as _;

use tidegate_catalog::NanoDollars;

use super::duration;
use crate::settings::{ArmsDesign, BudgetPeriod, Design, Experiment, Metric, Target, Unit};

pub(super) fn write(page: &mut String, experiment: &Experiment) -> std::fmt::Result {
    let Experiment { name, model, design } = experiment;
    let label = |target: &Target| format!("{}/{}", target.provider, target.model);
    match design {
        Design::Arms(test) => {
            let total: u64 = test.arms.values().map(|arm| u64::from(arm.weight)).sum();
            writeln!(
                page,
                "  {name}: the calls of {model} in {} arms, by {}",
                test.arms.len(),
                unit(test.by)
            )?;
            for (name, arm) in &test.arms {
                let goes_to = arm.target.as_ref().map_or_else(|| "as it is".to_owned(), label);
                writeln!(page, "    {name}: {goes_to}, {} of {total}", arm.weight)?;
            }
        }
        Design::Shadow(shadow) => {
            let budget = shadow.budget.map_or_else(String::new, |budget| {
                let amount = NanoDollars(i64::try_from(budget.nano_dollars).unwrap_or(i64::MAX));
                format!(", for at most {amount} US dollars {}", period(budget.per))
            });
            let to = label(&shadow.target);
            writeln!(page, "  {name}: {} of the calls of {model} also go to {to}{budget}", shadow.share)?;
        }
        Design::Canary(canary) => {
            let steps: Vec<String> = canary.steps.iter().map(ToString::to_string).collect();
            writeln!(
                page,
                "  {name}: the calls of {model} move to {} in steps of {}, each after {} calls and {}",
                label(&canary.target),
                steps.join(", "),
                canary.calls,
                duration(canary.after)
            )?;
        }
    }
    if let Design::Arms(ArmsDesign { bandit: Some(bandit), .. }) = design {
        let metric = match bandit.metric {
            Metric::Feedback => "better feedback",
            Metric::Cost => "lower cost",
            Metric::Latency => "quicker answers",
            Metric::Errors => "fewer errors",
        };
        writeln!(page, "    calls shift to the arm with {metric}, each keeps {}", bandit.least)?;
    }
    let guard = match design {
        Design::Arms(test) => test.guard,
        Design::Canary(canary) => canary.guard,
        Design::Shadow(_) => return Ok(()),
    };
    let Some(guard) = guard else { return writeln!(page, "    nothing is stopped by itself") };
    let errors = guard.errors.map(|share| format!("fails {share} more often"));
    let cost = guard.cost.map(|share| format!("costs {share} more"));
    let bounds: Vec<String> = [errors, cost].into_iter().flatten().collect();
    writeln!(page, "    stopped when it {}", bounds.join(" or "))
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Session => "session",
        Unit::User => "user",
        Unit::Key => "key",
        Unit::Call => "call",
    }
}

fn period(per: BudgetPeriod) -> &'static str {
    match per {
        BudgetPeriod::Hour => "an hour",
        BudgetPeriod::Day => "a day",
        BudgetPeriod::Week => "a week",
        BudgetPeriod::Month => "a month",
        BudgetPeriod::Lifetime => "in all",
    }
}
