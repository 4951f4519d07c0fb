//! Conditions as people write them: what holds, what is refused and where, what fails for a call.

use std::borrow::Cow;

use super::{Condition, Fact, Facts, Variable};

/// A call with one value of everything.
struct Sample;

impl Facts for Sample {
    fn fact(&self, variable: Variable) -> Fact<'_> {
        let text = |text: &'static str| Fact::Text(Cow::Borrowed(text));
        match variable {
            Variable::CallModel => text("fast"),
            Variable::CallDialect => text("openai-chat"),
            Variable::CallOperation => text("chat"),
            Variable::CallStream | Variable::CallHasImages => Fact::Bool(true),
            Variable::CallHasAudio | Variable::CallHasFiles | Variable::CallJsonSchema => Fact::Bool(false),
            Variable::CallInputTokens => Fact::Int(7_000),
            Variable::CallMaxOutputTokens => Fact::Int(512),
            Variable::CallTools => Fact::Int(0),
            Variable::CallHeaders | Variable::CallTags => Fact::Texts,
            Variable::CallUser => text("anna"),
            Variable::PrincipalTeam => text("research"),
            Variable::BudgetUsed => Fact::Number(0.75),
            Variable::NowHour => Fact::Int(14),
            Variable::NowMinute => Fact::Int(5),
            Variable::NowWeekday => Fact::Int(6),
            Variable::TargetProvider => text("anthropic"),
            Variable::TargetModel => text("claude-haiku-4-5"),
            Variable::CallSession | Variable::PrincipalKey | Variable::PrincipalOrganization => text(""),
        }
    }

    fn text(&self, variable: Variable, name: &str) -> Option<Cow<'_, str>> {
        let is_header = variable == Variable::CallHeaders;
        let text = match (is_header, name.to_ascii_lowercase().as_str()) {
            (true, "x-tier") => "gold",
            (true, "tier") => "silver",
            (true, "x-priority") => "high",
            (false, "project") => "atlas",
            _ => return None,
        };
        Some(Cow::Borrowed(text))
    }
}

