//! Policies that are not acceptable: exit code 2, with the line.

use crate::lab::Lab;

const RULE: &str = "- {id: r, severity: error, reason: x, images: {user: root}}";

fn with(selector: &str) -> String {
    format!("rules:\n- id: r\n  severity: error\n  reason: x\n  {selector}\n")
}

fn accept(rest: &str) -> String {
    format!("rules:\n{RULE}\n- {{id: f, severity: error, reason: x, files: {{mode: setuid}}}}\naccept:\n- {rest}\n")
}

/// MB-POL-01 to MB-POL-03.
#[test]
fn what_is_unknown_empty_doubled_or_can_match_nothing_is_refused_with_its_line() {
    let lab = Lab::new();
    lab.bundle("b", &[crate::lab::Image::default()], None);
    let of = "{rule: r, subject: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'";
    for (policy, line, why) in [
        ("", 0, "is not acceptable"),
        ("rules: []", 1, "0 entries"),
        ("accept: []", 1, "empty list"),
        ("{}", 0, "no rules"),
        ("rules:\n- {id: r, severity: error, reason: x}", 2, "exactly one of"),
        (&with("images: {user: root}\n  files: {mode: setuid}"), 2, "exactly one of"),
        (&with("image: {user: root}"), 5, "unknown field"),
        (&with("images: {usr: root}"), 5, "unknown field"),
        (&with("images: {user: root, user: root}"), 5, "duplicate"),
        (&format!("rules:\n{RULE}\n{RULE}\n"), 3, "two rules `r`"),
        ("rules:\n- {id: 'a b', severity: error, reason: x, images: {user: root}}", 2, "has an id"),
        ("rules:\n- {id: a, severity: fatal, reason: x, images: {user: root}}", 2, "unknown variant"),
        ("rules:\n- {id: a, severity: error, reason: ' ', images: {user: root}}", 2, "`reason`"),
        ("rules:\n- {id: a, severity: error, images: {user: root}}", 2, "missing field"),
        ("rules:\n- &a {id: a, severity: error, reason: x, images: {user: root}}\n- *a", 0, ""),
        (&with("images: {}"), 2, "empty `images`"),
        (&with("images: {outside: []}"), 2, "empty list"),
        (&with("images: {outside: [a, a]}"), 2, "doubled"),
        (&with("images: {outside: 'quay.io/a:1'}"), 2, "can match nothing"),
        (&with("images: {outside: 'Quay.io/a'}"), 2, "can match nothing"),
        (&with("images: {outside: [a, b], within: a}"), 2, "can match nothing"),
        (&with("images: {architecture: x86_64}"), 2, "can match nothing"),
        (&with("images: {kinds: chart}"), 2, "can match nothing"),
        (&with("images: {kinds: signature, unsigned: true}"), 2, "can match nothing"),
        (&with("images: {newestLayerOlderThan: 9d, newestLayerNewerThan: 8d}"), 2, "can match nothing"),
        (&with("images: {newestLayerOlderThan: 9}"), 2, "not an age"),
        (&with("images: {newestLayerOlderThan: 0d}"), 2, "not an age"),
        (&with("images: {sizeOver: big}"), 2, "not a size"),
        (&with("images: {sizeOver: 99999999999999TiB}"), 2, "not a size"),
        (&with("images: {unsigned: false}"), 2, "says nothing"),
        (&with("images: {unsigned: yes}"), 5, ""),
        (&with("images: {user: nobody}"), 2, "not root"),
        (&with("images: {without: signature}"), 2, "write sbom"),
        (&with("images: {digest: abc}"), 2, "can match nothing"),
        (&with("files: {}"), 2, "empty `files`"),
        (&with("files: {except: /a}"), 2, "empty `files`"),
        (&with("files: {path: usr/bin}"), 2, "can match nothing"),
        (&with("files: {path: /a/../b}"), 2, "can match nothing"),
        (&with("files: {path: /a/}"), 2, "can match nothing"),
        (&with("files: {mode: setuid, except: '*'}"), 2, "can match nothing"),
        (&with("files: {path: /a, except: /a}"), 2, "can match nothing"),
        (&with("files: {mode: device, class: private-key}"), 2, "can match nothing"),
        (&with("files: {mode: suid}"), 2, "can match nothing"),
        (&with("files: {class: virus}"), 2, "can match nothing"),
        (&with("files: {sha256: 'sha512:00'}"), 2, "can match nothing"),
        (&with("packages: {}"), 2, "empty `packages`"),
        (&with("packages: {purl: bash}"), 2, "no purl"),
        (&with("packages: {purl: 'pkg:docker/x'}"), 2, "can match nothing"),
        (&with("packages: {purl: 'pkg:deb/debian/x@1'}"), 2, "has a version"),
        (&with("packages: {purl: 'pkg:deb/debian/x?arch=a'}"), 2, "qualifiers"),
        (&with("packages: {versions: '< 1'}"), 2, "no `purl`"),
        (&with("packages: {purl: ['pkg:deb/a/x', 'pkg:rpm/a/x'], versions: '< 1'}"), 2, "several types"),
        (&with("packages: {purl: 'pkg:deb/a/x', versions: '> 2, < 1'}"), 2, "can match nothing"),
        (&with("packages: {purl: 'pkg:npm/x', versions: '< latest'}"), 2, "can match nothing"),
        (&with("manifests: {}"), 2, "empty `manifests`"),
        (&with("manifests: {kinds: Secret}"), 2, "can match nothing"),
        (&with("manifests: {clusterScoped: true, namespaces: a}"), 2, "can match nothing"),
        (&with("manifests: {namespaces: A}"), 2, "can match nothing"),
        (&with("checks: {}"), 2, "empty `checks`"),
        (&with("checks: {scanners: 0}"), 2, "not 1 to 16"),
        (&with("checks: {scanners: 17}"), 2, "not 1 to 16"),
        (&with("checks: {vulnerabilities: false}"), 2, "says nothing"),
        (&accept(&format!("{of}, reason: x, by: y}}")), 5, "missing field"),
        (&accept(&format!("{of}, reason: x, by: y, until: never}}")), 5, "not a day"),
        (&accept(&format!("{of}, reason: x, by: y, until: 2099-01-01}}")), 5, "more than a year"),
        (&accept(&format!("{of}, reason: x, by: '', until: 2026-01-01}}")), 5, "`by`"),
        (&accept(&format!("{of}, scanner: s, reason: x, by: y, until: 2026-01-01}}")), 5, "either a rule or a scanner"),
        (&accept("{rule: z, subject: /a, reason: x, by: y, until: 2026-01-01}"), 5, "is not there"),
        (&accept("{rule: r, subject: /a, reason: x, by: y, until: 2026-01-01}"), 5, "can match nothing"),
        (&accept("{rule: f, subject: 'pkg:deb/a/b', reason: x, by: y, until: 2026-01-01}"), 5, "can match nothing"),
        (&accept("{scanner: s, subject: 'pkg:deb/a/b', reason: x, by: y, until: 2026-01-01}"), 5, "can match nothing"),
        (&accept("{rule: f, subject: su, reason: x, by: y, until: 2026-01-01}"), 5, "has the subject"),
        (
            &accept(
                "{rule: f, subject: /a, reason: x, by: y, until: 2026-01-01}\n- {rule: f, subject: /a, reason: x, by: y, until: 2026-01-01}",
            ),
            6,
            "accepted twice",
        ),
        (&format!("rules:\n{RULE}\n# \u{1b}[2J\n"), 3, "control character"),
        (&format!("rules:\n{RULE}\n# a\u{202e}b\n"), 3, "control character"),
        (&format!("rules:\n{RULE}\nmore: 1\n"), 3, "unknown field"),
        (&format!("rules:\n{RULE}\n---\nrules:\n{RULE}\n"), 0, ""),
        (&format!("rules:\n{RULE}\nrules:\n{RULE}\n"), 3, "duplicate"),
        (&with("files: {path: '/a/b', except: '/a/*'}"), 2, "in `except`"),
        (&with("files: {path: !!binary L2EvYg==}"), 2, "no pattern of paths"),
        ("rules:\n- {id: a, severity: error, reason: !x y, images: {user: root}}", 0, ""),
    ] {
        lab.write("p.yaml", policy);
        let done = lab.run(&["verify", "b.tar", "--signer", "k.pub", "--policy", "p.yaml"]);
        assert_eq!(done.code, 2, "{policy}\n{}\n{}", done.out, done.err);
        assert!(done.err.contains("the policy is not acceptable") && done.err.contains(why), "{policy}\n{}", done.err);
        assert!(line == 0 || done.err.contains(&format!("line {line}")), "{policy}\n{}", done.err);
        assert!(done.out.is_empty(), "{}", done.out);
    }
}

/// MB-POL-01
#[test]
fn a_policy_that_is_too_large_or_no_text_is_refused_by_every_verb() {
    let lab = Lab::new();
    lab.bundle("b", &[crate::lab::Image::default()], None);
    let large = format!("rules:\n{RULE}\n#{}\n", "x".repeat(16 << 20));
    std::fs::write(lab.path().join("large"), large).unwrap();
    std::fs::write(lab.path().join("binary"), b"rules:\n\xff\xfe").unwrap();
    for name in ["large", "binary"] {
        for verb in [&["verify", "b.tar", "--signer", "k.pub"][..], &["scan", "b.tar", "--scanner", "a=true"]] {
            let done = lab.run(&[verb, &["--policy", name]].concat());
            assert_eq!(done.code, 2, "{name} {verb:?} {}", done.err);
        }
    }
    // With what leaves contents out, rules could not be evaluated.
    lab.write("p.yaml", &format!("rules:\n{RULE}\n"));
    lab.run(&["verify", "b.tar", "--signer", "k.pub", "--policy", "p.yaml", "--quick"]).is(2);
}
