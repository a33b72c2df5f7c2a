//! Volumes and copies read as one bundle (MB-SET): with the program, on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::duplicate_mod)]

#[path = "support/program.rs"]
mod program;
#[cfg(feature = "registry")]
mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mirror_bundle::bundle::volume::{VOLUME, Volume};
use mirror_bundle::bundle::{Bundle, Index, Layout};
use program::Ran;

/// A signed bundle of six images and its four volumes, in `b.tar` and `volumes/`.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "sets", "-f"])
            .arg(world.path("key"))
            .status()
            .unwrap();
        assert!(made.success());
        world.layout("images", 6, "1");
        world
            .run(&["create", "b.tar", "--from-layout", "images", "--sign-key", "key", "--name", "n", "--sequence", "5"])
            .is(0);
        fs::create_dir(world.path("volumes")).unwrap();
        world.run(&["split", "b.tar", "volumes", "--volume-size", "330000"]).is(0);
        assert_eq!(world.volumes().len(), 4);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn layout(&self, name: &str, images: usize, kilobytes_hundreds: &str) {
        let made = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/make-layout.py"))
            .arg(self.path(name))
            .args([&images.to_string(), kilobytes_hundreds])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
    }

    fn volumes(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("volumes"))
            .unwrap()
            .map(|e| format!("volumes/{}", e.unwrap().file_name().to_str().unwrap()))
            .collect();
        names.sort();
        names
    }

    fn run(&self, args: &[&str]) -> Ran {
        program::ran(program::program(self.dir.path()).args(args))
    }

    fn verify(&self, inputs: &[&str]) -> Ran {
        self.run(&[&["verify", "--signer", "key.pub"], inputs].concat())
    }

    fn unpack(&self, inputs: &[&str]) -> Ran {
        self.run(&[&["unpack", "--signer", "key.pub"], inputs].concat())
    }

    fn copy(&self, from: &str, to: &str) -> PathBuf {
        fs::copy(self.path(from), self.path(to)).unwrap();
        self.path(to)
    }

    /// Where the largest blob of the bundle begins, and the second largest.
    fn large(&self) -> [u64; 2] {
        let bundle = Bundle::open(&self.path("b.tar")).unwrap();
        let head = bundle.head();
        let index = Index::parse(&head.index).unwrap();
        let layout = Layout::new(&index, &head.index, head.signature.as_deref()).unwrap();
        let mut blobs = layout.blobs().to_vec();
        blobs.sort_by_key(|m| std::cmp::Reverse(m.size));
        [blobs[0].data(), blobs[1].data()]
    }
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0u8];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// MB-SET.
#[test]
fn volumes_in_any_order_from_several_folders_are_the_bundle() {
    let world = World::new();
    let mut volumes = world.volumes();
    fs::create_dir(world.path("other")).unwrap();
    fs::rename(world.path(&volumes[1]), world.path("other/x")).unwrap();
    world.verify(&["other", "volumes"]).is(0).says("VERIFIED").says("4 of 4");
    volumes[1] = "other/x".to_owned();
    volumes.reverse();
    let named: Vec<&str> = volumes.iter().map(String::as_str).collect();
    world.verify(&named).is(0);
    world.unpack(&[&["--to-layout", "out"], &named[..]].concat()).is(0);
    world.unpack(&["--to-layout", "whole", "b.tar"]).is(0);
    let same = Command::new("diff").args(["-r", "out", "whole"]).current_dir(world.dir.path()).status().unwrap();
    assert!(same.success());
}

#[test]
fn a_missing_volume_is_named_with_the_images_that_need_it() {
    let world = World::new();
    let volumes = world.volumes();
    world
        .verify(&[&volumes[0], &volumes[2], &volumes[3]])
        .is(11)
        .says("volume 2 of 4 is not here")
        .says("registry.example.com/bench/image-");
    let none = world.unpack(&["--to-dir", "out", &volumes[0]]).is(11);
    assert!(none.err.contains("nothing was written"), "{}", none.err);
    assert!(!world.path("out").exists());
    world.verify(&["--partial", &volumes[1]]).is(42).says("NOT FULLY CHECKED").says("exception --partial");
}

/// The content repeated in each file is held in memory once for each: it is counted while files are opened.
#[test]
fn volumes_that_repeat_too_much_are_not_read_as_one_bundle() {
    let world = World::new();
    world.layout("many", 60, "1");
    world.run(&["create", "many.tar", "--from-layout", "many", "--sign-key", "key"]).is(0);
    fs::create_dir(world.path("copies")).unwrap();
    for n in 0..1700 {
        fs::hard_link(world.path("many.tar"), world.path(&format!("copies/{n}.tar"))).unwrap();
    }
    world.verify(&["copies"]).is(2).says("more than 200000 members together").says("--partial");
    world.run(&["join", "one.tar", "copies"]).is(2).says("more than 200000 members").says("nothing was written");
    assert!(!world.path("one.tar").exists());
}

