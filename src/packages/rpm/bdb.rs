//! Berkeley DB, `Packages` (up to RHEL 8): a hash of package number to header, headers mostly on pages of their own.

use crate::packages::bytes::{Once, index, u16_in, u32_in};
use crate::packages::{MAX_PACKAGES, Reading, Unreadable};

const MAGIC: u32 = 0x0006_1561;
/// Bytes before the content of a page.
const HEAD: usize = 26;
/// Types of pages: hash, sorted hash, and the continuation of a long value.
const HASH: [u8; 2] = [2, 13];
const OVERFLOW: u8 = 7;
/// Types of items: on the page, and on other pages.
const HERE: u8 = 1;
const OFF_PAGE: u8 = 3;

/// The packages of a Berkeley DB.
pub fn read(data: &[u8]) -> Reading {
    super::headers(|take| Db::open(data)?.values(take))
}

struct Db<'a> {
    data: &'a [u8],
    big: bool,
    size: usize,
    pages: usize,
}

impl<'a> Db<'a> {
    fn open(data: &'a [u8]) -> Result<Db<'a>, Unreadable> {
        let big = match [false, true].into_iter().find(|big| u32_in(data, 12, *big) == Some(MAGIC)) {
            Some(big) => big,
            None => return Err(Unreadable::new("is no Berkeley DB hash")),
        };
        let word = |at| u32_in(data, at, big).map(index).ok_or_else(|| Unreadable::new("is cut off"));
        let (size, last) = (word(20)?, word(32)?);
        if !size.is_power_of_two() || !(512..=65536).contains(&size) {
            return Err(Unreadable(format!("has pages of {size} bytes")));
        }
        if data.get(24) != Some(&0) {
            return Err(Unreadable::new("is encrypted"));
        }
        let pages = last.checked_add(1).filter(|pages| pages.checked_mul(size).is_some_and(|all| all <= data.len()));
        let pages = pages.ok_or_else(|| Unreadable(format!("is cut off: it says that its last page is {last}")))?;
        Ok(Db { data, big, size, pages })
    }

    fn page(&self, number: usize) -> Option<&'a [u8]> {
        if number >= self.pages {
            return None;
        }
        self.data.get(number * self.size..(number + 1) * self.size)
    }

    fn values(&self, take: &mut dyn FnMut(&[u8])) -> Result<(), Unreadable> {
        let mut once = Once::new(self.pages);
        let mut count = 0;
        for number in 1..self.pages {
            let Some(page) = self.page(number) else { continue };
            if !HASH.contains(&page[25]) {
                continue;
            }
            let bad = |what: &str| Unreadable(format!("has {what} on page {number}"));
            let entries = usize::from(u16_in(page, 20, self.big).unwrap_or_default());
            let place = |n: usize| u16_in(page, HEAD + 2 * n, self.big).map(usize::from);
            if entries % 2 == 1 || HEAD + 2 * entries > self.size {
                return Err(bad(&format!("{entries} items")));
            }
            for key in (0..entries).step_by(2) {
                let (key, at) = place(key).zip(place(key + 1)).ok_or_else(|| bad("a damaged list of items"))?;
                let item = page.get(at..).filter(|item| !item.is_empty()).ok_or_else(|| bad("an item behind it"))?;
                count += 1;
                if count > MAX_PACKAGES {
                    return Err(Unreadable(format!("has more than {MAX_PACKAGES} rows")));
                }
                match item[0] {
                    OFF_PAGE => {
                        let (first, length) = u32_in(item, 4, self.big)
                            .zip(u32_in(item, 8, self.big))
                            .ok_or_else(|| bad("an item that is cut off"))?;
                        take(&self.long(index(first), index(length), &mut once)?);
                    }
                    // Items lie in order from the end of the page: this one ends where its key begins. The value of
                    // key 0 is a number of 4 bytes: the last package number.
                    HERE => match page.get(at + 1..key) {
                        Some(value) if value.len() > 4 => take(value),
                        Some(_) => {}
                        None => return Err(bad("items in a wrong order")),
                    },
                    other => return Err(bad(&format!("an item of type {other}"))),
                }
            }
        }
        Ok(())
    }

    /// A value on a chain of pages.
    fn long(&self, first: usize, length: usize, once: &mut Once) -> Result<Vec<u8>, Unreadable> {
        let bad = |what: &str| Unreadable(format!("has a chain of pages that {what}, from page {first}"));
        if length > self.data.len() {
            return Err(bad(&format!("holds {length} bytes")));
        }
        let (mut out, mut next) = (Vec::new(), first);
        while out.len() < length {
            let page = self.page(next).filter(|_| next != 0).ok_or_else(|| bad("leaves the file"))?;
            if !once.first(next) {
                return Err(bad("is a loop, or shared"));
            }
            let here = usize::from(u16_in(page, 22, self.big).unwrap_or_default());
            let content = page.get(HEAD..HEAD + here).filter(|c| page[25] == OVERFLOW && !c.is_empty());
            out.extend_from_slice(content.ok_or_else(|| bad("is damaged"))?);
            next = u32_in(page, 16, self.big).map(index).unwrap_or_default();
        }
        out.truncate(length);
        Ok(out)
    }
}
