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

fn one(text: &str) -> Manifest {
    parse(text.as_bytes()).unwrap().remove(0)
}

/// An object of a kind with this metadata, as YAML.
fn object(api_version: &str, kind: &str, metadata: &str) -> Manifest {
    one(&format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{{metadata}}}\n"))
}

fn check(manifest: &Manifest, named: &[&str]) -> Result<(), Denied> {
    let named: Vec<Rule> = named.iter().map(|rule| rule.parse().unwrap()).collect();
    Admission::naming(&named).check(manifest)
}

#[test]
fn kinds_that_change_a_cluster_need_to_be_allowed_by_name() {
    let role = object("rbac.authorization.k8s.io/v1", "ClusterRole", "name: x");
    assert_eq!(check(&role, &[]), Err(Denied::NotNamed));
    assert_eq!(check(&role, &["ClusterRole"]), Ok(()));
    assert_eq!(check(&role, &["ClusterRole:x"]), Ok(()));
    assert_eq!(check(&role, &["ClusterRole:y", "ClusterRole:a/x"]), Err(Denied::NotNamed));
    assert_eq!(check(&object("evil/v1", "Namespace", "name: x"), &[]), Err(Denied::NotNamed));
}

#[test]
fn kinds_are_accepted_only_where_a_cluster_looks_for_them() {
    let signatures = format!("labels: {{{SIGNATURE_LABEL}: \"\"}}");
    let map =
        |namespace: &str, more: &str| object("v1", "ConfigMap", &format!("name: x, namespace: {namespace}, {more}"));
    assert_eq!(check(&map(SIGNATURE_NAMESPACE, &signatures), &[]), Ok(()));
    for bad in [
        map(SIGNATURE_NAMESPACE, "labels: {a: b}"),
        map(SIGNATURE_NAMESPACE, &signatures.replace("verification-signatures", "Verification-Signatures")),
        map(SIGNATURE_NAMESPACE, &signatures.replace("labels", "annotations")),
        map("default", &signatures),
        map("openshift-config", ""),
        map("openshift-config-managed-2", &signatures),
    ] {
        let Err(Denied::Place(_)) = check(&bad, &[]) else { panic!("{bad:?}") };
        assert_eq!(check(&bad, &["ConfigMap"]), Ok(()));
        assert_eq!(check(&bad, &[Rule::of(&bad.object).as_str()]), Ok(()));
        assert!(check(&bad, &["ConfigMap:kube-system/*", "Secret"]).is_err());
    }
    const UPDATES: &str = "updateservice.operator.openshift.io/v1";
    const CATALOGS: &str = "operators.coreos.com/v1alpha1";
    for (api_version, kind, metadata, good) in [
        ("v1", "Namespace", "name: x", true),
        ("v1", "Namespace", "name: x, labels: {pod-security.kubernetes.io/enforce: privileged}", false),
        ("v1", "Namespace", "name: x, annotations: {openshift.io/sa.scc.uid-range: \"0/1\"}", false),
        ("v1", "Namespace", "name: x}\nspec: {finalizers: [x]", false),
        ("v1", "Namespace", "name: x}\nspec: {finalizers: []", true),
        ("config.openshift.io/v1", "ImageDigestMirrorSet", "name: x", true),
        ("config.openshift.io/v1", "ImageTagMirrorSet", "name: x", true),
        ("operator.openshift.io/v1alpha1", "ImageContentSourcePolicy", "name: x", true),
        ("olm.operatorframework.io/v1", "ClusterCatalog", "name: x", true),
        (CATALOGS, "CatalogSource", "name: x, namespace: openshift-marketplace", true),
        (CATALOGS, "CatalogSource", "name: x, namespace: openshift-operators", false),
        (UPDATES, "UpdateService", "name: x, namespace: openshift-update-service", true),
        (UPDATES, "UpdateService", "name: x, namespace: kube-system", false),
        ("config.openshift.io/v1", "ClusterImagePolicy", "name: x", false),
        ("config.openshift.io/v1alpha1", "ClusterImagePolicy", "name: x", false),
        ("config.openshift.io/v1", "ImagePolicy", "name: x, namespace: ns", false),
    ] {
        let manifest = object(api_version, kind, metadata);
        match check(&manifest, &[]) {
            Ok(()) => assert!(good, "{kind} {metadata}"),
            Err(denied) => assert!(!good && matches!(denied, Denied::Place(_)), "{kind} {metadata}: {denied:?}"),
        }
        assert_eq!(check(&manifest, &[kind]), Ok(()), "{kind}");
    }
}

