//! What a scanner says about a content.

/// The most names of one answer.
const NAMES: usize = 16;
/// The longest name or reason, in bytes.
const TEXT: usize = 256;

/// The answer of a scanner about a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was found.
    Clean,
    /// Nothing bad was found, but something to know of.
    Warned(Vec<String>),
    /// Something was found: its names.
    Found(Vec<String>),
    /// It did not look at all of it: why.
    NotOpened(String),
    /// It gave no answer: why.
    Failed(String),
}

impl Answer {
    /// An answer that names what was found, with names sorted by what they mean.
    pub(super) fn named(names: Vec<String>) -> Answer {
        let names: Vec<String> = names.into_iter().take(NAMES).map(|name| cut(&name)).collect();
        let limit = |name: &String| name.starts_with("Heuristics.Limits.") || name.starts_with("Heuristics.Encrypted.");
        if names.iter().any(|name| !limit(name) && !name.starts_with("PUA.")) || names.is_empty() {
            return Answer::Found(names);
        }
        match names.iter().find(|name| limit(name)) {
            Some(name) => Answer::NotOpened(name.clone()),
            None => Answer::Warned(names),
        }
    }

    pub(super) fn failed(why: impl AsRef<str>) -> Answer {
        Answer::Failed(cut(why.as_ref()))
    }
}

/// A text of bounded length.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
