//! What clamd says: bounded, and never more than it says.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The longest answer, in bytes.
pub const LONGEST: usize = 16 << 10;

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `OK`
    Clean,
    /// `NAME FOUND`
    Found(String),
    /// `... ERROR`, or a command that it does not know.
    Error(String),
}

/// Parses `N: stream: OK`, `N: fd[K]: NAME FOUND` and `N: ... ERROR`. `None` for everything else.
pub fn parse(line: &[u8]) -> Option<(u32, Reply)> {
    let text = String::from_utf8_lossy(line.get(..line.len().min(LONGEST))?);
    let (number, rest) = text.split_once(": ")?;
    let digits = (1..=9).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits)?;
    if let Some(why) = rest.strip_suffix(" ERROR") {
        return Some((number, Reply::Error(why.to_owned())));
    }
    if rest == "UNKNOWN COMMAND" {
        return Some((number, Reply::Error(rest.to_owned())));
    }
    let (what, answer) = rest.split_once(": ")?;
    let descriptor = what.strip_prefix("fd[").and_then(|k| k.strip_suffix(']'));
    if what != "stream" && !descriptor.is_some_and(|k| !k.is_empty() && k.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    match answer {
        "OK" => Some((number, Reply::Clean)),
        _ => {
            let name = answer.strip_suffix(" FOUND").map(str::trim).filter(|name| !name.is_empty())?;
            Some((number, Reply::Found(name.to_owned())))
        }
    }
}

/// Its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `ClamAV 1.4.3`
    pub engine: String,
    /// The number of the database, if it has one.
    pub database: Option<String>,
    /// Its time, in seconds since 1970.
    pub time: Option<i64>,
}

/// Parses `ClamAV 1.4.3/27000/Thu Nov 26 08:00:00 2026`, or the engine alone.
pub fn version(line: &[u8]) -> Option<Version> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let mut parts = text.splitn(3, '/');
    let engine = parts.next()?.to_owned();
    if !engine.starts_with("ClamAV ") || engine.len() > 100 || engine.chars().any(char::is_control) {
        return None;
    }
    let database = parts.next().filter(|d| !d.is_empty() && d.len() <= 20 && d.bytes().all(|b| b.is_ascii_digit()));
    let time = parts.next().and_then(|text| {
        let time = DateTime::strptime("%a %b %e %H:%M:%S %Y", text.trim()).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    });
    Some(Version { engine, database: database.map(str::to_owned), time: database.and(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_they_say_and_nothing_else_is_clean() {
        let found = |name: &str| Some(Reply::Found(name.into()));
        let error = |why: &str| Some(Reply::Error(why.into()));
        for (line, wanted) in [
            ("1: stream: OK", Some(Reply::Clean)),
            ("1: fd[12]: OK", Some(Reply::Clean)),
            ("1: fd[9]: Desk.Test.UNOFFICIAL FOUND", found("Desk.Test.UNOFFICIAL")),
            ("1: stream: a: OK FOUND", found("a: OK")),
            ("1: INSTREAM size limit exceeded. ERROR", error("INSTREAM size limit exceeded.")),
            ("1: fd[1]: Can't open ERROR", error("fd[1]: Can't open")),
            ("1: UNKNOWN COMMAND", error("UNKNOWN COMMAND")),
            ("1: stream: OK ", None),
            ("1: stream: OK FOUND OK", None),
            ("1: file: OK", None),
            ("1: fd[]: OK", None),
            ("1: OK", None),
            ("1:stream: OK", None),
            ("+1: stream: OK", None),
            ("12345678901: stream: OK", None),
            ("stream: OK", None),
            ("", None),
        ] {
            assert_eq!(parse(line.as_bytes()).map(|(_, reply)| reply), wanted, "{line}");
        }
        assert_eq!(parse(b"77: stream: OK").map(|(n, _)| n), Some(77));
    }

    #[test]
    fn a_version_has_its_database_and_the_time_of_it_or_neither() {
        let full = version(b"ClamAV 1.4.3/27000/Thu Nov 26 08:00:00 2026");
        let time = full.as_ref().and_then(|v| v.time);
        assert_eq!(full.and_then(|v| v.database).as_deref(), Some("27000"));
        assert_eq!(time, Some(1_795_680_000));
        assert_eq!(version(b"ClamAV 1.4.3").map(|v| (v.database, v.time)), Some((None, None)));
        assert_eq!(version(b"hello"), None);
        assert_eq!(version(b"ClamAV \x1b[2J"), None);
    }
}
