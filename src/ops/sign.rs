//! `sign`: verifies first, then adds a signature over the index, or a signed record about it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::bundle::addendum::{self, PREDICATE, Review, STATEMENT, Statement, Subject, SubjectDigest};
use crate::bundle::reader::Bundle;
use crate::bundle::{Index, Layout, append, tar};
use crate::error::{Code, Error, Result};
use crate::ops::Observer;
use crate::sign::{MessageHash, Namespace, Role, SecretKey, Signature};
use crate::verify::{Report, Settings};

/// What to add.
#[derive(Debug)]
pub enum What {
    /// A signature by this key in this role.
    Sign(SecretKey, Role),
    /// This armored signature, made by `ssh-keygen -Y sign`.
    Attach(Vec<u8>),
}

/// How.
#[derive(Debug)]
pub struct Options {
    /// What to add.
    pub what: What,
    /// A note for a record.
    pub note: Option<String>,
    /// Details for a record: any JSON object.
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
    /// Write beside the bundle instead of into it.
    pub detach: bool,
    /// This moment, for the record.
    pub now: Timestamp,
    /// Threads.
    pub jobs: usize,
}

/// How it ended.
#[derive(Debug)]
pub enum Outcome {
    /// The bundle is bad; nothing was signed.
    Refused(Box<Report>),
    /// Signed.
    Signed(Summary),
}

/// What was added.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// `mirror-bundle/sign/v1`.
    pub schema: &'static str,
    /// Digest of the index that was signed.
    pub index: String,
    /// The role.
    pub role: String,
    /// Fingerprint of the key.
    pub key: String,
    /// Names of the addenda, or paths of the files beside the bundle.
    pub written: Vec<String>,
}

/// The index of the bundle at `path`, exactly as it is signed.
pub fn index_bytes(path: &Path) -> Result<Vec<u8>> {
    Ok(Bundle::open(path)?.head().index.clone())
}

/// Verifies the bundle at `path` and adds what the options say.
///
/// The thresholds of the policy are not asked for yet: who signs second cannot wait for the third. Everything
/// else has to be right.
pub fn sign(path: &Path, settings: &Settings, options: Options, observer: &dyn Observer) -> Result<Outcome> {
    let bundle = Bundle::open(path)?;
    let head = bundle.head().clone();
    drop(bundle);
    let index = Index::parse(&head.index)?;
    let layout = Layout::new(&index, &head.index, head.signature.as_deref())?;
    if !options.detach && append::recover(path, tail(path, &layout)?)? {
        observer.warn("what an interrupted sign left was removed");
    }
    let report = crate::ops::verify::verify(path, None, settings, false, options.jobs, observer)?;
    if report.errors().any(|f| f.code != Code::Untrusted)
        || report.signatures.iter().all(|s| s.outcome != "good") && !settings.allow_unsigned
    {
        return Ok(Outcome::Refused(Box::new(report)));
    }
    observer.say("Verified", &report.bundle.path);

    let hash = MessageHash::of(&head.index);
    let (armored, signature) = match &options.what {
        What::Sign(key, role) => {
            let armored = crate::sign::sign(key, Namespace::Index(*role), &hash).into_bytes();
            let signature =
                crate::sign::verify(&hash, &armored).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            (armored, signature)
        }
        What::Attach(armored) => {
            let signature = crate::sign::verify(&hash, armored).map_err(|e| {
                Error::new(
                    Code::BadSignature,
                    format!("the signature does not hold for the index of `{}`: {e}", path.display()),
                )
                .state("nothing was added")
            })?;
            (armored.clone(), signature)
        }
    };
    let role = role_of(&signature)?;
    let mut pieces = vec![(addendum::signature_name(role, signature.key().blob()), armored)];
    if options.note.is_some() || options.details.is_some() {
        let What::Sign(key, _) = &options.what else {
            return Err(Error::new(Code::Usage, "a record is signed with --sign-key").state("nothing was added"));
        };
        pieces.extend(record(key, role, &index, &head.digest(), &options)?);
    }
    let written = match options.detach {
        true => beside(path, &pieces)?,
        false => inside(path, &index, tail(path, &layout)?, &pieces)?,
    };
    observer.say("Signed", &format!("as {role} ({})", signature.key().fingerprint()));
    Ok(Outcome::Signed(Summary {
        schema: "mirror-bundle/sign/v1",
        index: head.digest().to_string(),
        role: role.to_string(),
        key: signature.key().fingerprint(),
        written,
    }))
}

fn role_of(signature: &Signature) -> Result<Role> {
    match Namespace::parse(signature.namespace()) {
        Some(Namespace::Index(role)) => Ok(role),
        _ => Err(Error::new(Code::BadSignature, format!("the signature has namespace `{}`", signature.namespace()))
            .state("nothing was added")
            .hint("sign with -n mirror-bundle.v1.<role>")),
    }
}

