//! Which kinds have a namespace (MB-MAN-08).

use super::Object;

/// Kinds whose scope is known: the API group, its cluster-wide kinds, and its kinds with a namespace. The version does
/// not matter. Kinds that are not here are decided by what a person says.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "",
        "ComponentStatus Namespace Node PersistentVolume",
        "Binding ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController \
         ResourceQuota Secret Service ServiceAccount",
    ),
    (
        "admissionregistration.k8s.io",
        "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration \
         ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
        "",
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition", ""),
    ("apiregistration.k8s.io", "APIService", ""),
    ("apps", "", "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet"),
    ("autoscaling", "", "HorizontalPodAutoscaler"),
    ("batch", "", "CronJob Job"),
    ("certificates.k8s.io", "CertificateSigningRequest ClusterTrustBundle", ""),
    (
        "config.openshift.io",
        "APIServer Authentication Build ClusterImagePolicy ClusterOperator ClusterVersion Console DNS FeatureGate \
         Image ImageContentPolicy ImageDigestMirrorSet ImageTagMirrorSet Infrastructure Ingress Network Node OAuth \
         OperatorHub Project Proxy Scheduler",
        "ImagePolicy",
    ),
    ("coordination.k8s.io", "", "Lease"),
    ("discovery.k8s.io", "", "EndpointSlice"),
    ("events.k8s.io", "", "Event"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema PriorityLevelConfiguration", ""),
    (
        "machineconfiguration.openshift.io",
        "ContainerRuntimeConfig ControllerConfig KubeletConfig MachineConfig MachineConfigPool",
        "",
    ),
    ("networking.k8s.io", "IPAddress IngressClass ServiceCIDR", "Ingress NetworkPolicy"),
    ("node.k8s.io", "RuntimeClass", ""),
    ("olm.operatorframework.io", "ClusterCatalog ClusterExtension", ""),
    ("operator.openshift.io", "ImageContentSourcePolicy", "IngressController"),
    (
        "operators.coreos.com",
        "OLMConfig Operator",
        "CatalogSource ClusterServiceVersion InstallPlan OperatorCondition OperatorGroup Subscription",
    ),
    ("policy", "PodSecurityPolicy", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io", "ClusterRole ClusterRoleBinding", "Role RoleBinding"),
    ("route.openshift.io", "", "Route"),
    ("scheduling.k8s.io", "PriorityClass", ""),
    ("security.openshift.io", "SecurityContextConstraints", ""),
    ("storage.k8s.io", "CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass", "CSIStorageCapacity"),
    ("updateservice.operator.openshift.io", "", "UpdateService"),
];

/// Where objects of a kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Cluster-wide.
    Cluster,
    /// In a namespace.
    Namespaced,
    /// This program does not know the kind.
    Unknown,
}

/// Where objects of this object's kind are.
pub fn scope(object: &Object) -> Scope {
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    let has = |kinds: &str| kinds.split(' ').any(|kind| kind == object.kind);
    match KNOWN.iter().find(|(known, ..)| *known == group) {
        Some((_, cluster, _)) if has(cluster) => Scope::Cluster,
        Some((_, _, namespaced)) if has(namespaced) => Scope::Namespaced,
        _ => Scope::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_of_a_kind_follows_from_its_group_whatever_the_version() {
        let of = |api_version: &str, kind: &str| {
            scope(&Object { api_version: api_version.into(), kind: kind.into(), namespace: None, name: "x".into() })
        };
        assert_eq!(of("v1", "ConfigMap"), Scope::Namespaced);
        assert_eq!(of("v1", "Namespace"), Scope::Cluster);
        assert_eq!(of("config.openshift.io/v1alpha1", "ClusterImagePolicy"), Scope::Cluster);
        assert_eq!(of("config.openshift.io/v1", "ImagePolicy"), Scope::Namespaced);
        assert_eq!(of("rbac.authorization.k8s.io/v1beta1", "ClusterRole"), Scope::Cluster);
        assert_eq!(of("evil.example.com/v1", "ConfigMap"), Scope::Unknown);
        assert_eq!(of("v1", "configmap"), Scope::Unknown);
        assert_eq!(of("v1", ""), Scope::Unknown);
        for (_, cluster, namespaced) in KNOWN {
            assert!(!format!("{cluster}{namespaced}").contains("  "), "{cluster} {namespaced}");
        }
    }
}
