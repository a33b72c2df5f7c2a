//! What is said about the default image policy of clusters from 4.21 on.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::*;
use crate::support::image::{Image, Pusher, layer};
use crate::support::registry::Registry;
use crate::support::release::{COMPONENTS, Gpg, IDENTITY, RELEASES, Release, claim};

/// A P-256 key of openssl.
struct Key<'a> {
    dir: &'a Path,
    name: &'static str,
}

impl Key<'_> {
    fn new<'a>(dir: &'a Path, name: &'static str) -> Key<'a> {
        let key = dir.join(name);
        tool("openssl", &args!["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]);
        Key { dir, name }
    }

    fn public(&self) -> Vec<u8> {
        tool("openssl", &args!["ec", "-in", self.dir.join(self.name), "-pubout"]).stdout
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let file = self.dir.join("message");
        fs::write(&file, message).unwrap();
        tool("openssl", &args!["dgst", "-sha256", "-sign", self.dir.join(self.name), file]).stdout
    }
}

/// The ClusterImagePolicy of a payload.
fn policy(key: &Key<'_>, scopes: &[&str]) -> String {
    let spec = json!({
        "scopes": scopes,
        "policy": { "rootOfTrust": { "policyType": "PublicKey",
            "publicKey": { "keyData": STANDARD.encode(key.public()) } } },
    });
    json!({ "apiVersion": "config.openshift.io/v1", "kind": "ClusterImagePolicy",
        "metadata": { "name": "openshift" }, "spec": spec })
    .to_string()
}

/// A release of this version for two architectures whose payload has this text among its manifests.
fn several(version: &str, manifests: &str) -> Release {
    let component = |n: &str, arch: &str| Image::docker(arch, json!({}), &[layer(&[("usr/bin/x", n.as_bytes())])]);
    let named = |name: &str| (name.to_owned(), component(name, "amd64"));
    let components = vec![named("cli"), named("cluster-version-operator")];
    let mut made = Release::make(version, "multi", COMPONENTS, &components, manifests);
    let mut arm = Release::make(version, "multi", COMPONENTS, &components, manifests).image;
    arm = Image::docker("arm64", json!({ "io.openshift.release": version }), &arm.first().blobs[1..]);
    made.image = Image::list(vec![made.image, arm]);
    made
}

/// The entry of the report about the policy.
fn said(bundle: &Path) -> Value {
    let run = ok(&[verify(bundle), args!["--allow-unsigned-release", "-o", "json"]].concat());
    let check = |checks: &Value| checks.as_array().unwrap().iter().find(|c| c["id"] == "default-image-policy").cloned();
    check(&run.json()["checks"]).unwrap_or_default()
}

fn details(said: &Value) -> Vec<&str> {
    said["details"].as_array().unwrap().iter().map(|detail| detail.as_str().unwrap()).collect()
}

#[test]
fn create_and_verify_say_the_same_about_release_image_list_and_components() {
    let (dir, source) = (folder(), Registry::start());
    let (right, wrong) = (Key::new(dir.path(), "right"), Key::new(dir.path(), "wrong"));
    let release = several("4.22.0", &policy(&right, &[IDENTITY, COMPONENTS]));
    let to = Pusher::new(&source.host());
    for (_, image) in &release.components {
        to.push(RELEASES, image, None);
    }
    to.push(RELEASES, &release.image, Some("4.22.0-multi"));
    let attach = |subject: &Image, key: &Key<'_>, identity: &str| {
        let signature = Image::cosign_by(subject, identity, &|message| key.sign(message));
        to.push(RELEASES, &signature, Some(&subject.sig_tag()));
    };
    let children = &release.image.children;
    let create = |name: &str| {
        let bundle = dir.path().join(name);
        let more = args!["--release", format!("{}/{RELEASES}:4.22.0-multi", source.host()), "--allow-unsigned-release"];
        let run = ok(&[create_signed(&bundle), more, args!["--allow-missing-image-signature"]].concat());
        (bundle, run.stderr)
    };
    let expect = |name: &str, lines: [&str; 3], good: u64| {
        let (bundle, stderr) = create(name);
        lines.iter().for_each(|line| assert!(stderr.contains(line), "{line}: {stderr}"));
        let satisfied = "does not satisfy the default image policy";
        assert_eq!(stderr.contains(satisfied), good == 0, "{stderr}");
        let said = said(&bundle);
        assert_eq!(details(&said), lines);
        assert_eq!((said["examined"].as_u64(), said["of"].as_u64()), (Some(good), Some(1)));
        assert_eq!(said["findings"].to_string().contains(satisfied), good == 0, "{said}");
        bundle
    };

    attach(&release.image, &right, &format!("{IDENTITY}:4.22.0-multi"));
    attach(&children[0], &right, IDENTITY);
    attach(&children[1], &wrong, IDENTITY);
    attach(release.component("cli"), &right, COMPONENTS);
    let lines = [
        "4.22.0 release image: satisfied",
        "4.22.0 images of its list: 1 of 2 satisfied (not: linux/arm64)",
        "4.22.0 components: 1 of 2 satisfied (not: cluster-version-operator)",
    ];
    let bundle = expect("some.tar", lines, 0);
    let run = fed(
        &mut command(&[verify(Path::new("-")), args!["--allow-unsigned-release"]].concat()),
        &fs::read(&bundle).unwrap(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    lines.iter().for_each(|line| assert!(run.text().contains(line), "a stream: {}", run.text()));

    attach(&children[1], &right, IDENTITY);
    attach(release.component("cluster-version-operator"), &right, COMPONENTS);
    let lines = [
        "4.22.0 release image: satisfied",
        "4.22.0 images of its list: 2 of 2 satisfied",
        "4.22.0 components: 2 of 2 satisfied",
    ];
    expect("all.tar", lines, 1);

    // Another key, and another name.
    attach(&release.image, &wrong, IDENTITY);
    attach(release.component("cli"), &right, "quay.io/other/repository");
    let lines = [
        "4.22.0 release image: NOT satisfied",
        "4.22.0 images of its list: 2 of 2 satisfied",
        "4.22.0 components: 1 of 2 satisfied (not: cli)",
    ];
    expect("none.tar", lines, 0);
}

#[test]
fn a_release_before_4_21_and_components_that_are_not_covered_need_nothing() {
    let (dir, source) = (folder(), Registry::start());
    let key = Key::new(dir.path(), "right");
    let to = Pusher::new(&source.host());
    for (version, said_of_it) in [("4.20.9", false), ("4.21.0", true)] {
        let release = several(version, &policy(&key, &[IDENTITY]));
        for (_, image) in &release.components {
            to.push(RELEASES, image, None);
        }
        to.push(RELEASES, &release.image, Some(version));
        let bundle = dir.path().join(version);
        let more = args!["--release", format!("{}/{RELEASES}:{version}", source.host()), "--allow-unsigned-release"];
        let run = ok(&[create_signed(&bundle), more, args!["--allow-missing-image-signature"]].concat());
        let said = said(&bundle);
        assert_eq!(said.is_object(), said_of_it, "{version}: {}", run.stderr);
        if said_of_it {
            assert_eq!(details(&said)[2], "4.21.0 components: the policy does not cover them");
        }
    }
}

#[test]
fn the_list_and_each_of_its_images_that_is_signed_get_a_config_map() {
    let (dir, source, target) = (folder(), Registry::start(), Registry::start());
    let gpg = Gpg::new(dir.path(), "own");
    let (store, keyring) = (dir.path().join("store"), dir.path().join("own.asc"));
    fs::write(&keyring, gpg.public()).unwrap();
    let release = several("4.18.0", "# nothing\n");
    let to = Pusher::new(&source.host());
    release.components.iter().for_each(|(_, image)| to.push(RELEASES, image, None));
    to.push(RELEASES, &release.image, Some("4.18.0"));
    let signed = [&release.image, &release.image.children[1]];
    for image in signed {
        gpg.sign_into(&store, &image.digest(), &claim(&image.digest(), &format!("{IDENTITY}:4.18.0-multi")));
    }
    let bundle = dir.path().join("b.tar");
    let more = args!["--release", format!("{}/{RELEASES}:4.18.0", source.host()), "--signature-store", store];
    let keyring = args!["--release-keyring", keyring];
    ok(&[create_signed(&bundle), keyring.clone(), more].concat());
    let manifests = dir.path().join("m");
    ok(&[unpack_to(&bundle, &target.host(), &manifests), keyring].concat());
    let mut found: Vec<(String, String)> = Vec::new();
    for bytes in files(&manifests).into_values() {
        let map: Value = serde_json::from_slice(&bytes).unwrap();
        let keys: Vec<&String> = map["binaryData"].as_object().unwrap().keys().collect();
        assert_eq!(map["metadata"]["namespace"], "openshift-config-managed");
        found.push((map["metadata"]["name"].as_str().unwrap().to_owned(), keys[0].clone()));
    }
    found.sort();
    let mut expected = signed.map(|image| image.digest().dashed()).map(|name| (name.clone(), format!("{name}-1")));
    expected.sort();
    assert_eq!(found, expected);
}