fn record(
    key: &SecretKey,
    role: Role,
    index: &Index,
    digest: &crate::oci::Digest,
    options: &Options,
) -> Result<Vec<(String, Vec<u8>)>> {
    let created = Timestamp::from_second(options.now.as_second()).unwrap_or(options.now).to_string();
    let statement = Statement {
        kind: STATEMENT.to_owned(),
        subject: vec![Subject { name: index.name.clone(), digest: SubjectDigest { sha256: digest.hex() } }],
        predicate_type: PREDICATE.to_owned(),
        predicate: Review {
            role,
            note: options.note.clone().unwrap_or_default(),
            created,
            details: options.details.clone(),
        },
    };
    let mut bytes = serde_json::to_vec_pretty(&statement)
        .map_err(|e| Error::new(Code::Internal, "cannot write the record").source(e))?;
    bytes.push(b'\n');
    let signature = crate::sign::sign(key, Namespace::Record, &MessageHash::of(&bytes)).into_bytes();
    let name = addendum::record_name(&bytes);
    // The signature first: a record is never there without it.
    Ok(vec![(format!("{name}.sig"), signature), (name, bytes)])
}

/// Where the archive ends now: after the last addendum.
fn tail(path: &Path, layout: &Layout) -> Result<u64> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path).map_err(|e| Error::io("cannot open", path, e))?;
    let mut at = layout.end();
    let mut block = [0u8; 512];
    loop {
        if file.read_exact_at(&mut block, at).is_err() {
            return Ok(at);
        }
        match tar::parse(&block) {
            Some(entry) => at = at.saturating_add(tar::BLOCK + tar::padded(entry.size)),
            None => return Ok(at),
        }
    }
}

fn inside(path: &Path, index: &Index, end: u64, pieces: &[(String, Vec<u8>)]) -> Result<Vec<String>> {
    let mut at = end;
    let there = names(path)?;
    let mut written = Vec::new();
    for (name, bytes) in pieces.iter().filter(|(name, _)| !there.contains(name)) {
        at = append::append(path, at, index.mtime(), name, bytes)?;
        written.push(name.clone());
    }
    Ok(written)
}

fn names(path: &Path) -> Result<Vec<String>> {
    let bundle = Bundle::open(path)?;
    let index = Index::parse(&bundle.head().index)?;
    Ok(bundle.contents(index)?.addenda().iter().map(|a| a.name.clone()).collect())
}

/// `BUNDLE.<role>-<key>.sig`, and records as `BUNDLE.record-….json[.sig]`. Never over another file.
fn beside(path: &Path, pieces: &[(String, Vec<u8>)]) -> Result<Vec<String>> {
    let mut written = Vec::new();
    for (name, bytes) in pieces {
        let target = loose_path(path, name);
        let made = OpenOptions::new().write(true).create_new(true).open(&target);
        match made {
            Ok(mut file) => file
                .write_all(bytes)
                .and_then(|()| file.sync_all())
                .map_err(|e| Error::io("cannot write", &target, e))?,
            Err(e)
                if e.kind() == std::io::ErrorKind::AlreadyExists
                    && std::fs::read(&target).is_ok_and(|old| old == *bytes) => {}
            Err(e) => return Err(Error::io("cannot write", &target, e)),
        }
        written.push(target.display().to_string());
    }
    Ok(written)
}

/// The file beside the bundle that an addendum of this name is written to.
fn loose_path(path: &Path, name: &str) -> PathBuf {
    let name = match name.strip_prefix("signature-") {
        Some(rest) => format!("{rest}.sig"),
        None => name.to_owned(),
    };
    let mut full = path.as_os_str().to_owned();
    full.push(format!(".{name}"));
    full.into()
}

/// The signatures beside a bundle: `BUNDLE.<role>-<16 hex>.sig`. At most one more than are judged, so that too
/// many are noticed.
pub fn loose(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let (Some(name), parent) = (path.file_name().and_then(|n| n.to_str()), path.parent()) else {
        return Ok(Vec::new());
    };
    let parent = parent.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    // A folder that cannot be listed has no loose signatures: fewer signatures never make a verdict better.
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let Some(rest) = file_name.to_str().and_then(|n| n.strip_prefix(name)).and_then(|n| n.strip_prefix('.')) else {
            continue;
        };
        let ours = rest.strip_suffix(".sig").is_some_and(|r| addendum::is_signature(&format!("signature-{r}")));
        if ours && entry.file_type().is_ok_and(|t| t.is_file()) && found.len() <= crate::bundle::limits::SIGNATURES {
            found.push(entry.path());
        }
    }
    found.sort();
    found.into_iter().map(|path| Ok((path.display().to_string(), read(&path)?))).collect()
}

/// Reads a signature file, bounded.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(crate::bundle::limits::SIGNATURE + 1).read_to_end(&mut bytes))
        .map_err(|e| Error::io("cannot read", path, e))?;
    Ok(bytes)
}
