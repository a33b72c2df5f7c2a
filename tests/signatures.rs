//! Signatures and keys against the real `ssh-keygen`: each side uses the files and signatures of the other, and both
//! agree about them. Needs OpenSSH 9.1 or later in `PATH`; runs no agent.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use mirror_bundle::sign::{
    Bad, MessageHash, Namespace, Outcome, Policy, PublicKey, Role, SecretKey, read_public_key, read_secret_key, sign,
    verify, write_key_pair,
};
use mirror_bundle::{Code, Result};
use sha2::{Digest as _, Sha256, Sha512};
use tempfile::TempDir;
use zeroize::Zeroizing;

const INDEX: &[u8] = b"{\n  \"format\": 1\n}\n";
const BUILDER: &str = "mirror-bundle.v1.builder";

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn keygen(dir: &Path, args: &[&str], stdin: Option<&[u8]>) -> Output {
    let mut command = Command::new("ssh-keygen");
    command.current_dir(dir).args(args).env_remove("SSH_AUTH_SOCK").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().expect("ssh-keygen is installed");
    if let Some(bytes) = stdin {
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
    }
    child.wait_with_output().unwrap()
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let out = keygen(dir, args, None);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A key made by `ssh-keygen` as files `k` and `k.pub`.
fn made(dir: &Path, kind: &[&str], passphrase: &str) -> PublicKey {
    ok(dir, &[&["-q", "-f", "k", "-C", "alice@host", "-N", passphrase], kind].concat());
    read_public_key(&dir.join("k.pub")).unwrap()
}

/// `ssh-keygen -Y sign` over the index.
fn signed_by_keygen(dir: &Path, namespace: &str, more: &[&str]) -> Vec<u8> {
    std::fs::write(dir.join("index.json"), INDEX).unwrap();
    let _ = std::fs::remove_file(dir.join("index.json.sig"));
    ok(dir, &[&["-Y", "sign", "-q", "-f", "k", "-n", namespace], more, &["index.json"]].concat());
    std::fs::read(dir.join("index.json.sig")).unwrap()
}

/// Whether `ssh-keygen -Y verify` accepts `sig` over the index, with a file `allowed`.
fn keygen_accepts(dir: &Path, allowed: &str, sig: &[u8], namespace: &str, more: &[&str]) -> bool {
    std::fs::write(dir.join("allowed"), allowed).unwrap();
    std::fs::write(dir.join("sig"), sig).unwrap();
    let args = ["-Y", "verify", "-f", "allowed", "-I", "alice", "-n", namespace, "-s", "sig"];
    keygen(dir, &[&args[..], more].concat(), Some(INDEX)).status.success()
}

fn no_passphrase() -> Result<Zeroizing<String>> {
    panic!("asked for a passphrase")
}

fn passphrase(text: &str) -> impl FnOnce() -> Result<Zeroizing<String>> {
    let text = Zeroizing::new(text.to_owned());
    move || Ok(text)
}

fn our_signature(key: &SecretKey, role: Role) -> String {
    sign(key, Namespace::Index(role), &MessageHash::of(INDEX))
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&(field.len() as u32).to_be_bytes());
    out.extend_from_slice(field);
}

#[test]
fn key_files_of_ssh_keygen_are_read_with_and_without_passphrase() {
    for pass in ["", "correct horse"] {
        let dir = dir();
        // One round: the test is not about the work factor.
        let public = made(dir.path(), &["-t", "ed25519", "-a", "1"], pass);
        let secret = if pass.is_empty() {
            read_secret_key(&dir.path().join("k"), no_passphrase)
        } else {
            assert!(read_secret_key(&dir.path().join("k"), passphrase("wrong")).is_err());
            read_secret_key(&dir.path().join("k"), passphrase(pass))
        }
        .unwrap();
        assert_eq!(*secret.public(), public);
        assert_eq!(secret.public().comment(), "alice@host");
        assert_eq!(public.to_line() + "\n", std::fs::read_to_string(dir.path().join("k.pub")).unwrap());
        let listed = ok(dir.path(), &["-l", "-f", "k.pub"]);
        assert_eq!(listed.split(' ').nth(1), Some(public.fingerprint().as_str()));
    }
}

