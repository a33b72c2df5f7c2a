//! Response bodies: bounded, with a minimum speed, and blobs that resume by themselves.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::{Method, header};

use super::exchange::text;
use super::request::{Answer, Ask};
use super::retry::{Failure, Tries};
use super::url::Url;
use super::{Client, Inner};
use crate::error::{Code, Error};
use crate::oci::{Digest, Repository};

/// The minimum speed of a body, in bytes per second of waiting.
const SLOWEST: u64 = 1024;

/// Whether a transfer keeps going: in each `patience` of waiting it must average [`SLOWEST`] bytes per second.
pub(super) struct Pace {
    patience: Duration,
    waited: Duration,
    moved: u64,
}

impl Pace {
    pub(super) fn new(patience: Duration) -> Pace {
        Pace { patience, waited: Duration::ZERO, moved: 0 }
    }

    /// Records a read of this size and duration; returns false if the transfer is too slow.
    pub(super) fn keeps(&mut self, moved: usize, took: Duration) -> bool {
        self.waited += took;
        self.moved += moved as u64;
        if self.waited < self.patience {
            return true;
        }
        let enough = self.moved >= SLOWEST.saturating_mul(self.patience.as_secs());
        (self.waited, self.moved) = (Duration::ZERO, 0);
        enough
    }
}

/// A body with a minimum speed.
pub(super) struct Steady {
    body: Box<dyn Read + Send>,
    pace: Pace,
}

impl Read for Steady {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let n = self.body.read(buf)?;
        if !self.pace.keeps(n, start.elapsed()) && n > 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(n)
    }
}

impl Inner {
    /// The whole body, if it is no longer than `limit`.
    pub(super) fn read_all(&self, answer: Answer, limit: u64, what: &str) -> Result<Vec<u8>, Failure> {
        let url = answer.url;
        let too_long = || -> Failure {
            let error = self.failed(format!("{what} from `{}` is too large", url.authority()));
            error.fact(format!("more than {limit} bytes")).into()
        };
        if length(text(answer.response.headers(), "content-length")).is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut body = self.steady(answer.response).take(limit + 1);
        let mut buf = vec![0; 32 * 1024];
        loop {
            self.stopped()?;
            match body.read(&mut buf).map_err(|e| self.broken(e, &url))? {
                0 => break,
                n => bytes.extend_from_slice(&buf[..n]),
            }
        }
        if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
    }

    pub(super) fn steady(&self, response: ureq::http::Response<ureq::Body>) -> Steady {
        let body = Box::new(response.into_body().into_reader());
        Steady { body, pace: Pace::new(self.options.timeout) }
    }

    /// The bytes of a blob from `offset` on; the headers are checked against `size`. Without `ranges` the blob is
    /// requested from its start, and everything before `offset` is dropped. `None`: this server does not answer a range
    /// request correctly.
    fn open_blob(&self, want: &Want, offset: u64, ranges: bool) -> Result<Option<(Steady, Url)>, Failure> {
        let Want { repository, digest, size } = want;
        let url = self.endpoint(repository, &format!("blobs/{digest}"))?;
        let scope = self.reading(repository);
        let mut ask = Ask::read(Method::GET, &url, &scope);
        let part = ranges && offset > 0;
        if part {
            ask = ask.header(header::RANGE, format!("bytes={offset}-{}", size - 1));
        }
        let answer = self.send(ask)?;
        let declared = length(answer.header("content-length"));
        let mut skip = 0;
        match answer.status() {
            200 => {
                if let Some(declared) = declared.filter(|declared| declared != size) {
                    return Err(want.differs(format!("the registry has {declared} bytes")).into());
                }
                skip = offset;
            }
            206 if part && is_rest(want, offset, answer.header("content-range")) => {}
            206 | 416 if part => return Ok(None),
            404 => {
                let error = self.failed(format!("blob `{digest}` is not in `{repository}`"));
                return Err(error.into());
            }
            _ => return Err(self.refused(answer, Some(&scope), &format!("serve blob `{digest}` of `{repository}`"))),
        }
        let url = answer.url;
        let mut body = self.steady(answer.response);
        // The server does not support ranges: read the first part again, and drop it.
        let dropped = io::copy(&mut (&mut body).take(skip), &mut io::sink()).map_err(|e| self.broken(e, &url))?;
        if dropped < skip {
            return Err(self.cut(&url, dropped, *size).into());
        }
        Ok(Some((body, url)))
    }

    fn cut(&self, url: &Url, got: u64, size: u64) -> Error {
        let error = self.failed(format!("`{}` ended a blob early", url.authority()));
        error.fact(format!("{got} bytes of {size}")).transient()
    }
}

