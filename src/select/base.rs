//! What the other side has already: the bases that `create --base` leaves out (`spec/receipts.md`, MB-SIT-10).
//!
//! A base is a bundle of any form (its head and index are read, nothing else), an index alone, the receipt of a site, an
//! inventory, or a folder of these. A base says nothing about trust: what is left out because of a wrong one is missing at
//! the site, and the bundle is refused there before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::bundle::addendum::{self, AddendumKind};
use crate::bundle::index::{self, Index};
use crate::bundle::limits;
use crate::bundle::reader::Bundle;
use crate::bundle::removal::{self, Removal, Removed};
use crate::bundle::stock;
use crate::error::{Code, Error, Result};
use crate::fs::dir::{self, EntryKind};
use crate::fs::small;
use crate::oci::Digest;
use crate::site::{Inventory, MAX_INVENTORY, PREFIX, Receipt, Receivers, Signed, check};

/// The most bases of one run, as a carriage lists.
pub const MAX_BASES: usize = 64;
/// The most files of a folder that are looked at.
const MAX_FILES: usize = 10_000;
/// The most blobs of all bases together.
const MAX_BLOBS: usize = 1_000_000;
/// What an index begins with, in its one form.
const INDEX: &[u8] = b"{\n  \"format\": ";
/// The most repositories of one blob that are named.
const REPOSITORIES: usize = 8;

/// What kind of file a base is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A bundle, or volumes of one.
    Bundle,
    /// The index of a bundle alone.
    Index,
    /// The receipt of a site, with the index that it names.
    Receipt,
    /// The inventory of a registry.
    Inventory,
}

/// What a site has, according to one file.
#[derive(Debug)]
pub struct Base {
    /// The file, as named.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Digest of the index, except for an inventory.
    pub index: Option<Digest>,
    /// The name of the bundle.
    pub name: Option<String>,
    /// Its number in the series of its name.
    pub sequence: Option<u64>,
    /// Digest of the receipt (of its line) or of the inventory.
    pub receipt: Option<Digest>,
    /// The registry that a receipt or an inventory is about.
    pub registry: Option<String>,
    /// When a receipt or an inventory was written.
    pub created: Option<String>,
    /// Who signed the receipt or the inventory.
    pub signed: Option<Signed>,
    /// What could not be looked at when an inventory was written.
    pub unread: usize,
    /// Sizes of blobs.
    blobs: BTreeMap<Digest, u64>,
    /// Where a blob is, if this base knows that: positions in `names`.
    places: BTreeMap<Digest, Vec<u32>>,
    /// Repositories, with their registry if they had one.
    names: Vec<String>,
    /// The file that has its index.
    document: PathBuf,
    /// The files that have its content: a bundle, or volumes.
    bundles: Vec<PathBuf>,
}

impl Base {
    /// The files that have content of it: a bundle of any form, or volumes.
    pub fn bundles(&self) -> &[PathBuf] {
        &self.bundles
    }

    /// Its index, read again; `None` for an inventory.
    ///
    /// # Errors
    /// [`Code::Io`] if the file is another one now; those of reading it.
    pub fn document(&self) -> Result<Option<Index>> {
        let Some(digest) = &self.index else { return Ok(None) };
        let bytes = match self.bundles.contains(&self.document) {
            true => Bundle::open(&self.document)?.head().index.to_vec(),
            false => small::read(&self.document, limits::INDEX)
                .map_err(|e| e.error("cannot read", &self.document, Code::Malformed))?,
        };
        match Digest::of(&bytes) == *digest {
            true => Index::parse(&bytes).map(Some),
            false => Err(Error::new(Code::Io, format!("`{}` was changed while it was read", self.document.display()))),
        }
    }

