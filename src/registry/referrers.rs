//! The referrers of a manifest: the referrers API, or the fallback tag (distribution-spec 1.1, "Listing Referrers" and
//! "Unavailable Referrers API").

use std::collections::HashSet;
use std::sync::PoisonError;

use ureq::http::{Method, header};

use super::failure::read_errors;
use super::request::Ask;
use super::retry::Failure;
use super::url::Url;
use super::{Client, Inner, MAX_MANIFEST, Wanted};
use crate::error::{Code, Error, Result};
use crate::oci::media_type::OCI_INDEX;
use crate::oci::{Descriptor, Digest, Document, Repository, parse};

/// The most pages of one list.
const MAX_PAGES: usize = 100;
/// The most referrers of one manifest.
const MAX_REFERRERS: usize = 10_000;

/// A registry's answer to a request for a page of a list.
enum Page {
    List(Vec<Descriptor>, Option<Url>),
    /// It does not support the API.
    NoApi,
    /// The answer is neither a list nor "not supported".
    Refused(Error),
}

/// The list of a manifest's referrers, as a registry reports it.
#[derive(Debug, Default)]
pub struct Referrers {
    /// The entries, without duplicates, in the registry's order.
    pub entries: Vec<Descriptor>,
    /// Whether this is the registry's own list (the referrers API), not the index at the fallback tag.
    pub by_api: bool,
    /// Why a list that may exist could not be read.
    pub unread: Option<Error>,
}

impl Client {
    /// Lists the manifests that claim to refer to `digest`. For registries without the API, or with an invalid answer,
    /// uses the index at the fallback tag `sha256-<hex>`; anything else at that tag is not a list.
    ///
    /// This is only the registry's claim: whoever uses an entry must check that its `subject` is `digest`. Errors: a
    /// list over 100 pages or 10,000 entries; an interruption. Other failures are part of the result.
    pub fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Referrers> {
        let inner = &self.inner;
        let first = inner.endpoint(repository, &format!("referrers/{digest}"))?;
        let mut next = Some(first.clone());
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for number in 0.. {
            let Some(url) = next.take() else { break };
            match inner.ask_page(repository, &first, &url)? {
                Page::List(entries, after) => {
                    all.extend(entries.into_iter().filter(|entry| seen.insert(entry.digest)));
                    next = after;
                }
                Page::NoApi if number == 0 => return self.fallback(repository, digest, None),
                Page::NoApi => return Err(endless(repository, digest)),
                Page::Refused(why) => return self.fallback(repository, digest, Some(why)),
            }
            if all.len() > MAX_REFERRERS || number >= MAX_PAGES {
                return Err(endless(repository, digest));
            }
        }
        Ok(Referrers { entries: all, by_api: true, unread: None })
    }

    /// Reads only the index at the fallback tag.
    pub fn tagged_referrers(&self, repository: &Repository, digest: &Digest) -> Result<Referrers> {
        self.fallback(repository, digest, None)
    }

    fn fallback(&self, repository: &Repository, digest: &Digest, refused: Option<Error>) -> Result<Referrers> {
        let tag = digest.dashed().parse().map_err(|e| Error::new(Code::Internal, format!("{e}")))?;
        let none = |unread: Option<Error>| Ok(Referrers { unread, ..Referrers::default() });
        let fetched = match self.get_manifest(repository, &Wanted::Tag(tag)) {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return none(refused),
            // Some registries refuse what does not exist.
            Err(e) if e.code() == Code::Auth => return none(refused),
            Err(e) if optional(&e) => return none(refused.or(Some(e))),
            Err(e) => return Err(e),
        };
        // `oc-mirror` uses tags of this form for images themselves.
        if fetched.media_type != OCI_INDEX || fetched.digest == *digest {
            return none(refused);
        }
        let mut entries = match self.inner.entries(repository, &fetched.bytes) {
            Ok(entries) => entries,
            Err(e) => return none(refused.or(Some(e))),
        };
        if entries.len() > MAX_REFERRERS {
            return Err(endless(repository, digest));
        }
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.digest));
        Ok(Referrers { entries, ..Referrers::default() })
    }
}

/// Whether this is how a registry answers an optional request that it does not support.
fn optional(error: &Error) -> bool {
    matches!(error.code(), Code::Source | Code::Destination | Code::Auth)
}

impl Inner {
    /// One page. A repository that refused to list is not asked again.
    fn ask_page(&self, repository: &Repository, base: &Url, url: &Url) -> Result<Page> {
        let known = || self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        let name = repository.to_string();
        if let Some(why) = known().get(&name) {
            return Ok(Page::Refused(self.failed(why.clone())));
        }
        match self.retry(|| self.page(repository, base, url)) {
            Err(e) if optional(&e) => {
                known().insert(name, e.message().to_owned());
                Ok(Page::Refused(e))
            }
            other => other,
        }
    }

    fn page(&self, repository: &Repository, base: &Url, url: &Url) -> Result<Page, Failure> {
        let scope = self.reading(repository);
        let mut ask = Ask::read(Method::GET, base, &scope).header(header::ACCEPT, OCI_INDEX);
        ask.url = url.clone();
        let answer = self.send(ask)?;
        match answer.status() {
            200 => {}
            404 | 405 | 501 => {
                read_errors(answer.response);
                return Ok(Page::NoApi);
            }
            _ => return Err(self.refused(answer, Some(&scope), &format!("list referrers in `{repository}`"))),
        }
        let next = match answer.header("link").and_then(next_link) {
            Some(link) => {
                let refused =
                    |why: String| self.failed(format!("`{}` continues a list elsewhere", base.authority())).fact(why);
                let next = url.join(link).map_err(refused)?;
                if !next.same_origin(base) {
                    return Err(refused(format!("at `{next}`")).into());
                }
                Some(next)
            }
            None => None,
        };
        let bytes = self.read_all(answer, MAX_MANIFEST, &format!("the list of referrers in `{repository}`"))?;
        Ok(Page::List(self.entries(repository, &bytes)?, next))
    }

    fn entries(&self, repository: &Repository, bytes: &[u8]) -> Result<Vec<Descriptor>> {
        let wrong =
            |why: String| self.failed(format!("the list of referrers in `{repository}` is not acceptable")).fact(why);
        match parse(bytes, OCI_INDEX) {
            Ok(Document::Index(index)) => Ok(index.manifests),
            Ok(Document::Manifest(_)) => Err(wrong("it is not an index".to_owned())),
            Err(e) => Err(wrong(e.to_string())),
        }
    }
}

fn endless(repository: &Repository, digest: &Digest) -> Error {
    Error::new(Code::Malformed, format!("the list of referrers of `{digest}` in `{repository}` has no end"))
        .fact(format!("more than {MAX_PAGES} pages or {MAX_REFERRERS} entries, or a missing page"))
}

/// The target of `Link: <target>; rel="next"`.
pub(super) fn next_link(value: &str) -> Option<&str> {
    let (target, parameters) = value.trim().strip_prefix('<')?.split_once('>')?;
    let next = parameters.split([';', ',']).map(str::trim).any(|p| matches!(p, "rel=\"next\"" | "rel=next"));
    next.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_next_link_is_followed() {
        assert_eq!(next_link("</v2/a?n=1>; rel=\"next\""), Some("/v2/a?n=1"));
        assert_eq!(next_link("</v2/a>;rel=next"), Some("/v2/a"));
        for none in ["</v2/a>; rel=\"prev\"", "/v2/a; rel=next", "<x", ""] {
            assert_eq!(next_link(none), None);
        }
    }
}
