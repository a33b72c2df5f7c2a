//! What `extract` writes, and who can read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::kit::{Desk, text};
use crate::layout::{GZIP, TAR};
use crate::support::schemas::valid;
use crate::support::skip::have;
use crate::tar::{dir, entry, file, gzip, link, tar};

fn desk() -> Desk {
    let mut desk = Desk::new();
    let base = tar(&[
        dir("usr/"),
        dir("usr/lib/"),
        link(b'2', "lib", "usr/lib"),
        file("usr/su", b"su").mode(0o4755),
        file("usr/lib/a", b"old"),
        file("deleted", b"1"),
        entry(b'3', "null"),
        entry(b'6', "pipe"),
    ]);
    let top = tar(&[
        file("lib/a", b"new"),
        entry(b'0', ".wh.deleted"),
        link(b'1', "hard", "usr/lib/a"),
        link(b'1', "dangling", "nowhere"),
        link(b'2', "out", "../../etc"),
        dir("Case/"),
        file("Case/inside", b"1"),
        dir("case/"),
        file("case/inside", b"2"),
        file("../../escape", b"inside after all"),
        file(&format!("dir/{}", "n".repeat(60)), b"1"),
    ]);
    let (base, top) = (desk.layout.layer(GZIP, &gzip(&base), &base), desk.layout.layer(TAR, &top, &top));
    let app = desk.layout.image("registry.example.com/team/app:1", &[base, top]);
    // A signature and an SBOM of it.
    let payload = desk.layout.blob("application/vnd.dev.cosign.simplesigning.v1+json", b"{}");
    let config = desk.layout.blob("application/vnd.oci.image.config.v1+json", b"{\"x\":1}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [payload] });
    let signature = desk.layout.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    let tag = app["digest"].as_str().unwrap().replace(':', "-");
    desk.layout.name(&format!("registry.example.com/team/app:{tag}.sig"), &signature);
    let sbom = json!({ "spdxVersion": "SPDX-2.3", "creationInfo": { "creators": ["Tool: x-1"] } });
    let sbom = desk.layout.blob("application/spdx+json", sbom.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [sbom] });
    let sbom = desk.layout.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    desk.layout.name(&format!("registry.example.com/team/app:{tag}.sbom"), &sbom);
    desk.made();
    desk
}

#[test]
fn merged_files_become_plain_files_and_what_was_left_out_is_listed() {
    let desk = desk();
    let done = desk.run(&["extract", "b.tar", "app:1", "--to", "out", "-o", "json"]);
    assert!(done.status.success(), "{done:?}");
    valid("extract", &text(&done.stdout));
    let out = desk.path().join("out");
    let mut found = Vec::new();
    for one in walkdir::WalkDir::new(&out).min_depth(1).sort_by_file_name() {
        let one = one.unwrap();
        assert!(one.file_type().is_file() || one.file_type().is_dir(), "{one:?}");
        let mode = one.metadata().unwrap().permissions().mode() & 0o7777;
        let allowed: &[u32] = if one.file_type().is_dir() { &[0o755] } else { &[0o644, 0o755] };
        assert!(allowed.contains(&mode), "{one:?} {mode:o}");
        found.push(one.path().strip_prefix(&out).unwrap().display().to_string());
    }
    let name = format!("dir/{}", "n".repeat(60));
    assert_eq!(found, ["Case", "Case/inside", "dir", &name, "hard", "usr", "usr/lib", "usr/lib/a", "usr/su"]);
    assert_eq!(fs::read(out.join("usr/lib/a")).unwrap(), b"new");
    assert_eq!(fs::read(out.join("hard")).unwrap(), b"new");
    let map = fs::read_to_string(desk.path().join("out.map.jsonl")).unwrap();
    let listed: Vec<(String, String)> = map
        .lines()
        .map(|line| valid("left-out", line))
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line["why"].as_str().unwrap().to_owned()))
        .collect();
    let why = |path: &str| listed.iter().find(|(p, _)| p == path).map(|(_, why)| why.as_str()).unwrap_or_default();
    assert!(why("case").contains("only by case") && why("case/inside").contains("left out"), "{map}");
    assert_eq!(why("escape"), "its name leads out of the image");
    assert!(!desk.path().join("escape").exists() && !desk.path().join("../escape").exists());
    assert_eq!((why("lib"), why("out")), ("symbolic link", "symbolic link"));
    assert_eq!((why("null"), why("pipe"), why("dangling")), ("device", "named pipe", "hard link to nothing"));
    assert!(!desk.path().join("out.partial").exists());
}

