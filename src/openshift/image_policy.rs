//! The default ClusterImagePolicy of a release: from 4.21 on, nodes run its images only with a cosign signature.
//!
//! The policy is the object `openshift` in the payload (openshift/cluster-update-keys). Nodes look for a signature only
//! under the tag `sha256-<hex>.sig` in the repository that they pull from; of a list they check the image that they
//! run. What is said here is what a cluster will do. It is no trust decision: that is MB-VER-07 and MB-VER-08.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::kubernetes::mirror_set;
use crate::oci::{Digest, Document, Invalid};
use crate::sign::claim::{self, Form};
use crate::sign::cosign::{ImageKey, normal};

/// The kind of the policy.
const KIND: &str = "ClusterImagePolicy";
/// Its name.
const NAME: &str = "openshift";
/// The most scopes of a policy (its schema has no limit).
const SCOPES: usize = 64;
/// How many images are named in a sentence.
const NAMED: usize = 8;

/// Whether clusters of this version have the policy: 4.21 and later.
pub fn applies(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|p| p.parse::<u64>());
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (4, 21),
        _ => false,
    }
}

/// A policy with one public key.
#[derive(Clone, Debug)]
pub struct ImagePolicy {
    key: ImageKey,
    scopes: Vec<String>,
    in_payload: bool,
}

/// Whether a manifest may contain the policy: a cheap test before parsing.
pub(super) fn mentions(manifest: &[u8]) -> bool {
    manifest.windows(KIND.len()).any(|window| window == KIND.as_bytes())
}

/// The policy in `manifest`, a file of one or more YAML or JSON documents. `None` if there is none.
pub fn find(manifest: &[u8]) -> Option<Result<ImagePolicy, Invalid>> {
    let text = std::str::from_utf8(manifest).ok().filter(|_| mentions(manifest))?;
    let documents: Vec<Object> = serde_saphyr::from_multiple(text).ok()?;
    documents.into_iter().find(Object::is_policy).map(|document| document.read())
}

#[derive(serde::Deserialize)]
struct Object {
    kind: Option<String>,
    metadata: Option<Metadata>,
    spec: Option<serde_json::Value>,
}

#[derive(serde::Deserialize)]
struct Metadata {
    name: Option<String>,
}

impl Object {
    fn is_policy(&self) -> bool {
        let name = self.metadata.as_ref().and_then(|m| m.name.as_deref());
        (self.kind.as_deref(), name) == (Some(KIND), Some(NAME))
    }

    fn read(self) -> Result<ImagePolicy, Invalid> {
        let spec = self.spec.unwrap_or_default();
        let scopes: Vec<String> = match spec["scopes"].as_array() {
            Some(scopes) if scopes.len() <= SCOPES => {
                scopes.iter().filter_map(|scope| scope.as_str()).map(str::to_owned).collect()
            }
            _ => return Err(Invalid::new(format!("it has no scopes, or more than {SCOPES}"))),
        };
        let root = &spec["policy"]["rootOfTrust"];
        let kind = root["policyType"].as_str().unwrap_or_default();
        if kind != "PublicKey" {
            return Err(Invalid::new(format!("its policyType is `{kind}`, which is not evaluated here")));
        }
        if !root["publicKey"]["rekorKeyData"].is_null() {
            return Err(Invalid::new("it asks for a transparency log, which is not evaluated here"));
        }
        let identity = spec["policy"]["signedIdentity"]["matchPolicy"].as_str().unwrap_or("MatchRepoDigestOrExact");
        if !matches!(identity, "MatchRepoDigestOrExact" | "MatchRepository") {
            return Err(Invalid::new(format!("its signedIdentity is `{identity}`, which is not evaluated here")));
        }
        let data = root["publicKey"]["keyData"].as_str().unwrap_or_default();
        let pem = STANDARD.decode(data).ok().and_then(|pem| String::from_utf8(pem).ok()).unwrap_or_default();
        Ok(ImagePolicy { key: key(&pem)?, scopes, in_payload: true })
    }
}

fn key(pem: &str) -> Result<ImageKey, Invalid> {
    ImageKey::new("*", None, pem).map_err(|e| Invalid::new(e.message().to_owned()))
}

