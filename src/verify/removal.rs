//! MB-RMV: what was removed from the bundle, by whom, and whether this host accepts that.
//!
//! A statement in the head of a file says what is not there: unless it is accepted the bundle is refused. One behind
//! the last member or beside the bundle is obeyed if it is accepted, and otherwise only reported.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Check, CheckId, Finding, RemovalOutcome, Report, Standing};
use super::{Admitted, Extent, Settings, lock};
use crate::bundle::addendum::{self, AddendumKind};
use crate::bundle::index::{Image, Index, Kind};
use crate::bundle::layout;
use crate::bundle::limits;
use crate::bundle::reader::Addendum;
use crate::bundle::removal::{self, Removal, Removed, SignedRemoval};
use crate::bundle::set::Set;
use crate::bundle::writer::BUFFER;
use crate::bundle::{Contents, Member};
use crate::error::{Code, Result};
use crate::graph::Closure;
use crate::oci::Digest;
use crate::parallel::{Pace, Turn};
use crate::sign::MessageHash;
use crate::sign::policy::{EvaluatedSignature, Outcome, Removable, RemovalRules};

/// Where a statement was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the head of a file: what it names is not in that file.
    Head,
    /// Behind the last member.
    Inside,
    /// Beside the bundle, where anybody can put files.
    Beside,
}

struct Found {
    origin: String,
    place: Place,
    signed: SignedRemoval,
}

/// What is removed, and the signatures that count for what is left.
#[derive(Default)]
pub(super) struct Accepted {
    pub(super) removed: Removed,
    pub(super) counted: Vec<EvaluatedSignature>,
    pub(super) check: Option<Check>,
    pub(super) listed: Vec<RemovalOutcome>,
}

/// Every statement about the bundle, each once.
fn gather(set: &Set, settings: &Settings, path: &str, check: &mut Check) -> Vec<Found> {
    let mut out: Vec<Found> = Vec::new();
    let mut add = |origin: String, place: Place, signed: SignedRemoval| {
        if !out.iter().any(|known| known.signed == signed && (known.place == Place::Head || place != Place::Head)) {
            out.push(Found { origin, place, signed });
        }
    };
    for part in set.parts() {
        for (n, signed) in (1..).zip(&part.head().removals) {
            add(removal::path(n), Place::Head, signed.clone());
        }
    }
    let lists = [(Place::Inside, set.addenda()), (Place::Beside, settings.detached_records)];
    for (place, all) in lists {
        for one in all.iter().filter(|one| addendum::kind(&one.name) == AddendumKind::Removal) {
            let origin = match place {
                Place::Beside => format!("{path}.{}", one.name),
                _ => format!("{}{}", layout::ADDENDA, one.name),
            };
            match signed(one, all) {
                Ok(signed) => add(origin, place, signed),
                Err(why) => unacceptable(check, &origin, place, &why),
            }
        }
    }
    out
}

fn signed(one: &Addendum, all: &[Addendum]) -> Result<SignedRemoval, String> {
    if one.name != addendum::removal_name(&one.bytes) {
        return Err("its name is not that of its content".to_owned());
    }
    let name = format!("{}.sig", one.name);
    let signature = all.iter().find(|a| a.name == name).ok_or("it has no signature")?;
    Ok(SignedRemoval { statement: one.bytes.clone(), signature: signature.bytes.clone() })
}

fn unacceptable(check: &mut Check, origin: &str, place: Place, why: &str) {
    let text = format!("the statement `{origin}` about a removal is not acceptable: {why}");
    check.find(match place {
        Place::Beside => Finding::notice(Code::Malformed, origin, text),
        _ => Finding::new(Code::Malformed, origin, text),
    });
}

