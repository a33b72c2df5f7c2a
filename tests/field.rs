//! Registries of the field, each with one quirk that common clients tolerate: from public reports by people who mirror
//! images professionally. The real program creates from them and unpacks to them.
#![cfg(all(feature = "registry", feature = "cli"))]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "field/order.rs"]
mod order;
#[path = "field/quirks.rs"]
mod quirks;
#[path = "field/read_back.rs"]
mod read_back;
#[path = "field/referrers_api.rs"]
mod referrers_api;
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};
use support::image::{Image, Pusher, layer};
use support::noise;
use support::program::program;
use support::stub::{Answer, Request, Rule, State, Stub, answer};

/// Exit code, standard output and standard error of a run.
type Ran = (i32, String, String);

fn run(dir: &Path, stub: &Stub, args: &[&str]) -> Ran {
    let mut command = program(dir);
    command.args(args).args(["--progress", "none", "--retries", "1", "--plain-http", &stub.host()]);
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

fn create(dir: &Path, stub: &Stub, more: &[&str]) -> Ran {
    let image = format!("{}/p/app:v1", stub.host());
    run(dir, stub, &[&["create", "b.tar", "--unsigned", "--force", "--image", &image], more].concat())
}

fn unpack(dir: &Path, stub: &Stub, more: &[&str]) -> Ran {
    let to = format!("{}/org/mir", stub.host());
    run(dir, stub, &[&["unpack", "b.tar", "--allow-unsigned", "--to", &to], more].concat())
}

fn app() -> Image {
    Image::oci("amd64", &[layer(&[("f", b"content")])])
}

/// Eight different referrers of an image.
fn referrers(subject: &Image) -> Vec<Image> {
    let numbered = |n: usize| {
        let mut referrer = Image::referrer(subject);
        let mut manifest: Value = serde_json::from_slice(&referrer.bytes).unwrap();
        manifest["annotations"] = json!({ "n": n.to_string() });
        referrer.bytes = manifest.to_string().into_bytes();
        referrer
    };
    (0..8).map(numbered).collect()
}

/// `p/app:v1`, with the attachments in `with`.
fn filled(api: bool, rules: Vec<Rule>, attached: bool) -> Stub {
    let stub = Stub::start(api, rules);
    let (pusher, app) = (Pusher::new(&stub.host()), app());
    pusher.push("p/app", &app, Some("v1"));
    if attached {
        referrers(&app).iter().for_each(|referrer| pusher.push("p/app", referrer, None));
        for ending in ["sig", "att", "sbom"] {
            let image = Image::cosign(&app, ending);
            pusher.push("p/app", &image, Some(&format!("{}.{ending}", app.digest().dashed())));
        }
    }
    stub
}

fn rule(act: impl Fn(&Request, &mut State) -> Option<Answer> + Send + Sync + 'static) -> Vec<Rule> {
    vec![Box::new(act)]
}

/// A bundle of `p/app:v1`.
fn bundle(dir: &Path, attached: bool) {
    let ran = create(dir, &filled(true, Vec::new(), attached), &[]);
    assert_eq!(ran.0, 0, "{}", ran.2);
}

// ---- optional look-ups

#[test]
fn a_list_of_referrers_that_is_refused_in_any_way_does_not_stop_create() {
    let dir = tempfile::tempdir().unwrap();
    for status in [400, 401, 403, 404, 405, 406, 410, 429, 500, 501, 0] {
        let stub = filled(false, rule(move |r, _| r.below("referrers").map(|_| Answer::error(status, "NO"))), false);
        let (code, _, err) = create(dir.path(), &stub, &[]);
        assert_eq!(code, 0, "{status}: {err}");
        let warned = err.contains("referrers of 1 image could not be looked for");
        assert_eq!(warned, ![404, 405, 501].contains(&status), "{status}: {err}");
    }
    for body in ["<html>", "{}", "null", "[]", r#"{"schemaVersion":2,"manifests":7}"#] {
        let stub =
            filled(false, rule(move |r, _| r.below("referrers").map(|_| Answer(200, Vec::new(), body.into()))), false);
        let (code, _, err) = create(dir.path(), &stub, &[]);
        assert!(code == 0 && err.contains("could not be looked for"), "{body}: {err}");
    }
    let page = |r: &Request, _: &mut State| {
        let away = || Answer(303, vec![("Location", "/-/page".to_owned())], Vec::new());
        r.below("referrers").map(|_| away()).or((r.path == "/-/page").then(|| Answer::error(429, "TOOMANY")))
    };
    let (code, _, err) = create(dir.path(), &filled(false, rule(page), false), &[]);
    assert!(code == 0 && err.contains("429"), "{err}");
}

#[test]
fn a_tag_that_is_refused_while_others_are_readable_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    for status in [401, 403] {
        let missing = move |r: &Request, state: &mut State| {
            let (name, what) = r.below("manifests").filter(|_| r.reads())?;
            let there = state.repositories.get(name).is_some_and(|repository| {
                let digest = repository.tags.get(what).map_or(what, String::as_str);
                repository.manifests.contains_key(digest)
            });
            (!there).then(|| Answer::error(status, "DENIED"))
        };
        let (code, _, err) = create(dir.path(), &filled(false, rule(missing), false), &[]);
        assert!(code == 0 && err.contains("signatures of 1 image could not be looked for"), "{status}: {err}");
        let stub = Stub::start(false, rule(missing));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        assert_eq!(code, 0, "{status}: {err}");
        assert_eq!(stub.tags("org/mir/p/app"), ["v1"]);
    }
    // A login without push rights is still found before anything is sent.
    let stub = Stub::start(false, rule(|r, _| (r.path != "/v2/").then(|| Answer::error(403, "DENIED"))));
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert!(code == 51 && err.contains("refused the push to") && err.contains("nothing was written"), "{err}");
}

