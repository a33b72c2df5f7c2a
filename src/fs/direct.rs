//! Large files that bypass the page cache (`O_DIRECT`): [`Direct`] writes, [`DirectReader`] reads back.
//!
//! No process reads such a file right after it is written. A copy of it in memory costs the kernel more than it is
//! worth, evicts pages that others need, and makes concurrent writers of one file wait for each other. Only whole
//! pages can bypass the cache. A page with other content on it is read, changed and written back, and only here: a
//! file written through this type is not also written through the cache, since a dirty page there could overwrite what
//! was written around it later. The exception is the last, incomplete page of the file, which only the cache writes.
//! after what was written past it. Only the page that the file ends in is the cache's alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fstatfs};
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::io::retry_on_intr;

use super::small::{self, Links, Unread};

/// File systems on which direct writes are known to work: ext2 to ext4, and XFS.
const KNOWN: [u64; 2] = [0xef53, 0x5846_5342];
/// The smallest mean size of a piece, in bytes, for which direct writing pays: each piece costs two page reads.
const LARGE: u64 = 4 << 20;
/// Alignment of direct reads, in bytes.
const ALIGN: usize = 4096;
/// Bytes copied at once when the memory is not page-aligned.
const COPY: usize = 256 << 10;

/// The page size in bytes; no disk needs a larger alignment.
pub(crate) fn page() -> usize {
    rustix::param::page_size().max(4096)
}

/// The flag that opens a file uncached; `None` where the system has none.
pub(crate) fn past_the_cache() -> Option<OFlags> {
    #[cfg(target_os = "linux")]
    return Some(OFlags::DIRECT);
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Asks the system to drop a file from the page cache. Best effort: not every system can.
pub(crate) fn forget(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = retry_on_intr(|| rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed));
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Announces that a part of a file is read next. Best effort, as [`forget`].
pub(crate) fn announce(file: &File, at: u64, length: std::num::NonZeroU64) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, at, Some(length), rustix::fs::Advice::WillNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = (file, at, length);
}

/// A file of known length that is written around the page cache.
#[derive(Debug)]
pub(crate) struct Direct {
    file: File,
    /// False once the file system has refused a direct write.
    usable: AtomicBool,
    /// The end of the last whole page; an incomplete page may follow.
    whole: u64,
    /// A buffer for assembling pages. Holding its lock is required to change part of a page.
    room: Mutex<Vec<u8>>,
}

impl Direct {
    /// Opens the same file as `file`, at `path`, which will be `length` bytes long and consist of `pieces` separate
    /// pieces. `None` where direct writing is impossible or would not pay.
    pub(crate) fn open(path: &Path, file: &File, length: u64, pieces: usize) -> Option<Direct> {
        if length / LARGE < pieces.max(1) as u64 {
            return None;
        }
        Direct::force(path, file, length)
    }

