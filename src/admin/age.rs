//! How long ago something was, for tables.

use std::time::{SystemTime, UNIX_EPOCH};

/// Days before 1970 in the proleptic Gregorian calendar, counted from 1 March of the year 0.
const DAYS_TO_1970: i64 = 719_468;

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The time from an RFC 3339 date until `now`, in its largest unit: `5s`, `3m`, `2h`, `10d`.
pub(super) fn since(date: &str, now: u64) -> Option<String> {
    let seconds = now.saturating_sub(seconds(date)?);
    Some(match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    })
}

/// Seconds since 1970 of an RFC 3339 date; fractions are dropped.
fn seconds(date: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i64>().ok();
    let marks = [(4, "-"), (7, "-"), (13, ":"), (16, ":")];
    if marks
        .iter()
        .any(|(at, mark)| date.get(*at..at + 1) != Some(*mark))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let time = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let offset = match date
        .get(19..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit())
    {
        "Z" | "z" => 0,
        text => {
            let sign = if text.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = text.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60)
        }
    };
    // Years begin in March, so that a leap day is a year's last.
    let shifted = if month > 2 { year } else { year - 1 };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year;
    u64::try_from((days - DAYS_TO_1970) * 86_400 + time - offset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_any_zone() {
        let table = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-08-21T10:20:30.123456789Z", Some(1_787_307_630)),
            ("2026-08-21T12:20:30+02:00", Some(1_787_307_630)),
            ("2026-08-21T07:50:30.5-02:30", Some(1_787_307_630)),
            ("2026-08-21", None),
            ("yesterday", None),
            ("", None),
        ];
        for (date, wanted) in table {
            assert_eq!(seconds(date), wanted, "{date}");
        }
    }

    #[test]
    fn an_age_has_one_unit() {
        let date = "1970-01-01T00:00:00Z";
        for (now, wanted) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7199, "1h"),
            (200_000, "2d"),
        ] {
            assert_eq!(since(date, now).as_deref(), Some(wanted));
        }
    }
}
