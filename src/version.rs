//! Semantic versions, as releases and update graphs have them.

use std::cmp::Ordering;

/// A version as Semantic Versioning has it, with its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    major: u64,
    minor: u64,
    patch: u64,
    /// What stands behind the first hyphen; empty: a final release.
    pre: String,
}

impl Version {
    /// Reads `X.Y.Z[-PRERELEASE][+BUILD]`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Version> {
        let without_build = text.split('+').next()?;
        let (core, pre) = match without_build.split_once('-') {
            Some((_, "")) => return None,
            Some(both) => both,
            None => (without_build, ""),
        };
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse::<u64>().ok()).flatten()
        };
        let mut parts = core.split('.').map(number);
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
        let whole = parts.next().is_none() && pre.split('.').all(|part| !part.is_empty() || pre.is_empty());
        whole.then(|| Version { text: text.to_owned(), major, minor, patch, pre: pre.to_owned() })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first number.
    pub fn major(&self) -> u64 {
        self.major
    }

    /// The second number.
    pub fn minor(&self) -> u64 {
        self.minor
    }

    /// The third number.
    pub fn patch(&self) -> u64 {
        self.patch
    }

    /// What stands behind the first hyphen; empty: a final release.
    pub fn prerelease(&self) -> &str {
        &self.pre
    }

    /// What stands behind the `+`; empty if there is none.
    pub fn build(&self) -> &str {
        self.text.split_once('+').map_or("", |(_, build)| build)
    }

    /// The text without build metadata.
    pub fn without_build(&self) -> &str {
        self.text.split_once('+').map_or(self.text.as_str(), |(version, _)| version)
    }

    /// Which of two is higher. Build metadata does not count.
    pub fn order(&self, other: &Version) -> Ordering {
        let core = |v: &Version| (v.major, v.minor, v.patch);
        core(self).cmp(&core(other)).then_with(|| match (self.pre.as_str(), other.pre.as_str()) {
            (one, two) if one == two => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (one, two) => prereleases(one, two),
        })
    }
}

/// The order of two prereleases: identifier by identifier; numbers by value and before words.
fn prereleases(one: &str, two: &str) -> Ordering {
    let (mut one, mut two) = (one.split('.'), two.split('.'));
    loop {
        let order = match (one.next(), two.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
                match (numeric(a), numeric(b)) {
                    // By value, of any length.
                    (true, true) => {
                        let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
                    }
                    (true, false) => Ordering::Less,
                    (false, true) => Ordering::Greater,
                    (false, false) => a.cmp(b),
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Which of two texts is the higher version; texts that are no versions compare by their bytes.
pub fn compare(one: &str, two: &str) -> Ordering {
    match (Version::parse(one), Version::parse(two)) {
        (Some(one), Some(two)) => one.order(&two),
        _ => one.cmp(two),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_ordered_as_semantic_versioning_says() {
        let ascending = [
            "4.16.0-alpha",
            "4.16.0-alpha.1",
            "4.16.0-ec.2",
            "4.16.0-rc.2",
            "4.16.0-rc.10",
            "4.16.0",
            "4.16.9",
            "4.16.10",
            "4.17.0-rc.1",
            "10.0.0",
        ];
        let all: Vec<Version> = ascending.iter().map(|v| Version::parse(v).unwrap()).collect();
        for (i, one) in all.iter().enumerate() {
            for (j, two) in all.iter().enumerate() {
                assert_eq!(one.order(two), i.cmp(&j), "{} {}", one.as_str(), two.as_str());
            }
        }
        let same = |a: &str, b: &str| Version::parse(a).unwrap().order(&Version::parse(b).unwrap());
        assert_eq!(same("4.16.1+a", "4.16.1+b"), Ordering::Equal);
        for bad in
            ["", "4", "4.16", "4.16.x", "4.16.1.2", "v4.16.1", "4.16.1-", "4.16.1-a..b", "4.16.99999999999999999999"]
        {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }
}
