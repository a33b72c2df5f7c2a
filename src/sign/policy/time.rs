//! Times in policies: dates and RFC 3339 in `trust.yaml`, digits with `Z` in `allowed_signers`, and ages.
//!
//! Everything is UTC. A time in the host's time zone would mean different things on different hosts, so it is refused.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// Larger ages are mistakes: a hundred years, in days.
const MAX_DAYS: u32 = 36_500;

/// `2027-06-30` (the start of that day) or `2027-06-30T12:00:00Z`: the first instant.
pub(super) fn start(text: &str) -> Option<Timestamp> {
    match date(text) {
        Some(date) => midnight(date),
        None => instant(text),
    }
}

/// `2027-06-30` (all of that day) or an instant: the first instant after the end.
pub(super) fn end(text: &str) -> Option<Timestamp> {
    match date(text) {
        Some(date) => midnight(date.tomorrow().ok()?),
        None => instant(text),
    }
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, and then `Z` or `UTC` in any case, as OpenSSH 9.1 and later read it.
pub(super) fn ssh(text: &str) -> Option<Timestamp> {
    let ends = |end: &str| {
        let (digits, found) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
        found.eq_ignore_ascii_case(end).then_some(digits)
    };
    let digits = ends("Z").or_else(|| ends("UTC"))?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize, length: usize| digits.get(at..at + length)?.parse::<i16>().ok();
    let short = |at: usize| i8::try_from(number(at, 2)?).ok();
    let (hour, minute, second) = match digits.len() {
        8 => (0, 0, 0),
        12 => (short(8)?, short(10)?, 0),
        14 => (short(8)?, short(10)?, short(12)?),
        _ => return None,
    };
    let time = DateTime::new(number(0, 4)?, short(4)?, short(6)?, hour, minute, second, 0).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The next second, for an end that OpenSSH still counts as valid.
pub(super) fn second_after(time: Timestamp) -> Option<Timestamp> {
    time.checked_add(1.second()).ok()
}

/// `30d`, `12h`, `90m`, `45s` or `2w`: a whole positive number and one unit.
pub(super) fn age(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let seconds = digits.parse::<i64>().ok()?.checked_mul(seconds)?;
    (1..=i64::from(MAX_DAYS) * 86_400).contains(&seconds).then(|| SignedDuration::from_secs(seconds))
}

/// The date in UTC, for people.
pub(super) fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// The last day in UTC before `end`, and its distance from `now`, for people.
pub(super) fn last_day(end: Timestamp, now: Timestamp) -> (String, String) {
    let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let last = date(end.checked_sub(1.nanosecond()).unwrap_or(end));
    let days = date(now).duration_since(last).as_hours() / 24;
    let ago = match days {
        0 => "earlier today".to_owned(),
        1 => "1 day ago".to_owned(),
        days => format!("{days} days ago"),
    };
    (last.to_string(), ago)
}

fn date(text: &str) -> Option<Date> {
    let shape = |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    if text.len() != 10 || !text.bytes().enumerate().all(shape) {
        return None;
    }
    text.parse().ok()
}

fn midnight(date: Date) -> Option<Timestamp> {
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn instant(text: &str) -> Option<Timestamp> {
    // RFC 3339 only; the library accepts more forms.
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && !text.contains('[');
    if shape { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_date_covers_its_whole_day_in_utc() {
        assert_eq!(start("2027-06-30"), at("2027-06-30T00:00:00Z"));
        assert_eq!(end("2027-06-30"), at("2027-07-01T00:00:00Z"));
        assert_eq!(end("2027-06-30T12:00:00Z"), at("2027-06-30T12:00:00Z"));
        assert_eq!(start("2027-06-30T12:00:00+02:00"), at("2027-06-30T10:00:00Z"));
        assert_eq!(end("2028-02-29"), at("2028-03-01T00:00:00Z"));
    }

    #[test]
    fn the_last_day_of_a_period_is_named_with_its_distance() {
        let end = end("2026-10-31").unwrap();
        for (now, ago) in [
            ("2026-11-22T12:00:00Z", "22 days ago"),
            ("2026-11-01T00:00:00Z", "1 day ago"),
            ("2026-10-31T23:59:59Z", "earlier today"),
        ] {
            assert_eq!(last_day(end, now.parse().unwrap()), ("2026-10-31".to_owned(), ago.to_owned()));
        }
    }

    #[test]
    fn other_forms_of_time_are_refused() {
        for bad in [
            "",
            "2027-6-30",
            "2027-02-30",
            "20270630",
            "30.06.2027",
            "2027-06-30T12:00:00",
            "2027-06-30 12:00:00Z",
            "2027-06-30T12:00:00Z[UTC]",
            "9999-12-31",
            "+002027-06-30",
            "tomorrow",
        ] {
            assert_eq!(end(bad), None, "{bad}");
        }
    }

    #[test]
    fn ssh_times_need_their_z() {
        assert_eq!(ssh("20270630Z"), at("2027-06-30T00:00:00Z"));
        assert_eq!(ssh("202706301201Z"), at("2027-06-30T12:01:00Z"));
        assert_eq!(ssh("20270630120102Z"), at("2027-06-30T12:01:02Z"));
        assert_eq!(ssh("20270630z"), at("2027-06-30T00:00:00Z"));
        assert_eq!(ssh("202706301201utc"), at("2027-06-30T12:01:00Z"));
        for bad in
            ["20270630", "20271330Z", "2027063Z", "202706301Z", "+0270630Z", "20270630UT", "UTC", "Z", "２０２７0630Z"]
        {
            assert_eq!(ssh(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        assert_eq!(age("30d"), Some(SignedDuration::from_hours(720)));
        assert_eq!(age("2w"), Some(SignedDuration::from_hours(336)));
        assert_eq!(age("45s"), Some(SignedDuration::from_secs(45)));
        for bad in ["", "d", "30", "0d", "-1d", "1.5d", "30 d", "30D", "1y", "36501d", "99999999999999999999d", "30é"]
        {
            assert_eq!(age(bad), None, "{bad}");
        }
    }
}
