//! Keys for cosign image signatures, and which of them must have signed an image.
//!
//! The choice of keys must not depend on how the index spells a name. So names are normalised before they are
//! compared, and an image belongs to a scope by its name or by the place where it will be written. Spec:
//! `spec/review.md`, MB-COS.

pub mod bundle;
pub mod simple;
pub mod statement;

use p256::pkcs8::DecodePublicKey;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;

use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Manifest, Repository, without_registry};

/// Media type of a layer that holds what was signed.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The scope of all images that no other scope covers.
const ALL: &str = "*";

/// What the manifest of a referrer is, if it signs an image: a Sigstore bundle of cosign 3, or the signature of cosign 2
/// in its mode for referrers.
pub fn signature_referrer(manifest: &Manifest) -> Option<&'static str> {
    let types = manifest.artifact_type.iter().chain(manifest.layers.first().map(|layer| &layer.media_type));
    let types: Vec<&str> = types.map(String::as_str).collect();
    let predicate = manifest.annotations.get("dev.sigstore.bundle.predicateType");
    if types.iter().any(|kind| bundle::is_bundle(kind)) {
        return predicate.is_none_or(|predicate| predicate == statement::SIGN).then_some("a Sigstore bundle");
    }
    types.contains(&SIMPLE_SIGNING).then_some("a cosign signature")
}

/// Which images must have a good signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Every image, whether a key covers it or not.
    All,
    /// Every release image, and every image that a key covers.
    Releases,
    /// Every image that a key covers.
    #[default]
    Scoped,
}

/// A public key for the images of a scope.
#[derive(Clone, Debug)]
pub struct ImageKey {
    /// A repository, a registry or repository that images are below, or `*`.
    pub scope: String,
    /// The repository that signatures name, if it is not the one that the image came from.
    pub identity: Option<String>,
    /// SHA-256 of the key, as `openssl pkey -pubin -outform DER | sha256sum` has it.
    pub fingerprint: Digest,
    key: Key,
}

#[derive(Clone, Debug)]
enum Key {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    Rsa(rsa::pkcs1v15::VerifyingKey<rsa::sha2::Sha256>),
}

/// RSA moduli of image keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// An RSA key. The library reads keys of up to 4096 bits; larger ones are decoded here.
fn rsa_key(pem: &str) -> Option<rsa::RsaPublicKey> {
    use rsa::pkcs8::{Document, SubjectPublicKeyInfoRef, der::Decode};
    if let Ok(key) = rsa::RsaPublicKey::from_public_key_pem(pem) {
        return Some(key);
    }
    let (label, der) = Document::from_pem(pem).ok()?;
    let info = SubjectPublicKeyInfoRef::from_der(der.as_bytes()).ok().filter(|_| label == "PUBLIC KEY")?;
    info.algorithm.assert_algorithm_oid(rsa::pkcs1::ALGORITHM_OID).ok()?;
    let numbers = rsa::pkcs1::RsaPublicKey::try_from(info.subject_public_key.as_bytes()?).ok()?;
    let number = |value: rsa::pkcs1::UintRef<'_>| rsa::BigUint::from_bytes_be(value.as_bytes());
    let (n, e) = (number(numbers.modulus), number(numbers.public_exponent));
    rsa::RsaPublicKey::new_with_max_size(n, e, *RSA_BITS.end()).ok()
}

/// An Ed25519 key (RFC 8410).
fn ed25519_key(der: &[u8]) -> Option<ed25519_dalek::VerifyingKey> {
    use rsa::pkcs8::{ObjectIdentifier, SubjectPublicKeyInfoRef, der::Decode};
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    info.algorithm.assert_algorithm_oid(ED25519).ok()?;
    let bytes = info.algorithm.parameters.is_none().then(|| info.subject_public_key.as_bytes()).flatten()?;
    ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into().ok()?).ok().filter(|key| !key.is_weak())
}

