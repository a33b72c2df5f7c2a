//! Hosts that an attacker prepared in advance: C3, C4, C11, C12, G5, I2, I3.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use mirror_bundle::oci::Digest;

use crate::lab::{Lab, files};

/// The text of a file that must not be overwritten.
const VICTIM: &str = "mine";

/// A lab whose bundle `m.tar` also carries manifests, and a victim outside.
fn lab() -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("yaml")).unwrap();
    fs::write(lab.path("yaml/a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n").unwrap();
    lab.run(&[
        "create",
        "m.tar",
        "--from-layout",
        "layout",
        "--manifests",
        "yaml",
        "--sign-key",
        "key",
        "--name",
        "m",
        "--sequence",
        "1",
    ])
    .ends(&[0]);
    fs::create_dir(lab.path("outside")).unwrap();
    fs::write(lab.path("victim"), VICTIM).unwrap();
    lab
}

fn untouched(lab: &Lab) {
    assert_eq!(fs::read_to_string(lab.path("victim")).unwrap(), VICTIM);
    assert_eq!(fs::metadata(lab.path("victim")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(lab.path("outside")).unwrap().count(), 0);
}

fn plant(lab: &Lab, out: &str, name: &str, to: &str) {
    fs::set_permissions(lab.path("victim"), fs::Permissions::from_mode(0o600)).unwrap();
    let path = lab.path(out).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(lab.path(to), path).unwrap();
}

fn unpack(lab: &Lab, kind: &str, out: &str) -> crate::lab::Ran {
    let _ = fs::remove_dir_all(lab.path("state"));
    lab.run(&["unpack", "m.tar", "--signer", "key.pub", kind, out])
}

/// The temporary name of a blob, as documented in `src/fs/partial.rs`.
fn temporary(digest: &Digest) -> String {
    format!(".mirror-bundle-{}.partial", &digest.hex()[..32])
}

/// C3, C4: a link planted at any level of any destination is not followed.
#[test]
fn links_planted_in_a_destination_lead_nowhere() {
    let lab = lab();
    let layer = lab.layers[0];
    let inspected = lab.run(&["inspect", "m.tar"]);
    let own = format!("manifests/m-{}", &inspected.out.split_once("sha256:").unwrap().1[..8]);
    let own_file = format!("{own}/a.yaml");
    let tree = [
        ("v2", "outside"),
        ("v2/src", "outside"),
        ("v2/src/app", "outside"),
        ("v2/src/app/blobs", "outside"),
        ("v2/src/app/manifests", "outside"),
        ("manifests", "outside"),
        ("manifests/a.yaml", "victim"),
        ("manifests/evil.yaml", "victim"),
        ("manifests/other-01234567", "outside"),
        (&own, "outside"),
        (&own_file, "victim"),
    ];
    let blob = format!("v2/src/app/blobs/{layer}");
    let manifest = format!("v2/src/app/manifests/{}", lab.index);
    let layout =
        [("blobs", "outside"), ("blobs/sha256", "outside"), ("index.json", "victim"), ("oci-layout", "victim")];
    let inner = format!("blobs/sha256/{}", layer.hex());
    let cases = tree.iter().map(|c| ("--to-dir", c.0, c.1)).chain(layout.iter().map(|c| ("--to-layout", c.0, c.1)));
    let more = [("--to-dir", &*blob, "victim"), ("--to-dir", &*manifest, "victim"), ("--to-layout", &*inner, "victim")];
    for (n, (kind, name, to)) in cases.chain(more).enumerate() {
        let out = format!("out{n}");
        plant(&lab, &out, name, to);
        if kind == "--to-layout" && name != "oci-layout" {
            fs::write(lab.path(&out).join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        }
        let ran = unpack(&lab, kind, &out);
        eprintln!("{kind} {name}: {} {}", ran.code, ran.err);
        ran.ends(&[52]);
        untouched(&lab);
    }
    // A tag that points elsewhere is replaced, and its old target stays.
    plant(&lab, "tag", "v2/src/app/manifests/v1", "victim");
    unpack(&lab, "--to-dir", "tag").ends(&[0]);
    assert_eq!(fs::read_link(lab.path("tag/v2/src/app/manifests/v1")).unwrap(), Path::new(&lab.index.to_string()));
    untouched(&lab);
}

/// C3, I2: the default folder for manifests is named after the bundle: a link in its place is not followed.
#[test]
fn the_folder_for_manifests_is_not_taken_from_a_link() {
    let lab = lab();
    let inspected = lab.run(&["inspect", "m.tar"]);
    let (_, digest) = inspected.out.split_once("sha256:").unwrap();
    plant(&lab, ".", &format!("m-{}-manifests", &digest[..8]), "outside");
    let registry = crate::support::registry::Registry::start();
    let (host, to) = (registry.host(), format!("{}/in", registry.host()));
    let args = ["unpack", "m.tar", "--signer", "key.pub", "--to", &to, "--plain-http", &host, "--mirror-set", "none"];
    lab.run(&args).ends(&[52]).says("nothing was written");
    untouched(&lab);
    assert_eq!(lab.tag(&host), None);
}

/// G5: a folder with other content is refused.
#[test]
fn a_planted_manifest_stops_the_unpacking() {
    let lab = lab();
    fs::create_dir_all(lab.path("out/manifests")).unwrap();
    fs::write(lab.path("out/manifests/evil.yaml"), "kind: ClusterRoleBinding\n").unwrap();
    unpack(&lab, "--to-dir", "out").ends(&[52]).says("the folder holds another file");
    assert!(!lab.path("out/v2").exists(), "nothing was written");
    // Nor is a folder that no bundle has.
    fs::remove_file(lab.path("out/manifests/evil.yaml")).unwrap();
    fs::create_dir(lab.path("out/manifests/app")).unwrap();
    unpack(&lab, "--to-dir", "out").ends(&[52]).says("the folder holds another file");
    assert!(!lab.path("out/v2").exists(), "nothing was written");
    // One that looks like that of another bundle is counted, and not in what is to be applied.
    fs::rename(lab.path("out/manifests/app"), lab.path("out/manifests/app-01234567")).unwrap();
    let ran = unpack(&lab, "--to-dir", "out");
    ran.ends(&[0]).says("beside 1 folder of other bundles").says("oc apply -Rf out/manifests/m-");
}

/// I2, C12: planted links with temporary names are removed and not written through; folders with such names are an
/// error. Nothing is removed that this program did not create.
#[test]
fn temporary_names_that_are_there_are_not_written_through() {
    let lab = lab();
    let layer = lab.layers[0];
    for (n, (kind, folder)) in
        [("--to-dir", "v2/src/app/blobs"), ("--to-layout", "blobs/sha256")].into_iter().enumerate()
    {
        let out = format!("link{n}");
        plant(&lab, &out, &format!("{folder}/{}", temporary(&layer)), "victim");
        if kind == "--to-layout" {
            fs::write(lab.path(&out).join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        }
        fs::write(lab.path(&out).join(folder).join("mine.txt"), VICTIM).unwrap();
        unpack(&lab, kind, &out).ends(&[0]);
        untouched(&lab);
        assert!(lab.path(&out).join(folder).join("mine.txt").exists());
        let left: Vec<_> =
            files(&lab.path(&out)).into_iter().filter(|p| p.display().to_string().contains(".partial")).collect();
        assert!(left.is_empty(), "{left:?}");

        let out = format!("folder{n}");
        fs::create_dir_all(lab.path(&out).join(folder).join(temporary(&layer)).join("precious")).unwrap();
        if kind == "--to-layout" {
            fs::write(lab.path(&out).join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        }
        unpack(&lab, kind, &out).ends(&[52]);
        assert!(lab.path(&out).join(folder).join(temporary(&layer)).join("precious").exists());
    }
}

/// I2: `create` writes through no hard or symbolic link, and into no FIFO with its names.
#[test]
fn a_bundle_is_not_written_through_a_planted_name() {
    let lab = lab();
    let create = |more: &[&str]| {
        let base = ["create", "c.tar", "--from-layout", "layout", "--sign-key", "key", "--name", "c"];
        lab.run(&[&base, more].concat())
    };
    for name in ["c.tar.partial", "c.tar.partial.journal", "c.tar.partial.journal.new", "c.tar"] {
        for kind in ["link", "hard", "fifo", "dangling"] {
            let path = lab.path(name);
            match kind {
                "link" => plant(&lab, ".", name, "victim"),
                "hard" => fs::hard_link(lab.path("victim"), &path).unwrap(),
                "dangling" => plant(&lab, ".", name, "outside/new"),
                _ => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
            }
            let ran = create(&[]);
            eprintln!("{name} {kind}: {} {}", ran.code, ran.err);
            // A file that is renamed over or removed is not written through.
            ran.ends(&[0, 3, 52]);
            untouched(&lab);
            for left in ["c.tar.partial", "c.tar.partial.journal", "c.tar.partial.journal.new", "c.tar"] {
                let _ = fs::remove_file(lab.path(left));
            }
        }
    }
    // With --force the link itself is replaced.
    plant(&lab, ".", "c.tar", "victim");
    create(&["--force"]).ends(&[0]);
    untouched(&lab);
    assert!(fs::symlink_metadata(lab.path("c.tar")).unwrap().is_file());
}

/// I3: two runs on one folder: each succeeds or reports that another is running, and the result is complete.
#[test]
fn two_unpackers_at_once_do_no_harm() {
    let lab = lab();
    for (round, kind) in ["--to-dir", "--to-layout", "--to-dir", "--to-layout"].into_iter().enumerate() {
        let out = format!("both{round}");
        let args = ["unpack", "m.tar", "--signer", "key.pub", kind, &out];
        let running: Vec<_> = (0..4).map(|_| lab.spawn(&args)).collect();
        let codes: Vec<_> = running.into_iter().map(|r| r.wait().ends(&[0, 52]).code).collect();
        eprintln!("{kind} {codes:?}");
        unpack(&lab, kind, &out).ends(&[0]);
        whole(&lab, &out);
    }
    // Two runs that write the same bundle.
    let args = ["create", "c.tar", "--from-layout", "layout", "--sign-key", "key", "--name", "c", "--sequence", "1"];
    let running: Vec<_> = (0..4).map(|_| lab.spawn(&args)).collect();
    let codes: Vec<_> = running.into_iter().map(|r| r.wait().ends(&[0, 52]).code).collect();
    assert!(codes.contains(&0), "{codes:?}");
    lab.run(&["verify", "c.tar", "--signer", "key.pub"]).ends(&[0]);
}

/// I3: a killed lock holder blocks no other run.
#[test]
fn a_killed_run_leaves_no_lock() {
    let lab = lab();
    for (n, pause) in [3, 8, 15, 25, 40].into_iter().enumerate() {
        for kind in ["--to-dir", "--to-layout"] {
            let out = format!("killed{n}{kind}");
            let mut command = lab.command(&["unpack", "m.tar", "--signer", "key.pub", kind, &out]);
            let mut child =
                command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(pause));
            let _ = child.kill();
            let _ = child.wait();
            unpack(&lab, kind, &out).ends(&[0]);
            whole(&lab, &out);
        }
    }
}

/// Every blob in the folder matches its name, and no temporary file is left.
fn whole(lab: &Lab, out: &str) {
    let mut blobs = 0;
    for path in files(&lab.path(out)) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.starts_with(".mirror-bundle-"), "{}", path.display());
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if hex.len() == 64 && !fs::symlink_metadata(&path).unwrap().is_symlink() {
            assert_eq!(Digest::of(&fs::read(&path).unwrap()).hex(), hex);
            blobs += 1;
        }
    }
    assert!(blobs >= 10, "{blobs}");
}

/// C11: no created file is world-writable, whatever the umask and the bundle.
#[test]
fn modes_come_from_the_umask_alone() {
    let lab = lab();
    for mask in [0o000, 0o022, 0o077] {
        let masked = format!("umask {mask:03o}; exec \"$@\"");
        let run = |args: &[&str]| lab.wrapped(&["/usr/bin/time", "sh", "-c", &masked, "sh"], args).wait();
        let _ = fs::remove_dir_all(lab.path("state"));
        let (dir, layout, bundle) = (format!("d{mask:o}"), format!("l{mask:o}"), format!("c{mask:o}.tar"));
        run(&["create", &bundle, "--from-layout", "layout", "--sign-key", "key"]).ends(&[0]);
        run(&["unpack", "m.tar", "--signer", "key.pub", "--to-dir", &dir]).ends(&[0]);
        run(&["unpack", "m.tar", "--signer", "key.pub", "--to-layout", &layout]).ends(&[0]);
        let made = [&*dir, &layout, &bundle, "state"];
        for entry in made.iter().flat_map(|name| walkdir::WalkDir::new(lab.path(name)).into_iter().flatten()) {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            let expected = if entry.file_type().is_dir() { 0o755 & !mask } else { 0o644 & !mask };
            let private = entry.path().starts_with(lab.path("state")) && mode & 0o077 == 0;
            assert!(
                entry.file_type().is_symlink() || mode == expected || private,
                "{:o} {}",
                mode,
                entry.path().display()
            );
        }
    }
}
