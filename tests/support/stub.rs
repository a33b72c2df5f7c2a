//! A small registry in memory, with the quirks of those in the field: rules look at each request before it is answered.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mirror_bundle::oci::Digest;
use serde_json::{Value, json};

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether it reads.
    pub fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// What is asked for below `/v2/NAME/manifests/` or another kind, and NAME.
    pub fn below(&self, kind: &str) -> Option<(&str, &str)> {
        let path = self.path.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        path.unwrap_or(&self.path).strip_prefix("/v2/")?.rsplit_once(&format!("/{kind}/"))
    }

    fn query(&self, key: &str) -> Option<String> {
        let value = self.query.split('&').find_map(|pair| pair.strip_prefix(&format!("{key}=")))?;
        Some(value.replace("%3A", ":").replace("%2F", "/"))
    }
}

/// An answer: status, headers, body.
pub struct Answer(pub u16, pub Vec<(&'static str, String)>, pub Vec<u8>);

impl Answer {
    pub fn error(status: u16, code: &str) -> Answer {
        let body = json!({ "errors": [{ "code": code, "message": code.to_lowercase() }] });
        Answer(status, vec![("Content-Type", "application/json".into())], body.to_string().into_bytes())
    }
}

/// What a rule does with a request: `None` leaves it to the next, and to the registry at last.
pub type Rule = Box<dyn Fn(&Request, &mut State) -> Option<Answer> + Send + Sync>;

/// One repository.
#[derive(Default)]
pub struct Repository {
    pub blobs: HashMap<String, Vec<u8>>,
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    pub tags: HashMap<String, String>,
    /// What each manifest's list of referrers has, if there is the API.
    pub lists: HashMap<String, Vec<Value>>,
}

#[derive(Default)]
pub struct State {
    pub repositories: HashMap<String, Repository>,
    uploads: HashMap<String, Vec<u8>>,
    pub seen: Vec<Request>,
    /// Whether it has the referrers API.
    pub api: bool,
    opened: usize,
}

/// A running registry. Its threads end with the test.
pub struct Stub {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Stub {
    pub fn start(api: bool, rules: Vec<Rule>) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { api, ..State::default() }));
        let (shared, rules) = (Arc::clone(&state), Arc::new(rules));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, rules) = (Arc::clone(&shared), Arc::clone(&rules));
                std::thread::spawn(move || while serve(&stream, &state, &rules).is_some() {});
            }
        });
        Stub { port, state }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().unwrap())
    }

    /// Tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.with(|state| {
            let found = state.repositories.get(repository);
            let mut tags: Vec<String> = found.into_iter().flat_map(|r| r.tags.keys().cloned()).collect();
            tags.sort();
            tags
        })
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, rules: &[Rule]) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    if headers.contains_key("expect") {
        (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length: usize = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let request = Request { method, path: path.to_owned(), query: query.to_owned(), headers, body };
    let Answer(status, headers, body) = {
        let mut state = state.lock().unwrap();
        state.seen.push(request.clone());
        rules.iter().find_map(|rule| rule(&request, &mut state)).unwrap_or_else(|| answer(&request, &mut state))
    };
    // 0: the connection is closed without a word.
    (status > 0).then_some(())?;
    let mut head = format!("HTTP/1.1 {status} X\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") && status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    (&*stream).write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if request.method != "HEAD" && status != 204 {
        (&*stream).write_all(&body).ok()?;
    }
    Some(())
}

/// What a registry without quirks answers.
pub fn answer(request: &Request, state: &mut State) -> Answer {
    if request.path == "/v2/" {
        return Answer(200, Vec::new(), b"{}".to_vec());
    }
    let found = ["blobs/uploads", "manifests", "referrers", "blobs"].into_iter();
    let Some((kind, (name, what))) = found.filter_map(|kind| Some((kind, request.below(kind)?))).next() else {
        return Answer::error(404, "NOT_FOUND");
    };
    let api = state.api;
    let State { repositories, uploads, opened, .. } = state;
    let digest = |digest: &str| ("Docker-Content-Digest", digest.to_owned());
    let repository = repositories.entry(name.to_owned()).or_default();
    match (kind, request.method.as_str()) {
        ("manifests", "PUT") => {
            let own = Digest::of(&request.body).to_string();
            let document: Value = serde_json::from_slice(&request.body).unwrap();
            let kind = request.header("content-type").unwrap().to_owned();
            repository.manifests.insert(own.clone(), (kind.clone(), request.body.clone()));
            if !what.starts_with("sha256:") {
                repository.tags.insert(what.to_owned(), own.clone());
            }
            let mut headers = vec![digest(&own)];
            if let (true, Some(subject)) = (api, document["subject"]["digest"].as_str()) {
                let entry = json!({ "mediaType": kind, "digest": own, "size": request.body.len() });
                repository.lists.entry(subject.to_owned()).or_default().push(entry);
                headers.push(("OCI-Subject", subject.to_owned()));
            }
            Answer(201, headers, Vec::new())
        }
        ("manifests", _) => {
            let own = repository.tags.get(what).map_or(what, String::as_str);
            match repository.manifests.get(own) {
                Some((kind, bytes)) => Answer(200, vec![("Content-Type", kind.clone()), digest(own)], bytes.clone()),
                None => Answer::error(404, "MANIFEST_UNKNOWN"),
            }
        }
        ("referrers", _) if api => {
            let list = repository.lists.get(what).cloned().unwrap_or_default();
            let kind = super::image::OCI_INDEX;
            let body = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": list });
            Answer(200, vec![("Content-Type", kind.to_owned())], body.to_string().into_bytes())
        }
        ("blobs", _) => match (repository.blobs.get(what), request.header("range")) {
            (None, _) => Answer::error(404, "BLOB_UNKNOWN"),
            (Some(blob), Some("bytes=0-0")) if !blob.is_empty() => {
                Answer(206, vec![("Content-Range", format!("bytes 0-0/{}", blob.len()))], blob[..1].to_vec())
            }
            (Some(blob), _) => Answer(200, vec![digest(what)], blob.clone()),
        },
        ("blobs/uploads", "POST") => {
            *opened += 1;
            uploads.insert(opened.to_string(), Vec::new());
            Answer(202, vec![("Location", format!("{}{opened}", request.path))], Vec::new())
        }
        ("blobs/uploads", method) => {
            let Some(upload) = uploads.get_mut(what) else { return Answer::error(404, "BLOB_UPLOAD_UNKNOWN") };
            let start = request.header("content-range").map(|r| r.split('-').next().unwrap().parse::<usize>().unwrap());
            if start.is_some_and(|start| start != upload.len()) {
                return Answer::error(416, "RANGE");
            }
            upload.extend(&request.body);
            let range = || ("Range", format!("0-{}", upload.len().saturating_sub(1)));
            match method {
                "PATCH" => Answer(202, vec![range(), ("Location", request.path.clone())], Vec::new()),
                "GET" => Answer(204, vec![range()], Vec::new()),
                "DELETE" => Answer(204, Vec::new(), Vec::new()),
                _ if Some(Digest::of(upload).to_string()) != request.query("digest") => {
                    Answer::error(400, "DIGEST_INVALID")
                }
                _ => {
                    let own = Digest::of(upload).to_string();
                    repository.blobs.insert(own.clone(), uploads.remove(what).unwrap());
                    Answer(201, vec![digest(&own)], Vec::new())
                }
            }
        }
        _ => Answer::error(404, "NOT_FOUND"),
    }
}