#[test]
fn attestations_and_parts_lists_are_carried_like_signatures_unless_they_are_not_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let stub = filled(true, Vec::new(), true);
    assert_eq!(create(dir.path(), &stub, &[]).0, 0);
    let to = Stub::start(true, Vec::new());
    let (code, _, err) = unpack(dir.path(), &to, &[]);
    assert_eq!(code, 0, "{err}");
    let tags = to.tags("org/mir/p/app");
    assert_eq!(tags.len(), 4, "{tags:?}");
    assert!(["att", "sbom", "sig"].iter().zip(&tags).all(|(ending, tag)| tag.ends_with(ending)), "{tags:?}");

    let to = Stub::start(true, Vec::new());
    assert_eq!(unpack(dir.path(), &to, &["--without-referrers"]).0, 0);
    assert_eq!(to.with(|state| state.repositories["org/mir/p/app"].manifests.len()), 1);

    stub.with(|state| state.seen.clear());
    let (code, out, _) = create(dir.path(), &stub, &["--without-referrers"]);
    assert!(code == 0 && out.contains("1 image,"), "{out}");
    stub.with(|state| assert!(state.seen.iter().all(|r| !r.path.contains("referrers") && !r.path.contains("sha256-"))));
}

// ---- destinations

#[test]
fn a_head_that_is_refused_or_says_nothing_is_followed_by_a_get() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let head = |r: &Request| r.method == "HEAD" && r.below("blobs").is_some();
    for status in [400, 401, 403, 405, 501] {
        let stub = Stub::start(false, rule(move |r, _| head(r).then(|| Answer::error(status, "NO"))));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        assert_eq!(code, 0, "{status}: {err}");
    }
    let stub = Stub::start(
        false,
        rule(move |r, _| head(r).then(|| Answer(200, vec![("Content-Length", "0".to_owned())], Vec::new()))),
    );
    assert_eq!(unpack(dir.path(), &stub, &[]).0, 0);
}

