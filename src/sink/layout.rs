//! A plain OCI image layout: `oci-layout`, `blobs/sha256/<hex>`, and `index.json` written last.
//!
//! No links and no `:` in names, so it fits on FAT. An existing layout is extended; its other entries stay as they are.
//! Source: image-spec 1.1 image-layout.md.

use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::fs::{Dir, partial};
use crate::oci::layout::{MARKER, MARKER_JSON, REF_NAME, VERSION};
use crate::oci::{self, Descriptor, Digest, IndexOf, media_type};

use super::BlobSink;
use super::store::{Hashed, Store, holds, receive};

/// The largest `index.json`, in bytes: the limit of this program's readers.
const MAX_INDEX: u64 = 8 << 20;

/// An OCI image layout being written or added to.
pub(crate) struct LayoutSink {
    base: Dir,
    blobs: Store,
    added: Mutex<Vec<Descriptor>>,
}

impl LayoutSink {
    /// Opens or creates the layout, and locks it while this value lives (security I3). A non-empty folder that is not
    /// an OCI layout is `Code::Conflict`.
    pub(crate) fn open(path: &Path) -> Result<LayoutSink> {
        let base = Dir::create(path, Code::Conflict)?;
        base.lock()?;
        match read(&base, MARKER, 4096)? {
            Some(bytes) => check_marker(&base, &bytes)?,
            None => {
                if let Some((name, _)) = base.entries()?.into_iter().find(|(name, _)| !partial::is_temp_name(name)) {
                    return Err(Error::new(Code::Conflict, format!("`{}` is not an OCI layout", path.display()))
                        .fact(format!("it holds `{name}`, but no `oci-layout`"))
                        .state("nothing was written")
                        .hint("choose a new or empty folder"));
                }
                replace(&base, MARKER, MARKER_JSON)?;
                // This file identifies the folder to the next run: make it durable before anything else.
                base.sync()?;
            }
        }
        existing(&base).map_err(|e| e.state("nothing was written"))?;
        let blobs = Store::new(base.make_dir("blobs/sha256")?, Digest::hex, &Hashed::default());
        Ok(LayoutSink { base, blobs, added: Mutex::default() })
    }

    /// Records a top-level entry; [`BlobSink::finish`] writes it. An entry of the same name is replaced; an entry
    /// without a name is kept once per digest.
    pub(crate) fn add(&self, name: Option<&str>, entry: &Descriptor) {
        if let Ok(mut added) = self.added.lock() {
            let mut entry = entry.clone();
            entry.annotations.remove(REF_NAME);
            entry.annotations.extend(name.map(|name| (REF_NAME.to_owned(), name.to_owned())));
            added.push(entry);
        }
    }

    fn index(&self) -> Result<()> {
        let failed = |e| Error::new(Code::Internal, "cannot write `index.json`").source(e);
        let added = self.added.lock().map(|added| added.clone()).unwrap_or_default();
        // Entries of other tools stay, including members that this program does not know.
        let mut index = match existing(&self.base)? {
            Some(index) => index,
            None => serde_json::to_value(IndexOf::default()).map_err(failed)?,
        };
        if let Some(entries) = index.get_mut("manifests").and_then(Value::as_array_mut) {
            for entry in added {
                merge(entries, serde_json::to_value(entry).map_err(failed)?);
            }
        }
        let text = serde_json::to_vec(&index).map_err(failed)?;
        if text.len() as u64 > MAX_INDEX {
            let text = format!("`{}` would have more than {MAX_INDEX} bytes", self.base.at("index.json").display());
            return Err(Error::new(Code::Conflict, text).hint("choose a new or empty folder"));
        }
        replace(&self.base, "index.json", &text)
    }
}

impl BlobSink for LayoutSink {
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.blobs.has(digest, size)
    }

    fn has_size(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.blobs.has_size(digest, size)
    }

    fn read(&self, digest: &Digest) -> Result<Option<Box<dyn Read + '_>>> {
        self.blobs.read(digest)
    }

    fn put(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()> {
        self.blobs.put(digest, size, from)
    }

    /// Syncs the blobs, and only then writes `index.json` with the added entries.
    fn finish(&self) -> Result<()> {
        partial::remove_leftovers(&self.blobs.dir)?;
        self.blobs.dir.sync()?;
        self.index()?;
        partial::remove_leftovers(&self.base)?;
        self.base.sync()
    }
}

/// The existing `index.json`, if it is valid.
fn existing(base: &Dir) -> Result<Option<Value>> {
    let Some(bytes) = read(base, "index.json", MAX_INDEX)? else { return Ok(None) };
    let bad = |e: String| {
        Error::new(Code::Conflict, format!("`{}` is not an OCI index: {e}", base.at("index.json").display()))
            .hint("choose a new or empty folder")
    };
    oci::parse(&bytes, media_type::OCI_INDEX).map_err(|e| bad(e.to_string()))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| bad(e.to_string()))
}

fn merge(entries: &mut Vec<Value>, entry: Value) {
    let name = |e: &Value| e.pointer("/annotations").and_then(|a| a.get(REF_NAME)).cloned();
    let (its_name, its_digest) = (name(&entry), entry.get("digest").cloned());
    let same = |e: &&mut Value| match &its_name {
        Some(_) => name(e) == its_name,
        None => name(e).is_none() && e.get("digest").cloned() == its_digest,
    };
    match entries.iter_mut().find(same) {
        Some(old) if old.get("digest") == entry.get("digest") => {}
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}

fn check_marker(base: &Dir, bytes: &[u8]) -> Result<()> {
    let version = serde_json::from_slice::<Value>(bytes).ok().and_then(|v| v.get("imageLayoutVersion").cloned());
    if version.as_ref().and_then(Value::as_str) == Some(VERSION) {
        return Ok(());
    }
    Err(Error::new(Code::Conflict, format!("`{}` is not of a version that is known", base.at("oci-layout").display()))
        .fact("expected  imageLayoutVersion 1.0.0")
        .hint("choose a new or empty folder"))
}

fn read(base: &Dir, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = base.file(name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", base.at(name), e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(Code::Conflict, format!("`{}` has more than {limit} bytes", base.at(name).display())));
    }
    Ok(Some(bytes))
}

/// Replaces the content of `name` in one step, unless it is already right.
fn replace(base: &Dir, name: &str, content: &[u8]) -> Result<()> {
    let (digest, size) = (Digest::of(content), content.len() as u64);
    if holds(base, name, &digest, size, &Hashed::default())? {
        return Ok(());
    }
    receive(base, name, &digest, size, &mut &*content)
}
