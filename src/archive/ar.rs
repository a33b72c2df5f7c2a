//! ar: static libraries and Debian packages.

use std::io::BufRead;

use super::{Budget, Stop, Trouble, Visit, block, pass, skip, text};

const NAME: u64 = 4096;

pub(super) fn open(input: &mut dyn BufRead, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    skip(input, 8)?;
    loop {
        let header = match block::<60>(input) {
            Ok(Some(header)) => header,
            // An odd end may be padded.
            Ok(None) => return Ok(()),
            Err(e) => return Err(e),
        };
        let bad = || Trouble::damaged("has a damaged header");
        let number = |field: &[u8]| std::str::from_utf8(field).ok().and_then(|t| t.trim_end().parse::<u64>().ok());
        if header[58..] != *b"`\n" {
            return Err(bad().into());
        }
        let mut size = number(&header[48..58]).ok_or_else(bad)?;
        let odd = size % 2;
        let mut name = header[..16].trim_ascii_end().to_vec();
        // A name that stands elsewhere.
        if name.first().is_some_and(|b| matches!(b, b'#' | b'/')) {
            budget.odd();
        }
        // BSD: the name stands before the content.
        if let Some(length) = name.strip_prefix(b"#1/").and_then(number) {
            size = size.checked_sub(length).ok_or_else(bad)?;
            name = text(input, length, NAME)?;
            name.retain(|b| *b != 0);
        }
        if size > 0 {
            pass(input, size, &name, budget, visit)?;
        }
        if odd == 1 && !input.fill_buf()?.is_empty() {
            skip(input, 1)?;
        }
    }
}
