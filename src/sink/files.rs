//! Small named files, such as `manifests/<name>.yaml`, into a folder that holds nothing else.
//!
//! `oc apply -Rf FOLDER` applies every file in the folder, so an unknown file, link or folder in it is an error before
//! anything is written (security G5). Files that are already right are left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::bundle::name;
use crate::error::{Code, Error, Result};
use crate::fs::dir::{exists, folder_of};
use crate::fs::partial::{is_temp_name, remove_leftover};
use crate::fs::{Dir, EntryKind, TempFile};
use crate::oci::Digest;

/// The maximum depth of a name, which must fit into a path in a bundle.
const MAX_DEPTH: usize = crate::bundle::limits::PATH / 2;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files that did not exist.
    pub new: usize,
    /// Files that existed with the same content, and were left alone.
    pub same: usize,
    /// Files that existed with other content, and were replaced.
    pub replaced: usize,
}

/// What the folder may already hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Files with a name that is written and other content: they are replaced.
    pub overwrite: bool,
    /// Other files for which this function (name, content) is true: they stay.
    pub keep: Option<fn(&str, &[u8]) -> bool>,
}

/// The largest file that may stay, in bytes.
const KEEP: u64 = 4 << 20;

/// The output folder: one that the user named, or one with a default name inside such a folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// How many of the last components this program chose.
    ours: usize,
}

impl Folder {
    /// A folder that the user named. A link is the user's own choice, and is followed.
    pub fn named(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into(), ours: 0 }
    }

    /// A folder whose last component the user did not name (`DIR/manifests-mirror-set`). Someone else may have put a
    /// link there, so a link is refused (security C3, I2).
    pub fn ours(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into(), ours: 1 }
    }

    /// The folder of one bundle ([`name::unpacked`]) in a folder that other bundles share (`DIR/manifests`). The user named
    /// neither of them. The shared one may hold nothing but such folders: `oc apply -Rf` may be given that one, too.
    pub fn of_bundle(shared: &Path, name: &str) -> Folder {
        Folder { path: shared.join(name), ours: 2 }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<Dir> {
        let base = self.path.ancestors().nth(self.ours).unwrap_or(&self.path);
        match self.path.strip_prefix(base).ok().and_then(|rest| rest.to_str()) {
            Some(rest) if !rest.is_empty() => {
                let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
                Dir::create(base, Code::Conflict)?.make_dir(rest)
            }
            _ => Dir::create(&self.path, Code::Conflict),
        }
    }

    /// The folders of other bundles beside this one. Anything else beside it is a conflict.
    pub fn beside(&self) -> Result<Vec<String>> {
        let shared = folder_of(&self.path);
        if self.ours < 2 || !exists(shared) {
            return Ok(Vec::new());
        }
        let found = match shared.file_name().and_then(|name| name.to_str()) {
            Some(name) => Dir::open(folder_of(shared), Code::Conflict)?.dir(name)?,
            None => Some(Dir::open(shared, Code::Conflict)?),
        };
        let Some(shared) = found else { return Ok(Vec::new()) };
        let mut others = Vec::new();
        for (name, kind) in shared.entries()? {
            if kind != EntryKind::Directory || !name::is_unpacked(&name) {
                return Err(foreign(&shared, &name).state("nothing was written"));
            }
            if self.path.file_name() != Some(name.as_ref()) {
                others.push(name);
            }
        }
        Ok(others)
    }
}

/// Something in a folder that this program did not put there.
fn foreign(dir: &Dir, name: &str) -> Error {
    Error::new(Code::Conflict, format!("the folder holds another file: `{}`", dir.at(name).display()))
        .fact("everything in this folder would be taken for reviewed content")
        .hint("choose a new or empty folder")
}

/// Writes `files` (contents, and names relative to `folder`, such as `a.yaml` or `sha256=<hex>/signature-1`).
///
/// The folder must be new, or hold only files of these names. A file with other content is `Code::Conflict` unless the
/// rules say `overwrite`; so is anything else in the folder, unless the rules keep it.
pub(crate) fn write(folder: &Folder, files: &[(String, Vec<u8>)], rules: Rules) -> Result<Written> {
    let wanted = named(files)?;
    folder.beside()?;
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
    // Includes files that existed: the run that wrote them may have been killed before this.
    let parents: BTreeSet<&str> =
        wanted.keys().map(|name| name.rsplit_once('/').map_or("", |(parent, _)| parent)).collect();
    parents.iter().try_for_each(|parent| at(&base, parent)?.sync())?;
    let (same, replaced) = (survey.same.len(), survey.other.len());
    Ok(Written { new: wanted.len() - same - replaced, same, replaced })
}

/// Checks whether [`write`] would find a conflict, without writing: call it before long work. Without files there is no
/// check.
pub fn check(folder: &Folder, files: &[(String, Vec<u8>)], rules: Rules) -> Result<()> {
    let wanted = named(files)?;
    if wanted.is_empty() {
        return Ok(());
    }
    folder.beside()?;
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

/// The nearest existing folder above `path`: missing folders will be created in it.
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
                _ => return Err(foreign(dir, &name)),
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

/// The names that a bundle may use for its files, except those that Windows does not support and those of our own
/// temporary files.
fn check_name(name: &str) -> Result<()> {
    let why = match name::check(name) {
        Ok(()) if name.split('/').any(is_temp_name) => "it is the name of a temporary file of this program",
        Ok(()) => return Ok(()),
        Err(why) => why,
    };
    Err(Error::new(Code::Malformed, format!("`{name}` is not a name that is written: {why}")))
}
