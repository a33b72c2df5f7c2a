//! Removals: signed statements that say what was taken out of a finished bundle (`spec/removal.md`, MB-RMV).
//!
//! The index and its signature stay what they are, so the bundle keeps its identity. A statement names images, files
//! and blobs of that index. In the head of a file it says which members are not there; behind the last member, or
//! beside the bundle, it excludes members that are. Nothing here decides whom to trust.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::index::{self, File, Image, Index, Kind};
use super::limits;
use super::statement::{STATEMENT, Subject, SubjectDigest};
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, json};
use crate::sign::Role;

/// Type of the predicate.
pub const PREDICATE: &str = "urn:mirror-bundle:removal:v1";

/// A statement and the signature over it, as bytes: nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRemoval {
    /// The statement.
    pub statement: Vec<u8>,
    /// The armored signature over it.
    pub signature: Vec<u8>,
}

impl SignedRemoval {
    /// The content of the member with this path, if it is one of the two of the n-th statement.
    pub(in crate::bundle) fn content(&self, n: usize, member: &str) -> Option<&[u8]> {
        let own = path(n);
        match member.strip_prefix(own.as_str())? {
            "" => Some(&self.statement),
            ".sig" => Some(&self.signature),
            _ => None,
        }
    }
}

/// Path of the n-th statement in the head.
pub fn path(n: usize) -> String {
    format!("mirror-bundle/removal-{n}.json")
}

/// What is removed: positions in the lists of the bundle index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Positions of images.
    pub images: BTreeSet<usize>,
    /// Positions of files.
    pub files: BTreeSet<usize>,
    /// Positions of blobs.
    pub blobs: BTreeSet<usize>,
}

impl Removed {
    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.files.is_empty() && self.blobs.is_empty()
    }

    /// Adds what another one removes.
    pub fn add(&mut self, other: &Removed) {
        self.images.extend(&other.images);
        self.files.extend(&other.files);
        self.blobs.extend(&other.blobs);
    }

    /// The index without what is removed. It describes what counts; only the whole one has the digest that is signed.
    pub fn rest(&self, index: &Index) -> Index {
        let mut rest = index.clone();
        if self.is_empty() {
            return rest;
        }
        let keep = |set: &BTreeSet<usize>| {
            let set = set.clone();
            let mut at = 0..;
            move || at.next().is_none_or(|at: usize| !set.contains(&at))
        };
        let (mut image, mut file, mut blob) = (keep(&self.images), keep(&self.files), keep(&self.blobs));
        rest.images.retain(|_| image());
        rest.files.retain(|_| file());
        rest.blobs.retain(|_| blob());
        let left: BTreeSet<Digest> = rest.images.iter().filter(|i| i.kind == Kind::Release).map(|i| i.digest).collect();
        rest.releases.retain(|release| left.contains(&release.digest));
        rest
    }

    /// What was removed from this index, in words: `1 image, 2 files`. What only goes with something else is not
    /// counted: signatures of an image, components of a release.
    pub fn words(&self, index: &Index) -> String {
        let (mut releases, mut images, mut attached, mut files) = (0, 0, 0, 0);
        let gone: BTreeSet<Digest> = self.images.iter().map(|at| index.images[*at].digest).collect();
        let blobs: BTreeSet<Digest> = self.blobs.iter().map(|at| index.blobs[*at].digest).collect();
        for image in self.images.iter().map(|at| &index.images[*at]) {
            match image.kind {
                Kind::Release => releases += 1,
                Kind::Component if image.release.is_some_and(|release| gone.contains(&release)) => {}
                Kind::Signature | Kind::Referrer if image.subject.is_some_and(|subject| blobs.contains(&subject)) => {}
                Kind::Signature | Kind::Referrer => attached += 1,
                Kind::Component | Kind::Additional | Kind::GraphData => images += 1,
            }
        }
        for file in self.files.iter().map(|at| &index.files[*at]) {
            let goes = file.path.starts_with("signatures/") || gone.iter().any(|digest| is_map_of(file, digest));
            files += usize::from(releases == 0 || !goes);
        }
        let count = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let all =
            [count(releases, "release"), count(images, "image"), count(attached, "attachment"), count(files, "file")];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Whether a file is the ConfigMap with the release signature of this image: its content may be gone, its name is in
/// the index.
pub(crate) fn is_map_of(file: &File, digest: &Digest) -> bool {
    let name = digest.dashed();
    file.objects.iter().any(|object| {
        (object.kind.as_str(), object.namespace.as_deref()) == ("ConfigMap", Some("openshift-config-managed"))
            && object.name.starts_with(&name[..name.len().min("sha256-".len() + 16)])
    })
}

/// A statement that names nothing but what its index lists.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Why, in the words of whoever signed.
    pub reason: String,
    /// When, `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// What it names.
    pub removed: Removed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    role: Role,
    reason: String,
    created: String,
    images: Vec<Named>,
    files: Vec<String>,
    blobs: Vec<Digest>,
}

/// An image by its names and kind, as the index has them.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    digest: Digest,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Digest>,
}

impl Named {
    fn of(image: &Image) -> Named {
        Named {
            repository: image.repository.clone(),
            tag: image.tag.clone(),
            digest: image.digest,
            kind: image.kind,
            component: image.component.clone(),
            release: image.release,
            subject: image.subject,
        }
    }
}

