//! File systems of removable media (security section 4, F9): real ones, created for the test and mounted.
//!
//! Mounting needs root and loop devices or FUSE. Without them a test reports it and ends. The kernel's own vfat,
//! exfat, ntfs3 and isofs are not tested here (their FUSE drivers are).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "support/program.rs"]
mod program;
#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skip::skip;

/// A signed bundle and what it is made of, on this host's own disk.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "m", "-f"]).arg(world.path("key")));
        run(Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/make-layout.py"))
            .arg(world.path("images"))
            .args(["6", "1"]));
        fs::create_dir(world.path("mnt")).unwrap();
        world.ok(&["create", "b.tar", "--from-layout", "images", "--sign-key", "key", "--name", "n"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program; returns its exit code and all output.
    fn program(&self, args: &[&str]) -> (i32, String) {
        let out = program::program(self.dir.path()).args(args).env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        let output = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&output).into_owned())
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) {
        let (code, output) = self.program(args);
        assert_eq!(code, 0, "{args:?}\n{output}");
    }

    #[track_caller]
    fn ends(&self, code: i32, text: &str, args: &[&str]) {
        let ended = self.program(args);
        assert!(ended.0 == code && ended.1.contains(text), "{args:?}: {}\n{}", ended.0, ended.1);
    }

    /// Creates a file system in a file of this many MiB and mounts it at `mnt`; `None`, and a note, if that is
    /// impossible.
    fn mount(&self, kind: &str, mebibytes: u64) -> Option<Mount> {
        let image = self.path("image");
        fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let make: &[&str] = match kind {
            "exfat" => &["mkfs.exfat"],
            "ntfs" => &["mkfs.ntfs", "-F", "-q", "-Q"],
            other => &[&format!("mkfs.{other}"), "-q"],
        };
        self.tool(Command::new(make[0]).args(&make[1..]).arg(&image), kind)?;
        self.attach(kind, "rw")
    }

    /// Mounts what `image` holds.
    fn attach(&self, kind: &str, options: &str) -> Option<Mount> {
        let (image, at) = (self.path("image"), self.path("mnt"));
        let mut device = None;
        let mut command = match kind {
            "exfat" => {
                let found = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().ok()?;
                let name = String::from_utf8(found.stdout).unwrap().trim().to_owned();
                if name.is_empty() {
                    skip(&format!("no loop device; {kind} is not tested"));
                    return None;
                }
                let mut command = Command::new("mount.exfat-fuse");
                command.args(["-o", options, &name]);
                device = Some(name);
                command
            }
            "ntfs" => {
                let mut command = Command::new("ntfs-3g");
                command.args(["-o", &format!("windows_names,{options}")]).arg(&image);
                command
            }
            "iso" => {
                let mut command = Command::new("fuseiso");
                command.arg(&image);
                command
            }
            _ => {
                let mut command = Command::new("mount");
                command.args(["-o", &format!("loop,{options}")]).arg(&image);
                command
            }
        };
        let mount = Mount { at: at.clone(), device };
        self.tool(command.arg(&at), kind)?;
        Some(mount)
    }

    fn tool(&self, command: &mut Command, kind: &str) -> Option<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        match command.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null()).output() {
            Ok(out) if out.status.success() => Some(()),
            Ok(out) => {
                let output = String::from_utf8_lossy(&out.stderr).into_owned();
                skip(&format!("{name} does not work, so {kind} is not tested: {output}"));
                None
            }
            Err(e) => {
                skip(&format!("{name}: {e}; {kind} is not tested"));
                None
            }
        }
    }
}

/// Unmounted when dropped.
struct Mount {
    at: PathBuf,
    device: Option<String>,
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).stderr(Stdio::null()).status();
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").args(["-d", device]).stderr(Stdio::null()).status();
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let out = command.stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A bundle is written, divided, signed and unpacked on the medium; carried; and read from a read-only mount.
fn round_trip(kind: &str) {
    let world = World::new();
    let Some(mount) = world.mount(kind, if kind == "btrfs" { 128 } else { 64 }) else { return };
    world.ok(&["create", "mnt/b.tar", "--from-layout", "images", "--sign-key", "key", "--name", "n"]);
    fs::create_dir(world.path("mnt/volumes")).unwrap();
    world.ok(&["split", "mnt/b.tar", "mnt/volumes", "--volume-size", "330000"]);
    let volumes = names(&world.path("mnt/volumes"));
    assert_eq!(volumes.len(), 4);
    world.ok(&["unpack", "mnt/b.tar", "--signer", "key.pub", "--to-layout", "mnt/layout"]);
    match kind {
        "exfat" | "ntfs" => {
            let args = ["unpack", "mnt/b.tar", "--signer", "key.pub", "--to-dir", "mnt/tree"];
            world.ends(3, "--to-layout DIR", &args);
            assert!(!world.path("mnt/tree").exists());
        }
        _ => world.ok(&["unpack", "mnt/b.tar", "--signer", "key.pub", "--to-dir", "mnt/tree"]),
    }
    assert!(
        fs::read(world.path("mnt/b.tar")).unwrap() == fs::read(world.path("b.tar")).unwrap(),
        "the same bytes anywhere"
    );
    world.ok(&["sign", "mnt/b.tar", "--signer", "key.pub", "--sign-key", "key", "--role", "reviewer"]);
    drop(mount);

    let Some(mount) = world.attach(kind, "ro,noexec,nosuid,nodev") else { panic!("{kind} cannot be mounted again") };
    assert_eq!(names(&world.path("mnt/volumes")), volumes);
    world.ok(&["verify", "mnt/b.tar", "--signer", "key.pub"]);
    world.ok(&["verify", "mnt/volumes", "--signer", "key.pub"]);
    world.ok(&["inspect", "mnt/volumes"]);
    // The reviewer's desk needs nothing from the medium but its bytes.
    for bundle in ["mnt/b.tar", "mnt/volumes"] {
        // Some layers of these images are noise: what can be listed is listed.
        world.ends(12, "NOT COMPLETE", &["ls", bundle, "--files", "--signer", "key.pub"]);
        world.ok(&["cat", bundle, "oci-layout"]);
        world.ok(&["diff", bundle, "b.tar"]);
    }
    world.ok(&["unpack", "mnt/volumes", "--signer", "key.pub", "--to-dir", "here"]);
    let args = ["sign", "mnt/b.tar", "--signer", "key.pub", "--sign-key", "key", "--role", "receiver"];
    world.ends(3, "--detach", &args);
    drop(mount);
}

