//! Kubernetes files: kinds, hidden objects, parser differences.

use mirror_bundle::bundle::index::{File, Index};
use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;

use super::super::draft::{Draft, manifest, namespace};
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("manifest");
    let with = |text: &str| {
        let mut draft = Draft::tiny();
        draft.files.insert("manifests/map.yaml".into(), text.as_bytes().to_vec());
        draft
    };
    let map = namespace("map");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map\n  namespace: default\n";
    let secret = manifest("apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: other}\n");
    let secret = secret.as_str();

    let mut kind = |name: &str, text: &str| {
        let is = ("G3", Some(Code::Policy), "MB-VER-09 MB-MAN-04");
        out.add(&format!("kind-{name}"), &format!("a {name}"), is, with(text).archive());
    };
    let object = |api: &str, kind: &str| manifest(&format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\n"));
    kind("secret", secret);
    kind("pod", &object("v1", "Pod").replace("\"x\"", "\"x\",\n    \"namespace\": \"y\""));
    kind("role-binding", &object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"));
    kind("webhook", &object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"));
    kind("other-group", &object("evil.example.com/v1", "ConfigMap"));
    kind("case", &object("v1", "configmap"));
    let mut good = |name: &str, what: &str, text: &str| {
        out.add(name, what, ("G2", None, "MB-VER-09 MB-MAN-01"), with(text).archive());
    };
    let compact = "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"map\"}}\n";
    let pretty = manifest(compact);
    good("compact", "good: the form on one line", compact);
    good(
        "numbers",
        "good: every form of number",
        &manifest(
            &compact.replace(
                "}}\n",
                "},\"x\":[0,-1,1.5,-0.000001,999999999999999,123456789.123456,true,false,null,[],{}]}\n",
            ),
        ),
    );
    good("text", "good: escapes and text of every script", &manifest(&compact.replace(
        "}}\n",
        "},\"x\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u007f\\u0085\\u2028\\u200b\\ufeff\\u00ad\\ufe0f<>&\u{e9}\u{65e5}\u{1f642}\\udb40\\udc01\"}\n",
    )));
    out.add(
        "kind-allowed",
        "good: a Secret that was allowed by name",
        ("G3", None, "MB-VER-09"),
        with(secret).archive(),
    )
    .and(&["--allow-kind", "Secret"]);
    places(out);

    let mut bad = |name: &str, what: &str, ids: &'static str, text: &str| {
        out.add(name, what, (ids, Some(Code::Malformed), "MB-VER-09 MB-MAN"), with(text).archive());
    };
    bad("yaml", "YAML, which is not the form", "G2", yaml);
    bad(
        "yaml-binary-tag",
        "a ClusterRoleBinding by base64 keys with one `!`",
        "G2",
        "apiVersion: rbac.authorization.k8s.io/v1\n!binary YXBpVmVyc2lvbg==: v1\nkind: ClusterRoleBinding\n!binary a2luZA==: ConfigMap\nmetadata:\n  name: release-notes\n",
    );
    bad(
        "yaml-merge-tag",
        "a list by a tagged merge key",
        "G2",
        &format!("{yaml}! <<:\n  items:\n  - {{apiVersion: v1, kind: Secret, metadata: {{name: s}}}}\n"),
    );
    bad(
        "yaml-question-mark",
        "another kind by `?kind` in braces",
        "G2",
        "# notes\n{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, ?kind: ClusterRoleBinding}\n",
    );
    bad(
        "yaml-null-tag",
        "a namespace that is null by a tag",
        "G2",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: !null kube-system}\n",
    );
    bad(
        "yaml-hidden-signatures",
        "a signature ConfigMap by an escaped label",
        "G6",
        &format!(
            "{yaml}  labels:\n    \"\\x72elease.openshift.io/verification-signatures\": \"\"\n---\n{yaml}!!bin%61ry bWV0YWRhdGE=: {{name: x}}\n"
        ),
    );
    bad(
        "yaml-items-case",
        "a list in capital letters",
        "G3",
        &format!("{yaml}ITEMS: [{{apiVersion: v1, kind: Secret, metadata: {{name: s}}}}]\n"),
    );
    bad("documents", "two ConfigMaps in one file", "G2", &format!("{map}---\n{map}"));
    bad("path-name", "an object whose name is a path", "G4", &pretty.replace("\"map\"", "\"../../x\""));
    bad("kind-trailing-space", "a kind with a blank", "G2 G3", &pretty.replace("Namespace", "Namespace "));
    let member = |member: &str| compact.replace("}}\n", &format!("}},{member}}}\n"));
    for (name, what, text) in [
        ("items", "items: oc applies what is in it", "\"items\":[]"),
        ("items-null", "items that are null", "\"items\":null"),
        ("items-case", "ITEMS", "\"ITEMS\":[]"),
        ("member-kind-case", "another kind, but for the case of letters", "\"Kind\":\"Secret\""),
        ("member-case", "Data", "\"Data\":{}"),
        ("member-case-deep", "two keys that differ by case", "\"data\":{\"a\":\"1\",\"A\":\"2\"}"),
        ("merge-json", "a merge key for parsers of YAML", "\"data\":{\"<<\":\"x\"}"),
        ("key-not-ascii", "a key that is not ASCII", "\"data\":{\"\u{212a}\":\"x\"}"),
        ("key-empty", "an empty key", "\"data\":{\"\":\"x\"}"),
        ("number-exponent", "a number with an exponent", "\"x\":1e3"),
        ("number-zero", "a number with a zero at the end", "\"x\":1.50"),
        ("number-minus-zero", "-0", "\"x\":-0"),
        ("number-long", "a number of 16 digits", "\"x\":1000000000000000"),
        ("number-small", "a number with seven digits behind the point", "\"x\":0.0000001"),
        ("surrogate", "half of a surrogate pair", "\"x\":\"\\ud83d\""),
        ("nul", "a NUL character", "\"x\":\"\\u0000\""),
        ("escape-upper", "an escape in capital letters", "\"x\":\"\\u00AD\""),
        ("escape-needless", "an escape that is not needed", "\"x\":\"\\u0061\""),
        ("escape-slash", "an escaped slash", "\"x\":\"\\/\""),
        ("escape-missing", "a soft hyphen that is not escaped", "\"x\":\"\u{ad}\""),
    ] {
        bad(name, what, "G2", &member(text));
    }
    bad("kind-list", "a kind of lists", "G3", &pretty.replace("Namespace", "NamespaceList"));
    bad("namespace-null", "a namespace that is null", "G2", &compact.replace("\"map\"", "\"map\",\"namespace\":null"));
    bad(
        "labels-null-value",
        "a label that is null",
        "G2",
        &compact.replace("\"map\"", "\"map\",\"labels\":{\"a\":null}"),
    );
    bad("name-case", "metadata with Name", "G2", &compact.replace("\"name\"", "\"Name\""));
    bad("form-space", "a blank behind the object", "G2", &pretty.replace("}\n}\n", "}\n} \n"));
    bad("form-no-end", "no line feed at the end", "G2", pretty.trim_end());
    bad("form-crlf", "lines that end with CR LF", "G2", &pretty.replace('\n', "\r\n"));
    bad("form-indent", "an indent of four", "G2", &pretty.replace("  ", "    "));
    bad(
        "list",
        "a List that hides a Secret",
        "G3",
        &manifest("apiVersion: v1\nkind: X\nmetadata: {name: x}\nspec:\n- {apiVersion: v1, kind: Secret, metadata: {name: x}}\n")
            .replace("\"X\"", "\"List\"")
            .replace("\"spec\"", "\"items\""),
    );
    let map = yaml;
    bad(
        "separator",
        "a Secret behind `---#:`, where oc begins a new object",
        "G2 G3",
        &format!("{map}---#:\n  apiVersion: v1\n  kind: Secret\n  metadata: {{name: x}}\n"),
    );
    bad("line-separator", "a comment that ends at U+2028 for oc", "G2 G3", &format!("{map}#\u{2028}kind: Secret\n"));
    bad("next-line", "a comment that ends at U+0085 for oc", "G2 G3", &format!("{map}#\u{85}kind: Secret\n"));
    bad("carriage-return", "a comment that ends at a lone CR", "G2 G3", &format!("{map}#\rkind: Secret\n"));
    bad("binary-key", "a key in base64", "G2 G3", &format!("{map}!!binary a2luZA==: Secret\n"));
    bad("end-marker", "objects behind `...`, where oc stops", "G2", &format!("{map}...\n{map}"));
    bad(
        "json-comment",
        "JSON with a comment",
        "G2",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"map\"}} # c\n",
    );
    bad(
        "json-duplicate",
        "JSON with a member twice",
        "G2 B8",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"map\"}}\n",
    );
    bad(
        "json-two",
        "two JSON objects one after the other",
        "G2",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"map\"}}{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"}}",
    );
    bad("duplicate-key", "`kind` twice", "G2", &format!("{map}kind: Secret\n"));
    bad("duplicate-quoted", "`kind` twice, once quoted", "G2", &format!("{map}\"kin\\x64\": Secret\n"));
    bad("alias", "an alias", "G1", &format!("{map}x: &a b\ny: *a\n"));
    bad("self-alias", "an alias of itself", "G1", &format!("{map}x: &a [*a]\n"));
    let laughs: String =
        (1..10).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))).collect();
    bad("billion-laughs", "a billion laughs", "G1", &format!("{map}a0: &a0 lol\n{laughs}"));
    bad("merge", "a merge key", "G2", &format!("{map}<<: {{kind: Secret}}\n"));
    bad("tag", "a tag", "G2", &format!("{map}x: !!python/object/apply:os.system [id]\n"));
    bad("bom", "a byte order mark", "G2", &format!("\u{feff}{map}"));
    bad("directive", "a YAML directive", "G2", &format!("%YAML 1.1\n---\n{map}"));
    bad("not-utf8", "not UTF-8", "G2", "kind: \u{0}\n");
    bad("not-yaml", "no YAML", "G2", "{[}\n");
    bad("scalar", "no object", "G2", "just text\n");
    bad("nothing", "an empty file", "G2", "");
    bad("only-comment", "only a comment", "G2", "# nothing\n");
    bad("no-name", "an object without a name", "G3", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}\n");
    bad("number-kind", "a kind that is a number", "G2", "apiVersion: v1\nkind: 12\nmetadata: {name: x}\n");
    bad("deep", "nested 300 times", "G1", &format!("{map}x: {}{}\n", "[".repeat(300), "]".repeat(300)));
    bad("escapes", "terminal escapes", "E10", &format!("{map}\u{1b}[2J: x\n"));

    let is = ("G3", Some(Code::Malformed), "MB-VER-09");
    let draft = Draft::tiny();
    let other = |i: &mut Index| i.files[2].objects[0].name = "other".into();
    out.add("objects-differ", "the index lists another object than the file holds", is, draft.archive_of(other));
    let none = |i: &mut Index| i.files[2].objects.clear();
    out.add("objects-none", "the index lists no object for a file that holds one", is, draft.archive_of(none));
    let secret_file = secret.as_bytes().to_vec();
    let objects = draft.index().files[2].objects.clone();
    let mut archive = draft.archive_of(|i| {
        i.files[2] = File { objects, ..layout::file("manifests/map.yaml", &secret_file) };
    });
    archive.entry("manifests/").bytes = secret_file;
    out.add("objects-hide", "the index lists a ConfigMap, the file holds a Secret", is, archive);
}

