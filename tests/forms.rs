//! Forms of a bundle (MB-CAR): made against a base, verified with and without it, expanded and shrunk. With the
//! program, on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[path = "support/program.rs"]
mod program;
#[cfg(feature = "registry")]
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::Ran;

/// A site's bundle `1.tar`, its successor `2.tar`, and the same in full as `full.tar`. The layouts share four images.
struct World {
    dir: tempfile::TempDir,
}

/// An OCI layout: a folder, and the number of images.
const LAYOUT: &str = r#"
import gzip, hashlib, io, json, os, random, sys, tarfile
out, images = sys.argv[1], int(sys.argv[2])
os.makedirs(out + "/blobs/sha256", exist_ok=True)
def put(data):
    digest = hashlib.sha256(data).hexdigest()
    open(f"{out}/blobs/sha256/{digest}", "wb").write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
def layer(name):
    file, data = io.BytesIO(), random.Random(name).randbytes(30000)
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("f-" + name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return "sha256:" + hashlib.sha256(file.getvalue()).hexdigest(), put(gzip.compress(file.getvalue(), 0, mtime=0))
oci = "application/vnd.oci.image."
manifests = []
for n in range(images):
    layers = [layer(name) for name in ("one", "two", f"own-{n}")]
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {"n": str(n)}},
                             "rootfs": {"type": "layers", "diff_ids": [diff for diff, _ in layers]}}).encode())
    entry = put(json.dumps({"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
                            "config": {"mediaType": oci + "config.v1+json", **config},
                            "layers": [{"mediaType": oci + "layer.v1.tar+gzip", **l} for _, l in layers]}).encode())
    name = {"org.opencontainers.image.ref.name": f"registry.example.com/bench/image-{n:03}:v1"}
    manifests.append({"mediaType": oci + "manifest.v1+json", **entry, "annotations": name})
json.dump({"schemaVersion": 2, "manifests": manifests}, open(out + "/index.json", "w"))
open(out + "/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
"#;

/// What every form of the second bundle is called.
const SECOND: &[&str] = &["--from-layout", "second", "--sign-key", "builder", "--name", "app", "--sequence", "2"];

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        for name in ["builder", "carrier", "reviewer", "stranger"] {
            world.run(&["keygen", name, "--no-passphrase", "-q", "-C", name]).is(0);
        }
        world.layout("first", 4);
        world.layout("second", 6);
        world
            .run(&[
                "create",
                "1.tar",
                "--from-layout",
                "first",
                "--sign-key",
                "builder",
                "--name",
                "app",
                "--sequence",
                "1",
            ])
            .is(0);
        world.create("full.tar", &[]).is(0);
        world.create("2.tar", &["--base", "1.tar"]).is(0).says("Leaving out");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Images of two layers that all share and one of their own; those of a smaller layout are the first of a larger.
    fn layout(&self, name: &str, images: usize) {
        let made = Command::new("python3")
            .args(["-c", LAYOUT, name, &images.to_string()])
            .current_dir(self.dir.path())
            .status()
            .unwrap();
        assert!(made.success());
    }

    fn create(&self, name: &str, more: &[&str]) -> Ran {
        self.run(&[&["create", name], SECOND, more].concat())
    }

    fn run(&self, args: &[&str]) -> Ran {
        program::ran(program::program(self.dir.path()).args(args).env("SOURCE_DATE_EPOCH", "1700000000"))
    }

    fn verify(&self, args: &[&str]) -> Ran {
        self.run(&[&["verify", "--signer", "builder.pub"], args].concat())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    #[track_caller]
    fn same(&self, a: &str, b: &str) {
        assert!(self.bytes(a) == self.bytes(b), "{a} and {b} differ");
    }

    /// A trust policy: names, and their roles.
    fn policy(&self, file: &str, signers: &[(&str, &str)], more: &str) {
        let mut text = "signers:\n".to_owned();
        for (name, roles) in signers {
            let key = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
            text.push_str(&format!("  - name: {name}\n    roles: [{roles}]\n    key: {}\n", key.trim()));
        }
        fs::write(self.path(file), text + more).unwrap();
    }

    /// A member of a bundle.
    fn member(&self, bundle: &str, path: &str) -> Vec<u8> {
        let out = Command::new("tar").args(["xOf", bundle, path]).current_dir(self.dir.path()).output().unwrap();
        assert!(out.status.success(), "{path}");
        out.stdout
    }

    /// The digests that the second bundle leaves out.
    fn absent(&self, bundle: &str) -> Vec<String> {
        let listed = self.run(&["ls", bundle, "--blobs", "-o", "json"]).is(0).json();
        listed["absent"].as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
    }
}

/// Flips one bit in the first occurrence of a blob's content.
fn damage(path: &Path, hex: &str) {
    let bytes = fs::read(path).unwrap();
    let name = format!("blobs/sha256/{hex}");
    let header = (0..bytes.len()).step_by(512).find(|at| bytes[*at..].starts_with(name.as_bytes())).unwrap();
    let at = header as u64 + 512 + 100;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[at as usize] ^ 1], at).unwrap();
}