#[test]
fn a_manifest_that_can_be_read_only_later_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let asked: Mutex<HashMap<String, usize>> = Mutex::default();
    let late = move |r: &Request, state: &mut State| {
        let (name, what) = r.below("manifests").filter(|_| r.reads())?;
        let repository = state.repositories.get(name)?;
        let digest = repository.tags.get(what).map_or(what, String::as_str);
        repository.manifests.get(digest)?;
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(what.to_owned()).or_default();
        *times += 1;
        (*times < 3).then(|| Answer::error(404, "MANIFEST_UNKNOWN"))
    };
    let (code, _, err) = unpack(dir.path(), &Stub::start(false, rule(late)), &[]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_challenge_that_is_given_at_the_root_only_is_found_there() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    for status in [401, 403, 404] {
        let root = move |r: &Request, _: &mut State| {
            if r.header("authorization").is_some() {
                return None;
            }
            let basic = vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())];
            Some(if r.path == "/v2/" { Answer(401, basic, Vec::new()) } else { Answer::error(status, "NO") })
        };
        let stub = Stub::start(false, rule(root));
        let (_keep, auth) = support::registry::auth_file(&stub.host(), "u", "p");
        let (code, _, err) = unpack(dir.path(), &stub, &["--authfile", auth.to_str().unwrap()]);
        assert_eq!(code, 0, "{status}: {err}");
    }
}

#[test]
fn a_new_repository_is_asked_for_with_push_and_only_where_something_goes() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let asks = |r: &Request, _: &mut State| {
        let host = r.header("host").unwrap().to_owned();
        if r.path == "/token" {
            let body = match r.query.contains("org%2Fmir%2Fp%2Fapp%3Apull%2Cpush") {
                true => json!({ "token": "good" }),
                false => json!({ "token": "none" }),
            };
            return Some(Answer(200, Vec::new(), body.to_string().into_bytes()));
        }
        let bearer =
            format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:org/mir/p/app:pull\"");
        (r.header("authorization") != Some("Bearer good"))
            .then(|| Answer(401, vec![("WWW-Authenticate", bearer)], Vec::new()))
    };
    let stub = Stub::start(false, rule(asks));
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert_eq!(code, 0, "{err}");
    stub.with(|state| {
        let tokens = state.seen.iter().filter(|r| r.path == "/token").count();
        assert_eq!(tokens, 1, "one token does for looking and for pushing");
        assert!(state.seen.iter().all(|r| r.path == "/token" || r.path.starts_with("/v2/org/mir/p/app/")));
    });
}

