//! Builds the [`Trust`] of this host from its files and from the locations that its environment names.
//!
//! Trust comes from this host, never from a bundle or a bundle's folder.

use std::path::{Path, PathBuf};

use super::{environment, own_folder};
use crate::error::{Code, Error, Result};
use crate::fs::small;
use crate::openshift::openpgp::{Keyring, MAX_KEYRING_BYTES};
use crate::sign::policy::{MAX_POLICY, Policy};
use crate::verify::{Resolved, Trust};

/// What the user named.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// OpenSSH public keys: one of them must have signed the bundle, and no policy is read.
    pub signers: &'a [PathBuf],
    /// The trust policy; if none, the one from the environment, the user or the host.
    pub policy: Option<&'a Path>,
    /// OpenPGP keys for releases: one of them must have signed; if empty, those of the policy, else the built-in ones.
    pub keyrings: &'a [PathBuf],
    /// Without a signer or a policy, accept a bundle from anyone.
    pub allow_unsigned: bool,
}

/// Loads the trust configuration, with everything that the policy names.
///
/// # Errors
/// [`Code::Usage`] when no trusted key is configured and [`Named::allow_unsigned`] is off; errors of reading or parsing
/// a file.
pub fn read(named: &Named<'_>) -> Result<Trust> {
    let Some((mut policy, folder)) = policy(named)? else {
        // No trusted key: `policy` accepts that only with `allow_unsigned`.
        return Ok(Trust::Unsigned { keyrings: keyrings(named.keyrings)? });
    };
    policy.log = policy.log.map(|log| folder.join(log));
    let mut resolved = Resolved::new(policy, &|path| small_file(&folder.join(path), MAX_KEYRING_BYTES as u64))?;
    if !named.keyrings.is_empty() {
        resolved.keyrings = keyrings(named.keyrings)?;
    }
    Ok(Trust::Policy(resolved))
}

/// The OpenPGP keys in these files; the built-in vendor key if there are none.
///
/// # Errors
/// Errors of reading or parsing a file.
pub fn keyrings(paths: &[PathBuf]) -> Result<Vec<Keyring>> {
    if paths.is_empty() {
        let builtin = |e| Error::new(Code::Internal, format!("the built-in keyring cannot be read: {e}"));
        return Ok(vec![Keyring::redhat().map_err(builtin)?]);
    }
    paths.iter().map(|path| keyring(path)).collect()
}

/// The trust policy, and the base folder of its relative paths.
fn policy(named: &Named<'_>) -> Result<Option<(Policy, PathBuf)>> {
    if !named.signers.is_empty() {
        let keys = named.signers.iter().map(|path| crate::sign::read_public_key(path)).collect::<Result<Vec<_>>>()?;
        return Ok(Some((Policy::from_signer_keys(&keys)?, PathBuf::new())));
    }
    let variable = environment("MIRROR_BUNDLE_TRUST").filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut path = named.policy.map(Path::to_owned).or(variable);
    for default in default_policies() {
        // A policy that exists but cannot be read is an error, not a reason to use the next one.
        if path.is_none() && default.try_exists().map_err(|e| Error::io("cannot read", &default, e))? {
            path = Some(default);
        }
    }
    if let Some(path) = path {
        let bytes = small_file(&path, MAX_POLICY as u64)?;
        not_a_policy(&path, &bytes)?;
        let policy = Policy::parse(&bytes).map_err(|e| e.fact(format!("in {}", path.display())))?;
        return Ok(Some((policy, path.parent().unwrap_or(Path::new("")).to_owned())));
    }
    if named.allow_unsigned {
        return Ok(None);
    }
    let mut err = Error::new(Code::Usage, "no trusted key: a bundle can only be verified against a key or a policy");
    for path in default_policies() {
        err = err.fact(format!("looked for {}", path.display()));
    }
    Err(err.hint("name the builder's public key: --signer KEY.pub, or a policy: --trust trust.yaml"))
}

/// Refuses files that people give for a policy, and says what they are.
fn not_a_policy(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.display();
    let usage = |what: &str| Error::new(Code::Usage, format!("`{name}` {what}, not a trust policy"));
    if bytes.starts_with(b"-----BEGIN ") {
        let private = bytes.windows(11).take(64).any(|w| w == b"PRIVATE KEY");
        return Err(match private {
            true => usage("is a private key")
                .hint("give the public key: --signer FILE.pub; keep the private key where it is"),
            false => usage("is a key or a signature").hint("mirror-bundle explain trust prints an example of a policy"),
        });
    }
    if bytes.starts_with(b"ssh-") && bytes.iter().filter(|b| **b == b'\n').count() <= 1 {
        return Err(usage("is a public key").hint(format!("--signer {name}")));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(usage("is empty").hint("mirror-bundle explain trust prints an example of a policy"));
    }
    Ok(())
}

fn default_policies() -> Vec<PathBuf> {
    let config = own_folder("XDG_CONFIG_HOME").or_else(|| own_folder("HOME").map(|home| home.join(".config")));
    let mut out: Vec<PathBuf> = config.into_iter().map(|c| c.join("mirror-bundle/trust.yaml")).collect();
    out.push("/etc/mirror-bundle/trust.yaml".into());
    out
}

fn keyring(path: &Path) -> Result<Keyring> {
    let bytes = small_file(path, MAX_KEYRING_BYTES as u64)?;
    Keyring::parse(&path.display().to_string(), &bytes).map_err(|e| Error::new(Code::Usage, e.to_string()))
}

fn small_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    small::read(path, limit).map_err(|e| e.error("cannot read", path, Code::Usage))
}
