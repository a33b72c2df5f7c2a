//! `repair`: makes a damaged bundle again what its signed index says, from recovery data, other copies and registries.
//!
//! [`identity`] finds out what the bundle has to be, from an index that somebody trusted signed; [`work`] writes what is
//! damaged, and only that. Nothing that a source or recovery data proposes counts before it has the digest that the
//! index gives it, and the bundle gets its name back only after all of it was verified (MB-REC-07, MB-REC-08).

mod identity;
mod origin;
mod weave;
mod work;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::mend::{self, Kind, Mending};
use crate::bundle::survey::{Blueprint, Damage, Survey, Tail, survey};
use crate::bundle::writer::disk;
use crate::error::{Code, Error, Result};
use crate::ops::{Observer, Task, observer, recovery};
use crate::recovery::Sidecar;
use crate::source::{Network, Source};
use crate::verify::{Report, Settings};

pub use origin::Origin;
use work::Work;

/// What may be used, and where the result goes.
pub struct Options {
    /// Files and directories to take content from.
    pub local: Vec<PathBuf>,
    /// Registries to take content from.
    pub origins: Vec<Origin>,
    /// Recovery data; else what is beside the bundle.
    pub recovery: Option<PathBuf>,
    /// Write a repaired copy here; else the bundle is mended in place.
    pub to: Option<PathBuf>,
    /// Threads.
    pub jobs: usize,
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    /// Nobody who is trusted vouches for this bundle: nothing was touched.
    Refused(Box<Report>),
    /// It is whole now.
    Whole(Box<Summary>, Box<Report>),
}

/// What was done.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Summary {
    /// `mirror-bundle/repair/v1`.
    pub schema: &'static str,
    /// The repaired bundle.
    pub bundle: String,
    /// Digest of its index.
    pub index: String,
    /// `intact` or `repaired`.
    pub result: &'static str,
    /// Where the index and its signature came from, when they were damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_from: Option<String>,
    /// Every member that was damaged.
    pub mended: Vec<Mended>,
    /// Addenda (countersignatures, review records) that the bundle has now.
    pub addenda: usize,
    /// The verdict of the verification of all of it.
    pub verdict: crate::verify::Verdict,
    /// The exit code.
    pub exit_code: u8,
}

/// A member that was damaged.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mended {
    /// Its path.
    pub member: String,
    /// Its size in bytes.
    pub size: u64,
    /// What made it right: `index` (it follows from that), `recovery data`, or the name of a copy or source.
    pub from: String,
}

/// Another copy of the bundle.
struct Copy {
    name: String,
    file: File,
    length: u64,
    /// What is damaged in it, where all of it was read already.
    damage: Option<Vec<Damage>>,
}

/// Mends the bundle at `path`.
///
/// # Errors
/// Of [`Code::Truncated`], [`Code::BlobMismatch`] and the codes of a head that cannot be read: what is damaged cannot be
/// made again from what was given, and the bundle has its name back. [`Code::Usage`] for sources and recovery data that
/// do not belong to it. Of [`Code::Io`] and others: as they say.
pub fn repair(
    path: &Path,
    options: &Options,
    settings: &Settings,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Outcome> {
    let path = &real(path)?;
    let resumed = match fs::symlink_metadata(path) {
        Ok(_) => None,
        Err(e) => match mend::left(path)? {
            Some(Kind::InPlace) => Some(Mending::resume(path, Kind::InPlace)?),
            _ => return Err(Error::io("cannot open", path, e)),
        },
    };
    if resumed.is_some() {
        observer.say("Continuing", &format!("{}, where a repair was interrupted", path.display()));
    }
    let outcome = Job { path, options, settings, network, observer }.run(resumed.as_ref());
    let Some(mending) = resumed else { return outcome };
    match outcome {
        // What was in mending and could not be mended gets its name back.
        Err(e) => {
            mending.give_back()?;
            Err(e)
        }
        Ok(outcome) => {
            if options.to.is_some() || matches!(outcome, Outcome::Refused(_)) {
                mending.give_back()?;
            } else {
                mending.finish()?;
            }
            Ok(outcome)
        }
    }
}

struct Job<'a> {
    path: &'a Path,
    options: &'a Options,
    settings: &'a Settings,
    network: Option<&'a dyn Network>,
    observer: &'a dyn Observer,
}

