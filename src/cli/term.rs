//! Messages on standard error: steps, progress, warnings, errors. No other module prints there.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::builder::styling::{AnsiColor, Style};

use super::answer::{self, Line, Object};
use super::args::{Color, Global, Output, Progress};
use super::escape::{escape, escape_json, fold, sentence, width};
use super::progress::{COLUMN, Work};
use crate::error::{Code, Error, Result};
use crate::ops::{Observer, Task};
use crate::verify::{Finding, Severity};

/// The terminal, or a pipe in its place.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    /// Only errors are shown.
    silent: bool,
    verbose: bool,
    json: bool,
    events: bool,
    style: Progress,
    on_terminal: bool,
    color: anstream::ColorChoice,
    work: Mutex<Option<Work>>,
    signal: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    /// Whether a progress line is on the screen.
    drawn: Arc<AtomicBool>,
    log: Option<Mutex<File>>,
    progress: Option<Mutex<File>>,
    unusable: Mutex<Option<Error>>,
}

impl Terminal {
    /// A terminal with these options. Handles signals from now on.
    pub fn new(global: &Global) -> Terminal {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let color = match global.color {
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
            Color::Auto if dumb => anstream::ColorChoice::Never,
            Color::Auto => anstream::AutoStream::choice(&std::io::stderr()),
        };
        let mut unusable = None;
        let mut opened = |file: Result<File>| match file {
            Ok(file) => Some(Mutex::new(file)),
            Err(e) => {
                unusable = Some(e);
                None
            }
        };
        let variable = std::env::var_os("MIRROR_BUNDLE_LOG").filter(|v| !v.is_empty()).map(Into::into);
        let log = global.log_file.clone().or(variable).and_then(|path| opened(append(&path)));
        let progress = global.progress_fd.and_then(|fd| opened(append(Path::new(&format!("/dev/fd/{fd}")))));
        let terminal = Terminal {
            quiet: global.quiet > 0,
            silent: global.quiet > 1,
            verbose: global.verbose > 0,
            json: global.output != Output::Text,
            events: global.output == Output::Jsonl,
            style: global.progress,
            on_terminal: std::io::stderr().is_terminal() && !dumb,
            color,
            work: Mutex::default(),
            signal: Arc::default(),
            stop: Arc::default(),
            drawn: Arc::default(),
            log,
            progress,
            unusable: Mutex::new(unusable),
        };
        terminal.answer_signals();
        let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        terminal.log(&format!("started: {}", words.join(" ")));
        terminal
    }

    /// An error when `--log-file` or `--progress-fd` cannot be written.
    pub fn ready(&self) -> Result<()> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Whether answers on standard output may have colours.
    pub fn is_colourful(&self) -> bool {
        match self.color {
            anstream::ColorChoice::Never => false,
            _ => std::io::stdout().is_terminal(),
        }
    }

    /// Writes the last line of the log.
    pub fn ended(&self, code: u8) {
        self.log(&format!("ended with exit code {code}"));
    }

    /// Writes a message to the log file, including those that -q and -o json keep off the screen.
    fn log(&self, text: &str) {
        let Some(log) = &self.log else { return };
        let mut file = log.lock().unwrap_or_else(PoisonError::into_inner);
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let plain = anstream::adapter::strip_str(text).to_string();
        let pid = std::process::id();
        let lines: String =
            plain.lines().filter(|l| !l.is_empty()).map(|l| format!("{now} [{pid}] {}\n", escape(l))).collect();
        // A full disk must not stop the work.
        let _ = file.write_all(lines.as_bytes());
    }

    /// Writes a JSON line for a program that follows the progress.
    fn event(&self, line: &str) {
        if self.events {
            answer::text(&format!("{line}\n"));
        }
        if let Some(file) = &self.progress {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // The reader has exited.
            let _ = writeln!(file, "{line}");
        }
    }

    /// Set when an interruption is requested: for the registry client, which waits on its own.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// With `-v`: a function that prints a line at any time.
    #[cfg(feature = "registry")]
    pub fn chatty(&self) -> Option<impl Fn(&str) + Send + Sync + use<>> {
        let json = self.json;
        self.verbose.then_some(move |text: &str| {
            let line = match json {
                true => escape_json(&serde_json::json!({ "type": "note", "message": text }).to_string()),
                false => format!("       {}", escape(text)),
            };
            // No bar is drawn with -v. A lost terminal is no reason to stop.
            _ = writeln!(std::io::stderr().lock(), "{line}");
        })
    }

