//! `extract`: the merged files of an image as plain files, or one image as an OCI archive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::images::{copy, is_content};
use super::reading::Library;
use super::shelf::Member;
use crate::bundle::index::Image;
use crate::content::layer::{FileKind, is_layer};
use crate::content::{Merged, Place};
use crate::error::{Code, Error, Result};
use crate::fs::durable;
use crate::oci::{Descriptor, Digest, IndexOf, media_type};
use crate::ops::{Observer, Task};

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extracted {
    /// The files or blobs.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the image has and was left out, and is listed with the reason.
    pub left_out: u64,
    /// Where it was written.
    pub to: String,
    /// The list of what was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// The digest of the image manifest.
    pub manifest: Option<Digest>,
}

/// The longest name of a file.
const NAME: usize = 255;

/// One line of `DIR.map.jsonl`.
#[derive(Debug, Serialize)]
struct LeftOut<'l> {
    path: std::borrow::Cow<'l, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<Digest>,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// The files to write, by the entry that has their content, and the folders.
#[derive(Debug, Default)]
struct Plan {
    folders: Vec<Vec<u8>>,
    files: HashMap<Place, Vec<(Vec<u8>, bool)>>,
    left_out: u64,
}

/// Writes the merged files of an image below `dir`, which must not exist: `0644` or `0755`, no links, devices, owners.
///
/// # Errors
/// [`Code::Conflict`] if `dir` or its list exists; those of reading and writing.
pub fn files(library: &Library<'_>, member: &Member, dir: &Path, observer: &dyn Observer) -> Result<Extracted> {
    let beside = |end: &str| {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(end);
        dir.with_file_name(name)
    };
    let (partial, map) = (beside(".partial"), beside(".map.jsonl"));
    if dir.file_name().is_none() {
        return Err(Error::new(Code::Usage, format!("`{}` is not the name of a new folder", dir.display())));
    }
    for path in [dir, &partial, &map] {
        if crate::fs::dir::exists(path) {
            let err = Error::new(Code::Conflict, format!("`{}` exists already", path.display()));
            return Err(err.state("nothing was written").hint("name a folder that does not exist, or remove it first"));
        }
    }
    let merged = library.merged(member, observer)?;
    let (mut list, mut plan) = (Vec::new(), Plan::default());
    for layer in member.layers.iter().filter(|layer| !is_layer(&layer.media_type)) {
        let why = format!("no archive of files: {}", layer.media_type);
        plan.leave(&mut list, &LeftOut { path: "".into(), layer: Some(layer.digest), why, target: None })?;
    }
    plan.fill(&merged, member, &mut list)?;
    fs::DirBuilder::new().mode(0o755).create(&partial).map_err(|e| Error::io("cannot create", &partial, e))?;
    let done = write(library, member, &plan, &partial, observer).and_then(|(files, bytes)| {
        write_new(&map, &list, 0o644)?;
        durable::rename(&partial, dir, false)?;
        Ok((files, bytes))
    });
    match done {
        Ok((files, bytes)) => Ok(Extracted {
            files,
            bytes,
            left_out: plan.left_out,
            to: dir.display().to_string(),
            map: Some(map.display().to_string()),
            manifest: Some(member.digest),
        }),
        Err(e) => {
            let left = format!("`{}` is incomplete; remove it", partial.display());
            Err(e.state(left))
        }
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)
    };
    write().map_err(|e| Error::io("cannot write", path, e))
}

impl Plan {
    fn leave(&mut self, list: &mut Vec<u8>, line: &LeftOut<'_>) -> Result<()> {
        self.left_out += 1;
        serde_json::to_writer(&mut *list, line).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        list.push(b'\n');
        Ok(())
    }

