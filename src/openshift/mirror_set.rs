//! Writes the objects that send a cluster to its mirror: ImageDigestMirrorSet, ImageTagMirrorSet, and the
//! deprecated ImageContentSourcePolicy.
//!
//! The text depends on nothing but the arguments: sources sorted, LF, no time stamps. Schemas: openshift/api
//! `config/v1` and `operator/v1alpha1` (`testdata/crds/`). Nothing is applied here.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::oci::{Invalid, Repository};

/// The kinds of mirror set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorSetKind {
    /// `ImageDigestMirrorSet`: for pulls by digest. Release images need this one.
    Digest,
    /// `ImageTagMirrorSet`: for pulls by tag. Applying one drains nodes.
    Tag,
    /// `ImageContentSourcePolicy`: by digest, for clusters before 4.13.
    ContentSourcePolicy,
}

impl MirrorSetKind {
    /// `idms`, `itms` or `icsp`: the first part of object and file names.
    pub fn short(self) -> &'static str {
        match self {
            MirrorSetKind::Digest => "idms",
            MirrorSetKind::Tag => "itms",
            MirrorSetKind::ContentSourcePolicy => "icsp",
        }
    }

    fn header(self) -> (&'static str, &'static str, &'static str) {
        match self {
            MirrorSetKind::Digest => ("config.openshift.io/v1", "ImageDigestMirrorSet", "imageDigestMirrors"),
            MirrorSetKind::Tag => ("config.openshift.io/v1", "ImageTagMirrorSet", "imageTagMirrors"),
            MirrorSetKind::ContentSourcePolicy => {
                ("operator.openshift.io/v1alpha1", "ImageContentSourcePolicy", "repositoryDigestMirrors")
            }
        }
    }
}

/// What a set is for; the second part of its name, as oc-mirror names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The release image and its components.
    Release,
    /// Everything else.
    Generic,
}

/// The object's name: `idms-release-0`, `itms-generic-0` and so on.
pub fn name(kind: MirrorSetKind, group: Group) -> String {
    let group = match group {
        Group::Release => "release",
        Group::Generic => "generic",
    };
    format!("{}-{group}-0", kind.short())
}

/// One mirror set as YAML, one document without `---`. `mirrors` are pairs of source and mirror; mirrors of one
/// source keep their order (the cluster tries them in it), repeats are dropped.
///
/// Refused: no pairs, and names that the object's schema does not take (IPv6 registries).
pub fn yaml(kind: MirrorSetKind, group: Group, mirrors: &[(Repository, Repository)]) -> Result<String, Invalid> {
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
    let (api, object, list) = kind.header();
    let mut out =
        format!("apiVersion: {api}\nkind: {object}\nmetadata:\n  name: {}\nspec:\n  {list}:\n", name(kind, group));
    for (source, mirrors) in sources {
        out.push_str("  - mirrors:\n");
        for mirror in mirrors {
            let _ = writeln!(out, "    - \"{mirror}\"");
        }
        let _ = writeln!(out, "    source: \"{source}\"");
    }
    Ok(out)
}

/// The repository as text, if the schema's pattern takes it. [`Repository`] has no characters that need escaping.
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

    /// Whether every line of `text` matches, asked of grep, a regular-expression engine that is not ours.
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
            let object: Value = serde_saphyr::from_str(&yaml(kind, Group::Release, &pairs()).unwrap()).unwrap();
            let crd = crd(file);
            let version = &crd["spec"]["versions"][0];
            let group = crd["spec"]["group"].as_str().unwrap();
            assert_eq!(object["apiVersion"], format!("{group}/{}", version["name"].as_str().unwrap()));
            assert_eq!(object["kind"], crd["spec"]["names"]["kind"]);
            conforms(&object, &version["schema"]["openAPIV3Schema"], "object");
        }
        assert!(!matches("^a$", "b"), "the check itself can fail");
    }

    #[test]
    fn the_text_is_exact_sorted_and_independent_of_the_order_of_sources() {
        let mut turned = pairs();
        turned.rotate_left(1);
        turned.swap(0, 1);
        turned.swap(0, 1);
        let text = yaml(MirrorSetKind::Digest, Group::Release, &pairs()).unwrap();
        assert_eq!(text, yaml(MirrorSetKind::Digest, Group::Release, &turned).unwrap());
        let expected = "\
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: idms-release-0
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
        assert_eq!(text, expected);
        assert_eq!(name(MirrorSetKind::ContentSourcePolicy, Group::Generic), "icsp-generic-0");
        assert_eq!(name(MirrorSetKind::Tag, Group::Generic), "itms-generic-0");
    }

    #[test]
    fn an_empty_set_and_an_ipv6_registry_are_refused() {
        assert!(yaml(MirrorSetKind::Digest, Group::Generic, &[]).is_err());
        let six = [("quay.io/a/b".parse().unwrap(), "[::1]:5000/a".parse().unwrap())];
        assert!(yaml(MirrorSetKind::Digest, Group::Generic, &six).is_err());
    }
}
