//! Image references: `host[:port]/path[:tag][@digest]`; the registry is always given.

use std::fmt;
use std::str::FromStr;

use super::{Digest, Invalid};

/// A repository: a registry host and a path in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// `host[:port]`, lower case.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository `path` below this one.
    pub fn join(&self, path: &str) -> Result<Repository, Invalid> {
        format!("{self}/{path}").parse()
    }

    /// With at most so many components in its path: from the last of them on, all are joined with `-`, as `oc-mirror`
    /// does it. `None`: as it is.
    pub fn nested(self, most: Option<usize>) -> Repository {
        let parts: Vec<&str> = self.path.split('/').collect();
        match most.filter(|most| (1..parts.len()).contains(most)) {
            None => self,
            Some(most) => {
                let (kept, joined) = parts.split_at(most - 1);
                let path = kept.iter().map(|part| (*part).to_owned()).chain([joined.join("-")]);
                Repository { path: path.collect::<Vec<_>>().join("/"), registry: self.registry }
            }
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl FromStr for Repository {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Repository, Invalid> {
        let Some((registry, path)) = text.split_once('/') else {
            return Err(no_registry(text, text));
        };
        if !looks_like_host(registry) {
            return Err(no_registry(text, text));
        }
        check_host(registry)?;
        check_path(path)?;
        Ok(Repository { registry: registry.to_ascii_lowercase(), path: path.to_owned() })
    }
}

/// A repository's path, from its name in an index or a layout: `quay.io/a/b` is `a/b`; `openshift/release` stays.
pub fn without_registry(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((host, path)) if looks_like_host(host) => path,
        _ => repository,
    }
}

/// `repository` is without the tag and digest that `text` has.
fn no_registry(text: &str, repository: &str) -> Invalid {
    let host = repository.split('/').next().unwrap_or_default();
    Invalid::new(match text {
        _ if text.trim().is_empty() => "the reference is empty; write REGISTRY/REPOSITORY:TAG".to_owned(),
        _ if text.starts_with("sha256:") => {
            format!("`{text}` is only a digest; write REGISTRY/REPOSITORY@{text}")
        }
        _ if host == repository && (host == "localhost" || has_port(text)) => {
            format!("`{text}` names a registry, but no repository in it; write {text}/REPOSITORY:TAG")
        }
        _ if text.starts_with(|c: char| c.is_ascii_digit()) && host == repository && text.contains('.') => {
            format!("`{text}` looks like a version; write REGISTRY/REPOSITORY:TAG")
        }
        _ if host == repository => {
            format!("`{text}` does not name its registry; write for example docker.io/library/{text}")
        }
        _ => format!("`{text}` does not name its registry; write for example docker.io/{text}"),
    })
}

/// Whether it ends as `host:port` does where the host is one: `localhost:5000`, `10.0.0.1:5000`, `a.example.com:443`.
fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        looks_like_host(host) && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Distinguishes a host from a path component as the Docker reference grammar does.
fn looks_like_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.starts_with('[')
}

fn check_host(host: &str) -> Result<(), Invalid> {
    let bad = || Invalid::new(format!("`{host}` is not a registry host"));
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => {
            let (address, rest) = v6.split_once(']').ok_or_else(bad)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            ("localhost", rest.strip_prefix(':').or((!rest.is_empty()).then_some("x")))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if let Some(port) = port
        && (port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(bad());
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(bad());
    }
    Ok(())
}

/// distribution-spec: lower-case alphanumerics, separated by `.`, `_`, `__` or dashes; at most 255 characters.
fn check_path(path: &str) -> Result<(), Invalid> {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let component = |c: &str| {
        let bytes = c.as_bytes();
        let ends = bytes.first().copied().is_some_and(alnum) && bytes.last().copied().is_some_and(alnum);
        let separators = c
            .split(|ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit())
            .all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'));
        ends && separators
    };
    if path.is_empty() || path.len() > 255 || !path.split('/').all(component) {
        let lower = path.to_ascii_lowercase();
        let remedy = match path {
            _ if path.ends_with('/') => "; leave out the `/` at its end".to_owned(),
            _ if lower != path && check_path(&lower).is_ok() => format!("; write {lower}"),
            _ if path.ends_with(":sha256") => "; a digest follows `@`, not `:`".to_owned(),
            _ => String::new(),
        };
        return Err(Invalid::new(format!(
            "`{path}` is not a repository path (lower-case letters, digits, and . _ - / between them){remedy}"
        )));
    }
    Ok(())
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Tag, Invalid> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if good { Ok(Tag(text.to_owned())) } else { Err(Invalid::new(format!("`{text}` is not a tag"))) }
    }
}

/// An image: a repository, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, if given.
    pub tag: Option<Tag>,
    /// The digest, if given.
    pub digest: Option<Digest>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Reference, Invalid> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) if !digest.contains(':') => {
                return Err(Invalid::new(format!(
                    "`{digest}` is not a digest (sha256:<hex>); a tag follows `:`: {name}:{digest}"
                )));
            }
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let slash = name.rfind('/').unwrap_or(0);
        let (repository, tag) = match name[slash..].rfind(':') {
            Some(colon) if name.contains('/') => (&name[..slash + colon], Some(name[slash + colon + 1..].parse()?)),
            _ => (name, None),
        };
        match repository.split_once('/') {
            Some((host, _)) if looks_like_host(host) => {}
            _ => return Err(no_registry(text, repository)),
        }
        Ok(Reference { repository: repository.parse()?, tag, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_references_parse_and_print_the_same() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for text in [
            "quay.io/a/b:1.2".to_owned(),
            "localhost:5000/x".to_owned(),
            "[::1]:5000/x:t".to_owned(),
            format!("quay.io/a__b/c-d:v1@{digest}"),
            format!("localhost/a@{digest}"),
        ] {
            assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(text.clone()));
        }
    }

    #[test]
    fn a_reference_that_is_nearly_right_is_answered_with_the_right_one() {
        let hex = "ab".repeat(32);
        for (text, says) in [
            ("", "REGISTRY/REPOSITORY:TAG"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("team/app:1.0", "docker.io/team/app:1.0"),
            ("localhost:5000", "write localhost:5000/REPOSITORY:TAG"),
            ("10.0.0.1:5000", "write 10.0.0.1:5000/REPOSITORY:TAG"),
            ("4.16.37", "looks like a version"),
            ("quay.io/a/b/", "leave out the `/` at its end"),
            ("quay.io/Team/App:1", "write team/app"),
            ("quay.io/a/b@1.0", "quay.io/a/b:1.0"),
            (&format!("sha256:{hex}"), "only a digest"),
            (&format!("quay.io/a/b:sha256:{hex}"), "a digest follows `@`"),
        ] {
            let found = text.parse::<Reference>().map(|r| r.to_string()).map_err(|e| e.to_string());
            assert!(found.as_ref().is_err_and(|e| e.contains(says)), "{text}: {found:?}");
        }
    }

    #[test]
    fn short_hostile_and_upper_case_references_are_refused() {
        for bad in [
            "nginx",
            "nginx:latest",
            "library/nginx",
            "quay.io/",
            "quay.io/A/b",
            "quay.io/a//b",
            "quay.io/../b",
            "quay.io/a:",
            "quay.io/a:t/../x",
            "quay.io/a@sha256:12",
            "quay.io:99999/a",
            "a b.c/d",
            "quay.io/a\n",
            "quay.io/a?b=c",
            "quay.io/a#b",
            "quay.io/%2e%2e/a",
            "-x.io/a",
            "quay.io/a_-b",
            "[::1/x",
            "user@host.io/x",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
