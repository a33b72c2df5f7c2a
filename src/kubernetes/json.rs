//! A strict JSON parser that reports lines: it takes one value, and nothing that two parsers read differently.
//!
//! [`super::value::check`] refuses duplicate names and odd numbers, on the value.

use super::Refusal;
use super::value::{MAX_DEPTH, MAX_VALUES, Value, number_refused};

/// Parses exactly one JSON value with optional white space around it.
pub(super) fn parse(text: &str) -> Result<Value, Refusal> {
    let mut parser = Parser { text, at: 0, values: 0 };
    let value = parser.value(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.refuse("data after the JSON object; a JSON file holds one object")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Parser<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn refuse(&self, why: impl Into<String>) -> Refusal {
        let before = self.text.as_bytes().get(..self.at).unwrap_or_default();
        Refusal::at(1 + before.iter().filter(|b| **b == b'\n').count(), why)
    }

    fn expect(&mut self, want: u8) -> Result<(), Refusal> {
        if self.peek() == Some(want) {
            self.at += 1;
            return Ok(());
        }
        Err(self.refuse(format!("it is not JSON: `{}` is missing", char::from(want))))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Refusal> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err(self.refuse(format!("over {MAX_VALUES} values, or over {MAX_DEPTH} levels of them")));
        }
        match self.peek() {
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::String),
            _ => self.word(),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Refusal> {
        self.at += 1;
        let mut members = Vec::new();
        if self.peek() != Some(b'}') {
            loop {
                self.peek();
                let key = self.string()?;
                self.expect(b':')?;
                members.push((key, self.value(depth + 1)?));
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
        }
        self.expect(b'}')?;
        members.shrink_to_fit();
        Ok(Value::Map(members))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Refusal> {
        self.at += 1;
        let mut items = Vec::new();
        if self.peek() != Some(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
        }
        self.expect(b']')?;
        items.shrink_to_fit();
        Ok(Value::List(items))
    }

    fn word(&mut self) -> Result<Value, Refusal> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ if super::value::is_number(word) => Value::Number(word.to_owned()),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                return Err(self.refuse(number_refused(word)));
            }
            _ => return Err(self.refuse("it is not JSON")),
        };
        self.at += end;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, Refusal> {
        let mut out = String::new();
        if self.byte() != Some(b'"') {
            return Err(self.refuse("it is not JSON: a quoted name is missing"));
        }
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(c) = rest.chars().next() else { return Err(self.refuse("an unterminated string")) };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                '\0'..='\u{1f}' => return Err(self.refuse("a control character in a string is not escaped")),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Refusal> {
        let b = self.byte();
        self.at += 1;
        Ok(match b {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.unit()?;
                let units = match (first, self.text.get(self.at..self.at + 2)) {
                    (0xd800..=0xdbff, Some("\\u")) => {
                        self.at += 2;
                        vec![first, self.unit()?]
                    }
                    _ => vec![first],
                };
                let mut decoded = char::decode_utf16(units);
                match (decoded.next(), decoded.next()) {
                    (Some(Ok(c)), None) => c,
                    _ => return Err(self.refuse("a string holds half of a surrogate pair")),
                }
            }
            _ => return Err(self.refuse("an escape that does not exist in JSON")),
        })
    }

    fn unit(&mut self) -> Result<u16, Refusal> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|d| u16::from_str_radix(d, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| self.refuse("an escape that does not exist in JSON"))
    }
}
