//! What Kubernetes objects do when they are applied, in words.
//!
//! The words are this program's; names in them are the object's. A kind that is not known here is said to be unknown,
//! never left out.

use serde_json::Value;

use super::block::{Block, Line, Span, Table, name, strong, text};
use super::count;
use crate::kubernetes::{Object, SIGNATURE_NAMESPACE, Scope, scope};

/// The most objects that are listed one by one, and the most names in a sentence.
const OBJECTS: usize = 300;
const NAMES: usize = 4;

/// What an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The path of its file.
    pub file: String,
    /// The object.
    pub object: Object,
    /// What it does: sentences, and whether each is worth a second look.
    pub words: Vec<(bool, String)>,
}

impl Effect {
    /// Whether anything in it is worth a second look.
    fn is_grave(&self) -> bool {
        self.words.iter().any(|(grave, _)| *grave)
    }
}

/// The object in a file of the bundle, which is JSON in one form.
pub fn of(file: &str, bytes: &[u8]) -> Option<Effect> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let object = Object {
        api_version: text(&value["apiVersion"])?,
        kind: text(&value["kind"])?,
        namespace: text(&value["metadata"]["namespace"]),
        name: text(&value["metadata"]["name"])?,
    };
    let mut words = Vec::new();
    say(&object, &value, &mut words);
    if words.is_empty() {
        words.push((true, "this program does not know what this kind does: ask whoever wrote it".to_owned()));
    }
    Some(Effect { file: file.to_owned(), object, words })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn shown(text: &str) -> String {
    crate::escape::name(text)
}

fn string(value: &Value) -> String {
    shown(value.as_str().unwrap_or("?"))
}

/// The first of these, and how many more there are.
fn some(names: Vec<String>) -> String {
    let more = names.len().saturating_sub(NAMES);
    let mut out = names.into_iter().take(NAMES).collect::<Vec<_>>().join(", ");
    if more > 0 {
        out.push_str(&format!(" and {more} more"));
    }
    if out.is_empty() { "nothing".to_owned() } else { out }
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(string).collect()
}

fn has(value: &Value, word: &str) -> bool {
    list(value).iter().any(|one| one.as_str() == Some(word))
}

/// Where a binding counts.
fn place(object: &Object) -> String {
    object
        .namespace
        .as_deref()
        .map_or_else(|| "in every namespace".to_owned(), |n| format!("in the namespace {}", shown(n)))
}

