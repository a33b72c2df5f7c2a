//! Every document that the program writes matches `spec/schema/`, and has no member beyond it.

use serde_json::Value;

use crate::schemas::valid;
use crate::{bundle, flow, large, run};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn a_schema_that_lists_the_codes_of_findings_lists_all() {
    let all: Vec<Value> = mirror_bundle::Code::ALL.iter().map(|code| code.as_str().into()).collect();
    fn lists<'s>(value: &'s Value, out: &mut Vec<&'s Vec<Value>>) {
        match value {
            Value::Object(members) => members.values().for_each(|member| lists(member, out)),
            Value::Array(items) if items.contains(&"blob-mismatch".into()) => out.push(items),
            Value::Array(items) => items.iter().for_each(|item| lists(item, out)),
            _ => {}
        }
    }
    for name in ["error.json", "event.json", "report.json", "sbom.json"] {
        let schema = crate::schemas::schema(name);
        let mut found = Vec::new();
        lists(&schema, &mut found);
        assert_eq!(found, [&all], "{name}");
    }
}

#[test]
fn every_document_is_as_its_schema_says() {
    let dir = bundle();
    let dir = dir.path();
    let layout = flow().join("layout");
    let layout = layout.to_str().unwrap();
    let anyone = "--allow-unsigned";
    let sarif = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[{"level":"note"}]}]}"#;
    std::fs::write(dir.join("x.sarif"), sarif).unwrap();
    let listed: Value = serde_json::from_str(&run(dir, &["ls", "b.tar", "-o", "json"]).1).unwrap();
    let image = listed["images"][0]["digest"].as_str().unwrap();
    let cases: &[(&str, i32, &[&str])] = &[
        ("keygen", 0, &["keygen", "k", "--no-passphrase"]),
        (
            "create",
            0,
            &["create", "s.tar", "--sign-key", "k", "--from-layout", layout, "--recovery", "10%", "--name", "s"],
        ),
        ("create", 0, &["create", "d.tar", "--unsigned", "--from-layout", layout, "--dry-run"]),
        ("report", 0, &["verify", "s.tar", "--signer", "k.pub"]),
        ("report", 20, &["verify", "b.tar", "--signer", "k.pub"]),
        ("report", 42, &["verify", "b.tar", "--quick", anyone]),
        ("report", 10, &["verify", "k", anyone]),
        ("unpack", 0, &["unpack", "s.tar", "--signer", "k.pub", "--to-dir", "out"]),
        ("unpack", 0, &["unpack", "b.tar", anyone, "--dry-run"]),
        ("unpack", 20, &["unpack", "b.tar", "--signer", "k.pub", "--to-dir", "no"]),
        ("sign", 0, &["sign", "s.tar", "--sign-key", "k", "--signer", "k.pub", "--note", "x"]),
        (
            "report",
            0,
            &["verify", "s.tar", "--signer", "k.pub", "--receipt", "r.json", "--sign-key", "k", "--log", "log"],
        ),
        ("report", 0, &["verify", "s.tar", "--signer", "k.pub", "--evidence", "x.sarif", "--for", image]),
        (
            "unpack",
            20,
            &["unpack", "b.tar", "--signer", "k.pub", "--to-dir", "no", "--receipt", "r2.json", "--log", "log"],
        ),
        ("log", 0, &["log", "verify", "log", "--receipt", "r.json"]),
        ("receipt-check", 0, &["receipt", "verify", "r.json", "--signer", "k.pub"]),
        ("receipt-check", 0, &["receipt", "verify", "r2.json", "--allow-unsigned"]),
        ("sign", 20, &["sign", "b.tar", "--sign-key", "k", "--signer", "k.pub"]),
        ("repair", 0, &["repair", "s.tar", "--signer", "k.pub"]),
        ("repair", 0, &["repair", "b.tar", anyone]),
        ("repair", 10, &["repair", "k", "--signer", "k.pub"]),
        ("recovery", 0, &["recovery", "b.tar"]),
        ("check-signature", 40, &["check-signature", "k", "--digest", DIGEST]),
        ("explain", 0, &["explain", "blob-missing"]),
        ("explain", 0, &["explain", "50"]),
        ("explain", 0, &["explain", "exit-codes"]),
        ("explain", 0, &["explain", "trust"]),
        ("create", 0, &["create", "l.tar", "--unsigned", "--from-layout", "large", "--name", "l"]),
        ("split", 0, &["split", "l.tar", "v", "--volume-size", "100kB"]),
        ("join", 0, &["join", "j.tar", "v"]),
        ("create", 0, &["create", "m.tar", "--unsigned", "--from-layout", "large", "--name", "m", "--base", "l.tar"]),
        ("report", 42, &["verify", "m.tar", anyone]),
        ("report", 0, &["verify", "m.tar", anyone, "--base", "l.tar"]),
        ("inspect", 0, &["inspect", "m.tar"]),
        ("ls", 0, &["ls", "m.tar", "--blobs"]),
        ("expand", 0, &["expand", "m.tar", "full.tar", "--base", "l.tar"]),
        ("shrink", 0, &["shrink", "full.tar", "n.tar", "--base", "l.tar", "--sign-key", "k"]),
        ("inspect", 0, &["inspect", "b.tar"]),
        ("inspect", 0, &["inspect", "v"]),
        ("ls", 0, &["ls", "b.tar"]),
        ("ls", 0, &["ls", "b.tar", "--blobs", "--manifests"]),
    ];
    std::fs::create_dir(dir.join("v")).unwrap();
    large(dir, &[50_000, 60_000]);
    for (name, code, args) in cases {
        let (ended, out, err) = run(dir, &[args, &["-o", "json"][..]].concat());
        assert_eq!(ended, *code, "{args:?}: {out} {err}");
        let document = valid(name, &out);
        if let Some(exit) = document.get("exit_code") {
            assert_eq!(exit, code, "{args:?}");
        }
        for check in document["checks"].as_array().into_iter().chain(document["report"]["checks"].as_array()).flatten()
        {
            let found = check["findings"].as_array().unwrap().iter().any(|f| f["severity"] == "error");
            assert_eq!(check["outcome"] == "fail", found, "{args:?}: {check}");
        }
    }
}