#[test]
fn key_files_of_ours_are_read_by_ssh_keygen_with_and_without_passphrase() {
    for pass in [None, Some("battery staple")] {
        let dir = dir();
        let secret = SecretKey::generate("bob the builder").unwrap();
        write_key_pair(&dir.path().join("k"), &secret, pass).unwrap();
        let public = ok(dir.path(), &["-y", "-P", pass.unwrap_or(""), "-f", "k"]);
        assert_eq!(public.trim_end(), secret.public().to_line());
        let listed = ok(dir.path(), &["-l", "-f", "k"]);
        assert_eq!(listed.trim_end(), format!("256 {} bob the builder (ED25519)", secret.public().fingerprint()));
        // It can change the passphrase, and we can read what it wrote.
        ok(dir.path(), &["-q", "-p", "-a", "1", "-P", pass.unwrap_or(""), "-N", "another", "-f", "k"]);
        let again = read_secret_key(&dir.path().join("k"), passphrase("another")).unwrap();
        assert_eq!(again.public(), secret.public());
        assert!(!keygen(dir.path(), &["-y", "-P", "wrong", "-f", "k"], None).status.success());
    }
}

#[test]
fn an_unencrypted_key_file_has_the_layout_of_ssh_keygen() {
    let dir = dir();
    made(dir.path(), &["-t", "ed25519"], "");
    let theirs = std::fs::read_to_string(dir.path().join("k")).unwrap();
    let secret = read_secret_key(&dir.path().join("k"), no_passphrase).unwrap();
    let ours = secret.to_openssh(None).unwrap();
    let widths = |text: &str| text.lines().map(str::len).collect::<Vec<_>>();
    assert_eq!(widths(&theirs), widths(&ours));
    assert!(ours.ends_with("-----END OPENSSH PRIVATE KEY-----\n"));
}

#[test]
fn our_signature_is_byte_for_byte_that_of_ssh_keygen() {
    let dir = dir();
    made(dir.path(), &["-t", "ed25519"], "");
    let secret = read_secret_key(&dir.path().join("k"), no_passphrase).unwrap();
    for role in Role::ALL {
        let theirs = signed_by_keygen(dir.path(), Namespace::Index(role).as_str(), &[]);
        assert_eq!(String::from_utf8(theirs).unwrap(), our_signature(&secret, role));
    }
}

#[test]
fn ssh_keygen_verifies_our_signatures_and_only_for_their_namespace_and_bytes() {
    let dir = dir();
    let secret = SecretKey::generate("").unwrap();
    let allowed = format!("alice {}\n", secret.public().to_line());
    let sig = our_signature(&secret, Role::Builder);
    assert!(keygen_accepts(dir.path(), &allowed, sig.as_bytes(), BUILDER, &[]));
    assert!(!keygen_accepts(dir.path(), &allowed, sig.as_bytes(), "mirror-bundle.v1.reviewer", &[]));
    let other = sign(&secret, Namespace::Index(Role::Builder), &MessageHash::of(b"other"));
    assert!(!keygen_accepts(dir.path(), &allowed, other.as_bytes(), BUILDER, &[]));
}

