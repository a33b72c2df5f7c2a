//! What is accepted is closed and shown; what has expired is open and says so; what matches nothing is a notice.

use mirror_bundle::scan::eicar;
use serde_json::Value;

use crate::lab::{Image, Lab, check, dpkg, file, found, layer};

/// A day in this many days, as a policy writes it.
fn day(ahead: i64) -> String {
    let hours = jiff::SignedDuration::from_hours(24 * ahead);
    let time = jiff::Timestamp::now() + hours;
    time.strftime("%Y-%m-%d").to_string()
}

fn entry(by: &str, subject: &str, until: &str) -> String {
    format!("- {{{by}, subject: '{subject}', reason: 'CHG-1 is known', by: J. Doe, until: {until}}}\n")
}

const RULES: &str = "\
rules:
- {id: files, severity: error, reason: x, files: {mode: setuid}}
- {id: images, severity: error, reason: x, images: {outside: nowhere/*}}
- {id: packages, severity: error, reason: x, packages: {purl: 'pkg:deb/debian/*'}}
- {id: manifests, severity: error, reason: x, manifests: {kinds: '*'}}
accept:
";

fn bundle(lab: &Lab) -> (Vec<String>, Vec<u8>) {
    let base = layer(vec![
        file("etc/os-release", 0o644, b"ID=debian\n"),
        dpkg(&[("bash", "5.2-1")]),
        file("usr/bin/su", 0o4755, b"su"),
    ]);
    let image = |reference, user| Image { reference, user, layers: vec![base.clone()], ..Image::default() };
    let object = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n";
    (lab.bundle("b", &[image("quay.io/a/a:1", "1"), image("quay.io/a/b:1", "2")], Some(object)), base)
}

/// MB-POL-30
#[test]
fn findings_are_closed_by_rule_and_digest_purl_or_path_and_shown_as_accepted() {
    let lab = Lab::new();
    let (digests, base) = bundle(&lab);
    let all = found(&lab.verify(RULES.trim_end_matches("accept:\n")).is(41).json());
    assert_eq!(all.len(), 5, "{all:?}");
    let file = all.iter().find(|one| one.starts_with("manifests ")).unwrap().split(' ').nth(1).unwrap().to_owned();
    let until = day(30);
    let mut policy = RULES.to_owned();
    policy += &entry("rule: files", "/usr/bin/su", &until);
    policy += &entry("rule: packages", "pkg:deb/debian/bash@5.2-1", &until);
    policy += &entry("rule: manifests", &file, &until);
    policy += &entry("rule: images", &digests[0], &until);
    // One image of two is accepted.
    let report = lab.verify(&policy).is(41).json();
    assert_eq!(found(&report), ["images quay.io/a/b:1"]);
    policy += &entry("rule: images", &digests[1], &until);
    let report = lab.verify(&policy).is(0).json();
    assert_eq!(check(&report)["details"][0], "5 accepted");
    let accepted = report["accepted"].as_array().unwrap();
    assert_eq!(accepted.len(), 5);
    let first = &accepted[0];
    assert_eq!(
        (&first["rule"], &first["subject"], &first["findings"]),
        (&"files".into(), &"/usr/bin/su".into(), &1.into())
    );
    assert_eq!(
        (&first["by"], &first["reason"], &first["until"]),
        (&"J. Doe".into(), &"CHG-1 is known".into(), &until.into())
    );
    assert!(first["closed"][0].as_str().unwrap().contains("runs with the rights of its owner"));
    // Never silently.
    let text =
        lab.run(&["verify", "b.tar", "--signer", "k.pub", "--policy", "p.yaml", "--allow-kind", "Namespace"]).is(0);
    for line in ["accepted  rule files: /usr/bin/su", "by J. Doe: CHG-1 is known"] {
        assert!(text.out.contains(line), "{}", text.out);
    }
    // Other subjects of the same things: the content of the layer, the package in any version, the layer.
    let layer = mirror_bundle::oci::Digest::of(&base).to_string();
    for (by, subject) in [("rule: files", layer.as_str()), ("rule: packages", "pkg:deb/debian/bash")] {
        let other = policy.replace("/usr/bin/su", if by == "rule: files" { subject } else { "/usr/bin/su" });
        let other = other.replace("pkg:deb/debian/bash@5.2-1", subject_of(by, subject));
        lab.verify(&other).is(0);
    }
    // An image is accepted, not the layer that it shares with another.
    let other = policy.replace("/usr/bin/su", &digests[0]);
    assert_eq!(found(&lab.verify(&other).is(41).json()), ["files quay.io/a/a:1:/usr/bin/su"]);
}

/// MB-POL-30: a year is 366 days at most, and names with odd characters are accepted as the hint says.
#[test]
fn the_longest_time_is_a_year_and_the_hint_is_what_has_to_be_written() {
    let lab = Lab::new();
    let odd = layer(vec![file("a: b #\u{202e}\"\\c\nd", 0o4755, b"x"), file("usr/bin/su", 0o4755, b"y")]);
    lab.bundle("b", &[Image { layers: vec![odd], ..Image::default() }], None);
    let rules = "rules:\n- {id: files, severity: error, reason: x, files: {mode: setuid}}\n";
    let report = lab.verify(rules).is(41).json();
    let hints: Vec<String> = check(&report)["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let hint = one["hint"].as_str().unwrap();
            hint.split_once("subject ").unwrap().1.split_once(") with a reason").unwrap().0.to_owned()
        })
        .collect();
    assert!(hints.contains(&"/usr/bin/su".to_owned()), "{hints:?}");
    let accept = |until: &str| {
        let of =
            |subject: &String| format!("- {{rule: files, subject: {subject}, reason: x, by: y, until: {until}}}\n");
        format!("{rules}accept:\n{}", hints.iter().map(of).collect::<String>())
    };
    lab.verify(&accept(&day(366))).is(0);
    lab.verify(&accept(&day(368))).is(2).says("more than a year");
}

fn subject_of<'s>(by: &str, subject: &'s str) -> &'s str {
    if by == "rule: packages" { subject } else { "pkg:deb/debian/bash@5.2-1" }
}

/// MB-POL-31
#[test]
fn what_has_expired_is_open_and_says_so_and_what_matches_nothing_is_a_notice() {
    let lab = Lab::new();
    bundle(&lab);
    let rules = "rules:\n- {id: files, severity: error, reason: x, files: {mode: setuid}}\naccept:\n";
    let today = format!("{rules}{}", entry("rule: files", "/usr/bin/su", &day(0)));
    lab.verify(&today).is(0);
    let past = format!("{rules}{}", entry("rule: files", "/usr/bin/su", &day(-1)));
    let report = lab.verify(&past).is(41).json();
    let finding = &check(&report)["findings"][0];
    assert!(finding["facts"].to_string().contains("by J. Doe: this has expired"), "{finding:#}");
    assert!(report.get("accepted").is_none());
    // A wider entry that counts closes what an expired one no longer does.
    let layer = finding["facts"].as_array().unwrap().iter().find_map(|f| f.as_str()?.strip_prefix("layer ")).unwrap();
    lab.verify(&format!("{past}{}", entry("rule: files", layer, &day(1)))).is(0);
    let nothing = format!("{today}{}", entry("rule: files", "/usr/bin/sudo", &day(1)));
    let report = lab.verify(&nothing).is(0).json();
    let notice = &check(&report)["findings"][0];
    assert_eq!((&notice["severity"], &notice["subject"]), (&"notice".into(), &"/usr/bin/sudo".into()));
    assert!(notice["message"].as_str().unwrap().contains("matches nothing"), "{notice:#}");
    // Of scanners nobody can say so before they ran.
    let scanner = format!("{today}{}", entry("scanner: x", "/a", &day(1)));
    assert!(check(&lab.verify(&scanner).is(0).json())["findings"].as_array().unwrap().is_empty());
}

/// A scanner that finds the test file of virus scanners, which stands nowhere in clear.
pub(crate) fn scanner(lab: &Lab) -> String {
    std::fs::write(lab.path().join("signature"), eicar()).unwrap();
    let folder = lab.path().display();
    lab.write("find.sh", &format!("if grep -aqF -f {folder}/signature \"$1\"; then echo Test.Virus; exit 1; fi\n"));
    format!("s=sh {folder}/find.sh {{}}")
}

/// MB-POL-32
#[test]
fn what_a_scanner_found_is_accepted_by_digest_or_path_where_all_its_places_are() {
    let lab = Lab::new();
    let virus = eicar();
    let with = |path: &str| layer(vec![file(path, 0o644, &virus), file("etc/hosts", 0o644, b"hosts")]);
    let image = |reference, path: &str| Image { reference, layers: vec![with(path)], ..Image::default() };
    lab.bundle("b", &[image("quay.io/a/a:1", "opt/test"), image("quay.io/a/b:1", "srv/other")], None);
    lab.bundle("one", &[image("quay.io/a/a:1", "opt/test")], None);
    let scanner = scanner(&lab);
    let scan = |bundle: &str, accept: &str, code: i32| -> Value {
        let rules = "rules:\n- {id: r, severity: notice, reason: x, images: {user: root}}\naccept:\n";
        lab.write("p.yaml", &format!("{rules}{accept}"));
        let args = ["scan", bundle, "--signer", "k.pub", "--policy", "p.yaml", "--scanner", &scanner, "-o", "json"];
        lab.run(&args).is(code).json()
    };
    let digest = mirror_bundle::oci::Digest::of(&virus).to_string();
    let report = scan("b.tar", &entry("scanner: s", &digest, &day(9)), 0);
    let finding = &report["findings"][0];
    assert_eq!((&finding["outcome"], &finding["accepted"]["by"]), (&"found".into(), &"J. Doe".into()));
    assert_eq!(report["contents"]["found"], 1, "it is counted all the same");
    assert_eq!(report["accepted"][0]["scanner"], "s");
    let mut wrong = Vec::new();
    crate::support::schemas::violations(&report, &crate::support::schemas::schema("scan.json"), "scan", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Another place of the same content stays open.
    scan("b.tar", &entry("scanner: s", "/opt/test", &day(9)), 35);
    scan("one.tar", &entry("scanner: s", "/opt/test", &day(9)), 0);
    scan("one.tar", &entry("scanner: s", "/opt/test", &day(-1)), 35);
    scan("one.tar", &entry("scanner: other", "/opt/test", &day(9)), 35);
    let text = lab.run(&["scan", "one.tar", "--policy", "p.yaml", "--scanner", &scanner]);
    assert!(text.code == 35 && text.err.contains("matches nothing"), "{}\n{}", text.out, text.err);
    lab.write("p.yaml", &format!("accept:\n{}", entry("scanner: s", "/opt/test", &day(9))));
    let text = lab.run(&["scan", "one.tar", "--policy", "p.yaml", "--scanner", &scanner]).is(0);
    for line in ["CLEAN  one.tar  except 1 accepted", "accepted  Test.Virus (s)", "by J. Doe: CHG-1 is known"] {
        assert!(text.out.contains(line), "{line}\n{}", text.out);
    }
}

/// MB-POL-33: the record of a reviewer counts what is open, and names the policy.
#[test]
fn a_report_with_open_findings_is_not_signed_and_the_record_names_the_policy() {
    let lab = Lab::new();
    bundle(&lab);
    lab.run(&["keygen", "r", "--no-passphrase", "-q"]).is(0);
    let rules = "rules:\n- {id: files, severity: error, reason: x, files: {mode: setuid}}\n";
    let sign = |name: &str, more: &[&str]| {
        let args =
            ["sign", "b.tar", "--sign-key", "r", "--role", "reviewer", "--note", "n", "--report", name, "--detach"];
        lab.run(&[&args[..], more].concat())
    };
    let save = |name: &str, text: &str| lab.write(name, text);
    save("open.json", &lab.verify(rules).is(41).out);
    let refused = sign("open.json", &["--signer", "k.pub", "--allow-kind", "Namespace"]).is(2);
    assert!(refused.err.contains("1 open error") && refused.err.contains("rule `files`"), "{}", refused.err);
    let accepted = format!("{rules}accept:\n{}", entry("rule: files", "/usr/bin/su", &day(3)));
    save("closed.json", &lab.verify(&accepted).is(0).out);
    sign("closed.json", &["--signer", "k.pub", "--allow-kind", "Namespace"]).is(0);
    let record = std::fs::read_dir(lab.path()).unwrap().flatten().find(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("b.tar.") && name.ends_with(".json")
    });
    let record = std::fs::read_to_string(record.unwrap().path()).unwrap();
    let sha256 = mirror_bundle::oci::Digest::of(accepted.as_bytes()).hex();
    assert!(record.contains(&sha256) && record.contains("\"accepted\":1"), "{record}");
}

/// MB-POL-06
#[test]
fn the_example_of_explain_rules_is_a_policy_that_runs() {
    let lab = Lab::new();
    bundle(&lab);
    let example = lab.run(&["explain", "rules"]).is(0).out;
    assert_eq!(example.matches("- id: ").count(), 8);
    let report = lab.verify(&example).is(41).json();
    assert_eq!((&report["policy"]["rules"], &report["policy"]["accept"]), (&8.into(), &2.into()));
    let rules: std::collections::BTreeSet<String> =
        found(&report).iter().map(|one| one.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(rules, ["no-setuid", "nothing-cluster-wide", "our-registries", "signed"].map(str::to_owned).into());
    assert!(report["not_checked"].to_string().contains("rule `two-scanners`: 0 of 2 scanners"), "{report:#}");
}

/// MB-POL-10, with a genuine signature of cosign.
#[test]
fn images_signed_by_a_key_of_the_trust_policy_are_not_unsigned() {
    let lab = Lab::new();
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut manifests = Vec::new();
    std::fs::create_dir_all(lab.path().join("l/blobs/sha256")).unwrap();
    let image = "7d27ba1da0f64410102468d138f9ec8f61f2cc23bb58ff4cd63243a4434e3d99";
    for (folder, tag) in
        [("single-arch-empty-image", "1"), ("single-arch-empty-image-sig", &format!("sha256-{image}.sig"))]
    {
        let layout = data.join("oci-layouts").join(folder);
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let mut one = serde_json::from_slice::<Value>(&index).unwrap()["manifests"][0].take();
        let name = format!("quay.io/rh_ee_aguidi/empty-image:{tag}");
        one["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": name });
        manifests.push(one);
        for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
            std::fs::copy(blob.path(), lab.path().join("l/blobs/sha256").join(blob.file_name())).unwrap();
        }
    }
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
    lab.write("l/index.json", &index);
    lab.write("l/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    lab.run(&["create", "b.tar", "--sign-key", "k", "-q", "--from-layout", "l"]).is(0);
    let key = std::fs::read_to_string(lab.path().join("k.pub")).unwrap();
    let key = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let pem = data.join("keyrings/derived/cosign-single-arch-empty-image.pub").display().to_string();
    let trust = |images: &str| format!("signers:\n- {{name: b, roles: [builder], key: {}}}\n{images}", key.trim());
    let keys = format!("images:\n  keys:\n  - {{scope: quay.io/rh_ee_aguidi, keyFile: {pem}}}\n");
    lab.write("p.yaml", "rules:\n- {id: r, severity: error, reason: x, images: {unsigned: true}}\n");
    for (images, code) in [(keys.as_str(), 0), ("", 41)] {
        lab.write("trust.yaml", &trust(images));
        let done = lab.run(&["verify", "b.tar", "--trust", "trust.yaml", "--policy", "p.yaml", "-o", "json"]).is(code);
        let signed = &done.json()["facts"]["images"];
        let any = signed.as_array().unwrap().iter().any(|one| !one["signed_by"].as_array().unwrap().is_empty());
        assert_eq!(any, code == 0, "{signed:#}");
    }
}