#[test]
fn a_registry_that_wants_a_token_for_another_name_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let other = |r: &Request, _: &mut State| {
        let host = r.header("host").unwrap();
        let bearer = format!("Bearer realm=\"http://{host}/token\",scope=\"repository:behind/p/app:pull,push\"");
        Some(match r.path.as_str() {
            "/token" => Answer(200, Vec::new(), br#"{"token":"x"}"#.to_vec()),
            _ => Answer(401, vec![("WWW-Authenticate", bearer)], b"path is rewritten".to_vec()),
        })
    };
    let (code, _, err) = unpack(dir.path(), &Stub::start(false, rule(other)), &[]);
    assert_eq!(code, 51);
    for part in
        ["`repository:behind/p/app:pull,push`", "`repository:org/mir/p/app:pull,push`", "path is rewritten", "(POST)"]
    {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn large_uploads_that_are_refused_go_in_pieces_and_are_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let source = Stub::start(false, Vec::new());
    let mut big = layer(&[("f", b"")]);
    big.bytes = noise(3 << 20, 7);
    Pusher::new(&source.host()).push("p/app", &Image::oci("amd64", &[big.clone()]), Some("v1"));
    assert_eq!(create(dir.path(), &source, &[]).0, 0);
    let sends = |r: &Request| r.path.contains("/uploads/") && !r.body.is_empty();
    let check = |stub: &Stub, name: &str| {
        let (code, _, err) = unpack(dir.path(), stub, &[]);
        assert_eq!(code, 0, "{name}: {err}");
        stub.with(|state| {
            let stored = &state.repositories["org/mir/p/app"].blobs[&Digest::of(&big.bytes).to_string()];
            assert!(*stored == big.bytes && state.seen.iter().any(|r| r.method == "PATCH"), "{name}");
        });
    };
    for limit in [1 << 20, 300 << 10] {
        let body =
            move |r: &Request, _: &mut State| (sends(r) && r.body.len() > limit).then(|| Answer::error(413, "SIZE"));
        check(&Stub::start(false, rule(body)), "413");
    }
    for status in [405, 411, 501] {
        let whole =
            move |r: &Request, _: &mut State| (sends(r) && r.method == "PUT").then(|| Answer::error(status, "NO"));
        check(&Stub::start(false, rule(whole)), "no PUT with a body");
    }
    // A registry that accepts only chunks, none smaller than its minimum except for the last.
    let least = move |r: &Request, state: &mut State| {
        let small = r.method == "PATCH" && r.body.len() < 2 << 20 && !r.header("content-range")?.ends_with("-3145727");
        match r.method.as_str() {
            "PUT" if sends(r) => Some(Answer::error(400, "SIZE_INVALID")),
            "PATCH" if small && r.body.len() > 1000 => Some(Answer::error(400, "CHUNK")),
            "POST" => {
                let Answer(status, mut headers, body) = answer(r, state);
                headers.push(("OCI-Chunk-Min-Length", (2 << 20).to_string()));
                Some(Answer(status, headers, body))
            }
            _ => None,
        }
    };
    check(&Stub::start(false, rule(least)), "OCI-Chunk-Min-Length");
    // A chunk is cut off: the registry is asked for its offset, and the rest follows.
    let cut = Mutex::new(0);
    let one = move |r: &Request, _: &mut State| {
        if sends(r) && r.body.len() > 1 << 20 {
            return Some(Answer::error(413, "SIZE"));
        }
        // The small blobs go in pieces too, whenever their turn is.
        let mut cut = cut.lock().unwrap();
        let large = r.method == "PATCH" && r.body.len() == 1 << 20;
        *cut += usize::from(large);
        (large && *cut == 3).then(|| Answer(0, Vec::new(), Vec::new()))
    };
    let stub = Stub::start(false, rule(one));
    check(&stub, "cut");
    stub.with(|state| {
        let patches = state.seen.iter().filter(|r| r.method == "PATCH" && r.body.len() == 1 << 20);
        let starts: Vec<&str> = patches.map(|r| r.header("content-range").unwrap()).collect();
        let third = "2097152-3145727";
        assert_eq!(starts, ["0-1048575", "1048576-2097151", third, third], "nothing is sent twice but what was lost");
    });
}

/// MB-UNP-15.
#[test]
fn deep_paths_are_joined_where_a_registry_has_none() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let nested = |r: &Request, _: &mut State| {
        let deep =
            r.path.strip_prefix("/v2/").is_some_and(|path| !path.starts_with("org/mir-p-app/") && !path.is_empty());
        deep.then(|| Answer::error(401, "nested repositories are not supported"))
    };
    let stub = Stub::start(false, rule(nested));
    let (code, _, err) = unpack(dir.path(), &stub, &["--max-nested-paths", "2"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(stub.tags("org/mir-p-app"), ["v1"]);
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let sets = entries.into_iter().find(|path| path.to_string_lossy().ends_with("-manifests-mirror-set")).unwrap();
    let text: String =
        std::fs::read_dir(sets).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap()).collect();
    assert!(text.contains("/org/mir-p-app\"") && !text.contains("org/mir/"), "{text}");
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert!(code == 51 && err.contains("nested repositories are not supported"), "{err}");
    assert!(err.contains("--max-nested-paths 2"), "{err}");
}

/// MB-UNP-15.
#[test]
fn a_deep_path_that_a_registry_refuses_is_answered_with_how_to_shorten_it() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    let page = || Answer(404, vec![("Content-Type", "text/html".into())], b"<title>Page not found</title>".to_vec());
    for (method, kind, status, word) in [
        ("POST", "blobs/uploads", 400, "NAME_INVALID"),
        ("POST", "blobs/uploads", 404, "NAME_UNKNOWN"),
        ("POST", "blobs/uploads", 403, "NAME_INVALID"),
        ("POST", "blobs/uploads", 404, ""),
        ("PUT", "manifests", 404, "NAME_UNKNOWN"),
        ("PUT", "manifests", 400, "NAME_INVALID"),
        ("PUT", "manifests", 400, "MANIFEST_INVALID"),
        ("POST", "blobs/uploads", 403, "DENIED"),
    ] {
        let deep = move |r: &Request, _: &mut State| {
            let deep = r.method == method && r.path.starts_with("/v2/org/mir/p/app/") && r.path.contains(kind);
            deep.then(|| if word.is_empty() { page() } else { Answer::error(status, word) })
        };
        let stub = Stub::start(false, rule(deep));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        assert!(code == 50 || code == 51, "{code} {err}");
        let about_depth = !matches!(word, "MANIFEST_INVALID" | "DENIED");
        assert_eq!(err.contains("--max-nested-paths 2"), about_depth, "{method} {status} {word}: {err}");
        // And that is the solution.
        let (code, _, err) = unpack(dir.path(), &stub, &["--max-nested-paths", "2"]);
        assert_eq!(code, 0, "{err}");
    }
}

