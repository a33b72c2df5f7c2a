//! Reading: manifests, blobs, and plain files from signature stores.

use std::io::Read;

use ureq::http::{HeaderName, Method, header};

use super::body::{BlobReader, ContentRange, Want};
use super::failure::read_errors;
use super::request::{Answer, Ask, Payload, Scope};
use super::retry::{Failure, passes};
use super::url::Url;
use super::{Client, Inner, MAX_MANIFEST, Wanted};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository, guess, media_type};

/// A manifest or index as received from the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The bytes, whose digest is `digest`.
    pub bytes: Vec<u8>,
    /// The media type according to the registry; according to the document, if the registry's header is useless. Pass
    /// it to [`crate::oci::parse`], which compares the two.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
}

impl Client {
    /// Fetches a manifest or index; `None` if it does not exist (HTTP 404). At most [`MAX_MANIFEST`] bytes.
    ///
    /// Errors: [`Code::BlobMismatch`] if the bytes do not match the requested digest, or the digest that the registry
    /// reports for a tag.
    pub fn get_manifest(&self, repository: &Repository, wanted: &Wanted) -> Result<Option<Fetched>> {
        self.inner.retry(|| self.inner.fetch_manifest(repository, wanted))
    }

    /// The bytes of a manifest of an unknown type, if it exists.
    pub fn get_unknown_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
        media_type: &str,
    ) -> Result<Option<Vec<u8>>> {
        let inner = &self.inner;
        inner.retry(|| {
            let url = inner.endpoint(repository, &format!("manifests/{digest}"))?;
            let scope = inner.reading(repository);
            let answer =
                inner.send(Ask::read(Method::GET, &url, &scope).header(header::ACCEPT, media_type.to_owned()))?;
            match answer.status() {
                200 => {}
                404 => {
                    read_errors(answer.response);
                    return Ok(None);
                }
                _ => return Err(inner.refused(answer, Some(&scope), &format!("serve `{digest}` of `{repository}`"))),
            }
            let bytes = inner.read_all(answer, MAX_MANIFEST, &format!("manifest `{digest}` of `{repository}`"))?;
            match Digest::of(&bytes) {
                found if found == *digest => Ok(Some(bytes)),
                found => Err(mismatch(repository, digest, &found).into()),
            }
        })
    }

    /// The digest of a manifest, if it exists, as the registry reports it. This does not prove that it has the content.
    pub fn head_manifest(&self, repository: &Repository, wanted: &Wanted) -> Result<Option<Digest>> {
        let inner = &self.inner;
        let found = inner.retry(|| {
            let url = inner.endpoint(repository, &format!("manifests/{wanted}"))?;
            let scope = inner.reading(repository);
            let ask = Ask::read(Method::HEAD, &url, &scope).header(header::ACCEPT, media_type::ACCEPTED.join(", "));
            let answer = inner.send(ask)?;
            match answer.status() {
                200 => Ok(Some(answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok()))),
                404 => Ok(None),
                // Some servers do not support HEAD, or not for everyone; GET decides.
                status if passes(status) => {
                    Err(inner.refused(answer, Some(&scope), &format!("look up `{wanted}` of `{repository}`")))
                }
                _ => {
                    read_errors(answer.response);
                    Ok(inner.fetch_manifest(repository, wanted)?.map(|fetched| Some(fetched.digest)))
                }
            }
        })?;
        match (found, wanted) {
            (None, _) => Ok(None),
            (Some(Some(reported)), Wanted::Digest(wanted)) if reported != *wanted => {
                Err(mismatch(repository, wanted, &reported))
            }
            (Some(Some(reported)), _) => Ok(Some(reported)),
            (Some(None), Wanted::Digest(wanted)) => Ok(Some(*wanted)),
            (Some(None), Wanted::Tag(_)) => Ok(self.get_manifest(repository, wanted)?.map(|fetched| fetched.digest)),
        }
    }

    /// The size of a blob, if the registry reports that it exists. Only reading it is proof.
    pub fn head_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        self.inner.retry(|| self.inner.blob_size(repository, digest, &self.inner.reading(repository)))
    }

    /// Whether the registry has a blob of this size and serves it. A registry may report a blob that it no longer has
    /// (its cache outlives its storage), so this requests the first byte, whose answer also has the size. A redirect to
    /// the storage counts as a yes and is not followed; then the size is requested separately.
    pub fn has_blob(&self, repository: &Repository, digest: &Digest, size: u64) -> Result<bool> {
        let inner = &self.inner;
        let reported = inner.retry(|| {
            let url = inner.endpoint(repository, &format!("blobs/{digest}"))?;
            let scope = inner.reading(repository);
            let mut ask = Ask::read(Method::GET, &url, &scope);
            ask.follow = false;
            if size > 0 {
                ask = ask.header(header::RANGE, "bytes=0-0");
            }
            let answer = inner.send(ask)?;
            let reported = match answer.status() {
                404 => BlobAnswer::No,
                // Not even the first byte: the stored blob is empty.
                416 if size > 0 => BlobAnswer::No,
                // Missing content can be refused like this too; the push will show whether the login is the reason.
                401 | 403 if scope.push => BlobAnswer::No,
                206 => ContentRange::of(answer.header("content-range"))
                    .and_then(|p| p.whole)
                    .map_or(BlobAnswer::Somewhere, BlobAnswer::Size),
                200 => answer
                    .header("content-length")
                    .and_then(|n| n.parse().ok())
                    .map_or(BlobAnswer::Somewhere, BlobAnswer::Size),
                201..=399 => BlobAnswer::Somewhere,
                _ => {
                    return Err(inner.refused(
                        answer,
                        Some(&scope),
                        &format!("serve blob `{digest}` of `{repository}`"),
                    ));
                }
            };
            // Do not read the rest just to reuse the connection.
            if answer.status() != 200 || size == 0 {
                read_errors(answer.response);
            }
            Ok(reported)
        })?;
        match reported {
            BlobAnswer::No => Ok(false),
            BlobAnswer::Size(reported) => Ok(reported == size),
            BlobAnswer::Somewhere => {
                let scope = inner.reading(repository);
                Ok(inner.retry(|| inner.blob_size(repository, digest, &scope))? == Some(size))
            }
        }
    }

    /// Reads a blob of `size` bytes, from `offset` on.
    ///
    /// The reader returns `size - offset` bytes or fails; a longer or shorter body is an error. It resumes by itself
    /// after transient failures, [`super::Options::retries`] times without progress; its `io::Error` carries an
    /// [`Error`], and is final. The bytes are **not** hashed here.
    pub fn get_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<Box<dyn Read + Send>> {
        if offset > size {
            return Err(Error::new(Code::Internal, format!("offset {offset} is beyond the {size} bytes of a blob")));
        }
        let want = Want { repository: repository.clone(), digest: *digest, size };
        Ok(Box::new(BlobReader::open(self, want, offset)?))
    }

    /// Whether content may name this address: an `https` address of a host that is not internal (a private, loopback or
    /// link-local IP address, or `localhost`), or of any host named with `--plain-http`.
    pub fn is_public_url(&self, address: &str) -> bool {
        let reach = &self.inner.reach;
        Url::parse(address).is_ok_and(|url| url.is_https() && (!url.is_internal() || reach.is_plain(&url.authority())))
    }

    /// Fetches a file of at most `limit` bytes over `https` (or `http` from a `--plain-http` host), without a login;
    /// `None` if it does not exist (HTTP 404). For stores of release signatures.
    pub fn fetch_url(&self, address: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.fetch(address, limit, Vec::new())
    }

    /// The same with `Accept: application/json`. For update services.
    pub fn fetch_json(&self, address: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.fetch(address, limit, vec![(header::ACCEPT, "application/json".to_owned())])
    }

    fn fetch(&self, address: &str, limit: u64, headers: Vec<(HeaderName, String)>) -> Result<Option<Vec<u8>>> {
        let inner = &self.inner;
        let url = Url::parse(address).map_err(|why| Error::new(Code::Usage, why))?;
        if !url.is_https() && !inner.reach.is_plain(&url.authority()) {
            let host = url.authority();
            return Err(Error::new(Code::Usage, format!("`{url}` is plain HTTP")).hint(format!("--plain-http {host}")));
        }
        inner.retry(|| {
            let ask = Ask {
                method: Method::GET,
                url: url.clone(),
                base: &url,
                scope: None,
                headers: headers.clone(),
                payload: Payload::None,
                follow: true,
            };
            let answer = inner.send(ask)?;
            match answer.status() {
                200 => inner.read_all(answer, limit, &format!("`{url}`")).map(Some),
                404 => {
                    read_errors(answer.response);
                    Ok(None)
                }
                _ => Err(inner.refused(answer, None, &format!("serve `{url}`"))),
            }
        })
    }
}

