//! Manifests and indexes, and the walk from one down. Documents are split at a line `%%`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::graph::Graph;
use mirror_bundle::oci::{self, Descriptor, Digest, media_type};

fuzz_target!(|data: &[u8]| {
    let mut documents = vec![&data[..]];
    while let Some((first, rest)) = documents.last().and_then(|last| {
        let at = last.windows(4).position(|w| w == b"\n%%\n")?;
        Some((&last[..at], &last[at + 4..]))
    }) {
        documents.pop();
        documents.push(first);
        documents.push(rest);
        if documents.len() > 20 {
            break;
        }
    }
    for bytes in &documents {
        // What a document calls itself may be anything; read it is as one of four only.
        if let Ok(media) = oci::guess(bytes)
            && oci::parse(bytes, &media).is_ok()
        {
            assert!(media_type::ACCEPTED.contains(&media.as_str()));
        }
        for media in media_type::ACCEPTED {
            if let Ok(document) = oci::parse(bytes, media) {
                serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
                let _ = document.subject();
                let _ = document.children().count();
            }
        }
    }
    for media in media_type::ACCEPTED {
        let root = Descriptor {
            data: None,
            media_type: media.to_owned(),
            digest: Digest::of(documents[0]),
            size: documents[0].len() as u64,
            platform: None,
            annotations: Default::default(),
            artifact_type: None,
        };
        let mut graph = Graph::default();
        let mut fetched = 0;
        // Not by digest, which no input would ever have right: by turns.
        let walked = graph.walk(
            &root,
            &mut |_| {
                fetched += 1;
                Ok((fetched < 1000).then(|| documents[(fetched - 1) % documents.len()].to_vec()))
            },
            &mut |_, _, _| {},
        );
        if walked.is_ok() {
            assert!(graph.nodes().contains_key(&root.digest));
            let _ = Graph::default().merge(graph);
        }
    }
});
