//! The inventory of a registry that other tools filled (MB-SIT-07): JSON, about 100 bytes a blob.

use serde::{Deserialize, Serialize};

use super::time;
use crate::error::{Code, Error, Result};
use crate::oci::{Digest, Repository, json};

/// Its `schema`.
pub const SCHEMA: &str = "mirror-bundle/inventory/v1";
/// The largest inventory, in bytes.
pub const MAX_INVENTORY: u64 = 32 << 20;
/// The most blobs of one.
pub const MAX_BLOBS: usize = 200_000;
/// The most repositories of one.
pub const MAX_REPOSITORIES: usize = 20_000;
/// The most blobs of all repositories together.
const MAX_HELD: usize = 1_000_000;
/// The most bytes of a reason.
const MAX_REASON: usize = 1024;

/// What a registry has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was asked for: a registry, and the beginning of the names of repositories.
    pub registry: String,
    /// When it was begun, `YYYY-MM-DDTHH:MM:SSZ`.
    pub created: String,
    /// The program that wrote it.
    pub program: String,
    /// Repositories, sorted by name.
    pub repositories: Vec<Held>,
    /// Every blob and manifest once, sorted by digest.
    pub blobs: Vec<Blob>,
    /// What could not be looked at, so that nothing is said about it.
    pub unread: Vec<Unread>,
}

/// What a repository has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Its name, with the registry.
    pub name: String,
    /// Positions in `blobs`, ascending.
    pub blobs: Vec<u32>,
}

