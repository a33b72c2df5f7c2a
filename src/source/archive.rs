//! `oci-archive`: an OCI image layout in one uncompressed tar file (skopeo, podman, buildx; our own bundles too).
//!
//! Headers of members are read once for their offsets; content is then read in place, never extracted. Only regular
//! files and directories are accepted: a link, device or duplicate name makes the whole file unusable (security C1,
//! C4). Trailing data is ignored: the strict reader for bundles is elsewhere.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use tar::EntryType;

use crate::error::{Code, Error, Result};
use crate::fs::small::{self, Links};

use super::Layout;
use super::files::Files;

/// The most members that are indexed.
const MAX_MEMBERS: usize = 200_000;
/// The most bytes of a PAX extended header that are read.
const MAX_PAX: u64 = 64 << 10;

/// Opens the `oci-archive` file at `path`.
pub fn open(path: &Path) -> Result<Layout> {
    let file = small::open(path, Links::Follow).map_err(|e| e.error("cannot open", path, Code::Source))?;
    let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
    let archive = Archive { label: path.display().to_string(), members: HashMap::new(), file };
    let archive = archive.indexed(meta.len())?;
    if !archive.members.contains_key("oci-layout") && archive.members.contains_key("manifest.json") {
        return Err(Error::new(Code::Source, format!("`{}` is a docker archive, not an OCI archive", path.display()))
            .hint("convert it: skopeo copy docker-archive:FILE oci-archive:NEW"));
    }
    Layout::over(Box::new(archive), format!("the archive `{}`", path.display()))
}

struct Archive {
    file: File,
    label: String,
    members: HashMap<String, (u64, u64)>,
}

impl Files for Archive {
    fn region(&self, name: &str) -> Result<Option<(File, u64, u64)>> {
        let Some(&(at, len)) = self.members.get(name) else { return Ok(None) };
        let file = self.file.try_clone().map_err(|e| Error::io("cannot read", &self.label, e))?;
        Ok(Some((file, at, len)))
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
                    if self.members.insert(name.clone(), (at, len)).is_some() {
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

    /// PAX records may carry times and attributes, but must not change a member's name or size.
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
        let err = Error::new(Code::Source, format!("`{}` is not a tar file that can be read: {cause}", self.label));
        let mut start = [0u8; 4];
        let _ = std::os::unix::fs::FileExt::read_at(&self.file, &mut start, 0);
        match start {
            [0x1f, 0x8b, ..] => err.hint("it is compressed; use gunzip first"),
            [0x28, 0xb5, 0x2f, 0xfd] => err.hint("it is compressed; use unzstd first"),
            [b'B', b'Z', b'h', _] => err.hint("it is compressed; use bunzip2 first"),
            [0xfd, b'7', b'z', b'X'] => err.hint("it is compressed; use unxz first"),
            _ => err.fact("expected  an OCI archive, as skopeo and podman write with oci-archive:"),
        }
    }
}
