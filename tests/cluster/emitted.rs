//! Every manifest that the program writes is one that a real API server takes.

use std::path::Path;

use crate::harness::*;
use crate::support::apiserver::{Server, Who};
use crate::support::registry::Registry;
use crate::support::release::world;

/// What users carry beside a release.
const OWN: &str = "\
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: mine
spec:
  imageDigestMirrors:
  - source: registry.example.com/tools
    mirrors: [mirror.example.com/tools]
---
apiVersion: updateservice.operator.openshift.io/v1
kind: UpdateService
metadata:
  name: service
  namespace: openshift-update-service
spec:
  replicas: 1
  releases: mirror.example.com/ocp/release-images
  graphDataImage: mirror.example.com/ocp/graph-data:latest
";

/// Lets kubectl apply a folder in a dry run of the server; returns the lines, one per object, sorted.
pub(crate) fn dry_run(server: &Server, folder: &Path) -> Vec<String> {
    let out = server.kubectl(Who::Admin, &args!["apply", "--dry-run=server", "-Rf", folder], b"");
    let (text, complaints) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && complaints.is_empty(), "{}: {text}{complaints}", folder.display());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn every_file_for_the_cluster_passes_a_dry_run_of_the_server() {
    let Some(server) = Server::shared() else { return };
    if !have("kubectl") {
        return;
    }
    let (world, dir) = (world(), folder());
    let (source, target) = (world.registry(), Registry::start());
    let (bundle, own) = (dir.path().join("b.tar"), dir.path().join("own"));
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("own.yaml"), OWN).unwrap();
    let more = [multi(&source.host()), args!["--manifests", own]].concat();
    ok(&[create_release(&bundle, &source.host()), more].concat());
    let map = format!("configmap/{} created (server dry run)", world.release.digest().dashed());
    let expected = [
        map.as_str(),
        "imagedigestmirrorset.config.openshift.io/mine created (server dry run)",
        "updateservice.updateservice.operator.openshift.io/service created (server dry run)",
    ];
    // Beside a registry, with mirror sets of each kind.
    for (kinds, sets) in [("idms,itms", 3), ("idms", 2), ("itms", 1), ("icsp", 2)] {
        // (Of a comma kubectl makes two folders.)
        let name = kinds.replace(',', "-");
        let manifests = dir.path().join(&name);
        ok(&[unpack_to(&bundle, &target.host(), &manifests), args!["--mirror-set", kinds]].concat());
        assert_eq!(dry_run(server, &manifests), expected);
        let lines = dry_run(server, &dir.path().join(format!("{name}-mirror-set")));
        assert_eq!(lines.len(), sets, "{kinds}: {lines:?}");
    }
    for policy in ["NeverContactSource", "AllowContactingSource"] {
        let manifests = dir.path().join(policy);
        ok(&[unpack_to(&bundle, &target.host(), &manifests), args!["--mirror-source-policy", policy]].concat());
        assert_eq!(dry_run(server, &manifests), expected);
        assert!(!dry_run(server, &dir.path().join(format!("{policy}-mirror-set"))).is_empty(), "{policy}");
    }
    // In folders.
    for flag in ["--to-layout", "--to-dir"] {
        let to = dir.path().join(&flag[2..]);
        ok(&[args!["unpack", bundle, flag, to], trust()].concat());
        assert_eq!(dry_run(server, &manifests_in(&to, &bundle)), expected, "{flag}");
    }
}