    fn fill(&mut self, merged: &Merged, member: &Member, list: &mut Vec<u8>) -> Result<()> {
        // Folders that were left out, with everything in them; and the names that are taken, without case.
        let (mut gone, mut taken): (Option<Vec<u8>>, HashSet<Vec<u8>>) = (None, HashSet::new());
        merged.visit(&mut |path, _, node| {
            let inside =
                |folder: &Vec<u8>| path.strip_prefix(folder.as_slice()).is_some_and(|rest| rest.starts_with(b"/"));
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            let folded = String::from_utf8_lossy(path).to_lowercase().into_bytes();
            let why = if gone.as_ref().is_some_and(inside) {
                Some("in a folder that was left out")
            } else if name.len() > NAME {
                Some("its name is too long")
            } else if node.leaves || matches!(name, b".." | b"." | b"") || name.contains(&0) {
                Some("its name leads out of the image")
            } else {
                match node.kind {
                    FileKind::Dir | FileKind::File | FileKind::Other(_) => None,
                    FileKind::Symlink => Some("symbolic link"),
                    FileKind::HardLink => Some("hard link to nothing"),
                    FileKind::Char | FileKind::Block => Some("device"),
                    FileKind::Fifo => Some("named pipe"),
                    FileKind::Behind => Some("no file"),
                }
            };
            let why = why.or_else(|| (!taken.insert(folded)).then_some("its name differs only by case from another"));
            if let Some(why) = why {
                if node.kind == FileKind::Dir && !gone.as_ref().is_some_and(inside) {
                    gone = Some(path.to_vec());
                }
                let target = node.target.as_deref().map(|target| String::from_utf8_lossy(target).into_owned());
                let layer =
                    node.place.and_then(|place| member.layers.get(place.layer as usize)).map(|layer| layer.digest);
                let line = LeftOut { path: String::from_utf8_lossy(path), layer, why: why.to_owned(), target };
                return self.leave(list, &line);
            }
            match (node.kind, node.place) {
                (FileKind::Dir, _) => self.folders.push(path.to_vec()),
                (_, Some(place)) if is_content(node) => {
                    self.files.entry(place).or_default().push((path.to_vec(), node.mode & 0o111 != 0));
                }
                _ => {}
            }
            Ok(())
        })
    }
}

fn write(
    library: &Library<'_>,
    member: &Member,
    plan: &Plan,
    into: &Path,
    observer: &dyn Observer,
) -> Result<(u64, u64)> {
    let at = |path: &[u8]| into.join(std::ffi::OsStr::from_bytes(path));
    for folder in &plan.folders {
        let path = at(folder);
        fs::DirBuilder::new().mode(0o755).create(&path).map_err(|e| Error::io("cannot create", &path, e))?;
    }
    let (mut files, mut bytes) = (0, 0);
    let total = member.layers.iter().map(|layer| layer.size).sum();
    observer.begin(Task::Unpack, member.layers.len() as u64, total);
    let needed: HashSet<u32> = plan.files.keys().map(|place| place.layer).collect();
    for (layer, number) in member.layers.iter().zip(0u32..) {
        if needed.contains(&number) {
            library.layer(layer, observer, &mut |entry, content| {
                let entry = u32::try_from(entry.number).unwrap_or(u32::MAX);
                let Some(paths) = plan.files.get(&Place { layer: number, entry }) else { return Ok(()) };
                let size = write_file(&paths.iter().map(|(p, x)| (at(p), *x)).collect::<Vec<_>>(), content)?;
                files += paths.len() as u64;
                bytes += size * paths.len() as u64;
                Ok(())
            })?;
        }
        observer.advance(layer.size);
        observer.item();
    }
    observer.end();
    Ok((files, bytes))
}

/// Writes one content to each of these paths: hard links become copies.
fn write_file(paths: &[(PathBuf, bool)], content: &mut dyn Read) -> Result<u64> {
    let open = |(path, executable): &(PathBuf, bool)| {
        let mode = if *executable { 0o755 } else { 0o644 };
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        opened.map_err(|e| Error::io("cannot create", path, e))
    };
    let Some((first, more)) = paths.split_first() else { return Ok(0) };
    let mut file = open(first)?;
    let mut counted = Counted { file: &mut file, bytes: 0 };
    copy(content, &mut counted).map_err(|e| match e.code() {
        Code::Io => e.fact(format!("while writing {}", first.0.display())),
        _ => e,
    })?;
    let bytes = counted.bytes;
    for other in more {
        let mut from = fs::File::open(&first.0).map_err(|e| Error::io("cannot read", &first.0, e))?;
        let mut to = open(other)?;
        std::io::copy(&mut from, &mut to).map_err(|e| Error::io("cannot write", &other.0, e))?;
    }
    Ok(bytes)
}

struct Counted<'f> {
    file: &'f mut fs::File,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes one image as an OCI archive, with entries for its folders: what syft, skopeo and podman read.
