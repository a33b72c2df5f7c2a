//! Independent programs read a bundle and come to the same conclusions.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::*;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::release::{Gpg, IDENTITY, MULTI, RELEASES, world};

fn bundle(dir: &Path) -> (Registry, PathBuf) {
    let source = world().registry();
    let bundle = dir.join("ocp.tar");
    ok(&[create_release(&bundle, &source.host()), multi(&source.host())].concat());
    (source, bundle)
}

fn untarred(dir: &Path) -> (Registry, PathBuf, PathBuf) {
    let (source, bundle) = bundle(dir);
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    tool("tar", &args!["xf", bundle, "-C", tree]);
    (source, bundle, tree)
}

#[test]
fn skopeo_reads_the_bundle_as_an_oci_archive() {
    let dir = folder();
    let (source, bundle) = bundle(dir.path());
    let target = Registry::start();
    let archive = |name: &str| format!("oci-archive:{}:{name}", bundle.display());
    let list = format!("{}/{MULTI}:1.0", source.host());
    let raw = tool("skopeo", &args!["inspect", "--raw", archive(&list)]).stdout;
    assert_eq!(raw, world().multi.bytes);
    let inspected: Value = serde_json::from_slice(&tool("skopeo", &args!["inspect", archive(&list)]).stdout).unwrap();
    assert_eq!(inspected["Architecture"], "amd64");
    // skopeo finds no images with Docker's media types in an OCI layout ("no descriptor found", "unsupported manifest
    // MIME types"); from a release it can read only OCI images.
    let cosign = Image::cosign(&world().release.image, &format!("{IDENTITY}:4.16.37-x86_64"));
    let signature = format!("{}/{RELEASES}:{}", source.host(), world().release.image.sig_tag());
    for (name, to, image) in [(signature, "s", &cosign), (list, "m", &world().multi)] {
        let to = format!("{}/{to}", target.host());
        let args = args![
            "--insecure-policy",
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            archive(&name),
            format!("docker://{to}:copied")
        ];
        tool("skopeo", &args);
        let path = to.split_once('/').unwrap().1;
        assert_eq!(manifest(&target, path, "copied").unwrap(), image.bytes, "{name}");
    }
}

#[test]
fn umoci_lists_the_images_of_the_untarred_bundle() {
    let dir = folder();
    let (source, _, tree) = untarred(dir.path());
    let listed = tool("umoci", &args!["list", "--layout", tree]).text();
    let listed: Vec<&str> = listed.lines().collect();
    for name in [format!("{}/{RELEASES}:4.16.37-x86_64", source.host()), format!("{}/{MULTI}:1.0", source.host())] {
        assert!(listed.contains(&name.as_str()), "{name}: {listed:?}");
    }
}

#[test]
fn tar_lists_the_members_in_the_order_of_the_format() {
    let dir = folder();
    let (_source, bundle) = bundle(dir.path());
    let listed = tool("tar", &args!["tvf", bundle]).text();
    let names: Vec<&str> = listed.lines().map(|l| l.rsplit(' ').next().unwrap()).collect();
    let head = [
        "oci-layout",
        "mirror-bundle/index.json",
        "mirror-bundle/index.json.sig",
        "mirror-bundle/SHA256SUMS",
        "index.json",
    ];
    assert_eq!(names[..5], head);
    let place = |start: &str| names.iter().position(|n| n.starts_with(start)).unwrap();
    assert!(place("manifests/") < place("signatures/") && place("signatures/") < place("blobs/"), "{listed}");
    assert!(listed.lines().all(|l| l.starts_with("-rw-r--r-- 0/0 ")), "{listed}");
}

