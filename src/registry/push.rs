//! Writing: blobs (mounted, or uploaded in one request that can be resumed) and manifests.

use std::io::{self, Read};
use std::sync::PoisonError;

use ureq::http::{Method, header};

use super::failure::{has_code, quote, read_errors};
use super::guard::{Broken, Guard};
use super::request::{Answer, Ask, Payload, Scope};
use super::retry::{Failure, Tries};
use super::url::Url;
use super::{Client, Inner, MAX_MANIFEST, Wanted};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository};

/// Request sizes to try when larger requests are refused: the next smaller one is used.
const PIECES: [u64; 5] = [64 << 20, 16 << 20, 4 << 20, 1 << 20, SMALLEST_PIECE];
/// The smallest request size that is tried.
const SMALLEST_PIECE: u64 = 256 << 10;

/// The registry's answer to a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestPut {
    /// Whether it added the manifest to its list of referrers (`OCI-Subject`). If not, and the manifest has a
    /// `subject`, the pusher must maintain the fallback tag.
    pub subject_handled: bool,
}

/// Opens the content of a blob at an offset.
type Open<'a, 'r> = &'a mut dyn FnMut(u64) -> Result<Box<dyn Read + 'r>>;

impl Client {
    /// Sends a blob to a repository.
    ///
    /// `open` opens the content at an offset: first at 0, and again wherever a broken upload resumes. The last byte is
    /// not sent before the reader has reported its clean end after exactly `size` bytes. So a reader that fails at its
    /// end (the digest does not match) leaves nothing behind: the upload is cancelled, and the reader's own error is
    /// returned.
    ///
    /// The registry decides where a broken upload resumes. `docker-registry` 2.8 cannot resume inside a request and
    /// gets the blob again from its start; it also keeps the bytes of a cancelled upload until its own purge.
    pub fn push_blob<'r>(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        open: &mut dyn FnMut(u64) -> Result<Box<dyn Read + 'r>>,
    ) -> Result<()> {
        let mut upload = self.upload(repository, digest, size)?;
        upload.piece =
            self.inner.pieces.lock().unwrap_or_else(PoisonError::into_inner).get(&upload.base.origin()).copied();
        let mut tries = Tries::new();
        loop {
            match upload.go(open, &mut tries) {
                Ok(()) => return Ok(()),
                Err(failure) if upload.content_failed => {
                    upload.cancel();
                    return Err(failure.error);
                }
                Err(_) if std::mem::take(&mut upload.smaller) => self.inner.stopped()?,
                Err(failure) => {
                    if let Err(error) = tries.again(&self.inner, failure) {
                        upload.cancel();
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Mounts a blob that another repository of the same registry has, and looks whether it is there. Returns false if
    /// the registry does not do that: then the blob has to be sent.
    pub fn mount_blob(&self, to: &Repository, digest: &Digest, size: u64, from: &Repository) -> Result<bool> {
        if from.registry() != to.registry() || from.path() == to.path() || !self.inner.same_login(to, from) {
            return Ok(false);
        }
        let mut upload = self.upload(to, digest, size)?;
        let mounted = upload.mount(from)?;
        upload.cancel();
        Ok(mounted)
    }

    fn upload<'a>(&'a self, repository: &'a Repository, digest: &Digest, size: u64) -> Result<Upload<'a>> {
        Ok(Upload {
            inner: &self.inner,
            base: self.inner.endpoint(repository, "blobs/uploads/")?,
            scope: Scope::push(repository),
            repository,
            digest: *digest,
            size,
            session: None,
            piece: None,
            least: 0,
            smaller: false,
            lost: false,
            content_failed: false,
        })
    }

    /// Stores a manifest or index under a tag or its digest, and checks the digest that the registry reports.
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
            // Quay answers 202. What was stored is read back before anything refers to it.
            if !matches!(answer.status(), 200..=204) {
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

/// How many times an accepted blob is looked up again before it is sent again.
const BLOB_LOOKS: u32 = 2;
/// How many times accepted content is looked up before it counts as lost: some registries serve it only seconds later.
const LOOKS: u32 = 6;

impl Client {
    /// Requests a manifest that was just stored until the registry serves it completely and unchanged (security H1).
    pub fn confirm_manifest(&self, repository: &Repository, wanted: &Wanted, digest: &Digest) -> Result<()> {
        let inner = &self.inner;
        let mut found = "nothing".to_owned();
        for look in 0..LOOKS {
            if look > 0 {
                inner.wait(look - 1)?;
            }
            match self.get_manifest(repository, wanted) {
                Ok(Some(fetched)) if fetched.digest == *digest => return Ok(()),
                Ok(Some(fetched)) => found = fetched.digest.to_string(),
                Ok(None) => {}
                Err(e) if matches!(e.code(), Code::Auth | Code::BlobMismatch) => found = e.message().to_owned(),
                Err(e) => return Err(e),
            }
        }
        let error = inner.failed(format!("`{repository}` took manifest `{wanted}`, and does not give it back"));
        Err(error.fact(format!("expected {digest}")).fact(format!("found    {found}")))
    }

    /// Waits before the next look-up: longer each time.
    pub fn wait(&self, times: u32) -> Result<()> {
        self.inner.wait(times)
    }

    /// Checks whether this login may push here: opens an upload, and cancels it.
    pub fn may_push(&self, repository: &Repository) -> Result<()> {
        let inner = &self.inner;
        let (base, scope) = (inner.endpoint(repository, "blobs/uploads/")?, Scope::push(repository));
        let session = inner.retry(|| {
            let answer = inner.send(Ask { follow: false, ..Ask::read(Method::POST, &base, &scope) })?;
            if !matches!(answer.status(), 200..=202) {
                return Err(inner.refused(answer, Some(&scope), &format!("open an upload for `{repository}`")));
            }
            let session = inner.location(&answer.url, answer.response.headers())?;
            read_errors(answer.response);
            Ok(session)
        })?;
        let ask = Ask { follow: false, url: session, ..Ask::read(Method::DELETE, &base, &scope) };
        if let Ok(answer) = inner.send(ask) {
            read_errors(answer.response);
        }
        Ok(())
    }
}

impl Inner {
    /// Compares `Docker-Content-Digest`, if the registry sent a comparable one.
    fn same_digest(&self, answer: &Answer, digest: &Digest, repository: &Repository) -> Result<()> {
        match answer.header("docker-content-digest").and_then(|reported| reported.parse::<Digest>().ok()) {
            Some(reported) if reported != *digest => {
                let error = self.failed(format!("the registry stored something else in `{repository}`"));
                Err(error.fact(format!("expected {digest}")).fact(format!("found    {reported}")))
            }
            _ => Ok(()),
        }
    }
}

/// A blob being uploaded.
struct Upload<'a> {
    inner: &'a Inner,
    base: Url,
    scope: Scope,
    repository: &'a Repository,
    digest: Digest,
    size: u64,
    /// The upload session that the registry opened.
    session: Option<Url>,
    /// The request size; `None`: everything in one request.
    piece: Option<u64>,
    /// The smallest chunk that the registry accepts, except for the last (`OCI-Chunk-Min-Length`).
    least: u64,
    /// Whether the last try only found that the registry requires smaller requests.
    smaller: bool,
    /// Whether a request to the session ended without an answer, so that the registry must be asked for its progress.
    lost: bool,
    /// Whether the content itself failed: this ends the push, even if the error is marked transient, because the reader
    /// has already retried.
    content_failed: bool,
}

impl Upload<'_> {
    fn ask(&self, method: Method, url: &Url) -> Ask<'_> {
        Ask { follow: false, url: url.clone(), ..Ask::read(method, &self.base, &self.scope) }
    }

    /// Tries to mount. A registry that cannot mount may open a session instead.
    fn mount(&mut self, from: &Repository) -> Result<bool> {
        let scope = Scope { from: Some(from.clone()), ..self.scope.clone() };
        let url = self.base.clone().with_query("mount", &self.digest.to_string()).with_query("from", from.path());
        let answer = self.inner.retry(|| {
            let ask = Ask { follow: false, url: url.clone(), ..Ask::read(Method::POST, &self.base, &scope) };
            let answer = self.inner.send(ask)?;
            if answer.status() == 429 {
                Err(self.inner.refused(answer, Some(&scope), "mount a blob"))
            } else {
                Ok(answer)
            }
        });
        let answer = match answer {
            Ok(answer) => answer,
            // The token server may refuse the scope for `from`.
            Err(error) if error.code() == Code::Auth => return Ok(false),
            Err(error) => return Err(error),
        };
        match answer.status() {
            201 => {
                self.inner.same_digest(&answer, &self.digest, self.repository)?;
                read_errors(answer.response);
                // The registry reported a mount, but does not have the blob: send it.
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

    /// One try: asks for the progress of a broken upload, or opens a session, and sends the rest.
    fn go(&mut self, open: Open<'_, '_>, tries: &mut Tries) -> Result<(), Failure> {
        let mut offset = 0;
        if self.lost
            && let Some(session) = self.session.clone()
        {
            match self.progress(&session)? {
                Some((url, there)) => (self.session, offset) = (Some(url), there),
                None => {
                    self.session = None;
                    // The session is gone: perhaps the blob was completed and only the answer got lost.
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
                self.least = answer.header("oci-chunk-min-length").and_then(|n| n.trim().parse().ok()).unwrap_or(0);
                self.piece = self.piece.map(|piece| piece.max(self.least));
                read_errors(answer.response);
                self.session.insert(session).clone()
            }
        };
        let resumed = offset > 0;
        let outcome = match (offset, self.piece) {
            (0, None) => self.send_all(session, open),
            _ => self.send_rest(session, offset, open, tries),
        };
        outcome.map_err(|failure| {
            // This session cannot be resumed; starting over may work.
            if resumed && !failure.error.is_transient() && failure.error.code() == self.inner.options.side.code() {
                self.cancel();
                return Failure { error: failure.error.transient(), ..failure };
            }
            failure
        })
    }

    /// How many bytes the registry has, and the address to resume at; `None`: start over.
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
        // `0-0` means one byte, or none: treat both as none.
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

    /// Sends the whole blob in one request that also ends the upload. If the size or form of the request is refused (a
    /// body limit of a proxy, a registry that requires chunks), sends this blob and all later ones in chunks.
    fn send_all(&mut self, session: Url, open: Open<'_, '_>) -> Result<(), Failure> {
        let url = session.with_query("digest", &self.digest.to_string());
        let mut guard = self.guard(0, open)?;
        let answer = self.stream(Method::PUT, &url, None, &mut guard, self.size)?;
        drop(guard);
        let unwilling = match answer.status() {
            405 | 411 | 413 | 501 => true,
            400 | 403 | 416 => self.least > 0,
            _ => false,
        };
        if unwilling && self.size > 0 {
            return Err(self.in_pieces(answer));
        }
        self.finished(answer)
    }

    /// Sends the rest of the blob, at once or in chunks, and then ends the upload.
    fn send_rest(&mut self, session: Url, offset: u64, open: Open<'_, '_>, tries: &mut Tries) -> Result<(), Failure> {
        let (mut session, mut offset) = (session, offset);
        let mut guard = self.guard(offset, open)?;
        while offset < self.size {
            let length = self.piece.unwrap_or(u64::MAX).min(self.size - offset);
            let range = Some((offset, offset + length - 1));
            let answer = self.stream(Method::PATCH, &session, range, &mut guard, length)?;
            match answer.status() {
                200..=202 | 204 => {}
                411 | 413 if length > self.least.max(SMALLEST_PIECE) => return Err(self.in_pieces(answer)),
                // The registry is at another offset than expected: it reports which.
                416 if self.piece.is_some() => {
                    let failure = self.refused(answer);
                    self.lost = true;
                    return Err(Failure { error: failure.error.transient(), ..failure });
                }
                _ => return Err(self.refused(answer)),
            }
            session = match answer.header("location") {
                Some(_) => self.inner.location(&answer.url, answer.response.headers())?,
                None => session,
            };
            read_errors(answer.response);
            self.session = Some(session.clone());
            offset += length;
            tries.at(offset);
        }
        drop(guard);
        // All bytes but the last were sent before the reader's clean end, so the stored blob is complete.
        let url = session.with_query("digest", &self.digest.to_string());
        self.lost = true;
        let answer = self.inner.send(self.ask(Method::PUT, &url))?;
        self.lost = false;
        self.finished(answer)
    }

    /// Records that this registry requires smaller requests, and starts over with them.
    fn in_pieces(&mut self, answer: Answer) -> Failure {
        let before = self.piece.unwrap_or(self.size);
        let below = PIECES.into_iter().find(|piece| *piece < before).unwrap_or(SMALLEST_PIECE);
        let piece = below.max(self.least);
        self.piece = Some(piece);
        self.inner.pieces.lock().unwrap_or_else(PoisonError::into_inner).insert(self.base.origin(), piece);
        let mut failure = self.refused(answer);
        self.cancel();
        self.smaller = true;
        failure.error = failure.error.fact(format!("next in pieces of {piece} bytes"));
        failure
    }

    fn guard<'r>(&mut self, offset: u64, open: Open<'_, 'r>) -> Result<Guard<'r>, Failure> {
        let inner = open(offset).map_err(|e| self.content(e.into()))?;
        let mut guard = Guard::new(inner, self.size - offset, self.inner.options.timeout);
        if guard.left == 0 {
            guard.expect_end().map_err(|e| self.content(e))?;
        }
        Ok(guard)
    }

    /// One request with the next `length` bytes; `range` has the first and last offset.
    fn stream(
        &mut self,
        method: Method,
        url: &Url,
        range: Option<(u64, u64)>,
        guard: &mut Guard<'_>,
        length: u64,
    ) -> Result<Answer, Failure> {
        guard.pause();
        let mut part = (&mut *guard).take(length);
        let mut ask = self.ask(method, url).header(header::CONTENT_TYPE, "application/octet-stream");
        if let Some((first, last)) = range {
            ask = ask.header(header::CONTENT_RANGE, format!("{first}-{last}"));
        }
        if length > 0 {
            ask.payload = Payload::Stream(&mut part, length);
        }
        let outcome = self.inner.send(ask);
        let broken = guard.failure.take();
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
        if !matches!(answer.status(), 200..=204) {
            return Err(self.refused(answer));
        }
        self.inner.same_digest(&answer, &self.digest, self.repository)?;
        read_errors(answer.response);
        // If the next request fails, look the blob up before sending it again.
        self.lost = true;
        let mut there = self.is_there(&self.scope)?;
        for look in 0..BLOB_LOOKS {
            if there {
                break;
            }
            self.inner.wait(look)?;
            there = self.is_there(&self.scope)?;
        }
        if !there {
            (self.session, self.lost) = (None, false);
            let sentence = format!("`{}` took blob `{}`, and does not have it", self.base.authority(), self.digest);
            let error = self.inner.failed(sentence).fact(format!("in `{}`", self.repository));
            return Err(error.transient().into());
        }
        (self.session, self.lost) = (None, false);
        Ok(())
    }

    /// Whether the repository has the blob, according to the registry: checked after each upload and each mount,
    /// because a manifest is only as good as the blobs it names (security H1, H5).
    fn is_there(&self, scope: &Scope) -> Result<bool, Failure> {
        let found = self.inner.blob_there(self.repository, &self.digest, scope)?;
        Ok(found.is_some_and(|size| size.is_none_or(|size| size == self.size)))
    }

    fn refused(&mut self, answer: Answer) -> Failure {
        let task = format!("take blob `{}` for `{}`", self.digest, self.repository);
        match answer.status() {
            // The session expired, or the registry was restarted.
            404 if self.session.is_some() => {
                let body = read_errors(answer.response);
                let error = self.inner.failed(format!("`{}` lost an upload", answer.url.authority()));
                let error = match quote(&body) {
                    Some(reported) => error.fact(format!("it said: {reported}")),
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

    /// Cancels an open session, if the registry supports it.
    fn cancel(&mut self) {
        self.lost = false;
        if let Some(session) = self.session.take()
            && let Ok(answer) = self.inner.send(self.ask(Method::DELETE, &session))
        {
            read_errors(answer.response);
        }
    }
}
