//! A content: its digest, its size, and its bytes in memory.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use super::gate::Hold;
use super::memory_file::{MemoryFile, Unsealed};
use crate::archive::{self, Form, Part, Source, Stop, Trouble};
use crate::oci::{Digest, Hasher};

/// Contents up to this size are held as bytes, larger ones in a file in memory.
pub const HELD: usize = 1 << 20;

/// A content in memory.
#[derive(Debug)]
pub struct Content {
    pub(super) digest: Digest,
    body: Body,
    /// Its share of the memory.
    pub(super) hold: Option<Hold>,
}

#[derive(Debug)]
enum Body {
    Bytes(Vec<u8>),
    File(Arc<MemoryFile>),
}

impl Content {
    /// A small content.
    pub(super) fn of(bytes: Vec<u8>) -> Content {
        Content { digest: Digest::of(&bytes), body: Body::Bytes(bytes), hold: None }
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> u64 {
        self.size()
    }

    /// A file in memory with it.
    pub(super) fn file(&self) -> io::Result<Arc<MemoryFile>> {
        match &self.body {
            Body::Bytes(bytes) => MemoryFile::of(bytes).map(Arc::new),
            Body::File(file) => Ok(Arc::clone(file)),
        }
    }

    /// As a stream.
    pub(super) fn stream(&self) -> Part<'_> {
        Part::whole(self)
    }

    /// The form of archive that it is.
    pub(super) fn form(&self) -> Option<Form> {
        let head = self.end_or_start(0, archive::HEAD);
        if let Some(form) = archive::detect(&head) {
            return Some(form);
        }
        let from = self.len().saturating_sub(archive::TAIL as u64);
        archive::is_zip(self, &self.end_or_start(from, archive::TAIL)).then_some(Form::Zip)
    }

    /// The first bytes.
    pub(super) fn first(&self, most: usize) -> Cow<'_, [u8]> {
        self.end_or_start(0, most)
    }

    fn end_or_start(&self, from: u64, most: usize) -> Cow<'_, [u8]> {
        match &self.body {
            Body::Bytes(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
                Cow::Borrowed(&bytes[from..bytes.len().min(from + most)])
            }
            Body::File(file) => {
                let mut out = Vec::new();
                // Memory can be read.
                let _ = Part::new(file.as_ref(), from, from + most as u64).read_to_end(&mut out);
                Cow::Owned(out)
            }
        }
    }
}

impl Source for Content {
    fn size(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(file) => file.size(),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.body {
            Body::Bytes(bytes) => bytes.as_slice().read_at(offset, buffer),
            Body::File(file) => file.read_at(offset, buffer),
        }
    }
}

/// What was taken from a stream.
pub(super) enum Taken {
    /// All of it.
    Whole(Content),
    /// Its beginning; the rest is still in the stream.
    Beginning(Vec<u8>),
}

/// Takes a content from a stream whole if it is small. `size` is what it is said to be.
pub(super) fn take_small(stream: &mut dyn Read, size: Option<u64>) -> Result<Taken, (Content, Stop)> {
    let room = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(room.min(HELD + 1));
    match stream.take(HELD as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() > HELD => Ok(Taken::Beginning(bytes)),
        Ok(_) => Ok(Taken::Whole(Content::of(bytes))),
        Err(e) => Err((Content::of(bytes), e.into())),
    }
}

/// Takes the rest of a content into a file in memory, up to `most` bytes. `Err` has what was taken until it failed.
pub(super) fn take_rest(
    beginning: &[u8],
    stream: &mut dyn Read,
    most: u64,
) -> Result<Content, (Option<Content>, Stop)> {
    let lost = |e: io::Error| {
        let text = format!("cannot be held in memory: {e}");
        (None, Stop::Trouble(Trouble::new(archive::Reason::TooLarge, text)))
    };
    let mut file = Unsealed::new().map_err(lost)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    file.write(beginning).map_err(lost)?;
    hasher.update(beginning);
    let failed = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break None,
            Ok(count) => {
                if file.size + count as u64 > most {
                    let text = format!("is larger than {most} bytes, the limit of --max-memory-file");
                    return Err((None, Stop::Trouble(Trouble::new(archive::Reason::TooLarge, text))));
                }
                file.write(&buffer[..count]).map_err(lost)?;
                hasher.update(&buffer[..count]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Some(Stop::from(e)),
        }
    };
    let file = file.seal().map_err(lost)?;
    let content = Content { digest: hasher.finish(), body: Body::File(Arc::new(file)), hold: None };
    match failed {
        None => Ok(content),
        Some(stop) => Err((Some(content), stop)),
    }
}