#[test]
fn signatures_of_ssh_keygen_are_accepted_for_every_accepted_kind_of_key() {
    let message = MessageHash::of(INDEX);
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"], &["-t", "rsa", "-b", "3072"]] {
        let dir = dir();
        let public = made(dir.path(), kind, "");
        let listed = ok(dir.path(), &["-l", "-f", "k.pub"]);
        assert_eq!(listed.split(' ').nth(1), Some(public.fingerprint().as_str()), "{kind:?}");
        let sig = signed_by_keygen(dir.path(), BUILDER, &[]);
        let signature = verify(&message, &sig).unwrap();
        assert_eq!(*signature.key(), public);
        assert_eq!(signature.namespace(), BUILDER);
        assert_eq!(verify(&MessageHash::of(b"other"), &sig), Err(Bad::Mismatch), "{kind:?}");
        let policy = Policy::from_signer_keys(&[public]).unwrap();
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        assert_eq!(policy.evaluate(&[("s", &sig)], INDEX, now).verdict, Ok(()));
        // The same signature for another namespace does not count, whatever the key.
        let file = signed_by_keygen(dir.path(), "file", &[]);
        let evaluation = policy.evaluate(&[("s", &file)], INDEX, now);
        assert_eq!(evaluation.signatures[0].outcome, Outcome::WrongRole);
        assert_eq!(evaluation.verdict, Err(Code::Untrusted));
        let weak = signed_by_keygen(dir.path(), BUILDER, &["-O", "hashalg=sha256"]);
        assert!(matches!(verify(&message, &weak), Err(Bad::Unsupported { .. })), "{kind:?}");
        let evaluated = policy.evaluate(&[("s", &weak)], INDEX, now).signatures.remove(0);
        assert_eq!((evaluated.outcome, evaluated.signer.as_deref()), (Outcome::UnknownKey, Some("alice@host")));
    }
}

#[test]
fn every_changed_byte_of_an_ecdsa_or_rsa_signature_is_noticed() {
    let message = MessageHash::of(INDEX);
    for (kind, step) in [(&["-t", "ecdsa", "-b", "256"][..], 1), (&["-t", "rsa", "-b", "3072"], 29)] {
        let dir = dir();
        made(dir.path(), kind, "");
        let sig = String::from_utf8(signed_by_keygen(dir.path(), BUILDER, &[])).unwrap();
        let body: String = sig.lines().filter(|line| !line.starts_with('-')).collect();
        let blob = STANDARD.decode(body).unwrap();
        assert_eq!(armored(&blob), sig);
        for at in (0..blob.len()).step_by(step) {
            let mut bad = blob.clone();
            bad[at] ^= 1;
            assert!(verify(&message, armored(&bad).as_bytes()).is_err(), "{kind:?} byte {at}");
        }
    }
}

#[test]
fn keys_of_other_kinds_and_strengths_are_refused() {
    for (kind, word) in [
        (&["-t", "rsa", "-b", "2048"][..], "2048 bits"),
        (&["-t", "ecdsa", "-b", "384"], "nistp384"),
        (&["-t", "ecdsa", "-b", "521"], "nistp521"),
    ] {
        let dir = dir();
        ok(dir.path(), &[&["-q", "-f", "k", "-N", ""], kind].concat());
        let err = read_public_key(&dir.path().join("k.pub")).unwrap_err();
        assert!(err.message().contains(word), "{err:?}");
        let sig = signed_by_keygen(dir.path(), BUILDER, &[]);
        assert!(matches!(verify(&MessageHash::of(INDEX), &sig), Err(Bad::Unsupported { .. })), "{kind:?}");
        let err = read_secret_key(&dir.path().join("k"), no_passphrase).unwrap_err();
        assert!(err.message().contains("cannot sign here"), "{err:?}");
    }
    let dir = dir();
    made(dir.path(), &["-t", "rsa", "-b", "3072", "-m", "PEM"], "");
    let err = read_secret_key(&dir.path().join("k"), no_passphrase).unwrap_err();
    assert!(err.hint_text().unwrap().contains("ssh-keygen -p"), "{err:?}");
}

#[test]
fn certificates_are_refused_as_keys() {
    let dir = dir();
    made(dir.path(), &["-t", "ed25519"], "");
    ok(dir.path(), &["-q", "-s", "k", "-I", "id", "-n", "alice", "k.pub"]);
    let err = read_public_key(&dir.path().join("k-cert.pub")).unwrap_err();
    assert!(err.message().contains("-cert-v01@openssh.com"), "{err:?}");
}

