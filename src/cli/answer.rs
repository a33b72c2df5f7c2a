//! Answers on standard output. A closed pipe is not an error, and never changes the exit code.

use std::io::Write;

use serde::Serialize;

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

/// Writes one JSON document.
pub(super) fn json<T: Serialize>(value: &T) {
    let mut out = serde_json::to_string_pretty(value).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"));
    out.push('\n');
    put(&escape_json(&out));
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
