//! Trust, countersignatures, image signatures and the memory of the host, with the real program and its real peers
//! (`ssh-keygen`, `openssl`, `strace`). Normative text: `spec/signatures.md` and `spec/review.md`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "trust/attestations.rs"]
mod attestations;
#[path = "trust/cosign.rs"]
mod cosign;
#[path = "trust/crash.rs"]
mod crash;
#[path = "trust/kit.rs"]
mod kit;
#[path = "trust/policy.rs"]
mod policy;
#[path = "support/program.rs"]
mod program;
#[path = "trust/proof.rs"]
mod proof;
#[allow(dead_code, unreachable_pub)]
#[path = "support/registry.rs"]
mod registry;
#[path = "trust/rollback.rs"]
mod rollback;
#[path = "trust/sign.rs"]
mod sign;
#[path = "trust/sigstore.rs"]
mod sigstore;
