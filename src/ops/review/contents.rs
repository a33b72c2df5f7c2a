//! One content for several readers: the rules, the readers of packages and the scanners.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::content::layer::FileEntry;
use crate::error::Result;
use crate::oci::{Digest, Hasher};
use crate::ops::sbom::layers::{Gathering, HELD};
use crate::packages::collect;

/// Parts that wait for the second reader of a large content.
const WAITING: usize = 8;

/// A content that is hashed as it is read, if its digest is wanted.
pub(super) struct Hashing<'r> {
    from: &'r mut dyn Read,
    hasher: Option<Hasher>,
}

impl<'r> Hashing<'r> {
    pub(super) fn new(from: &'r mut dyn Read, wanted: bool) -> Hashing<'r> {
        Hashing { from, hasher: wanted.then(Hasher::new) }
    }

    /// Reads the rest, and says the digest of all of it.
    pub(super) fn digest(mut self) -> Result<Option<Digest>> {
        if self.hasher.is_some() {
            io::copy(&mut self, &mut io::sink()).map_err(|e| crate::content::layer::broken("an image", e))?;
        }
        Ok(self.hasher.map(Hasher::finish))
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n]);
        }
        Ok(n)
    }
}

/// Gives a content to the reader of packages and to another one. `head` is how it begins; `from` has all of it.
///
/// # Errors
/// Those of both.
pub(super) fn both(
    gathering: &mut Gathering<'_>,
    entry: &FileEntry,
    head: &[u8],
    from: &mut dyn Read,
    other: &mut dyn FnMut(&mut dyn Read) -> Result<()>,
) -> Result<()> {
    if collect::wants(&entry.path, &head[..head.len().min(collect::FIRST)]).is_none() {
        gathering.entry(entry, &mut &head[..])?;
        return other(from);
    }
    if entry.size <= HELD {
        let mut content = Vec::new();
        return match from.take(entry.size).read_to_end(&mut content) {
            Ok(_) => {
                other(&mut content.as_slice())?;
                gathering.entry(entry, &mut content.as_slice())
            }
            // What was read before it broke is scanned all the same.
            Err(e) => {
                let again = io::Error::new(e.kind(), e.to_string());
                other(&mut content.as_slice().chain(&mut Broken(Some(e))))?;
                gathering.entry(entry, &mut Broken(Some(again)))
            }
        };
    }
    // Taken before anything waits for memory, so that nobody waits for this thread and is waited for by it.
    let _turn = gathering.layers().turn();
    std::thread::scope(|threads| {
        let (to, parts) = sync_channel(WAITING);
        let reader = threads.spawn(|| gathering.turn(entry, &mut Parts { parts, part: Vec::new(), at: 0 }, true));
        let mut tee = Tee { from, to: Some(to) };
        let done = other(&mut tee);
        if done.is_ok() && tee.to.is_some() {
            io::copy(&mut tee, &mut io::sink()).map_err(|e| crate::content::layer::broken("an image", e))?;
        }
        drop(tee);
        let gathered = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done.and(gathered)
    })
}

/// Fails once.
pub(super) struct Broken(pub(super) Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Hands a copy of what is read to another thread.
struct Tee<'r> {
    from: &'r mut dyn Read,
    to: Option<SyncSender<Vec<u8>>>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        if self.to.as_ref().is_some_and(|to| n > 0 && to.send(buffer[..n].to_vec()).is_err()) {
            self.to = None;
        }
        Ok(n)
    }
}

struct Parts {
    parts: Receiver<Vec<u8>>,
    part: Vec<u8>,
    at: usize,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.part.len() {
            let Ok(part) = self.parts.recv() else { return Ok(0) };
            (self.part, self.at) = (part, 0);
        }
        let n = buffer.len().min(self.part.len() - self.at);
        buffer[..n].copy_from_slice(&self.part[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
