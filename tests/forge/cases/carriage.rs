//! Files that do not carry every blob, and everything that looks like one (MB-CAR).

use mirror_bundle::bundle::carriage::{
    As, BaseName, CARRIAGE, Carriage, Content, ContentForm, Encoder, Entry as Listed, Gzip, GzipForm, Reference,
    SIGNATURE, Tar,
};
use mirror_bundle::bundle::index::{Index, Kind};
use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Digest, Role};

use super::super::archive::{Archive, Entry};
use super::super::draft::{Draft, LAYER};
use super::super::sshsig;
use super::Vectors;
use super::removals::signed;

pub const BUILDER: &str = "mirror-bundle.v1.builder";
pub const CARRIER: &str = "mirror-bundle.v1.carrier";

/// The tiny bundle with an image of two layers that may be absent.
pub fn draft() -> Draft {
    let mut draft = Draft::tiny();
    let large = |byte: u8, size: usize| -> Vec<u8> { (0..size).map(|n| byte ^ (n % 251) as u8).collect() };
    let layers = [draft.blob(Role::Layer, &large(1, 5000)), draft.blob(Role::Layer, &large(2, 4097))];
    let image = draft.image("amd64", &layers.map(|layer| (LAYER, layer)));
    draft.top(Kind::Additional, "registry.example.com/large", Some("1"), &image);
    draft
}

/// Positions of the two layers that may be absent.
pub fn large(index: &Index) -> Vec<usize> {
    let blobs = index.blobs.iter().enumerate();
    blobs.filter(|(_, blob)| blob.role == Role::Layer && blob.size > 4096).map(|(at, _)| at).collect()
}

/// The carriage that leaves both out.
pub fn both(index: &Index) -> Carriage {
    let base = BaseName { index: Digest::of(b"base"), name: "vectors".into(), sequence: Some(6) };
    let entries = large(index).into_iter().map(|at| Listed::absent(at, vec![])).collect();
    Carriage::absent(Digest::of(&index.to_bytes().unwrap()), vec![base], None, entries)
}

/// An archive with these bytes as its carriage, without the layers at these positions.
pub fn carried(draft: &Draft, carriage: &[u8], signature: Option<&[u8]>, without: &[usize]) -> Archive {
    let index = draft.index();
    let mut archive = draft.archive();
    let gone: Vec<String> =
        without.iter().map(|at| format!("blobs/sha256/{}", index.blobs[*at].digest.hex())).collect();
    archive.entries.retain(|entry| !gone.contains(&entry.name));
    let at = archive.at(layout::SUMS);
    if let Some(signature) = signature {
        archive.entries.insert(at, Entry::new(SIGNATURE, signature));
    }
    archive.entries.insert(at, Entry::new(CARRIAGE, carriage));
    archive.sums_again();
    archive
}

/// The archive with both layers left out.
pub fn good() -> Archive {
    of(|_, _| {})
}

/// The same with a changed carriage, signed by the builder.
fn of(change: impl FnOnce(&mut Carriage, &Index)) -> Archive {
    let (draft, index) = (draft(), draft().index());
    let mut carriage = both(&index);
    change(&mut carriage, &index);
    let bytes = carriage.to_bytes().unwrap();
    carried(&draft, &bytes, Some(&signed(&sshsig::BUILDER, BUILDER, &bytes)), &large(&index))
}

/// The same with a carriage that is changed as text.
fn of_text(change: impl FnOnce(&str) -> String) -> Archive {
    let (draft, index) = (draft(), draft().index());
    let text = String::from_utf8(both(&index).to_bytes().unwrap()).unwrap();
    let bytes = change(&text).into_bytes();
    assert_ne!(bytes, text.as_bytes(), "nothing was changed");
    carried(&draft, &bytes, Some(&signed(&sshsig::BUILDER, BUILDER, &bytes)), &large(&index))
}

