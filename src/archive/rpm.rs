//! Packages of rpm: a lead, two headers, and a compressed cpio archive.

use std::io::BufRead;

use super::{Budget, Member, Stop, Trouble, Visit, block, drain, skip};

/// The largest header.
const HEADER: u64 = 256 << 20;

pub(super) fn open(input: &mut dyn BufRead, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    skip(input, 96)?;
    let signature = header(input)?;
    skip(input, (8 - signature % 8) % 8)?;
    header(input)?;
    budget.member()?;
    visit(b"(payload)", Member::Content(&mut &mut *input))?;
    drain(input)
}

/// Skips a header; returns its length.
fn header(input: &mut dyn BufRead) -> Result<u64, Stop> {
    let start = block::<16>(input)?.filter(|start| start.starts_with(b"\x8e\xad\xe8\x01"));
    let start = start.ok_or_else(|| Trouble::damaged("has a damaged header"))?;
    let number = |at: usize| start[at..].first_chunk::<4>().map_or(0, |four| u64::from(u32::from_be_bytes(*four)));
    let length = number(8) * 16 + number(12);
    if length > HEADER {
        return Err(Trouble::damaged("has a header that is too large").into());
    }
    skip(input, length)?;
    Ok(length)
}
