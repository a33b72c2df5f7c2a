#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::wire::put_string;
use super::*;

fn blob(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|field| put_string(&mut out, field));
    out
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn some_key() -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[3; 32])
}

fn some_line() -> String {
    let blob = blob(&[b"ssh-ed25519", some_key().verifying_key().as_bytes()]);
    format!("ssh-ed25519 {} a comment", STANDARD.encode(blob))
}

#[test]
fn a_line_is_read_and_written_back() {
    let line = some_line();
    let key = PublicKey::parse(&format!("{line}\n")).unwrap();
    assert_eq!(key.to_line(), line);
    assert_eq!(key.comment(), "a comment");
    let bare = PublicKey::parse(line.trim_end_matches(" a comment")).unwrap();
    assert_eq!(bare, key, "the comment is not part of the key");
    let spaced = line.replacen(' ', " \t ", 1).replace(" a comment", "\t a comment");
    assert_eq!(PublicKey::parse(&spaced).unwrap(), key, "as in a file of allowed signers");
    assert_eq!(PublicKey::from_blob(key.blob()).unwrap(), key);
}

#[test]
fn lines_that_are_not_one_public_key_are_refused() {
    let line = some_line();
    let body = line.split(' ').nth(1).unwrap();
    for bad in [
        String::new(),
        "ssh-ed25519".to_owned(),
        format!("{line}\n{line}"),
        format!("no-pty {line}"),
        line.replace("ssh-ed25519", "ssh-rsa"),
        line.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"),
        line.replace("a comment", "a \x1b[2J"),
        line.replace("a comment", "a\tcomment"),
        line.replacen(' ', "\n", 1),
        format!("ssh-ed25519 {}", &body[..body.len() - 4]),
        format!("ssh-ed25519 {}=", body),
        format!("ssh-ed25519 {}", STANDARD.encode(blob(&[b"ssh-ed25519", &[1; 31]]))),
        format!("ssh-ed25519 {}", STANDARD.encode(blob(&[b"ssh-ed25519", &[1; 32], b"x"]))),
        format!("ssh-ed25519 {}", "A".repeat(9000)),
        "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
    ] {
        assert!(matches!(PublicKey::parse(&bad), Err(BadKey::Malformed(_))), "{bad}");
    }
}

#[test]
fn kinds_that_are_not_accepted_are_named() {
    for (bad, word) in [
        (blob(&[b"ssh-dss", b"x"]), "ssh-dss"),
        (blob(&[b"ecdsa-sha2-nistp384", b"nistp384", &[4; 97]]), "nistp384"),
        (blob(&[b"ssh-rsa", &[1, 0, 1], &[0x7f; 256]]), "2047 bits"),
        (blob(&[b"ssh-rsa", &[1, 0, 1], &[0x7f; 1024]]), "8191 bits"),
        (blob(&[b"ssh-rsa", &[1, 0, 1], &[1]]), "1 bits"),
        (blob(&[b"sk-ssh-ed25519@openssh.com", some_key().verifying_key().as_bytes(), b"https://x"]), "https://x"),
    ] {
        let err = PublicKey::from_blob(&bad).unwrap_err();
        assert!(matches!(&err, BadKey::Unsupported(why) if why.contains(word)), "{err}");
    }
}