/// MB-UNP-14.
#[test]
fn what_is_left_out_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    for (more, images) in [(&[][..], 12), (&["--without-referrers"][..], 1)] {
        let stub = Stub::start(true, Vec::new());
        let (code, out, err) = unpack(dir.path(), &stub, &[more, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{err}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["unpacked"]["images"], images, "{answer:#}");
        let (_, out, _) = unpack(dir.path(), &Stub::start(true, Vec::new()), more);
        assert!(out.contains(&format!(" {images} image")), "{out}");
    }
}

// ---- extras

/// MB-UNP-14.
#[test]
fn an_extra_that_is_refused_costs_no_tag_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let refused = referrers(&app())[0].digest().to_string();
    let artifact = move |r: &Request, _: &mut State| {
        (r.method == "PUT" && r.path.ends_with(&refused)).then(|| Answer::error(400, "MANIFEST_INVALID"))
    };
    let fallback = |r: &Request, _: &mut State| {
        let (_, what) = r.below("manifests")?;
        (what.starts_with("sha256-") && what.len() == 71 && r.method == "PUT")
            .then(|| Answer::error(400, "DIGEST_INVALID"))
    };
    // An attestation whose layer has a media type that the registry refuses.
    let layer = Image::cosign(&app(), "att").blobs[1].digest().to_string().replace(':', "%3A");
    let blob = move |r: &Request, _: &mut State| {
        (r.method == "PUT" && r.query.contains(&layer)).then(|| Answer::error(400, "BLOB_TYPE"))
    };
    let stub = Stub::start(true, rule(blob));
    let (code, out, err) = unpack(dir.path(), &stub, &[]);
    assert!(code == 54 && err.contains("BLOB_TYPE"), "{code} {out}{err}");
    let tags = stub.tags("org/mir/p/app");
    assert!(tags.len() == 3 && !tags.iter().any(|tag| tag.ends_with(".att")), "{tags:?}");
    for (api, rules, message, how_many) in
        [(true, rule(artifact), "MANIFEST_INVALID", 1), (false, rule(fallback), "DIGEST_INVALID", 8)]
    {
        let stub = Stub::start(api, rules);
        let (code, out, err) = unpack(dir.path(), &stub, &["-o", "json"]);
        assert_eq!(code, 54, "{err}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["exit_code"], 54, "the document says what the process says");
        let refused = answer["unpacked"]["refused"].as_array().unwrap();
        assert_eq!(refused.len(), how_many, "{refused:#?}");
        assert!(
            refused[0]["why"].as_str().unwrap().contains(message) && refused[0]["kind"] == "referrer",
            "{refused:#?}"
        );
        assert_eq!(stub.tags("org/mir/p/app").len(), 4);
        let (code, out, err) = unpack(dir.path(), &stub, &[]);
        assert!(code == 54 && out.contains("refused") && err.contains(message), "{out}{err}");
        assert_eq!(unpack(dir.path(), &stub, &["--without-referrers"]).0, 0);
    }
}

