//! A second reviewer signs for what another one removed: where the receiving host wants more than one key (MB-RMV-05).

use std::collections::BTreeSet;

use super::select::Asked;
use crate::bundle::index::{Image, Index, Kind};
use crate::bundle::removal::{self, Removal, Removed};
use crate::error::{Code, Error, Result};
use crate::oci::Digest;
use crate::verify::Admitted;

/// What statements in the head took out and is asked for again. The key signs for all that such a statement names.
///
/// # Errors
/// [`Code::Usage`] if the key has removed it already, or if such a statement removes something that is not asked for.
pub(super) fn again(admitted: &Admitted<'_>, asked: &Asked, before: &Removed, key: &str) -> Result<Removed> {
    let set = admitted.set();
    let (index, report) = (set.signed(), admitted.report());
    let digest: Digest = report.bundle.index.parse().map_err(|e| Error::new(Code::Internal, format!("{e}")))?;
    let mut out = Removed::default();
    if asked.images.is_disjoint(&before.images) && asked.files.is_disjoint(&before.files) {
        return Ok(out);
    }
    for (n, one) in set.head().removals.iter().enumerate() {
        let Ok(Removal { removed, .. }) = Removal::parse(&one.statement, index, &digest) else { continue };
        if removed.images.is_disjoint(&asked.images) && removed.files.is_disjoint(&asked.files) {
            continue;
        }
        let origin = removal::path(n + 1);
        let other = report.removals.iter().find(|one| one.origin == origin);
        if other.is_some_and(|one| one.key.as_deref() == Some(key)) {
            return Err(Error::new(Code::Usage, "this key has removed it already")
                .fact(format!("in {origin}"))
                .state("nothing was written")
                .hint("another reviewer can sign for the same removal with another key"));
        }
        let names = unasked(index, &removed, asked);
        if !names.is_empty() {
            let err = Error::new(Code::Usage, format!("{origin} removes more than what you named"));
            let err = names.into_iter().take(super::select::NAMED).fold(err, Error::fact);
            return Err(err.state("nothing was written").hint("your signature would be for all of it: name it too"));
        }
        out.add(&removed);
    }
    Ok(out)
}

/// What a statement names for its own sake, and nobody asked for.
fn unasked(index: &Index, removed: &Removed, asked: &Asked) -> Vec<String> {
    let of = |at: &BTreeSet<usize>| -> BTreeSet<Digest> { at.iter().map(|at| index.images[*at].digest).collect() };
    let (gone, named) = (of(&removed.images), of(&asked.images));
    let follows = |image: &Image| {
        let with = |other: Option<Digest>| other.is_some_and(|other| gone.contains(&other));
        match image.kind {
            Kind::Release | Kind::Additional => false,
            Kind::Component => with(image.release),
            Kind::Signature | Kind::Referrer => with(image.subject),
            Kind::GraphData => with(image.derived.as_ref().map(|from| from.base)),
        }
    };
    let images = removed.images.iter().map(|at| &index.images[*at]);
    let images = images.filter(|image| !named.contains(&image.digest) && !follows(image)).map(Image::display);
    let files = removed.files.iter().filter(|at| !asked.files.contains(at)).map(|at| &index.files[*at]);
    let files = files.filter(|file| {
        !file.path.starts_with("signatures/") && !gone.iter().any(|digest| removal::is_map_of(file, digest))
    });
    images.chain(files.map(|file| file.path.clone())).collect()
}
