//! Tests of all local sources, with skopeo and GNU tar as the peers that write them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::oci::{self, Document, media_type};

/// What is wrong, and how it is made so.
type Plant = (&'static str, fn(&Path));

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oci-layouts").join(name)
}

fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn skopeo(args: &[&str]) {
    run("skopeo", &[&["--insecure-policy"], args].concat());
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in walkdir::WalkDir::new(from).min_depth(1) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() { fs::create_dir(target).unwrap() } else { drop(fs::copy(entry.path(), target)) }
    }
}

/// Reads an image whole, hashing every blob, and gives the digests met.
fn walk(source: &dyn Source, digest: &Digest) -> Result<Vec<Digest>> {
    let found = source.manifest(digest)?.expect("a manifest");
    assert_eq!(Digest::of(&found.bytes), *digest);
    let mut out = vec![*digest];
    match oci::parse(&found.bytes, &found.media_type).unwrap() {
        Document::Index(index) => {
            for child in &index.manifests {
                out.extend(walk(source, &child.digest)?);
            }
        }
        Document::Manifest(manifest) => {
            for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                let mut bytes = Vec::new();
                source.blob(blob, 0)?.read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", "blob", e))?;
                assert_eq!(Digest::of(&bytes), blob.digest);
                let mut tail = Vec::new();
                source.blob(blob, blob.size / 2)?.read_to_end(&mut tail).unwrap();
                assert_eq!(tail, bytes[usize::try_from(blob.size / 2).unwrap()..]);
                out.push(blob.digest);
            }
        }
    }
    Ok(out)
}

fn code(result: Result<impl Sized>) -> Code {
    result.err().expect("an error").code()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// A layout made by hand: blobs, and `index.json` entries.
fn layout(dir: &Path, blobs: &[&[u8]], entries: &serde_json::Value) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for blob in blobs {
        fs::write(dir.join("blobs/sha256").join(Digest::of(blob).hex()), blob).unwrap();
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// A small image: layer, config, manifest.
fn image(seed: &str, subject: Option<&[u8]>) -> [Vec<u8>; 3] {
    let layer = format!("layer {seed}").repeat(100).into_bytes();
    let config = format!(r#"{{"architecture":"amd64","os":"linux","seed":"{seed}"}}"#).into_bytes();
    let mut manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    if let Some(subject) = subject {
        manifest["subject"] = descriptor(media_type::OCI_MANIFEST, subject);
        manifest["artifactType"] = "application/vnd.test.signature".into();
    }
    [layer, config, manifest.to_string().into_bytes()]
}

fn list(children: &[&[u8]]) -> Vec<u8> {
    let children: Vec<_> = children.iter().map(|c| descriptor(media_type::OCI_MANIFEST, c)).collect();
    let doc = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children});
    doc.to_string().into_bytes()
}

#[test]
fn one_image_reads_the_same_from_layout_archive_and_dir() {
    let tmp = tempfile::tempdir().unwrap();
    let from = testdata("single-arch-empty-image");
    let (archive, dir) = (tmp.path().join("a.tar"), tmp.path().join("d"));
    let oci = format!("oci:{}", from.display());
    skopeo(&["copy", "-q", &oci, &format!("oci-archive:{}:quay.io/a/b:1", archive.display())]);
    skopeo(&["copy", "-q", &oci, &format!("dir:{}", dir.display())]);
    let mut all = Vec::new();
    for (path, label) in [(&from, None), (&archive, Some("quay.io/a/b:1")), (&dir, None)] {
        let source = open(path, Path::new(".")).unwrap();
        let names = source.names().unwrap();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].label(), label.map_or(names[0].digest.to_string(), str::to_owned));
        all.push(walk(source.as_ref(), &names[0].digest).unwrap());
    }
    assert_eq!(all[0].len(), 3);
    assert!(all.windows(2).all(|w| w[0] == w[1]));
    let source = open(&archive, Path::new(".")).unwrap();
    assert_eq!(source.resolve(&"1".parse().unwrap()).unwrap().unwrap().digest, all[0][0]);
    assert!(source.resolve(&"2".parse().unwrap()).unwrap().is_none());
}

