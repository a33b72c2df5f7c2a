//! Many patterns at once, compiled so that a text is compared only with those that could match it.

use std::collections::HashMap;

use crate::pattern;

/// Patterns with `*` and `?`, each with a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Globs {
    exact: HashMap<Box<[u8]>, Vec<u32>>,
    /// By what they begin with, or end with if they begin with a star.
    fronts: Ends,
    backs: Ends,
    rest: Numbered,
}

/// Patterns with their numbers.
type Numbered = Vec<(Box<[u8]>, u32)>;

#[derive(Clone, Debug, Default)]
struct Ends {
    by: HashMap<Box<[u8]>, Numbered>,
    /// The lengths of these ends, each once.
    lengths: Vec<usize>,
}

impl Ends {
    fn add(&mut self, end: &[u8], pattern: &[u8], number: u32) {
        self.by.entry(end.into()).or_default().push((pattern.into(), number));
        if !self.lengths.contains(&end.len()) {
            self.lengths.push(end.len());
        }
    }
}

impl Globs {
    pub(super) fn add(&mut self, pattern: &str, number: u32) {
        let pattern = pattern.as_bytes();
        let wild = |byte: &u8| matches!(byte, b'*' | b'?');
        let front = pattern.iter().take_while(|byte| !wild(byte)).count();
        let back = pattern.iter().rev().take_while(|byte| !wild(byte)).count();
        if front == pattern.len() {
            self.exact.entry(pattern.into()).or_default().push(number);
        } else if front > 0 {
            self.fronts.add(&pattern[..front], pattern, number);
        } else if back > 0 {
            self.backs.add(&pattern[pattern.len() - back..], pattern, number);
        } else {
            self.rest.push((pattern.into(), number));
        }
    }

    /// Calls `found` with the number of each pattern that matches; a number with several patterns can come again.
    pub(super) fn matches(&self, text: &[u8], found: &mut dyn FnMut(u32)) {
        self.exact.get(text).into_iter().flatten().for_each(|number| found(*number));
        let mut some = |list: &[(Box<[u8]>, u32)]| {
            let fits = list.iter().filter(|(pattern, _)| pattern::matches_bytes(pattern, text));
            fits.for_each(|(_, number)| found(*number));
        };
        for length in self.fronts.lengths.iter().filter(|length| **length <= text.len()) {
            self.fronts.by.get(&text[..*length]).into_iter().for_each(|list| some(list));
        }
        for length in self.backs.lengths.iter().filter(|length| **length <= text.len()) {
            self.backs.by.get(&text[text.len() - length..]).into_iter().for_each(|list| some(list));
        }
        some(&self.rest);
    }

    /// Whether any of them matches.
    pub(super) fn any(&self, text: &str) -> bool {
        let mut any = false;
        self.matches(text.as_bytes(), &mut |_| any = true);
        any
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.fronts.by.is_empty() && self.backs.by.is_empty() && self.rest.is_empty()
    }
}

impl<'p> FromIterator<&'p String> for Globs {
    fn from_iter<I: IntoIterator<Item = &'p String>>(patterns: I) -> Globs {
        let mut globs = Globs::default();
        patterns.into_iter().for_each(|pattern| globs.add(pattern, 0));
        globs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_patterns_match_as_one_by_one() {
        const PATTERNS: [&str; 12] =
            ["/a", "/a/*", "/a/?", "*.pem", "*", "?a", "/a*b*c", "*a*", "", "/usr/*/x", "a", "*c"];
        let mut globs = Globs::default();
        PATTERNS.iter().zip(0..).for_each(|(pattern, number)| globs.add(pattern, number));
        for text in ["", "/a", "/a/b", "/a/bc", "x.pem", "/abc", "/usr/lib/x", "a", "xa", ".pem", "/a/x.pem"] {
            let mut found = Vec::new();
            globs.matches(text.as_bytes(), &mut |number| found.push(number));
            found.sort_unstable();
            let one: Vec<u32> =
                (0..).zip(PATTERNS).filter(|(_, p)| pattern::matches(p, text)).map(|(n, _)| n).collect();
            assert_eq!(found, one, "{text}");
        }
    }
}
