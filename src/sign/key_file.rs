//! Key files on this host: reads them bounded, and writes a new pair without overwriting anything.
//!
//! The only code of [`crate::sign`] that touches a file system.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::key::PublicKey;
use super::secret::{MAX_FILE, SecretKey};
use super::within;
use crate::error::{Code, Error, Result};
use crate::fs::durable::try_remove;
use crate::fs::partial::create_new;
use crate::fs::small::{self, Unread};

/// Reads a `.pub` file.
pub fn read_public_key(path: &Path) -> Result<PublicKey> {
    let bytes = read(path, &open(path)?)?;
    if bytes.starts_with(b"-----BEGIN") {
        return Err(Error::new(Code::Usage, format!("`{}` is a private key, not a public one", path.display()))
            .hint("give the .pub file, and keep the private key where it is"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::new(Code::Usage, format!("`{}` is not an OpenSSH public key", path.display())))?;
    if text.lines().any(|line| line.trim_end() == "signers:" || line.starts_with("signers: ")) {
        return Err(Error::new(Code::Usage, format!("`{}` is a trust policy, not a public key", path.display()))
            .hint(format!("--trust {}", path.display())));
    }
    PublicKey::parse(text).map_err(|bad| within(&format!("`{}`", path.display()), bad.into()))
}

/// Reads a private key file. Like `ssh`, it refuses a file of this user that others can read.
pub fn read_secret_key(path: &Path, passphrase: impl FnOnce() -> Result<Zeroizing<String>>) -> Result<SecretKey> {
    let file = open(path)?;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    let bytes = read(path, &file)?;
    let mode = meta.mode() & 0o777;
    // What is no private key at all is reported as that.
    let pem = bytes.starts_with(b"-----BEGIN ");
    if pem && meta.uid() == rustix::process::getuid().as_raw() && mode & 0o077 != 0 {
        return Err(Error::new(Code::Usage, format!("permissions {mode:04o} for `{}` are too open", path.display()))
            .fact("a private key must not be accessible by others")
            .hint(format!("chmod 600 {}", path.display())));
    }
    SecretKey::load(&bytes, passphrase).map_err(|err| within(&format!("`{}`", path.display()), err))
}

/// Writes the private key to `path` (mode 0600) and the public key to `path` + `.pub`, and returns the latter. Neither
/// may exist. Both are durable on return; after an error neither is left.
pub fn write_key_pair(path: &Path, key: &SecretKey, passphrase: Option<&str>) -> Result<PathBuf> {
    let mut public = OsString::from(path);
    public.push(".pub");
    let public = PathBuf::from(public);
    let line = format!("{}\n", key.public().to_line());
    let text = key.to_openssh(passphrase)?;
    create(&public, line.as_bytes(), 0o644)?;
    if let Err(err) = create(path, text.as_bytes(), 0o600) {
        // This call created the public file, which is useless alone.
        let _ = try_remove(&public);
        return Err(err);
    }
    Ok(public)
}

fn open(path: &Path) -> Result<File> {
    small::open_input(path).map_err(|e| e.error("cannot open", path, Code::Usage))
}

fn read(path: &Path, file: &File) -> Result<Zeroizing<Vec<u8>>> {
    // Reserve all the space at once: a growing vector leaves copies of a key in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    small::read_open(file, MAX_FILE as u64, &mut bytes).map_err(|e| match e {
        Unread::TooLong(limit) => Error::new(Code::Usage, format!("`{}` is too long for a key file", path.display()))
            .fact(format!("the limit is {limit} bytes")),
        e => e.error("cannot read", path, Code::Usage),
    })?;
    Ok(bytes)
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut file = create_new(path, mode).map_err(|e| {
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            Error::new(Code::Conflict, format!("`{}` already exists, and a key is never overwritten", path.display()))
                .state("nothing was written")
                .hint("choose another name, or move the old key away")
        } else {
            Error::io("cannot create", path, e)
        }
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| {
        let _ = try_remove(path);
        Error::io("cannot write", path, e)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn key() -> SecretKey {
        SecretKey::from_seed(&[9; 32], "c")
    }

    fn none() -> Result<Zeroizing<String>> {
        panic!("asked for a passphrase")
    }

    #[test]
    fn a_pair_is_written_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let public = write_key_pair(&path, &key(), None).unwrap();
        assert_eq!(public, dir.path().join("k.pub"));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_secret_key(&path, none).unwrap().public(), key().public());
        assert_eq!(read_public_key(&public).unwrap(), *key().public());
        assert!(read_public_key(&path).unwrap_err().message().contains("is a private key"));
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        for existing in ["k", "k.pub"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("k");
            std::fs::write(dir.path().join(existing), "mine").unwrap();
            assert_eq!(write_key_pair(&path, &key(), None).unwrap_err().code(), Code::Conflict);
            let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, [existing], "nothing else is left");
            assert_eq!(std::fs::read(dir.path().join(existing)).unwrap(), b"mine");
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("k")).unwrap();
        assert!(write_key_pair(&dir.path().join("k"), &key(), None).is_err());
        assert!(!dir.path().join("elsewhere").exists(), "a planted link is not followed");
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_key_pair(&path, &key(), None).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let err = read_secret_key(&path, none).unwrap_err();
            assert!(err.message().contains("too open"), "{err:?}");
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        assert!(read_secret_key(&path, none).is_ok());
    }

    #[test]
    fn long_missing_and_special_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        assert_eq!(read_public_key(&path).unwrap_err().code(), Code::Io);
        std::fs::write(&path, vec![b'x'; MAX_FILE + 1]).unwrap();
        assert!(read_public_key(&path).unwrap_err().message().contains("too long"));
        assert!(read_public_key(dir.path()).is_err());
        assert!(read_public_key(Path::new("/dev/zero")).unwrap_err().message().contains("regular"));
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(read_public_key(&path).is_err());
    }
}