#[test]
fn a_real_operator_bundle_image_in_dir_form_is_whole() {
    let source = SkopeoDir::open(&testdata("noo-bundle-image-dir")).unwrap();
    let named = source.names().unwrap().remove(0);
    assert_eq!(named.media_type, media_type::DOCKER_MANIFEST);
    assert_eq!(walk(&source, &named.digest).unwrap().len(), 3);
}

#[test]
fn a_list_that_skopeo_wrote_is_read_with_its_children() {
    let tmp = tempfile::tempdir().unwrap();
    let (one, two) = (image("1", None), image("2", None));
    let index = list(&[&one[2], &two[2]]);
    let blobs: Vec<&[u8]> = one.iter().chain(&two).map(Vec::as_slice).chain([index.as_slice()]).collect();
    let mut entry = descriptor(media_type::OCI_INDEX, &index);
    entry["annotations"] = serde_json::json!({oci::layout::REF_NAME: "multi"});
    layout(&tmp.path().join("l"), &blobs, &serde_json::json!([entry]));
    let (dir, from) = (tmp.path().join("d"), tmp.path().join("l"));
    skopeo(&["copy", "-q", "--all", &format!("oci:{}:multi", from.display()), &format!("dir:{}", dir.display())]);
    let root = Digest::of(&index);
    for path in [&from, &dir] {
        let source = open(path, Path::new(".")).unwrap();
        assert_eq!(source.names().unwrap()[0].digest, root);
        assert_eq!(walk(source.as_ref(), &root).unwrap().len(), 7);
        assert!(source.manifest(&Digest::of(b"none")).unwrap().is_none());
    }
}

#[test]
fn a_layer_that_was_left_out_is_missing_by_its_path() {
    let path = testdata("multi-platform-container-latest-manifests-only");
    let source = Layout::open(&path).unwrap();
    let root = source.names().unwrap()[0].digest;
    let err = walk(&source, &root).unwrap_err();
    assert_eq!(err.code(), Code::BlobMissing);
    assert!(err.message().contains(path.join("blobs/sha256").to_str().unwrap()), "{err:?}");
}

#[test]
fn what_is_not_a_regular_file_in_place_of_a_blob_is_an_error_and_no_hang() {
    let tmp = tempfile::tempdir().unwrap();
    let from = testdata("single-arch-empty-image");
    let source = Layout::open(&from).unwrap();
    let root = source.names().unwrap()[0].digest;
    for victim in walk(&source, &root).unwrap() {
        for how in ["fifo", "directory", "symlink", "parent symlink", "truncated", "flipped", "gone"] {
            let dir = tmp.path().join(format!("{} {how}", victim.hex()));
            copy_tree(&from, &dir);
            let blob = dir.join("blobs/sha256").join(victim.hex());
            let moved = tmp.path().join("moved");
            let _ = fs::rename(&blob, &moved);
            let wanted = match how {
                "fifo" => {
                    run("mkfifo", &[blob.to_str().unwrap()]);
                    Code::Malformed
                }
                "directory" => {
                    fs::create_dir(&blob).unwrap();
                    Code::Malformed
                }
                "symlink" => {
                    symlink(&moved, &blob).unwrap();
                    Code::Malformed
                }
                "parent symlink" => {
                    fs::rename(&moved, &blob).unwrap();
                    fs::rename(dir.join("blobs"), dir.join("elsewhere")).unwrap();
                    symlink("elsewhere", dir.join("blobs")).unwrap();
                    Code::Malformed
                }
                "truncated" => {
                    let bytes = fs::read(&moved).unwrap();
                    fs::write(&blob, &bytes[..bytes.len() - 1]).unwrap();
                    Code::BlobMismatch
                }
                "flipped" if victim == root => {
                    let mut bytes = fs::read(&moved).unwrap();
                    bytes[5] ^= 1;
                    fs::write(&blob, bytes).unwrap();
                    Code::BlobMismatch
                }
                "gone" if victim != root => Code::BlobMissing,
                _ => continue,
            };
            let source = open(&dir, Path::new(".")).unwrap();
            assert_eq!(code(walk(source.as_ref(), &root)), wanted, "{how}");
        }
    }
}