#[test]
fn every_receipt_is_as_its_schema_says() {
    let dir = bundle();
    let dir = dir.path();
    let args = ["--allow-unsigned", "--log", "log", "--receipt"];
    assert_eq!(run(dir, &[&["unpack", "b.tar", "--to-dir", "out"], &args[..], &["1.json"]].concat()).0, 0);
    assert_eq!(run(dir, &[&["verify", "b.tar", "--quick"], &args[..], &["2.json"]].concat()).0, 42);
    std::fs::write(dir.join("no.tar"), "no bundle").unwrap();
    assert_eq!(run(dir, &[&["unpack", "no.tar", "--to-dir", "out"], &args[..], &["3.json"]].concat()).0, 10);
    for n in 1..=3 {
        let receipt: Value = serde_json::from_slice(&std::fs::read(dir.join(format!("{n}.json"))).unwrap()).unwrap();
        valid("receipt", &receipt["predicate"]["details"].to_string());
    }
}

#[test]
fn what_could_not_be_done_is_one_error_line_also_for_wrong_arguments() {
    let dir = bundle();
    for (code, args) in [
        (3, &["verify", "nowhere", "--allow-unsigned", "-o", "json"][..]),
        (2, &["verify", "b.tar", "-o", "json"]),
        (2, &["verify", "-o", "json"]),
        (2, &["verify", "b.tar", "--bogus", "-ojson"]),
        (2, &["frobnicate", "--output=jsonl"]),
        (2, &["verify", "b.tar", "--jobs", "0", "--output", "json"]),
        (2, &["man", "verify", "-o", "json"]),
        (2, &["completions", "bash", "-o", "json"]),
    ] {
        let (ended, out, err) = run(dir.path(), args);
        assert!(ended == code && out.is_empty() && err.lines().count() == 1, "{args:?}: {out} {err}");
        assert_eq!(valid("error", &err)["exit_code"], code);
    }
}

#[test]
fn json_lines_are_events_and_the_document_last() {
    let dir = bundle();
    let (code, out, err) = run(dir.path(), &["verify", "b.tar", "--allow-unsigned", "-o", "jsonl"]);
    assert!(code == 0 && err.is_empty(), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    let (last, events) = lines.split_last().unwrap();
    let kinds: Vec<String> = events.iter().map(|event| valid("event", event)["type"].to_string()).collect();
    assert!(kinds.contains(&"\"progress\"".to_owned()) || kinds.contains(&"\"finding\"".to_owned()), "{kinds:?}");
    let mut result: Value = serde_json::from_str(last).unwrap();
    assert_eq!(result.as_object_mut().unwrap().remove("type"), Some("result".into()));
    valid("report", &result.to_string());
}

#[test]
fn of_json_lines_the_document_is_the_last_also_when_there_are_findings() {
    let dir = bundle();
    let dir = dir.path();
    let quiet = |args: &[&str]| assert_eq!(run(dir, args).0, 0, "{args:?}");
    quiet(&["keygen", "k", "--no-passphrase"]);
    quiet(&["sign", "b.tar", "--allow-unsigned", "--sign-key", "k", "--role", "reviewer"]);
    for args in [&["verify", "b.tar"][..], &["repair", "b.tar"], &["unpack", "b.tar", "--to-dir", "out"]] {
        let (code, out, err) = run(dir, &[args, &["--allow-unsigned", "-o", "jsonl"]].concat());
        let told = ["\"type\":\"finding\"", "\"type\":\"warning\""].iter().any(|kind| out.contains(kind));
        assert!(code == 0 && told, "{args:?}: {out} {err}");
        let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        assert_eq!(last["type"], "result", "{args:?}: {out}");
    }
}