    /// The size of this blob, if the site has it.
    pub fn has(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).copied()
    }

    /// The number of blobs.
    pub fn len(&self) -> usize {
        self.blobs.len()
    }

    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Repositories where this blob is, at most 8: for an inventory where it was found, for a bundle where its images
    /// came from, those of the blob first. Empty if the base does not have it.
    pub fn repositories(&self, digest: &Digest) -> Vec<&str> {
        if !self.blobs.contains_key(digest) {
            return Vec::new();
        }
        let name = |at: &u32| self.names.get(usize::try_from(*at).ok()?).map(String::as_str);
        let own = self.places.get(digest).into_iter().flatten();
        if self.kind == Kind::Inventory {
            return own.filter_map(name).take(REPOSITORIES).collect();
        }
        let mut out: Vec<&str> = Vec::new();
        for one in own.filter_map(name).chain(self.names.iter().map(String::as_str)) {
            if out.len() < REPOSITORIES && !out.contains(&one) {
                out.push(one);
            }
        }
        out
    }

    /// What it is, for a person: `app #7`, or the registry of an inventory.
    pub fn title(&self) -> String {
        match (&self.name, &self.registry) {
            (Some(name), _) => index::title(name, self.sequence),
            (None, Some(registry)) => format!("inventory of {registry}"),
            (None, None) => self.path.display().to_string(),
        }
    }

    /// The base that an index is, without what was removed.
    fn of(path: &Path, kind: Kind, digest: Digest, index: &Index, removed: &Removed) -> Base {
        let there = |at: &usize| !removed.blobs.contains(at);
        let blobs = (0..).zip(&index.blobs).filter(|(at, _)| there(at)).map(|(_, blob)| (blob.digest, blob.size));
        let images = (0..).zip(&index.images).filter(|(at, _)| !removed.images.contains(at)).map(|(_, image)| image);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        images.clone().filter_map(|i| i.repository.as_deref()).for_each(|one| *counts.entry(one).or_default() += 1);
        let mut names: Vec<(&str, usize)> = counts.into_iter().collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let at: BTreeMap<&str, u32> = names.iter().map(|(name, _)| *name).zip(0..).collect();
        let mut places: BTreeMap<Digest, Vec<u32>> = BTreeMap::new();
        for image in images {
            let Some(at) = image.repository.as_deref().and_then(|name| at.get(name)) else { continue };
            let own = places.entry(image.digest).or_default();
            if !own.contains(at) {
                own.push(*at);
            }
        }
        Base {
            path: path.to_owned(),
            kind,
            index: Some(digest),
            name: Some(index.name.clone()),
            sequence: index.sequence,
            receipt: None,
            registry: None,
            created: None,
            signed: None,
            unread: 0,
            blobs: blobs.collect(),
            places,
            names: names.into_iter().map(|(name, _)| name.to_owned()).collect(),
            document: path.to_owned(),
            bundles: if kind == Kind::Bundle { vec![path.to_owned()] } else { Vec::new() },
        }
    }
}

/// What a site has, according to all bases.
#[derive(Debug, Default)]
pub struct Bases {
    /// They, in the order given; those of a folder by name.
    pub all: Vec<Base>,
}

impl Bases {
    /// The size of this blob, if the site has it.
    pub fn has(&self, digest: &Digest) -> Option<u64> {
        self.all.iter().find_map(|base| base.has(digest))
    }

    /// Repositories where this blob is, at most 8.
    pub fn repositories(&self, digest: &Digest) -> Vec<&str> {
        let mut out = Vec::new();
        for one in self.all.iter().flat_map(|base| base.repositories(digest)) {
            if out.len() < REPOSITORIES && !out.contains(&one) {
                out.push(one);
            }
        }
        out
    }

    /// The files that have content of them: of the bundles that were named, and of the newest that receipts name, as many
    /// as may be open at once.
    pub fn bundles(&self) -> Vec<PathBuf> {
        let (named, mut said): (Vec<&Base>, Vec<&Base>) =
            self.all.iter().filter(|base| !base.bundles.is_empty()).partition(|base| base.kind != Kind::Receipt);
        said.sort_by_key(|base| std::cmp::Reverse(base.sequence));
        let room = stock::BUNDLES.saturating_sub(named.len());
        named.into_iter().chain(said.into_iter().take(room)).flat_map(|base| base.bundles.iter().cloned()).collect()
    }

    /// Sentences that a person must read: signatures that were not checked, what an inventory does not cover.
    pub fn notices(&self) -> Vec<String> {
        let mut out = Vec::new();
        for base in &self.all {
            let name = base.path.display();
            match &base.signed {
                Some(Signed { key: None, .. }) => {
                    out.push(format!("`{name}` has no signature: anyone could have written it"));
                }
                Some(Signed { trusted: false, .. }) => {
                    out.push(format!("the signature of `{name}` was not checked (--base-signer, --base-trust)"));
                }
                _ => {}
            }
            if base.unread > 0 {
                let n = base.unread;
                out.push(format!(
                    "`{name}` does not cover {n} of what it was asked for; nothing is left out because of that"
                ));
            }
        }
        out
    }
}

/// Reads what these paths say that the site has.
///
/// # Errors
/// [`Code::Usage`] for something that is no base, and for a receipt whose index is nowhere; [`Code::Malformed`] and the
/// other codes of a bad bundle for a damaged one, with its name; those of [`check`] for a signature.
pub fn load(paths: &[PathBuf], receivers: Receivers<'_>) -> Result<Bases> {
    let mut found = Found::default();
    for path in paths {
        match path.is_dir() {
            true => found.folder(path)?,
            false => {
                let one = read(path)?.ok_or_else(|| no_base(path))?;
                found.take(one, false)?;
            }
        }
    }
    found.finish(receivers)
}

