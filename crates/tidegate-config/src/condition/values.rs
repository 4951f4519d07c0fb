//! The facts of a call as the evaluation of a condition sees them. Implemented by the gateway's `plan`.

use std::borrow::Cow;

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, Type};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::variable::Variable;

/// Answers what conditions ask of a call.
pub trait Facts: Send + Sync {
    /// The value of a variable: the kind that it always has. Headers and tags are asked for by [`Facts::text`] instead.
    fn fact(&self, variable: Variable) -> Fact<'_>;

    /// One of the texts of [`Variable::CallHeaders`] (by its name in any case) or [`Variable::CallTags`]; none where there is
    /// no such text.
    fn text(&self, variable: Variable, name: &str) -> Option<Cow<'_, str>>;
}

/// A value that a condition looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// Texts by name, which are asked for one by one.
    Texts,
}

/// Finds the variables of an expression. The check has made each of them one name.
pub(super) struct Resolver<'f> {
    pub(super) facts: &'f dyn Facts,
}

impl VariableResolver for Resolver<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let variable = Variable::of(name)?;
        Some(match self.facts.fact(variable) {
            Fact::Bool(value) => CowVal::owned(CelBool::from(value)),
            Fact::Int(value) => CowVal::owned(CelInt::from(value)),
            Fact::Number(value) => CowVal::owned(CelDouble::from(value)),
            Fact::Text(Cow::Borrowed(value)) => CowVal::owned(CelString::from(value)),
            Fact::Text(Cow::Owned(value)) => CowVal::owned(CelString::from(value)),
            Fact::Texts => CowVal::owned(Texts { facts: self.facts, variable }),
        })
    }
}

static TEXTS: Type = Type::new_unspecified_type("texts");

/// Headers or tags. One that is not there is the empty text, so that a condition need not ask first.
#[derive(Clone, Copy)]
struct Texts<'f> {
    facts: &'f dyn Facts,
    variable: Variable,
}

impl std::fmt::Debug for Texts<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.variable.name())
    }
}

impl Texts<'_> {
    fn name(index: &dyn Val) -> Result<&str, ExecutionError> {
        index.downcast_ref::<CelString<'_>>().map(CelString::inner).ok_or_else(|| {
            ExecutionError::UnexpectedType {
                got: index.get_type().name().to_owned(),
                want: "string".to_owned(),
            }
        })
    }
}

impl Val for Texts<'_> {
    fn get_type(&self) -> &Type {
        &TEXTS
    }

    fn cel_type() -> &'static Type {
        &TEXTS
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Indexer for Texts<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let text = self.facts.text(self.variable, Self::name(index)?).unwrap_or_default();
        Ok(CowVal::owned(CelString::from(text.into_owned())))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Container for Texts<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.facts.text(self.variable, Self::name(value)?).is_some())
    }
}
