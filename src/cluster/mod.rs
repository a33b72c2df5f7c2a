//! A Kubernetes API server: what would change there if objects were applied, and applying them.
//!
//! Everything goes through server-side apply. [`Cluster::plan`] compares: it reads each object, and asks the server by a
//! dry run what would come out. [`Cluster::apply`] writes what is absent without force, so that it cannot replace a
//! value of somebody else, and what differs only when asked to, with force and only if the object is still the one that
//! was compared. Somebody else's fields stay in both cases.
//!
//! This module knows nothing of bundles: it is given objects in their canonical form.

mod apply;
mod change;
mod client;
mod config;
mod discover;
mod elsewhere;
mod kinds;
mod plan;
mod refusal;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::{Code, Error};
use crate::kubernetes::Object;

pub use change::Change;
pub use client::Cluster;
pub use elsewhere::Elsewhere;

/// The name under which the fields of applied objects are owned.
pub const MANAGER: &str = "mirror-bundle";

/// How a cluster is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// A kubeconfig, in place of `KUBECONFIG` and `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context, in place of the current one.
    pub context: Option<String>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The environment.
    pub environment: fn(&str) -> Option<OsString>,
    /// Set when a stop is requested.
    pub stop: Arc<AtomicBool>,
}

/// The cluster, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct About {
    /// Address of the API server.
    pub server: String,
    /// The context of the kubeconfig, if one was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Version of the API server.
    pub version: String,
    /// The user, if the server reports it.
    pub user: Option<String>,
}

/// An object to apply.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its file, for messages.
    pub file: String,
    /// Its name.
    pub object: Object,
    /// Its content, as canonical JSON.
    pub bytes: Vec<u8>,
    /// What brings its kind, if clusters need not have it: it is left out where the kind is unknown.
    pub needs: Option<&'static str>,
}

/// What may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Change objects that exist with other content.
    pub overwrite: bool,
    /// Apply mirror sets.
    pub mirror_sets: bool,
}

/// What happened to an object, or in a plan what would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did not exist.
    Created,
    /// It exists as it should be: nothing was sent.
    Unchanged,
    /// It existed with other content, which was replaced.
    Changed,
    /// It exists with other content, and was left alone.
    Differs,
    /// It could not be applied.
    Failed,
    /// A mirror set, without the permission to apply those; or what this cluster has no use for.
    LeftOut,
    /// Not tried, because of an earlier failure.
    NotApplied,
}

impl Outcome {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Unchanged => "unchanged",
            Outcome::Changed => "changed",
            Outcome::Differs => "differs",
            Outcome::Failed => "failed",
            Outcome::LeftOut => "left-out",
            Outcome::NotApplied => "not-applied",
        }
    }

    /// Whether the object is, or would be, on the cluster as the manifest has it.
    pub fn is_done(self) -> bool {
        matches!(self, Outcome::Created | Outcome::Unchanged | Outcome::Changed)
    }
}

/// An object, and what happened to it or would happen.
#[derive(Debug, serde::Serialize)]
pub struct Entry {
    /// The object.
    #[serde(flatten)]
    pub object: Object,
    /// Its file.
    pub file: String,
    /// What happened, or would happen.
    pub outcome: Outcome,
    /// The object of the same set that it needs to exist first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The fields that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The fields among them that somebody else owns, in the words of the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "problem")]
    pub error: Option<Error>,
    /// The version on the server with which it was compared.
    #[serde(skip)]
    version: Option<String>,
    /// Its position among the items.
    #[serde(skip)]
    item: usize,
}

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Conflict {
    /// The field, as `.data.key`.
    pub field: String,
    /// Who owns it, as the server writes it.
    pub owner: String,
}

impl Entry {
    /// `ConfigMap openshift-config-managed/name`.
    pub fn name(&self) -> String {
        name(&self.object)
    }

    /// The exit code that it calls for.
    pub fn code(&self) -> Option<Code> {
        match self.outcome {
            Outcome::Differs => Some(Code::Conflict),
            Outcome::Failed => Some(self.error.as_ref().map_or(Code::ApplyFailed, Error::code)),
            Outcome::NotApplied => Some(Code::ApplyFailed),
            _ => None,
        }
    }
}

/// The worst code: what has to be seen to first.
pub fn worst(codes: impl Iterator<Item = Code>) -> Option<Code> {
    let rank = |code: &Code| match code {
        Code::Conflict => 1,
        Code::ApplyFailed => 2,
        Code::Auth => 3,
        Code::Destination => 4,
        _ => 5,
    };
    codes.max_by_key(rank)
}

fn name(object: &Object) -> String {
    match &object.namespace {
        Some(namespace) => format!("{} {namespace}/{}", object.kind, object.name),
        None => format!("{} {}", object.kind, object.name),
    }
}

/// An error as a member of a document.
pub(crate) fn problem<S: serde::Serializer>(error: &Option<Error>, out: S) -> Result<S::Ok, S::Error> {
    #[derive(serde::Serialize)]
    struct Problem<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        facts: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    }
    let shown = error.as_ref().map(|e| Problem {
        code: e.code().as_str(),
        message: e.message(),
        facts: e.facts(),
        hint: e.hint_text(),
    });
    serde::Serialize::serialize(&shown, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_is_what_has_to_be_seen_to_first() {
        let order = [Code::Conflict, Code::ApplyFailed, Code::Auth, Code::Destination, Code::Interrupted];
        for pair in order.windows(2) {
            assert_eq!(worst(pair.iter().copied()), Some(pair[1]));
            assert_eq!(worst(pair.iter().rev().copied()), Some(pair[1]));
        }
        assert_eq!(worst(std::iter::empty()), None);
    }
}
