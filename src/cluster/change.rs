//! What differs between an object on the cluster and the one that would be there.

use serde_json::{Map, Value};

/// The most differences that are kept of one object.
const MOST: usize = 200;
/// The longest value that is shown, in characters.
const SHOWN: usize = 120;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The field, as `.data.key`.
    pub field: String,
    /// Its value on the cluster, shortened; `None` if it is not there.
    pub from: Option<String>,
    /// Its value after applying, shortened; `None` if it would be removed.
    pub to: Option<String>,
}

/// What differs, without what the server keeps for itself.
pub(super) fn changes(there: &Value, planned: &Value) -> Vec<Change> {
    let secret = there.get("kind").is_some_and(|kind| kind == "Secret");
    let mut walk = Walk { found: Vec::new(), secret };
    walk.values("", Some(&own(there)), Some(&own(planned)));
    walk.found
}

/// An object without what the server keeps for itself.
fn own(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            ["managedFields", "resourceVersion", "generation"].iter().for_each(|key| drop(metadata.remove(*key)));
        }
    }
    object
}

struct Walk {
    found: Vec<Change>,
    secret: bool,
}

impl Walk {
    fn values(&mut self, field: &str, there: Option<&Value>, planned: Option<&Value>) {
        if there == planned || self.found.len() >= MOST {
            return;
        }
        match (there, planned) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => self.members(field, a, b),
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                for n in 0..a.len().max(b.len()) {
                    self.values(&format!("{field}[{n}]"), a.get(n), b.get(n));
                }
            }
            // Whole parts that come or go: their members, as far as that is readable.
            (None, Some(Value::Object(b))) if !b.is_empty() => self.members(field, &Map::new(), b),
            (Some(Value::Object(a)), None) if !a.is_empty() => self.members(field, a, &Map::new()),
            _ => {
                let hidden = self.secret && (field.starts_with(".data") || field.starts_with(".stringData"));
                let shown = |value: &Value| if hidden { "(hidden)".to_owned() } else { shown(value) };
                let (from, to) = (there.map(shown), planned.map(shown));
                self.found.push(Change { field: field.to_owned(), from, to });
            }
        }
    }

    fn members(&mut self, field: &str, there: &Map<String, Value>, planned: &Map<String, Value>) {
        let mut keys: Vec<&String> = there.keys().chain(planned.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            let below = if plain { format!("{field}.{key}") } else { format!("{field}[{key:?}]") };
            self.values(&below, there.get(key), planned.get(key));
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(there: Value, planned: Value) -> Vec<String> {
        changes(&there, &planned).into_iter().map(|change| change.field).collect()
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_no_difference() {
        let there = json!({"metadata": {"name": "a", "resourceVersion": "1", "generation": 1, "managedFields": [1]}, "status": {"x": 1}});
        let planned = json!({"metadata": {"name": "a", "resourceVersion": "2", "generation": 2}});
        assert_eq!(fields(there, planned), Vec::<String>::new());
    }

    #[test]
    fn each_field_that_differs_is_named() {
        let there =
            json!({"data": {"a": "1", "b": "2"}, "spec": {"l": [1, 2]}, "metadata": {"labels": {"x.io/y": "1"}}});
        let planned = json!({"data": {"a": "1", "b": "3", "c": "4"}, "spec": {"l": [1]}, "metadata": {}});
        assert_eq!(fields(there, planned), [".data.b", ".data.c", ".metadata.labels[\"x.io/y\"]", ".spec.l[1]"]);
    }

    #[test]
    fn a_long_value_is_shortened_and_one_of_a_secret_is_hidden() {
        let long = changes(&json!({"data": {}}), &json!({"data": {"a": "x".repeat(5000)}}));
        assert!(long[0].to.as_deref().is_some_and(|to| to.len() < 200 && to.ends_with("(5002 bytes)")), "{long:?}");
        let secret =
            changes(&json!({"kind": "Secret", "data": {"a": "old"}}), &json!({"kind": "Secret", "data": {"a": "new"}}));
        assert!(
            secret[0].from.as_deref() == Some("(hidden)") && secret[0].to.as_deref() == Some("(hidden)"),
            "{secret:?}"
        );
    }
}