impl Inner {
    fn fetch_manifest(&self, repository: &Repository, wanted: &Wanted) -> Result<Option<Fetched>, Failure> {
        let url = self.endpoint(repository, &format!("manifests/{wanted}"))?;
        let scope = self.reading(repository);
        let ask = Ask::read(Method::GET, &url, &scope).header(header::ACCEPT, media_type::ACCEPTED.join(", "));
        let answer = self.send(ask)?;
        match answer.status() {
            200 => {}
            404 => {
                read_errors(answer.response);
                return Ok(None);
            }
            _ => return Err(self.refused(answer, Some(&scope), &format!("serve `{wanted}` of `{repository}`"))),
        }
        let kind = answer.header("content-type").map(|t| t.split(';').next().unwrap_or(t).trim().to_owned());
        let reported = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
        let bytes = self.read_all(answer, MAX_MANIFEST, &format!("manifest `{wanted}` of `{repository}`"))?;
        let digest = Digest::of(&bytes);
        let expected = match wanted {
            Wanted::Digest(wanted) => Some(*wanted),
            Wanted::Tag(_) => reported,
        };
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(mismatch(repository, &expected, &digest).into());
        }
        let media_type = match kind.as_deref() {
            None | Some("" | "application/json" | "application/octet-stream" | "text/plain") => guess(&bytes)
                .map_err(|e| self.failed(format!("`{wanted}` of `{repository}` is not a manifest")).source(e))?,
            Some(kind) => kind.to_owned(),
        };
        Ok(Some(Fetched { bytes, media_type, digest }))
    }

    /// The size of a blob, by HEAD; if HEAD is refused or useless, by GET for the first byte.
    pub(super) fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
        scope: &Scope,
    ) -> Result<Option<u64>, Failure> {
        // Without a size the answer is useless, and the blob counts as missing.
        self.blob_there(repository, digest, scope).map(Option::flatten)
    }

    /// Whether a blob exists, and its size if the registry reports it.
    pub(super) fn blob_there(
        &self,
        repository: &Repository,
        digest: &Digest,
        scope: &Scope,
    ) -> Result<Option<Option<u64>>, Failure> {
        let url = self.endpoint(repository, &format!("blobs/{digest}"))?;
        let length = |answer: &Answer| answer.header("content-length").and_then(|length| length.trim().parse().ok());
        let task = format!("look up blob `{digest}` of `{repository}`");
        let answer = self.send(Ask::read(Method::HEAD, &url, scope))?;
        match answer.status() {
            200 if length(&answer).is_some_and(|length: u64| length > 0) => return Ok(Some(length(&answer))),
            404 => return Ok(None),
            status if passes(status) => return Err(self.refused(answer, Some(scope), &task)),
            _ => read_errors(answer.response),
        };
        let answer = self.send(Ask::read(Method::GET, &url, scope).header(header::RANGE, "bytes=0-0"))?;
        let size = match answer.status() {
            206 => Some(ContentRange::of(answer.header("content-range")).and_then(|part| part.whole)),
            // Not even the first byte: it is empty.
            416 => Some(Some(0)),
            // Do not read the rest just to reuse the connection.
            200 => return Ok(Some(length(&answer))),
            404 => None,
            401 | 403 if scope.push && !answer.foreign => None,
            _ => return Err(self.refused(answer, Some(scope), &task)),
        };
        read_errors(answer.response);
        Ok(size)
    }
}

/// A registry's answer about a blob.
enum BlobAnswer {
    No,
    Size(u64),
    /// It exists; the size was not reported.
    Somewhere,
}

fn mismatch(repository: &Repository, expected: &Digest, found: &Digest) -> Error {
    Error::new(Code::BlobMismatch, format!("`{repository}` returned a different manifest than requested"))
        .fact(format!("expected {expected}"))
        .fact(format!("found    {found}"))
}
