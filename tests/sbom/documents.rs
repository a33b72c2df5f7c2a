//! Documents of whole bundles.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::image::{Image, layer};
use crate::support::program::program;
use crate::support::schemas::valid;
use crate::support::skip::{have, skip};
use crate::world::{bundle, good, layout, linked, run, stored};

fn purls(bom: &Value) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let components = bom["components"].as_array().into_iter().flatten();
    for component in components {
        out.extend(component["purl"].as_str().filter(|_| component["type"] != "container").map(str::to_owned));
        out.extend(purls(component));
    }
    out
}

#[test]
fn an_image_is_listed_as_its_merged_layers_have_it() {
    let dir = bundle();
    let said = good(dir.path(), &["sbom", "b.tar", "--image", "rhel:1", "--signer", "key.pub"]);
    let bom = said.json();
    let purls = purls(&bom);
    let rpms: Vec<&String> = purls.iter().filter(|purl| purl.starts_with("pkg:rpm/redhat/")).collect();
    // 151 in the database, one more in the log of the layer above it.
    assert_eq!(rpms.len(), 152);
    assert!(rpms.iter().all(|purl| purl.contains("&distro=rhel-9.4") || purl.contains("?distro=rhel-9.4")), "{rpms:?}");
    assert!(purls.contains(&"pkg:npm/new@2.0.0".to_owned()));
    assert!(!purls.iter().any(|purl| purl.contains("gone") || purl.contains("old")), "deleted and replaced files");
    assert!(purls.iter().any(|purl| purl == "pkg:golang/github.com/anchore/syft@v1.18.1"), "{purls:?}");
    let mut sorted = purls.clone();
    sorted.sort();
    assert_eq!(purls, sorted);
    assert_eq!(bom["metadata"]["component"]["name"], "quay.io/o/rhel:1");
    assert!(said.out.contains("The bundle was verified"));
    // The letter case of Go's names is kept where purls may not have it.
    assert!(said.out.contains(r#""name":"github.com/CycloneDX/cyclonedx-go""#));
}

#[test]
fn the_bundle_has_all_images_and_the_same_bytes_each_time() {
    let dir = bundle();
    let first = good(dir.path(), &["sbom", "b.tar", "--format", "spdx"]);
    assert_eq!(first.out, good(dir.path(), &["sbom", "b.tar", "--format", "spdx", "-j", "1"]).out);
    assert!(first.err.contains("contents not verified"), "{}", first.err);
    assert!(first.out.contains("its signature was not verified"));
    let document = first.json();
    let containers = |p: &&Value| p["primaryPackagePurpose"] == "CONTAINER";
    assert_eq!(document["packages"].as_array().unwrap().iter().filter(containers).count(), 2);
    let created = good(dir.path(), &["inspect", "b.tar", "-o", "json"]).json()["index"]["created"].clone();
    assert_eq!(document["creationInfo"]["created"], created);
    // A stream is read once, with the same result.
    let mut stream = crate::support::program::program(dir.path());
    stream.args(["sbom", "-", "--format", "spdx"]).stdin(fs::File::open(dir.path().join("b.tar")).unwrap());
    let out = stream.output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), first.out, "{}", String::from_utf8_lossy(&out.stderr));
}

/// Whether `python3` has the package `jsonschema`.
fn validates(file: &Path, schema: &str) -> Option<Result<(), String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sbom/validate.py");
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/schemas");
    let python = ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let import = Command::new(python).args(["-c", "import jsonschema"]).output();
        import.is_ok_and(|out| out.status.success())
    })?;
    let out = Command::new(python).arg(script).args([schemas, schema]).arg(file).output().unwrap();
    Some(match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)),
    })
}

#[test]
fn documents_validate_against_the_schemas_of_spdx_and_cyclonedx() {
    let dir = bundle();
    for (format, end, schema) in
        [("spdx", "spdx.json", "spdx-schema-2.3.json"), ("cyclonedx", "cdx.json", "bom-1.6.schema.json")]
    {
        good(dir.path(), &["sbom", "b.tar", "--format", format, "-o", "out/"]);
        let files: Vec<_> = fs::read_dir(dir.path().join("out")).unwrap().map(|e| e.unwrap().path()).collect();
        let files: Vec<_> = files.into_iter().filter(|f| f.to_str().unwrap().ends_with(end)).collect();
        assert_eq!(files.len(), 3, "one for each image and one for the bundle: {files:?}");
        for file in &files {
            match validates(file, schema) {
                Some(Ok(())) => {}
                Some(Err(why)) => panic!("{}: {why}", file.display()),
                None => return skip("python3 has no jsonschema"),
            }
        }
        // The validator can fail.
        let mut bad: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
        let member = if format == "spdx" { "packages" } else { "components" };
        bad[member][0]["name"] = Value::from(7);
        let file = dir.path().join("bad.json");
        fs::write(&file, bad.to_string()).unwrap();
        assert!(validates(&file, schema).unwrap().is_err());
    }
}

