//! How calls are spread: strategies, conditions, hedges, what `auto` means, calls that wait.

use super::Resolver;
use crate::condition::Condition;
use crate::diagnostic::Mistake;
use crate::file::{
    AutoSection, HealthCheckSection, HedgeSection, ModelSection, QueueSection, ScoreSection,
    ThresholdsSection,
};
use crate::read::Located;
use crate::settings::{AUTO, Auto, HealthCheck, Hedge, Mix, Provider, Queue, Share, Strategy, Thresholds};
use crate::suggest;
use crate::units::Number;

/// What `score` weighs with; more says nothing that smaller weights could not.
const HEAVIEST: f64 = 1_000.0;
/// Half of all calls asked twice is no hedge any more but a second bill.
const LARGEST_HEDGE: Share = Share::from_percent(50);
/// What calls are hedged where nothing is said.
const USUAL_HEDGE: Share = Share::from_percent(5);
/// A provider takes more often for an attack.
const SHORTEST_CHECK: std::time::Duration = std::time::Duration::from_secs(1);
/// As often as load balancers ask.
const USUAL_CHECK: std::time::Duration = std::time::Duration::from_secs(30);
/// Every call that is worked on holds its body and two connections.
const MOST_CALLS: u32 = 1_000_000;
/// Longer waits outlast the callers.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

impl Resolver<'_> {
    pub(super) fn strategy(&mut self, section: &ModelSection) -> Strategy {
        let mix = section.score.as_ref().map(|score| self.mix(score));
        let Some(written) = &section.strategy else {
            self.refuse_idle_score(section, None);
            return Strategy::default();
        };
        let name = written.value.trim();
        let strategy = match name {
            "order" => Strategy::Order,
            "weighted" => Strategy::Weighted,
            "latency" => Strategy::Latency,
            "throughput" => Strategy::Throughput,
            "cost" => Strategy::Cost,
            "least-busy" => Strategy::LeastBusy,
            "sticky" => Strategy::Sticky,
            "score" => return Strategy::Score(mix.unwrap_or_default()),
            _ => {
                let help = suggest::hint(name, Strategy::NAMES);
                let mistake = Mistake::new(format!("there is no strategy `{name}`"));
                self.report(Mistake { help, ..mistake }, written);
                return Strategy::default();
            }
        };
        self.refuse_idle_score(section, Some(name));
        strategy
    }

    fn refuse_idle_score(&mut self, section: &ModelSection, strategy: Option<&str>) {
        let Some(score) = &section.score else { return };
        let why = match strategy {
            Some(name) => format!("`score` means nothing under the strategy `{name}`"),
            None => "`score` means nothing without the strategy `score`".to_owned(),
        };
        let mistake = Mistake::new(why).help("write `strategy: score`, or leave `score` out");
        self.mistakes.push(mistake.at(score.key_place.clone()));
    }

    fn mix(&mut self, score: &Located<ScoreSection>) -> Mix {
        let ScoreSection { price, latency, throughput, reliability } = &score.value;
        let mix = Mix {
            price: self.part_of_mix(price.as_ref()),
            latency: self.part_of_mix(latency.as_ref()),
            throughput: self.part_of_mix(throughput.as_ref()),
            reliability: self.part_of_mix(reliability.as_ref()),
        };
        if mix.price + mix.latency + mix.throughput + mix.reliability <= 0.0 {
            self.report(Mistake::new("`score` weighs nothing").help("let one of them be above 0"), score);
        }
        mix
    }

    fn part_of_mix(&mut self, written: Option<&Located<Number>>) -> f64 {
        let Some(written) = written else { return 1.0 };
        if written.value.0 > HEAVIEST {
            self.report(Mistake::new(format!("a part of `score` is between 0 and {HEAVIEST}")), written);
        }
        written.value.0
    }

    /// A condition, where one is written. `of_target` tells whether it stands on a target.
    pub(super) fn condition(
        &mut self,
        written: Option<&Located<String>>,
        of_target: bool,
    ) -> Option<Condition> {
        let written = written?;
        let condition = match Condition::new(&written.value) {
            Ok(condition) => condition,
            Err(wrong) => {
                let place = self.place_inside(written, wrong.at);
                let mistake = Mistake { message: wrong.message, help: wrong.help, place: Some(place) };
                self.mistakes.push(mistake);
                return None;
            }
        };
        let idle = condition.variables().iter().find(|variable| variable.is_of_target() && !of_target);
        if let Some(variable) = idle {
            let mistake = Mistake::new(format!("a model has no `{}`", variable.name()));
            self.report(mistake.help("write this condition at its targets"), written);
        }
        Some(condition)
    }

    /// The place of a piece of a text, in the file. That of the whole text where the file spells it differently.
    fn place_inside(
        &self,
        written: &Located<String>,
        piece: std::ops::Range<usize>,
    ) -> std::ops::Range<usize> {
        let spelled = self.text.get(written.place.clone()).unwrap_or_default();
        let places = (
            spelled_at(spelled, &written.value, piece.start),
            spelled_at(spelled, &written.value, piece.end),
        );
        match places {
            (Some(start), Some(end)) if start <= end => {
                written.place.start + start..written.place.start + end
            }
            _ => written.place.clone(),
        }
    }

    pub(super) fn hedge(&mut self, section: Option<&HedgeSection>) -> Option<Hedge> {
        let section = section?;
        let share = section.share.as_ref().map_or(USUAL_HEDGE, |share| share.value.0);
        if let Some(written) = &section.share
            && !(Share::from_millionths(1)..=LARGEST_HEDGE).contains(&share)
        {
            let mistake = Mistake::new(format!("`share` of a hedge is above 0 and at most {LARGEST_HEDGE}"));
            self.report(mistake.help("every hedged call is paid twice"), written);
        }
        Some(Hedge { share, after: section.after.map(|after| after.0) })
    }

    pub(super) fn health_check(&mut self, section: Option<&HealthCheckSection>) -> Option<HealthCheck> {
        let every = section?.every.as_ref();
        if let Some(written) = every
            && written.value.0 < SHORTEST_CHECK
        {
            self.report(Mistake::new("`every` is at least `1s`"), written);
        }
        Some(HealthCheck { every: every.map_or(USUAL_CHECK, |every| every.value.0) })
    }

    pub(super) fn max_calls(&mut self, written: &Located<u32>) -> Option<usize> {
        if !(1..=MOST_CALLS).contains(&written.value) {
            self.report(Mistake::new(format!("`max_calls` is between 1 and {MOST_CALLS}")), written);
            return None;
        }
        usize::try_from(written.value).ok()
    }

    pub(super) fn queue(&mut self, section: &QueueSection) -> Queue {
        let mut queue = Queue::default();
        if let Some(length) = &section.length {
            match usize::try_from(length.value) {
                Ok(number) if length.value <= MOST_CALLS => queue.length = number,
                _ => self.report(Mistake::new(format!("`length` is at most {MOST_CALLS}")), length),
            }
        }
        if let Some(wait) = &section.wait {
            if wait.value.0 > LONGEST_WAIT {
                self.report(Mistake::new("`wait` is at most `60s`"), wait);
            }
            queue.wait = wait.value.0;
        }
        queue
    }

    pub(super) fn auto(
        &mut self,
        section: Option<&Located<AutoSection>>,
        providers: &indexmap::IndexMap<String, Provider>,
    ) -> Option<Auto> {
        let section = section?;
        if let Some(entry) = self.tree.get("models").and_then(|models| models.get(AUTO)) {
            let mistake = Mistake::new("there is `auto` and a model of that name");
            let place = entry.place.clone();
            self.mistakes.push(mistake.help("give the model another name, or leave `auto` out").at(place));
        }
        let AutoSection { small, medium, large, thresholds } = &section.value;
        let auto = Auto {
            small: self.model_name(small, providers).unwrap_or_default(),
            medium: medium.as_ref().and_then(|medium| self.model_name(medium, providers)),
            large: self.model_name(large, providers).unwrap_or_default(),
            thresholds: self.thresholds(thresholds.as_ref(), medium.is_some()),
        };
        Some(auto)
    }

    fn thresholds(&mut self, section: Option<&ThresholdsSection>, has_medium: bool) -> Thresholds {
        let mut thresholds = Thresholds::default();
        let Some(section) = section else { return thresholds };
        for (written, threshold) in
            [(&section.medium, &mut thresholds.medium), (&section.large, &mut thresholds.large)]
        {
            let Some(written) = written else { continue };
            if written.value.0 > 1.0 {
                self.report(Mistake::new("a difficulty is between 0 and 1"), written);
            }
            *threshold = written.value.0;
        }
        if let Some(medium) = section.medium.as_ref().filter(|_| !has_medium) {
            let mistake = Mistake::new("there is no `medium` model that this would be the border of");
            self.report(mistake.help("name one, or leave this border out"), medium);
        } else if thresholds.medium > thresholds.large
            && has_medium
            && let Some(written) = section.large.as_ref().or(section.medium.as_ref())
        {
            let Thresholds { medium, large } = thresholds;
            let mistake =
                Mistake::new(format!("the border of `medium`, {medium}, is above that of `large`, {large}"));
            self.report(mistake.help("no call would get the medium model"), written);
        }
        thresholds
    }
}

