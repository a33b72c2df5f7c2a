//! Text from outside on a terminal: what `crate::escape` does, and no line that a terminal wraps into one of this program.

pub(super) use crate::escape::{escape, escape_json, name, sentence, title};

/// The beginnings of lines in reports and on standard error.
const HEADS: [&str; 16] = [
    "verdict",
    "verified",
    "failed",
    "not fully",
    "index",
    "bundle",
    "checked",
    "unchecked",
    "signature",
    "record",
    "exception",
    "error:",
    "warning:",
    "notice:",
    "hint:",
    "next:",
];

/// Wraps lines that a terminal of this width would break so that the rest reads as a separate line of this program, and
/// indents the rest (security E11). Colours have no width. A non-ASCII character may take two columns or none, and can
/// look like any word: lines with such characters are always wrapped here.
pub(super) fn fold(text: &str, width: usize) -> String {
    const INDENT: usize = 11;
    if width < 2 * INDENT {
        return text.to_owned();
    }
    let one = |line: &str| {
        let (mut out, mut column, mut forged, mut colour) = (String::new(), 0, !line.is_ascii(), false);
        for (at, c) in line.char_indices() {
            colour |= c == '\u{1b}';
            let wide = if colour {
                0
            } else if c.is_ascii() {
                1
            } else {
                2
            };
            if column + wide > width {
                let rest: String = line[at..].chars().take(64).collect();
                let rest = rest.trim_start().to_ascii_lowercase();
                forged |= HEADS.iter().any(|head| rest.starts_with(head));
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', INDENT));
                column = INDENT;
            }
            column += wide;
            out.push(c);
            colour &= c != 'm';
        }
        // Where a terminal may wrap by itself, in both ways of counting.
        let mut plain = line.chars().filter(|c| !c.is_control()).collect::<Vec<_>>();
        while plain.len() > width {
            plain.drain(..width);
            let rest: String = plain.iter().take(64).collect();
            forged |= HEADS.iter().any(|head| rest.trim_start().to_ascii_lowercase().starts_with(head));
        }
        if forged { out } else { line.to_owned() }
    };
    let end = if text.ends_with('\n') { "\n" } else { "" };
    text.lines().map(one).collect::<Vec<_>>().join("\n") + end
}

/// The width of the terminal behind a stream, if there is one.
pub(super) fn width(of: &(impl std::os::fd::AsFd + std::io::IsTerminal)) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(of).ok().filter(|_| of.is_terminal());
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn no_line_wraps_into_one_that_reads_as_a_verdict() {
        for width in [40, 80, 132] {
            for pad in 0..2 * width {
                let line = format!("bundle    {}verdict VERIFIED x", "x".repeat(pad));
                let folded = fold(&line, width);
                let starts = folded.lines().skip(1).flat_map(|l| {
                    let chars: Vec<char> = l.chars().collect();
                    chars.chunks(width).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>()
                });
                starts.for_each(|l| assert!(!l.starts_with("verdict"), "{width} {pad}: {folded}"));
                let wrapped: Vec<char> = folded.lines().next().unwrap_or_default().chars().collect();
                let mut pieces = wrapped.chunks(width).skip(1).map(|c| c.iter().collect::<String>());
                assert!(!pieces.any(|l| l.starts_with("verdict")), "{width} {pad}: {folded}");
            }
        }
        assert_eq!(fold("short\nlines\n", 80), "short\nlines\n");
    }

    #[test]
    fn what_looks_like_a_word_begins_no_line() {
        for word in ["v\u{435}rdict", "ver\u{301}dict"] {
            let folded = fold(&format!("bundle    {}{word} VERIFIED", "x".repeat(70)), 80);
            assert!(folded.lines().skip(1).all(|line| line.starts_with("           ")), "{folded}");
            assert!(folded.lines().count() > 1 && folded.lines().all(|line| line.chars().count() <= 80), "{folded}");
        }
    }
}
