//! Writing: blobs (mounted, or uploaded in one request and resumed where that breaks) and manifests.

use std::io::{self, Read};
use std::time::Instant;

use ureq::http::{Method, header};

use super::body::Pace;
use super::failure::{has_code, quote, read_errors};
use super::request::{Answer, Ask, Payload, Scope};
use super::retry::{Failure, Tries, passes};
use super::url::Url;
use super::{Client, Inner, MAX_MANIFEST, Wanted};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository};

/// How a blob came into a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// From another repository of the same registry, without sending it.
    Mounted,
    /// By sending it.
    Uploaded,
}

/// What a registry said to a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestPut {
    /// Whether it has put the manifest on its list of referrers (`OCI-Subject`). If not, and the manifest has a
    /// `subject`, the pusher has to keep the fallback tag.
    pub subject_handled: bool,
}

/// Opens the content of a blob at an offset.
type Open<'a, 'r> = &'a mut dyn FnMut(u64) -> Result<Box<dyn Read + 'r>>;

impl Client {
    /// Brings a blob into a repository: mounted from `mount_from` if that is given, on the same registry, and the
    /// registry agrees; else sent.
    ///
    /// `open` opens the content at an offset: at 0 first, again wherever a broken upload goes on. The last byte is
    /// not sent before the reader has reported its clean end after exactly `size` bytes, so a reader that fails at
    /// its end (a digest that does not match) leaves nothing behind: the upload is cancelled and the reader's own
    /// error returned.
    ///
    /// Where a broken upload goes on is the registry's to say. `docker-registry` 2.8 cannot go on inside a request
    /// and is sent the blob again from its start; it also keeps a cancelled upload's bytes until its own purge.
    pub fn push_blob<'r>(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        mount_from: Option<&Repository>,
        open: &mut dyn FnMut(u64) -> Result<Box<dyn Read + 'r>>,
    ) -> Result<Pushed> {
        let mut upload = Upload {
            inner: &self.inner,
            base: self.inner.endpoint(repository, "blobs/uploads/")?,
            scope: Scope::push(repository),
            repository,
            digest: *digest,
            size,
            session: None,
            lost: false,
            content_failed: false,
        };
        let other = |from: &&Repository| from.registry() == repository.registry() && from.path() != repository.path();
        if let Some(from) = mount_from.filter(other)
            && self.inner.same_login(repository, from)?
            && upload.mount(from)?
        {
            return Ok(Pushed::Mounted);
        }
        let mut tries = Tries::new();
        loop {
            match upload.go(open, &mut tries) {
                Ok(()) => return Ok(Pushed::Uploaded),
                Err(failure) if upload.content_failed => {
                    upload.cancel();
                    return Err(failure.error);
                }
                Err(failure) => {
                    if let Err(error) = tries.again(&self.inner, failure) {
                        upload.cancel();
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Stores a manifest or index under a tag or its digest, and compares the digest that the registry names.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        wanted: &Wanted,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<ManifestPut> {
        let digest = Digest::of(bytes);
        if let Wanted::Digest(wanted) = wanted
            && *wanted != digest
        {
            return Err(Error::new(Code::BlobMismatch, "a manifest does not have the digest it is pushed by")
                .fact(format!("expected {wanted}"))
                .fact(format!("found    {digest}"))
                .state("nothing was sent"));
        }
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Error::new(Code::Malformed, format!("a manifest of {} bytes is too large", bytes.len())));
        }
        let inner = &self.inner;
        inner.retry(|| {
            let url = inner.endpoint(repository, &format!("manifests/{wanted}"))?;
            let scope = Scope::push(repository);
            let mut ask = Ask::read(Method::PUT, &url, &scope).header(header::CONTENT_TYPE, media_type);
            (ask.payload, ask.follow) = (Payload::Bytes(bytes), false);
            let answer = inner.send(ask)?;
            if !matches!(answer.status(), 200 | 201) {
                return Err(inner.refused(
                    answer,
                    Some(&scope),
                    &format!("take manifest `{wanted}` for `{repository}`"),
                ));
            }
            inner.same_digest(&answer, &digest, repository)?;
            let subject_handled = answer.header("oci-subject").is_some();
            read_errors(answer.response);
            Ok(ManifestPut { subject_handled })
        })
    }
}

impl Inner {
    /// Compares `Docker-Content-Digest`, if the registry sent one that can be compared.
    fn same_digest(&self, answer: &Answer, digest: &Digest, repository: &Repository) -> Result<()> {
        match answer.header("docker-content-digest").and_then(|said| said.parse::<Digest>().ok()) {
            Some(said) if said != *digest => {
                let error = self.failed(format!("the registry stored something else in `{repository}`"));
                Err(error.fact(format!("expected {digest}")).fact(format!("found    {said}")))
            }
            _ => Ok(()),
        }
    }
}

/// One blob on its way.
struct Upload<'a> {
    inner: &'a Inner,
    base: Url,
    scope: Scope,
    repository: &'a Repository,
    digest: Digest,
    size: u64,
    /// The upload session that the registry opened.
    session: Option<Url>,
    /// Whether a request to the session ended without an answer, so that the registry has to be asked how far it is.
    lost: bool,
    /// Whether the content itself failed: that ends the push, also if its error calls itself transient, because the
    /// reader has done its own retries.
    content_failed: bool,
}

impl Upload<'_> {
    fn ask(&self, method: Method, url: &Url) -> Ask<'_> {
        Ask { follow: false, url: url.clone(), ..Ask::read(method, &self.base, &self.scope) }
    }

    /// Tries to mount. A registry that does not want to may open a session instead, which is then used; one that
    /// refuses (it may not let this login read `from`) is given the bytes.
    fn mount(&mut self, from: &Repository) -> Result<bool> {
        let scope = Scope { from: Some(from.clone()), ..self.scope.clone() };
        let url = self.base.clone().with_query("mount", &self.digest.to_string()).with_query("from", from.path());
        let answer = self.inner.retry(|| {
            let ask = Ask { follow: false, url: url.clone(), ..Ask::read(Method::POST, &self.base, &scope) };
            let answer = self.inner.send(ask)?;
            if passes(answer.status()) {
                Err(self.inner.refused(answer, Some(&scope), "mount a blob"))
            } else {
                Ok(answer)
            }
        });
        let answer = match answer {
            Ok(answer) => answer,
            // The token server may refuse a scope on `from`.
            Err(error) if error.code() == Code::Auth => return Ok(false),
            Err(error) => return Err(error),
        };
        match answer.status() {
            201 => {
                self.inner.same_digest(&answer, &self.digest, self.repository)?;
                read_errors(answer.response);
                // One that was only said to be mounted is sent.
                self.inner.retry(|| self.is_there(&scope))
            }
            202 => {
                self.session = Some(self.inner.location(&answer.url, answer.response.headers())?);
                read_errors(answer.response);
                Ok(false)
            }
            _ => {
                read_errors(answer.response);
                Ok(false)
            }
        }
    }

    /// One try: asks how far a broken upload came, or opens a session, and sends the rest.
    fn go(&mut self, open: Open<'_, '_>, tries: &mut Tries) -> Result<(), Failure> {
        let mut offset = 0;
        if self.lost
            && let Some(session) = self.session.clone()
        {
            match self.progress(&session)? {
                Some((url, there)) => (self.session, offset) = (Some(url), there),
                None => {
                    self.session = None;
                    // The session is gone: perhaps because the blob was finished and only the answer got lost.
                    if self.is_there(&self.scope)? {
                        self.lost = false;
                        return Ok(());
                    }
                }
            }
            self.lost = false;
            tries.at(offset);
        }
        let session = match &self.session {
            Some(session) => session.clone(),
            None => {
                let answer = self.inner.send(self.ask(Method::POST, &self.base))?;
                if answer.status() != 202 {
                    return Err(self.refused(answer));
                }
                let session = self.inner.location(&answer.url, answer.response.headers())?;
                read_errors(answer.response);
                self.session.insert(session).clone()
            }
        };
        let resumed = offset > 0;
        let outcome = match offset {
            0 => self.send_all(session, open),
            _ => self.send_rest(session, offset, open),
        };
        outcome.map_err(|failure| {
            // A registry that lost its place cannot be resumed; from the start it may work.
            if resumed && !failure.error.is_transient() && failure.error.code() == self.inner.options.side.code() {
                self.cancel();
                return Failure { error: failure.error.transient(), ..failure };
            }
            failure
        })
    }

    /// How many bytes the registry has, and where to go on; `None`: start anew.
    fn progress(&mut self, session: &Url) -> Result<Option<(Url, u64)>, Failure> {
        let answer = self.inner.send(self.ask(Method::GET, session))?;
        match answer.status() {
            200 | 202 | 204 => {}
            404 | 400 | 405 | 410 => {
                read_errors(answer.response);
                return Ok(None);
            }
            _ => return Err(self.refused(answer)),
        }
        // `0-0` means one byte, or none: not worth to tell apart.
        let last = answer
            .header("range")
            .and_then(|range| range.trim().trim_start_matches("bytes=").strip_prefix("0-")?.parse::<u64>().ok());
        let there = last.filter(|last| *last > 0).and_then(|last| last.checked_add(1));
        let next = match answer.header("location") {
            Some(_) => self.inner.location(&answer.url, answer.response.headers())?,
            None => session.clone(),
        };
        read_errors(answer.response);
        Ok(there.filter(|there| *there <= self.size).map(|there| (next, there)))
    }

    /// The whole blob in one request that also ends the upload.
    fn send_all(&mut self, session: Url, open: Open<'_, '_>) -> Result<(), Failure> {
        let url = session.with_query("digest", &self.digest.to_string());
        let answer = self.stream(Method::PUT, &url, 0, open)?;
        self.finished(answer)
    }

    /// The rest of the blob, and then the end of the upload.
    fn send_rest(&mut self, session: Url, offset: u64, open: Open<'_, '_>) -> Result<(), Failure> {
        let mut session = session;
        if offset < self.size {
            let answer = self.stream(Method::PATCH, &session, offset, open)?;
            if !matches!(answer.status(), 202 | 204) {
                return Err(self.refused(answer));
            }
            session = self.inner.location(&answer.url, answer.response.headers())?;
            read_errors(answer.response);
            self.session = Some(session.clone());
        }
        // All bytes but the last went only after the reader's clean end, so what is there is whole.
        let url = session.with_query("digest", &self.digest.to_string());
        self.lost = true;
        let answer = self.inner.send(self.ask(Method::PUT, &url))?;
        self.lost = false;
        self.finished(answer)
    }

    fn stream(&mut self, method: Method, url: &Url, offset: u64, open: Open<'_, '_>) -> Result<Answer, Failure> {
        let left = self.size - offset;
        let inner = open(offset).map_err(|e| self.content(e.into()))?;
        let mut guard = Guard { inner, left, pace: Pace::new(self.inner.options.timeout), given: None, failure: None };
        if left == 0 {
            guard.expect_end().map_err(|e| self.content(e))?;
        }
        let mut ask = self.ask(method, url).header(header::CONTENT_TYPE, "application/octet-stream");
        if offset > 0 {
            ask = ask.header(header::CONTENT_RANGE, format!("{offset}-{}", self.size - 1));
        }
        if left > 0 {
            ask.payload = Payload::Stream(&mut guard, left);
        }
        let outcome = self.inner.send(ask);
        let broken = guard.failure.take();
        drop(guard);
        self.lost = outcome.is_err();
        match broken {
            Some(Broken::Content(error)) => Err(self.content(error)),
            Some(Broken::Slow) => {
                self.lost = true;
                let at = url.authority();
                let error = self.inner.failed(format!("`{at}` takes an upload too slowly")).fact("less than 1 KiB/s");
                Err(error.transient().into())
            }
            None => outcome,
        }
    }

    /// The failure of the content itself.
    fn content(&mut self, error: io::Error) -> Failure {
        self.content_failed = true;
        match Error::try_from(error) {
            Ok(own) => own.into(),
            Err(e) => {
                let sentence = format!("blob `{}` could not be read while it was sent: {e}", self.digest);
                Error::new(Code::Io, sentence).source(e).into()
            }
        }
    }

    fn finished(&mut self, answer: Answer) -> Result<(), Failure> {
        if !matches!(answer.status(), 200 | 201 | 204) {
            return Err(self.refused(answer));
        }
        self.inner.same_digest(&answer, &self.digest, self.repository)?;
        read_errors(answer.response);
        // Should the next request fail, then the blob is looked for before it is sent again.
        self.lost = true;
        if !self.is_there(&self.scope)? {
            (self.session, self.lost) = (None, false);
            let sentence = format!("`{}` took blob `{}`, and does not have it", self.base.authority(), self.digest);
            let error = self.inner.failed(sentence).fact(format!("in `{}`", self.repository));
            return Err(error.transient().into());
        }
        (self.session, self.lost) = (None, false);
        Ok(())
    }

    /// Whether the repository has the blob, as far as the registry's word goes: it is asked after each upload and each
    /// mount, because a manifest is only as good as what it names (security H1, H5).
    fn is_there(&self, scope: &Scope) -> Result<bool, Failure> {
        let url = self.inner.endpoint(self.repository, &format!("blobs/{}", self.digest))?;
        let answer = self.inner.send(Ask::read(Method::HEAD, &url, scope))?;
        match answer.status() {
            200 => Ok(answer.header("content-length").is_none_or(|n| n.trim().parse() == Ok(self.size))),
            404 => Ok(false),
            _ => {
                let task = format!("look up blob `{}` of `{}`", self.digest, self.repository);
                Err(self.inner.refused(answer, Some(scope), &task))
            }
        }
    }

    fn refused(&mut self, answer: Answer) -> Failure {
        let task = format!("take blob `{}` for `{}`", self.digest, self.repository);
        match answer.status() {
            // The session died of old age, or the registry was restarted.
            404 if self.session.is_some() => {
                let body = read_errors(answer.response);
                let error = self.inner.failed(format!("`{}` lost an upload", answer.url.authority()));
                let error = match quote(&body) {
                    Some(said) => error.fact(format!("it said: {said}")),
                    None => error,
                };
                self.session = None;
                if has_code(&body, "NAME_UNKNOWN") { error.into() } else { error.transient().into() }
            }
            _ => {
                let failure = self.inner.refused(answer, Some(&self.scope), &task);
                self.lost = self.session.is_some() && failure.error.is_transient();
                failure
            }
        }
    }

    /// Gives an open session up, if the registry listens.
    fn cancel(&mut self) {
        self.lost = false;
        if let Some(session) = self.session.take()
            && let Ok(answer) = self.inner.send(self.ask(Method::DELETE, &session))
        {
            read_errors(answer.response);
        }
    }
}