/// MB-UNP-13.
#[test]
fn referrers_that_a_registry_loses_are_pushed_again_also_by_a_later_run() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let subject = app().digest().to_string();
    // It keeps the last writer's list where two overlap, and drops every first entry, like some registries under load.
    let seen: Mutex<HashMap<String, usize>> = Mutex::default();
    let forgets = move |r: &Request, state: &mut State| {
        let (name, what) = r.below("manifests").filter(|_| r.method == "PUT")?;
        let mut seen = seen.lock().unwrap();
        let times = seen.entry(what.to_owned()).or_default();
        *times += 1;
        let answer = answer(r, state);
        if *times == 1 {
            state.repositories.get_mut(name)?.lists.values_mut().for_each(|list| list.retain(|e| e["digest"] != what));
        }
        Some(answer)
    };
    let count = |stub: &Stub| {
        stub.with(|state| {
            let list = &state.repositories["org/mir/p/app"].lists[&subject];
            list.iter().map(|e| e["digest"].to_string()).collect::<std::collections::BTreeSet<_>>().len()
        })
    };
    let stub = Stub::start(true, rule(forgets));
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert!(code == 0 && count(&stub) == 8, "{err}");
    // The entries that an earlier run lost.
    stub.with(|state| {
        state.repositories.get_mut("org/mir/p/app").unwrap().lists.get_mut(&subject).unwrap().truncate(2)
    });
    let (code, _, err) = unpack(dir.path(), &stub, &[]);
    assert!(code == 0 && count(&stub) == 8, "{err}");
    // A registry that never lists one entry: the program reports it, and everything else exists.
    let lost = referrers(&app())[3].digest().to_string();
    let never = move |r: &Request, state: &mut State| {
        let answer = answer(r, state);
        for repository in state.repositories.values_mut() {
            repository.lists.values_mut().for_each(|list| list.retain(|e| e["digest"] != lost.as_str()));
        }
        Some(answer)
    };
    let (code, _, err) = unpack(dir.path(), &Stub::start(true, rule(never)), &[]);
    assert!(code == 54 && err.contains("does not list it"), "{code} {err}");
}

/// MB-UNP-13.
#[test]
fn what_has_a_subject_is_pushed_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), true);
    let stub = Stub::start(true, Vec::new());
    assert_eq!(unpack(dir.path(), &stub, &["-j", "8"]).0, 0);
    let subject = app().digest();
    stub.with(|state| {
        let puts = state.seen.iter().filter(|r| r.below("manifests").is_some());
        let about = |r: &&Request| {
            let asked = r.below("manifests").unwrap().1;
            referrers(&app()).iter().any(|referrer| referrer.digest().to_string() == asked)
        };
        // Checked, pushed and read back, before the next one starts.
        let names: Vec<&str> = puts.filter(about).map(|r| r.below("manifests").unwrap().1).collect();
        // At the end each is read once more, for the receipt of the site.
        assert_eq!(names.len(), 32);
        assert!(names[..24].chunks(3).all(|turn| turn[0] == turn[1] && turn[1] == turn[2]), "{names:?}");
        assert_eq!(state.repositories["org/mir/p/app"].lists[&subject.to_string()].len(), 8);
    });
}

