//! An in-toto statement: what is said, and about which content.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::oci::{AsObject, Digest, Invalid, Reference, json};
use crate::sign::cosign::normal;

/// The predicate with which cosign 3 signs an image.
pub const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The versions of a statement. Images are signed with the second; attestations are made with either.
const VERSIONS: [&str; 2] = ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"];
/// The most subjects that one statement may have (MB-LIM-23).
const SUBJECTS: usize = 256;

/// A statement that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What kind of thing is said: a URI.
    pub predicate_type: String,
    version: String,
    subjects: Vec<Subject>,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subject {
    name: String,
    digest: Digest,
}

impl Statement {
    /// Whether it is the statement that signs an image.
    pub fn signs_images(&self) -> bool {
        self.predicate_type == SIGN && self.version == VERSIONS[1]
    }

    /// Whether it is about content with this digest.
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subjects.iter().any(|subject| subject.digest == *digest)
    }

    /// Whether a subject with this digest may be meant in this repository; `named`: whether it has to be named.
    ///
    /// # Errors
    /// A sentence that says what is named instead.
    pub fn is_of(&self, digest: &Digest, repository: Option<&str>, named: bool) -> Result<(), String> {
        let subjects = self.subjects.iter().filter(|subject| subject.digest == *digest);
        let mut outcome = Err(format!("the signature is not for {digest}"));
        for subject in subjects {
            let name = Some(subject.name.as_str()).filter(|name| !name.is_empty());
            outcome = names(name, digest, repository, named);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// Whether what a signature names is this repository. One that names none means every place, unless `named`: cosign 3
/// never names one.
pub(super) fn names(name: Option<&str>, digest: &Digest, repository: Option<&str>, named: bool) -> Result<(), String> {
    let Some(name) = name else {
        let why = "the signature names no repository, and the key has a signedIdentity that it must name";
        return if named { Err(why.to_owned()) } else { Ok(()) };
    };
    let Some(repository) = repository else {
        return Err("it has no repository that its signature could name; give the key a signedIdentity".to_owned());
    };
    let is_it = |it: &Reference| {
        normal(&it.repository.to_string()) == normal(repository) && it.digest.is_none_or(|named| named == *digest)
    };
    match name.parse::<Reference>() {
        Ok(it) if is_it(&it) => Ok(()),
        _ => Err(format!("the signature is for an image of `{name}`, not of `{repository}`")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(rename = "_type")]
    version: String,
    subject: Vec<AsObject<About>>,
    predicate_type: String,
    #[serde(rename = "predicate")]
    _predicate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct About {
    name: Option<String>,
    digest: BTreeMap<String, String>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(rename = "uri")]
    _uri: Option<IgnoredAny>,
    #[serde(rename = "content")]
    _content: Option<IgnoredAny>,
    #[serde(rename = "downloadLocation")]
    _download_location: Option<IgnoredAny>,
    #[serde(rename = "mediaType")]
    _media_type: Option<IgnoredAny>,
}

/// Reads a statement. Subjects without a SHA-256 digest are passed over.
///
/// # Errors
/// A sentence for another version, and whatever two readers could read differently.
pub fn read(bytes: &[u8]) -> Result<Statement, Invalid> {
    json::check(bytes, &[])?;
    let AsObject(raw): AsObject<Raw> = serde_json::from_slice(bytes)
        .map_err(|e| Invalid::new(format!("what was signed is no in-toto statement: {e}")))?;
    if !VERSIONS.contains(&raw.version.as_str()) {
        return Err(Invalid::new(format!("what was signed is `{}`, which this program does not know", raw.version)));
    }
    if raw.subject.len() > SUBJECTS {
        return Err(Invalid::new(format!("it is about {} things; {SUBJECTS} is the limit", raw.subject.len())));
    }
    let mut subjects = Vec::new();
    for AsObject(about) in raw.subject {
        if let Some(hex) = about.digest.get("sha256") {
            subjects.push(Subject { name: about.name.unwrap_or_default(), digest: Digest::from_hex(hex)? });
        }
    }
    Ok(Statement { predicate_type: raw.predicate_type, version: raw.version, subjects })
}
