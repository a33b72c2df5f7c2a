//! tar, leniently: what is stored is what is seen. Which of several readings a program would choose is no question
//! here, since every stored byte is a member's.

use std::io::BufRead;

use super::form::{has_sum, is_tar, octal};
use super::{Budget, Stop, Trouble, Visit, block, pass, skip, text};

/// The largest extension header.
const EXTENSION: u64 = 1 << 20;

pub(super) fn open(input: &mut dyn BufRead, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    let (mut path, mut size) = (None, None);
    let mut first = true;
    while let Some(header) = block::<512>(input)? {
        if header.iter().all(|b| *b == 0) {
            return Ok(());
        }
        if !first && !is_tar(&header) {
            return Err(Trouble::damaged("has a damaged header").into());
        }
        first = false;
        if !is_plain(&header) {
            budget.odd();
        }
        let stored = number(&header[124..136]).ok_or_else(|| Trouble::damaged("has a size that is no number"))?;
        let padding = |size: u64| (512 - size % 512) % 512;
        match header[156] {
            b'x' | b'g' | b'X' => {
                let records = text(input, stored, EXTENSION)?;
                skip(input, padding(stored))?;
                if header[156] != b'g' {
                    if !records_of(&records, &mut path, &mut size) {
                        budget.odd();
                    }
                }
            }
            b'L' | b'K' => {
                let mut long = text(input, stored, EXTENSION)?;
                skip(input, padding(stored))?;
                if header[156] == b'L' {
                    long.truncate(long.iter().position(|b| *b == 0).unwrap_or(long.len()));
                    path = Some(long);
                }
            }
            // Links, devices and folders have no content, whatever their size says; GNU tar agrees.
            b'1'..=b'6' => (path, size) = (None, None),
            _ => {
                let name = path.take().unwrap_or_else(|| plain(&header));
                let length = size.take().unwrap_or(stored);
                if header[156] == b'S' {
                    sparse(input, &header)?;
                }
                pass(input, length, &name, budget, visit)?;
                // The last member may lack its padding.
                if let Err(Stop::Fatal(e)) = skip(input, padding(length)) {
                    return Err(e.into());
                }
            }
        }
    }
    Ok(())
}

/// Skips the further maps of an old GNU sparse file.
fn sparse(input: &mut dyn BufRead, header: &[u8; 512]) -> Result<(), Stop> {
    let mut more = header[482] != 0;
    while more {
        more = block::<512>(input)?.is_some_and(|map| map[504] != 0);
    }
    Ok(())
}

fn plain(header: &[u8; 512]) -> Vec<u8> {
    let until = |field: &[u8]| field.split(|b| *b == 0).next().unwrap_or_default().to_vec();
    let (name, prefix) = (until(&header[..100]), until(&header[345..500]));
    match &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        true => [prefix, name].join(&b'/'),
        false => name,
    }
}

/// Whether every reader of tar sees the same: a right checksum, a size in octal digits, and a type that all know.
fn is_plain(header: &[u8; 512]) -> bool {
    let size = header[124..135].iter().all(|b| matches!(b, b'0'..=b'7')) && matches!(header[135], 0 | b' ');
    let known = matches!(header[156], 0 | b'0'..=b'6' | b'x' | b'g' | b'L' | b'K');
    let content = matches!(header[156], b'1'..=b'6') && header[124..135].iter().any(|b| *b != b'0');
    size && known && !content && has_sum(header)
}

/// Takes what the records say; false if they say more than a name and times, or are damaged.
fn records_of(mut rest: &[u8], path: &mut Option<Vec<u8>>, size: &mut Option<u64>) -> bool {
    let mut plain = true;
    while let Some(space) = rest.iter().take(8).position(|b| *b == b' ') {
        let length = std::str::from_utf8(&rest[..space]).ok().and_then(|n| n.parse::<usize>().ok());
        let Some(record) = length.filter(|n| *n > space + 1).and_then(|n| rest.get(space + 1..n)) else { return false };
        rest = &rest[space + 1 + record.len()..];
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let Some(equals) = record.iter().position(|b| *b == b'=') else { return false };
        let value = &record[equals + 1..];
        match &record[..equals] {
            b"path" | b"GNU.sparse.name" => *path = Some(value.to_vec()),
            b"size" => *size = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()),
            _ => {}
        }
        plain &= !matches!(&record[..equals], b"size") && !record.starts_with(b"GNU.sparse");
    }
    plain && rest.is_empty()
}

/// A number in octal digits or in base 256.
fn number(field: &[u8]) -> Option<u64> {
    match field.first()? {
        0x80 => {
            let (high, low) = field.split_at(field.len() - 8);
            let zero = high.iter().skip(1).all(|b| *b == 0);
            Some(u64::from_be_bytes(*low.first_chunk()?)).filter(|n| zero && *n < 1 << 62)
        }
        _ => octal(field),
    }
}
