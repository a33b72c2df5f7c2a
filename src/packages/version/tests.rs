#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn order(kind: Kind, one: &str, two: &str) -> Ordering {
    let parse = |text: &str| Version::parse(kind, text).unwrap_or_else(|| panic!("{kind:?} {text}"));
    parse(one).order(&parse(two))
}

/// From the lowest; `=` joins equal ones. What rpm 4.18, dpkg 1.21, packaging 23.0, maven-artifact 3.8 and 3.9, and the
/// rules of apk-tools say.
const ASCENDING: [(Kind, &str); 8] = [
    (
        Kind::Rpm,
        "1.0~rc1-1 1.0~rc2 1.0-0.1 1.0-1 1.0-1.el9 1.0-1.el9_2 1.0-2 1.0-10 1.0^git1-1 1.0a-1 1.0.a-2 1.0.1-1 \
         1.2.0-1=1.2.00-1=1_2_0-1 1.10-1 2-1=0:2-1 1:0.5-1 10:0-1",
    ),
    (
        Kind::Deb,
        "1.0~~ 1.0~~a 1.0~ 1.0~rc1-1 1.0=1.0-0=0:1.0 1.0-1~bpo12+1 1.0-1 1.0-1+b1 1.0-1.1 1.0-2 1.0-10 1.0a-1 1.0+dfsg-1 \
         1.2-1 1.10-1 1:0.1",
    ),
    (
        Kind::Apk,
        "1.0_alpha1 1.0_beta 1.0_rc1-r0 1.0_rc1-r1 1.0=1.0-r0 1.0-r1 1.0-r10 1.0_git2020 1.0_p1 1.0a 1.0.1 1.1 1.10 2",
    ),
    (
        Kind::Go,
        "v0.0.0-20190101000000-abcdef012345 v0.0.1 v1.0.0-alpha v1.0.0-alpha.1 v1.0.0-rc.2 v1.0.0-rc.10 \
         v1.0.0=v1.0.0+incompatible=1.0.0=go1=1.0 v1.2.0 v1.10.0 go1.22rc1 1.22 go1.22.1",
    ),
    (Kind::Npm, "1.0.0-1 1.0.0-9 1.0.0-10 1.0.0-a 1.0.0=1.0.0+x 1.2.3 1.10.0 10.0.0"),
    (Kind::Cargo, "0.1.0-alpha.1 0.1.0 0.1.1 0.10.0 1.0.0"),
    (
        Kind::Python,
        "1.0.dev1 1.0a1.dev1 1.0a1=1.0alpha1=1.0-a.1 1.0a1.post1 1.0b2 1.0rc1=1.0c1=1.0.PRE1 1.0=1=1.0.0=v1.0 1.0+abc \
         1.0+abc.5 1.0+5 1.0.post1.dev2 1.0.post1=1.0-1=1.0r1 1.0.1 1.1 1.10 1!0.1",
    ),
    (
        Kind::Maven,
        "1-alpha-1=1a1 1-beta=1.beta 1-milestone=1.milestone 1-rc1=1-cr1=1-rc-1 1-SNAPSHOT 1=1.0=1.0.0=1.ga=1-final=1.Final 1-sp 1-abc 1-1 1.0.1 1.1 \
         2.9.1 2.17.1 2.17.1.1 10",
    ),
];

/// MB-POL-20: each kind has the order of its own tool.
#[test]
fn versions_are_ordered_as_the_tools_of_their_kinds_do() {
    for (kind, list) in ASCENDING {
        let places = list.split_whitespace().map(|place| place.split('=').collect::<Vec<_>>());
        let all: Vec<(usize, &str)> =
            places.enumerate().flat_map(|(at, p)| p.into_iter().map(move |v| (at, v))).collect();
        for (at, one) in &all {
            for (place, two) in &all {
                assert_eq!(order(kind, one, two), at.cmp(place), "{kind:?} {one} {two}");
            }
        }
    }
}

#[test]
fn what_an_order_does_not_know_has_no_place_in_it() {
    for (kind, text) in [
        (Kind::Go, "(devel)"),
        (Kind::Go, "v1.2.3.4"),
        (Kind::Npm, "latest"),
        (Kind::Npm, ""),
        (Kind::Python, "1.0-final-x"),
        (Kind::Python, "2004d.x"),
        (Kind::Apk, "1.0-rc1"),
        (Kind::Rpm, "1 2"),
        (Kind::Deb, "1\n2"),
    ] {
        assert!(Version::parse(kind, text).is_none(), "{kind:?} {text}");
    }
    assert!(Version::parse(Kind::Rpm, &"1".repeat(LONGEST + 1)).is_none());
}