#[test]
fn rsa_and_ecdsa_keys_have_one_encoding() {
    let rsa = |e: &[u8], n: &[u8]| PublicKey::from_blob(&blob(&[b"ssh-rsa", e, n]));
    let mut modulus = vec![0xc3; 385];
    modulus[0] = 0;
    assert!(rsa(&[1, 0, 1], &modulus).is_ok());
    assert!(rsa(&[0, 1, 0, 1], &modulus).is_err(), "leading zero");
    assert!(rsa(&[1, 0, 1], &modulus[1..]).is_err(), "negative");
    assert!(rsa(&[1, 0, 1], b"").is_err(), "no modulus");
    assert!(rsa(&[1], &modulus).is_err(), "exponent one");
    assert!(rsa(&[1, 0, 0], &modulus).is_err(), "even exponent");
    assert!(rsa(&[], &modulus).is_err(), "exponent zero");
    assert!(rsa(&[0x81], &modulus).is_err(), "negative exponent");
    modulus[384] = 0xc2;
    assert!(rsa(&[1, 0, 1], &modulus).is_err(), "even modulus");
    let point = [&[4u8][..], &[7; 64]].concat();
    let ecdsa = |curve: &[u8], point: &[u8]| PublicKey::from_blob(&blob(&[b"ecdsa-sha2-nistp256", curve, point]));
    // Off the curve: no signature is ever one by it.
    let off = ecdsa(b"nistp256", &point).unwrap();
    let mpints = blob(&[&[1], &[1]]);
    assert_eq!(off.check(b"data", &blob(&[b"ecdsa-sha2-nistp256", &mpints])), Err(BadRaw::Mismatch));
    assert!(off.check(b"data", &blob(&[b"ecdsa-sha2-nistp256", b""])).is_err());
    assert!(ecdsa(b"nistp384", &point).is_err());
    assert!(ecdsa(b"nistp256", &[&[2u8][..], &[7; 32]].concat()).is_err(), "compressed");
    assert!(ecdsa(b"nistp256", &[0]).is_err(), "point at infinity");
}

/// The eight points of small order, and the further encodings of two of them that are not canonical.
#[test]
fn ed25519_keys_of_small_order_are_refused_when_loaded() {
    let zeros = "00".repeat(30);
    let ff = "ff".repeat(30);
    for (point, canonical) in [
        (format!("01{zeros}00"), true),
        (format!("ec{ff}7f"), true),
        (format!("00{zeros}00"), true),
        (format!("00{zeros}80"), true),
        ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(), true),
        ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".to_owned(), true),
        ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(), true),
        ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa".to_owned(), true),
        (format!("01{zeros}80"), false),
        (format!("ec{ff}ff"), false),
        (format!("ee{ff}7f"), false),
        (format!("ed{ff}7f"), false),
    ] {
        let err = PublicKey::from_blob(&blob(&[b"ssh-ed25519", &hex(&point)])).unwrap_err();
        assert_eq!(matches!(err, BadKey::Unsupported(_)), canonical, "{point}: {err}");
        let token = blob(&[b"sk-ssh-ed25519@openssh.com", &hex(&point), b"ssh:"]);
        assert!(PublicKey::from_blob(&token).is_err());
    }
}

/// Cases of ed25519-speccheck (Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs"): message, key, signature.
/// Only the one with mixed-order points, all canonical, may pass (security E1).
#[test]
fn ed25519_edge_cases_are_checked_strictly() {
    const MIXED: &str = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d";
    const LARGE: &str = "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623";
    for (name, message, key, signature, good) in [
        (
            "small order R",
            "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
             8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
            false,
        ),
        (
            "mixed order A and R, passes with and without the cofactor",
            "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
            MIXED,
            "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f\
             87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
            true,
        ),
        (
            "passes only with the cofactor",
            "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
            MIXED,
            "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512\
             5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
            false,
        ),
        (
            "S beyond the group order",
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            LARGE,
            "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e\
             547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
            false,
        ),
        (
            "S far beyond the group order",
            "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
            LARGE,
            "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942\
             7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
            false,
        ),
        (
            "non-canonical R",
            "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
            "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f\
             454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
            false,
        ),
    ] {
        let key = PublicKey::from_blob(&blob(&[b"ssh-ed25519", &hex(key)])).unwrap();
        let result = key.check(&hex(message), &blob(&[b"ssh-ed25519", &hex(signature)]));
        assert_eq!(result, if good { Ok(()) } else { Err(BadRaw::Mismatch) }, "{name}");
    }
}