/// Each volume can be unpacked alone, in any order; the last one writes manifests and tags.
#[test]
fn volumes_unpacked_one_after_another_end_as_the_whole_bundle() {
    let world = World::new();
    let volumes = world.volumes();
    for order in [[2, 0, 3, 1], [0, 1, 2, 3]] {
        for to in ["--to-dir", "--to-layout"] {
            let out = format!("out{}{}", order[0], &to[4..]);
            for (n, at) in order.into_iter().enumerate() {
                let ran = world.unpack(&["--partial", to, &out, &volumes[at]]);
                match n {
                    3 => _ = ran.is(0).says("unpacked"),
                    _ => _ = ran.is(42).says("no manifests and no tags were written"),
                }
            }
            let whole = format!("{out}-whole");
            world.unpack(&[to, &whole, "b.tar"]).is(0);
            let same = Command::new("diff").args(["-r", &out, &whole]).current_dir(world.dir.path()).status().unwrap();
            assert!(same.success(), "{out}");
        }
    }
}

/// The same with a real registry: no tag before the last volume, whichever that is.
#[test]
#[cfg(feature = "registry")]
fn volumes_pushed_one_after_another_to_a_registry_end_as_the_whole_bundle() {
    let world = World::new();
    let volumes = world.volumes();
    let registry = support::registry::Registry::start();
    for (n, order) in [[2, 0, 3, 1], [1, 3, 0, 2]].into_iter().enumerate() {
        let to = format!("{}/r{n}", registry.host());
        let push = |input: &str| {
            let host = registry.host();
            let args = ["--partial", "--to", &to, "--plain-http", &host, "--mirror-set", "none", input];
            world.unpack(&args)
        };
        for (nth, at) in order.into_iter().enumerate() {
            match nth {
                3 => _ = push(&volumes[at]).is(0).says("6 tags"),
                _ => _ = push(&volumes[at]).is(42).says("no manifests and no tags were written"),
            }
        }
        push("volumes").is(0).says("0 blobs");
    }
}

#[test]
fn two_copies_that_are_damaged_differently_make_a_whole_one() {
    let world = World::new();
    let large = world.large();
    flip(&world.copy("b.tar", "a.tar"), large[0] + 7);
    flip(&world.copy("b.tar", "c.tar"), large[1] + 7);
    world.verify(&["a.tar"]).is(31);
    world.verify(&["c.tar"]).is(31);
    world.verify(&["a.tar", "c.tar"]).is(0).says("does not match its digest").says("another copy has it");
    world.unpack(&["--to-layout", "out", "a.tar", "c.tar"]).is(0);
    world.unpack(&["--to-layout", "whole", "b.tar"]).is(0);
    let same = Command::new("diff").args(["-r", "out", "whole"]).current_dir(world.dir.path()).status().unwrap();
    assert!(same.success());
    // The same blob in both: nothing helps.
    flip(&world.path("c.tar"), large[0] + 9);
    world.verify(&["a.tar", "c.tar"]).is(31);
    world.unpack(&["--to-layout", "none", "a.tar", "c.tar"]).is(31);
}

#[test]
fn a_copy_with_a_damaged_head_or_cut_short_still_gives_its_blobs() {
    let world = World::new();
    let large = world.large();
    flip(&world.copy("b.tar", "c.tar"), large[0] + 7);
    for (name, at) in [("marker", 3), ("index", 1600), ("header", 1024 + 140)] {
        flip(&world.copy("b.tar", &format!("{name}.tar")), at);
        world.verify(&[&format!("{name}.tar"), "c.tar"]).is(0).says(&format!("`{name}.tar`"));
    }
    let cut = world.copy("b.tar", "cut.tar");
    let length = cut.metadata().unwrap().len();
    fs::OpenOptions::new().write(true).open(cut).unwrap().set_len(length - 600).unwrap();
    world.verify(&["cut.tar", "c.tar"]).is(0).says("truncated");
}

