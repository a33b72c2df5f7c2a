//! Progress: one line on a terminal, some lines in a log, JSON lines for a program.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::answer::Object;
use crate::ops::{Task, observer};

/// Verbs are right-aligned in a column of this width.
pub(super) const COLUMN: usize = 12;
/// The rate is the average of this recent period.
const WINDOW: Duration = Duration::from_secs(15);
const SAMPLE: Duration = Duration::from_millis(500);

/// A running task. Time is an argument.
#[derive(Debug)]
pub(super) struct Work {
    task: Task,
    items: (u64, u64),
    bytes: (u64, u64),
    /// Bytes of this run, without those of earlier runs.
    moved: u64,
    since: Instant,
    samples: VecDeque<(Instant, u64)>,
    drawn: Option<Instant>,
    said: Instant,
    percent: u64,
    told: Option<Instant>,
}

impl Work {
    pub(super) fn new(task: Task, items: u64, bytes: u64, now: Instant) -> Work {
        Work {
            task,
            items: (0, items),
            bytes: (0, bytes),
            moved: 0,
            since: now,
            samples: VecDeque::from([(now, 0)]),
            drawn: None,
            said: now,
            percent: 0,
            told: None,
        }
    }

    pub(super) fn advance(&mut self, bytes: u64, now: Instant) {
        self.bytes.0 = self.bytes.0.saturating_add(bytes).min(self.bytes.1);
        self.moved = self.moved.saturating_add(bytes);
        if self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE) {
            self.samples.push_back((now, self.moved));
        }
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Work of an earlier run counts as done, but not for the rate.
    pub(super) fn resumed(&mut self, items: u64, bytes: u64) {
        self.items.0 = self.items.0.saturating_add(items).min(self.items.1);
        self.bytes.0 = self.bytes.0.saturating_add(bytes).min(self.bytes.1);
    }

    pub(super) fn item(&mut self) {
        self.items.0 = (self.items.0 + 1).min(self.items.1);
    }

    /// Whether to redraw the line on the terminal: at most ten times a second.
    pub(super) fn draw_due(&mut self, now: Instant) -> bool {
        due(&mut self.drawn, Duration::from_millis(100), now)
    }

    /// Whether to write an event: at most twice a second.
    pub(super) fn event_due(&mut self, now: Instant) -> bool {
        due(&mut self.told, Duration::from_millis(500), now)
    }

    /// Bytes per second, once there is something to measure.
    fn rate(&self, now: Instant) -> Option<u64> {
        let (first, moved) = self.samples.front()?;
        let seconds = now.duration_since(*first).as_secs_f64();
        let bytes = self.moved - moved;
        (seconds >= 0.5 && bytes > 0).then(|| (bytes as f64 / seconds) as u64)
    }

    fn left(&self, now: Instant) -> Option<String> {
        let rate = self.rate(now)?.max(1);
        Some(format!("{} left", span((self.bytes.1 - self.bytes.0) / rate)))
    }

    fn share(&self) -> u64 {
        let share = u128::from(self.bytes.0) * 100 / u128::from(self.bytes.1.max(1));
        u64::try_from(share).unwrap_or(100)
    }

    fn things(&self) -> Option<String> {
        let noun = noun(self.task).filter(|_| self.items.1 > 1)?;
        Some(format!("{} of {} {noun}", observer::count_of(self.items.0), observer::count_of(self.items.1)))
    }

