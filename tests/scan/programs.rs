//! Programs as scanners.

use mirror_bundle::scan::eicar;

use crate::lab::{Lab, gzip, through};
use crate::support::skip;

fn bundle(lab: &Lab) -> String {
    let zip = through(
        "python3 -c \"import sys,zipfile;z=zipfile.ZipFile(sys.stdout.buffer,'w',8);z.writestr('m',sys.stdin.buffer.read());z.close()\"",
        &eicar(),
    );
    let files = [
        ("plain", eicar()),
        ("a.gz", gzip(&eicar())),
        ("a.zip", zip),
        ("fine", b"fine".to_vec()),
        ("twice.gz", gzip(&gzip(&eicar()))),
    ];
    lab.bundle("b", &[("reg.example/a:1", &[&files])], None)
}

fn rules(lab: &Lab) -> String {
    let hex: Vec<String> = eicar().iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("rule sample {{ strings: $a = {{ {} }} condition: $a }}\n", hex.join(" "));
    std::fs::write(lab.path().join("r.yar"), text).unwrap();
    "r.yar".to_owned()
}

#[test]
fn yara_finds_by_a_path_in_memory_and_members_go_to_it_on_their_own() {
    if !skip::have("yara") {
        return;
    }
    let lab = Lab::new();
    let (bundle, rules) = (bundle(&lab), rules(&lab));
    for form in ["{}", "{...}"] {
        let scanner = format!("yara=yara -w {rules} {form}");
        let answer = lab.scan(&bundle, &["--scanner", &scanner, "--rescan"]);
        assert_eq!(answer.code, 35, "{}", answer.errors);
        assert_eq!(
            answer.paths("found"),
            ["a.gz!(content)", "a.zip!m", "plain", "twice.gz!(content)!(content)"],
            "{form}"
        );
        assert_eq!(answer.at("plain")["names"][0], "sample");
        assert_eq!(answer.at("plain")["scanner"], "yara");
    }
}

#[test]
fn a_program_that_sees_nothing_of_a_pipe_fails_its_proof_and_nothing_is_scanned() {
    if !skip::have("yara") {
        return;
    }
    let lab = Lab::new();
    let (bundle, rules) = (bundle(&lab), rules(&lab));
    let answer = lab.scan(&bundle, &["--scanner", &format!("yara=yara -w {rules} /dev/stdin")]);
    assert_eq!(answer.code, 42);
    assert!(answer.errors.contains("nothing was scanned"), "{}", answer.errors);
}

#[test]
fn scanners_that_lie_fail_or_hang_are_never_clean() {
    let lab = Lab::new();
    let bundle = bundle(&lab);
    for (command, why) in [
        ("true", "did not read all of its input"),
        ("true {}", "does not find the test file"),
        ("false {}", "finds something in plain text"),
        ("sh -c 'cat >/dev/null'", "does not find the test file"),
        ("sh -c 'head -c 10 >/dev/null'", "did not read all of its input"),
        ("sh -c 'kill -9 $$' {}", "was ended by a signal"),
        ("sh -c 'exit 7' {}", "ended with 7"),
        ("sh -c 'sleep 100' {}", "took longer than 1 seconds"),
        ("sh -c 'sleep 100 & sleep 100' {}", "took longer than 1 seconds"),
        ("sh -c 'yes' {}", "took longer than 1 seconds"),
    ] {
        let answer = lab.scan(&bundle, &["--scanner", &format!("x={command}"), "--time-limit", "1"]);
        assert_eq!(answer.code, 42, "{command}: {}", answer.errors);
        assert!(
            answer.errors.contains(why) && answer.errors.contains("nothing was scanned"),
            "{command}: {}",
            answer.errors
        );
    }
    let absent = lab.scan(&bundle, &["--scanner", "x=no-such-program {}"]);
    assert_eq!(absent.code, 2);
}

#[test]
fn a_scanner_that_reads_a_part_is_believed_about_that_part() {
    let lab = Lab::new();
    let needle: String = eicar()[28..35].iter().map(|b| char::from(*b)).collect();
    let files = [("small", b"fine".to_vec()), ("large", vec![b'.'; 3 << 20])];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let script = format!("x=sh -c 'head -c 1100000 {{}} | grep -q \"{needle}\" && exit 1; exit 0'");
    let answer = lab.scan(&bundle, &["--scanner", &script]);
    assert_eq!(answer.code, 42, "{}", answer.errors);
    assert_eq!(answer.json["scanners"][0]["proof"]["size"], 1 << 20);
    assert_eq!(answer.paths("not-opened"), ["large"]);
}

#[test]
fn two_scanners_see_everything_and_the_worst_answer_counts() {
    let lab = Lab::new();
    let needle = |from: usize| -> String { eicar()[from..from + 7].iter().map(|b| char::from(*b)).collect() };
    let files = [("one", b"the first".to_vec()), ("two", b"fine".to_vec())];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let finds = |what: &str| format!("sh -c 'grep -qE \"{}|{what}\" {{}} && exit 1; exit 0'", needle(28));
    let (one, two) = (format!("one={}", finds("nowhere")), format!("two={}", finds("the first")));
    let answer = lab.scan(&bundle, &["--scanner", &one, "--scanner", &two]);
    assert_eq!((answer.code, answer.paths("found")), (35, vec!["one".to_owned()]), "{}", answer.errors);
    assert_eq!(answer.at("one")["scanner"], "two");
    // One of them is new: only that one is asked about what the other knows.
    let answer = lab.scan(&bundle, &["--scanner", &one]);
    assert_eq!((answer.code, answer.json["findings"].as_array().map(Vec::len)), (0, Some(0)), "{}", answer.errors);
    let same = lab.scan(&bundle, &["--scanner", &one, "--scanner", &one]);
    assert_eq!(same.code, 2);
}

#[test]
fn a_file_of_scanners_says_how_they_answer_and_what_they_have_to_find() {
    let lab = Lab::new();
    let files = [("key", b"the SECRET word".to_vec()), ("fine", b"fine".to_vec())];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    std::fs::write(lab.path().join("probe"), "a SECRET to find").unwrap();
    let text = "scanners:\n- name: words\n  command: grep -c SECRET {}\n  probe: probe\n  clean: {exitCodes: [1]}\n  found: {exitCodes: [0]}\n  version: grep --version\n";
    std::fs::write(lab.path().join("scanners.yaml"), text).unwrap();
    let answer = lab.scan(&bundle, &["--scanners", "scanners.yaml"]);
    assert_eq!((answer.code, answer.paths("found")), (35, vec!["key".to_owned()]), "{}", answer.errors);
    assert!(answer.json["scanners"][0]["version"].as_str().unwrap().contains("grep"));
    // Without a proof no OK counts.
    std::fs::write(lab.path().join("scanners.yaml"), text.replace("probe: probe", "probe: none")).unwrap();
    let fine = lab.bundle("fine", &[("reg.example/a:1", &[&[("x", b"fine".to_vec())]])], None);
    let answer = lab.scan(&fine, &["--scanners", "scanners.yaml"]);
    assert_eq!((answer.code, answer.json["scanners"][0]["proof"]["made"].as_bool()), (42, Some(false)));
    std::fs::write(lab.path().join("scanners.yaml"), text.replace("probe:", "prope:")).unwrap();
    assert_eq!(lab.scan(&fine, &["--scanners", "scanners.yaml"]).code, 2);
}
