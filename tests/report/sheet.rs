//! What is on the sheet.

use std::fs;

use mirror_bundle::scan::eicar;

use crate::lab::Daemon;
use crate::lab::WIDE;
use crate::support::program::{program, ran};
use crate::support::release::{RELEASES, world};
use crate::support::schemas::valid;
use crate::world::{AT, Desk, first};

#[test]
fn the_first_page_is_complete_in_itself_before_anybody_has_reviewed() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let said = desk.report(&bundle, &["--html", "r.html", "--markdown", "r.md"]).is(0);
    assert!(said.out.starts_with("verdict   VERIFIED, NOT SCANNED  app.tar  with exceptions\n"), "{}", said.out);
    let (html, text) = (desk.read("r.html"), desk.read("r.md"));
    let index =
        desk.run(&["verify", &bundle, "--allow-unsigned", "--allow-kind", "ConfigMap", "-o", "json"]).json()["bundle"]
            ["index"]
            .clone();
    let hex = index.as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let first = first(&html);
    let groups: Vec<&str> = (0..8).map(|n| &hex[8 * n..8 * n + 8]).collect();
    assert!(first.contains(&format!("{}<br>{}", groups[..4].join(" "), groups[4..].join(" "))), "to read aloud");
    for words in [
        "VERIFIED; CONTENT NOT SCANNED",
        "1 of 1 builder, reviewer: not yet",
        "build-host",
        "review-desk",
        "not yet",
        "SHA256:",
        "Compared with",
        "--allow-kind ConfigMap",
        "no scanner was named",
        "this program has no vulnerability data",
        "do not import",
        "Second person: name, date, signature",
        "2026-12-01 12:00:00 UTC, the time that --at gave",
    ] {
        assert!(first.contains(words), "no `{words}` on the first page:\n{first}");
        assert!(text.contains(words), "no `{words}` in the Markdown:\n{text}");
    }
    assert!(
        html.contains("stores configuration") || html.contains("configuration that operators share: password"),
        "what a manifest does"
    );
    assert!(html.contains("reg.example/app:1"));
    assert!(html.contains("sha256sum --quiet -c mirror-bundle/SHA256SUMS"));
}

#[test]
fn the_same_input_and_time_give_the_same_bytes() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let older = desk.bundle("old", &[("bin/app", b"older".to_vec())]);
    for name in ["a", "b"] {
        let (html, text) = (format!("{name}.html"), format!("{name}.md"));
        desk.report(&bundle, &["--html", &html, "--markdown", &text, "--since", &older]).is(0);
    }
    assert_eq!(desk.read("a.html"), desk.read("b.html"));
    assert_eq!(desk.read("a.md"), desk.read("b.md"));
    assert!(desk.read("a.html").contains("0 new, 1 changed, 0 gone"), "what is new");
    assert!(desk.read("a.html").contains("≠ changed image (dots)"), "as a picture");
}

#[test]
fn what_a_scanner_found_is_first_and_has_a_command_that_removes_it_and_works() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let desk = Desk::new();
    let bundle = desk.bundle("bad", &[("tmp/eicar.com", eicar()), ("bin/app", b"hello".to_vec())]);
    let all = desk.report(&bundle, &["-o", "json", "--clamd", &daemon.address()]).is(35);
    let all = valid("report", &all.out);
    assert_eq!((&all["exit_code"], &all["scan"]["findings"][0]["outcome"]), (&35.into(), &"found".into()));
    let said = desk.report(&bundle, &["--html", "r.html", "--clamd", &daemon.address()]).is(35);
    assert!(said.out.starts_with("verdict   FOUND  bad.tar  with exceptions\n"), "{}", said.out);
    let html = desk.read("r.html");
    assert!(first(&html).contains("DO NOT IMPORT") && first(&html).contains("1 ERROR"), "{html}");
    assert!(html.contains("clamd found Desk.Test") && html.contains("/tmp/eicar.com"), "{html}");
    let command = html.split("<pre>").find(|part| part.starts_with("mirror-bundle scrub")).unwrap();
    let command = command.split("</pre>").next().unwrap().trim().replace("&#39;", "'");
    assert!(command.contains(" --remove reg.example/app:1 "), "{command}");
    let words = command.replace("'TICKET'", "CHG-1");
    let args: Vec<&str> = words.split_whitespace().skip(1).collect();
    ran(program(desk.path()).args(args)).is(0);
    let after = desk.report("reviewed.tar", &["--html", "after.html", "--clamd", &daemon.address()]).is(0);
    assert!(after.out.starts_with("verdict   VERIFIED AND SCANNED"), "{}", after.out);
    let after = desk.read("after.html");
    assert!(first(&after).contains("removed by review-desk as reviewer: &quot;CHG-1&quot;"), "{after}");
    assert!(after.contains("What was removed"));
}

