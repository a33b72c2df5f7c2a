//! The claim of an image signature: the JSON of containers/image "simple signing", read strictly.
//!
//! Signatures of releases (OpenPGP) and of images (cosign) are over such a claim. Both readers call this module, with
//! bytes whose signature was verified. Go's decoders match names in any letter case, take the last duplicate, and some
//! ignore trailing data; everything accepted here reads the same there (MB-REL-30 to MB-REL-35, MB-COS-04).

use serde_json::{Map, Value};

use super::cosign::normal;
use crate::oci::{Digest, Invalid, Reference, json};

/// The kind of signer that makes a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A release signer, with OpenPGP.
    Release,
    /// An image signer, with cosign, which adds annotations of any name beside the known members.
    Cosign,
}

impl Form {
    /// The required value of `type`.
    fn kind(self) -> &'static str {
        match self {
            Form::Release => "atomic container signature",
            Form::Cosign => "cosign container image signature",
        }
    }
}

/// The signed JSON (containers/image "simple signing").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The digest of the image, or of its list.
    pub digest: Digest,
    /// The name under which the signer published the image, possibly with tag or digest. Nothing is fetched from
    /// there.
    pub docker_reference: Reference,
    /// The program that signed.
    pub creator: Option<String>,
    /// A second, informal date, in seconds since 1970.
    pub timestamp: Option<i64>,
}

/// Why a claim is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is for another digest: this one, as written.
    Digest(String),
    /// Half a sentence.
    Other(String),
}

impl From<Invalid> for Fault {
    fn from(Invalid(why): Invalid) -> Fault {
        Fault::Other(why)
    }
}

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

/// Parses signed content as a claim for `asked`.
///
/// # Errors
/// [`Fault`] for content that is not a claim of this form, or is for another digest.
pub fn read(content: &[u8], form: Form, asked: &Digest) -> Result<Claim, Fault> {
    json::check(content, KNOWN)?;
    let value: Value = serde_json::from_slice(content).map_err(|e| Invalid::new(e.to_string()))?;
    let claim = object(&value, "what was signed")?;
    only(claim, &["critical", "optional"])?;
    let critical = object(member(claim, "critical")?, "`critical`")?;
    only(critical, &["type", "image", "identity"])?;
    let image = object(member(critical, "image")?, "`image`")?;
    only(image, &["docker-manifest-digest"])?;
    let identity = object(member(critical, "identity")?, "`identity`")?;
    only(identity, &["docker-reference"])?;

    let kind = text(critical, "type")?;
    if kind != form.kind() {
        return Err(Fault::Other(format!("its type is `{kind}`, not `{}`", form.kind())));
    }
    let digest = text(image, "docker-manifest-digest")?;
    if digest != asked.to_string() {
        return Err(Fault::Digest(digest.to_owned()));
    }
    let docker_reference = text(identity, "docker-reference")?.parse()?;
    let (creator, timestamp) = optional(claim.get("optional").unwrap_or(&Value::Null), form)?;
    Ok(Claim { digest: *asked, docker_reference, creator, timestamp })
}

fn optional(value: &Value, form: Form) -> Result<(Option<String>, Option<i64>), Invalid> {
    if value.is_null() {
        return Ok((None, None));
    }
    let members = object(value, "`optional`")?;
    if form == Form::Release {
        only(members, &["creator", "timestamp"])?;
    }
    let creator = match members.get("creator") {
        None | Some(Value::Null) => None,
        Some(Value::String(creator)) => Some(creator.clone()),
        Some(_) => return Err(Invalid::new("`creator` is not a string")),
    };
    let timestamp = match members.get("timestamp") {
        None | Some(Value::Null) => None,
        Some(number) => {
            Some(number.as_i64().ok_or_else(|| Invalid::new("`timestamp` is not a whole number of 64 bits"))?)
        }
    };
    Ok((creator, timestamp))
}

impl Claim {
    /// Whether it is about an image of this repository, in any spelling of the name; the tag does not matter, a digest
    /// does.
    pub fn is_of(&self, repository: &str) -> bool {
        let named = &self.docker_reference;
        normal(&named.repository.to_string()) == normal(repository) && named.digest.is_none_or(|d| d == self.digest)
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, Invalid> {
    value.as_object().ok_or_else(|| Invalid::new(format!("{what} is not a JSON object")))
}

fn member<'a>(of: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Invalid> {
    of.get(name).ok_or_else(|| Invalid::new(format!("`{name}` is missing")))
}

fn text<'a>(of: &'a Map<String, Value>, name: &str) -> Result<&'a str, Invalid> {
    member(of, name)?.as_str().ok_or_else(|| Invalid::new(format!("`{name}` is not a string")))
}