#[test]
fn folders_that_are_nothing_known_say_what_was_expected() {
    let tmp = tempfile::tempdir().unwrap();
    for open in [
        |p: &Path| Layout::open(p).map(drop),
        |p: &Path| SkopeoDir::open(p).map(drop),
        |p: &Path| MirrorDir::open(p).map(drop),
        |p: &Path| super::open(p, p).map(drop),
    ] {
        let err = open(tmp.path()).unwrap_err();
        assert_eq!(err.code(), Code::Source);
        assert!(err.facts()[0].starts_with("expected"), "{err:?}");
        assert_eq!(code(open(&tmp.path().join("none"))), Code::Io);
    }
}

#[test]
fn hostile_layout_documents_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let one = image("1", None);
    let other = image("2", None);
    let named = |manifest: &[u8], name: &str| {
        let mut entry = descriptor(media_type::OCI_MANIFEST, manifest);
        entry["annotations"] = serde_json::json!({oci::layout::REF_NAME: name});
        entry
    };
    let twice = serde_json::json!([named(&one[2], "quay.io/a/b:1"), named(&other[2], "quay.io/a/b:1")]);
    layout(tmp.path(), &[&one[2], &other[2]], &twice);
    assert_eq!(code(Layout::open(tmp.path()).unwrap().names()), Code::Malformed);
    layout(tmp.path(), &[], &serde_json::json!([named(&one[2], "../../etc")]));
    assert_eq!(code(Layout::open(tmp.path()).unwrap().names()), Code::Malformed);
    let ambiguous = serde_json::json!([named(&one[2], "quay.io/a/b:1"), named(&other[2], "quay.io/a/c:1")]);
    layout(tmp.path(), &[], &ambiguous);
    assert_eq!(code(Layout::open(tmp.path()).unwrap().resolve(&"1".parse().unwrap())), Code::Source);
    let mut wrong_size = named(&one[2], "x");
    wrong_size["size"] = 3.into();
    layout(tmp.path(), &[&one[2]], &serde_json::json!([wrong_size]));
    let source = Layout::open(tmp.path()).unwrap();
    assert_eq!(code(source.manifest(&Digest::of(&one[2]))), Code::BlobMismatch);
    for (file, content) in [
        ("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#.to_owned()),
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"}"#.to_owned()),
        ("oci-layout", " ".repeat(5000)),
        ("index.json", r#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#.to_owned()),
        ("index.json", " ".repeat(9 << 20)),
    ] {
        layout(tmp.path(), &[], &serde_json::json!([]));
        assert!(Layout::open(tmp.path()).is_ok());
        fs::write(tmp.path().join(file), content).unwrap();
        assert_eq!(code(Layout::open(tmp.path())), Code::Malformed);
    }
}

#[test]
fn referrers_of_a_layout_are_those_whose_subject_it_is() {
    let tmp = tempfile::tempdir().unwrap();
    let one = image("1", None);
    let signature = image("s", Some(&one[2]));
    let entries = [&one[2], &signature[2]].map(|m| descriptor(media_type::OCI_MANIFEST, m));
    layout(tmp.path(), &[&one[2], &signature[2]], &serde_json::json!(entries));
    let source = Layout::open(tmp.path()).unwrap();
    let found = source.referrers(&Digest::of(&one[2])).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].digest, Digest::of(&signature[2]));
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/vnd.test.signature"));
    assert!(source.referrers(&Digest::of(&signature[2])).unwrap().is_empty());
}

