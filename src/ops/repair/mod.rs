//! `repair`: restores a damaged bundle to what its signed index says, from recovery data, other copies and registries.
//!
//! `identity` determines what the bundle must be, from an index that a trusted key signed; `named` holds the named
//! files; `parts` maps files to parts; `work` writes what is damaged, and only that. Nothing from a source or recovery
//! data counts before it has the digest in the index, and a bundle gets its name back only after it was verified
//! completely (MB-REC-07, MB-REC-08).

mod answer;
mod fetch;
mod identity;
mod named;
mod origin;
mod parts;
mod slices;
mod weave;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::Inputs;
use crate::bundle::repair::{self, RepairFile, RepairMode};
use crate::bundle::survey::{Blueprint, Damage, Survey, moves, survey};
use crate::error::{Code, Error, Result};
use crate::ops::{Observer, Task, observer, recovery, room, verify};
use crate::recovery::Sidecar;
use crate::source::{Network, Source};
use crate::verify::{CheckId, Conditions, Trust};

pub use answer::{Effect, Options, Outcome, Summary};
use identity::{Identity, Known};
use named::{Local, Named};
pub use origin::Origin;
use parts::{Part, PartCopy};
pub use work::Repaired;
use work::Work;

/// Repairs a bundle, or volumes of one. A path without a file denotes a lost volume to restore.
///
/// # Errors
/// [`Code::Truncated`], [`Code::BlobMismatch`] and the codes of an unreadable head: the damage cannot be restored from
/// the given sources, and every file has its name back. [`Code::Usage`]: sources or recovery data do not belong to the
/// bundle. [`Code::Io`] and others as usual.
pub fn repair(
    paths: &[PathBuf],
    trust: &Trust,
    conditions: &Conditions,
    options: &Options,
    network: Option<&dyn Network>,
    observer: &dyn Observer,
) -> Result<Outcome> {
    if options.to.is_some() && paths.len() != 1 {
        return Err(
            Error::new(Code::Usage, "--to takes one file at a time").hint("copy the volumes, and repair the copies")
        );
    }
    let mut named = Vec::new();
    for path in paths {
        named.push(Named::open(path)?);
    }
    for one in named.iter().filter(|one| one.left.is_some()) {
        observer.say("Resuming", &format!("{}, where a repair was interrupted", one.path.display()));
    }
    let names: Vec<PathBuf> = named.iter().map(|one| one.path.clone()).collect();
    let done = Job { options, trust, conditions, network, observer }.run(named);
    let done = done.map_err(|e| e.interrupted("nothing was changed"));
    if options.to.is_some() || !matches!(done, Ok(Outcome::Whole(..))) {
        // If an earlier repair renamed a file, and this one could not repair it, restore its name.
        for name in names {
            if !crate::fs::dir::exists(&name) && repair::left(&name)? == Some(RepairMode::InPlace) {
                RepairFile::resume(&name, RepairMode::InPlace)?.restore_name()?;
            }
        }
    }
    done
}

struct Job<'a> {
    options: &'a Options,
    trust: &'a Trust,
    conditions: &'a Conditions,
    network: Option<&'a dyn Network>,
    observer: &'a dyn Observer,
}

