//! The hot loops: `cargo bench`. For a look before and after a change; nothing fails when it is slow.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::io::Write;

use divan::counter::BytesCount;
use mirror_bundle::bundle::index::{Blob, FORMAT, Features, Image, Kind};
use mirror_bundle::bundle::{Index, Layout, layout, tar};
use mirror_bundle::bundle::{Room, divide};
use mirror_bundle::delta::{Options, Part, Patched, encode};
use mirror_bundle::oci::{Digest, Hasher, Role, media_type};
use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe};

fn main() {
    divan::main();
}

/// What each byte of a bundle goes through.
#[divan::bench(args = [64 << 10, 1 << 20, 16 << 20])]
fn hash(bencher: divan::Bencher, size: usize) {
    let data = vec![7u8; size];
    bencher.counter(BytesCount::new(size)).bench(|| {
        let mut hasher = Hasher::new();
        data.chunks(1 << 20).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    });
}

/// Hash and copy, as `create` and `unpack` do.
#[divan::bench(args = [1 << 20, 16 << 20])]
fn hash_and_copy(bencher: divan::Bencher, size: usize) {
    let (data, mut to) = (vec![7u8; size], vec![0u8; size]);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let mut hasher = Hasher::new();
        for (from, to) in data.chunks(1 << 20).zip(to.chunks_mut(1 << 20)) {
            to.copy_from_slice(from);
            hasher.update(to);
        }
        hasher.finish()
    });
}

#[divan::bench]
fn tar_header() -> [u8; 512] {
    tar::header("blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 1 << 30, 0)
}

/// An index of so many images with four blobs each.
fn index(images: u32) -> Index {
    let digest = |n: u32, part: u32| Digest::of(&[n.to_be_bytes(), part.to_be_bytes()].concat());
    let mut index = Index {
        format: FORMAT,
        features: Features::default(),
        name: "bench".into(),
        sequence: Some(1),
        created: "2026-11-22T00:00:00Z".into(),
        expires: None,
        source_date_epoch: None,
        base: None,
        exceptions: vec![],
        releases: vec![],
        images: vec![],
        files: vec![layout::file(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON), layout::file(layout::OCI_INDEX, b"{}")],
        blobs: vec![],
        missing: vec![],
    };
    for n in 0..images {
        let parts = [(Role::Manifest, 900), (Role::Config, 7_000), (Role::Layer, 30 << 20), (Role::Layer, 9 << 20)];
        for (part, (role, size)) in (0u32..).zip(parts) {
            index.blobs.push(Blob { digest: digest(n, part), size, role });
        }
        index.images.push(Image {
            repository: Some(format!("registry.example.com/bench/image-{n:05}")),
            tag: Some("v1".into()),
            digest: digest(n, 0),
            media_type: media_type::OCI_MANIFEST.into(),
            size: 900,
            platforms: vec!["linux/amd64".into()],
            kind: Kind::Additional,
            component: None,
            release: None,
            subject: None,
            derived: None,
            requested_by: "layout".into(),
        });
    }
    index.sort();
    index
}

#[divan::bench(args = [10, 100, 1000])]
fn index_parse(bencher: divan::Bencher, images: u32) {
    let bytes = index(images).to_bytes().unwrap();
    bencher.bench(|| Index::parse(&bytes).unwrap());
}

#[divan::bench(args = [10, 100, 1000])]
fn index_write(bencher: divan::Bencher, images: u32) {
    let index = index(images);
    bencher.bench(|| index.to_bytes().unwrap());
}

/// Every member, its offset, and SHA256SUMS.
#[divan::bench(args = [10, 100, 1000])]
fn tar_plan(bencher: divan::Bencher, images: u32) {
    let index = index(images);
    let bytes = index.to_bytes().unwrap();
    bencher.bench(|| Layout::new(&index, &bytes, None).unwrap().sums_digest());
}

#[divan::bench(args = [10, 100, 1000])]
fn division(bencher: divan::Bencher, images: u32) {
    let index = index(images);
    let bytes = index.to_bytes().unwrap();
    let everywhere = std::collections::BTreeSet::new();
    let room = Room { volume: 700 << 20, tail: 0, order: &[], everywhere: &everywhere, form: Default::default() };
    bencher.bench(|| divide(&index, &bytes, None, &room).unwrap());
}

/// A content for the next two: the file in `BENCH_TAR` (a layer of 100 MB or so gives figures that mean something), or
/// what the vectors of the encoders are made of.
fn content(variable: &str) -> Vec<u8> {
    let inputs = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/gzip-encoders/inputs/");
    match std::env::var_os(variable) {
        Some(path) => std::fs::read(path).unwrap(),
        None => {
            ["elf.bin", "layer.tar", "text.md"].map(|name| std::fs::read(format!("{inputs}{name}")).unwrap()).concat()
        }
    }
}

/// A gzip stream made again, on one core; bytes are those of the content.
#[divan::bench(args = [(Family::B, Level::L5, true), (Family::B, Level::L6, false), (Family::B, Level::L1, true),
    (Family::Go126, Level::L6, false), (Family::Go126, Level::L1, false)])]
fn regzip(bencher: divan::Bencher, (family, level, blocks): (Family, Level, bool)) {
    let tar = content("BENCH_TAR");
    let method = if blocks { Method::Pgzip(BlockSize::MiB) } else { Method::Gzip };
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let recipe = Recipe::new(family, level, method, &header).unwrap();
    bencher.counter(BytesCount::new(tar.len())).bench(|| {
        let mut gzip = Gzip::new(&recipe, std::io::sink());
        tar.chunks(1 << 17).for_each(|piece| gzip.write_all(piece).unwrap());
        gzip.finish().unwrap()
    });
}

/// A difference made (`true`), and the content restored from it; `BENCH_OLD` is the layer before.
#[divan::bench(args = [true, false])]
fn delta_1(bencher: divan::Bencher, make: bool) {
    let (old, new) = (content("BENCH_OLD"), content("BENCH_TAR"));
    let parts = || (Part::whole(&old, old.len() as u64), Part::whole(&new, new.len() as u64));
    let encoded = || {
        let mut out = std::io::Cursor::new(Vec::new());
        encode(parts().0, parts().1, &Options::default(), &mut out).unwrap();
        out.into_inner()
    };
    let member = encoded();
    println!("{} -> {} bytes", new.len(), member.len());
    bencher.counter(BytesCount::new(new.len())).bench_local(|| match make {
        true => encoded().len() as u64,
        false => {
            let whole = Part::whole(&member, member.len() as u64);
            let mut patched = Patched::new(whole, parts().0, new.len() as u64).unwrap();
            std::io::copy(&mut patched, &mut std::io::sink()).unwrap()
        }
    });
}
