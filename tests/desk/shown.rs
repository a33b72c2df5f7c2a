//! What `ls --files` and `cat` show.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::kit::{Desk, json_lines, text};
use crate::layout::{GZIP, TAR};
use crate::support::schemas::valid;
use crate::tar::{dir, entry, file, gzip, link, pax, tar};

/// Two images of two layers; the lower is an image of its own, too.
fn desk() -> Desk {
    let mut desk = Desk::new();
    let base = tar(&[
        dir("etc/"),
        file("etc/passwd", b"root\n"),
        file("gone", b"1"),
        dir("old/"),
        file("old/x", b"1"),
        file("su", b"\x7fELF").mode(0o4755),
        pax(b'x', &[("SCHILY.xattr.security.capability", "\u{1}")]),
        file("ping", b"\x7fELF").mode(0o755),
        entry(b'3', "null"),
    ]);
    let top = tar(&[
        file("etc/passwd", b"root\nme\n"),
        entry(b'0', ".wh.gone"),
        file("old", b"a file now"),
        link(b'2', "link", "etc/passwd"),
    ]);
    let base = desk.layout.layer(GZIP, &gzip(&base), &base);
    let top = desk.layout.layer(TAR, &top, &top);
    let both = desk.layout.image("registry.example.com/team/app:1", &[base.clone(), top]);
    let arm = desk.layout.manifest("arm64", std::slice::from_ref(&base));
    desk.layout.list("registry.example.com/team/list:2", &[("amd64", both), ("arm64", arm)]);
    desk.made();
    desk
}

fn rows(output: &Output) -> Vec<Value> {
    json_lines(output).into_iter().filter(|line| line["type"] == "file").collect()
}

fn find<'v>(rows: &'v [Value], path: &str) -> Vec<&'v Value> {
    rows.iter().filter(|row| row["path"] == path).collect()
}

