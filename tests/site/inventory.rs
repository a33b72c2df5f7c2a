//! `inventory`: registries that other tools filled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mirror_bundle::oci::Digest;
use mirror_bundle::select::base::{Kind, load};
use mirror_bundle::site::Receivers;
use support::registry::{PASSWORD, Setup, USER, auth_file};
use support::stub::Request;

use super::*;

/// `inventory` of this, written to `i.json`.
fn take(host: &Host, what: &str, more: &[&str]) -> Ran {
    let args = ["inventory", what, "-o", "i.json", "--retries", "0"];
    let signed: &[&str] = if more.contains(&"--unsigned") { &[] } else { &["--sign-key", "site"] };
    host.run(&[&args[..], &PLAIN, signed, more].concat())
}

#[test]
fn an_inventory_lists_every_blob_of_a_registry_that_another_tool_filled_and_is_a_base() {
    let host = Host::empty();
    let registry = host.origin.host();
    let answer = take(&host, &registry, &["--output", "json"]).is(0).json();
    fits(&answer, "inventory-written.json");
    let bytes = host.read("i.json");
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    fits(&document, "inventory.json");
    let all: Vec<(Digest, u64)> = host
        .images
        .iter()
        .flat_map(Image::documents)
        .flat_map(|one| {
            let blobs = one.blobs.iter().map(|blob| (blob.digest(), blob.bytes.len() as u64));
            blobs.chain([(one.digest(), one.bytes.len() as u64)]).collect::<Vec<_>>()
        })
        .collect();
    let count = all.iter().map(|(digest, _)| digest).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(document["blobs"].as_array().unwrap().len(), count);
    assert!(bytes.len() < 500 + 130 * count, "{} bytes for {count} blobs", bytes.len());
    // OpenSSH accepts the signature, and `receipt --check` reads it.
    host.write("allowed", format!("site {}", host.text("site.pub")));
    let script = "ssh-keygen -Y verify -f allowed -I site -n mirror-bundle.v1.receiver -s i.json.sig < i.json";
    host.tool("sh", &["-c", script]).is(0);
    let checked = host.check("i.json", &["-o", "json"]).is(0).json();
    fits(&checked, "site-check.json");
    assert_eq!(checked["blobs"].as_u64(), Some(count as u64));
    // As a base it has everything, with its size and where it is.
    let bases = load(&[host.path("i.json")], Receivers::Unknown).unwrap();
    assert_eq!(bases.all[0].kind, Kind::Inventory);
    for (digest, size) in &all {
        assert_eq!(bases.has(digest), Some(*size));
    }
    let shared = host.images[0].blobs[1].digest();
    assert_eq!(bases.repositories(&shared), [format!("{registry}/team/one"), format!("{registry}/team/two")]);
    assert_eq!(bases.has(&Digest::of(b"other")), None);
}

#[test]
fn only_the_repositories_below_a_path_are_looked_at() {
    let host = Host::empty();
    let registry = host.origin.host();
    Pusher::new(&registry).push("teams/three", &host.images[0], Some("1"));
    take(&host, &format!("{registry}/team"), &["--unsigned"]).is(0).says("in 2 repositories").says("no (--unsigned)");
    take(&host, &registry, &["--unsigned"]).is(52).says("`i.json` already exists");
    take(&host, &registry, &["--force"]).is(0).says("in 3 repositories");
    take(&host, &format!("{registry}/team/one"), &["--force"]).is(0).says("in 1 repository");
    // A signature that was made for another inventory does not stay.
    take(&host, &registry, &["--force", "--unsigned"]).is(0);
    assert!(!exists(host.dir.path(), "i.json.sig"));
    take(&host, &format!("{registry}/nothing"), &["--force"]).is(50).says("lists no repository");
    host.check("i.json", &[]).is(20).says("has no signature");
}

#[test]
fn where_a_registry_lists_no_repositories_they_are_named() {
    let host = Host::empty();
    let stub = Stub::start(true, vec![Box::new(tags)]);
    Pusher::new(&stub.host()).push("team/one", &host.images[0], Some("1"));
    take(&host, &stub.host(), &[]).is(50).says("did not list the repositories").says("--repository REPO");
    assert!(!exists(host.dir.path(), "i.json") && !exists(host.dir.path(), "i.json.partial"));
    take(&host, &stub.host(), &["--repository", "team/one"]).is(0).says("in 1 repository");
    take(&host, &stub.host(), &["--force", "--repository", "team/nothing"]).is(50).says("nothing could be looked at");
    assert_eq!(host.check("i.json", &["-o", "json"]).is(0).json()["repositories"], 1);
}

