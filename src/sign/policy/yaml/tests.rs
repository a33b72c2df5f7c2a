#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::sign::SecretKey;

fn line(seed: u8) -> String {
    SecretKey::from_seed(&[seed; 32], "c").public().to_line()
}

fn read(text: &str) -> Result<Policy> {
    Policy::from_yaml(text.replace("KEY1", &line(1)).replace("KEY2", &line(2)).as_bytes())
}

const ONE: &str = "signers: [{name: a, roles: [builder], key: \"KEY1\"}]\n";

#[test]
fn a_full_policy_is_read() {
    let policy = read(
        "# who must have signed\n\
         signers:\n\
         \x20 - {name: builder, roles: [builder], key: \"KEY1\"}\n\
         \x20 - {name: rev, roles: [reviewer, receiver], key: \"KEY2\", validFrom: 2026-01-01, validUntil: 2027-06-30}\n\
         revoked: [\"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"]\n\
         require:\n\
         \x20 - {role: builder, threshold: 1}\n\
         \x20 - {role: reviewer, threshold: 1}\n\
         maxAge: 30d\n\
         bundle: {name: prod}\n\
         release:\n\
         \x20 keyrings: [redhat, /etc/keys/mine.asc]\n\
         \x20 architectures: [x86_64]\n\
         \x20 versions: [\"4.16.*\", 4.17.1]\n\
         images: {keys: [{scope: registry.example.com/team, keyFile: /etc/keys/cosign.pub}]}\n\
         allowKinds: [v1/Secret]\n\
         rollback: {allow: false, maxStep: 100}\n",
    )
    .unwrap();
    assert_eq!(policy.signers().len(), 2);
    assert_eq!(policy.signers()[1].roles, [Role::Reviewer, Role::Receiver]);
    assert_eq!(policy.signers()[1].valid.until.unwrap().to_string(), "2027-07-01T00:00:00Z");
    assert_eq!(policy.required().collect::<Vec<_>>(), [(Role::Builder, 1), (Role::Reviewer, 1)]);
    assert_eq!(policy.max_age.unwrap().as_hours(), 720);
    assert_eq!(policy.bundle.name.as_deref(), Some("prod"));
    assert_eq!(policy.release.keyrings, [Keyring::Redhat, Keyring::File("/etc/keys/mine.asc".into())]);
    assert!(policy.release.allows_version("4.16.37") && policy.release.allows_version("4.17.1"));
    assert!(!policy.release.allows_version("4.17.10"));
    assert!(policy.release.allows_architecture("x86_64") && !policy.release.allows_architecture("aarch64"));
    assert_eq!(policy.image_keys[0].scope, "registry.example.com/team");
    assert_eq!(policy.allow_kinds, ["v1/Secret".parse().unwrap()]);
    assert_eq!(policy.rollback, RollbackRules { allow: false, max_step: Some(100) });
}

#[test]
fn a_short_policy_requires_one_builder_and_trusts_the_vendor_keyring() {
    let policy = read(ONE).unwrap();
    assert_eq!(policy.required().collect::<Vec<_>>(), [(Role::Builder, 1)]);
    assert_eq!(policy.release, ReleaseRules::default());
    assert_eq!(policy.release.keyrings, [Keyring::Redhat]);
    assert!(policy.release.allows_version("5.0.0"));
    assert_eq!(read(&format!("{ONE}release: {{keyrings: []}}\n")).unwrap().release.keyrings, []);
    assert!(!read(&format!("{ONE}release: {{versions: []}}\n")).unwrap().release.allows_version("4.1.0"));
}

