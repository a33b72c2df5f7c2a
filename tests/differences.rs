//! Layers carried as differences, or in zstd (MB-CAR-13): made, verified, expanded and divided, with the program on real
//! files. The layers are compressed by the encoders of the project, which `tests/real_encoders.rs` compares with the real ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;

use mirror_bundle::oci::Digest;
use mirror_bundle::regzip::{BlockSize, Family, Gzip, Level, Method, Recipe};
use program::Ran;
use serde_json::json;

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 9, 0x6e, 0x88, 0, 0xff];

const WORDS: &[&str] = &[
    "registry",
    "bundle",
    "layer",
    "manifest",
    "digest",
    "cluster",
    "operator",
    "release",
    "signature",
    "mirror",
    "image",
    "catalog",
    "upgrade",
    "channel",
    "version",
    "keyring",
    "policy",
    "reviewer",
    "builder",
    "receipt",
    "volume",
    "medium",
    "carriage",
    "reference",
    "difference",
    "encoder",
    "content",
    "archive",
    "verifier",
    "destination",
    "source",
    "answer",
];

/// Text that depends on its number, of about this size.
fn text(number: u64, size: usize) -> Vec<u8> {
    let (mut out, mut seed) = (Vec::new(), number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    while out.len() < size {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = |at: u32| WORDS[usize::try_from((seed >> at) % WORDS.len() as u64).unwrap()];
        writeln!(out, "{} {} {} {} {:x}", word(20), word(30), word(40), word(50), seed >> 56).unwrap();
    }
    out
}

/// A tar of files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend(mirror_bundle::bundle::tar::header(name, bytes.len() as u64, 1_700_000_000));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn gzip(tar: &[u8], family: Family, level: Level, method: Method) -> Vec<u8> {
    let mut gzip = Gzip::new(&Recipe::new(family, level, method, &HEADER).unwrap(), Vec::new());
    gzip.write_all(tar).unwrap();
    gzip.finish().unwrap()
}

/// Bundles of a site: `1.tar`, its successor in full as `full.tar`, and `2.tar` made against the first.
struct World {
    dir: tempfile::TempDir,
}