impl ImagePolicy {
    /// The policy of Red Hat's releases as of 2026-03-03, for a release whose payload has none.
    ///
    /// # Errors
    /// If the key in this program cannot be read.
    pub fn of_red_hat() -> Result<ImagePolicy, Invalid> {
        let key = key(include_str!("keys/redhat-sigstore-release-key.pem"))?;
        let scopes = ["ocp-release", "ocp-v4.0-art-dev", "ocp-v5.0-art-dev"];
        let scopes = scopes.map(|name| format!("quay.io/openshift-release-dev/{name}")).to_vec();
        Ok(ImagePolicy { key, scopes, in_payload: false })
    }

    /// Whether a scope covers this repository.
    fn covers(&self, repository: &str) -> bool {
        let name = normal(repository);
        let scope = |scope: &str| if scope.starts_with("*.") { scope.to_owned() } else { normal(scope) };
        self.scopes.iter().any(|one| mirror_set::below(&scope(one), &name).is_some())
    }

    /// Whether a signature is by the key of the policy, for this digest and a repository that is covered: of a
    /// component, the one that the payload names.
    fn accepts(&self, signature: &Signature, image: &Image<'_>) -> Result<(), String> {
        if !self.key.verify(&signature.message, &signature.signature) {
            return Err("it is not signed by the key of the policy".to_owned());
        }
        let claim = claim::read(&signature.message, Form::Cosign, &image.digest)
            .map_err(|_| "its signature is for something else".to_owned())?;
        let named = claim.docker_reference.repository.to_string();
        let right = match image.repository {
            Some(repository) => claim.is_of(&normal(repository)),
            None => self.covers(&named),
        };
        if right { Ok(()) } else { Err(format!("its signature names `{named}`")) }
    }
}

/// What was signed, and the signature.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The payload of the signature image.
    pub message: Vec<u8>,
    /// The signature over it.
    pub signature: Vec<u8>,
}

/// The parts of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The release image, or its list.
    Release,
    /// An image of that list.
    Child,
    /// A component, with the images of its list.
    Component,
}

/// An image of a release.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Which part it is.
    pub part: Part,
    /// Its name in a sentence: that of a component, or a platform.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// For a component, the repository in the payload.
    pub repository: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// The image, and if it is a list, those in it.
    pub fn with_children(self, document: Option<&Document>) -> Vec<Image<'a>> {
        let mut out = Vec::new();
        if let Some(Document::Index(list)) = document {
            out.extend(list.manifests.iter().map(|child| {
                let platform = child.platform.as_ref().map_or_else(|| child.digest.to_string(), ToString::to_string);
                let (part, name) = match self.part {
                    Part::Component => (Part::Component, self.name.clone()),
                    Part::Release | Part::Child => (Part::Child, platform),
                };
                Image { part, name, digest: child.digest, repository: self.repository }
            }));
        }
        out.insert(0, self);
        out
    }
}

/// Whether a release satisfies its policy.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// One sentence for each part.
    pub lines: Vec<String>,
    /// The images that lack a good signature, and why.
    pub lacking: Vec<String>,
    /// Notes on how that was evaluated.
    pub remarks: Vec<String>,
}

