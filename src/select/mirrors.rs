//! Where copies of repositories are (`--mirror-config`): `ImageDigestMirrorSet`, `ImageTagMirrorSet` and
//! `ImageContentSourcePolicy` as YAML or JSON, and `registries.conf` of containers/image.
//!
//! A mirror only says where to look; content is checked by its digest. Sources: openshift/api `config/v1`,
//! containers-registries.conf(5), version 2.

use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::fs::small;
use crate::kubernetes::{self, MirrorSetKind, Value, mirror_set};
use crate::oci::Repository;

/// The largest accepted file, in bytes.
const LIMIT: u64 = 1 << 20;

/// Repositories and the locations of their copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors(Vec<Rule>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    /// A registry, a repository, or a path prefix of repositories; `*.example.com` matches all hosts below that domain.
    source: String,
    /// The replacements for `source`, in order of preference.
    mirrors: Vec<String>,
}

impl Mirrors {
    /// Adds the rules of a file.
    ///
    /// # Errors
    /// [`Code::Usage`] for a file in none of the supported formats; read errors.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        let bytes = small::read_start(path, LIMIT).map_err(|e| e.error("cannot read", path, Code::Usage))?;
        let bad = |why: String| {
            Error::new(Code::Usage, format!("`{}` is not a mirror configuration: {why}", path.display())).hint(
                "give an ImageDigestMirrorSet, ImageTagMirrorSet or ImageContentSourcePolicy, or a registries.conf",
            )
        };
        let text = std::str::from_utf8(&bytes).map_err(|e| bad(e.to_string()))?;
        let is_toml =
            text.lines().map(str::trim).any(|line| line.starts_with("[[") || line.starts_with("unqualified-search"));
        let rules = if is_toml { registries_conf(text) } else { objects(&bytes) }.map_err(bad)?;
        self.0.extend(rules);
        Ok(())
    }

    /// The mirrors of a repository, which are tried before the repository itself.
    pub(super) fn of(&self, repository: &Repository) -> Vec<Repository> {
        let name = repository.to_string();
        let rest = |rule: &Rule| mirror_set::below(&rule.source, &name);
        let mut fitting: Vec<(&Rule, &str)> = self.0.iter().filter_map(|rule| Some((rule, rest(rule)?))).collect();
        fitting.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.source.len()));
        let longest = fitting.first().map_or(0, |(rule, _)| rule.source.len());
        let mut out: Vec<Repository> = Vec::new();
        for (rule, rest) in fitting.iter().filter(|(rule, _)| rule.source.len() == longest) {
            for place in rule.mirrors.iter().filter_map(|mirror| format!("{mirror}{rest}").parse().ok()) {
                if place != *repository && !out.contains(&place) {
                    out.push(place);
                }
            }
        }
        out
    }
}

/// The rules of mirror sets.
fn objects(bytes: &[u8]) -> std::result::Result<Vec<Rule>, String> {
    let mut out = Vec::new();
    for manifest in kubernetes::parse(bytes).map_err(|e| e.to_string())? {
        let kind = MirrorSetKind::of(&manifest.object);
        let list = kind.ok_or_else(|| format!("it holds a {}", manifest.object.kind))?.list();
        let Some(Value::List(entries)) = manifest.value.get("spec").and_then(|spec| spec.get(list)) else { continue };
        for entry in entries {
            let source =
                entry.get("source").and_then(Value::as_str).ok_or_else(|| format!("a `{list}` without source"))?;
            let mirrors = match entry.get("mirrors") {
                Some(Value::List(mirrors)) => mirrors.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            };
            out.push(Rule { source: source.to_owned(), mirrors });
        }
    }
    Ok(out)
}

/// One `[[registry]]`.
#[derive(Default)]
struct Registry {
    prefix: Option<String>,
    location: Option<String>,
    mirrors: Vec<String>,
}