const SECOND: &[&str] = &["--from-layout", "second", "--sign-key", "builder", "--name", "app", "--sequence", "2"];

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        for name in ["builder", "stranger"] {
            world.run(&["keygen", name, "--no-passphrase", "-q", "-C", name]).is(0);
        }
        world.layout("first", 1);
        world.layout("second", 2);
        let first = ["--from-layout", "first", "--sign-key", "builder", "--name", "app", "--sequence", "1"];
        world.run(&[&["create", "1.tar"], &first[..]].concat()).is(0);
        world.create("full.tar", &[]).is(0);
        world.create("2.tar", &["--base", "1.tar"]).is(0).says("4 blobs of");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = program::program(self.dir.path());
        program::ran(command.args(args).env("SOURCE_DATE_EPOCH", "1700000000").env("TMPDIR", self.dir.path()))
    }

    fn create(&self, name: &str, more: &[&str]) -> Ran {
        self.run(&[&["create", name], SECOND, more].concat())
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

    /// Images of one repository by their tags, each with its layers.
    fn images(&self, name: &str, images: &[(&str, Vec<Vec<u8>>)]) {
        let blobs = self.path(name).join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], media_type: &str| {
            let digest = Digest::of(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            let media_type = format!("application/vnd.oci.image.{media_type}");
            json!({ "digest": digest.to_string(), "size": bytes.len(), "mediaType": media_type })
        };
        let manifests = images.iter().map(|(tag, layers)| {
            let config = json!({ "architecture": "amd64", "os": "linux", "n": tag }).to_string();
            let manifest = json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": put(config.as_bytes(), "config.v1+json"),
                "layers": layers.iter().map(|layer| put(layer, "layer.v1.tar+gzip")).collect::<Vec<_>>(),
            });
            let mut entry = put(manifest.to_string().as_bytes(), "manifest.v1+json");
            let reference = format!("registry.example.com/app/web:{tag}");
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": reference });
            entry
        });
        let index = json!({ "schemaVersion": 2, "manifests": manifests.collect::<Vec<_>>() });
        fs::write(self.path(name).join("index.json"), index.to_string()).unwrap();
        fs::write(self.path(name).join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    }

    /// One image of six layers. One is the same in both, four differ in a few lines and have different encoders, and one
    /// is by an encoder that nobody describes.
    fn layout(&self, name: &str, number: u64) {
        use Method::Pgzip;
        let own = |n: u64| {
            let (mut a, b) = (text(n, 60_000), text(n + 10, 100_000).repeat(2));
            let at = 1000 * usize::try_from(number).unwrap();
            a[at..at + 20].copy_from_slice(b"....................");
            tar(&[("a", &a), (&format!("moved-{n}-{number}"), &b), ("new", &text(n + 100 * number, 2000))])
        };
        let plain = |tar: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        };
        let same = tar(&[("same", &text(5, 40_000))]);
        let mut layers = vec![gzip(&same, Family::B, Level::L5, Pgzip(BlockSize::MiB))];
        layers.push(gzip(&own(1), Family::B, Level::L5, Pgzip(BlockSize::MiB)));
        layers.push(gzip(&own(2), Family::A, Level::L6, Pgzip(BlockSize::QuarterMiB)));
        layers.push(gzip(&own(3), Family::B, Level::L6, Method::Gzip));
        layers.push(gzip(&own(4), Family::Go126, Level::L6, Method::Gzip));
        layers.push(plain(&own(5)));
        self.images(name, &[(&number.to_string(), layers)]);
    }

    /// The members of a file: their names, and where their content begins.
    fn members(&self, name: &str) -> Vec<(String, u64, u64)> {
        let bytes = self.bytes(name);
        let (mut at, mut out) = (0, Vec::new());
        while bytes[at] != 0 {
            let field = |from: usize, len: usize| {
                let field = &bytes[at + from..at + from + len];
                String::from_utf8(field.iter().copied().take_while(|b| *b != 0).collect()).unwrap()
            };
            let size = u64::from_str_radix(field(124, 12).trim(), 8).unwrap();
            out.push((field(0, 100), at as u64 + 512, size));
            at += 512 + usize::try_from(size.next_multiple_of(512)).unwrap();
        }
        out
    }

    /// Flips a bit in the middle of a member.
    fn damage(&self, name: &str, member: &str) {
        let (_, at, size) = self.members(name).into_iter().find(|(path, ..)| path.starts_with(member)).unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at + size / 2).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at + size / 2).unwrap();
    }

    fn encoded(&self, name: &str) -> Vec<String> {
        self.members(name)
            .into_iter()
            .map(|(path, ..)| path)
            .filter(|path| path.starts_with("encoded/sha256/"))
            .collect()
    }
}

