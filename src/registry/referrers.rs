//! What refers to a manifest: the referrers API, or the fallback tag (distribution-spec 1.1, "Listing Referrers" and
//! "Unavailable Referrers API").

use std::collections::HashSet;

use ureq::http::{Method, header};

use super::failure::read_errors;
use super::request::{Ask, Scope};
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

type Page = (Vec<Descriptor>, Option<Url>);

impl Client {
    /// Lists what says that it refers to `digest`, without duplicates, in the registry's order. From registries
    /// without the API, the index at the fallback tag `sha256-<hex>`; anything else at that tag is not a list.
    ///
    /// It is what the registry says: whoever uses an entry checks that its `subject` is `digest`.
    /// Errors: a list over 100 pages or 10,000 entries, or one that is not an OCI index.
    pub fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Descriptor>> {
        let inner = &self.inner;
        let first = inner.endpoint(repository, &format!("referrers/{digest}"))?;
        let mut next = Some(first.clone());
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for number in 0.. {
            let Some(url) = next.take() else { break };
            let Some((entries, after)) = inner.retry(|| inner.page(repository, &first, &url))? else {
                return if number == 0 { self.fallback(repository, digest) } else { Err(endless(repository, digest)) };
            };
            all.extend(entries.into_iter().filter(|entry| seen.insert(entry.digest)));
            if all.len() > MAX_REFERRERS || number >= MAX_PAGES {
                return Err(endless(repository, digest));
            }
            next = after;
        }
        Ok(all)
    }

    fn fallback(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Descriptor>> {
        let tag = digest.dashed().parse().map_err(|e| Error::new(Code::Internal, format!("{e}")))?;
        let Some(fetched) = self.get_manifest(repository, &Wanted::Tag(tag))? else { return Ok(Vec::new()) };
        // `oc-mirror` tags images themselves this way.
        if fetched.media_type != OCI_INDEX || fetched.digest == *digest {
            return Ok(Vec::new());
        }
        let mut entries = self.inner.entries(repository, &fetched.bytes)?;
        if entries.len() > MAX_REFERRERS {
            return Err(endless(repository, digest));
        }
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.digest));
        Ok(entries)
    }
}

impl Inner {
    /// One page; `None` if the registry does not know the API.
    fn page(&self, repository: &Repository, base: &Url, url: &Url) -> Result<Option<Page>, Failure> {
        let scope = Scope::pull(repository);
        let mut ask = Ask::read(Method::GET, base, &scope).header(header::ACCEPT, OCI_INDEX);
        ask.url = url.clone();
        let answer = self.send(ask)?;
        match answer.status() {
            200 => {}
            404 | 405 | 501 => {
                read_errors(answer.response);
                return Ok(None);
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
        Ok(Some((self.entries(repository, &bytes)?, next)))
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
        .fact(format!("more than {MAX_PAGES} pages or {MAX_REFERRERS} entries, or a page that is not there"))
}

/// The target of `Link: <target>; rel="next"`.
fn next_link(value: &str) -> Option<&str> {
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
