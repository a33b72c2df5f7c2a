//! MB-VER-09: carried Kubernetes manifests are what the index says, of kinds that may be applied, and signature
//! ConfigMaps hold signatures for images of the bundle.

use std::collections::BTreeMap;

use super::Settings;
use super::report::{Check, CheckId, Finding};
use crate::bundle::index::{Index, Object};
use crate::error::Code;
use crate::kubernetes;
use crate::openshift::signature_map;

/// Every file under `manifests/`.
pub(super) fn check(index: &Index, files: &BTreeMap<String, Vec<u8>>, settings: &Settings) -> Check {
    let mut check = Check::new(CheckId::Manifests);
    let mut allowed = settings.allow_kinds.clone();
    allowed.extend(settings.policy.iter().flat_map(|p| p.allow_kinds.clone()));
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for file in index.files.iter().filter(|f| f.path.starts_with("manifests/")) {
        check.of += 1;
        // A file whose digest was wrong is reported where it was read.
        let Some(bytes) = files.get(&file.path) else { continue };
        check.examined += 1;
        let objects = match kubernetes::objects(bytes) {
            Ok(objects) => objects,
            Err(why) => {
                check.find(Finding::new(
                    Code::Malformed,
                    &file.path,
                    format!("`{}` is not acceptable: {why}", file.path),
                ));
                continue;
            }
        };
        if objects != file.objects {
            check.find(Finding::new(
                Code::Malformed,
                &file.path,
                format!("`{}` does not hold the objects that the index lists", file.path),
            ));
        }
        for object in &objects {
            *kinds
                .entry(format!("{} {}", object.kind, object.namespace.as_deref().unwrap_or("(cluster)")))
                .or_default() += 1;
            if !kubernetes::is_allowed(object, &allowed) {
                check.find(
                    Finding::new(
                        Code::Policy,
                        &file.path,
                        format!(
                            "`{}` holds a {} ({}), which is not accepted without being named",
                            file.path, object.kind, object.api_version
                        ),
                    )
                    .hint(format!("to accept it, and have that recorded: --allow-kind {}", object.kind)),
                );
            }
        }
        signature_maps(bytes, &objects, &file.path, index, &mut check);
    }
    check.details = kinds.into_iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    check
}

/// A ConfigMap that a cluster would take signatures from: its keys must be for documents of this bundle.
fn signature_maps(bytes: &[u8], objects: &[Object], path: &str, index: &Index, check: &mut Check) {
    let ours = |o: &Object| o.kind == "ConfigMap" && o.namespace.as_deref() == Some("openshift-config-managed");
    if !objects.iter().any(ours) || !signature_map::is_signature_map(bytes) {
        return;
    }
    match signature_map::parse(bytes) {
        Err(e) => check.find(Finding::new(
            Code::Malformed,
            path,
            format!("the signature ConfigMap `{path}` is not acceptable: {e}"),
        )),
        Ok(entries) => {
            let listed = |digest| index.blobs.iter().any(|b| b.digest == digest && b.role.is_document());
            for entry in entries.iter().filter(|e| !listed(e.digest)) {
                let message = format!("`{path}` holds a signature for {}, which is not in the bundle", entry.digest);
                check.find(Finding::new(Code::Malformed, path, message));
            }
        }
    }
}