/// Evaluates all statements about this bundle. Whether what they name may be removed here is checked by [`units`],
/// once the documents are read.
pub(super) fn evaluate(set: &Set, digest: &Digest, settings: &Settings, report: &Report) -> Accepted {
    let mut check = Check::new(CheckId::Removals);
    let mut found = gather(set, settings, &report.bundle.path, &mut check);
    if found.is_empty() && check.findings.is_empty() {
        return Accepted::default();
    }
    if found.len() > limits::REMOVALS_OF_ALL {
        let text = format!("more than {} statements about removals", limits::REMOVALS_OF_ALL);
        check.find(Finding::new(Code::Malformed, "removals", text).hint("move the files of other bundles away"));
        found.retain(|one| one.place == Place::Head);
        found.truncate(limits::REMOVALS_OF_ALL);
    }
    let index = set.signed();
    let mut all: Vec<(Found, Removal, EvaluatedSignature)> = Vec::new();
    let mut out = Accepted::default();
    for one in found {
        match (Removal::parse(&one.signed.statement, index, digest), settings.policy) {
            (Err(why), _) => unacceptable(&mut check, &one.origin, one.place, &why),
            (Ok(removal), Some(policy)) => {
                let (origin, hash) = (format!("{}.sig", one.origin), MessageHash::of(&one.signed.statement));
                let evaluated = policy.evaluate_removal(&origin, &one.signed.signature, &hash, settings.now);
                all.push((one, removal, evaluated));
            }
            (Ok(removal), None) => {
                let why = "this host has no trust policy, and so nobody who may remove anything";
                if !settings.look {
                    refuse(&mut check, index, &one, &removal, why, None);
                }
                out.listed.push(listed(index, &one, &removal, None, Some(why)));
                out.removed.add(&taken(&one, &removal));
            }
        }
    }
    check.of = all.len() as u64;
    let rules = settings.policy.and_then(|policy| policy.removals.as_ref());
    // The different keys that signed for each thing.
    let mut keys: BTreeMap<(bool, usize), BTreeSet<String>> = BTreeMap::new();
    for (_, removal, evaluated) in all.iter().filter(|(_, _, evaluated)| evaluated.outcome == Outcome::Good) {
        for thing in things(&removal.removed) {
            keys.entry(thing).or_default().extend(evaluated.key.clone());
        }
    }
    for (one, removal, evaluated) in all {
        let have = |thing: &(bool, usize)| keys.get(thing).map_or(0, BTreeSet::len);
        let fewest = things(&removal.removed).map(|thing| have(&thing)).min().unwrap_or_default();
        let short = rules.is_some_and(|rules| fewest < rules.threshold);
        let why = match rules {
            _ if evaluated.outcome != Outcome::Good => Some(evaluated.detail.clone()),
            None => Some("the trust policy of this host lets nobody remove anything".to_owned()),
            Some(rules) if short => Some(format!("{fewest} of {} required keys signed for all of it", rules.threshold)),
            Some(_) => None,
        };
        let listed = listed(index, &one, &removal, Some(&evaluated), why.as_deref());
        out.listed.push(RemovalOutcome { short, ..listed });
        match why {
            Some(why) => {
                refuse(&mut check, index, &one, &removal, &why, evaluated.key.as_deref());
                out.removed.add(&taken(&one, &removal));
            }
            None => {
                check.examined += 1;
                check.details.push(by(index, &removal, evaluated.signer.as_deref()));
                out.removed.add(&removal.removed);
                out.counted.push(evaluated);
            }
        }
    }
    out.check = Some(check);
    out
}

/// Who removed what and why, in words.
fn by(index: &Index, removal: &Removal, name: Option<&str>) -> String {
    format!("{}, removed by {} as reviewer: \"{}\"", removal.removed.words(index), name.unwrap_or("?"), removal.reason)
}

fn things(removed: &Removed) -> impl Iterator<Item = (bool, usize)> + '_ {
    removed.images.iter().map(|at| (true, *at)).chain(removed.files.iter().map(|at| (false, *at)))
}

/// What is not there whether the statement is accepted or not.
fn taken(one: &Found, removal: &Removal) -> Removed {
    if one.place == Place::Head { removal.removed.clone() } else { Removed::default() }
}

fn refuse(check: &mut Check, index: &Index, one: &Found, removal: &Removal, why: &str, key: Option<&str>) {
    let words = removal.removed.words(index);
    if one.place != Place::Head {
        let text = format!("ignored a statement that takes {words} out of the bundle: {why}");
        return check.find(Finding::notice(Code::Removed, &one.origin, text));
    }
    let text = format!("the bundle comes without {words}, and this host does not accept that: {why}");
    let finding = Finding::new(Code::Removed, &one.origin, text).fact(format!("the reason given: {}", removal.reason));
    let finding = key.into_iter().fold(finding, |finding, key| finding.fact(format!("signed by {key}")));
    check.find(finding.hint("if you expect that, say who may remove what: mirror-bundle explain trust (removals)"));
}

/// The most names of one statement in a report.
const NAMED: usize = 256;

fn listed(
    index: &Index,
    one: &Found,
    removal: &Removal,
    evaluated: Option<&EvaluatedSignature>,
    why: Option<&str>,
) -> RemovalOutcome {
    let images = removal.removed.images.iter().take(NAMED).map(|at| index.images[*at].display());
    let files = removal.removed.files.iter().take(NAMED).map(|at| index.files[*at].path.clone());
    let (images, files): (Vec<String>, Vec<String>) = (images.collect(), files.collect());
    RemovalOutcome {
        origin: one.origin.clone(),
        name: evaluated.and_then(|e| e.signer.clone()),
        role: "reviewer",
        key: evaluated.and_then(|e| e.key.clone()),
        created: removal.created.clone(),
        reason: removal.reason.clone(),
        more: (removal.removed.images.len() + removal.removed.files.len() - images.len() - files.len()) as u64,
        words: removal.removed.words(index),
        images,
        files,
        blobs: removal.removed.blobs.len() as u64,
        obeyed: why.is_none(),
        short: false,
        outcome: evaluated.map_or(Standing::NotEvaluated, |e| Standing::Evaluated(e.outcome)),
        detail: why.map(str::to_owned),
    }
}

