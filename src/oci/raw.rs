//! Documents as JSON: every member that image-spec 1.1 defines must have the type defined there.
//!
//! A descriptor is converted while it is read. Members that are not needed later (`urls`, long `data`) are checked and
//! dropped: a document of 4 MiB can hold more than a million strings.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Descriptor as Ours, Digest, Platform};

/// The most characters of `data` that are kept: it is for content that is hardly longer than its descriptor.
const MAX_DATA: usize = 16 << 10;

/// An image manifest.
#[derive(Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "schemaVersion")]
    _schema_version: u32,
    #[serde(rename = "mediaType")]
    _media_type: Option<Text>,
    #[serde(rename = "artifactType")]
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Option<Vec<Descriptor>>,
    pub(super) subject: Option<Descriptor>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// An image index or manifest list.
#[derive(Deserialize)]
pub(super) struct Index {
    #[serde(rename = "schemaVersion")]
    _schema_version: u32,
    #[serde(rename = "mediaType")]
    _media_type: Option<Text>,
    #[serde(rename = "artifactType")]
    _artifact_type: Option<Text>,
    pub(super) manifests: Option<Vec<Descriptor>>,
    pub(super) subject: Option<Descriptor>,
    #[serde(rename = "annotations")]
    _annotations: Option<Members>,
}

/// A descriptor.
pub(super) struct Descriptor(pub(super) Ours);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    platform: Option<Object<RunsOn>>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "urls")]
    _urls: Option<Texts>,
    data: Option<String>,
}

/// Builders leave members out, and registries hand that on.
#[derive(Deserialize)]
struct RunsOn {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    #[serde(rename = "features")]
    _features: Option<Texts>,
}

impl RunsOn {
    /// The platform. One without operating system or architecture says nothing.
    fn complete(self) -> Option<Platform> {
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        let (os, architecture) = (given(self.os)?, given(self.architecture)?);
        Some(Platform { os, architecture, variant: given(self.variant) })
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Descriptor, D::Error> {
        let Object(it) = Object::<Described>::deserialize(from)?;
        Ok(Descriptor(Ours {
            media_type: it.media_type,
            digest: it.digest.parse::<Digest>().map_err(D::Error::custom)?,
            size: it.size,
            artifact_type: it.artifact_type,
            platform: it.platform.and_then(|Object(on)| on.complete()),
            annotations: it.annotations.unwrap_or_default(),
            data: it.data.filter(|data| data.len() <= MAX_DATA).map(String::into_boxed_str),
        }))
    }
}

/// A value that must be a JSON object. Derived deserializers also accept an array of the members in order.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<T>, D::Error> {
        struct Only<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_map(Only(PhantomData))
    }
}

/// A string that is not kept.
struct Text;

/// An array of strings that are not kept.
struct Texts;

/// An object whose members are strings that are not kept.
struct Members;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        from.deserialize_str(Any)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Texts, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                while list.next_element::<Text>()?.is_some() {}
                Ok(Texts)
            }
        }
        from.deserialize_seq(Any)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Members, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                while map.next_entry::<Text, Text>()?.is_some() {}
                Ok(Members)
            }
        }
        from.deserialize_map(Any)
    }
}
