//! Converts arguments, files and environment into the settings of a verb.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::args;
use crate::bundle::Stock;
use crate::error::{Code, Error, Result};
use crate::evidence;
use crate::host::detached::{self, Signatures};
use crate::host::memory;
use crate::host::trust::{self, Named};
use crate::kubernetes::Rule;
use crate::ops::evidence::Files;
use crate::parallel::Pace;
use crate::policy::{self, Policy};
use crate::verify::{Conditions, Detached, Exceptions, Expectations, Trust};

/// The trust for `verify`, `unpack`, `sign` and `repair`.
pub(super) fn trust(args: &args::Trust) -> Result<Trust> {
    trust::read(&Named {
        signers: &args.signer,
        policy: args.trust.as_deref(),
        keyrings: &args.release_keyring,
        allow_unsigned: args.allow_unsigned,
    })
}

/// What those who look into a bundle base it on: trust that the arguments name, or nothing.
pub(super) fn basis(args: &args::Trust, bundle: &[PathBuf]) -> Result<crate::ops::reading::Basis> {
    let named = !args.signer.is_empty() || args.trust.is_some() || args.allow_unsigned;
    let trust = named.then(|| trust(args)).transpose()?;
    let conditions = match named {
        true => conditions(args, bundle, false)?,
        false => {
            let stock = Arc::new(stock(&args.base, None)?);
            Conditions { stock, ..Conditions::new(moment(args.at.as_deref())?) }
        }
    };
    Ok(crate::ops::reading::Basis { trust, conditions })
}

/// What `--base` names. References are unpacked in TMPDIR, or on the disk of `/var/tmp`. Layers of a base that is itself
/// made of differences are restored if `trust` knows who signed them.
pub(super) fn stock(base: &[PathBuf], trust: Option<(&Trust, Timestamp)>) -> Result<Stock> {
    let room = crate::host::environment("TMPDIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    Stock::open(base, room, &|signed| trust.is_some_and(|(trust, now)| crate::verify::vouches(trust, signed, now)))
}

/// `--platform`.
pub(super) fn platform(text: Option<&str>) -> Result<Option<crate::oci::Platform>> {
    let usage = |e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string());
    text.map(|text| text.parse().map_err(usage)).transpose()
}

/// The conditions under which they verify the bundle.
pub(super) fn conditions(args: &args::Trust, bundle: &[PathBuf], partial: bool) -> Result<Conditions> {
    let beside = beside(args, bundle)?;
    let now = moment(args.at.as_deref())?;
    // Whoever asks for conditions reads the trust too, and says what is wrong with it.
    let trust = if args.base.is_empty() { None } else { trust(args).ok() };
    Ok(Conditions {
        now,
        target: None,
        exceptions: Exceptions {
            at: args.at.is_some(),
            unsigned: args.allow_unsigned,
            unsigned_release: args.allow_unsigned_release,
            rollback: args.allow_rollback,
            partial,
            as_carried: args.as_carried,
            kinds: rules(&args.allow_kind)?,
        },
        expectations: Expectations {
            release: args.expect_release.clone(),
            index: args.expect_index.as_deref().map(digest).transpose()?,
        },
        detached: Detached { signatures: beside.signatures, records: beside.records },
        seen: memory::load(&memory::folder())?,
        stock: Arc::new(stock(&args.base, trust.as_ref().map(|trust| (trust, now)))?),
    })
}

/// The values of `--allow-kind`.
pub(super) fn rules(given: &[String]) -> Result<Vec<Rule>> {
    let rule =
        |text: &String| text.parse().map_err(|why: String| Error::new(Code::Usage, format!("--allow-kind: {why}")));
    given.iter().map(rule).collect()
}

fn digest(text: &str) -> Result<crate::oci::Digest> {
    text.parse().map_err(|e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string()))
}

/// Signatures and records beside each named file, and signatures named on the command line.
fn beside(trust: &args::Trust, bundle: &[PathBuf]) -> Result<Signatures> {
    let files: Vec<PathBuf> = bundle.iter().filter(|p| *p != Path::new("-")).cloned().collect();
    let mut out = detached::find(&files)?;
    for path in &trust.signature {
        out.add_signature(path.display().to_string(), detached::read(path)?)?;
    }
    Ok(out)
}

/// `--policy`: the rules, and the name of their file. A time in the past (`--at`) allows no longer acceptance.
pub(super) fn policy(path: Option<&Path>, now: Timestamp) -> Result<Option<(Policy, String)>> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let parsed = Policy::parse(&read(path, policy::LIMIT)?, now.max(Timestamp::now()));
    Ok(Some((parsed.map_err(|e| e.fact(format!("in `{name}`")))?, name)))
}