#[test]
fn every_entry_of_every_layer_is_listed_with_its_digest_and_what_is_notable() {
    let desk = desk();
    let listed = desk.run(&["ls", "b.tar", "--files", "-o", "json"]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let rows = rows(&listed);
    assert_eq!(rows.len(), 9 - 1 + 4, "an extension header is no entry");
    let sums: Vec<&Value> = find(&rows, "etc/passwd").iter().map(|row| &row["sha256"]).collect();
    let of = |bytes: &[u8]| Value::from(mirror_bundle::oci::Digest::of(bytes).hex());
    assert!(sums.contains(&&of(b"root\n")) && sums.contains(&&of(b"root\nme\n")));
    assert_eq!(find(&rows, "su")[0]["facts"], serde_json::json!(["setuid"]));
    assert_eq!(find(&rows, "ping")[0]["facts"], serde_json::json!(["capabilities"]));
    assert_eq!(find(&rows, "null")[0]["facts"], serde_json::json!(["device"]));
    assert_eq!(find(&rows, "link")[0]["target"], "etc/passwd");
    for line in text(&listed.stdout).lines() {
        valid("files", line);
    }
    let shown = desk.run(&["ls", "b.tar", "--files"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains(" -rwsr-xr-x 0:0 4 ") && shown.contains(" setuid /su\n"), "{shown}");
    assert!(shown.contains(" /link -> etc/passwd\n"), "{shown}");
    // The bundle may be named behind the option.
    assert_eq!(text(&desk.run(&["ls", "--files", "b.tar"]).stdout), shown);
}

#[test]
fn a_file_is_shadowed_or_deleted_as_the_merged_image_has_it() {
    let desk = desk();
    let state = |args: &[&str], path: &str| -> Vec<String> {
        let rows = rows(&desk.run(&[&["ls", "b.tar", "-o", "json", "--files"], args].concat()));
        find(&rows, path).iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect()
    };
    let app = &["registry.example.com/team/app:1"];
    assert_eq!(state(app, "etc/passwd"), ["present", "shadowed"], "top layer first");
    assert_eq!(state(app, "gone"), ["deleted"]);
    assert_eq!(state(app, "old/x"), ["shadowed"], "its folder is a file now");
    assert_eq!(state(app, "etc"), ["present"]);
    // An image of the list has the lower layer alone.
    assert_eq!(state(&["team/list:2", "--platform", "linux/arm64"], "gone"), ["present"]);
    // One layer alone, as the image has it.
    let all = rows(&desk.run(&["ls", "b.tar", "-o", "json", "--files"]));
    let layer = find(&all, "gone")[0]["layer"].as_str().unwrap();
    assert_eq!(state(&[layer], "etc/passwd").len(), 1);
    assert_eq!(state(&[], "gone"), ["present"], "of several images one has it");
    // A stream cannot be read top first.
    let piped = desk.piped(&["ls", "-", "--files", "-o", "json"], &fs::read(desk.path().join("b.tar")).unwrap());
    let piped_rows = rows(&piped);
    assert_eq!((piped.status.code(), piped_rows.len()), (Some(0), 12));
    assert_eq!(find(&piped_rows, "gone")[0]["state"], "unknown");
}

#[test]
fn without_trust_the_first_line_says_so_and_with_it_the_last_has_the_verdict() {
    let desk = desk();
    let plain = text(&desk.run(&["ls", "b.tar", "--files"]).stdout);
    assert!(plain.lines().next().unwrap().contains("contents not verified"), "{plain}");
    assert!(!plain.contains("VERIFIED"), "{plain}");
    let trusted = desk.run(&["ls", "b.tar", "--files", "--signer", "k.pub"]);
    let shown = text(&trusted.stdout);
    assert_eq!(trusted.status.code(), Some(0), "{trusted:?}");
    assert!(shown.lines().last().unwrap().contains("verdict   VERIFIED"), "{shown}");
    assert_eq!(
        desk.run(&["ls", "b.tar", "--signer", "k.pub"]).status.code(),
        Some(2),
        "the index alone is not verified"
    );
    let stranger = desk.run(&["ls", "b.tar", "--files", "--signer", "other.pub"]);
    assert_eq!(stranger.status.code(), Some(22), "{stranger:?}");
    for verb in [
        &["cat", "b.tar", "oci-layout"][..],
        &["extract", "b.tar", "app:1", "--to", "out"],
        &["diff", "b.tar", "b.tar"],
    ] {
        let plain = desk.run(verb);
        assert!(text(&plain.stderr).lines().next().unwrap().contains("contents not verified"), "{plain:?}");
        fs::remove_dir_all(desk.path().join("out")).ok();
        fs::remove_file(desk.path().join("out.map.jsonl")).ok();
        let quiet = desk.run(&[verb, &["-q"]].concat());
        assert!(text(&quiet.stderr).contains("contents not verified"), "{quiet:?}");
        let refused = desk.run(&[verb, &["--signer", "other.pub"]].concat());
        assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(22), String::new()), "{verb:?}");
        fs::remove_dir_all(desk.path().join("out")).ok();
        fs::remove_file(desk.path().join("out.map.jsonl")).ok();
        let good = desk.run(&[verb, &["--signer", "k.pub"]].concat());
        assert!(good.status.success() && !text(&good.stderr).contains("not verified"), "{good:?}");
    }
}

#[test]
fn names_cannot_forge_lines_or_control_a_terminal() {
    let mut desk = Desk::new();
    let layer =
        tar(&[file("a\n0 clean", b"1"), file("\u{1b}[2J", b"1"), file("a -> b", b"1"), file("x\u{202e}txt.exe", b"")]);
    let layer = desk.layout.layer(TAR, &layer, &layer);
    desk.layout.image("app:1", &[layer]);
    desk.made();
    for args in [&["ls", "b.tar", "--files"][..], &["ls", "b.tar", "--files", "-o", "json"]] {
        let listed = desk.run(args);
        let shown = text(&listed.stdout) + &text(&listed.stderr);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains("\n0 clean"), "{shown}");
        assert_eq!(text(&listed.stdout).lines().count(), 2 + 4 + 1, "{shown}");
    }
    let marks = desk.run(&["ls", "b.tar", "--files"]);
    assert!(text(&marks.stdout).contains("reordered-name") && text(&marks.stdout).contains("\"a -> b\""), "{marks:?}");
    assert!(text(&marks.stderr).contains("notice:"), "{marks:?}");
}

