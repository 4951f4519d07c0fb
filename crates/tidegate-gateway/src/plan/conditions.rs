//! The facts of a call for the conditions of the configuration. Called by the planner, for each target and model that has one.
//!
//! A fact is found out when the first condition looks at it, once for a plan. A condition that cannot be evaluated does not hold, and is
//! counted: a target that is guarded must not be asked because its guard is broken.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use smallvec::SmallVec;
use tidegate_config::{Condition, ConditionError, Fact, Facts, Variable};
use tidegate_policy::Feature;
use tidegate_wire::Dialect;
use tidegate_wire::json::{Kind, Value};

use super::requirements::Needs;
use crate::accept::Call;

/// Headers that hold credentials, which no condition sees.
const CREDENTIALS: [&str; 6] =
    ["authorization", "proxy-authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"];

/// What conditions have asked of a call so far.
pub(super) struct Conditions<'a> {
    call: &'a Call,
    known: SmallVec<[(Variable, Fact<'a>); 4]>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(call: &'a Call) -> Self {
        Self { call, known: SmallVec::new() }
    }

    /// Whether a condition holds for the call and, where it stands on one, the target (its provider and model).
    pub(super) fn hold(
        &mut self,
        condition: &Condition,
        model: &str,
        target: Option<(&str, &str)>,
        needs: &Needs<'_>,
    ) -> bool {
        match self.evaluate(condition, target, needs) {
            Ok(holds) => holds,
            Err(error) => {
                metrics::counter!("tidegate_condition_failures_total", "model" => model.to_owned())
                    .increment(1);
                tracing::debug!(model, %error, "a condition could not be evaluated");
                false
            }
        }
    }

    fn evaluate(
        &mut self,
        condition: &Condition,
        target: Option<(&str, &str)>,
        needs: &Needs<'_>,
    ) -> Result<bool, ConditionError> {
        for variable in condition.variables().iter().copied().filter(|variable| !variable.is_of_target()) {
            if self.known.iter().all(|(known, _)| *known != variable) {
                let fact = fact(self.call, variable, needs).ok_or_else(|| ConditionError {
                    condition: condition.text().to_owned(),
                    why: "how far the budget is used is not known at the moment",
                })?;
                self.known.push((variable, fact));
            }
        }
        condition.holds(&View { call: self.call, known: &self.known, target: target.unwrap_or_default() })
    }
}

/// What a condition sees.
struct View<'a> {
    call: &'a Call,
    known: &'a [(Variable, Fact<'a>)],
    target: (&'a str, &'a str),
}

impl Facts for View<'_> {
    fn fact(&self, variable: Variable) -> Fact<'_> {
        match variable {
            Variable::TargetProvider => Fact::Text(Cow::Borrowed(self.target.0)),
            Variable::TargetModel => Fact::Text(Cow::Borrowed(self.target.1)),
            _ => match self.known.iter().find(|(known, _)| *known == variable) {
                Some((_, fact)) => fact.clone(),
                None => Fact::Text(Cow::Borrowed("")),
            },
        }
    }

    fn text(&self, variable: Variable, name: &str) -> Option<Cow<'_, str>> {
        if variable == Variable::CallTags {
            let tag = self.call.wishes.tags.iter().find(|(tag, _)| *tag == name);
            return tag.map(|(_, value)| Cow::Borrowed(value));
        }
        if CREDENTIALS.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) {
            return None;
        }
        let value = self.call.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()))
    }
}

/// One fact of a call; none where it cannot be known at the moment.
fn fact<'a>(call: &'a Call, variable: Variable, needs: &Needs<'_>) -> Option<Fact<'a>> {
    let text = |text: &'a str| Fact::Text(Cow::Borrowed(text));
    let uses = |feature| Fact::Bool(needs.uses().features.contains(feature));
    let number = |number: u64| Fact::Int(i64::try_from(number).unwrap_or(i64::MAX));
    Some(match variable {
        Variable::CallModel => text(&call.model),
        Variable::CallDialect => text(call.dialect.as_str()),
        Variable::CallOperation => text(call.operation.as_str()),
        Variable::CallStream => Fact::Bool(call.stream),
        Variable::CallInputTokens => number(needs.likely_input()),
        Variable::CallMaxOutputTokens => number(needs.asked_output().unwrap_or(0)),
        Variable::CallHasImages => uses(Feature::Images),
        Variable::CallHasAudio => uses(Feature::Audio),
        Variable::CallHasFiles => uses(Feature::Documents),
        Variable::CallTools => number(tools(call)),
        Variable::CallJsonSchema => uses(Feature::StructuredOutput),
        Variable::CallHeaders | Variable::CallTags => Fact::Texts,
        Variable::CallUser => text(call.end_user.as_ref().map_or("", |user| user.as_str())),
        Variable::CallSession => text(call.wishes.session.as_ref().map_or("", |session| session.as_str())),
        Variable::PrincipalKey => text(call.principal.key().map_or("", |key| &key.name)),
        Variable::PrincipalTeam => {
            let name = call.principal.team().map(|team| team.state.load().name.clone());
            Fact::Text(Cow::Owned(name.unwrap_or_default()))
        }
        Variable::PrincipalOrganization => {
            let name = call.principal.organization().map(|owner| owner.state.load().name.clone());
            Fact::Text(Cow::Owned(name.unwrap_or_default()))
        }
        Variable::BudgetUsed => Fact::Number(call.budget_used?),
        Variable::NowHour | Variable::NowMinute | Variable::NowWeekday => {
            let now = Timestamp::now().to_zoned(TimeZone::UTC);
            Fact::Int(i64::from(match variable {
                Variable::NowHour => now.hour(),
                Variable::NowMinute => now.minute(),
                _ => now.weekday().to_monday_zero_offset(),
            }))
        }
        // Asked of the view.
        Variable::TargetProvider | Variable::TargetModel => text(""),
    })
}

/// How many tools a call offers.
fn tools(call: &Call) -> u64 {
    let listed = |name: &str| call.document.get(name).map_or(0, |tools| tools.elements().count());
    let count = match call.dialect {
        Dialect::OpenAiChat => listed("tools") + listed("functions"),
        Dialect::AnthropicMessages => listed("tools"),
        // One entry holds many functions.
        Dialect::Gemini => call
            .document
            .get("tools")
            .map_or(0, |tools| tools.elements().map(|tool| functions_of(tool).unwrap_or(1)).sum::<usize>()),
    };
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn functions_of(tool: Value<'_>) -> Option<usize> {
    let functions = tool.get("functionDeclarations").or_else(|| tool.get("function_declarations"))?;
    (functions.kind() == Kind::Array).then(|| functions.elements().count())
}