#[test]
fn what_a_site_lacks_is_carried_as_differences_and_comes_out_bit_by_bit() {
    let world = World::new();
    assert_eq!(world.encoded("2.tar").len(), 4, "{:?}", world.members("2.tar"));
    let plain = world.bytes("full.tar").len();
    let layer: u64 = world
        .members("2.tar")
        .iter()
        .filter(|(path, ..)| path.starts_with("blobs/"))
        .map(|(_, _, n)| n)
        .max()
        .copied_or();
    let differences: u64 =
        world.members("2.tar").iter().filter(|(path, ..)| path.starts_with("encoded/")).map(|(.., n)| n).sum();
    assert!(differences < 40_000, "{differences} of {plain}, the plain layer {layer}");
    world
        .verify(&["2.tar"])
        .is(42)
        .says("4 of 8 blobs are carried as differences to blobs of the receiver, and 1 of 8");
    world.verify(&["2.tar", "--as-carried"]).is(0).says("--as-carried");
    world.verify(&["2.tar", "--base", "1.tar"]).is(0).says("restored blobs").says("5 of 5");
    world.verify(&["2.tar", "--base", "first"]).is(0);
    world
        .run(&["expand", "2.tar", "back.tar", "--base", "1.tar", "--signer", "builder.pub"])
        .is(0)
        .says("5 blobs restored");
    world.same("back.tar", "full.tar");
    // The same by another way, and again.
    let key = ["--sign-key", "builder"];
    world.run(&[&["shrink", "full.tar", "small.tar", "--base", "1.tar"], &key[..]].concat()).is(0);
    world.same("small.tar", "2.tar");
    world.create("again.tar", &["--base", "1.tar"]).is(0);
    world.same("again.tar", "2.tar");
    assert!(!world.path("again.tar.partial.work").exists());
    world.create("blobs.tar", &["--base", "1.tar", "--blobs-only"]).is(0);
    assert!(world.encoded("blobs.tar").is_empty());
    world.run(&["inspect", "2.tar"]).is(0).says("4 blobs of").says("restored from");
    let listed = world.run(&["ls", "2.tar", "--blobs", "-o", "json"]).is(0).json();
    let encoded = listed["encoded"].as_object().unwrap();
    assert!(encoded.len() == 4 && encoded.values().all(|one| one["content"] == "delta-1"), "{listed}");
    world.run(&["ls", "2.tar", "--blobs"]).is(0).says(" delta-1:");
}

trait CopiedOr {
    fn copied_or(self) -> u64;
}

impl CopiedOr for Option<&u64> {
    fn copied_or(self) -> u64 {
        self.copied().unwrap_or_default()
    }
}

#[test]
fn a_compact_bundle_needs_no_base_and_is_smaller() {
    let world = World::new();
    world.create("compact.tar", &["--compact"]).is(0).says("5 blobs of");
    assert!(world.bytes("compact.tar").len() * 100 < world.bytes("full.tar").len() * 90);
    world.verify(&["compact.tar"]).is(0).says("restored blobs").says("5 of 5");
    world.verify(&["compact.tar", "--quick"]).is(42).says("restored blobs                0 of 5");
    world.run(&["expand", "compact.tar", "back.tar", "--signer", "builder.pub"]).is(0);
    world.same("back.tar", "full.tar");
    world.create("both.tar", &["--compact", "--base", "1.tar"]).is(0);
    assert!(world.bytes("both.tar").len() <= world.bytes("2.tar").len());
    world.verify(&["both.tar", "--base", "1.tar"]).is(0);
    world.create("-", &["--compact"]).is(2).says("needs a file");
}

#[test]
fn nothing_is_restored_before_somebody_trusted_signed_how() {
    let world = World::new();
    world.create("compact.tar", &["--compact"]).is(0);
    // A member that no decoder accepts: nobody decodes it here.
    let member = world.encoded("compact.tar")[0].clone();
    world.damage("compact.tar", &member);
    world.run(&["expand", "compact.tar", "back.tar"]).is(2).says("nobody is named whose signature counts");
    world.run(&["expand", "compact.tar", "back.tar", "--signer", "stranger.pub"]).is(22);
    world.run(&["verify", "compact.tar", "--allow-unsigned"]).is(20).says("nothing is given to a decoder");
    assert!(!world.path("back.tar").exists());
    let listed = world.run(&["ls", "compact.tar", "--files"]);
    assert!(!listed.out.contains("moved-1-2"), "{}", listed.out);
    // Signed, it is refused by its digest first.
    world.verify(&["compact.tar"]).is(31).says(&member);
    // Whoever shrinks it unsigned makes a file that restores nothing.
    world.run(&["shrink", "full.tar", "small.tar", "--base", "1.tar", "--unsigned"]).is(0);
    world.verify(&["small.tar", "--base", "1.tar"]).is(20);
    world.run(&["verify", "small.tar", "--base", "1.tar", "--allow-unsigned"]).is(20);
}

