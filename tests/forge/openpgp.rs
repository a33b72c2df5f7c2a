//! Release signatures made by hand with the TEST release key (RSA-2048, PKCS#1 v1.5: the same bytes every time).

use mirror_bundle::oci::Digest;
use sequoia_openpgp as openpgp;

use openpgp::crypto::Signer as _;
use openpgp::parse::Parse as _;

/// The creation time in release signatures: 2026-11-01.
const MADE: u32 = 1_793_491_200;

/// The claim that is signed for a release digest.
pub fn claim(digest: &Digest) -> String {
    format!(
        r#"{{"critical":{{"image":{{"docker-manifest-digest":"{digest}"}},"type":"atomic container signature","identity":{{"docker-reference":"quay.io/openshift-release-dev/ocp-release:4.16.1-x86_64"}}}},"optional":{{"creator":"mirror-bundle tests"}}}}"#
    )
}

/// A good release signature for `digest`.
pub fn sign(digest: &Digest) -> Vec<u8> {
    sign_text(claim(digest).as_bytes())
}

/// A signed message with this content: one-pass signature, literal, signature.
pub fn sign_text(content: &[u8]) -> Vec<u8> {
    sign_with(content, MADE, 8)
}

/// The same with another date or hash (8 SHA-256, 10 SHA-512).
pub fn sign_with(content: &[u8], made: u32, hash: u8) -> Vec<u8> {
    let cert = openpgp::Cert::from_file(super::folder().join("keys/release.secret.asc")).unwrap();
    let key = cert.primary_key().key().clone().parts_into_secret().unwrap();
    let id = key.keyid();
    let id = id.as_bytes();

    let mut head = vec![4, 0, 1, hash, 0, 6, 5, 2];
    head.extend_from_slice(&made.to_be_bytes());
    let algorithm = openpgp::types::HashAlgorithm::from(hash);
    let mut context = algorithm.context().unwrap().for_digest();
    context.update(content);
    context.update(&head);
    context.update(&[4, 0xff]);
    context.update(&(head.len() as u32).to_be_bytes());
    let mut digest = vec![0; context.digest_size()];
    context.digest(&mut digest).unwrap();
    let signature = key.into_keypair().unwrap().sign(algorithm, &digest).unwrap();
    let openpgp::crypto::mpi::Signature::RSA { s } = signature else { panic!("not an RSA key") };

    let mut body = head;
    body.extend_from_slice(&[0, 10, 9, 16]);
    body.extend_from_slice(id);
    body.extend_from_slice(&digest[..2]);
    body.extend_from_slice(&(s.bits() as u16).to_be_bytes());
    body.extend_from_slice(s.value());

    let mut one_pass = vec![3, 0, hash, 1];
    one_pass.extend_from_slice(id);
    one_pass.push(1);
    let mut literal = vec![b'b', 0, 0, 0, 0, 0];
    literal.extend_from_slice(content);
    [packet(4, &one_pass), packet(11, &literal), packet(2, &body)].concat()
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc0 | tag];
    match body.len() {
        n @ 0..=191 => out.push(n as u8),
        n => out.extend_from_slice(&[(((n - 192) >> 8) + 192) as u8, (n - 192) as u8]),
    }
    out.extend_from_slice(body);
    out
}
