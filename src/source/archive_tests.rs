//! Archives of docker and compressed archives, with skopeo and the compressors as peers; names for several platforms.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::oci::{self, Document, media_type};

type Member<'a> = (&'a str, u8, &'a [u8]);

fn run(program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A tar file with these members; the content of a link (type `2`) is its target.
fn tar_of(file: &Path, members: &[Member<'_>]) {
    let mut builder = tar::Builder::new(fs::File::create(file).unwrap());
    for (name, kind, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        let mut content = *content;
        if *kind == b'2' {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content);
            content = b"";
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.finish().unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
    serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
        .into_bytes()
}

fn read(source: &dyn Source, what: &Descriptor) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.blob(what, 0)?.read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", "blob", e))?;
    Ok(bytes)
}

/// The manifest of the only image, after checking that all its content exists.
fn whole(source: &dyn Source) -> oci::Manifest {
    let names = source.names().unwrap();
    let found = source.manifest(&names[0].digest).unwrap().expect("a manifest");
    assert_eq!((Digest::of(&found.bytes), found.bytes.len() as u64), (names[0].digest, names[0].size));
    let Document::Manifest(manifest) = oci::parse(&found.bytes, &found.media_type).unwrap() else { panic!("an index") };
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        assert_eq!(Digest::of(&read(source, blob).unwrap()), blob.digest);
    }
    manifest
}

fn open_tar(folder: &Path, members: &[Member<'_>]) -> Result<Box<dyn Source>> {
    let file = folder.join("a.tar");
    tar_of(&file, members);
    open(&file, folder)
}

fn code(result: Result<impl Sized>) -> Code {
    result.err().expect("an error").code()
}

/// An OCI layout with an image of two layers, and its configuration.
fn layout(folder: &Path) -> (PathBuf, Vec<u8>) {
    let dir = folder.join("layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let mut contents = Vec::new();
    for name in ["one", "two"] {
        let (file, content) = (folder.join("layer.tar"), name.repeat(500));
        tar_of(&file, &[(name, b'0', content.as_bytes())]);
        contents.push(fs::read(file).unwrap());
    }
    let config = config(&[&contents[0], &contents[1]]);
    let put = |media_type: &str, bytes: &[u8]| {
        fs::write(dir.join("blobs/sha256").join(Digest::of(bytes).hex()), bytes).unwrap();
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    };
    let layers = contents.iter().map(|l| put("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(l))).collect();
    let manifest =
        oci::ManifestOf { media_type: media_type::OCI_MANIFEST, config: put(media_type::OCI_CONFIG, &config), layers }
            .to_vec()
            .unwrap();
    let root = put(media_type::OCI_MANIFEST, &manifest);
    fs::write(dir.join("oci-layout"), oci::layout::MARKER_JSON).unwrap();
    fs::write(dir.join("index.json"), oci::IndexOf(vec![root]).to_vec().unwrap()).unwrap();
    (dir, config)
}

#[test]
fn what_skopeo_writes_for_docker_is_read_with_its_names_and_layers() {
    let tmp = tempfile::tempdir().unwrap();
    let (from, _) = layout(tmp.path());
    let archive = tmp.path().join("d.tar");
    let to = format!("docker-archive:{}:quay.io/a/b:1", archive.display());
    run("skopeo", &["--insecure-policy", "copy", "-q", &format!("oci:{}", from.display()), &to]);
    let source = open(&archive, tmp.path()).unwrap();
    assert_eq!(source.names().unwrap()[0].label(), "quay.io/a/b:1");
    let manifest = whole(source.as_ref());
    assert_eq!(manifest.layers.len(), 2);
    assert!(manifest.layers.iter().all(|l| l.media_type == "application/vnd.oci.image.layer.v1.tar"));
    // Reading it back gives the same image.
    let back = tmp.path().join("back");
    run("skopeo", &["--insecure-policy", "copy", "-q", &to, &format!("dir:{}", back.display())]);
    let back = SkopeoDir::open(&back).unwrap();
    assert_eq!(read(source.as_ref(), &manifest.config).unwrap(), read(&back, &whole(&back).config).unwrap());
}

#[test]
fn compressed_archives_are_the_same_as_plain_ones_and_leave_nothing_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let (from, _) = layout(tmp.path());
    let plain = tmp.path().join("p.tar");
    run("tar", &["-C", from.to_str().unwrap(), "-cf", plain.to_str().unwrap(), "."]);
    let expected = open(&plain, tmp.path()).unwrap().names().unwrap();
    let room = tmp.path().join("room");
    fs::create_dir(&room).unwrap();
    for (program, ending) in [("gzip", "gz"), ("zstd", "zst"), ("bzip2", "bz2")] {
        if Command::new(program).arg("--version").output().is_err() {
            continue;
        }
        let packed = tmp.path().join(format!("p.tar.{ending}"));
        run(program, &["-q", "-k", plain.to_str().unwrap()]);
        let source = open(&packed, room.as_path()).unwrap();
        assert_eq!(source.names().unwrap(), expected, "{ending}");
        assert_eq!(whole(source.as_ref()).layers.len(), 2);
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        let err = open(&packed, room.as_path()).err().unwrap();
        assert_eq!(err.code(), Code::Malformed, "{err:?}");
        assert!(err.message().contains("damaged"), "{err:?}");
    }
    assert_eq!(fs::read_dir(&room).unwrap().count(), 0);
}

#[test]
fn layers_that_are_links_or_compressed_are_read_from_a_docker_archive() {
    let tmp = tempfile::tempdir().unwrap();
    let (one, two) = (b"layer one".repeat(60), b"layer two".repeat(60));
    let config = config(&[&one, &two, &one]);
    let list = br#"[{"Config":"c.json","RepoTags":["hello:1","quay.io/a/b:2"],"Layers":["a/layer.tar","b.tar.gz","c/layer.tar"]}]"#;
    let packed = gzip(&two);
    let members: [Member<'_>; 7] = [
        ("a/", b'5', b""),
        ("a/VERSION", b'0', b"1.0"),
        ("a/layer.tar", b'0', &one),
        ("b.tar.gz", b'0', &packed),
        ("c/layer.tar", b'2', b"../a/layer.tar"),
        ("c.json", b'0', &config),
        ("manifest.json", b'0', list),
    ];
    let source = open_tar(tmp.path(), &members).unwrap();
    let labels: Vec<String> = source.names().unwrap().iter().map(Named::label).collect();
    assert_eq!(labels, ["docker.io/library/hello:1", "quay.io/a/b:2"]);
    let manifest = whole(source.as_ref());
    let digests: Vec<Digest> = manifest.layers.iter().map(|l| l.digest).collect();
    assert_eq!(digests, [Digest::of(&one), Digest::of(&packed), Digest::of(&one)]);
    assert_eq!(manifest.layers[1].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
}

#[test]
fn a_docker_archive_that_contradicts_itself_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let (layer, packed) = (b"layer".repeat(100), gzip(b"another layer"));
    let config = config(&[&layer]);
    let list = |layers: &str| format!(r#"[{{"Config":"c","RepoTags":null,"Layers":{layers}}}]"#);
    let with = |name: &str, kind: u8, content: &[u8], list: &str| {
        let list = list.as_bytes();
        let members = [(name, kind, content), ("c", b'0', config.as_slice()), ("manifest.json", b'0', list)];
        open_tar(tmp.path(), &members)
    };
    assert_eq!(whole(with("l", b'0', &layer, &list(r#"["l"]"#)).unwrap().as_ref()).layers.len(), 1);
    for (name, kind, content, layers, expected) in [
        ("l", b'0', layer.as_slice(), r#"["l","l"]"#, Code::Malformed),
        ("l", b'0', &layer, "null", Code::Malformed),
        ("l", b'0', &layer, r#"["other"]"#, Code::BlobMissing),
        ("l", b'0', &layer, r#"["../l"]"#, Code::BlobMissing),
        ("l", b'0', &packed, r#"["l"]"#, Code::BlobMismatch),
        ("l", b'2', b"l", r#"["l"]"#, Code::BlobMissing),
        ("l", b'2', b"../x", r#"["l"]"#, Code::Malformed),
        ("l", b'2', b"/etc/passwd", r#"["l"]"#, Code::Malformed),
        ("l", b'1', b"", r#"["l"]"#, Code::Malformed),
    ] {
        let found = with(name, kind, content, &list(layers));
        assert_eq!(code(found), expected, "{layers} {kind}");
    }
    assert_eq!(code(with("l", b'0', &layer, r#"[{"Config":"c","config":"d","Layers":["l"]}]"#)), Code::Malformed);
    // A layer that is not compressed turns out to be wrong when it is read.
    let source = with("l", b'0', &b"LAYER".repeat(100), &list(r#"["l"]"#)).unwrap();
    let found = source.manifest(&source.names().unwrap()[0].digest).unwrap().unwrap();
    let Document::Manifest(manifest) = oci::parse(&found.bytes, &found.media_type).unwrap() else { panic!("an index") };
    assert_ne!(Digest::of(&read(source.as_ref(), &manifest.layers[0]).unwrap()), manifest.layers[0].digest);
}

#[test]
fn a_layout_that_docker_wrote_without_its_layers_gives_way_to_manifest_json() {
    let tmp = tempfile::tempdir().unwrap();
    let layer = b"layer".repeat(100);
    let config = config(&[&layer]);
    let (config_path, layer_path) =
        (format!("blobs/sha256/{}", Digest::of(&config).hex()), format!("blobs/sha256/{}", Digest::of(&layer).hex()));
    let list = format!(r#"[{{"Config":"{config_path}","RepoTags":["hello:latest"],"Layers":["{layer_path}"]}}]"#);
    let described = Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config), config.len() as u64);
    let layers =
        vec![Descriptor::new("application/vnd.oci.image.layer.v1.tar", Digest::of(&layer), layer.len() as u64)];
    for (entries, layers, notices) in [(true, layers, 0), (true, Vec::new(), 1), (false, Vec::new(), 1)] {
        let manifest = oci::ManifestOf { media_type: media_type::OCI_MANIFEST, config: described.clone(), layers }
            .to_vec()
            .unwrap();
        let manifest_path = format!("blobs/sha256/{}", Digest::of(&manifest).hex());
        let root = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(&manifest), manifest.len() as u64);
        let index = match entries {
            true => oci::IndexOf(vec![root]).to_vec().unwrap(),
            false => br#"{"schemaVersion":2,"manifests":null}"#.to_vec(),
        };
        let source = open_tar(
            tmp.path(),
            &[
                (&config_path, b'0', &config),
                (&layer_path, b'0', &layer),
                (&manifest_path, b'0', &manifest),
                ("index.json", b'0', &index),
                ("manifest.json", b'0', list.as_bytes()),
                ("oci-layout", b'0', oci::layout::MARKER_JSON),
            ],
        )
        .unwrap();
        assert_eq!(source.notices().len(), notices);
        assert_eq!(whole(source.as_ref()).layers.len(), 1);
    }
}

/// A layout of two images under one name, with the platforms in the entries, or else in the configurations.
fn two_platforms(folder: &Path, in_entries: bool, archs: [&str; 2]) -> Layout {
    let put = |media_type: &str, bytes: &[u8]| {
        fs::write(folder.join("blobs/sha256").join(Digest::of(bytes).hex()), bytes).unwrap();
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    };
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let mut entries = Vec::new();
    for (n, arch) in archs.iter().enumerate() {
        let config = format!(r#"{{"os":"linux","architecture":"{arch}","n":{n}}}"#);
        let config = put(media_type::OCI_CONFIG, config.as_bytes());
        let manifest =
            oci::ManifestOf { media_type: media_type::OCI_MANIFEST, config, layers: Vec::new() }.to_vec().unwrap();
        let mut entry = put(media_type::OCI_MANIFEST, &manifest);
        entry.annotations.insert(oci::layout::REF_NAME.to_owned(), "v1".to_owned());
        entry.platform = in_entries.then(|| format!("linux/{arch}").parse().unwrap());
        entries.push(entry);
    }
    fs::write(folder.join("oci-layout"), oci::layout::MARKER_JSON).unwrap();
    fs::write(folder.join("index.json"), oci::IndexOf(entries).to_vec().unwrap()).unwrap();
    Layout::open(folder).unwrap()
}

#[test]
fn of_images_of_one_name_the_one_for_the_platform_is_taken() {
    for in_entries in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let source = two_platforms(tmp.path(), in_entries, ["amd64", "arm64"]);
        let names = source.names().unwrap();
        assert_eq!(names.len(), 2);
        let chosen = |text: &str| of_platform(names.clone(), Some(&text.parse().unwrap()), "it");
        for arch in ["amd64", "arm64"] {
            let platform = format!("linux/{arch}");
            let one = chosen(&platform).unwrap();
            assert_eq!((one.len(), one[0].platform.as_ref().unwrap().to_string()), (1, platform));
        }
        assert_eq!(code(chosen("linux/s390x")), Code::Source);
        let err = of_platform(names.clone(), None, "it").unwrap_err();
        assert!(err.hint_text().unwrap().contains("--platform"), "{err:?}");
    }
    let tmp = tempfile::tempdir().unwrap();
    assert_eq!(code(two_platforms(tmp.path(), false, ["amd64", "amd64"]).names()), Code::Malformed);
}

#[test]
fn a_root_index_may_be_of_docker_and_what_is_no_image_in_it_is_passed_over() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, _) = layout(tmp.path());
    let text = fs::read_to_string(dir.join("index.json")).unwrap();
    fs::write(dir.join("index.json"), text.replace(media_type::OCI_INDEX, media_type::DOCKER_LIST)).unwrap();
    let source = open(&dir, tmp.path()).unwrap();
    assert_eq!((source.names().unwrap().len(), source.notices().len()), (1, 0));
    let other = Descriptor::new("application/xml", Digest::of(b"<x/>"), 4);
    let Document::Index(index) = oci::parse(text.as_bytes(), media_type::OCI_INDEX).unwrap() else { panic!() };
    let entries = [index.manifests, vec![other]].concat();
    fs::write(dir.join("index.json"), oci::IndexOf(entries).to_vec().unwrap()).unwrap();
    let source = open(&dir, tmp.path()).unwrap();
    assert_eq!(source.names().unwrap().len(), 1);
    assert!(source.notices()[0].contains("application/xml"), "{:?}", source.notices());
}