#[test]
fn a_refused_bundle_gets_a_sheet_that_says_so_first() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let mut bytes = fs::read(desk.path().join(&bundle)).unwrap();
    let at = bytes.windows(13).position(|w| w == b"\"requestedBy\"").unwrap();
    bytes[at + 1] = b'R';
    fs::write(desk.path().join("bad.tar"), bytes).unwrap();
    let said = desk.report("bad.tar", &["--html", "r.html", "--markdown", "r.md"]);
    assert!((10..50).contains(&said.code), "{}{}", said.out, said.err);
    assert_eq!(said.code, desk.run(&["verify", "bad.tar", "--trust", "trust.yaml"]).code, "the code of verify");
    assert!(said.out.starts_with("verdict   REFUSED  bad.tar"), "{}", said.out);
    let html = desk.read("r.html");
    let body = html.split_once("<body>").unwrap().1;
    assert!(body.find("REFUSED: DO NOT IMPORT").unwrap() < body.find("Index digest").unwrap());
    assert!(body.contains("nothing of its content was looked at"));
    assert!(desk.read("r.md").contains("## REFUSED: DO NOT IMPORT"));
    // One that is not signed is read, and nobody vouches for it.
    let unsigned = desk.lab.bundle("unsigned", &[("reg.example/app:1", &[&[("bin/app", vec![1])]])], None);
    let said = desk.report(&unsigned, &["--html", "u.html"]).is(20);
    assert!(said.out.starts_with("verdict   FAILED  unsigned.tar"), "{}", said.out);
    let first = first(&desk.read("u.html")).to_owned();
    assert!(
        first.contains("DO NOT IMPORT") && first.contains("NOT ENOUGH") && first.contains("0 of 1 builder"),
        "{first}"
    );
    assert!(first.contains("NOT one whom this host trusts"), "{first}");
}

#[test]
fn files_are_new_and_whole_and_nothing_is_read_before_that_is_known() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    fs::write(desk.path().join("r.html"), "precious").unwrap();
    desk.report(&bundle, &["--html", "r.html"]).is(52).says("nothing was read");
    assert_eq!(desk.read("r.html"), "precious");
    desk.report(&bundle, &["--html", "r.html", "--force"]).is(0);
    assert!(desk.read("r.html").ends_with("</html>\n"));
    desk.report(&bundle, &[]).is(2).says("no file for the sheet is named");
    desk.report(&bundle, &["--html", "x", "--markdown", "x"]).is(2);
    desk.report(&bundle, &["--html", "missing/x"]).is(3);
    let left: Vec<String> =
        fs::read_dir(desk.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.ends_with(".partial")), "{left:?}");
}