fn say(object: &Object, value: &Value, out: &mut Vec<(bool, String)>) {
    let spec = &value["spec"];
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, object.kind.as_str()) {
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => binding(object, value, out),
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => role(object, value, out),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => webhooks(value, "sees and can change", out),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            webhooks(value, "sees and can refuse", out)
        }
        ("admissionregistration.k8s.io", _) => {
            out.push((true, "decides which objects the cluster takes, or changes them".into()))
        }
        ("apiregistration.k8s.io", "APIService") => {
            let service = &spec["service"];
            let to = format!("{}/{}", string(&service["namespace"]), string(&service["name"]));
            out.push((true, format!("hands the API group {} to the service {to}", string(&spec["group"]))));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            out.push((
                false,
                format!(
                    "adds the kind {} of the group {} to the cluster",
                    string(&spec["names"]["kind"]),
                    string(&spec["group"])
                ),
            ));
            if spec["conversion"]["strategy"] == "Webhook" {
                out.push((true, "sends objects of it to a webhook, which can change them".into()));
            }
        }
        ("", "Namespace") => namespace(value, out),
        ("", "ConfigMap") => config_map(object, value, out),
        ("", "Secret") => {
            let keys: Vec<String> = ["data", "stringData"]
                .iter()
                .flat_map(|m| value[*m].as_object())
                .flat_map(|m| m.keys())
                .map(|k| shown(k))
                .collect();
            out.push((true, format!("stores a secret of the type {}: {}", string(&value["type"]), some(keys))));
        }
        ("", "ServiceAccount") => {
            out.push((false, "creates an account for programs; bindings say what it may do".into()))
        }
        ("", "Service") => service(spec, out),
        ("", "PersistentVolume") => {
            let host = spec["hostPath"]["path"].as_str();
            match host {
                Some(path) => out.push((true, format!("gives programs the folder {} of a node", shown(path)))),
                None => out.push((false, "makes storage available".into())),
            }
        }
        ("", "PersistentVolumeClaim") => out.push((false, "asks for storage".into())),
        ("", "Pod") => pod(spec, "runs", out),
        ("apps", "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet")
        | ("batch", "Job")
        | ("", "ReplicationController") => {
            let how = if object.kind == "DaemonSet" { "runs on every node" } else { "runs" };
            pod(&spec["template"]["spec"], how, out);
        }
        ("batch", "CronJob") => {
            pod(
                &spec["jobTemplate"]["spec"]["template"]["spec"],
                &format!("runs, at times {},", string(&spec["schedule"])),
                out,
            );
        }
        ("config.openshift.io", "ImageDigestMirrorSet") => mirrors(&spec["imageDigestMirrors"], out),
        ("config.openshift.io", "ImageTagMirrorSet") => mirrors(&spec["imageTagMirrors"], out),
        ("operator.openshift.io", "ImageContentSourcePolicy") => mirrors(&spec["repositoryDigestMirrors"], out),
        ("config.openshift.io", "ClusterImagePolicy" | "ImagePolicy") => {
            out.push((
                false,
                format!(
                    "nodes run images of {} only with signatures by the keys in it, {}",
                    some(strings(&spec["scopes"])),
                    place(object)
                ),
            ));
        }
        ("config.openshift.io", kind) => {
            out.push((true, format!("changes the configuration of the cluster: {}", shown(kind))))
        }
        ("operators.coreos.com", "CatalogSource") => {
            out.push((false, format!("runs {}, and offers the operators in it to install", string(&spec["image"]))));
        }
        ("operators.coreos.com", "Subscription") => {
            out.push((
                true,
                format!(
                    "installs the operator {} from {}, and updates it",
                    string(&spec["name"]),
                    string(&spec["source"])
                ),
            ));
        }
        ("operators.coreos.com", "ClusterServiceVersion" | "InstallPlan") => {
            out.push((true, "installs an operator, with the rights that are in it".into()))
        }
        ("operators.coreos.com", "OperatorGroup") => {
            out.push((false, format!("says where operators of {} work", place(object))))
        }
        ("olm.operatorframework.io", "ClusterCatalog") => out.push((false, "offers operators to install".into())),
        ("olm.operatorframework.io", "ClusterExtension") => {
            out.push((true, "installs an operator, with the rights of an account that is in it".into()))
        }
        ("updateservice.operator.openshift.io", "UpdateService") => {
            out.push((
                false,
                format!(
                    "runs an update service with the releases {} and the graph {}",
                    string(&spec["releases"]),
                    string(&spec["graphDataImage"])
                ),
            ));
        }
        ("machineconfiguration.openshift.io", _) => {
            out.push((true, "changes files or services of nodes, and restarts them".into()))
        }
        ("security.openshift.io", "SecurityContextConstraints") => constraints(value, out),
        ("networking.k8s.io", "NetworkPolicy") => {
            out.push((false, format!("limits who can connect to programs {}", place(object))))
        }
        ("networking.k8s.io", "Ingress") | ("route.openshift.io", "Route") => {
            let hosts: Vec<String> = list(&spec["rules"])
                .iter()
                .map(|rule| string(&rule["host"]))
                .chain(spec["host"].as_str().map(shown))
                .collect();
            out.push((false, format!("makes a service reachable from outside, as {}", some(hosts))));
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            let global = value["globalDefault"] == true;
            out.push((
                global,
                if global {
                    "changes which programs everywhere give way to others"
                } else {
                    "names an order in which programs give way"
                }
                .into(),
            ));
        }
        ("storage.k8s.io", _) => out.push((false, "configures storage of the cluster".into())),
        ("policy", "PodDisruptionBudget") => {
            out.push((false, "limits how many copies of a program may be stopped at once".into()))
        }
        ("autoscaling", _) => out.push((false, "changes how many copies of a program run".into())),
        ("", "LimitRange" | "ResourceQuota") => {
            out.push((false, format!("limits what programs use {}", place(object))))
        }
        ("certificates.k8s.io", _) => out.push((true, "asks for a certificate, or distributes ones to trust".into())),
        _ => {}
    }
}

