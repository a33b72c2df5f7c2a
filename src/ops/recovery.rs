//! `recovery`: creates recovery data for an undamaged bundle, in one file or in volumes.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::bundle::Head;
use crate::bundle::reader::Bundle;
use crate::bundle::set::Tally;
use crate::bundle::survey::{Blueprint, Survey, survey};
use crate::bundle::volume::Volume;
use crate::bundle::writer;
use crate::error::{Code, Error, Result};
use crate::fs::partial::{self, Own};
use crate::fs::{dir, durable};
use crate::oci::Digest;
use crate::ops::{Observer, Task, observer, room};
use crate::recovery::{self, Geometry, Protected};

/// Options for recovery data.
#[derive(Clone, Debug)]
pub struct Options {
    /// The amount, in percent of the bundle.
    pub percent: u8,
    /// The output; if `None`, [`beside`] the bundle.
    pub to: Option<PathBuf>,
    /// Replace an existing file.
    pub force: bool,
}

/// The result.
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
    /// How many volumes it protects; 0 for a bundle in one file.
    pub volumes: usize,
    /// Size of a slice in bytes.
    pub slice_size: u64,
    /// Slices of the bundle.
    pub slices: usize,
    /// Slices that may be lost.
    pub recovery_slices: usize,
}

/// The default location of a bundle's recovery data: `BUNDLE.recovery`; for volumes, as if they were joined.
pub fn beside(bundle: &Path) -> PathBuf {
    let mut name = bundle.as_os_str().to_owned();
    name.push(".recovery");
    name.into()
}

/// The bundle name that a volume's file name contains, and the volume's number; the inverse of
/// [`crate::bundle::volume::path`].
pub fn called(volume: &Path) -> Option<(PathBuf, u32)> {
    let name = volume.file_name()?.to_str()?;
    let (stem, end) =
        match name.len().checked_sub(4).filter(|at| name.is_char_boundary(*at)).map(|at| name.split_at(at)) {
            Some((stem, end)) if end.eq_ignore_ascii_case(".tar") => (stem, end),
            _ => (name, ""),
        };
    let (base, numbers) = stem.rsplit_once('.')?;
    let (number, of) = numbers.split_once("of")?;
    let (number, of) = (number.parse::<u32>().ok()?, of.parse::<u32>().ok()?);
    (number >= 1 && number <= of).then(|| (volume.with_file_name(format!("{base}{end}")), number))
}

/// One file to protect.
struct ProtectedFile {
    path: PathBuf,
    file: File,
    length: u64,
    blueprint: Blueprint,
}

/// Creates recovery data for the bundle at a path, or for its volumes: any of them, in any order.
///
/// Every byte is compared with the index first: recovery data of a damaged bundle would preserve the damage. No
/// signature is evaluated: recovery data says which bytes belong together, not who made them (MB-REC-01).
///
/// # Errors
/// The codes of `verify` for a damaged bundle; [`Code::Conflict`] when the file exists; [`Code::Io`].
pub fn recovery(paths: &[PathBuf], options: &Options, observer: &dyn Observer) -> Result<Summary> {
    if paths.iter().chain(&options.to).any(|p| p == Path::new("-")) {
        let text = "recovery data cannot be made of a stream, or written to one";
        return Err(Error::new(Code::Usage, text).hint("name a file"));
    }
    let parts = parts(paths)?;
    let [first, ..] = parts.as_slice() else { return Err(Error::new(Code::Usage, "no bundle is named")) };
    let name = if parts.len() > 1 { called(&first.path).map(|(base, _)| base) } else { None };
    let to = options.to.clone().unwrap_or_else(|| beside(&name.unwrap_or_else(|| first.path.clone())));
    if !options.force && dir::exists(&to) {
        return Err(crate::fs::durable::already_exists(&to));
    }
    let lengths: Vec<u64> = parts.iter().map(|p| p.blueprint.layout.end()).collect();
    let geometry = Geometry::new(&lengths, options.percent)?;
    let need = geometry.recovery as u64 * (geometry.slice + 512);
    room::enough(&to, need, need, "make room, write it elsewhere with --to, or make less: --percent 1%")?;
    let slices = examine(&parts, &geometry, observer).map_err(|e| e.interrupted("no recovery data was made"))?;

    let partial = writer::partial_path(&to);
    let out = partial::open_own(&partial, Own::ExistingOrNew)?;
    partial::lock(&out, &partial)?;
    let files: Vec<(&File, u64)> = parts.iter().zip(&lengths).map(|(p, length)| (&p.file, *length)).collect();
    let volumes: Vec<Vec<u8>> = parts.iter().filter_map(|p| p.blueprint.head.volume.clone()).collect();
    let from = Protected {
        files: &files,
        index: &first.blueprint.head.index,
        signature: first.blueprint.head.signature.as_deref(),
        volumes: &volumes,
        removals: &first.blueprint.head.removals,
        carriage: first.blueprint.head.carriage.as_ref(),
        mtime: first.blueprint.layout.mtime(),
        geometry,
    };
    let protects: u64 = lengths.iter().sum();
    observer.begin(Task::Protect, geometry.recovery as u64, protects);
    let made = recovery::encode(&out, &partial, &from, &mut |n| {
        observer.advance(n);
        observer.check()
    });
    observer.end();
    let done = made.and_then(|made| {
        if made != slices {
            return Err(Error::new(Code::Io, "the bundle reads differently the second time")
                .hint("the medium, its reader or this host's memory is failing; try another"));
        }
        out.sync_all().map_err(|e| Error::io("cannot write", &partial, e))?;
        durable::rename(&partial, &to, options.force)?;
        durable::sync_parent(&to)
    });
    if let Err(e) = done {
        let _ = durable::remove_if_there(&partial);
        return Err(if e.state_text().is_none() { e.state("no recovery data was made") } else { e });
    }
    let bytes = out.metadata().map_err(|e| Error::io("cannot read", &to, e))?.len();
    Ok(Summary {
        schema: "mirror-bundle/recovery/v1",
        recovery: to.display().to_string(),
        index: first.blueprint.head.digest().to_string(),
        bytes,
        protects,
        volumes: volumes.len(),
        slice_size: geometry.slice,
        slices: geometry.data,
        recovery_slices: geometry.recovery,
    })
}

