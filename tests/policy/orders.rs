//! The orders of versions against the tools whose orders they are, for generated pairs.

use std::cmp::Ordering;
use std::io::Write;
use std::process::{Command, Stdio};

use mirror_bundle::packages::Kind;
use mirror_bundle::packages::version::Version;

use crate::support::skip;

/// How many versions are made; all pairs of them are compared.
const VERSIONS: usize = 70;

struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn text(&mut self, parts: &[&str], most: usize) -> String {
        (0..1 + self.next(most)).map(|_| parts[self.next(parts.len())]).collect()
    }
}

/// Different versions that the order of the kind knows.
fn made(kind: Kind, one: &mut dyn FnMut(&mut Dice) -> String) -> Vec<String> {
    let mut dice = Dice(42);
    let mut out: Vec<String> = Vec::new();
    while out.len() < VERSIONS {
        let text = one(&mut dice);
        if !out.contains(&text) && Version::parse(kind, &text).is_some() {
            out.push(text);
        }
    }
    out
}

/// Compares every pair; `said` has a character `<`, `=` or `>` for each.
fn agree(kind: Kind, versions: &[String], said: &str) {
    assert_eq!(said.len(), versions.len() * versions.len(), "{said}");
    let parsed: Vec<Version> = versions.iter().map(|text| Version::parse(kind, text).unwrap()).collect();
    let mut said = said.chars();
    for (a, one) in parsed.iter().enumerate() {
        for (b, two) in parsed.iter().enumerate() {
            let ours = match one.order(two) {
                Ordering::Less => '<',
                Ordering::Equal => '=',
                Ordering::Greater => '>',
            };
            assert_eq!(Some(ours), said.next(), "{kind:?} {} {}", versions[a], versions[b]);
        }
    }
}

/// What a script says of versions, one per line; `None`: it cannot run here.
fn python(script: &str, versions: &[String]) -> Option<String> {
    for python in ["/usr/bin/python3", "python3"] {
        let mut command = Command::new(python);
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { continue };
        let _ = child.stdin.take().unwrap().write_all(versions.join("\n").as_bytes());
        let done = child.wait_with_output().unwrap();
        if done.status.success() {
            return Some(String::from_utf8(done.stdout).unwrap().trim().to_owned());
        }
    }
    None
}

/// MB-POL-20
#[test]
fn debian_versions_are_ordered_as_dpkg_does() {
    if !skip::have("dpkg") {
        return;
    }
    const PARTS: [&str; 14] = ["0", "1", "2", "10", "09", ".", ".", "~", "+", "-", "a", "rc", "dfsg", "b"];
    let versions = made(Kind::Deb, &mut |dice| {
        let epoch = ["", "", "1:", "0:"][dice.next(4)];
        format!("{epoch}1{}", dice.text(&PARTS, 6)).trim_end_matches('-').to_owned()
    });
    // One process for all pairs.
    let mut script = String::new();
    for one in &versions {
        for two in &versions {
            script.push_str(&format!(
                "if dpkg --compare-versions '{one}' lt '{two}'; then printf '<'; \
                 elif dpkg --compare-versions '{one}' gt '{two}'; then printf '>'; else printf =; fi\n"
            ));
        }
    }
    let mut child =
        Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || to.write_all(script.as_bytes()));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    agree(Kind::Deb, &versions, &String::from_utf8(done.stdout).unwrap());
}

/// MB-POL-20
#[test]
fn rpm_versions_are_ordered_as_rpm_does() {
    const PARTS: [&str; 15] = ["0", "1", "2", "10", "09", ".", ".", "~", "^", "_", "a", "rc", "el9", "git", "+"];
    let versions = made(Kind::Rpm, &mut |dice| {
        let epoch = ["", "", "1:", "0:"][dice.next(4)];
        format!("{epoch}1{}-{}", dice.text(&PARTS, 5), dice.text(&PARTS, 3))
    });
    const SCRIPT: &str = "
import sys, rpm
def evr(v):
    e, _, rest = v.rpartition(':')
    v, _, r = rest.rpartition('-')
    return (e or '0', v, r)
all = [evr(line.rstrip('\\n')) for line in sys.stdin]
print(''.join('<=>'[rpm.labelCompare(a, b) + 1] for a in all for b in all))
";
    match python(SCRIPT, &versions) {
        Some(said) => agree(Kind::Rpm, &versions, &said),
        None => skip::skip("no python3-rpm on this machine"),
    }
}

/// MB-POL-20
#[test]
fn python_versions_are_ordered_as_packaging_does() {
    const PARTS: [&str; 22] = [
        ".0", ".1", ".2", ".10", "a1", "b2", "rc1", "alpha", ".c3", ".post1", "-1", ".r", ".dev0", "dev", "+a.1", "+5",
        "_1", "-pre", ".00", "!2", "RC", ".rev4",
    ];
    let versions =
        made(Kind::Python, &mut |dice| format!("{}{}", ["1", "v1", "2"][dice.next(3)], dice.text(&PARTS, 4)));
    const SCRIPT: &str = "
import sys
from packaging.version import Version
all = [Version(line.strip()) for line in sys.stdin]
print(''.join('<' if a < b else '>' if a > b else '=' for a in all for b in all))
";
    match python(SCRIPT, &versions) {
        Some(said) => agree(Kind::Python, &versions, &said),
        None => skip::skip("no python3-packaging on this machine"),
    }
}
