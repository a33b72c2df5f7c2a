//! Layers that are restored from members (MB-CAR-13), and everything that looks like one. What is wrong with a
//! difference is in `tests/delta_format.rs`: it takes a base to read one.

use std::io::Write as _;
use std::sync::LazyLock;

use mirror_bundle::bundle::carriage::{
    As, BaseName, CARRIAGE, Carriage, Content, ContentForm, Encoder, Entry as Listed, Gzip as How, GzipForm, Reference,
    SIGNATURE, Tar,
};
use mirror_bundle::bundle::index::{Index, Kind};
use mirror_bundle::bundle::{layout, tar};
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Digest, Role};
use mirror_bundle::regzip::{Family, Gzip, Level, Method, Recipe};

use super::super::archive::{Archive, Entry};
use super::super::draft::{Draft, noise};
use super::super::sshsig;
use super::Vectors;
use super::carriage::{BUILDER, CARRIER};
use super::removals::signed;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A tar of one file: bytes that nothing compresses, and many zeros.
static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (size, text) = (300 << 10, noise(4600));
    let mut out = tar::header("file", size, 1_700_000_000).to_vec();
    out.extend(text);
    out.resize(512 + size as usize + 1024, 0);
    out
});

/// It, compressed in one stream, as each of these does. The first is the usual one.
static BLOBS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let of = |(family, level): (Family, Level)| {
        let mut gzip = Gzip::new(&Recipe::new(family, level, Method::Gzip, HEADER).unwrap(), Vec::new());
        gzip.write_all(&CONTENT).unwrap();
        gzip.finish().unwrap()
    };
    [(Family::B, Level::L6), (Family::A, Level::L5), (Family::Go126, Level::L6), (Family::Go126, Level::L1)]
        .map(of)
        .to_vec()
});

fn gzip(encoder: Encoder, level: u8) -> How {
    let header = HEADER.iter().map(|byte| format!("{byte:02x}")).collect();
    How { method: GzipForm::Gzip, encoder, level, block_size: None, header }
}

/// The blocks of a zstd frame: runs of one byte, and bytes as they are. No compressor, so that the bytes stay.
fn blocks(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = |kind: usize, size: usize, bytes: &[u8], last: bool| {
        out.extend_from_slice(&((size << 3 | kind << 1 | usize::from(last)) as u32).to_le_bytes()[..3]);
        out.extend_from_slice(bytes);
    };
    let run = |at: usize| content[at..].iter().take(128 << 10).take_while(|byte| **byte == content[at]).count();
    let (mut at, mut from) = (0, 0);
    while at < content.len() {
        let n = run(at);
        if n >= 16 {
            if from < at {
                block(0, at - from, &content[from..at], false);
            }
            block(1, n, &content[at..=at], at + n == content.len());
            from = at + n;
        }
        at += n;
    }
    if from < at || content.is_empty() {
        block(0, at - from, &content[from..], true);
    }
    out
}

/// A frame that says how much is in it.
fn frame(content: &[u8]) -> Vec<u8> {
    framed(0, content)
}

/// The same with these flags, and what they announce.
fn framed(flags: u8, content: &[u8]) -> Vec<u8> {
    let size = (content.len() as u32).to_le_bytes();
    let dictionary: &[u8] = if flags & 3 == 0 { &[] } else { &[7] };
    [&MAGIC[..], &[0xa0 | flags], dictionary, &size, &blocks(content)].concat()
}

/// A frame with a window of so many bytes, as a power of two, that does not say how much is in it.
fn windowed(log: u8, content: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &[0, (log - 10) << 3], &blocks(content)].concat()
}

/// The checksum of a content, as zstd writes it.
fn checksum(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    let made = encoder.finish().unwrap();
    made[made.len() - 4..].to_vec()
}

/// A bundle with a layer that is restored, and how.
struct Case {
    blob: Vec<u8>,
    member: Vec<u8>,
    tar: Tar,
    gzip: How,
    content: Content,
    references: Vec<Reference>,
}

impl Case {
    /// In zstd.
    fn good() -> Case {
        Case {
            blob: BLOBS[0].clone(),
            member: frame(&CONTENT),
            tar: Tar { digest: Digest::of(&CONTENT), size: CONTENT.len() as u64 },
            gzip: gzip(Encoder::KlauspostB, 6),
            content: Content { method: ContentForm::Zstd, reference: None },
            references: Vec::new(),
        }
    }

    fn with(member: Vec<u8>) -> Case {
        Case { member, ..Case::good() }
    }

