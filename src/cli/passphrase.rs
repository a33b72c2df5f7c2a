//! Asks for a passphrase on the terminal: never echoed, three tries, and Ctrl-C works at once.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::term::Terminal;
use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use crate::sign::SecretKey;

/// The same as ssh.
const TRIES: usize = 3;
/// The longest passphrase, in bytes.
const LONGEST: usize = 1024;

/// Reads a private key, and asks for its passphrase if it has one.
pub(super) fn key(path: &Path, term: &Terminal) -> Result<SecretKey> {
    if path.extension().is_some_and(|extension| extension == "pub") && crate::sign::read_public_key(path).is_ok() {
        let private = path.with_extension("");
        return Err(Error::new(
            Code::Usage,
            format!("`{}` is a public key; signing needs the private key", path.display()),
        )
        .hint(format!("--sign-key {}", super::answer::quoted(&private.display().to_string()))));
    }
    let prompt = format!("Passphrase for {}: ", super::escape::name(&path.display().to_string()));
    for left in (0..TRIES).rev() {
        match crate::sign::read_secret_key(path, || ask(&prompt, term)) {
            Err(e) if left > 0 && e.message().ends_with(crate::sign::WRONG_PASSPHRASE) => {
                term.warn("wrong passphrase; try again");
            }
            other => return other,
        }
    }
    Err(Error::new(Code::Internal, "no try was made"))
}

/// Asks once. Without a terminal this is an error.
pub(super) fn ask(prompt: &str, term: &Terminal) -> Result<Zeroizing<String>> {
    let mut tty = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|e| {
        Error::new(Code::Usage, "a passphrase is needed, and there is no terminal to ask on")
            .hint("run this on a terminal, or use a key without a passphrase that only this host can read")
            .source(e)
    })?;
    let failed = |e: std::io::Error| Error::io("cannot read a passphrase from", "the terminal", e);
    let quiet = Quiet::new(&tty).map_err(failed)?;
    let _ = write!(tty, "{prompt}");
    let answer = line(&mut tty, term);
    drop(quiet);
    let _ = writeln!(tty);
    let bytes = answer?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::new(Code::Usage, "the passphrase is not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads one line, without its end.
fn line(tty: &mut File, term: &Terminal) -> Result<Zeroizing<Vec<u8>>> {
    // Allocate everything at once: a growing vector leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let mut byte = Zeroizing::new([0u8; 1]);
    loop {
        term.check()?;
        let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let ready = match poll(&mut [PollFd::new(&*tty, PollFlags::IN)], Some(&wait)) {
            Ok(ready) => ready > 0,
            Err(rustix::io::Errno::INTR) => false,
            Err(e) => return Err(Error::io("cannot read a passphrase from", "the terminal", e.into())),
        };
        if !ready {
            continue;
        }
        match tty.read(byte.as_mut_slice()) {
            Ok(0) => return Err(Error::new(Code::Usage, "no passphrase was given")),
            Ok(_) if byte[0] == b'\n' => return Ok(out),
            Ok(_) if out.len() == LONGEST => {
                return Err(Error::new(Code::Usage, format!("the passphrase is longer than {LONGEST} bytes")));
            }
            Ok(_) => out.push(byte[0]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("cannot read a passphrase from", "the terminal", e)),
        }
    }
}

/// A terminal with echo off, until this is dropped.
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn new(tty: &File) -> std::io::Result<Quiet> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(tty, OptionalActions::Flush, &silent)?;
        Ok(Quiet { tty: tty.try_clone()?, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Flush, &self.before);
    }
}