#[test]
fn damage_is_found_wherever_it_is_and_the_base_is_blamed_for_its_own() {
    let world = World::new();
    let member = world.encoded("2.tar")[1].clone();
    fs::copy(world.path("2.tar"), world.path("bad.tar")).unwrap();
    world.damage("bad.tar", &member);
    world.verify(&["bad.tar"]).is(31).says(&member);
    world.verify(&["bad.tar", "--base", "1.tar"]).is(31).says("restored blobs                4 of 5");
    world.run(&["expand", "bad.tar", "back.tar", "--base", "1.tar", "--signer", "builder.pub"]).is(31);
    assert!(!world.path("back.tar").exists());
    // Each reference, and the blob that is not carried at all.
    for member in world.members("1.tar").into_iter().map(|(path, ..)| path).filter(|path| path.starts_with("blobs/")) {
        fs::copy(world.path("1.tar"), world.path("base.tar")).unwrap();
        world.damage("base.tar", &member);
        let ran = world.verify(&["2.tar", "--base", "base.tar"]);
        if ran.code != 0 {
            let ran = ran.is(31);
            assert!(ran.out.contains("base") || ran.err.contains("base"), "{}{}", ran.out, ran.err);
            // Another copy has it.
            world.verify(&["2.tar", "--base", "base.tar", "--base", "1.tar"]).is(0);
        }
    }
    // A base without the references is none.
    world.run(&["expand", "2.tar", "back.tar", "--base", "2.tar", "--signer", "builder.pub"]).is(30);
    assert!(!world.path("back.tar").exists());
}

/// MB-CAR-14: five lines of versions in one repository, all updated in the same place.
#[test]
fn each_image_of_a_repository_is_compared_with_all_that_the_base_has_of_it() {
    let world = World { dir: tempfile::tempdir().unwrap() };
    world.run(&["keygen", "builder", "--no-passphrase", "-q"]).is(0);
    let layer = |seed: u64, change: u64| {
        let content = tar(&[("a", &text(seed, 90_000)), ("version", &text(change, 500))]);
        vec![gzip(&content, Family::B, Level::L5, Method::Pgzip(BlockSize::MiB))]
    };
    let lines = 1..=5;
    let names: Vec<(String, String)> = lines.clone().map(|n| (format!("{n}.0"), format!("{n}.1"))).collect();
    let all = |change| lines.clone().map(move |n| layer(n, n + change)).collect::<Vec<_>>();
    let old: Vec<_> = names.iter().zip(all(100)).map(|((tag, _), layers)| (tag.as_str(), layers)).collect();
    let new: Vec<_> = names.iter().zip(all(200)).map(|((_, tag), layers)| (tag.as_str(), layers)).collect();
    world.images("first", &old);
    world.images("second", &new);
    let first = ["--from-layout", "first", "--sign-key", "builder", "--name", "app", "--sequence", "1"];
    world.run(&[&["create", "1.tar"], &first[..]].concat()).is(0);
    world.create("full.tar", &[]).is(0);
    let full = world.bytes("full.tar").len();
    world.create("2.tar", &["--base", "1.tar"]).is(0);
    assert_eq!(world.encoded("2.tar").len(), 5);
    assert!(world.bytes("2.tar").len() < full / 3, "{} of {full}", world.bytes("2.tar").len());
    world.run(&["expand", "2.tar", "out.tar", "--base", "1.tar", "--signer", "builder.pub"]).is(0);
    world.same("out.tar", "full.tar");
}

#[test]
fn volumes_and_recovery_data_hold_members_as_they_are() {
    let world = World::new();
    world.run(&["split", "2.tar", "--volume-size", "64KiB"]).is(0);
    let volumes: Vec<String> = fs::read_dir(world.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("2.") && name.contains("of"))
        .collect();
    assert!(volumes.len() > 1, "{volumes:?}");
    let all: Vec<&str> = volumes.iter().map(String::as_str).collect();
    world.verify(&[&all[..], &["--base", "1.tar"]].concat()).is(0);
    world.run(&[&["join", "joined.tar"], &all[..]].concat()).is(0);
    world.same("joined.tar", "2.tar");
    world.run(&["recovery", "2.tar"]).is(0);
    let member = world.encoded("2.tar")[0].clone();
    let good = world.bytes("2.tar");
    world.damage("2.tar", &member);
    world.run(&["repair", "2.tar", "--signer", "builder.pub"]).is(42);
    assert!(world.bytes("2.tar") == good);
}