    fn amount(&self) -> String {
        let (done, of) = (observer::size(self.bytes.0), observer::size(self.bytes.1));
        match (done.split_once(' '), of.split_once(' ')) {
            (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {of}"),
            _ => format!("{done} of {of}"),
        }
    }

    /// The line for a terminal of this width, with its verb in the first [`COLUMN`]. It never fills the last column.
    pub(super) fn line(&self, columns: usize, now: Instant) -> String {
        let room = columns.saturating_sub(1);
        let head = format!("{:>COLUMN$}", verb(self.task));
        // In order of importance; displayed in another order.
        let percent = Some(format!("{:>3} %", self.share()));
        let (amount, left) = (Some(self.amount()), self.left(now));
        let (things, rate) = (self.things(), self.rate(now).map(|rate| format!("{}/s", observer::size(rate))));
        let mut used = head.len();
        let mut fits = |part: Option<String>| {
            let part = part.filter(|part| used + part.len() + 2 <= room)?;
            used += part.len() + 2;
            Some(part)
        };
        let (percent, amount, left, things, rate) = (fits(percent), fits(amount), fits(left), fits(things), fits(rate));
        let bar = match room.saturating_sub(used + 3) {
            few if few < 10 => String::new(),
            many => {
                let width = many.min(24);
                let full = usize::try_from(self.share()).unwrap_or(100) * width / 100;
                let tip = if full < width { ">" } else { "" };
                format!(" [{:width$}]", "=".repeat(full) + tip)
            }
        };
        let mut out = head + &bar;
        for (at, part) in [percent, amount, rate, left, things].into_iter().flatten().enumerate() {
            out.push_str(if at == 0 { " " } else { "  " });
            out.push_str(&part);
        }
        out.chars().take(room).collect()
    }

    /// A line for a log, every 10 % or 30 seconds; none for work of less than a second.
    pub(super) fn log_line(&mut self, now: Instant) -> Option<(&'static str, String)> {
        let percent = self.share();
        let long = now.duration_since(self.since) > Duration::from_secs(1);
        if !long || (percent < self.percent + 10 && now.duration_since(self.said) < Duration::from_secs(30)) {
            return None;
        }
        self.percent = percent - percent % 10;
        self.said = now;
        let rate = self.rate(now).map(|rate| format!("{}/s", observer::size(rate)));
        let parts = [Some(format!("{percent} %")), Some(self.amount()), rate, self.left(now), self.things()];
        Some((verb(self.task), parts.into_iter().flatten().collect::<Vec<_>>().join("  ")))
    }

    /// The event for a program (`spec/schema/event.json`).
    pub(super) fn event(&self) -> Object<6> {
        Object([
            ("type", "progress".into()),
            ("task", word(self.task).into()),
            ("done", self.items.0.into()),
            ("of", self.items.1.into()),
            ("bytes", self.bytes.0.into()),
            ("bytes_of", self.bytes.1.into()),
        ])
    }
}

fn due(last: &mut Option<Instant>, every: Duration, now: Instant) -> bool {
    let due = last.is_none_or(|last| now.duration_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

/// `9s`, `1m 06s`, `2h 05m`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn verb(task: Task) -> &'static str {
    match task {
        Task::Resolve => "Resolving",
        Task::Write => "Writing",
        Task::Verify => "Verifying",
        Task::Scan => "Scanning",
        Task::Encode => "Encoding",
        Task::Protect => "Protecting",
        Task::Repair => "Repairing",
        Task::Push => "Pushing",
        Task::Unpack => "Unpacking",
        Task::ReadBack => "Reading back",
        Task::LookUp => "Looking up",
    }
}

fn word(task: Task) -> &'static str {
    match task {
        Task::Resolve => "resolve",
        Task::Write => "write",
        Task::Verify => "verify",
        Task::Scan => "scan",
        Task::Encode => "encode",
        Task::Protect => "protect",
        Task::Repair => "repair",
        Task::Push => "push",
        Task::Unpack => "unpack",
        Task::ReadBack => "read-back",
        Task::LookUp => "look-up",
    }
}

/// The counted items; `None` if only bytes are counted.
fn noun(task: Task) -> Option<&'static str> {
    match task {
        Task::Resolve => Some("images"),
        Task::Write | Task::Encode | Task::Verify | Task::Scan | Task::Push | Task::Unpack | Task::LookUp => {
            Some("blobs")
        }
        Task::Repair => Some("members"),
        Task::Protect | Task::ReadBack => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn half(now: Instant) -> Work {
        let mut work = Work::new(Task::Push, 407, 60 * GIB, now);
        work.advance(30 * GIB, now + Duration::from_secs(10));
        (0..203).for_each(|_| work.item());
        work
    }

    #[test]
    fn the_line_fits_terminals_of_any_width_and_loses_the_least_important_first() {
        let now = Instant::now();
        let work = half(now);
        let at = now + Duration::from_secs(10);
        for columns in 0..200 {
            assert!(work.line(columns, at).chars().count() < columns.max(1), "{columns}");
        }
        assert_eq!(work.line(40, at), "     Pushing  50 %  30.0 of 60.0 GiB");
        assert_eq!(work.line(50, at), "     Pushing  50 %  30.0 of 60.0 GiB  10s left");
        assert_eq!(work.line(60, at), "     Pushing  50 %  30.0 of 60.0 GiB  3.0 GiB/s  10s left");
        assert_eq!(work.line(80, at), "     Pushing  50 %  30.0 of 60.0 GiB  3.0 GiB/s  10s left  203 of 407 blobs");
        assert_eq!(
            work.line(100, at),
            "     Pushing [==========>         ]  50 %  30.0 of 60.0 GiB  3.0 GiB/s  10s left  203 of 407 blobs"
        );
    }

    #[test]
    fn what_an_earlier_run_did_counts_as_done_and_not_as_speed() {
        let now = Instant::now();
        let mut work = Work::new(Task::Write, 10, 100 << 20, now);
        work.resumed(5, 50 << 20);
        work.advance(10 << 20, now + Duration::from_secs(10));
        assert_eq!(work.rate(now + Duration::from_secs(10)), Some(1 << 20));
        let line = work.line(100, now + Duration::from_secs(10));
        assert!(line.contains(" 60 %") && line.contains("40s left") && line.contains("5 of 10 blobs"), "{line}");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let now = Instant::now();
        let mut work = Work::new(Task::Push, 1, 1 << 40, now);
        (1..=60).for_each(|s| work.advance(if s <= 30 { 100 << 20 } else { 1 << 20 }, now + Duration::from_secs(s)));
        let rate = work.rate(now + Duration::from_secs(60));
        assert!(rate.is_some_and(|rate| rate < 2 << 20), "{rate:?}");
    }

    #[test]
    fn times_of_hours_are_hours() {
        assert_eq!((span(9), span(66), span(7500)), ("9s".into(), "1m 06s".into(), "2h 05m".into()));
    }
}
