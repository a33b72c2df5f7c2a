//! The input of a bundle: a file read by offset from several threads, or a stream read in order.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use crate::error::{Code, Error, Result};
use crate::fs::dir;

/// The input of a bundle.
#[derive(Debug)]
pub(super) struct Input {
    /// Its name in messages.
    pub(super) name: String,
    kind: InputKind,
}

enum InputKind {
    File { file: File, length: u64 },
    Stream(Mutex<Stream>),
}

struct Stream {
    from: Box<dyn Read + Send>,
    at: u64,
}

impl Stream {
    /// Skips to `offset`: the rest of a member that was found to be bad.
    fn pass_to(&mut self, offset: u64) -> io::Result<()> {
        let mut left = offset - self.at;
        let mut buffer = [0u8; 4096];
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.from.read_exact(&mut buffer[..want])?;
            left -= want as u64;
        }
        self.at = offset;
        Ok(())
    }
}

impl std::fmt::Debug for InputKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            InputKind::File { .. } => "File",
            InputKind::Stream(_) => "Stream",
        })
    }
}

impl Input {
    /// Opens a file, which may be on a read-only medium: nothing is written, locked or memory-mapped.
    pub(super) fn open(path: &Path) -> Result<Input> {
        let name = path.display().to_string();
        let pipe = "to read a bundle from a pipe, give - and redirect it to standard input";
        // An error without a source means that it is not a regular file.
        let hinted = |e: Error| if std::error::Error::source(&e).is_none() { e.hint(pipe) } else { e };
        let file = dir::regular(path).map_err(hinted)?;
        let meta = file.metadata().map_err(|e| Error::io("cannot read", path, e))?;
        Ok(Input { name, kind: InputKind::File { file, length: meta.len() } })
    }

    /// Reads from a stream, called `name` in messages.
    pub(super) fn stream(name: &str, from: Box<dyn Read + Send>) -> Input {
        Input { name: name.to_owned(), kind: InputKind::Stream(Mutex::new(Stream { from, at: 0 })) }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.kind, InputKind::Stream(_))
    }

    /// Size of the file in bytes.
    pub(super) fn length(&self) -> Option<u64> {
        match &self.kind {
            InputKind::File { length, .. } => Some(*length),
            InputKind::Stream(_) => None,
        }
    }

    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let done = match &self.kind {
            InputKind::File { file, .. } => file.read_exact_at(buffer, offset),
            InputKind::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if stream.at > offset {
                    return Err(Error::new(
                        Code::Internal,
                        format!("a stream was read at {offset}, not at {}", stream.at),
                    ));
                }
                stream.pass_to(offset).and_then(|()| {
                    stream.at += buffer.len() as u64;
                    stream.from.read_exact(buffer)
                })
            }
        };
        done.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::new(
                Code::Truncated,
                format!("`{}` is truncated: it ends before offset {}", self.name, offset + buffer.len() as u64),
            )
            .hint("the copy to this medium did not finish; copy it again and compare sizes"),
            _ => Error::io("cannot read", &self.name, e).fact(format!("at offset {offset}")),
        })
    }

    /// Whether the input ends at `offset`.
    pub(super) fn ends_at(&self, offset: u64) -> Result<bool> {
        match &self.kind {
            InputKind::File { length, .. } => Ok(*length == offset),
            InputKind::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let mut one = [0u8; 1];
                loop {
                    match stream.from.read(&mut one) {
                        Ok(n) => return Ok(n == 0),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(Error::io("cannot read", &self.name, e)),
                    }
                }
            }
        }
    }
}
