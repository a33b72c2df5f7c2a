//! Pushes that go wrong.

use super::*;

#[test]
fn blobs_are_mounted_from_another_repository() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, a, b) = (client(), repo(&proxy.host(), "a"), repo(&proxy.host(), "b/c"));
    let digest = push(&client, &a, b"hello");
    assert!(client.mount_blob(&b, &digest, 5, &a).unwrap());
    assert_eq!(pull(&client, &b, &digest, 5).unwrap(), b"hello");

    // Not there: the session that the registry opens instead is cancelled.
    let before = (proxy.count("POST", ""), proxy.count("DELETE", ""));
    assert!(!client.mount_blob(&b, &Digest::of(b"other"), 5, &a).unwrap());
    assert_eq!((proxy.count("POST", "") - before.0, proxy.count("DELETE", "") - before.1), (1, 1));
    // A repository elsewhere cannot be mounted from, and is not named to this registry.
    let far = repo("quay.io", "x/y");
    assert!(!client.mount_blob(&b, &Digest::of(b"third"), 5, &far).unwrap());
    assert_eq!(proxy.count("POST", "x%2Fy"), 0);
}

#[test]
fn an_interrupted_push_goes_on_where_the_registry_is() {
    let sessions = Sessions::start();
    let proxy = Proxy::start(Some(sessions.port));
    let (client, to) = (client(), repo(&proxy.host(), "x"));
    let blob = noise(4_000_000, 1);
    let digest = Digest::of(&blob);
    proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(2_500_000));
    proxy.on("PATCH", "/uploads/", 1, Fault::CutRequest(700_000));
    let mut offsets = Vec::new();
    let pushed = client.push_blob(&to, &digest, 4_000_000, &mut |offset| {
        offsets.push(offset);
        Ok(open_checked(&blob, digest, offset))
    });
    pushed.unwrap();
    assert_eq!(offsets, [0, 2_500_000, 3_200_000]);
    assert_eq!(sessions.blob(&digest), Some(blob));
    assert_eq!((sessions.open(), proxy.count("POST", "")), (0, 1));
    // All bytes are there, and the request to finish is answered with a 503, then not at all.
    proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(4_999));
    proxy.on("PUT", "/uploads/", 1, status(503)).on("PUT", "/uploads/", 1, Fault::LoseAnswer);
    let blob = noise(5_000, 2);
    let digest = push(&client, &to, &blob);
    assert_eq!((sessions.blob(&digest), sessions.open()), (Some(blob), 0));
}

#[test]
fn an_interrupted_push_starts_over_where_the_registry_cannot_resume() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, to) = (client(), repo(&proxy.host(), "a/b"));
    let blob = noise(4_000_000, 1);
    let digest = Digest::of(&blob);
    for cut in [2_500_000, 0, 1] {
        proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(cut));
    }
    let mut offsets = Vec::new();
    let pushed = client.push_blob(&to, &digest, 4_000_000, &mut |offset| {
        offsets.push(offset);
        Ok(open_checked(&blob, digest, offset))
    });
    pushed.unwrap();
    assert_eq!(offsets, [0; 4]);
    assert_eq!(pull(&client, &to, &digest, 4_000_000).unwrap(), blob);
}

#[test]
fn a_lost_answer_and_a_lost_session_are_survived() {
    let registry = Registry::start();
    let proxy = Proxy::start(Some(registry.port));
    let (client, to) = (client(), repo(&proxy.host(), "a/b"));
    // The registry has it all; only its answer is lost.
    proxy.on("PUT", "/uploads/", 1, Fault::LoseAnswer);
    let blob = noise(5000, 1);
    let digest = push(&client, &to, &blob);
    assert_eq!(proxy.count("PUT", "/uploads/"), 1, "it is not sent twice");
    assert_eq!(pull(&client, &to, &digest, 5000).unwrap(), blob);
    // The session is forgotten between two requests.
    proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(100));
    proxy.on("GET", "/uploads/", 1, status(404));
    let blob = noise(6000, 2);
    let digest = push(&client, &to, &blob);
    assert_eq!(pull(&client, &to, &digest, 6000).unwrap(), blob);
    // The registry says that it has more than there is, or has lost its place.
    proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(3000));
    proxy.on("GET", "/uploads/", 1, Fault::Header("Range".to_owned(), "0-999999".to_owned()));
    let blob = noise(7000, 3);
    let digest = push(&client, &to, &blob);
    assert_eq!(pull(&client, &to, &digest, 7000).unwrap(), blob);
    proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(3000));
    proxy.on("GET", "/uploads/", 1, Fault::Header("Range".to_owned(), "0-4999".to_owned()));
    let blob = noise(8000, 4);
    let digest = push(&client, &to, &blob);
    assert_eq!(pull(&client, &to, &digest, 8000).unwrap(), blob);
}

