//! How long a large policy takes over a large bundle, and that what is kept of its findings is bounded.
//!
//! `cargo test --locked --config 'profile.dev.package.mirror-bundle.opt-level=3' --test policy speed -- --ignored --nocapture`

use std::time::Instant;

use mirror_bundle::content::facts::Fact;
use mirror_bundle::packages::inventory::Component;
use mirror_bundle::packages::{Kind, Package, purl};
use mirror_bundle::policy::facts::ImageFacts;
use mirror_bundle::policy::{FileRules, Findings, Matched, PackageRules, Policy, Seen};

const KINDS: [(Kind, &str); 6] = [
    (Kind::Rpm, "rpm"),
    (Kind::Deb, "deb/debian"),
    (Kind::Go, "golang"),
    (Kind::Npm, "npm"),
    (Kind::Python, "pypi"),
    (Kind::Maven, "maven"),
];

/// `count` rules: packages by name and by pattern, licences, images, files.
fn rules(count: usize) -> String {
    let mut out = "rules:\n".to_owned();
    for at in 0..count {
        let (_, kind) = KINDS[at % KINDS.len()];
        let what = match at % 10 {
            0 => format!("packages: {{purl: 'pkg:{kind}/*{at}', versions: ['< 2.17.{at}']}}"),
            1 => format!("packages: {{license: ['*GPL-{at}*', 'Proprietary-{at}']}}"),
            2 => format!("images: {{outside: ['quay.io/team-{at}/*', 'quay.io/*'], sizeOver: 1GiB}}"),
            3 => format!("files: {{path: ['/usr/lib/*{at}.so', '/opt/{at}/*'], mode: [setuid, setgid]}}"),
            4 => format!("files: {{path: '*-{at}.key', except: '/etc/pki/*'}}"),
            5 => format!("packages: {{purl: 'pkg:{kind}/*', versions: '= 99.{at}.0'}}"),
            _ => format!(
                "packages: {{purl: ['pkg:{kind}/name-{at}', 'pkg:{kind}/x-{at}'], versions: ['>= 1.0, < 1.{at}', '> 3']}}"
            ),
        };
        out += &format!("- {{id: r{at}, severity: error, reason: x, {what}}}\n");
    }
    out
}

fn packages(image: usize, count: usize) -> Vec<Component> {
    let one = |at: usize| {
        let (kind, _) = KINDS[at % KINDS.len()];
        let version = format!("1.{}.{}", (at * 7 + image) % 2000, at % 10);
        let mut package = Package::new(kind, format!("name-{}", (at + image * 3) % 20_000), version);
        package.licence = Some(["MIT", "Apache-2.0", "GPL-2.0-or-later AND MIT"][at % 3].to_owned());
        Component { purl: purl::of(&package, None), package, places: Vec::new() }
    };
    (0..count).map(one).collect()
}

fn run(policy: &Policy, images: usize, each: usize, entries: usize) -> (u64, usize) {
    let now = jiff::Timestamp::now();
    let rules = PackageRules::new(policy);
    let (mut findings, mut seen) = (Findings::new(policy, now), Seen::default());
    for at in 0..images {
        let digest = format!("sha256:{at:064}");
        let name = format!("quay.io/team-{at}/app:1");
        let image = ImageFacts {
            names: vec![name.clone()],
            repositories: vec![format!("quay.io/team-{at}/app")],
            listed: vec![digest.clone()],
            digest: digest.clone(),
            runs: true,
            ..ImageFacts::default()
        };
        policy.image(&image, now, &mut findings);
        rules.image(&name, &[digest], &packages(at, each), &mut seen);
    }
    seen.report(&mut findings);
    let (files, mut matched) = (FileRules::new(policy), Matched::default());
    for at in 0..entries {
        let path = format!("/usr/lib/module-{}/file-{at}.so", at % 977);
        let facts: &[Fact] = if at % 1000 == 0 { &[Fact::Setuid] } else { &[] };
        let candidates = files.begin(path.as_bytes(), false, true, facts);
        files.end(&candidates, path.as_bytes(), facts, (None, &[]), &mut matched);
    }
    matched.report(&mirror_bundle::oci::Digest::of(b"layer"), &[], &[], &mut findings);
    let (check, _) = findings.finish();
    (check.more, check.findings.len())
}

/// What is kept is bounded by the rules, and the rest is counted.
#[test]
fn many_findings_are_counted_and_at_least_one_of_each_rule_is_named() {
    let text = "rules:\n\
                - {id: all, severity: warning, reason: x, packages: {purl: 'pkg:npm/*'}}\n\
                - {id: rare, severity: error, reason: x, packages: {purl: 'pkg:npm/name-3'}}\n\
                - {id: files, severity: error, reason: x, files: {path: '/*'}}\n";
    let policy = Policy::parse(text.as_bytes(), jiff::Timestamp::now()).unwrap();
    let (more, named) = run(&policy, 3, 6000, 5000);
    assert!(named <= 256 + 3 && more > 5000, "{named} {more}");
}

/// Prints, and asserts no time.
#[test]
#[ignore = "measures"]
fn a_thousand_rules_over_200_images_and_100_000_packages() {
    let text = rules(1000);
    let begun = Instant::now();
    let policy = Policy::parse(text.as_bytes(), jiff::Timestamp::now()).unwrap();
    let read = begun.elapsed();
    let made = Instant::now();
    (0..200).for_each(|at| drop(packages(at, 500)));
    let made = made.elapsed();
    let begun = Instant::now();
    let (more, named) = run(&policy, 200, 500, 0);
    let packages = begun.elapsed();
    let begun = Instant::now();
    run(&policy, 0, 0, 100_000);
    let files = begun.elapsed();
    eprintln!(
        "read {read:?}; 200 images, 100,000 packages {:?} ({} findings); 100,000 files {files:?}",
        packages.saturating_sub(made),
        more + named as u64
    );
}
