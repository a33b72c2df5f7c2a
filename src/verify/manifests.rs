//! MB-VER-09: Kubernetes manifests match the index and are of allowed kinds, and signature ConfigMaps hold signatures
//! for images of the bundle.

use std::collections::{BTreeMap, BTreeSet};

use super::Settings;
use super::release;
use super::report::{self, Check, CheckId, Finding, Report, Severity};
use crate::bundle::index::Index;
use crate::error::{Code, Error};
use crate::kubernetes::{self, Denied, Manifest, Object, Value};
use crate::oci::Digest;
use crate::openshift::openpgp::Rejected;
use crate::openshift::signature_map;

/// Every file under `manifests/`.
pub(super) fn check(
    index: &Index,
    documents: &BTreeSet<Digest>,
    files: &BTreeMap<String, Vec<u8>>,
    settings: &Settings,
    report: &mut Report,
) -> Check {
    let mut check = Check::new(CheckId::Manifests);
    let admission = settings.admission();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut remarks: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for file in index.files.iter().filter(|f| f.path.starts_with("manifests/")) {
        check.of += 1;
        // A file with a wrong digest was reported when it was read.
        let Some(bytes) = files.get(&file.path) else { continue };
        check.examined += 1;
        let manifest = match kubernetes::read(bytes) {
            Ok(manifest) => manifest,
            Err(why) => {
                check.find(Finding::new(
                    Code::Malformed,
                    &file.path,
                    format!("`{}` is not acceptable: {why}", file.path),
                ));
                continue;
            }
        };
        let Manifest { object, value } = &manifest;
        report.list(|| listed(&file.path, object));
        if file.objects != [object.clone()] {
            check.find(Finding::new(
                Code::Malformed,
                &file.path,
                format!("`{}` does not hold the object that the index lists", file.path),
            ));
        }
        *kinds.entry(format!("{} {}", object.kind, place(object))).or_default() += 1;
        for remark in kubernetes::remarks(&manifest) {
            remarks.entry((object.kind.clone(), remark)).or_default().push(match &object.namespace {
                Some(namespace) => format!("{namespace}/{}", object.name),
                None => object.name.clone(),
            });
        }
        if let Err(denied) = admission.check(&manifest) {
            let text = match denied {
                Denied::NotNamed => {
                    format!(
                        "`{}` holds a {} ({}), which {}",
                        file.path,
                        object.kind,
                        object.api_version,
                        denied.clause()
                    )
                }
                _ => format!("`{}` holds {object}, which {}", file.path, denied.clause()),
            };
            let finding = Finding::new(denied.code(), &file.path, text);
            let hint = denied.hint(object, "to accept it, and have that recorded");
            check.find(Finding { hint, ..finding });
        }
        signature_map(value, &file.path, documents, settings, &mut check);
    }
    for ((kind, remark), names) in remarks {
        let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
        let more = if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
        let message = format!("{kind} {}{more}: {remark}", shown.join(", "));
        check.find(Finding::notice(Code::Policy, kind, message));
    }
    check.details = kinds.into_iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    check
}

/// The most objects of a kind that a remark names.
const NAMED: usize = 5;

fn place(object: &Object) -> &str {
    object.namespace.as_deref().unwrap_or("(cluster)")
}

/// An object as the report lists it.
fn listed(file: &str, object: &Object) -> report::Object {
    report::Object {
        file: file.to_owned(),
        api_version: object.api_version.clone(),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// Checks a ConfigMap from which a cluster would use signatures: its keys must be for documents of this bundle, every
/// digest must have a valid signature, and no signature may be for anything else (security G6).
fn signature_map(map: &Value, path: &str, documents: &BTreeSet<Digest>, settings: &Settings, check: &mut Check) {
    if !signature_map::is_signature_map(map) {
        return;
    }
    let entries = match signature_map::parse(map) {
        Ok(entries) => entries,
        Err(e) => {
            let message = format!("the signature ConfigMap `{path}` is not acceptable: {e}");
            return check.find(Finding::new(Code::Malformed, path, message));
        }
    };
    let mut results: BTreeMap<Digest, Result<(), Rejected>> = BTreeMap::new();
    for entry in &entries {
        if !documents.contains(&entry.digest) {
            let message = format!("`{path}` holds a signature for {}, which is not in the bundle", entry.digest);
            check.find(Finding::new(Code::Malformed, path, message));
            continue;
        }
        let one = release::any_keyring(&entry.signature, settings, &entry.digest).map(|_| ());
        let so_far = results.entry(entry.digest).or_insert_with(|| one.clone());
        let elsewhere = |r: &Result<(), Rejected>| matches!(r, Err(Rejected::OtherDigest { .. }));
        if elsewhere(&one) || (so_far.is_err() && !elsewhere(so_far)) {
            *so_far = one;
        }
    }
    for (digest, rejected) in results.into_iter().filter_map(|(digest, one)| Some((digest, one.err()?))) {
        let severity = if settings.allow_unsigned_release { Severity::Notice } else { Severity::Error };
        let finding = Finding::of(path, &Error::from(rejected));
        let finding = finding.fact(format!("in `{path}`, which says that it is for {digest}"));
        check.find(Finding { severity, ..finding });
    }
}
