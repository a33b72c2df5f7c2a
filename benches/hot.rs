//! The hot loops: `cargo bench`. For a look before and after a change; nothing fails when it is slow.
#![allow(missing_docs, clippy::unwrap_used)]

use divan::counter::BytesCount;
use mirror_bundle::bundle::index::{Blob, FORMAT, Features, Image, Kind};
use mirror_bundle::bundle::{Index, Layout, layout, tar};
use mirror_bundle::bundle::{Room, divide};
use mirror_bundle::oci::{Digest, Hasher, Role, media_type};

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
