//! Disk space: it is checked before the first byte. If it runs out during the work, existing files stay, and the next
//! run resumes.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::lab::{Ended, Lab, args, ended, snapshot, temporary};
use crate::support::proxy::{Fault, Proxy};

/// The program under `ulimit -f`, in units of 512 bytes: the longest file it may write.
fn limited(lab: &Lab, place: &Path, blocks: u64, words: &[OsString]) -> Ended {
    let limit = format!("ulimit -f {blocks}; exec \"$0\" \"$@\"");
    ended(&mut lab.command(place, &["sh", "-c", &limit], words))
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_the_next_run_completes_it() {
    let lab = Lab::new();
    let whole = fs::read(lab.path("b.tar")).unwrap();
    let blocks = whole.len() as u64 / 512;
    for limit in [0, 1, blocks / 2, blocks - 1] {
        let place = lab.place();
        fs::copy(lab.path("other.tar"), place.join("b.tar")).unwrap();
        let before = fs::read(place.join("b.tar")).unwrap();
        let words = [lab.create("b.tar"), args!["--force"]].concat();
        let run = limited(&lab, &place, limit, &words).is(3, "create");
        assert!(run.err.contains("b.tar.partial") && run.err.contains("too large"), "{run:?}");
        assert!(fs::read(place.join("b.tar")).unwrap() == before, "the earlier bundle stays");
        lab.run(&place, &words).is(0, "create again");
        assert!(fs::read(place.join("b.tar")).unwrap() == whole);
        assert_eq!(snapshot(&place).len(), 1);
        // Unpacking writes smaller files: some may fit.
        for to in ["--to-dir", "--to-layout"] {
            let words = [args!["unpack", "b.tar", to, "out"], lab.trust()].concat();
            let run = limited(&lab, &place, limit.min(4), &words).is(3, "unpack");
            assert!(run.err.contains('`') && !run.err.contains("panicked"), "{run:?}");
            assert!(snapshot(&place).keys().all(|path| !temporary(path)), "{:?}", snapshot(&place));
            lab.run(&place, &words).is(0, "unpack again");
            fs::remove_dir_all(place.join("out")).unwrap();
        }
    }
    let place = lab.place();
    limited(&lab, &place, blocks, &lab.create("b.tar")).is(0, "enough");
}

/// A small file system in memory, if this user may mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(lab: &Lab, kilobytes: u64) -> Option<Small> {
        let dir = tempfile::tempdir_in(lab.path(".")).unwrap();
        let options = format!("size={kilobytes}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        if !mounted.is_ok_and(|out| out.status.success()) {
            crate::support::skip::skip("cannot mount a tmpfs");
            return None;
        }
        Some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn what_is_there_already_needs_no_room_and_what_is_not_of_the_bundle_does_not_count() {
    let lab = Lab::new();
    let bytes = fs::metadata(lab.path("b.tar")).unwrap().len();
    let Some(small) = Small::mount(&lab, 2 * bytes / 1024) else { return };
    let place = small.0.path();
    let filler = |len: u64| fs::write(place.join("filler"), vec![1; len as usize]).unwrap();
    let words = [args!["unpack", lab.path("b.tar"), "--to-dir", "tree"], lab.trust()].concat();
    // Other files in the folder are not part of what was unpacked.
    fs::create_dir_all(place.join("tree/v2/other")).unwrap();
    fs::write(place.join("tree/v2/other/large"), vec![1; bytes as usize]).unwrap();
    filler(bytes / 2);
    let run = lab.run(place, &words).is(3, "too full");
    assert!(run.err.contains("not enough room") && run.err.contains("nothing was written"), "{run:?}");
    fs::remove_file(place.join("filler")).unwrap();
    fs::remove_dir_all(place.join("tree")).unwrap();
    lab.run(place, &words).is(0, "unpack");
    let free = rustix::fs::statvfs(place).unwrap();
    filler(free.f_bavail.saturating_sub(4) * free.f_bsize);
    lab.run(place, &words).is(0, "all is there");
}

/// On a file system that cannot reserve space, another process takes it during the run.
#[test]
fn a_disk_that_fills_up_during_create_keeps_what_was_fetched_and_the_run_is_continued() {
    let lab = Lab::new();
    let bytes = fs::metadata(lab.path("b.tar")).unwrap().len();
    let Some(small) = Small::mount(&lab, 2 * bytes / 1024) else { return };
    let place = small.0.path();
    fs::write(place.join("earlier"), "earlier").unwrap();
    let proxy = Proxy::start(Some(lab.source().port));
    let create = |host: &str| {
        let mut words = args!["create", "b.tar", "--unsigned", "--plain-http", "127.0.0.1", "-j1", "--timeout", "1"];
        (0..3).for_each(|at| words.extend(args!["--image", format!("{host}/tools/i{at}:1")]));
        words
    };
    // Every image is planned and some blobs are written; then nothing arrives until the timeout.
    proxy.on("GET", "/blobs/", 8, Fault::Pass).on("GET", "/blobs/", 1, Fault::Stall(0));
    let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fallocate"];
    let wrapper = [&wrapper[..], &["-e", "inject=fallocate:error=EOPNOTSUPP"]].concat();
    let child = lab.command(place, &wrapper, &create(&proxy.host())).spawn().unwrap();
    while proxy.count("GET", "/blobs/") < 9 {
        std::thread::yield_now();
    }
    let mut filler = fs::File::create(place.join("filler")).unwrap();
    while filler.write_all(&[1; 512]).is_ok() {}
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(3), "{err}");
    assert!(err.contains("no space left") && err.contains("needed") && err.contains("free"), "{err}");
    assert!(err.contains("kept in `b.tar.partial`"), "{err}");
    assert!(!place.join("b.tar").exists() && fs::read(place.join("earlier")).unwrap() == b"earlier");
    // It cannot start again either until there is space.
    let full = lab.run(place, &create(&proxy.host())).is(3, "still full");
    assert!(full.err.contains("not enough room"), "{full:?}");
    drop(filler);
    fs::remove_file(place.join("filler")).unwrap();
    let before = proxy.count("GET", "/blobs/");
    let run = lab.run(place, &create(&proxy.host())).is(0, "continued");
    assert!(run.err.contains("Resuming"), "{run:?}");
    assert!(proxy.count("GET", "/blobs/") - before < before, "what was fetched is not fetched again");
    let verify = args!["verify", "b.tar", "--allow-unsigned"];
    lab.run(place, &verify).is(0, "verify");
}

