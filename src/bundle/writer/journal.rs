//! The progress record of an interrupted run: a small text file beside the partial ones. Its claims are verified.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::plan::Plan;
use super::{journal_path, with_suffix};
use crate::error::{Code, Error, Result};
use crate::fs::durable::{remove_if_there, sync_parent, try_rename};
use crate::fs::partial::{Own, open_own};
use crate::fs::small::{self, Links};
use crate::oci::Digest;

/// The first line.
const MAGIC: &str = "mirror-bundle partial 2";
/// The largest journal that is read, in bytes.
const MOST: u64 = 64 << 20;

/// The journal of an interrupted run: enough to make the same plan again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// `created` of the interrupted plan.
    pub created: String,
    index: String,
    division: String,
    total: u64,
    done: Vec<Digest>,
    at: HashMap<Digest, u64>,
}

/// A claim of an interrupted run about a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing is written.
    Nothing,
    /// This many bytes are written.
    Partial(u64),
    /// It is written completely.
    Done,
}

impl Journal {
    /// Reads the journal beside `first` ([`Plan::first`]), if there is one. Damage ends the journal and is no error.
    pub fn read(first: &Path) -> Result<Option<Journal>> {
        let path = journal_path(first);
        let mut bytes = Vec::new();
        match small::open(&path, Links::Refuse) {
            Ok(file) => file.take(MOST).read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", &path, e))?,
            Err(e) if e.is_missing() => return Ok(None),
            Err(e) => return Err(e.error("cannot open", &path, Code::Conflict)),
        };
        Ok(Journal::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Whether this is the journal of exactly this plan.
    pub fn is_of(&self, plan: &Plan) -> bool {
        let division = plan.division().is_ok_and(|d| d.to_string() == self.division);
        division && self.index == plan.digest().to_string() && self.total == plan.bytes()
    }

    pub(super) fn claims(&self) -> HashMap<Digest, Claim> {
        let mut claims: HashMap<Digest, Claim> = self.at.iter().map(|(d, n)| (*d, Claim::Partial(*n))).collect();
        claims.extend(self.done.iter().map(|d| (*d, Claim::Done)));
        claims
    }

    fn parse(text: &str) -> Option<Journal> {
        let end = text.rfind('\n')?;
        let mut lines = text[..end].lines();
        if lines.next()? != MAGIC {
            return None;
        }
        let created = lines.next()?.strip_prefix("created ")?.to_owned();
        let index = lines.next()?.strip_prefix("index ")?.to_owned();
        let division = lines.next()?.strip_prefix("division ")?.to_owned();
        let total = lines.next()?.strip_prefix("bytes ")?.parse().ok()?;
        created.parse::<jiff::Timestamp>().ok()?;
        let mut journal = Journal { created, index, division, total, done: Vec::new(), at: HashMap::new() };
        for line in lines {
            let mut words = line.split(' ');
            match (words.next(), words.next().and_then(|d| d.parse().ok()), words.next()) {
                (Some("done"), Some(digest), None) => journal.done.push(digest),
                (Some("at"), Some(digest), Some(n)) => _ = n.parse().map(|n| journal.at.insert(digest, n)),
                _ => break,
            }
        }
        Some(journal)
    }
}

/// The journal of the current run.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Resumes the journal beside `first`.
    pub(super) fn resume(first: &Path) -> Result<Log> {
        let path = journal_path(first);
        let err = |e| Error::io("cannot write", &path, e);
        let file = open_own(&path, Own::ExistingAppend)?;
        // A line torn by the interruption must not merge with the next one.
        let length = file.metadata().map_err(err)?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1).map_err(err)?;
        }
        if last != *b"\n" {
            // Read as bytes: a crash can leave invalid text.
            let mut there = Vec::new();
            (&file).read_to_end(&mut there).map_err(err)?;
            let whole = there.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
            file.set_len(whole).map_err(err)?;
        }
        Ok(Log { path, file: Mutex::new(file) })
    }

    /// Creates a journal beside `first`, replacing any other.
    pub(super) fn begin(first: &Path, plan: &Plan) -> Result<Log> {
        let path = journal_path(first);
        let err = |e| Error::io("cannot write", &path, e);
        let temporary = with_suffix(&path, ".new");
        let head = format!(
            "{MAGIC}\ncreated {}\nindex {}\ndivision {}\nbytes {}\n",
            plan.index.created,
            plan.digest(),
            plan.division()?,
            plan.bytes()
        );
        remove_if_there(&temporary)?;
        let mut file = open_own(&temporary, Own::NewAppend)?;
        // It is durable before anything else, so that after a power loss the next run knows whose files these are.
        file.write_all(head.as_bytes()).and_then(|()| file.sync_all()).map_err(err)?;
        try_rename(&temporary, &path, true).map_err(err)?;
        sync_parent(&path)?;
        Ok(Log { path, file: Mutex::new(file) })
    }

    /// Adds a line.
    pub(super) fn note(&self, line: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|e| Error::io("cannot write", &self.path, e))
    }
}
