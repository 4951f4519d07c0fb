//! Names and types of a condition, before anything is evaluated. Called by [`Condition::new`](super::Condition).
//!
//! Beside checking, it rewrites the expression: `call.user` becomes one name, `has(call.headers.x)` becomes `"x" in call.headers`, and
//! a pattern of `matches` becomes the number under which it is kept compiled.

use std::ops::Range;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, ListExpr, LiteralValue, SelectExpr, SourceInfo, operators,
};
use cel::common::types::{CelInt, CelString};
use cel::{IdedExpr, ParseErrors, Program};
use regex::{Regex, RegexBuilder};

use super::kind::Kind;
use super::variable::Variable;
use super::{MATCHES, Wrong};
use crate::suggest;

/// Parts inside each other. The evaluation descends as deep, on the stack of a worker.
const DEEPEST: usize = 32;
/// A compiled pattern may take as many bytes of memory.
const LARGEST_PATTERN: usize = 256 * 1024;
/// What conditions can call besides operators.
const FUNCTIONS: [&str; 10] =
    ["has", "size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool"];
/// What lists understand.
const MACROS: [&str; 5] = ["all", "exists", "exists_one", "map", "filter"];

/// A condition that is in order.
pub(super) struct Checked {
    pub(super) expression: IdedExpr,
    pub(super) variables: Vec<Variable>,
    pub(super) patterns: Vec<Regex>,
}

/// Checks a parsed condition.
pub(super) fn check(text: &str, program: &Program) -> Result<Checked, Wrong> {
    let mut checker = Checker {
        text,
        places: program.source_info(),
        variables: Vec::new(),
        patterns: Vec::new(),
        scope: Vec::new(),
        depth: 0,
    };
    let (expression, kind) = checker.expression(program.expression())?;
    if !kind.is_bool() {
        let help = "compare it with something, such as `call.input_tokens < 8000`";
        let message = format!("a condition is true or false, and this is {kind}");
        return Err(Wrong { message, help: Some(help.to_owned()), at: 0..text.len() });
    }
    Ok(Checked { expression, variables: checker.variables, patterns: checker.patterns })
}

/// Refuses what would take the parser too deep to come back.
pub(super) fn brackets(text: &str) -> Result<(), Wrong> {
    let mut open = 0_usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST {
            let message = "this condition is nested too deeply".to_owned();
            return Err(Wrong { message, help: None, at: index..index + 1 });
        }
    }
    Ok(())
}

/// What the parser found, in words for the person who wrote it.
pub(super) fn syntax(text: &str, errors: &ParseErrors) -> Wrong {
    let Some(error) = errors.errors.first() else {
        return Wrong { message: "this is not a condition".to_owned(), help: None, at: 0..text.len() };
    };
    let to_index = |number: isize| usize::try_from(number - 1).unwrap_or(0);
    let line_start: usize = text.split_inclusive('\n').take(to_index(error.pos.0)).map(str::len).sum();
    let rest = text.get(line_start..).unwrap_or_default();
    let column: usize = rest.chars().take(to_index(error.pos.1)).map(char::len_utf8).sum();
    let start = (line_start + column).min(text.len());
    let after = text.get(start..).unwrap_or_default();
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let word = after.find(|letter| !is_name(letter)).unwrap_or(after.len());
    let length = word.max(after.chars().next().map_or(0, char::len_utf8));
    let token = after.get(..length).unwrap_or_default();
    let message = if after.trim().is_empty() {
        "the condition ends where something is missing".to_owned()
    } else if token.starts_with(['\'', '"']) {
        "this text has no end".to_owned()
    } else if error.msg.contains("literal") {
        format!("`{token}` is not a number that can be used")
    } else {
        format!("the condition cannot be understood from `{token}` on")
    };
    let help = match token {
        "and" | "AND" => Some("write `&&`"),
        "or" | "OR" => Some("write `||`"),
        "not" | "NOT" => Some("write `!`"),
        "=" => Some("write `==` for a comparison"),
        "&" | "|" => Some("write `&&` or `||`"),
        "'" | "\"" => Some("it needs the same quote at its end"),
        _ => None,
    };
    Wrong { message, help: help.map(str::to_owned), at: start..start + length }
}

