//! A strict YAML reader for the input of `create`: it accepts the part of YAML that 1.1 and 1.2 parsers read alike. It
//! reads the parser's events and the text between them, which may only be punctuation.

use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use super::Refusal;
use super::value::{MAX_DEPTH, MAX_VALUES, Value, check_key, is_number, number_refused};

/// The documents with content, each with its first line.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, Value)>, Refusal> {
    let mut out = Vec::new();
    let mut values = 0;
    for (line, part) in parts(text)? {
        let mut document = Document { text: &part, line, values, stack: vec![], tokens: vec![], root: None };
        document.read()?;
        values = document.values;
        out.extend(document.root.map(|value| (line, value)));
    }
    Ok(out)
}

/// Splits a file where `oc` does: at lines that begin with `---`, whatever YAML says about them. Other document
/// markers are refused. Each part ends with a line feed, as `oc` hands it to its parser.
fn parts(text: &str) -> Result<Vec<(usize, String)>, Refusal> {
    let mut out = vec![(1, String::new())];
    for (n, line) in text.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("---") {
            if !rest.trim_matches(' ').is_empty() {
                return Err(Refusal::at(n + 1, "a line that begins with `---` must hold nothing else"));
            }
            out.push((n + 2, String::new()));
            continue;
        }
        if line.starts_with("...") {
            return Err(Refusal::at(n + 1, "`...` ends a document for some parsers and not for others"));
        }
        if line.starts_with('%') {
            return Err(Refusal::at(n + 1, "YAML directives are not accepted"));
        }
        if let Some((_, part)) = out.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    Ok(out)
}

enum Frame {
    List { items: Vec<Value>, flow: bool },
    Map { members: Vec<(String, Value)>, key: Option<String>, flow: bool },
}

struct Document<'a> {
    text: &'a str,
    /// The line of the file where this document begins.
    line: usize,
    values: usize,
    stack: Vec<Frame>,
    /// The byte ranges of scalars and comments.
    tokens: Vec<Range<usize>>,
    root: Option<Value>,
}

