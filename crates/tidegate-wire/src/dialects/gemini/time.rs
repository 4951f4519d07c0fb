//! `createTime`, RFC 3339 in UTC, to and from seconds since 1970. Called by `decode.rs`, `reply.rs` and `encode.rs`.

const SECONDS_A_DAY: i64 = 86_400;

/// Reads `2025-10-10T15:56:04.095069Z`; fractions are cut off. `None` for anything that is not UTC in this form.
pub(super) fn to_seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if !text.ends_with('Z') || text.get(10..11) != Some("T") {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
    Some(days * SECONDS_A_DAY + hour * 3_600 + minute * 60 + second)
}

/// Writes it, in whole seconds.
pub(super) fn from_seconds(seconds: i64) -> String {
    let (days, second) =
        (seconds.div_euclid(SECONDS_A_DAY).saturating_add(719_468), seconds.rem_euclid(SECONDS_A_DAY));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_were() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2025-10-10T15:56:04Z", 1_760_111_764),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(to_seconds(text), Some(seconds));
            assert_eq!(from_seconds(seconds), text);
        }
        assert_eq!(to_seconds("2025-10-10T15:56:04.095069Z"), Some(1_760_111_764));
        assert_eq!(to_seconds("yesterday"), None);
    }
}
