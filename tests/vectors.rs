//! The vectors of `testdata/vectors`: one bundle with one fault each, and the expected finding.
//!
//! `cargo test --test vectors -- --ignored` regenerates the folder, always with the same bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity)]

mod forge;
#[path = "support/program.rs"]
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

use forge::{cases, folder, sshsig, verifier};
use mirror_bundle::error::{Code, Error};
use mirror_bundle::verify::Report;

/// A vector in the folder.
struct Stored {
    name: String,
    bundle: PathBuf,
    code: String,
    exit: u8,
    stream_code: String,
    stream_exit: u8,
    unpack_stream_exit: u8,
    args: Vec<String>,
    late: bool,
    verify_only: bool,
}

/// Every vector of the folder. Fails on a file that is not part of one.
fn stored() -> Vec<Stored> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            assert_eq!(entry.file_name(), "keys");
            continue;
        }
        let file = entry.file_name().into_string().unwrap();
        let (stem, end) = file.rsplit_once('.').unwrap();
        names.entry(stem.to_owned()).or_default().insert(end.to_owned());
    }
    let mut out = Vec::new();
    for (name, ends) in names {
        assert_eq!(ends.iter().collect::<Vec<_>>(), ["tar", "toml"], "{name} is not a pair");
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        let fields: BTreeMap<&str, &str> = text.lines().map(|line| line.split_once(" = ").unwrap()).collect();
        let word = |key: &str| fields.get(key).map(|v| v.trim_matches('"').to_owned());
        let number = |key: &str| fields.get(key).map(|v| v.parse().unwrap());
        let list = fields["args"].trim_matches(['[', ']']).split(", ").map(|a| a.trim_matches('"').to_owned());
        let (code, exit) = (word("code").unwrap(), number("exit").unwrap());
        let stream_exit = number("stream-exit").unwrap_or(exit);
        out.push(Stored {
            bundle: folder().join(format!("{name}.tar")),
            stream_code: word("stream-code").unwrap_or_else(|| code.clone()),
            stream_exit,
            unpack_stream_exit: number("unpack-stream-exit").unwrap_or(stream_exit),
            code,
            exit,
            args: list.collect(),
            late: fields.contains_key("late"),
            verify_only: fields.contains_key("verify-only"),
            name,
        });
    }
    out
}

/// The difference between a result and the expected one, if any.
fn difference(way: &str, vector: &Stored, result: &Result<Report, Error>) -> Option<String> {
    let (code, exit) = match way {
        "stream" => (&vector.stream_code, vector.stream_exit),
        _ => (&vector.code, vector.exit),
    };
    let report = match result {
        Ok(report) => report,
        Err(e) => return Some(format!("{} as {way}: could not check: {e:?}", vector.name)),
    };
    let found = verifier::codes(report);
    let named = match code.as_str() {
        "ok" | "incomplete-check" => found.is_empty(),
        code => found.contains(&Code::parse(code).unwrap()),
    };
    if report.exit_code == exit && named {
        return None;
    }
    let findings: Vec<String> = report.errors().map(|f| format!("{}: {}", f.code, f.message)).collect();
    Some(format!("{} as {way}: want {code} ({exit}), got {} {findings:#?}", vector.name, report.exit_code))
}

/// Whether this vector is checked in every way: each fourth, or all with MIRROR_BUNDLE_TEST_FULL=1.
fn in_full(at: usize) -> bool {
    at.is_multiple_of(4) || std::env::var_os("MIRROR_BUNDLE_TEST_FULL").is_some()
}