/// MB-CAR-01.
#[test]
fn a_base_changes_what_is_carried_and_nothing_that_is_signed() {
    let world = World::new();
    for member in ["mirror-bundle/index.json", "mirror-bundle/index.json.sig"] {
        assert!(world.member("2.tar", member) == world.member("full.tar", member), "{member}");
    }
    assert!(world.bytes("2.tar").len() < world.bytes("full.tar").len() / 2);
    // Twice the same, and with the kept index instead of the bundle.
    world.create("again.tar", &["--base", "1.tar"]).is(0);
    world.same("again.tar", "2.tar");
    fs::create_dir(world.path("elsewhere")).unwrap();
    world.create("from-index.tar", &["--base", "1.index.json"]).is(0);
    world.same("from-index.tar", "2.tar");
    // As a stream too.
    let out = program::program(world.dir.path())
        .args([&["create", "-"], SECOND, &["--base", "1.tar"]].concat())
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert!(out.stdout == world.bytes("2.tar"), "{}", String::from_utf8_lossy(&out.stderr));
    // The dry run says the same, and writes nothing.
    let tried = world.create("none.tar", &["--base", "1.tar", "--dry-run", "-o", "json"]).is(0).json();
    assert_eq!(tried["bytes"], world.bytes("2.tar").len());
    assert_eq!(tried["form"]["full_bytes"], world.bytes("full.tar").len());
    assert!(!world.path("none.tar").exists() && !world.path("none.index.json").exists());
    world.member("2.tar", "mirror-bundle/carriage.json");
    let listed = Command::new("tar").args(["tf", "2.tar"]).current_dir(world.dir.path()).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    for digest in world.absent("2.tar") {
        assert!(!names.contains(&digest[7..]), "{digest}");
    }
    // `sha256sum -c` and `ssh-keygen` read every form.
    fs::create_dir(world.path("x")).unwrap();
    let sh = "tar xf ../2.tar && sha256sum -c --quiet mirror-bundle/SHA256SUMS &&
        printf 'b %s' \"$(cat ../builder.pub)\" > allowed &&
        ssh-keygen -Y verify -f allowed -I b -n mirror-bundle.v1.builder -s mirror-bundle/carriage.json.sig \
            < mirror-bundle/carriage.json";
    assert!(Command::new("sh").args(["-c", sh]).current_dir(world.path("x")).status().unwrap().success());
}

