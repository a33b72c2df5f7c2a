//! An in-memory registry of blobs whose upload sessions can be resumed in the middle of a request, as the
//! distribution-spec describes. (`docker-registry` 2.8 cannot: its session state becomes stale when a request breaks.)

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mirror_bundle::oci::Digest;

/// A running server. Its threads end with the test process.
pub struct Sessions {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next: usize,
    open: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
}

impl Sessions {
    pub fn start() -> Sessions {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = serve(&state, stream);
                });
            }
        });
        Sessions { port, state }
    }

    /// The sessions that are open.
    pub fn open(&self) -> usize {
        self.state.lock().unwrap().open.len()
    }

    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.state.lock().unwrap().blobs.get(&digest.to_string()).cloned()
    }
}

/// One request per connection.
fn serve(state: &Mutex<State>, stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut range) = (0u64, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "content-range" => range = value.trim().split('-').next().and_then(|v| v.parse::<usize>().ok()),
            _ => {}
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let whole = body.len() as u64 == length;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = path.rsplit('/').next().unwrap_or("").to_owned();
    let mut stream = stream;
    let mut reply = |status: u16, headers: String| {
        write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n")
    };
    let mut state = state.lock().unwrap();
    if !path.contains("/uploads/") {
        return match state.blobs.get(&name) {
            Some(blob) => {
                write!(stream, "HTTP/1.1 200 x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", blob.len())
            }
            None => reply(404, String::new()),
        };
    }
    if method == "POST" {
        state.next += 1;
        let id = format!("session{}", state.next);
        state.open.insert(id.clone(), Vec::new());
        return reply(202, format!("Location: /v2/x/blobs/uploads/{id}?state=0\r\n"));
    }
    let Some(data) = state.open.get_mut(&name) else { return reply(404, String::new()) };
    if range.is_some_and(|start| start != data.len()) {
        return reply(416, String::new());
    }
    data.extend_from_slice(&body);
    let size = data.len();
    let place = format!("Location: /v2/x/blobs/uploads/{name}?state={size}\r\nRange: 0-{}\r\n", size.saturating_sub(1));
    match method {
        "DELETE" => {
            state.open.remove(&name);
            reply(204, String::new())
        }
        _ if !whole => Ok(()),
        "GET" => reply(204, place),
        "PATCH" => reply(202, place),
        "PUT" => {
            let digest = Digest::of(data);
            if !query.contains(&digest.hex()) {
                return reply(400, String::new());
            }
            let data = state.open.remove(&name).unwrap();
            state.blobs.insert(digest.to_string(), data);
            reply(201, format!("Docker-Content-Digest: {digest}\r\n"))
        }
        _ => reply(405, String::new()),
    }
}
