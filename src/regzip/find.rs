//! Recognising the encoder of a gzip stream by trying (MB-ENC-10).

use std::io::{self, Read, Write};

use super::{BlockSize, Family, Gzip, Level, MAX_HEADER, MIN_HEADER, Method, Recipe};

/// So much of the content is tried: more than the first block of any method, so that its end is seen too.
const TRIED: usize = (1 << 20) + 4 * 65_535;

/// Length of the gzip header that `bytes` begin with; nothing when it is none or longer than 256 bytes.
#[must_use]
pub fn header_length(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.get(..bytes.len().min(MAX_HEADER))?;
    let flags = match bytes.get(..MIN_HEADER)? {
        [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => *flags,
        _ => return None,
    };
    let mut at = MIN_HEADER;
    if flags & 4 != 0 {
        let [low, high] = *bytes.get(at..at + 2)?.first_chunk()?;
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for text in [8, 16] {
        if flags & text != 0 {
            at += bytes.get(at..)?.iter().position(|b| *b == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= bytes.len()).then_some(at)
}

/// Encoders that may have written it, the likely ones first.
fn order(header: &[u8]) -> Vec<(Family, Level, Method)> {
    use BlockSize::{MiB, QuarterMiB};
    use Family::{A, B, Go126};
    use Level::{L1, L5, L6};
    use Method::{Gzip, Pgzip};
    let fast = header.get(8) == Some(&4);
    let zero_time = header.get(4..8) == Some(&[0, 9, 0x6e, 0x88]);
    let pgzip: &[_] = if fast {
        &[(B, L1, Pgzip(MiB)), (A, L1, Pgzip(MiB)), (B, L1, Pgzip(QuarterMiB)), (A, L1, Pgzip(QuarterMiB))]
    } else {
        &[
            (B, L5, Pgzip(MiB)),
            (A, L5, Pgzip(MiB)),
            (B, L5, Pgzip(QuarterMiB)),
            (A, L5, Pgzip(QuarterMiB)),
            (B, L6, Pgzip(MiB)),
            (A, L6, Pgzip(MiB)),
            (B, L6, Pgzip(QuarterMiB)),
            (A, L6, Pgzip(QuarterMiB)),
        ]
    };
    let single: &[_] = if fast {
        &[(B, L1, Gzip), (Go126, L1, Gzip), (A, L1, Gzip)]
    } else {
        &[(B, L6, Gzip), (Go126, L6, Gzip), (A, L6, Gzip), (B, L5, Gzip), (A, L5, Gzip)]
    };
    if zero_time { [pgzip, single].concat() } else { [single, pgzip].concat() }
}

/// Compares what is written with what is expected.
struct Same<'a> {
    /// What has to come.
    rest: &'a [u8],
    /// `rest` is all that there is.
    whole: bool,
}

impl Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.rest.len());
        let (here, rest) = self.rest.split_at(n);
        if bytes.get(..n) != Some(here) || (self.whole && n < bytes.len()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.rest = rest;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether this recipe gives the beginning of the blob; `whole`: the content is all there is.
fn gives(recipe: &Recipe, blob: &[u8], content: &[u8], whole: bool) -> bool {
    let mut gzip = Gzip::new(recipe, Same { rest: blob, whole });
    // In pieces, so that a difference ends it early.
    if content.chunks(1 << 16).any(|piece| gzip.write_all(piece).is_err()) {
        return false;
    }
    !whole || gzip.finish().is_ok_and(|same| same.rest.is_empty())
}

/// The recipes that give the beginning of a blob from the beginning of its content, the likely ones first.
///
/// `blob` is the blob or its beginning: 1.4 MB or more, or all of it. What comes out is a guess until the whole stream
/// was made and its digest compared.
///
/// # Errors
///
/// Those of reading the content.
pub fn candidates<'a>(blob: &'a [u8], content: &mut dyn Read) -> io::Result<impl Iterator<Item = Recipe> + use<'a>> {
    let mut start = Vec::new();
    content.take(TRIED as u64 + 1).read_to_end(&mut start)?;
    let whole = start.len() <= TRIED;
    start.truncate(TRIED);
    let header = header_length(blob).and_then(|n| blob.get(..n)).unwrap_or_default();
    let tried = order(header).into_iter().filter_map(move |(family, level, method)| {
        let recipe = Recipe::new(family, level, method, header).ok()?;
        gives(&recipe, blob, &start, whole).then_some(recipe)
    });
    Ok(tried)
}

/// The first of [`candidates`].
///
/// # Errors
///
/// Those of reading the content.
pub fn find(blob: &[u8], content: &mut dyn Read) -> io::Result<Option<Recipe>> {
    Ok(candidates(blob, content)?.next())
}