// ---- errors

#[test]
fn an_error_has_the_registrys_own_words_the_method_and_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), false);
    for (body, words) in [
        (
            r#"{"errors":[{"code":"DENIED","message":"quota of project org exceeded"}]}"#,
            "quota of project org exceeded",
        ),
        ("<html><head><title>Blocked by policy 7</title></head></html>", "Blocked by policy 7"),
        ("upstream is read-only\n", "upstream is read-only"),
        (r#"{"message":"this host takes no images"}"#, "this host takes no images"),
    ] {
        let no = move |r: &Request, _: &mut State| (!r.reads()).then(|| Answer(400, Vec::new(), body.into()));
        let stub = Stub::start(false, rule(no));
        let (code, _, err) = unpack(dir.path(), &stub, &[]);
        let repository = format!("`{}/org/mir/p/app`", stub.host());
        assert_eq!(code, 50);
        assert!([words, "(POST)", &repository].iter().all(|part| err.contains(part)), "{err}");
        assert!(!err.contains("run the same command again to continue"), "it would be refused again: {err}");
    }
}

#[test]
fn retries_are_seen_with_v() {
    let dir = tempfile::tempdir().unwrap();
    let stub = filled(false, Vec::new(), false);
    let busy = || {
        rule(|r, state| {
            let first = state.seen.iter().filter(|s| s.path == r.path).count() == 1;
            (first && r.path.ends_with("/manifests/v1") && r.reads()).then(|| Answer::error(503, "BUSY"))
        })
    };
    drop(stub);
    for (more, seen) in [(&["-v"][..], true), (&[][..], false)] {
        let stub = filled(false, busy(), false);
        stub.with(|state| state.seen.clear());
        let (code, _, err) = create(dir.path(), &stub, more);
        assert_eq!(code, 0, "{err}");
        assert_eq!(err.contains("retry 1 of 1") && err.contains("503"), seen, "{err}");
    }
}

#[test]
fn plain_http_goes_through_a_proxy_without_a_tunnel_and_a_proxy_that_fails_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let name = "registry.lab.test:5000";
    let asks = |proxy: &str| {
        let mut command = program(dir.path());
        command.args(["create", "b.tar", "--unsigned", "--force", "--progress", "none", "--retries", "0"]);
        command.args(["--image", &format!("{name}/p/app:v1"), "--plain-http", name]).env("http_proxy", proxy);
        let out = command.output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    // Like a proxy that allows tunnels to port 443 only: it fetches absolute addresses.
    let source = filled(false, Vec::new(), false);
    let squid = Stub::start(
        false,
        rule(|r, _| (!r.path.starts_with("http://registry.lab.test:5000/")).then(|| Answer::error(403, "TUNNEL"))),
    );
    let behind = source.with(std::mem::take);
    squid.with(|state| state.repositories = behind.repositories);
    let (code, err) = asks(&format!("http://u:secret@{}", squid.host()));
    assert_eq!(code, 0, "{err}");
    squid.with(|state| {
        assert!(state.seen.iter().all(|r| r.header("proxy-authorization") == Some("Basic dTpzZWNyZXQ=")))
    });
    let refusing = Stub::start(false, rule(|_, _| Some(Answer(407, Vec::new(), b"log in at the proxy".to_vec()))));
    let (code, err) = asks(&format!("http://u:secret@{}", refusing.host()));
    assert!(code == 50 && err.contains(&format!("by way of the proxy `{}`", refusing.host())), "{err}");
    assert!(err.contains("log in at the proxy") && !err.contains("secret"), "{err}");
    let (code, err) = asks("http://127.0.0.1:1");
    assert!(code == 50 && err.contains("cannot reach the proxy `127.0.0.1:1`") && err.contains(name), "{err}");
}
