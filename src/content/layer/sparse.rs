//! Sparse files of GNU tar: the old form (type `S`) and those in PAX records (0.0, 0.1 and 1.0).

use std::io::{self, Read};

use crate::oci::Invalid;

/// The most pieces of one file.
const PIECES: usize = 100_000;

/// A piece of a sparse file that has bytes: where it begins, and its length.
pub(super) type Piece = (u64, u64);

/// What PAX records say about a sparse file.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    major: Option<u64>,
    pieces: Vec<Piece>,
    offset: Option<u64>,
    any: bool,
}

fn bad() -> Invalid {
    Invalid::new("has a damaged sparse file")
}

fn number(text: &[u8]) -> Result<u64, Invalid> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|t| t.parse().ok()).ok_or_else(bad)
}

impl Notes {
    /// Adds the record `GNU.sparse.<key>`.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Invalid> {
        self.any = true;
        match key {
            b"name" => self.name = Some(value.split(|b| *b == 0).next().unwrap_or_default().to_vec()),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"major" => self.major = Some(number(value)?),
            b"offset" => self.offset = Some(number(value)?),
            b"numbytes" => self.piece(|from| from.offset.take().ok_or_else(bad), number(value)?)?,
            b"map" => {
                let numbers: Vec<u64> = match value.is_empty() {
                    true => Vec::new(),
                    false => value.split(|b| *b == b',').map(number).collect::<Result<_, _>>()?,
                };
                for pair in numbers.chunks(2) {
                    let [offset, length] = *pair else { return Err(bad()) };
                    self.piece(|_| Ok(offset), length)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn piece(&mut self, offset: impl FnOnce(&mut Notes) -> Result<u64, Invalid>, length: u64) -> Result<(), Invalid> {
        let offset = offset(self)?;
        if self.pieces.len() >= PIECES {
            return Err(Invalid::new("has a sparse file with too many pieces"));
        }
        self.pieces.push((offset, length));
        Ok(())
    }

    /// Whether the entry is sparse.
    pub(super) fn is_sparse(&self) -> bool {
        self.any && (self.major.is_some_and(|major| major >= 1) || !self.pieces.is_empty() || self.size.is_some())
    }

    /// The map and the size of the file. For form 1.0 the map is read from the beginning of the content. Returns the
    /// bytes that it took there, too.
    pub(super) fn map(self, content: &mut dyn Read) -> io::Result<(Map, u64)> {
        let size = self.size.ok_or_else(|| invalid(bad()))?;
        if self.major.unwrap_or(0) == 0 {
            return Ok((Map::new(self.pieces, size).map_err(invalid)?, 0));
        }
        let (mut blocks, mut block, mut at) = (0u64, [0u8; 512], 512usize);
        let mut next = || -> io::Result<u64> {
            let mut digits = Vec::new();
            loop {
                if at == block.len() {
                    content.read_exact(&mut block)?;
                    (blocks, at) = (blocks + 1, 0);
                }
                let byte = block[at];
                at += 1;
                if byte == b'\n' {
                    return number(&digits).map_err(invalid);
                }
                if digits.len() > 20 {
                    return Err(invalid(bad()));
                }
                digits.push(byte);
            }
        };
        let count = next()?;
        if count > PIECES as u64 {
            return Err(invalid(Invalid::new("has a sparse file with too many pieces")));
        }
        let pieces = (0..count).map(|_| Ok((next()?, next()?))).collect::<io::Result<Vec<Piece>>>()?;
        Ok((Map::new(pieces, size).map_err(invalid)?, blocks * 512))
    }
}

/// The map of the old form: four pieces in the header, more in blocks behind it.
pub(super) fn old_map(header: &[u8; 512], more: &mut dyn FnMut() -> io::Result<[u8; 512]>) -> io::Result<Map> {
    let field = |bytes: &[u8]| super::header::number(bytes).ok_or_else(|| invalid(bad()));
    let (mut pieces, mut last) = (Vec::new(), header[482] != 0);
    let mut take = |bytes: &[u8]| -> io::Result<bool> {
        for piece in bytes.chunks_exact(24) {
            if piece[0] == 0 {
                return Ok(false);
            }
            pieces.push((field(&piece[..12])?, field(&piece[12..])?));
            if pieces.len() > PIECES {
                return Err(invalid(Invalid::new("has a sparse file with too many pieces")));
            }
        }
        Ok(true)
    };
    take(&header[386..482])?;
    while last {
        let block = more()?;
        take(&block[..504])?;
        last = block[504] != 0;
    }
    Map::new(pieces, field(&header[483..495])?).map_err(invalid)
}

fn invalid(e: Invalid) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e.to_string())
}

/// Where the bytes of a sparse file are.
#[derive(Debug)]
pub(super) struct Map {
    pieces: std::vec::IntoIter<Piece>,
    piece: Piece,
    at: u64,
    pub(super) size: u64,
    /// The bytes of all pieces.
    pub(super) stored: u64,
}

impl Map {
    fn new(pieces: Vec<Piece>, size: u64) -> Result<Map, Invalid> {
        let (mut end, mut stored) = (0u64, 0u64);
        for (offset, length) in &pieces {
            let after = offset.checked_add(*length).filter(|after| *offset >= end && *after <= size);
            end = after.ok_or_else(bad)?;
            stored += length;
        }
        Ok(Map { pieces: pieces.into_iter(), piece: (0, 0), at: 0, size, stored })
    }

    /// What comes next, at most this many bytes of it: a hole or stored bytes; `None` at the end of the file.
    pub(super) fn next(&mut self, most: usize) -> Option<(bool, usize)> {
        while self.piece.1 == 0 {
            match self.pieces.next() {
                Some(piece) => self.piece = piece,
                None => {
                    self.piece = (self.size, 0);
                    break;
                }
            }
        }
        let (start, length) = self.piece;
        let hole = self.at < start;
        let left = if hole { start - self.at } else { length };
        (left > 0).then(|| (hole, usize::try_from(left).unwrap_or(usize::MAX).min(most)))
    }

    /// Says that so many of these bytes were handed over.
    pub(super) fn passed(&mut self, hole: bool, bytes: usize) {
        self.at += bytes as u64;
        if !hole {
            self.piece = (self.piece.0 + bytes as u64, self.piece.1 - bytes as u64);
        }
    }
}
