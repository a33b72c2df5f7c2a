//! Writes the objects that redirect a cluster to its mirror: ImageDigestMirrorSet, ImageTagMirrorSet, and the
//! deprecated ImageContentSourcePolicy.
//!
//! The text depends only on the arguments: sources are sorted, line ends are LF, and there are no time stamps.
//! Schemas: openshift/api `config/v1` and `operator/v1alpha1` (`testdata/crds/`). Nothing is applied here.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::kubernetes::MirrorSetKind;
use crate::oci::{Digest, Invalid, Repository};

/// What a node does when no mirror has an image: the field `mirrorSourcePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourcePolicy {
    /// It asks the source. This is the default of the cluster.
    Allow,
    /// It never asks the source.
    Never,
}

impl SourcePolicy {
    /// The value of the field.
    pub fn as_str(self) -> &'static str {
        match self {
            SourcePolicy::Allow => "AllowContactingSource",
            SourcePolicy::Never => "NeverContactSource",
        }
    }
}

/// A mirror set: an object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name, derived from the target and the mirrors: sets with different mirrors never replace each other, and the
    /// same set is the same object whichever bundle it came from. The policy is no part of it: a set with another
    /// policy replaces the first, as two policies for one source would contradict each other.
    pub name: String,
    /// The object as YAML, one document without `---`.
    pub text: String,
}

/// Creates the mirror set of these pairs of source and mirror, for the repository `target`. Mirrors of one source keep
/// their order (the cluster tries them in that order); duplicates are dropped.
///
/// Refused: no pairs, names that the object's schema does not allow (IPv6 registries), and a policy for an
/// `ImageContentSourcePolicy`, which has no such field.
pub fn object(
    kind: MirrorSetKind,
    target: &Repository,
    mirrors: &[(Repository, Repository)],
    policy: Option<SourcePolicy>,
) -> Result<Object, Invalid> {
    if policy.is_some() && kind == MirrorSetKind::ContentSourcePolicy {
        return Err(Invalid::new("an ImageContentSourcePolicy has no mirrorSourcePolicy"));
    }
    let list = kind.list();
    let entries = entries(mirrors)?;
    let spec = |policy| format!("spec:\n  {list}:\n{}", written(&entries, "  ", POLICY, policy));
    let name = format!("{}-{}-{}", kind.short(), word(target.path()), mark(kind, &spec(None)));
    let text = format!("{}{}", start(kind, &name), spec(policy));
    Ok(Object { name, text })
}

/// The field of a mirror set for a [`SourcePolicy`].
const POLICY: &str = "mirrorSourcePolicy";

/// The list `imageDigestSources` of `install-config.yaml` for these pairs of source and mirror, with its name.
/// Refused: as for [`object()`].
pub fn install_config(mirrors: &[(Repository, Repository)], policy: Option<SourcePolicy>) -> Result<String, Invalid> {
    Ok(format!("imageDigestSources:\n{}", written(&entries(mirrors)?, "", "sourcePolicy", policy)))
}

/// The mirrors of each source.
fn entries(mirrors: &[(Repository, Repository)]) -> Result<BTreeMap<String, Vec<String>>, Invalid> {
    let mut sources: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (source, mirror) in mirrors {
        let (source, mirror) = (accepted(source)?, accepted(mirror)?);
        let list = sources.entry(source).or_default();
        if !list.contains(&mirror) {
            list.push(mirror);
        }
    }
    if sources.is_empty() {
        return Err(Invalid::new("a mirror set without mirrors"));
    }
    Ok(sources)
}

/// The entries as a YAML list.
fn written(entries: &BTreeMap<String, Vec<String>>, indent: &str, field: &str, policy: Option<SourcePolicy>) -> String {
    let mut out = String::new();
    for (source, mirrors) in entries {
        let _ = writeln!(out, "{indent}- mirrors:");
        for mirror in mirrors {
            let _ = writeln!(out, "{indent}  - \"{mirror}\"");
        }
        if let Some(policy) = policy {
            let _ = writeln!(out, "{indent}  {field}: {}", policy.as_str());
        }
        let _ = writeln!(out, "{indent}  source: \"{source}\"");
    }
    out
}

fn start(kind: MirrorSetKind, name: &str) -> String {
    let (api, object) = (kind.api_version(), kind.name());
    format!("apiVersion: {api}\nkind: {object}\nmetadata:\n  name: {name}\n")
}

/// The eight characters at the end of a name.
fn mark(kind: MirrorSetKind, spec: &str) -> String {
    let mut hex = Digest::of(format!("{}\n{spec}", kind.short()).as_bytes()).hex();
    hex.truncate(8);
    hex
}

/// A path as part of the name of an object: letters, digits and hyphens, at most 48 of them.
pub fn word(path: &str) -> String {
    let plain: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = plain.split('-').filter(|part| !part.is_empty()).collect();
    let mut word = parts.join("-");
    word.truncate(48);
    word.trim_end_matches('-').to_owned()
}

