//! Receipts and the log: what a run leaves on its host, and what `receipt verify` and `log verify` notice.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;

use crate::kit::{Ended, Kit, PROGRAM, testdata};

const VERIFY: [&str; 4] = ["verify", "b.tar", "--signer", "builder.pub"];

fn verify(kit: &Kit, more: &[&str]) -> Ended {
    kit.run(&[&VERIFY[..], more].concat())
}

fn unpack(kit: &Kit, more: &[&str]) -> Ended {
    kit.run(&[&["unpack", "b.tar", "--signer", "builder.pub", "--to-dir", "out"], more].concat())
}

/// A log of this many runs.
fn with_log(lines: usize) -> Kit {
    let kit = Kit::with_bundle();
    for n in 1..=lines {
        verify(&kit, &["--quiet", "--log", "log", "--receipt", &format!("r{n}.json")]).is(0);
    }
    kit
}

fn details(kit: &Kit, receipt: &str) -> Value {
    let whole: Value = serde_json::from_slice(&kit.read(receipt)).unwrap();
    whole["predicate"]["details"].clone()
}

fn lines(kit: &Kit, log: &str) -> Vec<Value> {
    let text = String::from_utf8(kit.read(log)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_receipt_says_what_was_checked_and_ssh_keygen_accepts_its_signature() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "");
    kit.write("p.yaml", "rules:\n- {id: keys, severity: error, reason: no, files: {class: private-key}}\n");
    let args = ["verify", "b.tar", "--trust", "t.yaml", "--receipt", "r.json", "--sign-key", "second", "-o", "json"];
    let report = kit.run(&[&args[..], &["--policy", "p.yaml"]].concat()).is(0).json();
    let policy = kit.tool("sha256sum", &["t.yaml", "r.json"]).is(0).out;
    let sums: Vec<String> = policy.lines().map(|line| format!("sha256:{}", line.split(' ').next().unwrap())).collect();
    assert_eq!(report["proof"]["receipt"], sums[1]);
    let receipt: Value = serde_json::from_slice(&kit.read("r.json")).unwrap();
    assert_eq!(receipt["predicate"]["role"], "receiver");
    assert_eq!(
        format!("sha256:{}", receipt["subject"][0]["digest"]["sha256"].as_str().unwrap()),
        report["bundle"]["index"]
    );
    let details = details(&kit, "r.json");
    assert_eq!(
        (&details["event"], &details["verdict"], &details["exit_code"]),
        (&"verify".into(), &"verified".into(), &0.into())
    );
    assert_eq!(details["trust_policy"], sums[0]);
    // The rules are named beside it.
    assert_eq!((&details["policy"], &details["accepted"]), (&report["policy"], &Value::Array(vec![])));
    assert_eq!(details["policy"]["sha256"].as_str().unwrap().len(), 64);
    let done: BTreeSet<&str> =
        details["checks"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert!(done.contains("blob-digests") && done.contains("bundle-signature"), "{done:?}");
    assert_eq!(details["not_checked"], report["not_checked"]);
    assert_eq!((&details["removals"], &details["log"]), (&Value::Array(vec![]), &Value::Null));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(details["host"], host.trim());
    kit.write("allowed", format!("second {}\n", kit.public("second")));
    let args = ["-Y", "verify", "-f", "allowed", "-I", "second", "-n", "mirror-bundle.v1.record", "-s", "r.json.sig"];
    kit.run_tool_with_stdin("ssh-keygen", &args, "r.json").is(0);
    let checked = kit.run(&["receipt", "verify", "r.json", "--signer", "second.pub", "-o", "json"]).is(0).json();
    assert_eq!((&checked["signature"], &checked["name"]), (&"good".into(), &"second".into()));
}

#[test]
fn a_receipt_of_unpacking_says_where_each_image_and_manifest_went() {
    let kit = Kit::with_bundle();
    let layout = testdata("oci-layouts/single-arch-empty-image").display().to_string();
    kit.run(&[
        "create",
        "b.tar",
        "-q",
        "--force",
        "--from-layout",
        &layout,
        "--manifests",
        "m",
        "--sign-key",
        "builder",
    ])
    .is(0);
    let answer = unpack(&kit, &["--receipt", "r.json", "--log", "log", "-o", "json"]).is(0).json();
    let details = details(&kit, "r.json");
    assert_eq!(details["unpacked"]["placements"], answer["unpacked"]["placements"]);
    assert!(details["unpacked"]["placements"][0]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(details["unpacked"]["manifests"], answer["unpacked"]["manifests"]);
    assert_eq!((&details["exit_code"], &details["event"]), (&0.into(), &"unpack".into()));
    assert_eq!(answer["report"]["proof"]["log"]["n"], 1);
    // A dry run leaves nothing, and says so.
    let tried = kit.run(&["unpack", "b.tar", "--signer", "builder.pub", "--dry-run", "--log", "new"]);
    tried.is(2).says("writes nothing");
    assert!(kit.names("new").is_empty());
}

#[test]
fn a_refused_bundle_gets_a_receipt_and_a_file_without_an_index_one_without_a_subject() {
    let kit = Kit::with_bundle();
    let mut bad = kit.read("b.tar");
    let at = bad.windows(9).rposition(|w| w == b"Namespace").unwrap();
    bad[at] ^= 1;
    kit.write("bad.tar", &bad);
    let args = ["--signer", "builder.pub", "--log", "log"];
    for (verb, n) in [(&["verify", "bad.tar"][..], 1), (&["unpack", "bad.tar", "--to-dir", "out"], 2)] {
        let receipt = format!("r{n}.json");
        kit.run(&[verb, &args, &["--receipt", &receipt]].concat()).is(31).says(&format!("log {n} "));
        let details = details(&kit, &receipt);
        assert_eq!((&details["verdict"], &details["exit_code"]), (&"fail".into(), &31.into()));
        assert_eq!(details["found"][0]["code"], "blob-mismatch");
    }
    kit.write("no.tar", "no bundle");
    kit.run(&[&["verify", "no.tar"], &args[..], &["--receipt", "r3.json"]].concat()).is(10);
    let receipt: Value = serde_json::from_slice(&kit.read("r3.json")).unwrap();
    assert_eq!(receipt["subject"], Value::Array(vec![]));
    kit.run(&["receipt", "verify", "r3.json", "--allow-unsigned"]).is(0).says("could not be read");
    let log = lines(&kit, "log");
    assert_eq!(log.iter().map(|l| l["exit_code"].as_u64().unwrap()).collect::<Vec<_>>(), [31, 31, 10]);
    assert!(log[0]["index"].is_string() && log[2].get("index").is_none());
    kit.run(&["log", "verify", "log", "--receipt", "r1.json", "--receipt", "r2.json", "--receipt", "r3.json"]).is(0);
}

#[test]
fn a_receipt_that_cannot_be_written_stops_a_run_before_it_does_anything_and_none_is_replaced() {
    let kit = Kit::with_bundle();
    kit.write("there.json", "precious");
    kit.write("signed.json.sig", "precious");
    kit.tool("mkfifo", &["fifo"]).is(0);
    for (receipt, code) in
        [("there.json", 52), ("signed.json", 52), ("fifo", 52), ("out/r.json", 3), ("m", 52), ("b.tar/r.json", 3)]
    {
        unpack(&kit, &["--receipt", receipt]).is(code).says("nothing was done");
        assert!(kit.names("out").is_empty(), "{receipt}");
    }
    for log in ["r.json", "r.json.sig", "./r.json.partial"] {
        unpack(&kit, &["--receipt", "r.json", "--log", log]).is(2).says("both receipt and log");
        assert!(kit.names("out").is_empty() && kit.read(log).is_empty());
        std::fs::remove_file(kit.path(log)).unwrap();
    }
    assert_eq!((kit.read("there.json"), kit.read("signed.json.sig")), (b"precious".to_vec(), b"precious".to_vec()));
    unpack(&kit, &["--sign-key", "second"]).is(2).says("--receipt");
}

#[test]
fn a_changed_foreign_or_unsigned_receipt_is_refused() {
    let kit = Kit::with_bundle();
    verify(&kit, &["-q", "--receipt", "r.json", "--sign-key", "second"]).is(0);
    verify(&kit, &["-q", "--receipt", "plain.json"]).is(0);
    let check = |file: &str, more: &[&str]| kit.run(&[&["receipt", "verify", file], more].concat());
    check("r.json", &["--signer", "builder.pub"]).is(22).says("another key");
    check("plain.json", &["--signer", "builder.pub"]).is(20);
    check("plain.json", &["--allow-unsigned"]).is(0).says("anyone could have written it");
    check("r.json", &["--signer", "second.pub", "--expect-index", &format!("sha256:{}", "0".repeat(64))]).is(41);
    // The policy knows the key, and not as receiver.
    kit.policy("t.yaml", "");
    check("r.json", &["--trust", "t.yaml"]).is(22).says("not trusted as receiver");
    let text = String::from_utf8(kit.read("t.yaml")).unwrap();
    kit.write("t.yaml", text.replace("name: second, roles: [reviewer]", "name: second, roles: [receiver]"));
    check("r.json", &["--trust", "t.yaml"]).is(0).says("by second");
    // It is a signed record, and still no signature over a bundle.
    let good = String::from_utf8(kit.read("r.json")).unwrap();
    for (old, new, code) in [
        ("\"exit_code\":0", "\"exit_code\":1", 21),
        ("\"role\":\"receiver\"", "\"role\":\"builder\"", 12),
        ("receipt/v1", "receipt/v2", 12),
        ("\"note\":\"\"", "\"note\":\"\",\"note\":\"\"", 12),
        ("\"note\":\"\"", "\"note\":\"\\u001b[2J\"", 12),
        ("\"note\":\"\"", "\"note\":\"\u{1b}[2J\"", 12),
        ("\"subject\":[", "\"subject\":[],\"x\":[", 12),
        ("{", "", 12),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good, "{old}");
        kit.write("r.json", bad);
        check("r.json", &["--signer", "second.pub"]).is(code);
    }
    let big = std::fs::File::create(kit.path("r.json")).unwrap();
    big.set_len((16 << 20) + 1).unwrap();
    check("r.json", &["--signer", "second.pub"]).is(2).says("larger");
}

#[test]
fn each_run_appends_a_line_that_names_the_one_before_and_its_receipt() {
    let kit = with_log(3);
    let log = lines(&kit, "log");
    let sums = kit.tool("sh", &["-c", "for n in 1 2 3; do sed -n ${n}p log | sha256sum; sha256sum r$n.json; done"]).out;
    let sums: Vec<&str> = sums.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(log[0]["prev"], "0".repeat(64));
    assert_eq!((&log[1]["prev"], &log[2]["prev"]), (&sums[0].into(), &sums[2].into()));
    for (n, line) in log.iter().enumerate() {
        assert_eq!(line["n"], n + 1);
        assert_eq!(line["receipt"], format!("sha256:{}", sums[2 * n + 1]));
        assert_eq!((&line["event"], &line["verdict"]), (&"verify".into(), &"verified".into()));
        let receipt = details(&kit, &format!("r{}.json", n + 1));
        assert_eq!((&receipt["log"]["n"], &receipt["log"]["prev"]), (&line["n"], &line["prev"]));
    }
    let end = format!("log 3 {}", &sums[4][..16]);
    let all = ["--receipt", "r1.json", "--receipt", "r3.json", "--sheet", &end];
    let checked = kit.run(&[&["log", "verify", "log"], &all[..]].concat()).is(0);
    checked.says(&end).says("cannot tell whether lines were cut off after 3");
    // Nothing says that line without asking for a log, and the answer names the line.
    assert!(!verify(&kit, &[]).is(0).out.contains("\nlog "));
    verify(&kit, &["--log", "log"]).is(0).says("\nlog 4 ");
    kit.policy("t.yaml", "log: from-policy");
    kit.run(&["verify", "b.tar", "--trust", "t.yaml"]).is(0).says("\nlog 1 ");
    assert_eq!(lines(&kit, "from-policy").len(), 1);
}

#[test]
fn a_changed_missing_or_exchanged_line_is_found_with_its_number() {
    let kit = with_log(5);
    let text = String::from_utf8(kit.read("log")).unwrap();
    let good: Vec<&str> = text.lines().collect();
    let check = |lines: &[&str], number: usize| {
        kit.write("log", lines.join("\n") + "\n");
        kit.run(&["log", "verify", "log"]).is(12).says(&format!("line {number} of `log`"));
        // Nothing is added to it, and nothing is done without the line.
        let ended = unpack(&kit, &["--log", "log"]).is(12).says("nothing was done");
        assert!(ended.err.contains(&format!("line {number} ")) && kit.names("out").is_empty());
        assert_eq!(kit.read("log"), (lines.join("\n") + "\n").into_bytes());
    };
    for n in 0..4 {
        let changed = good[n].replace("\"exit_code\":0", "\"exit_code\":1");
        let mut lines = good.clone();
        lines[n] = &changed;
        check(&lines, n + 1);
        let mut lines = good.clone();
        lines.swap(n, n + 1);
        check(&lines, n + 1);
        let mut lines = good.clone();
        lines.remove(n);
        check(&lines, n + 1);
    }
    kit.write("log", &text);
    kit.run(&["log", "verify", "log"]).is(0);
}

#[test]
fn lines_that_were_cut_off_are_noticed_by_a_receipt_or_a_sheet_only() {
    let kit = with_log(5);
    let text = String::from_utf8(kit.read("log")).unwrap();
    let whole = kit.run(&["log", "verify", "log"]).is(0).out;
    let sheet = whole.lines().last().unwrap().to_owned();
    let cut: Vec<&str> = text.lines().take(3).collect();
    kit.write("log", cut.join("\n") + "\n");
    kit.run(&["log", "verify", "log", "--receipt", "r3.json"])
        .is(0)
        .says("cannot tell whether lines were cut off after 3");
    kit.run(&["log", "verify", "log", "--receipt", "r5.json"]).is(12).says("lines 4 to 5").says("names line 5");
    kit.run(&["log", "verify", "log", "--sheet", &sheet]).is(12).says("lines 4 to 5");
    kit.run(&["log", "verify", "log", "--receipt", "r4.json"]).is(12).says("line 4 of `log` is missing");
    // Another run takes the place of what was cut off.
    verify(&kit, &["-q", "--log", "log"]).is(0);
    kit.run(&["log", "verify", "log"]).is(0);
    kit.run(&["log", "verify", "log", "--receipt", "r4.json"]).is(12).says("line 4 of `log` was changed or exchanged");
    kit.run(&["log", "verify", "log", "--sheet", "4 0123456789abcdef"]).is(12).says("line 4");
    for bad in ["4", "x 0123456789abcdef", "0 0123456789abcdef", "4 0123", "4 0123456789ABCDEF"] {
        kit.run(&["log", "verify", "log", "--sheet", bad]).is(2);
    }
    verify(&kit, &["-q", "--receipt", "alone.json"]).is(0);
    kit.run(&["log", "verify", "log", "--receipt", "alone.json"]).is(12).says("names no line of a log");
}

#[test]
fn an_incomplete_last_line_is_closed_by_the_next_run_with_a_line_that_says_so() {
    let kit = with_log(2);
    let good = kit.read("log");
    for torn in [&b"{\"n\":3,\"prev\":\"00"[..], b"\0\0\0\0", b"{\"n\":3,\0\0"] {
        kit.write("log", [&good, torn].concat());
        kit.run(&["log", "verify", "log"]).is(12).says("line 3 of `log` is incomplete");
        verify(&kit, &["-q", "--log", "log", "--receipt", "new.json"]).is(0);
        kit.run(&["log", "verify", "log", "--receipt", "new.json", "--receipt", "r2.json"]).is(0).says("1 incomplete");
        let text = String::from_utf8_lossy(&kit.read("log")).into_owned();
        let closing: Value = serde_json::from_str(text.lines().nth(3).unwrap()).unwrap();
        assert_eq!(
            (&closing["n"], &closing["event"], &closing["torn"]["bytes"]),
            (&3.into(), &"torn".into(), &torn.len().into())
        );
        std::fs::remove_file(kit.path("new.json")).unwrap();
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_unpack_before_the_first_byte() {
    let kit = Kit::with_bundle();
    kit.tool("mkfifo", &["fifo"]).is(0);
    std::os::unix::fs::symlink("/dev/full", kit.path("link")).unwrap();
    let big = std::fs::File::create(kit.path("big")).unwrap();
    big.set_len((16 << 20) + 1).unwrap();
    kit.write("notes", "{\"a\": 1}\n{\"b");
    kit.write("zeros", [0; 1024]);
    kit.write("text", "an unfinished note");
    for (log, code) in [
        ("fifo", 2),
        ("/dev/full", 2),
        ("link", 2),
        ("m", 2),
        ("none/log", 3),
        ("b.tar/log", 3),
        ("big", 2),
        ("b.tar", 12),
        ("notes", 12),
        ("zeros", 12),
        ("text", 12),
    ] {
        let read = || ["b.tar", "notes", "zeros", "text"].map(|name| kit.read(name));
        let before = read();
        unpack(&kit, &["--log", log]).is(code).says("nothing was done");
        assert!(kit.names("out").is_empty() && read() == before, "{log}");
    }
    if !rustix::process::geteuid().is_root() {
        kit.write("fixed", "");
        std::fs::set_permissions(kit.path("fixed"), std::fs::Permissions::from_mode(0o444)).unwrap();
        unpack(&kit, &["--log", "fixed"]).is(3).says("nothing was done");
    }
    // A full disk: no room, and then a write that fails.
    let strace = |inject: &str, more: &[&str]| {
        let path = kit.path("log").display().to_string();
        let args =
            ["-f", "-o", "trace", "-P", &path, "-e", inject, PROGRAM, "unpack", "b.tar", "--signer", "builder.pub"];
        kit.tool("strace", &[&args[..], &["--to-dir", "out", "--log", "log"], more].concat())
    };
    strace("inject=fallocate:error=ENOSPC", &[]).is(3).says("nothing was done");
    strace("inject=flock:error=ENOLCK", &[]).is(3).says("nothing was done");
    assert!(kit.names("out").is_empty());
    strace("inject=write:error=ENOSPC", &["--receipt", "r.json"]).is(3).says("this run is not in the log");
    assert!(kit.read("log").is_empty() && kit.names("r.json") == ["r.json"]);
    strace("inject=fsync:error=EIO", &[]).is(3).says("this run is not in the log");
    unpack(&kit, &["--log", "log"]).is(0).says("\nlog ");
    kit.run(&["log", "verify", "log"]).is(0);
}

#[test]
fn a_run_killed_at_any_writing_call_leaves_a_log_that_the_next_closes_and_a_receipt_whole_or_none() {
    let kit = with_log(1);
    let before = kit.read("log");
    let args = [&VERIFY[..], &["--log", "log", "--receipt", "r.json", "--sign-key", "second", "-j1"]].concat();
    let mut killed = 0;
    for call in ["write", "fsync", "flock", "fallocate", "rename", "renameat2", "ftruncate", "unlink"] {
        for n in 1..20 {
            kit.names("r.json").iter().for_each(|name| std::fs::remove_file(kit.path(name)).unwrap());
            kit.write("log", &before);
            let inject = format!("inject={call}:signal=KILL:when={n}");
            let ended = kit.tool("strace", &[&["-f", "-o", "trace", "-e", &inject, PROGRAM], &args[..]].concat());
            if ended.code == 0 {
                break;
            }
            killed += 1;
            if kit.names("r.json").contains(&"r.json".to_owned()) {
                kit.run(&["receipt", "verify", "r.json", "--signer", "second.pub"]).is(0);
                std::fs::remove_file(kit.path("r.json")).unwrap();
            }
            kit.run(&args).is(0);
            kit.run(&["log", "verify", "log", "--receipt", "r.json", "--receipt", "r1.json"]).is(0);
        }
    }
    assert!(killed > 8, "{killed}");
}

#[test]
fn several_runs_at_once_each_get_a_line_of_their_own() {
    let kit = Kit::with_bundle();
    let names: Vec<String> = (0..6).map(|n| format!("r{n}.json")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|receipt| {
            let args = [&VERIFY[..], &["-q", "--log", "log", "--receipt", receipt]].concat();
            kit.command(PROGRAM, &args).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    children.into_iter().for_each(|mut child| assert!(child.wait().unwrap().success()));
    let receipts: Vec<&str> = names.iter().flat_map(|name| ["--receipt", name]).collect();
    let checked = kit.run(&[&["log", "verify", "log", "-o", "json"], &receipts[..]].concat()).is(0).json();
    let found: BTreeSet<u64> =
        checked["receipts"].as_array().unwrap().iter().map(|r| r["n"].as_u64().unwrap()).collect();
    assert_eq!((checked["lines"].as_u64(), found), (Some(6), (1..=6).collect()));
}

#[test]
fn an_interrupted_run_and_one_that_fails_are_in_the_log() {
    let kit = Kit::with_bundle();
    let layout = testdata("oci-layouts/single-arch-empty-image").display().to_string();
    kit.run(&["create", "b.tar", "-q", "--force", "--from-layout", &layout, "--sign-key", "builder"]).is(0);
    // The signal arrives while the log is opened, and is noticed when the first content is read.
    let strace = ["-f", "-o", "trace", "-e", "inject=fallocate:signal=INT:when=1", PROGRAM];
    kit.tool("strace", &[&strace[..], &VERIFY, &["--log", "log", "--receipt", "r.json"]].concat()).is(130);
    assert!(kit.names("r.json").is_empty());
    kit.run(&["verify", "missing.tar", "--signer", "builder.pub", "--log", "log"]).is(3);
    let log = lines(&kit, "log");
    assert_eq!((log.len(), &log[1]["verdict"], &log[1]["exit_code"]), (2, &"error".into(), &3.into()));
    assert_eq!((&log[0]["verdict"], &log[0]["exit_code"]), (&"interrupted".into(), &130.into()));
    assert!(log[0]["index"].is_string() && log[1].get("index").is_none());
}

#[test]
fn a_report_that_was_reviewed_is_in_the_record_of_the_reviewer() {
    let kit = Kit::with_bundle();
    let at = ["--at", "2024-01-01T12:00:00Z"];
    kit.policy("t.yaml", "");
    kit.write(
        "r.json",
        kit.run(&[&["verify", "b.tar", "--trust", "t.yaml", "-o", "json"], &at[..]].concat()).is(0).out,
    );
    let sign = |bundle: &str, more: &[&str]| {
        let args = ["sign", bundle, "--trust", "t.yaml", "--sign-key", "reviewer", "--report", "r.json"];
        kit.run(&[&args[..], more].concat())
    };
    kit.bundle("other.tar", 6);
    sign("other.tar", &at).is(2).says("not about `other.tar`").says("nothing was signed");
    sign("b.tar", &["--at", "2024-01-02T13:00:00Z"]).is(2).says("too long ago");
    sign("b.tar", &["--at", "2024-01-01T11:00:00Z"]).is(2).says("in the future");
    sign("b.tar", &["--at", "2024-01-02T13:00:00Z", "--max-age", "2x"]).is(2);
    sign("b.tar", &["--at", "2024-01-02T13:00:00Z", "--max-age", "2d", "--note", "CHG-20417"]).is(0);
    let report = kit.run(&["verify", "b.tar", "--trust", "t.yaml", "-o", "json"]).is(0).json();
    let details = &report["records"][0]["details"];
    let sums = kit.tool("sha256sum", &["r.json", "t.yaml"]).is(0).out;
    let sums: Vec<&str> = sums.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((&details["report"]["sha256"], &details["verdict"]), (&sums[0].into(), &"verified".into()));
    assert_eq!(details["policies"][0]["sha256"], sums[1]);
    assert_eq!((&details["scanners"], &details["evidence"]), (&Value::Array(vec![]), &Value::Array(vec![])));
}

#[test]
fn a_report_with_open_errors_is_signed_only_with_a_reason_and_one_that_lacks_this_signature_is_not_bad() {
    let kit = Kit::with_bundle();
    kit.policy("t.yaml", "require:\n  - {role: builder, threshold: 1}\n  - {role: reviewer, threshold: 1}");
    let sign = |more: &[&str]| {
        let args = ["sign", "b.tar", "--trust", "t.yaml", "--sign-key", "reviewer", "--report", "r.json"];
        kit.run(&[&args[..], more].concat())
    };
    let report = |more: &[&str], code: i32| {
        let args = ["verify", "b.tar", "--trust", "t.yaml", "-o", "json"];
        kit.write("r.json", kit.run(&[&args[..], more].concat()).is(code).out);
    };
    report(&["--expect-release", "4.16.1"], 22);
    sign(&["--note", "n"]).is(2).says("1 open error").says("does not hold release");
    sign(&["--despite", "accepted by CHG-1"]).is(0);
    let after = kit.run(&["verify", "b.tar", "--trust", "t.yaml", "-o", "json"]).is(0).json();
    assert_eq!(after["records"][0]["details"]["despite"], "accepted by CHG-1");
    kit.bundle("b.tar2", 7);
    kit.copy("b.tar2", "b.tar");
    report(&[], 22);
    sign(&["--note", "n"]).is(0);
    kit.write("r.json", "{\"schema\":\"x\"}");
    sign(&[]).is(2).says("is not a report");
}

#[test]
fn evidence_of_other_programs_is_in_the_report_and_what_is_about_something_else_is_refused() {
    let kit = Kit::with_bundle();
    let layout = testdata("oci-layouts/single-arch-empty-image").display().to_string();
    kit.run(&["create", "b.tar", "-q", "--force", "--from-layout", &layout, "--sign-key", "builder"]).is(0);
    let digest =
        kit.run(&["ls", "b.tar", "-o", "json"]).is(0).json()["images"][0]["digest"].as_str().unwrap().to_owned();
    let grype = |digest: &str| {
        format!(
            "{{\"matches\":[{{\"vulnerability\":{{\"id\":\"CVE-1\",\"severity\":\"High\"}}}}],\"source\":{{\"target\":{{\"manifestDigest\":\"{digest}\"}}}},\
             \"descriptor\":{{\"name\":\"grype\",\"version\":\"0.104.0\",\"db\":{{\"status\":{{\"built\":\"2024-01-01T00:00:00Z\"}}}}}}}}"
        )
    };
    kit.write("g.json", grype(&digest));
    let args = ["--evidence", "g.json", "--at", "2024-01-04"];
    let report = verify(&kit, &[&args[..], &["-o", "json", "--receipt", "r.json"]].concat()).is(0).json();
    let one = &report["evidence"][0];
    assert_eq!((&one["tool"], &one["age_days"], &one["counts"]["high"]), (&"grype".into(), &3.into(), &1.into()));
    assert_eq!((&one["images"][0]["digest"], &one["images"][0]["by"]), (&digest.as_str().into(), &"manifest".into()));
    assert_eq!(details(&kit, "r.json")["evidence"], report["evidence"]);
    verify(&kit, &args).is(0).says("evidence  grype 0.104.0, database 3 days old: 1 high");
    let by_stream =
        kit.run_with_stdin(&[&["verify", "-", "--signer", "builder.pub", "-o", "json"], &args[..]].concat(), "b.tar");
    assert_eq!(by_stream.is(0).json()["evidence"], report["evidence"]);
    let vex = format!(
        "{{\"@context\":\"https://openvex.dev/ns/v0.2.0\",\"author\":\"Team\",\"version\":1,\"timestamp\":\"2024-01-03T00:00:00Z\",\
         \"statements\":[{{\"vulnerability\":{{\"name\":\"CVE-1\"}},\"status\":\"not_affected\",\"products\":[{{\"@id\":\"pkg:oci/a@{digest}\"}}]}}]}}"
    );
    kit.write("vex.json", vex);
    let with_vex = [&args[..], &["--evidence", "vex.json"]].concat();
    verify(&kit, &with_vex)
        .is(0)
        .says("open none; 1 closed by VEX")
        .says("closed CVE-1: not affected, says Team (vex.json)");
    let report = verify(&kit, &[&with_vex[..], &["-o", "json"]].concat()).is(0).json();
    assert_eq!(
        (&report["evidence"][0]["counts"]["high"], &report["evidence"][0]["open"]),
        (&1.into(), &serde_json::json!({}))
    );
    kit.write("g.json", grype(&format!("sha256:{}", "0".repeat(64))));
    verify(&kit, &args).is(2).says("is about an image that is not in the bundle");
    kit.write(
        "s.json",
        "{\"version\":\"2.1.0\",\"runs\":[{\"tool\":{\"driver\":{\"name\":\"Semgrep\"}},\"results\":[]}]}",
    );
    verify(&kit, &["--evidence", "s.json"]).is(2).says("--for");
    verify(&kit, &["--evidence", "s.json", "--for", &digest])
        .is(0)
        .says("sarif Semgrep, of unknown age: nothing found");
    kit.write("s.json", "{\"version\":\"2.1.0\",\n\"version\":1}");
    verify(&kit, &["--evidence", "s.json", "--for", &digest]).is(2).says("line 2");
}
