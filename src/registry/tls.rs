//! TLS: the trusted roots, the one certificate rule that differs from rustls, and the connector that gives both to
//! ureq. Only this file uses `ureq::unversioned`, which is outside semantic versioning.
//!
//! Trusted are the system's roots (with `SSL_CERT_FILE` and `SSL_CERT_DIR`, as rustls-native-certs reads them), the
//! certificates of `--ca-file`, and `*.crt` in `HOST[:port]` below `~/.config/containers/certs.d`,
//! `~/.config/docker/certs.d` (docker without root), `/etc/containers/certs.d` and `/etc/docker/certs.d`. A `NAME.cert`
//! there with its `NAME.key` is the client certificate, shown to this host only; the first folder that has one gives it.
//! A server certificate that is byte for byte one of these is accepted even where rustls refuses it as a CA used as
//! a server certificate: many disconnected registries serve what `openssl req -x509` makes, and curl, `oc` and
//! `podman` accept that. Name and dates are checked all the same, and the server must prove that it has the key.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};

use zeroize::Zeroizing;

use super::interrupt::Interruptible;
use super::validity;
use crate::error::{Code, Error, Result};
use crate::fs::dir;
use crate::fs::small::{self, Unread};

/// Where `podman` and `docker` store certificates per registry.
const CERTS_D: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
/// The largest accepted certificate file, in bytes.
const MAX_PEM: u64 = 16 * 1024 * 1024;

/// The trusted certificates; the system's are read when the first TLS connection is made.
pub(super) struct Trust {
    extra: Vec<CertificateDer<'static>>,
    folders: Vec<PathBuf>,
    provider: Arc<CryptoProvider>,
    system: OnceLock<Vec<CertificateDer<'static>>>,
    hosts: Mutex<HashMap<String, Arc<ClientConfig>>>,
}

impl Trust {
    /// Reads `--ca-file` now, so that an invalid one is reported at once.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Trust> {
        let extra = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
        Ok(Trust {
            extra,
            folders: CERTS_D.iter().map(PathBuf::from).collect(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            system: OnceLock::new(),
            hosts: Mutex::new(HashMap::new()),
        })
    }

    /// Adds the folders of this user, before those of the system.
    pub(super) fn of_user(mut self, env: &dyn Fn(&str) -> Option<OsString>) -> Trust {
        let var = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(config) = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|home| home.join(".config"))) {
            self.folders.splice(0..0, ["containers/certs.d", "docker/certs.d"].map(|below| config.join(below)));
        }
        self
    }

    /// The configuration for a host, created once per `host[:port]`.
    fn config(&self, authority: &str) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = hosts.get(authority) {
            return Ok(Arc::clone(config));
        }
        let mut all = self.extra.clone();
        for folder in &self.folders {
            all.extend(certificates_below(&folder.join(authority)));
        }
        all.extend(self.system.get_or_init(|| rustls_native_certs::load_native_certs().certs).iter().cloned());
        let identity = self.folders.iter().find_map(|folder| identity_below(&folder.join(authority)));
        let config = Arc::new(self.build(all, identity.transpose()?)?);
        hosts.insert(authority.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    fn build(
        &self,
        all: Vec<CertificateDer<'static>>,
        identity: Option<Identity>,
    ) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(all.iter().cloned());
        if roots.is_empty() {
            return Err(rustls::Error::General("this system has no trusted certificates".to_owned()));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        let verifier = Verifier { chain, pinned: all.into_iter().collect() };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key),
            None => Ok(config.with_no_client_auth()),
        }
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |why: &str| {
        Error::new(Code::Usage, format!("`{}` cannot be used as a CA file", path.display()))
            .fact(why)
            .fact("expected one or more PEM certificates")
    };
    let certificates = pem(path).map_err(|e| e.error("cannot read the CA file", path, Code::Usage))?;
    let certificates = certificates.ok_or_else(|| wrong("a part of it is not PEM"))?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|_| wrong("a certificate in it cannot be parsed"))?;
    }
    if certificates.is_empty() { Err(wrong("no certificate is in it")) } else { Ok(certificates) }
}

