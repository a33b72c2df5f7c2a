//! Values of arguments with a fixed choice.

use clap::ValueEnum;

/// What is done with foreign layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForeignLayers {
    /// Left out
    Skip,
    /// Taken from the registry of the image
    Fetch,
    /// Refused
    Refuse,
}

/// Where images other than releases go below the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Placement {
    /// To their path
    Path,
    /// To their path below their registry
    Host,
}

/// What nodes do when a mirror lacks an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourcePolicy {
    /// They ask the source
    #[value(name = "AllowContactingSource")]
    AllowContactingSource,
    /// They never ask the source
    #[value(name = "NeverContactSource")]
    NeverContactSource,
}

/// Kind of mirror configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MirrorSet {
    /// ImageDigestMirrorSet
    Idms,
    /// ImageTagMirrorSet
    Itms,
    /// ImageContentSourcePolicy (clusters before 4.13)
    Icsp,
    /// None
    None,
}
