//! More quirks of registries that skopeo, oc and crane live with: each test names where it was seen.

use std::path::Path;

use serde_json::json;

use crate::support::image::Pusher;
use crate::support::program::program;
use crate::support::stub::{Answer, Request, State, Stub, answer};
use crate::{app, bundle, create, filled, referrers, rule, unpack};

const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// How many referrers are in the bundle.
fn carried(dir: &Path) -> usize {
    let out = program(dir).args(["ls", "b.tar"]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().lines().filter(|line| line.starts_with("referrer ")).count()
}

/// Release candidates of OCI 1.1 had a manifest of its own for artifacts; ACR, zot and old ORAS still list some.
#[test]
fn a_referrer_of_a_kind_that_is_not_carried_costs_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let stub = filled(true, Vec::new(), true);
    let subject = app();
    let text = json!({ "mediaType": ARTIFACT, "artifactType": "x/y", "subject": subject.descriptor() }).to_string();
    let digest = mirror_bundle::oci::Digest::of(text.as_bytes()).to_string();
    stub.with(|state| {
        let repository = state.repositories.get_mut("p/app").unwrap();
        let entry = json!({ "mediaType": ARTIFACT, "digest": digest, "size": text.len() });
        repository.manifests.insert(digest.clone(), (ARTIFACT.to_owned(), text.clone().into_bytes()));
        repository.lists.get_mut(&subject.digest().to_string()).unwrap().push(entry);
    });
    let (code, _, err) = create(dir.path(), &stub, &[]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning:") && err.contains("some referrers of 1 image"), "{err}");
    assert_eq!(carried(dir.path()), referrers(&subject).len());
}

/// Quay answers 202 to a manifest; some proxies make every success a 200 or a 204.
#[test]
fn a_manifest_is_taken_with_any_status_of_success() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    for status in [200, 202, 204] {
        let other = move |r: &Request, state: &mut State| {
            let written = r.method == "PUT" && (r.below("manifests").is_some() || r.path.contains("/uploads/"));
            written.then(|| {
                let Answer(was, headers, body) = answer(r, state);
                Answer(if was == 201 { status } else { was }, headers, body)
            })
        };
        let stub = Stub::start(true, rule(other));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        assert_eq!(code, 0, "{status} {err}");
        assert_eq!(stub.tags("org/mir/p/app").len(), 4);
    }
}

/// Quay and Artifactory have failed mounts with 500, others with 400 or 404: the bytes are sent instead.
#[test]
fn a_mount_that_fails_in_any_way_is_followed_by_an_upload() {
    let dir = tempfile::tempdir().unwrap();
    let source = filled(true, Vec::new(), false);
    Pusher::new(&source.host()).push("p/twin", &app(), Some("v1"));
    let twin = format!("{}/p/twin:v1", source.host());
    assert_eq!(create(dir.path(), &source, &["--image", &twin]).0, 0);
    for status in [400, 404, 405, 500, 502] {
        let fails = move |r: &Request, _: &mut State| {
            (r.method == "POST" && r.query.contains("mount=")).then(|| Answer::error(status, "UNSUPPORTED"))
        };
        let stub = Stub::start(true, rule(fails));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        assert_eq!(code, 0, "{status} {err}");
        assert!(stub.tags("org/mir/p/app") == ["v1"] && stub.tags("org/mir/p/twin") == ["v1"]);
        stub.with(|state| assert!(state.seen.iter().any(|r| r.query.contains("mount="))));
    }
}

/// ECR and Harbor want the repository or project to be there before the first push.
#[test]
fn a_repository_that_must_be_made_first_is_answered_with_that() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let unknown = |r: &Request, _: &mut State| (r.method == "POST").then(|| Answer::error(404, "NAME_UNKNOWN"));
    let stub = Stub::start(true, rule(unknown));
    let (code, _, err) = unpack(dir.path(), &stub, &["--max-nested-paths", "2"]);
    assert!(code == 50 && err.contains("create it"), "{err}");
    assert!(!err.contains("--max-nested-paths"), "{err}");
}

/// Behind caches: a blob is said to be encoded, which its bytes are anyway.
#[test]
fn headers_that_say_too_much_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("Content-Encoding", "gzip"),
        ("Docker-Content-Digest", ""),
        ("Docker-Content-Digest", "sha512:abc"),
        ("Content-Type", "application/json; charset=utf-8"),
    ] {
        let more = move |r: &Request, state: &mut State| {
            r.reads().then(|| {
                let Answer(status, mut headers, body) = answer(r, state);
                headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                headers.push((name, value.to_owned()));
                Answer(status, headers, body)
            })
        };
        let (code, _, err) = create(dir.path(), &filled(true, rule(more), true), &[]);
        assert_eq!(code, 0, "{name}: {value} {err}");
    }
}

/// GitLab and Nexus: an answer to a look-up of a tag that is no image; Pulp: a list without its own media type.
#[test]
fn attachments_that_are_something_else_cost_no_image() {
    let dir = tempfile::tempdir().unwrap();
    for (status, kind, body) in [
        (200, "text/html", "<html>sign in</html>"),
        (200, "application/json", "{}"),
        (200, "application/vnd.oci.image.manifest.v1+json", ""),
        (200, "application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#),
        (204, "application/json", ""),
        (400, "application/json", r#"{"errors":[{"code":"TAG_INVALID"}]}"#),
    ] {
        let page = move |r: &Request, _: &mut State| {
            let (_, what) = r.below("manifests").filter(|_| r.reads())?;
            what.starts_with("sha256-")
                .then(|| Answer(status, vec![("Content-Type", kind.to_owned())], body.as_bytes().to_vec()))
        };
        for api in [true, false] {
            let (code, _, err) = create(dir.path(), &filled(api, rule(page), false), &[]);
            assert_eq!(code, 0, "{api} {status} {kind} {body}: {err}");
        }
    }
    let bare = move |r: &Request, state: &mut State| {
        let (_, subject) = r.below("referrers")?;
        let entries = state.repositories["p/app"].lists.get(subject).cloned().unwrap_or_default();
        let text = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
        Some(Answer(200, vec![("Content-Type", "application/json".to_owned())], text.into_bytes()))
    };
    let stub = filled(true, rule(bare), true);
    let (code, _, err) = create(dir.path(), &stub, &[]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(carried(dir.path()), 8);
}

/// Artifactory, Nexus and gateways: relative places, places with a query, a port that is not theirs.
#[test]
fn the_place_of_an_upload_is_read_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    for form in 0..4 {
        let place = move |r: &Request, state: &mut State| {
            (r.method == "POST").then(|| {
                let host = r.header("host").unwrap().to_owned();
                let Answer(status, headers, body) = answer(r, state);
                let moved = |(name, value): (&'static str, String)| {
                    if name != "Location" {
                        return (name, value);
                    }
                    let path = value.strip_prefix(&format!("http://{host}")).unwrap_or(&value).to_owned();
                    let last = path.rsplit('/').next().unwrap().to_owned();
                    let value = match form {
                        0 => format!("http://{host}{path}"),
                        1 => format!("//{host}{path}"),
                        2 => last,
                        _ => format!("{path}?_state=a%2Fb%3D&x"),
                    };
                    (name, value)
                };
                Answer(status, headers.into_iter().map(moved).collect(), body)
            })
        };
        let stub = Stub::start(true, rule(place));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        assert_eq!(code, 0, "{form} {err}");
    }
}
