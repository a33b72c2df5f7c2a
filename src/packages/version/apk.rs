//! Alpine: `1.2.3a_rc1-r4`, as `apk version -t` compares.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;

use super::numbers;

#[expect(clippy::unwrap_used, reason = "a test reads versions")]
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?x)^(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?P<letter>[a-z])?
        (?P<suffixes>(?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)
        (?:~(?P<commit>[0-9a-f]+))?(?:-r(?P<release>[0-9]+))?$",
    )
    .unwrap()
});

/// Suffixes before and after the version itself.
const SUFFIXES: [&str; 10] = ["alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"];
const NONE: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Version {
    numbers: Vec<String>,
    letter: Option<String>,
    suffixes: Vec<(usize, String)>,
    commit: Option<String>,
    release: String,
}

impl Version {
    pub(super) fn parse(text: &str) -> Option<Version> {
        let found = FORM.captures(text)?;
        let part = |name: &str| found.name(name).map(|part| part.as_str().to_owned());
        let suffix = |text: &str| {
            let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            let place = SUFFIXES.iter().position(|known| *known == &text[..text.len() - digits.len()]);
            (place.unwrap_or(NONE), digits.to_owned())
        };
        let suffixes = part("suffixes").unwrap_or_default();
        Some(Version {
            numbers: part("numbers")?.split('.').map(str::to_owned).collect(),
            letter: part("letter"),
            suffixes: suffixes.split('_').filter(|s| !s.is_empty()).map(suffix).collect(),
            commit: part("commit"),
            release: part("release").unwrap_or_default(),
        })
    }

    pub(super) fn order(&self, other: &Version) -> Ordering {
        let mut order = numbers(&self.numbers[0], &other.numbers[0]);
        for (one, two) in self.numbers.iter().zip(&other.numbers).skip(1) {
            // With a zero in front they are digits behind a point.
            let fraction = one.starts_with('0') || two.starts_with('0');
            order = order.then_with(|| if fraction { one.cmp(two) } else { numbers(one, two) });
        }
        let (none, nothing) = ((NONE, String::new()), Ordering::Equal);
        let most = self.suffixes.len().max(other.suffixes.len());
        let suffix = |of: &Version, at: usize| of.suffixes.get(at).unwrap_or(&none).clone();
        let suffixes = (0..most).map(|at| {
            let ((one, n), (two, m)) = (suffix(self, at), suffix(other, at));
            one.cmp(&two).then_with(|| numbers(&n, &m))
        });
        order
            .then_with(|| self.numbers.len().cmp(&other.numbers.len()))
            .then_with(|| self.letter.cmp(&other.letter))
            .then_with(|| suffixes.fold(nothing, Ordering::then))
            .then_with(|| self.commit.cmp(&other.commit))
            .then_with(|| numbers(&self.release, &other.release))
    }
}
