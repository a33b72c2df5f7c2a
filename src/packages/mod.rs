//! The packages of an image: readers of package databases, and SPDX and CycloneDX documents of what they found.
//!
//! Readers take bytes, and hold nothing else: no disk, no C, no clock. Input is hostile: the work of a reader is bounded
//! by the size of its input, because no page, block or byte of it is followed twice. What cannot be read is a
//! [`Reading::problems`], never an empty list. Spec: `spec/sbom.md`.

pub mod apk;
mod bytes;
pub mod collect;
pub mod document;
pub mod dpkg;
pub mod inventory;
pub mod language;
mod licence;
pub mod program;
pub mod purl;
pub mod rpm;
mod system;
pub mod version;

pub use system::System;

/// The most packages of one database or archive.
pub const MAX_PACKAGES: usize = 200_000;

/// The longest name, version or other text of a package, in bytes. A licence may be longer.
pub const MAX_TEXT: usize = 4096;

/// What manages a package: the type of its purl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// rpm
    Rpm,
    /// dpkg
    Deb,
    /// Alpine's apk
    Apk,
    /// A module of a Go program
    Go,
    /// A crate of a Rust program
    Cargo,
    /// A Maven artifact, or a jar without Maven's data
    Maven,
    /// A Python distribution
    Python,
    /// An npm package
    Npm,
}

impl Kind {
    /// The type in a purl.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Rpm => "rpm",
            Kind::Deb => "deb",
            Kind::Apk => "apk",
            Kind::Go => "golang",
            Kind::Cargo => "cargo",
            Kind::Maven => "maven",
            Kind::Python => "pypi",
            Kind::Npm => "npm",
        }
    }

    /// Whether packages of this kind belong to the distribution.
    pub fn is_system(self) -> bool {
        matches!(self, Kind::Rpm | Kind::Deb | Kind::Apk)
    }
}

/// One package, as its database has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// What manages it.
    pub kind: Kind,
    /// Its name, in the letter case of the database; a Go module's whole path, an npm package's name without scope.
    pub name: String,
    /// Its version, with the release of an rpm and the epoch of a deb; empty if none is known.
    pub version: String,
    /// Maven's group, npm's scope with `@`.
    pub namespace: Option<String>,
    /// The architecture.
    pub arch: Option<String>,
    /// The epoch of an rpm.
    pub epoch: Option<u32>,
    /// What it was built from: the source rpm, the source package (`name` or `name@version`), the origin of an apk.
    pub source: Option<String>,
    /// The licence, as the database writes it.
    pub licence: Option<String>,
    /// Who made it.
    pub supplier: Option<String>,
}

impl Package {
    /// A package of which only the name and version are known.
    pub fn new(kind: Kind, name: impl Into<String>, version: impl Into<String>) -> Package {
        Package {
            kind,
            name: name.into(),
            version: version.into(),
            namespace: None,
            arch: None,
            epoch: None,
            source: None,
            licence: None,
            supplier: None,
        }
    }
}

/// What a reader got from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The packages, in the order of the file; each with the member of an archive that it is in.
    pub packages: Vec<Found>,
    /// Why the file, or a part of it, cannot be read.
    pub problems: Vec<String>,
}

/// A package, and where in the file it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The package.
    pub package: Package,
    /// The member of an archive, with `!` between nested archives.
    pub member: Option<String>,
}

/// The most problems that are kept of one file.
const MAX_PROBLEMS: usize = 16;

impl Reading {
    /// A file that cannot be read.
    pub fn unreadable(reason: impl Into<String>) -> Reading {
        Reading { packages: vec![], problems: vec![reason.into()] }
    }

    /// Adds a package; too many are a problem, and so is a name that is none.
    fn push(&mut self, package: Package) {
        self.push_member(package, None);
    }

    fn push_member(&mut self, package: Package, member: Option<String>) {
        let texts = [Some(&package.name), Some(&package.version), package.namespace.as_ref(), package.arch.as_ref()];
        if package.name.is_empty() {
            self.problem("has a package without a name");
        } else if texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT) {
            self.problem(format!("has a package whose name or version is longer than {MAX_TEXT} bytes"));
        } else if self.packages.len() < MAX_PACKAGES {
            self.packages.push(Found { package, member });
        } else {
            self.problem(format!("has more than {MAX_PACKAGES} packages"));
        }
    }

    /// Adds a problem, once.
    fn problem(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.problems.len() < MAX_PROBLEMS && !self.problems.contains(&reason) {
            self.problems.push(reason);
        }
    }

    /// Adds what another reader got.
    fn extend(&mut self, other: Reading) {
        other.packages.into_iter().for_each(|found| self.push_member(found.package, found.member));
        other.problems.into_iter().for_each(|reason| self.problem(reason));
    }
}

impl From<Result<Reading, Unreadable>> for Reading {
    fn from(result: Result<Reading, Unreadable>) -> Reading {
        result.unwrap_or_else(|Unreadable(reason)| Reading::unreadable(reason))
    }
}

/// Why a file cannot be read; completes "the database ...".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Unreadable {
    fn new(reason: impl Into<String>) -> Unreadable {
        Unreadable(reason.into())
    }
}
