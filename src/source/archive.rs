//! Images in one tar file: an OCI image layout (`oci-archive` of skopeo, podman and buildx; also our own bundles), an
//! archive of `docker save`, or both in one. The file may be compressed.
//!
//! The headers of the members are read once for offsets; content is then read in place, never extracted. Only regular
//! files and directories are allowed: a link, a device or a second member of the same name makes the whole file
//! unusable (security C1, C4). The exception is an archive of `docker save`, which stores a layer of several images
//! once and may have symbolic links to other members. Trailing data is ignored: bundles have their own strict reader.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tar::EntryType;

use crate::error::{Code, Error, Result};
use crate::fs::small::{self, Links};
use crate::oci;

use super::files::Files;
use super::{Bench, DockerArchive, Layout, Source, compressed, docker_archive};

/// The most members that are indexed.
const MAX_MEMBERS: usize = 200_000;
/// The most bytes of a PAX extended header that are read.
const MAX_PAX: u64 = 64 << 10;

/// Opens the archive at `path`. A compressed one is first decompressed.
pub fn open<'a>(path: &Path, bench: impl Into<Bench<'a>>) -> Result<Box<dyn Source>> {
    let bench = bench.into();
    let file = small::open(path, Links::Follow).map_err(|e| e.error("cannot open", path, Code::Source))?;
    let file = compressed::inflated(file, path, bench)?;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    let label = path.display().to_string();
    if meta.len() == 0 {
        return Err(Error::new(Code::Source, format!("`{label}` is empty")));
    }
    let archive = Archive { label: label.clone(), members: HashMap::new(), links: HashMap::new(), file };
    let archive = archive.indexed(meta.len())?;
    if let Some(link) = archive.links.keys().min()
        && archive.members.contains_key(oci::layout::MARKER)
    {
        let text = format!("has a member `{link}` that is a link");
        return Err(archive.bad(text).fact("expected  regular files and directories only"));
    }
    images(Arc::new(archive), &label, "archive", bench)
}

/// The images of an OCI layout, or those that docker's `manifest.json` lists. If the archive has both, the layout is
/// used, unless it lacks an image in the list.
pub(super) fn images(files: Arc<dyn Files>, path: &str, form: &str, bench: Bench<'_>) -> Result<Box<dyn Source>> {
    let label = format!("the {form} `{path}`");
    let docker = docker_archive::list(files.as_ref());
    if files.region(oci::layout::MARKER)?.is_none()
        && let Some(items) = docker?
    {
        let label = format!("the docker archive `{path}`");
        return Ok(Box::new(DockerArchive::over(files, label, &items, Vec::new(), bench)?));
    } else if let Ok(Some(items)) = docker_archive::list(files.as_ref()) {
        let layout = Layout::over(files.clone(), label.clone())?;
        if layout.is_whole(&items)? {
            return Ok(Box::new(layout));
        }
        let notice = format!(
            "the OCI layout in `{path}` lacks layers that its `manifest.json` lists, as docker 25.0 wrote it; the images of `manifest.json` are taken"
        );
        return Ok(Box::new(DockerArchive::over(files, label, &items, vec![notice], bench)?));
    }
    Ok(Box::new(Layout::over(files, label)?))
}

/// How many links are followed for one name.
const MAX_LINKS: usize = 8;

struct Archive {
    file: File,
    label: String,
    members: HashMap<String, (u64, u64)>,
    /// Symbolic links, and the members that they name.
    links: HashMap<String, String>,
}

impl Files for Archive {
    fn region(&self, name: &str) -> Result<Option<(File, u64, u64)>> {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.links.get(name) {
                Some(target) => name = target,
                None => break,
            }
        }
        let Some(&(at, len)) = self.members.get(name) else { return Ok(None) };
        let file = self.file.try_clone().map_err(|e| Error::io("cannot read", &self.label, e))?;
        Ok(Some((file, at, len)))
    }

    fn below(&self, folder: &str) -> Result<Vec<String>> {
        let inside = |name: &&String| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let mut out: Vec<String> = self.members.keys().filter(inside).cloned().collect();
        out.sort();
        Ok(out)
    }

    fn place(&self, name: &str) -> String {
        format!("{}:{name}", self.label)
    }
}

