//! A connection to clamd: what is sent, and answers in pieces, bounded in length and time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{Address, reply};
use crate::observer::Observer;
use crate::scan::Content;

/// How long a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of a chunk of a stream.
const CHUNK: usize = 128 << 10;
/// How long a read waits before it looks whether the run was stopped.
const TURN: Duration = Duration::from_millis(200);

pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection.
pub(super) struct Wire {
    pub(super) stream: Stream,
    buffer: Vec<u8>,
    pub(super) asked: u32,
    pub(super) used: Instant,
}

impl Wire {
    pub(super) fn connect(address: &Address, limit: Duration) -> io::Result<Wire> {
        let stream = match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TURN))?;
                stream.set_write_timeout(Some(limit))?;
                Stream::Unix(stream)
            }
            Address::Tcp(text) => {
                let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host is not known");
                let mut found = None;
                for address in text.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT) {
                        Ok(stream) => {
                            found = Some(stream);
                            break;
                        }
                        Err(e) => failed = e,
                    }
                }
                let stream = found.ok_or(failed)?;
                stream.set_read_timeout(Some(TURN))?;
                stream.set_write_timeout(Some(limit))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        Ok(Wire { stream, buffer: Vec::new(), asked: 0, used: Instant::now() })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }

    /// `INSTREAM`: chunks with their lengths, and an empty one at the end.
    pub(super) fn stream(&mut self, content: &mut dyn Read) -> io::Result<()> {
        self.send(b"zINSTREAM\0")?;
        let mut chunk = vec![0; 4 + CHUNK];
        loop {
            let mut filled = 0;
            while filled < CHUNK {
                match content.read(&mut chunk[4 + filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            let length = u32::try_from(filled).unwrap_or(0);
            chunk[..4].copy_from_slice(&length.to_be_bytes());
            self.send(&chunk[..4 + filled])?;
            if filled == 0 {
                return Ok(());
            }
        }
    }

    /// `FILDES`: a descriptor of a file in memory.
    #[cfg(target_os = "linux")]
    pub(super) fn descriptor(&mut self, content: &Content) -> io::Result<()> {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        use std::os::fd::AsFd as _;
        let file = content.file()?;
        self.send(b"zFILDES\0")?;
        let Stream::Unix(stream) = &self.stream else { return Err(io::ErrorKind::Unsupported.into()) };
        let descriptors = [file.file().as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        message.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(stream, &[io::IoSlice::new(&[0])], &mut message, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn descriptor(&mut self, _: &Content) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The next answer, without its zero.
    pub(super) fn line(&mut self, end: Instant, observer: &dyn Observer) -> Result<Vec<u8>, String> {
        let mut piece = [0; 4096];
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == 0) {
                let rest = self.buffer.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(line);
            }
            if self.buffer.len() > reply::LONGEST {
                return Err("an answer of clamd is too long".to_owned());
            }
            if observer.stopped().is_some() {
                return Err("the run was stopped".to_owned());
            }
            let read = match &mut self.stream {
                Stream::Unix(stream) => stream.read(&mut piece),
                Stream::Tcp(stream) => stream.read(&mut piece),
            };
            match read {
                Ok(0) => return Err("clamd closed the connection".to_owned()),
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(plain(&e)),
            }
            if Instant::now() > end && !self.buffer.contains(&0) {
                return Err("clamd took too long".to_owned());
            }
        }
    }
}

/// A failure in words.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => "clamd closed the connection".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "clamd took too long".to_owned(),
        _ => error.to_string(),
    }
}
