//! A client of clamd: sessions with many questions on one connection, contents by descriptor or as a stream.
//!
//! By a descriptor of a sealed file in memory nothing lands on a disk; a stream is a file in clamd's temporary folder.
//! Answers may come in any order and in pieces; everything about them is bounded.

pub mod reply;
mod wire;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::{Answer, Content, Engine, Identity, Session};
use crate::error::{Code, Error, Result};
use crate::observer::Observer;
use reply::Reply;
use wire::{CONNECT, Stream, Wire, plain};

/// Contents up to this size go by descriptor.
const BY_DESCRIPTOR: u64 = 32 << 20;
/// How many contents a session asks about at once.
const AT_ONCE: usize = 8;
/// A connection that was silent for so long is opened anew: clamd closes it after 30 seconds.
const STALE: Duration = Duration::from_secs(10);

/// Where clamd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl Address {
    /// A path if it has a slash, else host and port.
    pub fn parse(text: &str) -> std::result::Result<Address, String> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if text.contains('/') || text.starts_with("unix:") {
            return Ok(Address::Unix(path.into()));
        }
        let text = text.strip_prefix("tcp:").unwrap_or(text);
        let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match port {
            Some((host, _)) if !host.is_empty() => Ok(Address::Tcp(text.to_owned())),
            _ => Err(format!("`{text}` is neither the path of a socket (with a slash) nor HOST:PORT")),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::Tcp(text) => f.write_str(text),
        }
    }
}

/// A clamd.
#[derive(Debug)]
pub struct Clamd {
    address: Address,
    identity: Identity,
    limit: Duration,
    probe: Vec<u8>,
    /// Whether contents go by descriptor.
    descriptors: AtomicBool,
    /// Descriptors that were refused before one was taken.
    refused: AtomicU8,
}

impl Clamd {
    /// Asks the clamd at this address for its version. `limit` is the time for one content.
    pub fn connect(address: Address, limit: Duration, observer: &dyn Observer) -> Result<Clamd> {
        let failed = |why: String| {
            Error::new(Code::IncompleteCheck, format!("clamd at `{address}` cannot be used: {why}"))
                .state("nothing was scanned")
                .hint("start clamd, and compare LocalSocket or TCPSocket of its configuration")
        };
        let mut wire = Wire::connect(&address, limit).map_err(|e| failed(plain(&e)))?;
        wire.send(b"zVERSION\0").map_err(|e| failed(plain(&e)))?;
        let line = wire.line(Instant::now() + limit.min(CONNECT), observer).map_err(failed)?;
        let version = reply::version(&line).ok_or_else(|| failed("it does not say its version".to_owned()))?;
        let instance = match (&version.database, &wire.stream) {
            // A versioned database decides.
            (Some(_), _) => Some(String::new()),
            // Else this very process: another one may have read another database.
            (None, Stream::Unix(stream)) => instance(stream),
            (None, Stream::Tcp(_)) => None,
        };
        let unix = matches!(address, Address::Unix(_));
        Ok(Clamd {
            identity: Identity {
                name: "clamd".to_owned(),
                how: address.to_string(),
                version: version.engine,
                database: version.database,
                database_time: version.time,
                fingerprint: instance,
            },
            address,
            limit,
            probe: super::eicar(),
            descriptors: AtomicBool::new(unix && cfg!(target_os = "linux")),
            refused: AtomicU8::new(0),
        })
    }

    /// Gives it another name.
    pub fn named(mut self, name: &str) -> Clamd {
        name.clone_into(&mut self.identity.name);
        self
    }

    fn wire(&self) -> Result<Wire, String> {
        let mut wire = Wire::connect(&self.address, self.limit).map_err(|e| plain(&e))?;
        wire.send(b"zIDSESSION\0").map_err(|e| plain(&e))?;
        Ok(wire)
    }

    fn by_descriptor(&self, content: &Content) -> bool {
        content.len() <= BY_DESCRIPTOR && self.descriptors.load(Ordering::Relaxed)
    }

    /// After a descriptor was refused: a few refusals, and none is offered any more.
    fn refuse(&self) {
        if self.refused.fetch_add(1, Ordering::Relaxed) >= 2 {
            self.descriptors.store(false, Ordering::Relaxed);
        }
    }
}

/// The process that listens, and when it began.
#[cfg(target_os = "linux")]
fn instance(stream: &UnixStream) -> Option<String> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let pid = peer.pid.as_raw_nonzero();
    let stat = crate::fs::small::read_start(std::path::Path::new(&format!("/proc/{pid}/stat")), 4096).ok()?;
    let text = String::from_utf8_lossy(&stat);
    let began = text.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    Some(format!("process {pid} of {began}"))
}

#[cfg(not(target_os = "linux"))]
fn instance(_: &UnixStream) -> Option<String> {
    None
}

impl Engine for Clamd {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn session<'a>(&'a self, observer: &'a dyn Observer) -> Box<dyn Session + 'a> {
        Box::new(Talk { clamd: self, wire: None, observer })
    }

    fn batch(&self) -> usize {
        AT_ONCE
    }

    fn probe(&self) -> Option<&[u8]> {
        Some(&self.probe)
    }

    fn writes(&self) -> Option<&'static str> {
        match self.descriptors.load(Ordering::Relaxed) {
            true => Some("contents over 32 MiB are files in the TemporaryDirectory of clamd while it scans them"),
            false => Some("contents are files in the TemporaryDirectory of clamd while it scans them"),
        }
    }
}

/// A session with clamd.
struct Talk<'a> {
    clamd: &'a Clamd,
    wire: Option<Wire>,
    observer: &'a dyn Observer,
}

