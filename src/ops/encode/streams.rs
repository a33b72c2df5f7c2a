//! What content goes through when members are made.

use std::fs::File;
use std::io::{self, Read};

use super::{BEGINNING, New};
use crate::bundle::carriage::{Encoder, Gzip, GzipForm};
use crate::delta;
use crate::oci::Hasher;
use crate::regzip::{Family, Method, Recipe};
use crate::verify::disguise::Look;

/// Writes the content as one zstd frame.
pub(super) fn frame(new: &New, level: i32, most: u64, out: &mut File) -> io::Result<u64> {
    use std::io::Write as _;
    let mut encoder = zstd::stream::write::Encoder::new(Limited { out, left: most }, level)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.window_log(delta::CONTENT_WINDOW.ilog2())?;
    encoder.long_distance_matching(true)?;
    encoder.set_pledged_src_size(Some(new.tar.size))?;
    io::copy(&mut new.spool.read(), &mut encoder)?;
    let mut limited = encoder.finish()?;
    limited.flush()?;
    Ok(most - limited.left)
}

pub(super) struct Limited<'a> {
    out: &'a mut File,
    left: u64,
}

impl io::Write for Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) struct Hashing<'a>(pub(super) &'a mut Hasher);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What can be inflated of a beginning.
pub(super) struct UpToDamage<R>(pub(super) R);

impl<R: Read> Read for UpToDamage<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}

/// Bytes as they come, with their beginning, and seen by who must see them.
pub(super) struct Seen<'a> {
    pub(super) from: Box<dyn Read + 'a>,
    pub(super) beginning: &'a mut Vec<u8>,
    pub(super) look: &'a mut Option<Look>,
}

impl Read for Seen<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        let now = &buffer[..n];
        let room = BEGINNING.saturating_sub(self.beginning.len()).min(n);
        self.beginning.extend_from_slice(&now[..room]);
        self.look.iter_mut().for_each(|look| look.send(now));
        Ok(n)
    }
}

pub(super) fn gzip(recipe: &Recipe) -> Gzip {
    let encoder = match recipe.family() {
        Family::A => Encoder::KlauspostA,
        Family::B => Encoder::KlauspostB,
        Family::Go126 => Encoder::Go126,
    };
    let (method, block_size) = match recipe.method() {
        Method::Gzip => (GzipForm::Gzip, None),
        Method::Pgzip(size) => (GzipForm::Pgzip, u32::try_from(size.bytes()).ok()),
    };
    let header = recipe.header().iter().map(|byte| format!("{byte:02x}")).collect();
    let level = u8::try_from(recipe.level().number()).unwrap_or_default();
    Gzip { method, encoder, level, block_size, header }
}