/// A signature as a FIDO token would make it, from a software key: `ssh-keygen` must agree that it is one.
#[test]
fn token_signatures_are_evaluated_as_ssh_keygen_does() {
    let dir = dir();
    let token = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let make = |application: &[u8], flags: u8| {
        let mut key = Vec::new();
        put(&mut key, b"sk-ssh-ed25519@openssh.com");
        put(&mut key, token.verifying_key().as_bytes());
        put(&mut key, b"ssh:");
        let mut data = b"SSHSIG".to_vec();
        [BUILDER.as_bytes(), b"", b"sha512", &Sha512::digest(INDEX)].iter().for_each(|f| put(&mut data, f));
        let trailer = [flags, 0, 0, 1, 2];
        let signed = [&Sha256::digest(application)[..], &trailer, &Sha256::digest(&data)].concat();
        let mut raw = Vec::new();
        put(&mut raw, b"sk-ssh-ed25519@openssh.com");
        put(&mut raw, &token.sign(&signed).to_bytes());
        raw.extend_from_slice(&trailer);
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        [&key, BUILDER.as_bytes(), b"", b"sha512", &raw].iter().for_each(|f| put(&mut blob, f));
        (format!("sk-ssh-ed25519@openssh.com {}", STANDARD.encode(key)), armored(&blob))
    };
    let touched = make(b"ssh:", 1);
    assert_eq!(ok_fingerprint(dir.path(), &touched.0), PublicKey::parse(&touched.0).unwrap().fingerprint());
    // Without touch `ssh-keygen -Y verify` accepts, and we do not: MB-SIG-11.
    for ((line, sig), ours, theirs) in [
        (touched, true, true),
        (make(b"ssh:", 5), true, true),
        (make(b"ssh:", 0), false, true),
        (make(b"ssh:x", 1), false, false),
    ] {
        assert_eq!(verify(&MessageHash::of(INDEX), sig.as_bytes()).is_ok(), ours);
        assert_eq!(keygen_accepts(dir.path(), &format!("alice {line}\n"), sig.as_bytes(), BUILDER, &[]), theirs);
    }
}

fn ok_fingerprint(dir: &Path, line: &str) -> String {
    std::fs::write(dir.join("line.pub"), format!("{line}\n")).unwrap();
    ok(dir, &["-l", "-f", "line.pub"]).split(' ').nth(1).unwrap().to_owned()
}

