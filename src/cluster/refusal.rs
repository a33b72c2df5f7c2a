//! What an API server says when it refuses a request, and what that means to whoever reads it.

use serde_json::Value;

use super::Conflict;
use crate::error::{Code, Error};

/// The longest quotation from a server, in characters.
const QUOTE: usize = 1000;
/// The most causes that are kept.
const CAUSES: usize = 50;

/// A refused request: the server's `Status`.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) message: String,
    causes: Vec<Cause>,
}

#[derive(Clone, Debug, Default)]
struct Cause {
    reason: String,
    field: String,
    message: String,
}

impl Refusal {
    /// Reads the body of a refusal. A proxy, and a server that lacks a path, send plain text.
    pub(super) fn read(code: u16, body: &[u8]) -> Refusal {
        let status =
            serde_json::from_slice::<Value>(body).ok().filter(|v| v.get("kind").is_some_and(|k| k == "Status"));
        let Some(status) = status else {
            return Refusal { code, message: cut(&String::from_utf8_lossy(body)), ..Refusal::default() };
        };
        let text = |value: &Value, key: &str| cut(value.get(key).and_then(Value::as_str).unwrap_or_default());
        let causes = status.pointer("/details/causes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let cause =
            |c: &Value| Cause { reason: text(c, "reason"), field: text(c, "field"), message: text(c, "message") };
        Refusal {
            code,
            reason: text(&status, "reason"),
            message: text(&status, "message"),
            causes: causes.iter().take(CAUSES).map(cause).collect(),
        }
    }

    /// Code, reason and message in one clause.
    pub(super) fn words(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(" {}", self.reason) };
        match self.message.is_empty() {
            true => format!("{}{reason}", self.code),
            false => format!("{}{reason}: {}", self.code, self.message),
        }
    }

    /// The server has no such object.
    pub(super) fn is_absent(&self) -> bool {
        self.code == 404 && self.reason == "NotFound"
    }

    /// The fields that somebody else owns, if that is why.
    pub(super) fn conflicts(&self) -> Vec<Conflict> {
        let owned = self.causes.iter().filter(|cause| cause.reason == "FieldManagerConflict");
        owned.map(|cause| Conflict { field: cause.field.clone(), owner: cause.message.clone() }).collect()
    }

    /// Whether fields of somebody else, and nothing else, stand in the way.
    pub(super) fn is_conflict(&self) -> bool {
        self.code == 409 && !self.conflicts().is_empty()
    }

    /// The error of applying `what`, which is in `namespace`.
    pub(super) fn error(&self, what: &str, namespace: Option<&str>) -> Error {
        let namespace = namespace.unwrap_or_default();
        let ending = self.causes.iter().any(|cause| cause.reason == "NamespaceTerminating");
        let missing = format!("namespaces \"{namespace}\" not found");
        let error = match self.code {
            403 if ending || self.message.contains("because it is being terminated") => Error::new(
                Code::ApplyFailed,
                format!("{what} cannot be created: namespace `{namespace}` is being deleted"),
            )
            .hint("wait until the namespace is gone, create it again, and run the same command again"),
            403 if self.message.contains(" cannot ") => Error::new(Code::Auth, format!("no right to apply {what}"))
                .hint("have the rights granted that docs/apply.md lists, or log in as another user"),
            403 => Error::new(Code::ApplyFailed, format!("a rule of the cluster refused {what}")),
            404 if self.message == missing => Error::new(
                Code::ApplyFailed,
                format!("{what} cannot be created: namespace `{namespace}` does not exist"),
            )
            .hint(format!("create it (oc create namespace {namespace}), and run the same command again")),
            409 => Error::new(Code::ApplyFailed, format!("{what} changed on the cluster after it was compared"))
                .hint("run the same command again: it compares again"),
            413 => Error::new(Code::ApplyFailed, format!("{what} is larger than the cluster accepts")),
            500 if self.message.starts_with("failed to create typed patch object") => {
                Error::new(Code::ApplyFailed, format!("{what} does not fit the cluster's schema"))
                    .hint("correct the manifest where it is written; a retry does not help")
            }
            400 | 422 => Error::new(Code::ApplyFailed, format!("the cluster does not accept the content of {what}"))
                .hint("correct the manifest where it is written, or ask who made the rule; a retry does not help"),
            429 | 502..=504 => {
                Error::new(Code::Destination, format!("the cluster could not apply {what} now")).transient()
            }
            _ => Error::new(Code::ApplyFailed, format!("the cluster did not apply {what}")),
        };
        let fields: Vec<&Cause> = self.causes.iter().filter(|cause| !cause.field.is_empty()).collect();
        if fields.len() < 2 {
            return error.fact(format!("it answered {}", self.words()));
        }
        // The message is all of them in a row.
        let error = error.fact(format!("it answered {} {}", self.code, self.reason));
        fields.iter().take(20).fold(error, |error, cause| error.fact(format!("{}: {}", cause.field, cause.message)))
    }
}

