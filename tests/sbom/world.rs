//! Layouts with packages, bundles of them, and the program.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};

use crate::support::image::{Blob, Image, layer};
use crate::support::program::program;

/// A file of `testdata/`, without its compression.
pub fn stored(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/{name}.gz", env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut out).unwrap();
    out
}

/// Writes images with these names to an OCI layout.
pub fn layout(dir: &Path, images: &[(&str, Image)]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut manifests = Vec::new();
    for (name, image) in images {
        for document in image.documents() {
            fs::write(blobs.join(document.digest().hex()), &document.bytes).unwrap();
            for Blob { bytes, .. } in &document.blobs {
                fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
            }
        }
        let mut entry = image.descriptor();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        manifests.push(entry);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// A layer of these files, symbolic links (`->`) and hard links (`=>`) with their targets.
pub fn linked(entries: &[(&str, &str, &[u8])]) -> Blob {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, how, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(0);
        let target = std::str::from_utf8(content).unwrap_or_default();
        match *how {
            "->" => header.set_entry_type(tar::EntryType::Symlink),
            "=>" => header.set_entry_type(tar::EntryType::Link),
            _ => header.set_size(content.len() as u64),
        }
        match *how {
            "" => tar.append_data(&mut header, path, *content).unwrap(),
            _ => tar.append_link(&mut header, path, target).unwrap(),
        }
    }
    let plain = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    Blob { diff_id: Some(Digest::of(&plain)), ..Blob::new(media_type, gzip.finish().unwrap()) }
}

/// What the program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }
}

pub fn run(dir: &Path, args: &[&str]) -> Said {
    let out = program(dir).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: out.status.code().unwrap(), out: text(&out.stdout), err: text(&out.stderr) }
}

#[track_caller]
pub fn good(dir: &Path, args: &[&str]) -> Said {
    let said = run(dir, args);
    assert_eq!(said.code, 0, "{args:?}\n{}\n{}", said.out, said.err);
    said
}

/// A folder with `b.tar`: an image of Red Hat's kind, whose last package is only in the log that a second layer has, and
/// one of Debian's kind; signed by `key`.
pub fn bundle() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (data, log) = (stored("rpmdb/wal-rpmdb.sqlite"), stored("rpmdb/wal-rpmdb.sqlite-wal"));
    let go = stored("packages/go-syft.buildinfo");
    let base = layer(&[
        ("usr/lib/os-release", b"ID=rhel\nVERSION_ID=\"9.4\"\n"),
        ("var/lib/rpm/rpmdb.sqlite", &data),
        ("opt/gone/package.json", br#"{"name":"gone","version":"1.0.0"}"#),
        ("opt/old/package.json", br#"{"name":"old","version":"1.0.0"}"#),
    ]);
    let above = layer(&[
        ("var/lib/rpm/rpmdb.sqlite-wal", &log),
        ("opt/.wh.gone", b""),
        ("opt/old/package.json", br#"{"name":"new","version":"2.0.0","license":"MIT OR Apache-2.0"}"#),
        ("usr/bin/tool", &elf(&go)),
    ]);
    let debian = layer(&[
        ("etc/os-release", b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
        (
            "var/lib/dpkg/status.d/base",
            b"Package: base-files\nVersion: 12.4+deb12u5\nArchitecture: amd64\nMaintainer: S <s@example.com>\n",
        ),
        (
            "usr/lib/python3/x-1.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: x\nVersion: 1.0\nLicense: Custom one\n",
        ),
    ]);
    let images = [
        ("quay.io/o/rhel:1", Image::oci("amd64", &[base, above])),
        ("quay.io/o/debian:1", Image::oci("amd64", &[debian])),
    ];
    layout(&dir.path().join("layout"), &images);
    good(dir.path(), &["keygen", "key", "--no-passphrase"]);
    good(dir.path(), &["create", "b.tar", "--sign-key", "key", "--from-layout", "layout", "-qq"]);
    dir
}

/// A small ELF program with one section, `.go.buildinfo`.
pub fn elf(section: &[u8]) -> Vec<u8> {
    let names = b"\0.go.buildinfo\0.shstrtab\0";
    let at_names = 64 + section.len() as u64;
    let at_table = (at_names + names.len() as u64).next_multiple_of(8);
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    out.extend([0; 16]);
    out.extend(at_table.to_le_bytes());
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    out.extend(section);
    out.extend(names);
    out.resize(usize::try_from(at_table).unwrap(), 0);
    out.extend([0; 64]);
    let mut header = |name: u32, kind: u32, at: u64, size: usize| {
        out.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
        out.extend([0_u64, 0, at, size as u64, 0, 1, 0].map(u64::to_le_bytes).concat());
    };
    header(1, 1, 64, section.len());
    header(15, 3, at_names, names.len());
    out
}