/// The certificates of a PEM file; `None` if it is not PEM.
fn pem(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, Unread> {
    let bytes = small::read(path, MAX_PEM)?;
    Ok(CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().ok())
}

/// `*.crt` in a certs.d folder. An unreadable file adds no trust, and the failing connection reports what is missing.
fn certificates_below(folder: &Path) -> Vec<CertificateDer<'static>> {
    let entries = dir::list_start(folder, dir::MAX_ENTRIES).unwrap_or_default();
    let paths = entries.into_iter().map(|(name, _)| folder.join(name));
    let crt = paths.filter(|path| path.extension().is_some_and(|e| e == "crt"));
    crt.filter_map(|path| pem(&path).ok().flatten()).flatten().collect()
}

/// A client certificate with its chain, and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The first `NAME.cert` of a certs.d folder with its `NAME.key`. An existing but unusable pair is an error: otherwise
/// the host would refuse the connection without naming the cause.
fn identity_below(folder: &Path) -> Option<Result<Identity, rustls::Error>> {
    let entries = dir::list_start(folder, dir::MAX_ENTRIES).unwrap_or_default();
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|(name, _)| folder.join(name)).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "cert"));
    let path = paths.into_iter().min()?;
    let wrong = |path: &Path| {
        rustls::Error::General(format!("the client certificate needs `{}`, which cannot be used", path.display()))
    };
    let chain = pem(&path).ok().flatten().filter(|chain| !chain.is_empty());
    let key = || {
        let path = path.with_extension("key");
        let bytes = small::read(&path, MAX_PEM).map(Zeroizing::new).map_err(|_| wrong(&path))?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| wrong(&path))
    };
    Some(chain.ok_or_else(|| wrong(&path)).and_then(|chain| Ok((chain, key()?))))
}

/// webpki's check of the chain, and the rule for pinned certificates.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    pinned: HashSet<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        if !self.pinned.contains(end_entity) {
            return Err(refused);
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        match validity::of(end_entity) {
            Some((from, _)) if now.as_secs() < from => Err(CertificateError::NotValidYet.into()),
            Some((_, until)) if now.as_secs() > until => Err(CertificateError::Expired.into()),
            Some(_) => Ok(ServerCertVerified::assertion()),
            None => Err(refused),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// An agent that connects (through the configured `CONNECT` proxy, if any) and speaks TLS with this trust.
pub(super) fn agent(config: ureq::config::Config, trust: Arc<Trust>, stop: Arc<AtomicBool>) -> ureq::Agent {
    let connector = Connector::<()>::chain(ConnectProxyConnector::default(), TcpConnector::default())
        .chain(Interruptible(stop))
        .chain(TlsConnector(trust));
    ureq::Agent::with_parts(config, connector, Resolved::default())
}

/// How long a resolved name is cached. ureq resolves for every request, even when it then reuses a connection.
const FRESH: Duration = Duration::from_secs(30);

/// The system's resolver with a short cache.
#[derive(Debug, Default)]
struct Resolved {
    system: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Resolver for Resolved {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let name = format!("{:?}{:?}", uri.scheme_str(), uri.authority());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, addresses)) = known().get(&name)
            && when.elapsed() < FRESH
        {
            let mut out = self.empty();
            addresses.iter().for_each(|address| out.push(*address));
            return Ok(out);
        }
        let fresh = self.system.resolve(uri, config, timeout)?;
        known().insert(name, (Instant::now(), fresh.iter().copied().collect()));
        Ok(fresh)
    }
}