#[test]
fn thresholds_below_one_or_out_of_reach_are_refused() {
    for threshold in ["0", "-1", "2", "1.0", "1.5", "99999999999999999999", "one", "null", "~"] {
        let text = format!("{ONE}require: [{{role: builder, threshold: {threshold}}}]\n");
        assert!(read(&text).is_err(), "{threshold}");
    }
    // The same key under two names is one key.
    let two = "signers:\n- {name: a, roles: [builder], key: \"KEY1\"}\n- {name: b, roles: [builder], key: \"KEYX\"}\n\
               require: [{role: builder, threshold: 2}]\n";
    assert!(read(&two.replace("KEYX", "KEY1")).is_err());
    assert!(read(&two.replace("KEYX", "KEY2")).is_ok());
    let revoked = format!("{}revoked: [\"KEY2\"]\n", two.replace("KEYX", "KEY2"));
    assert!(read(&revoked).unwrap_err().message().contains("requires 2"), "a revoked key is none");
}

#[test]
fn what_is_not_exactly_a_policy_is_refused() {
    for bad in [
        "",
        "signers: []\n",
        "signers:\n",
        "require: [{role: builder, threshold: 1}]\n",
        "signers: {}\n",
        "- a\n",
        "signers: [{name: a, roles: [builder]}]\n",
        "signers: [{name: a, roles: [], key: \"KEY1\"}]\n",
        "signers: [{name: a, roles: builder, key: \"KEY1\"}]\n",
        "signers: [{name: a, roles: [builder, builder], key: \"KEY1\"}]\n",
        "signers: [{name: a, roles: [Builder], key: \"KEY1\"}]\n",
        "signers: [{name: a, roles: [admin], key: \"KEY1\"}]\n",
        "signers: [{name: \"\", roles: [builder], key: \"KEY1\"}]\n",
        "signers: [{name: \"a\\nb\", roles: [builder], key: \"KEY1\"}]\n",
        "signers: [{name: \"a\\e[2J\", roles: [builder], key: \"KEY1\"}]\n",
        "signers: [{name: a, roles: [builder], key: \"ssh-ed25519 AAAA\"}]\n",
        "signers: [{name: a, name: b, roles: [builder], key: \"KEY1\"}]\n",
        "signers: [{name: a, roles: [builder], key: \"KEY1\", validuntil: 2027-01-01}]\n",
        "signers: [{name: a, roles: [builder], key: \"KEY1\", validUntil: 2027-13-01}]\n",
        "signers: [{name: a, roles: [builder], key: \"KEY1\", validUntil: 20270101}]\n",
        "signers: [{name: a, roles: [builder], key: \"KEY1\", validFrom: 2027-01-02, validUntil: 2027-01-01}]\n",
        "signers: &a [{name: a, roles: [builder], key: \"KEY1\"}]\nallowKinds: *a\n",
        "signers: &a [{name: a, roles: [builder], key: \"KEY1\"}]\n",
        "signers: !x [{name: a, roles: [builder], key: \"KEY1\"}]\n",
        "!!python/object:x {signers: [{name: a, roles: [builder], key: \"KEY1\"}]}\n",
        "signers: [{<<: {name: a}, roles: [builder], key: \"KEY1\"}]\n",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    for more in [
        "signers: []\n",
        "Require: []\n",
        "require: []\n",
        "require: [{role: builder}]\n",
        "require: [{role: builder, threshold: 1}, {role: builder, threshold: 1}]\n",
        "revoked: [SHA256:abc]\n",
        "revoked: [MD5:aa]\n",
        "revoked: [alice]\n",
        "revoked: SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n",
        "maxAge: 30\n",
        "maxAge: soon\n",
        "maxage: 30d\n",
        "bundle: {nam: x}\n",
        "release: {keyring: [redhat]}\n",
        "images: {keys: [{scope: x}]}\n",
        "rollback: {allow: yes}\n",
        "rollback: {maxStep: -1}\n",
        "rollback: true\n",
        "---\nsigners: []\n",
        "other: 1\n",
    ] {
        assert!(read(&format!("{ONE}{more}")).is_err(), "{more}");
    }
}

#[test]
fn an_error_in_yaml_names_its_place() {
    let err = read(&format!("{ONE}maxage: 30d\n")).unwrap_err();
    assert!(err.facts()[0].contains("maxage") && err.facts()[0].contains("line 2"), "{err:?}");
}

#[test]
fn a_key_of_a_kind_that_is_not_accepted_can_be_revoked() {
    use base64::Engine as _;
    let mut blob = b"\0\0\0\x07ssh-rsa\0\0\0\x03\x01\0\x01\0\0\0\x81\0".to_vec();
    blob.extend([0xc1; 128]);
    let text = base64::engine::general_purpose::STANDARD.encode(&blob);
    let policy = read(&format!("{ONE}revoked: [\"ssh-rsa {text} old\"]\n")).unwrap();
    assert_eq!(policy.revoked.into_iter().collect::<Vec<_>>(), [fingerprint_of(&blob)]);
    assert!(read(&format!("{ONE}revoked: [\"ssh-dss {text} old\"]\n")).is_err());
}

#[test]
fn a_policy_lists_the_manifests_that_the_host_accepts() {
    let key = SecretKey::from_seed(&[1; 32], "").public().to_line();
    let policy = |rules: &str| {
        super::super::Policy::parse(
            format!("signers: [{{name: a, roles: [builder], key: \"{key}\"}}]\n{rules}\n").as_bytes(),
        )
    };
    let listed = |rules: &str| {
        policy(rules).unwrap().manifests.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(listed(""), None);
    assert_eq!(listed("manifests: {}"), None);
    assert_eq!(listed("manifests: {allow: []}"), Some(vec![]));
    assert_eq!(listed("manifests: {allow: }"), Some(vec![]), "a list without items is not the default list");
    assert_eq!(
        listed("manifests: {allow: [{kind: ConfigMap, namespace: openshift-config-managed, name: \"sha256-*\"}, {kind: a.io/v1/W, scope: Cluster}]}").unwrap(),
        ["ConfigMap:openshift-config-managed/sha256-*", "a.io/v1/W:*"]
    );
    for bad in [
        "manifests: {allow: [ConfigMap]}",
        "manifests: {allow: [{namespace: a}]}",
        "manifests: {allow: [{kind: ConfigMap, nmae: a}]}",
        "manifests: {allow: [{kind: ConfigMap, namespace: A}]}",
        "manifests: {allow: [{kind: ConfigMap, name: \"\"}]}",
        "manifests: {allow: [{kind: ConfigMap, scope: cluster}]}",
        "manifests: {allow: [{kind: ConfigMap, namespace: a, scope: Cluster}]}",
        "manifests: {deny: []}",
        "allowKinds: [\"a b\"]",
        "allowKinds: [Secret]\nmanifests: {allow: []}",
    ] {
        assert!(policy(bad).is_err(), "{bad}");
    }
    assert_eq!(policy("allowKinds: [\"ConfigMap:a/*\"]").unwrap().allow_kinds[0].to_string(), "ConfigMap:a/*");
}

#[test]
fn a_policy_says_what_reviewers_may_remove() {
    let key = |n: u8| SecretKey::from_seed(&[n; 32], "").public().to_line();
    let policy = |rules: &str| {
        let signers = format!(
            "signers: [{{name: a, roles: [builder], key: \"{}\"}}, {{name: b, roles: [reviewer], key: \"{}\"}}]\n",
            key(1),
            key(2)
        );
        super::super::Policy::parse(format!("{signers}{rules}\n").as_bytes())
    };
    assert_eq!(policy("").unwrap().removals, None);
    let rules = policy("removals: {threshold: 1, of: [additional, 'component:tests']}").unwrap().removals.unwrap();
    assert_eq!((rules.threshold, rules.of.len()), (1, 2));
    for bad in [
        "removals: {}",
        "removals: {threshold: 1}",
        "removals: {threshold: 1, of: []}",
        "removals: {threshold: 0, of: [additional]}",
        "removals: {threshold: 2, of: [additional]}",
        "removals: {threshold: 1, of: [signature]}",
        "removals: {threshold: 1, of: ['component:']}",
        "removals: {threshold: 1, of: [additional, additional]}",
        "removals: {threshold: 1, of: [additional], by: me}",
    ] {
        assert!(policy(bad).is_err(), "{bad}");
    }
}