#[test]
fn conditions_hold_for_the_calls_they_describe() {
    for (text, holds) in [
        ("call.input_tokens < 8000", true),
        ("call.input_tokens < 8000 && call.tools == 0", true),
        ("call.input_tokens >= 8000 || !call.stream", false),
        ("call.model in ['fast', \"smart\"]", true),
        ("!(call.model in ['fast'])", false),
        ("call.headers['x-tier'] == 'gold'", true),
        ("call.headers[\"X-Tier\"] == 'gold'", true),
        ("call.headers.tier == 'silver'", true),
        ("has(call.headers.tier) && !has(call.headers.nothing)", true),
        ("'x-tier' in call.headers", true),
        ("call.headers['x-none'] == ''", true),
        ("call.headers['x-none'] != 'gold'", true),
        ("call.tags.project == 'atlas'", true),
        ("principal.team.startsWith('res') && principal.key == ''", true),
        ("target.model.contains('haiku') && target.provider.endsWith('pic')", true),
        ("call.model.matches('^f.*t$') && !call.user.matches('^\\\\d+$')", true),
        ("['cl', 'gp'].exists(start, target.model.startsWith(start))", true),
        ("['cl', 'gp'].all(start, target.model.startsWith(start))", false),
        ("['a', 'fast'].filter(name, name == call.model).size() == 1", true),
        ("budget.used > 0.5 ? call.input_tokens < 1000 : true", false),
        ("budget.used < 1", true),
        ("now.hour >= 8 && now.hour < 18 && now.weekday < 5", false),
        ("double(call.input_tokens) * 1.5 > 10000.0", true),
        ("call.input_tokens + call.max_output_tokens > 7500", true),
        ("size(call.user) == 4 && call.user.size() == 4", true),
        ("string(call.tools) == '0'", true),
        ("call.tools % 2 == 0", true),
        ("-call.tools == 0", true),
        ("true", true),
        ("\n  call.stream\n  && call.has_images\n", true),
    ] {
        let condition = Condition::new(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        assert_eq!(condition.holds(&Sample), Ok(holds), "{text}");
    }
}

#[test]
fn mistakes_are_found_where_they_are_with_what_was_meant() {
    for (text, at, says, helps) in [
        ("call.input_token < 8000", "input_token", "`call` has no `input_token`", "`input_tokens`"),
        ("input_tokens < 8000", "input_tokens", "knows no `input_tokens`", "`call.input_tokens`"),
        ("cal.stream", "cal", "knows no `cal`", "`call`"),
        ("call == 'x'", "call", "`call` alone says nothing", "`call.model`"),
        ("call.model.name == 'x'", "name", "no `.name` in a text", ""),
        ("has(call.user)", "user", "`call.user` is always there", "`call.user != \"\"`"),
        ("call.tools == '3'", "==", "cannot be used with a whole number and a text", "never be equal"),
        ("call.user < 3", "<", "cannot be used with a text and a whole number", ""),
        ("call.input_tokens * 1.5 > 1.0", "*", "cannot be put together", "double("),
        ("call.input_tokens", "call.input_tokens", "this is a whole number", "compare it"),
        ("call.stream && call.tools", "&&", "true or false and a whole number", ""),
        ("call.user.startswith('a')", "startswith", "no function `startswith`", "`startsWith`"),
        ("call.user.matches(call.model)", "matches", "must stand here", "^gpt-"),
        ("call.user.matches('(a')", "matches", "no regular expression", ""),
        ("call.user.matches('\\\\w{900}{900}')", "matches", "too large", ""),
        ("call.user == null", "null", "ever `null`", "empty"),
        ("call.tools == 1u", "1u", "without the `u`", ""),
        ("call.stream and call.tools == 1", "and", "from `and` on", "`&&`"),
        ("call.user = 'x'", "=", "from `=` on", "`==`"),
        ("call.user == 'x", "'", "no end", "same quote"),
        ("call.tools <", "", "something is missing", ""),
        ("call.tools in {'a': 1}", "{", "`{ … }`", ""),
        ("call.headers.exists(h, h == 'x')", "(", "only a list", ""),
        ("[1].exists(a, [1].exists(b, a == b))", "(", "inside another", ""),
        ("[1].exists(call, call == 1)", "(", "has a meaning already", ""),
        ("99999999999999999999 > call.tools", "99999999999999999999", "not a number", ""),
        ("'ä' == call.usr", "usr", "has no `usr`", "`user`"),
        ("'ä' == call.user and true", "and", "from `and` on", ""),
        ("", "", "between 1 and 1000", ""),
    ] {
        let Err(wrong) = Condition::new(text) else { panic!("{text} was accepted") };
        assert!(wrong.message.contains(says), "{text}: {}", wrong.message);
        assert!(wrong.help.clone().unwrap_or_default().contains(helps), "{text}: {:?}", wrong.help);
        assert_eq!(text.get(wrong.at.clone()), Some(at), "{text}: {wrong:?}");
    }
}

#[test]
fn what_only_a_call_can_show_fails_for_that_call() {
    for (text, why) in [
        ("1 / call.tools == 1", "it divides by zero"),
        ("int(call.headers['x-priority']) > 3", "a text cannot be converted"),
        ("call.input_tokens * 9223372036854775807 > 1", "a number is too large"),
        ("['a'][call.input_tokens] == 'b'", "a list is shorter than that"),
    ] {
        let error = Condition::new(text).unwrap().holds(&Sample).unwrap_err();
        assert_eq!(error.why, why, "{text}");
        assert!(!error.to_string().contains("high"), "{error}");
    }
    // What decides the result without the failing part does not fail.
    assert_eq!(Condition::new("call.tools == 0 || 1 / call.tools == 1").unwrap().holds(&Sample), Ok(true));
}

#[test]
fn what_a_condition_looks_at_is_known_before() {
    let condition = Condition::new("call.tools == 0 && (call.tools < 3 || has(call.tags.project))").unwrap();
    assert_eq!(condition.variables(), [Variable::CallTools, Variable::CallTags]);
}

#[test]
fn deep_and_long_conditions_are_refused_or_read_and_never_crash() {
    for text in [
        "(".repeat(900),
        "!".repeat(999),
        "-".repeat(999),
        format!("{}true", "!".repeat(990)),
        format!("{}1 == 1", "-".repeat(990)),
        format!("1{} == 1", "+1".repeat(480)),
        format!("call{}", ".a".repeat(480)),
        format!("[1]{} == 1", "[0]".repeat(300)),
        format!("true{}", " && true".repeat(120)),
        "true ? ".repeat(140),
        format!("{}true", "true ? true : ".repeat(70)),
        "[".repeat(999),
        "{".repeat(999),
        "\"".repeat(999),
        "é".repeat(499),
        "\\".repeat(999),
        "a(".repeat(400),
        "call.user.size(".repeat(60),
        "x".repeat(1001),
    ] {
        if let Ok(condition) = Condition::new(&text) {
            let _ = condition.holds(&Sample);
        }
    }
    assert!(Condition::new(&format!("true{}", " && call.stream".repeat(50))).is_ok());
}

#[test]
fn every_variable_has_its_value_and_its_own_name() {
    for variable in Variable::ALL {
        assert_eq!(Variable::of(variable.name()), Some(variable));
        let fits = match Sample.fact(variable) {
            Fact::Bool(_) => super::kind::Kind::Bool,
            Fact::Int(_) => super::kind::Kind::Int,
            Fact::Number(_) => super::kind::Kind::Double,
            Fact::Text(_) => super::kind::Kind::Text,
            Fact::Texts => super::kind::Kind::Texts,
        };
        assert_eq!(variable.kind(), fits, "{}", variable.name());
    }
}
