//! A registry as a destination.

mod absent;
mod signatures;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::lists::List;
use super::{Content, Counts, Destination, Placed, Present, Refused, Sought, Watch, Way};
use crate::bundle::index::{Blob, Image, Index, Kind};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Repository, Tag, parse};
use crate::parallel::Pace;
use crate::registry::{Client, Wanted};
use crate::sink::placement::{self, Documents, Placement, Placing, below};
use crate::sink::repository_needs::RepositoryNeeds;
use crate::verify::{Verified, Visit};

/// How images are pushed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// The maximum depth of a repository's path; deeper components are joined with `-`.
    pub max_nested_paths: Option<usize>,
    /// Leave out attachments of images, except the signatures of releases.
    pub without_referrers: bool,
}

/// How long looking ahead waits for a free place.
const PATIENCE: Duration = Duration::from_millis(50);

/// `REGISTRY/REPO`: releases go to the repository itself, everything else to repositories below it.
pub struct Registry<'a> {
    target: &'a Repository,
    client: &'a Client,
    pace: &'a Pace,
    placements: Vec<Placement<'a>>,
    /// Which repositories need which blobs.
    needs: RepositoryNeeds,
    repositories: BTreeMap<String, Repository>,
    /// Which repositories need a blob for an image itself, and not only for an attachment.
    needed: RepositoryNeeds,
    /// Blobs refused by a repository that needs them for an extra only, with the reason.
    without: Mutex<BTreeMap<(String, Digest), String>>,
    present: Present,
    /// How the images of other bundles are placed here.
    placing: &'a Placing,
    nesting: Option<usize>,
    /// Repositories that have blobs which the bundle does not carry.
    located: Mutex<BTreeMap<Digest, Repository>>,
    /// Manifests that did not exist when they were looked up ahead: the repository, and the digest or tag.
    absent: Mutex<BTreeSet<(Repository, Wanted)>>,
}

