//! Numbers at places of untrusted bytes.

/// The `N` bytes at `at`.
fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A big-endian number of 2 bytes.
pub(super) fn be16(data: &[u8], at: usize) -> Option<u16> {
    array(data, at).map(u16::from_be_bytes)
}

/// A big-endian number of 4 bytes.
pub(super) fn be32(data: &[u8], at: usize) -> Option<u32> {
    array(data, at).map(u32::from_be_bytes)
}

/// A little-endian number of 4 bytes.
pub(super) fn le32(data: &[u8], at: usize) -> Option<u32> {
    array(data, at).map(u32::from_le_bytes)
}

/// A number of 4 bytes, in either order.
pub(super) fn u32_in(data: &[u8], at: usize, big: bool) -> Option<u32> {
    if big { be32(data, at) } else { le32(data, at) }
}

/// A number of 2 bytes, in either order.
pub(super) fn u16_in(data: &[u8], at: usize, big: bool) -> Option<u16> {
    array(data, at).map(if big { u16::from_be_bytes } else { u16::from_le_bytes })
}

/// A number as an index; on 64-bit and 32-bit hosts alike.
pub(super) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Which pages were followed: each counts once, so that no chain of pages can be endless, and none is read again.
pub(super) struct Once(Vec<u64>);

impl Once {
    /// For pages below `count`.
    pub(super) fn new(count: usize) -> Once {
        Once(vec![0; count / 64 + 1])
    }

    /// Whether the page is followed for the first time; never for one that does not exist.
    pub(super) fn first(&mut self, page: usize) -> bool {
        let Some(word) = self.0.get_mut(page / 64) else { return false };
        let bit = 1 << (page % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}