/// Evaluates the policy for the images of a release. `policy` is the one in its payload; `signatures` returns what is
/// carried under the signature tag of an image. Both sides use this function, so they never disagree.
pub fn evaluate(
    policy: Option<Result<ImagePolicy, Invalid>>,
    version: &str,
    images: &[Image<'_>],
    signatures: &dyn Fn(&Digest) -> Vec<Signature>,
) -> Statement {
    let policy = match policy.unwrap_or_else(ImagePolicy::of_red_hat) {
        Ok(policy) => policy,
        Err(why) => {
            let line = format!("{version}: the image policy in its payload cannot be evaluated: {why}");
            return Statement { lacking: vec![line.clone()], lines: vec![line], remarks: Vec::new() };
        }
    };
    let mut out = Statement::default();
    if !policy.in_payload {
        out.remarks.push(format!("the payload of {version} has no image policy; that of Red Hat's releases was taken"));
    }
    for part in [Part::Release, Part::Child, Part::Component] {
        let (mut of, mut good, mut free, mut bad) = (0, 0, 0, Vec::new());
        for image in images.iter().filter(|image| image.part == part) {
            if image.repository.is_some_and(|repository| !policy.covers(repository)) {
                free += 1;
                continue;
            }
            of += 1;
            let found = signatures(&image.digest);
            let none = Err("it has no signature".to_owned());
            match found
                .iter()
                .map(|one| policy.accepts(one, image))
                .fold(none, |sum, one| if sum.is_ok() { sum } else { one })
            {
                Ok(()) => good += 1,
                Err(why) => {
                    out.lacking.push(format!("{} {}: {why}", image.name, image.digest));
                    if !bad.contains(&image.name) {
                        bad.push(image.name.clone());
                    }
                }
            }
        }
        out.lines.extend(line(version, part, (of, good, free), &bad));
    }
    out
}

/// The sentence about a part. A release that is no list has no images of a list.
fn line(version: &str, part: Part, (of, good, free): (usize, usize, usize), bad: &[String]) -> Option<String> {
    let names = match bad.len() {
        0 => String::new(),
        n if n <= NAMED => format!(" (not: {})", bad.join(", ")),
        n => format!(" (not: {} and {} more)", bad[..NAMED].join(", "), n - NAMED),
    };
    match (part, of, free) {
        (Part::Release, _, _) if good == of => Some(format!("{version} release image: satisfied")),
        (Part::Release, _, _) => Some(format!("{version} release image: NOT satisfied")),
        (Part::Child, 0, _) => None,
        (Part::Child, _, _) => Some(format!("{version} images of its list: {good} of {of} satisfied{names}")),
        (Part::Component, 0, 0) => None,
        (Part::Component, 0, _) => Some(format!("{version} components: the policy does not cover them")),
        (Part::Component, _, _) => Some(format!("{version} components: {good} of {of} satisfied{names}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn data(path: &str) -> Vec<u8> {
        std::fs::read(format!("{}/testdata/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn releases_from_4_21_on_have_the_policy() {
        let needs = [
            ("4.20.13", false),
            ("4.21.0", true),
            ("4.21.0-rc.1", true),
            ("5.0.0", true),
            ("4.3.0", false),
            ("x", false),
        ];
        for (version, needs) in needs {
            assert_eq!(applies(version), needs, "{version}");
        }
    }

    #[test]
    fn the_vendors_policy_is_read_and_is_the_one_in_this_program() {
        let file = data("cluster-update-keys/manifests.rhel/0000_90_openshift-cluster-image-policy.yaml");
        let (theirs, ours) = (find(&file).unwrap().unwrap(), ImagePolicy::of_red_hat().unwrap());
        assert_eq!((theirs.key.fingerprint, &theirs.scopes), (ours.key.fingerprint, &ours.scopes));
        assert_eq!((theirs.in_payload, ours.in_payload), (true, false));
        assert!(theirs.covers("quay.io/openshift-release-dev/ocp-release"));
        assert!(!theirs.covers("quay.io/openshift-release-dev/ocp-release-nightly"));
        assert!(!theirs.covers("mirror.example.com/openshift-release-dev/ocp-release"));
    }

    #[test]
    fn another_object_is_no_policy_and_what_is_not_evaluated_is_said() {
        let file =
            String::from_utf8(data("cluster-update-keys/manifests.rhel/0000_90_openshift-cluster-image-policy.yaml"))
                .unwrap();
        for other in [
            file.replace("name: openshift", "name: mine"),
            file.replace("kind: ClusterImagePolicy", "kind: ImagePolicy"),
        ] {
            assert!(find(other.as_bytes()).is_none());
        }
        for (from, to, why) in [
            ("policyType: PublicKey", "policyType: PKI", "policyType"),
            ("keyData:", "rekorKeyData: eA==\n        keyData:", "transparency"),
            (
                "    rootOfTrust:",
                "    signedIdentity: {matchPolicy: ExactRepository}\n    rootOfTrust:",
                "signedIdentity",
            ),
            ("keyData: ", "keyData: x", "key"),
        ] {
            assert!(file.contains(from));
            let policy = find(file.replace(from, to).as_bytes()).unwrap();
            let said = evaluate(Some(policy), "4.21.0", &[], &|_| Vec::new());
            assert!(said.lines[0].contains(why) && !said.lacking.is_empty(), "{why}: {said:?}");
        }
    }

    /// A genuinely signed list and its images, judged by a policy with their key.
    #[test]
    fn release_list_and_components_are_evaluated_separately() {
        const HEX: [&str; 3] = [
            "b15a2f174d803fd5fd7db0b3969c75cee0fe9131e0d8478f8c70ac01a4534869",
            "02f29c270f30416a266571383098d7b98a49488723087fd917128045bcd1ca75",
            "e033aa62f84267cf44de611acac2e76bfa4d2f0b6b2b61f1c4fecbefefde7159",
        ];
        const HOME: &str = "quay.io/rh_ee_aguidi/multi-platform-container";
        let pem = String::from_utf8(data("keyrings/derived/cosign-multi-platform-container.pub")).unwrap();
        let policy = |scope: &str| {
            Some(Ok(ImagePolicy { key: key(&pem).unwrap(), scopes: vec![scope.to_owned()], in_payload: true }))
        };
        let read = |digest: &Digest| -> Vec<Signature> {
            let folder = format!("oci-layouts/multi-platform-container-sha256-{}-sig/", digest.hex());
            let value = |path: String| -> serde_json::Value { serde_json::from_slice(&data(&path)).unwrap() };
            let hex = |value: &serde_json::Value| value.as_str().unwrap().replace("sha256:", "");
            let index = value(format!("{folder}index.json"));
            let manifest = value(format!("{folder}blobs/sha256/{}", hex(&index["manifests"][0]["digest"])));
            let layers = manifest["layers"].as_array().unwrap();
            let one = |layer: &serde_json::Value| Signature {
                message: data(&format!("{folder}blobs/sha256/{}", hex(&layer["digest"]))),
                signature: STANDARD
                    .decode(layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap())
                    .unwrap(),
            };
            layers.iter().map(one).collect()
        };
        let image = |part, name: &str, at: usize, repository| Image {
            part,
            name: name.to_owned(),
            digest: Digest::from_hex(HEX[at]).unwrap(),
            repository,
        };
        let images = [
            image(Part::Release, "release", 0, None),
            image(Part::Child, "linux/arm64", 1, None),
            image(Part::Component, "etcd", 2, Some(HOME)),
        ];
        let all = evaluate(policy(HOME), "4.21.0", &images, &read);
        assert_eq!(
            all.lines,
            [
                "4.21.0 release image: satisfied",
                "4.21.0 images of its list: 1 of 1 satisfied",
                "4.21.0 components: 1 of 1 satisfied"
            ]
        );
        assert!(all.lacking.is_empty() && all.remarks.is_empty());
        for (at, says) in [
            (0, "4.21.0 release image: NOT satisfied"),
            (1, "4.21.0 images of its list: 0 of 1 satisfied (not: linux/arm64)"),
            (2, "4.21.0 components: 0 of 1 satisfied (not: etcd)"),
        ] {
            // Without its signature, and with that of another image.
            let without = |digest: &Digest| if digest.hex() == HEX[at] { Vec::new() } else { read(digest) };
            let other = |digest: &Digest| {
                if digest.hex() == HEX[at] { read(&Digest::from_hex(HEX[(at + 1) % 3]).unwrap()) } else { read(digest) }
            };
            for signatures in [&without as &dyn Fn(&Digest) -> Vec<Signature>, &other] {
                let said = evaluate(policy(HOME), "4.21.0", &images, signatures);
                assert_eq!((said.lines[at].as_str(), said.lacking.len()), (says, 1));
            }
        }
        // The signature must name a covered repository, of a component its own.
        let said = evaluate(policy("quay.io/other"), "4.21.0", &images, &read);
        assert_eq!(said.lines[0], "4.21.0 release image: NOT satisfied");
        assert_eq!(said.lines[2], "4.21.0 components: the policy does not cover them");
        let moved = [image(Part::Component, "etcd", 2, Some("quay.io/rh_ee_aguidi/other"))];
        let said = evaluate(policy("quay.io/rh_ee_aguidi"), "4.21.0", &moved, &read);
        assert!(said.lacking[0].contains("names `quay.io/rh_ee_aguidi/multi-platform-container`"), "{said:?}");
        let said = evaluate(None, "4.21.0", &images, &read);
        assert!(
            said.remarks[0].contains("no image policy") && said.lacking[0].contains("key of the policy"),
            "{said:?}"
        );
    }
}