impl<'a> Registry<'a> {
    /// Places the images of an index; `documents` are its manifests.
    pub fn new(
        target: &'a Repository,
        client: &'a Client,
        index: &'a Index,
        document: &Documents<'_, '_>,
        ways: Ways,
        placing: &'a Placing,
        pace: &'a Pace,
    ) -> Result<Registry<'a>> {
        let mut placements = placement::placements(index, "", placing)?;
        placements.retain(|placement| !ways.without_referrers || !is_extra(placement.image, true));
        placement::no_release_names(&placements, target.path())?;
        let needs = RepositoryNeeds::of(&placements, document)?;
        let images: Vec<Placement> = placements.iter().filter(|p| !is_extra(p.image, false)).cloned().collect();
        let needed = RepositoryNeeds::of(&images, document)?;
        let mut repositories = BTreeMap::new();
        let mut taken = BTreeMap::new();
        for placement in &placements {
            let repository = below(target, &placement.repository)?.nested(ways.max_nested_paths);
            let place = placement.tag.as_ref().map(|tag| (repository.to_string(), tag));
            if let Some((repository, tag)) = &place
                && let Some(other) = taken.insert((repository.clone(), *tag), placement.image)
                && other.digest != placement.image.digest
            {
                let text = format!("two images would both be `{repository}:{tag}`");
                return Err(Error::new(Code::Conflict, text)
                    .fact(format!("{} {}", other.digest, other.display()))
                    .fact(format!("{} {}", placement.image.digest, placement.image.display()))
                    .state("nothing was written"));
            }
            repositories.insert(placement.repository.clone(), repository);
        }
        let (without, present, absent) = (Mutex::default(), Present::default(), Mutex::default());
        Ok(Registry {
            target,
            client,
            pace,
            placements,
            needs,
            repositories,
            needed,
            without,
            present,
            placing,
            nesting: ways.max_nested_paths,
            located: Mutex::default(),
            absent,
        })
    }

    fn repository(&self, path: &str) -> Result<&Repository> {
        self.repositories
            .get(path)
            .ok_or_else(|| Error::new(Code::Internal, format!("repository `{path}` was not prepared")))
    }

    /// The digest of the bytes that the registry serves; its own claim is not used (security H5). What did not exist a
    /// moment ago is not asked for again.
    fn holds(&self, repository: &Repository, wanted: &Wanted) -> Result<Option<Digest>> {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.contains(&(repository.clone(), wanted.clone())) {
            return Ok(None);
        }
        drop(absent);
        self.ask(repository, wanted)
    }

    fn ask(&self, repository: &Repository, wanted: &Wanted) -> Result<Option<Digest>> {
        match self.client.get_manifest(repository, wanted) {
            Ok(found) => Ok(found.map(|f| f.digest)),
            // Wrong or damaged content counts as none. So does a refusal: some registries refuse what does not exist;
            // if the cause is the login, the push will fail.
            Err(e) if matches!(e.code(), Code::BlobMismatch | Code::Auth) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether an image is an extra: an attachment that its image does not need. With `but_releases`, the signatures of
/// releases are not extras: a cluster may require them.
fn is_extra(image: &Image, but_releases: bool) -> bool {
    let signature = || image.tag.as_deref().is_some_and(|tag| tag.ends_with(".sig"));
    match image.kind {
        Kind::Referrer => true,
        Kind::Signature => !(but_releases && image.release.is_some() && signature()),
        _ => false,
    }
}

impl<'a> Destination for Registry<'a> {
    fn describe(&self) -> String {
        self.target.to_string()
    }

    fn task(&self) -> Way {
        Way::Push
    }

    /// Makes a first request, so that a wrong name, certificate or login is found before anything is sent. Some
    /// registries answer a request for missing content like a failed login: then an upload is started and cancelled.
    fn check(&self, _: &Index) -> Result<()> {
        let Some(first) = self.placements.first() else { return Ok(()) };
        let repository = self.repository(&first.repository)?;
        match self.client.head_manifest(repository, &Wanted::Digest(first.image.digest)) {
            Err(e) if e.code() == Code::Auth => self.client.may_push(repository),
            other => other.map(|_| ()),
        }
    }

    fn placed<'i>(&'i self, _: &'i Index) -> Vec<Placed<'i>> {
        let place = |placement: &'i Placement<'a>| {
            let repository = self.repositories.get(&placement.repository)?.to_string();
            Some(Placed { image: placement.image, repository, tag: placement.tag.as_ref().map(ToString::to_string) })
        };
        self.placements.iter().filter_map(place).collect()
    }

    fn there(&self, index: &Index) -> Result<BTreeSet<Digest>> {
        let content: Vec<&Blob> =
            index.blobs.iter().filter(|blob| self.needs.repositories(&blob.digest).is_some()).collect();
        let there = self.pace.map(&content, || (), |(), blob| Ok(self.has(blob)?.then_some(blob.digest)))?;
        Ok(there.into_iter().flatten().collect())
    }

    fn has(&self, blob: &Blob) -> Result<bool> {
        let Some(paths) = self.needs.repositories(&blob.digest) else { return Ok(false) };
        if self.present.has(&blob.digest) {
            return Ok(true);
        }
        for path in paths {
            if !self.client.has_blob(self.repository(path)?, &blob.digest, blob.size)? {
                return Ok(false);
            }
        }
        self.present.note(blob);
        Ok(true)
    }

    fn locate(&self, sought: &[Sought<'_>]) -> Result<BTreeSet<Digest>> {
        self.locate_absent(sought)
    }

    fn bring(&self, blob: &Blob, watch: &dyn Watch) -> Result<Visit> {
        self.bring_absent(blob, watch)
    }

    fn content(&self, blob: &Blob) -> Result<Option<Box<dyn Read + '_>>> {
        let located = self.located.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest).cloned();
        if let Some(repository) = located {
            return Ok(Some(self.client.get_blob(&repository, &blob.digest, 0, blob.size)?));
        }
        let Some(path) = self.needs.repositories(&blob.digest).and_then(|mut paths| paths.next()) else {
            return Ok(None);
        };
        Ok(Some(self.client.get_blob(self.repository(path)?, &blob.digest, 0, blob.size)?))
    }

    fn blob(&self, blob: &Blob, content: &dyn Content) -> Result<Visit> {
        // Not needed here, so not available here: the blob is read.
        let Some(paths) = self.needs.repositories(&blob.digest) else { return Ok(Visit::Read) };
        let mut visit = Visit::LeftOut;
        let mut paths: VecDeque<&str> = paths.collect();
        let mut first = true;
        while let Some(path) = paths.pop_front() {
            let repository = self.repository(path)?;
            if !self.client.has_blob(repository, &blob.digest, blob.size)? {
                match self.client.push_blob(repository, &blob.digest, blob.size, &mut |offset| content.open(offset)) {
                    Ok(()) => visit = Visit::Read,
                    Err(e) if !e.is_transient() && !self.needed.needs(&blob.digest, path) => {
                        self.without
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert((path.to_owned(), blob.digest), reason(e)?);
                        // Everything verified is read, wherever it goes.
                        let mut content = content.open(0)?;
                        std::io::copy(&mut content, &mut std::io::sink())
                            .map_err(|e| Error::io("cannot read", blob.digest.to_string(), e))?;
                        visit = Visit::Read;
                        continue;
                    }
                    Err(e) => return Err(e),
                }
            }
            // What one repository has, the others get without sending it.
            if std::mem::take(&mut first) {
                let sent = visit == Visit::Read;
                let rest = paths.make_contiguous();
                let there = self.pace.share(rest, |path| self.mount(blob, repository, path, sent))?;
                paths = paths.into_iter().zip(there).filter(|(_, there)| !there).map(|(path, _)| path).collect();
            }
        }
        self.present.note(blob);
        Ok(visit)
    }

    fn look_ahead(&self, documents: &Documents<'_, '_>, over: &AtomicBool) {
        let Ok((closure, roots)) = placement::closure(&self.placements, documents) else { return };
        let mut wanted: BTreeSet<(&Repository, Wanted)> = BTreeSet::new();
        for (placement, root) in self.placements.iter().zip(roots) {
            let Some(repository) = self.repositories.get(&placement.repository) else { continue };
            let below = closure.below([root]).filter(|node| node.document.is_some());
            wanted.extend(below.map(|node| (repository, Wanted::Digest(node.digest))));
            wanted.extend(placement.tag.iter().map(|tag| (repository, Wanted::Tag(tag.clone()))));
        }
        let mut wanted = wanted.into_iter().peekable();
        while let Some((repository, name)) = wanted.peek()
            && !over.load(Ordering::Relaxed)
        {
            match self.pace.beside(|| self.ask(repository, name)) {
                None => std::thread::sleep(PATIENCE),
                Some(found) => {
                    if let Ok(None) = found {
                        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
                        absent.insert(((*repository).clone(), name.clone()));
                    }
                    wanted.next();
                }
            }
        }
    }

    fn images(&self, verified: &Verified<'_>, watch: &dyn Watch) -> Result<Counts> {
        // A refusal is acceptable if only an attachment needs the blob.
        let needs = |digest: &Digest| self.needed.repositories(digest).is_some();
        self.present.complete(verified, needs, self.placements.iter().map(|p| &p.image.digest), self)?;
        let mut counts = Counts::default();
        let mut refused = BTreeMap::new();
        let mut lists: BTreeMap<(&Repository, Digest), List> = BTreeMap::new();
        for level in self.levels(verified)? {
            // Manifests with a `subject` go one after the other: some registries lose an entry when two are pushed at
            // once.
            let mut turns: BTreeMap<Turn, Vec<RepositoryDocument>> = BTreeMap::new();
            for it in level {
                let turn = if it.subject.is_some() { Turn::After(it.repository) } else { Turn::Own(turns.len()) };
                turns.entry(turn).or_default().push(it);
            }
            let turns: Vec<Vec<RepositoryDocument>> = turns.into_values().collect();
            let put = self.pace.map(&turns, || (), |(), turn| self.turn(turn, watch))?;
            for (it, put) in turns.iter().flatten().zip(put.into_iter().flatten()) {
                match put {
                    Put::New => counts.documents += 1,
                    Put::There => {}
                    Put::Refused(why) => {
                        refused.insert((it.repository, it.digest), why);
                        continue;
                    }
                }
                if let Some(subject) = it.subject
                    && let Ok(document) = parse(it.bytes, &it.media_type)
                {
                    let entry = Descriptor::of_referrer(&it.media_type, it.digest, it.bytes.len() as u64, &document);
                    let list = || List { repository: it.repository, subject, entries: Vec::new() };
                    lists.entry((it.repository, subject)).or_insert_with(list).entries.push((entry, it.bytes));
                }
            }
        }
        self.lists(lists.into_values().collect(), watch, &mut counts, &mut refused)?;
        self.tags(verified, watch, &mut counts, &mut refused)?;
        self.read_back(verified, watch, &refused)?;
        counts.refused = self.refused(&refused);
        Ok(counts)
    }
}

/// A manifest or index for a repository.
struct RepositoryDocument<'a> {
    repository: &'a Repository,
    digest: Digest,
    media_type: String,
    bytes: &'a [u8],
    /// The documents and blobs it refers to.
    subject: Option<Digest>,
    /// Whether only attachments need it, and no image does.
    extra: bool,
}

