//! Reading the content that a member and its reference give.

use std::io::{self, Read};

use super::stream::{Source, unzigzag};
use super::{Error, HEAD, MAGIC, Part, Stream, most_steps};

/// So many bytes of values are taken at once.
const VALUES: usize = 4096;

/// The content that comes out of a member and its reference, read forward. It is right only when a read gives 0 bytes.
pub struct Patched<'a> {
    control: Source<'a>,
    gaps: Source<'a>,
    values: Source<'a>,
    extra: Source<'a>,
    reference: Part<'a>,
    /// Bytes of the content that no step has claimed yet.
    unclaimed: u64,
    /// Steps that may still come.
    steps: u64,
    /// Where in the reference the step goes on.
    at: u64,
    /// What is left of the step.
    add: u64,
    more: u64,
    /// What is left of the gap.
    equal: u64,
    differ: u64,
    /// Room for values.
    room: Box<[u8]>,
    ended: bool,
}

impl<'a> Patched<'a> {
    /// Reads the head of a member. The content has to have `size` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Magic`] and [`Error::Lengths`] in an error of reading, and those of the medium.
    pub fn new(member: Part<'a>, reference: Part<'a>, size: u64) -> io::Result<Self> {
        let mut head = [0; HEAD as usize];
        if member.size < HEAD {
            return Err(Error::Magic.into());
        }
        member.read_exact(&mut head, 0)?;
        let Some(lengths) = head.strip_prefix(MAGIC) else { return Err(Error::Magic.into()) };
        let mut lengths = lengths.chunks_exact(8).map(|b| b.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b)));
        let mut start = HEAD;
        let mut source = |which| -> io::Result<Source<'a>> {
            let (Some(packed), Some(plain)) = (lengths.next(), lengths.next()) else {
                return Err(Error::Lengths.into());
            };
            let end = start.checked_add(packed).filter(|end| *end <= member.size).ok_or(Error::Lengths)?;
            let part = Part { from: member.from.clone(), start: member.start.saturating_add(start), size: packed };
            start = end;
            Source::new(which, part, plain)
        };
        let control = source(Stream::Control)?;
        let gaps = source(Stream::Gaps)?;
        let values = source(Stream::Values)?;
        let extra = source(Stream::Extra)?;
        if start != member.size {
            return Err(Error::Lengths.into());
        }
        Ok(Self {
            control,
            gaps,
            values,
            extra,
            reference,
            unclaimed: size,
            steps: most_steps(size),
            at: 0,
            add: 0,
            more: 0,
            equal: 0,
            differ: 0,
            room: vec![0; VALUES].into_boxed_slice(),
            ended: false,
        })
    }

    /// Begins the next step.
    fn step(&mut self) -> Result<(), io::Error> {
        self.steps = self.steps.checked_sub(1).ok_or(Error::Steps)?;
        self.add = self.control.number()?;
        self.more = self.control.number()?;
        let from = unzigzag(self.control.number()?);
        self.at = self.at.checked_add_signed(from).ok_or(Error::Outside)?;
        if self.at.checked_add(self.add).is_none_or(|end| end > self.reference.size) {
            return Err(Error::Outside.into());
        }
        let claimed = self.add.checked_add(self.more).ok_or(Error::Sum)?;
        self.unclaimed = self.unclaimed.checked_sub(claimed).ok_or(Error::Sum)?;
        Ok(())
    }

    /// Checks that everything ends here.
    fn end(&mut self) -> io::Result<()> {
        if self.unclaimed > 0 {
            return Err(Error::Sum.into());
        }
        if self.equal > 0 || self.differ > 0 {
            return Err(Error::Gap.into());
        }
        for source in [&mut self.control, &mut self.gaps, &mut self.values, &mut self.extra] {
            source.end()?;
        }
        self.ended = true;
        Ok(())
    }

    /// Adds the values to bytes of the reference.
    fn correct(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.equal == 0 && self.differ == 0 {
                if self.gaps.left() == 0 {
                    return Err(Error::Gap.into());
                }
                self.equal = self.gaps.number()?;
                self.differ = self.gaps.number()?;
                if self.equal == 0 && self.differ == 0 {
                    return Err(Error::Gap.into());
                }
            }
            let skip = usize::try_from(self.equal).unwrap_or(usize::MAX).min(bytes.len());
            self.equal -= skip as u64;
            bytes = bytes.get_mut(skip..).unwrap_or_default();
            if self.equal > 0 {
                break;
            }
            let n = usize::try_from(self.differ).unwrap_or(usize::MAX).min(bytes.len()).min(VALUES);
            let values = self.room.get_mut(..n).unwrap_or_default();
            self.values.take(values)?;
            let (now, later) = bytes.split_at_mut(n);
            now.iter_mut().zip(&*values).for_each(|(b, v)| *b = b.wrapping_add(*v));
            self.differ -= n as u64;
            bytes = later;
        }
        Ok(())
    }
}

impl Read for Patched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() && !self.ended {
            if self.add == 0 && self.more == 0 {
                if self.control.left() > 0 {
                    self.step()?;
                } else if done > 0 {
                    // What is right at the end is said by a read of its own.
                    break;
                } else {
                    self.end()?;
                }
                continue;
            }
            let out = buf.get_mut(done..).unwrap_or_default();
            let left = if self.add > 0 { self.add } else { self.more };
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
            let out = out.get_mut(..n).unwrap_or_default();
            if self.add > 0 {
                self.reference.read_exact(out, self.at)?;
                self.correct(out)?;
                self.at += n as u64;
                self.add -= n as u64;
            } else {
                self.extra.take(out)?;
                self.more -= n as u64;
            }
            done += n;
        }
        Ok(done)
    }
}
