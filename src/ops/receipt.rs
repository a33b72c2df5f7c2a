//! Proof of what a run did on this host: a receipt, written last, and a line in the log (MB-RCP, MB-LOG).
//!
//! A verb opens its [`Books`] before it does anything, and closes them with what came of it: nothing is written where
//! that could not be recorded.

use std::cell::Cell;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::bundle::addendum::{PREDICATE, Review, STATEMENT, Statement, Subject, SubjectDigest};
use crate::error::{Code, Error, Result};
use crate::fs::{AtomicFile, beside, dir, small};
use crate::host::log::{Entry, Log, seconds};
use crate::oci::{Digest, json};
use crate::report::{Place, Proof, Report, Verdict};
use crate::sign::{MessageHash, Namespace, Role, SecretKey};

/// The largest receipt, in bytes.
pub const LIMIT: u64 = 16 << 20;
/// The largest signature beside one.
pub const SIGNATURE: u64 = crate::bundle::limits::SIGNATURE;
/// `details.schema` of a receipt.
const SCHEMA: &str = "mirror-bundle/receipt/v1";

/// Where a run is to be recorded.
#[derive(Debug, Default)]
pub struct Wanted {
    /// A new file for the receipt.
    pub receipt: Option<PathBuf>,
    /// The key that signs it.
    pub key: Option<Arc<SecretKey>>,
    /// The log.
    pub log: Option<PathBuf>,
}

/// A receipt and a log that can be written.
#[derive(Debug)]
pub struct Books {
    event: &'static str,
    receipt: Option<PathBuf>,
    key: Option<Arc<SecretKey>>,
    log: Option<Log>,
    closed: Cell<bool>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Done<'a> {
    /// The report of the bundle.
    pub report: &'a Report,
    /// What came of it in one word, where that is not the verdict of the report.
    pub verdict: Option<&'static str>,
    /// The exit code of the process.
    pub exit_code: u8,
    /// More for the receipt: where content went, what was removed.
    pub more: Map<String, Value>,
    /// The clock of this host.
    pub now: Timestamp,
}

impl Books {
    /// Opens them for a run of this verb.
    ///
    /// # Errors
    /// [`Code::Conflict`] when the receipt exists, [`Code::Io`] when it cannot be written; those of [`Log::open`].
    pub fn open(event: &'static str, wanted: Wanted) -> Result<Books> {
        let log = wanted.log.as_deref().map(Log::open).transpose()?;
        if let Some(path) = &wanted.receipt {
            apart(path, wanted.log.as_deref())
                .and_then(|()| writable(path))
                .map_err(|e| e.state("nothing was done"))?;
        }
        Ok(Books { event, receipt: wanted.receipt, key: wanted.key, log, closed: Cell::new(false) })
    }

    /// Neither a receipt nor a log.
    pub fn none(event: &'static str) -> Books {
        Books { event, receipt: None, key: None, log: None, closed: Cell::new(false) }
    }

    /// Writes the receipt, then the line in the log.
    ///
    /// # Errors
    /// [`Code::Io`] when one of them cannot be written, with what is there and what is not.
    pub fn close(&self, done: &Done<'_>) -> Result<Proof> {
        self.closed.set(true);
        let undone = |e: Error, what: &str| e.state(format!("everything else is done; this run is {what}"));
        let index = done.report.bundle.index.parse().ok();
        let end = self.log.as_ref().map(Log::end).transpose();
        let before = match &end {
            Ok(Some(end)) => Some(end.before(done.now)?),
            _ => None,
        };
        let mut proof = Proof::default();
        if let Some(path) = &self.receipt {
            let bytes = statement(self.event, done, index, before.as_ref())?;
            write(path, &bytes, self.key.as_deref()).map_err(|e| undone(e, "in neither a receipt nor the log"))?;
            proof.receipt = Some(Digest::of(&bytes).to_string());
        }
        let entry = Entry {
            event: self.event,
            verdict: done.verdict.unwrap_or(word(done.report.verdict)),
            exit_code: done.exit_code,
            index,
            receipt: proof.receipt.as_deref().and_then(|digest| digest.parse().ok()),
        };
        let line = end.and_then(|end| end.map(|end| end.append(&entry, done.now)).transpose());
        proof.log = line.map_err(|e| undone(e, "not in the log"))?;
        Ok(proof)
    }

    /// Records in the log that the run ended with this error. Returns the error, with a fact if the log cannot be
    /// written either.
    pub fn failed(&self, error: Error, exit_code: u8, index: Option<Digest>, now: Timestamp) -> Error {
        let (Some(log), false) = (&self.log, self.closed.replace(true)) else { return error };
        let verdict = match error.code() {
            Code::Interrupted | Code::Terminated => "interrupted",
            code if code.is_verdict() => word(Verdict::Failed),
            _ => "error",
        };
        let entry = Entry { event: self.event, verdict, exit_code, index, receipt: None };
        match log.end().and_then(|end| end.append(&entry, now)) {
            Ok(_) => error,
            Err(e) => error.fact(format!("this run is not in the log: {}", e.message())),
        }
    }
}

