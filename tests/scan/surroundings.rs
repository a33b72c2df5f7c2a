//! What a run leaves, reads and writes beside its answer.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mirror_bundle::scan::eicar;

use crate::archives::finder;
use crate::lab::{Daemon, Lab, WIDE};
use crate::support::program::{PROGRAM, clean, program};
use crate::support::{noise, schemas, skip};

#[test]
fn the_test_file_of_virus_scanners_stands_nowhere_in_clear() {
    let needle = &eicar()[28..64];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let holds = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    assert!(!holds(Path::new(PROGRAM)), "the program");
    let own = walkdir::WalkDir::new(root)
        .into_iter()
        .filter_entry(|entry| !matches!(entry.file_name().to_str(), Some("target" | ".git")) || entry.depth() > 1);
    let files = own.map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let found: Vec<_> = files.map(|entry| entry.into_path()).filter(|path| holds(path)).collect();
    assert_eq!(found, Vec::<std::path::PathBuf>::new());
}

#[test]
fn no_file_is_created_but_the_verdicts_and_no_socket_opened_but_the_scanners() {
    if !skip::have("strace") {
        return;
    }
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let files = [("x", eicar()), ("y", b"fine".to_vec()), ("large", noise(40 << 20, 3)), ("middle", noise(5 << 20, 4))];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let mut command = Command::new("strace");
    clean(&mut command, lab.path());
    command.args(["-f", "-qq", "-o", "trace", "-e", "trace=openat,open,creat,mkdir,mkdirat,rename,renameat2,unlink,unlinkat,link,symlink,connect,socket,bind,truncate"]);
    let done = command.arg(PROGRAM).args(["scan", &bundle, "--clamd", &daemon.address(), "-q"]).output().unwrap();
    let trace = std::fs::read_to_string(lab.path().join("trace")).unwrap_or_default();
    if trace.is_empty() {
        return skip::skip("strace cannot trace here");
    }
    assert_eq!(done.status.code(), Some(35), "{}", String::from_utf8_lossy(&done.stderr));
    let state = lab.path().join("state").display().to_string();
    for line in trace.lines().filter(|line| !line.contains("ENOENT")) {
        let creates = line.contains("O_CREAT") || line.contains("O_WRONLY") || line.contains("O_RDWR");
        let makes = ["mkdir", "rename", "unlink(", "unlinkat", "link(", "symlink", "creat(", "truncate("]
            .iter()
            .any(|call| line.contains(call));
        if creates || makes {
            assert!(line.contains(&state) || line.contains("/dev/null"), "{line}");
        }
        if line.contains("connect(") {
            assert!(line.contains(&daemon.address()), "{line}");
        }
        assert!(!line.contains("bind("), "{line}");
    }
}

#[test]
fn a_run_that_was_killed_goes_on() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let names: Vec<String> = (0..3000).map(|n| format!("f{n}")).collect();
    let files: Vec<_> = names.iter().zip(1..).map(|(name, seed)| (name.as_str(), noise(20_000, seed))).collect();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let mut run = lab
        .command(&bundle, &["--clamd", &daemon.address()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folder = lab.path().join("state/scanned");
    let kept = || -> u64 {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    };
    let began = Instant::now();
    while kept() < 10_000 && began.elapsed() < Duration::from_secs(120) && run.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = (run.kill(), run.wait());
    let answer = lab.scan(&bundle, &["--clamd", &daemon.address()]);
    assert_eq!(answer.code, 0, "{}", answer.errors);
    let earlier = answer.json["earlier"]["verdicts"].as_u64().unwrap();
    assert!(earlier >= 200, "{earlier}");
}

#[test]
fn an_interruption_ends_the_run_and_the_program_that_scans() {
    let lab = Lab::new();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("x", b"fine".to_vec())]])], None);
    let marker = format!("{}", 600_000 + std::process::id());
    let script = format!("x=sh -c 'sleep {marker} & sleep {marker}' {{}}");
    let mut run =
        lab.command(&bundle, &["--scanner", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let sleeping = || {
        let found = Command::new("pgrep").args(["-fx", &format!("sleep {marker}")]).output();
        found.map(|found| !found.stdout.is_empty()).unwrap_or(false)
    };
    let began = Instant::now();
    while !sleeping() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    if !sleeping() {
        let _ = (run.kill(), run.wait());
        return skip::skip("no pgrep on this machine");
    }
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!sleeping());
}

#[test]
fn what_a_scanner_leaves_running_ends_with_it() {
    let lab = Lab::new();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("x", b"fine".to_vec())]])], None);
    let marker = 700_000 + std::process::id();
    let finder = finder();
    let script = finder.replace("sh -c '", &format!("sh -c 'sleep {marker} >/dev/null 2>&1 & sleep {marker} & "));
    assert_eq!(lab.scan(&bundle, &["--scanner", &script]).code, 0);
    let left = Command::new("pgrep").args(["-fx", &format!("sleep {marker}")]).output();
    let Ok(left) = left else { return skip::skip("no pgrep on this machine") };
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn memory_stays_bounded_with_bombs_and_large_files() {
    let Some(daemon) = Daemon::start(WIDE) else { return };
    let lab = Lab::new();
    let bomb = crate::lab::gzip(&vec![0; 256 << 20]);
    let names: Vec<String> = (0..6).map(|n| format!("f{n}")).collect();
    let mut files: Vec<_> = names.iter().zip(10..).map(|(name, seed)| (name.as_str(), noise(20 << 20, seed))).collect();
    files.push(("bomb.gz", bomb));
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let mut command = Command::new("/usr/bin/time");
    clean(&mut command, lab.path());
    command.args([
        "-f",
        "%M",
        "-o",
        "peak",
        PROGRAM,
        "scan",
        &bundle,
        "--clamd",
        &daemon.address(),
        "-qq",
        "--jobs",
        "2",
    ]);
    let Ok(done) = command.output() else { return skip::skip("no /usr/bin/time on this machine") };
    assert_eq!(done.status.code(), Some(42), "{}", String::from_utf8_lossy(&done.stderr));
    let peak = std::fs::read_to_string(lab.path().join("peak")).unwrap();
    let kib: u64 = peak.lines().last().unwrap().trim().parse().unwrap();
    // 64 MiB, and 40 MiB for each of two sessions.
    assert!(kib < (64 + 80) << 10, "{kib} KiB");
    assert!(daemon.process() > 0);
}