impl Document<'_> {
    fn read(&mut self) -> Result<(), Refusal> {
        let mut options = Options::default();
        options.disallow_directives = true;
        options.strict_indentation = true;
        options.max_buffered_comment_events = 100_000;
        options.flow_nesting_limit = MAX_DEPTH;
        options.block_nesting_limit = MAX_DEPTH;
        let mut documents = 0;
        for next in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = next.map_err(|e| {
                let why = e.to_string();
                let why = why.lines().next().unwrap_or_default().to_owned();
                self.refuse(e.marker().line(), format!("it is not acceptable YAML: {why}"))
            })?;
            let line = span.start.line();
            match &event {
                Event::Scalar(_, _, 0, None)
                | Event::SequenceStart(_, 0, None)
                | Event::MappingStart(_, 0, None)
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentEnd
                | Event::SequenceEnd
                | Event::MappingEnd
                | Event::Comment(..) => {}
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.refuse(line, "a second document begins without `---`"));
                    }
                }
                Event::Scalar(_, _, _, Some(_))
                | Event::SequenceStart(_, _, Some(_))
                | Event::MappingStart(_, _, Some(_)) => {
                    return Err(self.refuse(line, "tags (`!…`) are not accepted: parsers read them differently"));
                }
                _ => return Err(self.refuse(line, "anchors and aliases (`&`, `*`) are not accepted: write it out")),
            }
            self.take(event, span)?;
        }
        self.gaps()
    }

    fn refuse(&self, line: usize, why: impl Into<String>) -> Refusal {
        Refusal::at(self.line + line.max(1) - 1, why)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        let line = span.start.line();
        let range = span.byte_range().unwrap_or_default();
        let value = match event {
            Event::Comment(..) => {
                let before = self.text.get(..range.start).and_then(|t| t.chars().next_back());
                if !before.is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
                    return Err(self.refuse(line, "a `#` begins a comment only after a blank"));
                }
                self.tokens.push(range);
                return Ok(());
            }
            Event::Scalar(text, style, ..) => {
                self.tokens.push(range.clone());
                let source = self.text.get(range).unwrap_or_default();
                let value = self.scalar(&text, source, style).map_err(|why| self.refuse(line, why))?;
                if let Some(Frame::Map { key: key @ None, .. }) = self.stack.last_mut() {
                    let Value::String(name) = value else {
                        return Err(self.refuse(line, format!("key `{text}` is not text; quote it")));
                    };
                    if source.contains('\n') {
                        return Err(self.refuse(line, "a key must be on one line"));
                    }
                    let checked = check_key(&name);
                    *key = Some(name);
                    return checked.map_err(|why| self.refuse(line, why));
                }
                value
            }
            Event::SequenceStart(style, ..) => {
                return self.open(line, Frame::List { items: vec![], flow: style == StructureStyle::Flow });
            }
            Event::MappingStart(style, ..) => {
                return self.open(line, Frame::Map { members: vec![], key: None, flow: style == StructureStyle::Flow });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::List { items, .. }) => Value::List(items),
                Some(Frame::Map { members, .. }) => Value::Map(members),
                None => return Err(self.refuse(line, "it is not YAML")),
            },
            _ => return Ok(()),
        };
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.refuse(line, format!("over {MAX_VALUES} values")));
        }
        match self.stack.last_mut() {
            Some(Frame::List { items, .. }) => items.push(value),
            Some(Frame::Map { members, key, .. }) => {
                let Some(name) = key.take() else { return Err(self.refuse(line, "a key must be text")) };
                members.push((name, value));
            }
            None => self.root = Some(value),
        }
        Ok(())
    }

    fn open(&mut self, line: usize, frame: Frame) -> Result<(), Refusal> {
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            return Err(self.refuse(line, "a key must be text"));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.refuse(line, format!("nested over {MAX_DEPTH} levels")));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn scalar(&self, text: &str, source: &str, style: ScalarStyle) -> Result<Value, String> {
        let flow = match self.stack.last() {
            Some(Frame::List { flow, .. } | Frame::Map { flow, .. }) => *flow,
            None => false,
        };
        match style {
            ScalarStyle::Plain => plain(text, source, flow),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                if source.contains('\n') && source.contains('\t') {
                    return Err("a quoted string over several lines holds a tab; write it as \\t".to_owned());
                }
                if style == ScalarStyle::DoubleQuoted {
                    escapes(source)?;
                }
                Ok(Value::String(text.to_owned()))
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                block(source)?;
                Ok(Value::String(text.to_owned()))
            }
        }
    }

    /// Checks that only YAML punctuation is between scalars and comments: no `?`, no tab, no tag.
    fn gaps(&mut self) -> Result<(), Refusal> {
        let end = self.text.len();
        self.tokens.push(end..end);
        self.tokens.sort_by_key(|range| (range.start, range.end));
        let mut at = 0;
        for range in &self.tokens {
            let gap = self.text.get(at..range.start).unwrap_or("!");
            if let Some((n, c)) = gap.char_indices().find(|(_, c)| !" \n\r:,-[]{}|>+123456789".contains(*c)) {
                let line = self.text.get(..at + n).unwrap_or_default().matches('\n').count() + 1;
                let why = match c {
                    '\t' => "a tab separates tokens; use blanks".to_owned(),
                    '?' => "`?` marks a key for some parsers and not for others".to_owned(),
                    '!' => "tags (`!…`) are not accepted: parsers read them differently".to_owned(),
                    '&' | '*' => "anchors and aliases (`&`, `*`) are not accepted: write it out".to_owned(),
                    c => format!("`{}` is in a place where parsers read it differently", c.escape_default()),
                };
                return Err(self.refuse(line, why));
            }
            at = at.max(range.end);
        }
        Ok(())
    }
}