#[test]
fn sha256sum_checks_the_untarred_bundle_and_finds_a_changed_byte() {
    let dir = folder();
    let (_source, _, tree) = untarred(dir.path());
    let check = || {
        let mut command = clean(Command::new("sha256sum"), &args!["-c", "--strict", "mirror-bundle/SHA256SUMS"]);
        finish(command.current_dir(&tree))
    };
    let good = check();
    assert_eq!(good.code, 0, "{}", good.stderr);
    // Everything is listed except the list itself.
    assert_eq!(good.text().lines().count(), files(&tree).len() - 1);
    let blob = tree.join("blobs/sha256").join(world().release.digest().hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[5] ^= 1;
    fs::write(&blob, bytes).unwrap();
    assert_eq!(check().code, 1);
}

#[test]
fn ssh_keygen_verifies_the_index_and_refuses_another_role() {
    let dir = folder();
    let (_source, _, tree) = untarred(dir.path());
    let allowed = dir.path().join("allowed");
    fs::write(&allowed, format!("builder {}", fs::read_to_string(world().public_key()).unwrap())).unwrap();
    let index = fs::read(tree.join("mirror-bundle/index.json")).unwrap();
    let check = |namespace: &str, index: &[u8]| {
        let signature = tree.join("mirror-bundle/index.json.sig");
        let args = args!["-Y", "verify", "-f", allowed, "-I", "builder", "-n", namespace, "-s", signature];
        fed(&mut clean(Command::new("ssh-keygen"), &args), index).code
    };
    assert_eq!(check("mirror-bundle.v1.builder", &index), 0);
    assert_ne!(check("mirror-bundle.v1.reviewer", &index), 0);
    assert_ne!(check("mirror-bundle.v1.builder", &[&index[..], b" "].concat()), 0);
}

#[test]
fn gpg_agrees_on_the_release_signature_that_is_carried() {
    let dir = folder();
    let (_source, _, tree) = untarred(dir.path());
    let digest = world().release.digest();
    let signature = tree.join(format!("signatures/sha256={}/signature-1", digest.hex()));
    let gpg = Gpg::knowing(&world().keyring());
    let claim: Value = serde_json::from_slice(&gpg.run(&["--decrypt"], &fs::read(&signature).unwrap())).unwrap();
    assert_eq!(claim["critical"]["image"]["docker-manifest-digest"], digest.to_string());
    assert_eq!(claim["critical"]["identity"]["docker-reference"], format!("{IDENTITY}:4.16.37-x86_64"));
    // So does the dedicated verb, with the folder as a signature store.
    let check =
        args!["check-signature", signature, "--digest", digest.to_string(), "--release-keyring", world().keyring()];
    ok(&check);
    let other = world().later.digest().to_string();
    let check = args!["check-signature", signature, "--digest", other, "--release-keyring", world().keyring()];
    ends(40, &check);
}

#[test]
fn a_bundle_signed_with_ssh_keygen_s_own_key_and_passphrase_asks_for_it_on_a_terminal() {
    let (world, dir) = (world(), folder());
    let own = dir.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n").unwrap();
    let bundle = dir.path().join("b.tar");
    let line = format!(
        "{} create {} --manifests {} --sign-key {}",
        PROGRAM,
        bundle.display(),
        own.display(),
        world.other_key().display()
    );
    // `script` gives the program a terminal and types what it reads.
    let typed = |passphrase: &str, times: usize| {
        let mut command = clean(Command::new("script"), &args!["-qefc", line, "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut text = Vec::new();
        for _ in 0..times {
            text.push(b'\n');
            // Not at `warning: ` of the try before: what is typed ahead is discarded.
            let asks = |text: &[u8]| {
                let line = text.rsplit(|b| *b == b'\n').next().unwrap_or_default();
                line.windows(10).any(|word| word == b"Passphrase") && line.ends_with(b": ")
            };
            while !asks(&text) {
                let mut byte = [0];
                assert_eq!(screen.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
                text.extend(byte);
            }
            // The prompt comes a moment before the terminal stops to show what is typed.
            std::thread::sleep(Duration::from_millis(300));
            writeln!(keys, "{passphrase}").unwrap();
        }
        screen.read_to_end(&mut text).unwrap();
        let code = child.wait().unwrap().code().unwrap();
        Run { code, stdout: text, stderr: String::new() }
    };
    // A passphrase may be tried three times.
    let wrong = typed("wrong", 3);
    assert_ne!(wrong.code, 0, "{}", wrong.text());
    assert!(!bundle.exists());
    let right = typed("open sesame", 1);
    assert_eq!(right.code, 0, "{}", right.text());
    assert!(!right.text().contains("open sesame"), "it must not be shown: {}", right.text());
    ok(&args!["verify", bundle, "--signer", world.other_public_key()]);
    ends(22, &args!["verify", bundle, "--signer", world.public_key()]);
    // Without a terminal it cannot ask.
    let again = dir.path().join("again.tar");
    ends(2, &args!["create", again, "--manifests", own, "--sign-key", world.other_key()]);
}

#[test]
fn keys_and_signatures_go_both_ways_between_keygen_and_ssh_keygen() {
    let dir = folder();
    let key = dir.path().join("key");
    let run = ok(&args!["keygen", key, "--no-passphrase"]);
    let public = dir.path().join("key.pub");
    let fingerprint = tool("ssh-keygen", &args!["-lf", public]).text();
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    assert!(run.text().contains(fingerprint), "{}", run.text());
    let derived = tool("ssh-keygen", &args!["-yf", key]).text();
    assert_eq!(derived.trim(), fs::read_to_string(&public).unwrap().trim());
    ends(52, &args!["keygen", key, "--no-passphrase"]);
}
