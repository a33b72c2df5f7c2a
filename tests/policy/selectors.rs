//! Each selector finds what it names, and nothing else.

use serde_json::Value;

use crate::lab::{Image, Lab, check, device, dpkg, file, found, layer, python};

const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n";

const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: team}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - {name: a, image: 'quay.io/good/app:1'}
      - {name: b, image: 'docker.io/library/away:1'}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: other}
stringData: {a: b}
";

/// Digests of its three images: good, bad, old.
fn bundle(lab: &Lab) -> Vec<String> {
    let base = layer(vec![
        file("etc/os-release", 0o644, b"ID=debian\nVERSION_ID=12\n"),
        dpkg(&[("openssl", "3.0.11-1~deb12u2"), ("bash", "5.2.15-2+b2")]),
    ]);
    let good = Image { layers: vec![base.clone()], ..Image::default() };
    let pe = [&b"MZ"[..], &[0; 58], &[0x40, 0, 0, 0], b"PE\0\0", &[0; 64]].concat();
    let bad = layer(vec![
        file("usr/bin/su", 0o4755, b"su"),
        file("usr/bin/wall", 0o2755, b"wall"),
        file("usr/bin/with-capability", 0o755, b"ping"),
        file("opt/open", 0o666, b"open"),
        device("dev/null"),
        file("root/id_rsa", 0o600, KEY),
        file("opt/tool.exe", 0o755, &pe),
        file("opt/known", 0o644, b"known content"),
        python("evil", "1.10.0rc1", "AGPL-3.0"),
    ]);
    let bad = Image {
        reference: "docker.io/else/where:1",
        architecture: "arm64",
        user: "",
        layers: vec![base, bad],
        ..Image::default()
    };
    let old = Image {
        reference: "quay.io/good/old:1",
        made: Some("2020-01-01T00:00:00Z"),
        user: "0:0",
        layers: vec![layer(vec![file("x", 0o644, &[7; 70_000])])],
        ..Image::default()
    };
    lab.bundle("b", &[good, bad, old], Some(OBJECTS))
}

/// One rule with this selector, and what it finds.
fn one(lab: &Lab, selector: &str) -> (i32, Vec<String>, Value) {
    let done = lab.verify(&format!("rules:\n- {{id: r, severity: error, reason: because, {selector}}}\n"));
    assert!(done.code == 0 || done.code == 41, "{selector}: {}", done.err);
    let report = done.json();
    let subjects = found(&report).iter().map(|one| one.trim_start_matches("r ").to_owned()).collect();
    (done.code, subjects, report)
}

const WHERE: &str = "docker.io/else/where:1";
const GOOD: &str = "quay.io/good/app:1";
const OLD: &str = "quay.io/good/old:1";