fn none(differences: Vec<String>) {
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn the_folder_holds_exactly_what_the_forge_makes() {
    let mut want: BTreeSet<String> = BTreeSet::new();
    for vector in cases::all() {
        assert!(want.insert(vector.name.clone()), "{} is made twice", vector.name);
        let file = |end: &str| std::fs::read(folder().join(format!("{}.{end}", vector.name))).unwrap_or_default();
        assert!(file("tar") == vector.bytes, "{} differs: write the vectors anew", vector.name);
        assert_eq!(String::from_utf8(file("toml")).unwrap(), vector.toml(), "{}", vector.name);
    }
    assert_eq!(stored().into_iter().map(|v| v.name).collect::<BTreeSet<_>>(), want);
    assert!(want.len() >= 120);
    for (path, text) in keys() {
        assert_eq!(std::fs::read_to_string(folder().join("keys").join(path)).unwrap(), text, "{path}");
    }
}

#[test]
fn every_code_that_speaks_of_a_bundle_has_a_vector() {
    let found: BTreeSet<String> = stored().into_iter().map(|v| v.code).collect();
    // Rollback is decided by the memory of a host, and image signatures by the keys of a policy, which no bundle
    // holds: tests/trust/rollback.rs and tests/trust/cosign.rs.
    let host = [Code::Rollback, Code::ImageUnverified];
    // Of what is inside layers, which `verify` does not look into: tests/desk, tests/sbom and tests/scan.
    let desk = [Code::AmbiguousLayer, Code::Found, Code::RiskFact, Code::PackagesUnreadable];
    let is_verdict = |c: &&Code| (10..50).contains(&c.exit()) && !host.contains(c) && !desk.contains(c);
    for code in Code::ALL.iter().filter(is_verdict) {
        assert!(found.contains(code.as_str()), "{code} has no vector");
    }
}

#[test]
fn every_vector_comes_out_as_it_says_from_a_file_and_from_a_stream() {
    let mut differences = Vec::new();
    for vector in stored() {
        let (settings, quick) = verifier::settings(&vector.args, &folder());
        let result = verifier::file(&vector.bundle, &settings, quick, 2);
        differences.extend(difference("file", &vector, &result));
        if !quick {
            let bytes = std::io::Cursor::new(std::fs::read(&vector.bundle).unwrap());
            differences.extend(difference("stream", &vector, &verifier::stream(bytes, &settings)));
        }
    }
    none(differences);
}

fn run(verb: &str, vector: &Stored, more: &[&str], input: Option<&Path>) -> Output {
    // All vectors have one name: what one run unpacked must not be remembered in the next.
    let memory = tempfile::tempdir().unwrap();
    let mut command = program::program(memory.path());
    let bundle = if input.is_some() { Path::new("-") } else { &vector.bundle };
    command.current_dir(folder()).arg(verb).arg(bundle).args(&vector.args).args(more);
    if let Some(path) = input {
        command.stdin(std::fs::File::open(path).unwrap());
    }
    command.output().unwrap()
}

/// Whether nothing in the output could move a cursor or hide text.
fn is_plain(output: &Output) -> bool {
    let bad = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    [&output.stdout, &output.stderr].iter().all(|out| std::str::from_utf8(out).is_ok_and(|text| !text.contains(bad)))
}

#[test]
fn the_program_exits_as_every_vector_says_and_prints_nothing_harmful() {
    let mut differences = Vec::new();
    for (at, vector) in stored().into_iter().enumerate() {
        let mut check = |way: &str, output: Output, exit: u8| {
            let found = output.status.code();
            if found != Some(i32::from(exit)) || !is_plain(&output) {
                let stderr = String::from_utf8_lossy(&output.stderr).escape_debug().to_string();
                differences.push(format!("{} {way}: want {exit}, got {found:?}: {stderr}", vector.name));
            }
            let verified = String::from_utf8_lossy(&output.stdout).lines().any(|l| l.starts_with("verdict   VERIFIED"));
            if way == "verify" && verified != (exit == 0) {
                differences.push(format!("{} {way}: the verdict line is wrong", vector.name));
            }
        };
        check("verify", run("verify", &vector, &[], None), vector.exit);
        if !in_full(at) {
            continue;
        }
        check("verify --output json", run("verify", &vector, &["--output", "json"], None), vector.exit);
        if !vector.verify_only {
            check("verify -", run("verify", &vector, &[], Some(&vector.bundle)), vector.stream_exit);
        }
        // Listing verifies nothing, and prints what it finds.
        let listed = program::program(&folder()).arg("inspect").arg(&vector.bundle).output().unwrap();
        if !is_plain(&listed) || listed.status.code().is_none_or(|c| c == 4 || c > 50) {
            differences.push(format!("{} inspect: {listed:?}", vector.name));
        }
    }
    none(differences);
}

/// Every file below a folder, without the folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let found = walkdir::WalkDir::new(dir).into_iter().flatten().filter(|e| !e.file_type().is_dir());
    found.map(|e| e.path().strip_prefix(dir).unwrap().to_owned()).collect()
}

