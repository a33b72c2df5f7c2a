//! Update graphs and graph-data: what is read is joined, resolved and computed without a panic, and each path is made of
//! edges.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror_bundle::openshift::update_graph::{Graph, GraphData, Net, ReleaseNode};

fuzz_target!(|data: &[u8]| {
    if let Ok(graph) = Graph::parse(data) {
        if let Ok(part) = graph.part("stable-4.18", "amd64") {
            let mut net = Net::default();
            if net.join("stable-4.18", &part).is_ok()
                && let (Some(first), Some(last)) = (part.nodes.first(), part.nodes.last())
                && let Ok(steps) = net.path(&first.version, &last.version, &["a".to_owned()])
            {
                let place = |version: &str| part.nodes.iter().position(|node| node.version == version).unwrap();
                for two in steps.windows(2) {
                    let edge = (place(&two[0].node.version), place(&two[1].node.version));
                    assert!(part.edges.contains(&edge) || !two[1].risks.is_empty());
                }
            }
        }
    }
    let files: [(&str, &[u8]); 5] = [
        ("version", b"1.1.0"),
        ("raw/metadata.json", b"{}"),
        ("channels/a.yaml", data),
        ("blocked-edges/a.yaml", data),
        ("channels/b.yaml", b"name: b-4.18\nversions: [4.18.0, 4.18.1]\n"),
    ];
    if let Ok((graph_data, _)) = GraphData::parse(files) {
        let release = |version: &str, previous: &[&str]| ReleaseNode {
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            payload: format!("example.com/a@{version}"),
            previous: previous.iter().map(|v| (*v).to_owned()).collect(),
            ..ReleaseNode::default()
        };
        let releases = [release("4.18.0", &[]), release("4.18.1", &["4.18.0"])];
        let graph = graph_data.graph("b-4.18", "amd64", &releases).unwrap();
        assert_eq!(graph.nodes.len(), 2);
        Graph::parse(graph.to_json().to_string().as_bytes()).unwrap();
    }
});
