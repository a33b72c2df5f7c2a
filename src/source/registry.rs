//! A repository of a registry as a source.

use std::io::Read;
use std::sync::Arc;

use super::{Fetched, Named, Network, Source};
use crate::error::{Code, Error, Result};
use crate::oci::{Descriptor, Digest, Repository, Tag};
use crate::registry::{Client, Wanted};

/// One repository, read through a [`Client`].
#[derive(Clone, Debug)]
pub struct RegistrySource {
    client: Client,
    repository: Repository,
}

impl RegistrySource {
    /// The repository as a source. Nothing is requested yet.
    pub fn new(client: Client, repository: Repository) -> RegistrySource {
        RegistrySource { client, repository }
    }

    fn get(&self, wanted: &Wanted) -> Result<Option<Fetched>> {
        let found = self.client.get_manifest(&self.repository, wanted)?;
        Ok(found.map(|f| Fetched { bytes: f.bytes.into(), media_type: f.media_type, digest: f.digest }))
    }
}

impl Source for RegistrySource {
    fn describe(&self) -> String {
        self.repository.to_string()
    }

    fn names(&self) -> Result<Vec<Named>> {
        Ok(Vec::new())
    }

    fn resolve(&self, tag: &Tag) -> Result<Option<Fetched>> {
        self.get(&Wanted::Tag(tag.clone()))
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<Fetched>> {
        self.get(&Wanted::Digest(*digest))
    }

    fn blob(&self, what: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send>> {
        self.client.get_blob(&self.repository, &what.digest, offset, what.size)
    }

    fn unknown(&self, what: &Descriptor) -> Result<Option<Vec<u8>>> {
        self.client.get_unknown_manifest(&self.repository, &what.digest, &what.media_type)
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let found = self.client.referrers(&self.repository, digest)?;
        found.unread.map_or(Ok(found.entries), Err)
    }

    fn is_remote(&self) -> bool {
        true
    }
}

impl Network for Client {
    fn repository(&self, repository: &Repository) -> Arc<dyn Source> {
        Arc::new(RegistrySource::new(self.clone(), repository.clone()))
    }

    fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.fetch_url(url, limit).map_err(|e| without_login(e, url))
    }

    fn json(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.fetch_json(url, limit).map_err(|e| without_login(e, url))
    }

    fn is_public(&self, url: &str) -> bool {
        self.is_public_url(url)
    }
}

/// No login is sent to such addresses, so a demand for one is a failure of the source.
fn without_login(e: Error, url: &str) -> Error {
    match e.code() {
        Code::Auth => Error::new(Code::Source, e.message()).fact(url),
        _ => e,
    }
}
