//! cosign image signatures carried in a bundle: genuine ones, and ones made here with `openssl`.

use std::fmt::Write as _;
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mirror_bundle::oci::Digest;

use crate::kit::{Ended, Kit, testdata};
use crate::registry::Registry;

const EMPTY: &str = "quay.io/rh_ee_aguidi/empty-image";
pub(crate) const HOME: &str = "registry.example.com/team/app";
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// An OCI layout `layout` that grows.
pub(crate) struct Layout<'a> {
    kit: &'a Kit,
    entries: String,
}

impl<'a> Layout<'a> {
    /// An empty one in this kit.
    pub(crate) fn new(kit: &'a Kit) -> Layout<'a> {
        let _ = fs::remove_dir_all(kit.path("layout"));
        kit.write("layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        Layout { kit, entries: String::new() }
    }

    /// Stores a blob and returns `"digest":…,"size":…`.
    pub(crate) fn blob(&self, bytes: &[u8]) -> (Digest, String) {
        let digest = Digest::of(bytes);
        self.kit.write(&format!("layout/blobs/sha256/{}", digest.hex()), bytes);
        (digest, format!("\"digest\":\"{digest}\",\"size\":{}", bytes.len()))
    }

    /// Lists a document.
    pub(crate) fn name(&mut self, bytes: &[u8], media_type: &str, name: &str) -> Digest {
        let (digest, place) = self.blob(bytes);
        let comma = if self.entries.is_empty() { "" } else { "," };
        let name = format!("\"annotations\":{{\"org.opencontainers.image.ref.name\":\"{name}\"}}");
        write!(self.entries, "{comma}{{\"mediaType\":\"{media_type}\",{place},{name}}}").unwrap();
        self.kit.write("layout/index.json", format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}", self.entries));
        digest
    }

    /// Attaches a manifest to a document that is there.
    pub(crate) fn referrer(&mut self, manifest: &[u8]) -> Digest {
        let (digest, place) = self.blob(manifest);
        write!(self.entries, ",{{\"mediaType\":\"{IMAGE}\",{place}}}").unwrap();
        self.kit.write("layout/index.json", format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}", self.entries));
        digest
    }

    fn manifest(&self, seed: &str) -> Vec<u8> {
        let (layer, layer_at) = self.blob(format!("layer of {seed}").as_bytes());
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{layer}\"]}}}}"
        );
        let (_, config) = self.blob(config.as_bytes());
        format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{IMAGE}\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{config}}},\"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",{layer_at}}}]}}"
        )
        .into_bytes()
    }

    pub(crate) fn image(&mut self, name: &str) -> Digest {
        let manifest = self.manifest(name);
        self.name(&manifest, IMAGE, name)
    }

    /// A list of two images.
    pub(crate) fn list(&mut self, name: &str) -> Digest {
        let entry = |arch: &str| {
            let (_, place) = self.blob(&self.manifest(arch));
            format!(
                "{{\"mediaType\":\"{IMAGE}\",{place},\"platform\":{{\"architecture\":\"{arch}\",\"os\":\"linux\"}}}}"
            )
        };
        let list = "application/vnd.oci.image.index.v1+json";
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{list}\",\"manifests\":[{},{}]}}",
            entry("amd64"),
            entry("arm64")
        );
        self.name(text.as_bytes(), list, name)
    }

    /// A signature image over `payload` for the image with this digest.
    pub(crate) fn signature(&mut self, repository: &str, digest: &Digest, payload: &[u8], signature: &[u8]) {
        let (layer, layer_at) = self.blob(payload);
        let config = format!(
            "{{\"architecture\":\"\",\"os\":\"\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{layer}\"]}}}}"
        );
        let (_, config) = self.blob(config.as_bytes());
        let text = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{IMAGE}\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",{config}}},\"layers\":[{{\"mediaType\":\"{SIMPLE}\",{layer_at},\"annotations\":{{\"dev.cosignproject.cosign/signature\":\"{}\"}}}}]}}",
            STANDARD.encode(signature)
        );
        self.name(text.as_bytes(), IMAGE, &format!("{repository}:sha256-{}.sig", digest.hex()));
    }

    /// The genuine image with its genuine signature image, as `quay.io` has them.
    fn genuine(&mut self) {
        for (folder, manifest, tag) in [
            ("single-arch-empty-image", EMPTY_DIGEST, "latest".to_owned()),
            (
                "single-arch-empty-image-sig",
                "ed81f580f1cc03b20cb0600084a76b3da35a9e303ffc1b908e5b5e61e05d9f27",
                format!("sha256-{EMPTY_DIGEST}.sig"),
            ),
        ] {
            let blobs = testdata(&format!("oci-layouts/{folder}/blobs/sha256"));
            for entry in fs::read_dir(&blobs).unwrap() {
                self.blob(&fs::read(entry.unwrap().path()).unwrap());
            }
            self.name(&fs::read(blobs.join(manifest)).unwrap(), IMAGE, &format!("{EMPTY}:{tag}"));
        }
    }

    /// The bundle with all of it.
    pub(crate) fn bundle(&self) {
        let args = ["create", "i.tar", "-q", "--force", "--from-layout", "layout", "--name", "app"];
        self.kit.run(&[&args[..], &["--sequence", "1", "--sign-key", "builder"]].concat()).is(0);
    }
}