#[test]
fn a_damaged_volume_is_an_error_and_with_a_copy_of_it_a_remark() {
    let world = World::new();
    let volumes = world.volumes();
    world.copy(&volumes[1], "spare.tar");
    let length = world.path(&volumes[1]).metadata().unwrap().len();
    flip(&world.path(&volumes[1]), length - 5000);
    world.verify(&["volumes"]).is(31);
    world.verify(&["volumes", "spare.tar"]).is(0).says("has the same content as");
    // Data behind the end of the archive is not part of the bundle.
    let second = world.path("spare.tar");
    fs::OpenOptions::new().write(true).open(&second).unwrap().write_all_at(b"x", length).unwrap();
    fs::copy(&second, world.path(&volumes[1])).unwrap();
    world.verify(&["volumes"]).is(32);
}

#[test]
fn foreign_and_stale_volumes_are_named() {
    let world = World::new();
    let volumes = world.volumes();
    world.layout("others", 2, "1");
    let make = |name: &str, sequence: &str, to: &str| {
        world
            .run(&[
                "create",
                to,
                "--from-layout",
                "others",
                "--sign-key",
                "key",
                "--name",
                name,
                "--sequence",
                sequence,
            ])
            .is(0);
    };
    make("other", "9", "foreign.tar");
    make("n", "4", "stale.tar");
    world.verify(&["volumes", "foreign.tar"]).is(32).says("`foreign.tar` belongs to another bundle: other #9");
    world.verify(&["volumes", "stale.tar"]).is(32).says("`stale.tar` is of an older bundle: n #4, not n #5");
    // Not what was asked for, however much of it there is.
    let ran = world.verify(&["stale.tar", &volumes[0]]);
    assert!([11, 32].contains(&ran.code), "{}{}", ran.out, ran.err);
    world.unpack(&["--to-dir", "out", "volumes", "foreign.tar"]).is(32);
    assert!(!world.path("out").exists());
}

/// A changed description affects where blobs are searched, and nothing else.
#[test]
fn a_description_that_lies_makes_no_bundle_good() {
    let world = World::new();
    let volumes = world.volumes();
    let path = world.path(&volumes[0]);
    let bundle = Bundle::open(&path).unwrap();
    let head = bundle.head().clone();
    let description = String::from_utf8(head.volume.clone().unwrap()).unwrap();
    let at = position(&fs::read(&path).unwrap(), description.as_bytes());
    let change = |from: &str, to: &str| {
        let changed = description.replacen(from, to, 1);
        assert_eq!(changed.len(), description.len());
        assert_ne!(changed, description);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(changed.as_bytes(), at as u64).unwrap();
        world.verify(&["volumes"])
    };
    for (from, to) in [
        ("\"volume\":1", "\"volume\":2"),
        ("\"volume\":1", "\"volume\":9"),
        ("\"of\":4", "\"of\":3"),
        ("\"format\":1", "\"format\":7"),
        ("sha256:", "sha257:"),
        ("\"blobs\":[", "\"blobs\":{"),
    ] {
        let ran = change(from, to);
        assert!((10..43).contains(&ran.code), "{from} {to}: {}{}", ran.out, ran.err);
    }
    // Every number of a blob changed to every other.
    let mut volume = Volume::parse(description.as_bytes()).unwrap();
    for at_blob in 0..volume.blobs.len() {
        let right = volume.blobs[at_blob];
        for wrong in (0..=4).filter(|n| *n != right) {
            volume.blobs[at_blob] = wrong;
            let bytes = volume.to_bytes().unwrap();
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&bytes, at as u64).unwrap();
            let index = Index::parse(&head.index).unwrap();
            let opened = Bundle::open(&path).unwrap().contents(index.into());
            assert!(opened.is_err(), "{VOLUME}: blob {at_blob} on {wrong}");
        }
        volume.blobs[at_blob] = right;
    }
}

fn position(all: &[u8], what: &[u8]) -> usize {
    all.windows(what.len()).position(|w| w == what).unwrap()
}

