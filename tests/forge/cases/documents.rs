//! OCI documents with correct digests and signatures: confused types, duplicates, sizes, depth, subjects.

use mirror_bundle::bundle::index::Kind;
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Digest, Role, media_type};

use super::super::draft::{Draft, LAYER, Stored};
use super::Vectors;

/// A bundle with one more image, whose manifest is this text. `C` and `L` stand for descriptors.
fn image(kind: &str, text: &str) -> Draft {
    let mut draft = Draft::tiny();
    let config = draft.config("amd64", 0);
    let layer = draft.blob(Role::Layer, b"layer of the odd image");
    let text = text
        .replace("@MANIFEST", media_type::OCI_MANIFEST)
        .replace("@INDEX", media_type::OCI_INDEX)
        .replace("@CD", &config.digest.to_string())
        .replace("@CS", &config.size.to_string())
        .replace("@LD", &layer.digest.to_string())
        .replace("@LS", &layer.size.to_string())
        .replace("@C", &config.json(media_type::OCI_CONFIG))
        .replace("@L", &layer.json(LAYER));
    let role = if media_type::is_index(kind) { Role::Index } else { Role::Manifest };
    let document = draft.document(role, kind, |_| text);
    draft.top(Kind::Additional, "registry.example.com/odd", Some("1"), &document);
    draft
}

