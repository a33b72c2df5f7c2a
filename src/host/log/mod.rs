//! The log of this host: one line for each run, each with the hash of the line before (MB-LOG).

mod chain;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use chain::{Broken, Chain, Line};

use crate::error::{Code, Error, Result};
use crate::fs::appended::{Appended, Locked};
use crate::fs::small;
use crate::oci::Digest;
use crate::report::Place;

/// The largest log, in bytes.
pub const LIMIT: u64 = 16 << 20;
/// What one run appends at most, in bytes: two lines.
const ROOM: u64 = 4096;

/// A log that can be written.
#[derive(Debug)]
pub struct Log {
    file: Appended,
    path: PathBuf,
}

/// What a run has to say.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What ran.
    pub event: &'static str,
    /// What came of it: one word.
    pub verdict: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// Digest of the index, if it could be read.
    pub index: Option<Digest>,
    /// Digest of the receipt, if one was written.
    pub receipt: Option<Digest>,
}

/// The end of a log, with the lock on it: no other process appends.
pub struct End<'a> {
    lock: Locked<'a>,
    chain: Chain,
    size: u64,
    path: &'a Path,
}

impl std::fmt::Debug for End<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.chain.last(), self.path.display())
    }
}

impl Log {
    /// Opens a log, or creates it, and makes sure that a line can be added: nothing that must be in it happens
    /// otherwise.
    ///
    /// # Errors
    /// [`Code::Usage`] when it is not a regular file, or is full; [`Code::Malformed`] when its lines do not hold
    /// together; [`Code::Io`] when it cannot be written.
    pub fn open(path: &Path) -> Result<Log> {
        let nothing = |e: Error| e.fact("each run is recorded in this log").state("nothing was done");
        let file = Appended::open(path)
            .map_err(|e| match e {
                small::Unread::NotRegular => {
                    Error::new(Code::Usage, format!("the log `{}` is not a regular file", path.display()))
                }
                other => other.error("cannot write the log", path, Code::Usage),
            })
            .map_err(nothing)?;
        let log = Log { file, path: path.to_owned() };
        log.end().and_then(|end| end.has_room()).map_err(nothing)?;
        Ok(log)
    }

    /// Waits for the lock, and reads the log.
    pub fn end(&self) -> Result<End<'_>> {
        let lock = self.file.lock().map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => {
                Error::new(Code::Conflict, format!("another process does not release `{}`", self.path.display()))
            }
            ErrorKind::NotFound => {
                Error::new(Code::Io, format!("the log `{}` was moved away while it was used", self.path.display()))
            }
            _ => Error::io("cannot lock the log", &self.path, e),
        })?;
        let bytes = lock.read(LIMIT).map_err(|e| e.error("cannot read the log", &self.path, Code::Usage))?;
        let chain = Chain::read(&bytes).and_then(|chain| match &chain.open {
            Some(open) => open.torn.clone().map(|_| chain),
            None => Ok(chain),
        });
        let chain = chain.map_err(|broken| {
            error(&self.path, &broken).hint("keep this log as it is, and name a new one with --log")
        })?;
        Ok(End { lock, chain, size: bytes.len() as u64, path: &self.path })
    }
}

