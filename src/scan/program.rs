//! Programs as scanners: a path to the content in memory, or standard input. No shell; a limit of time; a process group
//! of its own, which is ended as a whole.

mod child;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::words::split;
use super::{Answer, Content, Engine, Identity, Session};
use crate::error::{Code, Error, Result};
use crate::observer::Observer;
use crate::oci::{Digest, Hasher};
use crate::pattern::matches;

/// How many contents a command with `{...}` gets at once.
const AT_ONCE: usize = 100;
/// The largest file whose content is part of what a scanner is.
const FINGERPRINT: u64 = 256 << 20;

/// How a program says what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Exit codes that mean found.
    pub found: Vec<i32>,
    /// A line that means found; `*` and `?` are patterns.
    pub pattern: Option<String>,
    /// Exit codes that mean clean.
    pub clean: Vec<i32>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { found: vec![1], pattern: None, clean: vec![0] }
    }
}

/// What was given for a program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Its command.
    pub command: String,
    /// How it answers.
    pub rules: Rules,
    /// A command that prints its version, and that of its database.
    pub version: Option<String>,
    /// What it has to find: `None` if it gets no proof.
    pub probe: Option<Vec<u8>>,
    /// Time for one content.
    pub limit: Duration,
    /// Where programs are searched.
    pub search: Option<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// `{}`
    Path,
    /// `{...}`
    Paths,
    /// Standard input.
    Input,
}

/// A program that scans.
#[derive(Debug)]
pub struct Program {
    identity: Identity,
    words: Vec<String>,
    takes: Takes,
    rules: Rules,
    probe: Option<Vec<u8>>,
    limit: Duration,
    /// Says nothing about clean content.
    silent: AtomicBool,
}

impl Program {
    /// Reads a command, and asks the program for its version.
    pub fn new(settings: Settings, observer: &dyn Observer) -> Result<Program> {
        let Settings { name, command, rules, version, probe, limit, search } = settings;
        let usage = |why: &str| Error::new(Code::Usage, format!("the command of the scanner `{name}` {why}"));
        let words = split(&command).ok_or_else(|| usage("has a quote without an end"))?;
        let first = words.first().ok_or_else(|| usage("is empty"))?;
        let takes = match (words.iter().any(|w| w == "{...}"), words.iter().any(|w| w.contains("{}"))) {
            (true, true) => return Err(usage("has both {} and {...}")),
            (true, false) => Takes::Paths,
            (false, true) => Takes::Path,
            (false, false) => Takes::Input,
        };
        if first.contains("{}") || first == "{...}" {
            return Err(usage("has no program"));
        }
        let program = found(first, search.as_deref()).ok_or_else(|| {
            Error::new(Code::Usage, format!("there is no program `{first}` for the scanner `{name}`"))
                .state("nothing was scanned")
        })?;
        let said = match &version {
            Some(version) => {
                let words = split(version).filter(|w| !w.is_empty()).ok_or_else(|| usage("has no version command"))?;
                let ran = child::run(&words, &[], None, limit, observer);
                let ran = ran.map_err(|why| usage(&format!("cannot be asked for its version: {why}")))?;
                if ran.code != Some(0) {
                    return Err(usage("cannot be asked for its version: the version command failed"));
                }
                super::answer::cut(String::from_utf8_lossy(&ran.output).trim())
            }
            None => String::new(),
        };
        let fingerprint = fingerprint(&words[1..], &program, version.is_some());
        Ok(Program {
            identity: Identity { name, how: command, version: said, database: None, database_time: None, fingerprint },
            words,
            takes,
            rules,
            probe,
            limit,
            silent: AtomicBool::new(false),
        })
    }

    fn verdict(&self, ran: Result<child::Ran, String>, contents: usize) -> Answer {
        let ran = match ran {
            Ok(ran) => ran,
            Err(why) => return Answer::Failed(why),
        };
        let output = String::from_utf8_lossy(&ran.output);
        let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        let Some(code) = ran.code else { return Answer::failed("the program was ended by a signal") };
        let names = || {
            let name = |line: &&str| tidy(line);
            let names: Vec<String> = lines.iter().map(name).filter(|n| !n.is_empty()).collect();
            if names.is_empty() { vec![format!("exit code {code}")] } else { names }
        };
        let pattern = self.rules.pattern.as_ref();
        if let Some(pattern) = pattern.filter(|p| lines.iter().any(|line| matches(p, line))) {
            let hits = lines.iter().filter(|line| matches(pattern, line)).map(|line| tidy(line)).collect();
            return Answer::named(hits);
        }
        if self.rules.found.contains(&code) {
            return Answer::named(names());
        }
        if !self.rules.clean.contains(&code) {
            let said = lines.first().map(|line| format!(": {line}")).unwrap_or_default();
            return Answer::failed(format!("the program ended with {code}{said}"));
        }
        if pattern.is_none() && self.silent.load(Ordering::Relaxed) && !lines.is_empty() {
            return Answer::named(names());
        }
        if !ran.took_all && contents == 1 {
            return Answer::failed("the program did not read all of its input");
        }
        Answer::Clean
    }

    /// The command for these paths.
    fn words(&self, paths: &[String]) -> Vec<String> {
        let first = paths.first().map_or("", String::as_str);
        let word = |word: &String| match self.takes {
            Takes::Path => vec![word.replace("{}", first)],
            Takes::Paths if word == "{...}" => paths.to_vec(),
            _ => vec![word.clone()],
        };
        self.words.iter().flat_map(word).collect()
    }
}

