//! cpio: the new header (with and without sums), the portable one, and the old binary one in both orders.

use std::io::BufRead;

use super::{Budget, Stop, Trouble, Visit, pass, skip, text};

const NAME: u64 = 64 << 10;

pub(super) fn open(input: &mut dyn BufRead, budget: &Budget, visit: &mut Visit<'_>) -> Result<(), Stop> {
    loop {
        let mut mark = [0; 6];
        let mut filled = 0;
        while filled < 6 {
            match input.read(&mut mark[filled..]) {
                Ok(0) => return Err(Trouble::damaged("ends without its last entry").into()),
                Ok(count) => filled += count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        if mark != *b"070701" {
            budget.odd();
        }
        let bad = || Trouble::damaged("has a damaged header");
        let (name_size, size, align, header) = match &mark {
            b"070701" | b"070702" => {
                let rest = text(input, 104, 104)?;
                let number = |at: usize| digits(rest.get(at..at + 8)?, 16);
                (number(88).ok_or_else(bad)?, number(48).ok_or_else(bad)?, 4, 110)
            }
            b"070707" => {
                let rest = text(input, 70, 70)?;
                let number = |at: usize, length: usize| digits(rest.get(at..at + length)?, 8);
                (number(53, 6).ok_or_else(bad)?, number(59, 11).ok_or_else(bad)?, 1, 76)
            }
            [0xc7, 0x71, ..] | [0x71, 0xc7, ..] => {
                let rest = text(input, 20, 20)?;
                let number = |at: usize| {
                    let two = rest.get(at - 6..at - 4)?.first_chunk::<2>()?;
                    Some(u64::from(if mark[0] == 0xc7 { u16::from_le_bytes(*two) } else { u16::from_be_bytes(*two) }))
                };
                let size = number(22).ok_or_else(bad)? << 16 | number(24).ok_or_else(bad)?;
                (number(20).ok_or_else(bad)?, size, 2, 26)
            }
            _ => return Err(bad().into()),
        };
        let padding = |length: u64| (align - length % align) % align;
        let mut name = text(input, name_size, NAME)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        skip(input, padding(header + name_size))?;
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        if size > 0 {
            pass(input, size, &name, budget, visit)?;
        }
        skip(input, padding(size))?;
    }
}

fn digits(field: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(field).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u64::from_str_radix(text, radix).ok()
}
