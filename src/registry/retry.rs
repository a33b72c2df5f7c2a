//! Trying again: which failures, how long to wait, how often (security H4).

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;

use super::Inner;
use crate::error::{Code, Error};

/// The longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// The longest wait of our own.
const LONGEST_OWN: Duration = Duration::from_secs(30);
/// Progress that earns a transfer a fresh set of tries, in bytes.
pub(super) const PROGRESS: u64 = 1024 * 1024;

/// A failure, with the wait that the server asked for.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, after: None }
    }
}

/// Counts failures of one operation, and sleeps between tries.
pub(super) struct Tries {
    failed: u32,
    mark: u64,
}

impl Tries {
    pub(super) fn new() -> Tries {
        Tries { failed: 0, mark: 0 }
    }

    /// Notes how far a transfer has come; enough progress since the last failure starts the count anew.
    pub(super) fn at(&mut self, position: u64) {
        if position >= self.mark.saturating_add(PROGRESS) {
            self.failed = 0;
            self.mark = position;
        }
    }

    /// Waits if another try is due, else hands the error back.
    pub(super) fn again(&mut self, inner: &Inner, failure: Failure) -> Result<(), Error> {
        let Failure { error, after } = failure;
        if !error.is_transient() {
            return Err(error);
        }
        if self.failed >= inner.options.retries {
            return Err(match self.failed {
                0 => error,
                1 => error.fact("tried twice"),
                n => error.fact(format!("tried {} times", n + 1)),
            });
        }
        let wait = after.map_or_else(|| backoff(inner.options.backoff, self.failed), |asked| asked.min(LONGEST_ASKED));
        self.failed += 1;
        sleep(inner, wait)
    }
}

impl Inner {
    /// Runs an operation that may safely be run twice until it succeeds, fails for good, or has used up its tries.
    pub(super) fn retry<T>(&self, mut run: impl FnMut() -> Result<T, Failure>) -> Result<T, Error> {
        let mut tries = Tries::new();
        loop {
            match run() {
                Ok(value) => return Ok(value),
                Err(failure) => tries.again(self, failure)?,
            }
        }
    }

    /// An error if the program was told to stop.
    pub(super) fn stopped(&self) -> Result<(), Error> {
        if self.options.stop.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Interrupted, "interrupted while talking to a registry"));
        }
        Ok(())
    }
}

/// How long a response asks to wait: `Retry-After` in seconds or as a date.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST_ASKED));
    }
    let when = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let seconds = when.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(seconds.max(0).unsigned_abs()).min(LONGEST_ASKED))
}

/// `base` doubled for each failure, with half of it left to chance so that clients do not return together.
fn backoff(base: Duration, failed: u32) -> Duration {
    let full = base.saturating_mul(1 << failed.min(16)).min(LONGEST_OWN);
    let chance = std::hash::RandomState::new().build_hasher().finish() % 1000;
    full / 2 + full.mul_f64(chance as f64 / 2000.0)
}

fn sleep(inner: &Inner, wait: Duration) -> Result<(), Error> {
    let end = Instant::now() + wait;
    loop {
        inner.stopped()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", value.parse().unwrap());
        asked_wait(&headers)
    }

    #[test]
    fn waits_are_bounded_whatever_the_server_asks() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("86400"), Some(LONGEST_ASKED));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("Tue, 31 Dec 2199 23:59:59 GMT"), Some(LONGEST_ASKED));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn own_waits_grow_and_stay_below_the_limit() {
        let base = Duration::from_millis(100);
        for failed in 0..40 {
            let full = base.saturating_mul(1 << failed.min(16)).min(LONGEST_OWN);
            let wait = backoff(base, failed);
            assert!(wait >= full / 2 && wait <= full, "{failed}: {wait:?}");
        }
    }
}
