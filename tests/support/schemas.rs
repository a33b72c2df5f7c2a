//! Documents against `spec/schema`.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value;

/// A schema by its file name.
pub fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/schema").join(name);
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"))).unwrap()
}

/// The part of JSON Schema that our schemas use; an unknown keyword is a mistake in the schema.
pub fn violations(value: &Value, schema_of: &Value, at: &str, out: &mut Vec<String>) {
    let mut wrong = |why: String| out.push(format!("{at}: {why}"));
    let members = schema_of.as_object().unwrap();
    for (keyword, wanted) in members {
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "properties" | "required" | "items" | "$ref" | "oneOf" => {}
            "const" if value != wanted => wrong(format!("{value} is not {wanted}")),
            "enum" if !wanted.as_array().unwrap().contains(value) => wrong(format!("{value} is none of {wanted}")),
            "minimum" if value.as_i64() < wanted.as_i64() => wrong(format!("{value} is less than {wanted}")),
            "pattern" => {
                assert_eq!(wanted, "^sha256:[0-9a-f]{64}$");
                let hex = value.as_str().and_then(|v| v.strip_prefix("sha256:")).unwrap_or_default();
                if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    wrong(format!("{value} is no digest"));
                }
            }
            "type" => {
                let is = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(_) => "integer",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                if wanted != is && !wanted.as_array().is_some_and(|all| all.contains(&is.into())) {
                    wrong(format!("{value} is not of type {wanted}"));
                }
            }
            "const" | "enum" | "minimum" => {}
            other => panic!("{at}: unknown keyword {other}"),
        }
    }
    if let Some(name) = schema_of["$ref"].as_str() {
        violations(value, &schema(name), at, out);
    }
    if let Some(choices) = schema_of["oneOf"].as_array() {
        let tried = choices.iter().map(|choice| {
            let mut found = Vec::new();
            violations(value, choice, at, &mut found);
            found
        });
        let tried: Vec<Vec<String>> = tried.collect();
        if tried.iter().filter(|found| found.is_empty()).count() != 1 {
            out.push(format!("{at}: fits not one choice: {tried:?}"));
        }
    }
    if let (Some(properties), Some(object)) = (schema_of["properties"].as_object(), value.as_object()) {
        for name in schema_of["required"].as_array().unwrap() {
            if !object.contains_key(name.as_str().unwrap()) {
                out.push(format!("{at}: lacks {name}"));
            }
        }
        for (name, member) in object {
            match properties.get(name) {
                Some(schema_of) => violations(member, schema_of, &format!("{at}.{name}"), out),
                None => out.push(format!("{at}: the schema does not name {name}")),
            }
        }
    }
    if let (Some(items), Some(list)) = (schema_of.get("items"), value.as_array()) {
        list.iter().enumerate().for_each(|(n, item)| violations(item, items, &format!("{at}[{n}]"), out));
    }
}

/// A document that is as the schema of this name says.
pub fn valid(name: &str, text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}: {text}"));
    let mut found = Vec::new();
    violations(&value, &schema(&format!("{name}.json")), name, &mut found);
    assert!(found.is_empty(), "{found:#?}\n{text}");
    value
}