impl ImageKey {
    /// Reads a PEM public key (`BEGIN PUBLIC KEY`): ECDSA P-256, Ed25519, or RSA of 2048 to 8192 bits.
    ///
    /// # Errors
    /// [`Code::Usage`] for another key, or none.
    pub fn new(scope: &str, identity: Option<String>, pem: &str) -> Result<ImageKey> {
        let bad = |why: String| Error::new(Code::Usage, format!("the image key for `{scope}` cannot be used: {why}"));
        let beginning = scope.trim_end_matches('/');
        // Sources without registry names have only paths.
        let parses = |text: String| text.parse::<Repository>().is_ok_and(|r| r.to_string() == text);
        if scope != ALL && !parses(format!("{beginning}/x")) && !parses(format!("localhost/{beginning}/x")) {
            return Err(bad("its scope must be a registry, a repository, the beginning of one, or `*`".to_owned()));
        }
        if let Some(identity) = &identity
            && !identity.parse::<Repository>().is_ok_and(|r| r.to_string() == *identity)
        {
            return Err(bad(format!("its signedIdentity `{identity}` is not a full repository name without tag")));
        }
        let scope = if scope == ALL { scope.to_owned() } else { normal_scope(beginning) };
        let neither = "it is no P-256, Ed25519 or RSA public key in PEM";
        let document = rsa::pkcs8::Document::from_pem(pem).ok().filter(|(label, _)| *label == "PUBLIC KEY");
        let (_, der) = document.ok_or_else(|| bad(neither.to_owned()))?;
        let fingerprint = Digest::of(der.as_bytes());
        let of = |key| ImageKey { scope, identity, fingerprint, key };
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            return Ok(of(Key::P256(key)));
        }
        if let Some(key) = ed25519_key(der.as_bytes()) {
            return Ok(of(Key::Ed25519(key)));
        }
        let key = rsa_key(pem).ok_or_else(|| bad(neither.to_owned()))?;
        let bits = key.n().bits();
        if !RSA_BITS.contains(&bits) {
            return Err(bad(format!("an RSA key of {bits} bits; 2048 to 8192 are accepted")));
        }
        Ok(of(Key::Rsa(rsa::pkcs1v15::VerifyingKey::new(key))))
    }

    /// Whether this key made this signature over the message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            // Cosign signs with Ed25519ph (RFC 8032, 5.1): over the SHA-512 of the message.
            Key::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| {
                let hashed = sha2::Digest::chain_update(ed25519_dalek::Sha512::default(), message);
                key.verify_prehashed_strict(hashed, None, &signature).is_ok()
            }),
            Key::Rsa(key) => rsa::pkcs1v15::Signature::try_from(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }

    /// The scope's registry and path, if it has them.
    fn parts(&self) -> (Option<&str>, &str) {
        match self.scope.split_once('/') {
            Some((host, path)) if is_host(host) => (Some(host), path),
            None if is_host(&self.scope) => (Some(&self.scope), ""),
            _ => (None, &self.scope),
        }
    }
}

/// A key, and the repository that its signature must name. `None`: the repository is unknown, so no signature is
/// accepted.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The key.
    pub key: &'a ImageKey,
    /// The repository.
    pub identity: Option<String>,
}

/// The signatures an image needs: from each group, one by at least one of its keys. Empty: no key covers the image.
///
/// There is one group for the name in the index; one for each place below a registry where `unpack` puts the image
/// (without registry, alone and below the target); and one for the full name at the target. In each group the keys of
/// the longest scope count, as in containers-policy.json(5). The scope `*` counts if no other scope does. `home`: the
/// image is in a place of releases, whatever its repository.
pub fn demands<'a>(
    keys: &'a [ImageKey],
    repository: Option<&str>,
    home: bool,
    target: Option<&Repository>,
) -> Vec<Vec<Demand<'a>>> {
    let own = repository.map(normal);
    let path = repository.map(without_registry).filter(|_| !home);
    let below = |base: String| path.map_or(base.clone(), |path| format!("{base}/{path}"));
    let mut groups = Vec::new();
    if let Some(own) = &own {
        groups.push(longest(keys, own, |key| key.scope.as_str(), |_| Some(own.clone())));
    }
    let places = [path.map(str::to_owned), target.map(|t| below(t.path().to_owned()))];
    for place in places.into_iter().flatten() {
        // A scope that is only a registry has no place: any image could come from there.
        let named = |key: &ImageKey| match key.parts() {
            (Some(host), _) => Some(format!("{host}/{place}")),
            (None, _) => own.clone(),
        };
        groups.push(longest(keys, &place, |key| key.parts().1, named));
    }
    if let Some(target) = target {
        groups.push(longest(keys, &normal(&below(target.to_string())), |key| key.scope.as_str(), |_| own.clone()));
    }
    groups.retain(|group| !group.is_empty());
    if groups.is_empty() {
        let rest = keys.iter().filter(|key| key.scope == ALL);
        let rest: Vec<Demand<'_>> =
            rest.map(|key| Demand { key, identity: key.identity.clone().or(own.clone()) }).collect();
        groups.extend(Some(rest).filter(|rest| !rest.is_empty()));
    }
    groups
}