#[test]
fn the_answer_beside_a_file_is_a_document_of_its_own() {
    let dir = bundle();
    let said = good(dir.path(), &["sbom", "b.tar", "--signer", "key.pub", "-o", "s.json", "--output", "json"]);
    let answer = valid("sbom", &said.out);
    assert_eq!((&answer["exit_code"], &answer["made"]["verified"]), (&0.into(), &true.into()));
    assert_eq!(answer["made"]["files"][0], "s.json");
    let systems: Vec<&Value> = answer["made"]["images"].as_array().unwrap().iter().map(|i| &i["system"]).collect();
    assert_eq!(systems, ["debian-12", "rhel-9.4"]);
    assert!(dir.path().join("s.json").exists());
    // Existing documents stay.
    assert_eq!(run(dir.path(), &["sbom", "b.tar", "-o", "s.json"]).code, 52);
    good(dir.path(), &["sbom", "b.tar", "-o", "s.json", "--force"]);
    let stray = run(dir.path(), &["sbom", "b.tar", "-o", "json"]);
    assert_eq!(stray.code, 2);
    assert!(stray.err.contains("--output json"), "{}", stray.err);
    assert_eq!(run(dir.path(), &["sbom", "b.tar", "--output", "json"]).code, 2);
    assert_eq!(run(dir.path(), &["sbom", "b.tar", "--image", "nothing"]).code, 2);
}

#[test]
fn a_document_or_list_that_standard_output_does_not_take_is_an_error_and_a_dash_is_standard_output() {
    let dir = bundle();
    let plain = good(dir.path(), &["sbom", "b.tar"]);
    assert_eq!(good(dir.path(), &["sbom", "b.tar", "-o", "-"]).out, plain.out);
    assert!(!dir.path().join("-").exists());
    for args in [
        &["sbom", "b.tar"][..],
        &["sbom", "b.tar", "-o", "-", "--signer", "key.pub"],
        &["ls", "b.tar", "--files", "--signer", "key.pub"],
        &["ls", "b.tar", "--files", "-o", "json"],
        &["verify", "b.tar", "--signer", "key.pub", "-o", "json"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = program(dir.path()).args(args).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(3), "{args:?}: {said}");
        assert!(said.contains("no space left"), "{args:?}: {said}");
    }
}

#[test]
fn a_bundle_that_is_bad_gets_no_document() {
    let dir = bundle();
    let mut bytes = fs::read(dir.path().join("b.tar")).unwrap();
    let mark = b"\x1f\x8b\x08";
    let at = bytes.windows(3).position(|w| w == mark).unwrap() + 200;
    bytes[at] ^= 1;
    fs::write(dir.path().join("bad.tar"), &bytes).unwrap();
    for args in [&["sbom", "bad.tar", "-o", "x.json"][..], &["sbom", "bad.tar", "-o", "x.json", "--signer", "key.pub"]]
    {
        let said = run(dir.path(), args);
        assert_eq!(said.code, 31, "{}", said.err);
        assert!(!dir.path().join("x.json").exists());
    }
    good(dir.path(), &["keygen", "other", "--no-passphrase"]);
    let said = run(dir.path(), &["sbom", "b.tar", "--signer", "other.pub"]);
    assert_eq!((said.code, said.out.as_str()), (22, ""));
}

