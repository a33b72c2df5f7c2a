//! Bodies as they arrive: bounded, never too slow, and blobs that resume by themselves.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::http::{Method, header};

use super::exchange::{Answer, Ask, Scope, text};
use super::retry::{Failure, Tries};
use super::url::Url;
use super::{Client, Inner};
use crate::error::{Code, Error};
use crate::oci::{Digest, Repository};

/// What a body must bring per second of waiting, in bytes.
const SLOWEST: u64 = 1024;

/// A body that may not trickle: over each stretch of `patience` spent waiting it must bring [`SLOWEST`] per second.
pub(super) struct Steady {
    body: Box<dyn Read + Send>,
    patience: Duration,
    waited: Duration,
    got: u64,
}

impl Read for Steady {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let n = self.body.read(buf)?;
        self.waited += start.elapsed();
        self.got += n as u64;
        if self.waited >= self.patience {
            if n > 0 && self.got < SLOWEST.saturating_mul(self.patience.as_secs()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            (self.waited, self.got) = (Duration::ZERO, 0);
        }
        Ok(n)
    }
}

impl Inner {
    /// The whole body, if it is not longer than `limit`.
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
        Steady { body, patience: self.options.timeout, waited: Duration::ZERO, got: 0 }
    }

    /// A blob's bytes from `offset` on, with what the headers say checked against `size`.
    fn open_blob(&self, want: &Want, offset: u64) -> Result<(Steady, Url), Failure> {
        let Want { repository, digest, size } = want;
        let url = self.endpoint(repository, &format!("blobs/{digest}"))?;
        let scope = Scope::pull(repository);
        let mut ask = Ask::read(Method::GET, &url, &scope);
        if offset > 0 {
            ask = ask.header(header::RANGE, format!("bytes={offset}-{}", size - 1));
        }
        let answer = self.send(ask)?;
        let said = length(answer.header("content-length"));
        let mut skip = 0;
        match answer.status() {
            200 => {
                if let Some(said) = said.filter(|said| said != size) {
                    return Err(want.differs(format!("the registry has {said} bytes")).into());
                }
                skip = offset;
            }
            206 if offset > 0 => self.check_range(want, offset, answer.header("content-range"))?,
            416 => return Err(want.differs(format!("the registry has fewer than {} bytes", offset + 1)).into()),
            404 => {
                let error = self.failed(format!("blob `{digest}` is not in `{repository}`"));
                return Err(error.into());
            }
            _ => return Err(self.refused(answer, Some(&scope), &format!("serve blob `{digest}` of `{repository}`"))),
        }
        let url = answer.url;
        let mut body = self.steady(answer.response);
        // The server does not know ranges: what is there already is read again, and dropped.
        let dropped = io::copy(&mut (&mut body).take(skip), &mut io::sink()).map_err(|e| self.broken(e, &url))?;
        if dropped < skip {
            return Err(self.cut(&url, dropped, *size).into());
        }
        Ok((body, url))
    }

    /// `Content-Range: bytes FIRST-LAST/WHOLE` must be what was asked for (a shorter LAST is a shorter answer).
    fn check_range(&self, want: &Want, offset: u64, range: Option<&str>) -> Result<(), Failure> {
        let parsed = range.and_then(|range| {
            let (span, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = span.split_once('-')?;
            let whole = if whole == "*" { want.size } else { whole.parse().ok()? };
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, whole))
        });
        match parsed {
            Some((first, last, whole))
                if first == offset && last >= first && last < want.size && whole == want.size =>
            {
                Ok(())
            }
            Some((_, _, whole)) if whole != want.size => {
                Err(want.differs(format!("the registry has {whole} bytes")).into())
            }
            _ => {
                let error =
                    self.failed(format!("`{}` sent another part of a blob than asked for", want.repository.registry()));
                let found = range.unwrap_or("no Content-Range");
                Err(error
                    .fact(format!("expected bytes {offset} to {}", want.size - 1))
                    .fact(format!("found {found}"))
                    .into())
            }
        }
    }

    fn cut(&self, url: &Url, got: u64, size: u64) -> Error {
        let error = self.failed(format!("`{}` ended a blob early", url.authority()));
        error.fact(format!("{got} bytes of {size}")).transient()
    }
}

/// Which blob.
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

/// A blob's bytes from an offset to its end. On a transient failure it opens the blob again where it stopped.
pub(super) struct BlobReader {
    client: Client,
    want: Want,
    at: u64,
    current: Option<(Steady, Url)>,
    tries: Tries,
    failed: bool,
}

impl BlobReader {
    /// Opens the blob, so that what the registry refuses is told now.
    pub(super) fn open(client: &Client, want: Want, offset: u64) -> Result<BlobReader, Error> {
        let mut tries = Tries::new();
        let mut current = None;
        while current.is_none() && (offset < want.size || want.size == 0) {
            match client.inner.open_blob(&want, offset) {
                Ok(opened) => current = Some(opened),
                Err(failure) => tries.again(&client.inner, failure)?,
            }
        }
        Ok(BlobReader { client: client.clone(), want, at: offset, current, tries, failed: false })
    }

    fn step(&mut self, buf: &mut [u8]) -> Result<usize, Failure> {
        let inner = &self.client.inner;
        inner.stopped()?;
        let (body, url) = match &mut self.current {
            Some(current) => current,
            none => none.insert(inner.open_blob(&self.want, self.at)?),
        };
        let left = self.want.size - self.at;
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let n = if left == 0 { 0 } else { body.read(&mut buf[..room]).map_err(|e| inner.broken(e, url))? };
        if n == 0 && left > 0 {
            return Err(inner.cut(url, self.at, self.want.size).into());
        }
        self.at += n as u64;
        if self.at == self.want.size {
            // The end of the body, seen, also gives the connection back to the pool.
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

fn length(header: Option<&str>) -> Option<u64> {
    header?.trim().parse().ok()
}
