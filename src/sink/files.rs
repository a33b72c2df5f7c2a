//! Small named files, such as `manifests/<name>.yaml`, into a folder that holds nothing else.
//!
//! `oc apply -Rf FOLDER` applies whatever lies there, so a foreign file, link or folder in it stops the work
//! before anything is written (security G5). Files that are already right are left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::fs::dir::folder_of;
use crate::fs::partial::{is_temp_name, remove_leftover};
use crate::fs::{Dir, EntryKind, TempFile};
use crate::oci::Digest;

/// The most components of a name: what fits into the path of a bundle's file.
const MAX_DEPTH: usize = crate::bundle::limits::PATH / 2;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that were not there.
    pub new: usize,
    /// Files that were there with the same content, and were left alone.
    pub same: usize,
    /// Files that had other content and were replaced.
    pub replaced: usize,
}

/// What may be in the folder already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Files of the names that are written, with other content: they are replaced.
    pub overwrite: bool,
    /// Other files for which this is true (name, content): they stay.
    pub keep: Option<fn(&str, &[u8]) -> bool>,
}

/// The most bytes of a file that stays.
const KEEP: u64 = 4 << 20;

/// Where files are written: a folder that the user named, or one with a name of ours beneath such a one.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    ours: bool,
}

impl Folder {
    /// The folder that the user named. A link is the user's own choice, and followed.
    pub fn named(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into(), ours: false }
    }

    /// A folder whose last component is not the user's word (`DIR/manifests`). Somebody may have put a link there
    /// that leads elsewhere, so that one is refused (security C3, I2).
    pub fn ours(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into(), ours: true }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<Dir> {
        match self.path.file_name().and_then(|name| name.to_str()) {
            Some(name) if self.ours => {
                let parent = folder_of(&self.path);
                Dir::create(parent, Code::Conflict)?.make_dir(name)
            }
            _ => Dir::create(&self.path, Code::Conflict),
        }
    }
}

/// Writes `files` (names beneath `folder`, such as `a.yaml` or `sha256=<hex>/signature-1`, and contents).
///
/// The folder must be new, or hold only files of these names. Other content under one of the names is
/// `Code::Conflict` unless the rules say `overwrite`; anything else in the folder is, unless they keep it.
pub(crate) fn write(folder: &Folder, files: &[(String, Vec<u8>)], rules: Rules) -> Result<Written> {
    let wanted = named(files)?;
    let base = folder.open()?;
    let survey = survey(&base, &wanted, rules)?;
    for (parent, name) in &survey.left {
        remove_leftover(&at(&base, parent)?, name)?;
    }
    for (name, content) in wanted.iter().filter(|(name, _)| !survey.same.contains(**name)) {
        let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
        let dir = at(&base, parent)?;
        let mut file = TempFile::create(&dir, &Digest::of(content))?;
        file.write(content)?;
        file.commit(last)?;
    }
    // Also of files that were there: the run that wrote them may have been killed before this.
    let parents: BTreeSet<&str> =
        wanted.keys().map(|name| name.rsplit_once('/').map_or("", |(parent, _)| parent)).collect();
    parents.iter().try_for_each(|parent| at(&base, parent)?.sync())?;
    let (same, replaced) = (survey.same.len(), survey.other.len());
    Ok(Written { new: wanted.len() - same - replaced, same, replaced })
}

/// Whether [`write`] would find a conflict, without writing anything: to be asked before long work.
/// No files: nothing is asked.
pub fn check(folder: &Folder, files: &[(String, Vec<u8>)], rules: Rules) -> Result<()> {
    let wanted = named(files)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let writable = |at: &Path| {
        crate::fs::space::writable(at).map_err(|e| Error::io("cannot write in", at, e).state("nothing was written"))
    };
    match std::fs::symlink_metadata(&folder.path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => writable(nearest(&folder.path)?),
        Err(e) => Err(Error::io("cannot read", &folder.path, e)),
        Ok(_) => {
            survey(&folder.open()?, &wanted, rules)?;
            writable(&folder.path)
        }
    }
}

