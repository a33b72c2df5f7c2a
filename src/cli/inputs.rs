//! From arguments, files and environment to the settings of a verb.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::args;
use crate::error::{Code, Error, Result};
use crate::host::detached::{self, Signatures};
use crate::openshift::openpgp::{Keyring, MAX_KEYRING_BYTES};
use crate::sign::policy::{MAX_POLICY, Policy};
use crate::verify::{Conditions, Detached, Exceptions, Expectations, Resolved, Trust};

/// Whom `verify`, `unpack`, `sign` and `repair` trust.
pub(super) fn trust(args: &args::Trust) -> Result<Trust> {
    let Some((policy, folder)) = policy(args)? else {
        // Nobody is trusted, which `policy` accepts only with --allow-unsigned.
        return Ok(Trust::Unsigned { keyrings: keyrings(&args.release_keyring)? });
    };
    let mut resolved = Resolved::new(policy, &|path| read(&folder.join(path), MAX_KEYRING_BYTES as u64))?;
    if !args.release_keyring.is_empty() {
        resolved.keyrings = keyrings(&args.release_keyring)?;
    }
    Ok(Trust::Policy(resolved))
}

/// Under which conditions they verify what is named as the bundle.
pub(super) fn conditions(args: &args::Trust, bundle: &[PathBuf], partial: bool) -> Result<Conditions> {
    let beside = beside(args, bundle)?;
    Ok(Conditions {
        now: moment(args.at.as_deref())?,
        target: None,
        exceptions: Exceptions {
            at: args.at.is_some(),
            unsigned: args.allow_unsigned,
            unsigned_release: args.allow_unsigned_release,
            rollback: args.allow_rollback,
            partial,
            kinds: args.allow_kind.clone(),
        },
        expectations: Expectations {
            release: args.expect_release.clone(),
            index: args.expect_index.as_deref().map(digest).transpose()?,
        },
        detached: Detached { signatures: beside.signatures, records: beside.records },
        seen: crate::host::memory::load(&crate::host::memory::folder())?,
    })
}

fn digest(text: &str) -> Result<crate::oci::Digest> {
    text.parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string()))
}

/// Signatures and records beside each file that is named, and signatures named on the command line.
fn beside(trust: &args::Trust, bundle: &[PathBuf]) -> Result<Signatures> {
    let files: Vec<PathBuf> = bundle.iter().filter(|p| *p != Path::new("-")).cloned().collect();
    let mut out = detached::find(&files)?;
    for path in &trust.signature {
        out.add_signature(path.display().to_string(), detached::read(path)?)?;
    }
    Ok(out)
}

/// The trust policy, and the folder that its relative paths start from.
fn policy(trust: &args::Trust) -> Result<Option<(Policy, PathBuf)>> {
    if !trust.signer.is_empty() {
        let keys = trust.signer.iter().map(|path| crate::sign::read_public_key(path)).collect::<Result<Vec<_>>>()?;
        return Ok(Some((Policy::from_signer_keys(&keys)?, PathBuf::new())));
    }
    let environment = std::env::var_os("MIRROR_BUNDLE_TRUST").filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut path = trust.trust.clone().or(environment);
    for default in default_policies() {
        // One that is there and cannot be looked at is an error, not a reason to use the next one.
        if path.is_none() && default.try_exists().map_err(|e| Error::io("cannot read", &default, e))? {
            path = Some(default);
        }
    }
    if let Some(path) = path {
        let bytes = read(&path, MAX_POLICY as u64)?;
        let policy = Policy::parse(&bytes).map_err(|e| e.fact(format!("in {}", path.display())))?;
        return Ok(Some((policy, path.parent().unwrap_or(Path::new("")).to_owned())));
    }
    if trust.allow_unsigned {
        return Ok(None);
    }
    let mut err = Error::new(Code::Usage, "nobody is trusted: a bundle can only be verified against a key or a policy");
    for path in default_policies() {
        err = err.fact(format!("looked for {}", path.display()));
    }
    Err(err.hint("name the builder's public key: --signer KEY.pub, or a policy: --trust trust.yaml"))
}

fn default_policies() -> Vec<PathBuf> {
    // Relative or empty: ignored (basedir-spec). The current folder may be the medium, and trust is never taken from it.
    let own = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = own("HOME");
    let config = own("XDG_CONFIG_HOME").or_else(|| home.map(|h| h.join(".config")));
    let mut out: Vec<PathBuf> = config.into_iter().map(|c| c.join("mirror-bundle/trust.yaml")).collect();
    out.push("/etc/mirror-bundle/trust.yaml".into());
    out
}

/// The OpenPGP keys in these files; the built-in vendor key when there are none.
pub(super) fn keyrings(paths: &[PathBuf]) -> Result<Vec<Keyring>> {
    if paths.is_empty() {
        return Ok(vec![redhat()?]);
    }
    paths.iter().map(|path| keyring(path)).collect()
}

fn keyring(path: &Path) -> Result<Keyring> {
    let bytes = read(path, MAX_KEYRING_BYTES as u64)?;
    Keyring::parse(&path.display().to_string(), &bytes).map_err(|e| Error::new(Code::Usage, e.to_string()))
}

fn redhat() -> Result<Keyring> {
    Keyring::redhat().map_err(|e| Error::new(Code::Internal, format!("the built-in keyring cannot be read: {e}")))
}

/// Reads a small file of this host.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    crate::fs::small::read(path, limit).map_err(|e| e.error("cannot read", path, Code::Usage))
}

/// `--at`, or now.
pub(super) fn moment(at: Option<&str>) -> Result<Timestamp> {
    match at {
        Some(text) => time(text),
        None => Ok(Timestamp::now()),
    }
}

/// `2027-06-30` (its beginning, UTC) or `2027-06-30T12:00:00Z`.
pub(super) fn time(text: &str) -> Result<Timestamp> {
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    full.parse().map_err(|_| {
        Error::new(Code::Usage, format!("`{text}` is not a time")).hint("write 2027-06-30 or 2027-06-30T12:00:00Z")
    })
}

/// SOURCE_DATE_EPOCH, if it is set.
pub(super) fn source_date_epoch() -> Result<Option<u64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(None),
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| Error::new(Code::Usage, format!("SOURCE_DATE_EPOCH is `{text}`, not a time in seconds"))),
    }
}

/// Threads that mostly wait.
pub(super) fn transfers(jobs: Option<u16>) -> usize {
    jobs.map_or(8, usize::from)
}

/// Threads that compute.
pub(super) fn processors(jobs: Option<u16>) -> usize {
    jobs.map_or_else(|| std::thread::available_parallelism().map_or(2, usize::from), usize::from)
}

#[cfg(feature = "registry")]
pub(super) fn client(
    args: &super::args::Registry,
    side: crate::registry::Side,
    term: &super::term::Terminal,
) -> Result<crate::registry::Client> {
    use crate::ops::Observer;
    let client = crate::registry::Client::new(crate::registry::Options {
        side,
        auth_file: args.authfile.clone(),
        ca_file: args.ca_file.clone(),
        plain_http: args.plain_http.clone(),
        timeout: std::time::Duration::from_secs(args.timeout),
        retries: args.retries,
        environment: crate::host::environment,
        stop: term.stop_flag(),
        ..Default::default()
    })?;
    client.notices().iter().for_each(|notice| term.warn(notice));
    Ok(client)
}

/// Says what went wrong without being an error, when the work is done.
#[cfg(feature = "registry")]
pub(super) fn late_notices(client: &crate::registry::Client, term: &super::term::Terminal) {
    use crate::ops::Observer;
    client.late_notices().iter().for_each(|notice| term.warn(notice));
}
