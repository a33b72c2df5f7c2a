//! The conversation on standard error: what is being done, progress, warnings, errors. Nothing else prints there.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Color, Global, Output, Progress};
use super::escape::{escape, escape_json, fold, sentence, width};
use crate::error::{Code, Error};
use crate::ops::{Observer, Task, observer};
use crate::verify::{Finding, Severity};

/// Verbs stand in a column of this width.
const COLUMN: usize = 12;

/// The terminal, or the pipe that stands in for it.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    verbose: bool,
    json: bool,
    style: Progress,
    on_terminal: bool,
    color: anstream::ColorChoice,
    work: Mutex<Option<Work>>,
    signal: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Work {
    task: Task,
    items: (u64, u64),
    bytes: (u64, u64),
    since: Instant,
    said: Instant,
    percent: u64,
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// A terminal with these options. Signals are answered from now on.
    pub fn new(global: &Global) -> Terminal {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let color = match global.color {
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
            Color::Auto if dumb => anstream::ColorChoice::Never,
            Color::Auto => anstream::AutoStream::choice(&std::io::stderr()),
        };
        let terminal = Terminal {
            quiet: global.quiet > 0,
            verbose: global.verbose > 0,
            json: global.output == Output::Json,
            style: global.progress,
            on_terminal: std::io::stderr().is_terminal() && !dumb,
            color,
            work: Mutex::default(),
            signal: Arc::default(),
            stop: Arc::default(),
        };
        terminal.answer_signals();
        terminal
    }

    /// Set once somebody asks to stop: for the registry client, which waits on its own.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Reports an error: the sentence, the facts, the state, what to do.
    pub fn report(&self, err: &Error) {
        self.end();
        if self.json {
            let line = serde_json::json!({
                "type": "error", "code": err.code().as_str(), "exit_code": err.code().exit(), "message": err.message(),
                "facts": err.facts(), "state": err.state_text(), "hint": err.hint_text(),
            });
            return self.line(&escape_json(&line.to_string()));
        }
        self.problem(AnsiColor::Red, "error:", err.message(), err.facts(), err.state_text(), err.hint_text());
        let mut cause = std::error::Error::source(err);
        while let (Some(inner), true) = (cause, self.verbose) {
            self.line(&format!("       cause: {}", escape(&inner.to_string())));
            cause = inner.source();
        }
    }

    /// Reports a finding of a verification, and the state that things are in.
    pub fn finding(&self, finding: &Finding, state: Option<&str>) {
        let (color, word) = match finding.severity {
            Severity::Error => (AnsiColor::Red, "error:"),
            Severity::Notice => (AnsiColor::Yellow, "notice:"),
        };
        if !self.json {
            self.problem(color, word, &finding.message, &finding.facts, state, finding.hint.as_deref());
        }
    }

    /// A line that belongs to what was said last.
    pub fn note(&self, text: &str) {
        if !self.json {
            self.line(&format!("       {}", escape(text)));
        }
    }

    /// What to do next; plain lines.
    pub fn next(&self, lines: &[String]) {
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

    fn problem(
        &self,
        color: AnsiColor,
        word: &str,
        message: &str,
        facts: &[String],
        state: Option<&str>,
        hint: Option<&str>,
    ) {
        let style = color.on_default().bold();
        let hint_style = AnsiColor::Cyan.on_default().bold();
        let mut out = format!("{style}{word}{style:#} {}\n", sentence(message));
        for fact in facts.iter().map(String::as_str).chain(state) {
            out.push_str(&format!("       {}\n", escape(fact)));
        }
        if let Some(hint) = hint {
            out.push_str(&format!("{hint_style}hint:{hint_style:#}  {}\n", sentence(hint)));
        }
        self.line(out.trim_end_matches('\n'));
    }

    fn line(&self, text: &str) {
        let folded = width(&std::io::stderr()).filter(|_| !self.json).map(|width| fold(text, width));
        let text = folded.as_deref().unwrap_or(text);
        let work = self.lock();
        let print = || {
            let mut stream = anstream::AutoStream::new(std::io::stderr(), self.color);
            // Nobody to tell that nobody listens.
            let _ = writeln!(stream, "{text}");
        };
        match work.as_ref().and_then(|w| w.bar.as_ref()) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn talks(&self) -> bool {
        !self.quiet && !self.json
    }

    /// The first signal asks to stop; the work answers within a second, or the process ends without it.
    fn answer_signals(&self) {
        use signal_hook::consts::{SIGINT, SIGTERM};
        // A limit on the size of files (`ulimit -f`) is an error like a full disk, and not the end without a word.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
        let (flag, stop, json) = (self.signal.clone(), self.stop.clone(), self.json);
        // Whoever asked for JSON gets it however the run ends.
        let last_words = move |code: Code| {
            let hint = "run the same command again to continue";
            let text = match json {
                true => serde_json::json!({
                    "type": "error", "code": code.as_str(), "exit_code": code.exit(), "message": "interrupted",
                    "facts": [], "state": null, "hint": hint,
                })
                .to_string(),
                false => format!("interrupted\nhint:  {hint}"),
            };
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let code = if signal == SIGINT { Code::Interrupted } else { Code::Terminated };
                if flag.swap(code.exit(), Ordering::SeqCst) != 0 {
                    if json {
                        last_words(code);
                    }
                    std::process::exit(i32::from(code.exit()));
                }
                stop.store(true, Ordering::SeqCst);
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
        if !self.talks() {
            return;
        }
        let green = AnsiColor::Green.on_default().bold();
        let pad = " ".repeat(COLUMN.saturating_sub(verb.len()));
        self.line(&format!("{pad}{green}{verb}{green:#} {}", escape(text)));
    }

    fn warn(&self, text: &str) {
        if !self.json {
            let yellow = AnsiColor::Yellow.on_default().bold();
            self.line(&format!("{yellow}warning:{yellow:#} {}", sentence(text)));
        }
    }

    fn begin(&self, task: Task, items: u64, bytes: u64) {
        if !self.talks() || self.style == Progress::None || bytes == 0 {
            return;
        }
        let bar = (self.style == Progress::Auto && self.on_terminal && !self.verbose).then(|| bar(task, items, bytes));
        let now = Instant::now();
        *self.lock() =
            Some(Work { task, items: (0, items), bytes: (0, bytes), since: now, said: now, percent: 0, bar });
    }

    fn advance(&self, bytes: u64) {
        let mut due = None;
        if let Some(work) = self.lock().as_mut() {
            work.bytes.0 = (work.bytes.0 + bytes).min(work.bytes.1);
            match &work.bar {
                Some(bar) => bar.set_position(work.bytes.0),
                None => due = work.line_due(),
            }
        }
        if let Some((verb, text)) = due {
            self.say(verb, &text);
        }
    }

    fn item(&self) {
        if let Some(work) = self.lock().as_mut() {
            work.items.0 += 1;
            if let Some(bar) = &work.bar {
                bar.set_message(format!("{} of {}", work.items.0, work.items.1));
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = self.lock().take().and_then(|work| work.bar) {
            bar.finish_and_clear();
        }
    }

    fn stopped(&self) -> Option<Code> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            143 => Some(Code::Terminated),
            _ => Some(Code::Interrupted),
        }
    }
}

impl Work {
    /// A line for every 10 % or 30 seconds, but none for work of less than a second.
    fn line_due(&mut self) -> Option<(&'static str, String)> {
        let percent = self.bytes.0.saturating_mul(100) / self.bytes.1.max(1);
        let long = self.since.elapsed() > Duration::from_secs(1);
        if !long || (percent < self.percent + 10 && self.said.elapsed() < Duration::from_secs(30)) {
            return None;
        }
        self.percent = percent - percent % 10;
        self.said = Instant::now();
        let seconds = self.since.elapsed().as_secs_f64();
        let rate = self.bytes.0 as f64 / seconds;
        let left = (self.bytes.1 - self.bytes.0) as f64 / rate.max(1.0);
        let (done, of) = (observer::size(self.bytes.0), observer::size(self.bytes.1));
        Some((
            verb(self.task),
            format!("{percent} %  {done} of {of}  {}/s  {left:.0} s left", observer::size(rate as u64)),
        ))
    }
}

fn verb(task: Task) -> &'static str {
    match task {
        Task::Resolve => "Resolving",
        Task::Write => "Writing",
        Task::Verify => "Verifying",
        Task::Protect => "Protecting",
        Task::Repair => "Repairing",
        Task::Push => "Pushing",
        Task::Unpack => "Unpacking",
        Task::ReadBack => "Reading back",
    }
}

fn bar(task: Task, items: u64, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(8));
    let template = format!(
        "{:>COLUMN$} [{{bar:24}}] {{percent:>3}} %  {{binary_bytes}} of {{binary_total_bytes}}  {{binary_bytes_per_sec}}  {{eta}} left  {{msg}}",
        verb(task)
    );
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("0 of {items}"));
    bar
}
