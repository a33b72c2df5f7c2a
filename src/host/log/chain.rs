//! The lines of a log, and the chain that they form (MB-LOG). No file is opened here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, json};
use crate::report::Place;

/// The event of a line that closes an incomplete one.
pub(super) const TORN: &str = "torn";
/// `prev` of the first line.
const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The longest incomplete line, in bytes: what one run writes, and a block of a file system.
const LONGEST: usize = 64 << 10;
/// The longest text of an event or a verdict.
const WORD: usize = 32;

/// A line, without its end. The order of the members is that of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The number of the line, from 1.
    pub n: u64,
    /// SHA-256 of the line before, with its end; zeros for the first.
    pub prev: String,
    /// When it was written, by the clock of the host.
    pub time: String,
    /// What ran: `verify`, `unpack`; or `torn`.
    pub event: String,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Digest of the index of the bundle, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Digest of the receipt, if one was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Digest>,
    /// What the line closes, for the event `torn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<Torn>,
}

/// An incomplete line that a run left when it was killed, or when the host lost power.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Torn {
    /// How many bytes it has, without the line end that closes it.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: String,
}

impl Line {
    /// The line as it is written, with its end.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Result<Line, String> {
        json::check(bytes, &[]).map_err(|e| e.to_string())?;
        let line: Line = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let word =
            |text: &str| (1..=WORD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if !word(&line.event) || !line.verdict.as_deref().is_none_or(word) {
            return Err("its event or verdict is not a word".to_owned());
        }
        if line.time.parse::<jiff::Timestamp>().is_err() || line.time.len() > WORD {
            return Err("its time is not a time".to_owned());
        }
        if Digest::from_hex(&line.prev).is_err() {
            return Err("its `prev` is not a SHA-256".to_owned());
        }
        if (line.event == TORN) != line.torn.is_some() || line.torn.is_some() == line.verdict.is_some() {
            return Err("its members do not go together".to_owned());
        }
        Ok(line)
    }
}

/// What is wrong with a log, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line, counted as `sed -n Np` counts.
    pub line: u64,
    /// One sentence after "line N".
    pub why: String,
}

/// The chain of a log that holds together.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// SHA-256 of each line.
    hashes: Vec<String>,
    /// The line of each receipt.
    receipts: BTreeMap<Digest, u64>,
    /// How many incomplete lines were closed.
    pub torn: u64,
    /// The times of the first line and of the last.
    pub times: Option<(String, String)>,
    /// An incomplete line at the end, which the next line has to close.
    pub open: Option<Open>,
}

/// An incomplete line at the end.
#[derive(Clone, Debug)]
pub struct Open {
    /// What it is, when a run was killed, or `None` if only its end is missing; else what is wrong with the last line.
    pub torn: Result<Option<Torn>, Broken>,
    /// The line, counted as `sed -n Np` counts.
    pub line: u64,
}

/// Bytes that are no line.
struct Loose {
    start: usize,
    line: u64,
    why: String,
    /// It is the beginning of a line, and not another text.
    cut: bool,
}

impl Chain {
    /// Reads a log.
    ///
    /// # Errors
    /// The first line that is not as its neighbours say.
    pub fn read(bytes: &[u8]) -> Result<Chain, Broken> {
        let (mut chain, mut loose, mut start) = (Chain::default(), None::<Loose>, 0);
        for (number, piece) in (1..).zip(bytes.split_inclusive(|b| *b == b'\n')) {
            let at = start;
            start += piece.len();
            let whole = piece.strip_suffix(b"\n");
            match Line::parse(whole.unwrap_or(piece)).map_err(|why| format!("is not a line of a log: {why}")) {
                Ok(line) => {
                    chain.closes(&line, loose.take().map(|l| (&bytes[l.start..at], l)), number)?;
                    chain.add(line, whole.unwrap_or(piece), number)?;
                    if whole.is_none() {
                        chain.open = Some(Open { torn: Ok(None), line: number });
                    }
                }
                Err(why) if loose.is_none() => {
                    let cut = is_beginning(whole.unwrap_or(piece), chain.is_empty());
                    loose = Some(Loose { start: at, line: number, why, cut });
                }
                Err(_) => {}
            }
        }
        let open = loose.map(|loose| {
            let rest = &bytes[loose.start..];
            let torn = match loose.cut && rest.len() <= LONGEST {
                true => Ok(Some(Torn { bytes: rest.len() as u64, sha256: Digest::of(rest).hex() })),
                false => Err(Broken { line: loose.line, why: loose.why }),
            };
            Open { torn, line: loose.line }
        });
        chain.open = open.or(chain.open);
        Ok(chain)
    }

