//! The `UpdateService` of a cluster that serves the update graph (OSUS), and what an administrator has to do around it.
//!
//! Source: cincinnati-operator `api/v1/updateservice_types.go` and docs; openshift/api `config/v1` (ClusterVersion,
//! Image).

use crate::oci::{Digest, Repository};

/// Its API version.
pub const API_VERSION: &str = "updateservice.operator.openshift.io/v1";
/// Its kind.
pub const KIND: &str = "UpdateService";
/// Its name: always the same, so that the next bundle changes it and does not add another. At most 32 characters, since
/// the operator makes the name of a route from it.
pub const NAME: &str = "update-service-mirror-bundle";
/// The namespace of its operator.
pub const NAMESPACE: &str = "openshift-update-service";
/// The repository below the target that holds releases and nothing else: the service reads every tag in it.
pub const RELEASES: &str = "release-images";

/// The object: `releases` is a repository without tag, `graph` the graph-data image.
pub fn object(releases: &Repository, graph: (&Repository, &Digest)) -> String {
    let (repository, digest) = graph;
    format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: {NAME}\n  namespace: {NAMESPACE}\nspec:\n  \
         graphDataImage: \"{repository}@{digest}\"\n  releases: \"{releases}\"\n  replicas: 2\n"
    )
}

/// A step for an administrator: why, and commands. `CA.pem` is the file with the whole chain of the registry's CA.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// What it does.
    pub what: String,
    /// The commands.
    pub commands: Vec<String>,
}

/// What has to be done once on the cluster that serves the graph, and on each cluster that asks it. Nothing of this is
/// done by this program.
pub fn steps(releases: &Repository) -> Vec<Step> {
    let step = |what: &str, commands: Vec<String>| Step { what: what.to_owned(), commands };
    // As a key of a ConfigMap, where a colon is not allowed.
    let host = releases.registry().replace(':', "..");
    vec![
        step(
            "let the update service trust the registry: see whether a ConfigMap of CAs is there",
            vec!["oc get image.config.openshift.io cluster -o jsonpath='{.spec.additionalTrustedCA.name}{\"\\n\"}'".to_owned()],
        ),
        step(
            "if it printed a NAME, add the CA to it (the whole chain, with the root); what is in it stays",
            vec!["oc -n openshift-config set data configmap/NAME --from-file=updateservice-registry=CA.pem".to_owned()],
        ),
        step(
            "if it printed nothing, make one, for the update service and for the nodes",
            vec![
                format!("oc -n openshift-config create configmap registry-ca --from-file=updateservice-registry=CA.pem --from-file={host}=CA.pem"),
                "oc patch image.config.openshift.io cluster --type merge -p '{\"spec\":{\"additionalTrustedCA\":{\"name\":\"registry-ca\"}}}'".to_owned(),
            ],
        ),
        step(
            "when the service is ready, let a cluster ask it for updates",
            vec![
                format!("URI=$(oc -n {NAMESPACE} get updateservice {NAME} -o jsonpath='{{.status.policyEngineURI}}')"),
                "oc patch clusterversion version --type merge -p \"{\\\"spec\\\":{\\\"upstream\\\":\\\"$URI/api/upgrades_info/v1/graph\\\"}}\"".to_owned(),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_update_service_names_a_repository_without_tag_and_an_image_by_digest() {
        assert!(NAME.len() <= 32);
        let releases = "reg.lab:5000/ocp/release-images".parse().unwrap();
        let graph = "reg.lab:5000/ocp/graph-data".parse().unwrap();
        let digest = Digest::of(b"x");
        let made = crate::kubernetes::parse(object(&releases, (&graph, &digest)).as_bytes()).unwrap();
        let spec = made[0].value.get("spec").unwrap();
        let text = |name: &str| spec.get(name).and_then(crate::kubernetes::Value::as_str).unwrap().to_owned();
        assert_eq!(text("releases"), "reg.lab:5000/ocp/release-images");
        assert_eq!(text("graphDataImage"), format!("reg.lab:5000/ocp/graph-data@{digest}"));
        let commands: Vec<String> = steps(&releases).into_iter().flat_map(|step| step.commands).collect();
        assert!(commands.iter().any(|command| command.contains("--from-file=reg.lab..5000=CA.pem")));
        assert!(commands.iter().any(|command| command.contains("set data configmap/NAME")));
    }
}
