//! The stored form of a layer, decompressed: plain, gzip of several members, zstd of several frames.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::archive;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Gzip,
    Zstd,
}

impl Form {
    /// The form that a media type names; `None` if it is not that of a layer in tar.
    pub(crate) fn named(media_type: &str) -> Option<Form> {
        const BASES: [&str; 4] = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        match BASES.iter().find_map(|base| media_type.strip_prefix(base))? {
            "" => Some(Form::Plain),
            "+gzip" | ".gzip" => Some(Form::Gzip),
            "+zstd" | ".zstd" => Some(Form::Zstd),
            _ => None,
        }
    }

    /// The form that the first bytes show, which is what container runtimes go by.
    fn shown(first: &[u8]) -> Form {
        match archive::detect(first) {
            Some(archive::Form::Gzip) => Form::Gzip,
            Some(archive::Form::Zstd) => Form::Zstd,
            _ => Form::Plain,
        }
    }

    /// The word for a message.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Form::Plain => "plain tar",
            Form::Gzip => "gzip",
            Form::Zstd => "zstd",
        }
    }
}

/// Bytes as stored, of which the next few can be looked at.
pub(crate) struct Ahead<'a> {
    first: [u8; 4],
    at: usize,
    len: usize,
    rest: BufReader<Box<dyn Read + 'a>>,
}

impl<'a> Ahead<'a> {
    fn new(raw: Box<dyn Read + 'a>) -> Ahead<'a> {
        Ahead { first: [0; 4], at: 0, len: 0, rest: BufReader::with_capacity(64 << 10, raw) }
    }

    /// The next bytes: as many as there are, up to four.
    pub(crate) fn peek(&mut self) -> io::Result<&[u8]> {
        self.first.copy_within(self.at..self.len, 0);
        self.len -= self.at;
        self.at = 0;
        while self.len < self.first.len() {
            match self.rest.read(&mut self.first[self.len..]) {
                Ok(0) => break,
                Ok(n) => self.len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(&self.first[..self.len])
    }
}

impl Read for Ahead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.len {
            return self.rest.read(buffer);
        }
        let n = buffer.len().min(self.len - self.at);
        buffer[..n].copy_from_slice(&self.first[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl BufRead for Ahead<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.len { Ok(&self.first[self.at..self.len]) } else { self.rest.fill_buf() }
    }

    fn consume(&mut self, amount: usize) {
        if self.at < self.len {
            self.at += amount;
        } else {
            self.rest.consume(amount);
        }
    }
}

/// The decompressed bytes of a layer.
pub(crate) struct Inflate<'a>(State<'a>);

enum State<'a> {
    Plain(Ahead<'a>),
    Gzip(Box<GzDecoder<Ahead<'a>>>),
    Zstd {
        decoder: Box<Decoder<'static>>,
        between: bool,
        full: bool,
        from: Ahead<'a>,
    },
    /// The end of what is compressed; there may be more.
    End(Ahead<'a>),
    Broken,
}

impl<'a> Inflate<'a> {
    /// For bytes of the form that a media type names; `None`: of the form that they show. Returns the form that they
    /// have, too.
    pub(crate) fn new(named: Option<Form>, raw: Box<dyn Read + 'a>, window: u32) -> io::Result<(Inflate<'a>, Form)> {
        let mut from = Ahead::new(raw);
        let form = match named {
            Some(form) => form,
            None => Form::shown(from.peek()?),
        };
        let state = match form {
            Form::Plain => State::Plain(from),
            Form::Gzip => State::Gzip(Box::new(GzDecoder::new(from))),
            Form::Zstd => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(window))?;
                State::Zstd { decoder: Box::new(decoder), between: true, full: false, from }
            }
        };
        Ok((Inflate(state), form))
    }

    /// What stands behind the compressed bytes, after they were read to their end.
    pub(crate) fn behind(&mut self) -> Option<&mut Ahead<'a>> {
        match &mut self.0 {
            State::End(from) => Some(from),
            _ => None,
        }
    }

    /// The next member of a gzip file, if there is one. An empty file has none, and is an error as for others.
    fn after_member(&mut self) -> io::Result<()> {
        if let State::Gzip(decoder) = std::mem::replace(&mut self.0, State::Broken) {
            let mut from = decoder.into_inner();
            let more = from.peek()?.starts_with(&[0x1f, 0x8b]);
            self.0 = if more { State::Gzip(Box::new(GzDecoder::new(from))) } else { State::End(from) };
        }
        Ok(())
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.0 {
                State::Plain(from) => return from.read(buffer),
                State::End(_) => return Ok(0),
                State::Broken => return Err(io::ErrorKind::InvalidData.into()),
                State::Gzip(decoder) => match decoder.read(buffer)? {
                    0 => self.after_member()?,
                    n => return Ok(n),
                },
                State::Zstd { decoder, between, full, from } => {
                    if *between {
                        if Form::shown(from.peek()?) != Form::Zstd {
                            if let State::Zstd { from, .. } = std::mem::replace(&mut self.0, State::Broken) {
                                self.0 = State::End(from);
                            }
                            continue;
                        }
                        decoder.reinit()?;
                        *between = false;
                    }
                    let mut input = InBuffer::around(from.fill_buf()?);
                    let nothing = input.src.is_empty();
                    let mut output = OutBuffer::around(&mut *buffer);
                    let hint = decoder.run(&mut input, &mut output)?;
                    let (taken, given) = (input.pos(), output.pos());
                    from.consume(taken);
                    *between = hint == 0;
                    if nothing && given == 0 && hint != 0 && !*full {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "incomplete frame"));
                    }
                    *full = given == buffer.len();
                    if given > 0 {
                        return Ok(given);
                    }
                }
            }
        }
    }
}