#[test]
fn objects_that_belong_to_the_cluster_are_never_carried_whoever_names_them() {
    let labels = format!("labels: {{{SIGNATURE_LABEL}: \"\"}}");
    for manifest in [
        object("config.openshift.io/v1", "ClusterImagePolicy", "name: openshift"),
        object("config.openshift.io/v1alpha1", "ClusterImagePolicy", "name: openshift"),
        object("v1", "ConfigMap", &format!("name: signatures-managed, namespace: {SIGNATURE_NAMESPACE}, {labels}")),
        object("v1", "ConfigMap", "name: signatures-managed, namespace: default"),
        object("v1", "ConfigMap", &format!("name: mirrored-release-signatures, namespace: {SIGNATURE_NAMESPACE}")),
    ] {
        let rule = Rule::of(&manifest.object);
        for named in [&[][..], &[manifest.object.kind.as_str()], &[rule.as_str()]] {
            assert!(matches!(check(&manifest, named), Err(Denied::Never(_))), "{named:?}");
        }
        let listed = Some(vec![rule.parse().unwrap()]);
        let listed = Admission { listed, named: vec![] };
        assert!(matches!(listed.check(&manifest), Err(Denied::Never(_))), "{rule}");
    }
    assert_eq!(
        check(&object("config.openshift.io/v1", "ClusterImagePolicy", "name: openshift2"), &["ClusterImagePolicy"]),
        Ok(())
    );
}

#[test]
fn a_kind_that_has_a_namespace_names_one_and_others_are_decided_by_a_person() {
    for (api_version, kind) in
        [("v1", "ConfigMap"), ("v1", "Secret"), ("apps/v1", "Deployment"), ("config.openshift.io/v1", "ImagePolicy")]
    {
        let manifest = object(api_version, kind, "name: x");
        for named in ["ConfigMap", &format!("{kind}:x"), kind] {
            assert_eq!(check(&manifest, &[named]), Err(Denied::NoNamespace), "{kind} {named}");
        }
    }
    assert_eq!(check(&object("v1", "Namespace", "name: x, namespace: ns"), &["Namespace"]), Err(Denied::HasNamespace));
    let widget = object("example.com/v1", "Widget", "name: x");
    assert_eq!(check(&widget, &[]), Err(Denied::NotNamed));
    assert_eq!(check(&widget, &["Widget"]), Err(Denied::UnknownScope));
    assert_eq!(check(&widget, &["Widget", "Widget:*"]), Ok(()));
    assert_eq!(check(&object("example.com/v1", "Widget", "name: x, namespace: ns"), &["Widget"]), Ok(()));
    let hint = Denied::NotNamed.hint(&widget.object, "x").unwrap();
    assert_eq!(check(&widget, &[hint.rsplit(' ').next().unwrap()]), Ok(()), "{hint}");
}

#[test]
fn the_list_of_a_host_is_all_that_it_accepts() {
    let listed = |rules: &[&str]| Admission {
        listed: Some(rules.iter().map(|rule| rule.parse().unwrap()).collect()),
        named: vec!["ImageDigestMirrorSet".parse().unwrap(), "Secret".parse().unwrap()],
    };
    let mirrors = object("config.openshift.io/v1", "ImageDigestMirrorSet", "name: x");
    let secret = object("v1", "Secret", "name: x, namespace: ns");
    assert_eq!(listed(&[]).check(&mirrors), Err(Denied::NotListed));
    assert_eq!(listed(&["ImageDigestMirrorSet:y*"]).check(&mirrors), Err(Denied::NotListed));
    assert_eq!(listed(&["ImageDigestMirrorSet:x*"]).check(&mirrors), Ok(()));
    assert_eq!(listed(&["ImageDigestMirrorSet"]).check(&secret), Err(Denied::NotListed));
    assert_eq!(listed(&["v1/Secret:ns/*"]).check(&secret), Ok(()));
}