impl Archive {
    fn indexed(mut self, total: u64) -> Result<Archive> {
        let file = self.file.try_clone().map_err(|e| Error::io("cannot read", &self.label, e))?;
        let mut tar = tar::Archive::new(file);
        let entries = tar.entries_with_seek().map_err(|e| self.unreadable(&e))?;
        let mut count = 0;
        for entry in entries.raw(true) {
            let mut entry = entry.map_err(|e| self.unreadable(&e))?;
            count += 1;
            if count > MAX_MEMBERS {
                return Err(self.bad(format!("has more than {MAX_MEMBERS} members")));
            }
            let kind = entry.header().entry_type();
            let raw_name = entry.path_bytes().into_owned();
            let shown = String::from_utf8_lossy(&raw_name).into_owned();
            let (at, len) = (entry.raw_file_position(), entry.header().size().map_err(|e| self.unreadable(&e))?);
            if at.checked_add(len).is_none_or(|end| end > total) {
                return Err(Error::new(Code::Truncated, format!("`{}` is truncated", self.label))
                    .fact(format!("`{shown}` should end at byte {}", at.saturating_add(len)))
                    .fact(format!("the file ends at byte {total}")));
            }
            match kind {
                EntryType::Regular => {
                    let name = self.name_of(&raw_name)?;
                    if self.links.contains_key(&name) || self.members.insert(name.clone(), (at, len)).is_some() {
                        return Err(self.bad(format!("has two members `{name}`")));
                    }
                }
                EntryType::Symlink if len == 0 => {
                    let name = self.name_of(&raw_name)?;
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    let target = self.target_of(&name, &target)?;
                    if self.members.contains_key(&name) || self.links.insert(name.clone(), target).is_some() {
                        return Err(self.bad(format!("has two members `{name}`")));
                    }
                }
                EntryType::Directory if len == 0 => drop(self.name_of(&raw_name)?),
                EntryType::XHeader if len <= MAX_PAX => {
                    let mut pax = Vec::new();
                    entry.read_to_end(&mut pax).map_err(|e| self.unreadable(&e))?;
                    self.check_pax(&pax)?;
                }
                other => {
                    let text = format!("has a member `{shown}` of type {:?}", char::from(other.as_byte()));
                    return Err(self.bad(text).fact("expected  regular files and directories only"));
                }
            }
        }
        Ok(self)
    }

    /// The name without tar's leading `./` and a directory's trailing `/`.
    fn name_of(&self, raw: &[u8]) -> Result<String> {
        let text = std::str::from_utf8(raw).map_err(|_| self.bad("has a member name that is not UTF-8".to_owned()))?;
        let name = text.strip_prefix("./").unwrap_or(text);
        let name = name.strip_suffix('/').unwrap_or(name);
        let plain = matches!(name, "" | ".") || name.split('/').all(|c| !matches!(c, "" | "." | ".."));
        if plain && !name.contains('\0') {
            return Ok(name.to_owned());
        }
        Err(self.bad(format!("has a member with the unsafe name `{text}`")))
    }

    /// The member that the link `name` points to: `../layer.tar`, relative to the folder of the link.
    fn target_of(&self, name: &str, target: &[u8]) -> Result<String> {
        let bad = || self.bad(format!("has a link `{name}` that leads out of it"));
        let target = std::str::from_utf8(target).map_err(|_| bad())?;
        let mut path: Vec<&str> = name.split('/').collect();
        path.pop();
        for part in target.split('/') {
            match part {
                "." => {}
                ".." => drop(path.pop().ok_or_else(bad)?),
                "" => return Err(bad()),
                part => path.push(part),
            }
        }
        match path.is_empty() || target.contains('\0') {
            true => Err(bad()),
            false => Ok(path.join("/")),
        }
    }

    /// PAX records may hold times and attributes, but must not change the name or the length of a member.
    fn check_pax(&self, pax: &[u8]) -> Result<()> {
        for record in tar::PaxExtensions::new(pax) {
            let record = record.map_err(|e| self.unreadable(&e))?;
            let key = record.key().unwrap_or("?");
            if matches!(key, "path" | "linkpath" | "size" | "?") || key.starts_with("GNU.") {
                return Err(self.bad(format!("uses the tar extension `{key}`, which a layout does not need")));
            }
        }
        Ok(())
    }

    fn bad(&self, what: String) -> Error {
        Error::new(Code::Malformed, format!("`{}` {what}", self.label))
    }

    fn unreadable(&self, cause: &std::io::Error) -> Error {
        if !self.members.is_empty() {
            return self.bad(format!("is not a tar file that can be read: {cause}"));
        }
        Error::new(Code::Source, format!("`{}` is not a tar file that can be read", self.label))
            .source(std::io::Error::new(cause.kind(), cause.to_string()))
            .fact("expected  an OCI archive, or what docker save and podman save write")
    }
}
