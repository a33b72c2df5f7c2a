//! Layers as an attacker or an old tool would write them: every field can be set.

/// One header with its content.
pub struct Raw {
    block: [u8; 512],
    content: Vec<u8>,
}

/// An entry of this type.
pub fn entry(kind: u8, name: &str) -> Raw {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    Raw { block, content: Vec::new() }.size(0)
}

/// A regular file.
pub fn file(name: &str, content: &[u8]) -> Raw {
    entry(b'0', name).with(content)
}

/// A folder.
pub fn dir(name: &str) -> Raw {
    entry(b'5', name).mode(0o755)
}

/// A symbolic or hard link.
pub fn link(kind: u8, name: &str, target: &str) -> Raw {
    entry(kind, name).set(157, target.as_bytes())
}

/// PAX records for the next entry, or for all.
pub fn pax(kind: u8, records: &[(&str, &str)]) -> Raw {
    let mut content = String::new();
    for (key, value) in records {
        let bare = key.len() + value.len() + 3;
        let mut length = bare + 1;
        while length.to_string().len() + bare != length {
            length += 1;
        }
        content.push_str(&format!("{length} {key}={value}\n"));
    }
    entry(kind, "pax").with(content.as_bytes())
}

impl Raw {
    /// With this content, and its size in the header.
    pub fn with(mut self, content: &[u8]) -> Raw {
        self.content = content.to_vec();
        self.size(content.len() as u64)
    }

    /// With another size in the header than the content has.
    pub fn size(self, size: u64) -> Raw {
        self.set(124, format!("{size:011o}").as_bytes())
    }

    /// With these permissions.
    pub fn mode(self, mode: u32) -> Raw {
        self.set(100, format!("{mode:07o}").as_bytes())
    }

    /// With these bytes in the header.
    pub fn set(mut self, at: usize, bytes: &[u8]) -> Raw {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// The entries, without an end.
pub fn open(entries: &[Raw]) -> Vec<u8> {
    let mut out = Vec::new();
    for raw in entries {
        let mut block = raw.block;
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(&raw.content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}

/// The entries as an archive.
pub fn tar(entries: &[Raw]) -> Vec<u8> {
    let mut out = open(entries);
    out.extend_from_slice(&[0; 1024]);
    out
}

/// Compressed as one member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}
