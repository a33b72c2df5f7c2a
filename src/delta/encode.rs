//! Writing a member.

use std::io::{self, Seek, SeekFrom, Write};

use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use super::pages::{Pages, together};
use super::seeds::Seeds;
use super::steps::{Step, find};
use super::stream::{put, zigzag};
use super::{HEAD, MAGIC, Part};

/// How a member is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Level of zstd, 1 to 19.
    pub level: i32,
    /// About so many bytes of memory are used, beside some for zstd; 16 MiB at least.
    pub memory: u64,
    /// A member that gets larger is of no use.
    pub most: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { level: 9, memory: 256 << 20, most: u64::MAX }
    }
}

/// Counts what goes through, and stops when it is too much.
struct Counted<'a, W> {
    out: &'a mut W,
    count: u64,
    most: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.count + bytes.len() as u64 > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let n = self.out.write(bytes)?;
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Gives the bytes of a stream to the function it gets.
type Fill<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

/// Writes the member that makes `new` from `reference`; gives its size. The same input and options give the same bytes.
///
/// # Errors
///
/// Those of reading and writing, and [`io::ErrorKind::FileTooLarge`] when the member gets larger than `most`.
pub fn encode<W: Write + Seek>(reference: Part<'_>, new: Part<'_>, options: &Options, out: &mut W) -> io::Result<u64> {
    let memory = options.memory.max(16 << 20);
    // A quarter for the table; of the rest most for the reference, which is read in any order.
    let mut old = Pages::new(reference, memory / 2);
    let mut pages = Pages::new(new, memory / 8);
    let seeds = Seeds::of(&mut old, memory / 4)?;
    let steps = find(&mut old, &mut pages, &seeds)?;
    drop(seeds);
    let start = out.stream_position()?;
    out.write_all(&[0; HEAD as usize])?;
    let mut lengths = Vec::from(*MAGIC);
    let mut total = HEAD;
    let mut frame = |fill: Fill<'_>| -> io::Result<()> {
        let counted = Counted { out: &mut *out, count: 0, most: options.most.saturating_sub(total) };
        let mut encoder = Encoder::new(counted, options.level.clamp(1, 19))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        let mut plain = 0u64;
        fill(&mut |bytes| {
            plain += bytes.len() as u64;
            encoder.write_all(bytes)
        })?;
        let packed = encoder.finish()?.count;
        total += packed;
        lengths.extend(packed.to_le_bytes());
        lengths.extend(plain.to_le_bytes());
        Ok(())
    };
    frame(&mut |give| control(&steps, give))?;
    frame(&mut |give| gaps(&steps, &mut old, &mut pages, give))?;
    frame(&mut |give| values(&steps, &mut old, &mut pages, give))?;
    frame(&mut |give| extra(&steps, &mut pages, give))?;
    out.seek(SeekFrom::Start(start))?;
    out.write_all(&lengths)?;
    out.seek(SeekFrom::Start(start + total))?;
    Ok(total)
}

fn control(steps: &[Step], give: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut end, mut bytes) = (0u64, Vec::new());
    for step in steps {
        bytes.clear();
        put(step.add, &mut bytes);
        put(step.extra, &mut bytes);
        put(zigzag(step.begin.wrapping_sub(end) as i64), &mut bytes);
        end = step.begin + step.add;
        give(&bytes)?;
    }
    Ok(())
}

/// Gets pieces of the new content, and of the reference beside it.
type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>;

/// Runs over what is added to, with the reference.
fn added(steps: &[Step], old: &mut Pages<'_>, new: &mut Pages<'_>, each: Each<'_>) -> io::Result<()> {
    let mut at = 0;
    for step in steps {
        let mut result = Ok(());
        together((&mut *new, at), (&mut *old, step.begin), step.add, |x, y| {
            result = each(x, y);
            result.is_ok()
        })?;
        result?;
        at += step.add + step.extra;
    }
    Ok(())
}

/// Numbers of equal and of different bytes, in turn.
fn gaps(
    steps: &[Step],
    old: &mut Pages<'_>,
    new: &mut Pages<'_>,
    give: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut equal, mut differ, mut bytes) = (0u64, 0u64, Vec::new());
    added(steps, old, new, &mut |mut x, mut y| {
        while !x.is_empty() {
            let same = super::pages::agree(x, y);
            if same > 0 && differ > 0 {
                put(equal, &mut bytes);
                put(differ, &mut bytes);
                (equal, differ) = (0, 0);
                if bytes.len() > 4096 {
                    give(&bytes)?;
                    bytes.clear();
                }
            }
            equal += same as u64;
            (x, y) = (x.get(same..).unwrap_or_default(), y.get(same..).unwrap_or_default());
            let other = x.iter().zip(y).take_while(|(a, b)| a != b).count();
            differ += other as u64;
            (x, y) = (x.get(other..).unwrap_or_default(), y.get(other..).unwrap_or_default());
        }
        Ok(())
    })?;
    if equal > 0 || differ > 0 {
        put(equal, &mut bytes);
        put(differ, &mut bytes);
    }
    give(&bytes)
}

fn values(
    steps: &[Step],
    old: &mut Pages<'_>,
    new: &mut Pages<'_>,
    give: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    added(steps, old, new, &mut |x, y| {
        bytes.clear();
        bytes.extend(x.iter().zip(y).map(|(a, b)| a.wrapping_sub(*b)).filter(|d| *d != 0));
        give(&bytes)
    })
}

fn extra(steps: &[Step], new: &mut Pages<'_>, give: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut at = 0;
    for step in steps {
        at += step.add;
        let end = at + step.extra;
        while at < end {
            let here = new.at(at)?;
            let n = here.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            give(here.get(..n).unwrap_or_default())?;
            at += n as u64;
        }
    }
    Ok(())
}
