//! What a person says may be carried: a kind, and optionally the namespace and the name (MB-MAN-09).

use std::fmt;
use std::str::FromStr;

use super::Object;
use crate::pattern::matches;

/// `KIND`, `KIND:NAME` for objects without a namespace, or `KIND:NAMESPACE/NAME`. A kind is `Kind`, `version/Kind` or
/// `group/version/Kind`; `*` and `?` stand for any characters of a namespace or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    kind: String,
    place: Place,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Wherever the kind belongs.
    Any,
    /// Cluster-wide. Decides the scope of a kind that this program does not know.
    Cluster,
    /// In a namespace that fits this pattern.
    Namespace(String),
}

/// Characters of one part of a kind, of a namespace and of a name.
const PART: usize = 253;

/// Whether this is `Kind`, `version/Kind` or `group/version/Kind`.
fn is_kind(text: &str) -> bool {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        (1..=PART).contains(&part.len()) && part.chars().all(inner)
    };
    text.split('/').count() <= 3 && text.split('/').all(part)
}

fn is_namespace(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?".contains(c);
    (1..=PART).contains(&text.len()) && text.chars().all(inner)
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._:@+=~*?".contains(c);
    (1..=PART).contains(&text.len()) && text.chars().all(inner)
}

impl Rule {
    /// Objects of a kind; in this namespace, with this name, if given. `cluster`: cluster-wide ones.
    ///
    /// # Errors
    /// The reason, if this cannot be a rule.
    pub fn new(kind: &str, namespace: Option<&str>, name: Option<&str>, cluster: bool) -> Result<Rule, String> {
        if !is_kind(kind) {
            return Err(format!("`{kind}` is not a kind: Kind, version/Kind or group/version/Kind"));
        }
        if let Some(bad) = namespace.filter(|text| !is_namespace(text)) {
            return Err(format!("`{bad}` is not a namespace, or a pattern of namespaces with `*` and `?`"));
        }
        if let Some(bad) = name.filter(|text| !is_name(text)) {
            return Err(format!("`{bad}` is not a name, or a pattern of names with `*` and `?`"));
        }
        let place = match (namespace, cluster) {
            (Some(_), true) => return Err("cluster-wide objects have no namespace".to_owned()),
            (Some(namespace), false) => Place::Namespace(namespace.to_owned()),
            (None, true) => Place::Cluster,
            (None, false) => Place::Any,
        };
        Ok(Rule { kind: kind.to_owned(), place, name: name.unwrap_or("*").to_owned() })
    }

    /// The rule that names exactly this object.
    pub fn of(object: &Object) -> String {
        match &object.namespace {
            Some(namespace) => format!("{}:{namespace}/{}", object.kind, object.name),
            None => format!("{}:{}", object.kind, object.name),
        }
    }

    /// Whether it names this object.
    pub fn names(&self, object: &Object) -> bool {
        let kind = self.kind == object.kind || self.kind == format!("{}/{}", object.api_version, object.kind);
        let place = match (&self.place, &object.namespace) {
            (Place::Any, _) | (Place::Cluster, None) => true,
            (Place::Namespace(pattern), Some(namespace)) => matches(pattern, namespace),
            _ => false,
        };
        kind && place && matches(&self.name, &object.name)
    }

    /// Whether it says that the objects it names are cluster-wide.
    pub fn is_cluster_wide(&self) -> bool {
        self.place == Place::Cluster
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Rule, String> {
        let Some((kind, rest)) = text.split_once(':') else { return Rule::new(text, None, None, false) };
        match rest.split_once('/') {
            Some((namespace, name)) => Rule::new(kind, Some(namespace), Some(name), false),
            None => Rule::new(kind, None, Some(rest), true),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Any if self.name == "*" => f.write_str(&self.kind),
            Place::Any => write!(f, "{}:*/{}", self.kind, self.name),
            Place::Cluster => write!(f, "{}:{}", self.kind, self.name),
            Place::Namespace(namespace) => write!(f, "{}:{namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Object {
        let namespace = Some(namespace.to_owned()).filter(|n| !n.is_empty());
        Object { api_version: api_version.into(), kind: kind.into(), namespace, name: name.into() }
    }

    #[test]
    fn a_rule_names_a_kind_a_namespace_and_a_name() {
        let secret = object("v1", "Secret", "a", "b-1");
        let role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:b");
        for (text, is_secret, is_role) in [
            ("Secret", true, false),
            ("v1/Secret", true, false),
            ("v2/Secret", false, false),
            ("Secret:a/b-1", true, false),
            ("Secret:*/b-?", true, false),
            ("Secret:a/*", true, false),
            ("Secret:b/*", false, false),
            ("Secret:a/b", false, false),
            ("Secret:b-1", false, false),
            ("Secret:*", false, false),
            ("rbac.authorization.k8s.io/v1/ClusterRole:system:b", false, true),
            ("ClusterRole:system:*", false, true),
            ("ClusterRole:*/*", false, false),
            ("ClusterRole", false, true),
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!((rule.names(&secret), rule.names(&role)), (is_secret, is_role), "{text}");
            assert_eq!(rule.to_string(), text);
        }
        assert!(Rule::of(&secret).parse::<Rule>().unwrap().names(&secret));
        assert!(Rule::of(&role).parse::<Rule>().unwrap().names(&role));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let long = "x".repeat(PART + 1);
        let bad = ["", ":", "a:", "a:/b", "a:b/", "a:b/c/d", "a/b/c/d", "a b", "a:B/c", "a:\u{1b}[2J", "*", &long];
        for bad in bad {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
        assert!(Rule::new("A", Some("a"), None, true).is_err());
    }
}