#[test]
fn one_document_has_everything_and_can_be_signed_off() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let fixed = [
        "report",
        bundle.as_str(),
        "--trust",
        "trust.yaml",
        "--allow-kind",
        "ConfigMap",
        "-o",
        "json",
        "--html",
        "r.html",
    ];
    let said = ran(program(desk.path()).args(fixed)).is(0);
    let document = valid("report", &said.out);
    assert_eq!(document["schema"], "mirror-bundle/report/v1");
    assert_eq!(document["facts"]["schema"], "mirror-bundle/facts/v1");
    assert_eq!(document["facts"]["images"][0]["names"][0], "reg.example/app:1");
    let digest = mirror_bundle::oci::Digest::of(said.out.as_bytes());
    assert!(desk.read("r.html").contains(digest.hex().as_str()), "the sheet names its data");
    fs::write(desk.path().join("report.json"), &said.out).unwrap();
    let sign = [
        "sign",
        &bundle,
        "--trust",
        "trust.yaml",
        "--allow-kind",
        "ConfigMap",
        "--sign-key",
        "reviewer.key",
        "--note",
        "CHG-1",
        "--report",
        "report.json",
    ];
    desk.run(&sign).is(0);
    let after = desk.report(&bundle, &["--html", "after.html"]).is(0);
    drop(after);
    assert!(first(&desk.read("after.html")).contains("1 of 1 builder, 1 of 1 reviewer"));
    assert!(desk.read("after.html").contains("CHG-1"), "the note of the record");
}

#[test]
fn a_log_is_named_on_the_sheet_and_a_receipt_is_written() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let said = desk.report(&bundle, &["--html", "r.html", "--log", "import.log", "--receipt", "receipt.json"]).is(0);
    let line = said.out.lines().find(|line| line.starts_with("log 1 ")).unwrap();
    assert!(first(&desk.read("r.html")).contains(line), "{line}");
    desk.run(&["log", "verify", "import.log", "--sheet", line, "--receipt", "receipt.json"]).is(0);
    assert!(desk.read("receipt.json").contains("\"report\""));
}

#[test]
fn a_bundle_from_standard_input_is_reported_on_too() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let mut command = program(desk.path());
    command.args([
        "report",
        "-",
        "--at",
        AT,
        "--trust",
        "trust.yaml",
        "--allow-kind",
        "ConfigMap",
        "--markdown",
        "r.md",
    ]);
    command.stdin(fs::File::open(desk.path().join(&bundle)).unwrap());
    ran(&mut command).is(0);
    assert!(desk.read("r.md").contains("reg.example/app:1"));
}

#[test]
fn an_older_bundle_that_is_not_accepted_here_is_compared_and_that_is_said() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let older = desk.lab.bundle("old", &[("reg.example/gone:1", &[&[("bin/app", vec![1])]])], None);
    desk.report(&bundle, &["--html", "r.html", "--since", &older]).is(0);
    let html = desk.read("r.html");
    assert!(first(&html).contains("NOT accepted by this host"), "{}", first(&html));
    desk.report(&bundle, &["--html", "same.html", "--since", &bundle]).is(0);
    assert!(first(&desk.read("same.html")).contains("the SAME bundle; signed by build-host"));
    let layout = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/oci-layouts/single-arch-empty-image");
    for (name, series, number) in [("n5.tar", "a", "5"), ("n6.tar", "a", "6"), ("z5.tar", "z", "5")] {
        let args = ["create", name, "--from-layout", layout, "--sign-key", "builder.key", "-q"];
        desk.run(&[&args[..], &["--name", series, "--sequence", number]].concat()).is(0);
    }
    let compared = |new: &str, old: &str| {
        desk.report(new, &["--markdown", "r.md", "--force", "--since", old]).is(0);
        desk.read("r.md").lines().find(|line| line.starts_with("| Compared with")).unwrap().to_owned()
    };
    assert!(compared("n5.tar", "n6.tar").contains("NEWER than this bundle"));
    assert!(compared("n6.tar", "z5.tar").contains("of ANOTHER series"));
    let right = compared("n6.tar", "n5.tar");
    assert!(right.contains("; signed by build-host as builder") && !right.contains("NEWER"), "{right}");
    assert!(html.contains("1 new, 0 changed, 1 gone") && html.contains("reg.example/gone:1"));
    fs::write(desk.path().join("no.tar"), "no bundle").unwrap();
    desk.report(&bundle, &["--html", "x.html", "--since", "no.tar"]).is(2).says("the older bundle `no.tar`");
    assert!(!desk.path().join("x.html").exists());
}