#[test]
fn what_only_one_cluster_can_give_an_object_is_refused_or_dropped_where_it_holds_nothing() {
    for (metadata, status) in [
        ("creationTimestamp: null", "status: {}"),
        ("creationTimestamp: \"2026-01-02T03:04:05Z\"", "status: null"),
        (
            "ownerReferences: [], finalizers: null, managedFields: [{}], uid: \"\", generateName: \"\"",
            "status: {loadBalancer: {}}",
        ),
    ] {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: x, {metadata}}}\n{status}\n");
        let manifest = one(&text);
        let plain = one("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n");
        assert_eq!(manifest, plain, "{text}");
    }
    for bad in [
        "generateName: x-",
        "uid: \"1\"",
        "resourceVersion: \"1\"",
        "generation: 1",
        "selfLink: /api",
        "creationTimestamp: yesterday",
        "deletionTimestamp: \"2026-01-02T03:04:05Z\"",
        "deletionGracePeriodSeconds: 0",
        "ownerReferences: [{uid: \"1\"}]",
        "finalizers: [x]",
        "managedFields: [{manager: x}]",
        "clusterName: x",
    ] {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: x, {bad}}}\n");
        let why = refused(&text).why;
        assert!(why.contains(bad.split(':').next().unwrap()), "{bad}: {why}");
    }
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\nstatus: {phase: Active}\n";
    assert!(refused(text).why.contains("status"));
    // A carried file has none of them, not even empty ones.
    for bad in [r#""metadata":{"name":"x","creationTimestamp":null}"#, r#""metadata":{"name":"x"},"status":{}"#] {
        let text = format!("{{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",{bad}}}\n");
        assert!(read(text.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn a_config_map_is_refused_that_no_cluster_takes_and_remarked_where_oc_apply_fails() {
    let map = |member: &str, value: &str| {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: b}}\n{member}: {{k: \"{value}\"}}\n"
        );
        one(&text)
    };
    let most = MAX_DATA / 3 * 4;
    for (member, value, good) in [
        ("data", "x".repeat(MAX_DATA), true),
        ("data", "x".repeat(MAX_DATA + 1), false),
        ("data", "ä".repeat(MAX_DATA / 2 + 1), false),
        ("binaryData", format!("{}AA==", "A".repeat(most - 1)), true),
        ("binaryData", format!("{}AAA=", "A".repeat(most)), false),
    ] {
        let size = value.len();
        let found = check(&map(member, &value), &["ConfigMap"]);
        assert_eq!(found.is_ok(), good, "{member} of {size}: {found:?}");
    }
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: a, namespace: b}}\nstringData: {{k: {}}}\n",
        "x".repeat(MAX_DATA + 1)
    );
    assert!(matches!(check(&one(&secret), &["Secret"]), Err(Denied::TooLarge(_))));
    // The copy holds the object and the name of the annotation.
    let around = map("data", "").value.to_text(false).len() + "\"annotations\":{},".len() + 48;
    assert!(!needs_server_side(&map("data", &"x".repeat(262_144 - around))));
    assert!(needs_server_side(&map("data", &"x".repeat(262_145 - around))));
    assert!(needs_server_side(&map("data", &"<".repeat(50_000))));
    assert!(remarks(&map("data", &"x".repeat(300_000))).contains(&LARGE));
}

#[test]
fn what_objects_do_when_applied_is_remarked() {
    let mirrors = object("config.openshift.io/v1", "ImageDigestMirrorSet", "name: x");
    assert!(remarks(&mirrors)[0].contains("nodes"));
    assert!(
        remarks(&object("operators.coreos.com/v1alpha1", "CatalogSource", "name: x, namespace: x"))[0].contains("pod")
    );
    assert!(remarks(&object("v1", "ConfigMap", "name: x, namespace: kube-system"))[0].contains("look"));
    assert!(remarks(&object("v1", "ConfigMap", "name: x, namespace: openshift-config-managed")).is_empty());
    assert!(remarks(&object("v1", "Namespace", "name: x")).is_empty());
    assert!(remarks(&object("example.com/v1", "Widget", "name: x"))[0].contains("cluster-wide"));
}
