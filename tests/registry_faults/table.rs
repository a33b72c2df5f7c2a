//! The named faults.

#[path = "logins.rs"]
mod logins;
#[path = "uploads.rs"]
mod uploads;

use std::time::{Duration, SystemTime};

use mirror_bundle::oci::Digest;

use crate::place::{Worker, challenge};
use crate::support::image::OCI_INDEX;
use crate::support::proxy::{Fault, status, status_with};
use crate::support::registry::USER;

/// Always, as far as a test goes.
pub const EVER: usize = 100_000;

/// Rows that differ from others only a little: not in the daily test.
pub const MORE: &[&str] = &[
    "status-500-once",
    "status-504-once",
    "status-408-once",
    "busy-retry-after-zero",
    "busy-retry-after-negative",
    "busy-retry-after-a-fraction",
    "busy-retry-after-a-past-date",
    "busy-retry-after-u64-max",
    "busy-retry-after-a-day",
    "closed-after-65535-bytes",
    "closed-after-65537-bytes",
    "closed-after-1048575-bytes",
    "closed-after-1048577-bytes",
    "reset-after-65536-bytes",
    "unknown-status-418",
    "gone-410",
    "length-2-to-the-63",
    "length-no-number",
    "a-chunk-size-negative",
    "not-modified-304",
    "redirect-to-the-metadata-service",
    "redirect-to-nowhere",
    "redirect-with-a-user",
    "upload-says-it-has-some",
    "upload-says-it-has-negative",
    "upload-place-a-file",
    "upload-place-inside",
    "mount-refused-405",
    "challenge-of-an-unknown-scheme",
    "challenge-of-no-realm",
    "challenge-of-a-realm-with-a-user",
    "token-empty",
    "token-with-a-line-break",
    "token-server-404",
    "status-999",
    "status-503-for-ever",
    "status-500-at-manifests-for-ever",
    "busy-retry-after-a-far-date",
    "closed-after-0-bytes",
    "reset-after-0-bytes",
    "a-header-with-nul",
    "length-over-64-bits",
    "a-chunk-size-beyond-64-bits",
    "no-content-204",
    "range-garbage",
    "range-unsaid",
    "redirect-to-the-metadata-service-over-tls",
    "redirect-to-a-file",
    "said-to-have-another-size",
    "upload-416-at-patch",
    "upload-reset-at-patch",
    "upload-place-garbage",
    "upload-begun-with-200",
    "manifest-refused-400",
    "tag-taken-with-202",
    "mount-refused-404",
    "challenge-of-a-realm-that-is-a-file",
    "token-server-inside",
    "token-server-reset-once",
    "referrers-of-garbage",
];