fn armored(blob: &[u8]) -> String {
    let body = STANDARD.encode(blob);
    let lines: Vec<&str> = body.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// One `allowed_signers` file, several times and namespaces: our verdict is that of `ssh-keygen -Y verify`.
#[test]
fn allowed_signers_mean_the_same_to_us_and_to_ssh_keygen() {
    let dir = dir();
    let secret = SecretKey::generate("").unwrap();
    let line = secret.public().to_line();
    let stranger = SecretKey::generate("").unwrap().public().to_line();
    let mut agreed = [0, 0];
    for options in [
        "",
        "namespaces=\"mirror-bundle.v1.builder\" ",
        "namespaces=\"git,mirror-bundle.v1.*\" ",
        "namespaces=\"mirror-bundle.v1.*,!*.reviewer\" ",
        "namespaces=\"git\" ",
        "valid-after=\"20260101Z\" ",
        "valid-before=\"20261231235959Z\" ",
        "valid-after=\"202601010000Z\",valid-before=\"20261231Z\" ",
        "namespaces=\"mirror-bundle.v1.reviewer\",valid-before=\"20261231Z\" ",
    ] {
        let file = format!("# for tests\nbob {stranger}\nalice {options}{line}\n");
        let policy = Policy::parse(file.as_bytes()).unwrap();
        for role in [Role::Builder, Role::Reviewer] {
            let sig = our_signature(&secret, role);
            for (ours, theirs) in [
                ("2025-12-31T23:59:59Z", "20251231235959Z"),
                ("2026-01-01T00:00:00Z", "20260101000000Z"),
                ("2026-12-31T00:00:00Z", "20261231000000Z"),
                ("2026-12-31T00:00:01Z", "20261231000001Z"),
                ("2026-12-31T23:59:59Z", "20261231235959Z"),
                ("2027-01-01T00:00:00Z", "20270101000000Z"),
            ] {
                let time = format!("-Overify-time={theirs}");
                let namespace = Namespace::Index(role).as_str();
                let accepted = keygen_accepts(dir.path(), &file, sig.as_bytes(), namespace, &[&time]);
                let evaluated = policy.evaluate(&[("s", sig.as_bytes())], INDEX, ours.parse().unwrap());
                let good = evaluated.signatures[0].outcome == Outcome::Good;
                assert_eq!(good, accepted, "{options} {role} {ours}: {evaluated:?}");
                agreed[usize::from(good)] += 1;
            }
        }
    }
    assert!(agreed[0] > 20 && agreed[1] > 20, "both answers were seen: {agreed:?}");
}

#[test]
fn ssh_keygen_finds_the_principal_that_we_name() {
    let dir = dir();
    let (one, two) = (SecretKey::generate("").unwrap(), SecretKey::generate("").unwrap());
    let file = format!("one {}\n\"two words\" {}\n", one.public().to_line(), two.public().to_line());
    std::fs::write(dir.path().join("allowed"), &file).unwrap();
    let policy = Policy::parse(file.as_bytes()).unwrap();
    let stranger = SecretKey::generate("").unwrap();
    for secret in [&one, &two, &stranger] {
        let sig = our_signature(secret, Role::Builder);
        std::fs::write(dir.path().join("sig"), &sig).unwrap();
        let out = keygen(dir.path(), &["-Y", "find-principals", "-s", "sig", "-f", "allowed"], None);
        let found = String::from_utf8(out.stdout).unwrap();
        let theirs = out.status.success().then(|| found.trim_end().to_owned());
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        let ours = policy.evaluate(&[("s", sig.as_bytes())], INDEX, now).signatures[0].signer.clone();
        assert_eq!(ours, theirs);
    }
}

/// Files of allowed signers that `ssh-keygen` refuses are refused here too.
#[test]
fn allowed_signers_that_ssh_keygen_refuses_are_refused() {
    let dir = dir();
    let secret = SecretKey::generate("").unwrap();
    let line = secret.public().to_line();
    let sig = our_signature(&secret, Role::Builder);
    for bad in [
        format!("alice nonsense {line}\n"),
        format!("alice namespaces=mirror-bundle.v1.builder {line}\n"),
        format!("alice namespaces=\"*\",namespaces=\"*\" {line}\n"),
        format!("alice valid-after=\"20270101Z\",valid-before=\"20260101Z\" {line}\n"),
        format!("alice valid-after=\"never\" {line}\n"),
        format!("alice {}\n", &line[..40]),
        "alice\n".to_owned(),
    ] {
        assert!(!keygen_accepts(dir.path(), &bad, sig.as_bytes(), BUILDER, &[]), "{bad}");
        assert!(Policy::from_allowed_signers(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// Lines of every kind, checked by the real `ssh-keygen -Y verify` too: whatever it refuses is refused here, and
/// whatever is refused only here has one of the reasons in the specification (MB-TRU-06).
#[test]
fn of_generated_allowed_signers_we_accept_only_what_ssh_keygen_accepts() {
    let dir = dir();
    let secret = SecretKey::generate("").unwrap();
    let line = secret.public().to_line();
    let stranger = SecretKey::generate("").unwrap().public().to_line();
    let sig = our_signature(&secret, Role::Builder);
    let principals = [
        "alice",
        "\"alice\"",
        "bob,alice",
        "\"bob,alice\"",
        "al*",
        "a?ice",
        "*",
        "!bob,alice",
        "alice,!alice",
        "\"alice",
        "al\"ice",
        "\"alice\"x",
        "\"\"",
        "alice,",
        "bob",
        "@alice",
        "\\alice",
    ];
    let options = [
        "",
        "namespaces=\"mirror-bundle.v1.builder\"",
        "NameSpaces=\"*\"",
        "namespaces=\"git\"",
        "namespaces=\"!git,*\"",
        "namespaces=\"*,!mirror-bundle.v1.builder\"",
        "namespaces=\"\"",
        "namespaces=\"mirror bundle,*\"",
        "namespaces=\"a\\\"b,*\"",
        "namespaces=*",
        "namespaces",
        "namespaces=\"*",
        "namespaces=\"*\",",
        ",namespaces=\"*\"",
        "namespaces=\"*\",namespaces=\"*\"",
        "cert-authority",
        "CERT-AUTHORITY,namespaces=\"*\"",
        "no-touch-required",
        "unknown=\"x\"",
        "valid-after=\"20260101Z\"",
        "valid-after=\"202601011200Z\"",
        "valid-after=\"20260101120000z\"",
        "valid-after=\"20260101UTC\"",
        "valid-after=\"20260101\"",
        "valid-after=\"2026-01-01\"",
        "valid-after=\"20261301Z\"",
        "valid-after=\"2026010112Z\"",
        "valid-after=\"Z\"",
        "valid-after=\"\"",
        "valid-before=\"20260101Z\"",
        "valid-before=\"20271231235959Z\"",
        "Valid-After=\"20260101Z\",VALID-BEFORE=\"20271231utc\"",
        "valid-after=\"20271231Z\",valid-before=\"20260101Z\"",
        "valid-after=\"20260101Z\" valid-before=\"20270101Z\"",
        "valid-after=\"20260101Z\",valid-after=\"20260101Z\"",
        "valid-after=\"+0260101Z\"",
        "valid-after=\"0x1\"",
    ];
    let shapes: [fn(&str, &str, &str) -> String; 8] = [
        |name, options, key| format!("{name} {options} {key}\n"),
        |name, options, key| format!("{name}\t{options}\t{key} comment with \"quotes\n"),
        |name, options, key| format!("# a comment\n\n  {name}  {options}  {key}\r\n"),
        |name, options, key| format!("{name} {options} {key}"),
        |name, options, key| format!("\t{name} {options} {} # {name}\n", key.replace(' ', "  ")),
        |name, options, key| format!("{name} {options} {key}\n{name} {key}\n"),
        |name, options, key| format!("{name} {options} {}\n", &key[..key.len() - 9]),
        |name, options, key| format!("{options} {name} {key}\n"),
    ];
    let (mut seen, mut stricter) = ([0, 0], std::collections::BTreeMap::<String, u32>::new());
    let mut undocumented = Vec::new();
    for (number, name) in principals.iter().enumerate() {
        for (at, option) in options.iter().enumerate() {
            // Each pair in two of the shapes; the first of each in all.
            let chosen = if number == 0 || at == 0 { 0..8 } else { (number + at) % 8..(number + at) % 8 + 1 };
            for shape in &shapes[chosen] {
                let file = format!("bob {stranger}\n{}", shape(name, option, &line));
                let time = "-Overify-time=20261122120000Z";
                let theirs = keygen_accepts(dir.path(), &file, sig.as_bytes(), BUILDER, &[time]);
                let policy = Policy::from_allowed_signers(file.as_bytes());
                let evaluated = policy.as_ref().map(|p| {
                    p.evaluate(&[("s", sig.as_bytes())], INDEX, "2026-11-22T12:00:00Z".parse().unwrap())
                        .signatures
                        .remove(0)
                });
                let good = evaluated.as_ref().is_ok_and(|one| one.outcome == Outcome::Good);
                // For whom it counts is the name here, and is asked for there.
                let of_alice = !["bob", "@alice", "\\alice"].contains(name);
                if good && of_alice {
                    assert!(theirs, "ssh-keygen refuses this and we do not:\n{file}");
                }
                if theirs && !good {
                    let why = evaluated.map_or_else(|e| e.message().to_owned(), |one| one.detail);
                    let reason = [
                        "negated principals",
                        "a quote in the principals",
                        "must be a UTC time",
                        "is not an option",
                        "there twice",
                        "cannot read the options",
                        "cert-authority",
                        "a name",
                        "principal",
                        "allowed signers",
                        "never valid",
                    ];
                    let reason = reason.iter().find(|reason| why.contains(**reason));
                    match reason {
                        Some(reason) => *stricter.entry((*reason).to_owned()).or_default() += 1,
                        None => undocumented.push(format!("{why}\n{file}")),
                    }
                }
                seen[usize::from(theirs)] += 1;
            }
        }
    }
    assert!(undocumented.is_empty(), "we alone refuse these:\n{}", undocumented.join("\n"));
    assert!(seen[0] > 200 && seen[1] > 200, "{seen:?}");
}

/// The command that the format documents for people without this program.
#[test]
fn the_documented_check_with_stock_openssh_works_on_a_signed_index() {
    let dir = dir();
    let secret = SecretKey::generate("builder@example").unwrap();
    write_key_pair(&dir.path().join("builder"), &secret, None).unwrap();
    let shell = "printf 'builder %s\\n' \"$(cat builder.pub)\" > allowed && \
                 ssh-keygen -Y verify -f allowed -I builder -n mirror-bundle.v1.builder -s index.json.sig < index.json";
    std::fs::write(dir.path().join("index.json"), INDEX).unwrap();
    std::fs::write(dir.path().join("index.json.sig"), our_signature(&secret, Role::Builder)).unwrap();
    let out = Command::new("sh").args(["-c", shell]).current_dir(&dir).output().unwrap();
    let stdout = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && stdout.contains(&secret.public().fingerprint()), "{stdout}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]

    /// No content of a medium or file makes the readers panic, and nothing random is accepted.
    #[test]
    fn hostile_bytes_are_refused_quietly(
        blob in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        at in 0usize..4000,
        byte in proptest::prelude::any::<u8>(),
    ) {
        let message = MessageHash::of(INDEX);
        let key = SecretKey::generate("c").unwrap();
        let secret = key.to_openssh(None).unwrap();
        let with_magic = [b"SSHSIG\0\0\0\x01", &blob[..]].concat();
        let private = armored(&[b"openssh-key-v1\0", &blob[..]].concat()).replace("SSH SIGNATURE", "OPENSSH PRIVATE KEY");
        for bytes in [&blob[..], armored(&blob).as_bytes(), armored(&with_magic).as_bytes(), private.as_bytes()] {
            proptest::prop_assert!(verify(&message, bytes).is_err());
            proptest::prop_assert!(SecretKey::load(bytes, || Ok(Zeroizing::new(String::new()))).is_err());
            proptest::prop_assert!(Policy::parse(bytes).is_err());
        }
        proptest::prop_assert!(PublicKey::from_blob(&blob).is_err());
        // One changed byte in things that are good.
        let line = key.public().to_line();
        let policy = format!("signers:\n- name: alice\n  roles: [builder]\n  key: \"{line}\"\nmaxAge: 30d\n");
        let allowed = format!("alice namespaces=\"mirror-bundle.v1.*\",valid-before=\"20270101Z\" {line}\n");
        for good in [secret.to_string(), policy, allowed] {
            let mut bytes = good.into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Policy::parse(&bytes);
            if let Ok(other) = SecretKey::load(&bytes, || Ok(Zeroizing::new(String::new()))) {
                proptest::prop_assert_eq!(other.public(), key.public());
            }
        }
    }
}
