//! The allowed addenda: a countersignature, or a signed review record (MB-ADD).

use serde::{Deserialize, Serialize};

use super::limits;
use super::reader::Addendum;
pub use super::statement::{STATEMENT, Subject, SubjectDigest};
use crate::oci::{Digest, json};
use crate::sign::Role;

/// Type of its predicate.
pub const PREDICATE: &str = "urn:mirror-bundle:review:v1";
const SIGNATURE: &str = "signature-";
const RECORD: &str = "record-";
const REMOVAL: &str = "removal-";

/// The type of an addendum, from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddendumKind {
    /// `signature-<role>-<16 hex of the key's digest>`: an armored SSHSIG over the index.
    Signature,
    /// `record-<16 hex of its own digest>.json`: an in-toto statement about the index.
    Record,
    /// `record-<the same>.json.sig`: the signature over it.
    RecordSignature,
    /// `removal-<16 hex of its own digest>.json`: a statement that excludes something.
    Removal,
    /// `removal-<the same>.json.sig`: the signature over it.
    RemovalSignature,
    /// Something else; not accepted.
    Unknown,
}

/// The type of an addendum with this name.
pub fn kind(name: &str) -> AddendumKind {
    let hex = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if let Some((role, key)) = name.strip_prefix(SIGNATURE).and_then(|rest| rest.split_once('-')) {
        return if Role::parse(role).is_some() && hex(key) { AddendumKind::Signature } else { AddendumKind::Unknown };
    }
    match name.strip_prefix(REMOVAL).and_then(|rest| rest.split_once('.')) {
        Some((digest, "json")) if hex(digest) => return AddendumKind::Removal,
        Some((digest, "json.sig")) if hex(digest) => return AddendumKind::RemovalSignature,
        _ => {}
    }
    match name.strip_prefix(RECORD).and_then(|rest| rest.split_once('.')) {
        Some((digest, "json")) if hex(digest) => AddendumKind::Record,
        Some((digest, "json.sig")) if hex(digest) => AddendumKind::RecordSignature,
        _ => AddendumKind::Unknown,
    }
}

/// Whether an addendum with this name is a signature over the index.
pub fn is_signature(name: &str) -> bool {
    kind(name) == AddendumKind::Signature
}

/// The name of the addendum for a signature in this role by the key with this public blob.
pub fn signature_name(role: Role, key: &[u8]) -> String {
    format!("{SIGNATURE}{role}-{}", &Digest::of(key).hex()[..16])
}

/// Name of the addendum for a record.
pub fn record_name(record: &[u8]) -> String {
    format!("{RECORD}{}.json", &Digest::of(record).hex()[..16])
}

/// Name of the addendum for a statement about a removal.
pub fn removal_name(statement: &[u8]) -> String {
    format!("{REMOVAL}{}.json", &Digest::of(statement).hex()[..16])
}

/// An in-toto Statement v1 about a bundle index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The bundle: its name, and the digest of its index.
    pub subject: Vec<Subject>,
    /// [`PREDICATE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The review itself.
    pub predicate: Review,
}

/// A review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// The role of the reviewer.
    pub role: Role,
    /// A short text: a change number, a sentence.
    #[serde(default)]
    pub note: String,
    /// Creation time, `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// The reviewer's data: tools, verdicts, removals. Any JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<json::Object>,
}

