//! Content: damaged, swapped, incomplete, excessive.

use mirror_bundle::bundle::index::{Blob, Index, Kind};
use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Digest, Role, media_type};

use super::super::draft::{Draft, LAYER};
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("blob");
    let full = Draft::full();
    let index = full.index();
    let path = |role: Role| {
        let blob = index.blobs.iter().find(|b| b.role == role).unwrap();
        format!("blobs/sha256/{}", blob.digest.hex())
    };

    // A flipped bit in content of every kind.
    let mismatch = ("F5", Some(Code::BlobMismatch), "MB-VER-05");
    for (name, member, late) in [
        ("flip-list", path(Role::Index), false),
        ("flip-manifest", path(Role::Manifest), false),
        ("flip-config", path(Role::Config), true),
        ("flip-layer", path(Role::Layer), true),
        ("flip-kubernetes", "manifests/map.yaml".to_owned(), false),
        ("flip-release-map", "manifests/release.yaml".to_owned(), false),
        ("flip-release-signature", "signatures/".to_owned(), false),
        ("flip-oci-index", layout::OCI_INDEX.to_owned(), false),
    ] {
        let mut archive = full.archive();
        let bytes = &mut archive.entry(&member).bytes;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        out.add(name, &format!("one bit of {member} is flipped"), mismatch, archive).late = late;
    }
    let mut archive = full.archive();
    archive.entry(layout::INDEX).bytes[100] ^= 1;
    out.add(
        "flip-index",
        "one bit of the bundle index is flipped",
        ("F5", Some(Code::BadSignature), "MB-VER-02"),
        archive,
    );

    // Content exchanged.
    let mut archive = Draft::tiny().archive();
    archive.last().bytes = b"LAYER OF THE TINY IMAGE".to_vec();
    out.add(
        "other-layer",
        "a layer with other content of the same size",
        ("A6", Some(Code::BlobMismatch), "MB-VER-05"),
        archive,
    )
    .late();
    let mut archive = Draft::tiny().archive();
    archive.last().bytes.fill(0);
    out.add("zero-layer", "a layer of zeros", ("C14 F5", Some(Code::BlobMismatch), "MB-VER-05"), archive).late();
    let mut archive = Draft::tiny().archive();
    archive.last().bytes = b"a longer layer than listed".to_vec();
    out.add("longer-layer", "a layer that is longer than listed", ("B3", Some(Code::Malformed), "MB-VER-05"), archive)
        .late();
    let mut archive = Draft::tiny().archive();
    archive.last().bytes.truncate(10);
    out.add(
        "shorter-layer",
        "a layer that is shorter than listed",
        ("B3", Some(Code::Malformed), "MB-VER-05"),
        archive,
    )
    .late();
    let mut two = Draft::tiny();
    let (one, other) = (two.blob(Role::Layer, b"aaaa"), two.blob(Role::Layer, b"bbbb"));
    let image = two.image("amd64", &[(LAYER, one), (LAYER, other)]);
    two.top(Kind::Additional, "registry.example.com/two", Some("1"), &image);
    let mut archive = two.archive();
    let names: Vec<usize> =
        archive.entries.iter().enumerate().filter(|(_, e)| e.bytes.len() == 4).map(|(at, _)| at).collect();
    let bytes = archive.entries[names[0]].bytes.clone();
    archive.entries[names[0]].bytes = std::mem::replace(&mut archive.entries[names[1]].bytes, bytes);
    out.add(
        "swapped-content",
        "the content of two layers is exchanged",
        ("A6", Some(Code::BlobMismatch), "MB-VER-05"),
        archive,
    )
    .late();

    // Closure: correctly signed, but malformed.
    let closure = |ids, code| (ids, Some(code), "MB-VER-06");
    let gone = |role: Role, nth: usize| {
        let mut draft = full.clone();
        let digest = draft.index().blobs.iter().filter(|b| b.role == role).nth(nth).unwrap().digest;
        draft.blobs.remove(&digest);
        draft
    };
    for (name, role) in
        [("manifest", Role::Manifest), ("config", Role::Config), ("layer", Role::Layer), ("list", Role::Index)]
    {
        let what = format!("a {name} that is needed is neither listed nor there");
        out.add(&format!("unlisted-{name}"), &what, closure("A3 B9", Code::BlobMissing), gone(role, 0).archive());
    }
    let mut extra = Draft::tiny();
    extra.blob(Role::Layer, b"nobody needs this");
    out.add("unneeded-layer", "a layer that no image has", closure("A3", Code::UnlistedContent), extra.archive());
    let mut extra = Draft::tiny();
    let layer = extra.blob(Role::Layer, b"of an image that is not listed");
    extra.image("amd64", &[(LAYER, layer)]);
    out.add(
        "unneeded-image",
        "an image that is not listed as one",
        closure("A3", Code::UnlistedContent),
        extra.archive(),
    );
    let mut extra = Draft::tiny();
    extra.blob(Role::Manifest, b"not even JSON");
    out.add("unneeded-document", "a document that no image has", closure("A3", Code::UnlistedContent), extra.archive());

    // Roles and sizes.
    let tiny = Draft::tiny();
    let mut edit = |name: &str, what: &str, ids: &'static str, code: Code, change: fn(&mut Index)| {
        out.add(name, what, closure(ids, code), tiny.archive_of(change));
    };
    edit("role-config-as-layer", "a configuration listed as a layer", "B5", Code::Malformed, |i| {
        i.blobs[1].role = Role::Layer;
        i.blobs[1..].sort_by_key(|b| b.digest);
    });
    edit("role-manifest-as-index", "a manifest listed as an index", "B4 B5", Code::Malformed, |i| {
        i.blobs[0].role = Role::Index
    });
    edit("role-manifest-as-layer", "a manifest listed as a layer", "B5", Code::Malformed, |i| {
        i.blobs[0].role = Role::Layer;
        i.blobs.sort_by_key(|b| (b.role == Role::Layer, b.digest));
    });
    edit("role-layer-as-manifest", "a layer listed as a manifest", "B5", Code::Malformed, |i| {
        i.blobs[2].role = Role::Manifest;
        i.blobs.sort_by_key(|b| (b.role == Role::Config, b.digest));
    });
    edit("listed-twin", "a blob listed with the digest of another", "B1", Code::Malformed, |i| {
        i.blobs[2] = Blob { digest: i.blobs[1].digest, ..i.blobs[2].clone() };
    });

    let longer = |n: u64| tiny.archive_of(|i| i.blobs[2].size += n);
    out.add("listed-size", "a layer is listed a byte longer than it is", closure("B3", Code::Malformed), longer(1))
        .late();
    out.add(
        "listed-size-block",
        "a layer is listed a block longer than it is",
        closure("B3", Code::Truncated),
        longer(512),
    )
    .late()
    .stream(Code::Malformed);

    // A digest used as a document and as content.
    let mut both = Draft::tiny();
    let inner = both.image("amd64", &[]);
    both.top(Kind::Additional, "registry.example.com/inner", Some("1"), &inner);
    let image = both.image("arm64", &[(media_type::OCI_MANIFEST, inner)]);
    both.top(Kind::Additional, "registry.example.com/outer", Some("1"), &image);
    out.add(
        "manifest-and-layer",
        "a digest that is a manifest here and a layer there",
        closure("B5", Code::Malformed),
        both.archive(),
    );
    let mut both = Draft::tiny();
    let layer = both.blob(Role::Layer, b"{}");
    let config = both.blob(Role::Config, b"{}");
    let image = both.document(Role::Manifest, media_type::OCI_MANIFEST, |_| {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            config.json(media_type::OCI_CONFIG),
            layer.json(LAYER)
        )
    });
    both.top(Kind::Additional, "registry.example.com/both", Some("1"), &image);
    out.add(
        "config-and-layer",
        "good: a digest that is a configuration and a layer, as empty artifacts have",
        ("B5", None, "MB-VER-06"),
        both.archive(),
    );
    let mut one = Draft::tiny();
    one.images[0].size += 1;
    out.add(
        "image-size",
        "an image listed with another size than its manifest has",
        closure("B3", Code::Malformed),
        one.archive(),
    );
    let mut one = Draft::tiny();
    one.images[0].digest = Digest::of(b"gone");
    out.add("image-gone", "an image whose manifest is not there", closure("B9", Code::BlobMissing), one.archive());
}