/// A tar file with these members: name, type, content.
fn tar_of(path: &Path, members: &[(&str, u8, &[u8])]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, kind, content) in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.finish().unwrap();
}

#[test]
fn archives_as_gnu_tar_writes_them_are_read() {
    let tmp = tempfile::tempdir().unwrap();
    let from = testdata("single-arch-empty-image");
    let root = Layout::open(&from).unwrap().names().unwrap()[0].digest;
    for format in ["ustar", "gnu", "pax"] {
        let file = tmp.path().join(format!("{format}.tar"));
        let args = ["-C", from.to_str().unwrap(), "--format", format, "-cf", file.to_str().unwrap(), "."];
        run("tar", &args);
        let source = archive::open(&file, tmp.path()).unwrap();
        assert_eq!(walk(source.as_ref(), &root).unwrap().len(), 3, "{format}");
    }
}

#[test]
fn archives_with_links_duplicates_or_unsafe_names_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("a.tar");
    let marker: (&str, u8, &[u8]) = ("oci-layout", b'0', br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: (&str, u8, &[u8]) = ("index.json", b'0', br#"{"schemaVersion":2,"manifests":[]}"#);
    tar_of(&file, &[("blobs/", b'5', b""), marker, index]);
    assert!(archive::open(&file, tmp.path()).is_ok());
    for kind in b"12346789gLKSDMNVx\x80" {
        tar_of(&file, &[marker, index, ("y", *kind, b"17 path=elsewhere\n")]);
        assert_eq!(code(archive::open(&file, tmp.path())), Code::Malformed, "{kind}");
    }
    for bad in ["../x", "/x", "a/../b", "a//b", "./../x", "oci-layout", "./oci-layout"] {
        tar_of(&file, &[marker, index, (bad, b'0', b"x")]);
        assert_eq!(code(archive::open(&file, tmp.path())), Code::Malformed, "{bad}");
    }
    tar_of(&file, &[marker, index, ("y", b'x', b"19 mtime=1.2345678\n"), ("z", b'0', b"x")]);
    assert!(archive::open(&file, tmp.path()).is_ok());
    tar_of(&file, &[("manifest.json", b'0', b"[]")]);
    assert!(archive::open(&file, tmp.path()).unwrap().names().unwrap().is_empty());
    tar_of(&file, &[("repositories", b'0', b"{}")]);
    assert!(archive::open(&file, tmp.path()).err().unwrap().hint_text().unwrap().contains("before 1.10"));
}

#[test]
fn a_cut_archive_is_truncated_and_an_xz_one_named_as_such() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("a.tar");
    run("tar", &["-C", testdata("single-arch-empty-image").to_str().unwrap(), "-cf", file.to_str().unwrap(), "."]);
    let bytes = fs::read(&file).unwrap();
    let mut refused = 0;
    for cut in (0..bytes.len()).step_by(128) {
        fs::write(tmp.path().join("cut"), &bytes[..cut]).unwrap();
        let cut = archive::open(&tmp.path().join("cut"), tmp.path());
        if let Ok(source) = cut {
            let root = source.names().unwrap()[0].digest;
            match source.manifest(&root) {
                Ok(Some(_)) => refused += usize::from(walk(source.as_ref(), &root).is_err()),
                Ok(None) => refused += 1,
                Err(e) => panic!("{e:?}"),
            }
        } else {
            refused += 1;
        }
    }
    assert!(refused > 10);
    run("xz", &[file.to_str().unwrap()]);
    let err = archive::open(&tmp.path().join("a.tar.xz"), tmp.path()).err().unwrap();
    assert_eq!(err.hint_text(), Some("decompress it first: unxz"), "{err:?}");
    let fifo = tmp.path().join("fifo");
    run("mkfifo", &[fifo.to_str().unwrap()]);
    assert_eq!(code(archive::open(&fifo, tmp.path())), Code::Source);
}

#[derive(Clone, Copy)]
enum Links {
    Hard,
    Copies,
    /// As before 2020-02: the target begins with the folder on the writing host.
    Old,
    /// Every link followed while copying.
    Followed,
}

