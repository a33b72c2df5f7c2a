//! SSH signatures made by hand, so that each part can be wrong. The keys are TEST keys from fixed seeds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::Digest as _;

/// The bundle's builder, whom the vectors trust.
pub const BUILDER: [u8; 32] = [0xb1; 32];
/// A second builder.
pub const SECOND: [u8; 32] = [0xb2; 32];
/// A reviewer.
pub const REVIEWER: [u8; 32] = [0xb3; 32];
/// A key that the vectors do not trust.
pub const STRANGER: [u8; 32] = [0xee; 32];

pub const NAMESPACE: &str = "mirror-bundle.v1.builder";

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Several strings in SSH wire form.
pub fn wire(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| string(&mut out, part));
    out
}

/// The public key of a seed in SSH wire form.
pub fn blob(seed: &[u8; 32]) -> Vec<u8> {
    wire(&[b"ssh-ed25519", SigningKey::from_bytes(seed).verifying_key().as_bytes()])
}

/// The public key of a seed as a line of a `.pub` file.
pub fn line(seed: &[u8; 32], comment: &str) -> String {
    format!("ssh-ed25519 {} {comment}\n", STANDARD.encode(blob(seed)))
}

/// The private key of a seed as OpenSSH writes it.
pub fn private(seed: &[u8; 32], comment: &str) -> String {
    let public = SigningKey::from_bytes(seed).verifying_key().to_bytes();
    let pair =
        ssh_key::private::Ed25519Keypair::from_bytes(&[&seed[..], &public].concat().try_into().unwrap()).unwrap();
    let key = ssh_key::PrivateKey::new(pair.into(), comment).unwrap();
    key.to_openssh(ssh_key::LineEnding::LF).unwrap().to_string()
}

/// A signature in parts, all of them right until changed.
pub struct Parts {
    pub magic: Vec<u8>,
    pub version: u32,
    pub key: Vec<u8>,
    pub namespace: String,
    pub reserved: Vec<u8>,
    pub hash: String,
    pub algorithm: String,
    pub raw: Vec<u8>,
    pub after: Vec<u8>,
}

impl Parts {
    /// A right signature by `seed` over `message`.
    pub fn new(seed: &[u8; 32], message: &[u8]) -> Parts {
        Parts::made(seed, message, NAMESPACE, b"", "sha512")
    }

    /// One in which these fields are also what was signed.
    pub fn made(seed: &[u8; 32], message: &[u8], namespace: &str, reserved: &[u8], hash: &str) -> Parts {
        let digest: Vec<u8> = match hash {
            "sha256" => sha2::Sha256::digest(message).to_vec(),
            _ => sha2::Sha512::digest(message).to_vec(),
        };
        let mut data = b"SSHSIG".to_vec();
        data.extend(wire(&[namespace.as_bytes(), reserved, hash.as_bytes(), &digest]));
        Parts {
            magic: b"SSHSIG".to_vec(),
            version: 1,
            key: blob(seed),
            namespace: namespace.to_owned(),
            reserved: reserved.to_vec(),
            hash: hash.to_owned(),
            algorithm: "ssh-ed25519".to_owned(),
            raw: SigningKey::from_bytes(seed).sign(&data).to_bytes().to_vec(),
            after: Vec::new(),
        }
    }

    /// In armor.
    pub fn armored(&self) -> Vec<u8> {
        let mut out = self.magic.clone();
        out.extend_from_slice(&self.version.to_be_bytes());
        let signature = wire(&[self.algorithm.as_bytes(), &self.raw]);
        out.extend(wire(&[&self.key, self.namespace.as_bytes(), &self.reserved, self.hash.as_bytes(), &signature]));
        out.extend_from_slice(&self.after);
        armor(&out)
    }
}

/// Base64 between the two lines, 70 columns, as `ssh-keygen` writes it.
pub fn armor(bytes: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(bytes);
    let mut out = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
    for chunk in body.as_bytes().chunks(70) {
        out.push_str(std::str::from_utf8(chunk).unwrap());
        out.push('\n');
    }
    out.push_str("-----END SSH SIGNATURE-----\n");
    out.into_bytes()
}

/// The right signature over an index by `seed`.
pub fn sign(seed: &[u8; 32], message: &[u8]) -> Vec<u8> {
    Parts::new(seed, message).armored()
}

/// The same signature with the group order added to its second half, which lax verifiers accept.
pub fn malleable(raw: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut out = raw.to_vec();
    let mut carry = 0u16;
    for (byte, add) in out[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    out
}