/// Identifies a blob.
pub(super) struct Want {
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Want {
    fn differs(&self, found: String) -> Error {
        let Want { repository, digest, size } = self;
        Error::new(Code::BlobMismatch, format!("blob `{digest}` of `{repository}` has another size than it should"))
            .fact(format!("expected {size} bytes"))
            .fact(found)
    }
}

/// The bytes of a blob from an offset to its end. After a transient failure, reopens the blob at the current position.
pub(super) struct BlobReader {
    client: Client,
    want: Want,
    at: u64,
    current: Option<(Steady, Url)>,
    /// Whether to use range requests: until the server answers one wrongly.
    ranges: bool,
    tries: Tries,
    failed: bool,
}

impl BlobReader {
    /// Opens the blob, so that a refusal is reported now.
    pub(super) fn open(client: &Client, want: Want, offset: u64) -> Result<BlobReader, Error> {
        let (client, tries) = (client.clone(), Tries::new());
        let mut reader = BlobReader { client, want, at: offset, current: None, ranges: true, tries, failed: false };
        while reader.current.is_none() && (offset < reader.want.size || reader.want.size == 0) {
            if let Err(failure) = reader.connect() {
                reader.tries.again(&reader.client.inner, failure)?;
            }
        }
        Ok(reader)
    }

    /// Requests the rest; or, if ranges do not work, everything.
    fn connect(&mut self) -> Result<(), Failure> {
        let inner = &self.client.inner;
        while self.current.is_none() {
            self.current = inner.open_blob(&self.want, self.at, self.ranges)?;
            self.ranges = self.ranges && self.current.is_some();
        }
        Ok(())
    }

    fn step(&mut self, buf: &mut [u8]) -> Result<usize, Failure> {
        self.client.inner.stopped()?;
        self.connect()?;
        let inner = &self.client.inner;
        let Some((body, url)) = &mut self.current else { return Ok(0) };
        let left = self.want.size - self.at;
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let n = if left == 0 { 0 } else { body.read(&mut buf[..room]).map_err(|e| inner.broken(e, url))? };
        if n == 0 && left > 0 {
            return Err(inner.cut(url, self.at, self.want.size).into());
        }
        self.at += n as u64;
        if self.at == self.want.size {
            // Reading to the end also returns the connection to the pool.
            if matches!(body.read(&mut [0]), Ok(1..)) {
                return Err(self.want.differs("the registry sends more".to_owned()).into());
            }
            self.current = None;
        }
        Ok(n)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("this blob could not be read"));
        }
        loop {
            let done = self.at == self.want.size && self.current.is_none();
            if done || (buf.is_empty() && self.want.size > 0) {
                return Ok(0);
            }
            match self.step(buf) {
                Ok(n) => {
                    self.tries.at(self.at);
                    return Ok(n);
                }
                Err(failure) => {
                    self.current = None;
                    let again = self.tries.again(&self.client.inner, failure);
                    again.inspect_err(|_| self.failed = true)?;
                }
            }
        }
    }
}

/// A `Content-Range: bytes FIRST-LAST/WHOLE` (RFC 9110, 14.4).
pub(super) struct ContentRange {
    first: u64,
    last: u64,
    /// Size of all of it, in bytes; `None` is `*`, not known.
    pub(super) whole: Option<u64>,
}

impl ContentRange {
    pub(super) fn of(header: Option<&str>) -> Option<ContentRange> {
        let (span, whole) = header?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
        Some(ContentRange { first: first.parse().ok()?, last: last.parse().ok()?, whole })
    }
}

/// Whether this is the requested range (a smaller `last` is a shorter answer).
fn is_rest(want: &Want, offset: u64, range: Option<&str>) -> bool {
    ContentRange::of(range).is_some_and(|part| {
        let whole = part.whole.is_none_or(|whole| whole == want.size);
        part.first == offset && part.last >= part.first && part.last < want.size && whole
    })
}

fn length(header: Option<&str>) -> Option<u64> {
    header?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trickles_is_too_slow_and_what_pauses_is_not() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(10 * second);
        // A pause that is made up for within the window.
        assert!(pace.keeps(0, 9 * second) && pace.keeps(10 * 1024, second));
        // A byte each second: never silent.
        assert!((0..9).all(|_| pace.keeps(1, second)));
        assert!(!pace.keeps(1, second));
        // Earlier progress no longer counts.
        assert!(pace.keeps(1 << 20, 10 * second));
        assert!((0..9).all(|_| pace.keeps(1, second)) && !pace.keeps(1, second));
    }

    #[test]
    fn only_the_rest_that_was_asked_for_is_a_rest() {
        #![allow(clippy::unwrap_used)]
        let want = Want { repository: "r.example/a".parse().unwrap(), digest: Digest::of(b""), size: 1000 };
        for good in ["bytes 100-999/1000", "bytes 100-999/*", "bytes 100-200/1000"] {
            assert!(is_rest(&want, 100, Some(good)), "{good}");
        }
        for bad in
            ["bytes 0-999/1000", "bytes 101-999/1000", "bytes 100-1000/1000", "bytes 100-999/2000", "100-999/1000"]
        {
            assert!(!is_rest(&want, 100, Some(bad)), "{bad}");
        }
        assert!(!is_rest(&want, 100, None));
    }
}
