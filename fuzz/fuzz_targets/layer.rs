//! A layer as those who look into a bundle read it, in both readings, and the image that it makes. The first byte says
//! plain, gzip or zstd (as the input is, or compressed here).
#![no_main]

use std::io::{Read, Write};

use libfuzzer_sys::fuzz_target;
use mirror_bundle::content::layer::{Bounds, Reading, Remarks, files};
use mirror_bundle::content::{Merged, facts};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else { return };
    let packed = match mode % 3 {
        1 => {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(rest).unwrap();
            to.finish().unwrap()
        }
        2 => zstd::encode_all(rest, 1).unwrap(),
        _ => rest.to_vec(),
    };
    let bounds = Bounds { whose: "an image", entries: 200, inflated: 1 << 20 };
    for reading in [Reading::Runtime, Reading::Other] {
        let (mut remarks, mut merged, mut bytes) = (Remarks::default(), Merged::default(), 0);
        let read = files(TAR, Box::new(packed.as_slice()), bounds, reading, &mut remarks, &mut |entry, content| {
            merged.add(entry)?;
            let _ = facts::of_entry(entry);
            let mut held = Vec::new();
            if content.take(2 << 20).read_to_end(&mut held).is_ok() {
                bytes += held.len() as u64;
                let _ = facts::of_content(&held);
                assert!(entry.size == 0 || held.len() as u64 == entry.size, "{entry:?}");
            }
            Ok(())
        });
        merged.end_layer();
        if let Ok(ending) = read {
            assert!(ending.inflated <= bounds.inflated && bytes <= bounds.inflated + packed.len() as u64);
        }
        let mut last = Vec::new();
        merged
            .visit(&mut |path, at, _| {
                assert!(!path.is_empty() && merged.path(at) == path, "{path:?}");
                last = path.to_vec();
                Ok(())
            })
            .unwrap();
        let _ = merged.find(&last, true);
    }
});
