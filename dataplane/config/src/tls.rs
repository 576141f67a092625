//! rustls configurations from secrets.

use crate::proto::midstream::core::v1::{DownstreamTls, UpstreamTls, upstream_tls};
use crate::secret::Secret;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};
use std::sync::Arc;

/// A certificate chain and its key, PEM.
pub struct Pair {
    pub chain: Secret,
    pub key: Secret,
}

pub fn server(pair: &Pair, client_ca: Option<&Secret>, tls: &DownstreamTls) -> Result<Arc<ServerConfig>, String> {
    let (chain, key) = parse(pair)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider());
            let verifier = if tls.require_client_certificate { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| format!("client CA: {error}"))?)
        }
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| format!("certificate and key do not fit together: {error}"))?;

    Ok(Arc::new(config))
}

/// The mode in force: who names an authority and no mode wants the server verified.
pub fn mode(tls: &UpstreamTls) -> upstream_tls::Mode {
    match tls.mode() {
        upstream_tls::Mode::Disable if !tls.ca_secret.is_empty() => upstream_tls::Mode::VerifyFull,
        mode => mode,
    }
}

pub fn client(tls: &UpstreamTls, ca: Option<&Secret>, pair: Option<&Pair>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match mode(tls) {
        upstream_tls::Mode::VerifyFull | upstream_tls::Mode::VerifyCa => {
            let ca = ca.ok_or("verifying the server needs caFrom: the certificate authority that signed its certificate")?;
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider()).build().map_err(|error| format!("CA: {error}"))?;
            let check_name = mode(tls) == upstream_tls::Mode::VerifyFull;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(ChainVerifier { verifier, check_name }))
        }
        _ => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified)),
    };
    let config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = parse(pair)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate and key do not fit together: {error}"))?
        }
    };
    Ok(Arc::new(config))
}

/// The first certificate of the chain.
pub fn leaf(pair: &Pair) -> Result<Vec<u8>, String> {
    let (chain, _) = parse(pair)?;
    Ok(chain.first().map(|certificate| certificate.to_vec()).unwrap_or_default())
}

/// Whether a certificate (DER) is good for a host name.
pub fn covers(certificate: &[u8], name: &str) -> bool {
    let certificate = CertificateDer::from(certificate);
    let Ok(parsed) = ParsedCertificate::try_from(&certificate) else { return false };
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn parse(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.chain.expose())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("the certificate file holds no certificate".into());
    }
    let key = PrivateKeyDer::from_pem_slice(pair.key.expose()).map_err(|error| format!("the key is not a PEM private key: {error}"))?;
    Ok((chain, key))
}

fn roots(ca: &Secret) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.expose()) {
        let certificate = certificate.map_err(|error| format!("the CA is not PEM: {error}"))?;
        store.add(certificate).map_err(|error| format!("the CA holds a certificate that cannot be used: {error}"))?;
    }
    if store.is_empty() {
        return Err("the CA file holds no certificate".into());
    }
    Ok(store)
}

/// `verify-ca` and `verify-full`: libpq checks the name only in the second.
#[derive(Debug)]
struct ChainVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    check_name: bool,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }))
                if !self.check_name =>
            {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// `require`: encrypted, and whoever answers is believed; the author asked for exactly that.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
