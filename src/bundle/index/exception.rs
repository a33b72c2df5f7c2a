//! Exceptions from checks at creation, as words in the index (MB-IDX-07).

use std::fmt;
use std::str::FromStr;

use crate::kubernetes::Rule;

/// An exception made at creation. It does not exempt a reader from any check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    /// Manifests that this rule names are carried: a kind, with or without a namespace and a name.
    Kind(String),
    /// A release of 4.21 or later is included without its cosign signature image.
    MissingImageSignature,
    /// A release is included without a verified release signature.
    UnsignedRelease,
}

const KIND: &str = "kind:";
const MISSING_IMAGE_SIGNATURE: &str = "missing-image-signature";
const UNSIGNED_RELEASE: &str = "unsigned-release";

impl Exception {
    /// The exception for manifests that a rule names.
    ///
    /// # Errors
    /// The reason, if this cannot be a rule.
    pub fn kind(kind: &str) -> Result<Exception, String> {
        kind.parse::<Rule>()?;
        Ok(Exception::Kind(kind.to_owned()))
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exception::Kind(kind) => write!(f, "{KIND}{kind}"),
            Exception::MissingImageSignature => f.write_str(MISSING_IMAGE_SIGNATURE),
            Exception::UnsignedRelease => f.write_str(UNSIGNED_RELEASE),
        }
    }
}

impl FromStr for Exception {
    type Err = String;

    fn from_str(text: &str) -> Result<Exception, String> {
        match text {
            MISSING_IMAGE_SIGNATURE => Ok(Exception::MissingImageSignature),
            UNSIGNED_RELEASE => Ok(Exception::UnsignedRelease),
            _ => match text.strip_prefix(KIND) {
                Some(kind) => Exception::kind(kind),
                None => Err(format!("`{text}` is not an exception of format 1")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_exception_is_one_of_the_words_of_the_format() {
        for good in [
            "kind:ClusterRole",
            "kind:v1/Secret",
            "kind:a.io/v1/X",
            "kind:ConfigMap:openshift-config/*",
            "kind:ClusterRole:system:x",
            MISSING_IMAGE_SIGNATURE,
            UNSIGNED_RELEASE,
        ] {
            assert_eq!(good.parse::<Exception>().unwrap().to_string(), good);
        }
        let long = format!("kind:{}", "x".repeat(254));
        let bad = [
            "",
            "kind:",
            "kind:a/b/c/d",
            "kind:a//b",
            "kind:a:",
            "kind:a:/b",
            "kind:a:B/c",
            "kind:a b",
            "kind:a\u{1b}[2J",
            "--allow-kind X",
            "unsigned",
            &long,
        ];
        for bad in bad {
            assert!(bad.parse::<Exception>().is_err(), "{bad}");
        }
    }
}
