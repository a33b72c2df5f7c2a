//! The same page as Markdown (CommonMark with tables), for tickets and wikis.

use super::block::{Block, Line, Picture, Span, Table};
use super::plain::groups;
use crate::escape::escape;

/// Text, as text: every character that Markdown or HTML in it would read becomes an entity. An entity is text
/// everywhere: it opens no list, no heading, no link, no cell.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in escape(raw).chars() {
        match c {
            '&' | '<' | '>' | '"' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '\\' | '~' | '!' | '$' | '@' | '{'
            | '}' => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            // Bare addresses become links: `https://`, `www.`.
            ':' if out.ends_with("http") || out.ends_with("https") || out.ends_with("ftp") => out.push_str("&#58;"),
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("&#46;"),
            c => out.push(c),
        }
    }
    out
}

/// Text at the beginning of a line: nothing there opens a list, a quotation or a rule.
fn begin(text: String) -> String {
    let text = text.trim_start().to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let list = digits > 0 && [". ", ") "].iter().any(|end| text[digits..].starts_with(end));
    match text.chars().next() {
        Some(c @ ('-' | '+' | '=')) => format!("&#{};{}", u32::from(c), &text[1..]),
        Some(_) if list => {
            format!("{}&#{};{}", &text[..digits], u32::from(text.as_bytes()[digits]), &text[digits + 1..])
        }
        _ => text,
    }
}

/// A name, path or command as code. HTML's `code`, because text in backticks has no entities: a backtick or a pipe
/// would end it.
fn code(raw: &str) -> String {
    format!("<code>{}</code>", text(raw))
}

fn spans(line: &[Span]) -> String {
    let mut out = String::new();
    for span in line {
        match span {
            Span::Text(raw) | Span::Small(raw) => out.push_str(&text(raw)),
            Span::Strong(raw) => out.push_str(&format!("<b>{}</b>", text(raw))),
            Span::Code(raw) | Span::Digest(raw) => out.push_str(&code(raw)),
            Span::Tag(tag) => out.push_str(&format!("<b>{}</b>", tag.word())),
            Span::Tick(word) => out.push_str(&format!("☐ {word}  ")),
            Span::Blank(_) => out.push_str("…………………… "),
            Span::Break => out.push_str("<br>"),
        }
    }
    out
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn pairs(rows: &[(&'static str, Line)], out: &mut String) {
    out.push_str("| | |\n|---|---|\n");
    for (word, line) in rows {
        out.push_str(&row(&[text(word), spans(line)]));
    }
    out.push('\n');
}

fn table(table: &Table, out: &mut String) {
    out.push_str(&row(&table.head.iter().map(|head| text(head)).collect::<Vec<_>>()));
    out.push_str(&format!("|{}\n", "---|".repeat(table.head.len())));
    for cells in &table.rows {
        out.push_str(&row(&cells.iter().map(|line| spans(line)).collect::<Vec<_>>()));
    }
    out.push('\n');
}

fn picture(picture: &Picture, out: &mut String) {
    out.push_str(&row(&["Image".into(), "Bytes".into()]));
    out.push_str("|---|---|\n");
    for bar in &picture.bars {
        let sizes: Vec<String> = bar.parts.iter().map(|(_, bytes)| crate::report::size(*bytes)).collect();
        out.push_str(&row(&[format!("{} {}", bar.mark, code(&bar.name)).trim().to_owned(), sizes.join(" + ")]));
    }
    out.push_str(&format!("\n{}\n\n", text(&picture.caption)));
}

fn block(block: &Block, out: &mut String) {
    match block {
        Block::Title(raw) => out.push_str(&format!("# {}\n\n", text(raw))),
        Block::Heading(raw) => out.push_str(&format!("## {}\n\n", text(raw))),
        Block::Sub(raw) => out.push_str(&format!("### {}\n\n", text(raw))),
        Block::Text(line) | Block::Note(line) => out.push_str(&format!("{}\n\n", begin(spans(line)))),
        Block::Verdict { word, sentence, rows, .. } => {
            out.push_str(&format!("## {}\n\n{}\n\n", text(word), begin(spans(sentence))));
            pairs(rows, out);
        }
        Block::Aloud(hex) => {
            let groups = groups(hex);
            let lines: Vec<String> = groups.chunks(4).map(|four| four.join(" ")).collect();
            out.push_str(&format!("<pre>{}</pre>\n\n", text(&lines.join(" / ")).replace(" / ", "\n")));
        }
        Block::Facts(rows) => pairs(rows, out),
        Block::Table(one) => table(one, out),
        Block::Picture(one) => picture(one, out),
        Block::Commands(commands) => {
            let lines: Vec<String> = commands.iter().map(|command| text(command)).collect();
            out.push_str(&format!("<pre>{}</pre>\n\n", lines.join("\n")));
        }
        Block::Decision(decision) => {
            out.push_str(&format!("{}\n\n", spans(&decision.choices)));
            out.push_str(&format!("{}\n\n", spans(&decision.fields)));
            decision.persons.iter().for_each(|person| out.push_str(&format!("{person}: ……………………\n\n")));
            out.push_str(&format!("{}\n\n", spans(&decision.about)));
        }
        Block::NewPage => out.push_str("***\n\n"),
    }
}

/// The page.
pub(super) fn write(blocks: &[Block]) -> String {
    let mut out = String::with_capacity(32 << 10);
    blocks.iter().for_each(|one| block(one, &mut out));
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
