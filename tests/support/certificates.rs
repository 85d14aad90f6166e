//! A private certificate authority, made anew for each test.

use super::nats_server::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{WantsServerCert, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// PEM files of an authority, of a server at localhost and 127.0.0.1, and of a client.
pub struct Certificates {
    pub ca: PathBuf,
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
    /// The text of the file `ca`.
    pub ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    // Holds the files for as long as this value lives.
    directory: TempDir,
}

impl Certificates {
    /// Makes the authority and writes all files.
    pub fn generate() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let (ca_pem, issuer) = authority();

        let write = |name: &str, text: &str| write(directory.path(), name, text);
        let ca = write("ca.pem", &ca_pem);
        let (cert, key) = signed(
            "log-shipper test server",
            &["localhost", "127.0.0.1"],
            ExtendedKeyUsagePurpose::ServerAuth,
            &issuer,
        );
        let server_cert = write("server.pem", &cert);
        let server_key = write("server-key.pem", &key);
        let (cert, key) =
            signed("log-shipper test client", &["client.test"], ExtendedKeyUsagePurpose::ClientAuth, &issuer);
        let client_cert = write("client.pem", &cert);
        let client_key = write("client-key.pem", &key);

        Self { ca, server_cert, server_key, client_cert, client_key, ca_pem, issuer, directory }
    }

    /// What a nats-server needs to speak TLS and let any client in.
    pub fn tls(&self) -> TlsFiles {
        TlsFiles {
            cert: self.server_cert.clone(),
            key: self.server_key.clone(),
            ca: None,
            handshake_first: None,
        }
    }

    /// What a nats-server needs to speak TLS and ask for a client certificate.
    pub fn mutual_tls(&self) -> TlsFiles {
        TlsFiles { ca: Some(self.ca.clone()), ..self.tls() }
    }

    /// What a server of a test's own needs to speak TLS.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_that(|config| config.with_no_client_auth())
    }

    /// The same with a certificate for this host alone, which runs out in this year.
    pub fn acceptor_for(&self, host: &str, year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = server_params(&[host]);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        self.acceptor_with(|config| config.with_no_client_auth(), certificate.der().clone(), key)
    }

    /// The same for one that asks for a client certificate.
    pub fn mutual_acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().expect("a verifier");
        self.acceptor_that(|config| config.with_client_cert_verifier(verifier))
    }

    fn acceptor_that(&self, verify: impl FnOnce(Verify) -> Serve) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(&self.server_cert).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&self.server_key).expect("a key");
        self.acceptor_with(verify, certificate, key)
    }

    fn acceptor_with(
        &self,
        verify: impl FnOnce(Verify) -> Serve,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3");
        let config =
            verify(config).with_single_cert(vec![certificate], key).expect("a certificate and its key");
        TlsAcceptor::from(Arc::new(config))
    }
}

type Verify = ConfigBuilder<ServerConfig, WantsVerifier>;
type Serve = ConfigBuilder<ServerConfig, WantsServerCert>;

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "log-shipper test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key for the authority");
    let certificate = params.self_signed(&key).expect("a certificate for the authority");
    (certificate.pem(), Issuer::new(params, key))
}

fn signed(
    name: &str,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> (String, String) {
    let mut params = server_params(hosts);
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn server_params(hosts: &[&str]) -> CertificateParams {
    // rcgen turns a host that reads as an address into an address entry.
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("valid host names");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).expect("a file in the temporary directory");
    path
}