fn range(kind: Kind, spans: &[&str]) -> Result<Range, String> {
    Range::parse(kind, &spans.iter().map(|span| (*span).to_owned()).collect::<Vec<_>>())
}

/// The bug that a comparison of texts has: `"2.9.1" < "2.17.1"` is false.
#[test]
fn a_range_holds_what_lies_between_its_bounds() {
    let log4j = range(Kind::Maven, &[">= 2.0, < 2.12.2", ">=2.13,<2.17.1"]).unwrap();
    for (version, within) in [("2.9.1", true), ("2.12.2", false), ("2.13", true), ("2.17.1", false), ("1.2.17", false)]
    {
        assert_eq!(log4j.contains(version), Some(within), "{version}");
    }
    let openssl = range(Kind::Rpm, &["< 1:3.0.7-18.el9_2"]).unwrap();
    for (version, within) in [("1:3.0.7-18.el9_2", false), ("1:3.0.7-6.el9", true), ("3.0.9-1", true), ("2:1-1", false)]
    {
        assert_eq!(openssl.contains(version), Some(within), "{version}");
    }
    // Without a release, any release.
    let exact = range(Kind::Rpm, &["= 3.0.7"]).unwrap();
    assert_eq!((exact.contains("3.0.7-1"), exact.contains("3.0.8-1")), (Some(true), Some(false)));
    assert_eq!(range(Kind::Go, &["< 1.2"]).unwrap().contains("(devel)"), None);
}

#[test]
fn a_range_that_no_version_can_be_in_or_that_cannot_be_read_is_refused() {
    for (kind, span, why) in [
        (Kind::Deb, "> 2, < 1", "no version is in"),
        (Kind::Deb, "> 1, < 1", "no version is in"),
        (Kind::Deb, "= 1, = 2", "no version is in"),
        (Kind::Rpm, ">= 1.0-5, < 1.0", "no version is in"),
        (Kind::Deb, "1.0", "no operator"),
        (Kind::Deb, "", "no operator"),
        (Kind::Deb, "<", "no version that"),
        (Kind::Npm, "< 1.x", "no version that"),
        (Kind::Npm, "!= 1.0.0", "no operator"),
    ] {
        let found = range(kind, &[span]).expect_err(span);
        assert!(found.contains(why), "{span}: {found}");
    }
    for (kind, span) in [(Kind::Deb, ">= 1, <= 1"), (Kind::Rpm, "> 1.0-1, <= 1.0"), (Kind::Python, "< 2")] {
        assert!(range(kind, &[span]).is_ok(), "{span}");
    }
}

/// A small generator that always says the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn text(&mut self, parts: &[&str]) -> String {
        (0..1 + self.next(7)).map(|_| parts[self.next(parts.len())]).collect()
    }
}

/// Property: for any three versions the order is total, whatever their texts are.
#[test]
fn every_order_is_total() {
    const PARTS: [&str; 26] = [
        "0", "1", "2", "10", "007", ".", ".", "-", "-", "~", "^", "_", ":", "+", "a", "b", "rc", "alpha", "sp", "dev",
        "post", "ga", "x", "!", "é", "-r",
    ];
    for kind in [Kind::Rpm, Kind::Deb, Kind::Apk, Kind::Go, Kind::Npm, Kind::Python, Kind::Maven] {
        let mut dice = Dice(7);
        let mut all: Vec<(String, Version)> = Vec::new();
        while all.len() < 90 {
            let text = match all.len() % 3 {
                0 => dice.text(&PARTS),
                1 => format!("1.{}", dice.text(&PARTS)),
                _ => format!("1{}{}", ["", "-", "."][dice.next(3)], dice.text(&PARTS[..22])),
            };
            all.extend(Version::parse(kind, &text).map(|version| (text, version)));
        }
        for (a, one) in &all {
            for (b, two) in &all {
                assert_eq!(one.order(two), two.order(one).reverse(), "{kind:?} {a} {b}");
                for (c, three) in &all {
                    if one.order(two).is_le() && two.order(three).is_le() {
                        assert!(one.order(three).is_le(), "{kind:?} {a} <= {b} <= {c}");
                    }
                }
            }
            assert!(one.order(one).is_eq(), "{kind:?} {a}");
        }
    }
}