/// Where, in a text as the file spells it, stands what has the given index in its value. The file has quotes, escapes and line breaks
/// that the value does not have; letters come in the same order in both.
fn spelled_at(spelled: &str, value: &str, index: usize) -> Option<usize> {
    let mut letters = value.char_indices().peekable();
    for (place, spelled_letter) in spelled.char_indices() {
        while let Some((at, letter)) = letters.peek().copied() {
            if letter == spelled_letter {
                if at >= index {
                    return Some(place);
                }
                letters.next();
                break;
            }
            if !letter.is_whitespace() {
                break; // The file has something here that the value has not.
            }
            letters.next();
        }
        if letters.peek().is_none() {
            return (index >= value.len()).then_some(place + spelled_letter.len_utf8());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::spelled_at;

    #[test]
    fn a_piece_of_a_value_is_found_as_the_file_spells_it() {
        for (spelled, value, piece, expected) in [
            ("a == 1", "a == 1", "==", "== 1"),
            ("\"a == \\\"x\\\" and b\"", "a == \"x\" and b", "and", "and b\""),
            ("'a == ''x'' and b'", "a == 'x' and b", "and", "and b'"),
            (">\n   a\n   && b\n", "a && b\n", "b", "b\n"),
            ("|\n   a\n   && b\n", "a\n&& b\n", "&&", "&& b\n"),
            ("'ä == ö'", "ä == ö", "ö", "ö'"),
        ] {
            let index = value.find(piece).unwrap();
            let place = spelled_at(spelled, value, index).unwrap();
            assert_eq!(spelled.get(place..), Some(expected), "{spelled}");
        }
        assert_eq!(spelled_at("'a b'", "a b", 3), Some(4));
        assert_eq!(spelled_at("'xyz'", "a b", 0), None);
    }
}