impl End<'_> {
    /// The last line, which the next one will name.
    pub fn last(&self) -> Place {
        self.chain.last()
    }

    /// The number that the next line of a run will have.
    pub fn next(&self) -> u64 {
        let closes = self.chain.open.as_ref().is_some_and(|open| matches!(open.torn, Ok(Some(_))));
        self.chain.len() + 1 + u64::from(closes)
    }

    fn has_room(&self) -> Result<()> {
        if self.size + ROOM > LIMIT {
            let text = format!("the log `{}` is full: it may have {LIMIT} bytes", self.path.display());
            return Err(Error::new(Code::Usage, text)
                .hint("keep it, note its last line (mirror-bundle log verify), and name a new one with --log"));
        }
        self.lock.room_for(ROOM).map_err(|e| Error::io("cannot write the log", self.path, e))
    }

    /// The line before that of the run: if a killed run left an incomplete one, the line that closes it.
    fn closing(&self, time: &str) -> Option<Line> {
        let Some(Ok(Some(torn))) = self.chain.open.as_ref().map(|open| open.torn.clone()) else { return None };
        Some(Line {
            n: self.chain.len() + 1,
            prev: self.chain.last().sha256,
            time: time.to_owned(),
            event: chain::TORN.to_owned(),
            verdict: None,
            exit_code: None,
            index: None,
            receipt: None,
            torn: Some(torn),
        })
    }

    /// The SHA-256 that the line of the run will name as `prev`, for this time.
    fn prepared(&self, time: &str) -> Result<(Vec<u8>, String)> {
        let end = if self.chain.open.is_some() { b"\n".as_slice() } else { b"" };
        Ok(match self.closing(time) {
            None => (end.to_vec(), self.chain.last().sha256),
            Some(line) => {
                let bytes = bytes(&line)?;
                let prev = Digest::of(&bytes).hex();
                ([end, bytes.as_slice()].concat(), prev)
            }
        })
    }

    /// The line that the run will follow, at this time.
    pub fn before(&self, now: Timestamp) -> Result<Place> {
        Ok(Place { n: self.next() - 1, sha256: self.prepared(&seconds(now))?.1 })
    }

    /// Appends the line of a run in one write, and makes it durable.
    ///
    /// # Errors
    /// [`Code::Io`]: the log is then as before, or its last line is incomplete, and the next run closes it.
    pub fn append(self, entry: &Entry, now: Timestamp) -> Result<Place> {
        let time = seconds(now);
        let (mut out, prev) = self.prepared(&time)?;
        let n = self.next();
        let line = bytes(&Line {
            n,
            prev,
            time,
            event: entry.event.to_owned(),
            verdict: Some(entry.verdict.to_owned()),
            exit_code: Some(entry.exit_code),
            index: entry.index,
            receipt: entry.receipt,
            torn: None,
        })?;
        out.extend_from_slice(&line);
        self.lock.append(&out).map_err(|e| Error::io("cannot write the log", self.path, e))?;
        Ok(Place { n, sha256: Digest::of(&line).hex() })
    }
}

/// A time without fractions.
pub fn seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn bytes(line: &Line) -> Result<Vec<u8>> {
    line.to_bytes().map_err(|e| Error::new(Code::Internal, "cannot write a line of the log").source(e))
}

/// Reads a log to check it.
///
/// # Errors
/// [`Code::Malformed`] with the number of the line that is not as its neighbours say; [`Code::Usage`] over the limit.
pub fn read(path: &Path) -> Result<Chain> {
    let read = || {
        let bytes = small::read(path, LIMIT).map_err(|e| e.error("cannot read", path, Code::Usage))?;
        Chain::read(&bytes).map_err(|broken| error(path, &broken))
    };
    let mut chain = read()?;
    if chain.open.is_some() && path.is_file() {
        // Perhaps a run is writing its line right now.
        std::thread::sleep(std::time::Duration::from_millis(100));
        chain = read()?;
    }
    match &chain.open {
        None => Ok(chain),
        Some(open) => Err(match &open.torn {
            Err(broken) => error(path, broken),
            Ok(torn) => {
                let why = match torn {
                    Some(torn) => format!("is incomplete: {} bytes without an end", torn.bytes),
                    None => "has no end".to_owned(),
                };
                error(path, &Broken { line: open.line, why })
                    .hint("a run was killed while it wrote this; the next run with --log closes it")
            }
        }),
    }
}

/// The error for a line.
pub fn error(path: &Path, broken: &Broken) -> Error {
    Error::new(Code::Malformed, format!("line {} of `{}` {}", broken.line, path.display(), broken.why))
}