///
/// # Errors
/// Those of reading and writing. What was written before is then no complete archive.
pub fn archive(
    library: &Library<'_>,
    member: &Member,
    attached: bool,
    to: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<Extracted> {
    let index = library.index();
    let mut entries = vec![descriptor(library, member)];
    let mut documents = vec![member.digest];
    let mut blobs: BTreeMap<Digest, u64> = BTreeMap::new();
    let take = |one: &Member, blobs: &mut BTreeMap<Digest, u64>| {
        blobs.extend([(one.config.digest, one.config.size)]);
        blobs.extend(one.layers.iter().map(|layer| (layer.digest, layer.size)));
    };
    take(member, &mut blobs);
    if attached {
        for (at, image) in about(library, member) {
            let mut entry = image.descriptor();
            entry.annotations.extend(image.tag.clone().map(|tag| (REF_NAME.to_owned(), tag)));
            entries.push(entry);
            documents.push(image.digest);
            for one in library.shelf().members().iter().filter(|one| one.images.contains(&at)) {
                documents.push(one.digest);
                take(one, &mut blobs);
            }
        }
    }
    documents.sort();
    documents.dedup();
    documents.iter().for_each(|digest| _ = blobs.remove(digest));
    let list = IndexOf(entries).to_vec().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let mut tar = Tar { to: BufWriter::with_capacity(1 << 20, to), mtime: index.mtime() };
    let (mut files, mut bytes) = (0, 0);
    observer.begin(Task::Write, blobs.len() as u64, blobs.values().sum());
    tar.file("oci-layout", 30, &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..])?;
    tar.file("index.json", list.len() as u64, &mut list.as_slice())?;
    tar.folder("blobs/")?;
    tar.folder("blobs/sha256/")?;
    for digest in &documents {
        let missing = || Error::new(Code::BlobMissing, format!("{digest} is not in the bundle"));
        let document = library.document(digest).ok_or_else(missing)?;
        tar.file(&format!("blobs/sha256/{}", digest.hex()), document.len() as u64, &mut &document[..])?;
        (files, bytes) = (files + 1, bytes + document.len() as u64);
    }
    for (digest, size) in &blobs {
        observer.check()?;
        tar.file(&format!("blobs/sha256/{}", digest.hex()), *size, &mut library.open(digest)?)?;
        (files, bytes) = (files + 1, bytes + size);
        observer.advance(*size);
        observer.item();
    }
    observer.end();
    tar.end()?;
    Ok(Extracted { files, bytes, manifest: Some(member.digest), ..Extracted::default() })
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";

fn descriptor(library: &Library<'_>, member: &Member) -> Descriptor {
    let mut one = Descriptor::new(&member.media_type, member.digest, member.size);
    one.platform = member.platform.clone();
    let index = library.index();
    let name = member.images.first().and_then(|at| index.images.get(*at)).and_then(Image::reference);
    one.annotations.extend(name.filter(|name| !name.contains('@')).map(|name| (REF_NAME.to_owned(), name)));
    one
}

/// The images of the index that are about this one: its signatures, attestations and SBOMs.
pub fn about<'l>(library: &'l Library<'_>, member: &'l Member) -> impl Iterator<Item = (usize, &'l Image)> {
    let images = &library.index().images;
    let own: HashSet<Digest> = member.images.iter().map(|at| images[*at].digest).chain([member.digest]).collect();
    images.iter().enumerate().filter(move |(_, image)| {
        super::claims::subject(image).is_some_and(|subject| own.contains(&subject))
            && (media_type::is_manifest(&image.media_type) || media_type::is_index(&image.media_type))
    })
}

/// A plain tar archive of files and folders.
struct Tar<'t> {
    to: BufWriter<&'t mut dyn Write>,
    mtime: u64,
}

impl Tar<'_> {
    fn header(&mut self, name: &str, size: u64, kind: tar::EntryType, mode: u32) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(|e| Error::io("cannot name", name, e))?;
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(kind);
        header.set_cksum();
        self.to.write_all(header.as_bytes()).map_err(out)
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        self.header(name, 0, tar::EntryType::Directory, 0o755)
    }

    fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        self.header(name, size, tar::EntryType::Regular, 0o644)?;
        copy(&mut content.take(size.saturating_add(1)), &mut self.to)?;
        let padding = [0; 512];
        let rest = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
        self.to.write_all(&padding[..rest]).map_err(out)
    }

    fn end(mut self) -> Result<()> {
        self.to.write_all(&[0; 1024]).and_then(|()| self.to.flush()).map_err(out)
    }
}

fn out(e: std::io::Error) -> Error {
    Error::io("cannot write", "the archive", e)
}
