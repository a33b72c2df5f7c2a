//! `--scanners FILE`: several scanners, strictly parsed.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::program::{Rules, Settings};
use crate::error::{Code, Error, Result};

/// The most scanners of a run.
pub const MOST: usize = 16;

/// A scanner of a file.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What a scanner of a file is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The address of a clamd.
    Clamd(String),
    /// A program, and the file with its probe, if it has one.
    Program(Box<Settings>, Option<PathBuf>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    scanners: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct One {
    name: String,
    clamd: Option<String>,
    command: Option<String>,
    found: Option<Found>,
    clean: Option<Clean>,
    /// A file, or `none`.
    probe: Option<String>,
    version: Option<String>,
    /// Seconds.
    time_limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Found {
    exit_codes: Option<Vec<i32>>,
    pattern: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Clean {
    exit_codes: Vec<i32>,
}

/// Parses the file. `limit` is the time for one content where none is given.
///
/// # Errors
/// [`Code::Usage`]
pub fn parse(bytes: &[u8], limit: Duration) -> Result<Vec<Named>> {
    let bad = |why: String| Error::new(Code::Usage, format!("the file of scanners {why}"));
    let text = std::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8".into()))?;
    let document: Document = serde_saphyr::from_str(text).map_err(|e| bad(format!("is not as it should be: {e}")))?;
    if document.scanners.is_empty() || document.scanners.len() > MOST {
        return Err(bad(format!("has {} scanners, not 1 to {MOST}", document.scanners.len())));
    }
    document.scanners.into_iter().map(|one| named(one, limit).map_err(bad)).collect()
}

fn named(one: One, limit: Duration) -> Result<Named, String> {
    let One { name, clamd, command, found, clean, probe, version, time_limit } = one;
    check_name(&name)?;
    let program = found.is_some() || clean.is_some() || probe.is_some() || version.is_some() || time_limit.is_some();
    let kind = match (clamd, command) {
        (Some(_), None) if program => return Err(format!("gives `{name}`, a clamd, what only a command has")),
        (Some(address), None) => Kind::Clamd(address),
        (None, Some(command)) => {
            let default = Rules::default();
            let (codes, pattern) = found.map_or((None, None), |f| (f.exit_codes, f.pattern));
            // With a pattern, no exit code means found unless it is said.
            let codes = codes.unwrap_or_else(|| if pattern.is_some() { vec![] } else { default.found });
            let rules = Rules { found: codes, pattern, clean: clean.map_or(default.clean, |c| c.exit_codes) };
            if rules.found.iter().any(|code| rules.clean.contains(code)) {
                return Err(format!("has an exit code of `{name}` that means both found and clean"));
            }
            let limit = match time_limit {
                Some(seconds @ 1..=3600) => Duration::from_secs(seconds),
                Some(_) => return Err(format!("has a timeLimit of `{name}` that is not 1 to 3600 seconds")),
                None => limit,
            };
            let none = probe.as_deref() == Some("none");
            let settings = Settings {
                name: name.clone(),
                command,
                rules,
                version,
                probe: (!none).then(super::eicar),
                limit,
                search: None,
            };
            Kind::Program(Box::new(settings), probe.filter(|_| !none).map(PathBuf::from))
        }
        _ => return Err(format!("must give `{name}` either clamd or command")),
    };
    Ok(Named { name, kind })
}

/// Names stand in answers and in file names of others.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !name.is_empty() && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(()),
        false => Err(format!("has the name `{name}`: use letters, digits, `.`, `_` and `-`")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Vec<Named>> {
        parse(text.as_bytes(), Duration::from_secs(60))
    }

    #[test]
    fn scanners_of_a_file_are_read_strictly() {
        let text = "scanners:\n- name: av\n  clamd: /run/clamd\n- name: yara\n  command: yara -w r.yar {}\n  found: {pattern: 'Rule*'}\n  version: yara --version\n  probe: none\n";
        let both = read(text).unwrap();
        assert!(matches!(&both[0].kind, Kind::Clamd(address) if address == "/run/clamd"));
        let Kind::Program(settings, None) = &both[1].kind else { panic!() };
        assert_eq!((settings.rules.found.as_slice(), settings.probe.is_none()), (&[][..], true));
        for wrong in [
            "scanners: []",
            "scanners:\n- name: a",
            "scanners:\n- {name: a, clamd: b, command: c}",
            "scanners:\n- {name: a, command: c, comand: d}",
            "scanners:\n- {name: 'a b', command: c}",
            "scanners:\n- {name: a, clamd: b, timeLimit: 5}",
            "scanners:\n- {name: a, command: b, timeLimit: 0}",
            "scanners:\n- {name: a, command: b, found: {exitCodes: [0]}}",
            "a: b",
            "",
        ] {
            assert_eq!(read(wrong).unwrap_err().code(), Code::Usage, "{wrong}");
        }
    }
}
