//! Faults of uploads, of manifests sent and of mounts.

use super::*;

pub fn uploads(all: &mut Vec<Case>, at: &Points, worker: &Worker<'_>) {
    let push = |all: &mut Vec<Case>, name: &str, rules: Vec<Rule>, codes: &[i32]| {
        add(all, name, None, Some(script(rules, codes)))
    };
    let put = |times, fault| vec![("PUT", at.sent.clone(), times, fault)];
    let manifest = |times, fault| vec![("PUT", at.child.clone(), times, fault)];
    let tag = |times, fault| vec![("PUT", at.tag.clone(), times, fault)];
    let unknown =
        || Fault::Answer(404, Vec::new(), br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"x"}]}"#.to_vec());
    push(all, "upload-lost-at-put", put(1, unknown()), &[0]);
    push(all, "upload-lost-at-put-for-ever", put(EVER, unknown()), &[50]);
    let cut = || ("PUT", at.sent.clone(), 1, Fault::CutRequest(at.size / 2));
    let asked = |times, fault| ("GET", "blobs/uploads/".to_owned(), times, fault);
    push(all, "upload-lost-when-asked-for-its-place", vec![cut(), asked(1, unknown())], &[0]);
    push(all, "upload-asked-for-its-place-503", vec![cut(), asked(1, status(503))], &[0]);
    push(all, "upload-asked-for-its-place-reset", vec![cut(), asked(1, Fault::Reset)], &[0]);
    let range = |value: &str| header("Range", value);
    for (name, value) in [
        ("too-much", "0-999999999"),
        ("some", "0-1000"),
        ("all", &*format!("0-{}", at.size - 1)),
        ("garbage", "x-y"),
        ("negative", "0--1"),
    ] {
        push(all, &format!("upload-says-it-has-{name}"), vec![cut(), asked(1, range(value))], &[0]);
    }
    push(
        all,
        "upload-lost-at-patch",
        vec![cut(), asked(1, range("0-1000")), ("PATCH", "blobs/uploads/".into(), 1, unknown())],
        &[0],
    );
    push(
        all,
        "upload-416-at-patch",
        vec![cut(), asked(1, range("0-1000")), ("PATCH", "blobs/uploads/".into(), 1, status(416))],
        &[0],
    );
    push(
        all,
        "upload-reset-at-patch",
        vec![cut(), asked(1, range("0-1000")), ("PATCH", "blobs/uploads/".into(), 1, Fault::Reset)],
        &[0],
    );

    let post = |times, fault| vec![("POST", "blobs/uploads/".to_owned(), times, fault)];
    let (elsewhere, forbidden) = (worker.elsewhere_host(), worker.forbidden_host());
    let location = |place: &str| status_with(202, "Location", place);
    push(all, "upload-without-a-place", post(EVER, status(202)), &[50]);
    for (name, place) in [
        ("over-http", format!("http://{forbidden}/up")),
        ("inside", format!("https://{forbidden}/up")),
        ("the-metadata-service", "https://169.254.169.254/up".to_owned()),
        ("a-file", "file:///tmp/up".to_owned()),
        ("garbage", "http://[".to_owned()),
    ] {
        push(all, &format!("upload-place-{name}"), post(EVER, location(&place)), &[50]);
    }
    let away = script(post(EVER, location(&format!("http://{elsewhere}/up"))), &[50]);
    add(all, "upload-place-at-another-host", None, Some(away.elsewhere("PUT", "/up", Fault::Swallow(201, Vec::new()))));
    let away = script(post(EVER, location(&format!("http://{elsewhere}/up"))), &[50]);
    let asks = Fault::Swallow(401, vec![("WWW-Authenticate".into(), "Basic realm=\"x\"".into())]);
    add(all, "upload-place-at-a-host-that-wants-a-login", None, Some(away.elsewhere("PUT", "/up", asks)));
    push(all, "upload-begun-with-200", post(EVER, Fault::Status(200)), &[50]);
    push(all, "upload-begun-with-503-once", post(1, status(503)), &[0]);
    push(all, "upload-begun-with-404", post(EVER, status(404)), &[50]);

    let taken = |code| Fault::Swallow(code, Vec::new());
    push(all, "blob-taken-and-not-stored-once", put(1, taken(201)), &[0]);
    push(all, "blob-taken-and-not-stored", put(EVER, taken(201)), &[50]);
    push(all, "blob-taken-with-202", put(1, Fault::Status(202)), &[0]);
    push(all, "blob-taken-with-202-and-not-stored", put(EVER, taken(202)), &[50]);
    push(all, "blob-taken-and-answered-400", put(EVER, taken(400)), &[50]);
    push(all, "manifest-taken-and-not-stored", manifest(EVER, taken(201)), &[50]);
    push(all, "manifest-taken-with-202", manifest(EVER, Fault::Status(202)), &[0]);
    push(all, "manifest-taken-with-202-and-not-stored", manifest(EVER, taken(202)), &[50]);
    push(all, "manifest-refused-400", manifest(EVER, taken(400)), &[50]);
    push(all, "tag-taken-and-not-stored", tag(EVER, taken(201)), &[50]);
    push(all, "tag-taken-with-202", tag(EVER, Fault::Status(202)), &[0]);

    let mount = |times, fault| vec![("POST", "mount=".to_owned(), times, fault)];
    push(all, "mount-said-and-not-done", mount(EVER, taken(201)), &[0]);
    push(
        all,
        "mount-of-another",
        mount(EVER, header("Docker-Content-Digest", Digest::of(b"other").to_string())),
        &[50],
    );
    push(all, "mount-refused-404", mount(EVER, status(404)), &[0]);
    push(all, "mount-refused-405", mount(EVER, status(405)), &[0]);
    push(all, "mount-of-garbage", mount(EVER, Fault::Answer(200, Vec::new(), b"<html>".to_vec())), &[0]);
    push(all, "mount-503-once", mount(1, status(503)), &[0]);
    push(all, "mount-503-for-ever", mount(EVER, status(503)), &[0]);
    push(all, "mount-202-without-a-place", mount(EVER, status(202)), &[0, 50]);
    push(all, "mount-202-inside", mount(EVER, location(&format!("https://{forbidden}/up"))), &[50]);
    let _ = at.large;
}