/// For a stream, after its addenda are known: statements among them come too late to be obeyed.
/// Returns the signatures that would count.
pub(super) fn too_late(set: &Set, settings: &Settings, report: &mut Report) -> Vec<EvaluatedSignature> {
    let Accepted { removed, counted, check, listed } = evaluate(set, &set.head().digest(), settings, report);
    let Some(mut check) = check else { return counted };
    let all = set.removed();
    if !removed.images.is_subset(&all.images) || !removed.files.is_subset(&all.files) {
        let text = "a statement behind the last member excludes something, and a stream shows that only at its end";
        let finding = Finding::new(Code::Removed, layout::ADDENDA, text);
        check.find(finding.hint("write the bundle to a file, and give that"));
    }
    report.removals = listed;
    report.checks.retain(|c| c.id != CheckId::Removals);
    report.add(check);
    counted
}

/// Statements of different places, each made without the others, may leave blobs that no image needs. They do not
/// count either.
pub(super) fn shared(set: &Set, documents: &BTreeMap<Digest, Vec<u8>>, report: &Report) -> Option<Removed> {
    let mut groups: Vec<&[SignedRemoval]> = Vec::new();
    for part in set.parts() {
        let own = part.head().removals.as_slice();
        if !own.is_empty() && !groups.contains(&own) {
            groups.push(own);
        }
    }
    let heads: Vec<String> = (1..=limits::REMOVALS).map(removal::path).collect();
    let outside = report.removals.iter().filter(|one| one.obeyed && !heads.contains(&one.origin)).count();
    if groups.len() + outside < 2 {
        return None;
    }
    let rest = set.index();
    let reached = reached(rest.images.iter(), |digest| documents.get(digest).map(Vec::as_slice));
    let mut removed = set.removed().clone();
    let before = removed.blobs.len();
    removed.blobs.extend(
        (0..set.signed().blobs.len())
            .filter(|at| set.position(*at).is_some_and(|at| !reached.contains(&rest.blobs[at].digest))),
    );
    (removed.blobs.len() > before).then_some(removed)
}

/// What these images need, themselves included, as far as their documents are there.
pub(crate) fn reached<'d>(
    images: impl Iterator<Item = &'d Image>,
    document: impl Fn(&Digest) -> Option<&'d [u8]>,
) -> BTreeSet<Digest> {
    let mut closure = Closure::default();
    let mut read = |digest: &Digest| Ok(document(digest));
    images.for_each(|image| _ = closure.add(&image.descriptor(), &mut read).ok());
    closure.nodes().iter().map(|node| node.digest).collect()
}

