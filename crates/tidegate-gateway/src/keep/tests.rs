//! What is found in bodies, and what is left alone.

use super::*;
use tidegate_config::Redaction;

fn keeper(max: usize, redact: &[Redaction]) -> BodyKeeper {
    BodyKeeper::new(&Bodies { keep: KeepBodies::All, max, redact: redact.to_vec() }).unwrap()
}

fn redacted(body: &str) -> String {
    keeper(64 * 1024, &Redaction::BUILTIN).redact(body.as_bytes()).text
}

#[test]
fn personal_data_and_secrets_are_replaced_by_what_they_are() {
    for (body, expected) in [
        // E-mail addresses.
        ("mail bob.o'neil+x@mail.example.co.uk.", "mail [email]."),
        ("<bob@example.com>,jürgen@müller.de", "<[email]>,[email]"),
        // Cards.
        ("4111111111111111", "[card]"),
        ("pay 4111 1111 1111 1111 now", "pay [card] now"),
        ("\"5555-5555-5555-4444, 378282246310005\"", "\"[card], [card]\""),
        ("\"on 12 4111 1111 1111 1111 12/27\"", "\"on 12 [card] 12/27\""),
        ("\"4111 1111 1111 1111 4111 1111 1111 1111\"", "\"[card] [card]\""),
        // Bank accounts.
        ("\"DE89 3704 0044 0532 0130 00\"", "\"[iban]\""),
        ("\"gb82west12345698765432, BE68 5390 0754 7034 AND more\"", "\"[iban], [iban] AND more\""),
        (
            "\"to AB12 DE89 3704 0044 0532 0130 00 or 12 GB82 WEST 1234 5698 7654 32.\"",
            "\"to AB12 [iban] or 12 [iban].\"",
        ),
        // Telephones.
        ("\"+49 30 901820, +1 (212) 555-0123\"", "\"[phone], [phone]\""),
        ("\"+442071838750.\"", "\"[phone].\""),
        // Secrets.
        ("\"sk-proj-abcdefghijklmnop1234\"", "\"[secret]\""),
        ("\"sk-ant-api03-abcdefghijklmnop_x\" AKIAIOSFODNN7EXAMPLE", "\"[secret]\" [secret]"),
        ("\"ghp_abcdefghijklmnopqrstuvwxyz0123456789\"", "\"[secret]\""),
        ("\"Authorization: Bearer abcdefghijklmnop=\"", "\"Authorization: [secret]\""),
        ("\"eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0000.\"", "\"[secret]\""),
        ("\"postgres://user:hunter2@db/x\"", "\"postgres[secret]db/x\""),
        (
            r#""-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----\n!""#,
            r#""[secret]\n!""#,
        ),
        ("\"-----BEGIN PRIVATE KEY-----abc", "\"[secret]"),
    ] {
        assert_eq!(redacted(body), expected, "{body}");
    }
}

#[test]
fn what_only_looks_like_it_stays() {
    for body in [
        r#"{"id": "chatcmpl-123", "created": 1700000000, "at_ms": 1700000000123}"#,
        r#"{"n": 4111111111111112, "long": 41111111111111111111111, "pi": 3.14159265358979323}"#,
        r#"{"text": "GB82 WEST 1234 5698 7654 33", "time": "2026-01-02 03:04:05"}"#,
        r#"{"math": "x+123456789 and a@b", "url": "https://example.com:8080/a@b"}"#,
        r#"{"word": "sk-learn and task-oriented-programming-style", "uuid": "0193e1a2-0000-7000-8000-41111111abcd"}"#,
        r#"{"escaped": "line\nbreak \u00e9 \"quoted\" \\ back"}"#,
        "plain \"text\" with \\ and \" odd quotes",
        "",
    ] {
        assert_eq!(redacted(body), body);
    }
}

