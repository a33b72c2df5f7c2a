//! One run of a program.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::observer::Observer;
use crate::scan::gate::lock;

/// The most output that is kept, in bytes.
const OUTPUT: usize = 64 << 10;

/// How a program ended.
pub(super) struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    /// The beginning of its output and error output.
    pub(super) output: Vec<u8>,
    /// Whether it took all of its input.
    pub(super) took_all: bool,
}

/// While a program is started, descriptors that only it may inherit are open to all.
static STARTING: Mutex<()> = Mutex::new(());

/// The paths by which a program that inherits these files sees them.
pub(super) fn paths(files: &[&File]) -> Vec<String> {
    files.iter().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd())).collect()
}

/// Runs a program that inherits `files` and reads `input`.
pub(super) fn run(
    words: &[String],
    files: &[&File],
    input: Option<&mut dyn Read>,
    limit: Duration,
    observer: &dyn Observer,
) -> Result<Ran, String> {
    let end = Instant::now() + limit;
    let lost = |e: io::Error| format!("the program could not be run: {e}");
    let (mut output, theirs) = io::pipe().map_err(lost)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).process_group(0);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(theirs.try_clone().map_err(lost)?).stderr(theirs);
    let started = {
        let _turn = lock(&STARTING);
        let inherit = |flags| files.iter().try_for_each(|file| rustix::io::fcntl_setfd(file, flags));
        let started = inherit(FdFlags::empty()).map_err(io::Error::from).and_then(|()| command.spawn());
        inherit(FdFlags::CLOEXEC).map_err(|e| lost(e.into()))?;
        started
    };
    // The parent's ends of the pipes.
    drop(command);
    let mut group = Group { child: started.map_err(lost)?, reaped: false };
    let mut stdin = group.child.stdin.take();
    let mut ran = Ran { code: None, output: Vec::new(), took_all: true };
    let mut feed = input.map(|input| Feed { input, buffer: vec![0; 64 << 10], at: 0, filled: 0 });
    if let Some(stdin) = &stdin {
        let flags = rustix::fs::fcntl_getfl(stdin).map_err(|e| lost(e.into()))?;
        rustix::fs::fcntl_setfl(stdin, flags | rustix::fs::OFlags::NONBLOCK).map_err(|e| lost(e.into()))?;
    }
    let mut open = true;
    loop {
        if observer.stopped().is_some() {
            return Err("the run was stopped".to_owned());
        }
        if Instant::now() > end {
            return Err(format!("the program took longer than {} seconds", limit.as_secs().max(1)));
        }
        if !open && stdin.is_none() {
            if group.has_ended().map_err(lost)? {
                let status = group.end().map_err(lost)?;
                ran.code = status.code().filter(|_| status.signal().is_none());
                return Ok(ran);
            }
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let (readable, writable) = ready(open.then_some(&output), stdin.as_ref()).map_err(lost)?;
        if writable && let (Some(to), Some(feed)) = (&mut stdin, &mut feed) {
            match feed.some(to) {
                Ok(true) => {}
                Ok(false) => stdin = None,
                Err(Fed::Closed) => {
                    ran.took_all = false;
                    stdin = None;
                }
                Err(Fed::Broken(e)) => return Err(format!("the content could not be read: {e}")),
            }
        }
        if readable {
            let mut piece = [0; 16 << 10];
            match output.read(&mut piece) {
                Ok(0) => open = false,
                Ok(count) => {
                    let room = OUTPUT.saturating_sub(ran.output.len()).min(count);
                    ran.output.extend_from_slice(&piece[..room]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(lost(e)),
            }
        } else if open && !writable && group.has_ended().map_err(lost)? {
            // It ended, and something that it started holds the pipe.
            open = false;
            if stdin.take().is_some() {
                ran.took_all = false;
            }
        }
    }
}

/// Waits a moment until there is output, or room for input.
fn ready(output: Option<&io::PipeReader>, input: Option<&ChildStdin>) -> io::Result<(bool, bool)> {
    let mut waits = Vec::with_capacity(2);
    waits.extend(output.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
    waits.extend(input.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT)));
    let turn = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    match poll(&mut waits, Some(&turn)) {
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        other => other?,
    };
    let happened = |at: usize| waits.get(at).is_some_and(|wait| !wait.revents().is_empty());
    match (output.is_some(), input.is_some()) {
        (true, true) => Ok((happened(0), happened(1))),
        (true, false) => Ok((happened(0), false)),
        _ => Ok((false, happened(0))),
    }
}

/// The content on its way into a pipe.
struct Feed<'a> {
    input: &'a mut dyn Read,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
}

enum Fed {
    /// The program closed its input.
    Closed,
    Broken(io::Error),
}

impl Feed<'_> {
    /// Moves some bytes; false at the end.
    fn some(&mut self, to: &mut ChildStdin) -> Result<bool, Fed> {
        if self.at == self.filled {
            self.at = 0;
            self.filled = loop {
                match self.input.read(&mut self.buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    read => break read.map_err(Fed::Broken)?,
                }
            };
            if self.filled == 0 {
                return Ok(false);
            }
        }
        match to.write(&self.buffer[self.at..self.filled]) {
            Ok(count) => self.at += count,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => return Err(Fed::Closed),
        }
        Ok(true)
    }
}

/// A child with its process group, which ends with it.
struct Group {
    child: Child,
    reaped: bool,
}

impl Group {
    /// Whether the child has ended. It is not reaped yet: until then its number, which is that of the group, is no
    /// other's.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.child)), options)?.is_some())
    }

    /// Ends all of it.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // There may be nobody left in it.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}
