//! The page as one HTML file: no script, nothing from elsewhere, one style that its policy names by hash.

use std::fmt::Write as _;

use base64::Engine as _;

use super::block::{Block, Decision, Line, Span, Table};
use super::picture;
use super::plain::{escaped, groups};
use crate::oci::Digest;

/// The style.
const STYLE: &str = include_str!("page.css");

/// A page in the making.
pub(super) struct Html(String);

impl Html {
    /// Text, as text: the only way into a page for anything that is not a tag of this file.
    fn text(&mut self, text: &str) {
        self.0.push_str(&escaped(text));
    }

    /// A tag of this program.
    fn tag(&mut self, tag: &'static str) {
        self.0.push_str(tag);
    }

    fn element(&mut self, open: &'static str, text: &str, close: &'static str) {
        self.tag(open);
        self.text(text);
        self.tag(close);
    }

    fn spans(&mut self, line: &[Span]) {
        for span in line {
            match span {
                Span::Text(text) => self.text(text),
                Span::Strong(text) => self.element("<b>", text, "</b>"),
                Span::Code(text) => self.element("<code>", text, "</code>"),
                Span::Digest(text) => self.element("<code class=\"d\">", text, "</code>"),
                Span::Small(text) => self.element("<span class=\"small\">", text, "</span>"),
                Span::Tag(tag) => {
                    self.0.push_str(&format!("<span class=\"{}\">{}</span>", tag.class(), tag.word()));
                }
                Span::Tick(text) => self.element("<span class=\"n\">&#9744; ", text, "</span>"),
                Span::Blank(hundredths) => {
                    self.0.push_str(&format!("<span class=\"w{}\"></span>", (hundredths / 10).clamp(1, 9)));
                }
                Span::Break => self.tag("<br>"),
            }
        }
    }

    fn paragraph(&mut self, open: &'static str, line: &[Span]) {
        self.tag(open);
        self.spans(line);
        self.tag("</p>\n");
    }

    fn pairs(&mut self, rows: &[(&'static str, Line)]) {
        for (word, line) in rows {
            self.element("<dt>", word, "</dt><dd>");
            self.spans(line);
            self.tag("</dd>\n");
        }
    }

    fn table(&mut self, table: &Table) {
        self.0.push_str(&format!("<table class=\"{}\"><thead><tr>", table.class));
        for head in table.head {
            self.element("<th>", head, "</th>");
        }
        self.tag("</tr></thead><tbody>\n");
        for row in &table.rows {
            self.tag("<tr>");
            for cell in row {
                self.tag("<td>");
                self.spans(cell);
                self.tag("</td>");
            }
            self.tag("</tr>\n");
        }
        self.tag("</tbody></table>\n");
    }

    fn decision(&mut self, decision: &Decision) {
        self.tag("<div class=\"box\">");
        self.paragraph("<p>", &decision.choices);
        self.paragraph("<p>", &decision.fields);
        self.tag("<div class=\"sign\">");
        for person in decision.persons {
            self.element("<div><div class=\"line\"></div>", person, "</div>");
        }
        self.tag("</div>\n");
        self.paragraph("<p class=\"small\">", &decision.about);
        self.tag("</div>\n");
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Title(text) => self.element("<h1>", text, "</h1>\n"),
            Block::Heading(text) => self.element("<h2>", text, "</h2>\n"),
            Block::Sub(text) => self.element("<h3>", text, "</h3>\n"),
            Block::Text(line) => self.paragraph("<p>", line),
            Block::Note(line) => self.paragraph("<p class=\"small\">", line),
            Block::Verdict { bad, word, sentence, rows } => {
                self.tag(if *bad { "<div class=\"verdict bad\">" } else { "<div class=\"verdict\">" });
                self.element("<b class=\"big\">", word, "</b>");
                self.spans(sentence);
                self.tag("<dl>\n");
                self.pairs(rows);
                self.tag("</dl></div>\n");
            }
            Block::Aloud(hex) => {
                self.tag("<p class=\"dig\">");
                for (at, group) in groups(hex).into_iter().enumerate() {
                    self.tag(match at {
                        0 => "",
                        4 => "<br>",
                        _ => " ",
                    });
                    self.text(&group);
                }
                self.tag("</p>\n");
            }
            Block::Facts(rows) => {
                self.tag("<dl class=\"facts\">\n");
                self.pairs(rows);
                self.tag("</dl>\n");
            }
            Block::Table(table) => self.table(table),
            Block::Picture(picture) => {
                self.tag("<figure>");
                picture::svg(picture, &mut |tags| self.0.push_str(tags));
                self.element("<figcaption>", &picture.caption, "</figcaption></figure>\n");
            }
            Block::Commands(commands) => {
                self.tag("<pre>");
                for command in commands {
                    self.text(command);
                    self.tag("\n");
                }
                self.tag("</pre>\n");
            }
            Block::Decision(decision) => self.decision(decision),
            Block::NewPage => self.tag("<div class=\"brk\"></div>\n"),
        }
    }
}

/// The page. `foot` stands at the foot of each printed page: letters, digits and blanks only.
pub(super) fn write(title: &str, foot: &str, blocks: &[Block]) -> String {
    let foot: String = foot.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
    let style = STYLE.replace("FOOT", &foot);
    let hash = Digest::of(style.as_bytes());
    let hash: Vec<u8> = hash.hex().as_bytes().chunks(2).filter_map(byte).collect();
    let hash = base64::engine::general_purpose::STANDARD.encode(hash);
    let mut out = Html(String::with_capacity(64 << 10));
    let _ = write!(
        out.0,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n"
    );
    out.element("<title>", title, "</title>\n");
    let _ = writeln!(out.0, "<style>{style}</style></head><body>");
    blocks.iter().for_each(|block| out.block(block));
    out.tag("</body></html>\n");
    out.0
}

fn byte(two: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()
}