/// `--evidence`, and the image that some of it is about.
pub(super) fn evidence(paths: &[PathBuf], about: Option<&String>) -> Result<Files> {
    let files = paths.iter().map(|path| Ok((path.display().to_string(), read(path, evidence::LIMIT)?)));
    Files::read(files.collect::<Result<_>>()?, about.cloned())
}

/// Reads a small file that the user named.
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

/// How much is transferred at once.
pub(super) fn transfers(jobs: Option<u16>) -> Arc<Pace> {
    Arc::new(jobs.map_or_else(Pace::default, |most| Pace::up_to(most.into())))
}

/// Number of threads that compute.
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
    if let Some(text) = args.plain_http.iter().find(|text| text.contains('/')) {
        let host = text.split("://").last().and_then(|rest| rest.split('/').next()).unwrap_or_default();
        return Err(Error::new(Code::Usage, format!("`{text}` is not a host")).hint(format!("--plain-http {host}")));
    }
    let client = crate::registry::Client::new(crate::registry::Options {
        side,
        auth_file: args.authfile.clone(),
        ca_file: args.ca_file.clone(),
        plain_http: args.plain_http.clone(),
        timeout: std::time::Duration::from_secs(args.timeout),
        retries: args.retries,
        environment: crate::host::environment,
        stop: term.stop_flag(),
        listener: term.chatty().map(|hear| crate::registry::Listener(std::sync::Arc::new(hear))),
        ..Default::default()
    })?;
    client.notices().iter().for_each(|notice| term.warn(notice));
    Ok(client)
}

/// Reports failures that were not errors, at the end of the work.
#[cfg(feature = "registry")]
pub(super) fn late_notices(client: &crate::registry::Client, term: &super::term::Terminal) {
    use crate::ops::Observer;
    client.late_notices().iter().for_each(|notice| term.warn(notice));
}

/// Parses a reference as copied from other tools. Reports what was changed or assumed.
#[cfg(feature = "registry")]
pub(super) fn reference(text: &str, term: &super::term::Terminal) -> Result<crate::oci::Reference> {
    use crate::observer::Observer;
    let bare = bare(text, term)?;
    let usage = |e: crate::oci::Invalid| Error::new(Code::Usage, e.to_string());
    let mut reference: crate::oci::Reference = bare.parse().map_err(usage)?;
    if reference.tag.is_none() && reference.digest.is_none() {
        reference.tag = Some("latest".parse().map_err(usage)?);
        term.say("Note", &format!("{bare} names no tag; taking {reference}"));
    }
    Ok(reference)
}

#[cfg(feature = "registry")]
fn not_remote(text: &str) -> Error {
    Error::new(Code::Usage, format!("`{text}` is not in a registry"))
}

/// Removes the transport prefix `docker://` from a reference, and reports that.
#[cfg(feature = "registry")]
pub(super) fn bare<'a>(text: &'a str, term: &super::term::Terminal) -> Result<&'a str> {
    use crate::observer::Observer;
    const LOCAL: [&str; 6] =
        ["oci:", "oci-archive:", "docker-archive:", "dir:", "docker-daemon:", "containers-storage:"];
    if let Some(bare) = text.strip_prefix("docker://") {
        term.say("Note", &format!("docker:// is not needed; taking {bare}"));
        return Ok(bare);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(Error::new(Code::Usage, format!("`{text}` is a web address, not a reference to an image"))
            .hint("write REGISTRY/REPOSITORY:TAG, without https://"));
    }
    if let Some(transport) = LOCAL.iter().find(|transport| text.starts_with(**transport)) {
        let hint = match *transport {
            "docker-daemon:" | "containers-storage:" => {
                "write it to a file first (podman save --format oci-archive), and take that with --from-layout"
            }
            local => {
                let path = text.strip_prefix(local).unwrap_or(text);
                let path = path.strip_prefix("//").unwrap_or(path);
                return Err(not_remote(text)
                    .hint(format!("for a local file or folder: --from-layout {}", super::answer::quoted(path))));
            }
        };
        return Err(not_remote(text).hint(hint));
    }
    let pathlike = ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start));
    if pathlike || (Path::new(text).exists() && text.parse::<crate::oci::Reference>().is_err()) {
        return Err(
            not_remote(text).hint(format!("for a local file or folder: --from-layout {}", super::answer::quoted(text)))
        );
    }
    Ok(text)
}
