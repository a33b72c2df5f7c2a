//! Forms of archives, by their content.

/// Bytes of the beginning that [`detect`] needs.
pub const HEAD: usize = 32 << 10 | 0x900;
/// Bytes of the end that [`ends_as_zip`] needs.
pub const TAIL: usize = 22 + 65_535;

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// gzip
    Gzip,
    /// bzip2
    Bzip2,
    /// xz
    Xz,
    /// Zstandard
    Zstd,
    /// tar
    Tar,
    /// zip, jar, wheel
    Zip,
    /// cpio, any of its four headers
    Cpio,
    /// ar: static libraries, Debian packages
    Ar,
    /// A package of rpm
    Rpm,
    /// A form that this program recognises and does not open.
    Other(&'static str),
}

impl Form {
    /// The name, also in JSON.
    pub fn title(self) -> &'static str {
        match self {
            Form::Gzip => "gzip",
            Form::Bzip2 => "bzip2",
            Form::Xz => "xz",
            Form::Zstd => "zstd",
            Form::Tar => "tar",
            Form::Zip => "zip",
            Form::Cpio => "cpio",
            Form::Ar => "ar",
            Form::Rpm => "rpm",
            Form::Other(name) => name,
        }
    }

    /// Whether this program opens it.
    pub fn is_opened(self) -> bool {
        !matches!(self, Form::Other(_))
    }
}

/// Marks at the beginning, of forms that are not opened.
const OTHERS: &[(&[u8], &str)] = &[
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"MSCF\0\0\0\0", "cab"),
    (b"ISc(", "InstallShield cab"),
    (b"hsqs", "squashfs"),
    (b"sqsh", "squashfs"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE (msi, doc)"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"\x1f\x9d", "compress"),
    (b"\x1f\xa0", "compress"),
    (b"\x60\xea", "arj"),
    (b"MSWIM\0\0\0", "wim"),
    (b"xar!", "xar"),
    (b"SZDD\x88\xf0\x27\x33", "szdd"),
    (b"KWAJ\x88\xf0\x27\xd1", "kwaj"),
    (b"ITSF\x03\0\0\0", "chm"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"zPQ", "zpaq"),
    (b"7kSt", "zpaq"),
    (b"\x78\x9f\x3e\x22", "tnef"),
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"!<thin>\n", "thin ar"),
];

/// The form of content that begins with `head`: all of it, or at least [`HEAD`] bytes.
pub fn detect(head: &[u8]) -> Option<Form> {
    let starts = |mark: &[u8]| head.starts_with(mark);
    let form = match head {
        [0x1f, 0x8b, 8, ..] => Form::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
            if rest.starts_with(b"\x31\x41\x59\x26\x53\x59") || rest.starts_with(b"\x17\x72\x45\x38\x50\x90") =>
        {
            Form::Bzip2
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Form::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Form::Zstd,
        _ if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") || starts(b"PK\x07\x08PK\x03\x04") => Form::Zip,
        _ if starts(b"07070") && matches!(head.get(5), Some(b'1' | b'2' | b'7')) => Form::Cpio,
        [0xc7, 0x71, rest @ ..] | [0x71, 0xc7, rest @ ..] if old_cpio(head, rest) => Form::Cpio,
        _ if starts(b"!<arch>\n") => Form::Ar,
        _ if starts(b"\xed\xab\xee\xdb") => Form::Rpm,
        _ if is_tar(head) => Form::Tar,
        _ if starts(b"-lh") || matches!(head, [_, _, b'-', b'l', b'h' | b'z', _, b'-', ..]) => Form::Other("lha"),
        _ if head.get(7..14) == Some(b"**ACE**") => Form::Other("ace"),
        _ if head.get(0x8001..0x8006) == Some(b"CD001") => Form::Other("iso9660"),
        [0x5d, 0, 0, _, _, rest @ ..] if lzma_alone(rest) => Form::Other("lzma"),
        _ => Form::Other(OTHERS.iter().find(|(mark, _)| head.starts_with(mark))?.1),
    };
    Some(form)
}

/// The old binary header: its name has a length, and ends in a zero.
fn old_cpio(head: &[u8], rest: &[u8]) -> bool {
    let number = |at: usize| {
        let two = rest.get(at..at + 2)?.first_chunk::<2>()?;
        Some(usize::from(if head[0] == 0xc7 { u16::from_le_bytes(*two) } else { u16::from_be_bytes(*two) }))
    };
    number(18).is_some_and(|length| (1..=1024).contains(&length) && head.get(26 + length - 1) == Some(&0))
}

/// The header of `.lzma`: a size of 8 bytes that is unknown or below 2^40.
fn lzma_alone(rest: &[u8]) -> bool {
    rest.first_chunk::<8>().is_some_and(|size| *size == [0xff; 8] || u64::from_le_bytes(*size) < 1 << 40)
}

/// A header of tar, by its checksum: old ones have no mark.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<512>() else { return false };
    // An empty block is no header.
    block[0] != 0 && has_sum(block) || &block[257..262] == b"ustar"
}

/// Whether a header of tar has its checksum.
pub(super) fn has_sum(block: &[u8; 512]) -> bool {
    octal(&block[148..156]).is_some_and(|stated| sums(block).contains(&stated))
}

/// Whether content whose last bytes are `tail` (all of it, or at least [`TAIL`] bytes) ends as a zip file: readers of
/// zip begin at the end, whatever stands before.
pub fn ends_as_zip(tail: &[u8]) -> bool {
    let tail = &tail[tail.len().saturating_sub(TAIL)..];
    memchr::memmem::find_iter(tail, b"PK\x05\x06").any(|at| {
        let comment = tail.get(at + 20..at + 22).and_then(|two| two.first_chunk::<2>());
        let entries = tail.get(at + 10..at + 12).and_then(|two| two.first_chunk::<2>());
        let ends = comment.is_some_and(|two| at + 22 + usize::from(u16::from_le_bytes(*two)) <= tail.len());
        ends && entries.is_some_and(|two| *two != [0, 0])
    })
}

/// A number in octal digits, between blanks and zeros.
pub(super) fn octal(field: &[u8]) -> Option<u64> {
    let text: Vec<u8> =
        field.iter().copied().skip_while(|b| *b == b' ').take_while(|b| !matches!(b, 0 | b' ')).collect();
    match text.is_empty() {
        true => Some(0),
        false => u64::from_str_radix(std::str::from_utf8(&text).ok()?, 8).ok(),
    }
}

/// The checksum of a header, of bytes with and without a sign.
fn sums(header: &[u8; 512]) -> [u64; 2] {
    let blank = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
    let bytes = || header.iter().enumerate().map(|(at, byte)| blank(at, *byte));
    let signed: i64 = bytes().map(|b| i64::from(b as i8)).sum();
    [bytes().map(u64::from).sum(), u64::try_from(signed).unwrap_or(u64::MAX)]
}
