//! Carried Kubernetes files: kinds, hidden objects, parsers that differ.

use mirror_bundle::bundle::index::{File, Index};
use mirror_bundle::bundle::layout;
use mirror_bundle::error::Code;

use super::super::draft::{Draft, config_map};
use super::Vectors;

pub fn list(out: &mut Vectors) {
    out.group("manifest");
    let with = |text: &str| {
        let mut draft = Draft::tiny();
        draft.files.insert("manifests/map.yaml".into(), text.as_bytes().to_vec());
        draft
    };
    let map = config_map("map");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: y}\n";

    let mut kind = |name: &str, text: &str| {
        let is = ("G3", Some(Code::Policy), "MB-VER-09");
        out.add(&format!("kind-{name}"), &format!("a {name}"), is, with(text).archive());
    };
    let object = |api: &str, kind: &str| format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\n");
    kind("secret", secret);
    kind("pod", &object("v1", "Pod"));
    kind("role-binding", &object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"));
    kind("webhook", &object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"));
    kind("other-group", &object("evil.example.com/v1", "ConfigMap"));
    kind("second-document", &format!("{map}---\n{secret}"));
    kind("trailing-space", &object("v1", "\"ConfigMap \""));
    kind("case", &object("v1", "configmap"));
    out.add(
        "kind-allowed",
        "good: a Secret that was allowed by name",
        ("G3", None, "MB-VER-09"),
        with(secret).archive(),
    )
    .and(&["--allow-kind", "Secret"]);
    out.add(
        "documents",
        "good: two ConfigMaps in one file",
        ("G2", None, "MB-VER-09"),
        with(&format!("# c\n---\n{map}---\n{}", config_map("b"))).archive(),
    );
    out.add(
        "path-name",
        "good: an object whose name is a path, which names no file",
        ("G4", None, "MB-VER-09"),
        with(&config_map("../../x")).archive(),
    );

    let mut bad = |name: &str, what: &str, ids: &'static str, text: &str| {
        out.add(name, what, (ids, Some(Code::Malformed), "MB-VER-09 MB-MAN"), with(text).archive());
    };
    bad(
        "list",
        "a List that hides a Secret",
        "G3",
        "apiVersion: v1\nkind: List\nmetadata: {name: x}\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: x}}\n",
    );
    bad(
        "items",
        "a ConfigMap with items, of which oc applies the Secret",
        "G3",
        &format!("{map}items:\n- {{apiVersion: v1, kind: Secret, metadata: {{name: x}}}}\n"),
    );
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
