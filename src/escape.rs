//! Makes text from outside safe for a terminal and for a page (security E10): control characters, bidirectional controls and
//! zero-width characters are written as escapes.

/// The longest text that is shown, in characters.
const LONGEST: usize = 4096;
/// The longest name from outside that is shown, in characters.
const NAME: usize = 256;
/// No text of this program has more consecutive blanks than this.
const BLANKS: usize = 16;
/// The most consecutive characters that may look blank or be invisible, followed by at most one blank.
const FAINT: usize = 3;

/// Escapes characters that could move a cursor, set colours, hide or reorder text. Also escapes line breaks, replaces
/// long runs of blanks by their number, and truncates text that is too long.
pub(crate) fn escape(text: &str) -> String {
    shown(text, LONGEST, BLANKS)
}

/// A sentence that may contain a name from outside: like [`escape`], and never two blanks in a row.
pub(crate) fn sentence(text: &str) -> String {
    shown(text, LONGEST, 1)
}

/// A name or other text from outside: like [`escape`], and quoted if it was truncated or has leading, trailing or
/// repeated blanks.
pub(crate) fn name(text: &str) -> String {
    let shown = shown(text, NAME, 1);
    let bare = !text.contains("  ") && text.trim() == text && text.chars().count() <= NAME;
    if bare { shown } else { quoted(&shown) }
}

/// The name of a bundle, like [`name`]; also quoted if it contains what follows the name in a line of this program.
pub(crate) fn title(text: &str) -> String {
    let shown = name(text);
    if shown.contains(['"', '#', ',']) && !shown.starts_with('"') || text.starts_with('"') {
        quoted(&shown)
    } else {
        shown
    }
}

fn quoted(shown: &str) -> String {
    format!("\"{}\"", shown.replace('"', "\\\""))
}

fn shown(text: &str, longest: usize, blanks: usize) -> String {
    let count = text.chars().take(2 * LONGEST).count();
    let (first, last) = if count > longest { (longest * 3 / 4, longest / 8) } else { (count, 0) };
    let mut out = String::with_capacity(text.len().min(8 * longest));
    plain(text.chars().take(first), blanks, &mut out);
    if count > longest {
        let tail: String = text.chars().rev().take(last).collect();
        out.push_str(&format!(" ... [{} bytes in all] ... ", text.len()));
        plain(tail.chars().rev(), blanks, &mut out);
    }
    out
}

fn plain(chars: impl Iterator<Item = char>, blanks: usize, out: &mut String) {
    let (mut run, mut faint) = (0, 0);
    let close = |run: &mut usize, out: &mut String| {
        match *run {
            few if few <= blanks => out.extend(std::iter::repeat_n(' ', few)),
            many => out.push_str(&format!("[{many} blanks]")),
        }
        *run = 0;
    };
    for c in chars {
        if c == ' ' {
            (run, faint) = (run + 1, faint + 1);
            continue;
        }
        close(&mut run, out);
        // Characters other than letters and digits can be blank, or have no width, in an unknown font.
        faint = if c.is_ascii() || c.is_alphanumeric() { 0 } else { faint + 1 };
        if is_dangerous(c) || c.is_whitespace() || c == '\u{2800}' || faint > FAINT {
            out.extend(c.escape_unicode());
            faint = 0;
        } else {
            out.push(c);
        }
    }
    close(&mut run, out);
}

/// Replaces the characters that [`escape`] escapes by JSON escapes: the same text for a parser, safe on a terminal. In
/// JSON such characters occur in strings only.
#[cfg(any(feature = "cli", test))]
pub(crate) fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_dangerous(c) {
            let mut units = [0u16; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A word for a shell: quoted if necessary.
pub(crate) fn shell(word: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "/._-:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{escape, escape_json, name, sentence, title};

    #[test]
    fn json_says_the_same_without_characters_that_move_a_cursor() {
        let text = "a\u{7f}b\u{202e}c\u{9b}d\u{e0001}";
        let json = serde_json::json!({ "x": text }).to_string();
        let safe = escape_json(&json);
        assert!(safe.is_ascii(), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).ok(), serde_json::from_str(&json).ok());
    }

    #[test]
    fn long_and_blank_padded_names_are_cut_quoted_and_counted() {
        assert_eq!(name("ocp-4.16"), "ocp-4.16");
        assert_eq!(name("a   b"), "\"a[3 blanks]b\"");
        assert_eq!(name("a "), "\"a \"");
        assert_eq!(name("a\u{a0}b\u{2800}"), "a\\u{a0}b\\u{2800}");
        let long = name(&"x".repeat(1024));
        assert!(long.len() < 300 && long.contains("[1024 bytes in all]"), "{long}");
        assert_eq!(sentence("name `a   b`"), "name `a[3 blanks]b`");
        assert!(escape(&" ".repeat(70)).starts_with("[70 blanks]"));
        let line = name(&format!("ocp{}verdict   VERIFIED  ocp.tar", " ".repeat(67)));
        assert!(!line.contains("verdict   VERIFIED"), "{line}");
    }

    #[test]
    fn escape_sequences_and_invisible_characters_are_shown_as_escapes() {
        assert_eq!(escape("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("x\nVERIFIED"), "x\\u{a}VERIFIED");
        assert_eq!(escape("a\u{202e}b\u{200b}c\u{9b}"), "a\\u{202e}b\\u{200b}c\\u{9b}");
        assert_eq!(escape("plain ünï"), "plain ünï");
    }
    #[test]
    fn what_may_show_as_nothing_makes_no_blanks() {
        for mark in ['\u{34f}', '\u{180b}', '\u{1bca0}', '\u{1d159}', '\u{e000}', '\u{301}', '\u{10ffff}'] {
            for pair in [format!(" {mark}"), mark.to_string(), format!("{mark} ")] {
                let shown = name(&format!("ocp{}verdict", pair.repeat(40)));
                let faint = |c: char| c == ' ' || c == mark;
                let longest = shown.split(|c| !faint(c)).map(|run| run.chars().count()).max();
                assert!(longest <= Some(super::FAINT + 1), "{shown}");
            }
        }
        assert_eq!(sentence("a – b „c“, 日本。 e\u{301} नमस्ते 🙂"), "a – b „c“, 日本。 e\u{301} नमस्ते 🙂");
        assert_eq!(title("ocp-4.16"), "ocp-4.16");
        assert_eq!(title("a #9, created 2026-01-01"), "\"a #9, created 2026-01-01\"");
        assert_eq!(title("a\" #9"), "\"a\\\" #9\"");
        assert_eq!(title("a  #9"), "\"a[2 blanks]#9\"");
    }
}
