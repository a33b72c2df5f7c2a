//! JSON as hostile input: one value, no duplicate member names, no case variants of known ones, bounded.
//!
//! Go's decoder matches member names in any letter case and takes the last duplicate; this program and a
//! cluster must never read one document in two ways (security B6, B8; MB-OCI-03).

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::Invalid;

/// The most values that one document may hold.
pub const MAX_VALUES: usize = 2_000_000;

/// The most members that one object may have (MB-LIM-19).
pub const MAX_MEMBERS: usize = 100_000;

/// Checks that `bytes` is exactly one JSON value whose objects never name a member twice, and where no name
/// differs from one of `known` by letter case only. Names of annotations are free text: where `annotations` is known,
/// case does not matter for the members of that object.
pub fn check(bytes: &[u8], known: &[&str]) -> Result<(), Invalid> {
    let mut budget = MAX_VALUES;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let seed = Strict { known, free: false, budget: &mut budget };
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|e| Invalid::new(format!("not acceptable JSON: {e}")))
}

/// The member whose own members are free text.
const ANNOTATIONS: &str = "annotations";

struct Strict<'a> {
    known: &'a [&'a str],
    /// Whether this value is that of `annotations`.
    free: bool,
    budget: &'a mut usize,
}

impl Strict<'_> {
    fn below(&mut self, name: &str) -> Strict<'_> {
        let free = name == ANNOTATIONS && self.known.contains(&ANNOTATIONS);
        Strict { known: self.known, free, budget: self.budget }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        *self.budget = self.budget.checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
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
        while seq.next_element_seed(self.below(""))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let variant = self.known.iter().find(|k| folds_to(&name, k) && **k != name);
            if let Some(known) = variant.filter(|_| !self.free) {
                return Err(A::Error::custom(format!("member `{name}` differs from `{known}` only by case")));
            }
            map.next_value_seed(self.below(&name))?;
            if seen.len() == MAX_MEMBERS {
                return Err(A::Error::custom("an object has too many members"));
            }
            if let Some(twice) = seen.replace(name) {
                return Err(A::Error::custom(format!("member `{twice}` appears twice")));
            }
        }
        Ok(())
    }
}

/// Whether Go's decoder takes `name` for the member `known`, which is ASCII: it folds as Unicode does, where the
/// long s (U+017F) is an s and the Kelvin sign (U+212A) a k.
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
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        assert!(check(&deep, &[]).is_err());
    }
}