/// What restores or makes layers needs room for their content in TMPDIR.
fn encoding(lab: &Lab) -> Vec<(&'static str, Vec<OsString>)> {
    let base = || args!["--base", lab.path("prior.tar")];
    let create = || lab.numbered("b.tar", "next-layout", "8");
    let unpack = |form: &str| [args!["unpack", lab.path(form), "--to-dir", "tree"], lab.trust()].concat();
    vec![
        ("create --base", [create(), base(), args!["--force"]].concat()),
        ("create --compact", [create(), args!["--compact", "--force"]].concat()),
        (
            "shrink",
            [args!["shrink", lab.path("next.tar"), "b.tar", "--force", "--sign-key", lab.path("builder")], base()]
                .concat(),
        ),
        ("expand", [args!["expand", lab.path("differences.tar"), "b.tar", "--force"], base(), lab.trust()].concat()),
        ("unpack", [unpack("differences.tar"), base()].concat()),
    ]
}

/// The files of a folder but those that have temporary names, with their content.
fn final_files(place: &Path) -> crate::lab::Snapshot {
    let mut all = snapshot(place);
    all.retain(|path, entry| !temporary(path) && *entry != crate::lab::Entry::Folder && !path.starts_with("state"));
    all
}

#[test]
fn a_full_folder_for_the_content_of_layers_is_one_error_and_what_is_there_stays() {
    let lab = Lab::new();
    lab.encoded();
    let Some(small) = Small::mount(&lab, 8) else { return };
    for (verb, words) in encoding(&lab) {
        let place = lab.place();
        fs::write(place.join("b.tar"), "an earlier one").unwrap();
        let before = final_files(&place);
        // Too small from the beginning.
        let words = [words, args!["-j1"]].concat();
        let run = ended(lab.command(&place, &[], &words).env("TMPDIR", small.0.path())).is(3, verb);
        assert!(run.err.contains("TMPDIR") && run.err.contains("no room for"), "{verb}: {run:?}");
        assert_eq!(run.err.matches("error: ").count(), 1, "{verb}: {run:?}");
        assert_eq!(final_files(&place), before, "{verb}");
        lab.run(&place, &words).is(0, verb);
        assert!(snapshot(&place).keys().all(|path| !temporary(path)), "{verb}: {:?}", snapshot(&place));
        fs::remove_dir_all(&place).unwrap();
    }
    // Full after the beginning, where the room was seen. (Every other moment: `errors.rs`.)
    let free = tempfile::tempdir_in(lab.path(".")).unwrap();
    let verify = args!["verify", lab.path("differences.tar"), "--base", lab.path("prior.tar")];
    let unpack = encoding(&lab).pop().unwrap().1;
    for words in [[verify, lab.trust()].concat(), unpack] {
        let place = lab.place();
        let limit = ["sh", "-c", "ulimit -f 20; exec \"$0\" \"$@\""];
        let run = ended(lab.command(&place, &limit, &words).env("TMPDIR", free.path())).is(3, "full later");
        let names = [free.path().to_str().unwrap(), "too large"];
        assert!(names.iter().all(|name| run.err.contains(name)), "{run:?}");
        assert_eq!(run.err.matches("error: ").count(), 1, "{run:?}");
        assert!(final_files(&place).keys().all(|path| path.to_string_lossy().contains("/blobs/")), "{run:?}");
        lab.run(&place, &words).is(0, "with room");
    }
}

#[test]
fn room_for_all_of_a_reference_is_seen_before_it_is_unpacked() {
    let lab = Lab::new();
    lab.sparse();
    let Some(small) = Small::mount(&lab, 1024) else { return };
    let base = args!["--base", lab.path("sparse-prior.tar")];
    let verify = [args!["verify", lab.path("sparse.tar"), "-j1"], base.clone(), lab.trust()].concat();
    let place = lab.place();
    let on = |words: &[OsString]| ended(lab.command(&place, &[], words).env("TMPDIR", small.0.path()));
    // The carriage says how much it is.
    let run = on(&verify).is(3, "verify");
    assert!(run.err.contains("no room for 21"), "{run:?}");
    // Of a layer that is being encoded nobody knows it before: the folder gets full.
    let create = [lab.numbered("b.tar", "sparse-layout", "8"), base].concat();
    fs::write(place.join("b.tar"), "an earlier one").unwrap();
    let create = [create, args!["--force", "-j1"]].concat();
    let run = on(&create).is(3, "create");
    assert!(run.err.contains("no space left") && run.err.contains("TMPDIR"), "{run:?}");
    assert_eq!(run.err.matches("error: ").count(), 1, "{run:?}");
    assert!(fs::read(place.join("b.tar")).unwrap() == b"an earlier one");
    lab.run(&place, &create).is(0, "with room");
    assert!(fs::read(place.join("b.tar")).unwrap() == fs::read(lab.path("sparse.tar")).unwrap());
    lab.run(&place, &verify).is(0, "with room");
}