impl Job<'_> {
    fn run(&self, named: Vec<Named>) -> Result<Outcome> {
        let mut sidecars = self.sidecars(&named)?;
        let locals = self.options.local.iter().map(|p| Local::open(p)).collect::<Result<Vec<_>>>()?;
        let known = match identity::find(&named, &sidecars, &locals, self.trust, self.conditions)? {
            Identity::Known(known) => known,
            Identity::Refused => {
                let files = named.iter().filter(|n| n.file.is_some()).map(|n| n.place.clone()).collect();
                let (inputs, trust, conditions) = (Inputs::Paths(files), self.trust, self.conditions);
                let verdict =
                    verify::verify(inputs, trust, conditions, &verify::Options { quick: true, jobs: 1 }, self.observer);
                return verdict.map(|report| Outcome::Refused(Box::new(report)));
            }
        };
        let (ours, others): (Vec<_>, Vec<_>) = sidecars.into_iter().partition(|s| {
            let table = s.table();
            table.index.digest == known.head.digest()
                && table.removals == crate::recovery::of_removals(&known.head.removals)
                && table.carriage == crate::recovery::of_carriage(known.head.carriage.as_ref())
        });
        sidecars = ours;
        if let Some(other) = others.first() {
            let same = other.table().index.digest == known.head.digest();
            let what = if same { "the same bundle with other removals, or in another form" } else { "another bundle" };
            let text = format!("`{}` is recovery data of {what}", other.name());
            if !self.options.recovery.is_empty() {
                return Err(Error::new(Code::Usage, text)
                    .fact(format!("the bundle is {}", known.head.digest()))
                    .state("nothing was changed"));
            }
            self.observer.warn(&format!("{text}; it is not used"));
        }
        let mut parts = parts::arrange(named, &known, &sidecars, &locals)?;
        parts.iter_mut().try_for_each(|part| self.survey(part))?;
        let (copies, sources) = origin::classify(locals, &parts, &known, &|| self.observer.check())?;
        self.repair_parts(&known, &mut parts, &sidecars, copies, &sources)
    }

    /// The named recovery data, or else the files beside the bundle.
    fn sidecars(&self, named: &[Named]) -> Result<Vec<Sidecar>> {
        if !self.options.recovery.is_empty() {
            return self.options.recovery.iter().map(|path| Sidecar::open(path)).collect();
        }
        let mut places: Vec<PathBuf> = Vec::new();
        for one in named {
            let all = recovery::called(&one.path).map(|(base, _)| recovery::beside(&base));
            for place in [recovery::beside(&one.path)].into_iter().chain(all) {
                if !places.contains(&place) && crate::fs::dir::exists(&place) {
                    places.push(place);
                }
            }
        }
        let mut out = Vec::new();
        for place in places {
            match Sidecar::open(&place) {
                Ok(sidecar) => out.push(sidecar),
                Err(e) => self.observer.warn(&format!("{}; it is not used", e.message())),
            }
        }
        Ok(out)
    }

    /// Reads a part and lists its damage.
    fn survey(&self, part: &mut Part) -> Result<()> {
        let Some(named) = &part.named else { return Ok(()) };
        let blueprint = &part.blueprint;
        let Some(file) = &named.file else {
            self.observer.say("Lost", &format!("{}, {}", part.name(), observer::size(blueprint.layout.total())));
            return Ok(());
        };
        let found = self.read(file, named.length, blueprint)?;
        let damaged = found.members.iter().filter(|d| d.any()).count();
        if damaged > 0 || !part.tail.whole {
            let bytes: u64 = found
                .members
                .iter()
                .zip(blueprint.layout.members())
                .filter(|(d, _)| d.content)
                .map(|(_, m)| m.size)
                .sum();
            let of = blueprint.layout.members().len();
            let mut text = format!("{}: {damaged} of {of} members, {}", part.name(), observer::size(bytes));
            let total = blueprint.layout.total();
            if named.length < total {
                text.push_str(&format!("; {} are cut off", observer::size(total - named.length)));
            }
            if found.unreadable > 0 {
                text.push_str(&format!("; {} cannot be read", observer::size(found.unreadable)));
            }
            if !part.tail.whole && named.length >= total {
                text.push_str("; the end of the archive");
            }
            self.observer.say("Damaged", &text);
        }
        part.damage = found.members;
        Ok(())
    }

    fn read(&self, file: &fs::File, length: u64, blueprint: &Blueprint) -> Result<Survey> {
        let observer = self.observer;
        observer.begin(Task::Verify, blueprint.layout.members().len() as u64, blueprint.layout.end());
        let found = survey(file, length, blueprint, None, &mut |n| {
            observer.advance(n);
            observer.check()
        });
        observer.end();
        found
    }

    fn repair_parts(
        &self,
        known: &Known,
        parts: &mut [Part],
        sidecars: &[Sidecar],
        mut copies: Vec<PartCopy>,
        sources: &[Arc<dyn Source>],
    ) -> Result<Outcome> {
        if !parts.iter().any(Part::is_damaged) {
            for part in parts.iter() {
                part.named.as_ref().map_or(Ok(()), |n| repair::forget(&n.path))?;
            }
            let places = parts.iter().filter_map(|p| p.named.as_ref()).map(|n| n.place.clone()).collect();
            return self.concluded(places, known, parts, Effect::Intact, Vec::new());
        }
        if let (Some(to), [part]) = (&self.options.to, &mut *parts) {
            return self.elsewhere(to, known, part, sidecars, copies, sources);
        }
        let lengths: Vec<u64> = parts.iter().map(|p| p.named.as_ref().map_or(0, |n| n.length)).collect();
        if sidecars.is_empty() && copies.is_empty() && sources.is_empty() && self.options.origins.is_empty() {
            let work = Work::new(known, parts, vec![None; parts.len()], self.observer);
            work.possible().map_err(|e| {
                e.state("nothing was changed")
                    .hint("name an intact source: --from COPY, --from REGISTRY/REPO, or --recovery FILE")
            })?;
        }
        if copies.is_empty() && sources.is_empty() && self.options.origins.is_empty() {
            parts.iter().try_for_each(|part| self.in_its_place(part))?;
        }
        let mut targets: Vec<Option<RepairFile>> = Vec::new();
        for part in parts.iter() {
            let taken = match &part.named {
                Some(named) if part.is_damaged() => named.take(&part.blueprint).map(Some),
                _ => Ok(None),
            };
            match taken {
                Ok(taken) => targets.push(taken),
                Err(e) => {
                    restore_name(targets.into_iter().flatten())?;
                    return Err(e);
                }
            }
        }
        let done = self.write(known, parts, &targets, sidecars, &mut copies, sources, &lengths);
        match done {
            Ok(outcome) => targets.into_iter().flatten().try_for_each(RepairFile::finish).map(|()| outcome),
            Err(e) => {
                restore_name(targets.into_iter().flatten())?;
                let state = "every file has its name back; what was repaired stays repaired";
                Err(if e.state_text().is_some() { e } else { e.state(state) })
            }
        }
    }

    /// In-place repair from recovery data alone would overwrite content that has moved.
    fn in_its_place(&self, part: &Part) -> Result<()> {
        let Some(Named { file: Some(file), length, left: None, .. }) = &part.named else { return Ok(()) };
        let layout = &part.blueprint.layout;
        if !part.damage.iter().any(|d| d.header)
            || moves(file, *length, layout, &mut |_| self.observer.check())?.is_empty()
        {
            return Ok(());
        }
        let code = if *length < layout.total() { Code::Truncated } else { Code::BlobMismatch };
        let text = format!("blocks are missing inside `{}`, or too many, and what follows has moved", part.name());
        Err(Error::new(code, text)
            .fact(format!("it has {length} bytes; without addenda it should have {}", layout.total()))
            .state("nothing was changed")
            .hint("put together a repaired copy, which can use what has moved: --to NEW"))
    }

    /// Writes a repaired copy and leaves the damaged file alone: it is one more copy to read from.
    fn elsewhere(
        &self,
        to: &Path,
        known: &Known,
        part: &mut Part,
        sidecars: &[Sidecar],
        mut copies: Vec<PartCopy>,
        sources: &[Arc<dyn Source>],
    ) -> Result<Outcome> {
        let target = self.copy_target(to, &part.blueprint)?;
        let length = target.length()?;
        let damage = match self.read(target.file(), length, &part.blueprint)? {
            found if length > 0 => found.members,
            _ => vec![Damage::ALL; part.damage.len()],
        };
        let damage = std::mem::replace(&mut part.damage, damage);
        let name = part.name();
        if let Some(Named { file: Some(file), length, .. }) = &part.named {
            let file = file.try_clone().map_err(|e| Error::io("cannot read", &name, e))?;
            copies.insert(0, PartCopy { part: 0, name, file, length: *length, damage: Some(damage), moves: None });
        }
        // Always rewritten.
        part.tail.whole = false;
        let parts = std::slice::from_mut(part);
        let targets = [Some(target)];
        let done = self.write(known, parts, &targets, sidecars, &mut copies, sources, &[0]);
        let [Some(target)] = targets else { return done };
        let kept = format!("the written data is kept in `{}`", target.path().display());
        let mut outcome = done.map_err(|e| if e.state_text().is_some() { e } else { e.state(kept) })?;
        target.finish()?;
        if let Outcome::Whole(summary, report) = &mut outcome {
            summary.bundle = vec![to.display().to_string()];
            report.bundle.path = to.display().to_string();
        }
        Ok(outcome)
    }

    fn copy_target(&self, to: &Path, blueprint: &Blueprint) -> Result<RepairFile> {
        if repair::left(to)? == Some(RepairMode::Copy) && !crate::fs::dir::exists(to) {
            self.observer.say("Resuming", &format!("{}, where a repair was interrupted", to.display()));
            return RepairFile::resume(to, RepairMode::Copy);
        }
        let need = blueprint.layout.total();
        room::enough(to, need, need, "make room, or choose another place")?;
        RepairFile::create(to, need, &blueprint.head.digest())
    }

    /// Writes the damaged parts to the targets, and verifies everything.
    #[expect(clippy::too_many_arguments, reason = "all that was found out before something is touched")]
    fn write(
        &self,
        known: &Known,
        parts: &mut [Part],
        targets: &[Option<RepairFile>],
        sidecars: &[Sidecar],
        copies: &mut [PartCopy],
        sources: &[Arc<dyn Source>],
        lengths: &[u64],
    ) -> Result<Outcome> {
        for (part, target) in parts.iter().zip(targets) {
            if let Some(target) = target {
                target.reserve(part.blueprint.layout.total())?;
            }
        }
        let files = targets.iter().map(Option::as_ref).collect();
        let mut work = Work::new(known, parts, files, self.observer);
        if let Err(e) = work.repair_from_all(sidecars, copies, sources, &self.options.origins, self.network) {
            // Keep the file cut off if nothing could be written there.
            for ((until, length), target) in work.right_until().into_iter().zip(lengths).zip(targets) {
                if let (Some(target), true) = (target, *length > 0) {
                    target.cut(until.max(*length))?;
                }
            }
            return Err(e);
        }
        let mended = work.mended;
        let mut places = Vec::new();
        for (at, part) in parts.iter_mut().enumerate() {
            let Some(target) = &targets[at] else {
                places.extend(part.named.as_ref().map(|n| n.place.clone()));
                continue;
            };
            let end = part.blueprint.layout.end();
            let mut total = lengths[at];
            if !part.tail.whole {
                part.complete_tail(at, copies);
                let bytes = part.tail.to_bytes(&part.blueprint.layout);
                target.write(&bytes, end)?;
                total = end + bytes.len() as u64;
            }
            target.sync(total)?;
            places.push(target.path());
        }
        self.observer.say("Repaired", &observer::count(mended.len(), "member"));
        self.concluded(places, known, parts, Effect::Repaired, mended)
    }

    /// Verifies everything: remaining damage is an error, whatever else the verdict says.
    fn concluded(
        &self,
        places: Vec<PathBuf>,
        known: &Known,
        parts: &[Part],
        effect: Effect,
        mended: Vec<Repaired>,
    ) -> Result<Outcome> {
        const CONTENT: [CheckId; 3] = [CheckId::Format, CheckId::Length, CheckId::BlobDigests];
        let inputs = Inputs::Paths(places);
        let (trust, conditions, jobs) = (self.trust, self.conditions, self.options.jobs);
        let mut report =
            verify::verify(inputs, trust, conditions, &verify::Options { quick: false, jobs }, self.observer)?;
        let bundle: Vec<String> = parts.iter().filter(|p| p.named.is_some()).map(Part::name).collect();
        report.bundle.path = bundle.join(" ");
        let content = report.checks.iter().filter(|c| CONTENT.contains(&c.id));
        let bad =
            |f: &&crate::verify::Finding| f.severity == crate::verify::Severity::Error && f.code != Code::BlobMissing;
        if let Some(bad) = content.flat_map(|c| &c.findings).find(bad) {
            let text = format!("`{}` is not whole after all: {}", report.bundle.path, bad.message);
            let hint = "the medium may be failing: write a repaired copy elsewhere with --to NEW";
            return Err(Error::new(bad.code, text).hint(hint));
        }
        if report.bundle.index != known.head.digest().to_string() {
            return Err(Error::new(Code::Conflict, format!("`{}` changed while it was repaired", report.bundle.path)));
        }
        let summary = Summary {
            bundle,
            index: report.bundle.index.clone(),
            result: effect,
            head_from: known.from.clone(),
            mended,
            addenda: parts.iter().map(|p| p.tail.addenda.len()).sum(),
            verdict: report.verdict,
            except: report.except(),
        };
        Ok(Outcome::Whole(Box::new(summary), Box::new(report)))
    }
}

/// Restores the names of all files.
fn restore_name(taken: impl Iterator<Item = RepairFile>) -> Result<()> {
    let all: Vec<Result<()>> = taken.map(RepairFile::restore_name).collect();
    all.into_iter().collect()
}