#[test]
fn a_base_that_is_itself_made_of_differences_is_completed_from_its_own() {
    let world = World::new();
    world.layout("third", 3);
    let third = ["--from-layout", "third", "--sign-key", "builder", "--name", "app", "--sequence", "3"];
    world.run(&[&["create", "full3.tar"], &third[..]].concat()).is(0);
    world.run(&[&["create", "3.tar", "--base", "full.tar"], &third[..]].concat()).is(0).says("4 blobs of");
    // Two months of differences and the bundle in full, in any order.
    let chain = ["--base", "2.tar", "--base", "1.tar"];
    world.run(&[&["expand", "3.tar", "out.tar", "--signer", "builder.pub"], &chain[..]].concat()).is(0);
    world.same("out.tar", "full3.tar");
    world.verify(&[&["3.tar"], &chain[..]].concat()).is(0).says("VERIFIED");
    world.run(&[&["unpack", "3.tar", "--to-layout", "layout", "--signer", "builder.pub"], &chain[..]].concat()).is(0);
    let third = fs::read_dir(world.path("third/blobs/sha256")).unwrap();
    for name in third.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        world.same(&format!("third/blobs/sha256/{name}"), &format!("layout/blobs/sha256/{name}"));
    }
    // Without the first there is nothing to restore the second from.
    world.verify(&["3.tar", "--base", "2.tar"]).is(42);
    world
        .run(&["expand", "3.tar", "no.tar", "--signer", "builder.pub", "--base", "2.tar"])
        .is(30)
        .says("nothing was written");
    // A base is restored only if somebody trusted signed how it is carried.
    world.run(&["shrink", "full.tar", "strange.tar", "--base", "1.tar", "--sign-key", "stranger"]).is(0);
    world.verify(&["3.tar", "--base", "strange.tar", "--base", "1.tar"]).is(42);
    // Damage in the middle of the chain has the name of what was to come out of it.
    let member = world.encoded("2.tar")[0].clone();
    world.damage("2.tar", &member);
    world.verify(&[&["3.tar"], &chain[..]].concat()).is(31).says("in `2.tar` does not match its digest");
    assert!(!world.path("no.tar").exists());
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let world = World::new();
    let args = [&["create", "new.tar"], SECOND, &["--base", "1.tar", "--compact", "--effort", "3"]].concat();
    for _ in 0..3 {
        let mut command = program::program(world.dir.path());
        command.args(&args).env("SOURCE_DATE_EPOCH", "1700000000").env("TMPDIR", world.dir.path());
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let work = world.path("new.tar.partial.work");
        let proved = || {
            fs::read_dir(&work)
                .map_or(0, |all| all.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "json")).count())
        };
        let before = proved();
        while proved() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    world.create("new.tar", &["--base", "1.tar", "--compact", "--effort", "3"]).is(0);
    world.create("other.tar", &["--base", "1.tar", "--compact", "--effort", "3"]).is(0);
    world.same("new.tar", "other.tar");
    assert!(!world.path("new.tar.partial.work").exists());
    world.verify(&["new.tar", "--base", "1.tar"]).is(0);
}

