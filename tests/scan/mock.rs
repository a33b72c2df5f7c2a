//! A clamd with faults.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirror_bundle::scan::eicar;

use crate::lab::Lab;

/// What it does with a content that has the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Closes the connection.
    Dies,
    /// Only for the first time.
    DiesOnce,
    /// Says nothing.
    Hangs,
    /// Answers a question that was not asked.
    OtherNumber,
    /// Answers twice.
    Twice,
    /// Answers without an end.
    TooLong,
    /// Answers something else.
    Nonsense,
    /// Answers an error.
    Refuses,
    /// Answers of a session in another order.
    OutOfOrder,
    /// From the mark on nobody listens any more.
    Gone,
}

const MARK: &[u8] = b"the fault comes here";

struct Mock {
    path: PathBuf,
    faults: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

fn start(fault: Fault) -> Mock {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let faults = Arc::new(AtomicUsize::new(0));
    let (count, socket) = (Arc::clone(&faults), path.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (count, socket) = (Arc::clone(&count), socket.clone());
            std::thread::spawn(move || {
                let _ = serve(stream, fault, &count, &socket);
            });
        }
    });
    Mock { path, faults, _dir: dir }
}

fn command(stream: &mut UnixStream, late: &mut Vec<String>) -> std::io::Result<String> {
    let mut out = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            // Nothing more is asked: the answers come, the last one first.
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock && out.is_empty() => {
                late.drain(..).rev().try_for_each(|answer| stream.write_all(answer.as_bytes()))?;
                continue;
            }
            read => read.map(drop)?,
        }
        match byte[0] {
            // The byte that goes with a descriptor stands between commands.
            0 if out.is_empty() => {}
            0 => return Ok(String::from_utf8_lossy(&out).into_owned()),
            other => out.push(other),
        }
    }
}

fn serve(mut stream: UnixStream, fault: Fault, faults: &AtomicUsize, socket: &Path) -> std::io::Result<()> {
    let (mut number, mut late) = (0, Vec::new());
    if fault == Fault::OutOfOrder {
        stream.set_read_timeout(Some(std::time::Duration::from_millis(30)))?;
    }
    loop {
        let asked = command(&mut stream, &mut late)?;
        match asked.as_str() {
            "zVERSION" => {
                stream.write_all(b"ClamAV 9.9.9/27000/Thu Nov 26 08:00:00 2026\0")?;
                continue;
            }
            "zIDSESSION" => continue,
            "zFILDES" => {
                number += 1;
                stream.write_all(format!("{number}: No file descriptor received. ERROR\0").as_bytes())?;
                continue;
            }
            _ => number += 1,
        }
        let mut content = Vec::new();
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length == 0 {
                break;
            }
            let at = content.len();
            content.resize(at + length, 0);
            stream.read_exact(&mut content[at..])?;
        }
        let has = |what: &[u8]| memchr::memmem::find(&content, what).is_some();
        let verdict = if has(&eicar()) { "Mock.Test FOUND" } else { "OK" };
        let right = format!("{number}: stream: {verdict}\0");
        if !has(MARK) || fault == Fault::None {
            match fault {
                Fault::OutOfOrder if has(b"late") => late.push(right),
                Fault::Gone if !socket.exists() => return Ok(()),
                _ => stream.write_all(right.as_bytes())?,
            }
            continue;
        }
        let times = faults.fetch_add(1, Ordering::SeqCst);
        match fault {
            Fault::Dies => return Ok(()),
            Fault::DiesOnce if times == 0 => return Ok(()),
            Fault::Hangs => std::thread::sleep(std::time::Duration::from_secs(600)),
            Fault::OtherNumber => stream.write_all(format!("{}: stream: OK\0", number + 1).as_bytes())?,
            Fault::Twice => stream.write_all(format!("{right}{number}: stream: OK\0").as_bytes())?,
            Fault::TooLong => {
                while stream.write_all(&[b'a'; 4096]).is_ok() {}
                return Ok(());
            }
            Fault::Nonsense => stream.write_all(b"all is fine\0")?,
            Fault::Refuses => {
                stream.write_all(format!("{number}: INSTREAM size limit exceeded. ERROR\0").as_bytes())?
            }
            Fault::Gone => {
                let _ = std::fs::remove_file(socket);
                return Ok(());
            }
            _ => stream.write_all(right.as_bytes())?,
        }
    }
}