/// One file that was read.
enum One {
    Base(Base),
    Receipt(PathBuf, Receipt),
    Inventory(PathBuf, Box<Inventory>, Digest),
}

#[derive(Default)]
struct Found {
    /// Bundles and indexes, and whether each is only there for a receipt to find.
    indexes: Vec<(Base, bool)>,
    said: Vec<One>,
    /// Files of folders that were looked at.
    files: usize,
    /// Blobs of all.
    blobs: usize,
}

impl Found {
    /// `aside`: a bundle or index does not count by itself.
    fn take(&mut self, one: One, aside: bool) -> Result<()> {
        self.blobs += match &one {
            One::Base(base) => base.len(),
            One::Inventory(_, inventory, _) => inventory.blobs.len(),
            One::Receipt(..) => 0,
        };
        if self.blobs > MAX_BLOBS {
            return Err(Error::new(Code::Usage, format!("the bases have more than {MAX_BLOBS} blobs together"))
                .hint("name only the newest bundles or receipts of this site"));
        }
        match one {
            One::Base(base) => match self.indexes.iter_mut().find(|(other, _)| other.index == base.index) {
                // Volumes and copies: what was removed from one of them is nowhere.
                Some((other, only)) => {
                    other.blobs.retain(|digest, _| base.blobs.contains_key(digest));
                    other.bundles.extend(base.bundles);
                    *only &= aside;
                }
                None => self.indexes.push((base, aside)),
            },
            said => self.said.push(said),
        }
        match self.said.len() + self.indexes.iter().filter(|(_, aside)| !aside).count() {
            ..=MAX_BASES => Ok(()),
            _ => Err(Error::new(Code::Usage, format!("more than {MAX_BASES} bases"))
                .hint("name only the newest bundles or receipts of this site")),
        }
    }

    /// Every base in a folder. Where it has a receipt or an inventory, bundles and indexes count only as what a receipt
    /// names: the maker keeps those of bundles that no site has confirmed in the same folder.
    fn folder(&mut self, path: &Path) -> Result<()> {
        let mut all = Vec::new();
        for file in files(path)? {
            self.files += 1;
            if self.files > MAX_FILES {
                return Err(Error::new(Code::Usage, format!("`{}` has more than {MAX_FILES} files", path.display()))
                    .hint("name the bases themselves"));
            }
            all.extend(read(&file)?);
        }
        if all.is_empty() {
            return Err(Error::new(Code::Usage, format!("`{}` contains no base", path.display())).hint(WHAT));
        }
        let confirmed = all.iter().any(|one| !matches!(one, One::Base(_)));
        all.into_iter().try_for_each(|one| self.take(one, confirmed))
    }

    fn finish(mut self, receivers: Receivers<'_>) -> Result<Bases> {
        let mut all = Vec::new();
        for one in std::mem::take(&mut self.said) {
            all.push(match one {
                One::Base(base) => base,
                One::Inventory(path, inventory, digest) => of_inventory(&path, *inventory, digest, receivers)?,
                One::Receipt(path, receipt) => {
                    let name = path.display().to_string();
                    let signed = check(&name, &receipt.line(), receipt.signature.as_deref(), receivers)?;
                    self.of_receipt(path, &receipt, signed)?
                }
            });
        }
        all.extend(self.indexes.into_iter().filter(|(_, aside)| !aside).map(|(base, _)| base));
        Ok(Bases { all })
    }

    fn of_receipt(&self, path: PathBuf, receipt: &Receipt, signed: Signed) -> Result<Base> {
        let here = self.indexes.iter().map(|(base, _)| base).find(|base| base.index == Some(receipt.index));
        let beside;
        let base = match here {
            Some(base) => base,
            None => {
                beside = beside_receipt(&path, &receipt.index)?;
                &beside
            }
        };
        agrees(&path, receipt, base)?;
        Ok(Base {
            path,
            kind: Kind::Receipt,
            receipt: Some(receipt.digest()),
            registry: Some(receipt.registry.to_string()),
            created: Some(receipt.created.clone()),
            signed: Some(signed),
            name: base.name.clone(),
            blobs: base.blobs.clone(),
            places: base.places.clone(),
            names: base.names.clone(),
            document: base.document.clone(),
            bundles: base.bundles.clone(),
            ..*base
        })
    }
}