#[test]
fn a_release_stands_on_the_first_page_with_its_key() {
    let desk = Desk::new();
    let world = world();
    let registry = world.registry();
    let release = format!("{}/{RELEASES}:4.16.37-x86_64", registry.host());
    let (keyring, store) = (world.keyring().display().to_string(), world.store().display().to_string());
    let create = ["create", "ocp.tar", "--sign-key", "builder.key", "--release", &release, "--plain-http", "127.0.0.1"];
    desk.run(&[&create[..], &["--release-keyring", &keyring, "--signature-store", &store, "-q"]].concat()).is(0);
    desk.report("ocp.tar", &["--html", "r.html", "--release-keyring", &keyring]).is(0);
    let html = desk.read("r.html");
    let first = first(&html);
    assert!(first.contains("<b>SIGNED</b> 4.16.37 amd64"), "{first}");
    let row = first.split("<tr>").find(|row| row.starts_with("<td>release</td>")).unwrap();
    let fingerprint = row.split("<code>").nth(1).unwrap().split("</code>").next().unwrap().replace(' ', "");
    assert_eq!(fingerprint.len(), 40, "{row}");
    assert!(row.contains("for 4.16.37") && row.contains("good"), "{row}");
    assert!(html.contains("gpg --decrypt") && html.contains("lets the cluster verify a release"), "how to check it");
}

#[test]
fn rules_decide_and_what_was_accepted_is_listed_as_accepted() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let rule = "rules:\n- {id: no-config, severity: error, reason: by hand only, manifests: {kinds: v1/ConfigMap}}\n";
    fs::write(desk.path().join("p.yaml"), rule).unwrap();
    let said = desk.report(&bundle, &["--html", "a.html", "--policy", "p.yaml"]).is(41);
    assert!(said.out.starts_with("verdict   FAILED"), "{}", said.out);
    let html = desk.read("a.html");
    assert!(
        first(&html).contains("DO NOT IMPORT") && first(&html).contains("<b>NOT HELD</b> 1 rule; 1 finding"),
        "{html}"
    );
    assert!(html.contains("rule no-config") && html.contains("by hand only"), "{html}");
    let file = html.split("--remove ").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(file.starts_with("manifests/"), "{file}");
    let accept = format!(
        "{rule}accept:\n- {{rule: no-config, subject: {file}, reason: 'CHG-2', by: J. Doe, until: 2027-03-01}}\n"
    );
    fs::write(desk.path().join("p.yaml"), accept).unwrap();
    desk.report(&bundle, &["--html", "b.html", "--policy", "p.yaml"]).is(0);
    let html = desk.read("b.html");
    assert!(first(&html).contains("1 finding is accepted.") && first(&html).contains("<b>HELD</b> 1 rule"), "{html}");
    assert!(
        html.contains("Accepted: 1 finding") && html.contains("J. Doe") && html.contains("until 2027-03-01"),
        "{html}"
    );
    let checks = "rules:\n- {id: two, severity: error, reason: two scanners, checks: {scanners: 2}}\n";
    fs::write(desk.path().join("p.yaml"), checks).unwrap();
    desk.report(&bundle, &["--html", "c.html", "--policy", "p.yaml"]).is(42);
    let html = desk.read("c.html");
    let first = first(&html);
    assert!(first.contains("NOT FULLY CHECKED") && first.contains("<b>1 REQUIRED</b> Rule two"), "{first}");
    assert!(first.contains("<b>NOT ALL CHECKED</b> 1 rule"), "{first}");
    assert!(first.contains("<td><b>Rule two</b></td>") && first.contains("<td><b>yes</b></td>"), "{first}");
}