/// A tree with a tagged list of two, an untagged image, a signature of the first child, all in one repository.
fn v2(base: &Path, dashed: bool, links: Links) -> [Vec<u8>; 9] {
    let (one, two, alone) = (image("1", None), image("2", None), image("3", None));
    let index = list(&[&one[2], &two[2]]);
    let signature = image("s", Some(&one[2]));
    let repo = base.join("v2/openshift/release");
    fs::create_dir_all(repo.join("blobs")).unwrap();
    fs::create_dir_all(repo.join("manifests")).unwrap();
    let name = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        if dashed { digest.dashed() } else { digest.to_string() }
    };
    for blob in one.iter().chain(&two).chain(&alone).chain(&signature).chain([&index]) {
        fs::write(repo.join("blobs").join(name(blob)), blob).unwrap();
    }
    for manifest in [&one[2], &two[2], &alone[2], &signature[2], &index] {
        let (from, to) = (repo.join("blobs").join(name(manifest)), repo.join("manifests").join(name(manifest)));
        if let Links::Hard = links { fs::hard_link(from, to).unwrap() } else { drop(fs::copy(from, to)) }
    }
    let sig = format!("{}.sig", Digest::of(&one[2]).dashed());
    for (tag, manifest) in [("4.3.0-x86_64", &index), (sig.as_str(), &signature[2])] {
        let tag = repo.join("manifests").join(tag);
        match links {
            Links::Hard | Links::Copies => symlink(name(manifest), tag).unwrap(),
            Links::Old => symlink(format!("mirror/v2/openshift/release/manifests/{}", name(manifest)), tag).unwrap(),
            Links::Followed => fs::write(tag, manifest).unwrap(),
        }
    }
    fs::write(repo.join("blobs/sha256:00.download"), "").unwrap();
    fs::write(repo.join("manifests/.tmp-1"), "").unwrap();
    let [o0, o1, o2] = one;
    let [t0, t1, t2] = two;
    [o0, o1, o2, t0, t1, t2, alone[2].clone(), index, signature[2].clone()]
}

#[test]
fn mirror_trees_of_every_age_and_form_read_the_same() {
    for dashed in [false, true] {
        for links in [Links::Hard, Links::Copies, Links::Old, Links::Followed] {
            let tmp = tempfile::tempdir().unwrap();
            let all = v2(tmp.path(), dashed, links);
            for given in [tmp.path().to_owned(), tmp.path().join("v2")] {
                let source = open(&given, Path::new(".")).unwrap();
                let index = Digest::of(&all[7]);
                let labels: Vec<String> = source.names().unwrap().iter().map(Named::label).collect();
                assert_eq!(
                    labels,
                    [
                        format!("openshift/release@{}", Digest::of(&all[6])),
                        "openshift/release:4.3.0-x86_64".to_owned(),
                        format!("openshift/release:{}.sig", Digest::of(&all[2]).dashed()),
                    ]
                );
                let found = source.resolve(&"4.3.0-x86_64".parse().unwrap()).unwrap().unwrap();
                assert_eq!((found.digest, found.media_type.as_str()), (index, media_type::OCI_INDEX));
                assert_eq!(walk(source.as_ref(), &index).unwrap().len(), 7);
                let referrers = source.referrers(&Digest::of(&all[2])).unwrap();
                assert_eq!(referrers.iter().map(|r| r.digest).collect::<Vec<_>>(), [Digest::of(&all[8])]);
            }
        }
    }
}