fn only(of: &Map<String, Value>, names: &[&str]) -> Result<(), Invalid> {
    match of.keys().find(|name| !names.contains(&name.as_str())) {
        Some(other) => Err(Invalid::new(format!("unknown member `{other}`"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const FORMS: [Form; 2] = [Form::Release, Form::Cosign];

    fn claim(form: Form, optional: &str) -> String {
        let (digest, kind) = (Digest::of(b""), form.kind());
        format!(
            r#"{{"critical":{{"type":"{kind}","image":{{"docker-manifest-digest":"{digest}"}},"identity":{{"docker-reference":"quay.io/a/b:1"}}}}{optional}}}"#
        )
    }

    fn reads(text: &str, form: Form) -> bool {
        read(text.as_bytes(), form, &Digest::of(b"")).is_ok()
    }

    #[test]
    fn the_optional_part_may_be_absent_null_or_an_object_of_known_members() {
        for form in FORMS {
            for good in
                ["", r#","optional":null"#, r#","optional":{}"#, r#","optional":{"creator":null,"timestamp":-1}"#]
            {
                assert!(reads(&claim(form, good), form), "{form:?} {good}");
            }
            for bad in [
                r#","optional":[]"#,
                r#","optional":["x",1]"#,
                r#","optional":"x""#,
                r#","optional":{"timestamp":1.0}"#,
                r#","optional":{"timestamp":9223372036854775808}"#,
                r#","optional":{"creator":1}"#,
                r#","optional":{"Creator":"x"}"#,
                r#","optional":{"a":1,"a":1}"#,
                r#","optional":{},"x":1"#,
                r#","optional":{},"optional":{}"#,
            ] {
                assert!(!reads(&claim(form, bad), form), "{form:?} {bad}");
            }
        }
        let annotated = |form| claim(form, r#","optional":{"x":[1]}"#);
        assert!(reads(&annotated(Form::Cosign), Form::Cosign), "cosign sign -a x=1");
        assert!(!reads(&annotated(Form::Release), Form::Release));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_no_claim() {
        for form in FORMS {
            let good = claim(form, "");
            assert!(reads(&format!(" \n{good}\n"), form));
            let digest = Digest::of(b"").to_string();
            let image = format!(r#"{{"docker-manifest-digest":"{digest}"}}"#);
            for (from, to) in [
                (image.as_str(), format!(r#"["{digest}"]"#).as_str()),
                (&good, &format!("[{good}]")),
                (&good, &format!("{good}{good}")),
                (&good, &format!("{good} x")),
                ("\"critical\"", "\"Critical\""),
                ("\"image\"", "\"Image\":{},\"image\""),
                ("\"type\"", "\"type\":\"x\",\"type\""),
                ("\"type\"", "\"x\":1,\"type\""),
                ("\"docker-reference\"", "\"docker-reference\":\"quay.io/x\",\"docker-reference\""),
                ("\"docker-reference\":\"quay.io/a/b:1\"", "\"docker-reference\":null"),
                ("quay.io/a/b:1", "quay.io/A"),
                (",\"identity\"", ",\"identity\":{},\"\\u0069dentity\""),
                (form.kind(), "another"),
            ] {
                let bad = good.replacen(from, to, 1);
                assert_ne!(bad, good, "{from}");
                assert!(!reads(&bad, form), "{bad}");
            }
            assert_eq!(read(good.as_bytes(), form, &Digest::of(b"x")), Err(Fault::Digest(digest)));
        }
        assert!(!reads(&claim(Form::Cosign, ""), Form::Release) && !reads(&claim(Form::Release, ""), Form::Cosign));
    }

    #[test]
    fn a_claim_is_about_its_repository_in_any_spelling_and_about_no_other() {
        let of = |reference: &str| {
            let text = claim(Form::Cosign, "").replace("quay.io/a/b:1", reference);
            read(text.as_bytes(), Form::Cosign, &Digest::of(b"")).unwrap()
        };
        let (own, other) = (format!("quay.io/a/b@{}", Digest::of(b"")), format!("quay.io/a/b@{}", Digest::of(b"x")));
        for good in ["quay.io/a/b", "quay.io/a/b:any", "QUAY.io:443/a/b", &own] {
            assert!(of(good).is_of("quay.io/a/b") && of(good).is_of("quay.io:443/a/b"), "{good}");
        }
        for bad in ["quay.io/a/c", "quay.io/a", "example.com/a/b:1", &other] {
            assert!(!of(bad).is_of("quay.io/a/b"), "{bad}");
        }
    }
}
