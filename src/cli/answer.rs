//! Answers on standard output. A closed pipe is not an error, and never changes the exit code; a full disk is one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

use super::args::{Global, Output};
use super::escape::{escape, escape_json, fold, width};
use crate::error::Code;
pub(super) use crate::escape::shell as quoted;
use crate::verify::Report;

/// Writes text; the caller has escaped every line.
pub(super) fn text(text: &str) {
    match width(&std::io::stdout()) {
        Some(width) => put(&fold(text, width)),
        None => put(text),
    }
}

fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
    }
}

/// Why an answer was not written.
static LOST: Mutex<Option<io::Error>> = Mutex::new(None);

/// Why an answer was not written to its end, if so.
pub(super) fn lost() -> Option<io::Error> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Writes one JSON document; with `-o jsonl` as the last line, of type `result`.
pub(super) fn json<T: Serialize>(global: &Global, value: &T) {
    let text = match global.output {
        Output::Jsonl => serde_json::to_string(&Line { kind: "result", value }),
        _ => serde_json::to_string_pretty(value),
    };
    let mut out = text.unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"));
    out.push('\n');
    put(&escape_json(&out));
}

/// A JSON document of another format, safe for a terminal that shows it or its file.
pub(super) fn safe(document: &[u8]) -> String {
    escape_json(&String::from_utf8_lossy(document))
}

/// Writes it.
pub(super) fn document(safe: &str) {
    put(safe);
}

/// The document of a command that verifies first: its result `did`, or null, the report, if there is one, and the exit
/// code of the process.
pub(super) fn verified<T: Serialize>(
    global: &Global,
    verb: &str,
    did: &'static str,
    what: Option<&T>,
    report: Option<&Report>,
    exit_code: u8,
) {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: String,
        exit_code: u8,
        #[serde(flatten)]
        did: BTreeMap<&'static str, Option<&'a T>>,
        report: Option<&'a Report>,
    }
    json(
        global,
        &Document { schema: format!("mirror-bundle/{verb}/v1"), exit_code, did: BTreeMap::from([(did, what)]), report },
    );
}

/// A JSON object that keeps the order of its members.
#[derive(Clone, Debug)]
pub(super) struct Object<const N: usize>(pub [(&'static str, Value); N]);

impl<const N: usize> Serialize for Object<N> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<const N: usize> Object<N> {
    /// As one line, safe for a terminal.
    pub(super) fn line(&self) -> String {
        escape_json(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// The document for an error (`spec/schema/error.json`).
pub(super) fn failure(code: Code, message: &str, facts: &[String], state: Option<&str>, hint: Option<&str>) -> String {
    Object([
        ("type", "error".into()),
        ("code", code.as_str().into()),
        ("exit_code", code.exit().into()),
        ("message", message.into()),
        ("facts", facts.into()),
        ("state", state.into()),
        ("hint", hint.into()),
    ])
    .line()
}

/// A document or an event, starting with its type.
#[derive(Serialize)]
pub(super) struct Line<'a, T> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(flatten)]
    pub(super) value: &'a T,
}

/// Lines of names and values, with the names in one column.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<(String, String)>);

impl Table {
    /// Adds a line; the value is escaped.
    pub(super) fn row(&mut self, name: &str, value: impl AsRef<str>) -> &mut Table {
        self.0.push((name.to_owned(), escape(value.as_ref())));
        self
    }

    /// The lines.
    pub(super) fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(9);
        self.0.iter().map(|(name, value)| format!("{name:width$} {value}\n").trim_end().to_owned() + "\n").collect()
    }
}
