//! gzip, bzip2, xz and zstd: several members or frames are one content, as their programs have it.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::{Budget, CONTENT, Form, Member, Stop, Trouble, Visit, drain, skip_zeros};

/// The smallest window for zstd, as a power of two, which every decoder has to offer.
const LEAST_WINDOW: u32 = 23;
/// The largest: more is refused.
const MOST_WINDOW: u32 = 25;
/// The dictionary of xz that is always allowed, as of its usual setting.
const LEAST_XZ: u64 = 8 << 20;
/// Memory that an xz decoder needs beside its dictionary, in KiB.
const XZ_MORE: u64 = 1 << 10;

pub(super) fn open(form: Form, input: &mut dyn BufRead, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    budget.member()?;
    let memory = Memory::take(form, input.fill_buf()?, budget)?;
    let consumed = Rc::new(Cell::new(0));
    let counted = Counted { inner: input, consumed: Rc::clone(&consumed) };
    let mut content = Inflate { form, memory: &memory, state: State::Between(counted), budget, consumed, made: 0 };
    visit(CONTENT, Member::Content(&mut content))?;
    drain(&mut content)
}

/// A share of the memory for dictionaries, given back at the end.
struct Memory<'a> {
    budget: &'a Budget,
    taken: u64,
}

impl<'a> Memory<'a> {
    /// As much as the beginning of the input says that it needs.
    fn take(form: Form, head: &[u8], budget: &'a Budget) -> Result<Memory<'a>, Trouble> {
        let needs = match form {
            Form::Xz => xz_dictionary(head).unwrap_or(LEAST_XZ),
            Form::Zstd => zstd_window(head).unwrap_or(0),
            _ => 0,
        };
        let left = budget.dictionaries.get();
        let most = if form == Form::Zstd { left.min(1 << MOST_WINDOW) } else { left };
        if needs > most {
            return Err(Trouble::too_large("needs more memory to be inflated than is allowed"));
        }
        budget.dictionaries.set(left - needs);
        Ok(Memory { budget, taken: needs })
    }

    fn window(&self) -> u32 {
        self.taken.max(1 << LEAST_WINDOW).next_power_of_two().ilog2()
    }

    fn kib(&self) -> u32 {
        u32::try_from((self.taken.max(LEAST_XZ) >> 10) + XZ_MORE).unwrap_or(u32::MAX)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.budget.dictionaries.set(self.budget.dictionaries.get() + self.taken);
    }
}

/// The size of the dictionary that the first block of an xz stream has.
fn xz_dictionary(head: &[u8]) -> Option<u64> {
    let (&[_, flags], mut rest) = head.get(12..)?.split_first_chunk::<2>()?;
    let number = |rest: &mut &[u8]| {
        let mut value = 0;
        for shift in 0..9 {
            let (byte, more) = rest.split_first()?;
            *rest = more;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    for _ in 0..(flags & 0xc0).count_ones() {
        number(&mut rest)?;
    }
    for _ in 0..=(flags & 3) {
        let (id, length) = (number(&mut rest)?, number(&mut rest)?);
        let (properties, more) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = more;
        if id == 0x21 {
            let bits = u32::from(*properties.first()? & 0x3f);
            return Some(if bits >= 40 { u64::from(u32::MAX) } else { u64::from(2 | (bits & 1)) << (bits / 2 + 11) });
        }
    }
    None
}

/// Whether a member begins with what few programs write: gzip with more than a name, xz with filters beside LZMA2, a
/// frame of zstd to skip.
fn is_odd(form: Form, head: &[u8]) -> bool {
    match form {
        Form::Gzip => head.get(3).is_none_or(|flags| flags & !8 != 0),
        Form::Xz => head.get(13).is_none_or(|flags| flags & 3 != 0),
        Form::Zstd => !head.starts_with(b"\x28\xb5\x2f\xfd"),
        _ => false,
    }
}

/// The window of a zstd frame, if its header says one.
fn zstd_window(head: &[u8]) -> Option<u64> {
    let (descriptor, window) = (head.get(4)?, head.get(5)?);
    if !head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || descriptor & 0x20 != 0 {
        return None;
    }
    let base = 1u64 << (10 + (window >> 3));
    Some(base + base / 8 * u64::from(window & 7))
}

/// Counts what a decoder takes.
struct Counted<'a> {
    inner: &'a mut dyn BufRead,
    consumed: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.consumed.set(self.consumed.get() + count as u64);
        Ok(count)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.consumed.set(self.consumed.get() + count as u64);
        self.inner.consume(count);
    }
}

enum State<'a> {
    /// Before the next member.
    Between(Counted<'a>),
    Gzip(Box<flate2::bufread::GzDecoder<Counted<'a>>>),
    Bzip2(Box<bzip2::bufread::BzDecoder<Counted<'a>>>),
    Xz(Box<lzma_rust2::XzReader<Counted<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Counted<'a>>>),
    Ended,
}

struct Inflate<'a> {
    form: Form,
    memory: &'a Memory<'a>,
    state: State<'a>,
    budget: &'a Budget,
    consumed: Rc<Cell<u64>>,
    made: u64,
}

impl<'a> Inflate<'a> {
    /// The decoder for the next member, or the end.
    fn begin(&self, mut input: Counted<'a>) -> io::Result<State<'a>> {
        if self.made > 0 || self.consumed.get() > 0 {
            let before = self.consumed.get();
            let wide = match skip_zeros(&mut input) {
                Ok(end) => {
                    // Not every reader passes zeros between members.
                    if !end && self.consumed.get() > before {
                        self.budget.odd();
                    }
                    !end
                }
                Err(Stop::Fatal(e)) => return Err(e.into()),
                Err(Stop::Trouble(trouble)) => return Err(trouble.into()),
            };
            // What does not begin a member stands behind the end: the caller sees it. A mark that is cut by the buffer
            // counts as damage there.
            if !wide || super::detect(input.fill_buf()?) != Some(self.form) {
                return Ok(State::Ended);
            }
        }
        if is_odd(self.form, input.fill_buf()?) {
            self.budget.odd();
        }
        Ok(match self.form {
            Form::Gzip => State::Gzip(Box::new(flate2::bufread::GzDecoder::new(input))),
            Form::Bzip2 => State::Bzip2(Box::new(bzip2::bufread::BzDecoder::new(input))),
            Form::Xz => State::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(input, false, self.memory.kib()))),
            _ => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(self.memory.window())?;
                State::Zstd(Box::new(decoder))
            }
        })
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = match &mut self.state {
                State::Between(_) => {
                    let State::Between(input) = std::mem::replace(&mut self.state, State::Ended) else { return Ok(0) };
                    self.state = self.begin(input)?;
                    continue;
                }
                State::Gzip(decoder) => decoder.read(buffer),
                State::Bzip2(decoder) => decoder.read(buffer),
                State::Xz(decoder) => decoder.read(buffer),
                State::Zstd(decoder) => decoder.read(buffer),
                State::Ended => return Ok(0),
            };
            let count = match count {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
                Err(e) => {
                    self.state = State::Ended;
                    return Err(named(e));
                }
            };
            if count == 0 {
                self.state = State::Between(match std::mem::replace(&mut self.state, State::Ended) {
                    State::Gzip(decoder) => decoder.into_inner(),
                    State::Bzip2(decoder) => decoder.into_inner(),
                    State::Xz(decoder) => decoder.into_inner(),
                    State::Zstd(decoder) => decoder.finish(),
                    State::Between(_) | State::Ended => return Ok(0),
                });
                continue;
            }
            self.made += count as u64;
            if let Err(trouble) = self.budget.made(count as u64, self.made, self.consumed.get()) {
                self.state = State::Ended;
                return Err(trouble.into());
            }
            return Ok(count);
        }
    }
}

/// The error of a decoder that would need too much memory, in our words.
fn named(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.contains("too much memory") || error.kind() == io::ErrorKind::OutOfMemory {
        true => Trouble::too_large("needs more memory to be inflated than is allowed").into(),
        false => error,
    }
}