#[test]
fn content_that_is_not_what_its_name_says_leaves_nothing_behind() {
    let registry = Registry::start();
    let (client, to) = (client(), repo(&registry.host(), "a/b"));
    for size in [1usize, 2, 1000, 3_000_000] {
        let blob = noise(size, 1);
        let mut damaged = blob.clone();
        damaged[size / 2] ^= 1;
        let digest = Digest::of(&blob);
        let pushed =
            client.push_blob(&to, &digest, size as u64, &mut |offset| Ok(open_checked(&damaged, digest, offset)));
        let err = pushed.unwrap_err();
        assert_eq!((err.code(), err.message()), (Code::BlobMismatch, "the content is not what its name says"));
        assert_eq!(client.head_blob(&to, &digest).unwrap(), None);
        assert_eq!(client.head_blob(&to, &Digest::of(&damaged)).unwrap(), None);
    }
    // Shorter or longer than announced.
    let digest = Digest::of(b"hello");
    for content in [&b"hell"[..], b"hello!", b""] {
        let pushed = client.push_blob(&to, &digest, 5, &mut |_| Ok(Box::new(content)));
        assert_eq!(code(pushed), Code::Io);
        assert_eq!(client.head_blob(&to, &digest).unwrap(), None);
    }
    // The content cannot be opened.
    let opened = Cell::new(0);
    let err = client.push_blob(&to, &digest, 5, &mut |_| {
        opened.set(opened.get() + 1);
        Err(Error::new(Code::Truncated, "the file is too short").transient())
    });
    assert_eq!((code(err), opened.get()), (Code::Truncated, 1), "the content's own error is final");
}

#[test]
fn damage_found_after_a_resume_cancels_the_upload() {
    let sessions = Sessions::start();
    let proxy = Proxy::start(Some(sessions.port));
    let (client, to) = (client(), repo(&proxy.host(), "x"));
    // Larger than what the sockets hold, so that the cut is seen before the end of the content.
    let blob = noise(16_000_000, 1);
    let mut damaged = blob.clone();
    damaged[15_900_000] ^= 1;
    let digest = Digest::of(&blob);
    proxy.on("PUT", "/uploads/", 1, Fault::CutRequest(1_000_000));
    let pushed = client.push_blob(&to, &digest, 16_000_000, &mut |offset| Ok(open_checked(&damaged, digest, offset)));
    assert_eq!(code(pushed), Code::BlobMismatch);
    assert_eq!(proxy.count("PATCH", "/uploads/"), 1);
    assert_eq!(client.head_blob(&to, &digest).unwrap(), None);
    assert_eq!((sessions.open(), proxy.count("DELETE", "/uploads/")), (0, 1));
    // The same without a resume.
    let pushed = client.push_blob(&to, &digest, 16_000_000, &mut |offset| Ok(open_checked(&damaged, digest, offset)));
    assert_eq!(code(pushed), Code::BlobMismatch);
    assert_eq!((sessions.open(), proxy.count("DELETE", "/uploads/")), (0, 2));
}

#[test]
fn an_upload_address_elsewhere_gets_the_bytes_but_not_the_login() {
    let registry = Registry::with(&Setup { basic_auth: true, ..Setup::default() });
    let proxy = Proxy::start(Some(registry.port));
    let (_keep, auth) = auth_file(&proxy.host(), USER, PASSWORD);
    let client = Client::new(Options { auth_file: Some(auth), ..options() }).unwrap();
    let to = repo(&proxy.host(), "a/b");
    push(&client, &to, b"so that the login is known");
    let elsewhere = Proxy::start(None);
    elsewhere.on("PUT", "/up", 1, status(201));
    let digest = Digest::of(b"hello");
    proxy.on("POST", "/uploads/", 1, status_with(202, "Location", format!("http://{}/up?s=1", elsewhere.host())));
    client.push_blob(&to, &digest, 5, &mut |_| Ok(Box::new(&b"hello"[..]))).unwrap();
    assert_eq!(elsewhere.seen()[0].target, format!("/up?s=1&digest={}", digest.to_string().replace(':', "%3A")));
    assert!(!elsewhere.saw_authorization());
    for place in ["http://uploads.example/x", "https://169.254.169.254/x", "file:///tmp/x"] {
        proxy.on("POST", "/uploads/", 1, status_with(202, "Location", place));
        let pushed = client.push_blob(&to, &digest, 5, &mut |_| panic!("nothing is sent"));
        assert!(pushed.unwrap_err().message().contains("no usable address"), "{place}");
    }
}