/// A line without the path of the content.
fn tidy(line: &str) -> String {
    let words = line.split_whitespace().map(|word| word.trim_end_matches(':'));
    let words: Vec<&str> = words.filter(|word| !word.starts_with("/proc/self/fd/") && *word != "FOUND").collect();
    words.join(" ")
}

/// The file of a program: on the search path, or where its name says.
fn found(name: &str, search: Option<&OsStr>) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| name.into());
    }
    let folders = search?.as_bytes().split(|b| *b == b':').filter(|folder| folder.starts_with(b"/"));
    folders.map(|folder| Path::new(OsStr::from_bytes(folder)).join(name)).find(|file| file.is_file())
}

/// The digests of the program and of all files that its command names. `None` if what decides its verdicts is not
/// known: a folder is among them, or a file that cannot be read; and, unless it says its version, if it is a script or
/// reads one, if a file includes others, or if no file is named: its database is then elsewhere, and changes.
fn fingerprint(words: &[String], program: &Path, versioned: bool) -> Option<String> {
    let mut hasher = Hasher::new();
    let mut rules = false;
    let mut take = |path: &Path| {
        let bytes = crate::fs::small::read(path, FINGERPRINT).ok()?;
        let includes = |line: &[u8]| line.trim_ascii_start().starts_with(b"include");
        let text = std::str::from_utf8(&bytes).is_ok();
        let elsewhere = bytes.starts_with(b"#!") || text && bytes.split(|b| *b == b'\n').any(includes);
        hasher.update(Digest::of(&bytes).to_string().as_bytes());
        (versioned || !elsewhere).then_some(())
    };
    take(program)?;
    for word in words {
        let path = Path::new(word.rsplit_once('=').map_or(word.as_str(), |(_, value)| value));
        match path.metadata() {
            Ok(meta) if meta.is_file() => {
                take(path)?;
                rules = true;
            }
            Ok(_) if !path.starts_with("/dev") => return None,
            _ => {}
        }
    }
    (versioned || rules).then(|| hasher.finish().hex())
}

impl Engine for Program {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn session<'a>(&'a self, observer: &'a dyn Observer) -> Box<dyn Session + 'a> {
        Box::new(Runs { program: self, observer })
    }

    fn batch(&self) -> usize {
        if self.takes == Takes::Paths { AT_ONCE } else { 1 }
    }

    fn probe(&self) -> Option<&[u8]> {
        self.probe.as_deref()
    }

    fn learn(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

struct Runs<'a> {
    program: &'a Program,
    observer: &'a dyn Observer,
}

impl Runs<'_> {
    fn one(&mut self, content: &Content) -> Answer {
        let Program { takes, limit, .. } = *self.program;
        let ran = match takes {
            Takes::Input => {
                child::run(&self.program.words(&[]), &[], Some(&mut content.stream()), limit, self.observer)
            }
            _ => match content.file() {
                Ok(file) => {
                    let files = [file.file()];
                    child::run(&self.program.words(&child::paths(&files)), &files, None, limit, self.observer)
                }
                Err(e) => Err(format!("the content cannot be held in memory: {e}")),
            },
        };
        self.program.verdict(ran, 1)
    }
}

impl Session for Runs<'_> {
    fn scan(&mut self, contents: &[&Content]) -> Vec<Answer> {
        if contents.len() > 1 && self.program.takes == Takes::Paths {
            let files: Result<Vec<_>, _> = contents.iter().map(|content| content.file()).collect();
            if let Ok(files) = files {
                let files: Vec<&File> = files.iter().map(|file| file.file()).collect();
                let words = self.program.words(&child::paths(&files));
                let ran = child::run(&words, &files, None, self.program.limit, self.observer);
                if self.program.verdict(ran, contents.len()) == Answer::Clean {
                    return contents.iter().map(|_| Answer::Clean).collect();
                }
            }
        }
        // Which of them it was is asked of each. A failure is tried once more.
        let mut answers = Vec::new();
        for content in contents {
            let answer = self.one(content);
            let again = matches!(answer, Answer::Failed(_)) && self.observer.stopped().is_none();
            answers.push(if again { self.one(content) } else { answer });
        }
        answers
    }

    fn stream(&mut self, _: u64, content: &mut dyn Read) -> Answer {
        let limit = self.program.limit * 10;
        if self.program.takes == Takes::Input {
            let ran = child::run(&self.program.words(&[]), &[], Some(content), limit, self.observer);
            return self.program.verdict(ran, 1);
        }
        let held = super::content::take_rest(&[], content, u64::MAX);
        match held {
            Ok(content) => self.one(&content),
            Err(_) => Answer::failed("the content cannot be held in memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn verdicts_are_kept_only_of_a_program_whose_rules_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let program = file("scan", "\x7fELF\u{0}");
        let word = |path: &Path| vec!["-w".to_owned(), path.display().to_string(), "{}".to_owned()];
        let rules = word(&file("r", "rule a { condition: false }"));
        let known = fingerprint(&rules, &program, false).unwrap();
        file("r", "rule b { condition: false }");
        assert_ne!(fingerprint(&rules, &program, false), Some(known), "other rules");
        let none = ["{}".to_owned()];
        let including = word(&file("i", "import \"pe\"\n  include \"other\"\n"));
        let script = word(&file("s", "#!/bin/sh\nclamscan $1\n"));
        let wrapper = file("wrapper", "#!/bin/sh\nclamscan $1\n");
        for (words, program) in [(&none[..], &program), (&including, &program), (&script, &program), (&rules, &wrapper)]
        {
            assert_eq!(fingerprint(words, program, false), None, "{words:?}");
            assert!(fingerprint(words, program, true).is_some(), "{words:?}: it says its version");
        }
        assert_eq!(fingerprint(&word(dir.path()), &program, true), None, "a folder");
    }
}