fn cut(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(QUOTE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, reason: &str, message: &str, causes: serde_json::Value) -> Error {
        let status = serde_json::json!({
            "kind": "Status", "reason": reason, "message": message, "details": { "causes": causes }, "code": code,
        });
        Refusal::read(code, status.to_string().as_bytes()).error("ConfigMap n/a", Some("n"))
    }

    #[test]
    fn each_answer_of_a_server_has_the_code_for_what_to_do() {
        let none = || serde_json::json!([]);
        let right = "configmaps \"a\" is forbidden: User \"u\" cannot patch resource \"configmaps\"";
        let ending =
            "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated";
        let typed =
            "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .datta: field not declared in schema";
        for (code, reason, message, causes, wanted, says) in [
            (403, "Forbidden", right, none(), Code::Auth, "no right"),
            (403, "Forbidden", ending, none(), Code::ApplyFailed, "namespace `n` is being deleted"),
            (
                403,
                "Forbidden",
                "x",
                serde_json::json!([{"reason": "NamespaceTerminating"}]),
                Code::ApplyFailed,
                "being deleted",
            ),
            (403, "Forbidden", "exceeded quota: q", none(), Code::ApplyFailed, "a rule of the cluster"),
            (404, "NotFound", "namespaces \"n\" not found", none(), Code::ApplyFailed, "namespace `n` does not exist"),
            (500, "", typed, none(), Code::ApplyFailed, "does not fit"),
            (422, "Invalid", "x", none(), Code::ApplyFailed, "does not accept the content"),
            (413, "RequestEntityTooLarge", "x", none(), Code::ApplyFailed, "larger"),
            (503, "ServiceUnavailable", "x", none(), Code::Destination, "now"),
        ] {
            let error = error(code, reason, message, causes);
            assert!(error.code() == wanted && error.message().contains(says), "{code} {message}: {error:?}");
            assert!(
                error.facts().iter().any(|fact| fact.contains(message) && fact.contains(&code.to_string())),
                "{error:?}"
            );
        }
    }

    #[test]
    fn each_field_of_a_refusal_is_named_once() {
        let causes =
            serde_json::json!([{"field": "spec.a", "message": "bad"}, {"field": "spec.b", "message": "worse"}]);
        let error = error(422, "Invalid", "spec.a: bad, spec.b: worse", causes);
        assert_eq!(error.facts(), ["it answered 422 Invalid", "spec.a: bad", "spec.b: worse"]);
    }

    #[test]
    fn an_answer_that_is_no_status_is_quoted_and_cut() {
        let page = format!("<html>{}", "x".repeat(100_000));
        let error = Refusal::read(502, page.as_bytes()).error("ConfigMap n/a", None);
        assert!(error.facts()[0].starts_with("it answered 502: <html>x") && error.facts()[0].len() < 1100, "{error:?}");
        assert!(error.is_transient());
    }

    #[test]
    fn owners_are_those_that_the_server_names() {
        let causes = serde_json::json!([{"reason": "FieldManagerConflict", "field": ".data.a", "message": "conflict with \"oc\""}]);
        let status =
            serde_json::json!({"kind": "Status", "reason": "Conflict", "message": "x", "details": {"causes": causes}});
        let refusal = Refusal::read(409, status.to_string().as_bytes());
        assert!(refusal.is_conflict());
        assert_eq!(refusal.conflicts(), [Conflict { field: ".data.a".into(), owner: "conflict with \"oc\"".into() }]);
        assert!(
            !Refusal::read(409, b"{\"kind\": \"Status\", \"message\": \"the object has been modified\"}").is_conflict()
        );
    }
}
