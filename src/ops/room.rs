//! Checks that the output fits the file system, before the first byte is written (MB-WRI-01, MB-VOL-10).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::bundle::writer::{Journal, Plan, partial_path};
use crate::error::{Error, Result};
use crate::fs::dir::folder_of;
use crate::fs::space::{self, Space};
use crate::ops::observer::size;
pub(crate) use crate::sink::room::enough;
use crate::sink::room::{large_enough, long_enough};

/// Free bytes on the file system of `bundle`.
pub(crate) fn free(bundle: &Path) -> Result<u64> {
    space::of(bundle).map(|space| space.free)
}

/// Checks that a file can be created beside `path`, before fetching, which may take long.
pub(crate) fn writable(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    space::writable(folder).map_err(|e| Error::io("cannot write to", folder, e).state("nothing was written"))
}

/// Checks that the planned files fit their file system: all together, and each by itself.
///
/// # Errors
/// [`Code::Io`] with the required and the available space.
pub(crate) fn check(bundle: &Path, plan: &Plan, journal: Option<&Journal>) -> Result<()> {
    check_in(&space::of(bundle)?, bundle, plan, journal)
}

fn check_in(space: &Space, bundle: &Path, plan: &Plan, journal: Option<&Journal>) -> Result<()> {
    let largest = plan.archives().iter().map(|archive| plan.bytes_of(archive)).max().unwrap_or(0);
    long_enough(space, bundle, largest).map_err(|e| e.hint("write it in volumes: --media fat32"))?;
    large_enough(space, bundle, need(bundle, plan, journal), "make room, or carry less")
}

/// Adds the required and the available space to the error of a full disk.
pub(crate) fn with_space(e: Error, bundle: &Path, plan: &Plan) -> Error {
    match free(bundle) {
        Ok(free) if space::is_full(&e) => {
            let missing = size(need(bundle, plan, None));
            e.fact(format!("{missing} needed in addition to what is there, {} free", size(free)))
        }
        _ => e,
    }
}

/// What the planned files still need: excludes finished files and the content of partial files.
fn need(bundle: &Path, plan: &Plan, journal: Option<&Journal>) -> u64 {
    let same = journal.is_some_and(|journal| journal.is_of(plan));
    let left = |archive| {
        let (path, bytes) = (plan.path(bundle, archive), plan.bytes_of(archive));
        let held = |path: &Path| std::fs::symlink_metadata(path).ok();
        match held(&partial_path(&path)) {
            Some(partial) => bytes.saturating_sub(partial.blocks().saturating_mul(512)),
            None if same && held(&path).is_some_and(|m| m.len() == bytes) => 0,
            None => bytes,
        }
    };
    plan.archives().iter().map(left).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::bundle::index::{Blob, tests::sample};
    use crate::bundle::volume::Media;
    use crate::error::Code;
    use crate::oci::{Digest, Role};
    use crate::ops::volumes::divided;

    /// A bundle with one blob of this size; none of its bytes are needed here.
    fn plan(size: u64) -> Plan {
        let mut index = sample();
        index.blobs = vec![Blob { digest: Digest::of(b"large"), size, role: Role::Layer }];
        Plan::new(index, vec![b"abc".to_vec(); 3], None).unwrap()
    }

    #[test]
    fn a_file_that_fat_cannot_hold_is_noticed_before_it_is_written_and_volumes_for_it_fit() {
        let fat = Space { free: 1 << 40, kind: "vfat", max_file: Some((4 << 30) - 1) };
        let check = |plan: &Plan| check_in(&fat, Path::new("b.tar"), plan, None);
        let overhead = plan(0).bytes();
        check(&plan((4 << 30) - 512 - overhead)).unwrap();
        let err = check(&plan((4 << 30) - overhead)).unwrap_err();
        assert_eq!((err.code(), err.facts()), (Code::Io, &["at most 4294967295 bytes".to_owned()][..]));
        assert!(err.message().contains("a file of 4294967296 bytes"), "{err:?}");
        assert!(err.hint_text().unwrap().contains("--media fat32"), "{err:?}");
        let volumes = divided(plan(9 << 30), Media::Fat32.volume(), &BTreeSet::new(), &|_| Ok(None)).unwrap();
        assert_eq!(volumes.archives().len(), 3);
        check(&volumes).unwrap();
    }

    #[test]
    fn all_volumes_together_have_to_fit() {
        let space = |free| Space { free, kind: "ext4", max_file: None };
        let volumes = divided(plan(9 << 30), 4 << 30, &BTreeSet::new(), &|_| Ok(None)).unwrap();
        let check = |free| check_in(&space(free), Path::new("nowhere/b.tar"), &volumes, None);
        check(volumes.bytes()).unwrap();
        let err = check(volumes.bytes() - 1).unwrap_err();
        assert!(err.message().contains("not enough room"), "{err:?}");
    }

    #[test]
    fn a_place_has_room_for_what_is_free_there_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        enough(&dir.path().join("new"), 0, 0, "").unwrap();
        let err = enough(&dir.path().join("new"), u64::MAX, 0, "go elsewhere").unwrap_err();
        assert_eq!((err.code(), err.hint_text()), (Code::Io, Some("go elsewhere")));
    }
}