/// Opens the named files: one bundle, or different volumes of one, returned in order.
fn parts(paths: &[PathBuf]) -> Result<Vec<ProtectedFile>> {
    let (mut parts, mut tally): (Vec<ProtectedFile>, _) = (Vec::new(), Tally::default());
    partial::allow_open_files(paths.len());
    for path in paths {
        let head = Bundle::open(path)?.head().clone();
        let blueprint = match parts.first() {
            Some(first) if first.blueprint.head.digest() == head.digest() => {
                // Share one index in memory.
                let head = Head::of(first.blueprint.head.index.clone(), head.signature, head.volume)
                    .with_removals(head.removals)
                    .with_carriage(head.carriage);
                Blueprint::with(first.blueprint.index.clone(), head)?
            }
            Some(_) => {
                let text = format!("`{}` belongs to another bundle than `{}`", path.display(), paths[0].display());
                return Err(Error::new(Code::Usage, text).state("nothing was written"));
            }
            None => Blueprint::new(head)?,
        };
        tally.add(&blueprint.layout).map_err(|e| e.state("nothing was written"))?;
        let file = dir::regular(path)?;
        let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
        parts.push(ProtectedFile { path: path.clone(), file, length, blueprint });
    }
    fn volume(part: &ProtectedFile) -> Option<&Volume> {
        part.blueprint.volume.as_ref()
    }
    parts.sort_by_key(|part| volume(part).map_or(0, |v| v.volume));
    let apart = parts.windows(2).find(|pair| match (volume(&pair[0]), volume(&pair[1])) {
        _ if pair[0].blueprint.head.form() != pair[1].blueprint.head.form() => true,
        (Some(a), Some(b)) => !a.is_with(b) || a.volume == b.volume,
        _ => true,
    });
    if let Some([a, b]) = apart {
        let text = format!("`{}` and `{}` are not different volumes of one bundle", a.path.display(), b.path.display());
        return Err(Error::new(Code::Usage, text)
            .state("nothing was written")
            .hint("make recovery data for each by itself"));
    }
    Ok(parts)
}

/// Compares every byte with the index; returns the digests of the slices.
fn examine(parts: &[ProtectedFile], geometry: &Geometry, observer: &dyn Observer) -> Result<Vec<Digest>> {
    let members = parts.iter().map(|p| p.blueprint.layout.members().len() as u64).sum();
    observer.begin(Task::Verify, members, parts.iter().map(|p| p.blueprint.layout.end()).sum());
    let found: Result<Vec<Survey>> = parts
        .iter()
        .map(|part| {
            survey(&part.file, part.length, &part.blueprint, Some(geometry.slice), &mut |n| {
                observer.advance(n);
                observer.check()
            })
        })
        .collect();
    observer.end();
    let mut slices = Vec::new();
    for (part, found) in parts.iter().zip(found?) {
        let members = part.blueprint.layout.members();
        if let Some(at) = found.members.iter().position(|d| d.any()) {
            let short = part.length < part.blueprint.layout.total();
            let (code, what) = if short { (Code::Truncated, "truncated") } else { (Code::BlobMismatch, "damaged") };
            let damaged = observer::count(found.members.iter().filter(|d| d.any()).count(), "member");
            let text = format!("`{}` is {what}: no recovery data was made", part.path.display());
            return Err(Error::new(code, text)
                .fact(format!("{damaged} not as the index says, the first `{}`", members[at].path))
                .state("nothing was written")
                .hint("make it from an intact copy, or repair this one: mirror-bundle repair BUNDLE --from COPY"));
        }
        slices.extend(found.slices.into_iter().flatten());
    }
    Ok(slices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_called_after_its_bundle() {
        for (bundle, of) in [("/m/ocp.tar", 3), ("ocp-4.16.tar", 12), ("a.TAR", 100), ("ocp-4.16", 2)] {
            for n in [1, of] {
                let path = crate::bundle::volume::path(Path::new(bundle), n, of);
                assert_eq!(called(&path), Some((bundle.into(), n)), "{path:?}");
            }
        }
        for other in ["b.tar", "b.0of3.tar", "b.4of3.tar", "of.tar", "b.1of.tar", "é"] {
            assert_eq!(called(Path::new(other)), None, "{other}");
        }
    }
}
