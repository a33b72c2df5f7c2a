//! `expand` and `shrink`: the same bundle in another form.
//!
//! `expand` writes it in full, byte for byte as `create` would have without `--base`. `shrink` leaves out what a receiver
//! has. Neither changes the index, a signature, a record or a removal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::bundle::writer::{Journal, Plan};
use crate::bundle::{Inputs, Stock};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::ops::encode::{Members, WithMembers, encode};
use crate::ops::form::{self, Form};
use crate::ops::read_back::ReadBack;
use crate::ops::repack::{self, Original};
use crate::ops::write::Supply;
use crate::ops::{Observer, observer};
use crate::select::base::Bases;
use crate::sign::{Namespace, Role, SecretKey, Signature};
use crate::verify::{Admission, CheckId, Conditions, Outcome, Trust, admit};

/// How to write it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bundle to write.
    pub bundle: PathBuf,
    /// Replace an existing file.
    pub force: bool,
    /// Threads.
    pub jobs: usize,
    /// Re-read everything from the medium before the bundle gets its final name.
    pub read_back: bool,
    /// Only report what would be written.
    pub dry_run: bool,
}

pub use crate::ops::encode::Options as Encoding;

/// What was written, or would be.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// `mirror-bundle/expand/v1` or `mirror-bundle/shrink/v1`.
    pub schema: &'static str,
    /// The bundle.
    pub bundle: String,
    /// Digest of the index.
    pub index: Digest,
    /// The bundle's name.
    pub name: String,
    /// Its position in the series, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Number of blobs in the file; all digests matched.
    pub blobs: usize,
    /// Number of those that the given file did not carry.
    pub restored: usize,
    /// Its size in bytes.
    pub bytes: u64,
    /// What is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// The role in which the carriage was signed, and the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// What was re-read from the medium, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_back: Option<ReadBack>,
    /// Whether nothing was written because only the plan was requested.
    pub dry_run: bool,
}

impl Summary {
    fn of(schema: &'static str, plan: &Plan, restored: usize, options: &Options) -> Result<Summary> {
        Ok(Summary {
            schema,
            bundle: options.bundle.display().to_string(),
            index: plan.digest(),
            name: plan.index.name.clone(),
            sequence: plan.index.sequence,
            blobs: plan.blobs().len(),
            restored,
            bytes: plan.bytes(),
            form: Form::of(plan)?,
            signed_by: None,
            read_back: None,
            dry_run: options.dry_run,
        })
    }
}

