#![allow(clippy::unwrap_used)]
use super::*;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n";

fn refused(text: &str) -> Refusal {
    match parse(text.as_bytes()) {
        Err(refusal) => refusal,
        Ok(found) => panic!("{text:?} was read as {found:?}"),
    }
}

#[test]
fn objects_are_read_from_yaml_and_json_with_several_documents() {
    let found = parse(format!("{MAP}---\n{MAP}---\n# nothing\n").as_bytes()).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].object.namespace.as_deref(), Some("b"));
    let crlf = format!("# first\n---\n{MAP}--- \n{MAP}").replace('\n', "\r\n");
    assert_eq!(parse(crlf.as_bytes()).unwrap().len(), 2);
    let json = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#;
    assert_eq!(parse(json.as_bytes()).unwrap()[0].object.name, "x");
}

#[test]
fn an_object_is_written_in_one_form_and_read_only_from_it() {
    let manifest =
        parse(format!("{MAP}data: {{k: \"ä\\u200b\\n<&>\"}}\nx: [1, 1.5, true, null, [], {{}}]\n").as_bytes());
    let manifest = manifest.unwrap().remove(0);
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    assert!(text.contains("    \"k\": \"ä\\u200b\\n<&>\"\n"), "{text}");
    assert!(text.ends_with("    [],\n    {}\n  ]\n}\n"), "{text}");
    assert_eq!(read(text.as_bytes()), Ok(manifest.clone()));
    let compact = manifest.value.to_text(false);
    assert_eq!(read(compact.as_bytes()), Ok(manifest.clone()));
    for bad in [
        text.trim_end().to_owned(),
        format!("{text}\n"),
        format!(" {text}"),
        text.replace("  ", " "),
        text.replace('\n', "\r\n"),
        text.replace("\\u200b", "\u{200b}"),
        text.replace("\\u200b", "\\u200B"),
        text.replace('ä', "\\u00e4"),
        text.replace("1.5", "1.50"),
        text.replace("1.5", "15e-1"),
        text.replace("[]", "[ ]"),
        compact.replace(':', ": "),
        MAP.to_owned(),
    ] {
        assert_ne!(bad, text);
        assert!(read(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn text_that_two_parsers_could_read_differently_is_refused_with_its_line() {
    for bad in [
        "kind: Secret",
        "\"kin\\x64\": Secret",
        "Kind: Secret",
        "KIND: Secret",
        "items: []",
        "ITEMS: []",
        "items:",
        "x: &a b",
        "y: *a",
        "<<: {x: y}",
        "\"<<\": {x: y}",
        "! <<: {x: y}",
        "!!merge <<: {x: y}",
        "x: !!str y",
        "!!binary a2luZA==: Secret",
        "!binary a2luZA==: Secret",
        "!<tag:yaml.org,2002:binary> a2luZA==: Secret",
        "!!bin%61ry a2luZA==: Secret",
        "x: ! y",
        "? x",
        "?kind: Secret",
        "x: {?a: b}",
        "x: {? a: b}",
        "x: {a:b}",
        "x: yes",
        "x: No",
        "x: on",
        "x: y",
        "yes: x",
        "true: x",
        "1: x",
        "~: x",
        "x: 0777",
        "x: 0o17",
        "x: 0x1F",
        "x: 0b1",
        "x: 1:30",
        "x: 190:20:30",
        "x: 1_000",
        "x: 2001-01-01",
        "x: .inf",
        "x: -.INF",
        "x: .nan",
        "x: +1",
        "x: 1e3",
        "x: 12e03",
        "x: 1.",
        "x: .5",
        "x: 1.50",
        "x: -0",
        "x: 08",
        "x: 1000000000000000",
        "x: 0.0000001",
        "x: =",
        "x: %a",
        "x: @a",
        "x: `a",
        "x: \"\\e\"",
        "x: \"\\/\"",
        "x: \"\\ud83d\\ude42\"",
        "x: \"\\ud83d\"",
        "x: \"\\0\"",
        "x:\ty",
        "\tx: y",
        "#\u{2028}",
        "#\u{2029}",
        "#\u{85}",
        "#\r#",
        "x: \u{feff}",
        "...",
        "--- x",
        "--- # c",
        "---#",
        "%YAML 1.1",
        "x: |\n     \n  y",
        "x: |\n  \ty",
        "x: {a: }",
        "x: [a, , b]",
        "é: x",
        "\"\": x",
        "x: {a: 1, A: 2}",
        "x: \"a\"#c",
        "- a",
        "x: [a",
        "x: {[a]: b}",
        "x: [{a: b}: c]",
    ] {
        let text = format!("{MAP}{bad}\n");
        let line = refused(&text).line;
        assert!(line.is_some_and(|line| line <= 6), "{bad}: {line:?}");
    }
    assert_eq!(refused(&format!("{MAP}---\n{MAP}x: yes\n")).line, Some(8));
    for bad in [
        String::new(),
        "# nothing\n".to_owned(),
        "- a\n".to_owned(),
        "text\n".to_owned(),
        format!("\u{feff}{MAP}"),
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}".to_owned(),
        format!("{}1", "[".repeat(5000)),
        format!("{MAP}x: {}1{}\n", "[".repeat(70), "]".repeat(70)),
        "\u{0}".to_owned(),
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}} #c"#.to_owned(),
        r#"{"apiVersion":"v1","kind":"ConfigMap","kind":"Secret","metadata":{"name":"x"}}"#.to_owned(),
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"x":1e3}"#.to_owned(),
    ] {
        refused(&bad);
    }
    assert!(parse(b"kind: \xff").is_err());
}

