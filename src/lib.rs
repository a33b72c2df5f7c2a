//! Offline bundles of OCI images and Kubernetes manifests: one signed, content-addressed tar file that is
//! created on a connected host, verified and unpacked behind an air gap.
//!
//! The library fails closed. [`verify::admit`] and every operation of [`ops`] that verifies need a [`verify::Trust`],
//! which has no default. Only a complete and good verdict yields a [`verify::Verified`], and without it no destination
//! writes a manifest, a tag or a file. `examples/embed.rs` shows a program that verifies and unpacks.
//!
//! ```
//! use mirror_bundle::{Result, sink::{Counts, Destination, Watch}, verify::Verified};
//!
//! fn publish(bundle: &Verified<'_>, to: &dyn Destination, watch: &dyn Watch) -> Result<Counts> {
//!     to.images(bundle, watch)
//! }
//! ```
//!
//! An admitted bundle (its head is verified, its content was not read) is not enough:
//!
//! ```compile_fail,E0308
//! use mirror_bundle::{Result, sink::{Counts, Destination, Watch}, verify::Admitted};
//!
//! fn publish(bundle: &Admitted<'_>, to: &dyn Destination, watch: &dyn Watch) -> Result<Counts> {
//!     to.images(bundle, watch)
//! }
//! ```
//!
//! Only the verifier creates one:
//!
//! ```compile_fail,E0423
//! use mirror_bundle::verify::{Admitted, Verified};
//!
//! fn forged(bundle: Admitted<'_>) -> Verified<'_> {
//!     Verified(bundle)
//! }
//! ```
//!
//! Data flows one way: `select -> source -> graph -> bundle writer` on the connected side, `bundle reader -> verify ->
//! sink` on the other. Nothing flows back.
//!
//! # The house
//!
//! A module uses only what its row names, and every row names only modules of rows above it: there is no circle.
//! `tests/architecture.rs` reads this table and the imports of all files, and fails where they differ.
//!
//! | module | what it is | uses |
//! |---|---|---|
//! | `error` | what a user is shown: code, facts, hint | |
//! | `pattern` | names with `*` and `?` | |
//! | `escape` | text from outside, made safe to show | |
//! | `version` | semantic versions and their order | |
//! | `parallel` | the same work for many things, by as many threads as get more done | `error` |
//! | `regzip` | gzip streams made again, byte for byte | |
//! | `delta` | one file as the difference from another one | |
//! | `oci` | reading and writing of OCI documents | `error` |
//! | `graph` | the walk from roots to blobs; closures | `oci`, `error` |
//! | `kubernetes` | manifests: parse, canonical form, what may be carried | `pattern`, `oci`, `error` |
//! | `report` | checks, findings, verdicts | `oci`, `error` |
//! | `evidence` | what other programs found: their files, bound to images | `report`, `oci`, `error` |
//! | `observer` | what a verb says while it works | `report`, `error` |
//! | `fs` | the ground floor for files: below a folder, small, whole, partial, durable, direct | `oci`, `error` |
//! | `codec` | bytes as stored and bytes of a blob | `oci`, `error` |
//! | `sign` | keys, SSHSIG, trust policy, cosign | `graph`, `kubernetes`, `report`, `fs`, `codec`, `pattern`, `oci`, `error` |
//! | `site` | what a site says about its registry: receipts, inventories | `sign`, `oci`, `error` |
//! | `archive` | archives within files, opened in memory | `error` |
//! | `content` | what is inside an image as it streams | `archive`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `oci`, `error` |
//! | `packages` | package databases of images; orders of versions; SPDX and CycloneDX documents | `archive`, `version`, `oci`, `error` |
//! | `policy` | facts about a bundle, rules over them, what was accepted | `packages`, `content`, `kubernetes`, `report`, `pattern`, `oci`, `error` |
//! | `openshift` | payloads, release signatures, mirror sets, update graphs | `content`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `version`, `oci`, `error` |
//! | `bundle` | the format | `regzip`, `delta`, `content`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `version`, `oci`, `error` |
//! | `registry` | distribution-spec client | `sign`, `kubernetes`, `fs`, `oci`, `error` |
//! | `cluster` | a Kubernetes API server: what would change there, and applying it | `registry`, `kubernetes`, `error` |
//! | `source` | where images come from | `registry`, `bundle`, `openshift`, `content`, `archive`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `oci`, `error` |
//! | `recovery` | Reed-Solomon data beside a bundle | `bundle`, `openshift`, `content`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `oci`, `error` |
//! | `scan` | scanners: clamd, programs, their proof, a run over contents | `archive`, `content`, `report`, `fs`, `observer`, `pattern`, `oci`, `error` |
//! | `page` | the sheet about a bundle: HTML and Markdown from one set of data | `escape`, `policy`, `scan`, `observer`, `bundle`, `content`, `sign`, `kubernetes`, `report`, `archive`, `oci`, `error` |
//! | `verify` | a bundle against a policy: the only maker of what is verified | `recovery`, `bundle`, `openshift`, `content`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `parallel`, `oci`, `error` |
//! | `sink` | destinations: registry, tree, layout, manifests | `verify`, `recovery`, `source`, `registry`, `bundle`, `openshift`, `content`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `observer`, `parallel`, `oci`, `error` |
//! | `select` | what was asked for, as roots | `recovery`, `source`, `registry`, `bundle`, `openshift`, `content`, `site`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `observer`, `parallel`, `version`, `oci`, `error` |
//! | `host` | this host: trust files, memory, log, detached signatures | `verify`, `recovery`, `source`, `registry`, `bundle`, `openshift`, `content`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `observer`, `oci`, `error` |
//! | `ops` | the verbs | `page`, `escape`, `evidence`, `policy`, `host`, `regzip`, `delta`, `select`, `sink`, `verify`, `scan`, `archive`, `recovery`, `source`, `cluster`, `registry`, `bundle`, `openshift`, `packages`, `content`, `site`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `observer`, `parallel`, `oci`, `error` |
//! | `cli` | arguments in, answers out; prints, reads the environment and the clock | `page`, `escape`, `evidence`, `policy`, `ops`, `host`, `select`, `sink`, `verify`, `scan`, `archive`, `recovery`, `source`, `cluster`, `registry`, `bundle`, `openshift`, `packages`, `content`, `site`, `sign`, `graph`, `kubernetes`, `report`, `fs`, `codec`, `observer`, `parallel`, `oci`, `error` |
//!
//! # Features
//!
//! | feature | what it brings | without it |
//! |---|---|---|
//! | `cli` (default) | the program: arguments, terminal, progress, signals | a library with no terminal in its tree |
//! | `registry` (default) | the registry client, proxies, TLS | no network code |
//! | `cluster` (default) | the client of a Kubernetes API server; brings `registry` | nothing is applied to a cluster |
//!
//! The verifier is `--no-default-features --features cli`: the program without network code. A reviewer who audits the
//! library builds it with `--no-default-features`. Both compile for musl and for macOS.
//!
//! # Files
//!
//! Read: files named by the arguments; the trust policy (`--trust`, `MIRROR_BUNDLE_TRUST`, `mirror-bundle/trust.yaml`
//! in `$XDG_CONFIG_HOME`, `~/.config` or `/etc`) and the keys it names; the memory of the host; with `registry` the
//! auth files of podman and Docker, and the system's certificates; with `cluster`, for `apply` and `unpack
//! --apply-manifests` only, the kubeconfig (`KUBECONFIG`, `~/.kube/config`) and what it names, or the service account
//! of a pod.
//!
//! Written: files named by the arguments, with `NAME.partial` and its journal beside them until they get their final
//! name; recovery data and detached signatures beside a bundle; the receipt and the log that the arguments or the
//! trust policy name; `unpacked.json` with its lock, and the verdicts of scanners in `scanned/`, in `MIRROR_BUNDLE_STATE`,
//! `$XDG_STATE_HOME/mirror-bundle` or `~/.local/state/mirror-bundle`.

#![deny(rustdoc::broken_intra_doc_links)]

pub mod archive;
pub mod bundle;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod codec;
pub mod content;
pub mod delta;
pub mod error;
mod escape;
pub mod evidence;
pub mod fs;
pub mod graph;
pub mod host;
pub mod kubernetes;
pub mod observer;
pub mod oci;
pub mod openshift;
pub mod ops;
pub mod packages;
pub mod page;
pub mod parallel;
mod pattern;
pub mod policy;
pub mod recovery;
#[cfg(feature = "registry")]
pub mod registry;
pub mod regzip;
pub mod report;
pub mod scan;
pub mod select;
pub mod sign;
pub mod sink;
pub mod site;
pub mod source;
pub mod verify;
pub mod version;

pub use error::{Code, Error, Result};