const EMPTY_DIGEST: &str = "7d27ba1da0f64410102468d138f9ec8f61f2cc23bb58ff4cd63243a4434e3d99";

fn payload(repository: &str, digest: &Digest) -> String {
    format!(
        "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"{repository}\"}},\"image\":{{\"docker-manifest-digest\":\"{digest}\"}},\"type\":\"cosign container image signature\"}},\"optional\":null}}"
    )
}

/// A host with the key pairs `builder` (OpenSSH) and `p256.pem` (openssl).
pub(crate) fn host() -> Kit {
    let kit = Kit::new();
    ["builder", "reviewer", "second"].iter().for_each(|name| kit.key(name));
    openssl_key(&kit, "p256", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]);
    kit
}

pub(crate) fn openssl_key(kit: &Kit, name: &str, make: &[&str]) {
    let file = format!("{name}.pem");
    kit.tool("openssl", &[make, &["-out", &file]].concat()).is(0);
    kit.tool("openssl", &["pkey", "-in", &file, "-pubout", "-out", &format!("{name}.pub.pem")]).is(0);
}

pub(crate) fn openssl_sign(kit: &Kit, name: &str, payload: &str) -> Vec<u8> {
    kit.write("payload", payload);
    let file = format!("{name}.pem");
    kit.tool("openssl", &["dgst", "-sha256", "-sign", &file, "-out", "payload.sig", "payload"]).is(0);
    kit.read("payload.sig")
}

/// Verifies `i.tar`, as a file and as a stream, with this list of image keys.
#[track_caller]
pub(crate) fn verify(kit: &Kit, keys: &str) -> Ended {
    kit.policy("t.yaml", &format!("images:\n  keys:\n{keys}"));
    kit.verify_both("i.tar", &["--trust", "t.yaml"])
}

pub(crate) fn key(scope: &str, file: &str) -> String {
    format!("    - {{scope: {scope}, keyFile: \"{file}\"}}\n")
}

fn shipped(name: &str) -> String {
    testdata(&format!("keyrings/derived/{name}.pub")).display().to_string()
}