/// MB-VER-19.
#[test]
fn without_the_base_everything_but_what_is_absent_is_checked_and_the_verdict_is_42() {
    let world = World::new();
    let report = world.verify(&["2.tar", "-o", "json"]).is(42).json();
    assert_eq!(report["verdict"], "not-fully-checked");
    let skipped: Vec<&serde_json::Value> =
        report["not_checked"].as_array().unwrap().iter().filter(|one| one["required"] == true).collect();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert_eq!(skipped[0]["id"], "restored-blobs");
    let why = skipped[0]["reason"].as_str().unwrap();
    assert!(why.contains("not carried") && why.contains("builder") && why.contains("app #1"), "{why}");
    let digests = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == "blob-digests").unwrap();
    assert_eq!(digests["examined"], digests["of"]);
    world.verify(&["2.tar", "--as-carried"]).is(0).says("exception --as-carried").says("with exceptions");
    for base in ["1.tar", "full.tar", "first", "first/blobs", "first/blobs/sha256"] {
        let checks = world.verify(&["2.tar", "--base", base, "-o", "json"]).is(0).json();
        let found = checks["checks"].as_array().unwrap().iter().any(|one| one["id"] == "restored-blobs");
        assert!(found, "{base}");
    }
    // A base that has some of it only.
    world.layout("less", 1);
    world.verify(&["2.tar", "--base", "less"]).is(42).says("not carried");
    // Files of two forms are one bundle.
    world.verify(&["2.tar", "full.tar"]).is(0);
    // A damaged base is said to be that.
    let absent = world.absent("2.tar");
    fs::copy(world.path("1.tar"), world.path("bad.tar")).unwrap();
    damage(&world.path("bad.tar"), &absent[0][7..]);
    world.verify(&["2.tar", "--base", "bad.tar"]).is(31).says("the base is damaged, not this bundle");
    world.verify(&["2.tar", "--base", "bad.tar", "--base", "1.tar"]).is(0);
    world.verify(&["2.tar", "--base", "builder"]).is(10);
}

#[test]
fn what_is_carried_is_as_protected_as_in_full() {
    let world = World::new();
    let carried = world.run(&["ls", "2.tar", "--blobs"]).is(0).out;
    let layer = carried.lines().find(|line| line.starts_with("layer") && line.ends_with(" -")).unwrap();
    let hex = layer.split(' ').nth(1).unwrap().trim_start_matches("sha256:").to_owned();
    fs::copy(world.path("2.tar"), world.path("bad.tar")).unwrap();
    damage(&world.path("bad.tar"), &hex);
    world.verify(&["bad.tar"]).is(31);
    world.verify(&["bad.tar", "--as-carried"]).is(31);
    world.run(&["expand", "bad.tar", "out.tar", "--base", "1.tar"]).is(31);
    assert!(!world.path("out.tar").exists());
    // A carriage that was changed is another carriage.
    let mut bytes = world.bytes("2.tar");
    let at = bytes.windows(17).position(|w| w == b"\"sequence\": 1\n   ").unwrap();
    bytes[at + 12] = b'7';
    fs::write(world.path("changed.tar"), &bytes).unwrap();
    // The sums are of the carriage as it was made.
    world.verify(&["changed.tar", "--base", "1.tar"]).is(12);
}