/// The word of a verdict, as in JSON.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "verified",
        Verdict::NotFullyChecked => "not-fully-checked",
        Verdict::Failed => "fail",
    }
}

fn taken(path: &Path) -> Error {
    Error::new(Code::Conflict, format!("`{}` already exists", path.display()))
        .hint("a receipt is never replaced: choose another name")
}

/// Returns an error if the log is one of the files that a receipt is written to.
fn apart(path: &Path, log: Option<&Path>) -> Result<()> {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let Some(log) = log.and_then(id) else { return Ok(()) };
    let files = ["", ".sig", ".partial"].map(|ending| beside(path, ending));
    match files.iter().any(|file| id(file) == Some(log)) {
        true => Err(Error::new(Code::Usage, format!("`{}` cannot be both receipt and log", path.display()))),
        false => Ok(()),
    }
}

/// Returns an error if a receipt could not be written here.
fn writable(path: &Path) -> Result<()> {
    if dir::exists(path) {
        return Err(taken(path));
    }
    let signature = beside(path, ".sig");
    if dir::exists(&signature) && !left_over(&signature) {
        return Err(taken(&signature));
    }
    match AtomicFile::begin(&beside(path, ".partial")) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            Err(Error::new(Code::Conflict, format!("another mirror-bundle is writing `{}`", path.display())))
        }
        tried => tried.map(drop).map_err(|e| Error::io("cannot write the receipt", path, e)),
    }
}

/// Whether this is the signature of a receipt that a killed run did not write any more.
fn left_over(signature: &Path) -> bool {
    small::open(signature, small::Links::Refuse)
        .and_then(|file| {
            let mut bytes = Vec::new();
            small::read_open(&file, SIGNATURE, &mut bytes).map(|()| bytes)
        })
        .is_ok_and(|bytes| {
            crate::sign::Signature::parse(&bytes).is_ok_and(|s| s.namespace() == Namespace::Record.as_str())
        })
}

/// Writes the signature, then the receipt: it is there whole, and signed, or not at all.
fn write(path: &Path, bytes: &[u8], key: Option<&SecretKey>) -> Result<()> {
    if bytes.len() as u64 > LIMIT {
        return Err(Error::new(Code::Usage, format!("the receipt has {} bytes, over {LIMIT}", bytes.len())));
    }
    let put = |bytes: &[u8], to: &Path, replace: bool| {
        AtomicFile::begin(&beside(path, ".partial")).and_then(|new| new.commit(bytes, to, replace)).map_err(|e| match e
            .kind()
        {
            ErrorKind::AlreadyExists => taken(to),
            _ => Error::io("cannot write the receipt", to, e),
        })
    };
    if let Some(key) = key {
        let armored = crate::sign::sign(key, Namespace::Record, &MessageHash::of(bytes));
        put(armored.as_bytes(), &beside(path, ".sig"), true)?;
    }
    put(bytes, path, false)
}

