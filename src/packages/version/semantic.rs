//! Go, npm and cargo: Semantic Versioning. Go's `v` and `go` before a version, and numbers that are left out, are read
//! too.

use crate::version::Version;

pub(super) fn parse(text: &str) -> Option<Version> {
    let bare = text.strip_prefix("go").or_else(|| text.strip_prefix('v')).unwrap_or(text);
    if let Some(version) = Version::parse(bare) {
        return Some(version);
    }
    // `1.22`, `1`, and `1.22rc1` as Go writes it.
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    let (numbers, rest) = bare.split_at(end);
    let missing = 3usize.checked_sub(numbers.split('.').count())?;
    let padded = format!("{numbers}{}", ".0".repeat(missing));
    let rest = match rest.chars().next() {
        None | Some('-' | '+') => rest.to_owned(),
        Some(c) if c.is_ascii_alphabetic() => format!("-{rest}"),
        Some(_) => return None,
    };
    Version::parse(&format!("{padded}{rest}"))
}