#[test]
fn an_ed25519_signature_with_the_order_added_to_s_is_refused() {
    use ed25519_dalek::Signer as _;
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let key = PublicKey::parse(&some_line()).unwrap();
    let good = some_key().sign(b"data").to_bytes();
    assert_eq!(key.check(b"data", &blob(&[b"ssh-ed25519", &good])), Ok(()));
    let mut bad = good;
    let mut carry = 0u16;
    for (byte, add) in bad[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(key.check(b"data", &blob(&[b"ssh-ed25519", &bad])), Err(BadRaw::Mismatch));
}

#[test]
fn raw_signatures_of_another_shape_or_kind_are_refused() {
    use ed25519_dalek::Signer as _;
    let key = PublicKey::parse(&some_line()).unwrap();
    let raw = some_key().sign(b"data").to_bytes();
    let with = |fields: &[&[u8]]| key.check(b"data", &blob(fields));
    assert_eq!(with(&[b"ssh-ed25519", &raw]), Ok(()));
    assert_eq!(key.check(b"other", &blob(&[b"ssh-ed25519", &raw])), Err(BadRaw::Mismatch));
    for bad in [
        with(&[b"ssh-ed25519", &raw[..63]]),
        with(&[b"ssh-ed25519", &raw, b""]),
        with(&[b"sk-ssh-ed25519@openssh.com", &raw]),
        with(&[b"rsa-sha2-512", &raw]),
        with(&[b"ssh-ed25519"]),
        with(&[]),
    ] {
        assert!(matches!(bad, Err(BadRaw::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn sha1_signatures_of_rsa_keys_are_refused() {
    let mut modulus = vec![0xc3; 385];
    modulus[0] = 0;
    let key = PublicKey::from_blob(&blob(&[b"ssh-rsa", &[1, 0, 1], &modulus])).unwrap();
    assert_eq!(key.check(b"data", &blob(&[b"ssh-rsa", &[1; 384]])), Err(BadRaw::Unsupported("it uses SHA-1")));
    assert_eq!(key.check(b"data", &blob(&[b"rsa-sha2-512", &[1; 384]])), Err(BadRaw::Mismatch));
    assert_eq!(key.check(b"data", &blob(&[b"rsa-sha2-256", b""])), Err(BadRaw::Mismatch));
}

#[test]
fn a_token_signature_needs_touch_and_covers_application_flags_and_counter() {
    use ed25519_dalek::Signer as _;
    let public = some_key().verifying_key();
    let key = PublicKey::from_blob(&blob(&[b"sk-ssh-ed25519@openssh.com", public.as_bytes(), b"ssh:"])).unwrap();
    let make = |application: &str, flags: u8| {
        let mut signed = Sha256::digest(application.as_bytes()).to_vec();
        signed.extend_from_slice(&[flags, 0, 0, 0, 9]);
        signed.extend_from_slice(&Sha256::digest(b"data"));
        let mut out = blob(&[b"sk-ssh-ed25519@openssh.com", &some_key().sign(&signed).to_bytes()]);
        out.extend_from_slice(&[flags, 0, 0, 0, 9]);
        out
    };
    let good = make("ssh:", 1);
    assert_eq!(key.check(b"data", &good), Ok(()));
    assert_eq!(key.check(b"data", &make("ssh:", 5)), Ok(()), "verified by PIN too");
    assert!(matches!(key.check(b"data", &make("ssh:", 0)), Err(BadRaw::Unsupported(_))));
    assert_eq!(key.check(b"data", &make("ssh:other", 1)), Err(BadRaw::Mismatch));
    let end = good.len() - 1;
    let mut counter = good.clone();
    counter[end] ^= 1;
    assert_eq!(key.check(b"data", &counter), Err(BadRaw::Mismatch));
    assert!(matches!(key.check(b"data", &good[..end]), Err(BadRaw::Malformed(_))));
    assert!(matches!(key.check(b"data", &[good, vec![0]].concat()), Err(BadRaw::Malformed(_))));
}