/// Kinds that are accepted in some places only, and objects that no one may carry.
fn places(out: &mut Vectors) {
    let with = |text: &str| {
        let mut draft = Draft::tiny();
        draft.files.insert("manifests/map.yaml".into(), text.as_bytes().to_vec());
        draft.archive()
    };
    let object = |api: &str, kind: &str, metadata: &str| {
        format!("{{\"apiVersion\":\"{api}\",\"kind\":\"{kind}\",\"metadata\":{{{metadata}}}}}\n")
    };
    let map = |namespace: &str, more: &str| {
        object("v1", "ConfigMap", &format!("\"name\":\"x\",\"namespace\":\"{namespace}\"{more}"))
    };
    const CONFIG: &str = "config.openshift.io/v1";
    const CATALOG: (&str, &str) = ("operators.coreos.com/v1alpha1", "CatalogSource");
    const UPDATES: (&str, &str) = ("updateservice.operator.openshift.io/v1", "UpdateService");
    let policy = Some(Code::Policy);
    let is = |code| ("G7", code, "MB-VER-09 MB-MAN-04");
    for (name, what, text, code, flags) in [
        ("place-map", "a ConfigMap in another namespace", map("kube-system", ""), policy, &[][..]),
        ("place-map-config", "a ConfigMap in openshift-config", map("openshift-config", ""), policy, &[]),
        ("place-map-label", "a ConfigMap without the label", map("openshift-config-managed", ""), policy, &[]),
        (
            "place-map-named",
            "good: a ConfigMap that was allowed by its place",
            map("kube-system", ""),
            None,
            &["--allow-kind", "ConfigMap:kube-*/x"],
        ),
        (
            "place-map-other",
            "a ConfigMap, and another place was allowed",
            map("kube-system", ""),
            policy,
            &["--allow-kind", "ConfigMap:default/*"],
        ),
        ("trust-cluster", "a ClusterImagePolicy", object(CONFIG, "ClusterImagePolicy", "\"name\":\"x\""), policy, &[]),
        (
            "trust-cluster-named",
            "good: a ClusterImagePolicy that was allowed by name",
            object(CONFIG, "ClusterImagePolicy", "\"name\":\"x\""),
            None,
            &["--allow-kind", "ClusterImagePolicy:x"],
        ),
        (
            "trust-image",
            "an ImagePolicy",
            object(CONFIG, "ImagePolicy", "\"name\":\"x\",\"namespace\":\"y\""),
            policy,
            &[],
        ),
        (
            "never-policy",
            "the ClusterImagePolicy of the release, although its kind was allowed",
            object(CONFIG, "ClusterImagePolicy", "\"name\":\"openshift\""),
            policy,
            &["--allow-kind", "ClusterImagePolicy"],
        ),
        (
            "never-policy-alpha",
            "the ClusterImagePolicy of the release in another version",
            object("config.openshift.io/v1alpha1", "ClusterImagePolicy", "\"name\":\"openshift\""),
            policy,
            &["--allow-kind", "ClusterImagePolicy:openshift"],
        ),
        (
            "never-map",
            "signatures-managed, although it was allowed",
            map("openshift-config-managed", "").replace("\"x\"", "\"signatures-managed\""),
            policy,
            &["--allow-kind", "ConfigMap"],
        ),
        (
            "never-map-oc-mirror",
            "mirrored-release-signatures, although it was allowed",
            map("openshift-config-managed", "").replace("\"x\"", "\"mirrored-release-signatures\""),
            policy,
            &["--allow-kind", "ConfigMap"],
        ),
        (
            "place-catalog",
            "a CatalogSource in another namespace",
            object(CATALOG.0, CATALOG.1, "\"name\":\"x\",\"namespace\":\"default\""),
            policy,
            &[],
        ),
        (
            "place-catalog-good",
            "good: a CatalogSource in its place",
            object(CATALOG.0, CATALOG.1, "\"name\":\"x\",\"namespace\":\"openshift-marketplace\""),
            None,
            &[],
        ),
        (
            "place-updates",
            "an UpdateService in another namespace",
            object(UPDATES.0, UPDATES.1, "\"name\":\"x\",\"namespace\":\"default\""),
            policy,
            &[],
        ),
        (
            "place-updates-good",
            "good: an UpdateService in its place",
            object(UPDATES.0, UPDATES.1, "\"name\":\"x\",\"namespace\":\"openshift-update-service\""),
            None,
            &[],
        ),
        (
            "place-rights",
            "a Namespace whose pods may do everything",
            object(
                "v1",
                "Namespace",
                "\"name\":\"x\",\"labels\":{\"pod-security.kubernetes.io/enforce\":\"privileged\"}",
            ),
            policy,
            &[],
        ),
        (
            "place-spec",
            "a Namespace with finalizers",
            object("v1", "Namespace", "\"name\":\"x\"")
                .replace("}}\n", "},\"spec\":{\"finalizers\":[\"example.com/x\"]}}\n"),
            policy,
            &[],
        ),
        ("mirror-sets", "good: a mirror set", object(CONFIG, "ImageDigestMirrorSet", "\"name\":\"x\""), None, &[]),
        (
            "scope-unknown",
            "an unknown kind without a namespace",
            object("example.com/v1", "Widget", "\"name\":\"x\""),
            policy,
            &["--allow-kind", "Widget"],
        ),
        (
            "scope-cluster",
            "good: an unknown kind that was called cluster-wide",
            object("example.com/v1", "Widget", "\"name\":\"x\""),
            None,
            &["--allow-kind", "example.com/v1/Widget:*"],
        ),
        (
            "scope-namespaced",
            "good: an unknown kind with a namespace",
            object("example.com/v1", "Widget", "\"name\":\"x\",\"namespace\":\"y\""),
            None,
            &["--allow-kind", "Widget"],
        ),
    ] {
        let vector = out.add(name, what, is(code), with(&text));
        vector.and(flags);
    }
    let is = ("G8", Some(Code::Malformed), "MB-VER-09 MB-MAN-08");
    for (name, what, text) in [
        ("scope-none", "a ConfigMap without a namespace", object("v1", "ConfigMap", "\"name\":\"x\"")),
        ("scope-none-secret", "a Secret without a namespace", object("v1", "Secret", "\"name\":\"x\"")),
        (
            "scope-both",
            "a cluster-wide object with a namespace",
            object("v1", "Namespace", "\"name\":\"x\",\"namespace\":\"y\""),
        ),
    ] {
        out.add(name, what, is, with(&text)).and(&["--allow-kind", "Secret", "--allow-kind", "ConfigMap:*"]);
    }
    for (name, member) in [
        ("uid", "\"uid\":\"0b0c\""),
        ("version", "\"resourceVersion\":\"1\""),
        ("managed", "\"managedFields\":[]"),
        ("owner", "\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"x\",\"uid\":\"0\"}]"),
        ("finalizers", "\"finalizers\":[\"example.com/x\"]"),
        ("generate-name", "\"generateName\":\"x-\""),
        ("generation", "\"generation\":1"),
        ("deletion", "\"deletionTimestamp\":\"2026-01-01T00:00:00Z\""),
        ("creation", "\"creationTimestamp\":null"),
    ] {
        let text = object("v1", "Namespace", &format!("\"name\":\"map\",{member}"));
        out.add(&format!("server-{name}"), &format!("metadata with {member}"), is, with(&text));
    }
    for (name, status) in [("status", "{\"phase\":\"Active\"}"), ("status-empty", "{}")] {
        let text =
            object("v1", "Namespace", "\"name\":\"map\"").replace("}}\n", &format!("}},\"status\":{status}}}\n"));
        out.add(&format!("server-{name}"), &format!("the status {status}"), is, with(&text));
    }
    let is = ("G9", Some(Code::Malformed), "MB-VER-09 MB-MAN-10");
    let value = format!("{}AAA=", "A".repeat((1 << 20) / 3 * 4));
    let text = map("default", "").replace("}}\n", &format!("}},\"binaryData\":{{\"a\":\"{value}\"}}}}\n"));
    out.add("size-over", "a ConfigMap of one byte more than a cluster takes", is, with(&text))
        .and(&["--allow-kind", "ConfigMap"]);
}
