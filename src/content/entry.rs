//! One entry of a layer, as tar says it and as a file system would take it.

/// The marks of an image layer for what it deletes.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A hard link to another entry of the image.
    HardLink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// An entry of this type, which readers take for a file, or leave out.
    Other(u8),
    /// Not an entry: the bytes behind the end of the archive, or of its compressed form.
    Behind,
}

impl FileKind {
    /// The word for a list.
    pub fn as_str(self) -> &'static str {
        match self {
            FileKind::File => "file",
            FileKind::Dir => "dir",
            FileKind::Symlink => "symlink",
            FileKind::HardLink => "hardlink",
            FileKind::Char => "char",
            FileKind::Block => "block",
            FileKind::Fifo => "fifo",
            FileKind::Other(_) => "other",
            FileKind::Behind => "behind-end",
        }
    }

    /// The letter of `ls -l`.
    pub fn letter(self) -> char {
        match self {
            FileKind::File => '-',
            FileKind::Dir => 'd',
            FileKind::Symlink => 'l',
            FileKind::HardLink => 'h',
            FileKind::Char => 'c',
            FileKind::Block => 'b',
            FileKind::Fifo => 'p',
            FileKind::Other(_) | FileKind::Behind => '?',
        }
    }
}

/// What an entry deletes from the layers below its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// The file or folder at this path.
    Name(Vec<u8>),
    /// Everything in the folder at this path.
    Opaque(Vec<u8>),
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its number in the layer, from 0.
    pub number: u64,
    /// The path without leading, doubled or trailing slashes and `.`; never with `..`. The root is empty.
    pub path: Vec<u8>,
    /// Whether the name as written leads out of the image. Container runtimes stay within.
    pub leaves: bool,
    /// The path in the plain header, if an extension header gave a different one.
    pub hidden_path: Option<Vec<u8>>,
    /// Its kind.
    pub kind: FileKind,
    /// Whether the name ended in a slash, which some readers take for a directory whatever the type is.
    pub slash: bool,
    /// Permissions, with setuid (0o4000), setgid (0o2000) and sticky (0o1000).
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Size of the content in bytes. 0 for [`FileKind::Behind`], whose size is known at its end.
    pub size: u64,
    /// A symbolic link: its target as written. A hard link: the path of its target in the image, cleaned as `path`.
    pub target: Option<Vec<u8>>,
    /// The numbers of a device.
    pub device: Option<(u32, u32)>,
    /// Extended attributes (`SCHILY.xattr.`, `LIBARCHIVE.xattr.`).
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it deletes.
    pub whiteout: Option<Whiteout>,
}

impl FileEntry {
    /// Whether every reader sees a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File && !self.slash
    }

    /// Whether it has content of its own.
    pub fn has_content(&self) -> bool {
        self.size > 0 || matches!(self.kind, FileKind::File | FileKind::Behind)
    }

    /// Whether the program in it gets more rights than its caller has, without setuid.
    pub fn capabilities(&self) -> bool {
        self.xattrs.iter().any(|(name, value)| name == b"security.capability" && !value.is_empty())
    }

    /// For bytes behind an end.
    pub(super) fn behind(number: u64, what: &str) -> FileEntry {
        FileEntry {
            number,
            path: what.as_bytes().to_vec(),
            leaves: false,
            hidden_path: None,
            kind: FileKind::Behind,
            slash: false,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            target: None,
            device: None,
            xattrs: Vec::new(),
            whiteout: None,
        }
    }
}

/// What an entry at this path deletes.
pub(super) fn whiteout(path: &[u8]) -> Option<Whiteout> {
    let cut = path.iter().rposition(|b| *b == b'/');
    let (folder, name) = cut.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    if name == OPAQUE {
        return Some(Whiteout::Opaque(folder.to_vec()));
    }
    let hidden = name.strip_prefix(WHITEOUT).filter(|hidden| !hidden.is_empty())?;
    // `.wh..wh.NAME`, `.wh..`: notes of a union file system, which name nothing.
    if hidden.starts_with(WHITEOUT) || hidden == b"." || hidden == b".." {
        return None;
    }
    Some(Whiteout::Name([folder, hidden].into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join(&b'/')))
}
