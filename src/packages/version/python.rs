//! Python: PEP 440, as the project `packaging` reads and compares.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::Regex;

use super::numbers;

/// `VERSION_PATTERN` of `packaging`.
#[expect(clippy::unwrap_used, reason = "a test reads versions")]
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)^v?
        (?:(?P<epoch>[0-9]+)!)?
        (?P<release>[0-9]+(?:\.[0-9]+)*)
        (?P<pre>[-_.]?(?P<pre_l>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_n>[0-9]+)?)?
        (?P<post>-(?P<post_1>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_2>[0-9]+)?)?
        (?P<dev>[-_.]?dev[-_.]?(?P<dev_n>[0-9]+)?)?
        (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?$",
    )
    .unwrap()
});

#[derive(Clone, Debug)]
pub(super) struct Version {
    epoch: String,
    release: Vec<String>,
    pre: Pre,
    /// Absent: before all.
    post: Option<String>,
    /// Absent: after all.
    dev: Option<String>,
    local: Vec<String>,
}

#[derive(Clone, Debug)]
enum Pre {
    /// A development release of a final one, which is before its prereleases.
    Before,
    Of(u8, String),
    Final,
}

impl Version {
    pub(super) fn parse(text: &str) -> Option<Version> {
        let found = FORM.captures(text)?;
        let part = |name: &str| found.name(name).map(|part| part.as_str().to_ascii_lowercase());
        let number = |name: &str| part(name).unwrap_or_else(|| "0".to_owned());
        let mut release: Vec<String> = number("release").split('.').map(str::to_owned).collect();
        while release.last().is_some_and(|last| last.bytes().all(|b| b == b'0')) {
            release.pop();
        }
        let post = found.name("post").map(|_| part("post_1").unwrap_or_else(|| number("post_2")));
        let dev = found.name("dev").map(|_| number("dev_n"));
        let pre = match part("pre_l").as_deref() {
            Some("a" | "alpha") => Pre::Of(0, number("pre_n")),
            Some("b" | "beta") => Pre::Of(1, number("pre_n")),
            Some(_) => Pre::Of(2, number("pre_n")),
            None if post.is_none() && dev.is_some() => Pre::Before,
            None => Pre::Final,
        };
        let local = part("local").unwrap_or_default();
        let local = local.split(['-', '_', '.']).filter(|p| !p.is_empty()).map(str::to_owned).collect();
        Some(Version { epoch: number("epoch"), release, pre, post, dev, local })
    }

    pub(super) fn order(&self, other: &Version) -> Ordering {
        let option = |one: &Option<String>, two: &Option<String>| match (one, two) {
            (Some(one), Some(two)) => numbers(one, two),
            (one, two) => one.is_some().cmp(&two.is_some()),
        };
        let both = |one: &Option<String>, two: &Option<String>| one.is_some() && two.is_some();
        numbers(&self.epoch, &other.epoch)
            .then_with(|| lists(&self.release, &other.release, numbers))
            .then_with(|| match (&self.pre, &other.pre) {
                (Pre::Of(a, one), Pre::Of(b, two)) => a.cmp(b).then_with(|| numbers(one, two)),
                (one, two) => one.rank().cmp(&two.rank()),
            })
            .then_with(|| option(&self.post, &other.post))
            .then_with(|| {
                let order = option(&self.dev, &other.dev);
                if both(&self.dev, &other.dev) { order } else { order.reverse() }
            })
            .then_with(|| lists(&self.local, &other.local, local))
    }
}

impl Pre {
    fn rank(&self) -> u8 {
        match self {
            Pre::Before => 0,
            Pre::Of(..) => 1,
            Pre::Final => 2,
        }
    }
}

fn lists(one: &[String], two: &[String], compare: fn(&str, &str) -> Ordering) -> Ordering {
    let parts = one.iter().zip(two).map(|(a, b)| compare(a, b));
    parts.fold(Ordering::Equal, Ordering::then).then_with(|| one.len().cmp(&two.len()))
}

/// Numbers are above words.
fn local(one: &str, two: &str) -> Ordering {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match (number(one), number(two)) {
        (true, true) => numbers(one, two),
        (false, false) => one.cmp(two),
        (one, two) => one.cmp(&two),
    }
}
