//! The description of a volume: what parses is written back as the same bytes, and what fits an index leaves no blob
//! out and gives none twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::bundle::index::{Blob, FORMAT, Features, Index};
use mirror_bundle::bundle::volume::{EVERYWHERE, Volume};
use mirror_bundle::bundle::{Layout, layout};
use mirror_bundle::oci::{Digest, Role};

fuzz_target!(|data: &[u8]| {
    let Ok(volume) = Volume::parse(data) else { return };
    assert_eq!(volume.to_bytes().unwrap(), data);
    let index = index(&volume);
    if volume.check(&index).is_err() || volume.carriage.is_some() {
        return;
    }
    let mut sizes = vec![0u64; index.blobs.len()];
    for n in 1..=volume.of {
        // Another volume of the division; the digests of its pieces are not known here.
        let mut other = mirror_bundle::bundle::volume::Volume { volume: n, ..volume.clone() };
        other.digests = vec![volume.index; other.own_pieces()];
        for extent in other.extents(&index) {
            let everywhere = volume.blobs[extent.blob] == EVERYWHERE && extent.piece.is_none();
            sizes[extent.blob] += if everywhere && n > 1 { 0 } else { extent.stored.size };
        }
    }
    assert!(sizes.iter().zip(&index.blobs).all(|(size, blob)| *size == blob.size));
    let bytes = index.to_bytes().unwrap();
    let layout = Layout::with(&index, &bytes, None, Default::default(), Some(&volume)).unwrap();
    assert_eq!(layout.sums().len() as u64, layout.sums_size());
    assert_eq!(Digest::of(&layout.sums()), layout.sums_digest());
});

/// An index with as many blobs as the description is about, each as large as its pieces say.
fn index(volume: &Volume) -> Index {
    let mut blobs: Vec<Blob> = (0..volume.blobs.len().min(4096) as u32)
        .map(|n| Blob { digest: Digest::of(&n.to_be_bytes()), size: 5000, role: Role::Layer })
        .collect();
    blobs.sort_by_key(|b| b.digest);
    for cut in &volume.cut {
        let size = cut.pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.size));
        if let Some(blob) = blobs.get_mut(cut.blob as usize) {
            blob.size = size.min(1 << 40);
        }
    }
    Index {
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
        files: vec![layout::file(layout::OCI_LAYOUT, layout::OCI_LAYOUT_JSON), layout::file(layout::OCI_INDEX, b"{}")],
        blobs,
        missing: vec![],
    }
}
