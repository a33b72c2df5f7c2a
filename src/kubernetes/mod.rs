//! Kubernetes manifests: one object per file, in one form that every parser reads alike.
//!
//! [`parse`] reads the input of `create`, YAML or JSON, and refuses what two parsers could read differently.
//! [`Manifest::to_bytes`] writes an object in its canonical form, strict JSON. [`read`] accepts only that form, so a
//! verifier, kubectl and oc cannot disagree about a carried file (`spec/verification.md`, MB-MAN).

mod admission;
mod json;
pub mod mirror_set;
mod object;
mod rule;
mod scope;
mod size;
mod value;
mod yaml;

use std::fmt;

pub use admission::{Admission, Denied, LARGE, SIGNATURE_LABEL, SIGNATURE_NAMESPACE, remarks};
pub use mirror_set::MirrorSetKind;
pub use object::Object;
pub use rule::Rule;
pub use scope::{Scope, scope};
pub use size::{MAX_DATA, needs_server_side};
pub use value::Value;

/// The largest file accepted, in bytes (MB-LIM-07).
pub const MAX_BYTES: usize = 3 << 20;

/// An object with its content.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its name, kind and namespace.
    pub object: Object,
    /// Its whole content.
    pub value: Value,
}

impl Manifest {
    fn new(value: Value) -> Result<Manifest, String> {
        value::check(&value)?;
        let object = object::name(&value)?;
        Ok(Manifest { object, value })
    }

    /// The canonical form, indented (MB-MAN-01).
    pub fn to_bytes(&self) -> Vec<u8> {
        self.value.to_text(true).into_bytes()
    }
}

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The line, counted from 1, if known.
    pub line: Option<usize>,
    /// One clause.
    pub why: String,
}

impl Refusal {
    fn at(line: usize, why: impl Into<String>) -> Refusal {
        Refusal { line: Some(line), why: why.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Reads a carried file: one object in canonical form, indented or on one line as `oc` writes it (MB-MAN-01).
///
/// # Errors
/// Why the file is not acceptable.
pub fn read(bytes: &[u8]) -> Result<Manifest, Refusal> {
    let manifest = Manifest::new(json::parse(text(bytes)?)?).map_err(|why| Refusal { line: None, why })?;
    if [true, false].iter().any(|pretty| manifest.value.is_text(*pretty, bytes)) {
        return Ok(manifest);
    }
    Err(Refusal { line: None, why: "it is not in the canonical form of manifests".to_owned() })
}

/// Reads the objects of a YAML or JSON file in order. Empty documents are dropped, and so are members that the server
/// writes, where they hold nothing: `creationTimestamp: null`, `status: {}` (MB-MAN-08).
///
/// # Errors
/// The first thing that two parsers could read differently, or that is not an object.
pub fn parse(bytes: &[u8]) -> Result<Vec<Manifest>, Refusal> {
    let text = text(bytes)?;
    // kubectl and oc read a file that begins with a brace as JSON.
    let values = match text.trim_start().starts_with('{') {
        true => vec![(1, json::parse(text)?)],
        false => yaml::parse(text)?,
    };
    let manifests: Vec<Manifest> = values
        .into_iter()
        .map(|(line, mut value)| {
            object::without_empty(&mut value);
            Manifest::new(value).map_err(|why| Refusal::at(line, why))
        })
        .collect::<Result<_, _>>()?;
    if manifests.is_empty() {
        return Err(Refusal { line: None, why: "it holds no object".to_owned() });
    }
    if manifests.iter().any(|m| m.to_bytes().len() > MAX_BYTES) {
        return Err(Refusal { line: None, why: format!("an object in it has more than {MAX_BYTES} bytes as JSON") });
    }
    Ok(manifests)
}

/// Checks for UTF-8, an acceptable length, and no characters that some parsers treat as a line break or ignore.
fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > MAX_BYTES {
        let why = format!("it has {} bytes, over the limit of {MAX_BYTES}", bytes.len());
        return Err(Refusal { line: None, why });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
        Refusal::at(1 + before.iter().filter(|b| **b == b'\n').count(), "it is not UTF-8")
    })?;
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let odd = match c {
            '\n' | '\t' => false,
            '\r' => chars.peek() != Some(&'\n'),
            _ => c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'),
        };
        if odd {
            let why = format!("it holds U+{:04X}, which parsers read differently", u32::from(c));
            return Err(Refusal::at(line, why));
        }
        line += usize::from(c == '\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