/// Writes a statement about the index with this digest, in its one form.
///
/// # Errors
/// [`Code::Usage`] for a reason that is not one line of text, and for more than a statement holds.
pub fn statement(index: &Index, digest: &Digest, removed: &Removed, reason: &str, created: &str) -> Result<Vec<u8>> {
    index::text("reason", reason)
        .map_err(|why| Error::new(Code::Usage, format!("the reason cannot be used: {why}")))?;
    if reason.trim().is_empty() {
        return Err(Error::new(Code::Usage, "the reason is empty").hint("--reason TEXT says why; everybody reads it"));
    }
    let mut blobs: Vec<Digest> = removed.blobs.iter().map(|at| index.blobs[*at].digest).collect();
    blobs.sort_unstable();
    let statement = Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![Subject { name: index.name.clone(), digest: SubjectDigest { sha256: digest.hex() } }],
        predicate_type: PREDICATE.to_owned(),
        predicate: Predicate {
            role: Role::Reviewer,
            reason: reason.to_owned(),
            created: created.to_owned(),
            images: removed.images.iter().map(|at| Named::of(&index.images[*at])).collect(),
            files: removed.files.iter().map(|at| index.files[*at].path.clone()).collect(),
            blobs,
        },
    };
    let bytes = written(&statement)?;
    if bytes.len() as u64 > limits::REMOVAL {
        return Err(Error::new(
            Code::Usage,
            format!("the statement would have {} bytes; at most {} are allowed", bytes.len(), limits::REMOVAL),
        )
        .hint("remove it in several runs, or ask the builder for a bundle without it"));
    }
    Ok(bytes)
}

fn written(statement: &Statement) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec(statement).map_err(|e| Error::new(Code::Internal, "cannot write a statement").source(e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl Removal {
    /// Parses a statement about the index with this digest strictly (MB-RMV-02).
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(bytes: &[u8], index: &Index, digest: &Digest) -> Result<Removal, String> {
        if bytes.len() as u64 > limits::REMOVAL {
            return Err(format!("it has more than {} bytes", limits::REMOVAL));
        }
        json::check(bytes, &[]).map_err(|e| e.to_string())?;
        let statement: Statement = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if written(&statement).ok().as_deref() != Some(bytes) {
            return Err("it is not in its one form".to_owned());
        }
        if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
            return Err("it is no statement about a removal".to_owned());
        }
        match statement.subject.as_slice() {
            [one] if one.digest.sha256 == digest.hex() => index::text("name", &one.name)?,
            _ => return Err("it is about another bundle".to_owned()),
        }
        let Predicate { role, reason, created, images, files, blobs } = statement.predicate;
        if role != Role::Reviewer {
            return Err(format!("a {role} cannot remove anything"));
        }
        index::text("reason", &reason)?;
        if reason.trim().is_empty() {
            return Err("it gives no reason".to_owned());
        }
        index::time("created", &created)?;
        if images.is_empty() && files.is_empty() {
            return Err("it removes nothing".to_owned());
        }
        let there: BTreeMap<Named, usize> =
            index.images.iter().enumerate().map(|(at, image)| (Named::of(image), at)).collect();
        let at = |name: &Named| there.get(name).copied().ok_or_else(|| format!("{} is no image of it", name.digest));
        let images = positions("images", images.iter().map(at))?;
        // `oci-layout` and `index.json` stay.
        let there: BTreeMap<&str, usize> =
            index.files.iter().enumerate().skip(2).map(|(at, file)| (file.path.as_str(), at)).collect();
        let listed = |path: &String| {
            there.get(path.as_str()).copied().ok_or_else(|| format!("`{path}` is no file that can be removed"))
        };
        let files = positions("files", files.iter().map(listed))?;
        let there: BTreeMap<Digest, usize> =
            index.blobs.iter().enumerate().map(|(at, blob)| (blob.digest, at)).collect();
        if !blobs.is_sorted_by(|a, b| a < b) {
            return Err("`blobs` is not sorted".to_owned());
        }
        let blob = |digest: &Digest| there.get(digest).copied().ok_or_else(|| format!("{digest} is no blob of it"));
        let blobs = blobs.iter().map(blob).collect::<Result<BTreeSet<usize>, String>>()?;
        Ok(Removal { reason, created, removed: Removed { images, files, blobs } })
    }
}

/// Positions that only grow: the list is in the order of the index, and names nothing twice.
fn positions(what: &str, found: impl Iterator<Item = Result<usize, String>>) -> Result<BTreeSet<usize>, String> {
    let all = found.collect::<Result<Vec<usize>, String>>()?;
    match all.is_sorted_by(|a, b| a < b) {
        true => Ok(all.into_iter().collect()),
        false => Err(format!("`{what}` is not sorted")),
    }
}

/// The statements in the head of one file, and what they say is not there.
///
/// # Errors
/// [`Code::Malformed`] naming the statement that is not acceptable.
pub fn in_head(signed: &[SignedRemoval], index: &Index, digest: &Digest) -> Result<Removed> {
    let mut out = Removed::default();
    for (n, one) in (1..).zip(signed) {
        let removal = Removal::parse(&one.statement, index, digest)
            .map_err(|why| Error::new(Code::Malformed, format!("`{}` is not acceptable: {why}", path(n))))?;
        out.add(&removal.removed);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