/// The most that is handed out at once: how slowly it goes is seen only in between.
const PIECE: usize = 16 * 1024;

/// Hands out exactly `left` bytes, the last one only after the reader has ended cleanly behind it.
struct Guard<'r> {
    inner: Box<dyn Read + 'r>,
    left: u64,
    pace: Pace,
    /// What was handed out last, and when.
    given: Option<(usize, Instant)>,
    failure: Option<Broken>,
}

/// Why an upload was stopped from this side.
enum Broken {
    Content(io::Error),
    Slow,
}

impl Guard<'_> {
    fn next(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        if self.left == 1 {
            self.inner.read_exact(&mut buf[..1])?;
            self.expect_end()?;
            self.left = 0;
            return Ok(1);
        }
        let room = usize::try_from(self.left - 1).unwrap_or(usize::MAX).min(buf.len()).min(PIECE);
        match self.inner.read(&mut buf[..room])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ended {} bytes early", self.left))),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }

    fn expect_end(&mut self) -> io::Result<()> {
        match self.inner.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("it is longer than it should be")),
        }
    }
}

impl Read for Guard<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let stopped = || Err(io::Error::other("the upload is given up"));
        if self.failure.is_some() {
            return stopped();
        }
        if let Some((n, since)) = self.given.take()
            && !self.pace.keeps(n, since.elapsed())
        {
            self.failure = Some(Broken::Slow);
            return stopped();
        }
        match self.next(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                self.failure = Some(Broken::Content(e));
                stopped()
            }
            Ok(n) => {
                self.given = Some((n, Instant::now()));
                Ok(n)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives `data`, and then an end or an error.
    struct Source(Vec<u8>, bool);

    impl Read for Source {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() && self.1 {
                return Err(io::Error::other("digest"));
            }
            let n = self.0.len().min(buf.len()).min(3);
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn pass(data: &[u8], bad_end: bool, size: u64) -> (Vec<u8>, bool) {
        let pace = Pace::new(std::time::Duration::from_secs(60));
        let inner = Box::new(Source(data.to_vec(), bad_end));
        let mut guard = Guard { inner, left: size, pace, given: None, failure: None };
        let mut out = Vec::new();
        let ok = guard.read_to_end(&mut out).is_ok();
        assert_eq!(ok, guard.failure.is_none());
        (out, ok)
    }

    #[test]
    fn the_last_byte_waits_for_a_clean_end() {
        assert_eq!(pass(b"0123456789", false, 10), (b"0123456789".to_vec(), true));
        assert_eq!(pass(b"0123456789", true, 10), (b"012345678".to_vec(), false));
        assert_eq!(pass(b"0123456789x", false, 10), (b"012345678".to_vec(), false));
        assert_eq!(pass(b"01234", false, 10), (b"01234".to_vec(), false));
        assert_eq!(pass(b"x", true, 1), (Vec::new(), false));
        assert_eq!(pass(b"", false, 0), (Vec::new(), true));
    }
}