/// Writes the whole bundle from one form of it, or from its volumes. Checks every blob's digest on the way, and evaluates
/// no signature but, where blobs have to be restored, that over the carriage.
///
/// # Errors
/// [`Code::BlobMissing`] before the first byte, for blobs that are in no place given.
pub fn expand(
    inputs: &[PathBuf],
    stock: &Arc<Stock>,
    trust: Option<(&Trust, Timestamp)>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Summary> {
    let mut original = Original::with(Inputs::of(inputs)?, Some(&options.bundle), stock)?;
    original.complete()?;
    if !original.set().encoded().is_empty() {
        signed(inputs, stock, trust)?;
        original.trust_carriages();
    }
    original.restorable()?;
    let plan = original.full_plan()?;
    let restored = original.set().absent().chain(original.set().encoded()).collect::<BTreeSet<usize>>().len();
    let mut summary = Summary::of("mirror-bundle/expand/v1", &plan, restored, options)?;
    let (all, more) = (observer::count(summary.blobs, "blob"), summary.restored);
    observer.say("Expanding", &format!("{all}, {more} of them from elsewhere, {}", observer::size(summary.bytes)));
    if !options.dry_run {
        summary.read_back = write(&plan, &original, options, &|| Ok(()), observer)?;
    }
    Ok(summary)
}

/// That somebody trusted signed how the blobs are carried: nothing is restored before (MB-CAR-08).
fn signed(inputs: &[PathBuf], stock: &Arc<Stock>, trust: Option<(&Trust, Timestamp)>) -> Result<()> {
    let Some((trust, now)) = trust else {
        return Err(Error::new(Code::Usage, "blobs have to be restored, and nobody is named whose signature counts")
            .state("nothing was written")
            .hint("name the signer: --signer KEY.pub or --trust FILE"));
    };
    let conditions = Conditions { stock: stock.clone(), ..Conditions::new(now) };
    let report = match admit(Inputs::of(inputs)?, trust, &conditions)? {
        Admission::Refused(report) => report,
        Admission::Admitted(admitted) => admitted.report().clone(),
    };
    let check = report.checks.iter().find(|check| check.id == CheckId::Carriage);
    if check.is_some_and(|check| check.outcome == Outcome::Pass && check.examined == check.of) {
        return Ok(());
    }
    let found = check.into_iter().flat_map(|check| &check.findings).chain(report.errors()).next();
    let text = found.map_or("the signature over the carriage was not checked", |found| found.message.as_str());
    let err = Error::new(found.map_or(Code::Untrusted, |found| found.code), text).state("nothing was written");
    let err = found.into_iter().flat_map(|found| found.facts.clone()).fold(err, Error::fact);
    Err(match found.and_then(|found| found.hint.clone()) {
        Some(hint) => err.hint(hint),
        None => err,
    })
}

/// Writes the bundle without what a receiver has. Checks every blob's digest on the way, but evaluates no signature.
///
/// # Errors
/// [`Code::Usage`] for bases that have nothing of it, or cannot be its bases.
pub fn shrink(
    inputs: &[PathBuf],
    bases: &Bases,
    key: Option<&SecretKey>,
    encoding: Option<&Encoding>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Summary> {
    let bundle = &options.bundle;
    // Before layers are made, which may take long.
    if !options.force && !options.dry_run && crate::fs::dir::exists(bundle) && Journal::read(bundle)?.is_none() {
        return Err(crate::fs::durable::already_exists(bundle));
    }
    let original = Original::with(Inputs::of(inputs)?, Some(bundle), &Arc::default())?;
    original.complete()?;
    if original.set().head().carriage.is_some() {
        return Err(Error::new(Code::Usage, "the bundle is not in full: it has another form already")
            .state("nothing was written")
            .hint("begin with the bundle in full: mirror-bundle expand"));
    }
    let plain: BTreeSet<Digest> = crate::verify::read_whole_of(original.set(), &original.all_documents()?)?;
    let plan = original.full_plan()?;
    let namespace = key.map(|key| namespace(key, plan.signature.as_deref()));
    let mut plan = form::without(plan, bases, &plain, key.zip(namespace))?;
    let mut members = None;
    if let Some(encoding) = encoding.filter(|_| !options.dry_run) {
        let documents = original.documents();
        let document = |digest: &Digest| documents(digest).ok().flatten();
        let made = encode(&plan, &original, &document, bases, (&plain, &options.bundle), encoding, observer)?;
        let (with, own) = form::encoded(plan, made, bases, key.zip(namespace))?;
        (plan, members) = (with, Some(own));
    }
    let mut summary = Summary::of("mirror-bundle/shrink/v1", &plan, 0, options)?;
    let role = namespace.map(|namespace| if namespace == Namespace::Carriage { Role::Carrier } else { Role::Builder });
    summary.signed_by = key.zip(role).map(|(key, role)| format!("{role} {}", key.public().fingerprint()));
    let Some(form) = &summary.form else {
        if options.dry_run && encoding.is_some() {
            return Ok(summary);
        }
        return Err(Error::new(Code::Usage, "no layer of this bundle can be left out or made smaller")
            .state("nothing was written")
            .hint("carry the bundle as it is"));
    };
    form.say(observer);
    if !options.dry_run {
        let rest = || members.iter().try_for_each(Members::discard);
        summary.read_back = match &members {
            Some(members) => write(&plan, &WithMembers { supply: &original, members }, options, &rest, observer)?,
            None => write(&plan, &original, options, &rest, observer)?,
        };
    }
    Ok(summary)
}

/// What the key signs the carriage as: the builder, if it signed the index, else a carrier.
fn namespace(key: &SecretKey, index: Option<&[u8]>) -> Namespace {
    let signer = index.and_then(|armored| Signature::parse(armored).ok());
    match signer.is_some_and(|signature| signature.key() == key.public()) {
        true => Namespace::Index(Role::Builder),
        false => Namespace::Carriage,
    }
}

fn write(
    plan: &Plan,
    original: &dyn Supply,
    options: &Options,
    rest: &dyn Fn() -> Result<()>,
    observer: &dyn Observer,
) -> Result<Option<ReadBack>> {
    let bundle: &Path = &options.bundle;
    repack::write(bundle, plan, (original, rest), options.force, options.jobs, options.read_back, observer)
}
