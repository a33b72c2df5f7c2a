//! The names of entries in an OCI layout's `index.json`, from annotations.
//!
//! `org.opencontainers.image.ref.name` holds a full reference (skopeo, this program), a tag (umoci, docker) or
//! any other name of the image-spec's grammar; `io.containerd.image.name` the full reference (docker,
//! containerd). Source: image-spec 1.1 annotations.md.

use crate::error::{Code, Error, Result};
use crate::oci::layout::REF_NAME;
use crate::oci::{Descriptor, Reference, Tag};

use super::Named;

const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The entry with its name; a name outside the grammar is refused.
pub(super) fn of(entry: &Descriptor, place: &str) -> Result<Named> {
    let text = |key: &str| entry.annotations.get(key).map(String::as_str).filter(|t| !t.is_empty());
    let (mut repository, mut tag) = match text(REF_NAME) {
        Some(name) => split(name, entry, place)?,
        None => (None, None),
    };
    if repository.is_none()
        && let Some(full) = text(CONTAINERD_NAME)
    {
        let (path, its_tag) = split(full, entry, place)?;
        if path.is_some() && (tag.is_none() || its_tag.is_none() || tag == its_tag) {
            repository = path;
            tag = tag.or(its_tag);
        }
    }
    let platform = entry.platform.clone();
    Ok(Named { repository, tag, platform, ..Named::unnamed(entry.digest, &entry.media_type, entry.size) })
}

/// Repository and tag of a name: a tag, a full reference, `path:tag` without a registry, or another name.
fn split(name: &str, entry: &Descriptor, place: &str) -> Result<(Option<String>, Option<Tag>)> {
    if let Ok(tag) = name.parse::<Tag>() {
        return Ok((None, Some(tag)));
    }
    if let Ok(full) = name.parse::<Reference>() {
        pinned(&full, entry, name, place)?;
        return Ok((Some(full.repository.to_string()), full.tag));
    }
    if let Ok(local) = format!("localhost/{name}").parse::<Reference>() {
        pinned(&local, entry, name, place)?;
        return Ok((Some(local.repository.path().to_owned()), local.tag));
    }
    if name.len() <= 512 && grammatical(name) {
        return Ok((Some(name.to_owned()), None));
    }
    Err(Error::new(Code::Malformed, format!("`{place}` names an image `{}`", shortened(name)))
        .fact("expected  a full reference, a tag, or components of letters and digits joined by - . _ : @ + /")
        .fact(format!("image     {}", entry.digest)))
}

fn pinned(name: &Reference, entry: &Descriptor, text: &str, place: &str) -> Result<()> {
    match name.digest {
        Some(digest) if digest != entry.digest => {
            Err(Error::new(Code::Malformed, format!("`{place}` gives the name `{text}` to another image"))
                .fact(format!("image  {}", entry.digest)))
        }
        _ => Ok(()),
    }
}

/// image-spec: `component ("/" component)*`, a component alphanumerics joined by one of `-._:@+` or `--`.
fn grammatical(name: &str) -> bool {
    let component = |c: &str| {
        c.starts_with(|ch: char| ch.is_ascii_alphanumeric())
            && c.ends_with(|ch: char| ch.is_ascii_alphanumeric())
            && c.split(|ch: char| ch.is_ascii_alphanumeric())
                .all(|s| matches!(s, "" | "-" | "." | "_" | ":" | "@" | "+" | "--"))
    };
    name.split('/').all(component)
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::oci::Digest;

    fn entry(annotations: &[(&str, &str)]) -> Descriptor {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Descriptor { annotations, ..Descriptor::new("m", Digest::of(b"x"), 1) }
    }

    fn label(annotations: &[(&str, &str)]) -> String {
        of(&entry(annotations), "index.json").map(|n| n.label()).unwrap_or_else(|e| e.code().to_string())
    }

    #[test]
    fn names_are_taken_from_the_annotations_in_every_form() {
        let digest = Digest::of(b"x");
        assert_eq!(label(&[(REF_NAME, "quay.io/a/b:1")]), "quay.io/a/b:1");
        assert_eq!(label(&[(REF_NAME, "localhost:5000/b:1")]), "localhost:5000/b:1");
        assert_eq!(label(&[(REF_NAME, "1.2")]), "1.2");
        assert_eq!(label(&[(REF_NAME, "openshift/release:4.3")]), "openshift/release:4.3");
        assert_eq!(label(&[(REF_NAME, &format!("quay.io/a@{digest}"))]), format!("quay.io/a@{digest}"));
        assert_eq!(label(&[(REF_NAME, "My/App+1")]), format!("My/App+1@{digest}"));
        assert_eq!(label(&[]), digest.to_string());
        let docker = (CONTAINERD_NAME, "docker.io/library/nginx:latest");
        assert_eq!(label(&[(REF_NAME, "latest"), docker]), "docker.io/library/nginx:latest");
        assert_eq!(label(&[docker]), "docker.io/library/nginx:latest");
        assert_eq!(label(&[(REF_NAME, "other"), docker]), "other");
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        let other = format!("quay.io/a@{}", Digest::of(b"y"));
        for bad in ["../x", "a/../b", "/a", "a b", "a\u{1b}[31m", "a//b", "a\n", "é", "-a", &other, &"a/".repeat(600)]
        {
            assert_eq!(label(&[(REF_NAME, bad)]), "malformed", "{bad}");
        }
    }
}