    /// Reports an error: the sentence, the facts, the state, what to do.
    pub fn report(&self, err: &Error) {
        self.end();
        let (message, facts, state, hint) = (err.message(), err.facts(), err.state_text(), err.hint_text());
        self.log(&problem(AnsiColor::Red, "error:", message, facts, state, hint));
        if self.json {
            return self.line(&answer::failure(err.code(), message, facts, state, hint));
        }
        self.line(&problem(AnsiColor::Red, "error:", message, facts, state, hint));
        let mut cause = std::error::Error::source(err);
        while let (Some(inner), true) = (cause, self.verbose) {
            self.line(&format!("       cause: {}", escape(&inner.to_string())));
            cause = inner.source();
        }
    }

    /// Reports a finding of a verification, and the current state.
    pub fn finding(&self, finding: &Finding, state: Option<&str>) {
        let (color, word) = match finding.severity {
            Severity::Error => (AnsiColor::Red, "error:"),
            Severity::Warning => (AnsiColor::Yellow, "warning:"),
            Severity::Notice => (AnsiColor::Yellow, "notice:"),
        };
        let text = problem(color, word, &finding.message, &finding.facts, state, finding.hint.as_deref());
        self.log(&text);
        if self.events {
            let line = Line { kind: "finding", value: finding };
            self.event(&escape_json(&serde_json::to_string(&line).unwrap_or_default()));
        } else if !self.json && self.shows(finding.severity) {
            self.line(&text);
        }
    }

    /// A line that belongs to the previous message.
    pub fn note(&self, text: &str) {
        if !self.json {
            self.line(&format!("       {}", escape(text)));
        }
    }

    /// Whether findings of this severity are shown: with -qq only errors.
    pub fn shows(&self, severity: Severity) -> bool {
        !self.silent || severity == Severity::Error
    }

    /// Says that nothing of what follows is verified, also with -q.
    pub fn unverified(&self, what: &str) {
        self.said("Note", &format!("contents not verified: {what}"), !self.json && !self.silent);
    }

    fn said(&self, verb: &str, text: &str, shown: bool) {
        let green = AnsiColor::Green.on_default().bold();
        let pad = " ".repeat(COLUMN.saturating_sub(verb.len()));
        let line = format!("{pad}{green}{verb}{green:#} {}", escape(text));
        self.log(&line);
        if shown {
            self.line(&line);
        }
    }

    /// What to do next, as plain lines.
    pub fn next(&self, lines: &[String]) {
        lines.iter().for_each(|line| self.log(&format!("next: {line}")));
        if self.json || self.quiet {
            return;
        }
        self.line("");
        let bold = Style::new().bold();
        for (at, line) in lines.iter().enumerate() {
            let head = if at == 0 { format!("{bold}next:{bold:#} ") } else { "      ".to_owned() };
            self.line(&format!("{head}{}", escape(line)));
        }
    }

    fn line(&self, text: &str) {
        let folded = width(&std::io::stderr()).filter(|_| !self.json).map(|width| fold(text, width));
        let text = folded.as_deref().unwrap_or(text);
        let _one_at_a_time = self.lock();
        self.clear();
        let mut stream = anstream::AutoStream::new(std::io::stderr(), self.color);
        // When standard error is closed, there is nowhere to report it.
        let _ = writeln!(stream, "{text}");
    }