fn bundle(lab: &Lab) -> String {
    let mut files = vec![("bad", eicar()), ("faulty", MARK.to_vec())];
    let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
    files.extend(names.iter().map(|name| (name.as_str(), format!("fine {name} late").into_bytes())));
    lab.bundle("b", &[("reg.example/a:1", &[&files])], None)
}

#[test]
fn a_content_about_which_clamd_fails_is_failed_and_the_others_are_scanned() {
    let lab = Lab::new();
    let bundle = bundle(&lab);
    for fault in [Fault::Dies, Fault::Hangs, Fault::OtherNumber, Fault::TooLong, Fault::Nonsense, Fault::Refuses] {
        let mock = start(fault);
        let address = mock.path.display().to_string();
        let answer = lab.scan(&bundle, &["--clamd", &address, "--time-limit", "1", "--jobs", "2"]);
        assert_eq!(answer.code, 35, "{fault:?}: {}", answer.errors);
        assert_eq!(answer.paths("found"), ["bad"], "{fault:?}");
        let failed = answer.paths("failed");
        assert!(failed.contains(&"faulty".to_owned()) && failed.len() < 10, "{fault:?}: {failed:?}");
        assert!(mock.faults.load(Ordering::SeqCst) >= 2, "{fault:?}: it is tried once more");
    }
}

#[test]
fn answers_in_another_order_and_a_lost_connection_change_nothing() {
    let lab = Lab::new();
    let bundle = bundle(&lab);
    for fault in [Fault::None, Fault::DiesOnce, Fault::OutOfOrder] {
        let mock = start(fault);
        let answer = lab.scan(&bundle, &["--clamd", &mock.path.display().to_string(), "--time-limit", "3", "--rescan"]);
        let found = (answer.code, answer.paths("found"), answer.paths("failed"));
        assert_eq!(found, (35, vec!["bad".to_owned()], vec![]), "{fault:?}: {}", answer.errors);
    }
    let twice = start(Fault::Twice);
    let answer = lab.scan(&bundle, &["--clamd", &twice.path.display().to_string(), "--time-limit", "3", "--rescan"]);
    assert_eq!((answer.code, answer.paths("found")), (35, vec!["bad".to_owned()]), "{}", answer.errors);
}

#[test]
fn more_than_ten_failures_in_a_row_end_the_run_which_can_be_continued() {
    let lab = Lab::new();
    let mut files = vec![("faulty", MARK.to_vec())];
    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    files.extend(names.iter().map(|name| (name.as_str(), format!("fine {name}").into_bytes())));
    let bundle = lab.bundle("b", &[("reg.example/a:1", &[&files])], None);
    let mock = start(Fault::Gone);
    let answer = lab.scan(&bundle, &["--clamd", &mock.path.display().to_string(), "--time-limit", "2", "--jobs", "1"]);
    assert_eq!(answer.code, 42, "{}", answer.errors);
    let ended = answer.json["ended"].as_str().unwrap_or_default();
    assert!(ended.contains("more than 10 times in a row"), "{ended}");
    let clean = answer.json["contents"]["clean"].as_u64();
    // The scanner works again: what is known is not asked again.
    let mock = start(Fault::None);
    let socket = mock.path.display().to_string();
    let answer = lab.scan(&bundle, &["--clamd", &socket]);
    assert_eq!(answer.code, 0, "{}", answer.errors);
    assert!(clean < Some(150));
}

#[test]
fn a_clamd_that_is_not_there_or_is_none_is_an_error_before_anything_is_read() {
    let lab = Lab::new();
    let bundle = bundle(&lab);
    let answer = lab.scan(&bundle, &["--clamd", "/nonexistent/s"]);
    assert_eq!((answer.code, answer.errors.contains("nothing was scanned")), (42, true), "{}", answer.errors);
    assert_eq!(lab.scan(&bundle, &["--clamd", "nothing"]).code, 2);
    assert_eq!(lab.scan(&bundle, &[]).code, 2);
}
