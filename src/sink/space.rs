//! How much room a destination has, and what its file system cannot do. Asked before anything is written.

use std::path::{Path, PathBuf};

use rustix::io::retry_on_intr;

use crate::error::{Code, Error, Result};
use crate::verify::report::size;

/// The file system that holds a path, or will hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// The kind of file system, as the kernel's magic number tells it; `other` if it is not one of those that
    /// matter here (`fuse` may hide exFAT or NTFS).
    pub kind: &'static str,
    /// The longest file it can hold, where that is less than anybody needs (FAT32: 4 GiB - 1).
    pub max_file: Option<u64>,
}

impl Space {
    /// Whether it is FAT or exFAT: no links, no `:` in names, names folded.
    pub fn is_fat(&self) -> bool {
        matches!(self.kind, "vfat" | "exfat")
    }
}

/// Asks about `path`, or the nearest folder above it that exists.
pub fn of(path: &Path) -> Result<Space> {
    let here = existing(path);
    let stat = retry_on_intr(|| rustix::fs::statvfs(&here))
        .map_err(|e| Error::io("cannot ask for free space of", &here, e.into()))?;
    let kind = kind(&here)?;
    let max_file = (kind == "vfat").then_some((4 << 30) - 1);
    Ok(Space { free: stat.f_bavail.saturating_mul(stat.f_frsize), kind, max_file })
}

/// Whether `need` bytes fit the file system that `path` is on or will be, and the longest file of them too.
///
/// # Errors
/// [`Code::Io`] with what is needed and what is there; what to do when there is not enough is said by `hint`.
pub(crate) fn enough(path: &Path, need: u64, longest: u64, hint: &str) -> Result<()> {
    let space = of(path)?;
    long_enough(&space, path, longest)?;
    large_enough(&space, path, need, hint)
}

pub(crate) fn long_enough(space: &Space, path: &Path, longest: u64) -> Result<()> {
    let Some(most) = space.max_file.filter(|most| longest > *most) else { return Ok(()) };
    let text =
        format!("a file of {longest} bytes is too long for the file system of `{}` ({})", path.display(), space.kind);
    Err(Error::new(Code::Io, text)
        .fact(format!("at most {most} bytes"))
        .state("nothing was written")
        .hint("choose a place with another file system"))
}

pub(crate) fn large_enough(space: &Space, path: &Path, need: u64, hint: &str) -> Result<()> {
    if space.free >= need {
        return Ok(());
    }
    let (need, free) = (size(need), size(space.free));
    Err(Error::new(Code::Io, format!("not enough room for `{}`: {need} needed, {free} free", path.display()))
        .state("nothing was written")
        .hint(hint))
}

fn existing(path: &Path) -> PathBuf {
    let at = path.ancestors().find(|p| !p.as_os_str().is_empty() && p.exists());
    at.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[cfg(target_os = "linux")]
fn kind(path: &Path) -> Result<&'static str> {
    let stat = retry_on_intr(|| rustix::fs::statfs(path))
        .map_err(|e| Error::io("cannot ask for the file system of", path, e.into()))?;
    // linux/magic.h, and fs/{exfat,ntfs3,btrfs,xfs} for those that are not in it.
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
    fn the_kind_of_a_known_file_system_is_told() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let root =
            mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>()).rfind(|f| f[1] == "/").unwrap()[2].to_owned();
        let told = of(Path::new("/")).unwrap();
        if ["ext4", "xfs", "btrfs", "tmpfs"].contains(&root.as_str()) {
            assert_eq!(told.kind, root);
        }
        assert!(!told.is_fat());
        assert_eq!(told.max_file, None);
    }
}