/// The folder above `path` that is there: what is missing will be made in it.
pub(crate) fn nearest(path: &Path) -> Result<&Path> {
    let mut at = folder_of(path);
    loop {
        match std::fs::metadata(at) {
            Ok(meta) if meta.is_dir() => return Ok(at),
            Ok(_) => {
                return Err(Error::new(Code::Conflict, format!("`{}` is not a folder", at.display()))
                    .state("nothing was written")
                    .hint(format!("`{}` cannot be made below it; choose another folder", path.display())));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && folder_of(at) != at => at = folder_of(at),
            Err(e) => return Err(Error::io("cannot read", at, e)),
        }
    }
}

fn named(files: &[(String, Vec<u8>)]) -> Result<BTreeMap<&str, &[u8]>> {
    let mut wanted = BTreeMap::new();
    for (name, content) in files {
        check_name(name)?;
        if wanted.insert(name.as_str(), content.as_slice()).is_some() {
            return Err(Error::new(Code::Malformed, format!("two files would be written as `{name}`")));
        }
    }
    Ok(wanted)
}

fn survey<'a>(base: &Dir, wanted: &'a BTreeMap<&'a str, &'a [u8]>, rules: Rules) -> Result<Survey<'a>> {
    let mut survey = Survey { wanted, rules, same: BTreeSet::new(), other: BTreeSet::new(), left: Vec::new() };
    survey.look(base, "", 0).map_err(|e| e.state("nothing was written"))?;
    if let Some(name) = survey.other.first()
        && !rules.overwrite
    {
        return Err(Error::new(Code::Conflict, format!("`{}` exists with other content", base.at(name).display()))
            .state("nothing was written")
            .hint("compare them; --overwrite replaces it"));
    }
    Ok(survey)
}

fn at(base: &Dir, parent: &str) -> Result<Dir> {
    if parent.is_empty() { base.again() } else { base.make_dir(parent) }
}

struct Survey<'a> {
    wanted: &'a BTreeMap<&'a str, &'a [u8]>,
    rules: Rules,
    same: BTreeSet<String>,
    other: BTreeSet<String>,
    /// Temporary files of a killed run: folder and name.
    left: Vec<(String, String)>,
}

impl Survey<'_> {
    fn look(&mut self, dir: &Dir, below: &str, depth: usize) -> Result<()> {
        for (name, kind) in dir.entries()? {
            let full = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            match (kind, self.wanted.get(full.as_str())) {
                (EntryKind::File, Some(content)) if holds(dir, &name, content)? => {
                    self.same.insert(full);
                }
                (EntryKind::File, Some(_)) => {
                    self.other.insert(full);
                }
                (EntryKind::File, None) if is_temp_name(&name) => self.left.push((below.to_owned(), name)),
                (EntryKind::Directory, None) if depth < MAX_DEPTH && self.leads_to(&full) => {
                    if let Some(inner) = dir.dir(&name)? {
                        self.look(&inner, &full, depth + 1)?;
                    }
                }
                (EntryKind::File, None) if below.is_empty() && self.stays(dir, &name)? => {}
                _ => {
                    return Err(Error::new(
                        Code::Conflict,
                        format!("`{}` does not belong to what is written there", dir.at(&name).display()),
                    )
                    .fact("everything in this folder would be taken for reviewed content")
                    .hint("choose a new or empty folder"));
                }
            }
        }
        Ok(())
    }

    fn stays(&self, dir: &Dir, name: &str) -> Result<bool> {
        let Some(keep) = self.rules.keep else { return Ok(false) };
        let Some(file) = dir.file(name)? else { return Ok(false) };
        let mut content = Vec::new();
        file.take(KEEP).read_to_end(&mut content).map_err(|e| Error::io("cannot read", dir.at(name), e))?;
        Ok(keep(name, &content))
    }

    fn leads_to(&self, folder: &str) -> bool {
        self.wanted.keys().any(|name| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    }
}

fn holds(dir: &Dir, name: &str, content: &[u8]) -> Result<bool> {
    let Some(file) = dir.file(name)? else { return Ok(false) };
    let mut found = Vec::with_capacity(content.len());
    let limit = content.len() as u64 + 1;
    file.take(limit).read_to_end(&mut found).map_err(|e| Error::io("cannot read", dir.at(name), e))?;
    Ok(found == content)
}

/// The grammar of names in a bundle, without what Windows cannot hold.
/// The names that a bundle may have for its files, except those of our own temporary files.
fn check_name(name: &str) -> Result<()> {
    let why = match crate::bundle::name::check(name) {
        Ok(()) if name.split('/').any(is_temp_name) => "it is the name of a temporary file of this program",
        Ok(()) => return Ok(()),
        Err(why) => why,
    };
    Err(Error::new(Code::Malformed, format!("`{name}` is not a name that is written: {why}")))
}