/// Parses the record in `addendum` and finds its signature in `all`.
///
/// # Errors
/// One sentence: over a limit, not a statement, about another index, under a wrong name, or without a signature.
pub fn read_record<'a>(addendum: &Addendum, all: &'a [Addendum], index: &Digest) -> Result<(Review, &'a [u8]), String> {
    if addendum.bytes.len() as u64 > limits::ADDENDUM {
        return Err("it is over the limit for an addendum".to_owned());
    }
    json::check(&addendum.bytes, &[]).map_err(|e| e.to_string())?;
    let statement: Statement = serde_json::from_slice(&addendum.bytes).map_err(|e| e.to_string())?;
    if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
        return Err("it is not a review statement".to_owned());
    }
    if statement.subject.len() != 1 || statement.subject[0].digest.sha256 != index.hex() {
        return Err("it is about another bundle".to_owned());
    }
    let review = &statement.predicate;
    if !Role::ALL.contains(&review.role) {
        return Err(format!("a {} does not review", review.role));
    }
    if review.created.parse::<jiff::Timestamp>().is_err() || review.note.len() > limits::TEXT {
        return Err("its time or note is not one of format 1".to_owned());
    }
    if addendum.name != record_name(&addendum.bytes) {
        return Err("its name is not that of its content".to_owned());
    }
    let name = format!("{}.sig", addendum.name);
    let signature = all.iter().find(|a| a.name == name).ok_or("it has no signature")?;
    Ok((statement.predicate, &signature.bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn statement(index: &Digest) -> String {
        format!(
            "{{\"_type\":\"{STATEMENT}\",\"subject\":[{{\"name\":\"a\",\"digest\":{{\"sha256\":\"{}\"}}}}],\"predicateType\":\"{PREDICATE}\",\"predicate\":{{\"role\":\"reviewer\",\"note\":\"n\",\"created\":\"2026-01-01T00:00:00Z\"}}}}",
            index.hex()
        )
    }

    fn read(text: &str, index: &Digest) -> Result<Review, String> {
        let name = record_name(text.as_bytes());
        let record = Addendum { name: name.clone(), bytes: text.as_bytes().to_vec() };
        let all = [record.clone(), Addendum { name: format!("{name}.sig"), bytes: b"s".to_vec() }];
        read_record(&record, &all, index).map(|(review, _)| review)
    }

    #[test]
    fn only_a_statement_about_this_index_in_its_one_form_is_a_record() {
        let index = Digest::of(b"index");
        let good = statement(&index);
        assert_eq!(read(&good, &index).unwrap().note, "n");
        assert!(read(&good.replace("\"note\":\"n\",", ""), &index).unwrap().note.is_empty());
        let subject = &good[good.find("{\"name\"").unwrap()..=good.find("}}]").unwrap() + 1];
        for bad in [
            good.replace(&index.hex(), &Digest::of(b"other").hex()),
            good.replace(subject, ""),
            good.replace(subject, &format!("{subject},{subject}")),
            good.replace("Statement/v1", "Statement/v0.1"),
            good.replace("review:v1", "review:v2"),
            good.replace("\"note\":\"n\"", "\"note\":\"n\",\"note\":\"m\""),
            good.replace("\"note\":\"n\"", "\"extra\":1"),
            good.replace("\"note\":\"n\"", &format!("\"note\":\"{}\"", "x".repeat(limits::TEXT + 1))),
            good.replace("reviewer", "owner"),
            good.replace("2026-01-01T00:00:00Z", "today"),
            good.replace(",\"created\":\"2026-01-01T00:00:00Z\"", ""),
            format!("{good}{good}"),
            format!("{good}{}", " ".repeat(1 << 20)),
            String::new(),
        ] {
            assert!(read(&bad, &index).is_err(), "{bad:.400}");
        }
        let lonely = Addendum { name: record_name(good.as_bytes()), bytes: good.clone().into_bytes() };
        assert!(read_record(&lonely, std::slice::from_ref(&lonely), &index).unwrap_err().contains("no signature"));
        let renamed = Addendum { name: "record-0123456789abcdef.json".into(), ..lonely };
        assert!(read_record(&renamed, std::slice::from_ref(&renamed), &index).unwrap_err().contains("its name"));
    }

    #[test]
    fn only_names_of_known_kinds_are_accepted() {
        assert_eq!(kind("signature-reviewer-0123456789abcdef"), AddendumKind::Signature);
        assert_eq!(kind("record-0123456789abcdef.json"), AddendumKind::Record);
        assert_eq!(kind("record-0123456789abcdef.json.sig"), AddendumKind::RecordSignature);
        assert_eq!(kind("removal-0123456789abcdef.json"), AddendumKind::Removal);
        assert_eq!(kind("removal-0123456789abcdef.json.sig"), AddendumKind::RemovalSignature);
        for bad in [
            "signature-root-0123456789abcdef",
            "signature-builder-0123",
            "record-0123456789ABCDEF.json",
            "x",
            "record-0123456789abcdef.yaml",
        ] {
            assert_eq!(kind(bad), AddendumKind::Unknown, "{bad}");
        }
    }
}