const WHAT: &str =
    "a base is a bundle, its index.json, the receipt of a site (mbr1 ...), an inventory, or a folder of these";

fn no_base(path: &Path) -> Error {
    Error::new(Code::Usage, format!("`{}` is no base", path.display())).hint(WHAT)
}

/// The regular files of a folder, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let listed = dir::list(path, MAX_FILES).map_err(|e| Error::io("cannot list", path, e))?;
    let file = |(name, kind): (std::ffi::OsString, EntryKind)| {
        let file = path.join(name);
        let is = kind == EntryKind::File || file.is_file();
        (is && file.extension().is_none_or(|e| e != "partial")).then_some(file)
    };
    let mut out: Vec<PathBuf> = listed.into_iter().filter_map(file).collect();
    out.sort();
    Ok(out)
}

/// Reads one file, if it is one that counts.
fn read(path: &Path) -> Result<Option<One>> {
    let cannot = |e: small::Unread| e.error("cannot read", path, Code::Usage);
    let start = small::read_start(path, 512).map_err(cannot)?;
    let name = path.display().to_string();
    if start.starts_with(PREFIX.as_bytes()) {
        let bytes = small::read_start(path, 4096).map_err(cannot)?;
        return Ok(Some(One::Receipt(path.to_owned(), Receipt::parse(&name, &bytes)?)));
    }
    if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return json(path, &start);
    }
    let bundle = match Bundle::open(path) {
        Ok(bundle) => bundle,
        Err(e) if e.code() == Code::NotABundle => return Ok(None),
        Err(e) => return Err(e),
    };
    let whose = |e: Error| e.fact(format!("in `{name}`"));
    let (head, index) = (bundle.head().clone(), Index::parse(&bundle.head().index).map_err(whose)?);
    let mut removed = removal::in_head(&head.removals, &index, &head.digest()).map_err(whose)?;
    let index = std::sync::Arc::new(index);
    // What is excluded behind the last member does not get to the site either. A damaged file has none that count.
    if let Ok(contents) = bundle.tolerant(std::sync::Arc::clone(&index)) {
        let statements = contents.addenda().iter().filter(|one| addendum::kind(&one.name) == AddendumKind::Removal);
        statements
            .filter_map(|one| Removal::parse(&one.bytes, &index, &head.digest()).ok())
            .for_each(|one| removed.add(&one.removed));
    }
    for bytes in removals_beside(path) {
        removed.add(&Removal::parse(&bytes, &index, &head.digest()).map(|one| one.removed).unwrap_or_default());
    }
    Ok(Some(One::Base(Base::of(path, Kind::Bundle, head.digest(), &index, &removed))))
}

/// What may be statements about removals beside a bundle (`scrub --exclude --detach`).
fn removals_beside(path: &Path) -> Vec<Vec<u8>> {
    let Some(own) = path.file_name().map(|name| format!("{}.removal-", name.to_string_lossy())) else {
        return Vec::new();
    };
    let listed = dir::list(dir::folder_of(path), MAX_FILES).unwrap_or_default();
    let named = listed.into_iter().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with(&own) && name.ends_with(".json")
    });
    let read = |name: &Path| small::read(&dir::folder_of(path).join(name), limits::REMOVAL).ok();
    named.filter_map(|(name, _)| read(Path::new(&name))).take(limits::REMOVALS_OF_ALL).collect()
}

/// A JSON document: an inventory or an index. Others are none of ours.
fn json(path: &Path, start: &[u8]) -> Result<Option<One>> {
    let name = path.display().to_string();
    let says = |text: &str| start.windows(text.len()).any(|window| window == text.as_bytes());
    let own = says(crate::site::SCHEMA);
    let limit = if own { MAX_INVENTORY } else { limits::INDEX };
    if !own && !start.starts_with(INDEX) {
        return Ok(None);
    }
    let bytes = small::read(path, limit).map_err(|e| e.error("cannot read", path, Code::Malformed))?;
    if own {
        let inventory = Box::new(Inventory::parse(&name, &bytes)?);
        return Ok(Some(One::Inventory(path.to_owned(), inventory, Digest::of(&bytes))));
    }
    let index = Index::parse(&bytes).map_err(|e| e.fact(format!("in `{name}`")))?;
    Ok(Some(One::Base(Base::of(path, Kind::Index, Digest::of(&bytes), &index, &Removed::default()))))
}

