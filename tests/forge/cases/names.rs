//! Names of files in the index: what a medium, a shell or a person would read differently.

use mirror_bundle::bundle::index::{Index, Object};
use mirror_bundle::error::Code;

use super::super::archive::Entry;
use super::super::draft::Draft;
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("name");
    let tiny = Draft::tiny();
    let long = format!("manifests/{}", "a".repeat(73));
    let longer = format!("manifests/{0}/{0}", "a".repeat(60));
    let names: &[(&str, &str, &str)] = &[
        ("traversal", "../../etc/cron.d/x", "C3"),
        ("traversal-inside", "manifests/../x.yaml", "C3 C5"),
        ("traversal-end", "manifests/..", "C3 C5"),
        ("absolute", "/etc/passwd", "C3"),
        ("dot", "manifests/./x.yaml", "C5"),
        ("double-slash", "manifests//x.yaml", "C5"),
        ("trailing-slash", "manifests/x/", "C5"),
        ("folder-only", "manifests/", "C5"),
        ("empty", "", "C5"),
        ("upper-case", "manifests/X.yaml", "C6"),
        ("colon", "manifests/sha256:x.yaml", "C8"),
        ("alternate-stream", "manifests/x.yaml:evil", "C8"),
        ("backslash", "manifests\\x.yaml", "C8"),
        ("space", "manifests/x y.yaml", "C8"),
        ("trailing-space", "manifests/x.yaml ", "C8"),
        ("trailing-dot", "manifests/x.yaml.", "C8"),
        ("wildcard", "manifests/*.yaml", "C8"),
        ("tilde", "manifests/~x.yaml", "C8"),
        ("dollar", "manifests/$x.yaml", "C8"),
        ("option", "manifests/-o x.yaml", "C8"),
        ("con", "manifests/con", "C8"),
        ("nul", "manifests/nul.yaml", "C8"),
        ("com1", "manifests/com1.yaml", "C8"),
        ("lpt9-folder", "manifests/lpt9/x.yaml", "C8"),
        ("superscript", "manifests/com\u{b9}.yaml", "C8"),
        ("escape", "manifests/\u{1b}[2J.yaml", "E10"),
        ("newline", "manifests/x\nverdict   VERIFIED", "E10"),
        ("nul-byte", "manifests/x\u{0}.yaml", "E10"),
        ("delete", "manifests/x\u{7f}.yaml", "E10"),
        ("bidi", "manifests/\u{202e}lmay.x", "C7"),
        ("zero-width", "manifests/x\u{200b}.yaml", "C7"),
        ("sharp-s", "manifests/\u{df}.yaml", "C7"),
        ("nfc", "manifests/\u{e9}.yaml", "C7"),
        ("nfd", "manifests/e\u{301}.yaml", "C7"),
        ("full-width", "manifests/\u{ff0e}\u{ff0e}/x.yaml", "C7"),
        ("dotless-i", "manifests/\u{131}.yaml", "C7"),
        ("long", &long, "C5"),
        ("longer", &longer, "C5"),
        ("index", "mirror-bundle/index.json", "C3"),
        ("blob", "blobs/sha256/x", "C3"),
        ("root", "evil.yaml", "G5"),
        ("other-folder", "extra/evil.yaml", "G5"),
        ("addendum", "mirror-bundle/addenda/x", "C3"),
        ("no-yaml", "manifests/map.txt", "G4"),
        ("no-suffix", "manifests/yaml", "G4"),
    ];
    for (name, path, ids) in names {
        let what = "a file with a name that is not allowed";
        let archive = tiny.archive_of(|i: &mut Index| i.files[2].path = (*path).to_owned());
        out.add(name, what, (ids, Some(Code::Malformed), "MB-FMT-06 MB-IDX-04"), archive);
    }
    let mut edit = |name: &str, what: &str, change: fn(&mut Index)| {
        let is = ("C6 G5", Some(Code::Malformed), "MB-FMT-06 MB-IDX-04");
        let mut archive = tiny.archive_of(change);
        // In the archive itself, oci-layout stands where it belongs.
        archive.entries.retain(|e| e.name != "oci-layout");
        archive.entries.insert(0, Entry::new("oci-layout", mirror_bundle::bundle::layout::OCI_LAYOUT_JSON));
        archive.entries.sort_by_key(|e| (e.name != "oci-layout", !e.name.starts_with("mirror-bundle/")));
        archive.sums_again();
        out.add(name, what, is, archive);
    };
    edit("twice", "a file twice", |i| i.files.push(i.files[2].clone()));
    edit("order", "files out of order", |i| {
        i.files.push(i.files[2].clone());
        i.files[3].path = "manifests/a.yaml".into();
    });
    edit("file-and-folder", "a file where another file has a folder", |i| {
        i.files.push(i.files[2].clone());
        i.files[3].path = "manifests/map.yaml/x.yaml".into();
    });
    edit("no-oci-layout", "oci-layout is not listed", |i| _ = i.files.remove(0));
    edit("no-oci-index", "index.json is not listed", |i| _ = i.files.remove(1));
    edit("oci-order", "index.json in front of oci-layout", |i| i.files.swap(0, 1));
    edit("objects-elsewhere", "objects in index.json", |i| i.files[1].objects = i.files[2].objects.clone());
    edit("object-escapes", "an object with terminal escapes in its name", |i| {
        let odd = Object { name: "\u{1b}[2J".into(), ..i.files[2].objects[0].clone() };
        i.files[2].objects = vec![odd];
    });
    let full = Draft::small_release();
    for (name, file) in [
        ("signature-file", "signature"),
        ("signature-zero", "signature-0"),
        ("signature-leading-zero", "signature-01"),
        ("signature-plus", "signature-+1"),
        ("signature-17", "signature-17"),
        ("signature-folder", "signature-1/x"),
    ] {
        let archive = full.archive_of(|i| {
            let last = i.files.last_mut().unwrap();
            last.path = format!("{}/{file}", last.path.rsplit_once('/').unwrap().0);
        });
        let what = format!("a release signature called {file}");
        out.add(name, &what, ("A12 D5", Some(Code::Malformed), "MB-IDX-04"), archive);
    }
    let archive = full.archive_of(|i| i.files.last_mut().unwrap().path = "signatures/sha256=ab/signature-1".into());
    out.add(
        "signature-digest",
        "a release signature for something that is no digest",
        ("A12 B1", Some(Code::Malformed), "MB-IDX-04"),
        archive,
    );
}