/// A blob or manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// A repository, or a reference in one.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Inventory {
    /// Reads an inventory.
    ///
    /// # Errors
    /// [`Code::Malformed`] with what is wrong and where.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Inventory> {
        let bad = |why: String| Error::new(Code::Malformed, format!("the inventory `{name}` is not acceptable: {why}"));
        if bytes.len() as u64 > MAX_INVENTORY {
            return Err(bad(format!("it has {} bytes, over {MAX_INVENTORY}", bytes.len())));
        }
        json::check(bytes, &[]).and_then(|()| json::no_controls(bytes)).map_err(|e| bad(e.to_string()))?;
        let read: Inventory = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        read.check().map_err(bad)?;
        Ok(read)
    }

    /// Its bytes: one blob and one repository a line.
    ///
    /// # Errors
    /// [`Code::Usage`] when there is more than one inventory holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let internal = |e: serde_json::Error| Error::new(Code::Internal, "cannot write the inventory").source(e);
        self.check().map_err(|why| {
            Error::new(Code::Usage, format!("an inventory cannot hold this: {why}"))
                .hint("write several, each of some repositories: mirror-bundle inventory REGISTRY/PATH")
        })?;
        let mut out = String::from("{");
        let text = |value: &String| serde_json::to_string(value).map_err(internal);
        for (name, value) in [
            ("schema", &self.schema),
            ("registry", &self.registry),
            ("created", &self.created),
            ("program", &self.program),
        ] {
            out.push_str(&format!("\"{name}\":{},", text(value)?));
        }
        fn lines<T: Serialize>(list: &[T]) -> Result<String, serde_json::Error> {
            let lines = list.iter().map(|one| Ok(format!("\n{}", serde_json::to_string(one)?)));
            Ok(lines.collect::<Result<Vec<String>, serde_json::Error>>()?.join(","))
        }
        out.push_str(&format!("\n\"repositories\":[{}],\n", lines(&self.repositories).map_err(internal)?));
        out.push_str(&format!("\"blobs\":[{}],\n", lines(&self.blobs).map_err(internal)?));
        out.push_str(&format!("\"unread\":[{}]}}\n", lines(&self.unread).map_err(internal)?));
        if out.len() as u64 > MAX_INVENTORY {
            return Err(Error::new(Code::Usage, format!("the inventory would have more than {MAX_INVENTORY} bytes"))
                .hint("write several, each of some repositories: mirror-bundle inventory REGISTRY/PATH"));
        }
        Ok(out.into_bytes())
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("its schema is not {SCHEMA}"));
        }
        time(&self.created).ok_or("`created` is not written like 2026-11-28T21:00:00Z")?;
        let short = |what: &str, text: &str| match text.len() {
            1..=MAX_REASON => Ok(()),
            n => Err(format!("`{what}` has {n} bytes")),
        };
        short("registry", &self.registry)?;
        short("program", &self.program)?;
        for (what, n, most) in [
            ("blobs", self.blobs.len(), MAX_BLOBS),
            ("repositories", self.repositories.len(), MAX_REPOSITORIES),
            ("unread", self.unread.len(), MAX_REPOSITORIES),
            ("repositories", self.repositories.iter().map(|one| one.blobs.len()).sum(), MAX_HELD),
        ] {
            if n > most {
                return Err(format!("`{what}` has {n} entries, over {most}"));
            }
        }
        if let Some(at) = self.blobs.windows(2).position(|two| two[0].digest >= two[1].digest) {
            return Err(format!("`blobs` is not sorted, or names a blob twice, at {}", at + 1));
        }
        if let Some(at) = self.repositories.windows(2).position(|two| two[0].name >= two[1].name) {
            return Err(format!("`repositories` is not sorted, or names one twice, at {}", at + 1));
        }
        let mut held = vec![false; self.blobs.len()];
        for one in &self.repositories {
            let _: Repository =
                one.name.parse().map_err(|e: crate::oci::Invalid| format!("repository `{}`: {e}", one.name))?;
            if !one.blobs.is_sorted_by(|a, b| a < b) {
                return Err(format!("the blobs of `{}` are not sorted, or one is there twice", one.name));
            }
            for at in &one.blobs {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                *held.get_mut(at).ok_or_else(|| format!("`{}` names blob {at}, which is not listed", one.name))? = true;
            }
        }
        if let Some(at) = held.iter().position(|held| !held) {
            return Err(format!("blob {at} is in no repository"));
        }
        for one in &self.unread {
            short("what", &one.what)?;
            short("why", &one.why)?;
        }
        if !self.unread.is_sorted() {
            return Err("`unread` is not sorted".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(blobs: usize) -> Inventory {
        let mut all: Vec<Blob> =
            (0..blobs).map(|n| Blob { digest: Digest::of(&n.to_be_bytes()), size: n as u64 }).collect();
        all.sort_by_key(|blob| blob.digest);
        Inventory {
            schema: SCHEMA.into(),
            registry: "r.example:5000".into(),
            created: "2026-11-28T21:00:00Z".into(),
            program: "test".into(),
            repositories: vec![Held { name: "r.example:5000/a".into(), blobs: (0..).take(blobs).collect() }],
            blobs: all,
            unread: vec![],
        }
    }

    #[test]
    fn an_inventory_has_about_100_bytes_a_blob_and_a_bound() {
        let inventory = of(5000);
        let bytes = inventory.to_bytes().unwrap();
        assert!(bytes.len() < 5000 * 110, "{}", bytes.len());
        assert_eq!(Inventory::parse("i", &bytes).unwrap(), inventory);
        let err = of(MAX_BLOBS + 1).to_bytes().unwrap_err();
        assert_eq!(err.code(), Code::Usage);
        assert!(err.message().contains("200001 entries, over 200000"), "{}", err.message());
        let most = of(MAX_BLOBS).to_bytes().unwrap();
        assert!((most.len() as u64) < MAX_INVENTORY);
        assert!(Inventory::parse("i", &most).is_ok());
        let long = vec![b' '; usize::try_from(MAX_INVENTORY).unwrap() + 1];
        assert!(Inventory::parse("i", &long).unwrap_err().message().contains("over 33554432"));
    }

    #[test]
    fn lists_that_are_not_sorted_repeat_or_name_what_is_not_there_are_refused() {
        type Change = fn(&mut Inventory);
        let changes: [(Change, &str); 8] = [
            (|i| i.blobs.swap(0, 1), "`blobs` is not sorted"),
            (|i| i.blobs[1] = i.blobs[0], "`blobs` is not sorted"),
            (|i| i.repositories[0].blobs.swap(0, 1), "are not sorted"),
            (|i| i.repositories[0].blobs.push(9), "names blob 9, which is not listed"),
            (|i| _ = i.repositories[0].blobs.pop(), "blob 2 is in no repository"),
            (|i| i.repositories.push(i.repositories[0].clone()), "`repositories` is not sorted"),
            (|i| i.repositories[0].name = "no registry".into(), "repository `no registry`"),
            (|i| i.unread.push(Unread { what: String::new(), why: "x".into() }), "`what` has 0 bytes"),
        ];
        for (change, why) in changes {
            let mut bad = of(3);
            change(&mut bad);
            assert!(bad.check().unwrap_err().contains(why), "{why}: {:?}", bad.check());
            let bytes = serde_json::to_vec(&bad).unwrap();
            assert_eq!(Inventory::parse("i", &bytes).unwrap_err().code(), Code::Malformed);
        }
    }
}