#[test]
fn escapes_hide_nothing_and_are_not_taken_for_letters() {
    for (body, expected) in [
        (r#"{"a": "x\nbob@example.com\ty"}"#, r#"{"a": "x\n[email]\ty"}"#),
        (r#"{"a": "bob\u0040example.com \"hi\""}"#, r#"{"a": "[email] \"hi\""}"#),
        (r#"{"a": "4111\u0020111111111111"}"#, r#"{"a": "[card]"}"#),
        (r#"{"bob@example.com": 1}"#, r#"{"[email]": 1}"#),
        (r#"{"card": 4111111111111111}"#, r#"{"card": "[card]"}"#),
        (r#"{"a": "\q bob@example.com"}"#, r#"{"a": "\q [email]"}"#),
        (
            "data: {\"d\": \"bob@example.com\\n\"}\n\ndata: [DONE]\n\n",
            "data: {\"d\": \"[email]\\n\"}\n\ndata: [DONE]\n\n",
        ),
    ] {
        assert_eq!(redacted(body), expected, "{body}");
    }
}

#[test]
fn rules_of_ones_own_work_alone_and_with_others() {
    let own = |pattern: &str, name: &str| Redaction::Pattern { pattern: pattern.into(), name: name.into() };
    let both = keeper(1024, &[Redaction::Email, own(r"\bC-\d{6}\b", "customer"), own("example", "word")]);
    let seen = both.redact(br#"{"a": "C-123456 of bob@example.com, an example"}"#);
    assert_eq!(seen.text, r#"{"a": "[customer] of [email], an [word]"}"#);
    assert!(!seen.is_cut);
    let none = keeper(1024, &[]);
    assert_eq!(none.redact(b"bob@example.com").text, "bob@example.com");
    let broken = Bodies { redact: vec![own("(", "x")], ..Bodies::default() };
    assert!(BodyKeeper::new(&broken).is_err());
}

#[test]
fn what_the_end_cuts_in_half_is_found_all_the_same() {
    let body = r#"{"a": "é \n bob@example.com and 4111 1111 1111 1111", "b": "DE89 3704 0044 0532 0130 00"}"#;
    let whole = redacted(body);
    for max in 0..body.len() {
        for body in [body.to_owned(), body.replace('é', "\\u00e9"), body.replace("\\n", "\\ud83d\\ude00")] {
            let kept = keeper(max, &Redaction::BUILTIN).redact(body.as_bytes());
            assert!(kept.text.len() <= max && kept.is_cut, "{max}");
            for part in ["bob@", "example", "4111 1", "1111", "DE89", "0532"] {
                assert!(!kept.text.contains(part), "{max}: {}", kept.text);
            }
        }
    }
    let roomy = keeper(body.len(), &Redaction::BUILTIN).redact(body.as_bytes());
    assert_eq!((roomy.text, roomy.is_cut), (whole, false));
}

#[test]
fn long_bodies_cost_no_more_than_what_is_kept_of_them() {
    let keeper = keeper(4096, &Redaction::BUILTIN);
    for unit in
        ["4 ", "a@", "DE89 ", "\\\\", "\"", "+1 ", "sk-a", "\\u0061", "eyJa.", "-----BEGIN PRIVATE KEY-----"]
    {
        let kept = keeper.redact(unit.repeat(4_000_000).as_bytes());
        assert!(kept.is_cut && kept.text.len() <= 4096, "{unit}");
    }
    assert!(!keeper.redact(b"\xff\xfe bob@example.com").text.contains("bob"), "not even text");
}

#[test]
fn bodies_are_kept_of_the_calls_that_the_settings_name() {
    for (keep, of_good, of_failed) in
        [(KeepBodies::None, false, false), (KeepBodies::Errors, false, true), (KeepBodies::All, true, true)]
    {
        let keeper = BodyKeeper::new(&Bodies { keep, ..Bodies::default() }).unwrap();
        assert_eq!((keeper.keeps(false), keeper.keeps(true)), (of_good, of_failed));
    }
}