#[test]
fn a_database_that_cannot_be_read_is_a_finding_and_no_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    let mut looped = stored("rpmdb/wal-rpmdb.sqlite");
    let interior = (1..looped.len() / 4096).find(|n| looped[n * 4096] == 5).unwrap();
    let number = u32::try_from(interior + 1).unwrap();
    looped[interior * 4096 + 8..interior * 4096 + 12].copy_from_slice(&number.to_be_bytes());
    let mut wrong_sum = stored("rpmdb/wal-rpmdb.sqlite-wal");
    wrong_sum[100] ^= 1;
    let sound = stored("rpmdb/wal-rpmdb.sqlite");
    let images = [
        ("q.io/loop:1", vec![layer(&[("var/lib/rpm/rpmdb.sqlite", &looped)])]),
        (
            "q.io/sum:1",
            vec![
                layer(&[("usr/lib/sysimage/rpm/rpmdb.sqlite", &sound)]),
                layer(&[("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", &wrong_sum)]),
            ],
        ),
        ("q.io/none:1", vec![layer(&[("bin/x", b"\x7fELF")])]),
        ("q.io/jar:1", vec![layer(&[("var/lib/dpkg/status", b""), ("a.jar", b"no zip")])]),
    ];
    let images: Vec<(&str, Image)> = images.iter().map(|(name, l)| (*name, Image::oci("amd64", l))).collect();
    layout(&dir.path().join("layout"), &images);
    good(dir.path(), &["create", "b.tar", "--unsigned", "--from-layout", "layout", "-qq"]);
    for (image, reason) in [("loop:1", "has a loop"), ("sum:1", "wrong checksum in frame 1")] {
        let said = run(dir.path(), &["sbom", "b.tar", "--image", image]);
        assert_eq!(said.code, 42, "{}", said.err);
        assert!(said.err.contains("packages-unreadable") || said.err.contains(reason), "{}", said.err);
        assert!(said.out.contains(reason), "it is in the document too");
        assert_eq!(said.json()["compositions"][0]["aggregate"], "incomplete");
    }
    let none = good(dir.path(), &["sbom", "b.tar", "--image", "none:1"]);
    assert!(none.out.contains("the image has no database of packages") && none.err.contains("no database of packages"));
    let jar = good(dir.path(), &["sbom", "b.tar", "--image", "jar:1"]);
    assert!(jar.out.contains("a.jar is no zip archive") && jar.out.contains("lists no package"));
    let all = run(dir.path(), &["sbom", "b.tar", "-o", "b.json", "--output", "json"]);
    assert_eq!(all.code, 42);
    let answer = valid("sbom", &all.out);
    let errors = answer["made"]["findings"].as_array().unwrap().iter().filter(|f| f["severity"] == "error").count();
    assert_eq!(errors, 2, "{}", all.out);
}

#[test]
fn databases_behind_links_are_read_or_said_to_be_missed() {
    let dir = tempfile::tempdir().unwrap();
    let db = stored("rpmdb/wal-rpmdb.sqlite");
    let object = "sysroot/ostree/repo/objects/0a/bc.file";
    let release = "sysroot/ostree/repo/objects/0d/ef.file";
    // As in images of ostree: contents have names of their own, and the system has hard links to them.
    let ostree = linked(&[
        (object, "", &db),
        (release, "", b"NAME=RHCOS\nID=rhcos\nVERSION_ID=4.16\n"),
        ("usr/share/rpm/rpmdb.sqlite", "=>", object.as_bytes()),
        ("usr/lib/os-release", "=>", release.as_bytes()),
        ("etc/os-release", "->", b"../usr/lib/os-release"),
        ("var/lib/rpm", "->", b"../../usr/share/rpm"),
    ]);
    let hidden = linked(&[("opt/x", "", &db), ("var/lib/rpm/rpmdb.sqlite", "->", b"../../../opt/x")]);
    // A log whose content has another name of its own.
    let renamed = linked(&[
        ("var/lib/rpm/rpmdb.sqlite", "", &db),
        ("opt/log", "", &stored("rpmdb/wal-rpmdb.sqlite-wal")),
        ("var/lib/rpm/rpmdb.sqlite-wal", "=>", b"opt/log"),
    ]);
    let log = "sysroot/ostree/repo/objects/0a/bd.file";
    let logged = linked(&[
        (object, "", &db),
        (log, "", &stored("rpmdb/wal-rpmdb.sqlite-wal")),
        ("usr/share/rpm/rpmdb.sqlite", "=>", object.as_bytes()),
        ("usr/share/rpm/rpmdb.sqlite-wal", "=>", log.as_bytes()),
    ]);
    let deleted = [
        layer(&[
            ("var/lib/rpm/rpmdb.sqlite", &db),
            ("var/lib/rpm/rpmdb.sqlite-wal", &stored("rpmdb/wal-rpmdb.sqlite-wal")),
        ]),
        layer(&[("var/lib/rpm/.wh.rpmdb.sqlite-wal", b"")]),
    ];
    let images = [
        ("q.io/ostree:1", Image::oci("amd64", &[ostree])),
        ("q.io/hidden:1", Image::oci("amd64", &[hidden])),
        ("q.io/deleted:1", Image::oci("amd64", &deleted)),
        ("q.io/renamed:1", Image::oci("amd64", &[renamed])),
        ("q.io/logged:1", Image::oci("amd64", &[logged])),
    ];
    layout(&dir.path().join("layout"), &images);
    good(dir.path(), &["create", "b.tar", "--unsigned", "--from-layout", "layout", "-qq"]);
    let bom = good(dir.path(), &["sbom", "b.tar", "--image", "ostree:1"]).json();
    let found = purls(&bom);
    assert_eq!(found.len(), 151);
    assert!(found.iter().all(|purl| purl.contains("distro=rhcos-4.16")));
    let place = &bom["components"][1]["evidence"]["occurrences"];
    assert_eq!((place.as_array().unwrap().len(), &place[0]["location"]), (1, &"usr/share/rpm/rpmdb.sqlite".into()));
    let hidden = run(dir.path(), &["sbom", "b.tar", "--image", "hidden:1"]);
    assert_eq!(hidden.code, 42);
    assert!(hidden.err.contains("is a link to a file under another name, opt/x"), "{}", hidden.err);
    let renamed = run(dir.path(), &["sbom", "b.tar", "--image", "renamed:1"]);
    assert_eq!(renamed.code, 42);
    assert!(renamed.err.contains("rpmdb.sqlite-wal is a hard link to a file whose own name"), "{}", renamed.err);
    // A log of ostree is applied.
    assert_eq!(purls(&good(dir.path(), &["sbom", "b.tar", "--image", "logged:1"]).json()).len(), 152);
    // A log that a later layer deletes is not applied.
    assert_eq!(purls(&good(dir.path(), &["sbom", "b.tar", "--image", "deleted:1"]).json()).len(), 151);
}