/// What was removed is something that can be removed alone, and that this host lets reviewers remove (MB-RMV-06).
///
/// Without rules, only what no host accepts is refused.
pub(crate) fn units(index: &Index, rest: &Index, removed: &Removed, rules: Option<&RemovalRules>, check: &mut Check) {
    let there: BTreeSet<Digest> = rest.blobs.iter().filter(|b| b.role.is_document()).map(|b| b.digest).collect();
    let may = |what: Removable| rules.is_none_or(|rules| rules.of.contains(&what));
    let gone: BTreeSet<Digest> = removed.images.iter().map(|at| index.images[*at].digest).collect();
    let mut deny =
        |subject: &str, why: &str| {
            let text = format!("`{subject}` was removed, {why}");
            check.find(Finding::new(Code::Policy, subject, text).hint(
                "what may be removed is in the trust policy of this host: mirror-bundle explain trust (removals)",
            ));
        };
    let mut releases: BTreeSet<Digest> = BTreeSet::new();
    for image in removed.images.iter().map(|at| &index.images[*at]) {
        let name = image.display();
        let released = image.release.is_some_and(|release| !rest.releases.iter().any(|r| r.digest == release));
        let with_subject = image.subject.is_some_and(|subject| !there.contains(&subject));
        let with_base = image.derived.as_ref().is_some_and(|from| !rest.images.iter().any(|i| i.digest == from.base));
        let allowed = match image.kind {
            Kind::Release => {
                releases.insert(image.digest);
                may(Removable::Release)
            }
            Kind::Component => released || may(Removable::Component(image.component.clone().unwrap_or_default())),
            Kind::Additional => may(Removable::Additional),
            Kind::Signature => with_subject,
            Kind::Referrer => with_subject || may(Removable::Referrer),
            Kind::GraphData => with_base || may(Removable::GraphData),
        };
        match image.kind {
            _ if allowed => {}
            Kind::Signature => deny(&name, "and what it signs was not"),
            Kind::Component => deny(&name, "and the release that it belongs to was not"),
            kind => deny(&name, &format!("and this host does not let reviewers remove {}", word(kind))),
        }
        let alone = matches!(image.kind, Kind::Additional | Kind::Release | Kind::GraphData);
        if alone && let Some(other) = rest.images.iter().find(|other| other.digest == image.digest) {
            deny(&name, &format!("and the same image is there as `{}`", other.display()));
        }
    }
    for image in rest.images.iter().filter(|image| image.release.is_some_and(|release| releases.contains(&release))) {
        deny(
            &image.release.map(|r| r.to_string()).unwrap_or_default(),
            &format!("and `{}` of it was not", image.display()),
        );
    }
    for file in removed.files.iter().map(|at| &index.files[*at]) {
        if let Some(hex) = file.path.strip_prefix("signatures/sha256=").and_then(|path| path.split('/').next()) {
            if Digest::from_hex(hex).is_ok_and(|digest| there.contains(&digest)) {
                deny(&file.path, "and what it signs was not");
            }
            continue;
        }
        let of = |digests: &BTreeSet<Digest>| digests.iter().any(|digest| removal::is_map_of(file, digest));
        match () {
            () if of(&there) => deny(&file.path, "and it holds the signature of a release that was not"),
            () if of(&gone) || may(Removable::Manifests) => {}
            () => deny(&file.path, "and this host does not let reviewers remove manifests"),
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Release => "releases",
        Kind::Component => "components",
        Kind::Additional => "additional images",
        Kind::Signature => "signatures",
        Kind::Referrer => "referrers without their image",
        Kind::GraphData => "the update graph",
    }
}

impl Admitted<'_> {
    /// What was removed may be removed. Blobs that nothing needs any more, because statements were made one without the
    /// other, do not count from here on.
    pub(super) fn removals(&mut self) {
        if let Some(removed) = shared(&self.set, &self.documents, &self.report) {
            self.set.restrict(&removed);
            let set = &self.set;
            lock(&self.digests).of = (set.index().blobs.len() - set.absent().count() + set.apart().count()) as u64;
        }
        let rules = self.settings.policy.and_then(|policy| policy.removals.as_ref());
        let check = self.report.checks.iter_mut().find(|check| check.id == CheckId::Removals);
        if let (Some(rules), Some(check)) = (rules, check) {
            units(self.set.signed(), self.set.index(), self.set.removed(), Some(rules), check);
        }
    }

    /// Checks configurations and layers that do not count and are in a file all the same, and members of differences
    /// that cannot be restored here: every byte is the one that is signed. A stream has them among the others.
    pub(crate) fn excluded(&self, pace: &Pace, extent: Extent) -> Result<()> {
        let apart: BTreeSet<usize> = match self.set.is_stream() {
            true => BTreeSet::new(),
            false => self.set.apart().collect(),
        };
        let of = |part: &'_ Contents| {
            let extents = part.layout().extents().iter().zip(part.layout().blobs());
            let alone = |blob: usize| self.set.position(blob).is_none_or(|at| apart.contains(&at));
            let members = extents.filter(|(extent, _)| alone(extent.blob));
            let content = members.filter(|(extent, _)| !self.set.signed().blobs[extent.blob].role.is_document());
            content.map(|(extent, member)| (member.clone(), self.set.position(extent.blob))).collect::<Vec<_>>()
        };
        let parts = self.set.parts();
        let members: Vec<(&Contents, Member, Option<usize>)> =
            parts.iter().flat_map(|part| of(part).into_iter().map(move |(member, at)| (part, member, at))).collect();
        let work =
            |buffer: &mut Vec<u8>, (part, member, at): &(&Contents, Member, Option<usize>), _: &Turn<'_>| match part
                .open(member)
                .and_then(|reader| reader.drain(buffer))
            {
                Ok(()) => {
                    at.iter().for_each(|at| self.carried(*at));
                    Ok(())
                }
                Err(e) if e.code().is_verdict() || e.code() == Code::Io => {
                    lock(&self.digests).find(Finding::of(&member.path, &e));
                    if extent == Extent::All { Ok(()) } else { Err(e) }
                }
                Err(e) => Err(e),
            };
        pace.sized(&members, |(_, member, _)| member.size, || vec![0u8; BUFFER], work)
    }
}