/// The keys of the longest scope that equals `name`, or is a prefix of it up to a `/`.
fn longest<'a>(
    keys: &'a [ImageKey],
    name: &str,
    scope: fn(&ImageKey) -> &str,
    identity: impl Fn(&ImageKey) -> Option<String>,
) -> Vec<Demand<'a>> {
    let covers = |scope: &str| name.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let covering = |key: &&ImageKey| !scope(key).is_empty() && covers(scope(key));
    let length = keys.iter().filter(covering).map(|key| scope(key).len()).max();
    let chosen = keys.iter().filter(covering).filter(|key| Some(scope(key).len()) == length);
    chosen.map(|key| Demand { key, identity: key.identity.clone().or_else(|| identity(key)) }).collect()
}

fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.starts_with('[')
}

/// The normal spelling of a repository: the registry in lower case, without trailing dots and the ports 443 and 80, an
/// IPv6 address in its shortest form; all names of Docker Hub are `docker.io`, and its images without a namespace are
/// below `library`.
pub fn normal(repository: &str) -> String {
    let path = without_registry(repository);
    let Some(host) = repository.strip_suffix(path).and_then(|host| host.strip_suffix('/')) else {
        return path.to_owned();
    };
    match normal_host(host).as_str() {
        "docker.io" if !path.contains('/') => format!("docker.io/library/{path}"),
        host => format!("{host}/{path}"),
    }
}

fn normal_scope(scope: &str) -> String {
    match scope.split_once('/') {
        Some((host, path)) if is_host(host) => format!("{}/{path}", normal_host(host)),
        None if is_host(scope) => normal_host(scope),
        _ => scope.to_owned(),
    }
}

