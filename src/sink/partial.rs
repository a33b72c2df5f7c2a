//! A file that is being written: under a temporary name until it is whole, gone if it never is.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{FlockOperation, Mode};
use rustix::io::{Errno, retry_on_intr};

use crate::beneath::{Dir, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;

const PREFIX: &str = ".mirror-bundle-";
const SUFFIX: &str = ".partial";

/// The temporary name for the content with this digest.
pub(super) fn name_for(digest: &Digest) -> String {
    format!("{PREFIX}{}{SUFFIX}", &digest.hex()[..32])
}

/// Whether this is a name that [`name_for`] makes.
pub(super) fn is_ours(name: &str) -> bool {
    let middle = name.strip_prefix(PREFIX).and_then(|n| n.strip_suffix(SUFFIX));
    middle.is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// A file in the making, in the directory it will stay in.
pub(super) struct Partial<'a> {
    dir: &'a Dir,
    name: String,
    file: File,
    mode: u32,
    committed: bool,
}

impl<'a> Partial<'a> {
    /// A new empty file. What an earlier, killed run left under the name is removed first; a file that another
    /// process is still writing is `Code::Conflict`.
    pub(super) fn create(dir: &'a Dir, digest: &Digest) -> Result<Partial<'a>> {
        let name = name_for(digest);
        clear(dir, &name)?;
        let file = dir.create_new(&name)?.ok_or_else(|| busy(dir, &name))?;
        // The umask is known only by what it did to 0644; until the content is right nobody else reads it.
        let mode =
            file.metadata().map_err(|e| Error::io("cannot read", dir.at(&name), e))?.permissions().mode() & 0o777;
        let partial = Partial { dir, name, file, mode, committed: false };
        partial.chmod(0o600)?;
        match retry_on_intr(|| rustix::fs::flock(&partial.file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) => Err(busy(dir, &partial.name)),
            _ => Ok(partial),
        }
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("cannot write", self.dir.at(&self.name), e))
    }

    /// Syncs the content and gives it its final name, replacing what is there. The directory is not synced.
    pub(super) fn commit(mut self, name: &str) -> Result<()> {
        self.chmod(self.mode)?;
        self.file.sync_all().map_err(|e| Error::io("cannot sync", self.dir.at(&self.name), e))?;
        self.dir.rename(&self.name, name)?;
        self.committed = true;
        Ok(())
    }

    /// FAT has no modes, and says so in its own ways.
    fn chmod(&self, mode: u32) -> Result<()> {
        match retry_on_intr(|| rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode as _))) {
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(e) => Err(Error::io("cannot change the mode of", self.dir.at(&self.name), e.into())),
        }
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if !self.committed {
            let _ = self.dir.remove(&self.name);
        }
    }
}

/// Removes a left-over of ours, unless its writer is alive. A link is removed, not what it points to.
pub(super) fn clear(dir: &Dir, name: &str) -> Result<()> {
    match dir.kind(name)? {
        None => Ok(()),
        Some(Kind::File) => {
            if let Some(file) = dir.file(name)?
                && retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared))
                    == Err(Errno::WOULDBLOCK)
            {
                return Err(busy(dir, name));
            }
            dir.remove(name)
        }
        Some(Kind::Symlink) => dir.remove(name),
        Some(Kind::Directory | Kind::Other) => Err(dir.wrong(name, "a temporary file of this program")),
    }
}

/// Removes what killed runs left in a directory, but nothing that is being written now.
pub(super) fn sweep(dir: &Dir) -> Result<()> {
    for (name, kind) in dir.entries()? {
        if is_ours(&name) && matches!(kind, Kind::File | Kind::Symlink) {
            match clear(dir, &name) {
                Err(e) if e.code() == Code::Conflict => {}
                done => done?,
            }
        }
    }
    Ok(())
}

fn busy(dir: &Dir, name: &str) -> Error {
    Error::new(Code::Conflict, format!("`{}` is being written by another process", dir.at(name).display()))
        .hint("wait until it has ended, then run the same command again")
}