#[test]
fn a_bundle_survives_exfat() {
    round_trip("exfat");
}

#[test]
fn a_bundle_survives_ntfs_with_the_names_of_windows() {
    round_trip("ntfs");
}

#[test]
fn a_bundle_survives_ext4() {
    round_trip("ext4");
}

/// FAT32 with mtools: every name that is written there comes back as it was.
#[test]
fn volumes_and_layouts_keep_their_names_on_fat32() {
    let world = World::new();
    let image = world.path("image");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    if world.tool(Command::new("mkfs.vfat").args(["-F", "32"]).arg(&image), "vfat").is_none() {
        return;
    }
    fs::create_dir_all(world.path("medium/volumes")).unwrap();
    world.ok(&["split", "b.tar", "medium/volumes", "--volume-size", "330000"]);
    world.ok(&["unpack", "b.tar", "--signer", "key.pub", "--to-layout", "medium/layout"]);
    world.ok(&["sign", "b.tar", "--signer", "key.pub", "--sign-key", "key", "--role", "reviewer", "--detach"]);
    for name in names(world.dir.path()).iter().filter(|n| n.starts_with("b.tar")) {
        fs::copy(world.path(name), world.path("medium").join(name)).unwrap();
    }
    let copy = |from: &str, to: &str| {
        let mut command = Command::new("mcopy");
        command.env("MTOOLS_SKIP_CHECK", "1").current_dir(world.dir.path()).args(["-i", "image", "-s", "-n", from, to]);
        world.tool(&mut command, "vfat")
    };
    if copy("medium", "::").is_none() {
        return;
    }
    copy("::medium", "back").expect("mcopy has just worked");
    let same = Command::new("diff").args(["-r", "medium", "back"]).current_dir(world.dir.path()).status().unwrap();
    assert!(same.success());
    world.ok(&["verify", "back/volumes", "--signer", "key.pub"]);
    world.ok(&["verify", "back/b.tar", "--signer", "key.pub"]);
}

/// ISO 9660 with Joliet, which keeps 64 characters of a name: read back by a driver that shows those names.
#[test]
fn volumes_on_an_iso_image_with_joliet_are_verified_where_nothing_can_be_written() {
    let world = World::new();
    fs::create_dir_all(world.path("medium/volumes")).unwrap();
    world.ok(&["split", "b.tar", "medium/volumes", "--volume-size", "330000"]);
    world.ok(&["unpack", "b.tar", "--signer", "key.pub", "--to-layout", "medium/layout"]);
    let mut burn = Command::new("xorriso");
    burn.args(["-as", "mkisofs", "-quiet", "-J", "-o"]).arg(world.path("image")).arg(world.path("medium"));
    if world.tool(&mut burn, "iso").is_none() {
        return;
    }
    let Some(mount) = world.attach("iso", "ro") else { return };
    assert_eq!(names(&world.path("mnt/volumes")), names(&world.path("medium/volumes")));
    assert_eq!(names(&world.path("mnt/layout/blobs/sha256")), names(&world.path("medium/layout/blobs/sha256")));
    world.ok(&["verify", "mnt/volumes", "--signer", "key.pub"]);
    world.ok(&["unpack", "mnt/volumes", "--signer", "key.pub", "--to-layout", "here"]);
    world.ok(&["create", "again.tar", "--from-layout", "mnt/layout", "--sign-key", "key", "--name", "n"]);
    let args = ["sign", "mnt/volumes", "--signer", "key.pub", "--sign-key", "key", "--role", "receiver"];
    world.ends(3, "--detach", &args);
    drop(mount);
}

/// A file of 4 GiB or more for a medium that cannot hold one is refused before anything is read or written.
#[test]
fn a_disk_that_is_too_small_is_reported_before_the_first_byte() {
    let world = World::new();
    let Some(mount) = world.mount("ext4", 1) else { return };
    let args = ["create", "mnt/b.tar", "--from-layout", "images", "--sign-key", "key", "--name", "n"];
    world.ends(3, "not enough room", &args);
    world.ends(3, "not enough room", &["unpack", "b.tar", "--signer", "key.pub", "--to-layout", "mnt/out"]);
    world.ends(3, "not enough room", &["unpack", "b.tar", "--signer", "key.pub", "--to-dir", "mnt/out"]);
    world.ends(3, "not enough room", &["split", "b.tar", "mnt", "--volume-size", "330000"]);
    assert_eq!(names(&world.path("mnt")), ["lost+found"]);
    drop(mount);
}