impl Job<'_> {
    /// `resumed`: what an interrupted repair left; then nothing stands under the bundle's name.
    fn run(&self, resumed: Option<&Mending>) -> Result<Outcome> {
        let (path, observer) = (self.path, self.observer);
        let place = resumed.map_or_else(|| path.to_owned(), Mending::path);
        let file = open(&place)?;
        let before = meta(&file, &place)?;
        let mut sidecar = self.sidecar()?;
        let locals = self.options.local.iter().map(|p| origin::Local::open(p)).collect::<Result<Vec<_>>>()?;

        let own = identity::Own { path, place: &place, file: &file, length: before.length };
        let found = match identity::find(&own, sidecar.as_ref(), &locals, self.settings)? {
            identity::Found::Known(found) => found,
            identity::Found::Refused => {
                let mut report = crate::ops::verify::verify(place.as_path().into(), self.settings, true, 1, observer)?;
                report.bundle.path = path.display().to_string();
                return Ok(Outcome::Refused(Box::new(report)));
            }
        };
        let blueprint = &found.blueprint;
        if let Some(other) = &sidecar
            && let Err(why) = belongs(other, blueprint)
        {
            if self.options.recovery.is_some() {
                return Err(why);
            }
            observer.warn(&format!("{}; it is not used", why.message()));
            sidecar = None;
        }
        let (mut copies, sources) = origin::classify(locals, blueprint)?;

        let survey = self.survey(&file, before.length, blueprint)?;
        let tail = Tail::read(&file, before.length, &blueprint.layout);
        let damaged = survey.members.iter().filter(|d| d.any()).count();
        if damaged == 0 && tail.whole && resumed.is_none() {
            mend::forget(path)?;
            return self.concluded(&place, found.from, "intact", Vec::new(), &tail, blueprint);
        }
        self.tell(&survey, &tail, damaged, before.length, blueprint);

        // A copy elsewhere, or the bundle itself.
        if let Some(to) = &self.options.to {
            let target = self.copy_target(to, blueprint)?;
            let known = if target.length()? == 0 {
                None
            } else {
                Some(self.survey(target.file(), target.length()?, blueprint)?)
            };
            let damage = known.map_or_else(|| vec![Damage::ALL; survey.members.len()], |s| s.members);
            let name = path.display().to_string();
            copies.insert(0, Copy { name, file, length: before.length, damage: Some(survey.members) });
            let done =
                self.mend(&target, to, damage, copies, sources, sidecar.as_ref(), tail, true, before.length, &found);
            let outcome =
                done.map_err(|e| e.state(format!("what was written is kept in `{}`", target.path().display())))?;
            target.finish()?;
            return Ok(outcome);
        }
        if let Some(target) = resumed {
            return self.mend(
                target,
                path,
                survey.members,
                copies,
                sources,
                sidecar.as_ref(),
                tail,
                false,
                before.length,
                &found,
            );
        }
        self.possible(&survey, blueprint, &copies, &sources, sidecar.as_ref(), before.length)?;
        let target = Mending::take(path, &blueprint.head.digest())?;
        let done = if meta(target.file(), path)? == before {
            self.mend(
                &target,
                path,
                survey.members,
                copies,
                sources,
                sidecar.as_ref(),
                tail,
                false,
                before.length,
                &found,
            )
        } else {
            Err(Error::new(Code::Conflict, format!("`{}` changed while it was read", path.display())))
        };
        match done {
            Ok(outcome) => target.finish().map(|()| outcome),
            Err(e) => {
                target.give_back()?;
                Err(if e.state_text().is_some() {
                    e
                } else {
                    e.state("the bundle has its name back; what was mended stays mended")
                })
            }
        }
    }

    fn sidecar(&self) -> Result<Option<Sidecar>> {
        if let Some(path) = &self.options.recovery {
            return Sidecar::open(path).map(Some);
        }
        let path = recovery::beside(self.path);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        match Sidecar::open(&path) {
            Ok(sidecar) => Ok(Some(sidecar)),
            Err(e) => {
                self.observer.warn(&format!("{}; it is not used", e.message()));
                Ok(None)
            }
        }
    }

    fn survey(&self, file: &File, length: u64, blueprint: &Blueprint) -> Result<Survey> {
        let observer = self.observer;
        observer.begin(Task::Verify, blueprint.layout.members().len() as u64, blueprint.layout.end());
        let found = survey(file, length, blueprint, None, &mut |n| {
            observer.advance(n);
            observer.check()
        });
        observer.end();
        found
    }

    fn tell(&self, survey: &Survey, tail: &Tail, damaged: usize, length: u64, blueprint: &Blueprint) {
        let layout = &blueprint.layout;
        let bytes: u64 =
            survey.members.iter().zip(layout.members()).filter(|(d, _)| d.content).map(|(_, m)| m.size).sum();
        let mut text = format!("{} of {} members, {}", damaged, layout.members().len(), observer::size(bytes));
        if length < layout.total() {
            text.push_str(&format!("; {} are cut off", observer::size(layout.total() - length)));
        }
        if survey.unreadable > 0 {
            text.push_str(&format!("; {} cannot be read", observer::size(survey.unreadable)));
        }
        if !tail.whole && length >= layout.total() {
            text.push_str("; the end of the archive");
        }
        self.observer.say("Damaged", &text);
    }

    /// Refuses what cannot be mended before anything is touched.
    fn possible(
        &self,
        survey: &Survey,
        blueprint: &Blueprint,
        copies: &[Copy],
        sources: &[Arc<dyn Source>],
        sidecar: Option<&Sidecar>,
        length: u64,
    ) -> Result<()> {
        let members = blueprint.layout.members().iter().zip(&survey.members);
        let needed = members.filter(|(member, damage)| damage.content && blueprint.derived(member).is_none()).count();
        let any = !copies.is_empty() || !sources.is_empty() || !self.options.origins.is_empty() || sidecar.is_some();
        if needed == 0 || any {
            return Ok(());
        }
        Err(work::incomplete(self.path, blueprint, &survey.members, length, &self.readable(blueprint, survey), &[])
            .state("nothing was changed")
            .hint("name what is whole: --from COPY, --from REGISTRY/REPO, or --recovery FILE"))
    }

    /// Which images use what, from the documents that are right.
    fn readable(&self, blueprint: &Blueprint, survey: &Survey) -> origin::Uses {
        match open(self.path) {
            Ok(file) => origin::Uses::read(&file, blueprint, &survey.members),
            Err(_) => origin::Uses::default(),
        }
    }

    fn copy_target(&self, to: &Path, blueprint: &Blueprint) -> Result<Mending> {
        if mend::left(to)? == Some(Kind::Copy) {
            self.observer.say("Continuing", &format!("{}, where a repair was interrupted", to.display()));
            return Mending::resume(to, Kind::Copy);
        }
        let need = blueprint.layout.total();
        let space = crate::sink::space::of(to)?;
        if space.free < need || space.max_file.is_some_and(|most| most < need) {
            let free = observer::size(space.free.min(space.max_file.unwrap_or(u64::MAX)));
            let text = format!("not enough room for `{}`: {} needed, {free} free", to.display(), observer::size(need));
            return Err(Error::new(Code::Io, text)
                .state("nothing was written")
                .hint("make room, or choose another place"));
        }
        Mending::create(to, need, &blueprint.head.digest())
    }

    #[expect(clippy::too_many_arguments, reason = "one run's worth of findings")]
    fn mend(
        &self,
        target: &Mending,
        name: &Path,
        damage: Vec<Damage>,
        mut copies: Vec<Copy>,
        sources: Vec<Arc<dyn Source>>,
        sidecar: Option<&Sidecar>,
        mut tail: Tail,
        rewrite_tail: bool,
        length: u64,
        found: &identity::Known,
    ) -> Result<Outcome> {
        let blueprint = &found.blueprint;
        target.reserve(blueprint.layout.total())?;
        let damaged = damage.iter().any(|d| d.any());
        let mut work = Work::new(blueprint, target, damage, self.observer);
        if damaged && let Err(e) = self.contents(&mut work, name, &mut copies, &sources, sidecar, length) {
            // What was cut off stays cut off, as far as nothing could be put there.
            let kept = work.right_until().max(length);
            if !rewrite_tail && kept < blueprint.layout.total() {
                target.cut(kept)?;
            }
            return Err(e);
        }
        let end = blueprint.layout.end();
        let mut total = length;
        if rewrite_tail || !tail.whole {
            if !tail.whole {
                for copy in &copies {
                    let other = Tail::read(&copy.file, copy.length, &blueprint.layout);
                    let fresh = other.addenda.into_iter().filter(|a| tail.addenda.iter().all(|b| b.name != a.name));
                    let fresh: Vec<_> = fresh.collect();
                    tail.addenda.extend(fresh);
                }
            }
            let bytes = tail.to_bytes(&blueprint.layout);
            target.write(&bytes, end)?;
            total = end + bytes.len() as u64;
        }
        target.sync(total)?;
        let mended = std::mem::take(&mut work.mended);
        drop(work);
        self.observer.say("Mended", &observer::count(mended.len(), "member"));
        self.concluded(&target.path(), found.from.clone(), "repaired", mended, &tail, blueprint).map(|outcome| {
            match outcome {
                Outcome::Whole(mut summary, mut report) => {
                    summary.bundle = name.display().to_string();
                    report.bundle.path = name.display().to_string();
                    Outcome::Whole(summary, report)
                }
                other => other,
            }
        })
    }

    fn contents(
        &self,
        work: &mut Work<'_>,
        name: &Path,
        copies: &mut [Copy],
        sources: &[Arc<dyn Source>],
        sidecar: Option<&Sidecar>,
        length: u64,
    ) -> Result<()> {
        work.derive()?;
        work.from_copies(copies)?;
        work.from_recovery(sidecar, copies)?;
        work.from_parts(copies)?;
        work.from_sources(sources, &self.options.origins, self.network)?;
        work.from_recovery(sidecar, copies)?;
        work.complete(name, length)
    }

    /// Verifies all of it: what is not whole now is an error, whatever else the verdict says.
    fn concluded(
        &self,
        place: &Path,
        head_from: Option<String>,
        result: &'static str,
        mended: Vec<Mended>,
        tail: &Tail,
        blueprint: &Blueprint,
    ) -> Result<Outcome> {
        let report = crate::ops::verify::verify(place.into(), self.settings, false, self.options.jobs, self.observer)?;
        use crate::verify::CheckId::{BlobDigests, Format, Length};
        let content = report.checks.iter().filter(|c| matches!(c.id, Format | Length | BlobDigests));
        if let Some(bad) = content.flat_map(|c| &c.findings).find(|f| f.severity == crate::verify::Severity::Error) {
            let text = format!("`{}` is not whole after all: {}", self.path.display(), bad.message);
            return Err(Error::new(bad.code, text)
                .hint("the medium may be failing: write a repaired copy elsewhere with --to NEW"));
        }
        if report.bundle.index != blueprint.head.digest().to_string() {
            return Err(Error::new(Code::Conflict, format!("`{}` changed while it was mended", self.path.display())));
        }
        Ok(Outcome::Whole(
            Box::new(Summary {
                schema: "mirror-bundle/repair/v1",
                bundle: self.path.display().to_string(),
                index: report.bundle.index.clone(),
                result,
                head_from,
                mended,
                addenda: tail.addenda.len(),
                verdict: report.verdict,
                exit_code: report.exit_code,
            }),
            Box::new(report),
        ))
    }
}

