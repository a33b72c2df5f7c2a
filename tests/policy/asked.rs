//! Checks that rules ask for: what did not run here is missing, whatever the bundle carries.

use serde_json::{Value, json};

use crate::accepted::scanner;
use crate::lab::{Image, Lab, dpkg, file, layer};

fn rule(checks: &str) -> String {
    format!("rules:\n- {{id: asked, severity: error, reason: x, checks: {checks}}}\n")
}

fn missing(report: &Value) -> Vec<String> {
    let all = report["not_checked"].as_array().unwrap().iter().filter(|one| one["id"] == "policy");
    all.map(|one| one["reason"].as_str().unwrap().to_owned()).collect()
}

fn bundle(lab: &Lab) -> Vec<String> {
    let image = |reference, text: &[u8]| {
        let layers = vec![layer(vec![dpkg(&[("bash", "5.2-1")]), file("a", 0o644, text)])];
        Image { reference, layers, ..Image::default() }
    };
    lab.bundle("b", &[image("quay.io/a/a:1", b"a"), image("quay.io/a/b:1", b"b")], None)
}

/// MB-POL-40: 42, and never a pass; a warning asks and does not require.
#[test]
fn a_check_that_is_asked_for_and_did_not_run_is_missing() {
    let lab = Lab::new();
    bundle(&lab);
    for (checks, why) in [
        ("{scanners: 1}", "0 of 1 scanners"),
        ("{databaseNotOlderThan: 7d}", "0 of 1 scanners"),
        ("{vulnerabilities: true}", "for 2 of 2 images"),
    ] {
        let report = lab.verify(&rule(checks)).is(42).json();
        assert!(missing(&report)[0].contains(why), "{report:#}");
        assert_eq!(report["verdict"], "not-fully-checked");
        let report = lab.verify(&rule(checks).replace("error", "warning")).is(0).json();
        assert_eq!(missing(&report).len(), 1);
    }
}

/// MB-POL-41: scanners count that ran through everything and proved themselves, with data of a known age.
#[test]
fn scanners_count_that_proved_themselves_and_whose_data_is_new_enough() {
    let lab = Lab::new();
    bundle(&lab);
    let one = scanner(&lab);
    let two = one.replacen("s=", "t=", 1);
    lab.write("scanners.yaml", &format!("scanners:\n- {{name: unproved, command: '{}', probe: none}}\n", &one[2..]));
    let scan = |checks: &str, more: &[&str]| {
        lab.write("p.yaml", &rule(checks));
        let args = ["scan", "b.tar", "--signer", "k.pub", "--policy", "p.yaml", "-o", "json"];
        lab.run(&[&args[..], more].concat())
    };
    scan("{scanners: 1}", &["--scanner", &one]).is(0);
    let report = scan("{scanners: 2}", &["--scanner", &one]).is(42).json();
    assert!(missing(&report["report"])[0].contains("1 of 2 scanners"), "{report:#}");
    scan("{scanners: 2}", &["--scanner", &one, "--scanner", &two]).is(0);
    // Verdicts of an earlier run count, as they were given after a proof.
    scan("{scanners: 2}", &["--scanner", &one, "--scanner", &two]).is(0);
    let report = scan("{scanners: 1, databaseNotOlderThan: 7d}", &["--scanner", &one]).is(42).json();
    assert!(missing(&report["report"])[0].contains("does not say of when"), "{report:#}");
    let report = scan("{scanners: 1}", &["--scanners", "scanners.yaml", "--rescan"]).is(42).json();
    assert!(missing(&report["report"])[0].contains("has not shown"), "{report:#}");
    // Without trust too.
    lab.write("p.yaml", &rule("{scanners: 2}"));
    let args = ["scan", "b.tar", "--policy", "p.yaml", "--scanner", &one, "-o", "json"];
    let report = lab.run(&args).is(42).json();
    assert!(missing(&report["rules"])[0].contains("1 of 2"), "{report:#}");
}

/// MB-POL-42: evidence of vulnerabilities for each image; statements, and what the bundle carries, are none.
#[test]
fn vulnerabilities_need_evidence_for_each_image_with_data_that_is_new_enough() {
    let lab = Lab::new();
    let digests = bundle(&lab);
    let grype = |name: &str, digest: &str, built: &str| {
        let document = json!({
            "matches": [],
            "source": { "type": "image", "target": { "manifestDigest": digest, "imageID": digest } },
            "descriptor": { "name": "grype", "version": "0.87.0", "timestamp": built, "db": { "built": built } },
        });
        lab.write(name, &document.to_string());
    };
    let now = jiff::Timestamp::now().to_string();
    grype("a.json", &digests[0], &now);
    grype("b.json", &digests[1], &now);
    grype("old.json", &digests[1], "2024-01-01T00:00:00Z");
    let with = |checks: &str, files: &[&str]| {
        let more: Vec<&str> = files.iter().flat_map(|file| ["--evidence", *file]).collect();
        lab.verify_with(&rule(checks), &more)
    };
    with("{vulnerabilities: true}", &["a.json", "b.json"]).is(0);
    with("{vulnerabilities: true, databaseNotOlderThan: 7d}", &["a.json", "b.json"]).is(0);
    with("{vulnerabilities: true}", &["a.json", "old.json"]).is(0);
    let report = with("{vulnerabilities: true}", &["a.json"]).is(42).json();
    assert!(missing(&report)[0].contains("for 1 of 2 images, as quay.io/a/b:1"), "{report:#}");
    let report = with("{vulnerabilities: true, databaseNotOlderThan: 7d}", &["a.json", "old.json"]).is(42).json();
    assert!(missing(&report)[0].contains("new enough"), "{report:#}");
    // Data of the future has no age that could be known.
    grype("future.json", &digests[1], "2100-01-01T00:00:00Z");
    with("{vulnerabilities: true, databaseNotOlderThan: 7d}", &["a.json", "future.json"]).is(42);
    let vex = json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/1", "author": "a",
        "timestamp": now, "version": 1,
        "statements": [{
            "vulnerability": { "name": "CVE-2026-1" }, "status": "not_affected",
            "justification": "component_not_present",
            "products": [{ "@id": format!("pkg:oci/b@{}", digests[1].replace(':', "%3A")) }],
        }],
    });
    lab.write("vex.json", &vex.to_string());
    with("{vulnerabilities: true}", &["a.json", "vex.json"]).is(42);
}

/// MB-POL-43: a rule about packages says nothing where packages cannot be read.
#[test]
fn packages_that_cannot_be_read_are_no_pass() {
    let lab = Lab::new();
    let broken = layer(vec![file("var/lib/rpm/rpmdb.sqlite", 0o644, b"SQLite format 3\0 and nothing more")]);
    lab.bundle("b", &[Image { layers: vec![broken], ..Image::default() }], None);
    let rules = "rules:\n- {id: r, severity: error, reason: x, packages: {purl: 'pkg:rpm/*'}}\n";
    let report = lab.verify(rules).is(42).json();
    assert!(missing(&report)[0].contains("packages of quay.io/good/app:1 are not all known"), "{report:#}");
}