/// The result for one document.
enum Put {
    New,
    There,
    /// An extra that the registry refused, with the reason.
    Refused(String),
}

/// Documents pushed independently, and documents that wait for their turn in a repository.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Turn<'a> {
    Own(usize),
    After(&'a Repository),
}

/// Refused extras: which, where, and why.
type Reasons<'a> = BTreeMap<(&'a Repository, Digest), String>;

impl Registry<'_> {
    /// All documents, once for each repository, in groups: a document comes in a later group than those it names.
    fn levels<'v>(&'v self, verified: &'v Verified<'_>) -> Result<Vec<Vec<RepositoryDocument<'v>>>> {
        let (closure, roots) = placement::closure(&self.placements, &|digest| verified.document(digest))?;
        let mut repositories: BTreeMap<&Repository, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (placement, root) in self.placements.iter().zip(roots) {
            let (all, needed) = repositories.entry(self.repository(&placement.repository)?).or_default();
            all.push(root);
            if !is_extra(placement.image, false) {
                needed.push(root);
            }
        }
        let mut levels: Vec<Vec<RepositoryDocument>> = Vec::new();
        for (repository, (all, needed)) in repositories {
            let needed: BTreeSet<Digest> = closure.below(needed).map(|node| node.digest).collect();
            for node in closure.below(all) {
                let Some(media_type) = &node.document else { continue };
                let bytes = verified.document(&node.digest).unwrap_or_default();
                let subject = parse(bytes, media_type).ok().and_then(|document| document.subject());
                levels.resize_with(levels.len().max(node.height + 1), Vec::new);
                let (media_type, extra) = (media_type.clone(), !needed.contains(&node.digest));
                levels[node.height].push(RepositoryDocument {
                    repository,
                    digest: node.digest,
                    media_type,
                    bytes,
                    subject,
                    extra,
                });
            }
        }
        Ok(levels)
    }

    /// Gets a blob from one repository into another. `sent`: it was new in the first, so the second is not asked.
    fn mount(&self, blob: &Blob, from: &Repository, path: &str, sent: bool) -> Result<bool> {
        let to = self.repository(path)?;
        if !sent && self.client.has_blob(to, &blob.digest, blob.size)? {
            return Ok(true);
        }
        match self.client.mount_blob(to, &blob.digest, blob.size, from) {
            // Sending it will show whether an extra is refused.
            Err(e) if !e.is_transient() && !self.needed.needs(&blob.digest, path) => Ok(false),
            other => other,
        }
    }

    fn turn(&self, turn: &[RepositoryDocument<'_>], watch: &dyn Watch) -> Result<Vec<Put>> {
        let one = |it: &RepositoryDocument<'_>| {
            watch.check()?;
            match self.document(it) {
                Ok(true) => Ok(Put::New),
                Ok(false) => Ok(Put::There),
                Err(e) if it.extra => reason(e).map(Put::Refused),
                Err(e) => Err(e),
            }
        };
        turn.iter().map(one).collect()
    }

    /// Pushes a missing document. Returns whether it was new. The registry must serve it back before anything refers to
    /// it.
    fn document(&self, it: &RepositoryDocument<'_>) -> Result<bool> {
        let without = self.without.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !without.is_empty()
            && it.extra
            && let Ok(document) = parse(it.bytes, &it.media_type)
        {
            let here = |path: &str| self.repositories.get(path) == Some(it.repository);
            let lacks = |digest: &Digest| without.iter().find(|((path, d), _)| d == digest && here(path));
            if let Some((_, why)) = document.children().find_map(|blob| lacks(&blob.digest)) {
                return Err(Error::new(Code::Destination, why.clone()));
            }
        }
        let wanted = Wanted::Digest(it.digest);
        if self.holds(it.repository, &wanted)? == Some(it.digest) {
            return Ok(false);
        }
        self.client.put_manifest(it.repository, &wanted, &it.media_type, it.bytes)?;
        self.client.confirm_manifest(it.repository, &wanted, &it.digest)?;
        Ok(true)
    }

    /// Completes the lists of referrers, one after the other in each repository.
    fn lists<'v>(
        &self,
        lists: Vec<List<'v>>,
        watch: &dyn Watch,
        counts: &mut Counts,
        refused: &mut Reasons<'v>,
    ) -> Result<()> {
        let mut turns: BTreeMap<&Repository, Vec<List>> = BTreeMap::new();
        for list in lists {
            turns.entry(list.repository).or_default().push(list);
        }
        let turns: Vec<Vec<List>> = turns.into_values().collect();
        let complete = |list: &List<'_>| {
            watch.check()?;
            match list.complete(self.client) {
                Ok(pushed) => Ok(Ok(pushed)),
                Err(e) => reason(e).map(Err),
            }
        };
        let done = self.pace.map(
            &turns,
            || (),
            |(), turn| turn.iter().map(complete).collect::<Result<Vec<Result<u64, String>>>>(),
        )?;
        for (list, done) in turns.iter().flatten().zip(done.into_iter().flatten()) {
            match done {
                Ok(pushed) => counts.documents += pushed,
                Err(why) => {
                    refused
                        .extend(list.entries.iter().map(|(entry, _)| ((list.repository, entry.digest), why.clone())));
                }
            }
        }
        Ok(())
    }

    fn tags<'v>(
        &'v self,
        verified: &Verified<'_>,
        watch: &dyn Watch,
        counts: &mut Counts,
        refused: &mut Reasons<'v>,
    ) -> Result<()> {
        // Images of different registries can share a location here: never set the same tag twice at once.
        let mut set = BTreeSet::new();
        let mut tagged = Vec::new();
        for placement in &self.placements {
            let repository = self.repository(&placement.repository)?;
            if let Some(tag) = &placement.tag
                && !refused.contains_key(&(repository, placement.image.digest))
                && set.insert((repository, tag))
            {
                tagged.push((placement, repository, tag));
            }
        }
        let done = self.pace.map(
            &tagged,
            || (),
            |(), (placement, repository, tag)| {
                watch.check()?;
                let bytes = verified.document(&placement.image.digest).unwrap_or_default();
                match self.tag(placement.image, repository, tag, bytes, watch) {
                    Ok(new) => Ok(Ok(new)),
                    Err(e) if is_extra(placement.image, false) => reason(e).map(Err),
                    Err(e) => Err(e),
                }
            },
        )?;
        for ((placement, repository, _), done) in tagged.iter().zip(done) {
            match done {
                Ok(new) => counts.tags += u64::from(new),
                Err(why) => _ = refused.insert((repository, placement.image.digest), why),
            }
        }
        Ok(())
    }

    /// Sets the tag of an image, unless it is already right.
    fn tag(&self, image: &Image, repository: &Repository, tag: &Tag, bytes: &[u8], watch: &dyn Watch) -> Result<bool> {
        let wanted = Wanted::Tag(tag.clone());
        let before = self.holds(repository, &wanted)?;
        if before == Some(image.digest) {
            return Ok(false);
        }
        if let Some(old) = before {
            watch.warn(&format!("tag {repository}:{tag} pointed to {old} before"));
        }
        self.client.put_manifest(repository, &wanted, &image.media_type, bytes)?;
        self.client.confirm_manifest(repository, &wanted, &image.digest)?;
        Ok(true)
    }

    /// The refused extras, one for each image.
    fn refused(&self, reasons: &Reasons<'_>) -> Vec<Refused> {
        let all = self.placements.iter().filter(|placement| is_extra(placement.image, false));
        let found = all.filter_map(|placement| {
            let repository = self.repositories.get(&placement.repository)?;
            let why = reasons.get(&(repository, placement.image.digest))?.clone();
            let (image, subject) = (placement.image, placement.image.subject);
            let (digest, kind) = (image.digest, image.kind);
            Some(Refused { digest, kind, subject, repository: repository.to_string(), why })
        });
        let mut out: Vec<Refused> = found.collect();
        out.dedup();
        out
    }
}

/// Why an extra was refused; a failure that is not the registry's answer remains an error.
fn reason(e: Error) -> Result<String> {
    if !matches!(e.code(), Code::Destination | Code::Auth) {
        return Err(e);
    }
    let quoted = e.facts().iter().find(|fact| fact.starts_with("it said:"));
    Ok(quoted.map_or_else(|| e.message().to_owned(), |quoted| format!("{}; {quoted}", e.message())))
}
