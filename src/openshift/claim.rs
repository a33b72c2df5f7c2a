//! What a release signature says: the JSON of containers/image "simple signing", read strictly.
//!
//! Last step of [`super::openpgp::verify`], on bytes whose signature was found good. library-go decodes laxly (letter
//! case, duplicates, data behind the value); what is accepted here reads the same there (MB-REL-30 to MB-REL-35).

use crate::oci::{Digest, Invalid, Reference, json};

/// The JSON that was signed (containers/image "simple signing").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The digest of the release image, or of its list.
    pub digest: Digest,
    /// Where the signer published it: a name and tag, for the report. Nothing is fetched from there.
    pub docker_reference: Reference,
    /// The program that signed.
    pub creator: Option<String>,
    /// A second, informal date, in seconds since 1970.
    pub timestamp: Option<i64>,
}

/// Why a claim does not count.
pub(super) enum Fault {
    /// It is for something else: this, as it is written.
    Digest(String),
    /// Half a sentence.
    Other(String),
}

/// Reads the signed content as a claim for `asked`.
pub(super) fn read(content: &[u8], asked: &Digest) -> Result<Claim, Fault> {
    parse(content).map_err(|e| Fault::Other(e.0))?.check(asked)
}

const TYPE: &str = "atomic container signature";

/// Member names whose letter case must be exact.
const KNOWN: &[&str] = &[
    "critical",
    "optional",
    "type",
    "image",
    "identity",
    "docker-manifest-digest",
    "docker-reference",
    "creator",
    "timestamp",
];

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    critical: Critical,
    #[serde(default)]
    optional: Option<Optional>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Optional {
    creator: Option<String>,
    timestamp: Option<i64>,
}

fn parse(content: &[u8]) -> Result<RawClaim, Invalid> {
    // An array would fill the structs by position, so the first byte decides, before serde does.
    let first = content.iter().find(|b| !b" \t\r\n".contains(b));
    if first != Some(&b'{') {
        return Err(Invalid::new("not a JSON object"));
    }
    json::check(content, KNOWN)?;
    no_arrays(&serde_json::from_slice(content).map_err(|e| Invalid::new(e.to_string()))?)?;
    serde_json::from_slice(content).map_err(|e| Invalid::new(e.to_string()))
}

/// A claim has no arrays; serde would take one in the place of an object.
fn no_arrays(value: &serde_json::Value) -> Result<(), Invalid> {
    match value {
        serde_json::Value::Array(_) => Err(Invalid::new("an array where an object belongs")),
        serde_json::Value::Object(members) => members.values().try_for_each(no_arrays),
        _ => Ok(()),
    }
}

impl RawClaim {
    fn check(self, asked: &Digest) -> Result<Claim, Fault> {
        let other = |why: String| Err(Fault::Other(why));
        if self.critical.kind != TYPE {
            return other(format!("its type is `{}`, not `{TYPE}`", self.critical.kind));
        }
        if self.critical.image.digest != asked.to_string() {
            return Err(Fault::Digest(self.critical.image.digest));
        }
        let docker_reference = match self.critical.identity.reference.parse() {
            Ok(reference) => reference,
            Err(Invalid(why)) => return other(why),
        };
        let Optional { creator, timestamp } = self.optional.unwrap_or_default();
        Ok(Claim { digest: *asked, docker_reference, creator, timestamp })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn claim(optional: &str) -> String {
        let digest = Digest::of(b"");
        format!(
            r#"{{"critical":{{"type":"{TYPE}","image":{{"docker-manifest-digest":"{digest}"}},"identity":{{"docker-reference":"quay.io/a/b:1"}}}}{optional}}}"#
        )
    }

    #[test]
    fn the_optional_part_may_be_absent_null_or_an_object_of_known_members() {
        for good in ["", r#","optional":null"#, r#","optional":{}"#, r#","optional":{"creator":null,"timestamp":-1}"#] {
            assert!(read(claim(good).as_bytes(), &Digest::of(b"")).is_ok(), "{good}");
        }
        for bad in [
            r#","optional":[]"#,
            r#","optional":["x",1]"#,
            r#","optional":"x""#,
            r#","optional":{"x":1}"#,
            r#","optional":{"timestamp":1.0}"#,
            r#","optional":{"creator":1}"#,
            r#","optional":{},"x":1"#,
            r#","optional":{},"optional":{}"#,
        ] {
            assert!(read(claim(bad).as_bytes(), &Digest::of(b"")).is_err(), "{bad}");
        }
    }

    #[test]
    fn arrays_in_the_place_of_objects_are_refused() {
        let good = claim("");
        assert!(read(format!(" \n{good}\n").as_bytes(), &Digest::of(b"")).is_ok());
        let digest = Digest::of(b"").to_string();
        let array = good.replace(&format!(r#"{{"docker-manifest-digest":"{digest}"}}"#), &format!(r#"["{digest}"]"#));
        assert_ne!(array, good);
        assert!(read(array.as_bytes(), &Digest::of(b"")).is_err());
        assert!(matches!(read(good.as_bytes(), &Digest::of(b"x")), Err(Fault::Digest(_))));
    }
}