    /// As a difference to a blob that the receiver has.
    fn difference() -> Case {
        let tar = Tar { digest: Digest::of(b"old tar"), size: 20_480 };
        let repositories = vec!["registry.example.com/restored".to_owned()];
        Case {
            member: b"MBDELTA1, and nothing that this vector is about".to_vec(),
            content: Content { method: ContentForm::Delta1, reference: Some(0) },
            references: vec![Reference { digest: Digest::of(b"reference"), size: 4000, tar, repositories }],
            ..Case::good()
        }
    }

    fn draft(&self) -> Draft {
        let mut draft = Draft::tiny();
        let layers = [draft.blob(Role::Layer, &self.blob), draft.blob(Role::Layer, &noise(4097))];
        let image = draft.image("amd64", &layers.map(|layer| (LAYER, layer)));
        draft.top(Kind::Additional, "registry.example.com/restored", Some("1"), &image);
        draft
    }

    fn carriage(&self, index: &Index) -> Carriage {
        let digest = Digest::of(&self.blob);
        let at = index.blobs.iter().position(|blob| blob.digest == digest).unwrap();
        let entry = Listed {
            form: As::Encoded,
            size: Some(self.member.len() as u64),
            digest: Some(Digest::of(&self.member)),
            tar: Some(self.tar),
            gzip: Some(self.gzip.clone()),
            content: Some(self.content.clone()),
            ..Listed::absent(at, vec![])
        };
        let base = BaseName { index: Digest::of(b"base"), name: "vectors".into(), sequence: Some(6) };
        let bases = if self.references.is_empty() { vec![] } else { vec![base] };
        let mut carriage = Carriage::absent(Digest::of(&index.to_bytes().unwrap()), bases, None, vec![entry]);
        carriage.references = self.references.clone();
        carriage
    }

    /// The path of the member.
    fn path(&self) -> String {
        format!("encoded/sha256/{}", Digest::of(&self.blob).hex())
    }

    fn archive(&self) -> Archive {
        self.signed_as(|bytes| Some(signed(&sshsig::BUILDER, BUILDER, bytes)))
    }

