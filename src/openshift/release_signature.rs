//! Signature stores: the locations of release signatures, and reading a store in a local directory.
//!
//! Layout `<store>/sha256=<hex>/signature-<n>`, n from 1 to 9, without gaps (openshift/library-go `pkg/verify/store`).
//! The caller fetches from stores on the web; see [`store_url`]. Verification is in [`super::openpgp`].

use std::path::Path;

use super::openpgp::MAX_SIGNATURE_BYTES;
use crate::error::{Code, Error, Result};
use crate::fs::small::{self, Unread};
use crate::oci::{Digest, Invalid};

/// The most signatures for one digest in a store: the cluster reads no more.
pub const MAX_SIGNATURES: usize = 9;

/// The path of signature `n`, counted from 1, below a store.
pub fn store_path(digest: &Digest, n: usize) -> String {
    format!("sha256={}/signature-{n}", digest.hex())
}

/// The URL of signature `n`, counted from 1, in the store at `base`: an `http` or `https` URL without user, query
/// or fragment.
pub fn store_url(base: &str, digest: &Digest, n: usize) -> Result<String, Invalid> {
    check_http_url(base)?;
    Ok(format!("{}/{}", base.trim_end_matches('/'), store_path(digest, n)))
}

/// Whether signatures can be requested from `url`.
pub(super) fn check_http_url(url: &str) -> Result<(), Invalid> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let printable = url.bytes().all(|b| b.is_ascii_graphic());
    if host.is_empty() || host.contains('@') || !printable || url.contains(['?', '#', '\\']) || url.len() > 2048 {
        return Err(Invalid::new(format!("`{url}` is not the URL of a signature store")));
    }
    Ok(())
}

/// Reads the signatures for `digest` from the directory store `store`, in order, up to the first missing number. A
/// store without signatures gives an empty list. Refused: anything but regular files of at most
/// [`MAX_SIGNATURE_BYTES`].
pub fn read_store(store: &Path, digest: &Digest) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    for n in 1..=MAX_SIGNATURES {
        let path = store.join(store_path(digest, n));
        match small::read(&path, MAX_SIGNATURE_BYTES as u64) {
            Ok(bytes) => out.push(bytes),
            Err(e) if e.is_missing() => break,
            Err(e) => return Err(refused(e, &path)),
        }
    }
    Ok(out)
}

fn refused(why: Unread, path: &Path) -> Error {
    let wrong = match why {
        Unread::System(e) => return Error::io("cannot read release signature", path, e),
        Unread::NotRegular => "not a regular file".to_owned(),
        Unread::TooLong(limit) => format!("longer than {limit} bytes"),
    };
    Error::new(Code::Malformed, format!("release signature `{}` is {wrong}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;

    use super::*;

    fn store(files: &[(usize, &[u8])]) -> (tempfile::TempDir, Digest) {
        let (dir, digest) = (tempfile::tempdir().unwrap(), Digest::of(b"release"));
        for (n, bytes) in files {
            let path = dir.path().join(store_path(&digest, *n));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        (dir, digest)
    }

    #[test]
    fn a_real_store_is_read_in_order() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/signatures/oc-mirror");
        let digest = "sha256:50b9402635dd4b312a86bed05dcdbda8c00120d3789ec2e9b527045100b3bdb4".parse().unwrap();
        let lengths: Vec<usize> = read_store(&root, &digest).unwrap().iter().map(Vec::len).collect();
        assert_eq!(lengths, [901, 905, 892, 894]);
        assert!(read_store(&root, &Digest::of(b"x")).unwrap().is_empty());
    }

    #[test]
    fn reading_stops_at_the_first_gap_and_at_nine() {
        let (dir, digest) = store(&[(1, b"a"), (3, b"c")]);
        assert_eq!(read_store(dir.path(), &digest).unwrap(), [b"a"]);
        let all: Vec<(usize, &[u8])> = (1..=12).map(|n| (n, &b"x"[..])).collect();
        let (dir, digest) = store(&all);
        assert_eq!(read_store(dir.path(), &digest).unwrap().len(), 9);
    }

    #[test]
    fn fifos_directories_and_large_files_are_refused() {
        let (dir, digest) = store(&[(1, &vec![0; MAX_SIGNATURE_BYTES + 1])]);
        assert_eq!(read_store(dir.path(), &digest).unwrap_err().code(), Code::Malformed);
        let path = dir.path().join(store_path(&digest, 1));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(read_store(dir.path(), &digest).unwrap_err().code(), Code::Malformed);
        fs::remove_dir(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(read_store(dir.path(), &digest).unwrap_err().code(), Code::Malformed);
    }

    #[test]
    fn urls_are_joined_and_strange_ones_refused() {
        let digest = Digest::of(b"");
        let url = store_url("https://mirror.example.com/signatures/", &digest, 2).unwrap();
        let expected = format!("https://mirror.example.com/signatures/sha256={}/signature-2", digest.hex());
        assert_eq!(url, expected);
        for bad in [
            "",
            "ftp://x/y",
            "https://",
            "https:///x",
            "https://u:p@h/x",
            "https://h/x?y",
            "https://h/x#y",
            "https://h/a b",
            "https://h/\n",
            "file:///x",
            "https://h\\@evil/x",
        ] {
            assert!(store_url(bad, &digest, 1).is_err(), "{bad}");
        }
    }
}
