//! TLS in front of a server on this host; it can end connections in ways that TLS forbids.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// A fault of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Never,
    /// Closed before the handshake.
    AtOnce,
    /// Garbage in place of the handshake.
    Garbage,
    /// Closed, without a `close_notify`, after so many bytes of answers.
    After(usize),
}

/// A running front. Its threads end with the test process.
pub struct Front {
    pub port: u16,
    cuts: Arc<Mutex<Vec<Cut>>>,
}

impl Front {
    /// Before the server on this port, with this certificate and key.
    pub fn start(upstream: u16, certificate: &Path, key: &Path) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        let (config, cuts) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
        let shared: Arc<Mutex<Vec<Cut>>> = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let cut = shared.lock().unwrap().pop().unwrap_or(Cut::Never);
                let config = Arc::clone(&config);
                std::thread::spawn(move || {
                    let _ = serve(config, stream, upstream, cut);
                });
            }
        });
        Front { port, cuts }
    }

    /// The faults of the next connections; later ones have none.
    pub fn next(&self, cuts: &[Cut]) {
        *self.cuts.lock().unwrap() = cuts.iter().rev().copied().collect();
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn serve(config: Arc<ServerConfig>, client: TcpStream, upstream: u16, cut: Cut) -> io::Result<()> {
    match cut {
        Cut::AtOnce => return client.shutdown(Shutdown::Both),
        Cut::Garbage => return (&client).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        _ => {}
    }
    let server = TcpStream::connect(("127.0.0.1", upstream))?;
    let tls = Arc::new(Mutex::new(ServerConnection::new(config).map_err(io::Error::other)?));
    let left = if let Cut::After(bytes) = cut { bytes } else { usize::MAX };
    let (back, to, from) = (Arc::clone(&tls), client.try_clone()?, server.try_clone()?);
    let answers = std::thread::spawn(move || answer(&back, &to, &from, left));
    let outcome = requests(&tls, &client, &server);
    let _ = server.shutdown(Shutdown::Write);
    let _ = answers.join();
    outcome
}

/// Client to server.
fn requests(tls: &Mutex<ServerConnection>, mut client: &TcpStream, mut server: &TcpStream) -> io::Result<()> {
    let mut buf = vec![0; 32 * 1024];
    loop {
        let n = client.read(&mut buf)?;
        if n == 0 {
            return Ok(());
        }
        let (mut rest, mut plain) = (&buf[..n], Vec::new());
        let mut tls = tls.lock().unwrap();
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert.
                    tls.write_tls(&mut client)?;
                    client.shutdown(Shutdown::Both)?;
                    return Err(io::Error::other(error));
                }
            };
            let have = plain.len();
            plain.resize(have + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut plain[have..])?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        drop(tls);
        server.write_all(&plain)?;
    }
}

/// Server to client, with `close_notify` at the end if it gets that far.
fn answer(
    tls: &Mutex<ServerConnection>,
    mut client: &TcpStream,
    mut server: &TcpStream,
    mut left: usize,
) -> io::Result<()> {
    let mut buf = vec![0; 16 * 1024];
    while left > 0 {
        let n = server.read(&mut buf)?.min(left);
        if n == 0 {
            break;
        }
        let mut tls = tls.lock().unwrap();
        tls.writer().write_all(&buf[..n])?;
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        left -= n;
    }
    if left > 0 {
        let mut tls = tls.lock().unwrap();
        tls.send_close_notify();
        tls.write_tls(&mut client)?;
    }
    client.shutdown(Shutdown::Both)
}