/// The tables `registry` and `registry.mirror` of a `registries.conf`, version 2. Everything else in the file is
/// unrelated to mirrors.
fn registries_conf(text: &str) -> std::result::Result<Vec<Rule>, String> {
    let mut registries: Vec<Registry> = Vec::new();
    let mut table = String::new();
    let mut in_list = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let bad = |why: &str| format!("line {}: {why}", number + 1);
        if in_list {
            in_list = !without_comment(line).ends_with(']');
        } else if line.starts_with('[') {
            table = without_comment(line).to_owned();
            match table.as_str() {
                "[[registry]]" => registries.push(Registry::default()),
                "[[registry.mirror]]" if registries.is_empty() => return Err(bad("a mirror of no registry")),
                _ => {}
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').ok_or_else(|| bad("neither a table nor `key = value`"))?;
            let (key, value) = (key.trim().trim_matches('"'), value.trim());
            if value.starts_with('[') {
                if key == "mirror" && table == "[[registry]]" {
                    return Err(bad("write each mirror as a table [[registry.mirror]]"));
                }
                in_list = !without_comment(value).ends_with(']');
                continue;
            }
            let Some(registry) = registries.last_mut() else { continue };
            match (table.as_str(), key) {
                ("[[registry]]", "prefix") => registry.prefix = Some(quoted(value).ok_or_else(|| bad("no text"))?),
                ("[[registry]]", "location") => registry.location = Some(quoted(value).ok_or_else(|| bad("no text"))?),
                ("[[registry.mirror]]", "location") => {
                    registry.mirrors.push(quoted(value).ok_or_else(|| bad("no text"))?);
                }
                _ => {}
            }
        }
    }
    let rules = registries.into_iter().filter_map(|registry| {
        let source = registry.prefix.clone().or_else(|| registry.location.clone()).filter(|s| !s.is_empty())?;
        // If the location differs from the prefix, the repository itself is at the location.
        let mirrors = registry.mirrors.into_iter().chain(registry.location.filter(|l| *l != source)).collect();
        Some(Rule { source, mirrors })
    });
    Ok(rules.collect())
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// The text of a single-line TOML string without escapes; names of registries never need escapes.
fn quoted(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (text, rest) = value.get(1..)?.split_once(quote)?;
    let rest = rest.trim();
    (!text.contains('\\') && (rest.is_empty() || rest.starts_with('#'))).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Mirrors> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mirrors");
        std::fs::write(&path, text).unwrap();
        let mut mirrors = Mirrors::default();
        mirrors.add(&path).map(|()| mirrors)
    }

    fn places(mirrors: &Mirrors, repository: &str) -> Vec<String> {
        mirrors.of(&repository.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    const SETS: &str = "
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-release-0
spec:
  imageDigestMirrors:
  - mirrors:
    - mirror.lab:5000/openshift/release
    - other.lab/release
    source: quay.io/openshift-release-dev/ocp-v4.0-art-dev
  - source: quay.io
    mirrors: [mirror.lab:5000/quay]
---
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
metadata: {name: itms-0}
spec: {imageTagMirrors: [{source: docker.io/library, mirrors: [mirror.lab:5000/hub]}]}
---
apiVersion: operator.openshift.io/v1alpha1
kind: ImageContentSourcePolicy
metadata: {name: icsp-0}
spec:
  repositoryDigestMirrors:
  - source: registry.redhat.io/ubi9
    mirrors: [mirror.lab:5000/ubi9]
";

    #[test]
    fn mirror_sets_of_every_kind_say_where_copies_are() {
        let mirrors = read(SETS).unwrap();
        let art = "quay.io/openshift-release-dev/ocp-v4.0-art-dev";
        assert_eq!(places(&mirrors, art), ["mirror.lab:5000/openshift/release", "other.lab/release"]);
        assert_eq!(places(&mirrors, "quay.io/a/b"), ["mirror.lab:5000/quay/a/b"]);
        assert_eq!(places(&mirrors, "docker.io/library/nginx"), ["mirror.lab:5000/hub/nginx"]);
        assert_eq!(places(&mirrors, "registry.redhat.io/ubi9/ubi"), ["mirror.lab:5000/ubi9/ubi"]);
        for none in ["registry.redhat.io/ubi99", "quay.io.example.com/a", "gcr.io/a"] {
            assert!(places(&mirrors, none).is_empty(), "{none}");
        }
    }

    #[test]
    fn registries_conf_says_where_copies_are() {
        let mirrors = read(
            r#"
unqualified-search-registries = [
  "registry.fedoraproject.org", # first
  "docker.io"]
short-name-mode = "enforcing"

[[registry]]
prefix = "quay.io/a"
location = 'internal.lab/a' # moved
  [[registry.mirror]]
  location = "mirror.lab:5000/a"
  insecure = true
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.lab:5000/hub"
[[registry]]
prefix = "*.example.com"
location = "mirror.lab:5000/example"
[aliases]
"x" = "docker.io/library/x"
"#,
        )
        .unwrap();
        assert_eq!(places(&mirrors, "quay.io/a/b"), ["mirror.lab:5000/a/b", "internal.lab/a/b"]);
        assert_eq!(places(&mirrors, "docker.io/library/x"), ["mirror.lab:5000/hub/library/x"]);
        assert_eq!(places(&mirrors, "r.example.com/x"), ["mirror.lab:5000/example/x"]);
        assert!(places(&mirrors, "example.com/x").is_empty());
    }

    #[test]
    fn what_is_no_configuration_of_mirrors_is_refused() {
        for bad in [
            "",
            "x: 1",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
            "[[registry.mirror]]\nlocation = \"a\"\n",
            "[[registry]]\nlocation = a\n",
            "[[registry]]\nmirror = [{location = \"a\"}]\n",
            "[[registry]]\nnothing\n",
        ] {
            assert_eq!(read(bad).unwrap_err().code(), Code::Usage, "{bad}");
        }
    }
}
