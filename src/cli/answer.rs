//! Answers on standard output. A closed pipe is not an error, and never changes the exit code.

use std::io::Write;

use serde::Serialize;

use super::args::{Global, Output};
use super::escape::{escape, escape_json, fold, width};

/// Writes text; every line was escaped by who made it.
pub(super) fn text(text: &str) {
    match width(&std::io::stdout()) {
        Some(width) => put(&fold(text, width)),
        None => put(text),
    }
}

fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
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

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// A word as a shell takes it: quoted where it must be.
pub(super) fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "/._-:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Lines of a name and a value, names in one column.
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
