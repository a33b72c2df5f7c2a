//! `recovery`: makes recovery data for a bundle that is whole.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::bundle::reader::Bundle;
use crate::bundle::survey::{Blueprint, survey};
use crate::bundle::writer::{self, disk};
use crate::error::{Code, Error, Result};
use crate::ops::{Observer, Task, observer};
use crate::recovery::{self, Geometry, Protected};

/// What recovery data is to be made.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much, in percent of the bundle.
    pub percent: u8,
    /// Where it goes; else beside the bundle, [`beside`].
    pub to: Option<PathBuf>,
    /// Replace what is there.
    pub force: bool,
}

/// What was made.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// `mirror-bundle/recovery/v1`.
    pub schema: &'static str,
    /// The file.
    pub recovery: String,
    /// Digest of the bundle's index.
    pub index: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// How many bytes of the bundle it protects.
    pub protects: u64,
    /// Size of a slice in bytes.
    pub slice_size: u64,
    /// Slices of the bundle.
    pub slices: usize,
    /// Slices that may be lost.
    pub recovery_slices: usize,
}

/// The file in which recovery data of `bundle` is looked for: `BUNDLE.recovery`.
pub fn beside(bundle: &Path) -> PathBuf {
    let mut name = bundle.as_os_str().to_owned();
    name.push(".recovery");
    name.into()
}

/// Makes recovery data for the bundle at `path`.
///
/// Every byte of the bundle is compared with the index first: recovery data of a damaged bundle would keep the damage.
/// Nobody's signature is judged: recovery data says that bytes belong together, not who made them (MB-REC-01).
///
/// # Errors
/// The codes of `verify` for a bundle that is not whole; [`Code::Conflict`] when the file exists; [`Code::Io`].
pub fn recovery(path: &Path, options: &Options, observer: &dyn Observer) -> Result<Summary> {
    let to = options.to.clone().unwrap_or_else(|| beside(path));
    if path == Path::new("-") || to == Path::new("-") {
        return Err(
            Error::new(Code::Usage, "recovery data cannot be made of a stream, or written to one").hint("name a file")
        );
    }
    if !options.force && fs::symlink_metadata(&to).is_ok() {
        return Err(writer::exists(&to));
    }
    let head = Bundle::open(path)?.head().clone();
    let blueprint = Blueprint::new(head)?;
    let file = fs::File::open(path).map_err(|e| Error::io("cannot open", path, e))?;
    let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
    let end = blueprint.layout.end();
    let geometry = Geometry::new(&[end], options.percent)?;
    room(&to, &geometry)?;

    observer.begin(Task::Verify, blueprint.layout.members().len() as u64, end);
    let found = survey(&file, length, &blueprint, Some(geometry.slice), &mut |n| {
        observer.advance(n);
        observer.check()
    });
    observer.end();
    let found = found?;
    if let Some(at) = found.members.iter().position(|d| d.any()) {
        let (code, what) = if length < blueprint.layout.total() {
            (Code::Truncated, "truncated")
        } else {
            (Code::BlobMismatch, "damaged")
        };
        let damaged = found.members.iter().filter(|d| d.any()).count();
        return Err(Error::new(code, format!("`{}` is {what}: no recovery data was made", path.display()))
            .fact(format!(
                "{} not as the index says, the first `{}`",
                observer::count(damaged, "member"),
                blueprint.layout.members()[at].path
            ))
            .state("nothing was written")
            .hint("make it from a copy that is whole, or mend this one: mirror-bundle repair BUNDLE --from COPY"));
    }

    let partial = writer::partial_path(&to);
    let out = disk::open_own(&partial, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    disk::lock(&out, &partial)?;
    let files = [(&file, end)];
    let from = Protected {
        files: &files,
        index: &blueprint.head.index,
        signature: blueprint.head.signature.as_deref(),
        mtime: blueprint.layout.mtime(),
        geometry,
    };
    observer.begin(Task::Protect, geometry.recovery as u64, end);
    let made = recovery::encode(&out, &partial, &from, &mut |n| {
        observer.advance(n);
        observer.check()
    });
    observer.end();
    let done = made.and_then(|slices| {
        if slices.iter().map(|d| Some(*d)).ne(found.slices.iter().copied()) {
            return Err(Error::new(Code::Io, format!("`{}` reads differently the second time", path.display()))
                .hint("the medium, its reader or this host's memory is failing; try another"));
        }
        out.sync_all().map_err(|e| Error::io("cannot write", &partial, e))?;
        disk::rename(&partial, &to, options.force)?;
        disk::sync_parent(&to)
    });
    if let Err(e) = done {
        let _ = fs::remove_file(&partial);
        return Err(if e.state_text().is_none() { e.state("no recovery data was made") } else { e });
    }
    let bytes = out.metadata().map_err(|e| Error::io("cannot read", &to, e))?.len();
    Ok(Summary {
        schema: "mirror-bundle/recovery/v1",
        recovery: to.display().to_string(),
        index: blueprint.head.digest().to_string(),
        bytes,
        protects: end,
        slice_size: geometry.slice,
        slices: geometry.data,
        recovery_slices: geometry.recovery,
    })
}

/// Refuses before anything is read when there is no room.
fn room(to: &Path, geometry: &Geometry) -> Result<()> {
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let need = geometry.recovery as u64 * (geometry.slice + 512);
    let space = crate::sink::space::of(folder)?;
    if space.free >= need && space.max_file.is_none_or(|most| most >= need) {
        return Ok(());
    }
    let free = observer::size(space.free.min(space.max_file.unwrap_or(u64::MAX)));
    Err(Error::new(
        Code::Io,
        format!("not enough room for `{}`: {} needed, {free} free", to.display(), observer::size(need)),
    )
    .state("nothing was written")
    .hint("make room, write it elsewhere with --to, or make less: --percent 1"))
}
