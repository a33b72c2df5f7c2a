//! How many at once get most done.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{LARGE, LITTLE, lock};

/// The shortest time whose results are compared while bytes move: connections get going, buffers fill.
const WINDOW: Duration = Duration::from_millis(400);
/// The same for small requests.
const QUICK: Duration = Duration::from_millis(20);
/// How many times a climber stays where it is before it tries another limit.
const REST: u32 = 6;

/// Searches for the limit with which most gets done: tries twice as many, then one less, and keeps what pays.
#[derive(Debug)]
pub(super) struct Climber {
    pub(super) limit: usize,
    least: usize,
    most: usize,
    lane: usize,
    /// Since when `done` and `notes` count.
    since: Instant,
    /// Bytes of large items; small items.
    done: u64,
    notes: usize,
    /// Windows that pass before the next comparison.
    skip: u32,
    /// The limit before the one that is tried now, and what got done with it in a second.
    before: Option<(usize, f64)>,
    /// Whether the next trial is of a smaller limit.
    less: bool,
    fixed: bool,
}

impl Climber {
    pub(super) fn new(lane: usize, limit: usize, most: usize) -> Mutex<Climber> {
        let (since, before) = (Instant::now(), None);
        let limit = limit.min(most);
        // A few small requests at once are in nobody's way.
        let least = if lane == LITTLE { limit.min(4) } else { 1 };
        Mutex::new(Climber {
            limit,
            least,
            most,
            lane,
            since,
            done: 0,
            notes: 0,
            skip: 0,
            before,
            less: false,
            fixed: false,
        })
    }

    /// One that never moves.
    pub(super) fn fixed(lane: usize, limit: usize) -> Mutex<Climber> {
        let climber = Climber::new(lane, limit, limit);
        lock(&climber).fixed = true;
        climber
    }

    /// Other work begins: what got done before does not compare with it, and more at once may pay.
    pub(super) fn begin(&mut self) {
        if !self.fixed {
            (self.notes, self.skip, self.before, self.less) = (0, 0, None, false);
        }
    }

    /// Notes what got done. Returns whether more may be started than before.
    pub(super) fn note(&mut self, done: u64, now: Instant) -> bool {
        if self.fixed {
            return false;
        }
        // A window begins with something that was finished, not with a pause.
        if self.notes == 0 {
            (self.since, self.done, self.notes) = (now, 0, 1);
            return false;
        }
        (self.done, self.notes) = (self.done + done, self.notes + 1);
        let time = now.saturating_duration_since(self.since);
        let enough = match self.lane {
            LARGE => time >= WINDOW,
            // Each of those at once was finished twice.
            _ => time >= QUICK && self.notes >= 2 * self.limit,
        };
        if !enough {
            return false;
        }
        let rate = self.done as f64 / time.as_secs_f64();
        (self.since, self.done, self.notes) = (now, 0, 0);
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let limit = self.limit;
        match self.before.take() {
            None => self.attempt(rate),
            // More at once has to pay.
            Some((before, then)) if limit > before => match rate > then * 1.1 {
                true => self.attempt(rate),
                false => self.settle(before, true),
            },
            // Less at once must cost nothing.
            Some((before, then)) => match rate >= then * 0.98 {
                true => self.settle(limit, true),
                false => self.settle(before, false),
            },
        }
        self.limit > limit
    }

    /// Tries another limit.
    fn attempt(&mut self, rate: f64) {
        let next = match self.less {
            true => (self.limit - 1).max(self.least),
            false => (self.limit * 2).min(self.most),
        };
        if next == self.limit {
            return self.settle(self.limit, !self.less);
        }
        (self.before, self.limit) = (Some((self.limit, rate)), next);
        // What fills buffers is not yet moved.
        self.skip = u32::from(self.lane == LARGE);
    }

    /// Stays with a limit for a while. `less`: then tries a smaller one, else a larger one.
    fn settle(&mut self, limit: usize, less: bool) {
        (self.limit, self.less, self.skip, self.before) = (limit, less, REST, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a climber with what would get done at each limit in a second.
    fn climb(lane: usize, start: usize, rate: impl Fn(usize) -> u64, windows: usize) -> usize {
        let climber = Climber::new(lane, start, 16);
        let (mut climber, mut now) = (lock(&climber), Instant::now());
        for _ in 0..windows * 100 {
            now += Duration::from_millis(10);
            let done = rate(climber.limit) / 100;
            _ = climber.note(done, now);
        }
        climber.limit
    }

    #[test]
    fn a_pace_grows_while_more_gets_done_and_falls_back_when_it_does_not() {
        // Each connection is slow: all of them.
        assert_eq!(climb(LARGE, 2, |at_once| at_once as u64 * 1_000_000, 60), 16);
        // The line is full.
        assert!(climb(LARGE, 2, |_| 60_000_000, 60) <= 2);
        assert!(climb(LARGE, 16, |_| 60_000_000, 300) <= 2);
        // More at once is in the way.
        assert!(climb(LARGE, 2, |at_once| 60_000_000 / at_once.max(2) as u64, 60) <= 2);
        // The best is between.
        let best = climb(LARGE, 2, |at_once| at_once.min(4) as u64 * 10_000_000, 60);
        assert!((3..=8).contains(&best), "{best}");
        // A fixed pace stays.
        let climber = Climber::fixed(LARGE, 7);
        let (mut climber, mut now) = (lock(&climber), Instant::now());
        for _ in 0..1000 {
            now += Duration::from_millis(100);
            _ = climber.note(1, now);
        }
        assert_eq!(climber.limit, 7);
    }
}