struct Checker<'a> {
    text: &'a str,
    places: &'a SourceInfo,
    variables: Vec<Variable>,
    patterns: Vec<Regex>,
    /// What `exists` and its like have named, the innermost last.
    scope: Vec<(String, Kind)>,
    depth: usize,
}

type Typed = (IdedExpr, Kind);

impl Checker<'_> {
    fn expression(&mut self, expression: &IdedExpr) -> Result<Typed, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(expression, "this condition is nested too deeply"));
        }
        let (expr, kind) = match &expression.expr {
            Expr::Literal(literal) => (expression.expr.clone(), self.literal(expression, literal)?),
            Expr::Ident(name) => self.name(expression, name)?,
            Expr::Select(select) => self.select(expression, select)?,
            Expr::Call(call) => self.call(expression, call)?,
            Expr::List(list) => self.list(list)?,
            Expr::Comprehension(comprehension) => self.comprehension(expression, comprehension)?,
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                return Err(self.wrong(expression, "`{ … }` is not possible in a condition"));
            }
        };
        self.depth -= 1;
        Ok((IdedExpr { id: expression.id, expr }, kind))
    }

    fn literal(&self, at: &IdedExpr, literal: &LiteralValue) -> Result<Kind, Wrong> {
        match literal {
            LiteralValue::Boolean(_) => Ok(Kind::Bool),
            LiteralValue::Int(_) => Ok(Kind::Int),
            LiteralValue::Double(_) => Ok(Kind::Double),
            LiteralValue::String(_) => Ok(Kind::Text),
            LiteralValue::UInt(_) => Err(self.wrong(at, "write this number without the `u`")),
            LiteralValue::Null => {
                let wrong = self.wrong(at, "nothing is ever `null` here");
                Err(wrong.help("a text that is not there is empty: compare it with `\"\"`"))
            }
            LiteralValue::Bytes(_) => Err(self.wrong(at, "write this text without the `b`")),
        }
    }

    fn name(&self, at: &IdedExpr, name: &str) -> Result<(Expr, Kind), Wrong> {
        if let Some((_, kind)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return Ok((Expr::Ident(name.to_owned()), kind.clone()));
        }
        let members: Vec<&str> = members_of(name).collect();
        if !members.is_empty() {
            let listed: Vec<String> = members.iter().map(|member| format!("`{name}.{member}`")).collect();
            let wrong = self.wrong(at, format!("`{name}` alone says nothing"));
            return Err(wrong.help(format!("one of its members: {}", listed.join(", "))));
        }
        let wrong = self.wrong(at, format!("a condition knows no `{name}`"));
        let member = Variable::ALL
            .into_iter()
            .map(Variable::name)
            .find(|full| full.split_once('.').is_some_and(|(_, member)| member == name));
        let help = match member {
            Some(member) => Some(format!("did you mean `{member}`?")),
            None => suggest::hint(name, namespaces()),
        };
        Err(Wrong { help, ..wrong })
    }

    fn select(&mut self, at: &IdedExpr, select: &SelectExpr) -> Result<(Expr, Kind), Wrong> {
        let field = &select.field;
        // A name of two parts is a variable, unless its first part was named by `exists` and its like.
        if let Expr::Ident(namespace) = &select.operand.expr
            && !self.scope.iter().any(|(name, _)| name == namespace)
        {
            if !namespaces().any(|known| known == namespace) {
                self.name(&select.operand, namespace)?;
            }
            let place = self.field_place(at, field);
            let Some(variable) = Variable::of(&format!("{namespace}.{field}")) else {
                let message = format!("`{namespace}` has no `{field}`");
                return Err(Wrong { message, help: suggest::hint(field, members_of(namespace)), at: place });
            };
            if select.test {
                let message = format!("`{}` is always there", variable.name());
                let help = match variable.kind() {
                    Kind::Text => format!("compare it: `{} != \"\"`", variable.name()),
                    _ => "leave out `has`".to_owned(),
                };
                return Err(Wrong { message, help: Some(help), at: place });
            }
            if !self.variables.contains(&variable) {
                self.variables.push(variable);
            }
            return Ok((Expr::Ident(variable.name().to_owned()), variable.kind()));
        }
        let (operand, kind) = self.expression(&select.operand)?;
        if kind != Kind::Texts {
            let place = self.field_place(at, field);
            let message = format!("there is no `.{field}` in {kind}");
            return Err(Wrong { message, help: None, at: place });
        }
        let name = text_literal(at.id, field);
        if select.test {
            return Ok((call(operators::IN, vec![name, operand]), Kind::Bool));
        }
        Ok((call(operators::INDEX, vec![operand, name]), Kind::Text))
    }

    fn list(&mut self, list: &ListExpr) -> Result<(Expr, Kind), Wrong> {
        let mut elements = Vec::with_capacity(list.elements.len());
        let mut element_kind: Option<Kind> = None;
        for element in &list.elements {
            let (element, kind) = self.expression(element)?;
            element_kind = Some(element_kind.map_or_else(|| kind.clone(), |known| known.or(&kind)));
            elements.push(element);
        }
        Ok((Expr::List(ListExpr::new(elements)), Kind::list_of(element_kind.unwrap_or(Kind::Any))))
    }

    /// What `all`, `exists` and their like are made into by the parser: a loop with a result that each round replaces.
    fn comprehension(
        &mut self,
        at: &IdedExpr,
        comprehension: &ComprehensionExpr,
    ) -> Result<(Expr, Kind), Wrong> {
        if !self.scope.is_empty() {
            // Each level multiplies the work.
            return Err(
                self.wrong(at, "one of `all`, `exists`, `map`, `filter` inside another is not possible")
            );
        }
        let (iter_range, range_kind) = self.expression(&comprehension.iter_range)?;
        let Kind::List(element) = range_kind else {
            return Err(self.wrong(at, format!("only a list can be gone through, and this is {range_kind}")));
        };
        if namespaces().any(|name| name == comprehension.iter_var) {
            let message = format!("`{}` has a meaning already", comprehension.iter_var);
            return Err(self.wrong(at, message).help("choose another name here"));
        }
        let (accu_init, accu_kind) = self.expression(&comprehension.accu_init)?;
        self.scope.push((comprehension.accu_var.clone(), accu_kind.clone()));
        self.scope.push((comprehension.iter_var.clone(), *element));
        let (loop_cond, _) = self.expression(&comprehension.loop_cond)?;
        let (loop_step, step_kind) = self.expression(&comprehension.loop_step)?;
        self.scope.clear();
        self.scope.push((comprehension.accu_var.clone(), accu_kind.or(&step_kind)));
        let (result, kind) = self.expression(&comprehension.result)?;
        self.scope.clear();
        let checked = ComprehensionExpr {
            iter_range,
            iter_var: comprehension.iter_var.clone(),
            iter_var2: comprehension.iter_var2.clone(),
            accu_var: comprehension.accu_var.clone(),
            accu_init,
            loop_cond,
            loop_step,
            result,
        };
        Ok((Expr::Comprehension(Box::new(checked)), kind))
    }

    fn call(&mut self, at: &IdedExpr, written: &CallExpr) -> Result<(Expr, Kind), Wrong> {
        let function = written.func_name.as_str();
        if MACROS.contains(&function) || (function == "has" && written.target.is_none()) {
            let help = match function {
                "has" => "such as `has(call.headers.x_tier)`",
                _ => "such as `[\"a\", \"b\"].exists(name, name == call.model)`",
            };
            return Err(self.wrong(at, format!("`{function}` is not used that way")).help(help));
        }
        let mut arguments = Vec::with_capacity(written.args.len() + 1);
        let mut kinds = Vec::with_capacity(written.args.len() + 1);
        for argument in written.target.as_deref().into_iter().chain(&written.args) {
            let (argument, kind) = self.expression(argument)?;
            arguments.push(argument);
            kinds.push(kind);
        }
        let kind = match kinds.as_slice() {
            [one] => self.unary(at, function, one)?,
            [one, other] => self.binary(at, function, one, other)?,
            [condition, one, other] if function == operators::CONDITIONAL => {
                if !condition.is_bool() {
                    return Err(
                        self.wrong(at, format!("before the `?` stands {condition}, not true or false"))
                    );
                }
                one.clone().or(other)
            }
            _ => return Err(self.unknown(at, function)),
        };
        if function == "matches" {
            return self.pattern(at, arguments);
        }
        if written.target.is_some() {
            let target = (!arguments.is_empty()).then(|| Box::new(arguments.remove(0)));
            let checked = CallExpr { func_name: function.to_owned(), target, args: arguments };
            return Ok((Expr::Call(checked), kind));
        }
        Ok((call(function, arguments), kind))
    }

    fn unary(&self, at: &IdedExpr, function: &str, kind: &Kind) -> Result<Kind, Wrong> {
        let fits = match function {
            operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE => kind.is_bool().then_some(Kind::Bool),
            operators::NEGATE => kind.is_number().then(|| kind.clone()),
            "size" => matches!(kind, Kind::Text | Kind::List(_) | Kind::Any).then_some(Kind::Int),
            "int" => (kind.is_number() || kind.is_text()).then_some(Kind::Int),
            "double" => (kind.is_number() || kind.is_text()).then_some(Kind::Double),
            "string" => (!matches!(kind, Kind::Texts | Kind::List(_))).then_some(Kind::Text),
            "bool" => (kind.is_bool() || kind.is_text()).then_some(Kind::Bool),
            _ => return Err(self.unknown(at, function)),
        };
        fits.ok_or_else(|| self.wrong(at, format!("`{}` cannot be used with {kind}", shown(function))))
    }

    fn binary(&self, at: &IdedExpr, function: &str, one: &Kind, other: &Kind) -> Result<Kind, Wrong> {
        use operators::{
            ADD, DIVIDE, EQUALS, GREATER, GREATER_EQUALS, IN, INDEX, LESS, LESS_EQUALS, LOGICAL_AND,
            LOGICAL_OR, MODULO, MULTIPLY, NOT_EQUALS, SUBSTRACT,
        };
        let is_sum = one.is_number() && other.is_number();
        let are_alike = one == other || *one == Kind::Any || *other == Kind::Any;
        let fits = match function {
            LOGICAL_AND | LOGICAL_OR => (one.is_bool() && other.is_bool()).then_some(Kind::Bool),
            EQUALS | NOT_EQUALS => one.can_equal(other).then_some(Kind::Bool),
            LESS | LESS_EQUALS | GREATER | GREATER_EQUALS => one.can_compare(other).then_some(Kind::Bool),
            ADD if one.is_text() && other.is_text() => Some(Kind::Text),
            ADD if matches!((one, other), (Kind::List(_), Kind::List(_))) => Some(one.clone().or(other)),
            ADD | SUBSTRACT | MULTIPLY | DIVIDE if is_sum && are_alike => Some(one.clone().or(other)),
            MODULO if is_sum && *one != Kind::Double && *other != Kind::Double => Some(Kind::Int),
            ADD | SUBSTRACT | MULTIPLY | DIVIDE if is_sum => {
                let wrong = self.wrong(at, "whole numbers and others cannot be put together");
                return Err(wrong.help("make them alike: `double(call.input_tokens) * 1.5`"));
            }
            IN => match other {
                Kind::Texts => one.is_text().then_some(Kind::Bool),
                Kind::List(element) => one.can_equal(element).then_some(Kind::Bool),
                _ => None,
            },
            INDEX => match one {
                Kind::Texts => other.is_text().then_some(Kind::Text),
                Kind::List(element) => matches!(other, Kind::Int | Kind::Any).then(|| (**element).clone()),
                _ => None,
            },
            "contains" | "startsWith" | "endsWith" | "matches" => {
                (one.is_text() && other.is_text()).then_some(Kind::Bool)
            }
            _ => return Err(self.unknown(at, function)),
        };
        let Some(kind) = fits else {
            let sign = shown(function);
            let message = format!("`{sign}` cannot be used with {one} and {other}");
            let help = match function {
                EQUALS | NOT_EQUALS => Some("the two can never be equal".to_owned()),
                _ => None,
            };
            return Err(Wrong { help, ..self.wrong(at, message) });
        };
        Ok(kind)
    }

    /// A pattern is compiled once, so it must be known now.
    fn pattern(&mut self, at: &IdedExpr, mut arguments: Vec<IdedExpr>) -> Result<(Expr, Kind), Wrong> {
        let Some(Expr::Literal(LiteralValue::String(pattern))) = arguments.get(1).map(|given| &given.expr)
        else {
            let wrong = self.wrong(at, "the pattern of `matches` must stand here as a text");
            return Err(wrong.help("such as `call.model.matches(\"^gpt-\")`"));
        };
        let built = RegexBuilder::new(pattern.inner())
            .size_limit(LARGEST_PATTERN)
            .dfa_size_limit(LARGEST_PATTERN)
            .build();
        let pattern = match built {
            Ok(pattern) => pattern,
            Err(regex::Error::CompiledTooBig(_)) => return Err(self.wrong(at, "this pattern is too large")),
            Err(error) => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default();
                let why = why.strip_prefix("error: ").unwrap_or(why);
                return Err(self.wrong(at, format!("this pattern is no regular expression: {why}")));
            }
        };
        let number = i64::try_from(self.patterns.len()).unwrap_or(i64::MAX);
        self.patterns.push(pattern);
        arguments.truncate(1);
        let number = Expr::Literal(LiteralValue::Int(CelInt::from(number)));
        arguments.push(IdedExpr { id: at.id, expr: number });
        Ok((call(MATCHES, arguments), Kind::Bool))
    }

    fn unknown(&self, at: &IdedExpr, function: &str) -> Wrong {
        if FUNCTIONS.contains(&function) {
            return self.wrong(at, format!("`{function}` is not used that way"));
        }
        let wrong = self.wrong(at, format!("a condition knows no function `{}`", shown(function)));
        let known = FUNCTIONS.into_iter().chain(MACROS);
        Wrong { help: suggest::hint(function, known), ..wrong }
    }

    /// The place of a part: of the sign of an operator, of the name of a variable or function.
    fn place(&self, id: u64) -> Range<usize> {
        let Some((first, last)) = self.places.offset_for(id) else { return 0..self.text.len() };
        let to_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let start = to_usize(first).min(self.text.len());
        let end = to_usize(last).saturating_add(1).clamp(start, self.text.len());
        if self.text.get(start..end).is_some() { start..end } else { 0..self.text.len() }
    }

    /// The place of a member's name, which stands behind the dot that the parser remembers. In `has(…)` it remembers the bracket.
    fn field_place(&self, at: &IdedExpr, field: &str) -> Range<usize> {
        let place = self.place(at.id);
        let behind = self.text.get(place.start..).unwrap_or_default();
        match behind.find(field) {
            Some(distance) => place.start + distance..place.start + distance + field.len(),
            None => place,
        }
    }

    fn wrong(&self, at: &IdedExpr, message: impl Into<String>) -> Wrong {
        let mut place = self.place(at.id);
        // Of a call the parser remembers the bracket; its name stands before it.
        if let Expr::Call(call) = &at.expr
            && let Some(before) = self.text.get(..place.start)
            && before.trim_end().ends_with(&call.func_name)
        {
            let end = before.trim_end().len();
            place = end - call.func_name.len()..end;
        }
        Wrong { message: message.into(), help: None, at: place }
    }
}

impl Wrong {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// `call`, `principal`, …
fn namespaces() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    Variable::ALL.into_iter().filter_map(move |variable| {
        let (namespace, _) = variable.name().split_once('.')?;
        (namespace != std::mem::replace(&mut last, namespace)).then_some(namespace)
    })
}

fn members_of(namespace: &str) -> impl Iterator<Item = &'static str> {
    Variable::ALL.into_iter().filter_map(move |variable| {
        let (own, member) = variable.name().split_once('.')?;
        (own == namespace).then_some(member)
    })
}

fn call(function: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args })
}

fn text_literal(id: u64, text: &str) -> IdedExpr {
    let text = CelString::from(text.to_owned());
    IdedExpr { id, expr: Expr::Literal(LiteralValue::String(text)) }
}

/// An operator as it is written: `_<_` is `<`.
fn shown(function: &str) -> &str {
    match function {
        operators::INDEX => "[ ]",
        operators::IN => "in",
        _ => function.trim_matches('_'),
    }
}