    /// Clears the progress line.
    fn clear(&self) {
        if self.drawn.swap(false, Ordering::SeqCst) {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
    }

    /// Updates the progress display when it is due.
    fn show(&self, work: &mut Work, last: bool) {
        let now = Instant::now();
        if (self.events || self.progress.is_some()) && (work.event_due(now) || last) {
            self.event(&work.event().line());
        }
        if self.has_bar() && !last && work.draw_due(now) {
            let columns = width(&std::io::stderr()).unwrap_or(80);
            let line = work.line(columns, now);
            let (verb, rest) = line.split_at(line.len().min(COLUMN));
            let green = AnsiColor::Green.on_default().bold();
            let mut stream = anstream::AutoStream::new(std::io::stderr(), self.color);
            let clear = if self.drawn.load(Ordering::SeqCst) { CLEAR } else { "" };
            let _ = write!(std::io::stderr(), "{clear}");
            let _ = write!(stream, "{green}{verb}{green:#}{rest}").and_then(|()| stream.flush());
            self.drawn.store(true, Ordering::SeqCst);
        }
    }

    fn has_bar(&self) -> bool {
        self.talks() && self.style == Progress::Auto && self.on_terminal && !self.verbose
    }

    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn talks(&self) -> bool {
        !self.quiet && !self.json
    }

    /// The first signal requests a stop; the work reacts within a second, or the process exits without it.
    fn answer_signals(&self) {
        use signal_hook::consts::{SIGINT, SIGTERM};
        // A file size limit (`ulimit -f`) becomes an error like a full disk, instead of killing the process silently.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
        let (flag, stop, json, drawn) = (self.signal.clone(), self.stop.clone(), self.json, self.drawn.clone());
        // If JSON was requested, it is written however the run ends.
        let last_words = move |code: Code| {
            let hint = "run the same command again to resume";
            let clear = if drawn.swap(false, Ordering::SeqCst) { CLEAR } else { "" };
            let text = match json {
                true => answer::failure(code, "interrupted", &[], None, Some(hint)),
                false => format!("interrupted\nhint:  {hint}"),
            };
            let _ = writeln!(std::io::stderr(), "{clear}{text}");
        };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let code = if signal == SIGINT { Code::Interrupted } else { Code::Terminated };
                if flag.swap(code.exit(), Ordering::SeqCst) != 0 {
                    last_words(code);
                    std::process::exit(i32::from(code.exit()));
                }
                stop.store(true, Ordering::SeqCst);
                let last_words = last_words.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(900));
                    last_words(code);
                    std::process::exit(i32::from(code.exit()));
                });
            }
        });
    }
}

impl Observer for Terminal {
    fn say(&self, verb: &str, text: &str) {
        self.said(verb, text, self.talks());
    }

    fn warn(&self, text: &str) {
        let yellow = AnsiColor::Yellow.on_default().bold();
        let line = format!("{yellow}warning:{yellow:#} {}", sentence(text));
        self.log(&line);
        if !self.json {
            self.line(&line);
        } else {
            self.event(&Object([("type", "warning".into()), ("message", text.into())]).line());
        }
    }

    fn found(&self, finding: &Finding) {
        if self.events {
            self.finding(finding, None);
        }
    }

    fn begin(&self, task: Task, items: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut work = Work::new(task, items, bytes, Instant::now());
        let mut slot = self.lock();
        self.show(&mut work, false);
        *slot = Some(work);
    }

    fn advance(&self, bytes: u64) {
        let mut due = None;
        if let Some(work) = self.lock().as_mut() {
            let now = Instant::now();
            work.advance(bytes, now);
            self.show(work, false);
            if !self.has_bar() && self.style != Progress::None {
                due = work.log_line(now);
            }
        }
        if let Some((verb, text)) = due {
            self.say(verb, &text);
        }
    }

    fn resumed(&self, items: u64, bytes: u64) {
        if let Some(work) = self.lock().as_mut() {
            work.resumed(items, bytes);
            self.show(work, false);
        }
    }

    fn item(&self) {
        if let Some(work) = self.lock().as_mut() {
            work.item();
            self.show(work, false);
        }
    }

    fn end(&self) {
        let mut slot = self.lock();
        if let Some(mut work) = slot.take() {
            self.show(&mut work, true);
        }
        self.clear();
    }

    fn stopped(&self) -> Option<Code> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            143 => Some(Code::Terminated),
            _ => Some(Code::Interrupted),
        }
    }
}

/// Returns to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|e| Error::io("cannot write", path, e))
}

/// An error or a notice: the sentence, the facts, the current state, and what to do.
fn problem(
    color: AnsiColor,
    word: &str,
    message: &str,
    facts: &[String],
    state: Option<&str>,
    hint: Option<&str>,
) -> String {
    let style = color.on_default().bold();
    let hint_style = AnsiColor::Cyan.on_default().bold();
    let mut out = format!("{style}{word}{style:#} {}\n", sentence(message));
    for fact in facts.iter().map(String::as_str).chain(state) {
        out.push_str(&format!("       {}\n", escape(fact)));
    }
    if let Some(hint) = hint {
        out.push_str(&format!("{hint_style}hint:{hint_style:#}  {}\n", sentence(hint)));
    }
    out.trim_end_matches('\n').to_owned()
}