#[test]
fn volumes_give_the_same_document_and_a_missing_one_is_said() {
    let dir = bundle();
    let whole = good(dir.path(), &["sbom", "b.tar", "--signer", "key.pub"]);
    good(dir.path(), &["split", "b.tar", "v", "--volume-size", "100kB", "-qq"]);
    assert_eq!(good(dir.path(), &["sbom", "v", "--signer", "key.pub"]).out, whole.out);
    let volumes: Vec<_> = fs::read_dir(dir.path().join("v")).unwrap().map(|e| e.unwrap().path()).collect();
    fs::remove_file(volumes.iter().max().unwrap()).unwrap();
    // Without trust it is a list of what is at hand, which says so; a verdict needs all of it.
    let said = run(dir.path(), &["sbom", "v"]);
    assert_eq!(said.code, 42, "{}", said.err);
    assert!(said.err.contains("is in no file at hand") && said.out.contains("is in no file at hand"), "{}", said.err);
    let said = run(dir.path(), &["sbom", "v", "--signer", "key.pub"]);
    assert_eq!((said.code, said.out.as_str()), (11, ""), "{}", said.err);
}

#[test]
fn nothing_is_written_but_the_document_and_no_socket_is_opened() {
    if !have("strace") {
        return;
    }
    let dir = bundle();
    let calls =
        "trace=openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,socket,connect,execve";
    let mut strace = crate::support::program::tool("strace", dir.path());
    strace.args(["-f", "-qq", "-e", calls, "-o", "trace", crate::support::program::PROGRAM]);
    let out = strace.args(["sbom", "b.tar", "--signer", "key.pub", "-o", "x.json"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let trace = fs::read_to_string(dir.path().join("trace")).unwrap();
    let line = |line: &&str| {
        let writes =
            ["O_CREAT", "O_WRONLY", "O_RDWR", "mkdir", "rename", "link(", "linkat", "creat(", "socket", "connect"];
        writes.iter().any(|word| line.contains(word)) && !line.contains("/dev/tty") && !line.contains("readlink")
    };
    for line in trace.lines().filter(line) {
        assert!(line.contains("\"x.json"), "{line}");
    }
    let programs = trace.lines().filter(|line| line.contains("execve(")).count();
    assert_eq!(programs, 1, "{trace}");
}

#[test]
fn diff_says_from_which_version_to_which_a_package_went() {
    let dir = tempfile::tempdir().unwrap();
    let package = |name: &str, version: &str| format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n");
    let base = layer(&[("var/lib/dpkg/status.d/same", package("same", "1").as_bytes())]);
    for (bundle, versions) in [("a.tar", [("curl", "7.88"), ("gone", "1")]), ("b.tar", [("curl", "8.0"), ("new", "2")])]
    {
        let files = versions.map(|(name, version)| (format!("var/lib/dpkg/status.d/{name}"), package(name, version)));
        let files = files.each_ref().map(|(path, text)| (path.as_str(), text.as_bytes()));
        let _ = fs::remove_dir_all(dir.path().join("layout"));
        layout(&dir.path().join("layout"), &[("q.io/app:1", Image::oci("amd64", &[base.clone(), layer(&files)]))]);
        good(dir.path(), &["create", bundle, "--unsigned", "--from-layout", "layout", "-qq"]);
    }
    let said = good(dir.path(), &["diff", "a.tar", "b.tar", "-o", "json"]);
    let packages = &valid("diff", &said.out)["packages"][0];
    assert_eq!(packages["same"], 1);
    assert_eq!(packages["changed"][0]["name"], "deb curl (amd64)");
    assert_eq!((&packages["changed"][0]["from"], &packages["changed"][0]["to"]), (&"7.88".into(), &"8.0".into()));
    assert_eq!(
        (&packages["added"][0]["name"], &packages["removed"][0]["name"]),
        (&"deb new (amd64)".into(), &"deb gone (amd64)".into())
    );
    let text = good(dir.path(), &["diff", "a.tar", "b.tar"]).out;
    assert!(text.contains("~ package deb curl (amd64) 7.88 -> 8.0"), "{text}");
}