fn binding(object: &Object, value: &Value, out: &mut Vec<(bool, String)>) {
    let role = value["roleRef"]["name"].as_str().unwrap_or("?");
    let subject = |one: &Value| {
        let place = one["namespace"].as_str().map(|n| format!("{}/", shown(n))).unwrap_or_default();
        format!("{} {place}{}", string(&one["kind"]), string(&one["name"]))
    };
    let subjects: Vec<String> = list(&value["subjects"]).iter().map(subject).collect();
    let everybody = list(&value["subjects"]).iter().any(|one| {
        let name = one["name"].as_str().unwrap_or_default();
        matches!(
            name,
            "system:unauthenticated" | "system:authenticated" | "system:serviceaccounts" | "system:anonymous"
        )
    });
    let to = some(subjects);
    let wide = object.namespace.is_none();
    out.push(match (role, wide) {
        ("cluster-admin", true) => (true, format!("gives cluster-admin to {to}: everything, in every namespace")),
        _ => (
            wide || matches!(role, "cluster-admin" | "admin" | "edit"),
            format!("gives the role {} to {to}, {}", shown(role), place(object)),
        ),
    });
    if everybody {
        out.push((true, "that is everybody, or every program".into()));
    }
}

fn role(object: &Object, value: &Value, out: &mut Vec<(bool, String)>) {
    let rules = list(&value["rules"]);
    let all = |rule: &Value| has(&rule["verbs"], "*") && has(&rule["resources"], "*");
    if rules.iter().any(all) {
        out.push((true, format!("allows everything, {}", place(object))));
    }
    let touches = |rule: &Value, resource: &str| has(&rule["resources"], resource) || has(&rule["resources"], "*");
    let may =
        |rule: &Value, verbs: &[&str]| has(&rule["verbs"], "*") || verbs.iter().any(|verb| has(&rule["verbs"], verb));
    let any = |of: &dyn Fn(&Value) -> bool| rules.iter().any(of);
    if any(&|rule| touches(rule, "secrets") && may(rule, &["get", "list", "watch"])) {
        out.push((true, format!("allows reading secrets, {}", place(object))));
    }
    if any(&|rule| may(rule, &["escalate", "bind", "impersonate"])) {
        out.push((true, "allows taking more rights than it has (escalate, bind or impersonate)".into()));
    }
    if any(&|rule| touches(rule, "pods/exec") || touches(rule, "nodes/proxy")) {
        out.push((true, "allows running commands in programs of others".into()));
    }
    let words = |rule: &Value| {
        format!(
            "{} of {}",
            some(strings(&rule["verbs"])),
            some(strings(if rule["resources"].is_array() { &rule["resources"] } else { &rule["nonResourceURLs"] }))
        )
    };
    let mut texts: Vec<String> = rules.iter().take(3).map(words).collect();
    if rules.len() > 3 {
        texts.push(format!("and {}", count(rules.len() - 3, "more rule")));
    }
    if value["aggregationRule"].is_object() {
        texts.push("what other roles allow that have its label".to_owned());
    }
    out.push((
        false,
        format!(
            "is a role that bindings can give: {}",
            if texts.is_empty() { "it allows nothing".to_owned() } else { texts.join("; ") }
        ),
    ));
}

fn webhooks(value: &Value, does: &str, out: &mut Vec<(bool, String)>) {
    for hook in list(&value["webhooks"]).iter().take(NAMES) {
        let to = &hook["clientConfig"];
        let who = match to["url"].as_str() {
            Some(url) => shown(url),
            None => format!("the service {}/{}", string(&to["service"]["namespace"]), string(&to["service"]["name"])),
        };
        let rules = list(&hook["rules"]);
        let what: Vec<String> = rules.iter().flat_map(|rule| strings(&rule["resources"])).collect();
        let when: Vec<String> = rules.iter().flat_map(|rule| strings(&rule["operations"])).collect();
        let closed = hook["failurePolicy"].as_str() != Some("Ignore");
        let then = if closed { "; while it does not answer, nothing of that can be done" } else { "" };
        out.push((true, format!("{who} {does} every {} of {}{then}", some(when), some(what))));
    }
}

