//! Content-addressed files in one directory: compare, copy, and remember which are right.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use crate::error::{Code, Error, Result};
use crate::fs::{Dir, TempFile};
use crate::oci::{Digest, Hasher};

/// Buffer size.
const CHUNK: usize = 256 << 10;

/// Files (device and inode) that were hashed, with their digests: hard links share an entry.
pub(super) type Hashed = Arc<Mutex<HashMap<(u64, u64), Digest>>>;

/// A directory of blobs. A digest that this process has written or hashed here is not hashed again.
pub(super) struct Store {
    pub(super) dir: Dir,
    naming: fn(&Digest) -> String,
    right: Mutex<HashSet<Digest>>,
    hashed: Hashed,
}

impl Store {
    /// `hashed` is shared with other directories that may hold the same files.
    pub(super) fn new(dir: Dir, naming: fn(&Digest) -> String, hashed: &Hashed) -> Store {
        Store { dir, naming, right: Mutex::default(), hashed: Arc::clone(hashed) }
    }

    pub(super) fn name(&self, digest: &Digest) -> String {
        (self.naming)(digest)
    }

    pub(super) fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        if self.right.lock().is_ok_and(|right| right.contains(digest)) {
            return self.has_size(digest, size);
        }
        let right = holds(&self.dir, &self.name(digest), digest, size, &self.hashed)?;
        if right {
            self.note(digest);
        }
        Ok(right)
    }

    pub(super) fn has_size(&self, digest: &Digest, size: u64) -> Result<bool> {
        let name = self.name(digest);
        let Some(file) = self.dir.file(&name)? else { return Ok(false) };
        Ok(file.metadata().map_err(|e| Error::io("cannot read", self.dir.at(&name), e))?.len() == size)
    }

    pub(super) fn read(&self, digest: &Digest) -> Result<Option<Box<dyn Read + '_>>> {
        let file = self.dir.file(&self.name(digest))?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Read>))
    }

    pub(super) fn put(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()> {
        if self.has(digest, size)? {
            return Ok(());
        }
        receive(&self.dir, &self.name(digest), digest, size, from)?;
        self.note(digest);
        Ok(())
    }

    /// Records that the file of this digest is right.
    pub(super) fn note(&self, digest: &Digest) {
        if let Ok(mut right) = self.right.lock() {
            right.insert(*digest);
        }
    }
}

/// Whether `dir/name` holds exactly this content. Hashes the file, unless the size differs or the same file was hashed.
pub(super) fn holds(dir: &Dir, name: &str, digest: &Digest, size: u64, hashed: &Hashed) -> Result<bool> {
    let Some(mut file) = dir.file(name)? else { return Ok(false) };
    let failed = |e| Error::io("cannot read", dir.at(name), e);
    let meta = file.metadata().map_err(failed)?;
    if meta.len() != size {
        return Ok(false);
    }
    let this = (meta.dev(), meta.ino());
    // The inode of a file with a single name proves nothing: it may be reused, and some file systems invent inode
    // numbers.
    let linked = meta.nlink() > 1;
    if linked && hashed.lock().is_ok_and(|hashed| hashed.get(&this) == Some(digest)) {
        return Ok(true);
    }
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => hasher.update(&buffer[..got]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let right = hasher.finish() == *digest;
    if let (true, Ok(mut hashed)) = (right && linked, hashed.lock()) {
        hashed.insert(this, *digest);
    }
    Ok(right)
}

/// Copies into `dir/name`, which appears only if size and digest are right.
pub(super) fn receive(dir: &Dir, name: &str, digest: &Digest, size: u64, from: &mut dyn Read) -> Result<()> {
    let mut partial = TempFile::create(dir, digest)?;
    let (mut hasher, mut buffer, mut seen) = (Hasher::new(), vec![0; CHUNK], 0u64);
    loop {
        let got = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("cannot read", digest.to_string(), e)),
        };
        seen += got as u64;
        if seen > size {
            return Err(mismatch(dir, name).fact(format!("expected  {size} bytes")).fact("found     more"));
        }
        hasher.update(&buffer[..got]);
        partial.write(&buffer[..got])?;
    }
    if seen < size {
        return Err(mismatch(dir, name).fact(format!("expected  {size} bytes")).fact(format!("found     {seen}")));
    }
    let found = hasher.finish();
    if found != *digest {
        return Err(mismatch(dir, name).fact(format!("expected  {digest}")).fact(format!("found     {found}")));
    }
    partial.commit(name)
}

fn mismatch(dir: &Dir, name: &str) -> Error {
    Error::new(
        Code::BlobMismatch,
        format!("the content read for `{}` does not match its digest", dir.at(name).display()),
    )
    .state("nothing was written under that name")
}
