//! Asks a cluster for its kinds.

use super::client::{Cluster, Failure};
use super::kinds::{Kind, group, read};
use super::name;
use crate::error::{Code, Error};
use crate::kubernetes::Object;

/// Why there is no kind.
pub(super) enum Missing {
    /// The cluster does not have it.
    Unknown(Error),
    /// The cluster could not be asked.
    Failure(Failure),
}

impl Cluster {
    /// The kind of this object.
    pub(super) fn kind(&self, object: &Object) -> Result<Kind, Missing> {
        let version = &object.api_version;
        let find = |kinds: &Vec<Kind>| kinds.iter().find(|kind| kind.kind == object.kind).cloned();
        let unknown = || {
            let text =
                format!("the cluster has no kind {} of {version}, so {} cannot be applied", object.kind, name(object));
            Missing::Unknown(
                Error::new(Code::ApplyFailed, text)
                    .hint("install what defines the kind first (its operator, or its CustomResourceDefinition)"),
            )
        };
        if let Some(kinds) = self.kinds.borrow().get(version) {
            return find(kinds).ok_or_else(unknown);
        }
        // A segment of dots would be another path.
        if version.split('/').any(|part| part.bytes().all(|b| b == b'.')) {
            return Err(unknown());
        }
        let answer = match self.get(&group(version)) {
            Ok(answer) => answer,
            Err(Failure::Refused(refusal)) if refusal.code == 404 => return Err(unknown()),
            Err(failure) => return Err(Missing::Failure(failure)),
        };
        let kinds = read(&answer);
        let found = find(&kinds);
        self.kinds.borrow_mut().insert(version.clone(), kinds);
        found.ok_or_else(unknown)
    }

    /// Forgets the kinds of a version, which may have changed.
    pub(super) fn forget_kinds(&self) {
        self.kinds.borrow_mut().clear();
    }
}
