//! What a file that is not a bundle most likely is. Only for messages: nothing is decided by it.

use super::input::Input;
use super::tar;
use crate::error::{Code, Error};

/// The most members of an archive that are looked at.
const MEMBERS: usize = 4096;

/// Beginnings of files that people take for bundles: bytes, what it is, and what to do.
const MAGIC: [(&[u8], &str, &str); 11] = [
    (b"\x1f\x8b", "it is compressed with gzip", "decompress it first: gunzip FILE, or gunzip -c FILE > BUNDLE"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", "decompress it first: zstd -d FILE -o BUNDLE"),
    (b"\xfd7zXZ\0", "it is compressed with xz", "decompress it first: xz -dk FILE"),
    (b"BZh", "it is compressed with bzip2", "decompress it first: bzip2 -dk FILE"),
    (b"PK\x03\x04", "it is a zip archive", "unzip it first"),
    (b"ssh-", "it is a public key", "name the bundle first, and keys with --signer"),
    (b"<!DOCTYPE", "it is a web page", PAGE),
    (b"<!doctype", "it is a web page", PAGE),
    (b"<html", "it is a web page", PAGE),
    (b"<?xml", "it is an XML document", PAGE),
    (b"-----BEGIN ", "it is a key or a signature", "name the bundle first, and keys with --signer"),
];

const PAGE: &str = "the server sent this instead of the file: look into it, and download the bundle again";
const IMAGES: &str = "to make a bundle of its images: mirror-bundle create BUNDLE --from-layout FILE";

/// The error for a file that does not begin as a bundle does; `why` says what is missing, when nothing better is known.
///
/// `head` is the first block where it was read: a stream gives it only once.
pub(super) fn error(input: &Input, head: Option<&[u8; 512]>, why: &str) -> Error {
    let mut start = [0u8; 16];
    match head {
        Some(head) => start.copy_from_slice(&head[..16]),
        // What is too short for this is none of them.
        None => input.read_exact_at(&mut start, 0).unwrap_or_default(),
    }
    let first = |(magic, ..): &&(&[u8], &str, &str)| start.starts_with(magic);
    let found = MAGIC.iter().find(first).map(|(_, what, hint)| (*what, *hint)).or_else(|| archive(input));
    let name = &input.name;
    match found {
        Some((what, hint)) => {
            Error::new(Code::NotABundle, format!("`{name}` is not a mirror-bundle: {what}")).hint(hint)
        }
        None => Error::new(Code::NotABundle, format!("`{name}` is not a mirror-bundle: {why}")),
    }
}

/// What kind of tar archive it is, by the names of its members.
fn archive(input: &Input) -> Option<(&'static str, &'static str)> {
    let (mut at, mut oci, mut docker, mut any) = (0u64, false, false, false);
    let mut block = [0u8; 512];
    for _ in 0..MEMBERS {
        if input.read_exact_at(&mut block, at).is_err() || &block[257..262] != b"ustar" {
            break;
        }
        any = true;
        let name = block[..100].split(|b| *b == 0).next().unwrap_or_default();
        let name = name.strip_prefix(b"./").unwrap_or(name);
        let under = |folder: &str| name.starts_with(folder.as_bytes());
        if under("docker/v2/") || under("working-dir/") || under("publish/.metadata") || under("mirror_seq") {
            return Some((
                "it is an archive of oc-mirror",
                "unpack it with oc mirror, then take the images from the registry: mirror-bundle create BUNDLE --image REF",
            ));
        }
        if under("mirror-bundle/recovery/") {
            return Some((
                "it is recovery data",
                "name the bundle; repair uses BUNDLE.recovery beside it, or --recovery FILE",
            ));
        }
        oci |= name == b"oci-layout" || under("blobs/sha256");
        let stem = name.split(|b| matches!(b, b'/' | b'.')).next().unwrap_or_default();
        docker |= name == b"manifest.json" || (stem.len() == 64 && stem.iter().all(u8::is_ascii_hexdigit));
        let digits = std::str::from_utf8(&block[124..135]).ok()?.trim_matches(['\0', ' ']);
        let size = u64::from_str_radix(digits, 8).ok()?;
        at = at.checked_add(tar::BLOCK)?.checked_add(tar::padded(size))?;
    }
    match (oci, docker) {
        (true, _) => Some(("it is an OCI image archive", IMAGES)),
        (false, true) => Some(("it is a docker archive", IMAGES)),
        (false, false) => any.then_some(("it is another tar archive", "mirror-bundle create makes bundles")),
    }
}