/// Reads an unquoted scalar that means the same to every parser: text, a number, a truth value or null. Refuses
/// others.
fn plain(text: &str, source: &str, flow: bool) -> Result<Value, String> {
    let quote = |what: &str| Err(format!("`{}` is {what}; quote it", text.escape_default()));
    if source.is_empty() {
        return if flow { Err("a value is missing".to_owned()) } else { Ok(Value::Null) };
    }
    match text {
        "null" | "Null" | "NULL" | "~" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        "<<" | "=" => return quote("a special value of YAML"),
        _ if is_number(text) => return Ok(Value::Number(text.to_owned())),
        _ => {}
    }
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if words.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return quote("a truth value to some parsers and text to others");
    }
    if looks_like_a_number(text) {
        return Err(number_refused(text));
    }
    if looks_like_a_time(text) {
        return quote("a time to some parsers and text to others");
    }
    if source.contains('\t') {
        return quote("text with a tab");
    }
    let first = text.chars().next().unwrap_or('?');
    let begins = match first {
        '-' => text.chars().nth(1).is_some_and(|c| c == '-' || c.is_ascii_alphanumeric()),
        c if c.is_ascii() => c.is_ascii_alphanumeric() || "/._+$(<;^~=\\".contains(c),
        c => c.is_alphanumeric(),
    };
    if !begins {
        return quote("text that begins with a YAML indicator");
    }
    let inside = |c: char| c.is_alphanumeric() || "/._+-$()=@~^;: ".contains(c);
    if flow && !(text.chars().all(inside) && !text.ends_with(':') && !source.contains('\n')) {
        return quote("text with a YAML indicator of flow collections");
    }
    Ok(Value::String(text.to_owned()))
}

/// Whether any parser of YAML 1.1, 1.2 or a dialect reads this as a number: of any base, a float, or sexagesimal.
fn looks_like_a_number(text: &str) -> bool {
    let bare = text.trim_start_matches(['+', '-']).replace('_', "").to_ascii_lowercase();
    if matches!(bare.as_str(), ".inf" | ".nan" | "inf" | "nan" | "infinity" | "." | "") {
        return bare != "." || text.len() > 1;
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let only = |allowed: &str| bare.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let decimal = |part: &str| {
        let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
        digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
    };
    let exponent = |part: &str| digits(part.strip_prefix(['+', '-']).unwrap_or(part));
    decimal(&bare)
        || bare.split_once('e').is_some_and(|(mantissa, e)| decimal(mantissa) && exponent(e))
        || (["0x", "0o", "0b"].iter().any(|p| bare.starts_with(p)) && only("abcdefxop+-."))
        || (bare.contains(':') && only(":."))
}

/// `2001-01-01`, and longer text that begins like it.
fn looks_like_a_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits =
        |part: Option<&str>, n: usize| part.is_some_and(|p| p.len() <= n && p.bytes().all(|b| b.is_ascii_digit()));
    let day = |part: Option<&str>| part.is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()));
    digits(parts.next(), 4) && digits(parts.next(), 2) && day(parts.next())
}

/// Accepts only escapes that every parser knows, and no half of a surrogate pair.
fn escapes(source: &str) -> Result<(), String> {
    let mut rest = source;
    while let Some((_, behind)) = rest.split_once('\\') {
        let Some(c) = behind.chars().next() else { break };
        if !"\"\\bfnrtxuU \n\r".contains(c) {
            return Err(format!("escape `\\{}` is not known to every parser", c.escape_default()));
        }
        let surrogate = |hex: Option<&str>| hex.is_some_and(|h| h.starts_with(['d', 'D']) && h[1..] >= *"8");
        if c == 'u' && surrogate(behind.get(1..3))
            || c == 'U' && surrogate(behind.get(5..7)) && behind.get(1..5) == Some("0000")
        {
            return Err("a surrogate pair in a string; write the character or `\\U…`".to_owned());
        }
        rest = behind.get(c.len_utf8()..).unwrap_or_default();
    }
    Ok(())
}

/// Checks that every parser sees the same indentation in block text (`|`, `>`).
fn block(source: &str) -> Result<(), String> {
    let mut begun = false;
    for line in source.lines() {
        let content = line.trim_start_matches(' ');
        if !begun && content.is_empty() && !line.is_empty() {
            return Err("block text begins with a line of blanks".to_owned());
        }
        if content.starts_with('\t') && (!begun || content.len() == line.len()) {
            return Err("a tab in the indentation of block text".to_owned());
        }
        begun |= !content.is_empty();
    }
    Ok(())
}
