//! Media that change during a read, and media with special files: I1, I5, C2, C10.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mirror_bundle::oci::Digest;

use crate::lab::Lab;
use crate::support::program::PROGRAM;
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::Registry;

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Waits until the proxy has seen such a request.
fn until(proxy: &Proxy, method: &str, path: &str) {
    let since = Instant::now();
    while proxy.count(method, path) == 0 {
        assert!(since.elapsed() < Duration::from_secs(120), "it hangs: no {method} {path}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The offset of a blob's content in the bundle.
fn offset(lab: &Lab, digest: &Digest) -> u64 {
    let (bytes, path) = (fs::read(lab.path("b.tar")).unwrap(), format!("blobs/sha256/{}", digest.hex()));
    let blocks = bytes.chunks(512).position(|block| block.starts_with(path.as_bytes()));
    blocks.unwrap() as u64 * 512 + 512
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// I1: content that changes after the head was verified and before it is sent is detected while it is sent; no tag is
/// set.
#[test]
fn a_blob_changed_while_another_is_sent_is_caught() {
    let lab = Lab::new();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let at = offset(&lab, &lab.layers[1]) + 5000;
    proxy.on("POST", "blobs/uploads/", 1, Fault::Hold(400));
    let running = lab.start_unpack(&proxy.host(), &["-j", "1"]);
    until(&proxy, "POST", "blobs/uploads/");
    flip(&lab.path("b.tar"), at);
    running.wait().ends(&[31]);
    assert_eq!(lab.tag(&registry.host()), None);
    flip(&lab.path("b.tar"), at);
    lab.unpack(&registry.host(), &[]).ends(&[0]);
    lab.is_whole(&registry.host());
}

/// I1: a medium returns other bytes at the second read, after the transfer broke off.
#[test]
fn a_blob_that_reads_differently_the_second_time_is_caught() {
    let lab = Lab::new();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let at = offset(&lab, &lab.layers[0]) + 10;
    let put = format!("digest=sha256%3A{}", lab.layers[0].hex());
    proxy.on("PUT", put.clone(), 1, Fault::CutRequest(200_000)).on("POST", "blobs/uploads/", 1, Fault::Pass);
    proxy.on("GET", "blobs/uploads/", 1, Fault::Hold(300));
    let running = lab.start_unpack(&proxy.host(), &["-j", "1", "--timeout", "5", "--retries", "2"]);
    until(&proxy, "PUT", &put);
    std::thread::sleep(Duration::from_millis(50));
    flip(&lab.path("b.tar"), at);
    running.wait().ends(&[31]);
    assert_eq!(lab.tag(&registry.host()), None);
}

/// I1: documents are read once. The pushed content is the verified content, whatever the medium returns later; a file
/// that replaces the bundle is ignored.
#[test]
fn documents_and_names_that_change_later_change_nothing() {
    let lab = Lab::new();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let at = offset(&lab, &lab.manifests[0]) + 30;
    proxy.on("POST", "blobs/uploads/", 1, Fault::Hold(400));
    let running = lab.start_unpack(&proxy.host(), &["-j", "1"]);
    until(&proxy, "POST", "blobs/uploads/");
    flip(&lab.path("b.tar"), at);
    fs::rename(lab.path("b.tar"), lab.path("old.tar")).unwrap();
    fs::write(lab.path("b.tar"), "another file").unwrap();
    running.wait().ends(&[0]);
    lab.is_whole(&registry.host());
}

/// I1, C2: a bundle is truncated while it is read.
#[test]
fn a_bundle_cut_off_while_it_is_read_leaves_no_tag() {
    let lab = Lab::new();
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let at = offset(&lab, &lab.layers[0]) + 1000;
    proxy.on("POST", "blobs/uploads/", 1, Fault::Hold(400));
    let running = lab.start_unpack(&proxy.host(), &["-j", "1"]);
    until(&proxy, "POST", "blobs/uploads/");
    OpenOptions::new().write(true).open(lab.path("b.tar")).unwrap().set_len(at).unwrap();
    running.wait().ends(&[11, 31]);
    assert_eq!(lab.tag(&registry.host()), None);
}

/// I1: a stream that stops or changes in the middle: the same, although it cannot be read again.
#[test]
fn a_stream_that_is_cut_or_changed_leaves_no_tag() {
    let lab = Lab::new();
    let whole = fs::read(lab.path("b.tar")).unwrap();
    let mut changed = whole.clone();
    changed[offset(&lab, &lab.layers[0]) as usize + 100_000] ^= 0x80;
    for (bytes, codes) in [(&whole[..whole.len() - 2000], &[11][..]), (&changed[..], &[31]), (&whole[..], &[0])] {
        let registry = Registry::start();
        let to = format!("{}/in", registry.host());
        let mut command = lab.command(&["unpack", "-", "--signer", "key.pub", "--to", &to, "--mirror-set", "none"]);
        command.args(["--plain-http", &registry.host()]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(bytes);
        let out = child.wait_with_output().unwrap();
        let code = out.status.code().unwrap();
        assert!(codes.contains(&code), "{codes:?} {code} {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(lab.tag(&registry.host()).is_some(), code == 0);
    }
}

/// C10: special files are neither read nor waited for.
#[test]
fn fifos_devices_and_folders_in_place_of_a_bundle_are_refused() {
    let lab = Lab::new();
    fifo(&lab.path("fifo"));
    symlink("/dev/zero", lab.path("device")).unwrap();
    symlink("fifo", lab.path("link")).unwrap();
    fs::create_dir(lab.path("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lab.path("socket")).unwrap();
    for name in ["fifo", "device", "link", "folder", "socket", "/dev/zero", "/dev/null", "missing"] {
        for verb in ["verify", "unpack", "inspect", "ls", "sign"] {
            let mut args = vec![verb, name];
            match verb {
                "verify" => args.extend(["--signer", "key.pub"]),
                "unpack" => args.extend(["--signer", "key.pub", "--to-dir", "out"]),
                "sign" => args.extend(["--signer", "key.pub", "--sign-key", "key", "--role", "reviewer"]),
                _ => {}
            }
            let ran = lab.run(&args);
            ran.ends(&[2, 3, 10]);
            assert!(!lab.path("out").exists());
        }
    }
}

/// C10: the same beside the bundle (detached signatures), and in the sources of `create`.
#[test]
fn fifos_and_links_among_the_content_are_refused_or_passed_over() {
    let lab = Lab::new();
    fifo(&lab.path("b.tar.reviewer-0123456789abcdef.sig"));
    symlink("/dev/zero", lab.path("b.tar.builder-0123456789abcdef.sig")).unwrap();
    fs::create_dir(lab.path("b.tar.receiver-0123456789abcdef.sig")).unwrap();
    lab.run(&["verify", "b.tar", "--signer", "key.pub"]).ends(&[0]);

    for (name, place) in [
        ("index", "index.json".to_owned()),
        ("marker", "oci-layout".to_owned()),
        ("manifest", format!("blobs/sha256/{}", lab.manifests[0].hex())),
        ("layer", format!("blobs/sha256/{}", lab.layers[0].hex())),
    ] {
        for kind in ["fifo", "link", "device", "folder"] {
            let copy = lab.path(&format!("{name}-{kind}"));
            assert!(Command::new("cp").arg("-r").arg(lab.path("layout")).arg(&copy).status().unwrap().success());
            let path = copy.join(&place);
            let moved = lab.path("moved");
            fs::rename(&path, &moved).unwrap();
            match kind {
                "fifo" => fifo(&path),
                "link" => symlink(&moved, &path).unwrap(),
                "device" => symlink("/dev/zero", &path).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            let from = copy.display().to_string();
            lab.run(&["create", "c.tar", "--from-layout", &from, "--sign-key", "key"]).ends(&[3, 12, 30]);
            assert!(!lab.path("c.tar").exists());
            let _ = fs::remove_file(lab.path("c.tar.partial"));
        }
    }
    for kind in ["fifo", "link"] {
        let dir = lab.path(&format!("yaml-{kind}"));
        fs::create_dir(&dir).unwrap();
        match kind {
            "fifo" => fifo(&dir.join("a.yaml")),
            _ => symlink("/etc/passwd", dir.join("a.yaml")).unwrap(),
        }
        lab.run(&["create", "c.tar", "--manifests", dir.to_str().unwrap(), "--unsigned"]).ends(&[12, 41]);
    }
}

/// I5: files beside the bundle or in the current folder have no influence: they are not even opened.
#[test]
fn nothing_on_the_medium_is_run_or_taken_for_settings() {
    let lab = Lab::new();
    let key = fs::read_to_string(lab.path("key.pub")).unwrap();
    let planted = [
        "trust.yaml",
        "allowed_signers",
        "config.toml",
        ".env",
        ".cargo/config.toml",
        ".config/mirror-bundle/trust.yaml",
        "mirror-bundle/trust.yaml",
        "etc/mirror-bundle/trust.yaml",
        ".docker/config.json",
        "auth.json",
        "docker-credential-evil",
        "autorun.inf",
    ];
    for name in planted {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        let text = match name {
            "allowed_signers" => format!("x namespaces=\"mirror-bundle.v1.builder\" {key}"),
            ".env" => "MIRROR_BUNDLE_TRUST=trust.yaml\n".to_owned(),
            _ => format!("version: 1\nsigners:\n  - name: evil\n    key: {key}\n    roles: [builder]\n"),
        };
        fs::write(lab.path(name), text).unwrap();
    }
    // No key is trusted, although every planted file says otherwise.
    lab.run(&["verify", "b.tar"]).ends(&[2]).says("no trusted key");
    lab.run(&["unpack", "b.tar", "--to-dir", "out"]).ends(&[2]);

    let trace = lab.path("trace");
    for args in [
        &["verify", "b.tar", "--signer", "key.pub"][..],
        &["unpack", "b.tar", "--signer", "key.pub", "--to-dir", "out"],
        &["create", "c.tar", "--from-layout", "layout", "--sign-key", "key"],
        &["inspect", "b.tar"],
    ] {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=execve,execveat,open,openat,openat2", "-o"]).arg(&trace);
        lab.clean(command.arg(PROGRAM).args(args));
        assert!(command.output().expect("strace is installed").status.success());
        let calls = fs::read_to_string(&trace).unwrap();
        assert_eq!(calls.matches("execve").count(), 1, "only this program ran:\n{calls}");
        for name in planted {
            assert!(!calls.contains(&format!("\"{name}\"")), "{args:?} opened {name}");
            assert!(!calls.contains(&lab.path(name).display().to_string()), "{args:?} opened {name}");
        }
    }
    assert!(File::open(lab.path("out/v2")).is_ok());
}
