#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, Write};

use tar::EntryType;

use super::*;

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

fn data(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn references(version: &str) -> Vec<u8> {
    format!(
        r#"{{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","metadata":{{"name":"{version}"}},"spec":{{"tags":[]}}}}"#
    )
    .into_bytes()
}

fn metadata(version: &str) -> Vec<u8> {
    format!(r#"{{"kind":"cincinnati-metadata-v0","version":"{version}"}}"#).into_bytes()
}

fn header(kind: EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o444);
    header.set_size(size as u64);
    header
}

/// A layer under construction. Names are written unchanged, including hostile ones.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new())).dir("release-manifests/")
    }
    fn entry(mut self, mut header: tar::Header, path: &str, bytes: &[u8]) -> Tar {
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }
    fn file(self, path: &str, bytes: &[u8]) -> Tar {
        self.entry(header(EntryType::Regular, bytes.len()), path, bytes)
    }
    fn dir(self, path: &str) -> Tar {
        self.entry(header(EntryType::Directory, 0), path, b"")
    }
    fn link(self, kind: EntryType, path: &str, to: &str) -> Tar {
        let mut header = header(kind, 0);
        header.set_link_name(to).unwrap();
        self.entry(header, path, b"")
    }
    fn pax(mut self, records: &[(&str, &[u8])]) -> Tar {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }
    fn release(self, version: &str) -> Tar {
        self.file("release-manifests/image-references", &references(version))
            .file("release-manifests/release-metadata", &metadata(version))
    }
    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Reads layers, given top first; also returns how many were requested.
fn read_layers(layers: &[(&str, Vec<u8>)]) -> (Result<Payload>, usize) {
    let mut asked = 0;
    let mut rest = layers.iter();
    let next = || {
        Ok(rest.next().map(|(media_type, bytes)| {
            asked += 1;
            ((*media_type).to_owned(), Box::new(bytes.as_slice()) as Box<dyn Read>)
        }))
    };
    let payload = read(next, &Limits::default());
    (payload, asked)
}

fn version(layers: &[Tar]) -> Result<String>
where
    Tar: Clone,
{
    let layers: Vec<(&str, Vec<u8>)> = layers.iter().map(|l| (TAR, l.clone().end())).collect();
    read_layers(&layers).0.map(|p| p.version)
}

impl Clone for Tar {
    fn clone(&self) -> Tar {
        let bytes = self.0.get_ref().clone();
        Tar(tar::Builder::new(bytes))
    }
}

fn refusal(layers: &[Tar]) -> String {
    let err = version(layers).expect_err("must be refused");
    assert_eq!(err.code(), Code::Malformed, "{err}");
    err.to_string()
}

#[test]
fn a_real_payload_is_read_from_plain_gzip_and_zstd_layers_and_lower_ones_are_not_asked_for() {
    let tar = Tar::new()
        .file(
            "release-manifests/0000_90_cluster-update-keys_configmap.yaml",
            &data("cluster-update-keys/manifests.rhel/0000_90_cluster-update-keys_configmap.yaml"),
        )
        .file("release-manifests/image-references", &data("release-payload/oc-mirror-4.12.0-x86_64/image-references"))
        .file("release-manifests/release-metadata", &data("release-payload/oc-mirror-4.12.0-x86_64/release-metadata"))
        .end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 3).unwrap();
    for (media_type, bytes) in [
        (TAR, &tar),
        ("application/vnd.oci.image.layer.v1.tar+gzip", &gzip),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip),
        ("application/vnd.oci.image.layer.v1.tar+zstd", &zstd),
    ] {
        let (payload, asked) = read_layers(&[(media_type, bytes.clone()), ("no layer", vec![1])]);
        let payload = payload.unwrap();
        assert_eq!((payload.version.as_str(), payload.image_references.tags.len(), asked), ("4.12.0", 183, 1));
        assert_eq!(payload.verification.unwrap().unwrap().stores.len(), 2);
        assert_eq!(payload.release_metadata.unwrap().architecture, None);
        for length in [0, bytes.len() / 2, bytes.len() - 2000.min(bytes.len() / 3)] {
            assert!(read_layers(&[(media_type, bytes[..length].to_vec())]).0.is_err(), "{media_type} {length}");
        }
    }
    assert!(read_layers(&[("application/x-unknown", tar)]).0.is_err());
}