struct TlsConnector(Arc<Trust>);

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let authority = details.uri.authority().ok_or(ureq::Error::TlsRequired)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|e| ureq::Error::Other(Box::new(e)))?;
        let config = self.0.config(&authority.as_str().to_ascii_lowercase())?;
        let mut conn = ClientConnection::new(config, name)?;
        let mut sock = TransportAdapter::new(transport.boxed(), Arc::clone(&details.current_time));
        sock.set_timeout(details.timeout);
        conn.complete_io(&mut sock)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned { conn, sock } })))
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        // A connection that ends without `close_notify` was cut. ureq would take that, and a reset, for the end of a
        // body without a length.
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
                std::io::Error::other("the connection was cut off")
            }
            _ => e,
        })?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    /// A self-signed certificate for `r.example`, made by openssl with these further arguments.
    fn certificate(dir: &Path, more: &[&str]) -> CertificateDer<'static> {
        let pem = dir.join("c.pem");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=r"])
            .args(["-addext", "subjectAltName=DNS:r.example", "-keyout", "/dev/null", "-out"])
            .arg(&pem)
            .args(more)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        CertificateDer::from_pem_file(&pem).unwrap()
    }

    fn check(
        trusted: &CertificateDer<'static>,
        served: &CertificateDer<'static>,
        name: &str,
        when: u64,
    ) -> Result<(), rustls::Error> {
        let trust = Trust::new(None).unwrap();
        let roots: RootCertStore = {
            let mut roots = RootCertStore::empty();
            roots.add(trusted.clone()).unwrap();
            roots
        };
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), trust.provider).build().unwrap();
        let verifier = Verifier { chain, pinned: [trusted.clone()].into_iter().collect() };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let when = UnixTime::since_unix_epoch(Duration::from_secs(when));
        verifier.verify_server_cert(served, &[], &name, &[], when).map(|_| ())
    }

    #[test]
    fn a_pinned_ca_certificate_is_accepted_for_its_name_and_dates_only() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ca = certificate(one.path(), &["-days", "2"]);
        let other = certificate(two.path(), &["-days", "2"]);
        let now = UnixTime::now().as_secs();
        assert_eq!(check(&ca, &ca, "r.example", now), Ok(()));
        assert!(check(&ca, &ca, "s.example", now).is_err(), "another name");
        assert!(check(&ca, &other, "r.example", now).is_err(), "another certificate of that name");
        let day = 86_400;
        assert_eq!(check(&ca, &ca, "r.example", now + 3 * day), Err(CertificateError::Expired.into()));
        assert_eq!(check(&ca, &ca, "r.example", now - day), Err(CertificateError::NotValidYet.into()));
    }

    #[test]
    fn a_ca_file_without_certificates_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in ["", "hello", broken, "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(Trust::new(Some(&path)).err().unwrap().code(), Code::Usage, "{bad:?}");
        }
        assert!(Trust::new(Some(&dir.path().join("none.pem"))).is_err());
    }

    #[test]
    fn certs_d_folders_add_roots_for_their_host_only() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("r.example:5000");
        std::fs::create_dir(&host).unwrap();
        let ca = certificate(&host, &["-days", "2"]);
        std::fs::rename(host.join("c.pem"), host.join("ca.crt")).unwrap();
        std::fs::write(host.join("broken.crt"), "x").unwrap();
        assert_eq!(certificates_below(&host), [ca]);
        assert!(certificates_below(&dir.path().join("r.example")).is_empty());
    }

    #[test]
    fn a_client_certificate_needs_its_key() {
        let dir = tempfile::tempdir().unwrap();
        assert!(identity_below(dir.path()).is_none());
        let (cert, key) = (dir.path().join("client.cert"), dir.path().join("client.key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=c"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success());
        assert_eq!(identity_below(dir.path()).unwrap().unwrap().0.len(), 1);
        std::fs::write(&key, "x").unwrap();
        assert!(identity_below(dir.path()).unwrap().is_err());
        std::fs::remove_file(&key).unwrap();
        assert!(identity_below(dir.path()).unwrap().unwrap_err().to_string().contains("client.key"));
    }
}
