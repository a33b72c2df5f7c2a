#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

mod hostile;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn tree(top: &Path) -> Vec<(String, Vec<u8>)> {
    let files = walkdir::WalkDir::new(top).sort_by_file_name().into_iter().map(|e| e.unwrap().into_path());
    let files = files.filter(|path| path.is_file());
    files.map(|p| (p.strip_prefix(top).unwrap().to_str().unwrap().to_owned(), std::fs::read(p).unwrap())).collect()
}

fn parse(files: &[(String, Vec<u8>)]) -> Result<(GraphData, Vec<Remark>), Refused> {
    GraphData::parse(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())))
}

fn golden_releases() -> Vec<ReleaseNode> {
    let text = std::fs::read_to_string(testdata("update-graphs/osus/releases.tsv")).unwrap();
    let one = |line: &str| {
        let (version, previous) = line.split_once('\t').unwrap();
        ReleaseNode {
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            payload: "REGISTRY/REPO@".to_owned(),
            previous: previous.split_whitespace().map(str::to_owned).collect(),
            metadata: BTreeMap::from([("url".to_owned(), format!("https://errata.invalid/{version}"))]),
            ..ReleaseNode::default()
        }
    };
    text.lines().skip(1).map(one).collect()
}

#[test]
fn the_golden_graphs_of_the_real_service_come_out() {
    let (data, remarks) = parse(&tree(&testdata("update-graphs/osus/graph-data"))).unwrap();
    assert_eq!(remarks, []);
    for channel in ["stable-4.18", "candidate-4.18", "stable-4.19"] {
        let mut graph = data.graph(channel, "amd64", &golden_releases()).unwrap();
        for node in &mut graph.nodes {
            assert_eq!(node.metadata.remove(MANIFEST_REFERENCE).unwrap(), "");
        }
        let mut expected: serde_json::Value = serde_json::from_slice(
            &std::fs::read(testdata(&format!("update-graphs/osus/expected-{channel}.json"))).unwrap(),
        )
        .unwrap();
        // The service gives the edges of one risk in no order.
        for group in expected["conditionalEdges"].as_array_mut().unwrap() {
            group["edges"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
        assert_eq!(graph.to_json(), expected, "{channel}");
    }
    assert_eq!(data.graph("stable-4.18", "arm64", &golden_releases()).unwrap(), Graph::default());
}

#[test]
fn real_graph_data_is_read_as_the_service_reads_it() {
    let (data, remarks) = parse(&tree(&testdata("update-graphs/graph-data/head"))).unwrap();
    assert_eq!((data.version(), remarks), ("1.1.0", vec![]));
    assert_eq!(data.channels().count(), 10);
    assert_eq!((data.blocked.len(), data.conditional.len()), (1, 8));

    let packed =
        std::fs::File::open(testdata("update-graphs/graph-data/oc-mirror-graph-data-20240122.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if entry.header().entry_type().is_file() {
            files.push((path, bytes));
        }
    }
    assert_eq!(files.len(), 635);
    let (data, remarks) = parse(&files).unwrap();
    let why = "no edge is blocked: with `fixedIn` it is a conditional edge, and `url`, `name`, `message`, \
               `matchingRules` is missing";
    assert_eq!(remarks, [Remark::new(Effect::Skipped, "blocked-edges/4.14.0.yaml", why)]);
    assert_eq!((data.channels().count(), data.blocked.len(), data.conditional.len()), (49, 116, 466));
}

/// The releases of a graph without conditional edges.
fn releases_of(graph: &Graph) -> Vec<ReleaseNode> {
    let one = |(at, node): (usize, &Node)| {
        let (version, architecture) = node.version.split_once('+').unwrap();
        let previous = graph.edges.iter().filter(|edge| edge.1 == at).map(|edge| &graph.nodes[edge.0].version);
        ReleaseNode {
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            payload: node.payload.clone().unwrap(),
            previous: previous.map(|v| v.split('+').next().unwrap().to_owned()).collect(),
            metadata: node.metadata.clone(),
            ..ReleaseNode::default()
        }
    };
    // Nodes without an image are only named by releases.
    graph.nodes.iter().enumerate().filter(|(_, node)| node.payload.is_some()).map(one).collect()
}

#[test]
fn the_fixture_of_graph_builder_comes_out_as_with_its_labels() {
    let top = testdata("update-graphs/cincinnati-fixture-20200220.104838");
    let read = |name: &str| Graph::parse(&std::fs::read(top.join(name)).unwrap()).unwrap();
    let (data, remarks) = parse(&tree(&top.join("cincinnati-graph-data"))).unwrap();
    let skipped: Vec<&str> = remarks.iter().map(|r| r.file.as_str()).collect();
    assert_eq!(skipped, ["blocked-edges/_OWNERS", "channels/_OWNERS"]);
    let none: [(&str, &[u8]); 4] =
        [("version", b"1.0.0"), ("raw/metadata.json", b"{}"), ("channels/", b""), ("blocked-edges/", b"")];
    let (none, _) = GraphData::parse(none).unwrap();
    let computed = data.whole(&releases_of(&read("graph-gb-raw.json"))).unwrap();
    let labelled = none.whole(&releases_of(&read("graph-gb-with-quay-metadata.json"))).unwrap();
    assert_eq!((&computed.remarks, &labelled.remarks), (&vec![], &vec![]));
    let mut edges = 0;
    for architecture in ["amd64", "s390x"] {
        for channel in data.channels() {
            let (one, two) = (computed.channel(channel, architecture), labelled.channel(channel, architecture));
            let versions = |graph: &Graph| graph.nodes.iter().map(|n| n.version.clone()).collect::<Vec<String>>();
            assert_eq!(versions(&one), versions(&two), "{channel} {architecture}");
            assert_eq!(one.edges, two.edges, "{channel} {architecture}");
            edges += one.edges.len();
        }
    }
    assert!(edges > 500, "{edges}");
}

#[test]
fn real_graphs_are_read_and_resolved() {
    let read = |name: &str| std::fs::read(testdata("update-graphs").join(name)).unwrap();
    let stable = Graph::parse(&read("cincinnati-e2e-stable-4.8_amd64_v1.json")).unwrap();
    assert_eq!((stable.nodes.len(), stable.edges.len(), stable.conditional.len()), (101, 3168, 1));
    assert_eq!(stable.channels()["stable-4.8"], 101);
    let part = stable.part("stable-4.8", "amd64").unwrap();
    assert_eq!((part.nodes.len(), part.edges.len()), (101, 3168));
    assert_eq!(stable.part("stable-4.7", "amd64").unwrap().nodes.len(), 50);
    let mut net = Net::default();
    net.join("stable-4.8", &part).unwrap();
    let steps = net.path("4.7.2", "4.8.54", &[]).unwrap();
    let versions: Vec<&str> = steps.iter().map(|step| step.node.version.as_str()).collect();
    assert_eq!(versions, ["4.7.2", "4.7.60", "4.8.54"]);
    let Err(NoPath::Risky { steps, reached }) = net.path("4.7.2", "4.7.4", &[]) else { panic!() };
    let names: Vec<&str> = steps[1].risks.iter().map(|risk| risk.name.as_str()).collect();
    assert_eq!((names, reached.as_deref()), (vec!["VSphereNodeNameChanges"], Some("4.7.3")));
    assert_eq!(net.path("4.7.2", "4.7.4", &["VSphereNodeNameChanges".to_owned()]).unwrap().len(), 2);

    let multi = Graph::parse(&read("cincinnati-e2e-candidate-4.12_multi_v1.json")).unwrap();
    assert_eq!(multi.part("candidate-4.12", "multi").unwrap().nodes.len(), 5);
    assert!(multi.part("candidate-4.12", "amd64").unwrap_err().to_string().contains("for all architectures"));
    assert!(stable.part("stable-4.8", "multi").unwrap_err().to_string().contains("for one architecture"));

    // As graph-builder has it inside: versions with architectures.
    let mut raw = Vec::new();
    let packed = read("cincinnati-fixture-20211124-with-conditional.json.gz");
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut raw).unwrap();
    let mut whole = Graph::parse(&raw).unwrap();
    assert_eq!((whole.nodes.len(), whole.edges.len(), whole.conditional.len()), (1085, 19478, 3));
    whole.nodes.iter_mut().for_each(|node| _ = node.metadata.remove(CHANNELS));
    let amd64 = whole.part("any", "amd64").unwrap();
    assert!(amd64.nodes.len() > 300 && amd64.nodes.iter().all(|node| !node.version.contains('+')));
}
