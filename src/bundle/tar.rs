//! The tar subset of format 1: one canonical header for a name, a size and a time (MB-FMT-02).
//!
//! There is no tar parser here. A header is accepted only if it is, byte for byte, the header that this module writes
//! for its name and size; so no two readers can see different archives.

/// Size of a header in bytes; content is padded to it.
pub const BLOCK: u64 = 512;

/// Sizes from this one up do not fit eleven octal digits and are written in base 256.
const OCTAL_LIMIT: u64 = 1 << 33;

/// The header of a regular file: mode 0644, owner 0, no owner names.
///
/// `name` must have at most 100 bytes (see [`super::name::check`]); `mtime` is in seconds, below 2^33.
pub fn header(name: &str, size: u64, mtime: u64) -> [u8; 512] {
    let mut block = [0u8; 512];
    let name = &name.as_bytes()[..name.len().min(100)];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    number(&mut block[124..136], size);
    number(&mut block[136..148], mtime);
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000000\0");
    block[337..345].copy_from_slice(b"0000000\0");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn number(field: &mut [u8], value: u64) {
    if value < OCTAL_LIMIT {
        field.copy_from_slice(format!("{value:011o}\0").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&value.to_be_bytes());
    }
}

/// The fields of a canonical header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The member's path.
    pub name: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// Time in seconds.
    pub mtime: u64,
}

/// Reads a header back; `None` unless it is exactly what [`header`] writes.
pub fn parse(block: &[u8; 512]) -> Option<Entry> {
    let end = block[..100].iter().position(|b| *b == 0).unwrap_or(100);
    let name = std::str::from_utf8(&block[..end]).ok()?.to_owned();
    let entry = Entry { name, size: value(&block[124..136])?, mtime: value(&block[136..148])? };
    (header(&entry.name, entry.size, entry.mtime) == *block && !entry.name.is_empty()).then_some(entry)
}

fn value(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        return Some(u64::from_be_bytes(field[4..12].try_into().ok()?));
    }
    let digits = std::str::from_utf8(&field[..11]).ok()?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}

/// Content size rounded up to whole blocks.
pub fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_makes_it_unreadable_or_another() {
        for size in [0, 1, 511, 512, OCTAL_LIMIT - 1, OCTAL_LIMIT, 1 << 44] {
            let good = header("blobs/sha256/ab", size, 7);
            let entry = Entry { name: "blobs/sha256/ab".into(), size, mtime: 7 };
            assert_eq!(parse(&good), Some(entry.clone()));
            for bit in 0..512 * 8 {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(parse(&bad), Some(entry.clone()), "bit {bit}");
            }
        }
        assert_eq!(parse(&[0; 512]), None);
    }

    #[test]
    fn the_tar_crate_reads_the_same_header() {
        for size in [3, OCTAL_LIMIT + 5] {
            let block = header("a/b", size, 9);
            let theirs = tar::Header::from_byte_slice(&block);
            assert_eq!(theirs.size().unwrap(), size);
            assert_eq!(theirs.mtime().unwrap(), 9);
            assert_eq!(theirs.path().unwrap().to_str(), Some("a/b"));
            assert_eq!(theirs.cksum().unwrap(), {
                let mut copy = theirs.clone();
                copy.set_cksum();
                copy.cksum().unwrap()
            });
            assert!(theirs.entry_type().is_file());
        }
    }
}
