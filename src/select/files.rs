//! The files of a bundle other than blobs: carried Kubernetes manifests and release signatures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bundle::index::{self, Object};
use crate::bundle::{layout, limits, name};
use crate::error::{Code, Error, Result};
use crate::fs::{EntryKind, dir, small};
use crate::kubernetes::{self, Admission, Denied, Manifest};
use crate::observer::Observer;
use crate::openshift::signature_map;

/// A file to be carried.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) entry: index::File,
    pub(crate) bytes: Vec<u8>,
}

impl Carried {
    pub(crate) fn new(path: &str, bytes: Vec<u8>, objects: Vec<Object>) -> Carried {
        Carried { entry: index::File { objects, ..layout::file(path, &bytes) }, bytes }
    }
}

/// Reads a YAML or JSON file, or every one below a folder, and writes each object in it as a file in canonical form.
///
/// Names are lower-cased (media fold case); any other name that a medium could change is refused. If a file holds
/// several objects, they are numbered with equal width, so that they keep their order: `a-1.yaml`, `a-2.yaml`.
pub(crate) fn manifests(dir: &Path, admission: &Admission, observer: &dyn Observer) -> Result<Vec<Carried>> {
    let mut out: BTreeMap<String, Carried> = BTreeMap::new();
    let (dir, paths) = match std::fs::metadata(dir) {
        Ok(meta) if meta.is_file() => match known(dir) {
            Ok(path) => (dir.parent().unwrap_or(Path::new("")), vec![path]),
            Err(err) => {
                return Err(err.hint("name a manifest, or a folder of them; images come with --image or --from-layout"));
            }
        },
        _ => (dir, walk(dir)?),
    };
    for path in paths {
        let bytes = read(&path)?;
        let found = kubernetes::parse(&bytes).map_err(|refusal| {
            let place = refusal.line.map(|line| format!(", line {line}")).unwrap_or_default();
            let text = format!("`{}`{place} cannot be carried: {}", path.display(), refusal.why);
            Error::new(Code::Malformed, text)
                .state("nothing was written")
                .hint("correct the file, or keep it out of the folder")
        })?;
        let relative = path.strip_prefix(dir).unwrap_or(&path);
        let target = format!("manifests/{}", relative.to_string_lossy().to_ascii_lowercase());
        for carried in carried(&format!("`{}`", path.display()), &target, found, admission, observer)? {
            let target = carried.entry.path.clone();
            if out.insert(target.clone(), carried).is_some() {
                let text =
                    format!("two manifests would be carried as `{target}`, one of them from `{}`", path.display());
                return Err(Error::new(Code::Malformed, text)
                    .state("nothing was written")
                    .hint("rename one of the files; case does not count, and objects of one file are numbered"));
            }
        }
    }
    if out.is_empty() {
        return Err(Error::new(Code::Source, format!("`{}` contains no .yaml, .yml or .json file", dir.display())));
    }
    Ok(out.into_values().collect())
}

/// The manifests of a folder that are not to be carried, read as strictly.
#[cfg(feature = "cluster")]
pub(crate) fn loose(dir: &Path, admission: &Admission, observer: &dyn Observer) -> Result<Vec<(index::File, Vec<u8>)>> {
    Ok(manifests(dir, admission, observer)?.into_iter().map(|one| (one.entry, one.bytes)).collect())
}

/// The objects of one file as files of a bundle. `target` is the path in the bundle; `shown` names the file in
/// messages.
pub(crate) fn carried(
    shown: &str,
    target: &str,
    found: Vec<Manifest>,
    admission: &Admission,
    observer: &dyn Observer,
) -> Result<Vec<Carried>> {
    for manifest in &found {
        let Manifest { object, value } = manifest;
        admission.check(manifest).map_err(|denied| {
            let text = match denied {
                Denied::NotNamed => format!(
                    "{shown} holds a {} ({}), which is not carried without being named",
                    object.kind, object.api_version
                ),
                _ => format!("{shown} holds {object}, which {}", denied.clause()),
            };
            let err = Error::new(denied.code(), text).state("nothing was written");
            match denied.hint(object, "if it belongs in the bundle") {
                Some(hint) => err.hint(hint),
                None => err,
            }
        })?;
        if signature_map::is_signature_map(value) {
            signature_map::parse(value).map_err(|why| {
                Error::new(Code::Malformed, format!("{shown} cannot be carried: {object} is not acceptable: {why}"))
                    .state("nothing was written")
            })?;
        }
        if kubernetes::needs_server_side(manifest) {
            observer.warn(&format!("{object} {}", kubernetes::LARGE));
        }
    }
    let count = found.len();
    let mut out = Vec::with_capacity(count);
    for (n, manifest) in found.into_iter().enumerate() {
        let target = numbered(target, n + 1, count);
        name::check(&target).map_err(|why| {
            Error::new(Code::Malformed, format!("{shown} cannot be carried under its name: {why}"))
                .state("nothing was written")
                .hint("rename the file; a medium may fold case, cut names or refuse characters")
        })?;
        out.push(Carried::new(&target, manifest.to_bytes(), vec![manifest.object]));
    }
    Ok(out)
}

/// The path of the `n`th of `count` objects of a file.
fn numbered(path: &str, n: usize, count: usize) -> String {
    match path.rsplit_once('.') {
        Some((stem, ending)) if count > 1 => {
            let width = count.to_string().len();
            format!("{stem}-{n:0width$}.{ending}")
        }
        _ => path.to_owned(),
    }
}

/// Lists the files below `dir`, sorted by name, folder by folder. Does not follow links.
fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for (name, kind) in dir::list(dir, dir::MAX_ENTRIES).map_err(|e| Error::io("cannot read", dir, e))? {
        let path = dir.join(name);
        match kind {
            EntryKind::Directory => out.extend(walk(&path)?),
            EntryKind::File => out.push(known(&path)?),
            _ => return Err(no_manifest(&path)),
        }
    }
    Ok(out)
}

fn known(path: &Path) -> Result<PathBuf> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml" | "json") => Ok(path.to_owned()),
        _ => Err(no_manifest(path)),
    }
}

fn no_manifest(path: &Path) -> Error {
    Error::new(Code::Policy, format!("`{}` is not a .yaml, .yml or .json file", path.display()))
        .state("nothing was written")
        .hint("`oc apply -Rf` would skip it; keep only manifests in this folder")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    small::read_start(path, limits::KUBERNETES_FILE).map_err(|e| e.error("cannot read", path, Code::Source))
}