/// Whether a file is a mirror set exactly as [`object()`] writes it, with the name that follows from its content.
pub fn is_own(file: &str, text: &[u8]) -> bool {
    let (Some(name), Ok(text)) = (file.strip_suffix(".yaml"), std::str::from_utf8(text)) else { return false };
    MirrorSetKind::ALL.into_iter().any(|kind| {
        let Some(spec) = text.strip_prefix(start(kind, name).as_str()) else { return false };
        let list = kind.list();
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b));
        let quoted = |text: &str| text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).is_some_and(plain);
        let known = |line: &str| {
            line == "  - mirrors:"
                || ["    - ", "    source: "].iter().any(|p| line.strip_prefix(p).is_some_and(quoted))
        };
        // The name depends on the mirrors only.
        let policies = [SourcePolicy::Allow, SourcePolicy::Never].map(|p| format!("    {POLICY}: {}\n", p.as_str()));
        let spec = &policies.iter().fold(spec.to_owned(), |spec, line| spec.replace(line, ""));
        let mut lines = spec.lines();
        lines.next() == Some("spec:")
            && lines.next() == Some(format!("  {list}:").as_str())
            && lines.all(known)
            && name.strip_prefix(&format!("{}-", kind.short())).is_some_and(|rest| {
                rest.strip_suffix(&mark(kind, spec)).is_some_and(|rest| rest.ends_with('-') && plain(rest))
            })
    })
}

