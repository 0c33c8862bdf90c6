//! TLS towards a gateway: system roots or a private CA, verification on unless switched off by hand.

use std::io;
use std::sync::Arc;

use base64::Engine;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS client for one server.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

/// What a person set for TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// `HOOP_TLSCA`: PEM text, `base64://…` of it, or `file://…`; the system's roots when absent.
    pub ca: Option<String>,
    /// `HOOP_TLSSERVERNAME`: the name to verify instead of the host.
    pub server_name: Option<String>,
    /// `HOOP_TLS_SKIP_VERIFY`: accept any certificate.
    pub skip_verify: bool,
}

impl TlsSettings {
    /// The settings of the variables `HOOP_TLSCA`, `HOOP_TLSSERVERNAME` and `HOOP_TLS_SKIP_VERIFY`.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| get(name).filter(|value| !value.is_empty());
        Self {
            ca: get("HOOP_TLSCA"),
            server_name: get("HOOP_TLSSERVERNAME"),
            skip_verify: get("HOOP_TLS_SKIP_VERIFY").as_deref() == Some("true"),
        }
    }

    /// A client for `address` (`host:port`) that negotiates one of `alpn`.
    pub fn client(&self, address: &str, alpn: &[&[u8]]) -> io::Result<Tls> {
        let (host, _) = super::connector::split_address(address)?;
        let name = self.server_name.clone().unwrap_or_else(|| host.to_owned());
        let server_name = ServerName::try_from(name.clone()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("'{name}' is not a TLS server name"),
            )
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let mut config = if self.skip_verify {
            tracing::warn!("HOOP_TLS_SKIP_VERIFY: the certificate of {address} is not verified");
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth()
        } else {
            builder
                .with_root_certificates(self.roots()?)
                .with_no_client_auth()
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Tls {
            config: Arc::new(config),
            server_name,
        })
    }

    fn roots(&self) -> io::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(ca) = &self.ca else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(io::Error::other(
                    "no root certificates on this host: set HOOP_TLSCA or SSL_CERT_FILE",
                ));
            }
            return Ok(roots);
        };
        let wrong =
            |reason: &dyn std::fmt::Display| io::Error::other(format!("HOOP_TLSCA: {reason}"));
        let pem = if let Some(path) = ca.strip_prefix("file://") {
            std::fs::read(path).map_err(|error| wrong(&format!("{path}: {error}")))?
        } else if let Some(text) = ca.strip_prefix("base64://") {
            base64::engine::general_purpose::STANDARD
                .decode(text.trim())
                .map_err(|error| wrong(&error))?
        } else {
            ca.clone().into_bytes()
        };
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots
                .add(certificate.map_err(|error| wrong(&error))?)
                .map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            Err(wrong(&"holds no PEM certificate"))
        } else {
            Ok(roots)
        }
    }
}

impl Tls {
    /// Performs the handshake.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config.clone())
            .connect(self.server_name.clone(), stream)
            .await
    }
}

/// Accepts every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