/// What became of a question.
enum Asked {
    Answer(Answer),
    /// The descriptor was refused, or clamd had an error with it.
    Refused(String),
    /// The connection was lost.
    Lost(String),
}

impl Talk<'_> {
    /// One attempt for all contents on one connection.
    fn attempt(&mut self, contents: &[&Content], streams: bool) -> Vec<Asked> {
        let mut out: Vec<Option<Asked>> = contents.iter().map(|_| None).collect();
        let why = self.exchange(contents, streams, &mut out).err();
        if why.is_some() {
            self.wire = None;
        }
        let why = why.unwrap_or_default();
        out.into_iter().map(|asked| asked.unwrap_or_else(|| Asked::Lost(why.clone()))).collect()
    }

    fn exchange(&mut self, contents: &[&Content], streams: bool, out: &mut [Option<Asked>]) -> Result<(), String> {
        if self.wire.as_ref().is_none_or(|wire| wire.used.elapsed() > STALE) {
            self.wire = Some(self.clamd.wire()?);
        }
        let Some(wire) = &mut self.wire else { return Ok(()) };
        // The number of each question, and whether it went by descriptor.
        let mut open: Vec<(u32, usize, bool)> = Vec::new();
        for (at, content) in contents.iter().enumerate() {
            let by_descriptor = !streams && self.clamd.by_descriptor(content);
            wire.asked += 1;
            open.push((wire.asked, at, by_descriptor));
            match by_descriptor {
                true => wire.descriptor(content).map_err(|e| plain(&e))?,
                false => wire.stream(&mut content.stream()).map_err(|e| plain(&e))?,
            }
        }
        while !open.is_empty() {
            let line = wire.line(Instant::now() + self.clamd.limit, self.observer)?;
            let (number, reply) = reply::parse(&line).ok_or_else(|| unclear(&line))?;
            let place = open.iter().position(|(asked, _, _)| *asked == number);
            let (_, at, by_descriptor) = open
                .swap_remove(place.ok_or_else(|| format!("clamd answered a question {number} that was not asked"))?);
            out[at] = Some(match reply {
                Reply::Clean => Asked::Answer(Answer::Clean),
                Reply::Found(name) => Asked::Answer(Answer::named(vec![name])),
                Reply::Error(why) if by_descriptor => Asked::Refused(why),
                Reply::Error(why) => Asked::Answer(Answer::failed(format!("clamd: {why}"))),
            });
            if by_descriptor && matches!(out[at], Some(Asked::Answer(_))) {
                self.clamd.refused.store(0, Ordering::Relaxed);
            }
        }
        wire.used = Instant::now();
        Ok(())
    }

    /// Tries once more, on a new connection, alone.
    fn again(&mut self, content: &Content, streams: bool) -> Answer {
        self.wire = None;
        match self.attempt(&[content], streams).pop() {
            Some(Asked::Answer(answer)) => answer,
            Some(Asked::Refused(why)) => {
                self.clamd.refuse();
                match self.attempt(&[content], true).pop() {
                    Some(Asked::Answer(answer)) => answer,
                    _ => Answer::failed(format!("clamd: {why}")),
                }
            }
            Some(Asked::Lost(why)) => Answer::failed(why),
            None => Answer::failed("clamd was not asked"),
        }
    }
}

impl Session for Talk<'_> {
    fn scan(&mut self, contents: &[&Content]) -> Vec<Answer> {
        let first = self.attempt(contents, false);
        let mut out = Vec::new();
        let mut hopeless = 0;
        for (asked, content) in first.into_iter().zip(contents) {
            out.push(match asked {
                Asked::Answer(Answer::Failed(_)) => self.again(content, false),
                Asked::Answer(answer) => answer,
                Asked::Refused(_) => {
                    self.clamd.refuse();
                    match self.attempt(&[content], true).pop() {
                        Some(Asked::Answer(answer)) => answer,
                        _ => self.again(content, true),
                    }
                }
                // Time is not spent on each of many when clamd hangs.
                Asked::Lost(why) if hopeless > 1 => Answer::failed(why),
                Asked::Lost(_) => {
                    let answer = self.again(content, false);
                    hopeless = if matches!(answer, Answer::Failed(_)) { hopeless + 1 } else { 0 };
                    answer
                }
            });
        }
        out
    }

    fn stream(&mut self, _: u64, content: &mut dyn Read) -> Answer {
        let asked = (|| {
            let mut wire = self.clamd.wire()?;
            wire.asked += 1;
            let sent = wire.stream(content);
            // A stream that is too long is answered before it ends.
            let line = wire.line(Instant::now() + self.clamd.limit * 10, self.observer);
            match (line, sent) {
                (Ok(line), _) => Ok(line),
                (Err(_), Err(e)) => Err(plain(&e)),
                (Err(why), Ok(())) => Err(why),
            }
        })();
        match asked.map(|line| reply::parse(&line).ok_or(line)) {
            Ok(Ok((1, Reply::Clean))) => Answer::Clean,
            Ok(Ok((1, Reply::Found(name)))) => Answer::named(vec![name]),
            Ok(Ok((_, Reply::Error(why)))) => Answer::failed(format!("clamd: {why}")),
            Ok(Ok(_)) => Answer::failed("clamd answered a question that was not asked"),
            Ok(Err(line)) => Answer::failed(unclear(&line)),
            Err(why) => Answer::failed(why),
        }
    }
}

fn unclear(line: &[u8]) -> String {
    format!("clamd answered `{}`", super::answer::cut(&String::from_utf8_lossy(line)))
}