#[test]
fn a_folder_needs_the_base_and_a_stream_takes_one() {
    let world = World::new();
    let trust = ["--signer", "builder.pub"];
    world.run(&[&["unpack", "1.tar", "--to-dir", "mirror"], &trust[..]].concat()).is(0);
    let none = world.run(&[&["unpack", "2.tar", "--to-layout", "out"], &trust[..]].concat()).is(30);
    assert!(none.err.contains("nothing was written") && none.err.contains("app #1"), "{}", none.err);
    assert!(none.err.contains("image-"), "{}", none.err);
    assert!(!world.path("out").exists());
    world.run(&[&["unpack", "2.tar", "--to-layout", "out", "--base", "1.tar"], &trust[..]].concat()).is(0);
    world.run(&[&["unpack", "full.tar", "--to-layout", "whole"], &trust[..]].concat()).is(0);
    let same = Command::new("diff").args(["-r", "out", "whole"]).current_dir(world.dir.path()).status().unwrap();
    assert!(same.success());
    // What was unpacked before is a base, and the same folder may be the destination.
    world.run(&[&["unpack", "2.tar", "--to-dir", "mirror"], &trust[..]].concat()).is(30);
    world.run(&[&["unpack", "2.tar", "--to-dir", "mirror", "--base", "mirror"], &trust[..]].concat()).is(0);
    world.run(&["expand", "2.tar", "from-mirror.tar", "--base", "mirror"]).is(0);
    world.same("from-mirror.tar", "full.tar");
    let mut child = program::program(world.dir.path())
        .args(["unpack", "-", "--to-dir", "tree", "--base", "1.tar", "--signer", "builder.pub"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&world.bytes("2.tar")).unwrap();
    assert!(child.wait().unwrap().success());
}

/// MB-CAR-10.
#[test]
fn expand_gives_what_create_writes_without_a_base_and_shrink_what_it_writes_with_one() {
    let world = World::new();
    let none = world.run(&["expand", "2.tar", "out.tar"]).is(30);
    assert!(none.err.contains("app #1") && none.err.contains("nothing was written"), "{}", none.err);
    world.run(&["expand", "2.tar", "out.tar", "--base", "1.tar"]).is(0);
    world.same("out.tar", "full.tar");
    world.run(&["shrink", "full.tar", "small.tar", "--base", "1.tar", "--sign-key", "builder"]).is(0);
    world.same("small.tar", "2.tar");
    // With a countersignature and a record, which a reviewer added to either.
    world.policy(
        "trust.yaml",
        &[("builder", "builder"), ("reviewer", "reviewer")],
        "require:\n  - {role: builder, threshold: 1}\n",
    );
    let sign = |bundle: &str, more: &[&str]| {
        let args = ["sign", bundle, "--sign-key", "reviewer", "--trust", "trust.yaml", "--note", "seen"];
        world.run(&[&args[..], more].concat()).is(0);
    };
    sign("full.tar", &[]);
    world.run(&["shrink", "full.tar", "small.tar", "--base", "1.tar", "--sign-key", "builder", "--force"]).is(0);
    world.run(&["expand", "small.tar", "back.tar", "--base", "1.tar"]).is(0);
    world.same("back.tar", "full.tar");
    sign("2.tar", &["--base", "1.tar"]);
    world.run(&["expand", "2.tar", "signed.tar", "--base", "1.tar"]).is(0);
    world.verify(&["signed.tar"]).is(0);
    // In volumes.
    fs::create_dir(world.path("v")).unwrap();
    world.run(&["split", "small.tar", "v", "--volume-size", "150000"]).is(0);
    world.run(&["verify", "v", "--trust", "trust.yaml", "--base", "1.tar"]).is(0);
    world.run(&["join", "joined.tar", "v"]).is(0);
    world.same("joined.tar", "small.tar");
    world.run(&["expand", "v", "from-volumes.tar", "--base", "1.tar"]).is(0);
    world.same("from-volumes.tar", "full.tar");
    world.create("w.tar", &["--base", "1.tar", "--volume-size", "150000"]).is(0);
    // What nothing was left out of is no base, and a bundle is no base of itself.
    world.layout("other", 1);
    world.run(&["shrink", "full.tar", "x.tar", "--base", "full.tar", "--sign-key", "builder"]).is(2);
    world
        .run(&["shrink", "2.tar", "x.tar", "--base", "1.tar", "--sign-key", "builder"])
        .is(2)
        .says("mirror-bundle expand");
    assert!(!world.path("x.tar").exists());
}

#[test]
fn a_base_that_is_newer_is_refused() {
    let world = World::new();
    world
        .run(&[
            "create",
            "0.tar",
            "--from-layout",
            "second",
            "--sign-key",
            "builder",
            "--name",
            "app",
            "--sequence",
            "1",
            "--base",
            "full.tar",
        ])
        .is(2)
        .says("newer than the bundle");
    assert!(!world.path("0.tar").exists());
}

/// MB-CAR-08: builders, and carriers whom a policy names.
#[test]
fn only_a_builder_or_a_carrier_of_the_policy_says_how_a_bundle_is_carried() {
    let world = World::new();
    let shrink = |out: &str, key: &str| {
        world.run(&["shrink", "full.tar", out, "--base", "1.tar", "--sign-key", key]).is(0);
    };
    shrink("by-carrier.tar", "carrier");
    shrink("by-stranger.tar", "stranger");
    let require = "require:\n  - {role: builder, threshold: 1}\n";
    world.policy("trust.yaml", &[("builder", "builder"), ("carrier", "carrier"), ("stranger", "reviewer")], require);
    let verify = |bundle: &str| world.run(&["verify", bundle, "--trust", "trust.yaml", "--base", "1.tar"]);
    verify("by-carrier.tar").is(0).says("carrier as carrier");
    verify("by-stranger.tar").is(22).says("not trusted as carrier");
    verify("2.tar").is(0);
    // Without a policy that names one, only builders.
    world.verify(&["by-carrier.tar", "--base", "1.tar"]).is(22).says("signature over the carriage");
    world.run(&["unpack", "by-carrier.tar", "--signer", "builder.pub", "--to-dir", "out", "--base", "1.tar"]).is(22);
    assert!(!world.path("out").exists());
    // A carrier signs no index.
    world.policy(
        "wrong.yaml",
        &[("builder", "builder"), ("carrier", "carrier")],
        "require:\n  - {role: carrier, threshold: 1}\n",
    );
    world.run(&["verify", "2.tar", "--trust", "wrong.yaml"]).is(2).says("a carrier signs no index");
    world.run(&["sign", "full.tar", "--sign-key", "carrier", "--role", "carrier", "--trust", "trust.yaml"]).is(2);
    // Without a signature only where an unsigned bundle is accepted.
    world.run(&["shrink", "full.tar", "unsigned.tar", "--base", "1.tar", "--unsigned"]).is(0);
    world.verify(&["unsigned.tar", "--base", "1.tar"]).is(20).says("anyone could have left blobs out");
    world.verify(&["unsigned.tar", "--base", "1.tar", "--allow-unsigned"]).is(0);
}

/// One reviewed bundle, two sites with different bases: what the reviewer signed counts at both.
#[test]
fn a_countersignature_counts_in_every_form() {
    let world = World::new();
    let require = "require:\n  - {role: builder, threshold: 1}\n  - {role: reviewer, threshold: 1}\n";
    world.policy("trust.yaml", &[("builder", "builder"), ("reviewer", "reviewer"), ("carrier", "carrier")], require);
    world.policy("desk.yaml", &[("builder", "builder")], "require:\n  - {role: builder, threshold: 1}\n");
    world.run(&["sign", "full.tar", "--sign-key", "reviewer", "--trust", "desk.yaml", "--note", "ok"]).is(0);
    world.layout("less", 2);
    world
        .run(&[
            "create",
            "less.tar",
            "--from-layout",
            "less",
            "--sign-key",
            "builder",
            "--name",
            "other",
            "--sequence",
            "9",
        ])
        .is(0);
    let mut sizes = Vec::new();
    for (site, base) in [("a.tar", "1.tar"), ("b.tar", "less.tar")] {
        world.run(&["shrink", "full.tar", site, "--base", base, "--sign-key", "carrier"]).is(0);
        world.run(&["verify", site, "--trust", "trust.yaml"]).is(42);
        world
            .run(&["unpack", site, "--trust", "trust.yaml", "--to-layout", &format!("{site}.out"), "--base", base])
            .is(0);
        world.run(&["expand", site, &format!("{site}.full"), "--base", base]).is(0);
        world.same(&format!("{site}.full"), "full.tar");
        sizes.push(world.bytes(site).len());
    }
    assert!(sizes[0] < sizes[1], "{sizes:?}");
    let same =
        Command::new("diff").args(["-r", "a.tar.out", "b.tar.out"]).current_dir(world.dir.path()).status().unwrap();
    assert!(same.success());
}

#[test]
fn every_form_is_shown_by_those_who_look_into_a_bundle() {
    let world = World::new();
    world.run(&["inspect", "2.tar"]).is(0).says("that are in app #1").says("mirror-bundle expand");
    let seen = world.run(&["inspect", "2.tar", "-o", "json"]).is(0).json();
    assert_eq!(seen["bytes"], world.bytes("2.tar").len());
    assert_eq!(seen["form"]["absent"], world.absent("2.tar").len());
    assert!(world.absent("full.tar").is_empty());
    let listed = world.run(&["ls", "2.tar", "--blobs"]).is(0).out;
    assert_eq!(listed.lines().filter(|line| line.ends_with(" absent")).count(), world.absent("2.tar").len());
    assert!(!world.run(&["ls", "full.tar", "--blobs"]).is(0).out.contains("absent"));
    // Who looks into layers is told what is not there, and whose form it is.
    let files = world.run(&["ls", "2.tar", "--files"]).is(0);
    assert!(files.err.contains("receiver has app #1"), "{}", files.err);
    assert!(!world.run(&["ls", "2.tar", "--files", "--base", "1.tar"]).is(0).err.contains("receiver has"));
    let digest = &world.absent("2.tar")[0];
    let cat = world.run(&["cat", "2.tar", digest, "--force"]).is(30);
    assert!(cat.err.contains("app #1") && cat.err.contains("--base BUNDLE"), "{}", cat.err);
    world.run(&["cat", "2.tar", digest, "--force", "--base", "1.tar", "-o", "blob"]);
}

/// Recovery data protects the file as it is; a repair gives the same form.
#[test]
fn a_form_is_repaired_as_it_is() {
    let world = World::new();
    world.run(&["recovery", "2.tar", "--percent", "30%"]).is(0);
    let whole = world.bytes("2.tar");
    for at in [200, 700, 1600, 3000, whole.len() / 2, whole.len() - 5000] {
        let mut bad = whole.clone();
        bad[at..at + 300].fill(0x55);
        fs::write(world.path("2.tar"), &bad).unwrap();
        world.run(&["repair", "2.tar", "--signer", "builder.pub", "--base", "1.tar"]).is(0);
        assert!(world.bytes("2.tar") == whole, "damage at {at}");
    }
    // From another copy of the same form.
    fs::remove_file(world.path("2.tar.recovery")).unwrap();
    fs::copy(world.path("2.tar"), world.path("copy.tar")).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2..whole.len() / 2 + 300].fill(0x55);
    fs::write(world.path("2.tar"), &bad).unwrap();
    world.run(&["repair", "2.tar", "--from", "copy.tar", "--signer", "builder.pub", "--base", "1.tar"]).is(0);
    assert!(world.bytes("2.tar") == whole);
}