#[test]
fn a_bad_vector_is_never_unpacked() {
    let mut differences = Vec::new();
    for (at, vector) in stored().into_iter().enumerate().filter(|(_, v)| !v.verify_only) {
        let ways = [("tree", "--to-dir"), ("layout", "--to-layout"), ("stream", "--to-dir")];
        for (way, flag) in ways.into_iter().take(if in_full(at + 1) { 3 } else { 1 }) {
            let scratch = tempfile::tempdir().unwrap();
            let target = scratch.path().join("out");
            let input = (way == "stream").then_some(vector.bundle.as_path());
            let output = run("unpack", &vector, &[flag, target.to_str().unwrap()], input);
            let exit = if way == "stream" { vector.unpack_stream_exit } else { vector.exit };
            if output.status.code() != Some(i32::from(exit)) || !is_plain(&output) {
                let stderr = String::from_utf8_lossy(&output.stderr).escape_debug().to_string();
                differences.push(format!(
                    "{} {way}: want {exit}, got {:?}: {stderr}",
                    vector.name,
                    output.status.code()
                ));
            }
            let written = files(&target);
            let blobs_only = |path: &PathBuf| {
                let whole = std::fs::read(target.join(path)).unwrap();
                let digest = mirror_bundle::oci::Digest::of(&whole);
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                path.components().any(|c| c.as_os_str() == "blobs") && name.ends_with(&digest.hex())
            };
            // Damage that is found only while forwarding leaves complete blobs under their digests, and no name.
            let late = vector.late || way == "stream";
            let harmless = |p: &PathBuf| late && (p.ends_with("oci-layout") || blobs_only(p));
            if exit != 0 && !written.iter().all(harmless) {
                differences.push(format!("{} {way}: wrote {written:?}", vector.name));
            }
            if files(scratch.path()).len() != written.len() {
                differences.push(format!("{} {way}: wrote outside {:?}", vector.name, files(scratch.path())));
            }
        }
    }
    none(differences);
}

