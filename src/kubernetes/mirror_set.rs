//! The objects that redirect a cluster to mirrors. Schemas: openshift/api `config/v1` and `operator/v1alpha1`.

use super::Object;

/// The kinds of mirror set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorSetKind {
    /// `ImageDigestMirrorSet`: for pulls by digest. Release images need this one.
    Digest,
    /// `ImageTagMirrorSet`: for pulls by tag. Applying one drains nodes; changes of the others restart CRI-O and roll the
    /// configuration only (machine-config-operator #3144).
    Tag,
    /// `ImageContentSourcePolicy`: by digest, for clusters before 4.13.
    ContentSourcePolicy,
}

impl MirrorSetKind {
    /// All of them.
    pub const ALL: [MirrorSetKind; 3] = [MirrorSetKind::Digest, MirrorSetKind::Tag, MirrorSetKind::ContentSourcePolicy];

    /// The kind of an object, whatever its version: every one of them changes nodes.
    pub fn of(object: &Object) -> Option<MirrorSetKind> {
        MirrorSetKind::ALL.into_iter().find(|kind| kind.name() == object.kind)
    }

    /// `idms`, `itms` or `icsp`: the first part of object and file names.
    pub fn short(self) -> &'static str {
        match self {
            MirrorSetKind::Digest => "idms",
            MirrorSetKind::Tag => "itms",
            MirrorSetKind::ContentSourcePolicy => "icsp",
        }
    }

    /// `kind`.
    pub fn name(self) -> &'static str {
        match self {
            MirrorSetKind::Digest => "ImageDigestMirrorSet",
            MirrorSetKind::Tag => "ImageTagMirrorSet",
            MirrorSetKind::ContentSourcePolicy => "ImageContentSourcePolicy",
        }
    }

    /// `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            MirrorSetKind::Digest | MirrorSetKind::Tag => "config.openshift.io/v1",
            MirrorSetKind::ContentSourcePolicy => "operator.openshift.io/v1alpha1",
        }
    }

    /// The name of the resource.
    pub fn resource(self) -> &'static str {
        match self {
            MirrorSetKind::Digest => "imagedigestmirrorsets",
            MirrorSetKind::Tag => "imagetagmirrorsets",
            MirrorSetKind::ContentSourcePolicy => "imagecontentsourcepolicies",
        }
    }

    /// The list in `spec`.
    pub fn list(self) -> &'static str {
        match self {
            MirrorSetKind::Digest => "imageDigestMirrors",
            MirrorSetKind::Tag => "imageTagMirrors",
            MirrorSetKind::ContentSourcePolicy => "repositoryDigestMirrors",
        }
    }
}

/// What is left of a repository, or of a source, below the `source` of a mirror: nothing, or a path that begins with
/// `/`. `None`: the mirror is not for it. A source is a prefix up to a `/`, or `*.domain` for all hosts below that.
pub fn below<'n>(source: &str, name: &'n str) -> Option<&'n str> {
    match source.strip_prefix("*.") {
        Some(domain) => {
            let (host, rest) = name.split_at(name.find('/').unwrap_or(name.len()));
            host.strip_suffix(domain)?.ends_with('.').then_some(rest)
        }
        None => name.strip_prefix(source).filter(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn a_mirror_is_for_what_is_below_its_source() {
        for (source, name, rest) in [
            ("quay.io/a", "quay.io/a", Some("")),
            ("quay.io/a", "quay.io/a/b", Some("/b")),
            ("quay.io/a", "quay.io/ab", None),
            ("quay.io/a/b", "quay.io/a", None),
            ("quay.io", "quay.io/a", Some("/a")),
            ("*.example.com", "r.example.com/a", Some("/a")),
            ("*.example.com", "r.example.com", Some("")),
            ("*.example.com", "example.com/a", None),
            ("*.example.com", "rexample.com/a", None),
        ] {
            assert_eq!(below(source, name), rest, "{source} {name}");
        }
    }
}