    fn signed_as(&self, sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Archive {
        let draft = self.draft();
        let bytes = self.carriage(&draft.index()).to_bytes().unwrap();
        self.archived(&draft, &bytes, sign(&bytes).as_deref())
    }

    fn archived(&self, draft: &Draft, carriage: &[u8], signature: Option<&[u8]>) -> Archive {
        let mut archive = draft.archive();
        *archive.entry(&format!("blobs/sha256/{}", Digest::of(&self.blob).hex())) =
            Entry::new(&self.path(), &self.member);
        let at = archive.at(layout::SUMS);
        if let Some(signature) = signature {
            archive.entries.insert(at, Entry::new(SIGNATURE, signature));
        }
        archive.entries.insert(at, Entry::new(CARRIAGE, carriage));
        archive.sums_again();
        archive
    }

    /// The archive with something done to it; `SHA256SUMS` stays.
    fn changed(&self, change: impl FnOnce(&mut Archive)) -> Archive {
        let mut archive = self.archive();
        change(&mut archive);
        archive
    }
}

pub fn list(out: &mut Vectors) {
    out.group("encoded");
    good(out);
    signatures(out);
    members(out);
    frames(out);
    contents(out);
}

fn good(out: &mut Vectors) {
    let is = |code| ("", code, "MB-CAR-06 MB-CAR-13");
    out.add("zstd", "good: a layer is restored from zstd", is(None), Case::good().archive());
    let mut with = framed(4, &CONTENT);
    with.extend(checksum(&CONTENT));
    out.add("checksum", "good: with a checksum", is(None), Case::with(with).archive());
    let with = windowed(25, &CONTENT);
    out.add(
        "window-limit",
        "good: the largest window, and no size of the content",
        is(None),
        Case::with(with).archive(),
    );
    let encoders = [(Encoder::KlauspostA, 5), (Encoder::Go126, 6), (Encoder::Go126, 1)];
    for (at, (encoder, level)) in encoders.into_iter().enumerate() {
        let case = Case { blob: BLOBS[at + 1].clone(), gzip: gzip(encoder, level), ..Case::good() };
        let name = ["klauspost-a", "go126", "go126-fast"][at];
        out.add(name, &format!("good: compressed by {name}"), is(None), case.archive());
    }
    let incomplete = is(Some(Code::IncompleteCheck));
    out.add("difference", "good: a layer is carried as a difference", incomplete, Case::difference().archive())
        .verify_only = true;
    let most = {
        let mut case = Case::difference();
        case.tar.size = case.blob.len() as u64 * 1032 + (64 << 10);
        case.member.resize(case.blob.len(), 0);
        case.references[0].tar.size = 4000 * 1032 + (64 << 10);
        case.archive()
    };
    out.add("limits", "good: as large as member, content and reference may be", incomplete, most).verify_only = true;
    let both = {
        let case = Case::difference();
        let draft = case.draft();
        let index = draft.index();
        let mut carriage = case.carriage(&index);
        let gone = index.blobs.iter().position(|blob| blob.size == 4097).unwrap();
        carriage.blobs.push(Listed::absent(gone, vec![]));
        carriage.blobs.sort_by_key(|entry| entry.blob);
        let bytes = carriage.to_bytes().unwrap();
        let mut archive = case.archived(&draft, &bytes, Some(&signed(&sshsig::BUILDER, BUILDER, &bytes)));
        archive.entries.retain(|entry| !entry.name.ends_with(&index.blobs[gone].digest.hex()));
        archive.sums_again();
        archive
    };
    out.add("both", "good: one layer as a difference, the other absent", incomplete, both).verify_only = true;
    let by = Case::good().signed_as(|bytes| Some(signed(&sshsig::SECOND, CARRIER, bytes)));
    out.add("carrier", "good: signed by a carrier of the policy", is(None), by).args(CARRIERS);
}

const CARRIERS: &[&str] =
    &["--trust", "keys/trust-carrier.yaml", "--release-keyring", "keys/release.asc", "--at", "2026-11-23T00:00:00Z"];

/// No decoder sees a byte: each member here is none that a decoder accepts.
fn signatures(out: &mut Vectors) {
    let is = |code| ("A1", Some(code), "MB-CAR-08");
    let case = || Case::with(b"no zstd frame".to_vec());
    let unsigned = || case().signed_as(|_| None);
    out.add("unsigned", "the carriage has no signature", is(Code::Unsigned), unsigned());
    out.add("unsigned-allowed", "the same with --allow-unsigned", is(Code::Unsigned), unsigned())
        .and(&["--allow-unsigned"]);
    out.add("nobody", "signed, but nobody is named whose signature counts", is(Code::Unsigned), case().archive())
        .args(&["--allow-unsigned", "--release-keyring", "keys/release.asc", "--at", "2026-11-23T00:00:00Z"]);
    let stranger = case().signed_as(|bytes| Some(signed(&sshsig::STRANGER, BUILDER, bytes)));
    out.add("stranger", "the carriage is signed by a stranger", is(Code::Untrusted), stranger);
    let role = case().signed_as(|bytes| Some(signed(&sshsig::SECOND, BUILDER, bytes)));
    out.add("role", "a carrier signs as builder", is(Code::Untrusted), role).args(CARRIERS);
    let other = case().signed_as(|_| Some(signed(&sshsig::BUILDER, BUILDER, b"something else")));
    out.add("signature", "the signature is over something else", is(Code::BadSignature), other);
}

fn members(out: &mut Vectors) {
    let is = |code| ("B1", Some(code), "MB-CAR-13");
    let case = Case::good();
    let plain = format!("blobs/sha256/{}", Digest::of(&case.blob).hex());
    let change = |change: &dyn Fn(&mut Entry)| case.changed(|archive| change(archive.entry("encoded/")));
    let other = change(&|member| *member.bytes.last_mut().unwrap() ^= 1);
    out.add("other-bytes", "other bytes than those that are signed", is(Code::BlobMismatch), other).late();
    let longer = change(&|member| member.bytes.push(0));
    out.add("longer", "a byte more than the carriage says", is(Code::Malformed), longer).late();
    let shorter = change(&|member| _ = member.bytes.pop());
    out.add("shorter", "a byte less than the carriage says", is(Code::Malformed), shorter).late();
    let below = change(&|member| member.name = plain.clone());
    out.add("below-blobs", "the member has the name of the blob", is(Code::Malformed), below).late();
    let own = change(&|member| member.name = format!("encoded/sha256/{}", member.listed.hex()));
    out.add("own-digest", "the member has its own digest as name", is(Code::Malformed), own).late();
    let padding = change(&|member| member.padding = Some(1));
    out.add("padding", "something behind the member", is(Code::UnlistedContent), padding).late();
    let gone = case.changed(|archive| archive.entries.retain(|entry| !entry.name.starts_with("encoded/")));
    out.add("gone", "the member is not there", is(Code::Truncated), gone).stream(Code::Malformed);
    let blob = case.changed(|archive| *archive.entry("encoded/") = Entry::new(&plain, &case.blob));
    out.add("blob-instead", "the blob itself is there", is(Code::UnlistedContent), blob).stream(Code::Malformed);
    let both = case.changed(|archive| {
        let at = archive.at("encoded/");
        archive.entries.insert(at, Entry::new(&plain, &case.blob));
    });
    out.add("and-blob", "the blob itself is there too", is(Code::UnlistedContent), both).stream(Code::Malformed);
    let last = case.changed(|archive| {
        let at = archive.at("encoded/");
        let member = archive.entries.remove(at);
        match at == archive.entries.len() {
            true => archive.entries.insert(at - 1, member),
            false => archive.entries.push(member),
        }
    });
    out.add("place", "the member is not in the place of the blob", is(Code::Malformed), last).late();
    let sums = case.changed(|archive| {
        archive.entry("encoded/").listed = Digest::of(&case.blob);
        archive.sums_again();
    });
    out.add("sums", "SHA256SUMS has the digest of the blob", is(Code::Malformed), sums);
    let addendum = case.changed(|archive| archive.entries.push(Entry::new("encoded/sha256/more", b"x")));
    out.add("more", "a member that nothing lists", is(Code::UnlistedContent), addendum).late();
}

fn frames(out: &mut Vectors) {
    let mut add = |name: &str, what: &str, member: Vec<u8>| {
        let is = ("B2", Some(Code::BlobMismatch), "MB-CAR-13");
        _ = out.add(&format!("frame-{name}"), what, is, Case::with(member).archive()).late();
    };
    let content = &CONTENT[..];
    let (first, rest) = content.split_at(4000);
    add("none", "no zstd frame", b"MBDELTA1".to_vec());
    add("window", "a window above 32 MiB", windowed(26, content));
    add("dictionary", "a frame that needs a dictionary", framed(1, content));
    add("reserved", "a reserved bit", framed(8, content));
    add("more", "a byte more than the carriage says", windowed(20, &[content, &[0]].concat()));
    add("less", "a byte less than the carriage says", windowed(20, &content[..content.len() - 1]));
    add("says-more", "a frame that says it holds a byte more", frame(&[content, &[0]].concat()));
    add("bomb", "4 MiB out of a few bytes, where 300 KiB are due", windowed(20, &vec![0; 4 << 20]));
    let claim = [&MAGIC[..], &[0xe0], &(16u64 << 30).to_le_bytes(), &blocks(content)].concat();
    add("claim", "a frame that says it holds 16 GiB", claim);
    add("two", "two frames", [frame(first), frame(rest)].concat());
    add("empty-behind", "an empty frame behind it", [frame(content), frame(&[])].concat());
    add(
        "skippable",
        "a frame to skip before it",
        [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], &frame(content)[..]].concat(),
    );
    add("rest", "a byte behind it", [&frame(content)[..], &[0]].concat());
    let mut sum = checksum(content);
    sum[0] ^= 1;
    add("checksum", "a wrong checksum", [framed(4, content), sum].concat());
    add("cut", "the last block is missing", frame(content)[..4000].to_vec());
    let mut reserved = frame(content);
    reserved[9] |= 6;
    add("block", "a block of a reserved kind", reserved);
}

