#![allow(clippy::unwrap_used)]
use std::fmt::Write as _;

use super::super::*;

/// Graph-data with these files beside the ones that it needs.
fn parse(files: &[(&str, &[u8])]) -> Result<(GraphData, Vec<Remark>), Refused> {
    let needed: [(&str, &[u8]); 3] = [
        ("version", b"1.1.0\n"),
        ("raw/metadata.json", b"{}"),
        ("channels/a-4.18.yaml", b"name: a-4.18\nversions: []\n"),
    ];
    let missing = needed.into_iter().filter(|(path, _)| !files.iter().any(|(other, _)| other == path));
    let folder: (&str, &[u8]) = ("blocked-edges/", b"");
    GraphData::parse(missing.chain([folder]).chain(files.iter().copied()))
}

fn remarks(path: &str, text: &str) -> Vec<(Effect, String)> {
    let remarks = match parse(&[(path, text.as_bytes())]) {
        Ok((_, remarks)) => remarks,
        Err(Refused(remarks)) => remarks,
    };
    remarks.into_iter().map(|remark| (remark.effect, remark.to_string())).collect()
}

#[test]
fn each_file_that_the_service_skips_is_named_with_the_reason() {
    let risk = "to: 4.18.3\nfrom: .*\nurl: u\nname: N\nmessage: m\nmatchingRules:\n";
    for (path, text, why) in [
        ("channels/_OWNERS", "", "channels/_OWNERS: only files that end with `.yaml` are read"),
        ("channels/x.yml", "name: a-4.18\nversions: []", "channels/x.yml: only files that end with"),
        ("channels/more/x.yaml", "name: a-4.18\nversions: []", "folders of folders"),
        ("channels/x.yaml", "name: a-4.18", "missing field `versions`"),
        ("channels/x.yaml", "name: a-4.18\nversions: [4.18]", "`4.18` is not a version"),
        ("channels/x.yaml", "name: a-4.18\nversions: [v4.18.1]", "`v4.18.1` is not a version"),
        ("channels/x.yaml", "name: a-4.18\nname: b-4.18\nversions: []", "duplicate"),
        ("channels/x.yaml", "- a", "channels/x.yaml: "),
        ("blocked-edges/x.yaml", "to: 4.18.3", "`from` is missing"),
        ("blocked-edges/x.yaml", "from: .*", "`to` is missing"),
        ("blocked-edges/x.yaml", "to: 4.18\nfrom: .*", "blocked-edges/x.yaml: "),
        ("blocked-edges/x.yaml", "to: 4.18.3\nfrom: '4[.'", "not a regular expression"),
        ("blocked-edges/x.yaml", "to: 4.18.3\nfrom: .*\nfixedIn: 4.18.4", "with `fixedIn` it is a conditional edge"),
        ("blocked-edges/x.yaml", "to: 4.18.3\nfrom: .*\nname: N", "`url`, `message`, `matchingRules` is missing"),
        ("blocked-edges/x.yaml", "to: 4.18.3\nfrom: .*\nowner: me", "with `owner` it is"),
        ("raw/metadata.json", r#"{"4.18":{}}"#, "`4.18` is not a version"),
        ("hack/x.py", "", "hack: the update service does not read it"),
        ("README.md", "", "README.md: the update service does not read it"),
    ] {
        let found = remarks(path, text);
        assert!(matches!(&found[..], [(Effect::Skipped, said)] if said.contains(why)), "{path} {text}: {found:?}");
    }
    for text in ["matchingRules:\n- type: Always\n", "- type: PromQL\n  promql: {promql: up}\n"] {
        let text = format!("{risk}{}", text.trim_start_matches("matchingRules:\n"));
        assert_eq!(remarks("blocked-edges/x.yaml", &text), [], "{text}");
    }
    let unknown = remarks("blocked-edges/x.yaml", &format!("{risk}- type: Sometimes\n"));
    assert!(
        matches!(&unknown[..], [(Effect::Noted, why)] if why.contains("no rule that clusters know")),
        "{unknown:?}"
    );
    let other = remarks("channels/x.yaml", "name: A-4.18\nversions: []");
    assert!(matches!(&other[..], [(Effect::Noted, why)] if why.contains("no cluster can ask")), "{other:?}");
}

#[test]
fn graph_data_that_makes_the_service_fail_is_refused() {
    for (path, text, why) in [
        ("version", "", "`` is not a version"),
        ("version", "one", "`one` is not a version"),
        ("version", "2.0.0", "format 2.0.0"),
        ("version", "0.9.0", "format 0.9.0"),
        ("raw/metadata.json", "", "not acceptable JSON"),
        ("raw/metadata.json", "[]", "not metadata of releases"),
        ("raw/metadata.json", r#"{"4.18.1":{"url":1}}"#, "not metadata of releases"),
        ("channels/x.yaml", "name: all\nversions: []", "no `-` in its name"),
    ] {
        let found = remarks(path, text);
        assert!(found.iter().any(|(e, said)| *e == Effect::Refused && said.contains(why)), "{path} {text}: {found:?}");
    }
    for missing in ["version", "raw/metadata.json", "channels/", "blocked-edges/"] {
        let files: [(&str, &[u8]); 4] = [
            ("version", b"1.1.0"),
            ("raw/metadata.json", b"{}"),
            ("channels/a.yaml", b"name: a-4.18\nversions: []"),
            ("blocked-edges/a.yaml", b"to: 4.18.1\nfrom: .*"),
        ];
        let Refused(found) =
            GraphData::parse(files.into_iter().filter(|(path, _)| !path.starts_with(missing))).unwrap_err();
        assert!(found[0].file == missing && found[0].why.contains("missing"), "{found:?}");
    }
    for version in ["1.0.0", "1.1.0\n", "1.2.0"] {
        assert_eq!(remarks("version", version), [], "{version}");
    }
    assert!(matches!(&remarks("version", "1.3.0")[..], [(Effect::Noted, why)] if why.contains("read as 1.2.0")));
}

#[test]
fn hostile_graph_data_is_refused_in_bounded_time_and_memory() {
    let huge = |pattern: &str| remarks("blocked-edges/x.yaml", &format!("to: 4.18.3\nfrom: '{pattern}'\n"));
    for (pattern, why) in [
        (r"(\w{1000}){1000}".to_owned(), "takes over"),
        ("(".repeat(3000), "not a regular expression"),
        ("a".repeat(5000), "over 4096 characters"),
    ] {
        let found = huge(&pattern);
        assert!(matches!(&found[..], [(Effect::Skipped, said)] if said.contains(why)), "{found:?}");
    }
    let bomb = format!("name: a-4.18\nversions: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(remarks("channels/x.yaml", &bomb)[0].0, Effect::Skipped);
    let mut laughs = "a0: &a0 [x, x]\n".to_owned();
    for n in 1..40 {
        writeln!(laughs, "a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]", n - 1).unwrap();
    }
    laughs.push_str("name: a-4.18\nversions: *a39\n");
    assert_eq!(remarks("channels/x.yaml", &laughs)[0].0, Effect::Skipped);
    let long = vec![b' '; MAX_FILE + 1];
    assert!(parse(&[("channels/x.yaml", &long)]).unwrap_err().to_string().contains("over 1048576 bytes"));
    for path in ["/version", "../version", "channels//x.yaml", "channels/./x.yaml", ""] {
        assert!(parse(&[(path, b"")]).unwrap_err().to_string().contains("not the path"), "{path}");
    }
    assert!(parse(&[("LICENSE", b""), ("./LICENSE", b"")]).unwrap_err().to_string().contains("twice"));
    let names: Vec<String> = (0..=MAX_FILES).map(|n| format!("signatures/{n}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert!(parse(&files).unwrap_err().to_string().contains("over 20000 files"));
}

/// Releases 4.18.0 to 4.18.n, each with these previous ones.
fn releases(n: usize, previous: impl Fn(usize) -> Vec<usize>) -> Vec<ReleaseNode> {
    let name = |n: usize| format!("4.18.{n}");
    let one = |n: usize| ReleaseNode {
        version: name(n),
        architecture: "amd64".to_owned(),
        payload: format!("example.com/a@sha256:{n:064x}"),
        previous: previous(n).into_iter().map(name).collect(),
        ..ReleaseNode::default()
    };
    (0..n).map(one).collect()
}

#[test]
fn releases_with_which_the_service_fails_are_named() {
    let (data, _) = parse(&[]).unwrap();
    let circle = data.whole(&releases(3, |n| vec![(n + 1) % 3])).unwrap();
    assert!(matches!(&circle.remarks[..], [r] if r.why.contains("circle") && r.effect == Effect::Refused));
    let own = data.whole(&releases(1, |_| vec![0])).unwrap();
    assert!(own.remarks[0].why.contains("circle"));
    let mut twice = releases(2, |_| vec![]);
    twice[1].version = "4.18.0".to_owned();
    let twice = data.whole(&twice).unwrap();
    assert!(matches!(&twice.remarks[..], [r] if r.file == "4.18.0+amd64" && r.why.contains("two images")));
    let mut wrong = releases(1, |_| vec![]);
    wrong[0].metadata.insert("io.openshift.upgrades.graph.previous.add".to_owned(), "soon".to_owned());
    assert!(data.whole(&wrong).unwrap().remarks[0].why.contains("`soon`"));
    let many = data.whole(&releases(2, |n| if n == 0 { vec![] } else { (2..MAX_NODES + 2).collect() }));
    assert!(many.unwrap_err().to_string().contains("over 50000 versions"));
}

#[test]
fn metadata_adds_and_removes_edges() {
    let (data, _) =
        parse(&[("channels/x.yaml", b"name: x-4.18\nversions: [4.18.0, 4.18.1, 4.18.2, 4.18.3]\n")]).unwrap();
    let edges = |labels: &[(usize, &str, &str)]| {
        let mut all = releases(4, |n| if n == 0 { vec![] } else { vec![n - 1] });
        for (n, key, value) in labels {
            all[*n].metadata.insert(format!("io.openshift.upgrades.graph.{key}"), (*value).to_owned());
        }
        data.graph("x-4.18", "amd64", &all).unwrap().edges
    };
    assert_eq!(edges(&[]), [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(edges(&[(2, "previous.add", "4.18.0, 4.17.9")]), [(0, 1), (0, 2), (1, 2), (2, 3)]);
    assert_eq!(edges(&[(0, "next.add", "4.18.3")]), [(0, 1), (0, 3), (1, 2), (2, 3)]);
    assert_eq!(edges(&[(2, "previous.remove", "4.18.1")]), [(0, 1), (2, 3)]);
    assert_eq!(edges(&[(2, "previous.remove", "*")]), [(0, 1), (2, 3)]);
    assert_eq!(edges(&[(0, "next.remove", "4.18.1")]), [(1, 2), (2, 3)]);
    assert_eq!(edges(&[(3, "previous.remove_regex", "^4[.]18[.]2[+]amd64$")]), [(0, 1), (1, 2)]);
}

#[test]
fn each_release_says_from_where_clusters_come() {
    let channel = b"name: x-4.18\nversions: [4.18.0, 4.18.1, 4.18.2]\n";
    let edge = b"to: 4.18.2\nfrom: 4[.]18[.]0[+].*\nurl: u\nname: N\nmessage: m\nmatchingRules: [{type: Always}]\n";
    let (data, _) = parse(&[("channels/x.yaml", channel), ("blocked-edges/x.yaml", edge)]).unwrap();
    let mut all = releases(3, |n| (0..n).collect());
    all[2].previous.push("4.17.9".to_owned());
    all.remove(1);
    let served = data.serves(&all).unwrap();
    assert_eq!(served.iter().map(|s| s.version.as_str()).collect::<Vec<_>>(), ["4.18.0", "4.18.2"]);
    assert_eq!((served[0].from.len(), served[1].channels.as_slice()), (0, &["x-4.18".to_owned()][..]));
    let from: Vec<(&str, bool, usize, usize)> =
        served[1].from.iter().map(|o| (o.version.as_str(), o.carried, o.channels.len(), o.risks.len())).collect();
    assert_eq!(from, [("4.17.9", false, 0, 0), ("4.18.0", true, 1, 1), ("4.18.1", false, 1, 0)]);
}

#[test]
fn blocked_edges_of_one_architecture_leave_the_others() {
    for (to, blocked) in [("4.18.1", [true, true]), ("4.18.1+s390x", [false, true]), ("4.18.1-s390x", [false, false])] {
        let edge = format!("to: {to}\nfrom: .*\n");
        let channel = b"name: x-4.18\nversions: [4.18.0, 4.18.1]\n";
        let (data, _) = parse(&[("channels/x.yaml", channel), ("blocked-edges/x.yaml", edge.as_bytes())]).unwrap();
        let mut all = releases(2, |n| (0..n).collect());
        for mut other in all.clone() {
            other.architecture = "s390x".to_owned();
            all.push(other);
        }
        for (arch, blocked) in ["amd64", "s390x"].into_iter().zip(blocked) {
            assert_eq!(data.graph("x-4.18", arch, &all).unwrap().edges.is_empty(), blocked, "{to} {arch}");
        }
    }
}

/// A graph of versions 4.18.0 to 4.18.n.
fn graph(n: usize, edges: &str, conditional: &str) -> String {
    let nodes: Vec<String> = (0..n).map(|n| format!(r#"{{"version":"4.18.{n}"}}"#)).collect();
    format!(r#"{{"nodes":[{}],"edges":[{edges}],"conditionalEdges":[{conditional}]}}"#, nodes.join(","))
}

#[test]
fn hostile_graphs_are_refused() {
    let refused = |text: &str| Graph::parse(text.as_bytes()).unwrap_err().to_string();
    for (text, why) in [
        (r#"{"nodes":[{"version":"4.18.1"},{"version":"4.18.1"}]}"#, "release 4.18.1 appears twice"),
        (r#"{"nodes":[],"nodes":[]}"#, "appears twice"),
        (r#"{"Nodes":[]}"#, "only by case"),
        (r#"{"nodes":[{"version":""}]}"#, "not the version"),
        (r#"{"nodes":[{"version":"4.18.1\u001b[2J"}]}"#, "not the version"),
        (r#"{"nodes":[{"payload":"x"}]}"#, "missing field `version`"),
        (r#"{"nodes":[{"version":"4.18.1"}],"edges":[[0,1]]}"#, "edge [0, 1] leads to no release"),
        (r#"{"nodes":[{"version":"4.18.1"}],"edges":[[-1,0]]}"#, "invalid value"),
        (r#"{"nodes":[{"version":"4.18.1"}],"edges":[[0,0,0]]}"#, "not an update graph"),
        (r#"{"nodes":[],"conditionalEdges":[{"edges":[{"from":"a","to":"b"}]}]}"#, "leads to `a`"),
        (r#"{"version":2,"nodes":[]}"#, "version 2"),
        ("[]", "not an update graph"),
        ("{} {}", "not acceptable JSON"),
        ("<html>", "not acceptable JSON"),
    ] {
        assert!(refused(text).contains(why), "{text}: {}", refused(text));
    }
    assert!(refused(&"[".repeat(1_000_000)).contains("recursion"));
    assert!(refused(&graph(60_000, "", "")).contains("60000 releases; at most 50000"));
    assert!(refused(&graph(1_000_000, "", "")).contains("not acceptable JSON"), "over the most values of a document");
    let deep = format!(r#"{{"nodes":[],"x":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    assert!(refused(&deep).contains("recursion"));
    assert!(Graph::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err().to_string().contains("bytes"));
    // Each conditional edge has all risks of its group.
    let edges = vec![r#"{"from":"4.18.0","to":"4.18.1"}"#; 2000].join(",");
    let risks = vec![r#"{"name":"a"}"#; 2000].join(",");
    let many = graph(2, "", &format!(r#"{{"edges":[{edges}],"risks":[{risks}]}}"#));
    let parsed = Graph::parse(many.as_bytes()).unwrap();
    assert!(Net::default().join("x", &parsed).unwrap_err().to_string().contains("risks of updates"));
}

#[test]
fn lists_can_be_missing_or_null() {
    for text in ["{}", r#"{"version":1,"nodes":null,"edges":null,"conditionalEdges":null}"#] {
        assert_eq!(Graph::parse(text.as_bytes()).unwrap(), Graph::default());
    }
    let graph = Graph::parse(br#"{"nodes":[{"version":"4.18.1","metadata":null,"payload":""}]}"#).unwrap();
    assert_eq!((graph.nodes[0].payload.as_deref(), graph.nodes[0].metadata.len()), (None, 0));
}

fn net(text: &str) -> Net {
    let mut net = Net::default();
    net.join("x-4.18", &Graph::parse(text.as_bytes()).unwrap()).unwrap();
    net
}

fn versions(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.node.version.trim_start_matches("4.18.")).collect()
}

#[test]
fn the_shortest_path_is_found_and_of_equal_ones_always_the_same() {
    let text = graph(7, "[0,1],[1,2],[0,3],[0,4],[3,5],[4,5],[2,5],[5,5],[5,0]", "");
    let path = |from: &str, to: &str| net(&text).path(from, to, &[]).map(|steps| versions(&steps).join(" "));
    assert_eq!(path("4.18.0", "4.18.5").unwrap(), "0 4 5", "the newer of two equal ways");
    assert_eq!(path("4.18.1", "4.18.5").unwrap(), "1 2 5");
    assert_eq!(path("4.18.3", "4.18.3").unwrap(), "3");
    let apart = NoPath::Apart { reached: Some("4.18.5".to_owned()), origin: None };
    assert_eq!(path("4.18.0", "4.18.6"), Err(apart));
    let near = vec!["4.18.6".to_owned()];
    assert_eq!(path("4.18.0", "4.18.9"), Err(NoPath::Unknown { version: "4.18.9".to_owned(), near }));
}

#[test]
fn an_edge_in_both_sets_is_conditional_and_needs_all_its_risks() {
    let edge = r#""edges":[{"from":"4.18.0","to":"4.18.3"}]"#;
    let risk = |name: &str| format!(r#"{{{edge},"risks":[{{"name":"{name}","message":"m","url":"u"}}]}}"#);
    let net = net(&graph(4, "[0,1],[0,3],[1,2],[2,3]", &format!("{},{}", risk("A"), risk("B"))));
    let path = |accepted: &[&str]| {
        let accepted: Vec<String> = accepted.iter().map(|name| (*name).to_owned()).collect();
        net.path("4.18.0", "4.18.3", &accepted).map(|steps| versions(&steps).join(" "))
    };
    assert_eq!(path(&[]).unwrap(), "0 1 2 3");
    assert_eq!(path(&["A"]).unwrap(), "0 1 2 3");
    assert_eq!(path(&["A", "B"]).unwrap(), "0 3");
}

#[test]
fn a_conditional_edge_without_a_risk_cannot_be_accepted() {
    let closed = r#"{"edges":[{"from":"4.18.0","to":"4.18.1"}],"risks":null}"#;
    let closed = net(&graph(2, "[0,1]", closed)).path("4.18.0", "4.18.1", &[]);
    assert!(matches!(closed, Err(NoPath::Risky { reached: None, .. })), "{closed:?}");
}

#[test]
fn no_path_leads_through_an_older_version() {
    let back = r#"{"edges":[{"from":"4.18.2","to":"4.18.0"}],"risks":[{"name":"A"}]}"#;
    let net = net(&graph(4, "[1,0],[0,3],[1,2]", back));
    let apart = NoPath::Apart { reached: Some("4.18.2".to_owned()), origin: None };
    assert_eq!(net.path("4.18.1", "4.18.3", &["A".to_owned()]), Err(apart));
}

#[test]
fn the_risks_of_the_only_path_are_named_and_the_newest_version_without() {
    let risky = r#"{"edges":[{"from":"4.18.1","to":"4.18.3"}],"risks":[{"name":"A","message":"m","url":"u"}]}"#;
    let net = net(&graph(4, "[0,1],[0,2]", risky));
    let Err(NoPath::Risky { steps, reached }) = net.path("4.18.0", "4.18.3", &[]) else { panic!() };
    assert_eq!((versions(&steps), reached.as_deref()), (vec!["0", "1", "3"], Some("4.18.2")));
    assert_eq!((steps[2].risks[0].name.as_str(), steps[1].risks.len()), ("A", 0));
    let reached = net.reach("4.18.0", &[]).unwrap();
    assert_eq!((reached["4.18.3"].updates, reached["4.18.3"].open, reached.len()), (2, 1, 3));
}

#[test]
fn channels_are_joined_and_must_agree_about_images() {
    let one = |image: &str| {
        let text = format!(r#"{{"nodes":[{{"version":"4.18.0","payload":"e.com/a@sha256:{image}"}}]}}"#);
        Graph::parse(text.as_bytes()).unwrap()
    };
    let mut net = Net::default();
    net.join("x-4.17", &one("1")).unwrap();
    net.join("x-4.18", &one("1")).unwrap();
    assert!(net.join("x-4.19", &one("2")).unwrap_err().to_string().contains("sha256:2 in x-4.19"));
}

#[test]
fn a_chain_of_the_most_releases_is_walked() {
    let edges: Vec<String> = (0..MAX_NODES - 1).map(|n| format!("[{n},{}]", n + 1)).collect();
    let net = net(&graph(MAX_NODES, &edges.join(","), ""));
    let last = format!("4.18.{}", MAX_NODES - 1);
    assert_eq!(net.path("4.18.0", &last, &[]).unwrap().len(), MAX_NODES);
    assert_eq!(net.reach("4.18.0", &[]).unwrap().len(), MAX_NODES - 1);
}
