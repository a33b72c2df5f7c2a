//! Maven: `ComparableVersion` of maven-artifact 3.9, where that is a total order.

use std::cmp::Ordering;

use super::numbers;

#[derive(Clone, Debug)]
pub(super) struct Version(Vec<Item>);

#[derive(Clone, Debug)]
enum Item {
    Number(String),
    Word(String),
    /// A word and the number right behind it: `rc1`.
    Both(String, String),
    List(Vec<Item>),
}

/// Known words, from the lowest; the empty one is a release.
const WORDS: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
const RELEASE: usize = 5;

/// How deep lists are nested; behind that, versions are equal.
const DEPTH: usize = 64;

impl Version {
    /// Of texts with doubled or dangling separators `ComparableVersion` has no total order.
    pub(super) fn parse(text: &str) -> Option<Version> {
        let separator = |c: char| matches!(c, '.' | '-' | '_' | '+');
        let sound = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if !text.split(separator).all(sound) {
            return None;
        }
        let mut text = text.to_lowercase();
        // `.X` is meant as `-X`, which `ComparableVersion` does at the end of a version only.
        let dots: Vec<usize> = text.match_indices('.').map(|(at, _)| at).collect();
        for at in dots {
            if !text[at + 1..].starts_with(|c: char| c.is_ascii_digit()) {
                text.replace_range(at..=at, "-");
            }
        }
        let bytes = text.as_bytes();
        // The open lists, from the outermost.
        let mut open: Vec<Vec<Item>> = vec![Vec::new()];
        let (mut digit, mut both, mut start) = (false, false, 0);
        let nest = |open: &mut Vec<Vec<Item>>| {
            if open.len() < DEPTH {
                open.push(Vec::new());
            }
        };
        let put = |open: &mut Vec<Vec<Item>>, item: Item| {
            if let Some(list) = open.last_mut() {
                list.push(item);
            }
        };
        let is_empty = |open: &[Vec<Item>]| open.last().is_none_or(Vec::is_empty);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'.' => {
                    put(&mut open, item(both, digit, &text[start..at]));
                    (both, start) = (false, at + 1);
                }
                b'-' => {
                    if at > start && !digit && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                        // `X-1` is `X1`.
                        both = true;
                        continue;
                    }
                    put(&mut open, item(both, digit, &text[start..at]));
                    (both, start) = (false, at + 1);
                    if !is_empty(&open) {
                        nest(&mut open);
                    }
                }
                byte if byte.is_ascii_digit() => {
                    if !digit && at > start {
                        both = true;
                        if !is_empty(&open) {
                            nest(&mut open);
                        }
                    }
                    digit = true;
                }
                _ => {
                    if digit && at > start {
                        put(&mut open, item(both, true, &text[start..at]));
                        start = at;
                        nest(&mut open);
                        both = false;
                    }
                    digit = false;
                }
            }
        }
        if text.len() > start {
            if !digit && !is_empty(&open) {
                nest(&mut open);
            }
            put(&mut open, item(both, digit, &text[start..]));
        }
        // Each list is the last of the one around it.
        let mut inner = open.pop().map(trimmed).unwrap_or_default();
        while let Some(mut outer) = open.pop() {
            outer.push(Item::List(inner));
            inner = trimmed(outer);
        }
        Some(Version(inner))
    }

    pub(super) fn order(&self, other: &Version) -> Ordering {
        lists(&self.0, &other.0)
    }
}

fn item(both: bool, digit: bool, text: &str) -> Item {
    let number = |text: &str| Item::Number(text.trim_start_matches('0').to_owned());
    match (both, text.find(|c: char| c.is_ascii_digit())) {
        (true, Some(at)) => Item::Both(word(&text[..at].replace('-', ""), true), text[at..].replace('-', "")),
        _ if text.is_empty() => Item::Number(String::new()),
        _ if digit => number(text),
        _ => Item::Word(word(text, false)),
    }
}

fn word(text: &str, before_number: bool) -> String {
    match text {
        "a" if before_number => "alpha",
        "b" if before_number => "beta",
        "m" if before_number => "milestone",
        "cr" => "rc",
        other => other,
    }
    .to_owned()
}

/// Without what means nothing at the end, and before words.
fn trimmed(mut list: Vec<Item>) -> Vec<Item> {
    for at in (0..list.len()).rev() {
        let null = match &list[at] {
            Item::Number(number) => number.is_empty(),
            Item::Word(word) => word.is_empty(),
            Item::List(inner) => inner.is_empty(),
            Item::Both(..) => false,
        };
        let goes = null
            && match list.get(at + 1) {
                None | Some(Item::Word(_)) => true,
                Some(Item::List(inner)) => matches!(inner.first(), Some(Item::Word(_) | Item::Both(..))),
                Some(_) => false,
            };
        if goes {
            list.remove(at);
        }
    }
    list
}

/// The place of a word: a known one by its number, others behind them by their letters.
fn rank(word: &str) -> (usize, &str) {
    match word {
        "ga" | "final" | "release" => (RELEASE, ""),
        _ => match WORDS.iter().position(|known| *known == word) {
            Some(at) => (at, ""),
            None => (WORDS.len(), word),
        },
    }
}

/// Against nothing.
fn alone(item: &Item) -> Ordering {
    match item {
        Item::Number(number) => {
            if number.is_empty() {
                Ordering::Equal
            } else {
                Ordering::Greater
            }
        }
        Item::Word(word) => rank(word).cmp(&(RELEASE, "")),
        Item::Both(word, number) => rank(word).cmp(&(RELEASE, "")).then_with(|| numbers(number, "")),
        Item::List(list) => list.iter().map(alone).find(|order| order.is_ne()).unwrap_or(Ordering::Equal),
    }
}

fn items(one: &Item, two: &Item) -> Ordering {
    use Item::{Both, List, Number, Word};
    let words = |one: &str, two: &str| rank(one).cmp(&rank(two));
    match (one, two) {
        (Number(one), Number(two)) => numbers(one, two),
        (Word(one), Word(two)) => words(one, two),
        (Both(one, n), Both(two, m)) => words(one, two).then_with(|| numbers(n, m)),
        (Word(one), Both(two, _)) => words(one, two).then(Ordering::Less),
        (Both(one, _), Word(two)) => words(one, two).then(Ordering::Greater),
        (List(one), List(two)) => lists(one, two),
        // Numbers, then lists, then words.
        (Number(_), _) | (List(_), Word(_) | Both(..)) => Ordering::Greater,
        (_, Number(_)) | (Word(_) | Both(..), List(_)) => Ordering::Less,
    }
}

fn lists(one: &[Item], two: &[Item]) -> Ordering {
    for at in 0..one.len().max(two.len()) {
        let order = match (one.get(at), two.get(at)) {
            (Some(one), Some(two)) => items(one, two),
            (Some(one), None) => alone(one),
            (None, Some(two)) => alone(two).reverse(),
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}
