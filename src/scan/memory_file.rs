//! Files in memory that nobody can change any more: a scanner reads them by a descriptor, and nothing lands on a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::archive::Source;

/// A sealed file in memory. Its position stays at the beginning.
#[derive(Debug)]
pub(super) struct MemoryFile {
    file: File,
    size: u64,
}

impl MemoryFile {
    /// A sealed file with this content.
    pub(super) fn of(bytes: &[u8]) -> io::Result<MemoryFile> {
        let mut new = Unsealed::new()?;
        new.write(bytes)?;
        new.seal()
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Source for MemoryFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

/// A file in memory that is being written.
#[derive(Debug)]
pub(super) struct Unsealed {
    file: File,
    pub(super) size: u64,
}

impl Unsealed {
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Unsealed> {
        use rustix::fs::MemfdFlags;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(Unsealed { file: rustix::fs::memfd_create("content", flags)?.into(), size: 0 })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> io::Result<Unsealed> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no files in memory"))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn seal(self) -> io::Result<MemoryFile> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::SealFlags;
            let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            rustix::fs::fcntl_add_seals(&self.file, all)?;
        }
        Ok(MemoryFile { file: self.file, size: self.size })
    }
}
