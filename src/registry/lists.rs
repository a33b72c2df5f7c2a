//! What a registry has, as far as it lists it: `_catalog` and tags (distribution-spec 1.1, "Listing Tags"; the catalog
//! is of docker-registry and not of the specification).

use ureq::http::{Method, header};

use super::referrers::next_link;
use super::request::{Ask, Scope};
use super::retry::Failure;
use super::url::Url;
use super::{Client, Inner, MAX_MANIFEST};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository, Tag};

/// The most pages of one list.
const MAX_PAGES: usize = 10_000;
/// How many names one page is asked for.
const PAGE: usize = 1000;
/// The most tags of one repository.
pub const MAX_TAGS: usize = 100_000;

/// The answer about a list that a registry need not have.
#[derive(Debug)]
pub enum Listed<T> {
    /// All entries, in the registry's order.
    All(Vec<T>),
    /// It has no such list, or not for this login.
    None(Error),
}

impl Client {
    /// The names of all repositories of a registry for which `wanted` is true, at most `most`. `login` is the repository
    /// whose login is used.
    ///
    /// Errors: a list without end, or with something that is not a list; a registry that does not answer.
    pub fn catalog(
        &self,
        login: &Repository,
        most: usize,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Listed<Repository>> {
        let scope = Scope { catalog: true, ..self.inner.reading(login) };
        let registry = login.registry().to_owned();
        let first = self.inner.root(&registry, &format!("_catalog?n={PAGE}"))?;
        let what = format!("repositories of `{registry}`");
        let mut all = Vec::new();
        let found = self.pages(&scope, &first, "repositories", &what, &mut |name| {
            if wanted(name) {
                let text = format!("{registry}/{name}");
                all.push(text.parse().map_err(|e| format!("`{name}` is not the name of a repository: {e}"))?);
            }
            if all.len() > most { Err(format!("more than {most} repositories")) } else { Ok(()) }
        })?;
        Ok(found.map_or(Listed::All(all), Listed::None))
    }

    /// The tags of a repository; `None` if it does not exist. Names that are no tags are returned as `Err`.
    pub fn tags(&self, repository: &Repository) -> Result<Listed<Result<Tag, String>>> {
        let scope = Scope { push: false, ..self.inner.reading(repository) };
        let first = self.inner.endpoint(repository, &format!("tags/list?n={PAGE}"))?;
        let what = format!("tags of `{repository}`");
        let mut all = Vec::new();
        let found = self.pages(&scope, &first, "tags", &what, &mut |name| {
            all.push(name.parse::<Tag>().map_err(|e| format!("`{name}` is not a tag: {e}")));
            if all.len() > MAX_TAGS { Err(format!("more than {MAX_TAGS} tags")) } else { Ok(()) }
        })?;
        Ok(found.map_or(Listed::All(all), Listed::None))
    }

    /// Whether a blob is in a repository, and its size if the registry reports it: by HEAD, and with the login of a
    /// reader.
    pub fn look_up_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<Option<u64>>> {
        let scope = Scope { push: false, ..self.inner.reading(repository) };
        self.inner.retry(|| self.inner.blob_there(repository, digest, &scope))
    }

    /// Hands out every name of a list, page by page. Returns why there is no list.
    fn pages(
        &self,
        scope: &Scope,
        first: &Url,
        member: &str,
        what: &str,
        each: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<Option<Error>> {
        let inner = &self.inner;
        let mut next = Some(first.clone());
        let mut before: Option<Url> = None;
        let wrong = |why: String| inner.failed(format!("the list of {what} is not acceptable")).fact(why);
        for number in 0.. {
            let Some(url) = next.take() else { break };
            if number >= MAX_PAGES || before.as_ref() == Some(&url) {
                return Err(Error::new(Code::Malformed, format!("the list of {what} has no end"))
                    .fact(format!("after {number} pages")));
            }
            let (bytes, after) = match inner.retry(|| inner.names(scope, first, &url, what))? {
                Ok(page) => page,
                Err(why) if number == 0 => return Ok(Some(why)),
                Err(why) => return Err(why),
            };
            let page: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
            let names = match page.get(member) {
                Some(serde_json::Value::Array(names)) => names.as_slice(),
                // `"tags": null` is how some registries say that there is none.
                Some(serde_json::Value::Null) => &[],
                _ => return Err(wrong(format!("it has no list `{member}`"))),
            };
            for name in names {
                let name = name.as_str().ok_or_else(|| wrong("a name is not text".to_owned()))?;
                each(name).map_err(wrong)?;
            }
            (before, next) = (Some(url), after);
        }
        Ok(None)
    }
}

/// A page and the next one; or why there is none.
type Page = Result<(Vec<u8>, Option<Url>), Error>;

impl Inner {
    fn names(&self, scope: &Scope, base: &Url, url: &Url, what: &str) -> Result<Page, Failure> {
        let mut ask = Ask::read(Method::GET, base, scope).header(header::ACCEPT, "application/json");
        ask.url = url.clone();
        let answer = self.send(ask)?;
        match answer.status() {
            200 => {}
            401 | 403 | 404 | 405 | 501 => {
                return Ok(Err(self.refused(answer, Some(scope), &format!("list the {what}")).error));
            }
            _ => return Err(self.refused(answer, Some(scope), &format!("list the {what}"))),
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
        Ok(Ok((self.read_all(answer, MAX_MANIFEST, &format!("the list of {what}"))?, next)))
    }
}
