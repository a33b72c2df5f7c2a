//! What a security team decides by rules: facts about a bundle, rules over them, and what was accepted (`spec/policy.md`).
//!
//! Pure: nothing here opens a file or knows the time.

mod checks;
mod example;
pub mod facts;
mod files;
mod findings;
mod globs;
mod images;
mod manifests;
mod packages;
mod purl;
mod yaml;

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use crate::content::facts::Fact;
use crate::error::Result;
use crate::oci::Digest;
use crate::packages::Kind;
use crate::packages::version::Range;
use crate::report::{Decision, PolicyUsed, Severity};

pub use checks::Ran;
pub use example::EXAMPLE;
pub use facts::Facts;
pub use files::{Candidates, FileRules, Matched};
pub use findings::Findings;
pub use packages::{PackageRules, Seen};
pub use yaml::LIMIT;

/// The rules of a policy file.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    accept: Vec<Accept>,
    /// The entries of `accept` by what they are about.
    accepted: HashMap<(By, String), usize>,
    sha256: Digest,
}

/// One rule.
#[derive(Clone, Debug)]
struct Rule {
    id: String,
    severity: Severity,
    reason: String,
    what: What,
}

/// What a rule is about.
#[derive(Clone, Debug)]
enum What {
    Images(Images),
    Files(Files),
    Packages(Packages),
    Manifests(Manifests),
    Checks(Checks),
}

/// Images: all of these that are given.
#[derive(Clone, Debug, Default)]
struct Images {
    outside: globs::Globs,
    within: globs::Globs,
    digest: BTreeSet<String>,
    architecture: BTreeSet<String>,
    kinds: BTreeSet<String>,
    unsigned: bool,
    without: Vec<Without>,
    /// Seconds.
    older_than: Option<i64>,
    newer_than: Option<i64>,
    size_over: Option<u64>,
    root: bool,
}

/// What an image lacks.
#[derive(Clone, Debug)]
enum Without {
    Sbom,
    /// Of a type that matches.
    Attestation(String),
}

/// Files.
#[derive(Clone, Debug, Default)]
struct Files {
    path: Vec<String>,
    except: globs::Globs,
    /// Any of these.
    mode: BTreeSet<Fact>,
    sha256: BTreeSet<Digest>,
    class: BTreeSet<Fact>,
}

/// Packages.
#[derive(Clone, Debug, Default)]
struct Packages {
    purl: Vec<String>,
    range: Option<(Kind, Range)>,
    license: Vec<String>,
}

/// Kubernetes objects.
#[derive(Clone, Debug, Default)]
struct Manifests {
    kinds: globs::Globs,
    cluster_scoped: bool,
    namespaces: globs::Globs,
    images_not_carried: bool,
}

/// Checks that have to have run.
#[derive(Clone, Debug, Default)]
struct Checks {
    scanners: Option<usize>,
    /// Seconds.
    database: Option<i64>,
    vulnerabilities: bool,
}

/// Who found what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum By {
    Rule(usize),
    Scanner(String),
}

/// A decision to accept something.
#[derive(Clone, Debug)]
struct Accept {
    by: By,
    /// As written.
    subject: String,
    decision: Decision,
    /// The first moment at which it no longer counts.
    end: Timestamp,
}

impl Policy {
    /// Reads a policy file. `now` bounds how long something may be accepted.
    ///
    /// # Errors
    /// [`crate::Code::Usage`], with the line: it is not acceptable, or a rule in it can match nothing.
    pub fn parse(bytes: &[u8], now: Timestamp) -> Result<Policy> {
        yaml::parse(bytes, now)
    }

    /// What a report says of it.
    pub fn used(&self, file: &str) -> PolicyUsed {
        PolicyUsed {
            file: file.to_owned(),
            sha256: self.sha256.hex(),
            rules: self.rules.len() as u64,
            accept: self.accept.len() as u64,
        }
    }

    /// Whether a rule is about packages, so that they have to be read.
    pub fn needs_packages(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.what, What::Packages(_)))
    }

    /// Whether a rule is about images, packages, files or manifests, so that contents have to be read.
    pub fn needs_files(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.what, What::Files(_)))
    }

    fn rules(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate()
    }
}