#[test]
fn the_topmost_layer_decides_and_metadata_may_come_from_below_or_not_at_all() {
    let upper = Tar::new().file("./release-manifests//image-references", &references("4.2.0"));
    let lower = Tar::new().release("4.2.0");
    assert_eq!(version(&[Tar::new(), upper.clone(), lower]).unwrap(), "4.2.0");
    assert_eq!(version(std::slice::from_ref(&upper)).unwrap(), "4.2.0");
    let other = Tar::new().release("4.1.0");
    assert!(refusal(&[upper, other]).contains("contradicts itself"));
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let lower = Tar::new().release("4.1.0");
    for name in [
        "release-manifests/.wh.image-references",
        "release-manifests/.wh..wh..opq",
        ".wh.release-manifests",
        ".wh..wh..opq",
    ] {
        let layers = [Tar::new().file(name, b""), lower.clone()];
        assert!(refusal(&layers).contains("not a release"), "{name}");
        assert_eq!(version(&[lower.clone(), Tar::new().file(name, b"")]).unwrap(), "4.1.0", "{name}");
    }
    let replaced = Tar::new()
        .file("release-manifests/.wh..wh..opq", b"")
        .file("release-manifests/image-references", &references("4.2.0"));
    assert_eq!(version(&[replaced, lower.clone()]).unwrap(), "4.2.0");
    assert_eq!(version(&[Tar::new().file("release-manifests/.wh.other", b""), lower.clone()]).unwrap(), "4.1.0");
    for both in ["release-manifests/.wh.image-references", ".wh.release-manifests"] {
        assert!(refusal(&[lower.clone().file(both, b"")]).contains("has and hides"), "{both}");
    }
}

#[test]
fn the_file_twice_or_as_a_link_or_through_one_is_refused() {
    let name = "release-manifests/image-references";
    let good = Tar::new().release("4.1.0");
    for bad in [
        good.clone().file(name, &references("4.1.0")),
        good.clone().file("/release-manifests/./image-references", &references("4.2.0")),
        Tar::new().file("x", b"").link(EntryType::Link, name, "x"),
        Tar::new().link(EntryType::Symlink, name, "x"),
        Tar::new().link(EntryType::Char, name, "x"),
        Tar::new().link(EntryType::Fifo, name, "x"),
        Tar::new().dir("release-manifests/image-references/"),
        Tar::new().file("release-manifests/image-references/", &references("4.1.0")),
        good.clone().link(EntryType::Link, "x", "./release-manifests/image-references"),
        good.clone().link(EntryType::Symlink, "release-manifests", "x"),
        good.clone().link(EntryType::Symlink, "x", "release-manifests").file("x/image-references", b"{}"),
        good.clone()
            .link(EntryType::Symlink, "release-manifests/x", ".")
            .file("release-manifests/x/image-references", b"{}"),
        good.clone()
            .link(EntryType::Symlink, "y", "release-manifests")
            .link(EntryType::Link, "x", "y")
            .file("x/.wh.image-references", b""),
        good.clone().file("a/../release-manifests/image-references", b"{}"),
    ] {
        refusal(&[bad]);
    }
}

#[test]
fn pax_and_gnu_headers_that_contradict_the_plain_one_are_refused() {
    let body = references("4.1.0");
    let size = (body.len() as u64 - 1).to_string();
    let right = body.len().to_string();
    let name = "release-manifests/image-references";
    let base = || Tar::new().file("release-manifests/release-metadata", &metadata("4.1.0"));
    assert_eq!(
        version(&[base().pax(&[("size", right.as_bytes()), ("path", name.as_bytes())]).file(name, &body)]).unwrap(),
        "4.1.0"
    );
    for records in [
        &[("size", size.as_bytes())][..],
        &[("size", b"1e3")],
        &[("path", b"x")],
        &[("path", name.as_bytes()), ("path", name.as_bytes())],
        &[("GNU.sparse.name", b"x")],
    ] {
        refusal(&[base().pax(records).file(name, &body)]);
    }
    let elsewhere = base().pax(&[("path", name.as_bytes())]).file("x", &body);
    assert!(refusal(&[elsewhere]).contains("calls one entry"));
    let long = format!("{name}\0");
    let gnu = base().entry(header(EntryType::GNULongName, long.len()), "././@LongLink", long.as_bytes());
    assert!(refusal(&[gnu.file("x", &body)]).contains("calls one entry"));
    let global = base().entry(header(EntryType::XGlobalHeader, 11), "g", b"11 path=ab\n").file(name, &body);
    assert!(refusal(&[global]).contains("global"));
    assert!(refusal(&[base().pax(&[("size", b"0")]).pax(&[("size", b"0")]).file(name, &body)]).contains("two"));
    let harmless = base().pax(&[("mtime", b"1.5"), ("path", "é".repeat(80).as_bytes())]).file("etc/x", b"x");
    assert_eq!(version(&[harmless.file(name, &body)]).unwrap(), "4.1.0");
}

