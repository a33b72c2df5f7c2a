//! Every limit on input, in one place (`spec/bundle-format.md`, MB-LIM). Sizes are in bytes.

pub use crate::graph::{BLOB, DEPTH, DOCUMENT};

/// The bundle index. About 11,000 images or 38,000 blobs. What is made of it in memory is six times as large.
pub const INDEX: u64 = 6 << 20;
/// `SHA256SUMS`: one line for each member, shorter than its entry in the index.
pub const SUMS: u64 = INDEX;
/// A signature over the index, armored.
pub const SIGNATURE: u64 = 64 << 10;
/// Signatures that are judged for one index.
pub const SIGNATURES: usize = 16;
/// All manifest and index documents of one bundle together, as they are held while the graph is walked.
pub const DOCUMENTS: u64 = 16 << 20;
/// A carried Kubernetes file.
pub const KUBERNETES_FILE: u64 = 1 << 20;
/// A release signature.
pub const RELEASE_SIGNATURE: u64 = 64 << 10;
/// Release signatures for one digest.
pub const RELEASE_SIGNATURES: usize = 16;
/// The whole of `manifests/` and `signatures/`.
pub const FILES: u64 = 8 << 20;
/// An addendum.
pub const ADDENDUM: u64 = 1 << 20;
/// Addenda of one bundle.
pub const ADDENDA: usize = 64;
/// All addenda of one bundle together.
pub const ADDENDA_BYTES: u64 = 4 << 20;
/// A whole bundle (1 PiB).
pub const BUNDLE: u64 = 1 << 50;
/// The description of a volume: four bytes for each blob, and the pieces.
pub const VOLUME: u64 = 1 << 20;
/// Volumes of one bundle.
pub const VOLUMES: u32 = 999;
/// Members of all files together that are read, or written, as one bundle (of one file: what its index allows).
pub const MEMBERS: usize = 200_000;
/// What the files that are read as one bundle say about themselves: descriptions of volumes and signatures together.
pub const HEADS: usize = 8 << 20;
/// How often, in one run, something with a damaged head is looked at as this or that part. Each look costs as much
/// as opening a part.
pub const TRIES: usize = 256;
/// Documents and blobs that all repositories of a tree or registry need together.
pub const PLACES: usize = 2_000_000;
/// Exceptions that one index lists.
pub const EXCEPTIONS: usize = 256;
/// Blobs up to this size are on every volume: what image signatures are over among them.
pub const SMALL_BLOB: u64 = 4096;
/// Characters of one path component.
pub const COMPONENT: usize = 72;
/// Characters of a member's path: what ustar's name field holds.
pub const PATH: usize = 100;
/// Characters of a name, version, reference or reason in the index.
pub const TEXT: usize = 1024;
/// The configuration of a release image.
pub const CONFIG: u64 = 1 << 20;
/// What all layers of release images of one bundle may inflate to while their payloads are read.
pub const INFLATED: u64 = 64 << 30;
/// What is kept of the layers of release images while a stream is read.
pub const PAYLOADS: usize = 16 << 20;