#[test]
fn what_a_run_with_a_damaged_base_gave_up_is_tried_again() {
    let world = World::new();
    fs::copy(world.path("1.tar"), world.path("base.tar")).unwrap();
    let layers =
        world.members("1.tar").into_iter().filter(|(path, _, size)| path.starts_with("blobs/") && *size > 4096);
    layers.for_each(|(layer, ..)| world.damage("base.tar", &layer));
    // The run ends after everything was tried: the layer that is carried as it is is damaged.
    let plain = world.members("2.tar").into_iter().find(|(path, _, size)| path.starts_with("blobs/") && *size > 4096);
    let layer = world.path("second").join(plain.unwrap().0);
    let good = fs::read(&layer).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&layer, bad).unwrap();
    world.create("new.tar", &["--base", "base.tar"]).is(31).says("of a base is not used");
    assert!(world.path("new.tar.partial.work").exists());
    fs::write(&layer, good).unwrap();
    world.create("new.tar", &["--base", "1.tar"]).is(0);
    world.same("new.tar", "2.tar");
}

#[test]
fn a_stream_is_verified_and_what_has_no_room_says_so() {
    let world = World::new();
    let verify = |args: &[&str]| {
        let mut command = program::program(world.dir.path());
        command.args(["verify", "-", "--signer", "builder.pub"]).args(args).env("TMPDIR", world.dir.path());
        command.stdin(fs::File::open(world.path("2.tar")).unwrap());
        program::ran(&mut command)
    };
    verify(&["--base", "1.tar"]).is(0);
    verify(&[]).is(42);
    let mut command = program::program(world.dir.path());
    let args = ["verify", "2.tar", "--signer", "builder.pub", "--base", "1.tar"];
    let ran = program::ran(command.args(args).env("TMPDIR", world.path("none")));
    assert!(ran.code != 0 && ran.err.contains("TMPDIR") || ran.out.contains("TMPDIR"), "{ran:?}");
}

/// MB-CAR-15: whoever can write beside the bundle can fill the folder of members before it is made.
#[test]
fn a_planted_folder_of_members_is_not_believed_and_not_written_through() {
    let world = World::new();
    // What a run leaves that was killed when the first member was made.
    let plant = |name: &str| {
        let mut child = {
            let args = [&["create", name], SECOND, &["--compact"]].concat();
            let mut command = program::program(world.dir.path());
            command.args(&args).env("SOURCE_DATE_EPOCH", "1700000000").env("TMPDIR", world.dir.path());
            command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
        };
        let work = world.path(&format!("{name}.partial.work"));
        let notes = || fs::read_dir(&work).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
        let whole = |path: &PathBuf| {
            path.extension().is_some_and(|end| end == "json")
                && fs::read(path).is_ok_and(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).is_ok())
        };
        let made = || notes().into_iter().find(whole);
        while made().is_none() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        (work.clone(), made().expect("killed in time"))
    };
    world.create("good.tar", &["--compact"]).is(0);
    // A note and a member that agree with each other, and give another blob: a member of other content, another level.
    for what in ["member", "level", "link", "pipe"] {
        let name = format!("{what}.tar");
        let (work, note) = plant(&name);
        let member = note.with_extension("member");
        let mut entry: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
        let victim = world.path("victim");
        fs::write(&victim, "precious").unwrap();
        match what {
            "member" => {
                let other = zstd::encode_all(&b"other content"[..], 3).unwrap();
                entry["entry"]["size"] = other.len().into();
                entry["entry"]["digest"] = Digest::of(&other).to_string().into();
                fs::write(&member, other).unwrap();
            }
            "level" => entry["entry"]["gzip"]["level"] = 1.into(),
            "link" => {
                fs::remove_file(&member).unwrap();
                std::os::unix::fs::symlink(&victim, &member).unwrap();
            }
            _ => {
                fs::remove_file(&member).unwrap();
                assert!(std::process::Command::new("mkfifo").arg(&member).status().unwrap().success());
            }
        }
        fs::write(&note, entry.to_string()).unwrap();
        world.create(&name, &["--compact"]).is(0);
        world.same(&name, "good.tar");
        assert!(!work.exists() && fs::read(&victim).unwrap() == b"precious", "{what}");
    }
    std::os::unix::fs::symlink(world.path("first"), world.path("other.tar.partial.work")).unwrap();
    world.create("other.tar", &["--compact"]).is(52).says("is not a folder");
}
