//! The table, as it stands in the documentation.

use std::fmt::Write as _;

use crate::outcome::Outcome;
use crate::scenes::Scene;

const HEAD: &str = "# What the strategies do on a bad night\n
Written by `UPDATE_SIMULATION=1 cargo test -p tidegate-policy --test simulation`; do not edit. The test fails when the figures change.\n
Ten simulated targets of different speed, size and price, 20 calls a second in virtual time over two gateways that know nothing of each
other, and the real policy: ranking, figures, breakers, retries, limits. Targets queue and slow down under load, answer 503 when their queue
is full, have good and bad minutes together with their neighbours, and keep prompts cached for sessions. Each scene takes two and a half minutes
and is played three times with other luck; every strategy meets the same calls and the same luck.\n
- **first token**: seconds from the call's arrival to its first token, with failed attempts before it. A call that failed counts as 60 s.
- **cost**: dollars for a thousand answered calls, wasted attempts included.
- **wasted**: attempts in vain (failed, late or cancelled) for a hundred calls.
- **retries**: the most retries in flight at one moment, of how many the retry budget allowed then.\n
`order` and `cost` ask a few targets for all that these can take: that is what they are for, and here more calls come than these can take.
";

pub(crate) fn table(scenes: &[(Scene, Vec<(&'static str, Outcome)>)]) -> String {
    let mut text = HEAD.to_owned();
    for (scene, outcomes) in scenes {
        let name = scene.name;
        writeln!(text, "\n## {}{}\n\n{}\n", name[..1].to_uppercase(), &name[1..], scene.about).unwrap();
        text.push_str("| strategy | answered | first token p50 | p99 | cost | wasted | hedged | retries |\n");
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for (routing, outcome) in outcomes {
            let (retries, budget) = outcome.most_retries();
            writeln!(
                text,
                "| {routing} | {:.2} % | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} % | {} |",
                outcome.success_rate() * 100.0,
                outcome.first_token(0.5),
                outcome.first_token(0.99),
                outcome.cost(),
                outcome.wasted_share(),
                outcome.hedged_share() * 100.0,
                if retries == 0 { "0".to_owned() } else { format!("{retries} of {budget}") },
            )
            .unwrap();
        }
    }
    text
}