#[test]
#[ignore = "writes testdata/vectors"]
fn write_the_vectors() {
    let folder = folder();
    for (path, text) in keys() {
        std::fs::write(folder.join("keys").join(path), text).unwrap();
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if matches!(path.extension().and_then(|e| e.to_str()), Some("tar" | "toml")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    for vector in cases::all() {
        std::fs::write(folder.join(format!("{}.tar", vector.name)), &vector.bytes).unwrap();
        std::fs::write(folder.join(format!("{}.toml", vector.name)), vector.toml()).unwrap();
    }
}

/// The files of `keys/` that are made from the seeds of the forge. The OpenPGP key beside them was made once.
fn keys() -> Vec<(&'static str, String)> {
    let builder = sshsig::line(&sshsig::BUILDER, "builder (TEST key)");
    let second = sshsig::line(&sshsig::SECOND, "second (TEST key)");
    let signer = |name: &str, line: &str, more: &str| {
        format!("  - {{name: {name}, roles: [builder], key: \"{}\"{more}}}\n", line.trim())
    };
    let one = format!("signers:\n{}", signer("builder", &builder, ""));
    let two = format!("{one}{}", signer("second", &second, ""));
    let keyring = "release:\n  keyrings: [release.asc]\n";
    vec![
        ("README", README.to_owned()),
        ("builder", sshsig::private(&sshsig::BUILDER, "builder (TEST key)")),
        ("second", sshsig::private(&sshsig::SECOND, "second (TEST key)")),
        ("stranger", sshsig::private(&sshsig::STRANGER, "stranger (TEST key)")),
        ("builder.pub", builder.clone()),
        ("second.pub", second.clone()),
        ("stranger.pub", sshsig::line(&sshsig::STRANGER, "stranger (TEST key)")),
        ("allowed_signers", format!("builder@example.invalid namespaces=\"mirror-bundle.v1.*\" {builder}")),
        ("trust.yaml", format!("{one}{keyring}")),
        ("trust-age.yaml", format!("{one}maxAge: 10d\n{keyring}")),
        ("trust-named.yaml", format!("{one}bundle: {{name: vectors}}\n{keyring}")),
        ("trust-revoked.yaml", format!("{two}revoked:\n  - \"{}\"\n{keyring}", builder.trim())),
        (
            "trust-times.yaml",
            format!(
                "signers:\n{}{keyring}",
                signer("builder", &builder, ", validFrom: 2026-11-23, validUntil: 2026-11-30")
            ),
        ),
        ("trust-two.yaml", format!("{two}require:\n  - {{role: builder, threshold: 2}}\n{keyring}")),
        (
            "trust-two-names.yaml",
            format!("{two}{}require:\n  - {{role: builder, threshold: 2}}\n{keyring}", signer("alias", &builder, "")),
        ),
        ("reviewer", sshsig::private(&sshsig::REVIEWER, "reviewer (TEST key)")),
        ("reviewer.pub", sshsig::line(&sshsig::REVIEWER, "reviewer (TEST key)")),
        (
            "trust-carrier.yaml",
            format!("{one}  - {{name: second, roles: [carrier], key: \"{}\"}}\n{keyring}", second.trim()),
        ),
        ("trust-removals.yaml", removing(false, 1, "additional, referrer, manifests, release")),
        (
            "trust-removals-none.yaml",
            removing(false, 1, "additional").replace("removals: {threshold: 1, of: [additional]}\n", ""),
        ),
        ("trust-removals-images.yaml", removing(false, 1, "additional")),
        ("trust-removals-component.yaml", removing(false, 1, "'component:etcd'")),
        (
            "trust-removals-review.yaml",
            removing(false, 1, "additional")
                + "require:\n  - {role: builder, threshold: 1}\n  - {role: reviewer, threshold: 1}\n",
        ),
        ("trust-removals-two.yaml", removing(true, 2, "additional")),
        ("trust-removals-both.yaml", removing(true, 1, "additional")),
        (
            "trust-reviewer.yaml",
            format!(
                "{one}  - {{name: second, roles: [reviewer], key: \"{}\"}}\nrequire:\n  - {{role: builder, threshold: 1}}\n  - {{role: reviewer, threshold: 1}}\n{keyring}",
                second.trim()
            ),
        ),
    ]
}

/// A policy with a reviewer, or two, and what they may remove.
fn removing(two: bool, threshold: usize, of: &str) -> String {
    let signer = |name: &str, role: &str, seed: &[u8; 32]| {
        format!("  - {{name: {name}, roles: [{role}], key: \"{}\"}}\n", sshsig::line(seed, name).trim())
    };
    let mut out = format!(
        "signers:\n{}{}",
        signer("builder", "builder", &sshsig::BUILDER),
        signer("review-desk", "reviewer", &sshsig::REVIEWER)
    );
    if two {
        out += &signer("second-desk", "reviewer", &sshsig::SECOND);
    }
    out + &format!("removals: {{threshold: {threshold}, of: [{of}]}}\nrelease:\n  keyrings: [release.asc]\n")
}

const README: &str = "\
TEST keys for the vectors in the folder above. They are public, worth nothing, and must never be trusted.
builder, second, stranger: OpenSSH ed25519 from fixed seeds. release: OpenPGP RSA-2048, made once with gpg.
";
