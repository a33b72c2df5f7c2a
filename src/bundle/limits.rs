//! Every limit on input, in one place (`spec/bundle-format.md`, MB-LIM). Sizes are in bytes.

pub use crate::graph::{BLOB, DEPTH, DOCUMENT};

/// The bundle index. About 11,000 images or 38,000 blobs. Parsed, it takes six times as much memory.
pub const INDEX: u64 = 6 << 20;
/// `SHA256SUMS`: one line for each member, shorter than its entry in the index.
pub const SUMS: u64 = INDEX;
/// A signature over the index, armored.
pub const SIGNATURE: u64 = 64 << 10;
/// Signatures evaluated for one index.
pub const SIGNATURES: usize = 16;
/// All manifest and index documents of one bundle together, since they are held in memory during the graph walk.
pub const DOCUMENTS: u64 = 16 << 20;
/// A carried Kubernetes file: what an API server takes in one request.
pub const KUBERNETES_FILE: u64 = 3 << 20;
/// A release signature.
pub const RELEASE_SIGNATURE: u64 = 64 << 10;
/// Release signatures for one digest.
pub const RELEASE_SIGNATURES: usize = 16;
/// The whole of `manifests/` and `signatures/`.
pub const FILES: u64 = 8 << 20;
/// An addendum.
pub const ADDENDUM: u64 = 1 << 20;
/// A statement about a removal.
pub const REMOVAL: u64 = 256 << 10;
/// Statements about removals in the head of a file.
pub const REMOVALS: usize = 9;
/// The carriage.
pub const CARRIAGE: u64 = INDEX;
/// Bases that a carriage names.
pub const BASES: usize = 64;
/// References of a carriage.
pub const REFERENCES: usize = 16_384;
/// Repositories that a carriage names for one blob.
pub const REPOSITORIES: usize = 8;
/// The most bytes of uncompressed content for each byte of a gzip blob: what DEFLATE can reach.
pub const RATIO: u64 = 1032;
/// Uncompressed content of a blob that is restored.
pub const TAR: u64 = 16 << 30;
/// Statements about removals that count for one bundle.
pub const REMOVALS_OF_ALL: usize = 32;
/// Addenda of one bundle.
pub const ADDENDA: usize = 64;
/// All addenda of one bundle together.
pub const ADDENDA_BYTES: u64 = 4 << 20;
/// A whole bundle (1 PiB).
pub const BUNDLE: u64 = 1 << 50;
/// The description of a volume: four bytes for each blob, plus the pieces.
pub const VOLUME: u64 = 1 << 20;
/// Volumes of one bundle.
pub const VOLUMES: u32 = 999;
/// Members of all files that are read or written as one bundle (for one file its index sets the limit).
pub const MEMBERS: usize = 200_000;
/// Descriptions of volumes and signatures of all files that are read as one bundle, in bytes.
pub const HEADS: usize = 8 << 20;
/// How often, in one run, a file with a damaged head is tried as one part or another. Each try costs as much as
/// opening a part.
pub const TRIES: usize = 256;
/// Documents and blobs of all repositories of a tree or registry together.
pub const PLACES: usize = 2_000_000;
/// Exceptions that one index lists.
pub const EXCEPTIONS: usize = 256;
/// Blobs up to this size are on every volume, which includes the signed payloads of image signatures.
pub const SMALL_BLOB: u64 = 4096;
/// Characters in one path component.
pub const COMPONENT: usize = 72;
/// Characters in a member's path: the size of ustar's name field.
pub const PATH: usize = 100;
/// Characters in a name, version, reference or reason in the index.
pub const TEXT: usize = 1024;
/// The configuration of a release image.
pub const CONFIG: u64 = 1 << 20;
/// Decompressed size of all layers of release images of one bundle while payloads are read.
pub const INFLATED: u64 = 64 << 30;
/// Bytes kept of the layers of release images while a stream is read.
pub const PAYLOADS: usize = 16 << 20;