#[test]
fn sparse_files_links_with_content_and_strange_headers_are_refused() {
    for (kind, size) in
        [(EntryType::GNUSparse, 0), (EntryType::Symlink, 512), (EntryType::Directory, 512), (EntryType::new(b'V'), 0)]
    {
        refusal(&[Tar::new().entry(header(kind, size), "x", &vec![0; size]).release("4.1.0")]);
    }
    let mut ustar = tar::Header::new_ustar();
    ustar.set_size(0);
    ustar.as_mut_bytes()[508..512].copy_from_slice(b"tar\0");
    assert!(refusal(&[Tar::new().entry(ustar, "x", b"").release("4.1.0")]).contains("differently"));
}

#[test]
fn data_after_the_end_of_an_archive_is_refused() {
    let mut bytes = Tar::new().release("4.1.0").end();
    bytes.extend_from_slice(&[0; 8192]);
    assert!(read_layers(&[(TAR, bytes.clone())]).0.is_ok());
    bytes.extend_from_slice(&Tar::new().release("4.2.0").end());
    assert!(read_layers(&[(TAR, bytes)]).0.is_err());
}

/// A beginning followed by endless zeros; counts the bytes that are read.
struct Endless<'c>(io::Cursor<Vec<u8>>, &'c std::cell::Cell<u64>);

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.0.read(buffer)? {
            0 => {
                buffer.fill(0);
                buffer.len()
            }
            count => count,
        };
        self.1.set(self.1.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn ten_gibibytes_of_zeros_stop_at_the_limit() {
    let limits = Limits { inflated: 8 << 20, ..Limits::default() };
    for (name, most) in [("usr/bin/big", limits.inflated), ("release-manifests/image-references", 1 << 20)] {
        let mut big = header(EntryType::Regular, 10 << 30);
        big.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        big.set_cksum();
        let taken = std::cell::Cell::new(0);
        let mut once = Some(Endless(io::Cursor::new(big.as_bytes().to_vec()), &taken));
        let next = || {
            // Compressed while it is read: a small gzip stream that inflates to 10 GiB.
            let gzip = once
                .take()
                .map(|zeros| flate2::read::GzEncoder::new(zeros.take(10 << 30), flate2::Compression::fast()));
            Ok(gzip.map(|g| (format!("{TAR}+gzip"), Box::new(g) as Box<dyn Read + '_>)))
        };
        let err = read(next, &limits).unwrap_err();
        assert_eq!(err.code(), Code::Malformed);
        assert!(err.to_string().contains("more than"), "{err}");
        // The encoder of the test reads ahead by less than 32 MiB.
        assert!(taken.get() < most + (32 << 20), "{name}: {}", taken.get());
    }
}

#[test]
fn too_many_entries_and_oversized_extension_headers_are_refused() {
    let mut many = Tar::new();
    for n in 0..20 {
        many = many.file(&format!("f{n}"), b"");
    }
    let bytes = many.end();
    let limits = Limits { entries: 10, ..Limits::default() };
    let mut once = Some(bytes);
    let next = || Ok(once.take().map(|b| (TAR.to_owned(), Box::new(io::Cursor::new(b)) as Box<dyn Read>)));
    assert!(read(next, &limits).unwrap_err().to_string().contains("more than 10 entries"));
    let long = Tar::new().entry(header(EntryType::GNULongName, 2 << 20), "L", &vec![b'a'; 2 << 20]);
    assert!(refusal(&[long]).contains("extension header"));
}

#[test]
fn an_error_of_the_source_comes_through_as_it_is() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(Error::new(Code::Source, "the registry went away").transient().into())
        }
    }
    let err = read(|| Ok(Some((TAR.to_owned(), Box::new(Failing) as Box<dyn Read>))), &Limits::default());
    let err = err.unwrap_err();
    assert_eq!(err.code(), Code::Source);
    assert!(err.is_transient());
    assert_eq!(read(|| Err(Error::new(Code::Auth, "no")), &Limits::default()).unwrap_err().code(), Code::Auth);
}