#[test]
fn objects_that_clients_could_name_otherwise_are_refused() {
    let json = |metadata: &str| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{{metadata}}}}}"#);
    assert!(parse(json(r#""name":"x","annotations":null"#).as_bytes()).is_ok());
    for metadata in [
        r#""Name":"x""#,
        r#""name":"x","Namespace":"y""#,
        r#""name":"x","namespace":null"#,
        r#""name":"x","namespace":"""#,
        r#""name":1"#,
        r#""name":"""#,
        r#""name":"a/b""#,
        r#""name":"a\u200b""#,
        r#""generateName":"x""#,
        r#""name":"x","labels":{"a":1}"#,
        r#""name":"x","labels":[]"#,
        r#""name":"x","namespace":"Y""#,
    ] {
        refused(&json(metadata));
    }
    for kind in ["List", "LIST", "ConfigMapList", "Config Map", ""] {
        refused(&json(r#""name":"x""#).replace("ConfigMap", kind));
    }
}

#[test]
fn kinds_that_change_a_cluster_need_to_be_allowed_by_name() {
    let role = Object {
        api_version: "rbac.authorization.k8s.io/v1".into(),
        kind: "ClusterRole".into(),
        namespace: None,
        name: "x".into(),
    };
    assert!(!is_allowed(&role, &[]));
    assert!(is_allowed(&role, &["ClusterRole".to_owned()]));
    let map = parse(MAP.as_bytes()).unwrap().remove(0).object;
    assert!(is_allowed(&map, &[]));
    let fake = Object { api_version: "evil/v1".into(), ..map };
    assert!(!is_allowed(&fake, &[]));
}

#[test]
fn objects_without_a_namespace_are_distinguished_and_their_effects_are_remarked() {
    let object = |api_version: &str, kind: &str, namespace: Option<&str>| Object {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: namespace.map(str::to_owned),
        name: "x".into(),
    };
    let mirrors = object("config.openshift.io/v1", "ImageDigestMirrorSet", None);
    assert_eq!(scope(&mirrors), Scope::Cluster);
    assert!(remark(&mirrors).unwrap().contains("nodes"));
    assert!(remark(&object("operators.coreos.com/v1alpha1", "CatalogSource", Some("x"))).unwrap().contains("pod"));
    let map = object("v1", "ConfigMap", None);
    assert_eq!(scope(&map), Scope::Current);
    assert!(remark(&map).unwrap().contains("no namespace"));
    assert!(remark(&object("v1", "ConfigMap", Some("kube-system"))).is_some());
    assert_eq!(remark(&object("v1", "ConfigMap", Some("openshift-config-managed"))), None);
    assert_eq!(remark(&object("v1", "Namespace", None)), None);
    assert_eq!(scope(&object("v1", "Pod", None)), Scope::Unknown);
}
