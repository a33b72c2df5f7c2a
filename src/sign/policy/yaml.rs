//! Parses `trust.yaml` strictly and with limits into a [`Policy`].
//!
//! Unknown and duplicate keys, anchors, aliases, merge keys and tags are refused, so that a policy never means
//! less than its reader thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::{Policy, Signer, Validity, bad, check_name, time};
use crate::error::Result;
use crate::kubernetes::Rule;
use crate::pattern::matches;
use crate::sign::cosign::Require;
use crate::sign::key::fingerprint_of;
use crate::sign::{PublicKey, Role, within};

/// Requirements on the bundle itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleRules {
    /// The series that a bundle must belong to.
    pub name: Option<String>,
}

/// Whose release signatures count, and which releases are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRules {
    /// OpenPGP keyrings for release signatures. If empty, no release signature is trusted.
    #[serde(default = "vendor_keyring")]
    pub keyrings: Vec<Keyring>,
    /// Allowed architectures; absent means any.
    pub architectures: Option<Vec<String>>,
    /// Allowed versions, with `*` and `?` as wildcards; absent means any.
    pub versions: Option<Vec<String>>,
}

/// The source of OpenPGP keys for release signatures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Keyring {
    /// The vendor's built-in release keys, written `redhat`.
    Redhat,
    /// A file on this host.
    File(PathBuf),
}

/// A key for the signatures of images in a scope, for the check of image signatures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageKey {
    /// The registry, or registry and repository prefix, that the key covers; `*` for everything that no other scope
    /// covers.
    pub scope: String,
    /// The file with the PEM public key on this host.
    pub key_file: PathBuf,
    /// The repository that signatures name, if it is not the one that the image came from (a mirror).
    pub signed_identity: Option<String>,
}

/// Rules for sequence numbers other than the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackRules {
    /// Accept a lower sequence than the highest seen.
    #[serde(default)]
    pub allow: bool,
    /// The largest allowed step of the sequence; absent means any.
    pub max_step: Option<u64>,
}

/// What reviewers may remove from a bundle on this host, and how many of them it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalRules {
    /// Different keys that must have signed for each thing.
    pub threshold: usize,
    /// What may be removed.
    pub of: BTreeSet<Removable>,
}

/// Something that may be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removable {
    /// Images that were asked for by name.
    Additional,
    /// Referrers, without their image.
    Referrer,
    /// Kubernetes files.
    Manifests,
    /// Whole releases.
    Release,
    /// The graph-data image.
    GraphData,
    /// The component of this name, without its release.
    Component(String),
}

impl Removable {
    fn parse(text: &str) -> Result<Removable> {
        Ok(match text {
            "additional" => Removable::Additional,
            "referrer" => Removable::Referrer,
            "manifests" => Removable::Manifests,
            "release" => Removable::Release,
            "graph-data" => Removable::GraphData,
            _ => match text.strip_prefix("component:").filter(|name| !name.is_empty()) {
                Some(name) => Removable::Component(name.to_owned()),
                None => {
                    return Err(bad(format!("`{text}` in `removals.of` is nothing that can be removed"))
                        .fact("one of additional, referrer, manifests, release, graph-data, component:NAME"));
                }
            },
        })
    }
}

impl Default for ReleaseRules {
    fn default() -> ReleaseRules {
        ReleaseRules { keyrings: vendor_keyring(), architectures: None, versions: None }
    }
}

impl ReleaseRules {
    /// Whether a release of this version is allowed.
    pub fn allows_version(&self, version: &str) -> bool {
        self.versions.as_ref().is_none_or(|list| list.iter().any(|pattern| matches(pattern, version)))
    }

    /// Whether a release for this architecture is allowed.
    pub fn allows_architecture(&self, architecture: &str) -> bool {
        self.architectures.as_ref().is_none_or(|list| list.iter().any(|one| one == architecture))
    }
}

impl From<String> for Keyring {
    fn from(text: String) -> Keyring {
        if text == "redhat" { Keyring::Redhat } else { Keyring::File(text.into()) }
    }
}

