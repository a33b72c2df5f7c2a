//! The carriage: what parses is written back as the same bytes, and what it leaves out is not in the archive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::bundle::carriage::{As, Carriage, SignedCarriage};
use mirror_bundle::bundle::index::{Blob, FORMAT, Features, Index};
use mirror_bundle::bundle::layout::{self, Form, Layout};
use mirror_bundle::oci::{Digest, Role};

fuzz_target!(|data: &[u8]| {
    let (index, bytes) = index();
    // The digest of the index cannot be guessed: any is taken.
    let digest = std::str::from_utf8(data).ok().and_then(|text| {
        let at = text.find("\"index\": \"")? + 10;
        text.get(at..at + 71)?.parse().ok()
    });
    let Ok(carriage) = Carriage::parse(data, &index, &digest.unwrap_or(Digest::of(&bytes))) else { return };
    assert_eq!(carriage.to_bytes().unwrap(), data);
    if carriage.index != Digest::of(&bytes) {
        return;
    }
    let signed = SignedCarriage::new(data.to_vec(), None);
    let form = Form { carriage: Some(&signed), removals: &[] };
    let made = Layout::with(&index, &bytes, None, form, None);
    assert_eq!(made.is_ok(), carriage.blobs.iter().all(|entry| entry.form == As::Absent));
    if let Ok(made) = made {
        assert_eq!(made.extents().len() + carriage.blobs.len(), index.blobs.len());
        assert_eq!(Digest::of(&made.sums()), made.sums_digest());
    }
});

fn index() -> (Index, Vec<u8>) {
    let mut blobs: Vec<Blob> = (0..64u8)
        .map(|n| Blob { digest: Digest::of(&[n]), size: 5000 * u64::from(n), role: Role::Layer })
        .collect();
    blobs.sort_by_key(|blob| blob.digest);
    let files = vec![layout::file(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON), layout::file(layout::OCI_INDEX, b"{}")];
    let index = Index {
        format: FORMAT,
        features: Features::default(),
        name: "fuzz".into(),
        sequence: Some(1),
        created: "2026-11-22T00:00:00Z".into(),
        expires: None,
        source_date_epoch: None,
        base: None,
        exceptions: vec![],
        releases: vec![],
        images: vec![],
        files,
        blobs,
        missing: vec![],
    };
    let bytes = index.to_bytes().unwrap();
    (index, bytes)
}