/// MB-POL-10 to MB-POL-14.
#[test]
fn each_selector_of_images_files_packages_and_manifests_finds_what_it_names() {
    let lab = Lab::new();
    let digests = bundle(&lab);
    let known = mirror_bundle::oci::Digest::of(b"known content");
    let inside = |paths: &[&str]| paths.iter().map(|path| format!("{WHERE}:{path}")).collect::<Vec<_>>();
    let images = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let packages =
        ["pkg:deb/debian/bash@5.2.15-2+b2", "pkg:deb/debian/openssl@3.0.11-1~deb12u2", "pkg:pypi/evil@1.10.0rc1"];
    let manifests: Vec<String> = {
        let listed = lab.run(&["ls", "b.tar", "--manifests", "-o", "json"]).is(0).json();
        let text = listed.to_string();
        let mut all: Vec<String> = text.split('"').filter(|t| t.starts_with("manifests/")).map(str::to_owned).collect();
        all.sort();
        all.dedup();
        all
    };
    let of =
        |kind: &str| manifests.iter().find(|m| m.contains(kind)).cloned().unwrap_or_else(|| panic!("{manifests:?}"));
    let (namespace, deployment, secret) = (of("-1"), of("-2"), of("-3"));
    for (selector, expected) in [
        ("images: {outside: ['quay.io/good/*']}", images(&[WHERE])),
        ("images: {within: 'quay.io/*'}", images(&[GOOD, OLD])),
        ("images: {within: 'quay.io/*', outside: quay.io/good/app}", images(&[OLD])),
        (&format!("images: {{digest: '{}'}}", digests[1]), images(&[WHERE])),
        ("images: {architecture: arm64}", images(&[WHERE])),
        ("images: {architecture: [s390x, ppc64le]}", vec![]),
        ("images: {kinds: additional}", images(&[WHERE, GOOD, OLD])),
        ("images: {kinds: [release, component]}", vec![]),
        ("images: {unsigned: true, within: quay.io/good/app}", images(&[GOOD])),
        ("images: {without: sbom, within: quay.io/good/app}", images(&[GOOD])),
        ("images: {without: 'attestation https://slsa.dev/*', architecture: arm64}", images(&[WHERE])),
        ("images: {newestLayerOlderThan: 1000d}", images(&[OLD])),
        ("images: {newestLayerNewerThan: 1000d}", images(&[WHERE, GOOD])),
        ("images: {sizeOver: 60kB}", images(&[OLD])),
        ("images: {user: root}", images(&[WHERE, OLD])),
        ("files: {mode: setuid}", inside(&["/usr/bin/su"])),
        ("files: {mode: [setgid, capabilities]}", inside(&["/usr/bin/wall", "/usr/bin/with-capability"])),
        ("files: {mode: world-writable}", inside(&["/opt/open"])),
        ("files: {mode: device}", inside(&["/dev/null"])),
        ("files: {class: private-key}", inside(&["/root/id_rsa"])),
        ("files: {class: [foreign-program, private-key], except: '/root/*'}", inside(&["/opt/tool.exe"])),
        ("files: {path: ['/opt/*', '*.none'], except: [/opt/open]}", inside(&["/opt/known", "/opt/tool.exe"])),
        ("files: {path: '*/su', mode: setgid}", vec![]),
        (&format!("files: {{sha256: '{}'}}", known.hex()), inside(&["/opt/known"])),
        (&format!("files: {{sha256: '{known}', path: '/usr/*'}}"), vec![]),
        ("packages: {purl: 'pkg:deb/debian/openssl'}", images(&packages[1..2])),
        ("packages: {purl: 'pkg:deb/debian/openssl', versions: '< 3.0.11-1~deb12u2'}", vec![]),
        ("packages: {purl: 'pkg:deb/debian/openssl', versions: '< 3.0.11-1'}", images(&packages[1..2])),
        ("packages: {purl: 'pkg:deb/*'}", images(&packages[..2])),
        ("packages: {purl: 'pkg:pypi/Evil', versions: ['>= 1.9, < 1.10', '= 1.10rc1']}", images(&packages[2..])),
        ("packages: {license: 'agpl*'}", images(&packages[2..])),
        ("packages: {license: 'MIT*', purl: 'pkg:pypi/*'}", vec![]),
        ("manifests: {kinds: apps/v1/Deployment}", vec![deployment.clone()]),
        ("manifests: {kinds: '*/Secret'}", vec![secret.clone()]),
        ("manifests: {kinds: '*'}", manifests.clone()),
        ("manifests: {clusterScoped: true}", vec![namespace]),
        ("manifests: {namespaces: 'oth*'}", vec![secret]),
        ("manifests: {imagesNotCarried: true}", vec![deployment]),
    ] {
        let mut expected = expected;
        expected.sort();
        let (code, found, report) = one(&lab, selector);
        assert_eq!(found, expected, "{selector}: {:#}", check(&report));
        assert_eq!(code, if expected.is_empty() { 0 } else { 41 }, "{selector}");
    }
}

