//! The order of versions, by the kind of package, and ranges of versions (`spec/policy.md`, MB-POL-20).
//!
//! Each order is that of the program that installs packages of the kind. Texts that its order knows nothing of have no
//! place in it: [`Version::parse`] returns nothing, and no range can tell whether they are in it.

mod apk;
mod deb;
mod maven;
mod python;
mod rpm;
mod semantic;

use std::cmp::Ordering;

use super::Kind;

/// The longest version that is compared, in bytes.
const LONGEST: usize = 512;

/// A version that can be compared with others of its kind.
#[derive(Clone, Debug)]
pub struct Version(Form);

#[derive(Clone, Debug)]
enum Form {
    Rpm(rpm::Evr),
    Deb(deb::Version),
    Apk(apk::Version),
    Semantic(crate::version::Version),
    Python(python::Version),
    Maven(maven::Version),
}

impl Version {
    /// Reads a version of a package of this kind; `None` if its order does not know such a text.
    pub fn parse(kind: Kind, text: &str) -> Option<Version> {
        if text.is_empty() || text.len() > LONGEST || text.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        Some(Version(match kind {
            Kind::Rpm => Form::Rpm(rpm::Evr::parse(text)),
            Kind::Deb => Form::Deb(deb::Version::parse(text)),
            Kind::Apk => Form::Apk(apk::Version::parse(text)?),
            Kind::Go | Kind::Cargo | Kind::Npm => Form::Semantic(semantic::parse(text)?),
            Kind::Python => Form::Python(python::Version::parse(text)?),
            Kind::Maven => Form::Maven(maven::Version::parse(text)?),
        }))
    }

    /// Which of two versions is higher. Those of different kinds are equal, so that they are never confused: compare
    /// only versions of one kind.
    pub fn order(&self, other: &Version) -> Ordering {
        match (&self.0, &other.0) {
            (Form::Rpm(one), Form::Rpm(two)) => one.order(two),
            (Form::Deb(one), Form::Deb(two)) => one.order(two),
            (Form::Apk(one), Form::Apk(two)) => one.order(two),
            (Form::Semantic(one), Form::Semantic(two)) => one.order(two),
            (Form::Python(one), Form::Python(two)) => one.order(two),
            (Form::Maven(one), Form::Maven(two)) => one.order(two),
            _ => Ordering::Equal,
        }
    }

    fn has_release(&self) -> bool {
        matches!(&self.0, Form::Rpm(evr) if evr.has_release())
    }

    /// As [`Version::order`]; of an rpm, a bound without release says nothing about the release.
    fn against(&self, bound: &Version) -> Ordering {
        match (&self.0, &bound.0) {
            (Form::Rpm(one), Form::Rpm(bound)) => one.against(bound),
            _ => self.order(bound),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

impl Operator {
    /// Those with two characters come first.
    const ALL: [(&str, Operator); 5] = [
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::More),
        ("=", Operator::Equal),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::AtLeast => order.is_ge(),
            Operator::More => order.is_gt(),
        }
    }
}

/// Versions of one kind: those within one of several spans.
#[derive(Clone, Debug)]
pub struct Range {
    kind: Kind,
    spans: Vec<Vec<(Operator, Version)>>,
}

impl Range {
    /// Reads spans, each like `>= 2.0, < 2.17.1`.
    ///
    /// # Errors
    /// One clause: what is not acceptable, or why no version can be in it.
    pub fn parse(kind: Kind, spans: &[String]) -> Result<Range, String> {
        let spans = spans.iter().map(|span| read(kind, span)).collect::<Result<_, _>>()?;
        Ok(Range { kind, spans })
    }

    /// Whether a version is in it; `None`: it has no place in the order.
    pub fn contains(&self, version: &str) -> Option<bool> {
        Some(self.has(&Version::parse(self.kind, version)?))
    }

    /// Whether a version of its kind is in it.
    pub fn has(&self, version: &Version) -> bool {
        let within = |span: &Vec<(Operator, Version)>| span.iter().all(|(op, bound)| op.holds(version.against(bound)));
        self.spans.iter().any(within)
    }
}

fn read(kind: Kind, span: &str) -> Result<Vec<(Operator, Version)>, String> {
    let one = |text: &str| {
        let text = text.trim();
        let (operator, version) = Operator::ALL
            .iter()
            .find_map(|(word, operator)| Some((*operator, text.strip_prefix(word)?.trim())))
            .ok_or_else(|| format!("`{text}` has no operator: write <, <=, =, >= or > before a version"))?;
        let version = Version::parse(kind, version)
            .ok_or_else(|| format!("`{version}` is no version that the order of {} knows", kind.as_str()))?;
        Ok((operator, version))
    };
    let bounds: Vec<(Operator, Version)> = span.split(',').map(one).collect::<Result<_, String>>()?;
    let low = |op: Operator| matches!(op, Operator::AtLeast | Operator::More | Operator::Equal);
    let high = |op: Operator| matches!(op, Operator::AtMost | Operator::Less | Operator::Equal);
    for (above, from) in bounds.iter().filter(|(op, _)| low(*op)) {
        for (below, to) in bounds.iter().filter(|(op, _)| high(*op)) {
            // A bound that names a release leaves room in one that names none.
            let only = |one: &Version, other: &Version| one.has_release() && !other.has_release();
            let strict = *above == Operator::More && !only(from, to) || *below == Operator::Less && !only(to, from);
            let order = from.against(to);
            if order.is_gt() && to.against(from).is_lt() || order.is_eq() && strict {
                return Err(format!("no version is in `{span}`"));
            }
        }
    }
    Ok(bounds)
}

/// Compares numbers of any length, written in digits.
fn numbers(one: &str, two: &str) -> Ordering {
    let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
    one.len().cmp(&two.len()).then_with(|| one.cmp(two))
}

#[cfg(test)]
mod tests;