fn normal_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            (name, port.parse::<u16>().ok())
        }
        _ => (host.as_str(), None),
    };
    let name = name.trim_end_matches('.');
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).map(str::parse::<std::net::Ipv6Addr>);
    let name = match (address, name) {
        (Some(Ok(address)), _) => match address.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => format!("[{address}]"),
        },
        (_, "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com") => "docker.io".to_owned(),
        (_, name) => name.to_owned(),
    };
    match port {
        None | Some(443 | 80) => name,
        Some(port) => format!("{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pem() -> String {
        let path =
            format!("{}/testdata/keyrings/derived/cosign-single-arch-empty-image.pub", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn rsa_image_keys_of_2048_to_8192_bits_are_taken_and_no_others() {
        use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
        for (bits, good) in [(1024, false), (2047, false), (2048, true), (4096, true), (8192, true), (8193, false)] {
            let n = (rsa::BigUint::from(1u8) << (bits - 1)) + rsa::BigUint::from(1u8);
            let key = rsa::RsaPublicKey::new_with_max_size(n, rsa::BigUint::from(65_537u32), 9000).unwrap();
            let pem = key.to_public_key_pem(LineEnding::LF).unwrap();
            assert_eq!(ImageKey::new("*", None, &pem).is_ok(), good, "{bits}");
        }
    }

    fn keys(scopes: &[&str]) -> Vec<ImageKey> {
        scopes.iter().map(|scope| ImageKey::new(scope, None, &pem()).unwrap()).collect()
    }

    fn scopes(keys: &[ImageKey], repository: Option<&str>, target: Option<&str>) -> Vec<Vec<String>> {
        let target: Option<Repository> = target.map(|t| t.parse().unwrap());
        let groups = demands(keys, repository, repository.is_none(), target.as_ref());
        groups.iter().map(|group| group.iter().map(|d| d.key.scope.clone()).collect()).collect()
    }

    #[test]
    fn a_name_is_covered_however_it_is_spelt() {
        for (scope, name) in [
            ("quay.io/team", "quay.io/team/app"),
            ("quay.io/team", "quay.io:443/team/app"),
            ("quay.io/team", "quay.io:0443/team/app"),
            ("quay.io/team", "quay.io:80/team"),
            ("quay.io/team", "QUAY.io./team/app"),
            ("quay.io:443/team/", "quay.io/team/app"),
            ("quay.io", "quay.io:443/team/app"),
            ("docker.io", "index.docker.io/library/nginx"),
            ("docker.io/library", "registry-1.docker.io/nginx"),
            ("docker.io/library/nginx", "docker.io/nginx"),
            ("[::1]:5000", "[0:0:0:0:0:0:0:1]:5000/a"),
            ("localhost:5000/a", "localhost:5000/a/b"),
        ] {
            assert!(!scopes(&keys(&[scope]), Some(name), None).is_empty(), "{scope} {name}");
        }
        for (scope, name) in [
            ("quay.io/team", "quay.io/teams/app"),
            ("quay.io/team", "quay.io/other/team"),
            ("quay.io", "quay.io.evil.example/team"),
            ("quay.io", "quay.io:8443/team"),
            ("quay.io/team/app", "mirror.example/team"),
        ] {
            assert!(scopes(&keys(&[scope]), Some(name), None).is_empty(), "{scope} {name}");
        }
    }

    #[test]
    fn an_image_that_lands_in_the_place_of_a_scope_is_covered_by_it() {
        let keys = keys(&["quay.io/team"]);
        for (name, target) in [
            (Some("mirror.example/team/app"), None),
            (Some("team/app"), None),
            (Some("other/app"), Some("quay.io/team")),
            (Some("x.example/app"), Some("reg.example/team")),
            (None, Some("reg.example/team/app")),
            (None, Some("quay.io:443/team")),
        ] {
            assert!(!scopes(&keys, name, target).is_empty(), "{name:?} {target:?}");
        }
        assert!(scopes(&keys, None, None).is_empty());
        assert!(scopes(&keys, Some("other/app"), Some("reg.example/x")).is_empty());
    }

    #[test]
    fn the_keys_of_the_most_specific_scope_are_responsible_by_name_and_by_place() {
        let keys = keys(&["quay.io", "quay.io/team", "quay.io/team/", "quay.io/other", "mirror.example", "*"]);
        let team = vec!["quay.io/team".to_owned(); 2];
        assert_eq!(scopes(&keys, Some("quay.io/team/app"), None), [team.clone(), team.clone()]);
        assert_eq!(scopes(&keys, Some("quay.io/teams/app"), None), [["quay.io"]]);
        assert_eq!(scopes(&keys, Some("mirror.example/team/app"), None), [vec!["mirror.example".to_owned()], team]);
        assert_eq!(scopes(&keys, Some("example.com/x/app"), None), [["*"]]);
        assert_eq!(scopes(&keys, None, None), [["*"]]);
    }

    #[test]
    fn a_scope_or_identity_that_can_match_nothing_is_refused() {
        for bad in ["", "/", "https://quay.io", "quay.io/a:tag", "quay.io/A", "quay.io/*", "quay.io//a", "**"] {
            assert!(ImageKey::new(bad, None, &pem()).is_err(), "{bad}");
        }
        for bad in ["", "quay.io", "quay.io/a:tag", "https://quay.io/a", "app"] {
            assert!(ImageKey::new("quay.io", Some(bad.to_owned()), &pem()).is_err(), "{bad}");
        }
        for good in ["quay.io", "quay.io/", "quay.io/a/b", "127.0.0.1:5000", "localhost:5000/a", "*"] {
            assert!(ImageKey::new(good, Some("quay.io/a/b".to_owned()), &pem()).is_ok(), "{good}");
        }
    }
}