fn of_inventory(path: &Path, inventory: Inventory, digest: Digest, receivers: Receivers<'_>) -> Result<Base> {
    let beside = crate::fs::beside(path, ".sig");
    let armored = match small::read(&beside, limits::SIGNATURE) {
        Ok(armored) => Some(armored),
        Err(e) if e.is_missing() => None,
        Err(e) => return Err(e.error("cannot read", &beside, Code::Usage)),
    };
    // The bytes again, rather than 32 MiB of them for each inventory all the time.
    let bytes = small::read(path, MAX_INVENTORY).map_err(|e| e.error("cannot read", path, Code::Usage))?;
    if Digest::of(&bytes) != digest {
        return Err(Error::new(Code::Io, format!("`{}` was changed while it was read", path.display())));
    }
    let signed = check(&path.display().to_string(), &bytes, armored.as_deref(), receivers)?;
    drop(bytes);
    let mut places: BTreeMap<Digest, Vec<u32>> = BTreeMap::new();
    for (number, held) in (0..).zip(&inventory.repositories) {
        for at in &held.blobs {
            let Some(blob) = usize::try_from(*at).ok().and_then(|at| inventory.blobs.get(at)) else { continue };
            let own = places.entry(blob.digest).or_default();
            if own.len() < REPOSITORIES {
                own.push(number);
            }
        }
    }
    Ok(Base {
        path: path.to_owned(),
        kind: Kind::Inventory,
        index: None,
        name: None,
        sequence: None,
        receipt: Some(digest),
        registry: Some(inventory.registry),
        created: Some(inventory.created),
        signed: Some(signed),
        unread: inventory.unread.len(),
        blobs: inventory.blobs.into_iter().map(|blob| (blob.digest, blob.size)).collect(),
        places,
        names: inventory.repositories.into_iter().map(|held| held.name).collect(),
        document: path.to_owned(),
        bundles: Vec::new(),
    })
}

/// The index that a receipt names: in the files and folders given, else beside the receipt.
///
/// # Errors
/// [`Code::Usage`] when it is nowhere there; [`Code::Malformed`] when the receipt contradicts it.
pub fn index_of(path: &Path, receipt: &Receipt, given: &[PathBuf]) -> Result<Index> {
    let base = match given {
        [] => beside_receipt(path, &receipt.index)?,
        given => {
            let mut all = Vec::new();
            for one in given {
                if one.is_dir() { all.extend(files(one)?) } else { all.push(one.clone()) }
            }
            let shown: Vec<String> = given.iter().map(|one| one.display().to_string()).collect();
            search(path, &receipt.index, all, &shown.join(", "))?
        }
    };
    agrees(path, receipt, &base)?;
    base.document()?.ok_or_else(|| Error::new(Code::Internal, "a base that a receipt names has an index"))
}

/// An error if the number in a receipt is not that of its index: it was made up.
fn agrees(path: &Path, receipt: &Receipt, base: &Base) -> Result<()> {
    if base.sequence == receipt.sequence {
        return Ok(());
    }
    let shown = |n: Option<u64>| n.map_or_else(|| "no number".to_owned(), |n| n.to_string());
    Err(Error::new(Code::Malformed, format!("the receipt `{}` contradicts its index", path.display()))
        .fact(format!("the receipt says {}", shown(receipt.sequence)))
        .fact(format!("the index says   {}", shown(base.sequence))))
}

/// The index that a receipt names, beside it.
fn beside_receipt(receipt: &Path, wanted: &Digest) -> Result<Base> {
    let folder = dir::folder_of(receipt);
    search(receipt, wanted, files(folder)?, &format!("the folder {}", folder.display()))
}

/// The index with this digest among files: indexes first, then bundles.
fn search(receipt: &Path, wanted: &Digest, all: Vec<PathBuf>, shown: &str) -> Result<Base> {
    let is_index = |path: &Path| path.extension().is_some_and(|e| e == "json");
    let (indexes, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| is_index(path));
    let mut seen = BTreeSet::new();
    for path in indexes.into_iter().chain(rest) {
        if path == receipt {
            continue;
        }
        // What else lies there is nobody's business here, damaged or not.
        if let Ok(Some(One::Base(base))) = read(&path) {
            if base.index == Some(*wanted) {
                return Ok(base);
            }
            seen.insert(base.title());
        }
    }
    let mut err = Error::new(Code::Usage, format!("the index that `{}` names is not at hand", receipt.display()))
        .fact(format!("wanted {wanted}"))
        .fact(format!("looked in {shown}"));
    if !seen.is_empty() {
        err = err.fact(format!("there   {}", seen.into_iter().take(8).collect::<Vec<_>>().join(", ")));
    }
    Err(err.hint(
        "put the NAME.index.json of that bundle, or the bundle, beside the receipt, or name it; \
         tar -xOf BUNDLE mirror-bundle/index.json > NAME.index.json",
    ))
}