/// Method, part of the target, how often, what.
pub type Rule = (&'static str, String, usize, Fault);

/// A fault.
pub struct Case {
    pub name: String,
    /// Whether it is met at the registry that wants tokens.
    pub token: bool,
    pub pull: Option<Script>,
    pub push: Option<Script>,
}

/// A fault on one side.
#[derive(Default)]
pub struct Script {
    pub rules: Vec<Rule>,
    /// What the other host answers.
    pub elsewhere: Vec<Rule>,
    /// What the token server answers.
    pub realm: Vec<Rule>,
    /// The exit codes it may have.
    pub codes: Vec<i32>,
    pub args: Vec<&'static str>,
    /// Whether everything is already at the destination.
    pub filled: bool,
    /// Whether the source may report that there is no signature or referrer: the program cannot distinguish that from
    /// the truth.
    pub hides: bool,
}

impl Script {
    fn with(mut self, args: &[&'static str]) -> Script {
        self.args.extend(args);
        self
    }

    fn elsewhere(mut self, method: &'static str, path: &str, fault: Fault) -> Script {
        self.elsewhere.push((method, path.to_owned(), EVER, fault));
        self
    }

    fn realm(mut self, times: usize, fault: Fault) -> Script {
        self.realm.push(("*", "/token".to_owned(), times, fault));
        self
    }

    fn filled(mut self) -> Script {
        self.filled = true;
        self
    }
}

/// Gives up a silent connection soon.
const IMPATIENT: &[&str] = &["--timeout", "1"];
const NO_RETRY: &[&str] = &["--retries", "0"];

fn script(rules: Vec<Rule>, codes: &[i32]) -> Script {
    Script { rules, codes: codes.to_vec(), ..Script::default() }
}

fn header(name: &str, value: impl Into<String>) -> Fault {
    Fault::Header(name.to_owned(), value.into())
}

fn after(value: impl Into<String>) -> Fault {
    status_with(429, "Retry-After", value)
}

fn raw(text: &str) -> Fault {
    Fault::Raw(text.as_bytes().to_vec(), Vec::new(), 0)
}

fn to(place: &str) -> Fault {
    status_with(307, "Location", place)
}

/// `seconds` from now, as HTTP writes it.
fn date(seconds: u64) -> String {
    let at = SystemTime::now() + Duration::from_secs(seconds);
    let at = jiff::Timestamp::try_from(at).unwrap();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Where faults happen.
struct Points {
    /// The large layer, read.
    layer: String,
    /// The large layer, sent.
    sent: String,
    /// A configuration, read.
    config: String,
    /// A manifest below a list.
    child: String,
    /// A list of manifests, by its tag.
    tag: String,
    size: usize,
    large: Digest,
}

pub fn table(worker: &Worker<'_>) -> Vec<Case> {
    let large = worker.place.large();
    let child = &worker.place.app.children[0];
    let at = Points {
        layer: format!("blobs/{}", large.digest()),
        sent: format!("digest=sha256%3A{}", large.digest().hex()),
        config: format!("blobs/{}", child.blobs[0].digest()),
        child: format!("manifests/{}", child.digest()),
        tag: "src/app/manifests/v1".to_owned(),
        size: large.bytes.len(),
        large: large.digest(),
    };
    let mut all = Vec::new();
    statuses(&mut all, &at);
    connections(&mut all, &at);
    lengths(&mut all, &at);
    contents(&mut all, &at, worker);
    ranges(&mut all, &at);
    redirects(&mut all, &at, worker);
    existence(&mut all, &at, worker);
    uploads::uploads(&mut all, &at, worker);
    logins::logins(&mut all, &at, worker);
    logins::tokens(&mut all, &at, worker);
    lists(&mut all, worker);
    all
}

fn add(all: &mut Vec<Case>, name: &str, pull: Option<Script>, push: Option<Script>) {
    all.push(Case { name: name.to_owned(), token: false, pull, push });
}

/// The same fault where the large layer is read and where it is sent.
fn both(all: &mut Vec<Case>, at: &Points, name: &str, times: usize, fault: &Fault, pull: &[i32], push: &[i32]) {
    let read = script(vec![("GET", at.layer.clone(), times, fault.clone())], pull);
    let sent = script(vec![("PUT", at.sent.clone(), times, fault.clone())], push);
    add(all, name, Some(read), Some(sent));
}

fn statuses(all: &mut Vec<Case>, at: &Points) {
    for code in [429, 500, 502, 503, 504, 408, 425] {
        both(all, at, &format!("status-{code}-once"), 1, &status(code), &[0], &[0]);
    }
    for (name, value) in [
        ("zero", "0".to_owned()),
        ("a-second", "1".to_owned()),
        ("a-date", date(1)),
        ("a-past-date", date(0)),
        ("negative", "-5".to_owned()),
        ("garbage", "soon".to_owned()),
        ("a-fraction", "0.5".to_owned()),
    ] {
        both(all, at, &format!("busy-retry-after-{name}"), 1, &after(value), &[0], &[0]);
    }
    // The program does not wait that long: the run ends, and reports why.
    for (name, value) in [
        ("six-minutes", "360".to_owned()),
        ("a-day", "86400".to_owned()),
        ("overflow", "99999999999999999999999".to_owned()),
        ("u64-max", u64::MAX.to_string()),
        ("a-far-date", "Tue, 31 Dec 2199 23:59:59 GMT".to_owned()),
    ] {
        both(all, at, &format!("busy-retry-after-{name}"), 1, &after(value), &[50], &[50]);
    }
    for code in [429, 503] {
        both(all, at, &format!("status-{code}-for-ever"), EVER, &status(code), &[50], &[50]);
    }
    both(all, at, "forbidden", EVER, &status(403), &[51], &[51]);
    both(all, at, "too-large-413", EVER, &status(413), &[50], &[50]);
    both(all, at, "unknown-status-418", EVER, &status(418), &[50], &[50]);
    both(all, at, "status-999", EVER, &status(999), &[50], &[50]);
    both(all, at, "gone-410", EVER, &status(410), &[50], &[50]);
    // Early in the run: what is asked first.
    let early = |fault: Fault, times, codes: &[i32]| {
        (
            Some(script(vec![("GET", at.tag.clone(), times, fault.clone())], codes)),
            Some(script(vec![("HEAD", String::new(), times, fault)], codes)),
        )
    };
    let (pull, push) = early(status(503), 1, &[0]);
    add(all, "status-503-at-the-first-request", pull, push);
    let (pull, push) = early(status(500), EVER, &[50]);
    add(all, "status-500-at-the-first-request-for-ever", pull, push);
    // Late: manifests and tags.
    let late = |fault: Fault, times, pull: &[i32], push: &[i32]| {
        (
            Some(script(vec![("GET", at.child.clone(), times, fault.clone())], pull)),
            Some(script(vec![("PUT", at.tag.clone(), times, fault)], push)),
        )
    };
    let (pull, push) = late(status(502), 2, &[0], &[0]);
    add(all, "status-502-twice-at-manifests", pull, push);
    let (pull, push) = late(status(500), EVER, &[50], &[50]);
    add(all, "status-500-at-manifests-for-ever", pull, push);
    let (pull, push) = late(status(404), EVER, &[50], &[50]);
    add(all, "status-404-at-manifests", pull, push);
    let (pull, push) = late(Fault::LoseAnswer, 1, &[0], &[0]);
    add(all, "answer-lost-at-manifests", pull, push);
}

fn connections(all: &mut Vec<Case>, at: &Points) {
    both(all, at, "reset-before-the-head", 1, &Fault::Reset, &[0], &[0]);
    both(all, at, "reset-for-ever", EVER, &Fault::Reset, &[50], &[50]);
    both(all, at, "closed-before-the-head", 1, &Fault::LoseAnswer, &[0], &[0]);
    both(all, at, "closed-in-the-head", 1, &Fault::CutHead(20), &[0], &[0]);
    both(all, at, "closed-in-the-last-header", 1, &Fault::CutHead(usize::MAX), &[0], &[0]);
    let size = at.size;
    for cut in [0, 1, 65_535, 65_536, 65_537, size / 2, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, size - 1] {
        let pull = script(vec![("GET", at.layer.clone(), 1, Fault::CutBody(cut))], &[0]);
        let push = script(vec![("PUT", at.sent.clone(), 1, Fault::CutRequest(cut))], &[0]);
        add(all, &format!("closed-after-{cut}-bytes"), Some(pull), Some(push));
    }
    let pull = script(vec![("GET", at.layer.clone(), EVER, Fault::CutBody(size / 3))], &[0]);
    let push = script(vec![("PUT", at.sent.clone(), EVER, Fault::CutRequest(size / 3))], &[50]);
    add(all, "closed-at-a-third-for-ever", Some(pull), Some(push));
    let pull = script(vec![("GET", at.layer.clone(), EVER, Fault::CutBody(0))], &[50]);
    add(all, "no-body-for-ever", Some(pull), None);
    for cut in [0, 65_536, size / 2] {
        let pull = script(vec![("GET", at.layer.clone(), 1, Fault::ResetBody(cut))], &[0]);
        add(all, &format!("reset-after-{cut}-bytes"), Some(pull), None);
    }
    let read = |fault, times, codes: &[i32]| Some(script(vec![("GET", at.layer.clone(), times, fault)], codes));
    let sent = |fault, times, codes: &[i32]| Some(script(vec![("PUT", at.sent.clone(), times, fault)], codes));
    let hurry = |s: Option<Script>| s.map(|s| s.with(IMPATIENT));
    add(all, "silence-once", hurry(read(Fault::Silence, 1, &[0])), hurry(sent(Fault::Silence, 1, &[0])));
    add(all, "silence", hurry(read(Fault::Silence, EVER, &[50])), hurry(sent(Fault::Silence, EVER, &[50])));
    add(all, "stalled-once", hurry(read(Fault::Stall(size / 2), 1, &[0])), None);
    let stalled = read(Fault::Stall(0), EVER, &[50]).map(|s| s.with(NO_RETRY));
    add(all, "stalled", hurry(stalled), None);
    let drip = |what: &str| Fault::Raw(b"HTTP/1.1 200 OK\r\n".to_vec(), what.as_bytes().to_vec(), 300);
    let slow = |s: Option<Script>| hurry(s).map(|s| s.with(NO_RETRY));
    let once = |s: Option<Script>| s.map(|s| s.with(NO_RETRY));
    add(all, "a-body-that-drips", slow(read(Fault::Slow(20), EVER, &[50])), None);
    add(
        all,
        "a-head-that-drips",
        slow(read(drip("X-A: b\r\n"), EVER, &[50])),
        slow(sent(drip("X-A: b\r\n"), EVER, &[50])),
    );
    add(all, "an-upload-taken-in-drips", None, slow(sent(Fault::SlowTake(100, 300), EVER, &[50])));
    let endless = |first: &str, more: &str| Fault::Raw(first.into(), more.repeat(200).into(), 0);
    let fast = |fault: Fault| {
        let rule = |method, path: &str| vec![(method, path.to_owned(), EVER, fault.clone())];
        (Some(script(rule("GET", &at.layer), &[50])), Some(script(rule("PUT", &at.sent), &[50])))
    };
    let (pull, push) = fast(endless("HTTP/1.1 200 OK\r\n", "X-Header: value\r\n"));
    add(all, "a-head-without-end", once(pull), once(push));
    let (pull, push) = fast(endless("", "HTTP/1.1 100 Continue\r\n\r\n"));
    add(all, "continue-without-end", slow(pull), slow(push));
    let (pull, push) =
        fast(raw(&format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(200_000))));
    add(all, "a-header-of-200-kb", pull, push);
    let (pull, push) = fast(raw("HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"));
    add(all, "a-status-that-is-no-number", pull, push);
    let (pull, push) = fast(raw("SSH-2.0-OpenSSH_9.2\r\n"));
    add(all, "another-protocol", pull, push);
    let (pull, push) = fast(raw("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"));
    add(all, "a-header-with-nul", pull, push);
    both(
        all,
        at,
        "early-hints",
        1,
        &Fault::Before(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec()),
        &[0],
        &[0],
    );
    both(all, at, "continue-unasked", 1, &Fault::Before(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), &[0], &[0]);
    // Between requests, on connections that are kept.
    let sides = |fault: Fault, pull: &[i32], push: &[i32]| {
        let script = |codes| script(vec![("*", String::new(), EVER, fault.clone())], codes);
        (Some(script(pull)), Some(script(push)))
    };
    let every = |fault: Fault, codes: &[i32]| sides(fault, codes, codes);
    // A registry that seems to refuse what is attached to images.
    let partly = &[0, 12, 31, 50, 54];
    let (pull, push) = every(Fault::HangUp, &[0]);
    add(all, "closed-after-every-answer", pull, push);
    let (pull, push) =
        sides(Fault::After(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad".to_vec()), &[0, 12, 31, 50], partly);
    add(all, "a-second-answer-unasked", pull, push);
    let (pull, push) = sides(Fault::After(b"x".repeat(100)), &[0, 12, 31, 50], partly);
    add(all, "bytes-behind-every-answer", pull, push);
}

fn lengths(all: &mut Vec<Case>, at: &Points) {
    let size = at.size as u64;
    let mut read = |name: &str, fault: Fault, layer: &[i32], manifest: &[i32]| {
        let rules = |path: &str| vec![("GET", path.to_owned(), EVER, fault.clone())];
        let pull = script(rules(&at.layer), layer).with(NO_RETRY);
        // On the other side the same of a manifest that is asked for after it was put.
        let push = script(rules(&at.child), manifest).with(NO_RETRY);
        add(all, name, Some(pull), Some(push));
    };
    read("length-one-less", Fault::LieLength(size - 1), &[31], &[50]);
    read("length-one-more", Fault::LieLength(size + 1), &[31], &[50]);
    read("length-2-to-the-63", Fault::LieLength(1 << 63), &[31], &[50]);
    read("length-absent", Fault::NoHeader("Content-Length".into()), &[0], &[0]);
    read("length-twice", Fault::AlsoHeader("Content-Length".into(), "5".into()), &[31, 50], &[50]);
    read("length-negative", header("Content-Length", "-1"), &[31, 50], &[50]);
    read("length-no-number", header("Content-Length", "12abc"), &[31, 50], &[50]);
    read("length-over-64-bits", header("Content-Length", "99999999999999999999999"), &[31, 50], &[50]);
    read("body-longer-by-one", Fault::Longer(1), &[31], &[50]);
    read("body-without-end", Fault::Endless, &[31], &[50]);
    read("chunks", Fault::Chunked(true), &[0], &[0]);
    read("chunks-without-an-end", Fault::Chunked(false), &[0], &[50]);
    read("chunks-and-a-length", header("Transfer-Encoding", "chunked"), &[31, 50], &[50]);
    let chunked = |rest: &str| raw(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}"));
    read("a-chunk-size-of-garbage", chunked("zz\r\nabc\r\n0\r\n\r\n"), &[50], &[50]);
    read("a-chunk-size-beyond-64-bits", chunked("fffffffffffffffff\r\nabc\r\n"), &[50], &[50]);
    read("a-chunk-size-negative", chunked("-5\r\nabc\r\n"), &[50], &[50]);
    read(
        "a-chunk-size-without-end",
        Fault::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), b"0".repeat(9000), 0),
        &[50],
        &[50],
    );
    read("compressed-unasked", Fault::Gzip, &[31], &[50]);
    read("empty-200", Fault::Answer(200, Vec::new(), Vec::new()), &[31], &[50]);
    read("no-content-204", status(204), &[50], &[50]);
    read("not-modified-304", status(304), &[50], &[50]);
}

fn contents(all: &mut Vec<Case>, at: &Points, worker: &Worker<'_>) {
    let read =
        |path: &str, fault: Fault, codes: &[i32]| Some(script(vec![("GET", path.to_owned(), EVER, fault)], codes));
    let flip = || Fault::FlipByte(40);
    add(all, "another-layer", read(&at.layer, Fault::FlipByte(at.size - 1), &[31]), None);
    add(all, "another-configuration", read(&at.config, flip(), &[31]), None);
    add(all, "another-manifest-by-tag", read(&at.tag, flip(), &[31]), read(&at.tag, flip(), &[50]));
    add(all, "another-manifest-by-digest", read(&at.child, flip(), &[31]), read(&at.child, flip(), &[50]));
    let other = Digest::of(b"other").to_string();
    let digest = |value: &str| header("Docker-Content-Digest", value);
    let put = |path: &str, fault, codes: &[i32]| Some(script(vec![("PUT", path.to_owned(), EVER, fault)], codes));
    add(all, "digest-header-of-another", read(&at.tag, digest(&other), &[31]), put(&at.child, digest(&other), &[50]));
    add(all, "digest-header-of-another-at-the-tag", None, put(&at.tag, digest(&other), &[50]));
    add(all, "digest-header-of-another-blob", None, put(&at.sent, digest(&other), &[50]));
    add(
        all,
        "digest-header-of-garbage",
        read(&at.tag, digest("sha256:../../x"), &[0]),
        put(&at.tag, digest("x"), &[0]),
    );
    add(
        all,
        "digest-header-absent",
        read(&at.tag, Fault::NoHeader("Docker-Content-Digest".into()), &[0]),
        put(&at.tag, Fault::NoHeader("Docker-Content-Digest".into()), &[0]),
    );
    let kind = |value: &str| header("Content-Type", value);
    add(
        all,
        "type-of-an-index-for-a-manifest",
        read(&at.child, kind(OCI_INDEX), &[12]),
        read(&at.child, kind(OCI_INDEX), &[0]),
    );
    add(
        all,
        "type-of-something-else",
        read(&at.tag, kind("text/html"), &[12, 50]),
        read(&at.tag, kind("text/html"), &[0]),
    );
    add(
        all,
        "type-absent",
        read(&at.tag, Fault::NoHeader("Content-Type".into()), &[0]),
        read(&at.tag, Fault::NoHeader("Content-Type".into()), &[0]),
    );
    // A page of a captive portal in place of everything.
    let page =
        Fault::Answer(200, vec![("Content-Type".into(), "text/html".into())], b"<html>please log in</html>".to_vec());
    let everywhere = |codes: &[i32]| Some(script(vec![("*", String::new(), EVER, page.clone())], codes));
    add(all, "a-captive-portal", everywhere(&[12, 50]), everywhere(&[50]));
    let _ = worker;
}

fn ranges(all: &mut Vec<Case>, at: &Points) {
    let (size, half) = (at.size, at.size / 2);
    let mut again = |name: &str, times: usize, fault: Fault| {
        let rules = vec![("GET", at.layer.clone(), 1, Fault::CutBody(half)), ("GET", at.layer.clone(), times, fault)];
        add(all, name, Some(script(rules, &[0])), None);
    };
    let whole = format!("bytes {half}-{}/{size}", size - 1);
    again("range-ignored", EVER, Fault::IgnoreRange);
    again("range-of-another-place", 1, Fault::Part(half + 1..size, format!("bytes {}-{}/{size}", half + 1, size - 1)));
    again("range-overlapping", 1, Fault::Part(half - 100..size, format!("bytes {}-{}/{size}", half - 100, size - 1)));
    again("range-from-the-start", 1, Fault::Part(0..size, format!("bytes 0-{}/{size}", size - 1)));
    again("range-lies-about-the-whole", 1, header("Content-Range", format!("bytes {half}-{}/{}", size - 1, size * 2)));
    again("range-unsaid", 1, Fault::NoHeader("Content-Range".into()));
    again("range-garbage", 1, header("Content-Range", "bytes */*"));
    again("range-in-parts", 1, Fault::Part(half..half + 10_000, format!("bytes {half}-{}/{size}", half + 9_999)));
    again("range-not-satisfiable-416", 1, status(416));
    again("ranges-not-accepted", EVER, header("Accept-Ranges", "none"));
    again("range-answered-with-503", 1, status(503));
    // The right Content-Range over wrong bytes: found at the end.
    let rules = vec![
        ("GET", at.layer.clone(), 1, Fault::CutBody(half)),
        ("GET", at.layer.clone(), 1, Fault::Part(0..size - half, whole)),
    ];
    add(all, "range-of-wrong-bytes", Some(script(rules, &[31])), None);
    let rules = vec![("GET", at.layer.clone(), EVER, Fault::Part(0..size, format!("bytes 0-{}/{size}", size - 1)))];
    add(all, "range-unasked", Some(script(rules, &[0, 50])), None);
}

fn redirects(all: &mut Vec<Case>, at: &Points, worker: &Worker<'_>) {
    let (elsewhere, forbidden) = (worker.elsewhere_host(), worker.forbidden_host());
    let read = |place: &str, codes: &[i32]| script(vec![("GET", at.layer.clone(), EVER, to(place))], codes);
    let bytes = worker.place.large().bytes.clone();
    let away = format!("http://{elsewhere}/signed?key=s3cret");
    let good = read(&away, &[0]).elsewhere("GET", "/signed", Fault::Answer(200, Vec::new(), bytes.clone()));
    add(all, "redirect-to-another-host", Some(good), None);
    let asks =
        read(&away, &[50]).elsewhere("GET", "/signed", status_with(401, "WWW-Authenticate", "Basic realm=\"x\""));
    add(all, "redirect-to-a-host-that-wants-a-login", Some(asks), None);
    let bearer = challenge(&elsewhere);
    let asks = read(&away, &[50]).elsewhere("GET", "/signed", status_with(401, "WWW-Authenticate", bearer));
    add(all, "redirect-to-a-host-that-wants-a-token", Some(asks), None);
    let wrong = read(&away, &[31]).elsewhere("GET", "/signed", Fault::Answer(200, Vec::new(), vec![7; bytes.len()]));
    add(all, "redirect-to-wrong-bytes", Some(wrong), None);
    let back = format!("http://{}/v2/src/app/{}", worker.password.host(), at.layer);
    let bounced = read(&format!("http://{elsewhere}/back"), &[50]).elsewhere("GET", "/back", to(&back));
    add(all, "redirect-away-and-back-without-end", Some(bounced), None);
    for (name, place) in [
        ("to-a-host-over-http", format!("http://{forbidden}/x")),
        ("to-an-internal-host", format!("https://{forbidden}/x")),
        ("to-the-metadata-service", "http://169.254.169.254/latest/meta-data".to_owned()),
        ("to-the-metadata-service-over-tls", "https://169.254.169.254/latest/meta-data".to_owned()),
        ("to-a-file", "file:///etc/passwd".to_owned()),
        ("with-a-user", format!("http://u:p@{elsewhere}/x")),
        ("to-nowhere", "http://".to_owned()),
        ("to-itself", String::new()),
    ] {
        let read = read(&place, &[50]);
        let probe = script(vec![("GET", at.tag.clone(), EVER, to(&place))], &[50]);
        add(all, &format!("redirect-{name}"), Some(read), Some(probe));
    }
    let path = |n: usize| format!("/v2/src/app/{}?hop={n}", at.layer);
    let chain = |hops: usize, codes: &[i32]| {
        let mut rules = vec![("GET", format!("?hop={hops}"), EVER, Fault::Pass)];
        rules.extend((1..hops).map(|n| ("GET", format!("?hop={n}"), EVER, to(&path(n + 1)))));
        rules.push(("GET", at.layer.clone(), EVER, to(&path(1))));
        Some(script(rules, codes))
    };
    add(all, "redirects-3", chain(3, &[0]), None);
    add(all, "redirects-10", chain(9, &[50]), None);
    add(all, "redirect-without-a-place", Some(script(vec![("GET", at.layer.clone(), EVER, status(302))], &[50])), None);
}

fn existence(all: &mut Vec<Case>, at: &Points, worker: &Worker<'_>) {
    let always = |fault: Fault| vec![("GET", at.layer.clone(), EVER, fault)];
    let once = |fault: Fault| vec![("GET", at.layer.clone(), 1, fault)];
    let head = |fault: Fault| ("HEAD", at.layer.clone(), 1, fault);
    // Without a size, or with a redirect to where it is said to be, the size is asked for.
    let unsized_206 = always(Fault::Answer(206, Vec::new(), vec![0]));
    add(all, "said-to-be-there-and-is-not", None, Some(script(unsized_206.clone(), &[0])));
    add(all, "said-to-be-there-without-a-size", None, Some(script(unsized_206, &[0]).filled()));
    add(all, "said-not-to-be-there-and-is", None, Some(script(once(status(404)), &[0]).filled()));
    let sized = |range: &str| once(header("Content-Range", range));
    add(all, "said-to-have-another-size", None, Some(script(sized("bytes 0-0/5"), &[0]).filled()));
    add(all, "said-to-have-a-size-that-is-no-number", None, Some(script(sized("bytes 0-0/*"), &[0]).filled()));
    let away = || always(status_with(307, "Location", "http://store.invalid/x".to_owned()));
    let sized = |size: usize| head(Fault::Answer(200, Vec::new(), vec![0; size]));
    let other = [away(), vec![sized(at.size + 1)]].concat();
    add(all, "redirected-and-of-another-size", None, Some(script(other, &[0])));
    let missing = [away(), vec![head(status(404))]].concat();
    add(all, "redirected-and-not-there", None, Some(script(missing, &[0])));
    let gone = |times| vec![("GET", at.layer.clone(), times, status(404))];
    add(
        all,
        "a-blob-that-head-said-is-there",
        Some(script(gone(EVER), &[30, 50])),
        Some(script(gone(EVER), &[0]).filled()),
    );
    let there = header("Docker-Content-Digest", worker.place.app.digest().to_string());
    let lie = vec![("HEAD", "manifests/".to_owned(), EVER, there)];
    add(all, "head-lies-about-every-manifest", None, Some(script(lie, &[0, 31, 50])));
    let none = vec![("GET", at.config.clone(), EVER, status(404))];
    add(all, "a-configuration-that-is-not-there", Some(script(none, &[30, 50])), None);
    let none = vec![("GET", at.tag.clone(), EVER, status(404))];
    add(all, "a-tag-that-is-not-there", Some(script(none.clone(), &[50])), Some(script(none, &[50])));
}

fn lists(all: &mut Vec<Case>, worker: &Worker<'_>) {
    let manifest = worker.place.other.digest();
    let entry = format!(r#"{{"mediaType":"{}","digest":"{manifest}","size":5}}"#, worker.place.other.media_type);
    let page = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entry}]}}"#).into_bytes();
    let list = |link: Option<&str>, body: &[u8]| {
        let mut headers = vec![("Content-Type".to_owned(), OCI_INDEX.to_owned())];
        headers.extend(link.map(|to| ("Link".to_owned(), format!("<{to}>; rel=\"next\""))));
        Fault::Answer(200, headers, body.to_vec())
    };
    let mut referrers = |name: &str, times: usize, fault: Fault, pull: &[i32], push: &[i32]| {
        let rules = || vec![("GET", "/referrers/".to_owned(), times, fault.clone())];
        add(all, name, Some(script(rules(), pull)), Some(script(rules(), push)));
    };
    referrers("referrers-without-end", EVER, list(Some("/v2/src/other/referrers/again"), &page), &[12], &[12]);
    referrers(
        "referrers-go-on-elsewhere",
        EVER,
        list(Some(&format!("http://{}/x", worker.elsewhere_host())), &page),
        &[0],
        &[0],
    );
    referrers("referrers-of-garbage", EVER, list(None, b"<html>"), &[0], &[0]);
    referrers("referrers-503-once", 1, status(503), &[0], &[0]);
    referrers("referrers-500-for-ever", EVER, status(500), &[0], &[0]);
    referrers(
        "referrers-body-without-end",
        EVER,
        Fault::Raw(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b" ".repeat(65536), 0),
        &[0],
        &[0],
    );
}