fn namespace(value: &Value, out: &mut Vec<(bool, String)>) {
    out.push((false, "creates a namespace".into()));
    if value["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged" {
        out.push((true, "allows programs in it every right on nodes (pod security: privileged)".into()));
    }
}

fn config_map(object: &Object, value: &Value, out: &mut Vec<(bool, String)>) {
    let keys: Vec<String> = ["data", "binaryData"]
        .iter()
        .flat_map(|m| value[*m].as_object())
        .flat_map(|m| m.keys())
        .map(|key| shown(key))
        .collect();
    if object.namespace.as_deref() == Some(SIGNATURE_NAMESPACE) {
        let signatures = list_of_signatures(&keys);
        return match signatures {
            true => out.push((false, "lets the cluster verify a release: it holds the release's signature".into())),
            false => out.push((true, format!("changes the configuration that operators share: {}", some(keys)))),
        };
    }
    let system = object.namespace.as_deref().is_some_and(|n| n.starts_with("openshift") || n.starts_with("kube-"));
    out.push((system, format!("stores configuration: {}", some(keys))));
}

fn list_of_signatures(keys: &[String]) -> bool {
    !keys.is_empty() && keys.iter().all(|key| key.starts_with("sha256-"))
}

fn service(spec: &Value, out: &mut Vec<(bool, String)>) {
    out.push(match spec["type"].as_str() {
        Some("NodePort" | "LoadBalancer") => (true, "makes a program reachable from outside the cluster".into()),
        Some("ExternalName") => (true, format!("sends programs that ask for it to {}", string(&spec["externalName"]))),
        _ if !list(&spec["externalIPs"]).is_empty() => {
            (true, format!("takes what is sent to {}", some(strings(&spec["externalIPs"]))))
        }
        _ => (false, "gives a program an address within the cluster".into()),
    });
}

fn pod(spec: &Value, how: &str, out: &mut Vec<(bool, String)>) {
    let containers: Vec<&Value> =
        ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|of| list(&spec[*of])).collect();
    let images: Vec<String> = containers.iter().map(|c| string(&c["image"])).collect();
    let account = spec["serviceAccountName"]
        .as_str()
        .map(|a| format!(", with the rights of the account {}", shown(a)))
        .unwrap_or_default();
    out.push((false, format!("{how} {}{account}", some(images))));
    let mut grave = Vec::new();
    if containers.iter().any(|c| c["securityContext"]["privileged"] == true) {
        grave.push("every right on its node (privileged)".to_owned());
    }
    for (member, words) in [
        ("hostNetwork", "the network of its node"),
        ("hostPID", "all processes of its node"),
        ("hostIPC", "the shared memory of its node"),
    ] {
        if spec[member] == true {
            grave.push(words.to_owned());
        }
    }
    let paths: Vec<String> =
        list(&spec["volumes"]).iter().filter_map(|v| v["hostPath"]["path"].as_str()).map(shown).collect();
    if !paths.is_empty() {
        grave.push(format!("the files {} of its node", some(paths)));
    }
    let added: Vec<String> =
        containers.iter().flat_map(|c| strings(&c["securityContext"]["capabilities"]["add"])).collect();
    if !added.is_empty() {
        grave.push(format!("the capabilities {}", some(added)));
    }
    if !grave.is_empty() {
        out.push((true, format!("has {}", grave.join(", "))));
    }
}

fn mirrors(entries: &Value, out: &mut Vec<(bool, String)>) {
    let one = |entry: &Value| format!("{} to {}", string(&entry["source"]), some(strings(&entry["mirrors"])));
    let all: Vec<String> = list(entries).iter().map(one).collect();
    out.push((false, format!("redirects pulls of {}", some(all))));
    out.push((true, "changes the configuration of nodes, and can drain and restart them".into()));
}

