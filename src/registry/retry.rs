//! Retries: which failures, how long to wait, how many times (security H4).

use std::hash::{BuildHasher, Hasher};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;

use super::Inner;
use crate::error::{Code, Error};

/// How long one operation waits at the request of servers, over all its tries.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// The same for all operations of one client.
const LONGEST_IN_ALL: Duration = Duration::from_secs(3600);
/// How many times a login may be renewed within one operation: such a try does not count as a failure.
const MAX_RENEWALS: u32 = 3;
/// The longest pause of our own.
const LONGEST_OWN: Duration = Duration::from_secs(30);
/// After this much progress, the count of failures restarts, in bytes.
pub(super) const PROGRESS: u64 = 1024 * 1024;

/// A failure, with the pause that the server requested.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) after: Option<Duration>,
    /// Whether only the login had expired, and a new one is available.
    pub(super) renewed: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, after: None, renewed: false }
    }
}

/// Whether an answer with this status may change later.
pub(super) fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Counts the failures of one operation, and sleeps between tries.
#[derive(Default)]
pub(super) struct Tries {
    failed: u32,
    mark: u64,
    renewals: u32,
    /// The total pause requested by servers so far.
    requested: Duration,
}

impl Tries {
    pub(super) fn new() -> Tries {
        Tries::default()
    }

    /// Records the position of a transfer; enough progress since the last failure restarts the count.
    pub(super) fn at(&mut self, position: u64) {
        if position >= self.mark.saturating_add(PROGRESS) {
            self.failed = 0;
            self.mark = position;
        }
    }

    /// Waits if another try is due, otherwise returns the error.
    pub(super) fn again(&mut self, inner: &Inner, failure: Failure) -> Result<(), Error> {
        let Failure { error, after, renewed } = failure;
        if !error.is_transient() {
            return Err(error);
        }
        if renewed && self.renewals < MAX_RENEWALS {
            self.renewals += 1;
            return inner.stopped();
        }
        if self.failed >= inner.options.retries {
            return Err(match self.failed {
                0 => error,
                1 => error.fact("tried twice"),
                n => error.fact(format!("tried {} times", n + 1)),
            });
        }
        let wait = match after {
            None => backoff(inner.options.backoff, self.failed),
            Some(requested)
                if self.requested.saturating_add(requested) > LONGEST_ASKED || !inner.may_wait(requested) =>
            {
                return Err(error
                    .fact(format!("it asked for a pause of {} seconds (Retry-After)", requested.as_secs()))
                    .hint("run the same command again after that time"));
            }
            Some(requested) => {
                self.requested += requested;
                requested + requested.mul_f64(chance() / 10.0)
            }
        };
        self.failed += 1;
        if let Some(super::Listener(hear)) = &inner.options.listener {
            let (tries, seconds) = (inner.options.retries, wait.as_secs_f32());
            let first = error.facts().iter().find(|fact| fact.starts_with("it said:"));
            let detail = first.map(|fact| format!("; {fact}")).unwrap_or_default();
            hear(&format!("retry {} of {tries} in {seconds:.1} s: {}{detail}", self.failed, error.message()));
        }
        sleep(inner, wait)
    }
}

impl Inner {
    /// Runs a repeatable operation until it succeeds, fails for good, or has used up its tries.
    pub(super) fn retry<T>(&self, mut run: impl FnMut() -> Result<T, Failure>) -> Result<T, Error> {
        let mut tries = Tries::new();
        loop {
            match run() {
                Ok(value) => return Ok(value),
                Err(failure) => tries.again(self, failure)?,
            }
        }
    }

    /// A pause of our own.
    pub(super) fn wait(&self, times: u32) -> Result<(), Error> {
        sleep(self, backoff(self.options.backoff, times))
    }

    /// Deducts a requested pause from this client's total; returns false if it is too long.
    fn may_wait(&self, requested: Duration) -> bool {
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = waited.saturating_add(requested);
        let fits = sum <= LONGEST_IN_ALL;
        if fits {
            *waited = sum;
        }
        fits
    }

    /// Returns an error if an interruption was requested.
    pub(super) fn stopped(&self) -> Result<(), Error> {
        if self.options.stop.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Interrupted, "interrupted while talking to a registry"));
        }
        Ok(())
    }
}

/// The pause that a response requests: `Retry-After` in seconds or as a date.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let when = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let seconds = when.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(seconds.max(0).unsigned_abs()))
}

/// `base` doubled for each failure, half of it random, so that clients do not return together.
fn backoff(base: Duration, failed: u32) -> Duration {
    let full = base.saturating_mul(1 << failed.min(16)).min(LONGEST_OWN);
    full / 2 + full.mul_f64(chance() / 2.0)
}

/// At least 0, below 1.
fn chance() -> f64 {
    (std::hash::RandomState::new().build_hasher().finish() % 1000) as f64 / 1000.0
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

    fn requested(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", value.parse().unwrap());
        asked_wait(&headers)
    }

    #[test]
    fn a_wait_is_read_in_seconds_or_as_a_date() {
        assert_eq!(requested("7"), Some(Duration::from_secs(7)));
        assert_eq!(requested("86400"), Some(Duration::from_secs(86400)));
        assert_eq!(requested("99999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(requested("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(requested("Tue, 31 Dec 2199 23:59:59 GMT") > Some(LONGEST_IN_ALL));
        for none in ["soon", "-1", "0.5", ""] {
            assert_eq!(requested(none), None, "{none}");
        }
    }

    fn client() -> super::super::Client {
        let auth_file = Some("/dev/null".into());
        super::super::Client::new(super::super::Options { auth_file, ..Default::default() }).unwrap()
    }

    fn busy(seconds: u64) -> Failure {
        let error = Error::new(Code::Source, "busy").transient();
        Failure { after: Some(Duration::from_secs(seconds)), ..error.into() }
    }

    #[test]
    fn waits_are_bounded_whatever_the_server_asks() {
        let client = client();
        let inner = &client.inner;
        // A pause that is too long is not started, and earlier pauses count.
        let error = Tries::new().again(inner, busy(301)).unwrap_err();
        assert!(error.facts().iter().any(|f| f.contains("a pause of 301 seconds")), "{error:?}");
        assert!(error.hint_text().is_some_and(|h| h.contains("after that time")));
        assert!(Tries::new().again(inner, busy(u64::MAX)).is_err());
        assert!(Tries { requested: Duration::from_secs(299), ..Tries::new() }.again(inner, busy(2)).is_err());
        // Across all operations.
        assert!((0..12).all(|_| inner.may_wait(LONGEST_ASKED)));
        assert!(!inner.may_wait(Duration::from_secs(1)));
        assert!(Tries::new().again(inner, busy(1)).is_err());
        Tries::new().again(inner, busy(0)).unwrap();
    }

    #[test]
    fn a_renewed_login_is_no_failure_a_few_times() {
        let client = client();
        let renewed = || Failure { renewed: true, ..Error::new(Code::Auth, "old").transient().into() };
        let mut tries = Tries { failed: 5, ..Tries::new() };
        for _ in 0..MAX_RENEWALS {
            tries.again(&client.inner, renewed()).unwrap();
        }
        assert_eq!(tries.again(&client.inner, renewed()).unwrap_err().code(), Code::Auth);
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