/// The `image-signatures` entries of the report: the numbers of checked and of all images, and why others were not
/// checked.
pub(crate) fn cosign_check(kit: &Kit) -> (u64, u64, Vec<String>) {
    let report = kit.run(&["verify", "i.tar", "--trust", "t.yaml", "-o", "json"]).json();
    let is = |one: &&serde_json::Value| one["id"] == "image-signatures";
    let check = report["checks"].as_array().unwrap().iter().find(is);
    let number = |field: &str| check.map_or(0, |c| c[field].as_u64().unwrap());
    let skipped = report["not_checked"].as_array().unwrap().iter().filter(is);
    (number("examined"), number("of"), skipped.map(|s| s["reason"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_genuine_image_signature_is_checked_with_its_key() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    layout.genuine();
    layout.bundle();
    verify(&kit, &key("quay.io/rh_ee_aguidi", &shipped("cosign-single-arch-empty-image"))).is(0);
    assert_eq!(cosign_check(&kit), (1, 1, vec![]));
    // By another key, and under the identity of another repository.
    let wrong = verify(&kit, &key("quay.io/rh_ee_aguidi", &shipped("cosign-multi-platform-container"))).is(40);
    wrong.says("has no good image signature").says("not signed by a key of the trust policy");
    let other = key(EMPTY, &shipped("cosign-single-arch-empty-image"))
        .replace("}", ", signedIdentity: quay.io/rh_ee_aguidi/other}");
    verify(&kit, &other).is(40).says("not of `quay.io/rh_ee_aguidi/other`");
    // One of several keys is enough; the most specific scope decides.
    let both = key(EMPTY, &shipped("cosign-multi-platform-container"))
        + &key(EMPTY, &shipped("cosign-single-arch-empty-image"));
    verify(&kit, &both).is(0);
    let general = key("quay.io", &shipped("cosign-single-arch-empty-image"));
    verify(&kit, &(general.clone() + &key(EMPTY, &shipped("cosign-multi-platform-container")))).is(40);
    verify(&kit, &general).is(0);
}

#[test]
fn without_a_key_image_signatures_are_reported_as_not_checked_and_never_as_passed() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    layout.genuine();
    layout.bundle();
    kit.policy("t.yaml", "");
    kit.verify_both("i.tar", &["--trust", "t.yaml"]).is(0).says("unchecked image signatures");
    let (examined, of, why) = cosign_check(&kit);
    assert_eq!((examined, of, why.len()), (0, 0, 1));
    verify(&kit, &key("quay.io/rh_ee_aguidi2", &shipped("cosign-single-arch-empty-image"))).is(0);
    assert_eq!(cosign_check(&kit), (0, 0, vec!["no key covers 1 of the images".to_owned()]));
}

#[test]
fn a_covered_image_without_signature_is_unverified() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    let image = layout.image(&format!("{HOME}:1"));
    layout.bundle();
    let cosign_check = verify(&kit, &key("registry.example.com", "p256.pub.pem")).is(40);
    cosign_check.says("there is no signature image for it").says(&format!("{HOME}:1"));
    assert!(kit.run(&["verify", "i.tar", "--trust", "t.yaml"]).out.contains("FAILED"));
    let _ = image;
    // Nothing of it is unpacked.
    kit.run(&["unpack", "i.tar", "--trust", "t.yaml", "--to-dir", "out"]).is(40);
    assert!(!kit.path("out/v2").exists());
}

#[test]
fn signatures_of_p256_and_rsa_keys_are_checked_for_images_and_lists() {
    let kit = host();
    openssl_key(&kit, "rsa", &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:8192"]);
    let mut layout = Layout::new(&kit);
    let rsa_home = "registry.example.com/other/app";
    let (list, image) = (layout.list(&format!("{HOME}:1")), layout.image(&format!("{rsa_home}:1")));
    let payloads = (payload(HOME, &list), payload(rsa_home, &image));
    layout.signature(HOME, &list, payloads.0.as_bytes(), &openssl_sign(&kit, "p256", &payloads.0));
    layout.signature(rsa_home, &image, payloads.1.as_bytes(), &openssl_sign(&kit, "rsa", &payloads.1));
    layout.bundle();
    let right = key("registry.example.com/team", "p256.pub.pem") + &key(rsa_home, "rsa.pub.pem");
    verify(&kit, &right).is(0);
    assert_eq!(cosign_check(&kit), (2, 2, vec![]));
    let swapped = key("registry.example.com/team", "rsa.pub.pem") + &key(rsa_home, "p256.pub.pem");
    verify(&kit, &swapped).is(40);
    assert_eq!((cosign_check(&kit).0, cosign_check(&kit).1), (0, 2));
}

#[test]
fn a_signature_for_something_else_does_not_count() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    let image = layout.image(&format!("{HOME}:1"));
    let good = payload(HOME, &image);
    let other = Digest::of(b"other");
    let cases: [(String, i32, &str); 10] = [
        (good.clone(), 0, ""),
        (good.replace(HOME, &format!("{HOME}:1")), 0, ""),
        (good.replace(HOME, &format!("{HOME}@{image}")), 0, ""),
        (good.replace("\"optional\":null", "\"optional\":{\"creator\":\"x\"}"), 0, ""),
        (payload(HOME, &other), 40, "the signature is for sha256:"),
        (payload("registry.example.com/team/other", &image), 40, "is for an image of"),
        (good.replace(HOME, &format!("{HOME}@{other}")), 40, "is for an image of"),
        (
            good.replace("cosign container image signature", "atomic container signature"),
            40,
            "not a claim about an image: its type is",
        ),
        (good.replace("\"optional\":null", "\"Critical\":{}"), 40, "not a claim about an image"),
        ("{}".to_owned(), 40, "not a claim about an image"),
    ];
    for (payload, code, why) in cases {
        let mut layout = Layout::new(&kit);
        layout.image(&format!("{HOME}:1"));
        layout.signature(HOME, &image, payload.as_bytes(), &openssl_sign(&kit, "p256", &payload));
        layout.bundle();
        verify(&kit, &key(HOME, "p256.pub.pem")).is(code).says(why);
    }
}

#[test]
fn a_changed_payload_or_a_broken_signature_does_not_count() {
    let kit = host();
    let mut image = Layout::new(&kit).image(&format!("{HOME}:1"));
    let good = payload(HOME, &image);
    let signature = openssl_sign(&kit, "p256", &good);
    let mut flipped = signature.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (payload, signature) in [
        (good.replace("null", "{}"), signature.clone()),
        (format!("{good}\n"), signature.clone()),
        (good.clone(), flipped),
        (good.clone(), signature[..signature.len() - 1].to_vec()),
        (good.clone(), [&signature[..], &[0]].concat()),
        (good.clone(), Vec::new()),
    ] {
        let mut layout = Layout::new(&kit);
        image = layout.image(&format!("{HOME}:1"));
        layout.signature(HOME, &image, payload.as_bytes(), &signature);
        layout.bundle();
        verify(&kit, &key(HOME, "p256.pub.pem")).is(40).says("not signed by a key of the trust policy");
    }
}

#[test]
fn a_signature_that_is_damaged_in_the_bundle_is_a_mismatch_and_no_pass() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    layout.genuine();
    layout.bundle();
    let mut bytes = kit.read("i.tar");
    let needle = b"cosign container image signature";
    let at = bytes.windows(needle.len()).position(|w| w == needle).unwrap();
    bytes[at] ^= 1;
    kit.write("i.tar", bytes);
    verify(&kit, &key(EMPTY, &shipped("cosign-single-arch-empty-image"))).is(31);
}

