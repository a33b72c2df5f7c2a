//! Free space and limits of a file system, and reservation of space; all before content is written.

use std::fs::File;
use std::io;
#[cfg(any(feature = "cli", test))]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, Result};

/// The file system that holds a path, or will hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// The type of file system, from the kernel's magic number; `other` for types that do not matter here (`fuse` may
    /// hide exFAT or NTFS).
    pub kind: &'static str,
    /// The largest file it can hold in bytes, if that limit matters (FAT32: 4 GiB - 1).
    pub max_file: Option<u64>,
}

impl Space {
    /// Whether it is FAT or exFAT: no links, no `:` in names, case-insensitive names.
    pub fn is_fat(&self) -> bool {
        matches!(self.kind, "vfat" | "exfat")
    }
}

/// The file system of `path`, or of the nearest existing folder above it.
pub fn of(path: &Path) -> Result<Space> {
    let here = existing(path);
    let stat = retry_on_intr(|| rustix::fs::statvfs(&here))
        .map_err(|e| Error::io("cannot get the free space of", &here, e.into()))?;
    let kind = kind(&here)?;
    let max_file = (kind == "vfat").then_some((4 << 30) - 1);
    Ok(Space { free: stat.f_bavail.saturating_mul(stat.f_frsize), kind, max_file })
}

/// Reserves the whole size, so that a full disk is found before the first transfer.
pub(crate) fn reserve(file: &File, total: u64, path: &Path) -> Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, total)) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            file.set_len(total).map_err(|e| Error::io("cannot reserve space for", path, e))
        }
        Err(e) => Err(Error::io("cannot reserve space for", path, e.into())),
    }
}

/// The mount point of a file's medium: what the user unmounts before removing it.
#[cfg(any(feature = "cli", test))]
pub(crate) fn mount_point(path: &Path) -> Result<PathBuf> {
    let err = |e| Error::io("cannot read", path, e);
    let mut here = std::fs::canonicalize(path).map_err(err)?;
    let device = here.metadata().map_err(err)?.dev();
    while let Some(parent) = here.parent() {
        if parent.metadata().map_err(err)?.dev() != device {
            break;
        }
        here = parent.to_owned();
    }
    Ok(here)
}

/// Whether files can be created in a folder.
pub(crate) fn writable(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether an error means a full disk or an exhausted quota.
pub(crate) fn is_full(e: &Error) -> bool {
    let cause = std::error::Error::source(e).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.and_then(Errno::from_io_error).is_some_and(|e| matches!(e, Errno::NOSPC | Errno::DQUOT))
}

fn existing(path: &Path) -> PathBuf {
    let at = path.ancestors().find(|p| !p.as_os_str().is_empty() && p.exists());
    at.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[cfg(target_os = "linux")]
fn kind(path: &Path) -> Result<&'static str> {
    let stat = retry_on_intr(|| rustix::fs::statfs(path))
        .map_err(|e| Error::io("cannot get the file system type of", path, e.into()))?;
    // linux/magic.h, and fs/{exfat,ntfs3,btrfs,xfs} for those it lacks.
    Ok(match stat.f_type as u64 & 0xffff_ffff {
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x7366_746e | 0x5346_544e => "ntfs",
        0x6573_5546 => "fuse",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x6969 => "nfs",
        0x9660 => "iso9660",
        0x1501_3346 => "udf",
        _ => "other",
    })
}

#[cfg(not(target_os = "linux"))]
fn kind(_: &Path) -> Result<&'static str> {
    Ok("other")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_that_is_not_there_yet_has_the_space_of_the_folder_above() {
        let tmp = tempfile::tempdir().unwrap();
        let here = of(tmp.path()).unwrap();
        assert!(here.free > 0);
        assert_eq!(of(&tmp.path().join("a/b/c")).unwrap().kind, here.kind);
        assert!(of(Path::new("not-there-yet/x")).unwrap().free > 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kind_of_a_known_file_system_is_reported() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let root =
            mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>()).rfind(|f| f[1] == "/").unwrap()[2].to_owned();
        let space = of(Path::new("/")).unwrap();
        if ["ext4", "xfs", "btrfs", "tmpfs"].contains(&root.as_str()) {
            assert_eq!(space.kind, root);
        }
        assert!(!space.is_fat());
        assert_eq!(space.max_file, None);
    }

    #[test]
    fn a_mount_point_is_on_the_device_of_the_file_and_what_is_above_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let found = mount_point(dir.path()).unwrap();
        let device = |path: &Path| path.metadata().unwrap().dev();
        assert!(dir.path().canonicalize().unwrap().starts_with(&found));
        assert_eq!(device(&found), device(dir.path()));
        assert!(found.parent().is_none_or(|above| device(above) != device(&found)));
    }
}
