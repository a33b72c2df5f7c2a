//! What a registry sends: the input is answers as they go over the wire, split at a line `%%`, one for each
//! connection (the last is repeated). Proxies point at the same server, so nothing leaves this host.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mirror_bundle::oci::{Digest, Repository};
use mirror_bundle::registry::{Client, Options, Wanted};

struct Server {
    port: u16,
    answers: Arc<Mutex<Vec<Vec<u8>>>>,
    next: Arc<AtomicUsize>,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            // SAFETY: no other thread runs yet.
            unsafe { std::env::set_var(name, format!("http://127.0.0.1:{port}")) };
        }
        let server = Server { port, answers: Arc::default(), next: Arc::default() };
        let (answers, next) = (Arc::clone(&server.answers), Arc::clone(&server.next));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else { continue };
                let _ = connection.set_read_timeout(Some(Duration::from_millis(100)));
                let mut request = Vec::new();
                let mut buffer = [0; 2048];
                while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                    match connection.read(&mut buffer) {
                        Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                        _ => break,
                    }
                }
                let answer = {
                    let answers = answers.lock().unwrap();
                    let at = next.fetch_add(1, Ordering::SeqCst).min(answers.len().saturating_sub(1));
                    answers.get(at).cloned().unwrap_or_default()
                };
                let _ = connection.write_all(&answer);
                let _ = connection.shutdown(Shutdown::Write);
            }
        });
        server
    })
}

fn split(data: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(4).position(|w| w == b"\n%%\n") {
        out.push(rest[..at].to_vec());
        rest = &rest[at + 4..];
    }
    out.push(rest.to_vec());
    out
}

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else { return };
    let server = server();
    *server.answers.lock().unwrap() = split(rest);
    server.next.store(0, Ordering::SeqCst);
    let host = format!("127.0.0.1:{}", server.port);
    let options = Options {
        plain_http: vec![host.clone()],
        timeout: Duration::from_millis(300),
        retries: u32::from(mode >> 7),
        backoff: Duration::from_millis(1),
        auth_file: None,
        ..Options::default()
    };
    let client = Client::new(options).unwrap();
    let repository: Repository = format!("{host}/a/b").parse().unwrap();
    let digest = Digest::of(b"hello");
    let begun = Instant::now();
    match mode & 7 {
        0 => {
            if let Ok(Some(fetched)) = client.get_manifest(&repository, &Wanted::Digest(digest)) {
                assert_eq!(Digest::of(&fetched.bytes), digest);
            }
        }
        1 => {
            if let Ok(Some(fetched)) = client.get_manifest(&repository, &Wanted::Tag("t".parse().unwrap())) {
                assert_eq!(Digest::of(&fetched.bytes), fetched.digest);
            }
        }
        2 | 3 => {
            let offset = u64::from(mode & 1) * 2;
            if let Ok(blob) = client.get_blob(&repository, &digest, offset, 5) {
                let mut bytes = Vec::new();
                if blob.take(1 << 20).read_to_end(&mut bytes).is_ok() {
                    assert_eq!(bytes.len() as u64, 5 - offset);
                }
            }
        }
        4 => drop(client.referrers(&repository, &digest)),
        5 => drop(client.head_manifest(&repository, &Wanted::Tag("t".parse().unwrap()))),
        6 => drop(client.head_blob(&repository, &digest)),
        _ => {
            if let Ok(Some(bytes)) = client.fetch_url(&format!("http://{host}/x"), 4096) {
                assert!(bytes.len() <= 4096);
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
});
