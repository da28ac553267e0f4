//! Times, durations and sizes as people write them.

use std::time::Duration;

use weft_base::{ByteCount, UnixNanos};

const DAY: u64 = 86_400;

/// `2013-01-01T10:00:00.000000Z`: RFC 3339 in UTC, with microseconds.
pub(crate) fn rfc3339(time: UnixNanos) -> String {
    let (seconds, nanos) = (time.0 / 1_000_000_000, time.0 % 1_000_000_000);
    let (year, month, day) = date_of(seconds / DAY);
    let s = seconds % DAY;
    let (hour, minute, second, micros) = (s / 3600, s / 60 % 60, s % 60, nanos / 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Reads `2013-01-01T10:00:00Z`, with or without a fraction, in UTC.
pub(crate) fn parse_rfc3339(text: &str) -> Option<UnixNanos> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let rest = rest.strip_suffix('Z')?;
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Vec<u64> = text.split(by).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let plausible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && fraction.len() <= 9
        && fraction.bytes().all(|b| b.is_ascii_digit());
    if !plausible {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<u64>().ok()?;
    let seconds = days_to(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(UnixNanos)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, from 1970 on
/// (Hinnant, "chrono-compatible low-level date algorithms").
fn days_to(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01; the other way round.
fn date_of(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads `500 ms`, `5s`, `2 min`, `12h`, `30 d`, `4w`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration: write for example `500 ms`, `5 s`, `2 min`, `12 h` or `30 d`");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(refuse)?;
    number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(refuse)
}

/// Shows a duration in the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let divides = |size: u64| millis > 0 && millis % size == 0;
    let (name, size) = UNITS.iter().rev().find(|(_, size)| divides(*size)).unwrap_or(&("ms", 1));
    format!("{} {name}", millis / size)
}

/// Shows nanoseconds with three digits, for people: `12.3 µs`.
pub(crate) fn show_nanos(nanos: u64) -> String {
    const UNITS: [(&str, f64); 5] = [("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 6e10), ("h", 3.6e12)];
    let nanos = nanos as f64;
    // What would be shown as 1000 is 1 of the next.
    let fits = |(_, size): &&(&str, f64)| nanos >= size * 0.9995;
    let Some((unit, size)) = UNITS.iter().rev().find(fits) else { return format!("{nanos} ns") };
    let shown = nanos / size;
    let digits = if shown >= 99.95 { 0 } else { 1 + usize::from(shown < 9.995) };
    format!("{shown:.digits$} {unit}")
}

/// Shows a size with three digits, for people: `133.9 MiB`.
pub(crate) fn show_bytes(bytes: ByteCount) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes.0 as f64;
    let mut unit = "B";
    for larger in UNITS {
        // What would be shown as 1024 is 1 of the next.
        if size < 1023.95 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    let digits = usize::from(unit != "B" && size < 999.95);
    format!("{size:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_it_shows() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T23:59:59.999999Z", 951_868_799_999_999_000),
            ("2013-01-01T10:00:00.000000Z", 1_357_034_400_000_000_000),
            ("2100-03-01T00:00:00.000001Z", 4_107_542_400_000_001_000),
        ] {
            assert_eq!(rfc3339(UnixNanos(nanos)), text);
            assert_eq!(parse_rfc3339(text), Some(UnixNanos(nanos)), "{text}");
        }
        assert_eq!(parse_rfc3339("2013-01-01 10:00:00Z"), Some(UnixNanos(1_357_034_400_000_000_000)));
    }

    #[test]
    fn every_day_of_four_centuries_goes_there_and_back() {
        for days in 0..146_097 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_to(year, month, day), days);
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "2013-01-01", "2013-13-01T00:00:00Z", "2013-01-01T25:00:00Z", "1969-01-01T00:00:00Z", "x"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn reads_the_durations_it_shows() {
        for text in ["500 ms", "5 s", "2 min", "12 h", "30 d", "4 w", "0 ms"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Ok(text));
        }
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        for text in ["", "5", "5 parsecs", "-1 s", "99999999999999999999 d"] {
            assert!(parse_duration(text).is_err_and(|e| e.contains("30 d")), "{text}");
        }
    }

    #[test]
    fn short_times_are_shown_readably() {
        for (nanos, shown) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (123_456, "123 µs"),
            (999_999, "1.00 ms"),
            (5_000_000_000, "5.00 s"),
            (90_000_000_000, "1.50 min"),
            (u64::MAX, "5124096 h"),
        ] {
            assert_eq!(show_nanos(nanos), shown);
        }
    }

    #[test]
    fn sizes_are_shown_readably() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (140_450_419, "133.9 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(show_bytes(ByteCount(bytes)), shown);
        }
    }
}
