//! JSON as hostile input: one value, no duplicate member names, no case variants of known ones, bounded.
//!
//! Go's decoder matches member names in any letter case and takes the last duplicate; this program and a
//! cluster must never read one document in two ways (security B6, B8; MB-OCI-03).

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Invalid;

const ANNOTATIONS: &str = "annotations";

/// The most values that one document may hold.
pub const MAX_VALUES: usize = 2_000_000;

/// The most members that one object may have (MB-LIM-19).
pub const MAX_MEMBERS: usize = 100_000;

/// The most members that all objects named `annotations` of one document may have together (MB-LIM-19).
pub const MAX_ANNOTATIONS: usize = 100_000;

/// Checks that `bytes` is exactly one JSON value, that no object names a member twice, and that no name differs from
/// one of `known` only by letter case. Names of annotations are free text: where `annotations` is known, case does not
/// matter for the members of that object.
pub fn check(bytes: &[u8], known: &[&str]) -> Result<(), Invalid> {
    let mut left = Left { values: MAX_VALUES, annotations: MAX_ANNOTATIONS };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict { known, left: &mut left, annotations: false, names: &RandomState::new() };
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|e| Invalid::new(format!("not acceptable JSON: {e}")))
}

/// Checks that no text has a control character other than a tab or line break, whether as it is or escaped. `bytes` has
/// passed [`check`].
pub fn no_controls(bytes: &[u8]) -> Result<(), Invalid> {
    let (mut line, mut at) = (1, 0);
    let found = |line: usize| Err(Invalid::new(format!("not acceptable JSON: a control character at line {line}")));
    while let Some(byte) = bytes.get(at) {
        let next = |n: usize| bytes.get(at + n).copied().unwrap_or_default();
        at += match byte {
            b'\n' => {
                line += 1;
                1
            }
            b'\\' => match next(1) {
                b'b' | b'f' => return found(line),
                b'u' => {
                    let hex = bytes.get(at + 2..at + 6).and_then(|hex| std::str::from_utf8(hex).ok());
                    let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default();
                    match code {
                        0x09 | 0x0a | 0x0d => 6,
                        0..=0x1f | 0x7f..=0x9f => return found(line),
                        _ => 6,
                    }
                }
                _ => 2,
            },
            0x7f => return found(line),
            0xc2 if (0x80..=0x9f).contains(&next(1)) => return found(line),
            _ => 1,
        };
    }
    Ok(())
}

/// The remaining budget of values and annotations.
struct Left {
    values: usize,
    annotations: usize,
}

/// A JSON object, kept as text. As parsed values it could take thirty times as much memory.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(transparent)]
pub struct Object(Box<RawValue>);

impl Object {
    /// Reads one object as strictly as [`check`].
    pub fn parse(bytes: &[u8]) -> Result<Object, Invalid> {
        check(bytes, &[])?;
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(e.to_string()))
    }

    /// The number of its members.
    pub fn members(&self) -> usize {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = usize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(count)
            }
        }
        serde_json::Deserializer::from_str(self.0.get()).deserialize_map(Count).unwrap_or_default()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Object) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Object {}

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        if raw.get().starts_with('{') { Ok(Object(raw)) } else { Err(D::Error::custom("not an object")) }
    }
}

struct Strict<'a> {
    known: &'a [&'a str],
    left: &'a mut Left,
    /// Whether this is the value of a member called `annotations`.
    annotations: bool,
    /// Only a keyed hash of each name is kept: a document can have half a million. If two names had one hash, they
    /// would be refused, never accepted.
    names: &'a RandomState,
}

impl Strict<'_> {
    fn below(&mut self, annotations: bool) -> Strict<'_> {
        Strict { known: self.known, left: self.left, annotations, names: self.names }
    }
}

/// A member's name, and the earlier names of its object. The value is whether the name is `annotations`.
struct Name<'a> {
    of: &'a Strict<'a>,
    seen: &'a mut HashSet<u64>,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        let variant = self.of.known.iter().find(|k| folds_to(name, k) && **k != name);
        if let Some(known) = variant.filter(|_| !self.of.annotations) {
            return Err(E::custom(format!("member `{name}` differs from `{known}` only by case")));
        }
        if self.seen.len() == MAX_MEMBERS {
            return Err(E::custom("an object has too many members"));
        }
        if !self.seen.insert(self.of.names.hash_one(name)) {
            return Err(E::custom(format!("member `{name}` appears twice")));
        }
        Ok(name == ANNOTATIONS && self.of.known.contains(&name))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.left.values = self.left.values.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.below(false))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(annotations) = map.next_key_seed(Name { of: &self, seen: &mut seen })? {
            if self.annotations {
                let left = self.left.annotations.checked_sub(1);
                self.left.annotations = left.ok_or_else(|| A::Error::custom("too many annotations"))?;
            }
            map.next_value_seed(self.below(annotations))?;
        }
        Ok(())
    }
}

/// Whether Go's decoder takes `name` for the (ASCII) member `known`: it folds case as Unicode does, where the long s
/// (U+017F) is an s and the Kelvin sign (U+212A) a k.
fn folds_to(name: &str, known: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(known.chars().map(fold))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn duplicates_case_variants_and_trailing_data_are_refused() {
        assert!(check(br#"{"layers":[{"a":1},{"a":2}]}"#, &["layers"]).is_ok());
        for bad in [
            &br#"{"a":1,"a":2}"#[..],
            br#"{"a":1,"\u0061":2}"#,
            br#"{"x":[{"a":1,"a":2}]}"#,
            br#"{"Layers":[]}"#,
            "{\"layer\u{17f}\":[]}".as_bytes(),
            br#"{"layer\u017f":[]}"#,
            "{\"\u{212a}ind\":[]}".as_bytes(),
            br#"{"a":1} {}"#,
            br#"{"a":1"#,
            b"",
            b"\xef\xbb\xbf{}",
        ] {
            assert!(check(bad, &["layers", "kind"]).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        for (members, good) in [(MAX_MEMBERS, true), (MAX_MEMBERS + 1, false)] {
            let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":0")).collect();
            assert_eq!(check(format!("{{{}}}", members.join(",")).as_bytes(), &[]).is_ok(), good);
        }
        // The annotations of a document are limited in total, however they are spread.
        for (each, good) in [(MAX_ANNOTATIONS / 2, true), (MAX_ANNOTATIONS / 2 + 1, false)] {
            let members: Vec<String> = (0..each).map(|n| format!("\"{n}\":\"\"")).collect();
            let all = members.join(",");
            let document = format!("{{\"annotations\":{{{all}}},\"layers\":[{{\"annotations\":{{{all}}}}}]}}");
            assert_eq!(check(document.as_bytes(), &["annotations"]).is_ok(), good);
            assert!(check(document.as_bytes(), &[]).is_ok(), "other JSON has no annotations");
        }
        let object = Object::parse(b" {\"a\": {\"b\": 1}, \"c\":[ 2 ]}\n").unwrap();
        assert_eq!(object.members(), 2);
        assert_eq!(serde_json::to_string(&object).unwrap(), "{\"a\": {\"b\": 1}, \"c\":[ 2 ]}", "as it was written");
        assert!(Object::parse(b"[1]").is_err() && Object::parse(b"{\"a\":1,\"a\":2}").is_err());
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        assert!(check(&deep, &[]).is_err());
    }
}
