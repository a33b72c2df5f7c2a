//! Manifests outside a bundle: a folder that `unpack` wrote, for example. Nobody signed the folder, so only what is in
//! the files can be checked: their form, their kinds, and the signatures in ConfigMaps of release signatures.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{CheckId, Finding, Report, Subject};
use super::{Conditions, Settings, Trust, manifests};
use crate::bundle::index::{File, Index};
use crate::error::Code;
use crate::kubernetes;
use crate::openshift::signature_map;

/// Checks manifests that are in no bundle. The report is bad unless the conditions accept what nobody signed.
pub fn loose(path: &str, files: &[(File, Vec<u8>)], trust: &Trust, conditions: &Conditions) -> Report {
    let settings = &Settings::new(trust, conditions);
    let subject = Subject { path: path.to_owned(), ..Subject::default() };
    let mut report = Report::new(subject, settings.now.to_string());
    report.exceptions = settings.exceptions();
    let content: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(file, bytes)| (file.path.clone(), bytes.clone())).collect();
    // Of no bundle: what they sign cannot be compared with what is carried.
    let mut signed = BTreeSet::new();
    for manifest in content.values().filter_map(|bytes| kubernetes::read(bytes).ok()) {
        if signature_map::is_signature_map(&manifest.value) {
            let entries = signature_map::parse(&manifest.value).unwrap_or_default();
            signed.extend(entries.into_iter().map(|entry| entry.digest));
        }
    }
    let index = Index {
        format: 1,
        features: crate::bundle::index::Features::default(),
        name: String::new(),
        sequence: None,
        created: String::new(),
        expires: None,
        source_date_epoch: None,
        base: None,
        exceptions: Vec::new(),
        releases: Vec::new(),
        images: Vec::new(),
        files: files.iter().map(|(file, _)| file.clone()).collect(),
        blobs: Vec::new(),
        missing: Vec::new(),
    };
    let mut check = manifests::check(&index, &signed, &content, settings, &mut report);
    if !settings.allow_unsigned {
        let text = format!("nobody signed the files in `{path}`: anyone could have changed them");
        check.find(
            Finding::new(Code::Unsigned, path, text)
                .hint("apply the bundle that they are from; or accept them, and have that recorded: --allow-unsigned"),
        );
    }
    report.add(check);
    report.skip(CheckId::BundleSignature, false, "a folder of manifests has no signature");
    report.conclude();
    report
}
