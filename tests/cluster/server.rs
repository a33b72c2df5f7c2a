//! The server of the tests is what the other tests take it for.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::*;
use crate::support::apiserver::{How, NAMESPACES, Server, Who, programs, version};

#[test]
fn the_server_has_the_pinned_version() {
    let Some(server) = Server::shared() else { return };
    let found = server.get("/version")["gitVersion"].as_str().unwrap().to_owned();
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none_or(|folder| folder.to_string_lossy().contains("mirror-bundle")) {
        assert_eq!(found, format!("v{}", version()));
    }
    assert!(found.starts_with("v1."), "{found}");
}

#[test]
fn users_have_their_rights_however_they_log_in() {
    let Some(server) = Server::shared() else { return };
    if !have("kubectl") {
        return;
    }
    for how in [How::Token, How::Certificate, How::Exec] {
        for (who, read, write) in [(Who::Admin, true, true), (Who::Reader, true, false), (Who::Nobody, false, false)] {
            let config = server.kubeconfig(who, how);
            let kubectl = |args: &[&str]| {
                let out = server.kubectl_by(&config, args, b"");
                (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
            };
            let can =
                |verb: &str| kubectl(&["auth", "can-i", verb, "configmaps", "-n", "openshift-config"]).0 == "yes\n";
            assert_eq!((can("get"), can("patch"), can("create")), (read, write, write), "{who:?} {how:?}");
            let me = kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
            assert_eq!(me.0, who.name(), "{how:?}: {}", me.1);
        }
    }
}

#[test]
fn a_spare_user_may_do_what_it_was_given_and_nothing_else() {
    let Some(server) = Server::shared() else { return };
    let (who, space) = (server.spare(), server.namespace());
    let rules = serde_json::json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]);
    let status = |space: &str| server.send("GET", &format!("/api/v1/namespaces/{space}/configmaps/x"), "", b"", who).0;
    assert_eq!(status(&space), 403);
    server.grant(who, Some(&space), &rules);
    until("the right is there", || status(&space) == 404);
    assert_eq!(status("openshift-config"), 403);
}

#[test]
fn kubeconfigs_that_lead_nowhere_do_so() {
    let Some(server) = Server::shared() else { return };
    if !have("kubectl") {
        return;
    }
    for (config, why) in [
        (server.kubeconfig_dead(), "connection refused"),
        (server.kubeconfig_wrong_ca(), "certificate signed by unknown authority"),
        (server.kubeconfig_wrong_token(), "must be logged in"),
    ] {
        let out = server.kubectl_by(&config, &["get", "namespaces"], b"");
        let complaint = String::from_utf8(out.stderr).unwrap();
        assert!(!out.status.success() && complaint.contains(why), "{complaint}");
    }
}

#[test]
fn the_kinds_and_namespaces_of_openshift_are_there() {
    let Some(server) = Server::shared() else { return };
    for name in NAMESPACES {
        assert_eq!(server.get(&format!("/api/v1/namespaces/{name}"))["status"]["phase"], "Active");
    }
    for kind in [
        "config.openshift.io/v1/imagedigestmirrorsets",
        "config.openshift.io/v1/imagetagmirrorsets",
        "config.openshift.io/v1/clusterimagepolicies",
        "config.openshift.io/v1/imagepolicies",
        "operator.openshift.io/v1alpha1/imagecontentsourcepolicies",
        "updateservice.operator.openshift.io/v1/updateservices",
    ] {
        assert!(server.get(&format!("/apis/{kind}"))["items"].is_array(), "{kind}");
    }
}

/// Whether a process of this id runs.
fn runs(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn the_server_ends_with_the_process_that_started_it() {
    if programs().is_none() {
        return;
    }
    // The process that is killed below.
    if let Some(note) = std::env::var_os("MIRROR_BUNDLE_TEST_SERVER") {
        let server = Server::bare().unwrap();
        let pids = server.pids();
        std::fs::write(note, format!("{} {} {}", pids[0], pids[1], server.dir.display())).unwrap();
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    // Dropped, as at the end of a test that panics.
    let server = Server::bare().unwrap();
    let (pids, dir) = (server.pids(), server.dir.clone());
    assert!(pids.iter().all(|&pid| runs(pid)));
    drop(server);
    assert!(!pids.iter().any(|&pid| runs(pid)));
    assert!(!dir.exists());
    // Killed.
    let dir = folder();
    let note = dir.path().join("server");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::the_server_ends_with_the_process_that_started_it"])
        .env("MIRROR_BUNDLE_TEST_SERVER", &note)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the server runs", || std::fs::read_to_string(&note).is_ok_and(|text| text.matches(' ').count() == 2));
    let text = std::fs::read_to_string(&note).unwrap();
    let words: Vec<&str> = text.splitn(3, ' ').collect();
    let pids = [words[0].parse().unwrap(), words[1].parse().unwrap()];
    assert!(pids.iter().all(|&pid| runs(pid)));
    child.kill().unwrap();
    child.wait().unwrap();
    until("both ended", || !pids.iter().any(|&pid| runs(pid)));
    until("the data is gone", || !Path::new(words[2]).exists());
}
