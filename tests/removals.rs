//! What reviewers take out of a bundle (`spec/removal.md`), with the real program, `ssh-keygen`, `tar` and `skopeo`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::duplicate_mod)]

mod forge;
#[path = "removals/keys.rs"]
mod keys;
#[path = "support/program.rs"]
mod program;
#[path = "support/schemas.rs"]
mod schemas;
#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forge::draft::{Draft, LAYER, noise};
use forge::verifier;
use mirror_bundle::bundle::index::Kind;
use mirror_bundle::bundle::tar;
use mirror_bundle::oci::Role;
use mirror_bundle::report::Verdict;
use program::Ran;

const AT: [&str; 2] = ["--at", "2026-11-23T00:00:00Z"];
const WHY: &str = "EICAR, CHG-20417";

/// A folder with bundles and the TEST keys, and a host.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk { dir: tempfile::tempdir().unwrap() };
        for file in fs::read_dir(forge::folder().join("keys")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), desk.path(file.file_name().to_str().unwrap())).unwrap();
        }
        for key in ["reviewer", "second", "stranger"] {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(desk.path(key), fs::Permissions::from_mode(0o600)).unwrap();
        }
        desk
    }

    /// With a bundle that has one of everything.
    fn with_bundle() -> Desk {
        let desk = Desk::new();
        fs::write(desk.path("b.tar"), Draft::full().archive().bytes()).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        program::ran(program::program(self.dir.path()).args(args))
    }

    fn with(&self, policy: &str, args: &[&str]) -> Ran {
        let trust = format!("trust-{policy}.yaml");
        self.run(&[args, &["--trust", &trust], &AT].concat())
    }

    fn verify(&self, bundle: &str) -> Ran {
        self.with("removals", &["verify", bundle])
    }

    fn scrub(&self, from: &str, to: &str, what: &[&str]) -> Ran {
        let mut args = vec!["scrub", from, to, "--reason", WHY, "--sign-key", "reviewer"];
        what.iter().for_each(|one| args.extend(["--remove", one]));
        self.with("removals", &args)
    }

    fn exclude(&self, from: &str, what: &str, more: &[&str]) -> Ran {
        let args = ["scrub", from, "--exclude", what, "--reason", WHY, "--sign-key", "reviewer"];
        self.with("removals", &[&args, more].concat())
    }

    /// The files below a folder with their contents.
    fn tree(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let root = self.path(folder);
        let found = walkdir::WalkDir::new(&root).into_iter().flatten().filter(|e| e.file_type().is_file());
        found.map(|e| (e.path().strip_prefix(&root).unwrap().to_owned(), fs::read(e.path()).unwrap())).collect()
    }
}

/// The members of a tar file: path, and where header and content begin and end.
fn members(bytes: &[u8]) -> Vec<(String, usize, usize)> {
    let (mut at, mut out) = (0, Vec::new());
    while let Some(entry) = bytes.get(at..at + 512).and_then(|block| tar::parse(block.try_into().unwrap())) {
        let end = at + 512 + usize::try_from(tar::padded(entry.size)).unwrap();
        out.push((entry.name, at, end));
        at = end;
    }
    out
}

fn member(bytes: &[u8], path: &str) -> Vec<u8> {
    let (_, at, _) = members(bytes).into_iter().find(|(own, ..)| own == path).unwrap();
    let size = tar::parse(bytes[at..at + 512].try_into().unwrap()).unwrap().size as usize;
    bytes[at + 512..at + 512 + size].to_vec()
}