/// MB-POL-04: a warning or notice changes no verdict; the reason and the rule stand in each finding.
#[test]
fn findings_name_rule_subject_and_reason_and_only_errors_are_a_verdict() {
    let lab = Lab::new();
    bundle(&lab);
    for (severity, code, outcome) in [("error", 41, "fail"), ("warning", 0, "pass"), ("notice", 0, "pass")] {
        let done = lab.verify(&format!(
            "rules:\n- id: root\n  severity: {severity}\n  reason: not as root\n  images: {{user: root}}\n"
        ));
        assert_eq!(done.code, code, "{severity}");
        let report = done.json();
        let check = check(&report);
        assert_eq!((&check["outcome"], check["findings"].as_array().unwrap().len()), (&outcome.into(), 2));
        let first = &check["findings"][0];
        assert_eq!(
            (&first["code"], &first["rule"], &first["severity"]),
            (&"policy".into(), &"root".into(), &severity.into())
        );
        assert!(first["facts"].to_string().contains("reason not as root"), "{first:#}");
        assert_eq!(report["policy"]["rules"], 1);
    }
    // Text too.
    let text = lab
        .run(&[
            "verify",
            "b.tar",
            "--signer",
            "k.pub",
            "--policy",
            "p.yaml",
            "--allow-kind",
            "Namespace",
            "--allow-kind",
            "apps/v1/Deployment",
            "--allow-kind",
            "Secret",
        ])
        .is(0);
    assert!(text.err.contains("notice: rule `root`"), "{}", text.err);
    assert!(text.out.contains("VERIFIED") && text.out.contains("policy    p.yaml, 1 rule\n"), "{}", text.out);
}

/// MB-FCT-01: the facts that rules see.
#[test]
fn facts_say_what_rules_see_and_fit_their_schema() {
    let lab = Lab::new();
    let digests = bundle(&lab);
    let report = lab.verify("rules:\n- {id: r, severity: notice, reason: x, images: {user: root}}\n").is(0).json();
    let facts = &report["facts"];
    let mut wrong = Vec::new();
    crate::support::schemas::violations(facts, &crate::support::schemas::schema("facts.json"), "facts", &mut wrong);
    crate::support::schemas::violations(&report, &crate::support::schemas::schema("report.json"), "report", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let image = facts["images"].as_array().unwrap().iter().find(|one| one["digest"] == digests[1]).unwrap();
    assert_eq!(
        (&image["names"][0], &image["architecture"], &image["user"]),
        (&WHERE.into(), &"arm64".into(), &"".into())
    );
    assert_eq!((&image["runs"], &image["system"]), (&true.into(), &"debian-12".into()));
    assert_eq!(image["counts"]["private-key"], 1);
    assert!(image["files"].as_array().unwrap().iter().any(|one| one["path"] == "/root/id_rsa"));
    let packages: Vec<&Value> = image["packages"].as_array().unwrap().iter().collect();
    assert!(packages.iter().any(|one| one["name"] == "evil" && one["license"] == "AGPL-3.0"), "{packages:#?}");
    let object = facts["objects"].as_array().unwrap().iter().find(|one| one["kind"] == "Deployment").unwrap();
    assert_eq!(object["images_not_carried"][0], "docker.io/library/away:1");
    assert_eq!(object["cluster_scoped"], false);
}

/// MB-POL-12: what a later layer deletes is still carried.
#[test]
fn files_that_a_later_layer_deletes_are_found_too() {
    let lab = Lab::new();
    let layers = vec![layer(vec![file("a/id_rsa", 0o600, KEY)]), layer(vec![file("a/.wh.id_rsa", 0o600, b"")])];
    lab.bundle("b", &[Image { layers, ..Image::default() }], None);
    let (code, found, _) = one(&lab, "files: {class: private-key}");
    assert_eq!((code, found), (41, vec![format!("{GOOD}:/a/id_rsa")]));
}