/// The receipt: a record in the form of MB-RVW, with what was done in `details`.
fn statement(event: &str, done: &Done<'_>, index: Option<Digest>, before: Option<&Place>) -> Result<Vec<u8>> {
    let internal = |e: serde_json::Error| Error::new(Code::Internal, "cannot write the receipt").source(e);
    let whole = serde_json::to_value(done.report).map_err(internal)?;
    let part = |name: &str| whole.get(name).cloned();
    let found: Vec<Value> = done
        .report
        .errors()
        .map(|f| json!({ "code": f.code.as_str(), "subject": f.subject, "message": f.message }))
        .collect();
    let checks: Vec<Value> = done
        .report
        .checks
        .iter()
        .map(|c| json!({ "id": c.id, "outcome": c.outcome, "examined": c.examined, "of": c.of }))
        .collect();
    let mut details = done.more.clone();
    let members = [
        ("schema", Some(SCHEMA.into())),
        ("event", Some(event.into())),
        ("host", Some(crate::host::name().into())),
        ("program", Some(format!("mirror-bundle {}", env!("CARGO_PKG_VERSION")).into())),
        ("bundle", part("bundle")),
        ("trust_policy", Some(json!(done.report.trust_policy))),
        ("policy", Some(json!(done.report.policy))),
        ("accepted", Some(part("accepted").unwrap_or_else(|| json!([])))),
        ("verdict", Some(done.verdict.unwrap_or(word(done.report.verdict)).into())),
        ("exit_code", Some(done.exit_code.into())),
        ("checked_at", Some(done.report.checked_at.clone().into())),
        ("exceptions", part("exceptions")),
        ("signatures", part("signatures")),
        ("checks", Some(checks.into())),
        ("not_checked", part("not_checked")),
        ("found", Some(found.into())),
        ("removals", Some(part("removals").unwrap_or_else(|| json!([])))),
        ("evidence", Some(part("evidence").unwrap_or_else(|| json!([])))),
        ("log", Some(json!(before.map(|place| json!({ "n": place.n + 1, "prev": place.sha256 }))))),
    ];
    details.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    details.values_mut().for_each(clean);
    let text = serde_json::to_vec(&details).map_err(internal)?;
    let name = done.report.bundle.name.clone().unwrap_or_else(|| done.report.bundle.path.clone());
    let name = cleaned(&name);
    let subject = index.map(|index| Subject { name, digest: SubjectDigest { sha256: index.hex() } });
    let statement = Statement {
        kind: STATEMENT.to_owned(),
        subject: subject.into_iter().collect(),
        predicate_type: PREDICATE.to_owned(),
        predicate: Review {
            role: Role::Receiver,
            note: String::new(),
            created: seconds(done.now),
            details: Some(json::Object::parse(&text).map_err(|e| Error::new(Code::Internal, e.to_string()))?),
        },
    };
    let mut bytes = serde_json::to_vec(&statement).map_err(internal)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Replaces control characters, which a hostile path or name may have: no receipt has any.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = cleaned(text),
        Value::Array(list) => list.iter_mut().for_each(clean),
        Value::Object(members) => members.values_mut().for_each(clean),
        _ => {}
    }
}

fn cleaned(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// A receipt that was read.
#[derive(Debug)]
pub struct Receipt {
    /// Its digest.
    pub digest: Digest,
    /// Digest of the index of the bundle, if it could be read.
    pub index: Option<String>,
    /// The name of the bundle, or its path.
    pub bundle: Option<String>,
    /// When it was written.
    pub created: String,
    /// What it says, as far as it is looked at here.
    pub details: Details,
}

/// The members of `details` that are looked at when a receipt is read.
#[derive(Debug, Deserialize)]
pub struct Details {
    schema: String,
    /// What ran.
    pub event: String,
    /// The host.
    pub host: String,
    /// What came of it.
    pub verdict: String,
    /// The exit code.
    pub exit_code: u8,
    /// Its line in a log.
    pub log: Option<Line>,
}

/// The line of a receipt in a log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The number of the line.
    pub n: u64,
    /// SHA-256 of the line before.
    pub prev: String,
}

/// Reads a receipt.
///
/// # Errors
/// [`Code::Malformed`] when it is not one; [`Code::Usage`] when it is over the limit.
pub fn read(path: &Path) -> Result<(Receipt, Vec<u8>)> {
    let bytes = small::read(path, LIMIT).map_err(|e| e.error("cannot read", path, Code::Usage))?;
    let not_one = |why: String| Error::new(Code::Malformed, format!("`{}` is not a receipt: {why}", path.display()));
    Ok((parse(&bytes).map_err(not_one)?, bytes))
}

fn parse(bytes: &[u8]) -> std::result::Result<Receipt, String> {
    json::check(bytes, &[]).and_then(|()| json::no_controls(bytes)).map_err(|e| e.to_string())?;
    let statement: Statement = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
        return Err("it is not a review statement".to_owned());
    }
    let review = statement.predicate;
    if review.role != Role::Receiver {
        return Err(format!("its role is {}, not receiver", review.role));
    }
    if review.created.parse::<Timestamp>().is_err() {
        return Err("its time is not a time".to_owned());
    }
    let details = review.details.ok_or("it has no details")?;
    let text = serde_json::to_vec(&details).map_err(|e| e.to_string())?;
    let details: Details = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    if details.schema != SCHEMA {
        return Err("its details are not those of a receipt".to_owned());
    }
    if details.log.as_ref().is_some_and(|log| log.n == 0 || Digest::from_hex(&log.prev).is_err()) {
        return Err("its line in the log cannot be one".to_owned());
    }
    let mut subjects = statement.subject.into_iter();
    let (subject, none) = (subjects.next(), subjects.next().is_none());
    if !none || subject.is_none() && details.verdict != word(Verdict::Failed) {
        return Err("it is not about one bundle".to_owned());
    }
    let index = subject.as_ref().map(|s| Digest::from_hex(&s.digest.sha256)).transpose().map_err(|e| e.to_string())?;
    Ok(Receipt {
        digest: Digest::of(bytes),
        index: index.map(|digest| digest.to_string()),
        bundle: subject.map(|s| s.name),
        created: review.created,
        details,
    })
}