    /// A line of the event `torn` closes exactly the bytes before it, and any other line has none before it.
    fn closes(&mut self, line: &Line, loose: Option<(&[u8], Loose)>, number: u64) -> Result<(), Broken> {
        match (&line.torn, loose) {
            (None, None) => Ok(()),
            (Some(torn), Some((bytes, loose))) => {
                let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                let same = torn.bytes == bytes.len() as u64 && torn.sha256 == Digest::of(bytes).hex();
                self.torn += 1;
                if same { Ok(()) } else { Err(Broken { line: loose.line, why: "was changed".to_owned() }) }
            }
            (None, Some((_, loose))) => Err(Broken { line: loose.line, why: loose.why }),
            (Some(_), None) => Err(Broken { line: number, why: "closes an incomplete line that is not there".into() }),
        }
    }

    /// Adds a line; `text` is without its end.
    fn add(&mut self, line: Line, text: &[u8], number: u64) -> Result<(), Broken> {
        let next = self.len() + 1;
        if line.n != next {
            let why = match line.n > next {
                true => format!("has the number {}: line {next} is missing, or lines were exchanged", line.n),
                false => format!("has the number {}, which an earlier line has: lines were exchanged", line.n),
            };
            return Err(Broken { line: number, why });
        }
        if line.prev != self.last().sha256 {
            return Err(match self.len() {
                0 => Broken { line: number, why: "is not the first line: those before it are missing".to_owned() },
                _ => Broken {
                    line: number - 1,
                    why: format!("was changed: it is not the one that line {number} follows"),
                },
            });
        }
        if let Some(receipt) = line.receipt {
            self.receipts.insert(receipt, line.n);
        }
        let first = self.times.take().map_or_else(|| line.time.clone(), |(first, _)| first);
        self.times = Some((first, line.time));
        self.hashes.push(Digest::of(&[text, b"\n"].concat()).hex());
        Ok(())
    }

