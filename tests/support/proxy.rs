//! A scripted fault proxy: an HTTP/1.1 server that forwards requests to a real registry, except those with a fault. It
//! keeps connections alive and records the requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod forward;

/// A fault.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers itself: status, headers, body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Passes the answer's head and this many bytes of its body on, then closes.
    CutBody(usize),
    /// Passes this many bytes of the answer's body on, then nothing until the other side goes away.
    Stall(usize),
    /// Flips a bit of this byte of the answer's body.
    FlipByte(usize),
    /// Announces this `Content-Length` instead of the true one.
    LieLength(u64),
    /// Sends this many bytes after the body, without a `Content-Length`.
    Longer(usize),
    /// Sends a body that never ends, without a `Content-Length`.
    Endless,
    /// Replaces (or adds) a header of the answer.
    Header(String, String),
    /// Drops the request's `Range`.
    IgnoreRange,
    /// Passes only this many bytes of the request's body on, then closes both connections.
    CutRequest(usize),
    /// Passes the whole request on, then closes without giving its answer back.
    LoseAnswer,
    /// One byte of the answer's body per this many milliseconds.
    Slow(u64),
    /// Never answers.
    Silence,
    /// Sends these bytes unchanged, then the second ones repeatedly, with a pause of so many milliseconds.
    Raw(Vec<u8>, Vec<u8>, u64),
    /// Waits so many milliseconds before it takes the request's body.
    Hold(u64),
    /// Resets the connection (RST) instead of an answer.
    Reset,
    /// Passes this many bytes of the answer's head on, then closes.
    CutHead(usize),
    /// Passes the answer's head and this many bytes of its body on, then resets the connection (RST).
    ResetBody(usize),
    /// Takes a header out of the answer.
    NoHeader(String),
    /// Adds a header to the answer, also where it has one of that name.
    AlsoHeader(String, String),
    /// Passes the answer on with another status.
    Status(u16),
    /// Takes the whole request, passes nothing on, and answers this: status and headers.
    Swallow(u16, Vec<(String, String)>),
    /// Sends these bytes before the answer.
    Before(Vec<u8>),
    /// Sends these bytes behind the answer, on the same connection.
    After(Vec<u8>),
    /// Passes the answer on, then closes the connection without having said so.
    HangUp,
    /// Sends the body in chunks and without a `Content-Length`; ends it cleanly, or not.
    Chunked(bool),
    /// Sends the body compressed, and says so.
    Gzip,
    /// Answers 206 with this part of the whole body and this `Content-Range`.
    Part(std::ops::Range<usize>, String),
    /// Takes this many bytes of the request's body at a time, with a pause of so many milliseconds.
    SlowTake(usize, u64),
    /// No fault: to let a number of requests pass before the next rule.
    Pass,
}

/// A fault for the next `times` requests of this method whose target contains `path`.
#[derive(Clone, Debug)]
struct Rule {
    method: &'static str,
    path: String,
    fault: Fault,
    times: usize,
}

/// A request as the proxy saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The number of the connection, from 0.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A running proxy. Its threads end with the test process.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    upstream: Option<u16>,
    rules: Mutex<Vec<Rule>>,
    otherwise: Mutex<Fault>,
    wanted: Mutex<Option<String>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

impl Proxy {
    /// In front of the registry on this loopback port; without one, requests without a rule are answered 404.
    pub fn start(upstream: Option<u16>) -> Proxy {
        Proxy::start_on("127.0.0.1", upstream)
    }

    /// The same on another address of this host.
    pub fn start_on(address: &str, upstream: Option<u16>) -> Proxy {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            upstream,
            rules: Mutex::default(),
            otherwise: Mutex::new(Fault::Pass),
            wanted: Mutex::default(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = serve(&state, stream, number);
                });
            }
        });
        Proxy { port, state }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds a rule; the first one that matches a request is used, at most `times` times.
    pub fn on(&self, method: &'static str, path: impl Into<String>, times: usize, fault: Fault) -> &Proxy {
        self.state.rules.lock().unwrap().push(Rule { method, path: path.into(), fault, times });
        self
    }

    /// The fault for requests that match no rule.
    pub fn otherwise(&self, fault: Fault) {
        *self.state.otherwise.lock().unwrap() = fault;
    }

    /// Requires this `Authorization` (`Basic`) in place of the registry, which need not have a login of its own.
    pub fn require_authorization(&self, authorization: String) {
        *self.state.wanted.lock().unwrap() = Some(authorization);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The requests after the first so many.
    pub fn since(&self, before: usize) -> Vec<Seen> {
        self.state.seen.lock().unwrap()[before..].to_vec()
    }

    /// How many requests were seen.
    pub fn total(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// How many requests of this method, with this in their target, were seen.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|s| s.method == method && s.target.contains(path)).count()
    }

    /// Whether any request here carried a login.
    pub fn saw_authorization(&self) -> bool {
        self.seen().iter().any(|s| s.header("authorization").is_some())
    }
}