#[test]
fn an_image_goes_with_its_signatures_and_every_answer_says_so() {
    let desk = Desk::with_bundle();
    desk.scrub("b.tar", "out.tar", &["registry.example.com/app:1.0"])
        .is(0)
        .says("additional registry.example.com/app:1.0")
        .says(".sig sha256:")
        .says("referrer registry.example.com/app@sha256:")
        .says("which goes with it");
    let (before, after) = (fs::read(desk.path("b.tar")).unwrap(), fs::read(desk.path("out.tar")).unwrap());
    for same in ["mirror-bundle/index.json", "mirror-bundle/index.json.sig", "index.json"] {
        assert_eq!(member(&before, same), member(&after, same), "{same}");
    }
    let head: Vec<String> = members(&after).into_iter().take(6).map(|(path, ..)| path).collect();
    assert_eq!(
        head[3..],
        ["mirror-bundle/removal-1.json", "mirror-bundle/removal-1.json.sig", "mirror-bundle/SHA256SUMS"]
    );
    let sentence = "complete except 1 image, removed by review-desk as reviewer: \"EICAR, CHG-20417\"";
    let verdict = desk.verify("out.tar").is(0).out;
    assert!(verdict.lines().next().unwrap().contains(&format!("VERIFIED  out.tar  {sentence}")), "{verdict}");
    let report = desk.with("removals", &["verify", "out.tar", "-o", "json"]).is(0).json();
    let mut wrong = Vec::new();
    schemas::violations(&report, &schemas::schema("report.json"), "report", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
    let release = &report["releases"][0];
    assert_eq!((&release["signed"], &release["version"]), (&true.into(), &"4.16.1".into()), "{release}");
    assert!(release["key"].as_str().unwrap().len() == 40 && release["user_id"].as_str().unwrap().contains("TEST"));
    let signed: jiff::Timestamp = release["signed_at"].as_str().unwrap().parse().unwrap();
    assert!(signed.as_second() > 0);
    let removal = &report["removals"][0];
    assert_eq!((removal["name"].as_str(), removal["obeyed"].as_bool()), (Some("review-desk"), Some(true)));
    assert_eq!(removal["images"].as_array().unwrap().len(), 3);
    assert!(report["exceptions"].to_string().contains("removed by review-desk"));
    let json = desk.with("removals", &["unpack", "out.tar", "--to-dir", "d", "-o", "json"]).is(0).json();
    assert!(json["report"]["exceptions"].to_string().contains("removed by review-desk"));
    assert!(!desk.path("d/v2/app").exists() && desk.path("d/v2/tiny").exists());
    let unpacked = desk.with("removals", &["unpack", "out.tar", "--to-dir", "e"]).is(0);
    assert!(unpacked.out.contains("removed by review-desk"), "{}", unpacked.out);
    desk.run(&["inspect", "out.tar"]).is(0).says("removed   1 image");
    assert!(!desk.run(&["ls", "out.tar"]).is(0).out.contains("example.com/app"));
    // The form that people write.
    let args = ["scrub", "b.tar", "-o", "again.tar", "--remove", "app", "--reason", WHY, "--sign-key", "reviewer"];
    let json = desk.with("removals", &[&args[..], &["--output", "json"]].concat()).is(0).json();
    let mut wrong = Vec::new();
    schemas::violations(&json, &schemas::schema("scrub.json"), "scrub", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
    desk.verify("again.tar").is(0);
    // A host that lets nobody remove anything, and one that knows no policy.
    desk.with("removals-none", &["verify", "out.tar"]).is(33).says("lets nobody remove");
    desk.run(
        &[&["verify", "out.tar", "--signer", "builder.pub", "--release-keyring", "release.asc"], &AT[..]].concat(),
    )
    .is(33);
    desk.run(&["verify", "out.tar", "--allow-unsigned", "--release-keyring", "release.asc", AT[0], AT[1]]).is(33);
}

#[test]
fn other_programs_read_what_is_left() {
    let desk = Desk::with_bundle();
    desk.scrub("b.tar", "out.tar", &["app:1.0"]).is(0);
    fs::create_dir(desk.path("x")).unwrap();
    let run =
        |program: &str, args: &[&str]| program::tool(program, desk.dir.path()).args(args).status().unwrap().success();
    assert!(run("tar", &["xf", "out.tar", "-C", "x"]));
    let mut sums = program::tool("sha256sum", &desk.path("x"));
    assert!(sums.args(["--quiet", "-c", "mirror-bundle/SHA256SUMS"]).status().unwrap().success());
    let line = fs::read_to_string(desk.path("reviewer.pub")).unwrap();
    fs::write(desk.path("allowed"), format!("desk {line}")).unwrap();
    let statement = fs::File::open(desk.path("x/mirror-bundle/removal-1.json")).unwrap();
    let mut check: Command = program::tool("ssh-keygen", desk.dir.path());
    let args = ["-Y", "verify", "-f", "allowed", "-I", "desk", "-n", "mirror-bundle.v1.removal", "-s"];
    check.args(args).arg("x/mirror-bundle/removal-1.json.sig").stdin(Stdio::from(statement));
    assert!(check.status().unwrap().success());
    if skip::have("skopeo") {
        let image = |name: &str| format!("oci-archive:out.tar:{name}");
        assert!(run("skopeo", &["inspect", "--raw", &image("registry.example.com/tiny:1")]));
        assert!(!run("skopeo", &["inspect", "--raw", &image("registry.example.com/app:1.0")]));
    }
}

#[test]
fn what_cannot_be_removed_is_refused_with_the_reason() {
    let desk = Desk::with_bundle();
    let full = Draft::full();
    let digest = |kind: Kind| full.images.iter().find(|image| image.kind == kind).unwrap().digest.to_string();
    let openpgp = full.files.keys().find(|path| path.starts_with("signatures/")).unwrap().clone();
    let refused = |what: &str, code: i32, why: &str| {
        desk.scrub("b.tar", "no.tar", &[what]).is(code).says(why).says("nothing was written");
        assert!(!desk.path("no.tar").exists() && !desk.path("no.tar.partial").exists(), "{what}");
    };
    refused(&digest(Kind::Signature), 41, "what it signs was not");
    refused(&digest(Kind::Component), 41, "of release 4.16.1");
    refused("component:etcd", 41, "the release that it belongs to was not");
    refused(&openpgp, 41, "what it signs was not");
    refused("manifests/release.yaml", 41, "signature of a release");
    refused("manifests/nothing.yaml", 2, "is not in the bundle");
    refused("nothing", 2, "is not in the bundle");
    refused("release:4.16.2", 2, "is not in the bundle");
    let list = full.images.iter().find(|i| i.media_type.contains("index")).unwrap().digest;
    let text = String::from_utf8(full.blobs[&list].1.clone()).unwrap();
    let platform = &text[text.find("sha256:").unwrap()..][..71];
    refused(platform, 2, "part of an image");
    // A reason is one line, and is there.
    for reason in ["", "  ", "a\nb"] {
        let args = ["scrub", "b.tar", "no.tar", "--remove", "app", "--reason", reason, "--sign-key", "reviewer"];
        desk.with("removals", &args).is(2);
    }
    // A damaged bundle is refused and nothing of the new one is left.
    let mut bytes = fs::read(desk.path("b.tar")).unwrap();
    let at = members(&bytes).last().unwrap().1 + 512;
    bytes[at] ^= 1;
    fs::write(desk.path("damaged.tar"), bytes).unwrap();
    desk.scrub("damaged.tar", "no.tar", &["tiny"]).is(31);
    assert!(!desk.path("no.tar").exists() && !desk.path("no.tar.partial").exists());
    // A component where the policy names it, and a release as a whole.
    let args = ["scrub", "b.tar", "c.tar", "--remove", "component:etcd", "--reason", WHY, "--sign-key", "reviewer"];
    desk.with("removals-component", &args).is(0);
    desk.with("removals-component", &["verify", "c.tar"]).is(0);
    desk.with("removals", &["verify", "c.tar"]).is(41);
    desk.scrub("b.tar", "r.tar", &["release:4.16.1"]).is(0).says("manifests/release.yaml").says(&openpgp);
    desk.verify("r.tar").is(0).says("complete except 1 release, removed by");
}

#[test]
fn a_further_run_adds_the_next_statement() {
    let desk = Desk::with_bundle();
    desk.scrub("b.tar", "one.tar", &["app:1.0"]).is(0);
    desk.scrub("one.tar", "two.tar", &["tiny", "manifests/map.yaml"]).is(0);
    desk.verify("two.tar").is(0).says("1 image, removed by").says("1 image, 1 file, removed by");
    let bytes = fs::read(desk.path("two.tar")).unwrap();
    assert_eq!(
        member(&bytes, "mirror-bundle/removal-1.json"),
        member(&fs::read(desk.path("one.tar")).unwrap(), "mirror-bundle/removal-1.json")
    );
    assert!(members(&bytes).iter().any(|(path, ..)| path == "mirror-bundle/removal-2.json"));
    desk.scrub("two.tar", "three.tar", &["app:1.0"]).is(2);
}

#[test]
fn an_exclusion_beside_the_bundle_is_obeyed_and_missed_when_it_is_taken_away() {
    let desk = Desk::with_bundle();
    let before = fs::read(desk.path("b.tar")).unwrap();
    desk.exclude("b.tar", "app:1.0", &["--detach"]).is(0);
    assert_eq!(fs::read(desk.path("b.tar")).unwrap(), before);
    let beside: Vec<PathBuf> = fs::read_dir(desk.dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("b.tar.removal-"))
        .collect();
    assert_eq!(beside.len(), 2);
    let review = |bundle: &str| desk.with("removals-review", &["verify", bundle]);
    review("b.tar").is(0).says("complete except 1 image, removed by review-desk");
    desk.with("removals-review", &["unpack", "b.tar", "--to-dir", "d"]).is(0);
    assert!(!desk.path("d/v2/app").exists() && desk.path("d/v2/tiny").exists());
    // Without the statement the reviewer's signature is missing, and this host knows what it had.
    for file in &beside {
        fs::rename(file, file.with_extension("away")).unwrap();
    }
    review("b.tar").is(22);
    desk.verify("b.tar").is(23).says("without something that was removed");
    // The same inside, where a stream comes too late.
    fs::remove_dir_all(desk.path("state")).unwrap();
    fs::copy(desk.path("b.tar"), desk.path("c.tar")).unwrap();
    desk.exclude("c.tar", "app:1.0", &[]).is(0);
    review("c.tar").is(0);
    let mut stream = program::program(desk.dir.path());
    stream.args(["verify", "-", "--trust", "trust-removals-review.yaml"]).args(AT);
    let status = stream.stdin(fs::File::open(desk.path("c.tar")).unwrap()).output().unwrap().status;
    assert_eq!(status.code(), Some(33));
    // A statement of a stranger beside the bundle changes nothing.
    let args = ["scrub", "b.tar", "--exclude", "tiny", "--reason", "x", "--sign-key", "stranger", "--detach"];
    desk.with("removals", &args).is(0);
    desk.verify("b.tar").is(0).says("ignored a statement");
}

#[test]
fn a_full_copy_beside_it_puts_nothing_back() {
    let desk = Desk::with_bundle();
    desk.scrub("b.tar", "out.tar", &["app:1.0"]).is(0);
    for files in [["out.tar", "b.tar"], ["b.tar", "out.tar"]] {
        let verdict = desk.with("removals", &[&["verify"], &files[..]].concat()).is(0);
        assert!(verdict.out.contains("complete except 1 image"), "{}", verdict.out);
    }
    desk.with("removals", &["unpack", "out.tar", "b.tar", "--to-dir", "d"]).is(0);
    assert!(!desk.path("d/v2/app").exists());
}

#[test]
fn a_cosign_signature_that_is_a_referrer_goes_only_with_its_image() {
    use mirror_bundle::oci::media_type;
    const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
    let desk = Desk::new();
    let mut draft = Draft::full();
    let app = draft.images.iter().find(|i| i.tag.as_deref() == Some("1.0")).unwrap().clone();
    let mut attach = |artifact: &str, layer: &str, predicate: &str| {
        let content = draft.blob(Role::Layer, format!("{artifact}{layer}{predicate}").as_bytes());
        let referrer = draft.document(Role::Manifest, media_type::OCI_MANIFEST, |d| {
            let config = d.blob(Role::Config, b"{}").json(EMPTY);
            let (kind, subject) = (media_type::OCI_MANIFEST, app.digest);
            let subject =
                format!(r#"{{"mediaType":"{}","digest":"{subject}","size":{}}}"#, app.media_type, app.size);
            let layer = content.json(layer);
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{kind}","artifactType":"{artifact}","config":{config},"layers":[{layer}],"subject":{subject},"annotations":{{{predicate}}}}}"#
            )
        });
        draft.top(Kind::Referrer, "registry.example.com/app", None, &referrer);
        draft.images.last_mut().unwrap().subject = Some(app.digest);
        referrer.digest.to_string()
    };
    let signs = r#""dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1""#;
    let provenance = r#""dev.sigstore.bundle.predicateType":"https://slsa.dev/provenance/v1""#;
    let signatures = [
        attach(BUNDLE, BUNDLE, signs),
        attach(BUNDLE, BUNDLE, ""),
        attach("application/vnd.dev.cosign.artifact.sig.v1+json", SIMPLE, ""),
    ];
    let attestation = attach(BUNDLE, BUNDLE, provenance);
    fs::write(desk.path("b.tar"), draft.archive().bytes()).unwrap();
    for one in signatures {
        desk.scrub("b.tar", "no.tar", &[&one])
            .is(41)
            .says("without the image that it signs")
            .says("nothing was written");
        desk.exclude("b.tar", &one, &["--detach"]).is(41);
    }
    desk.scrub("b.tar", "out.tar", &[&attestation]).is(0);
    desk.verify("out.tar").is(0).says("complete except 1 attachment");
    desk.scrub("out.tar", "rest.tar", &["app:1.0"]).is(0);
    desk.verify("rest.tar").is(0);
}

#[test]
fn what_was_taken_out_is_in_a_receipt_and_in_the_log_also_when_nothing_was() {
    let desk = Desk::with_bundle();
    let scrub = |to: &[&str], what: &str, more: &[&str]| {
        let flag = if to.is_empty() { "--exclude" } else { "--remove" };
        let args = ["--reason", WHY, "--sign-key", "reviewer", "--log", "log", flag, what];
        desk.with("removals", &[&["scrub", "b.tar"], to, &args, more].concat())
    };
    let json = scrub(&["out.tar"], "app:1.0", &["--receipt", "r.json", "--output", "json"]).is(0).json();
    let mut wrong = Vec::new();
    schemas::violations(&json, &schemas::schema("scrub.json"), "scrub", &mut wrong);
    assert_eq!(json["scrubbed"]["proof"]["log"]["n"], 1);
    let receipt: serde_json::Value = serde_json::from_slice(&fs::read(desk.path("r.json")).unwrap()).unwrap();
    let details = &receipt["predicate"]["details"];
    schemas::violations(details, &schemas::schema("receipt.json"), "receipt", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!((&details["event"], &details["verdict"]), (&"scrub".into(), &"scrubbed".into()));
    assert_eq!(details["scrubbed"]["written"], serde_json::json!(["out.tar"]));
    assert_eq!(details["scrubbed"]["images"].as_array().unwrap().len(), 3);
    desk.run(&["receipt", "verify", "r.json", "--signer", "reviewer.pub"]).is(0).says("scrub: scrubbed, exit code 0");
    // What is not there, a refused bundle, an exclusion, and a dry run.
    scrub(&["no.tar"], "nothing", &[]).is(2);
    desk.run(&[
        "scrub",
        "b.tar",
        "no.tar",
        "--remove",
        "app:1.0",
        "--reason",
        WHY,
        "--sign-key",
        "reviewer",
        "--log",
        "log",
        "--signer",
        "stranger.pub",
        "--receipt",
        "refused.json",
    ])
    .is(22)
    .says("log 3 ");
    scrub(&[], "app:1.0", &["--detach"]).is(0).says("log 4 ");
    scrub(&["no.tar"], "app:1.0", &["--dry-run"]).is(2).says("--dry-run writes nothing");
    let log = fs::read_to_string(desk.path("log")).unwrap();
    let words: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            format!("{} {} {}", line["event"].as_str().unwrap(), line["verdict"].as_str().unwrap(), line["exit_code"])
        })
        .collect();
    assert_eq!(words, ["scrub scrubbed 0", "scrub error 2", "scrub fail 22", "scrub excluded 0"]);
    desk.run(&["log", "verify", "log", "--receipt", "r.json", "--receipt", "refused.json"]).is(0);
    // Nothing is written where that cannot be recorded.
    fs::create_dir(desk.path("folder")).unwrap();
    scrub(&["no.tar"], "app:1.0", &["--receipt", "r.json"]).is(52).says("already exists");
    let args = ["scrub", "b.tar", "no.tar", "--remove", "app:1.0", "--reason", WHY, "--sign-key", "reviewer"];
    desk.with("removals", &[&args[..], &["--log", "folder"]].concat()).is(2).says("not a regular file");
    assert!(!desk.path("no.tar").exists());
}

#[test]
fn nothing_puts_back_what_was_removed() {
    let desk = Desk::with_bundle();
    desk.scrub("b.tar", "out.tar", &["app:1.0"]).is(0);
    desk.run(&["recovery", "b.tar", "-q"]).is(0);
    desk.run(&["recovery", "out.tar", "-q"]).is(0);
    let good = fs::read(desk.path("out.tar")).unwrap();
    let sums = members(&good).iter().find(|(path, ..)| path.ends_with("SHA256SUMS")).unwrap().1;
    let reason = good.windows(5).position(|w| w == b"EICAR").unwrap();
    let damages: [(&str, usize, usize); 4] = [
        ("blob", good.len() - 1024 - 600, 10),
        ("reason", reason, 1),
        ("head", 0, 1536),
        ("all of the head", 0, sums + 512),
    ];
    for (what, from, length) in damages {
        let mut bytes = good.clone();
        bytes[from..from + length].iter_mut().for_each(|byte| *byte ^= 0x55);
        let fresh = || fs::write(desk.path("x.tar"), &bytes).unwrap();
        fresh();
        let from_full = ["repair", "x.tar", "--from", "b.tar", "--recovery", "b.tar.recovery"];
        assert_ne!(desk.with("removals", &from_full).code, 0, "{what}");
        fresh();
        // A blob that is left may come from a full copy; what was removed does not.
        let copied = desk.with("removals", &["repair", "x.tar", "--from", "b.tar"]);
        assert!(copied.code != 0 || fs::read(desk.path("x.tar")).unwrap() == good, "{what}: {}", copied.err);
        fresh();
        let own = ["repair", "x.tar", "--recovery", "out.tar.recovery"];
        let ran = desk.with("removals", &own);
        if what == "all of the head" && ran.code != 0 {
            continue;
        }
        let ran = ran.is(0);
        assert_eq!(fs::read(desk.path("x.tar")).unwrap(), good, "{what}");
        assert!(ran.out.lines().next().unwrap().contains("complete except 1 image"), "{}", ran.out);
    }
}

/// A bundle of these parts; each can be removed by the word beside it.
fn parts(of: &[bool; 5]) -> Draft {
    let mut draft = Draft::empty();
    draft.files.insert("manifests/map.yaml".into(), forge::draft::namespace("map").into_bytes());
    if of[0] {
        let layer = draft.blob(Role::Layer, b"layer of the first");
        let image = draft.image("amd64", &[(LAYER, layer)]);
        draft.top(Kind::Additional, "registry.example.com/first", Some("1"), &image);
    }
    for (at, name) in [(1, "one"), (2, "two")] {
        if of[at] {
            let common = draft.blob(Role::Layer, b"a layer of two images");
            let own = draft.blob(Role::Layer, &noise(60_000 + at));
            let image = draft.image("amd64", &[(LAYER, common), (LAYER, own)]);
            for tag in ["1", "latest"] {
                draft.top(Kind::Additional, &format!("registry.example.com/{name}"), Some(tag), &image);
            }
        }
    }
    if of[3] {
        draft.multi_arch();
    }
    if of[4] {
        let shared = draft.blob(Role::Layer, &noise(700));
        let cli = draft.image("amd64", &[(LAYER, shared)]);
        draft.release("4.16.1", &[("cli", &cli)], |_| {});
    }
    draft
}

const WORDS: [&str; 5] =
    ["first", "registry.example.com/one:1", "registry.example.com/two:latest", "app:1.0", "release:4.16.1"];

#[test]
fn what_is_left_is_what_create_makes_of_the_rest() {
    let desk = Desk::new();
    fs::write(desk.path("b.tar"), parts(&[true; 5]).archive().bytes()).unwrap();
    let every = std::env::var_os("MIRROR_BUNDLE_TEST_FULL").is_some();
    for set in (1..32u32).filter(|set| every || set % 3 == 1) {
        let stays: [bool; 5] = std::array::from_fn(|at| set & (1 << at) == 0);
        let words: Vec<&str> = WORDS.iter().zip(stays).filter(|(_, stays)| !stays).map(|(word, _)| *word).collect();
        let out = format!("out-{set}.tar");
        let _ = fs::remove_dir_all(desk.path("state"));
        desk.scrub("b.tar", &out, &words).is(0);
        desk.verify(&out).is(0);
        fs::write(desk.path("rest.tar"), parts(&stays).archive().bytes()).unwrap();
        for (bundle, to) in [(out.as_str(), "l"), ("rest.tar", "r")] {
            let _ = fs::remove_dir_all(desk.path(to));
            let _ = fs::remove_dir_all(desk.path("state"));
            desk.with(
                "removals",
                &["unpack", bundle, "-q", "--to-layout", to, "--manifests-to-dir", &format!("{to}/m")],
            )
            .is(0);
        }
        let (left, right) = (desk.tree("l"), desk.tree("r"));
        assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{words:?}");
        assert!(left == right, "{words:?}");
    }
}

#[test]
fn any_change_of_a_member_of_a_scrubbed_bundle_is_found() {
    let desk = Desk::with_bundle();
    desk.scrub("b.tar", "out.tar", &["app:1.0", "manifests/map.yaml"]).is(0);
    let (whole, good) = (fs::read(desk.path("b.tar")).unwrap(), fs::read(desk.path("out.tar")).unwrap());
    let args = ["--trust", "keys/trust-removals.yaml", "--release-keyring", "keys/release.asc", AT[0], AT[1]];
    let (host, _) = verifier::settings(&args.map(str::to_owned), &forge::folder());
    let verdict = |bytes: &[u8]| {
        fs::write(desk.path("x.tar"), bytes).unwrap();
        verifier::file(&desk.path("x.tar"), &host, false, 1).map(|report| report.verdict)
    };
    assert_eq!(verdict(&good).unwrap(), Verdict::Verified);
    for (path, start, end) in members(&good) {
        let mut changed = good.clone();
        changed[start + 512] ^= 1;
        assert_ne!(verdict(&changed).ok(), Some(Verdict::Verified), "{path} changed");
        let gone = [&good[..start], &good[end..]].concat();
        assert_ne!(verdict(&gone).ok(), Some(Verdict::Verified), "{path} gone");
    }
    let last = members(&good).last().unwrap().2;
    for (path, start, end) in
        members(&whole).into_iter().filter(|(path, ..)| !members(&good).iter().any(|(own, ..)| own == path))
    {
        for at in [last, members(&good)[7].1] {
            let more = [&good[..at], &whole[start..end], &good[at..]].concat();
            assert_ne!(verdict(&more).ok(), Some(Verdict::Verified), "{path} at {at}");
        }
    }
}

#[test]
fn volumes_are_scrubbed_and_joined() {
    let desk = Desk::new();
    fs::write(desk.path("b.tar"), parts(&[true; 5]).archive().bytes()).unwrap();
    let size = ["--volume-size", "120KiB"];
    desk.run(&[&["split", "b.tar", "v", "-q"], &size[..]].concat()).is(0);
    assert!(fs::read_dir(desk.path("v")).unwrap().count() > 1);
    desk.scrub("v", "s/out.tar", &["registry.example.com/one:1"]);
    fs::create_dir_all(desk.path("s")).unwrap();
    desk.scrub("v", "s/out.tar", &["registry.example.com/one:1"]).is(0);
    desk.verify("s").is(0).says("complete except 2 images");
    let one = fs::read_dir(desk.path("s")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&one).unwrap();
    let (description, index) =
        (member(&bytes, "mirror-bundle/volume.json"), member(&bytes, "mirror-bundle/index.json"));
    let (description, index): (serde_json::Value, serde_json::Value) =
        (serde_json::from_slice(&description).unwrap(), serde_json::from_slice(&index).unwrap());
    let statement: serde_json::Value = serde_json::from_slice(&member(&bytes, "mirror-bundle/removal-1.json")).unwrap();
    let gone = statement["predicate"]["blobs"].as_array().unwrap();
    assert!(!gone.is_empty());
    for (blob, place) in index["blobs"].as_array().unwrap().iter().zip(description["blobs"].as_array().unwrap()) {
        assert!(!gone.contains(&blob["digest"]) || place == 0, "{blob} is on {place}");
    }
    desk.run(&["join", "j.tar", "s", "-q"]).is(0);
    desk.verify("j.tar").is(0).says("complete except 2 images");
    // Divided again, and together with the volumes of the whole.
    desk.run(&[&["split", "j.tar", "again", "-q"], &size[..]].concat()).is(0);
    desk.verify("again").is(0);
    desk.run(&["join", "k.tar", "again", "-q"]).is(0);
    assert_eq!(fs::read(desk.path("k.tar")).unwrap(), fs::read(desk.path("j.tar")).unwrap());
    desk.with("removals", &["verify", "v", "j.tar"]).is(0).says("complete except 2 images");
    fs::copy(&one, desk.path("v").join(Path::new("extra.tar"))).unwrap();
    desk.run(&["join", "no.tar", "v", "-q"]).is(33);
}