    /// The number of lines.
    pub fn len(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The last line.
    pub fn last(&self) -> Place {
        Place { n: self.len(), sha256: self.hashes.last().cloned().unwrap_or_else(|| NONE.to_owned()) }
    }

    /// SHA-256 of the line with this number; zeros for 0.
    pub fn hash(&self, n: u64) -> Option<&str> {
        let at = usize::try_from(n).ok()?;
        if at == 0 { Some(NONE) } else { self.hashes.get(at - 1).map(String::as_str) }
    }

    /// The number of the line that names this receipt.
    pub fn line_of(&self, receipt: &Digest) -> Option<u64> {
        self.receipts.get(receipt).copied()
    }
}

/// Whether this is the beginning of a line that was cut off, or what a file system leaves after a power loss. Anything
/// else at the end of a file was not written by this program, which then does not touch the file.
fn is_beginning(text: &[u8], first: bool) -> bool {
    let begin = if first { b"{\"n\":1,\"prev\":\"".as_slice() } else { b"{\"n\":" };
    let same = begin.iter().zip(text).all(|(a, b)| a == b);
    let written = text.split(|b| *b == 0).next().unwrap_or_default();
    let eof = serde_json::from_slice::<serde::de::IgnoredAny>(written).is_err_and(|e| e.is_eof());
    same && eof || text.contains(&0) && (same || text.starts_with(b"\0")) && !first
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(n: u64, prev: &str) -> Line {
        Line {
            n,
            prev: prev.to_owned(),
            time: "2026-11-28T21:00:00Z".into(),
            event: "verify".into(),
            verdict: Some("verified".into()),
            exit_code: Some(0),
            index: Some(Digest::of(b"index")),
            receipt: Some(Digest::of(&n.to_be_bytes())),
            torn: None,
        }
    }

    fn log(lines: u64) -> Vec<Vec<u8>> {
        let (mut out, mut prev) = (Vec::new(), NONE.to_owned());
        for n in 1..=lines {
            let bytes = line(n, &prev).to_bytes().unwrap();
            prev = Digest::of(&bytes).hex();
            out.push(bytes);
        }
        out
    }

    fn read(lines: &[Vec<u8>]) -> Result<Chain, Broken> {
        Chain::read(&lines.concat())
    }

    #[test]
    fn a_log_holds_together_and_says_where_each_receipt_is() {
        let lines = log(5);
        let chain = read(&lines).unwrap();
        assert_eq!((chain.len(), chain.torn), (5, 0));
        assert_eq!(chain.last().sha256, Digest::of(&lines[4]).hex());
        assert_eq!(chain.line_of(&Digest::of(&3u64.to_be_bytes())), Some(3));
        assert_eq!(chain.hash(0), Some(NONE));
        assert_eq!(chain.last().to_string(), format!("log 5 {}", &Digest::of(&lines[4]).hex()[..16]));
        assert!(Chain::read(b"").unwrap().is_empty());
    }

    #[test]
    fn a_changed_missing_or_exchanged_line_is_named() {
        let good = log(6);
        for at in 0..5u64 {
            let i = usize::try_from(at).unwrap();
            let mut changed = good.clone();
            changed[i] = String::from_utf8(good[i].clone()).unwrap().replace("21:00:00", "21:00:01").into_bytes();
            assert_eq!(read(&changed).unwrap_err().line, at + 1, "changed");
            let mut damaged = good.clone();
            damaged[i][5] = b'x';
            assert_eq!(read(&damaged).unwrap_err().line, at + 1, "damaged");
            let mut missing = good.clone();
            missing.remove(i);
            let broken = read(&missing).unwrap_err();
            assert_eq!(broken.line, at + 1, "missing");
            assert!(broken.why.contains(&format!("line {} is missing", at + 1)), "{}", broken.why);
            let mut exchanged = good.clone();
            exchanged.swap(i, i + 1);
            assert_eq!(read(&exchanged).unwrap_err().line, at + 1, "exchanged");
            let mut twice = good.clone();
            twice.insert(i, good[i].clone());
            assert_eq!(read(&twice).unwrap_err().line, at + 2, "twice");
        }
        // The last line has none after it: only something outside of the log can tell.
        assert_eq!(read(&good[..5]).unwrap().len(), 5);
    }

    #[test]
    fn members_that_repeat_are_unknown_or_do_not_fit_are_no_line() {
        let good = String::from_utf8(log(1).concat()).unwrap();
        for (old, new) in [
            ("\"n\":1", "\"n\":1,\"n\":1"),
            ("\"n\":1", "\"n\":1,\"x\":1"),
            ("\"n\":1", "\"n\":1e0"),
            ("verified", "veri\\u0007fied"),
            ("verified", ""),
            ("verify", "\u{7}"),
            ("2026-11-28T21:00:00Z", "today"),
            ("\"event\":\"verify\"", "\"event\":\"torn\""),
            ("0000000", "000000"),
            ("{", "[{"),
        ] {
            let bad = good.replacen(old, new, 1);
            assert_ne!(bad, good, "{old}");
            let chain = Chain::read(bad.as_bytes());
            assert!(chain.is_err() || chain.is_ok_and(|c| c.open.is_some()), "{new}");
        }
    }

    /// The log with the line that closes what is open, and one more.
    fn closed(torn: &[u8]) -> Vec<u8> {
        let chain = Chain::read(torn).unwrap();
        let Some(what) = chain.open.clone().unwrap().torn.unwrap() else {
            let next = line(chain.len() + 1, &chain.last().sha256).to_bytes().unwrap();
            return [torn, b"\n", &next].concat();
        };
        let mut closing = Line { event: TORN.into(), torn: Some(what), ..line(chain.len() + 1, &chain.last().sha256) };
        (closing.verdict, closing.exit_code, closing.index, closing.receipt) = (None, None, None, None);
        let closing = closing.to_bytes().unwrap();
        let next = line(chain.len() + 2, &Digest::of(&closing).hex()).to_bytes().unwrap();
        [torn, b"\n", &closing, &next].concat()
    }

    #[test]
    fn a_log_cut_at_any_byte_is_closed_by_the_next_line_and_again_when_that_is_cut() {
        let whole = log(3).concat();
        let two = log(2).concat().len();
        for cut in two + 1..whole.len() {
            let once = closed(&whole[..cut]);
            let chain = Chain::read(&once).unwrap();
            // A line that lacks only its end is not lost.
            let torn = u64::from(cut + 1 < whole.len());
            assert_eq!((chain.len(), chain.torn, chain.open.is_none()), (4, torn, true), "cut at {cut}");
        }
        let once = closed(&whole[..two + 9]);
        for cut in two + 10..once.len() {
            let Ok(chain) = Chain::read(&once[..cut]) else { panic!("cut at {cut}") };
            if chain.open.is_some() {
                assert!(Chain::read(&closed(&once[..cut])).is_ok(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_was_torn_cannot_be_changed_later_and_a_changed_last_line_is_not_taken_for_torn() {
        let whole = log(3).concat();
        let once = closed(&whole[..whole.len() - 30]);
        let at = log(2).concat().len() + 20;
        let mut changed = once.clone();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(Chain::read(&changed).unwrap_err(), Broken { line: 3, why: "was changed".into() });
        let text = String::from_utf8(whole).unwrap();
        let last = text.trim_end().rsplit_once('\n').unwrap().0.len() + 1;
        let other = format!("{}{}", &text[..last], text[last..].replace("\"n\"", "n"));
        assert!(Chain::read(other.as_bytes()).unwrap().open.unwrap().torn.is_err());
    }
}