/// A status without more.
pub fn status(code: u16) -> Fault {
    Fault::Answer(code, Vec::new(), Vec::new())
}

/// A status with one header.
pub fn status_with(code: u16, name: &str, value: impl Into<String>) -> Fault {
    Fault::Answer(code, vec![(name.to_owned(), value.into())], Vec::new())
}

fn serve(state: &State, client: TcpStream, connection: usize) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut client, mut kept) = (client, None);
    while let Some((first, headers)) = head(&mut reader)? {
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let seen = Seen { method: method.clone(), target: target.clone(), headers: headers.clone(), connection };
        let stranger = state.wanted.lock().unwrap().as_deref().is_some_and(|w| seen.header("authorization") != Some(w));
        state.seen.lock().unwrap().push(seen);
        let fault = match pick(state, &method, &target) {
            Fault::Pass if stranger => status_with(401, "WWW-Authenticate", "Basic realm=\"proxy\""),
            fault => fault,
        };
        let length: usize = value(&headers, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        if let Fault::Silence = fault {
            forward::until_gone(&mut client);
            return Ok(());
        }
        if let Fault::Reset = fault {
            return forward::reset(&client);
        }
        if let Fault::Raw(first, more, pause) = &fault {
            client.write_all(first)?;
            while !more.is_empty() {
                client.write_all(more)?;
                std::thread::sleep(Duration::from_millis(*pause));
            }
            let _ = client.shutdown(Shutdown::Both);
            return Ok(());
        }
        if let Fault::Hold(pause) = fault {
            std::thread::sleep(Duration::from_millis(pause));
        }
        let own = match (&fault, state.upstream) {
            (Fault::Answer(code, more, body), _) => Some((*code, more.clone(), body.clone())),
            (Fault::Swallow(code, more), _) => Some((*code, more.clone(), Vec::new())),
            (_, None) => Some((404, Vec::new(), Vec::new())),
            _ => None,
        };
        let mut length = length;
        if let Fault::Swallow(..) = fault {
            if value(&headers, "expect").is_some() {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            io::copy(&mut (&mut reader).take(length as u64), &mut io::sink())?;
            length = 0;
        }
        if let Some((code, more, body)) = own {
            // An early answer: the rest of the request's body is not read, so the connection ends here.
            let close = length > 0;
            let mut out = format!("HTTP/1.1 {code} Scripted\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in more {
                out += &format!("{name}: {value}\r\n");
            }
            out += if close { "Connection: close\r\n\r\n" } else { "\r\n" };
            client.write_all(out.as_bytes())?;
            if method != "HEAD" {
                client.write_all(&body)?;
            }
            if close {
                let _ = client.shutdown(Shutdown::Write);
                let _ = io::copy(&mut reader.take(64 << 20), &mut io::sink());
                return Ok(());
            }
            continue;
        }
        let port = state.upstream.unwrap_or(0);
        if !forward::forward(&fault, (&method, &first, headers, length), &mut reader, &mut client, &mut kept, port)? {
            let _ = client.shutdown(Shutdown::Both);
            return Ok(());
        }
    }
    Ok(())
}

type Headers = Vec<(String, String)>;

/// The first line and the headers; `None` at the end of the connection.
fn head(reader: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(Some((first.trim_end().to_owned(), headers))),
        }
    }
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

fn pick(state: &State, method: &str, target: &str) -> Fault {
    let mut rules = state.rules.lock().unwrap();
    let found = rules.iter().position(|r| (r.method == method || r.method == "*") && target.contains(&r.path));
    let Some(at) = found else { return state.otherwise.lock().unwrap().clone() };
    let fault = rules[at].fault.clone();
    rules[at].times = rules[at].times.saturating_sub(1);
    if rules[at].times == 0 {
        rules.remove(at);
    }
    fault
}
