//! The header block of a tar entry, as different readers see it.

use super::remarks::Remarks;
use crate::oci::Invalid;

/// Size of a header and unit of content.
pub(super) const BLOCK: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header(pub(super) [u8; BLOCK]);

/// Who made the header, by its magic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Make {
    Old,
    Ustar,
    Star,
    Gnu,
}

impl Header {
    /// Checks the checksum, which is over signed or unsigned bytes.
    pub(super) fn new(block: [u8; BLOCK]) -> Result<Header, Invalid> {
        let sum = |value: &dyn Fn(u8) -> i64| -> i64 {
            let rest = block[..148].iter().chain(&block[156..]);
            rest.map(|b| value(*b)).sum::<i64>() + 8 * 32
        };
        let stated = number(&block[148..156]).and_then(|n| i64::try_from(n).ok());
        let right = |n: i64| n == sum(&i64::from) || n == sum(&|b| i64::from(b.cast_signed()));
        if stated.is_some_and(right) {
            return Ok(Header(block));
        }
        Err(Invalid::new("has a header with a wrong checksum"))
    }

    /// The type of the entry.
    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The size in the header, in octal or base-256.
    pub(super) fn size(&self) -> Result<u64, Invalid> {
        number(&self.0[124..136]).ok_or_else(|| Invalid::new("has a header with a damaged size"))
    }

    /// A field of a number that does not decide how the archive is read.
    pub(super) fn field(&self, at: std::ops::Range<usize>) -> u64 {
        number(&self.0[at]).unwrap_or(0)
    }

    /// The target of a link.
    pub(super) fn link(&self) -> &[u8] {
        text(&self.0[157..257])
    }

    fn make(&self) -> Make {
        match (&self.0[257..263], &self.0[263..265]) {
            (b"ustar ", b" \0") => Make::Gnu,
            (b"ustar\0", _) if &self.0[508..] == b"tar\0" => Make::Star,
            (b"ustar\0", _) => Make::Ustar,
            _ => Make::Old,
        }
    }

    /// Whether the header has the layout of GNU tar.
    pub(super) fn is_gnu(&self) -> bool {
        self.make() == Make::Gnu
    }

    /// The path. `remarks`: where readers see another one.
    pub(super) fn path(&self, remarks: Option<&mut Remarks>) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let make = self.make();
        let prefix = match make {
            Make::Ustar => text(&self.0[345..500]),
            Make::Star => text(&self.0[345..476]),
            Make::Old | Make::Gnu => b"",
        };
        if let Some(remarks) = remarks {
            let odd = match make {
                Make::Star => !self.0[345..476].contains(&0),
                Make::Gnu => number(&self.0[345..357]).is_none() && !text(&self.0[345..500]).is_empty(),
                Make::Ustar | Make::Old => false,
            };
            if odd {
                remarks.ambiguous("has a header that tar implementations read differently");
            }
        }
        match prefix.is_empty() {
            true => name.to_vec(),
            false => [prefix, name].join(&b'/'),
        }
    }

    /// Whether star's mark or anything else stands where ustar has nothing.
    pub(super) fn has_trailer(&self) -> bool {
        matches!(self.make(), Make::Ustar | Make::Star) && self.0[500..].iter().any(|b| *b != 0)
    }
}

/// Up to the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A number in octal, or in base-256 if the first bit is set. `None` if it is damaged, negative or over 63 bits.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    if let Some(first) = field.first().filter(|first| **first & 0x80 != 0) {
        if first & 0x40 != 0 {
            return None;
        }
        let more = |value: u64, byte: &u8| value.checked_mul(256).map(|value| value | u64::from(*byte));
        let value = field[1..].iter().try_fold(u64::from(first & 0x3f), more)?;
        return i64::try_from(value).ok().map(|_| value);
    }
    let blank = |b: &u8| matches!(*b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = field[start..].split(|b| *b == 0).next().unwrap_or_default();
    let end = digits.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
    let octal = |value: u64, byte: &u8| match byte {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value | u64::from(byte - b'0')),
        _ => None,
    };
    digits[..end].iter().try_fold(0, octal)
}
