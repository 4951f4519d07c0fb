//! Conditions: CEL expressions on a call, such as `call.input_tokens < 8000`, on a target or a model.
//!
//! A condition is checked when the file is read, names and types included, so that what is left to fail for a call is what depends
//! on it: a header that is no number, a sum that overflows. `plan` evaluates it with the [`Facts`] of a call.
//!
//! | module | for |
//! |---|---|
//! | `variable` | what a condition can look at, and its type |
//! | `check` | names and types, before anything is evaluated |
//! | `kind` | the types |
//! | `values` | the facts of a call as the evaluation sees them |

mod check;
mod kind;
#[cfg(test)]
mod tests;
mod values;
mod variable;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use regex::Regex;
use serde::{Serialize, Serializer};

pub use values::{Fact, Facts};
pub use variable::Variable;

/// A condition is a line, not a program.
pub(crate) const LONGEST: usize = 1000;

/// The parser descends with every bracket and takes some 100 KB of stack for each; what it does not use costs nothing.
const PARSER_STACK: usize = 64 * 1024 * 1024;

/// Everything that expressions can call; made once, as it takes a while.
static ENVIRONMENT: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// The name under which [`Condition`] offers its compiled patterns. `matches` becomes a call of it.
const MATCHES: &str = "matches_pattern";

/// A checked expression that holds for a call or does not.
#[derive(Clone)]
pub struct Condition(Arc<Checked>);

struct Checked {
    text: String,
    expression: IdedExpr,
    variables: Vec<Variable>,
    /// The patterns of `matches`, in the order in which they are called by number.
    patterns: Arc<[Regex]>,
}

/// A condition that could not be evaluated for a call, and so does not hold for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the condition `{condition}` does not hold, as it cannot be evaluated for this call: {why}")]
pub struct ConditionError {
    /// The condition as it was written.
    pub condition: String,
    /// What was wrong. Says nothing of the call's content.
    pub why: &'static str,
}

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// Where, in bytes of the text.
    pub(crate) at: Range<usize>,
}

impl Condition {
    /// Reads and checks a condition.
    pub(crate) fn new(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() || text.len() > LONGEST {
            let message = format!("a condition has between 1 and {LONGEST} letters");
            return Err(Wrong { message, help: None, at: 0..text.len() });
        }
        check::brackets(text)?;
        let checked = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .stack_size(PARSER_STACK)
                .spawn_scoped(scope, || {
                    let program = ENVIRONMENT.compile(text).map_err(|errors| check::syntax(text, &errors))?;
                    check::check(text, &program)
                })
                .ok()
                .and_then(|thread| thread.join().ok())
        });
        let Some(checked) = checked else {
            let message = "this condition cannot be read".to_owned();
            return Err(Wrong { message, help: None, at: 0..text.len() });
        };
        let checked = checked?;
        Ok(Self(Arc::new(Checked {
            text: text.to_owned(),
            expression: checked.expression,
            variables: checked.variables,
            patterns: checked.patterns.into(),
        })))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it looks at, each once.
    pub fn variables(&self) -> &[Variable] {
        &self.0.variables
    }

    /// Whether it holds. What it does not look at is not asked of `facts`.
    pub fn holds(&self, facts: &dyn Facts) -> Result<bool, ConditionError> {
        let checked = &*self.0;
        let failed = |why| ConditionError { condition: checked.text.clone(), why };
        let resolver = values::Resolver { facts };
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&resolver);
        if !checked.patterns.is_empty() {
            let patterns = Arc::clone(&checked.patterns);
            let matches = move |text: Arc<String>, number: i64| {
                let pattern = usize::try_from(number).ok().and_then(|number| patterns.get(number));
                pattern.is_some_and(|pattern| pattern.is_match(&text))
            };
            context.add_function(MATCHES, matches).map_err(|_taken| failed("`matches` is not there"))?;
        }
        let value = Value::resolve_val(&checked.expression, &context).map_err(|error| failed(why(&error)))?;
        match value.downcast_ref::<CelBool>() {
            Some(holds) => Ok(*holds.inner()),
            None => Err(failed("it is neither true nor false")),
        }
    }
}

/// The kind of an error without the values that it would quote, which are the caller's.
fn why(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero",
        ExecutionError::Overflow(..) => "a number is too large",
        ExecutionError::IndexOutOfBounds(_) => "a list is shorter than that",
        ExecutionError::FunctionError { .. } => "a text cannot be converted",
        _ => "its parts do not fit together",
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Condition {}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.text)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Condition({})", self.0.text)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}
