//! The content of a manifest, the rules for it, and its canonical form.

use std::fmt::{self, Write};

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

    /// Whether it holds nothing: `null`, empty text, or only such values.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::List(items) => items.iter().all(Value::is_empty),
            Value::Map(members) => members.iter().all(|(_, value)| value.is_empty()),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// The canonical form and a line feed: indented by two blanks, or without white space.
    pub(super) fn to_text(&self, pretty: bool) -> String {
        let mut out = String::new();
        // Writing to a string never fails.
        let _ = self.write(&mut out, pretty.then_some(0));
        out.push('\n');
        out
    }

    /// Whether these bytes are that form. Holds no copy of it.
    pub(super) fn is_text(&self, pretty: bool, bytes: &[u8]) -> bool {
        let mut rest = Expected(bytes);
        self.write(&mut rest, pretty.then_some(0)).is_ok() && rest.0 == b"\n"
    }

    fn write(&self, out: &mut impl Write, level: Option<usize>) -> fmt::Result {
        let (brackets, count) = match self {
            Value::Null => return out.write_str("null"),
            Value::Bool(yes) => return out.write_str(if *yes { "true" } else { "false" }),
            Value::Number(number) => return out.write_str(number),
            Value::String(text) => return string(out, text),
            Value::List(items) => (['[', ']'], items.len()),
            Value::Map(members) => (['{', '}'], members.len()),
        };
        let inner = level.map(|level| level + 1);
        out.write_char(brackets[0])?;
        for n in 0..count {
            if n > 0 {
                out.write_char(',')?;
            }
            line(out, inner)?;
            match self {
                Value::List(items) => items[n].write(out, inner)?,
                Value::Map(members) => {
                    string(out, &members[n].0)?;
                    out.write_str(if level.is_some() { ": " } else { ":" })?;
                    members[n].1.write(out, inner)?;
                }
                _ => {}
            }
        }
        if count > 0 {
            line(out, level)?;
        }
        out.write_char(brackets[1])
    }
}

/// Takes exactly these bytes.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text.as_bytes()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Counts the bytes of what a Go program writes for the same value, without white space.
struct Counted(usize);

impl Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Go escapes these in text, and they are nowhere else: `<` is `\u003c`.
        let escapes = text.bytes().filter(|b| matches!(b, b'<' | b'>' | b'&')).count() * 5;
        self.0 += text.len() + escapes;
        Ok(())
    }
}

impl Value {
    /// The bytes of this value on one line, as a Go program writes it, with the line feed.
    pub(super) fn go_length(&self) -> usize {
        let mut counted = Counted(1);
        let _ = self.write(&mut counted, None);
        counted.0
    }
}

fn line(out: &mut impl Write, level: Option<usize>) -> fmt::Result {
    if let Some(level) = level {
        out.write_char('\n')?;
        (0..level).try_for_each(|_| out.write_str("  "))?;
    }
    Ok(())
}

/// Writes a JSON string: escapes only what JSON requires, and what cannot be seen or reorders text.
fn string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    // What needs no escape is written at once.
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| matches!(c, '"' | '\\') || is_hidden(*c)) {
        let (plain, behind) = rest.split_at(at);
        out.write_str(plain)?;
        rest = behind.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{c}' => out.write_str("\\f")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    out.write_str(rest)?;
    out.write_char('"')
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
            members.iter().try_for_each(|(key, _)| check_key(key))?;
            let mut names: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
            names.sort_unstable_by(|a, b| folded(a).cmp(folded(b)));
            let same = |pair: &&[&str]| matches!(pair, [a, b] if a.eq_ignore_ascii_case(b));
            if let Some([_, key]) = names.windows(2).find(same) {
                return Err(format!("key `{key}` appears twice, or differs from another one only by case"));
            }
            members.iter().try_for_each(|(_, value)| walk(value, depth + 1, seen))
        }
        _ => Ok(()),
    }
}

/// A name without its letter case.
fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|b| b.to_ascii_lowercase())
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
