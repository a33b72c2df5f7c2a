//! Reads a sidecar without trusting it (MB-REC-04): it has two tables, of which one is enough; slices are where the
//! table puts them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::table::{DOCUMENTS, DocumentCopy, TABLE, Table};
use crate::bundle::carriage::SignedCarriage;
use crate::bundle::removal::SignedRemoval;
use crate::bundle::tar::{self, BLOCK};
use crate::error::{Code, Error, Result};
use crate::fs::dir;
use crate::oci::{Digest, Hasher};

const FRONT: &str = "mirror-bundle/recovery/";
const COPY: &str = "mirror-bundle/recovery-copy/";
/// How far from the end the second table is searched: it, the documents, their headers, the end.
const TAIL: u64 = TABLE + DOCUMENTS + (64 << 10) + 300 * 2 * BLOCK;

/// How many members that begin like a second table are tried.
const TRIED: u32 = 1024;

/// The offsets in a sidecar. All of them follow from the table and its size.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Sizes of the table and of the documents after it, which are stored at both ends.
    documents: Vec<u64>,
    signed: bool,
    volumes: usize,
    removals: usize,
    slice: u64,
    recovery: u64,
}

impl Shape {
    pub(super) fn new(table: &Table, size: u64) -> Shape {
        let pieces = [Some(&table.index), table.signature.as_ref()].into_iter().flatten();
        let pieces = pieces.chain(&table.volumes).chain(&table.removals).chain(&table.carriage);
        Shape {
            documents: [size].into_iter().chain(pieces.map(|piece| piece.size)).collect(),
            signed: table.signature.is_some(),
            volumes: table.volumes.len(),
            removals: table.removals.len() / 2,
            slice: table.slice_size,
            recovery: table.recovery.len() as u64,
        }
    }

    fn documents_size(&self) -> u64 {
        self.documents.iter().map(|size| BLOCK + tar::padded(*size)).sum()
    }

    /// Offset of the content of a recovery slice.
    pub(super) fn slice(&self, number: usize) -> u64 {
        self.documents_size() + number as u64 * (BLOCK + self.slice) + BLOCK
    }

    pub(super) fn slice_header(&self, number: usize, mtime: u64) -> [u8; 512] {
        tar::header(&format!("{FRONT}slice-{:04}", number + 1), self.slice, mtime)
    }

    /// Offset of the two zero blocks.
    pub(super) fn end(&self) -> u64 {
        2 * self.documents_size() + self.recovery * (BLOCK + self.slice)
    }

    /// Offset and size of the contents of the table, index, signature and descriptions of volumes, in the first or the
    /// second copy.
    fn contents(&self, copy: bool) -> Vec<(u64, u64)> {
        let mut at = if copy { self.end() - self.documents_size() } else { 0 };
        let place = |size: &u64| {
            let data = at + BLOCK;
            at = data + tar::padded(*size);
            (data, *size)
        };
        self.documents.iter().map(place).collect()
    }

    /// The same with their names; the table has this digest.
    pub(super) fn documents(&self, copy: bool, table: &Digest) -> Vec<(String, (u64, u64))> {
        let folder = if copy { COPY } else { "mirror-bundle/" };
        let mut names = vec![format!("{}{}.json", if copy { COPY } else { FRONT }, table.hex())];
        names.push(format!("{folder}index.json"));
        names.extend(self.signed.then(|| format!("{folder}index.json.sig")));
        names.extend((1..=self.volumes).map(|n| format!("{folder}volume-{n:03}.json")));
        let one = |n: usize| [format!("{folder}removal-{n}.json"), format!("{folder}removal-{n}.json.sig")];
        names.extend((1..=self.removals).flat_map(one));
        names.extend(["carriage.json", "carriage.json.sig"].map(|name| format!("{folder}{name}")));
        names.into_iter().zip(self.contents(copy)).collect()
    }
}

/// Opened recovery data. Nothing in it is trusted beyond its own digests.
#[derive(Debug)]
pub struct Sidecar {
    file: File,
    name: String,
    table: Table,
    shape: Shape,
    documents: Option<(Vec<u8>, Option<Vec<u8>>)>,
    length: u64,
}

impl Sidecar {
    /// Opens the recovery data at `path`.
    ///
    /// # Errors
    /// [`Code::Io`] when it cannot be opened; [`Code::Usage`] when neither of its tables is usable.
    pub fn open(path: &Path) -> Result<Sidecar> {
        let name = path.display().to_string();
        let file = dir::regular(path)?;
        let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
        let unusable = |why: &str| {
            Error::new(Code::Usage, format!("`{name}` cannot be used as recovery data: {why}"))
                .hint("create recovery data with: mirror-bundle recovery BUNDLE")
        };
        let (table, size) = match table_at(&file, 0, FRONT) {
            Some(found) => found.map_err(|why| unusable(&why))?,
            None => match last_table(&file, length) {
                Some(found) => found.map_err(|why| unusable(&why))?,
                None => return Err(unusable("it has no intact table")),
            },
        };
        let shape = Shape::new(&table, size);
        let mut sidecar = Sidecar { file, name, table, shape, documents: None, length };
        sidecar.documents = sidecar.read_documents();
        Ok(sidecar)
    }

    /// The table of protected files.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Copies of the bundle's index and of the builder's signature, if intact.
    pub fn documents(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.documents.as_ref().map(|(index, signature)| (index.as_slice(), signature.as_deref()))
    }

