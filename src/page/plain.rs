//! Text in HTML.

use crate::escape::escape;

/// Text, as text: what HTML would read in it becomes entities, what a screen would obey becomes escapes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A digest in eight groups of eight.
pub(super) fn groups(hex: &str) -> Vec<String> {
    hex.chars().collect::<Vec<_>>().chunks(8).map(|group| group.iter().collect()).collect()
}