#[test]
fn a_damaged_mirror_tree_is_noticed_and_a_good_second_copy_used() {
    let tmp = tempfile::tempdir().unwrap();
    let all = v2(tmp.path(), false, Links::Copies);
    let repo = tmp.path().join("v2/openshift/release");
    let root = Digest::of(&all[7]);
    let layer = repo.join("blobs").join(Digest::of(&all[0]).to_string());
    fs::write(&layer, &all[0][..10]).unwrap();
    let err = walk(&MirrorDir::open(tmp.path()).unwrap(), &root).unwrap_err();
    assert_eq!(err.code(), Code::BlobMismatch);
    assert!(err.message().contains(layer.to_str().unwrap()));
    fs::create_dir_all(tmp.path().join("v2/other/blobs")).unwrap();
    fs::write(tmp.path().join("v2/other/blobs").join(Digest::of(&all[0]).to_string()), &all[0]).unwrap();
    assert!(walk(&MirrorDir::open(tmp.path()).unwrap(), &root).is_ok());

    let manifest = repo.join("manifests").join(root.to_string());
    fs::write(&manifest, &all[2]).unwrap();
    assert!(walk(&MirrorDir::open(tmp.path()).unwrap(), &root).is_ok(), "the copy among the blobs is right");
    fs::write(repo.join("blobs").join(root.to_string()), &all[2]).unwrap();
    let err = MirrorDir::open(tmp.path()).unwrap().names().unwrap_err();
    assert_eq!(err.code(), Code::BlobMismatch);
    assert!(err.message().contains(manifest.to_str().unwrap()));
    fs::remove_file(manifest).unwrap();
    fs::remove_file(repo.join("blobs").join(root.to_string())).unwrap();
    let source = MirrorDir::open(tmp.path()).unwrap();
    assert_eq!(code(source.names()), Code::BlobMissing);
    assert_eq!(code(source.resolve(&"4.3.0-x86_64".parse().unwrap())), Code::BlobMissing);
}

#[test]
fn hostile_mirror_trees_are_refused() {
    let plant: [Plant; 7] = [
        ("a tag to no digest", |repo| symlink("/etc/passwd", repo.join("manifests/t")).unwrap()),
        ("a folder link", |repo| symlink("/etc", repo.join("etc")).unwrap()),
        ("blobs as a link", |repo| {
            fs::rename(repo.join("blobs"), repo.parent().unwrap().join("x")).unwrap();
            symlink("../x", repo.join("blobs")).unwrap();
        }),
        ("a stray name", |repo| fs::write(repo.join("blobs/sha512:00"), "").unwrap()),
        ("an upper-case digest", |repo| fs::write(repo.join("blobs/sha256:AB"), "").unwrap()),
        ("a folder as a tag", |repo| fs::create_dir(repo.join("manifests/t")).unwrap()),
        ("a repository outside the grammar", |repo| fs::create_dir(repo.join("Upper Case")).unwrap()),
    ];
    for (what, plant) in plant {
        let tmp = tempfile::tempdir().unwrap();
        v2(tmp.path(), false, Links::Hard);
        plant(&tmp.path().join("v2/openshift/release"));
        assert_eq!(code(MirrorDir::open(tmp.path())), Code::Malformed, "{what}");
    }
}

#[test]
fn signature_files_beside_the_tree_are_listed_and_read() {
    let tmp = tempfile::tempdir().unwrap();
    v2(tmp.path(), false, Links::Hard);
    fs::create_dir(tmp.path().join("config")).unwrap();
    fs::create_dir(tmp.path().join("manifests")).unwrap();
    fs::write(tmp.path().join("config/signature-sha256-1.json"), "{}").unwrap();
    fs::write(tmp.path().join("config/notes.txt"), "").unwrap();
    fs::write(tmp.path().join("manifests/a.yaml"), "a: 1").unwrap();
    let source = MirrorDir::open(tmp.path()).unwrap();
    let found = source.beside().unwrap();
    let expected = [("config/signature-sha256-1.json", "{}"), ("manifests/a.yaml", "a: 1")];
    assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())));
    symlink("/etc/passwd", tmp.path().join("config/x.json")).unwrap();
    assert_eq!(code(source.beside()), Code::Malformed);
    assert!(MirrorDir::open(&tmp.path().join("v2")).unwrap().beside().unwrap().is_empty());
}