#[test]
fn a_key_that_cannot_be_used_is_an_error_and_no_verdict() {
    let kit = host();
    let mut layout = Layout::new(&kit);
    layout.genuine();
    layout.bundle();
    openssl_key(&kit, "p384", &["ecparam", "-name", "secp384r1", "-genkey", "-noout"]);
    openssl_key(&kit, "rsa1024", &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    for file in ["p384.pub.pem", "rsa1024.pub.pem", "p256.pem", "builder.pub"] {
        verify(&kit, &key(EMPTY, file)).is(2).says("cannot be used");
    }
    verify(&kit, &key(EMPTY, "missing.pem")).is(3);
    verify(&kit, &key("\"https://quay.io\"", &shipped("cosign-single-arch-empty-image"))).is(2).says("its scope");
}

#[test]
fn an_image_from_a_mirror_is_checked_under_the_name_that_was_signed() {
    let kit = host();
    let registry = Registry::start();
    let mirror = format!("{}/mirror/empty", registry.host());
    for (folder, tag) in
        [("single-arch-empty-image", "latest"), ("single-arch-empty-image-sig", &format!("sha256-{EMPTY_DIGEST}.sig"))]
    {
        let from = format!("oci:{}", testdata(&format!("oci-layouts/{folder}")).display());
        let to = format!("docker://{mirror}:{tag}");
        let args = ["--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", &from, &to];
        kit.tool("skopeo", &args).is(0);
    }
    let args = ["create", "i.tar", "-q", "--image", &format!("{mirror}:latest"), "--plain-http", &registry.host()];
    kit.run(&[&args[..], &["--name", "app", "--sequence", "1", "--sign-key", "builder"]].concat()).is(0);
    let right = key(&registry.host(), &shipped("cosign-single-arch-empty-image"));
    let scope = format!("scope: {}", registry.host());
    let quoted = right.replace(&scope, &format!("scope: \"{}\"", registry.host()));
    verify(&kit, &quoted).is(40).says("is for an image of `quay.io/rh_ee_aguidi/empty-image`");
    verify(&kit, &quoted.replace("}", &format!(", signedIdentity: {EMPTY}}}"))).is(0);
    assert_eq!(cosign_check(&kit), (1, 1, vec![]));
}

#[test]
fn no_spelling_of_its_name_takes_an_image_out_of_the_scope_of_a_key() {
    let kit = host();
    for name in [
        "registry.example.com:443/team/app:1",
        "registry.example.com:80/team/app:1",
        "REGISTRY.example.com/team/app:1",
        "mirror.example/team/app:1",
        "team/app:1",
    ] {
        let mut layout = Layout::new(&kit);
        layout.image(name);
        layout.bundle();
        verify(&kit, &key("registry.example.com/team", "p256.pub.pem"))
            .is(40)
            .says("there is no signature image for it");
    }
    // A mirror's copy with the signature of the vendor is good; the name at the target counts too.
    let mut layout = Layout::new(&kit);
    let image = layout.image("mirror.example/team/app:1");
    let signed = payload(HOME, &image);
    layout.signature("mirror.example/team/app", &image, signed.as_bytes(), &openssl_sign(&kit, "p256", &signed));
    layout.bundle();
    verify(&kit, &key("registry.example.com/team", "p256.pub.pem")).is(0);
    assert_eq!(cosign_check(&kit), (1, 1, vec![]));
}

#[test]
fn a_policy_can_require_a_signature_of_every_image() {
    let kit = host();
    let require = |what: &str, scope: &str| {
        let keys = key(scope, "p256.pub.pem");
        kit.policy("t.yaml", &format!("images:\n  require: {what}\n  keys:\n{keys}"));
        kit.verify_both("i.tar", &["--trust", "t.yaml"])
    };
    for name in ["other.example/app:1", "latest"] {
        let mut layout = Layout::new(&kit);
        layout.image(name);
        layout.bundle();
        require("scoped", "registry.example.com").is(0);
        require("releases", "registry.example.com").is(0);
        require("all", "registry.example.com").is(40).says("no key of the trust policy covers it");
        require("scoped", "\"*\"").is(40).says("there is no signature image for it");
    }
    let mut layout = Layout::new(&kit);
    let image = layout.image(&format!("{HOME}:1"));
    let signed = payload(HOME, &image);
    layout.signature(HOME, &image, signed.as_bytes(), &openssl_sign(&kit, "p256", &signed));
    layout.bundle();
    require("all", "\"*\"").is(0);
    // A file system layer makes an image, even one called a signature.
    let mut layout = Layout::new(&kit);
    let image = layout.image(&format!("{HOME}:1"));
    let attached = format!("{HOME}:sha256-{}.sig", image.hex());
    layout.image(&attached);
    layout.bundle();
    require("all", "\"*\"").is(40).says(&format!("`{attached}` has no good image signature"));
    kit.policy("t.yaml", "images: {require: all}\n");
    kit.run(&["verify", "i.tar", "--trust", "t.yaml"]).is(2).says("names no key");
}