pub fn list(out: &mut Vectors) {
    out.group("oci");
    let malformed = |ids| (ids, Some(Code::Malformed), "MB-OCI-02 MB-OCI-03 MB-VER-06");
    let manifest = media_type::OCI_MANIFEST;
    let mut odd = |name: &str, what: &str, ids: &'static str, kind: &str, text: &str| {
        out.add(name, what, malformed(ids), image(kind, text).archive());
    };
    odd(
        "other-type-inside",
        "a manifest that calls itself an index",
        "B4",
        manifest,
        r#"{"schemaVersion":2,"mediaType":"@INDEX","config":@C,"layers":[@L]}"#,
    );
    odd(
        "other-type-outside",
        "an OCI manifest announced as one of Docker",
        "B4",
        media_type::DOCKER_MANIFEST,
        r#"{"schemaVersion":2,"mediaType":"@MANIFEST","config":@C,"layers":[@L]}"#,
    );
    odd(
        "index-as-manifest",
        "an index announced as a manifest",
        "B4",
        manifest,
        r#"{"schemaVersion":2,"manifests":[]}"#,
    );
    odd(
        "manifest-as-index",
        "a manifest announced as an index",
        "B4",
        media_type::OCI_INDEX,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L]}"#,
    );
    odd(
        "both",
        "manifest and index at once",
        "B4",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L],"manifests":[]}"#,
    );
    odd(
        "both-as-index",
        "manifest and index at once, announced as an index",
        "B4",
        media_type::OCI_INDEX,
        r#"{"schemaVersion":2,"manifests":[],"layers":[@L]}"#,
    );
    odd(
        "unknown-type",
        "a media type that is no manifest",
        "B4",
        "application/json",
        r#"{"schemaVersion":2,"config":@C,"layers":[@L]}"#,
    );
    odd(
        "schema-1",
        "a signed manifest of schema 1",
        "B6",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        r#"{"schemaVersion":1,"fsLayers":[],"history":[],"signatures":[]}"#,
    );
    odd(
        "schema-1-as-2",
        "schema 1 announced as OCI",
        "B6",
        manifest,
        r#"{"schemaVersion":1,"config":@C,"layers":[@L]}"#,
    );
    odd("schema-absent", "no schemaVersion", "B6", manifest, r#"{"config":@C,"layers":[@L]}"#);
    odd(
        "duplicate-layers",
        "`layers` twice",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[],"layers":[@L]}"#,
    );
    odd(
        "duplicate-escaped",
        "`layers` twice, once escaped",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L],"l\u0061yers":[]}"#,
    );
    odd(
        "case-layers",
        "`Layers` beside `layers`",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L],"Layers":[]}"#,
    );
    odd("case-alone", "`LAYERS` alone", "B8", manifest, r#"{"schemaVersion":2,"config":@C,"LAYERS":[@L]}"#);
    odd(
        "long-s",
        "`layers` beside one with a long s, which Go takes for the same",
        "B8",
        manifest,
        "{\"schemaVersion\":2,\"config\":@C,\"layers\":[@L],\"layer\u{17f}\":[]}",
    );
    odd(
        "case-digest",
        "`Digest` beside `digest` in a descriptor",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[{"mediaType":"x","digest":"@LD","Digest":"@CD","size":@LS}]}"#,
    );
    odd(
        "duplicate-size",
        "`size` twice in a descriptor",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[{"mediaType":"x","digest":"@LD","size":1,"size":@LS}]}"#,
    );
    odd(
        "trailing-value",
        "a second value behind the manifest",
        "B6",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L]}{}"#,
    );
    odd("bom", "a byte order mark", "B6", manifest, "\u{feff}{\"schemaVersion\":2,\"config\":@C,\"layers\":[@L]}");
    odd("not-json", "no JSON", "B6", manifest, "FROM scratch\n");
    odd("array", "an array", "B6", manifest, "[]");
    odd("no-config", "without config", "B4", manifest, r#"{"schemaVersion":2,"layers":[@L]}"#);
    odd(
        "layers-no-list",
        "an object for layers",
        "B4",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":{"0":@L}}"#,
    );
    odd(
        "case-in-platform",
        "`Digest` in a platform",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[{"mediaType":"x","digest":"@LD","size":@LS,"platform":{"Digest":"x"}}]}"#,
    );
    odd(
        "annotations-duplicate",
        "one annotation twice",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L],"annotations":{"Size":"1","Size":"2"}}"#,
    );
    odd(
        "annotations-no-text",
        "a number as annotation",
        "B8",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L],"annotations":{"Size":1}}"#,
    );
    for (name, size) in [
        ("negative", "-22"),
        ("float", "22.0"),
        ("exponent", "22e0"),
        ("2-64", "18446744073709551616"),
        ("17-tib", "18691697672192"),
        ("text", "\"22\""),
        ("null", "null"),
    ] {
        let text =
            format!(r#"{{"schemaVersion":2,"config":@C,"layers":[{{"mediaType":"x","digest":"@LD","size":{size}}}]}}"#);
        odd(&format!("size-{name}"), &format!("a layer of size {size}"), "B3 D7", manifest, &text);
    }
    for (name, digest) in [
        ("traversal", "sha256:../../x".to_owned()),
        ("upper", format!("sha256:{}", "AB".repeat(32))),
        ("short", format!("sha256:{}", "ab".repeat(31))),
        ("sha512", format!("sha512:{}", "ab".repeat(64))),
        ("sha1", format!("sha1:{}", "ab".repeat(20))),
        ("two-step", format!("sha256+b64u:{}", "ab".repeat(32))),
        ("none", String::new()),
        ("newline", format!("sha256:{}\\n", "ab".repeat(32))),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"config":@C,"layers":[@L,{{"mediaType":"x","digest":"{digest}","size":1}}]}}"#
        );
        odd(&format!("digest-{name}"), "a layer with a digest that is none", "B1 B2", manifest, &text);
    }
    odd(
        "deep",
        "annotations nested 4000 times",
        "B7",
        manifest,
        &format!(r#"{{"schemaVersion":2,"config":@C,"layers":[@L],"x":{}1{}}}"#, "[".repeat(4000), "]".repeat(4000)),
    );
    let members = |n: usize, value: &str| {
        let all: Vec<String> = (0..n).map(|n| format!("\"{n:x}\":{value}")).collect();
        all.join(",")
    };
    odd(
        "members-100001",
        "an object with one member too many",
        "D10",
        manifest,
        &format!(r#"{{"schemaVersion":2,"config":@C,"layers":[@L],"x":{{{}}}}}"#, members(100_001, "0")),
    );
    let half = members(50_001, "\"\"");
    odd(
        "annotations-100002",
        "too many annotations, in two objects",
        "D10",
        manifest,
        &format!(
            r#"{{"schemaVersion":2,"config":{{"annotations":{{{half}}},"mediaType":"application/vnd.oci.image.config.v1+json","digest":"@CD","size":@CS}},"layers":[@L],"annotations":{{{half}}}}}"#
        ),
    );
    odd(
        "descriptor-as-list",
        "a descriptor as the list of its values",
        "B6",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[["application/vnd.oci.image.layer.v1.tar","@LD",@LS]]}"#,
    );
    odd(
        "other-size",
        "a layer with another size than it has",
        "B3",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[{"mediaType":"x","digest":"@LD","size":21}]}"#,
    );
    odd(
        "two-sizes",
        "two sizes for one digest in one manifest",
        "B3",
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[@L,{"mediaType":"x","digest":"@LD","size":21}]}"#,
    );
    let good = ("A3", None, "MB-VER-06");
    out.add("urls", "good: a layer that names places to fetch it from, which nobody does", good, image(manifest, r#"{"schemaVersion":2,"config":@C,"layers":[{"mediaType":"x","digest":"@LD","size":@LS,"urls":["http://169.254.169.254/"]}]}"#).archive());
    out.add("unknown-members", "good: members that nobody knows", good, image(manifest, r#"{"schemaVersion":2,"config":@C,"layers":[@L],"x-vendor":{"Config":1}}"#.replace("Config", "conf").as_str()).archive());
    out.add(
        "escapes",
        "good: terminal escapes in an annotation, which nothing prints",
        ("E10", None, "MB-VER-06"),
        image(manifest, r#"{"schemaVersion":2,"config":@C,"layers":[@L],"annotations":{"a":"\u001b[2J"}}"#).archive(),
    );
    for (name, what, layers) in [
        ("no-layers", "good: a manifest without layers", ""),
        ("null-layers", "good: null for layers", r#","layers":null"#),
        (
            "null-manifests",
            "good: null for the member that a manifest does not have",
            r#","layers":[],"manifests":null"#,
        ),
        (
            "annotations-any-case",
            "good: annotations whose names are those of members in another case",
            r#","layers":null,"annotations":{"Layers":"a","DIGEST":"b","annotations":"c","Platform":"d"}"#,
        ),
    ] {
        let mut draft = image(manifest, &format!(r#"{{"schemaVersion":2,"config":@C{layers}}}"#));
        draft.blobs.retain(|_, (_, bytes)| bytes != b"layer of the odd image");
        out.add(name, what, ("B4", None, "MB-OCI-02 MB-OCI-03"), draft.archive());
    }
    for (name, platform) in [("empty", "{}"), ("no-os", r#"{"architecture":"amd64"}"#), ("null-os", r#"{"os":null}"#)] {
        let text = format!(
            r#"{{"schemaVersion":2,"config":@C,"layers":[{{"mediaType":"x","digest":"@LD","size":@LS,"platform":{platform}}}]}}"#
        );
        let what = "good: a platform that is not complete";
        out.add(&format!("platform-{name}"), what, ("B4", None, "MB-OCI-02"), image(manifest, &text).archive());
    }
    let mut draft = image(
        manifest,
        r#"{"schemaVersion":2,"config":@C,"layers":[{"mediaType":"x","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":5,"urls":["https://example.com/"]}]}"#,
    );
    draft.blobs.retain(|_, (_, bytes)| bytes != b"layer of the odd image");
    for (name, kind, reason, code) in [
        ("recorded", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign-layer", None),
        ("recorded-oci", "application/vnd.oci.image.layer.nondistributable.v1.tar", "foreign-layer", None),
        ("other-reason", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gone", Some(Code::BlobMissing)),
        ("other-type", "application/vnd.oci.image.layer.v1.tar+gzip", "foreign-layer", Some(Code::BlobMissing)),
        (
            "type-goes-on",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.x",
            "foreign-layer",
            Some(Code::BlobMissing),
        ),
    ] {
        let gone = Digest::of(b"a base layer of Windows");
        let text = format!(
            r#"{{"schemaVersion":2,"config":@C,"layers":[{{"mediaType":"{kind}","digest":"{gone}","size":5,"urls":["https://example.com/"]}},@L]}}"#
        );
        let archive = image(manifest, &text).archive_of(|index| {
            let (reference, reason) = (gone.to_string(), reason.to_owned());
            index.missing.push(mirror_bundle::bundle::index::Missing { reference, reason });
        });
        let good = if code.is_none() { "good: " } else { "" };
        let what = format!("{good}a layer of type `{kind}` that `missing` names, because of `{reason}`");
        out.add(&format!("foreign-{name}"), &what, ("A3", code, "MB-IDX-06 MB-OCI-05"), archive);
    }
    out.add(
        "foreign-layer",
        "a layer that is only at its URL",
        ("A3", Some(Code::BlobMissing), "MB-VER-06"),
        draft.archive(),
    );

    nesting(out);
    attachments(out);
}

fn nested(levels: usize) -> Draft {
    let mut draft = Draft::tiny();
    let mut inner: Stored = draft.image("arm64", &[]);
    for _ in 0..levels {
        inner = draft.list(&[(&inner, "arm64")]);
    }
    draft.top(Kind::Additional, "registry.example.com/deep", Some("1"), &inner);
    draft
}

fn nesting(out: &mut Vectors) {
    let deep = |code| ("B7", code, "MB-LIM MB-VER-06");
    out.add("nested-4", "good: an image below four indexes", deep(None), nested(4).archive());
    out.add("nested-5", "an image below five indexes", deep(Some(Code::Malformed)), nested(5).archive());
    // The upper half alone is not too deep, and is listed first.
    let mut draft = nested(4);
    let top = draft.images.pop().unwrap();
    let inner = Stored { digest: top.digest, size: top.size, media_type: top.media_type };
    let one = draft.list(&[(&inner, "arm64")]);
    draft.top(Kind::Additional, "a.example.com/half", Some("1"), &inner);
    draft.top(Kind::Additional, "b.example.com/whole", Some("1"), &one);
    out.add(
        "nested-hidden",
        "five indexes, the lower four of which are an image of their own",
        deep(Some(Code::Malformed)),
        draft.archive(),
    );
    let mut draft = Draft::tiny();
    let image = draft.document(Role::Manifest, media_type::DOCKER_MANIFEST, |d| {
        let config = d.config("amd64", 0);
        format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, config.json(media_type::DOCKER_CONFIG))
    });
    let other = Stored { media_type: media_type::OCI_MANIFEST.into(), ..image.clone() };
    draft.top(Kind::Additional, "a.example.com/x", Some("1"), &image);
    draft.top(Kind::Additional, "b.example.com/x", Some("1"), &other);
    out.add(
        "two-types",
        "one digest under two media types",
        ("B4", Some(Code::Malformed), "MB-OCI-02"),
        draft.archive(),
    );
    let mut draft = Draft::tiny();
    let layer = draft.blob(Role::Layer, b"{\"opaque\":1}");
    let list = draft.document(Role::Index, media_type::OCI_INDEX, |_| {
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, layer.json("application/vnd.example.opaque"))
    });
    draft.top(Kind::Additional, "registry.example.com/opaque", Some("1"), &list);
    out.add(
        "opaque-child",
        "good: an index with something that is no manifest",
        ("B4", None, "MB-VER-06"),
        draft.archive(),
    );
}

fn attachments(out: &mut Vectors) {
    let base = || {
        let mut draft = Draft::tiny();
        draft.multi_arch();
        draft
    };
    let subject = base().images.last().unwrap().subject.unwrap();
    let malformed = ("B11", Some(Code::Malformed), "MB-VER-06");
    let mut draft = base();
    draft.images[2].tag = Some(format!("{}.sig", Digest::of(b"x").dashed()));
    out.add("signature-tag", "a signature image with the tag of another image", malformed, draft.archive());
    let mut draft = base();
    draft.images[2].tag = Some(format!("{}.sigs", subject.dashed()));
    out.add("signature-ending", "a signature image with another ending of its tag", malformed, draft.archive());
    let mut draft = base();
    let tiny = draft.images[0].digest;
    draft.images[3].subject = Some(tiny);
    out.add(
        "referrer-subject",
        "a referrer that is about another image than the index says",
        malformed,
        draft.archive(),
    );
    let mut draft = base();
    draft.images[3].kind = Kind::Additional;
    draft.images[3].subject = None;
    let plain = draft.images[0].clone();
    draft.images.push(mirror_bundle::bundle::index::Image {
        kind: Kind::Referrer,
        subject: Some(subject),
        tag: None,
        ..plain
    });
    out.add("referrer-without-subject", "an image without a subject, listed as a referrer", malformed, draft.archive());
    let mut draft = base();
    let gone = Digest::of(b"gone");
    draft.images[2].subject = Some(gone);
    draft.images[2].tag = Some(format!("{}.sig", gone.dashed()));
    out.add(
        "subject-gone",
        "a signature of an image that is not in the bundle",
        ("B11", Some(Code::BlobMissing), "MB-VER-06"),
        draft.archive(),
    );
    let mut draft = Draft::tiny();
    let other = draft.image("arm64", &[]);
    draft.top(Kind::Additional, "registry.example.com/tiny", Some("1"), &other);
    out.add(
        "tag-twice",
        "one repository and tag for two images",
        ("A10", Some(Code::Malformed), "MB-IDX-05"),
        draft.archive(),
    );
    let mut archive = Draft::tiny().archive_of(|i| {
        i.files[1] = mirror_bundle::bundle::layout::file("index.json", b"{\"schemaVersion\":2,\"manifests\":[]}\n");
    });
    archive.entry("index.json").bytes = b"{\"schemaVersion\":2,\"manifests\":[]}\n".to_vec();
    out.add(
        "index-json",
        "an index.json that lists other images than the bundle index",
        ("A6", Some(Code::Malformed), "MB-FMT-04"),
        archive,
    );
}
