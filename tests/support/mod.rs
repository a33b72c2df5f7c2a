//! Peers for integration tests: a real registry, a fault proxy in front of it, a token server. Use with `mod
//! support;`.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod apiserver;
pub mod image;
pub mod program;
pub mod proxy;
pub mod registry;
pub mod release;
pub mod schemas;
pub mod sessions;
pub mod skip;
#[cfg(feature = "registry")]
pub mod stub;
#[cfg(feature = "registry")]
pub mod tls;
pub mod token;

/// `len` bytes that do not compress and differ per seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