    fn force(path: &Path, file: &File, length: u64) -> Option<Direct> {
        let past_the_cache = past_the_cache()?;
        let known = fstatfs(file).is_ok_and(|stat| KNOWN.contains(&(stat.f_type as u64 & 0xffff_ffff)));
        let flags = (past_the_cache | OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let direct = known.then(|| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok())??;
        let (own, other) = (file.metadata().ok()?, direct.metadata().ok()?);
        let same = (own.dev(), own.ino()) == (other.dev(), other.ino());
        let whole = length - length % page() as u64;
        let room = Mutex::new(vec![0; page() + COPY.max(page())]);
        same.then(|| Direct { file: direct, usable: AtomicBool::new(true), whole, room })
    }

    /// Writes all of `bytes` at an offset. They are written directly if their offset within a page is the same in
    /// memory and in the file ([`window`] sees to that), and copied first if not.
    pub(crate) fn write(&self, cached: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if !self.usable.load(Ordering::Relaxed) {
            return cached.write_all_at(bytes, at);
        }
        let past = usize::try_from(self.whole.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        let (bytes, last) = bytes.split_at(past);
        let head = bytes.len().min(usize::try_from(at.next_multiple_of(page() as u64) - at).unwrap_or(0));
        let (head, rest) = bytes.split_at(head);
        let (middle, tail) = rest.split_at(rest.len() - rest.len() % page());
        let middle_at = at + head.len() as u64;
        let done = self
            .part(cached, head, at)
            .and_then(|()| self.pages(middle, middle_at))
            .and_then(|()| self.part(cached, tail, middle_at + middle.len() as u64));
        match done {
            // This file system or disk needs something else.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => {
                self.give_up();
                cached.write_all_at(bytes, at)?;
            }
            done => done?,
        }
        if last.is_empty() { Ok(()) } else { cached.write_all_at(last, at + past as u64) }
    }

    fn pages(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if bytes.as_ptr().align_offset(page()) == 0 {
            return self.file.write_all_at(bytes, at);
        }
        let mut room = self.room();
        let mut at = at;
        for bytes in bytes.chunks(COPY.max(page())) {
            let copy = aligned(&mut room, bytes.len());
            copy.copy_from_slice(bytes);
            self.file.write_all_at(copy, at)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Sends all further writes through the cache. When this returns, no page is being changed directly: such a change
    /// would undo what is meanwhile written through the cache to the rest of that page.
    fn give_up(&self) {
        let _room = self.room();
        self.usable.store(false, Ordering::Relaxed);
    }

    /// Changes part of one page.
    fn part(&self, cached: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut room = self.room();
        if !self.usable.load(Ordering::Relaxed) {
            return cached.write_all_at(bytes, at);
        }
        let skip = usize::try_from(at % page() as u64).unwrap_or(0);
        let copy = aligned(&mut room, page());
        self.file.read_exact_at(copy, at - skip as u64)?;
        copy[skip..skip + bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(copy, at - skip as u64)
    }

    fn room(&self) -> MutexGuard<'_, Vec<u8>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is read around the page cache.
pub(crate) struct DirectReader {
    cached: File,
    direct: Option<File>,
    /// Buffer for one aligned read.
    buffer: Vec<u8>,
}

impl DirectReader {
    /// Opens the file at `path`; at most `most` bytes are read at once.
    pub(crate) fn open(path: &Path, most: usize) -> Result<DirectReader, Unread> {
        let cached = small::open(path, Links::Follow)?;
        // A file system in memory cannot drop its pages.
        forget(&cached);
        let open = |flag| small::open_as(path, Links::Follow, OFlags::RDONLY | flag).ok();
        let direct = past_the_cache().and_then(open);
        Ok(DirectReader { cached, direct, buffer: vec![0; most + 3 * ALIGN] })
    }

    /// The length in bytes.
    pub(crate) fn length(&self) -> io::Result<u64> {
        Ok(self.cached.metadata()?.len())
    }

    /// Whether every read so far bypassed the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Fills `to` with the bytes at an offset.
    pub(crate) fn read_exact_at(&mut self, to: &mut [u8], at: u64) -> io::Result<()> {
        if let Some(direct) = &self.direct {
            // Read from the start of the first block to the end of the last one, into block-aligned memory.
            let shift = self.buffer.as_ptr().align_offset(ALIGN);
            let skip = usize::try_from(at % ALIGN as u64).unwrap_or(0);
            let room = (skip + to.len()).next_multiple_of(ALIGN);
            let aligned = &mut self.buffer[shift..shift + room];
            match read_at(direct, aligned, at - skip as u64) {
                Ok(got) if got >= skip + to.len() => {
                    to.copy_from_slice(&aligned[skip..skip + to.len()]);
                    return Ok(());
                }
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // This file system accepts the flag but not the read.
                Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => self.direct = None,
                Err(e) => return Err(e),
            }
        }
        self.cached.read_exact_at(to, at)
    }
}

/// Reads until the buffer is full or the file ends. A direct read is short only at the end, but a signal may interrupt
/// it.
fn read_at(file: &File, to: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < to.len() {
        match file.read_at(&mut to[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) if n % ALIGN != 0 => return Ok(got + n),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// The part of a buffer to read bytes into that will be written at `at`: it has the same offset within a page as `at`,
/// and ends at a page boundary. Returns the whole buffer if that is too small.
pub(crate) fn window(buffer: &mut [u8], at: u64) -> &mut [u8] {
    let skip = buffer.as_ptr().align_offset(page()).saturating_add(usize::try_from(at % page() as u64).unwrap_or(0));
    let Some(room) = buffer.len().checked_sub(skip).filter(|room| *room > 2 * page()) else { return buffer };
    let beyond = usize::try_from((at + room as u64) % page() as u64).unwrap_or(0);
    &mut buffer[skip..skip + room - beyond]
}

/// The first `length` page-aligned bytes of a buffer.
fn aligned(buffer: &mut [u8], length: usize) -> &mut [u8] {
    let skip = buffer.as_ptr().align_offset(page()).min(page());
    &mut buffer[skip..skip + length]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::*;

    fn file(length: u64) -> (tempfile::NamedTempFile, Option<Direct>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        let direct = Direct::force(file.path(), file.as_file(), length);
        (file, direct)
    }

    /// Without O_DIRECT these tests cannot run: that is counted, and fails where every test must run (`tests/README.md`).
    fn skipped() {
        assert_ne!(std::env::var("MIRROR_BUNDLE_TESTS").as_deref(), Ok("complete"), "no O_DIRECT here");
        eprintln!("SKIPPED fs::direct: no O_DIRECT here");
    }

    #[test]
    fn what_threads_write_in_any_order_and_alignment_is_all_there() {
        let length = 3_000_512;
        let expected: Vec<u8> = (0..length).map(|n: u64| (n * 7 % 251) as u8).collect();
        let (file, direct) = file(length);
        let Some(direct) = direct else { return skipped() };
        let mut stretches = Vec::new();
        let (mut at, mut n) = (0, 1);
        while at < expected.len() {
            n = n * 5_003 % 70_001;
            let end = (at + n).min(expected.len());
            stretches.push((at, end));
            at = end;
        }
        stretches.sort_by_key(|(at, _)| at * 31 % 1_009);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || {
            let mut buffer = vec![0; 40_000];
            while let Some(&(from, to)) = stretches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut at = from;
                while at < to {
                    let window = window(&mut buffer, at as u64);
                    let n = window.len().min(to - at);
                    window[..n].copy_from_slice(&expected[at..at + n]);
                    direct.write(file.as_file(), &window[..n], at as u64).unwrap();
                    at += n;
                }
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
        assert!(direct.usable.load(Ordering::Relaxed));
        assert!(std::fs::read(file.path()).unwrap() == expected);
        // Not aligned in memory.
        direct.write(file.as_file(), &[&[0], &expected[..]].concat()[1..], 0).unwrap();
        assert!(std::fs::read(file.path()).unwrap() == expected);
        assert_eq!(file.as_file().metadata().unwrap().len(), length);
    }

    #[test]
    fn what_threads_write_into_one_page_while_direct_writing_is_given_up_is_all_there() {
        let (length, piece) = (64 << 10, 300);
        for round in 0..40 {
            let (file, direct) = file(length);
            let Some(direct) = direct else { return skipped() };
            let expected: Vec<u8> = (0..length).map(|n: u64| (n % 251) as u8 + 1).collect();
            let pieces = expected.len().div_ceil(piece);
            let next = std::sync::atomic::AtomicUsize::new(0);
            let work = || loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= pieces {
                    break;
                }
                if n == 10 + round * 2 {
                    direct.give_up();
                }
                let (from, to) = (n * piece, ((n + 1) * piece).min(expected.len()));
                direct.write(file.as_file(), &expected[from..to], from as u64).unwrap();
            };
            std::thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(work)));
            assert!(std::fs::read(file.path()).unwrap() == expected, "round {round}");
        }
    }

    #[test]
    fn a_window_begins_and_ends_as_pages_do_and_a_small_buffer_is_used_whole() {
        for at in [0, 1, 512, 4_096, 5_000, 1 << 33] {
            let mut buffer = vec![0; 100_000];
            let window = window(&mut buffer, at);
            assert_eq!(window.as_ptr() as usize % page(), at as usize % page());
            assert_eq!((at as usize + window.len()) % page(), 0);
            assert!(window.len() + 3 * page() > 100_000);
        }
        assert_eq!(window(&mut [0; 64], 512).len(), 64);
    }

    #[test]
    fn small_pieces_are_left_to_the_cache() {
        let (file, _) = file(1 << 30);
        let open = |pieces| Direct::open(file.path(), file.as_file(), 1 << 30, pieces).is_some();
        assert!(!open(257));
        assert_eq!(open(256), file_is_known(file.as_file()));
    }

    fn file_is_known(file: &File) -> bool {
        KNOWN.contains(&(fstatfs(file).unwrap().f_type as u64 & 0xffff_ffff))
    }
}
