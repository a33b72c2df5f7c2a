//! Release signatures against external data: genuine signatures with the verdicts of gpg and of the cluster's own
//! verifier (`signatures/oracle.tsv`), and generated vectors with one property each
//! (`vectors-generated/expected.tsv`). `spec/release-signatures.md` decides the rows that leave it open.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mirror_bundle::oci::Digest;
use mirror_bundle::openshift::openpgp::{Keyring, Rejected, Verified, first_good, verify};

/// 2026-11-23 00:00 UTC: after every genuine signature and every vector that is not meant to be in the future.
const NOW: i64 = 1_795_392_000;

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}

fn read(path: &str) -> Vec<u8> {
    fs::read(data(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn keyring(path: &str) -> Keyring {
    Keyring::parse(path, &read(path)).unwrap()
}

fn table(path: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(read(path)).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The digest in `.../sha256=<hex>/signature-N`.
fn digest_of(path: &str) -> Digest {
    let folder = path.split('/').find(|part| part.starts_with("sha256=")).unwrap();
    folder.replace('=', ":").parse().unwrap()
}

fn genuine() -> BTreeSet<String> {
    table("signatures/oracle.tsv").into_iter().map(|row| row[0].clone()).collect()
}

/// The decision of this project where `want` is `either`, with its requirement in the spec.
fn decided(file: &str) -> &'static str {
    match file {
        "c03-cleartext.sig" => "reject",               // MB-REL-02
        "c07-two-signers-AB-ring-A.sig" => "reject",   // MB-REL-03
        "c09-two-signers-AB-ring-AB.sig" => "reject",  // MB-REL-03
        "c19-marker-first.sig" => "reject",            // MB-REL-03
        "c23-ripemd160.sig" => "reject",               // MB-REL-10
        "c25-ed25519.sig" => "reject",                 // MB-REL-21
        "c35-no-onepass.sig" => "reject",              // MB-REL-03
        "p05-unknown-optional-member.sig" => "reject", // MB-REL-31
        "p13-case-variant-keys.sig" => "reject",       // MB-REL-30
        "p19-unparsable-reference.sig" => "reject",    // MB-REL-34
        "p27-timestamp-future.sig" => "accept",        // MB-REL-35
        "p31-invalid-utf8-in-creator.sig" => "reject", // MB-REL-30
        "p37-60KiB-padding.sig" => "accept",           // MB-REL-01
        other => panic!("spec/release-signatures.md does not decide {other}"),
    }
}

fn vector(row: &[String]) -> Result<Verified, Rejected> {
    let ring = keyring(&format!("vectors-generated/{}", row[1]));
    verify(&read(&format!("vectors-generated/{}", row[0])), &ring, &row[2].parse().unwrap(), NOW)
}

#[test]
fn every_vector_gets_the_verdict_it_wants_or_the_one_the_spec_decides() {
    let rows = table("vectors-generated/expected.tsv");
    assert!(rows.len() >= 37, "{}", rows.len());
    for row in rows {
        let verdict = vector(&row);
        let want = if row[3] == "either" { decided(&row[0]) } else { row[3].as_str() };
        assert_eq!(verdict.is_ok(), want == "accept", "{}: {verdict:?}", row[0]);
    }
}

#[test]
fn what_is_accepted_is_accepted_by_the_cluster_too() {
    for row in table("vectors-generated/expected.tsv") {
        if vector(&row).is_ok() {
            assert!(row[4].starts_with("ACCEPT"), "{} is accepted here, and there {}", row[0], row[4]);
        }
    }
}

#[test]
fn no_vector_file_is_left_out_of_the_table() {
    let listed: BTreeSet<String> =
        table("vectors-generated/expected.tsv").into_iter().map(|row| row[0].clone()).collect();
    for entry in fs::read_dir(data("vectors-generated")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".sig") {
            assert!(listed.contains(&name), "{name}");
        }
    }
}

#[test]
fn vectors_are_refused_for_the_reason_they_were_made_for() {
    for (file, reason) in [
        ("c05-unsigned-literal.sig", "not-a-signature"),
        ("c13-tampered-signature.sig", "bad-signature"),
        ("c23-ripemd160.sig", "bad-signature"),
        ("c25-ed25519.sig", "key-not-usable"),
        ("c29-signature-future.sig", "bad-signature"),
        ("c31-literal-holds-signed-message.sig", "bad-claim"),
        ("p05-unknown-optional-member.sig", "bad-claim"),
        ("p11-dup-digest-last-right.sig", "bad-claim"),
        ("p21-upper-hex-digest.sig", "other-digest"),
    ] {
        let rows = table("vectors-generated/expected.tsv");
        let row = rows.iter().find(|row| row[0] == file).unwrap();
        assert_eq!(vector(row).unwrap_err().reason(), reason, "{file}");
    }
}

#[test]
fn genuine_signatures_get_the_verdict_of_the_clusters_verifier_with_every_keyring() {
    let rows = table("signatures/oracle.tsv");
    assert_eq!(rows.len(), 90);
    for row in &rows {
        let verdict = verify(&read(&row[0]), &keyring(&row[1]), &digest_of(&row[0]), NOW);
        match row[4].split_once(' ') {
            Some(("ACCEPT", fingerprint)) => {
                assert_eq!(verdict.as_ref().map(|v| v.fingerprint.as_str()), Ok(fingerprint), "{row:?}");
            }
            _ => assert!(matches!(verdict, Err(Rejected::UnknownKey { .. })), "{row:?}: {verdict:?}"),
        }
    }
}

#[test]
fn every_red_hat_signature_verifies_with_both_forms_of_the_key_and_the_old_form_is_noticed() {
    let (built_in, old) = (Keyring::redhat().unwrap(), keyring("keyrings/library-go/redhat.txt"));
    let redhat: Vec<String> =
        genuine().into_iter().filter(|p| p.contains("/oc-mirror/") || p.contains("sha256=e3f12513")).collect();
    assert_eq!(redhat.len(), 6);
    for path in redhat {
        let new = verify(&read(&path), &built_in, &digest_of(&path), NOW).unwrap();
        assert_eq!(new.notices, Vec::<String>::new(), "{path}");
        assert_eq!(new.user_id.as_deref(), Some("Red Hat, Inc. (release key 2) <security@redhat.com>"));
        let old = verify(&read(&path), &old, &digest_of(&path), NOW).unwrap();
        assert!(old.notices.iter().any(|n| n.contains("SHA-1")), "{path}: {:?}", old.notices);
        assert_eq!(old.claim, new.claim);
    }
}

#[test]
fn a_2019_version_3_signature_is_read_as_what_it_is() {
    let path =
        "signatures/library-go/sha256=e3f12513a4b22a2d7c0e7c9207f52128113758d9d68c7d06b11a0ac7672966f7/signature-1";
    let good = verify(&read(path), &Keyring::redhat().unwrap(), &digest_of(path), NOW).unwrap();
    assert_eq!(good.signed_at, 1_554_833_664);
    // The release key signs other images too: only the claim says what was signed.
    assert_eq!(good.claim.docker_reference.to_string(), "registry.access.redhat.com/rhel7:7.6");
    assert!(good.claim.creator.is_some());
}

#[test]
fn the_ci_signature_with_two_byte_chunks_verifies_although_its_key_expired_since() {
    let path =
        "signatures/library-go/sha256=edd9824f0404f1a139688017e7001370e2f3fbc088b94da84506653b473fe140/signature-1";
    let good = verify(&read(path), &keyring("keyrings/library-go/simple.txt"), &digest_of(path), NOW).unwrap();
    assert!(good.notices.iter().any(|n| n.starts_with("key expired on 2021-04-21")), "{:?}", good.notices);
}

#[test]
fn three_causes_have_three_sentences() {
    let path =
        "signatures/library-go/sha256=e3f12513a4b22a2d7c0e7c9207f52128113758d9d68c7d06b11a0ac7672966f7/signature-1";
    let (file, digest, redhat) = (read(path), digest_of(path), Keyring::redhat().unwrap());
    let unknown = verify(&file, &keyring("keyrings/library-go/simple.txt"), &digest, NOW).unwrap_err();
    assert_eq!(unknown.to_string(), "no release signature for sha256:e3f1…66f7 by a key you trust");
    let other = verify(&file, &redhat, &Digest::of(b"x"), NOW).unwrap_err();
    assert_eq!(other.to_string(), "the release signature is for sha256:e3f1…66f7, not for sha256:2d71…4881");
    let early = verify(&file, &redhat, &digest, 1_500_000_000).unwrap_err();
    assert_eq!(
        early.to_string(),
        "the release signature by key 567E 347A … FD43 1D51 does not hold: it was made on 2019-04-09, in the future"
    );
    let error = mirror_bundle::Error::from(other);
    assert_eq!(error.code(), mirror_bundle::Code::ReleaseUnverified);
    assert_eq!(error.facts().len(), 2);
}

#[test]
fn one_good_signature_among_several_is_found_and_otherwise_the_nearest_miss_is_reported() {
    let folder = "signatures/oc-mirror/sha256=50b9402635dd4b312a86bed05dcdbda8c00120d3789ec2e9b527045100b3bdb4";
    let good = read(&format!("{folder}/signature-2"));
    let (digest, redhat) = (digest_of(folder), Keyring::redhat().unwrap());
    let files = [b"junk".to_vec(), good.clone()];
    assert_eq!(first_good(&files, &redhat, &digest, NOW).unwrap().0, 1);
    let miss = first_good(&[good, b"junk".to_vec()], &redhat, &Digest::of(b"x"), NOW).unwrap_err();
    assert_eq!(miss.reason(), "other-digest");
    assert_eq!(first_good(&[], &redhat, &digest, NOW).unwrap_err().reason(), "not-a-signature");
}

#[test]
fn no_single_changed_byte_of_a_genuine_signature_is_accepted_for_another_content() {
    let path =
        "signatures/library-go/sha256=edd9824f0404f1a139688017e7001370e2f3fbc088b94da84506653b473fe140/signature-1";
    let (file, digest) = (read(path), digest_of(path));
    let ring = keyring("keyrings/library-go/simple.txt");
    let good = verify(&file, &ring, &digest, NOW).unwrap();
    for at in 0..file.len() {
        for bit in [0x01, 0x80] {
            let mut bytes = file.clone();
            bytes[at] ^= bit;
            if let Ok(changed) = verify(&bytes, &ring, &digest, NOW) {
                // The literal's name and date are not signed; what is signed must be the same.
                assert_eq!((changed.claim, changed.signed_at), (good.claim.clone(), good.signed_at), "byte {at}");
            }
        }
    }
}

struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Gpg {
        let home = tempfile::Builder::new().prefix("mb").tempdir().unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Gpg(home)
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        Command::new("gpg")
            .args(["--batch", "--quiet", "--status-fd", "2"])
            .args(args)
            .env("GNUPGHOME", self.0.path())
            .output()
            .expect("gpg is installed")
    }
}

#[test]
fn gpg_agrees_on_the_genuine_signatures_and_decodes_the_same_claim() {
    for form in ["keyrings/cluster-update-keys/verifier-public-key-redhat-release", "keyrings/library-go/combined.txt"]
    {
        let gpg = Gpg::new();
        assert!(gpg.run(&["--allow-weak-key-signatures", "--import", data(form).to_str().unwrap()]).status.success());
        let ring = keyring(form);
        let mut good = 0;
        for path in genuine() {
            let out = gpg.run(&["--allow-weak-key-signatures", "--decrypt", data(&path).to_str().unwrap()]);
            let status = String::from_utf8_lossy(&out.stderr).into_owned();
            let verdict = verify(&read(&path), &ring, &digest_of(&path), NOW);
            assert_eq!(status.contains("VALIDSIG"), verdict.is_ok(), "{path}: {status}");
            if let Ok(verified) = verdict {
                assert!(status.contains(&format!("VALIDSIG {}", verified.fingerprint)), "{status}");
                let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
                let reference = json["critical"]["identity"]["docker-reference"].as_str().unwrap();
                assert_eq!(reference, verified.claim.docker_reference.to_string());
                good += 1;
            }
        }
        assert!(good >= 6, "{form}: {good}");
    }
}

/// A gpg home with one key, created for the test.
struct Signer {
    gpg: Gpg,
    digest: Digest,
}

impl Signer {
    /// A key of `algorithm`, made `made` (seconds since 1970), with the `expire` of `--quick-gen-key`.
    fn new(algorithm: &str, made: i64, expire: &str) -> Signer {
        let signer = Signer { gpg: Gpg::new(), digest: Digest::of(b"release") };
        signer.at(
            made,
            &["--passphrase", "", "--quick-gen-key", "signer <s@example.invalid>", algorithm, "sign", expire],
        );
        signer
    }

    fn at(&self, time: i64, args: &[&str]) -> Vec<u8> {
        let clock = format!("{time}!");
        let out =
            self.gpg.run(&[&["--faked-system-time", clock.as_str(), "--pinentry-mode", "loopback"], args].concat());
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// The claim for the digest, signed at `time` with more options of gpg.
    fn sign(&self, time: i64, options: &[&str]) -> Vec<u8> {
        let file = self.gpg.0.path().join("claim.json");
        let claim = format!(
            "{{\"critical\":{{\"type\":\"atomic container signature\",\"image\":{{\"docker-manifest-digest\":\"{}\"}},\
             \"identity\":{{\"docker-reference\":\"quay.io/a/b:1\"}}}},\n\"optional\":{{}}}}",
            self.digest
        );
        fs::write(&file, claim).unwrap();
        let how =
            if options.contains(&"--clear-sign") || options.contains(&"--detach-sign") { &[][..] } else { &["--sign"] };
        self.at(time, &[options, how, &["--output", "-", file.to_str().unwrap()]].concat())
    }

    fn keyring(&self, options: &[&str]) -> Keyring {
        Keyring::parse("test", &self.at(MADE, &[&["--export"], options].concat())).unwrap()
    }

    fn verdict(&self, file: &[u8], now: i64) -> Result<Verified, Rejected> {
        verify(file, &self.keyring(&[]), &self.digest, now)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // Ends the agent that gpg started for this home.
        let _ = Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", self.gpg.0.path()).status();
    }
}

const MADE: i64 = 1_700_000_000;
const DAY: i64 = 86_400;

#[test]
fn what_gpg_signs_in_other_ways_is_accepted_or_refused_as_the_spec_says() {
    let signer = Signer::new("rsa2048", MADE, "never");
    for (options, verdict) in [
        (&[][..], Ok(())),
        (&["--textmode"], Ok(())),
        (&["--compress-algo", "bzip2"], Ok(())),
        (&["--digest-algo", "SHA384"], Ok(())),
        (&["--digest-algo", "SHA1", "--allow-weak-digest-algos"], Err("bad-signature")),
        (&["--digest-algo", "SHA224"], Err("bad-signature")),
        (&["--armor"], Err("not-a-signature")),
        (&["--clear-sign"], Err("not-a-signature")),
        (&["--detach-sign"], Err("not-a-signature")),
        (&["--sig-notation", "!x@example.invalid=y"], Err("bad-signature")),
        (&["--sig-notation", "x@example.invalid=y"], Ok(())),
    ] {
        let got = signer.verdict(&signer.sign(MADE + DAY, options), NOW);
        assert_eq!(got.map(|_| ()).map_err(|e| e.reason()), verdict, "{options:?}");
    }
    let good = signer.sign(MADE + DAY, &[]);
    assert_eq!(signer.verdict(&[good.clone(), good].concat(), NOW).unwrap_err().reason(), "not-a-signature");
}

#[test]
fn dates_are_checked_against_the_clock_the_key_and_the_signatures_own_expiry() {
    let signer = Signer::new("rsa2048", MADE, "never");
    let plain = signer.sign(MADE + 10 * DAY, &[]);
    assert!(signer.verdict(&plain, MADE + 9 * DAY).is_ok(), "a day of tolerance");
    assert_eq!(signer.verdict(&plain, MADE + 9 * DAY - 1).unwrap_err().reason(), "bad-signature");
    let short = signer.sign(MADE + 10 * DAY, &["--default-sig-expire", "2d"]);
    assert!(signer.verdict(&short, MADE + 11 * DAY).is_ok());
    assert_eq!(signer.verdict(&short, MADE + 13 * DAY).unwrap_err().reason(), "bad-signature");
    let early = signer.sign(MADE - DAY, &["--ignore-time-conflict", "--ignore-valid-from"]);
    assert_eq!(signer.verdict(&early, NOW).unwrap_err().reason(), "key-not-usable");
}

#[test]
fn a_signing_subkey_is_accepted_and_reported_as_its_primary_key() {
    let signer = Signer::new("rsa2048", MADE, "never");
    let primary = signer.keyring(&[]).fingerprints().next().unwrap();
    signer.at(MADE + 1, &["--passphrase", "", "--quick-add-key", &primary, "rsa2048", "sign", "never"]);
    let file = signer.sign(MADE + DAY, &[]);
    assert_eq!(signer.verdict(&file, NOW).unwrap().fingerprint, primary);
}

#[test]
fn a_renewed_key_exported_with_its_newest_self_signature_only_still_verifies_older_signatures() {
    let signer = Signer::new("rsa2048", MADE, "30d");
    let file = signer.sign(MADE + DAY, &[]);
    let primary = signer.keyring(&[]).fingerprints().next().unwrap();
    signer.at(MADE + 20 * DAY, &["--passphrase", "", "--quick-set-expire", &primary, "60d"]);
    let minimal = signer.keyring(&["--export-options", "export-minimal"]);
    let verified = verify(&file, &minimal, &signer.digest, MADE + 21 * DAY).unwrap();
    assert!(verified.notices.iter().any(|n| n.contains("younger")), "{:?}", verified.notices);
}

#[test]
fn a_revoked_or_short_key_is_not_usable_whenever_it_signed() {
    let signer = Signer::new("rsa2048", MADE, "never");
    let file = signer.sign(MADE + DAY, &[]);
    assert!(signer.verdict(&file, NOW).is_ok());
    let primary = signer.keyring(&[]).fingerprints().next().unwrap();
    let revocation = signer.gpg.0.path().join(format!("openpgp-revocs.d/{primary}.rev"));
    let text = fs::read_to_string(&revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    fs::write(&revocation, text).unwrap();
    signer.at(MADE + 5 * DAY, &["--import", revocation.to_str().unwrap()]);
    let rejected = signer.verdict(&file, NOW).unwrap_err();
    assert!(rejected.to_string().ends_with("was not usable: it is revoked"), "{rejected}");

    let short = Signer::new("rsa1024", MADE, "never");
    let rejected = short.verdict(&short.sign(MADE + DAY, &[]), NOW).unwrap_err();
    assert!(rejected.to_string().contains("1024 bits"), "{rejected}");
}

#[test]
fn the_embedded_key_is_the_one_that_payloads_carry() {
    let embedded = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openshift/keys/redhat-release-key-2.asc"));
    assert_eq!(embedded.unwrap(), read("keyrings/cluster-update-keys/verifier-public-key-redhat-release"));
}

#[test]
fn the_revoked_keyring_among_the_vectors_reads() {
    assert_eq!(keyring("vectors-generated/keyrings/Revoked.asc").fingerprints().count(), 1);
    assert_eq!(keyring("vectors-generated/keyrings/Sub.asc").fingerprints().count(), 1);
}