/// Whether recovery data protects this bundle.
fn belongs(sidecar: &Sidecar, blueprint: &Blueprint) -> Result<()> {
    let table = sidecar.table();
    if table.index.digest != blueprint.head.digest() {
        return Err(Error::new(Code::Usage, format!("`{}` is recovery data of another bundle", sidecar.name()))
            .fact(format!("bundle        {}", blueprint.head.digest()))
            .fact(format!("recovery data {}", table.index.digest))
            .state("nothing was changed"));
    }
    if table.files != [blueprint.layout.end()] {
        let text = format!("`{}` protects other files than this bundle", sidecar.name());
        return Err(Error::new(Code::Usage, text).state("nothing was changed"));
    }
    Ok(())
}

/// What a path that is a link leads to: a link is not renamed.
fn real(path: &Path) -> Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => fs::canonicalize(path).map_err(|e| Error::io("cannot open", path, e)),
        _ => Ok(path.to_owned()),
    }
}

fn open(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|e| Error::io("cannot open", path, e))?;
    if !file.metadata().map_err(|e| Error::io("cannot read", path, e))?.is_file() {
        return Err(Error::new(Code::Io, format!("`{}` is not a regular file", path.display())));
    }
    Ok(file)
}

/// What tells that a file is still the one that was looked at.
#[derive(PartialEq, Eq)]
struct Meta {
    length: u64,
    id: (u64, u64),
    changed: (i64, i64),
}

fn meta(file: &File, path: &Path) -> Result<Meta> {
    use std::os::unix::fs::MetadataExt;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    Ok(Meta { length: meta.len(), id: (meta.dev(), meta.ino()), changed: (meta.mtime(), meta.mtime_nsec()) })
}

/// Where a blob is kept while it is fetched.
fn blob_path(target: &Mending) -> PathBuf {
    let mut name = target.path().into_os_string();
    name.push(".blob");
    name.into()
}

fn remove_blob(target: &Mending) {
    let _ = disk::remove_if_there(&blob_path(target));
}
