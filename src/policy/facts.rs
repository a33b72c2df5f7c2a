//! The facts about a bundle that rules see, as a document for other programs: `mirror-bundle/facts/v1` (`spec/policy.md`,
//! MB-FCT).
//!
//! Lists are bounded, and say how much more there is. Rules are evaluated before anything is left out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::packages::inventory::{Component, Inventory};
use crate::packages::{Kind, Package, System};

/// The name of the document.
pub const SCHEMA: &str = "mirror-bundle/facts/v1";
/// The most packages of all images (MB-FCT-02).
pub const PACKAGES: usize = 200_000;
/// The most notable files of one image (MB-FCT-02).
pub const FILES: usize = 256;
/// The most notable files of all images (MB-FCT-02).
pub const ALL_FILES: usize = 20_000;
/// The most that could not be read of one image (MB-FCT-02).
pub const UNKNOWNS: usize = 64;
/// The most Kubernetes objects (MB-FCT-02).
pub const OBJECTS: usize = 10_000;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What a bundle is, has and carries.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The index.
    pub index: IndexFacts,
    /// The manifests of images, in the order of the index.
    pub images: Vec<ImageFacts>,
    /// The Kubernetes objects, by path.
    pub objects: Vec<ObjectFacts>,
    /// How many more objects there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_objects: u64,
}

/// The index of a bundle.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IndexFacts {
    /// Its digest.
    pub digest: String,
    /// The name of the bundle.
    pub name: String,
    /// Its number in a series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When it says that it was created.
    pub created: String,
}

/// One manifest: an image for one platform, or other content.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImageFacts {
    /// What the index calls it: references, else digests; with the platform behind it for one of several of a list.
    pub names: Vec<String>,
    /// The repositories it came from.
    pub repositories: Vec<String>,
    /// The digest of its manifest.
    pub digest: String,
    /// The digests in the index that lead to it: its own, or those of lists.
    pub listed: Vec<String>,
    /// The digest of its configuration.
    pub config: String,
    /// Why it is in the bundle: `release`, `component`, `additional`, `signature`, `referrer`, `graph-data`.
    pub kinds: Vec<&'static str>,
    /// Its component names in releases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Whether a container runtime takes it for an image.
    pub runs: bool,
    /// Its platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its architecture, as OCI writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The user that it runs as, as its configuration says; empty: root.
    pub user: String,
    /// Its layers and its configuration in bytes.
    pub size: u64,
    /// When it says it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it says its newest layer was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_layer: Option<String>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerFacts>,
    /// Fingerprints of the keys of the trust policy that signed it.
    pub signed_by: Vec<String>,
    /// What is attached to it: claims of the sender.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedFacts>,
    /// Its distribution, if packages were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Its packages, sorted by purl; `None`: they were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<PackageFacts>>,
    /// How many more packages it has.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_packages: u64,
    /// What could not be read of its packages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknowns: Vec<String>,
    /// How much more that is.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_unknowns: u64,
    /// How many files of its layers have each property; the names are those of `ls --files`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<&'static str, u64>,
    /// The first of these files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileFacts>,
    /// How many more of these files there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_files: u64,
}

/// A layer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LayerFacts {
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many manifests of the bundle have it.
    pub shared: u64,
}

/// Something that is attached to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttachedFacts {
    /// `signature`, `attestation`, `sbom` or `other`.
    pub kind: String,
    /// The type that it says it has.
    pub r#type: String,
    /// Who it says made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// A package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PackageFacts {
    /// Its purl, with version.
    pub purl: String,
    /// Its true name.
    pub name: String,
    /// Its version, as packages of its kind are compared: `epoch:version-release` for rpm.
    pub version: String,
    /// Its licence, as its database writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where it was found first.
    pub path: String,
}

/// A file that a reviewer looks at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Its path in the image, beginning with `/`.
    pub path: String,
    /// The digest of its layer.
    pub layer: String,
    /// Permissions in octal.
    pub mode: String,
    /// What is notable about it; the names are those of `ls --files`.
    pub facts: Vec<&'static str>,
}

/// A Kubernetes object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ObjectFacts {
    /// The path of its file in the bundle.
    pub file: String,
    /// As in the file.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// As in the file.
    pub kind: String,
    /// As in the file, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// As in the file.
    pub name: String,
    /// Whether its kind is cluster-wide; `None`: this program does not know the kind, and it has no namespace.
    pub cluster_scoped: Option<bool>,
    /// The images that its containers run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Those of them that the bundle does not carry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images_not_carried: Vec<String>,
    /// What it does when it is applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<&'static str>,
}

impl ImageFacts {
    /// Adds the packages, as far as there is room in the whole document.
    pub fn add(&mut self, inventory: &Inventory, left: &mut usize) {
        self.system = inventory.system.as_ref().map(System::distro);
        let listed: Vec<PackageFacts> = inventory.components.iter().take(*left).map(PackageFacts::from).collect();
        *left -= listed.len();
        self.more_packages = (inventory.components.len() - listed.len()) as u64;
        self.packages = Some(listed);
        let unknowns = inventory.unknowns.iter().take(UNKNOWNS);
        self.unknowns = unknowns.map(|one| format!("{} {}", one.subject, one.reason)).collect();
        self.more_unknowns = inventory.unknowns.len().saturating_sub(UNKNOWNS) as u64;
    }
}

impl From<&Component> for PackageFacts {
    fn from(component: &Component) -> PackageFacts {
        let package = &component.package;
        let name = match &package.namespace {
            Some(above) if package.kind == Kind::Maven => format!("{above}:{}", package.name),
            Some(above) => format!("{above}/{}", package.name),
            None => package.name.clone(),
        };
        PackageFacts {
            purl: component.purl.clone(),
            name,
            version: version(package),
            license: package.licence.clone(),
            path: component.places.first().map(|place| place.path.clone()).unwrap_or_default(),
        }
    }
}

/// The version as packages of its kind are compared.
pub fn version(package: &Package) -> String {
    match package.epoch {
        Some(epoch) if package.kind == Kind::Rpm => format!("{epoch}:{}", package.version),
        _ => package.version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_do_not_fit_are_counted() {
        let component = |at: usize| {
            let package = Package::new(Kind::Npm, format!("p{at}"), "1.0.0");
            Component { purl: format!("pkg:npm/p{at}@1.0.0"), package, places: Vec::new() }
        };
        let inventory = Inventory { components: (0..5).map(component).collect(), ..Inventory::default() };
        let (mut one, mut two, mut left) = (ImageFacts::default(), ImageFacts::default(), 7);
        one.add(&inventory, &mut left);
        two.add(&inventory, &mut left);
        assert_eq!((one.packages.map(|p| p.len()), one.more_packages), (Some(5), 0));
        assert_eq!((two.packages.map(|p| p.len()), two.more_packages, left), (Some(2), 3, 0));
    }
}