/// Removals: what a reviewer took out stays out in every form, and a base says whose removal it was.
#[test]
fn removals_and_forms_go_together() {
    let world = World::new();
    let removals = "require:\n  - {role: builder, threshold: 1}\nremovals: {of: [additional], threshold: 1}\n";
    world.policy("trust.yaml", &[("builder", "builder"), ("reviewer", "reviewer")], removals);
    let images = world.run(&["ls", "1.tar", "--images"]).is(0).out;
    let digest = images.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let scrub = |from: &str, to: &str, more: &[&str]| {
        let args = [
            "scrub",
            from,
            to,
            "--remove",
            &digest,
            "--reason",
            "no",
            "--sign-key",
            "reviewer",
            "--trust",
            "trust.yaml",
        ];
        world.run(&[&args[..], more].concat()).is(0);
    };
    scrub("full.tar", "full-less.tar", &[]);
    scrub("2.tar", "less.tar", &["--base", "1.tar"]);
    world.run(&["verify", "less.tar", "--trust", "trust.yaml"]).is(42);
    world.run(&["verify", "less.tar", "--trust", "trust.yaml", "--base", "1.tar"]).is(0);
    world.run(&["expand", "less.tar", "out.tar", "--base", "1.tar"]).is(0);
    world.same("out.tar", "full-less.tar");
    // The base lost an image that the new bundle counts on.
    scrub("1.tar", "1-less.tar", &[]);
    let none = world.run(&["expand", "2.tar", "x.tar", "--base", "1-less.tar"]).is(30);
    assert!(none.err.contains("a reviewer removed it"), "{}", none.err);
    assert!(!world.path("x.tar").exists());
    // What the base lost is carried.
    world.create("more.tar", &["--base", "1-less.tar"]).is(0);
    assert!(world.absent("more.tar").len() < world.absent("2.tar").len());
}