/// Lists of tags, two a page.
fn tags(request: &Request, state: &mut support::stub::State) -> Option<Answer> {
    let (name, _) = request.path.strip_prefix("/v2/")?.split_once("/tags/list")?;
    let Some(repository) = state.repositories.get(name) else { return Some(Answer::error(404, "NAME_UNKNOWN")) };
    let mut all: Vec<&String> = repository.tags.keys().collect();
    all.sort();
    let last = request.query.split('&').find_map(|pair| pair.strip_prefix("last="));
    let rest: Vec<&&String> = all.iter().filter(|tag| last.is_none_or(|last| tag.as_str() > last)).collect();
    let page: Vec<&&&String> = rest.iter().take(2).collect();
    let mut headers = vec![("Content-Type", "application/json".to_owned())];
    if rest.len() > 2 {
        headers.push(("Link", format!("</v2/{name}/tags/list?last={}&n=2>; rel=\"next\"", page[1])));
    }
    let body = serde_json::json!({ "name": name, "tags": page });
    Some(Answer(200, headers, body.to_string().into_bytes()))
}

/// A list of all repositories.
fn catalog(request: &Request, state: &mut support::stub::State) -> Option<Answer> {
    (request.path == "/v2/_catalog").then(|| {
        let mut all: Vec<&String> = state.repositories.keys().collect();
        all.sort();
        Answer(200, Vec::new(), serde_json::json!({ "repositories": all }).to_string().into_bytes())
    })
}

#[test]
fn lists_are_read_to_their_last_page_and_one_without_end_or_elsewhere_is_refused() {
    let host = Host::empty();
    let stub = Stub::start(true, vec![Box::new(catalog), Box::new(tags)]);
    let pusher = Pusher::new(&stub.host());
    for n in 0..5u64 {
        let image = Image::oci("amd64", &[layer(&[("f", &support::noise(100, n))])]);
        pusher.push("team/one", &image, Some(&format!("t{n}")));
    }
    take(&host, &stub.host(), &[]).is(0);
    let document: Value = serde_json::from_slice(&host.read("i.json")).unwrap();
    assert_eq!(document["blobs"].as_array().unwrap().len(), 15);
    for (link, why) in [
        ("</v2/_catalog?n=1000>; rel=\"next\"", "has no end"),
        ("<http://elsewhere.example/v2/_catalog>; rel=\"next\"", "continues a list elsewhere"),
    ] {
        let endless: Rule = Box::new(move |request, _| {
            (request.path == "/v2/_catalog")
                .then(|| Answer(200, vec![("Link", link.to_owned())], b"{\"repositories\":[\"a\"]}".to_vec()))
        });
        let stub = Stub::start(true, vec![endless]);
        let ran = take(&host, &stub.host(), &["--force"]);
        assert!(matches!(ran.code, 12 | 50), "{ran:?}");
        ran.says(why).says("no inventory was written");
    }
    for body in ["[]", "{\"repositories\":\"a\"}", "{\"repositories\":[1]}", "{\"repositories\":[\"A B\"]}", "{"] {
        let odd: Rule = Box::new(move |request, _| {
            (request.path == "/v2/_catalog").then(|| Answer(200, Vec::new(), body.as_bytes().to_vec()))
        });
        let stub = Stub::start(true, vec![odd]);
        take(&host, &stub.host(), &["--force"]).is(50).says("is not acceptable");
    }
}

