//! The content of a manifest, the rules for it, and its canonical form.

use std::collections::HashSet;
use std::fmt::Write;

/// The deepest nesting of lists and objects.
pub(super) const MAX_DEPTH: usize = 64;
/// The most values in a file.
pub(super) const MAX_VALUES: usize = 200_000;
/// The longest member name, in bytes: YAML parsers look for a key in at most 1,024 bytes.
const MAX_KEY: usize = 512;

/// A JSON value. Members keep the order in which they were written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as written (`is_number`).
    Number(String),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// Members by name.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The member with this name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members().and_then(|m| m.iter().find(|(key, _)| key == name)).map(|(_, value)| value)
    }

    /// The members, if this is an object.
    pub fn members(&self) -> Option<&[(String, Value)]> {
        match self {
            Value::Map(members) => Some(members),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The canonical form and a line feed: indented by two blanks, or without white space.
    pub(super) fn to_text(&self, pretty: bool) -> String {
        let mut out = String::new();
        self.write(&mut out, pretty.then_some(0));
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String, level: Option<usize>) {
        let (brackets, count) = match self {
            Value::Null => return out.push_str("null"),
            Value::Bool(yes) => return out.push_str(if *yes { "true" } else { "false" }),
            Value::Number(number) => return out.push_str(number),
            Value::String(text) => return string(out, text),
            Value::List(items) => (['[', ']'], items.len()),
            Value::Map(members) => (['{', '}'], members.len()),
        };
        let inner = level.map(|level| level + 1);
        out.push(brackets[0]);
        for n in 0..count {
            if n > 0 {
                out.push(',');
            }
            line(out, inner);
            match self {
                Value::List(items) => items[n].write(out, inner),
                Value::Map(members) => {
                    string(out, &members[n].0);
                    out.push_str(if level.is_some() { ": " } else { ":" });
                    members[n].1.write(out, inner);
                }
                _ => {}
            }
        }
        if count > 0 {
            line(out, level);
        }
        out.push(brackets[1]);
    }
}

fn line(out: &mut String, level: Option<usize>) {
    if let Some(level) = level {
        out.push('\n');
        (0..level).for_each(|_| out.push_str("  "));
    }
}

/// Writes a JSON string: escapes only what JSON requires, and what cannot be seen or reorders text.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hidden(c) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Control characters, line breaks of other parsers, and characters that terminals hide or reorder.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether every parser reads and writes `text` as this same number: at most 15 digits, of them at most six behind the
/// point, the last of those not 0; no exponent, no `-0`.
pub(super) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    decimal(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(|f| decimal(f) && f.len() <= 6 && !f.ends_with('0'))
        && whole.len() + fraction.map_or(0, str::len) <= 15
        && text != "-0"
}

/// The rules of MB-MAN-02 for values: numbers, member names, text, depth.
pub(super) fn check(value: &Value) -> Result<(), String> {
    let mut seen = 0;
    walk(value, 0, &mut seen)
}

fn walk(value: &Value, depth: usize, seen: &mut usize) -> Result<(), String> {
    *seen += 1;
    if *seen > MAX_VALUES || depth > MAX_DEPTH {
        return Err(format!("it holds more than {MAX_VALUES} values, or nests over {MAX_DEPTH} levels"));
    }
    match value {
        Value::Number(text) if !is_number(text) => Err(number_refused(text)),
        Value::String(text) if text.contains('\0') => Err("a string in it holds a NUL character".to_owned()),
        Value::List(items) => items.iter().try_for_each(|item| walk(item, depth + 1, seen)),
        Value::Map(members) => {
            let mut folded = HashSet::new();
            for (key, value) in members {
                check_key(key)?;
                if !folded.insert(key.to_ascii_lowercase()) {
                    return Err(format!("key `{key}` appears twice, or differs from another one only by case"));
                }
                walk(value, depth + 1, seen)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Keys are printable ASCII, so that case has one meaning, and not one of YAML's merge keys.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    let shown: String = key.chars().take(40).flat_map(char::escape_default).collect();
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(format!("key `{shown}` is not 1 to {MAX_KEY} printable ASCII characters"));
    }
    if key == "<<" || key == "=" {
        return Err(format!("key `{key}` means something else to YAML parsers; write the members out"));
    }
    Ok(())
}

pub(super) fn number_refused(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    format!("number `{shown}` is changed by some parsers; quote it if it is text")
}