#[test]
fn what_describes_and_signs_the_bundle_is_scanned_also_at_the_end_of_a_stream() {
    let lab = Lab::new();
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&[("x", b"fine".to_vec())]])], None);
    let run = |args: &[&str]| {
        let done = program(lab.path()).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let note = String::from_utf8(eicar()[20..60].to_vec()).unwrap();
    run(&["keygen", "key", "--no-passphrase"]);
    run(&["sign", &bundle, "--allow-unsigned", "--sign-key", "key", "--note", &note]);
    let scan = ["--scanner", &finder(), "--rescan"];
    let from_file = lab.scan(&bundle, &scan);
    let mut command = lab.command("-", &scan);
    let stream = std::fs::File::open(lab.path().join(&bundle)).unwrap();
    let done = command.args(["-o", "jsonl"]).stdin(stream).output().unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((from_file.code, done.status.code()), (35, Some(35)), "{} {last:#}", from_file.errors);
    for findings in [&from_file.json["findings"], &last["findings"]] {
        let place = &findings[0]["places"][0];
        assert_eq!(place["kind"], "signature");
        assert!(place["what"].as_str().unwrap().starts_with("mirror-bundle/addenda/"), "{place}");
    }
    // With -o jsonl it is said at once, and once more in the answer at the end.
    let at_once: Vec<_> = lines.iter().filter(|line| line["type"] == "finding").collect();
    assert_eq!((at_once.len(), &at_once[0]["code"]), (1, &"found".into()), "{lines:?}");
    let mut wrong = Vec::new();
    schemas::violations(at_once[0], &schemas::schema("event.json"), "event", &mut wrong);
    assert_eq!((last["type"].as_str(), wrong), (Some("result"), vec![]));
}

#[test]
fn what_is_on_a_volume_that_is_not_here_is_not_opened() {
    let lab = Lab::new();
    let layers: [&[_]; 3] = [&[("a", noise(3 << 20, 1))], &[("b", noise(3 << 20, 2))], &[("c", noise(3 << 20, 3))]];
    let bundle = lab.bundle("b", &[("reg.example/a:1", &layers)], None);
    let done = program(lab.path()).args(["split", &bundle, "v", "--volume-size", "5MiB"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let all = lab.scan("v", &["--scanner", &finder()]);
    assert_eq!(all.code, 0, "{} {:#}", all.errors, all.json["findings"]);
    let volumes = std::fs::read_dir(lab.path().join("v")).unwrap().map(|entry| entry.unwrap().path());
    let last = volumes.filter(|path| path.extension().is_some_and(|e| e == "tar")).max().unwrap();
    let one = lab.scan(last.to_str().unwrap(), &["--scanner", &finder()]);
    assert_eq!((one.code, one.at("")["reason"].as_str()), (42, Some("missing")), "{} {:#}", one.errors, one.json);
}

#[test]
fn a_scan_is_in_the_log_with_what_it_found() {
    let lab = Lab::new();
    let files = [("x", b"the first".to_vec())];
    let bad = lab.bundle("bad", &[("reg.example/a:1", &[&files])], None);
    let files = [("y", b"fine".to_vec())];
    let fine = lab.bundle("fine", &[("reg.example/a:1", &[&files])], None);
    let needle: String = eicar()[28..35].iter().map(|b| char::from(*b)).collect();
    let grep = format!("grep=sh -c 'grep -qE \"{needle}|the first\" {{}} && exit 1; exit 0'");
    let scanner = ["--scanner", grep.as_str(), "--log", "log"];
    let found = lab.scan(&bad, &scanner);
    let clean = lab.scan(&fine, &scanner);
    let missing = lab.scan("missing.tar", &scanner);
    let log = std::fs::read_to_string(lab.path().join("log")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |n: usize| (lines[n]["event"].as_str().unwrap(), lines[n]["verdict"].as_str().unwrap());
    assert_eq!(lines.len(), 3, "{} {} {}", found.errors, clean.errors, missing.errors);
    for (n, answer) in [&found, &clean, &missing].into_iter().enumerate() {
        assert_eq!(lines[n]["exit_code"], answer.code);
    }
    assert_eq!((found.json["log"]["n"].as_u64(), clean.json["log"]["n"].as_u64()), (Some(1), Some(2)));
    assert_eq!([said(0), said(1), said(2)], [("scan", "found"), ("scan", "clean"), ("scan", "error")]);
    assert_eq!([found.code, clean.code], [35, 0], "{} {}", found.errors, clean.errors);
    let stopped = lab.scan(&fine, &["--scanner", &grep, "--log", "/dev/full"]);
    assert_eq!((stopped.code, stopped.errors.contains("not a regular file")), (2, true), "{}", stopped.errors);
}
