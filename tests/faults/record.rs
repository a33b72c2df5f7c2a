//! The file system operations of a run, taken from `strace`: the log for the durability lint and the crash file
//! system.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::lab::{Ended, Lab, ended};
use crate::trace::Point;

/// An operation that changes something or makes it durable.
const CALLS: &str = "trace=openat,openat2,write,pwrite64,ftruncate,fallocate,fchmod,fsync,fdatasync,rename,renameat,\
                     renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,linkat,symlinkat";

/// One operation. Paths are relative to the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A file was created.
    Create(PathBuf, u32),
    /// Bytes at an offset; without one, at the end.
    Write(PathBuf, Option<u64>, Vec<u8>),
    Truncate(PathBuf, u64),
    /// The file now has at least this length.
    Extend(PathBuf, u64),
    Mode(PathBuf, u32),
    Folder(PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    /// A file or folder became durable.
    Sync(PathBuf),
    /// Syncing a file failed: data written since the last sync may be lost, and no later sync restores it.
    Lost(PathBuf),
    /// Output: 1 is the result, 2 the messages.
    Say(u32, String),
}

/// Runs the program and records it; with a point, this fault is injected there.
pub(crate) fn record(
    lab: &Lab,
    place: &Path,
    words: &[std::ffi::OsString],
    fault: Option<(&Point, &str)>,
) -> (Ended, Vec<Op>) {
    let log = lab.path(&format!("record-{}", place.file_name().unwrap().to_str().unwrap()));
    let inject = fault.map(|(p, fault)| format!("--inject={}:{fault}:when={}", p.call, p.number));
    let mut wrapper =
        vec!["strace", "-f", "-y", "-qq", "-xx", "-s", "100000000", "-o", log.to_str().unwrap(), "-e", CALLS];
    wrapper.extend(inject.as_deref());
    let run = ended(&mut lab.command(place, &wrapper, words));
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(log).unwrap();
    (run, Parser { place, known: HashMap::new() }.all(&text))
}

struct Parser<'a> {
    place: &'a Path,
    /// The first halves of lines that another thread cut in two.
    known: HashMap<String, String>,
}

impl Parser<'_> {
    fn all(&mut self, text: &str) -> Vec<Op> {
        let mut out = Vec::new();
        for line in text.lines() {
            let (thread, rest) = line.split_once(' ').unwrap();
            let rest = rest.trim_start();
            let whole = if let Some(half) = rest.strip_suffix("<unfinished ...>") {
                self.known.insert(thread.to_owned(), half.trim_end().to_owned());
                continue;
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let half = self.known.remove(thread).unwrap();
                half + resumed.split_once(" resumed>").unwrap().1
            } else {
                rest.to_owned()
            };
            out.extend(self.one(&whole));
        }
        out
    }

    /// The meaning of a line; nothing for failed calls and for files outside the place.
    fn one(&self, line: &str) -> Option<Op> {
        let (call, rest) = line.split_once('(')?;
        let (inside, result) = rest.rsplit_once(" = ")?;
        let args = split(inside.trim_end().strip_suffix(')')?);
        if result.starts_with('-') || result.starts_with('?') {
            // If a kill came before a call, it is only known that the call was not made.
            let failed = call == "fsync" && result.starts_with('-');
            return if failed { self.inside(&path_of(&args[0])).map(Op::Lost) } else { None };
        }
        let at = |from: usize| self.relative(&text(&args[from + 1]), Some(&path_of(&args[from])));
        let here = |from: usize| self.relative(&text(&args[from]), None);
        let own = || self.inside(&path_of(&args[0]));
        Some(match call {
            "openat" if args[2].contains("O_CREAT") => Op::Create(at(0)?, number(args.get(3)?)),
            "openat2" if inside.contains("O_CREAT") => panic!("not read: {line}"),
            "write" | "pwrite64" => {
                if let Some(to @ ("1" | "2")) = args[0].split('<').next() {
                    return Some(Op::Say(number(to), String::from_utf8_lossy(&bytes(&args[1])).into_owned()));
                }
                let mut data = bytes(&args[1]);
                data.truncate(result.split_whitespace().next()?.parse().ok()?);
                let offset = (call == "pwrite64").then(|| args[3].trim().parse().unwrap());
                Op::Write(own()?, offset, data)
            }
            "ftruncate" => Op::Truncate(own()?, args[1].trim().parse().unwrap()),
            "fallocate" => Op::Extend(own()?, args[3].trim().parse::<u64>().unwrap()),
            "fchmod" => Op::Mode(own()?, number(&args[1])),
            "fsync" | "fdatasync" => Op::Sync(own()?),
            "rename" => Op::Rename(here(0)?, here(1)?),
            "renameat" | "renameat2" => Op::Rename(at(0)?, at(2)?),
            "unlink" | "rmdir" => Op::Unlink(here(0)?),
            "unlinkat" => Op::Unlink(at(0)?),
            "mkdir" => Op::Folder(here(0)?),
            "mkdirat" => Op::Folder(at(0)?),
            "linkat" => Op::Link(at(0)?, at(2)?),
            "symlinkat" => Op::Symlink(PathBuf::from(text(&args[0])), at(1)?),
            _ => return None,
        })
    }

    fn relative(&self, name: &str, folder: Option<&Path>) -> Option<PathBuf> {
        let folder = folder.unwrap_or(self.place);
        self.inside(&folder.join(name))
    }

    /// The part of a path below the place, if it is.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let plain: PathBuf = path.components().filter(|c| !matches!(c, Component::CurDir)).collect();
        plain.strip_prefix(self.place).ok().map(Path::to_owned)
    }
}

/// Arguments at the commas outside of strings, braces and paths of descriptors.
fn split(inside: &str) -> Vec<String> {
    let (mut out, mut one, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    for c in inside.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' | '<' | '[' if !quoted => depth += 1,
            '}' | '>' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        if c == ',' && !quoted && depth == 0 {
            out.push(std::mem::take(&mut one).trim().to_owned());
        } else {
            one.push(c);
        }
    }
    out.push(one.trim().to_owned());
    out
}

/// The bytes of a string, all of which are written as `\xNN`.
fn bytes(arg: &str) -> Vec<u8> {
    let inner = arg.trim().strip_prefix('"').and_then(|a| a.strip_suffix('"')).unwrap_or_else(|| panic!("{arg}"));
    inner.split("\\x").skip(1).map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect()
}

fn text(arg: &str) -> String {
    String::from_utf8(bytes(arg)).unwrap()
}

/// The path that `-y` shows behind a descriptor.
fn path_of(arg: &str) -> PathBuf {
    let inner = arg.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>')).unwrap_or_else(|| panic!("{arg}")).0;
    PathBuf::from(text(&format!("\"{inner}\"")))
}

/// Octal with a leading zero, else decimal.
fn number(text: &str) -> u32 {
    let text = text.trim();
    if text.starts_with('0') { u32::from_str_radix(text, 8).unwrap() } else { text.parse().unwrap() }
}
