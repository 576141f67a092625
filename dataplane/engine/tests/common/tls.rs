//! Certificates of a test, and a blocking TLS client.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use wire::TlsClient;

/// An authority, and a certificate of it for a name.
pub struct Identity {
    authority: CertifiedIssuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

type Leaf = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Identity {
    pub fn new(name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (chain, key) = leaf(&authority, name);
        Identity { authority, chain, key }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        roots
    }

    /// A server with this identity; `clients`: it demands certificates of that authority.
    pub fn server(&self, clients: Option<&Identity>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(other) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(other.roots()), provider()).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        Arc::new(builder.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap())
    }

    /// A client that trusts this authority and, with `common_name`, has a certificate of it.
    pub fn client(&self, name: &str, common_name: Option<&str>) -> TlsClient {
        self.client_with(name, common_name.map(|common_name| (self, common_name)))
    }

    /// A client that trusts this authority and has a certificate of another one.
    pub fn client_as(&self, name: &str, other: &Identity, common_name: &str) -> TlsClient {
        self.client_with(name, Some((other, common_name)))
    }

    fn client_with(&self, name: &str, certificate: Option<(&Identity, &str)>) -> TlsClient {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        let config = match certificate {
            Some((issuer, common_name)) => {
                let (chain, key) = leaf(&issuer.authority, common_name);
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        TlsClient { config: Arc::new(config), name: ServerName::try_from(name.to_owned()).unwrap() }
    }
}

fn leaf(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Leaf {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
}

/// A blocking TLS stream over a connection that is up.
pub fn secure(stream: TcpStream, client: &TlsClient) -> StreamOwned<ClientConnection, TcpStream> {
    StreamOwned::new(ClientConnection::new(Arc::clone(&client.config), client.name.clone()).unwrap(), stream)
}

/// Both directions of a TLS connection, to be used from two threads.
pub struct TlsPair(Arc<Mutex<ClientConnection>>, TcpStream);

pub fn tls_client(address: SocketAddr, client: &TlsClient) -> TlsPair {
    let mut stream = secure(super::connect(address), client);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    TlsPair(Arc::new(Mutex::new(stream.conn)), stream.sock)
}

/// Keeps what was opened and not yet read.
pub struct TlsReader(Arc<Mutex<ClientConnection>>, TcpStream, VecDeque<u8>);
pub struct TlsWriter(Arc<Mutex<ClientConnection>>, TcpStream);

impl TlsPair {
    pub fn split(self) -> (TlsReader, TlsWriter) {
        (TlsReader(Arc::clone(&self.0), self.1.try_clone().unwrap(), VecDeque::new()), TlsWriter(self.0, self.1))
    }
}

impl Read for TlsReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.2.is_empty() {
            // The lock is not held while waiting for the socket.
            let mut records = vec![0; 16 * 1024];
            let n = self.1.read(&mut records)?;
            if n == 0 {
                return Ok(0);
            }
            let mut records = &records[..n];
            let mut session = self.0.lock().unwrap();
            while !records.is_empty() {
                session.read_tls(&mut records)?;
                let n = session.process_new_packets().map_err(std::io::Error::other)?.plaintext_bytes_to_read();
                let mut plain = vec![0; n];
                session.reader().read_exact(&mut plain)?;
                self.2.extend(plain);
            }
        }
        self.2.read(buffer)
    }
}

impl Write for TlsWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut records = Vec::new();
        let n = {
            let mut session = self.0.lock().unwrap();
            let n = session.writer().write(bytes)?;
            while session.wants_write() {
                session.write_tls(&mut records)?;
            }
            n
        };
        self.1.write_all(&records)?;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
