//! The builder's signature: missing, by other keys, over other bytes, in other forms.

use mirror_bundle::error::Code;

use super::super::draft::Draft;
use super::super::sshsig::{BUILDER, NAMESPACE, Parts, SECOND, STRANGER, armor, blob, malleable, sign, wire};
use super::Vectors;

const NOW: &str = "2026-11-23T00:00:00Z";

pub fn list(out: &mut Vectors) {
    out.group("signature");
    let tiny = Draft::tiny();
    let mut with = |name: &str, what: &str, ids: &'static str, code: Code, make: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        let is = (ids, Some(code), "MB-SIG MB-VER-02");
        out.add(name, what, is, tiny.archive_signed(make));
    };
    use Code::{BadSignature, Malformed, Unsigned, Untrusted};
    with("none", "no signature", "A1", Unsigned, &|_| None);
    with("empty", "an empty signature file", "A1", BadSignature, &|_| Some(vec![]));
    with("garbage", "something that is no signature", "A1", BadSignature, &|_| Some(b"trust me\n".to_vec()));
    with("stranger", "signed by a key that nobody trusts", "A1", Untrusted, &|m| Some(sign(&STRANGER, m)));
    with("other-index", "the builder's signature over another index", "A1 A6", BadSignature, &|_| {
        Some(sign(&BUILDER, b"{}\n"))
    });
    with("other-line-ends", "the builder's signature over the index with CR LF", "E3", BadSignature, &|m| {
        let text = String::from_utf8(m.to_vec()).unwrap().replace('\n', "\r\n");
        Some(sign(&BUILDER, text.as_bytes()))
    });
    with("of-sums", "the builder's signature over the digest of the index", "E3", BadSignature, &|m| {
        Some(sign(&BUILDER, mirror_bundle::oci::Digest::of(m).to_string().as_bytes()))
    });
    for (name, namespace) in [
        ("namespace-file", "file"),
        ("namespace-git", "git"),
        ("namespace-record", "mirror-bundle.v1.record"),
        ("namespace-reviewer", "mirror-bundle.v1.reviewer"),
        ("namespace-v2", "mirror-bundle.v2.builder"),
        ("namespace-case", "mirror-bundle.v1.Builder"),
        ("namespace-space", "mirror-bundle.v1.builder "),
    ] {
        with(name, "the builder's signature, made for another purpose", "E3 E4", Untrusted, &|m| {
            Some(Parts::made(&BUILDER, m, namespace, b"", "sha512").armored())
        });
    }
    with("namespace-empty", "an empty namespace", "E3", BadSignature, &|m| {
        Some(Parts::made(&BUILDER, m, "", b"", "sha512").armored())
    });
    with("namespace-swapped", "made as reviewer and relabelled as builder", "E3", BadSignature, &|m| {
        let made = Parts::made(&BUILDER, m, "mirror-bundle.v1.reviewer", b"", "sha512");
        Some(Parts { namespace: NAMESPACE.into(), ..made }.armored())
    });
    with("raw-ed25519", "an Ed25519 signature over the index itself", "E3", BadSignature, &|m| {
        use ed25519_dalek::Signer as _;
        let raw = ed25519_dalek::SigningKey::from_bytes(&BUILDER).sign(m).to_bytes().to_vec();
        Some(Parts { raw, ..Parts::new(&BUILDER, m) }.armored())
    });
    with("sha256", "SHA-256 as message hash", "E4", Untrusted, &|m| {
        Some(Parts::made(&BUILDER, m, NAMESPACE, b"", "sha256").armored())
    });
    with("hash-relabelled", "SHA-512 relabelled as SHA-256", "E4", Untrusted, &|m| {
        Some(Parts { hash: "sha256".into(), ..Parts::new(&BUILDER, m) }.armored())
    });
    with("reserved", "something in the reserved field, and signed", "E4", BadSignature, &|m| {
        Some(Parts::made(&BUILDER, m, NAMESPACE, b"x", "sha512").armored())
    });
    with("version-2", "version 2", "E4", BadSignature, &|m| {
        Some(Parts { version: 2, ..Parts::new(&BUILDER, m) }.armored())
    });
    with("magic", "another magic", "E4", BadSignature, &|m| {
        Some(Parts { magic: b"SSHSIH".to_vec(), ..Parts::new(&BUILDER, m) }.armored())
    });
    with("bytes-after", "bytes after the signature, in the armor", "E4", BadSignature, &|m| {
        Some(Parts { after: vec![0; 4], ..Parts::new(&BUILDER, m) }.armored())
    });
    with("algorithm", "the algorithm of another key type", "E5", BadSignature, &|m| {
        Some(Parts { algorithm: "ssh-rsa".into(), ..Parts::new(&BUILDER, m) }.armored())
    });
    with("short", "63 bytes", "E1", BadSignature, &|m| {
        let mut parts = Parts::new(&BUILDER, m);
        parts.raw.pop();
        Some(parts.armored())
    });
    with("malleable", "the second half plus the group order", "E1", BadSignature, &|m| {
        let parts = Parts::new(&BUILDER, m);
        Some(Parts { raw: malleable(&parts.raw), ..parts }.armored())
    });
    with("zero", "64 zero bytes", "E1", BadSignature, &|m| {
        Some(Parts { raw: vec![0; 64], ..Parts::new(&BUILDER, m) }.armored())
    });
    with("bit-r", "a bit of the first half flipped", "F5", BadSignature, &|m| {
        let mut parts = Parts::new(&BUILDER, m);
        parts.raw[0] ^= 1;
        Some(parts.armored())
    });
    with("bit-s", "a bit of the second half flipped", "F5", BadSignature, &|m| {
        let mut parts = Parts::new(&BUILDER, m);
        parts.raw[40] ^= 1;
        Some(parts.armored())
    });
    with("other-key", "the builder's signature with a stranger's key in it", "E5", BadSignature, &|m| {
        Some(Parts { key: blob(&STRANGER), ..Parts::new(&BUILDER, m) }.armored())
    });
    with("claims-builder", "a stranger's signature with the builder's key in it", "E5 A1", BadSignature, &|m| {
        Some(Parts { key: blob(&BUILDER), ..Parts::new(&STRANGER, m) }.armored())
    });
    // The neutral element: its signature (R = S-less identity) holds for every message in a lax verifier.
    let mut neutral = [0u8; 32];
    neutral[0] = 1;
    with("small-order", "a key of small order, whose signature fits every message", "E1", Untrusted, &|m| {
        let raw = [neutral, [0; 32]].concat();
        Some(Parts { key: wire(&[b"ssh-ed25519", &neutral]), raw, ..Parts::new(&STRANGER, m) }.armored())
    });
    with("small-order-r", "the builder's key, and a commitment of small order", "E1", BadSignature, &|m| {
        Some(Parts { raw: [neutral, [0; 32]].concat(), ..Parts::new(&BUILDER, m) }.armored())
    });
    with("key-dsa", "a key of a type that is not accepted", "E5", Untrusted, &|m| {
        Some(Parts { key: wire(&[b"ssh-dss", b"x", b"x", b"x", b"x"]), ..Parts::new(&STRANGER, m) }.armored())
    });
    with("key-trailing", "the builder's key with bytes behind it", "E5", BadSignature, &|m| {
        Some(Parts { key: [blob(&BUILDER), vec![0]].concat(), ..Parts::new(&BUILDER, m) }.armored())
    });

    let text = |m: &[u8]| String::from_utf8(sign(&BUILDER, m)).unwrap();
    let mut form = |name: &str, what: &str, change: &dyn Fn(String) -> String| {
        with(name, what, "E4", BadSignature, &|m| Some(change(text(m)).into_bytes()));
    };
    form("two", "two signatures one after the other", &|t| format!("{t}{t}"));
    form("text-after", "text behind the armor", &|t| format!("{t}verified by the builder\n"));
    form("text-before", "text in front of the armor", &|t| format!("hello\n{t}"));
    form("blank-line-after", "a blank line behind the armor", &|t| format!("{t}\n"));
    form("no-final-newline", "without the last line end", &|t| t.trim_end().to_owned());
    form("crlf", "CR LF", &|t| t.replace('\n', "\r\n"));
    form("bom", "a byte order mark", &|t| format!("\u{feff}{t}"));
    form("header-line", "a header in the armor, as PGP has them", &|t| {
        t.replacen("-----\n", "-----\nComment: x\n\n", 1)
    });
    form("long-line", "one long line", &|t| {
        let lines: Vec<&str> = t.lines().collect();
        format!("{}\n{}\n{}\n", lines[0], lines[1..lines.len() - 1].concat(), lines[lines.len() - 1])
    });
    form("ragged", "lines of different lengths", &|t| {
        let at = t.find("-----\n").unwrap() + 10;
        format!("{}\n{}", &t[..at], &t[at..])
    });
    form("base64-bits", "base64 with bits set after its end", &|t| {
        let at = t.rfind("=\n").or(t.rfind("==\n"));
        let Some(at) = at else { return t.replacen("-----\n", "-----\n=", 1) };
        let at = t[..at].trim_end_matches('=').len() - 1;
        let last = t.as_bytes()[at];
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let next = ALPHABET[(ALPHABET.iter().position(|b| *b == last).unwrap() + 1) % 64];
        format!("{}{}{}", &t[..at], char::from(next), &t[at + 1..])
    });
    form("base64-url", "the other base64 alphabet", &|t| {
        let start = t.find("-----\n").unwrap() + 6;
        let end = t.rfind("-----END").unwrap();
        let body = t[start..end].replace('+', "-").replace('/', "_");
        if body == t[start..end] { t.replacen("U1", "U-", 1) } else { format!("{}{body}{}", &t[..start], &t[end..]) }
    });
    form("other-armor", "called a message", &|t| t.replace("SSH SIGNATURE", "SSH MESSAGE"));
    with("too-large", "more than 64 KiB", "A2 D5", Malformed, &|m| {
        let mut long = sign(&BUILDER, m);
        long.resize((64 << 10) + 1, b'\n');
        Some(long)
    });
    with("cut", "the first half", "F5", BadSignature, &|m| Some(armor(&Parts::new(&BUILDER, m).raw)));

    // Trust on the receiving host.
    let mut trust = |name: &str, what: &str, ids: &'static str, code: Option<Code>, policy: &str, at: &str| {
        let is = (ids, code, "MB-TRU MB-VER-02");
        out.add(name, what, is, tiny.archive()).args(&["--trust", policy, "--at", at]);
    };
    trust("policy", "a policy that names the builder", "A8", None, "keys/trust.yaml", NOW);
    trust("allowed-signers", "an allowed_signers file that names the builder", "A8", None, "keys/allowed_signers", NOW);
    trust("revoked", "the builder's key is revoked", "A8 E8", Some(Untrusted), "keys/trust-revoked.yaml", NOW);
    trust(
        "key-expired",
        "the time of the builder's key is over",
        "A5",
        Some(Code::Expired),
        "keys/trust-times.yaml",
        "2026-12-31T12:00:00Z",
    );
    trust(
        "key-not-yet",
        "the time of the builder's key has not come",
        "A5",
        Some(Code::Expired),
        "keys/trust-times.yaml",
        "2026-11-22T12:00:00Z",
    );
    trust("threshold", "two builders are wanted, one has signed", "A8 E6", Some(Untrusted), "keys/trust-two.yaml", NOW);
    trust("no-reviewer", "a reviewer is wanted too", "A8 E6", Some(Untrusted), "keys/trust-reviewer.yaml", NOW);
    trust(
        "two-names",
        "two names for one key do not make two keys",
        "A8 E5",
        Some(Untrusted),
        "keys/trust-two-names.yaml",
        NOW,
    );
    out.add(
        "second-builder",
        "signed by the other of two builders",
        ("A8", None, "MB-TRU"),
        tiny.archive_signed(|m| Some(sign(&SECOND, m))),
    )
    .args(&["--signer", "keys/builder.pub", "--signer", "keys/second.pub", "--at", NOW]);
    out.add(
        "allow-unsigned-bad",
        "--allow-unsigned does not excuse a bad signature",
        ("A1", Some(BadSignature), "MB-VER-02"),
        tiny.archive_signed(|_| Some(sign(&BUILDER, b"x"))),
    )
    .and(&["--allow-unsigned"]);
}
