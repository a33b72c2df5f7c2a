//! A bundle as tar members that can be changed one by one before they become bytes.

use std::fmt::Write as _;

use mirror_bundle::bundle::index::Index;
use mirror_bundle::bundle::{layout, tar};
use mirror_bundle::oci::Digest;

use super::sshsig;

/// One member.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Its entry in the index (and so in SHA256SUMS).
    pub listed: Digest,
    /// A header other than the canonical one.
    pub header: Option<[u8; 512]>,
    /// Padding other than zeros, as long as it should be.
    pub padding: Option<u8>,
}

impl Entry {
    pub fn new(name: &str, bytes: &[u8]) -> Entry {
        Entry { name: name.into(), bytes: bytes.to_vec(), listed: Digest::of(bytes), header: None, padding: None }
    }
}

/// Members, and what follows them.
#[derive(Clone)]
pub struct Archive {
    pub entries: Vec<Entry>,
    pub mtime: u64,
    pub tail: Vec<u8>,
}

impl Archive {
    /// The archive of an index, with its bytes and signature; `content` returns the content of a path.
    pub fn new(
        index: &Index,
        index_bytes: &[u8],
        signature: Option<&[u8]>,
        content: &dyn Fn(&str, &Digest) -> Vec<u8>,
    ) -> Archive {
        let mut entries = Vec::new();
        let file = |path: &str, listed: Digest| Entry {
            name: path.to_owned(),
            bytes: content(path, &listed),
            listed,
            header: None,
            padding: None,
        };
        let mut files = index.files.iter();
        entries.extend(files.next().map(|f| file(&f.path, f.digest)));
        entries.push(Entry::new(layout::INDEX, index_bytes));
        entries.extend(signature.map(|s| Entry::new(layout::SIGNATURE, s)));
        let sums = entries.len();
        entries.extend(files.map(|f| file(&f.path, f.digest)));
        for blob in &index.blobs {
            entries.push(file(&format!("blobs/sha256/{}", blob.digest.hex()), blob.digest));
        }
        entries.insert(sums, Entry::new(layout::SUMS, &sums_of(&entries)));
        Archive { entries, mtime: index.mtime(), tail: vec![0; 1024] }
    }

    pub fn at(&self, name: &str) -> usize {
        let found = self.entries.iter().position(|e| e.name.starts_with(name));
        found.unwrap_or_else(|| panic!("no member {name}"))
    }

    pub fn entry(&mut self, name: &str) -> &mut Entry {
        let at = self.at(name);
        &mut self.entries[at]
    }

    /// The last blob: a layer.
    pub fn last(&mut self) -> &mut Entry {
        self.entries.last_mut().unwrap()
    }

    /// Changes the header of a member and makes its checksum right again.
    pub fn edit_header(&mut self, name: &str, change: impl FnOnce(&mut [u8; 512])) {
        let mtime = self.mtime;
        let entry = self.entry(name);
        let mut block = tar::header(&entry.name, entry.bytes.len() as u64, mtime);
        change(&mut block);
        checksum(&mut block);
        entry.header = Some(block);
    }

    /// Offset of a member's header.
    pub fn offset(&self, name: &str) -> usize {
        self.entries[..self.at(name)].iter().map(|e| 512 + e.bytes.len().next_multiple_of(512)).sum()
    }

    /// Replaces a member of the head and updates its line in SHA256SUMS.
    pub fn sums_again(&mut self) {
        let at = self.at(layout::SUMS);
        let others: Vec<Entry> = self.entries.iter().filter(|e| e.name != layout::SUMS).cloned().collect();
        self.entries[at] = Entry::new(layout::SUMS, &sums_of(&others));
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for entry in &self.entries {
            let header = entry.header.unwrap_or_else(|| tar::header(&entry.name, entry.bytes.len() as u64, self.mtime));
            out.extend_from_slice(&header);
            out.extend_from_slice(&entry.bytes);
            out.resize(out.len().next_multiple_of(512), entry.padding.unwrap_or(0));
        }
        out.extend_from_slice(&self.tail);
        out
    }

    /// The bytes with something inserted before the end.
    pub fn with_addendum(mut self, name: &str, bytes: &[u8]) -> Archive {
        self.entries.push(Entry::new(&format!("{}{name}", layout::ADDENDA), bytes));
        self
    }
}

/// Makes the checksum of a header right.
pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn sums_of(entries: &[Entry]) -> Vec<u8> {
    let mut out = String::new();
    for entry in entries {
        writeln!(out, "{}  {}", entry.listed.hex(), entry.name).unwrap();
    }
    out.into_bytes()
}

/// The builder's signature.
pub fn signed(index_bytes: &[u8]) -> Vec<u8> {
    sshsig::sign(&sshsig::BUILDER, index_bytes)
}