#[test]
fn what_could_not_be_looked_at_is_said_and_not_claimed() {
    let host = Host::empty();
    let blob = host.images[0].blobs[1].digest().to_string();
    let lying = Arc::new(AtomicBool::new(false));
    let (lies, about) = (Arc::clone(&lying), blob.clone());
    let rule: Rule = Box::new(move |request, _| {
        if !lies.load(Ordering::SeqCst) {
            return None;
        }
        // One repository is for others; one blob has another size; one manifest is not JSON.
        let forbidden = request.path.starts_with("/v2/private/");
        let wrong = request.below("blobs").is_some_and(|(name, what)| name == "team/one" && what == about);
        let odd = request.below("manifests").is_some_and(|(name, what)| name == "team/two" && what == "bad");
        match () {
            () if forbidden => Some(Answer::error(401, "UNAUTHORIZED")),
            () if wrong => Some(Answer(206, vec![("Content-Range", "bytes 0-0/5".to_owned())], vec![0])),
            () if odd => Some(Answer(200, vec![("Content-Type", support::image::OCI_MANIFEST.into())], b"{".to_vec())),
            () => None,
        }
    });
    let stub = Stub::start(true, vec![rule, Box::new(catalog), Box::new(tags)]);
    let pusher = Pusher::new(&stub.host());
    pusher.push("team/one", &host.images[0], Some("1"));
    pusher.push("team/two", &host.images[1].children[0], Some("good"));
    pusher.push("team/two", &host.images[1].children[0], Some("bad"));
    pusher.push("private/x", &host.images[1].children[1], Some("1"));
    lying.store(true, Ordering::SeqCst);
    let ran = take(&host, &stub.host(), &[]).is(0);
    let ran = ran.says("not in the inventory").says("private/x: ").says("team/two:bad");
    assert!(ran.out.contains("unread    3 things"), "{}", ran.out);
    let document: Value = serde_json::from_slice(&host.read("i.json")).unwrap();
    fits(&document, "inventory.json");
    assert_eq!(document["unread"].as_array().unwrap().len(), 3);
    let bases = load(&[host.path("i.json")], Receivers::Unknown).unwrap();
    let has = |image: &Image, n: usize| bases.has(&image.blobs[n].digest());
    assert_eq!(bases.has(&host.images[1].children[1].digest()), None);
    assert!(has(&host.images[1].children[0], 2).is_some() && has(&host.images[0], 2).is_some());
    // The blob that one repository has wrong is claimed only for the other.
    let shared = host.images[0].blobs[1].digest();
    assert_eq!(bases.repositories(&shared), [format!("{}/team/two", stub.host())]);
    assert!(bases.notices().iter().any(|notice| notice.contains("does not cover 3 of what it was asked for")));
}

#[test]
fn a_killed_run_leaves_nothing_and_the_next_one_starts_again() {
    let host = Host::empty();
    let registry = host.origin.host();
    host.write("i.json.partial", "half");
    take(&host, &registry, &[]).is(0);
    assert!(!exists(host.dir.path(), "i.json.partial"));
    let before = host.read("i.json");
    // A failure leaves the one that is there.
    take(&host, "127.0.0.1:1", &["--force"]).is(50);
    assert_eq!(host.read("i.json"), before);
    host.check("i.json", &[]).is(0);
}

#[test]
fn a_damaged_inventory_is_refused_with_its_place() {
    let host = Host::empty();
    take(&host, &host.origin.host(), &["--unsigned"]).is(0);
    let good = host.text("i.json");
    for (from, to, why) in [
        ("\"size\":", "\"size\":-", "invalid value"),
        ("\"blobs\":[0,", "\"blobs\":[9999,", "are not sorted"),
        ("\"unread\":[]", "\"unread\":[],\"more\":1", "unknown field"),
        ("inventory/v1", "inventory/v12", "its schema is not"),
        ("\"digest\":\"sha256:", "\"digest\":\"sha256:0", "64 hex"),
        ("\"registry\":", "\"registry\":\"x\",\"registry\":", "not acceptable JSON"),
        ("\"created\":\"2", "\"created\":\"x", "`created`"),
    ] {
        host.write("bad.json", good.replacen(from, to, 1));
        let ran = host.run(&["receipt", "--check", "bad.json", "--allow-unsigned"]).is(12);
        ran.says("the inventory `bad.json` is not acceptable").says(why);
    }
    host.write("bad.json", &good[..good.len() / 2]);
    host.run(&["receipt", "--check", "bad.json", "--allow-unsigned"]).is(12);
    // A size that was changed after it was signed.
    take(&host, &host.origin.host(), &["--force"]).is(0);
    let text = host.text("i.json");
    let at = text.find("\"size\":").unwrap() + 7;
    let digit = if &text[at..=at] == "1" { "2" } else { "1" };
    host.write("i.json", format!("{}{digit}{}", &text[..at], &text[at + 1..]));
    host.check("i.json", &[]).is(21).says("the signature of `i.json` does not hold");
    let args = ["receipt", "--check", "i.json", "--signer", "site.pub", "--to", "a.example/b"];
    host.run(&args).is(2).says("is an inventory");
}

#[test]
fn a_registry_that_needs_a_login_is_read_with_it() {
    let host = Host::empty();
    let setup = Setup { basic_auth: true, storage: Some(host.origin.storage()), ..Setup::default() };
    let registry = Registry::with(&setup);
    take(&host, &registry.host(), &[]).is(51).says("refused to list its repositories").says("podman login");
    let (_dir, auth) = auth_file(&registry.host(), USER, PASSWORD);
    take(&host, &registry.host(), &["--authfile", auth.to_str().unwrap()]).is(0).says("in 2 repositories");
    // As it is without the list.
    let named = ["--force", "--repository", "team/one", "--authfile", auth.to_str().unwrap()];
    take(&host, &registry.host(), &named).is(0).says("in 1 repository");
    take(&host, &registry.host(), &["--force", "--repository", "team/one"]).is(51).says("nothing could be looked at");
}
