//! A header and its extension headers as one entry: strictly, or as readers take it.

use super::extension::Extension;
use super::header::Header;
use super::remarks::Remarks;
use super::{FileEntry, FileKind, MAX_PATH, Reading};
use crate::content::entry::whiteout;
use crate::oci::Invalid;

/// The entry, if all readers see the same.
pub(super) fn strict(header: &Header, extension: Extension) -> Result<FileEntry, Invalid> {
    let kind = kind(header.kind());
    let size = header.size()?;
    let regular = kind == FileKind::File && header.kind() != b'7';
    if matches!(kind, FileKind::Other(_)) {
        return Err(Invalid::new(format!("has an entry of type {:?}", char::from(header.kind()))));
    }
    // Go treats such entries as empty, others read content: they would disagree on the rest of the archive.
    if !regular && size != 0 {
        return Err(Invalid::new("has a link, directory or device with content"));
    }
    if extension.size.is_some_and(|stated| stated != size) {
        return Err(Invalid::new("has a PAX size that contradicts its header"));
    }
    // star limits the prefix to fewer bytes and sets a mark here; other readers see a longer prefix.
    if header.has_trailer() {
        return Err(Invalid::new("has a header that tar implementations read differently"));
    }
    let plain = header.path(None);
    let effective = extension.path.as_ref().or(extension.long_path.as_ref()).unwrap_or(&plain).clone();
    let (path, plain_path) = (normal(&effective)?, normal(&plain)?);
    let link = extension.link.as_deref().or(extension.long_link.as_deref()).unwrap_or(header.link());
    let target = match kind {
        FileKind::HardLink => Some(normal(link)?),
        FileKind::Symlink => Some(link.to_vec()),
        _ => None,
    };
    let slash = effective.ends_with(b"/");
    let kind = if header.kind() == b'7' { FileKind::Other(b'7') } else { kind };
    let hidden_path = (plain_path != path).then_some(plain_path);
    Ok(FileEntry { hidden_path, slash, target, ..facts(header, &extension, kind, path, size) })
}

/// The entry as one reading sees it, and the size of its content in the archive.
pub(super) fn lenient(
    header: &Header,
    extension: Extension,
    (reading, global): (Reading, &Extension),
    remarks: &mut Remarks,
) -> Result<(FileEntry, u64), Invalid> {
    let mut kind = kind(header.kind());
    let other = reading == Reading::Other;
    let mut size = header.size()?;
    // Go prefers the long name of GNU to PAX, and takes no notice of global headers.
    let pick = |pax: &Option<Vec<u8>>, long: &Option<Vec<u8>>, global: &Option<Vec<u8>>| match other {
        true => pax.clone().or_else(|| long.clone()).or_else(|| global.clone()),
        false => long.clone().or_else(|| pax.clone()),
    };
    let differ = |pax: &Option<Vec<u8>>, long: &Option<Vec<u8>>| pax.is_some() && long.is_some() && pax != long;
    if differ(&extension.path, &extension.long_path) || differ(&extension.link, &extension.long_link) {
        remarks.ambiguous("names one entry twice in its extension headers");
    }
    let plain = header.path(Some(remarks));
    let sparse = extension.sparse.is_sparse().then(|| extension.sparse.name.clone()).flatten();
    let named = pick(&extension.path, &extension.long_path, &global.path);
    let effective = sparse.or(named).unwrap_or_else(|| plain.clone());
    let slash = effective.ends_with(b"/");
    if let Some(stated) = extension.size.or(global.size.filter(|_| other)) {
        if stated != size {
            remarks.ambiguous("has a PAX size that contradicts its header");
        }
        size = if other { size } else { stated };
    }
    if slash && kind == FileKind::File && header.kind() != b'7' {
        if header.kind() == 0 {
            kind = FileKind::Dir;
        } else {
            remarks.ambiguous("has a file whose name ends in a slash, which some readers take for a folder");
            kind = if other { FileKind::Dir } else { kind };
        }
    }
    let empty = !matches!(kind, FileKind::File | FileKind::Other(_));
    if empty && size != 0 {
        remarks.ambiguous("has a link, directory or device with content");
        size = if other { size } else { 0 };
    }
    if matches!(kind, FileKind::Other(_)) && header.kind() != b'S' {
        remarks.ambiguous(format!("has an entry of type {:?}", char::from(header.kind())));
    }
    if header.kind() == b'S' {
        if !header.is_gnu() {
            remarks.ambiguous("has a sparse file in the form of star");
        }
        kind = FileKind::File;
    }
    let (path, leaves) = cleaned(&effective);
    if leaves {
        remarks.notice("has a name that leads out of the image");
    }
    let (plain_path, _) = cleaned(&plain);
    let link = pick(&extension.link, &extension.long_link, &global.link).unwrap_or_else(|| header.link().to_vec());
    let target = match kind {
        FileKind::HardLink => Some(cleaned(&link).0),
        FileKind::Symlink => Some(link),
        _ => None,
    };
    let hidden_path = (plain_path != path).then_some(plain_path);
    Ok((FileEntry { leaves, hidden_path, slash, target, ..facts(header, &extension, kind, path, size) }, size))
}

fn kind(byte: u8) -> FileKind {
    match byte {
        0 | b'0' | b'7' => FileKind::File,
        b'1' => FileKind::HardLink,
        b'2' => FileKind::Symlink,
        b'3' => FileKind::Char,
        b'4' => FileKind::Block,
        b'5' => FileKind::Dir,
        b'6' => FileKind::Fifo,
        other => FileKind::Other(other),
    }
}

/// What both policies read alike.
fn facts(header: &Header, extension: &Extension, kind: FileKind, path: Vec<u8>, size: u64) -> FileEntry {
    let device = matches!(kind, FileKind::Char | FileKind::Block).then(|| {
        let of = |at| u32::try_from(header.field(at)).unwrap_or(u32::MAX);
        (of(329..337), of(337..345))
    });
    FileEntry {
        number: 0,
        whiteout: whiteout(&path),
        path,
        leaves: false,
        hidden_path: None,
        kind,
        slash: false,
        mode: u32::try_from(header.field(100..108) & 0o7777).unwrap_or(0),
        uid: extension.uid.unwrap_or_else(|| header.field(108..116)),
        gid: extension.gid.unwrap_or_else(|| header.field(116..124)),
        mtime: extension.mtime.unwrap_or_else(|| i64::try_from(header.field(136..148)).unwrap_or(0)),
        size,
        target: None,
        device,
        xattrs: extension.xattrs.clone(),
    }
}

/// The path as a file system sees it below the image's root; refused where it is unsafe.
fn normal(path: &[u8]) -> Result<Vec<u8>, Invalid> {
    if path.len() > MAX_PATH || path.contains(&0) {
        return Err(Invalid::new("has a path that is too long or holds a zero byte"));
    }
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(Invalid::new("has a path with `..`"));
    }
    Ok(parts.join(&b'/'))
}

/// The path as container runtimes clean it: `..` leads up, and from the root nowhere; and whether it would have.
fn cleaned(path: &[u8]) -> (Vec<u8>, bool) {
    let (mut parts, mut leaves): (Vec<&[u8]>, bool) = (Vec::new(), false);
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => leaves |= parts.pop().is_none(),
            part => parts.push(part),
        }
    }
    (parts.join(&b'/'), leaves)
}