fn constraints(value: &Value, out: &mut Vec<(bool, String)>) {
    let who: Vec<String> = strings(&value["users"]).into_iter().chain(strings(&value["groups"])).collect();
    let mut rights = Vec::new();
    for (member, words) in [
        ("allowPrivilegedContainer", "every right on nodes"),
        ("allowHostNetwork", "the network of nodes"),
        ("allowHostPID", "all processes of nodes"),
        ("allowHostDirVolumePlugin", "files of nodes"),
    ] {
        if value[member] == true {
            rights.push(words);
        }
    }
    let rights = if rights.is_empty() { "what it lists".to_owned() } else { rights.join(", ") };
    out.push((true, format!("lets programs of {} have {rights}", some(who))));
}

/// The section: what is worth a second look first.
pub(super) fn section(effects: &[Effect], more: u64, out: &mut Vec<Block>) {
    if effects.is_empty() {
        return;
    }
    out.push(Block::Heading("What the manifests do to a cluster".to_owned()));
    let mut all: Vec<&Effect> = effects.iter().collect();
    let wide = |one: &Effect| one.object.namespace.is_none() && scope(&one.object) != Scope::Namespaced;
    all.sort_by_key(|one| (!one.is_grave(), !wide(one), &one.file));
    let grave = effects.iter().filter(|one| one.is_grave()).count();
    let cluster = effects.iter().filter(|one| wide(one)).count();
    out.push(Block::Text(vec![
        strong(count(effects.len() as u64 + more, "object")),
        text(format!(": {cluster} for the whole cluster, {grave} worth a second look (first, in bold).")),
    ]));
    let row = |one: &&Effect| -> Vec<Line> {
        let place = match (&one.object.namespace, scope(&one.object)) {
            (Some(namespace), _) => text(shown(namespace)),
            (None, Scope::Namespaced) => text("a namespace"),
            (None, _) => strong("whole cluster"),
        };
        let mut words: Line = Vec::new();
        for (grave, sentence) in &one.words {
            if !words.is_empty() {
                words.push(Span::Break);
            }
            words.push(if *grave { strong(sentence) } else { text(sentence) });
        }
        let what = vec![
            strong(shown(&one.object.kind)),
            text(format!(" {}", shown(&one.object.name))),
            Span::Break,
            name(&one.file),
        ];
        vec![what, vec![place], words]
    };
    let rows = all.iter().take(OBJECTS).map(row).collect();
    out.push(Block::Table(Table { class: "o", head: &["Object", "Where", "What it does when it is applied"], rows }));
    let left = all.len().saturating_sub(OBJECTS) as u64 + more;
    if left > 0 {
        out.push(Block::Note(vec![text(format!("And {} in the document of -o json.", count(left, "more object")))]));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(json: &Value) -> String {
        let effect = of("manifests/x.json", json.to_string().as_bytes()).unwrap();
        effect.words.iter().map(|(grave, text)| format!("{}{text}\n", if *grave { "! " } else { "" })).collect()
    }

    #[test]
    fn rights_over_the_cluster_are_said_and_stand_out() {
        let binding = serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "web"},
            "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "web", "name": "default"}],
        });
        assert_eq!(
            words(&binding),
            "! gives cluster-admin to ServiceAccount web/default: everything, in every namespace\n"
        );
        let role = serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": "web"},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
        });
        assert!(words(&role).starts_with("! allows reading secrets, in the namespace web\n"), "{}", words(&role));
    }

    #[test]
    fn what_a_pod_has_of_its_node_is_said() {
        let pod = serde_json::json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"template": {"spec": {"hostNetwork": true, "volumes": [{"hostPath": {"path": "/"}}],
                "containers": [{"image": "reg/a:1", "securityContext": {"privileged": true}}]}}},
        });
        let said = words(&pod);
        assert!(said.contains("runs on every node reg/a:1\n"), "{said}");
        assert!(
            said.contains(
                "! has every right on its node (privileged), the network of its node, the files / of its node\n"
            ),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_kind_is_said_to_be_unknown() {
        let other =
            serde_json::json!({"apiVersion": "evil.example.com/v1", "kind": "Thing", "metadata": {"name": "x"}});
        assert!(words(&other).starts_with("! this program does not know"), "{}", words(&other));
        let disguised =
            serde_json::json!({"apiVersion": "evil.example.com/v1", "kind": "Namespace", "metadata": {"name": "x"}});
        assert!(words(&disguised).starts_with("! this program does not know"));
    }
}