#[test]
fn cat_writes_a_blob_a_member_or_a_file_of_the_merged_image() {
    let desk = desk();
    let cat = |args: &[&str]| desk.run(&[&["cat", "b.tar"], args].concat());
    assert_eq!(cat(&["app:1:/etc/passwd"]).stdout, b"root\nme\n");
    assert_eq!(cat(&["app:1:/link"]).stdout, b"root\nme\n", "a link is followed");
    assert_eq!(cat(&["registry.example.com/team/list:2:/etc/passwd", "--platform", "linux/arm64"]).stdout, b"root\n");
    assert_eq!(cat(&["app:1:/gone"]).status.code(), Some(2));
    assert_eq!(cat(&["app:1:/etc"]).status.code(), Some(2));
    let list = cat(&["list:2:/etc/passwd"]);
    assert_eq!(list.status.code(), Some(2));
    assert!(text(&list.stderr).contains("linux/amd64, linux/arm64"), "{list:?}");
    let base = rows(&desk.run(&["ls", "b.tar", "--files", "-o", "json"]));
    let layer = find(&base, "gone")[0]["layer"].as_str().unwrap().to_owned();
    assert_eq!(cat(&["app:1:/gone", "--layer", &layer]).stdout, b"1");
    assert_eq!(cat(&["oci-layout"]).stdout, br#"{"imageLayoutVersion":"1.0.0"}"#);
    for member in ["mirror-bundle/index.json", "mirror-bundle/index.json.sig", "index.json"] {
        let tar = std::process::Command::new("tar").args(["-xOf", "b.tar", member]).current_dir(desk.path()).output();
        assert_eq!(cat(&[member]).stdout, tar.unwrap().stdout, "{member}");
    }
    let blob = cat(&[&layer]).stdout;
    assert_eq!(mirror_bundle::oci::Digest::of(&blob).to_string(), layer);
    assert_eq!(cat(&[&format!("blobs/{}", layer.replace(':', "/"))]).stdout, blob);
}

#[test]
fn of_content_that_is_not_what_its_digest_says_cat_never_writes_the_end() {
    let mut desk = Desk::new();
    let content = crate::support::noise(1 << 20, 7);
    let layer = tar(&[file("big", &content)]);
    let stored = desk.layout.layer(TAR, &layer, &layer);
    let digest = stored.digest();
    desk.layout.image("app:1", &[stored]);
    desk.made();
    let path = desk.path().join("b.tar");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(64).position(|window| window == &content[..64]).unwrap();
    bytes[at + 500_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    for (what, whole) in [(digest.as_str(), layer.len()), ("app:1:/big", content.len())] {
        let cat = desk.run(&["cat", "b.tar", what]);
        assert_eq!(cat.status.code(), Some(31), "{what}: {}", text(&cat.stderr));
        assert!(cat.stdout.len() < whole, "{what}");
    }
    let extract = desk.run(&["extract", "b.tar", "app:1", "--to", "out"]);
    assert_eq!((extract.status.code(), desk.path().join("out").exists()), (Some(31), false), "{extract:?}");
    let archive = desk.run(&["extract", "b.tar", "app:1", "--to-archive", "a.tar"]);
    assert_eq!((archive.status.code(), desk.path().join("a.tar").exists()), (Some(31), false), "{archive:?}");
    let listed = desk.run(&["ls", "b.tar", "--files"]);
    assert_eq!(listed.status.code(), Some(31), "{listed:?}");
    assert!(text(&listed.stdout).contains("/big"), "what was read is listed");
}

#[test]
fn a_layer_that_was_listed_from_a_damaged_copy_is_said_to_be_so() {
    let mut desk = Desk::new();
    let content = crate::support::noise(1 << 20, 7);
    let layer = tar(&[file("big", &content)]);
    let stored = desk.layout.layer(TAR, &layer, &layer);
    desk.layout.image("app:1", &[stored]);
    desk.made();
    let mut bytes = fs::read(desk.path().join("b.tar")).unwrap();
    let at = bytes.windows(64).position(|window| window == &content[..64]).unwrap();
    bytes[at + 500_000] ^= 1;
    fs::write(desk.path().join("a.tar"), bytes).unwrap();
    let right = mirror_bundle::oci::Digest::of(&content).hex();
    for trust in [&[][..], &["--signer", "k.pub"]] {
        let listed = desk.run(&[&["ls", "a.tar", "b.tar", "--files"], trust].concat());
        assert!(!text(&listed.stdout).contains(&right), "the damaged copy comes first");
        assert_eq!(listed.status.code(), Some(42), "{listed:?}");
        assert!(text(&listed.stderr).contains("is listed from a damaged copy"), "{listed:?}");
        assert!(text(&listed.stdout).ends_with("NOT COMPLETE  incomplete-check\n"), "{listed:?}");
    }
}

#[test]
fn twice_quiet_shows_no_notice() {
    let mut desk = Desk::new();
    let layer = tar(&[file("x\u{202e}txt.exe", b"")]);
    let layer = desk.layout.layer(TAR, &layer, &layer);
    desk.layout.image("app:1", &[layer]);
    desk.made();
    let shown = |quiet: &str| {
        let listed = desk.run(&["ls", "b.tar", "--files", quiet]);
        (listed.status.code(), text(&listed.stderr), listed.stdout.is_empty())
    };
    assert!(shown("-q").1.contains("notice:"));
    assert_eq!(shown("-qq"), (Some(0), String::new(), true));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let desk = desk();
    let script =
        format!("'{}' ls b.tar --files | head -n 1; echo ${{PIPESTATUS[0]}}", crate::support::program::PROGRAM);
    let out = crate::support::program::tool("bash", desk.path()).args(["-c", &script]).output().unwrap();
    assert!(text(&out.stdout).ends_with("\n0\n"), "{out:?}");
}

#[test]
fn looking_creates_no_file_and_opens_nothing_for_writing() {
    if !crate::support::skip::have("strace") {
        return;
    }
    let desk = desk();
    let before = names(desk.path());
    for args in [
        &["ls", "b.tar", "--files"][..],
        &["ls", "b.tar", "--files", "--signer", "k.pub"],
        &["cat", "b.tar", "app:1:/etc/passwd"],
        &["diff", "b.tar", "b.tar", "--files"],
        &["inspect", "b.tar"],
        &["extract", "b.tar", "app:1", "--to-archive", "-"],
    ] {
        let mut strace = crate::support::program::tool("strace", desk.path());
        strace.args([
            "-f",
            "-o",
            "trace",
            "-e",
            "trace=open,openat,openat2,creat,mkdir,mkdirat,socket,memfd_create,rename,renameat2,unlink,unlinkat",
        ]);
        strace.arg(crate::support::program::PROGRAM).args(args);
        let out = strace.output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        let trace = fs::read_to_string(desk.path().join("trace")).unwrap();
        let writes = |line: &&str| {
            let opens = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TMPFILE"].iter().any(|flag| line.contains(flag));
            let changes = ["creat(", "mkdir", "socket(", "memfd_create", "rename", "unlink"]
                .iter()
                .any(|call| line.contains(call));
            (opens || changes) && !line.contains("/dev/null") && !line.contains("ENOENT")
        };
        let bad: Vec<&str> = trace.lines().filter(writes).collect();
        assert!(bad.is_empty(), "{args:?}: {bad:?}");
        fs::remove_file(desk.path().join("trace")).unwrap();
    }
    assert_eq!(names(desk.path()), before);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