#[test]
fn thousands_of_errors_are_counted_on_the_first_page_and_in_the_record() {
    let desk = Desk::new();
    let files: Vec<(String, Vec<u8>)> = (0..700).map(|n| (format!("f/{n}"), n.to_string().into_bytes())).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let bundle = desk.bundle("app", &files);
    let rule = "rules:\n- {id: f, severity: error, reason: no, files: {path: '/f/*'}}\n";
    fs::write(desk.path().join("p.yaml"), rule).unwrap();
    let json = desk.report(&bundle, &["--html", "a.html", "--policy", "p.yaml", "-o", "json"]).is(41).out;
    let html = desk.read("a.html");
    assert!(
        first(&html).contains("This run has <b>700 errors") && first(&html).contains("<b>700 ERRORS</b>"),
        "{html}"
    );
    fs::write(desk.path().join("r.json"), json).unwrap();
    let args = ["sign", &bundle, "--signer", "builder.key.pub", "--sign-key", "reviewer.key", "--report", "r.json"];
    let args = [&args[..], &["--at", AT, "--allow-kind", "ConfigMap"]].concat();
    desk.run(&args).is(2).says("has 700 open errors");
}

#[test]
fn a_report_about_less_is_not_signed_for_all() {
    let desk = Desk::new();
    let bundle = desk.bundle("app", &[("bin/app", b"hello".to_vec())]);
    let object = "--remove=reg.example/app:1";
    let scrub = ["scrub", &bundle, "less.tar", "--signer", "builder.key.pub", "--sign-key", "reviewer.key", object];
    desk.run(&[&scrub[..], &["--reason", "no", "--allow-kind", "ConfigMap"]].concat()).is(0);
    let said = desk.report("less.tar", &["--html", "r.html"]).is(0);
    assert!(said.out.contains("complete except 1 image, removed by review-desk as reviewer: \"no\""), "{}", said.out);
    let json = desk.report("less.tar", &["-o", "json"]).is(0).out;
    fs::write(desk.path().join("r.json"), json).unwrap();
    desk.run(&["keygen", "other.key", "--no-passphrase"]).is(0);
    let sign = |bundle: &str| {
        let args = ["sign", bundle, "--trust", "trust.yaml", "--sign-key", "other.key", "--report", "r.json"];
        desk.run(&[&args[..], &["--at", AT, "--allow-kind", "ConfigMap"]].concat())
    };
    sign(&bundle).is(2).says("is about less than what").says("nothing was signed");
    sign("less.tar").is(0);
}

#[test]
fn what_other_programs_found_is_on_the_first_page_and_not_called_nothing() {
    let desk = Desk::new();
    let a: &[(&str, Vec<u8>)] = &[("bin/app", vec![1])];
    let b: &[(&str, Vec<u8>)] = &[("bin/app", vec![2])];
    let bundle = desk.lab.bundle("two", &[("reg.example/a:1", &[a]), ("reg.example/b:1", &[b])], None);
    desk.run(&["sign", &bundle, "--allow-unsigned", "--sign-key", "builder.key", "--role", "builder", "-q"]).is(0);
    let sarif = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"demo"}},"results":[{"level":"error"}]}]}"#;
    fs::write(desk.path().join("demo.sarif"), sarif).unwrap();
    desk.report(&bundle, &["--html", "r.html", "--evidence", "demo.sarif", "--for", "reg.example/a:1"]).is(0);
    let html = desk.read("r.html");
    let first = first(&html);
    assert!(first.contains("NOTHING FOUND HERE; OTHER PROGRAMS FOUND SOMETHING"), "{first}");
    assert!(first.contains("<b>OTHERS FOUND</b> demo: 1 error"), "{first}");
    assert!(first.contains("results were given for 1 of 2 images only"), "{first}");
    assert!(html.contains("Evidence of other programs") && html.contains("demo.sarif"));
}
