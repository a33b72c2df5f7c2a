//! Compressed sources: a whole archive (`.tar.gz`), and layers in a docker archive.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Bench;
use crate::archive::{Form, detect};
use crate::error::{Code, Error, Result};
use crate::fs::{space, unnamed};

/// The largest window of a zstd stream: 128 MiB, the limit of the `zstd` program.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The first bytes that tell how a file is compressed.
const START: usize = 10;

/// The compression of the content at `at` of a file; `None`: it is plain.
pub(super) fn form(file: &File, at: u64) -> io::Result<Option<Form>> {
    let mut start = [0u8; START];
    let mut have = 0;
    while have < start.len() {
        match file.read_at(&mut start[have..], at.saturating_add(have as u64)) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(detect(&start[..have]).filter(|form| matches!(form, Form::Gzip | Form::Zstd | Form::Bzip2 | Form::Xz)))
}

/// The decompressed content. `None`: this program has no decoder for the form.
pub(super) fn inflate<'a>(form: Form, from: impl Read + 'a) -> io::Result<Option<Box<dyn Read + 'a>>> {
    Ok(Some(match form {
        Form::Gzip => Box::new(flate2::read::MultiGzDecoder::new(from)),
        Form::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(from)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Form::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(from)),
        _ => return Ok(None),
    }))
}

/// The archive as it is, or decompressed: a tar file is read in many places at once, which is impossible in a
/// compressed one. The content goes to an unnamed file in the room of `bench`, up to the free space there; it is gone with
/// the process.
pub(super) fn inflated(file: File, path: &Path, bench: Bench<'_>) -> Result<File> {
    let room = bench.room;
    let unreadable = |e| Error::io("cannot read", path, e);
    let Some(form) = form(&file, 0).map_err(unreadable)? else { return Ok(file) };
    let Some(mut from) = inflate(form, &file).map_err(unreadable)? else {
        return Err(Error::new(Code::Source, format!("`{}` is compressed with xz, which is not read", path.display()))
            .hint("decompress it first: unxz"));
    };
    let mut to =
        unnamed::unnamed(room).map_err(|e| Error::io("cannot write to", room, e).state("nothing was written"))?;
    let free = space::of(room)?.free;
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0u64;
    loop {
        (bench.check)()?;
        let n = match from.read(&mut buffer) {
            Ok(0) => {
                to.rewind().map_err(|e| Error::io("cannot read", room, e))?;
                return Ok(to);
            }
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                return Err(Error::new(
                    Code::Malformed,
                    format!("`{}` is damaged: it cannot be decompressed", path.display()),
                )
                .source(e)
                .hint("copy it again from where it came from"));
            }
        };
        total += n as u64;
        if total > free {
            return Err(Error::new(
                Code::Io,
                format!("not enough room in `{}` to decompress `{}`", room.display(), path.display()),
            )
            .fact(format!("free  {free} bytes"))
            .state("nothing was written")
            .hint("decompress it elsewhere, and give the decompressed file"));
        }
        to.write_all(&buffer[..n]).map_err(|e| Error::io("cannot write to", room, e))?;
    }
}