#[test]
fn a_layer_that_is_no_archive_is_left_out_and_listed() {
    let mut desk = Desk::new();
    let archive = tar(&[file("a", b"1")]);
    let layers = [
        desk.layout.layer(TAR, &archive, &archive),
        desk.layout.layer("application/vnd.example.model", b"weights", b"weights"),
    ];
    desk.layout.image("app:1", &layers);
    desk.made();
    let done = desk.run(&["extract", "b.tar", "app:1", "--to", "out"]);
    assert!(done.status.success() && text(&done.stderr).contains("Left out 1 listed"), "{done:?}");
    let line = valid("left-out", &fs::read_to_string(desk.path().join("out.map.jsonl")).unwrap());
    assert_eq!(line["why"], "no archive of files: application/vnd.example.model");
    assert_eq!(line["layer"], layers[1].digest());
}

#[test]
fn nothing_that_exists_is_written_to() {
    let desk = desk();
    for (make, args) in [
        ("out", &["--to", "out"][..]),
        ("out2.map.jsonl", &["--to", "out2"]),
        ("out3.partial", &["--to", "out3"]),
        ("a.tar", &["--to-archive", "a.tar"]),
    ] {
        fs::create_dir(desk.path().join(make)).unwrap();
        let refused = desk.run(&[&["extract", "b.tar", "app:1"], args].concat());
        assert_eq!(refused.status.code(), Some(52), "{args:?}: {refused:?}");
        assert_eq!(fs::read_dir(desk.path().join(make)).unwrap().count(), 0);
    }
}

#[test]
fn an_archive_has_entries_for_its_folders_and_other_programs_read_it() {
    let desk = desk();
    let archive = desk.run(&["extract", "b.tar", "app:1", "--to-archive", "a.tar"]);
    assert!(archive.status.success(), "{archive:?}");
    let names = Command::new("tar").args(["-tf", "a.tar"]).current_dir(desk.path()).output().unwrap();
    let names = text(&names.stdout);
    for name in ["oci-layout\n", "index.json\n", "blobs/\n", "blobs/sha256/\n"] {
        assert!(names.contains(name), "{names}");
    }
    assert_eq!(names.lines().count(), 4 + 1 + 1 + 2, "{names}");
    let piped = desk.run(&["extract", "b.tar", "app:1", "--to-archive", "-"]);
    assert_eq!(piped.stdout, fs::read(desk.path().join("a.tar")).unwrap());
    let attached = desk.run(&["extract", "b.tar", "app:1", "--to-archive", "all.tar", "--attached"]);
    assert!(attached.status.success(), "{attached:?}");
    let names = Command::new("tar").args(["-tf", "all.tar"]).current_dir(desk.path()).output().unwrap();
    assert_eq!(text(&names.stdout).lines().count(), 4 + 3 + 2 + 4, "{names:?}");
    if have("skopeo") {
        let policy = desk.path().join("policy.json");
        fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
        let copied = Command::new("skopeo")
            .args(["--policy", "policy.json", "copy", "-q", "oci-archive:a.tar", "dir:copy"])
            .current_dir(desk.path())
            .output()
            .unwrap();
        assert!(copied.status.success(), "{copied:?}");
    }
}

#[test]
fn what_the_sender_says_about_each_image_is_shown_as_a_claim() {
    let desk = desk();
    let shown = text(&desk.run(&["inspect", "b.tar"]).stdout);
    assert!(shown.contains("claims by the sender; nothing here is verified"), "{shown}");
    assert!(shown.contains("registry.example.com/team/app:1 2026-03-01T12:00:00Z"), "{shown}");
    assert!(
        shown.contains("sbom application/spdx+json by \"Tool: x-1\"")
            || shown.contains("sbom application/spdx+json by Tool: x-1"),
        "{shown}"
    );
    assert!(
        shown.contains("signature application/vnd.dev.cosign.simplesigning.v1+json: claim by the sender"),
        "{shown}"
    );
    let json = text(&desk.run(&["inspect", "b.tar", "-o", "json"]).stdout);
    let document = valid("inspect", &json);
    assert_eq!(document["image_claims"][0]["layers"], 2);
    assert_eq!(document["image_claims"][0]["attached"].as_array().unwrap().len(), 2);
}