/// The repository as text, if it matches the schema's pattern. [`Repository`] has no characters that need escaping.
fn accepted(repository: &Repository) -> Result<String, Invalid> {
    if repository.registry().starts_with('[') {
        return Err(Invalid::new(format!("a mirror set cannot name the IPv6 registry `{}`", repository.registry())));
    }
    Ok(repository.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use serde_json::Value;

    use super::*;

    fn pairs() -> Vec<(Repository, Repository)> {
        [
            ("quay.io/openshift-release-dev/ocp-v4.0-art-dev", "mirror.example.com:5000/ocp/release"),
            ("quay.io/openshift-release-dev/ocp-release", "mirror.example.com:5000/ocp/release-images"),
            ("quay.io/openshift-release-dev/ocp-release", "second.example.com/a__b/c-d.e"),
            ("quay.io/openshift-release-dev/ocp-release", "second.example.com/a__b/c-d.e"),
            ("localhost/on", "localhost:5000/1_000"),
        ]
        .into_iter()
        .map(|(s, m)| (s.parse().unwrap(), m.parse().unwrap()))
        .collect()
    }

    const KINDS: [(MirrorSetKind, &str); 3] = [
        (MirrorSetKind::Digest, "0000_10_config-operator_01_imagedigestmirrorsets.crd.yaml"),
        (MirrorSetKind::Tag, "0000_10_config-operator_01_imagetagmirrorsets.crd.yaml"),
        (MirrorSetKind::ContentSourcePolicy, "0000_10_config-operator_01_imagecontentsourcepolicies.crd.yaml"),
    ];

    fn crd(file: &str) -> Value {
        let path = format!("{}/testdata/crds/{file}", env!("CARGO_MANIFEST_DIR"));
        serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Whether every line of `text` matches, according to grep, an independent regular-expression engine.
    fn matches(pattern: &str, text: &str) -> bool {
        let mut grep = Command::new("grep").args(["-qvP", pattern]).stdin(Stdio::piped()).spawn().unwrap();
        grep.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        grep.wait().unwrap().code() == Some(1)
    }

    /// Checks `value` against the parts of an OpenAPI schema that the mirror-set definitions use.
    fn conforms(value: &Value, schema: &Value, at: &str) {
        if let Some(pattern) = schema["pattern"].as_str() {
            assert!(matches(pattern, value.as_str().unwrap()), "{at}: {value}");
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(required.as_str().unwrap()).is_some(), "{at} lacks {required}");
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter().filter(|(name, _)| *name != "metadata") {
                    let known = schema["properties"].get(name).unwrap_or_else(|| panic!("{at}.{name} is unknown"));
                    conforms(member, known, &format!("{at}.{name}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| conforms(item, &schema["items"], at)),
            other => assert_eq!(schema["type"], "string", "{at}: {other}"),
        }
    }

    #[test]
    fn every_kind_conforms_to_its_definition() {
        for (kind, file) in KINDS {
            let object: Value = serde_saphyr::from_str(&object(kind, &target(), &pairs(), None).unwrap().text).unwrap();
            let crd = crd(file);
            let version = &crd["spec"]["versions"][0];
            let group = crd["spec"]["group"].as_str().unwrap();
            assert_eq!(object["apiVersion"], format!("{group}/{}", version["name"].as_str().unwrap()));
            assert_eq!(object["kind"], crd["spec"]["names"]["kind"]);
            conforms(&object, &version["schema"]["openAPIV3Schema"], "object");
        }
        assert!(!matches("^a$", "b"), "the check itself can fail");
    }

    fn target() -> Repository {
        "mirror.example.com:5000/ocp/release_images".parse().unwrap()
    }

    #[test]
    fn the_text_is_exact_sorted_and_independent_of_the_order_of_sources() {
        let mut turned = pairs();
        turned.rotate_left(1);
        let made = object(MirrorSetKind::Digest, &target(), &pairs(), None).unwrap();
        assert_eq!(made, object(MirrorSetKind::Digest, &target(), &turned, None).unwrap());
        let expected = "\
spec:
  imageDigestMirrors:
  - mirrors:
    - \"localhost:5000/1_000\"
    source: \"localhost/on\"
  - mirrors:
    - \"mirror.example.com:5000/ocp/release-images\"
    - \"second.example.com/a__b/c-d.e\"
    source: \"quay.io/openshift-release-dev/ocp-release\"
  - mirrors:
    - \"mirror.example.com:5000/ocp/release\"
    source: \"quay.io/openshift-release-dev/ocp-v4.0-art-dev\"
";
        let hex = &Digest::of(format!("idms\n{expected}").as_bytes()).hex()[..8];
        assert_eq!(made.name, format!("idms-ocp-release-images-{hex}"));
        let start = format!(
            "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata:\n  name: {}\n",
            made.name
        );
        assert_eq!(made.text, format!("{start}{expected}"));
    }

    #[test]
    fn sets_that_differ_have_different_names_and_every_name_is_one_of_kubernetes() {
        let mut names = std::collections::BTreeSet::new();
        let all = pairs();
        for kind in [MirrorSetKind::Digest, MirrorSetKind::Tag, MirrorSetKind::ContentSourcePolicy] {
            for pairs in [&all[..1], &all[..2], &all[1..], &all[..]] {
                assert!(names.insert(object(kind, &target(), pairs, None).unwrap().name));
            }
        }
        let long = format!("r.example.com/{}__x/y", "a-b.c".repeat(30));
        for target in ["r.example.com/A".to_lowercase(), long, "r.example.com/x".into()] {
            names.insert(object(MirrorSetKind::Digest, &target.parse().unwrap(), &all, None).unwrap().name);
        }
        for name in names {
            assert!(matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", &name) && name.len() <= 63, "{name}");
        }
    }

    #[test]
    fn only_a_set_under_its_own_name_is_known_again() {
        let made = object(MirrorSetKind::Tag, &target(), &pairs(), None).unwrap();
        let file = format!("{}.yaml", made.name);
        assert!(is_own(&file, made.text.as_bytes()));
        assert!(!is_own("idms-x-01234567.yaml", made.text.as_bytes()));
        assert!(!is_own(&format!("x{file}"), made.text.as_bytes()));
        let more = format!("{}---\nkind: Pod\n", made.text);
        assert!(!is_own(&file, more.as_bytes()));
        assert!(!is_own(&file, made.text.replace("localhost/on", "localhost/off").as_bytes()));
    }

    #[test]
    fn the_policy_is_in_every_entry_and_not_in_the_name() {
        let plain = object(MirrorSetKind::Digest, &target(), &pairs(), None).unwrap();
        for policy in [SourcePolicy::Allow, SourcePolicy::Never] {
            for (kind, file) in &KINDS[..2] {
                let made = object(*kind, &target(), &pairs(), Some(policy)).unwrap();
                let value: Value = serde_saphyr::from_str(&made.text).unwrap();
                conforms(&value, &crd(file)["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "object");
                let line = format!("    mirrorSourcePolicy: {}\n", policy.as_str());
                assert_eq!(made.text.matches(&line).count(), 3, "one for each source");
                assert!(is_own(&format!("{}.yaml", made.name), made.text.as_bytes()));
                if *kind == MirrorSetKind::Digest {
                    assert_eq!((made.name, made.text.replace(&line, "")), (plain.name.clone(), plain.text.clone()));
                }
            }
            assert!(object(MirrorSetKind::ContentSourcePolicy, &target(), &pairs(), Some(policy)).is_err());
        }
    }

    #[test]
    fn the_snippet_for_install_config_has_the_mirrors_of_the_set() {
        let snippet = install_config(&pairs(), Some(SourcePolicy::Never)).unwrap();
        let value: Value = serde_saphyr::from_str(&snippet).unwrap();
        let set = object(MirrorSetKind::Digest, &target(), &pairs(), Some(SourcePolicy::Never)).unwrap();
        let set: Value = serde_saphyr::from_str(&set.text.replace("mirrorSourcePolicy", "sourcePolicy")).unwrap();
        assert_eq!(value["imageDigestSources"], set["spec"]["imageDigestMirrors"]);
        assert!(!install_config(&pairs(), None).unwrap().contains("olicy"));
        assert!(install_config(&[], None).is_err());
    }

    #[test]
    fn an_empty_set_and_an_ipv6_registry_are_refused() {
        assert!(object(MirrorSetKind::Digest, &target(), &[], None).is_err());
        let six = [("quay.io/a/b".parse().unwrap(), "[::1]:5000/a".parse().unwrap())];
        assert!(object(MirrorSetKind::Digest, &target(), &six, None).is_err());
    }
}