fn contents(out: &mut Vectors) {
    let mut add = |name: &str, what: &str, case: Case| {
        let is = ("B2", Some(Code::BlobMismatch), "MB-CAR-13");
        _ = out.add(name, what, is, case.archive()).late();
    };
    let mut other = CONTENT.clone();
    other[600] ^= 1;
    add("other-content", "another content than the carriage says", Case::with(frame(&other)));
    let tar = Tar { digest: Digest::of(&other), size: other.len() as u64 };
    add("other-blob", "a content that gives another blob", Case { tar, ..Case::with(frame(&other)) });
    let longer = [&CONTENT[..], &[0; 512]].concat();
    let tar = Tar { digest: Digest::of(&longer), size: longer.len() as u64 };
    add("longer-content", "a content that gives a longer blob", Case { tar, ..Case::with(frame(&longer)) });
    assert_ne!(BLOBS[0], BLOBS[2]);
    add(
        "wrong-encoder",
        "another encoder than the one that made it",
        Case { gzip: gzip(Encoder::Go126, 6), ..Case::good() },
    );
    assert_ne!(BLOBS[2], BLOBS[3]);
    let level = Case { blob: BLOBS[2].clone(), gzip: gzip(Encoder::Go126, 1), ..Case::good() };
    add("wrong-level", "another level than the one that made it", level);
    let mut blocks = gzip(Encoder::KlauspostB, 6);
    (blocks.method, blocks.block_size) = (GzipForm::Pgzip, Some(262_144));
    add("wrong-method", "blocks, where it is one stream", Case { gzip: blocks, ..Case::good() });
    let mut header = gzip(Encoder::KlauspostB, 6);
    header.header = "1f8b080001000000 00ff".replace(' ', "");
    add("wrong-header", "another time in the header", Case { gzip: header, ..Case::good() });
}