    /// Its actual length and its expected length, in bytes.
    pub fn lengths(&self) -> (u64, u64) {
        (self.length, self.shape.end() + 2 * BLOCK)
    }

    /// Reads every recovery slice and returns which are intact. Unreadable ones are not.
    pub fn sound(&self, progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Vec<bool>> {
        let mut buffer = vec![0u8; 1 << 20];
        let mut out = Vec::with_capacity(self.table.recovery.len());
        for (number, digest) in self.table.recovery.iter().enumerate() {
            let mut hasher = Hasher::new();
            let mut at = 0;
            while at < self.table.slice_size {
                let want = usize::try_from(self.table.slice_size - at).unwrap_or(usize::MAX).min(buffer.len());
                if self.read(number, at, &mut buffer[..want]).is_err() {
                    break;
                }
                hasher.update(&buffer[..want]);
                at += want as u64;
                progress(want as u64)?;
            }
            out.push(at == self.table.slice_size && hasher.finish() == *digest);
        }
        Ok(out)
    }

    /// Reads a part of a recovery slice.
    pub(super) fn read(&self, number: usize, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, self.shape.slice(number) + at)
    }

    /// Asks the kernel to read a part of a recovery slice ahead.
    pub(super) fn ahead(&self, number: usize, at: u64, length: u64) {
        super::ahead(&self.file, self.shape.slice(number) + at, length);
    }

    /// The description of one of the files, if they are volumes and it is intact.
    pub fn volume(&self, file: usize) -> Option<Vec<u8>> {
        let piece = self.table.volumes.get(file)?;
        self.either(piece, 2 + usize::from(self.table.signature.is_some()) + file)
    }

    /// The statements about removals that the bundle was protected with, if all are intact.
    pub fn removals(&self) -> Option<Vec<SignedRemoval>> {
        let first = 2 + usize::from(self.table.signature.is_some()) + self.table.volumes.len();
        let all = self.table.removals.iter().zip(first..).map(|(piece, number)| self.either(piece, number));
        let all = all.collect::<Option<Vec<Vec<u8>>>>()?;
        let pair = |two: &[Vec<u8>]| SignedRemoval { statement: two[0].clone(), signature: two[1].clone() };
        Some(all.chunks_exact(2).map(pair).collect())
    }

    /// The carriage that the bundle was protected with, if it and its signature are intact; `Some(None)`: it has none.
    pub fn carriage(&self) -> Option<Option<SignedCarriage>> {
        let signed = usize::from(self.table.signature.is_some());
        let first = 2 + signed + self.table.volumes.len() + self.table.removals.len();
        let all = self.table.carriage.iter().zip(first..).map(|(piece, number)| self.either(piece, number));
        let mut all = all.collect::<Option<Vec<Vec<u8>>>>()?.into_iter();
        Some(all.next().map(|carriage| SignedCarriage::new(carriage, all.next())))
    }

    fn read_documents(&self) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        let index = self.either(&self.table.index, 1)?;
        let signature = match &self.table.signature {
            Some(piece) => Some(self.either(piece, 2)?),
            None => None,
        };
        Some((index, signature))
    }

    /// A document from either end that has an intact copy.
    fn either(&self, piece: &DocumentCopy, number: usize) -> Option<Vec<u8>> {
        [false, true].into_iter().find_map(|copy| self.piece(piece, self.shape.contents(copy).get(number)?.0))
    }

    fn piece(&self, piece: &DocumentCopy, at: u64) -> Option<Vec<u8>> {
        if at.checked_add(piece.size)? > self.length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(piece.size).ok()?];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        (Digest::of(&bytes) == piece.digest).then_some(bytes)
    }
}

/// The table with its header at `at`: `None` if there is no such header, or its content does not match its name.
fn table_at(file: &File, at: u64, folder: &str) -> Option<Result<(Table, u64), String>> {
    let mut block = [0u8; 512];
    file.read_exact_at(&mut block, at).ok()?;
    let entry = tar::parse(&block)?;
    let hex = entry.name.strip_prefix(folder)?.strip_suffix(".json")?;
    let digest = Digest::from_hex(hex).ok()?;
    if entry.size > TABLE {
        return Some(Err(format!("its table is over the limit of {TABLE} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(entry.size).ok()?];
    file.read_exact_at(&mut bytes, at + BLOCK).ok()?;
    (Digest::of(&bytes) == digest).then(|| Table::parse(&bytes).map(|table| (table, entry.size)))
}

/// Whether a table's header is at `at`.
fn begins(file: &File, at: u64, folder: &str) -> bool {
    let mut block = [0u8; 512];
    file.read_exact_at(&mut block, at).is_ok() && tar::parse(&block).is_some_and(|e| e.name.starts_with(folder))
}

/// The second table, searched from the end.
fn last_table(file: &File, length: u64) -> Option<Result<(Table, u64), String>> {
    let first = length.saturating_sub(TAIL).next_multiple_of(BLOCK);
    let mut at = length / BLOCK * BLOCK;
    let mut tried = 0;
    // Each candidate is read and hashed: a real sidecar has one, a hostile one could have one in every block.
    while at > first && tried < TRIED {
        at -= BLOCK;
        if let Some(found) = table_at(file, at, COPY) {
            return Some(found);
        }
        tried += u32::from(begins(file, at, COPY));
    }
    None
}
