//! Re-reads what was written, from the medium and not from memory, and compares it with what was intended.
//!
//! Some media report writes that never happened: sticks with less space than they claim, worn cells. Reading back comes
//! after the last sync and before a file gets its final name, so that no final name holds what does not verify.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::bundle::layout::Layout;
use crate::bundle::tar;
use crate::bundle::writer::{Plan, Sealed};
use crate::error::{Code, Error, Result};
use crate::fs::direct::DirectReader;
use crate::oci::{Digest, Hasher};
use crate::ops::{Observer, Task};

/// Buffer size.
const CHUNK: usize = 1 << 20;

/// The intended content of a stretch of a file.
#[derive(Clone, Debug)]
pub enum WrittenPiece<'a> {
    /// These bytes.
    Bytes(Cow<'a, [u8]>),
    /// This many bytes with this digest.
    Content(u64, Digest),
}

impl WrittenPiece<'_> {
    fn size(&self) -> u64 {
        match self {
            WrittenPiece::Bytes(bytes) => bytes.len() as u64,
            WrittenPiece::Content(size, _) => *size,
        }
    }
}

/// The result of reading back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReadBack {
    /// Bytes that were read and compared.
    pub bytes: u64,
    /// Whether the bytes certainly came from the device (`O_DIRECT`), not only after asking the system to drop its
    /// cache.
    pub direct: bool,
}

/// The pieces of a planned file, from its first byte to its last.
fn pieces<'a>(plan: &'a Plan, layout: &'a Layout) -> impl Iterator<Item = WrittenPiece<'a>> {
    let head = plan.head(layout).into_iter().map(WrittenPiece::Bytes);
    let blobs = layout.blobs().iter().flat_map(|member| {
        let padding = vec![0; (tar::padded(member.size) - member.size) as usize];
        let digest = member.digest.unwrap_or_else(|| Digest::of(b""));
        [
            WrittenPiece::Bytes(layout.header_of(member).to_vec().into()),
            WrittenPiece::Content(member.size, digest),
            WrittenPiece::Bytes(padding.into()),
        ]
    });
    head.chain(blobs).chain(std::iter::once(WrittenPiece::Bytes(plan.end().into())))
}

/// Reads back the files of a plan, see [`read_back`].
pub(super) fn files(plan: &Plan, files: &[Sealed], observer: &dyn Observer) -> Result<ReadBack> {
    let mut all = ReadBack { bytes: 0, direct: true };
    for file in files {
        let layout = file.layout(plan)?;
        let one = read_back(&file.path, pieces(plan, &layout), observer)?;
        all = ReadBack { bytes: all.bytes + one.bytes, direct: all.direct && one.direct };
    }
    Ok(all)
}

/// Reads the file at `path` back from its medium and compares all of it with `pieces`. The file must already be synced.
///
/// # Errors
/// [`Code::Io`] when the file cannot be read or differs from what was written.
pub fn read_back<'a>(
    path: &Path,
    pieces: impl Iterator<Item = WrittenPiece<'a>>,
    observer: &dyn Observer,
) -> Result<ReadBack> {
    let err = |e| Error::io("cannot read back", path, e);
    let mut medium = DirectReader::open(path, CHUNK).map_err(|e| e.error("cannot read back", path, Code::Io))?;
    let length = medium.length().map_err(err)?;
    observer.begin(Task::ReadBack, 1, length);
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    for piece in pieces {
        let (mut hasher, mut same, end) = (Hasher::new(), true, at + piece.size());
        let begin = at;
        while at < end {
            observer.check()?;
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let part = &mut buffer[..want];
            match medium.read_exact_at(part, at) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(differs(path, at, length)),
                other => other.map_err(err)?,
            }
            match &piece {
                WrittenPiece::Bytes(bytes) => {
                    let from = usize::try_from(at - begin).unwrap_or(usize::MAX);
                    same &= bytes.get(from..from + want) == Some(part);
                }
                WrittenPiece::Content(..) => hasher.update(part),
            }
            at += want as u64;
            observer.advance(want as u64);
        }
        if let WrittenPiece::Content(_, digest) = &piece {
            same = hasher.finish() == *digest;
        }
        if !same {
            observer.end();
            return Err(differs(path, begin, length));
        }
    }
    observer.end();
    if at != length {
        return Err(differs(path, at.min(length), length));
    }
    Ok(ReadBack { bytes: at, direct: medium.is_direct() })
}

fn differs(path: &Path, at: u64, length: u64) -> Error {
    Error::new(Code::Io, format!("`{}` does not read back as it was written", path.display()))
        .fact(format!("the first difference is at or after offset {at} of {length}"))
        .hint("the medium is faulty or has less room than it claims: use another one")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;
    use crate::ops::Silent;

    #[test]
    fn a_file_reads_back_only_as_it_was_meant_to_be() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let (head, body) = content.split_at(1537);
        let pieces = || {
            let body = WrittenPiece::Content(body.len() as u64, Digest::of(body));
            [WrittenPiece::Bytes(head.into()), body].into_iter()
        };
        fs::write(&path, &content).unwrap();
        assert_eq!(read_back(&path, pieces(), &Silent).unwrap().bytes, 3_000_000);
        for at in [0, 1536, 1537, 2_000_000, 2_999_999] {
            let mut bad = content.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(read_back(&path, pieces(), &Silent).unwrap_err().code(), Code::Io, "{at}");
        }
        for bad in [&content[..2_999_999], &[&content[..], b"x"].concat(), &content[..4096], b""] {
            fs::write(&path, bad).unwrap();
            assert_eq!(read_back(&path, pieces(), &Silent).unwrap_err().code(), Code::Io, "{}", bad.len());
        }
    }
}