fn vendor_keyring() -> Vec<Keyring> {
    vec![Keyring::Redhat]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    signers: Vec<Entry>,
    #[serde(default)]
    revoked: Vec<String>,
    require: Option<Vec<Requirement>>,
    max_age: Option<String>,
    #[serde(default)]
    bundle: BundleRules,
    #[serde(default)]
    release: ReleaseRules,
    #[serde(default)]
    images: Images,
    #[serde(default)]
    allow_kinds: Vec<String>,
    #[serde(default)]
    manifests: Manifests,
    #[serde(default)]
    rollback: RollbackRules,
    removals: Option<Removals>,
    log: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Removals {
    threshold: i64,
    of: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    roles: Vec<Role>,
    key: String,
    valid_from: Option<String>,
    valid_until: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Requirement {
    role: Role,
    threshold: i64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Images {
    #[serde(default)]
    keys: Vec<ImageKey>,
    #[serde(default)]
    require: Require,
}

/// What may be carried and applied.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Manifests {
    /// Absent: the default list. Without a value it is an empty list.
    #[serde(default, deserialize_with = "listed")]
    allow: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listed {
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
    scope: Option<ClusterWide>,
}

#[derive(Deserialize)]
enum ClusterWide {
    Cluster,
}

fn listed<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<Vec<Listed>>, D::Error> {
    Option::<Vec<Listed>>::deserialize(from).map(|list| Some(list.unwrap_or_default()))
}

/// Parses the text; the policy is not yet checked as a whole.
pub(super) fn parse(text: &str) -> Result<Policy> {
    let file: File = serde_saphyr::from_str_with_options(text, options()).map_err(|e| {
        let cause = e.without_snippet().to_string();
        bad("the trust policy is not acceptable YAML")
            .fact(cause.lines().next().unwrap_or_default().to_owned())
            .hint("mirror-bundle explain trust shows its fields")
    })?;
    let signers = file.signers.into_iter().map(Entry::signer).collect::<Result<_>>()?;
    let revoked = file.revoked.iter().map(|text| revocation(text)).collect::<Result<_>>()?;
    let mut policy = Policy::requiring_a_builder(signers);
    policy.revoked = revoked;
    if let Some(list) = file.require {
        policy.require = requirements(list)?;
    }
    if let Some(text) = file.max_age {
        let age = time::age(&text);
        policy.max_age =
            Some(age.ok_or_else(|| bad(format!("`maxAge` must be an age like 30d or 12h, not `{text}`")))?);
    }
    policy.bundle = file.bundle;
    policy.release = file.release;
    if file.images.require != Require::Scoped && file.images.keys.is_empty() {
        return Err(bad("`images.require` requires image signatures, and `images.keys` names no key for them"));
    }
    policy.image_keys = file.images.keys;
    policy.image_require = file.images.require;
    let rule = |text: &String| text.parse::<Rule>().map_err(|why| bad(format!("`allowKinds`: {why}")));
    policy.allow_kinds = file.allow_kinds.iter().map(rule).collect::<Result<_>>()?;
    if file.manifests.allow.is_some() && !policy.allow_kinds.is_empty() {
        return Err(bad("`allowKinds` adds to the default list, and `manifests.allow` replaces it: use one of them"));
    }
    policy.manifests = file.manifests.allow.map(|list| list.iter().map(Listed::rule).collect()).transpose()?;
    policy.rollback = file.rollback;
    policy.removals = file.removals.map(Removals::rules).transpose()?;
    if file.log.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(bad("`log` names no file"));
    }
    policy.log = file.log;
    Ok(policy)
}

impl Entry {
    fn signer(self) -> Result<Signer> {
        check_name(&self.name)?;
        let name = self.name;
        let unique: BTreeSet<Role> = self.roles.iter().copied().collect();
        if unique.is_empty() || unique.len() != self.roles.len() {
            return Err(bad(format!("the roles of `{name}` must be one or more different ones")));
        }
        let key = PublicKey::parse(&self.key).map_err(|bad| within(&format!("the key of `{name}`"), bad.into()))?;
        let from = at(&name, "validFrom", self.valid_from, time::start)?;
        let until = at(&name, "validUntil", self.valid_until, time::end)?;
        Ok(Signer { name, key, roles: self.roles, valid: Validity { from, until } })
    }
}

impl Removals {
    fn rules(self) -> Result<RemovalRules> {
        let threshold = usize::try_from(self.threshold).ok().filter(|count| *count >= 1);
        let threshold = threshold
            .ok_or_else(|| bad(format!("the threshold of `removals` must be at least 1, not {}", self.threshold)))?;
        let of: BTreeSet<Removable> = self.of.iter().map(|text| Removable::parse(text)).collect::<Result<_>>()?;
        if of.is_empty() || of.len() != self.of.len() {
            return Err(bad("`removals.of` must name one or more different things"));
        }
        Ok(RemovalRules { threshold, of })
    }
}

impl Listed {
    fn rule(&self) -> Result<Rule> {
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_deref());
        Rule::new(&self.kind, namespace, name, self.scope.is_some())
            .map_err(|why| bad(format!("`manifests.allow`: {why}")))
    }
}

type Parse = fn(&str) -> Option<jiff::Timestamp>;

fn at(name: &str, field: &str, text: Option<String>, parse: Parse) -> Result<Option<jiff::Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    match parse(&text) {
        Some(time) => Ok(Some(time)),
        None => {
            Err(bad(format!("`{field}` of `{name}` must be like 2027-06-30 or 2027-06-30T12:00:00Z, not `{text}`")))
        }
    }
}

fn requirements(list: Vec<Requirement>) -> Result<BTreeMap<Role, usize>> {
    let mut require = BTreeMap::new();
    for Requirement { role, threshold } in list {
        let count = usize::try_from(threshold).ok().filter(|count| *count >= 1);
        let count = count.ok_or_else(|| bad(format!("the threshold of {role} must be at least 1, not {threshold}")))?;
        if require.insert(role, count).is_some() {
            return Err(bad(format!("`require` names the role {role} twice")));
        }
    }
    if require.is_empty() {
        return Err(bad("`require` is empty: a policy must require a signature"));
    }
    Ok(require)
}

/// The fingerprint in a `revoked` entry: as printed by `ssh-keygen -l`, or computed from a whole key line. Keys of
/// kinds that are not accepted may be revoked too.
fn revocation(text: &str) -> Result<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    if let Some(hash) = text.strip_prefix("SHA256:") {
        if STANDARD_NO_PAD.decode(hash).is_ok_and(|hash| hash.len() == 32) {
            return Ok(text.to_owned());
        }
    } else if let Some(body) = text.split(' ').nth(1)
        && let Ok(blob) = STANDARD.decode(body)
        && ssh_key::PublicKey::from_bytes(&blob).is_ok_and(|key| text.starts_with(key.algorithm().as_str()))
    {
        return Ok(fingerprint_of(&blob));
    }
    Err(bad(format!("a `revoked` entry must be SHA256:... or a public key line, not `{text}`")))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 16,
            max_events: 100_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests;