/// The same with another signature over the carriage.
fn signed_as(sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Archive {
    let (draft, index) = (draft(), draft().index());
    let bytes = both(&index).to_bytes().unwrap();
    carried(&draft, &bytes, sign(&bytes).as_deref(), &large(&index))
}

/// An entry of a blob that is carried as a difference.
fn encoded(at: usize) -> Listed {
    Listed {
        form: As::Encoded,
        size: Some(100),
        digest: Some(Digest::of(b"member")),
        tar: Some(Tar { digest: Digest::of(b"tar"), size: 10_240 }),
        gzip: Some(Gzip {
            method: GzipForm::Pgzip,
            encoder: Encoder::KlauspostB,
            level: 5,
            block_size: Some(1_048_576),
            header: "1f8b08000000000000ff".into(),
        }),
        content: Some(Content { method: ContentForm::Delta1, reference: Some(0) }),
        ..Listed::absent(at, vec![])
    }
}

/// A carriage with a difference, changed.
fn difference(change: impl FnOnce(&mut Listed, &mut Vec<Reference>, &Index)) -> Archive {
    of(|carriage, index| {
        let mut entry = encoded(large(index)[0]);
        let tar = Tar { digest: Digest::of(b"old tar"), size: 20_480 };
        let repositories = vec!["registry.example.com/large".to_owned()];
        let mut references = vec![Reference { digest: Digest::of(b"reference"), size: 4000, tar, repositories }];
        change(&mut entry, &mut references, index);
        carriage.blobs[0] = entry;
        carriage.references = references;
    })
}

pub fn list(out: &mut Vectors) {
    out.group("carriage");
    kept(out);
    signatures(out);
    members(out);
    lists(out);
    encodings(out);
}

/// A vector whose content is complete only with a base.
fn absent(out: &mut Vectors, name: &str, what: &str, requires: &'static str, archive: Archive, more: &[&str]) {
    let vector = out.add(name, what, ("", Some(Code::IncompleteCheck), requires), archive);
    vector.and(more).verify_only = true;
}

fn kept(out: &mut Vectors) {
    absent(out, "absent", "good: two layers are absent", "MB-CAR-01 MB-VER-19", good(), &[]);
    let one = {
        let (draft, index) = (draft(), draft().index());
        let mut carriage = both(&index);
        carriage.blobs.remove(1);
        let bytes = carriage.to_bytes().unwrap();
        carried(&draft, &bytes, Some(&signed(&sshsig::BUILDER, BUILDER, &bytes)), &large(&index)[..1])
    };
    absent(out, "absent-one", "good: one of two layers is absent", "MB-CAR-01", one, &[]);
    let named = of(|carriage, _| {
        carriage.receipt = Some(Digest::of(b"receipt"));
        carriage.bases.clear();
        carriage.blobs[0].repositories = vec!["a.example.com/x".into(), "b".into()];
    });
    absent(out, "named", "good: no bundle as base, a receipt, and where a blob was", "MB-CAR-04", named, &[]);
    let unsigned = signed_as(|_| None);
    absent(
        out,
        "unsigned-allowed",
        "no signature, with --allow-unsigned",
        "MB-CAR-08",
        unsigned,
        &["--allow-unsigned"],
    );
    let by = signed_as(|bytes| Some(signed(&sshsig::SECOND, CARRIER, bytes)));
    let vector = out.add(
        "carrier",
        "good: signed by a carrier of the policy",
        ("", Some(Code::IncompleteCheck), "MB-CAR-08"),
        by,
    );
    vector.args(&["--trust", "keys/trust-carrier.yaml", "--at", "2026-11-23T00:00:00Z"]).verify_only = true;
}

fn signatures(out: &mut Vectors) {
    let is = |code| ("A1", Some(code), "MB-CAR-08");
    out.add("unsigned", "the carriage has no signature", is(Code::Unsigned), signed_as(|_| None));
    let stranger = signed_as(|bytes| Some(signed(&sshsig::STRANGER, BUILDER, bytes)));
    out.add("stranger", "the carriage is signed by a stranger", is(Code::Untrusted), stranger);
    let role = signed_as(|bytes| Some(signed(&sshsig::BUILDER, CARRIER, bytes)));
    out.add("role", "a builder signs as carrier, which the policy does not name", is(Code::Untrusted), role);
    let reviewer = signed_as(|bytes| Some(signed(&sshsig::BUILDER, "mirror-bundle.v1.reviewer", bytes)));
    out.add("namespace", "signed as reviewer", is(Code::Untrusted), reviewer);
    let other = signed_as(|_| Some(signed(&sshsig::BUILDER, BUILDER, b"something else")));
    out.add("signature", "the signature is over something else", is(Code::BadSignature), other);
    out.add("no-armor", "the signature is no signature", is(Code::BadSignature), signed_as(|_| Some(b"x".to_vec())));
    let by = signed_as(|bytes| Some(signed(&sshsig::STRANGER, CARRIER, bytes)));
    let vector = out.add("carrier-stranger", "signed as carrier by a stranger", is(Code::Untrusted), by);
    vector.args(&["--trust", "keys/trust-carrier.yaml", "--at", "2026-11-23T00:00:00Z"]);
}

fn members(out: &mut Vectors) {
    let is = |code| ("B1", Some(code), "MB-CAR-02");
    let (bundle, index) = (draft(), draft().index());
    let bytes = both(&index).to_bytes().unwrap();
    let signature = signed(&sshsig::BUILDER, BUILDER, &bytes);
    let archive = |without: &[usize]| carried(&bundle, &bytes, Some(&signature), without);
    let there = archive(&large(&index)[..1]);
    out.add("there", "a layer is absent, and there", is(Code::UnlistedContent), there).stream(Code::Malformed);
    out.add("both-there", "both layers are there", is(Code::UnlistedContent), archive(&[])).stream(Code::Malformed);
    let mut unlisted = bundle.archive();
    let gone = format!("blobs/sha256/{}", index.blobs[large(&index)[0]].digest.hex());
    unlisted.entries.retain(|entry| entry.name != gone);
    unlisted.sums_again();
    out.add("nothing-says", "a layer is not there, and no carriage says so", is(Code::Truncated), unlisted)
        .stream(Code::Malformed);
    let swap = |first: &str, second: &str| {
        let mut archive = archive(&large(&index));
        let (a, b) = (archive.at(first), archive.entries.iter().position(|e| e.name == second).unwrap());
        archive.entries.swap(a, b);
        archive.sums_again();
        archive
    };
    out.add("after-its-signature", "the signature comes first", is(Code::Malformed), swap(CARRIAGE, SIGNATURE));
    out.add(
        "before-the-signature",
        "before the signature of the index",
        is(Code::Malformed),
        swap(layout::SIGNATURE, CARRIAGE),
    );
    out.add("behind-the-sums", "behind SHA256SUMS", is(Code::Malformed), swap(SIGNATURE, layout::SUMS));
    let mut twice = archive(&large(&index));
    let at = twice.at(layout::SUMS);
    twice.entries.insert(at, Entry::new(CARRIAGE, &bytes));
    twice.sums_again();
    out.add("twice", "two carriages", is(Code::Malformed), twice);
    let mut sums = bundle.archive();
    sums.entries.retain(|entry| entry.name != gone);
    sums.sums_again();
    let line = sums.entry(layout::SUMS).bytes.clone();
    let mut short = archive(&large(&index));
    short.entry(layout::SUMS).bytes = line;
    out.add("not-in-the-sums", "SHA256SUMS does not list it", is(Code::Malformed), short);
    let mut changed = archive(&large(&index));
    let text = String::from_utf8(changed.entry(CARRIAGE).bytes.clone()).unwrap();
    let text = text.replace("\"sequence\": 6", "\"sequence\": 7");
    *changed.entry(CARRIAGE) = Entry::new(CARRIAGE, text.as_bytes());
    changed.sums_again();
    out.add(
        "changed",
        "another base than the one that is signed",
        ("A1", Some(Code::BadSignature), "MB-CAR-08"),
        changed,
    );
}

fn lists(out: &mut Vectors) {
    let is = |code| ("B6", Some(code), "MB-CAR-03");
    let add = |out: &mut Vectors, name: &str, what: &str, archive: Archive| {
        _ = out.add(name, what, is(Code::Malformed), archive);
    };
    add(out, "form-space", "another indent", of_text(|text| text.replacen("  \"format\"", "   \"format\"", 1)));
    add(out, "form-end", "no line end at the end", of_text(|text| text.trim_end().to_owned()));
    add(
        out,
        "form-member",
        "a member that is unknown",
        of_text(|t| t.replacen("\"references\"", "\"x\": 1,\n  \"references\"", 1)),
    );
    add(
        out,
        "form-twice",
        "a member twice",
        of_text(|t| t.replacen("\"references\": []", "\"references\": [],\n  \"references\": []", 1)),
    );
    add(out, "form-none", "not JSON", of_text(|_| "carriage\n".to_owned()));
    add(out, "other-index", "about another bundle", of(|c, _| c.index = Digest::of(b"other")));
    let format = of_text(|text| text.replacen("\"format\": 1", "\"format\": 2", 1));
    out.add("format", "a later format", is(Code::NotABundle), format);
    let later = of_text(|_| "{\"format\": 2, \"more\": {}}".to_owned());
    out.add("format-later", "a later format without what this one has", is(Code::NotABundle), later);
    let feature = of(|c, _| c.features.incompatible = vec!["delta-2".into()]);
    out.add("feature", "a feature that is unknown", is(Code::NotABundle), feature);
    add(out, "compatible", "a compatible feature", of(|c, _| c.features.compatible = vec!["x".into()]));
    let is = |code| ("B6", Some(code), "MB-CAR-04 MB-CAR-05");
    let mut add = |name: &str, what: &str, change: fn(&mut Carriage, &Index)| {
        _ = out.add(name, what, is(Code::Malformed), of(change));
    };
    add("nothing", "no blob is named", |c, _| c.blobs.clear());
    add("position-twice", "a blob twice", |c, _| c.blobs[1] = c.blobs[0].clone());
    add("position-order", "blobs out of order", |c, _| c.blobs.swap(0, 1));
    add("position-beyond", "a blob that the index does not have", |c, i| c.blobs[1].blob = i.blobs.len() as u32);
    add("document", "a document is absent", |c, _| c.blobs.insert(0, Listed::absent(0, vec![])));
    add("configuration", "a configuration is absent", |c, i| {
        let at = i.blobs.iter().position(|blob| blob.role == Role::Config).unwrap();
        c.blobs.insert(0, Listed::absent(at, vec![]));
    });
    add("small", "a blob of 23 bytes is absent", |c, i| {
        let at = i.blobs.iter().position(|blob| blob.role == Role::Layer && blob.size <= 4096).unwrap();
        c.blobs.push(Listed::absent(at, vec![]));
        c.blobs.sort_by_key(|entry| entry.blob);
    });
    add("absent-member", "an absent blob with a size", |c, _| c.blobs[0].size = Some(1));
    add("bases-order", "bases out of order", |c, _| {
        c.bases.push(BaseName { index: Digest::of(b"later"), name: "b".into(), sequence: None });
        c.bases.sort_by_key(|base| std::cmp::Reverse(base.index));
    });
    add("bases-65", "65 bases", |c, _| {
        c.bases = (0..65u8).map(|n| BaseName { index: Digest::of(&[n]), name: "b".into(), sequence: None }).collect();
        c.bases.sort();
    });
    add("base-itself", "the bundle is its own base", |c, i| c.bases[0].index = Digest::of(&i.to_bytes().unwrap()));
    add("base-name", "a name that moves the cursor", |c, _| c.bases[0].name = "a\u{1b}[2J".into());
    add("repositories-order", "repositories out of order", |c, _| {
        c.blobs[0].repositories = vec!["b".into(), "a".into()]
    });
    add("repositories-9", "nine repositories", |c, _| {
        c.blobs[0].repositories = (1..=9).map(|n| format!("r{n}")).collect();
    });
    add("repositories-empty", "a repository without a name", |c, _| c.blobs[0].repositories = vec![String::new()]);
}

fn encodings(out: &mut Vectors) {
    type Change = fn(&mut Listed, &mut Vec<Reference>, &Index);
    let mut add = |name: &str, what: &str, change: Change| {
        let name = format!("encoded-{name}");
        _ = out.add(&name, what, ("B6", Some(Code::Malformed), "MB-CAR-06"), difference(change));
    };
    add("no-size", "no size of the member", |e, _, _| e.size = None);
    add("no-gzip", "nothing says how it is made", |e, _, _| e.gzip = None);
    add("larger", "a member larger than the blob", |e, _, i| e.size = Some(i.blobs[large(i)[0]].size + 1));
    add("empty", "a member of no bytes", |e, _, _| e.size = Some(0));
    add("bomb", "a tar of 16 GiB in 5 KB", |e, _, _| e.tar.as_mut().unwrap().size = 16 << 30);
    add("no-tar", "a tar of no bytes", |e, _, _| e.tar.as_mut().unwrap().size = 0);
    add("header-letters", "a header that is not hex", |e, _, _| {
        e.gzip.as_mut().unwrap().header = "1F8B08000000000000ff".into()
    });
    add("header-none", "a header that is none of gzip", |e, _, _| e.gzip.as_mut().unwrap().header = "00".repeat(10));
    add("header-rest", "a byte behind the header", |e, _, _| e.gzip.as_mut().unwrap().header.push_str("00"));
    add("header-open", "a header with a name that does not end", |e, _, _| {
        e.gzip.as_mut().unwrap().header = "1f8b08080000000000ff6161".into();
    });
    add("header-short", "a header of 9 bytes", |e, _, _| e.gzip.as_mut().unwrap().header = "1f8b08000000000000".into());
    add("header-odd", "half a byte", |e, _, _| e.gzip.as_mut().unwrap().header.push('0'));
    add("header-long", "a header of 257 bytes", |e, _, _| e.gzip.as_mut().unwrap().header = "00".repeat(257));
    add("level", "a level that no encoder has", |e, _, _| e.gzip.as_mut().unwrap().level = 9);
    add("level-go", "a level that Go does not have", |e, _, _| e.gzip.as_mut().unwrap().encoder = Encoder::Go126);
    add("blocks-go", "Go writes no blocks", |e, _, _| {
        let gzip = e.gzip.as_mut().unwrap();
        (gzip.encoder, gzip.level) = (Encoder::Go126, 6);
    });
    add("block", "another block size", |e, _, _| e.gzip.as_mut().unwrap().block_size = Some(4096));
    add("no-block", "no block size", |e, _, _| e.gzip.as_mut().unwrap().block_size = None);
    add("block-of-one", "one stream with a block size", |e, _, _| e.gzip.as_mut().unwrap().method = GzipForm::Gzip);
    add("repositories", "where an encoded blob was", |e, _, _| e.repositories = vec!["a".into()]);
    add("zstd-reference", "a reference of what is no difference", |e, _, _| {
        e.content.as_mut().unwrap().method = ContentForm::Zstd;
    });
    add("no-reference", "a difference to nothing", |e, _, _| e.content.as_mut().unwrap().reference = None);
    add("reference-beyond", "a reference that is not listed", |e, _, _| {
        e.content.as_mut().unwrap().reference = Some(1)
    });
    add("reference-unused", "a reference that nothing needs", |_, r, _| {
        let more = Reference { digest: Digest::of(b"more"), ..r[0].clone() };
        r.push(more);
        r.sort_by_key(|one| one.digest);
    });
    add("reference-itself", "a difference to itself", |_, r, i| r[0].digest = i.blobs[large(i)[0]].digest);
    add("reference-there", "a reference that is in the bundle", |_, r, i| {
        r[0].digest = i.blobs.iter().find(|blob| blob.role == Role::Layer && blob.size <= 4096).unwrap().digest;
    });
    add("no-content", "nothing says what the member holds", |e, _, _| e.content = None);
    add("no-digest", "no digest of the member", |e, _, _| e.digest = None);
    add("reference-bomb", "a reference that inflates too far", |_, r, _| r[0].tar.size = 4000 * 1032 + (64 << 10) + 1);
    add("reference-empty", "a reference of no bytes", |_, r, _| r[0].size = 0);
    add("over-limit", "a tar of one byte over 1,032 times the blob and 64 KiB", |e, _, i| {
        e.tar.as_mut().unwrap().size = i.blobs[large(i)[0]].size * 1032 + (64 << 10) + 1;
    });
    add("configuration", "a configuration is carried as a difference", |e, _, i| {
        e.blob = i.blobs.iter().position(|blob| blob.role == Role::Config).unwrap() as u32;
    });
    add("small", "a blob of 23 bytes is carried as a difference", |e, _, i| {
        let small = |blob: &mirror_bundle::bundle::index::Blob| blob.role == Role::Layer && blob.size <= 4096;
        let at = i.blobs.iter().position(small).unwrap();
        (e.blob, e.size) = (at as u32, Some(10));
    });
    for (name, from, to) in
        [("encoder", "klauspost-b", "klauspost-c"), ("method", "pgzip", "bgzip"), ("content", "delta-1", "delta-2")]
    {
        let (draft, index) = (draft(), draft().index());
        let archive = difference(|_, _, _| {});
        let bytes = archive.entries[archive.at(CARRIAGE)].bytes.clone();
        let bytes = String::from_utf8(bytes).unwrap().replace(from, to).into_bytes();
        let archive = carried(&draft, &bytes, Some(&signed(&sshsig::BUILDER, BUILDER, &bytes)), &large(&index));
        let what = format!("an unknown {name}");
        out.add(&format!("encoded-{name}"), &what, ("B6", Some(Code::Malformed), "MB-CAR-06"), archive);
    }
}