#[test]
fn a_countersignature_goes_on_every_volume() {
    let world = World::new();
    let volumes = world.volumes();
    let policy = |role: &str| {
        let key = fs::read_to_string(world.path("key.pub")).unwrap();
        format!("  - {{name: {role}, roles: [builder, reviewer], key: \"{}\"}}\n", key.trim())
    };
    let policy = format!(
        "signers:\n{}require:\n  - {{role: builder, threshold: 1}}\n  - {{role: reviewer, threshold: 1}}\n",
        policy("both")
    );
    fs::write(world.path("trust.yaml"), policy).unwrap();
    world.run(&["verify", "volumes", "--trust", "trust.yaml"]).is(22);
    world.run(&["sign", "volumes", "--trust", "trust.yaml", "--sign-key", "key", "--role", "reviewer"]).is(0);
    for volume in &volumes {
        world.run(&["verify", "--partial", volume, "--trust", "trust.yaml"]).is(42).says("1 of 1 required as reviewer");
    }
    let before: Vec<_> = volumes.iter().map(|v| fs::read(world.path(v)).unwrap()).collect();
    world.run(&["sign", "volumes", "--trust", "trust.yaml", "--sign-key", "key", "--role", "reviewer"]).is(0);
    assert_eq!(before, volumes.iter().map(|v| fs::read(world.path(v)).unwrap()).collect::<Vec<_>>());
    // One volume lost its copy of the signature half-way.
    let torn = world.path(&volumes[2]);
    let length = torn.metadata().unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&torn).unwrap();
    let end = before[2].len() as u64 - length;
    assert_eq!(end, 0);
    let header = position(&before[2], b"mirror-bundle/addenda/") as u64;
    file.write_all_at(&[0; 512], header).unwrap();
    world.run(&["sign", "volumes", "--trust", "trust.yaml", "--sign-key", "key", "--role", "reviewer"]).is(0);
    assert_eq!(before, volumes.iter().map(|v| fs::read(world.path(v)).unwrap()).collect::<Vec<_>>());
}

/// Each division has some volumes, and none is complete: the missing volumes are named for the division that is
/// closest to complete.
#[test]
fn of_volumes_of_two_divisions_the_missing_volume_is_named() {
    let world = World::new();
    fs::create_dir(world.path("other")).unwrap();
    world.run(&["split", "b.tar", "other", "--volume-size", "500000"]).is(0);
    let mut others: Vec<PathBuf> = fs::read_dir(world.path("other")).unwrap().map(|e| e.unwrap().path()).collect();
    others.sort();
    assert!(others.len() > 1 && others.len() < 4, "{others:?}");
    let (ours, theirs) = (&world.volumes()[0], others[0].to_str().unwrap());
    for inputs in [[ours.as_str(), theirs], [theirs, ours.as_str()]] {
        let text = format!("of {} is not here, of those that `{theirs}` belongs to", others.len());
        world.verify(&inputs).is(11).says(&text);
        let partial = [&inputs[..], &["--partial"]].concat();
        world.verify(&partial).is(42).says(&text);
        world.unpack(&[&inputs[..], &["--partial", "--to-layout", "out"]].concat()).is(42).says(&text);
        assert!(!world.path("out/index.json").exists());
        let join = [&["join", "joined.tar"], &inputs[..]].concat();
        world.run(&join).is(11).says("not here");
    }
}

#[test]
fn a_volume_that_cannot_be_placed_is_named_and_a_whole_copy_is_enough() {
    let world = World::new();
    fs::create_dir(world.path("m")).unwrap();
    let spoil = |from: &str, to: &str| {
        let mut bytes = fs::read(world.path(from)).unwrap();
        let at = bytes.windows(9).position(|w| w == b"\"volume\":").unwrap();
        bytes[at + 6] = b'x';
        fs::write(world.path(to), bytes).unwrap();
    };
    spoil(&world.volumes()[1], "m/a.tar");
    world.verify(&["m"]).is(12).says("`m/a.tar`");
    world.copy("b.tar", "m/z.tar");
    world.verify(&["m"]).is(0).says("VERIFIED").says("`m/a.tar`");
    world.unpack(&["m", "--to-layout", "out"]).is(0).says("`m/a.tar`");
    // Among the other volumes it is recognised, and nothing replaces it.
    let all = world.volumes();
    fs::remove_file(world.path("m/z.tar")).unwrap();
    for (at, volume) in all.iter().enumerate().filter(|(at, _)| *at != 1) {
        world.copy(volume, &format!("m/v{at}.tar"));
    }
    world.verify(&["m"]).is(12).says("`m/a.tar`");
    // All of them do.
    world.copy(&all[1], "m/v1.tar");
    world.verify(&["m"]).is(0).says("`m/a.tar`");
}

#[test]
fn volumes_that_lack_a_signature_which_others_have_are_named() {
    let world = World::new();
    let volumes = world.volumes();
    let all: Vec<&str> = volumes.iter().map(String::as_str).collect();
    let before = fs::read(world.path(all[1])).unwrap();
    world.run(&[&["sign", "--signer", "key.pub", "--sign-key", "key", "--role", "reviewer"], &all[..]].concat()).is(0);
    let whole = world.verify(&all).is(0);
    assert!(!whole.err.contains("files only"), "{}", whole.err);
    fs::write(world.path(all[1]), before).unwrap();
    world.verify(&all).is(0).says("is in 3 of 4 files only").says(&format!("not in `{}`", all[1]));
}
