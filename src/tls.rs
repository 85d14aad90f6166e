//! [`TlsConfig`]: Vector's `tls.*` options, made into a rustls client configuration. The one place
//! that loads certificates, for NATS and HTTP alike.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::{OptionExt, ResultExt, Snafu, ensure};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::env::MAX_FILE;
use crate::files::read_text;
use crate::secret::SensitiveString;

/// The `tls` table of a source or sink. A file may be given as a path or as its PEM text.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Whether TLS is required, where it can be switched on (NATS; by default the URL's scheme decides)
    /// or off (`papertrail`; by default it is on).
    pub enabled: Option<bool>,
    /// Whether the peer must show a certificate that we trust. Default: true.
    pub verify_certificate: Option<bool>,
    /// Whether that certificate must be for the host we connect to. Default: true.
    pub verify_hostname: Option<bool>,
    /// Certificates of the authorities to trust, instead of the system's.
    pub ca_file: Option<String>,
    /// Our own certificate, with its chain, for a peer that asks for one.
    pub crt_file: Option<String>,
    /// The private key of our own certificate.
    pub key_file: Option<SensitiveString>,
    /// The passphrase of an encrypted key file. Refused: decrypt the key instead.
    pub key_pass: Option<SensitiveString>,
    /// The name to expect in the peer's certificate, instead of the URL's host. For NATS and `papertrail` it
    /// is also the name that the handshake shows (SNI); for HTTP that stays the URL's host.
    pub server_name: Option<String>,
    /// The protocols to offer (ALPN), most wanted first.
    pub alpn_protocols: Option<Vec<String>>,
}

/// What is wrong with a `tls` table.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[snafu(display(
        "tls.{option}: cannot read {path}: {source}; expected the path of a PEM file, or PEM text"
    ))]
    Read {
        /// The option.
        option: &'static str,
        /// The path it holds.
        path: String,
        /// Why it can't be read.
        source: std::io::Error,
    },
    /// It has no usable PEM part.
    #[snafu(display(
        "tls.{option}: no {expected} in it that can be used; expected PEM text with at least one"
    ))]
    Pem {
        /// The option.
        option: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// One half of a client certificate is missing.
    #[snafu(display(
        "tls.crt_file and tls.key_file go together: only {present} is set; set {missing} as well"
    ))]
    Pair {
        /// The option that is set.
        present: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// The key is encrypted.
    #[snafu(display(
        "tls.key_pass: encrypted keys are not supported; decrypt the key once with `openssl pkey -in KEY -out PLAIN` and use that as tls.key_file"
    ))]
    KeyPass,
    /// `server_name` is no name.
    #[snafu(display("tls.server_name: `{name}` is not a host name or an IP address"))]
    Name {
        /// What it holds.
        name: String,
    },
    /// rustls refuses what was loaded.
    #[snafu(display("tls: {source}"))]
    Rustls {
        /// Its reason.
        source: rustls::Error,
    },
    /// A verifier can't be made of the authorities.
    #[snafu(display("tls: the trusted certificates cannot be used: {message}"))]
    Verifier {
        /// Why.
        message: String,
    },
}

impl TlsConfig {
    /// The configuration for rustls.
    ///
    /// # Errors
    /// If a file cannot be read or used, or an option is not supported.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        ensure!(self.key_pass.is_none(), KeyPassSnafu);
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context(RustlsSnafu)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        let mut config = match (&self.crt_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificates), Some(key)) => {
                let certificates = read_certificates("crt_file", certificates)?;
                let key = PrivateKeyDer::from_pem_slice(read("key_file", key.expose())?.expose().as_bytes())
                    .ok()
                    .context(PemSnafu { option: "key_file", expected: "unencrypted private key" })?;
                builder.with_client_auth_cert(certificates, key).context(RustlsSnafu)?
            }
            (Some(_), None) => return PairSnafu { present: "tls.crt_file", missing: "tls.key_file" }.fail(),
            (None, Some(_)) => return PairSnafu { present: "tls.key_file", missing: "tls.crt_file" }.fail(),
        };
        if let Some(protocols) = &self.alpn_protocols {
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        }
        Ok(config)
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<Verifier>, TlsError> {
        let roots = match &self.ca_file {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in read_certificates("ca_file", file)? {
                    roots.add(certificate).context(RustlsSnafu)?;
                }
                Arc::new(roots)
            }
            None => system_roots(),
        };
        let server_name = match &self.server_name {
            Some(name) => Some(ServerName::try_from(name.clone()).ok().context(NameSnafu { name })?),
            None => None,
        };
        // Without a single authority nobody can be verified, which is an error at the handshake and
        // not here: a machine without certificates may have nothing but plain HTTP to do.
        let inner = if roots.is_empty() {
            None
        } else {
            let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            Some(built.map_err(|error| TlsError::Verifier { message: error.to_string() })?)
        };
        Ok(Arc::new(Verifier {
            inner,
            provider,
            server_name,
            verify_certificate: self.verify_certificate.unwrap_or(true),
            verify_hostname: self.verify_hostname.unwrap_or(true),
        }))
    }
}

/// Whether a handshake failed because what the peer said is not TLS at all.
pub(crate) fn is_not_tls(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidMessage(_)))
}

/// The only crypto provider of the whole program.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The system's authorities, loaded once, because there are more than a hundred of them.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(load))
}

fn read(option: &'static str, file: &str) -> Result<SensitiveString, TlsError> {
    if file.contains("-----BEGIN ") {
        return Ok(file.into());
    }
    // A key without its first line is no path, and must not be shown as one.
    let shown = if file.lines().count() == 1 && file.len() < 256 { file } else { "what is given as a path" };
    let text = read_text(Path::new(file), MAX_FILE);
    text.map(SensitiveString::from).context(ReadSnafu { option, path: shown })
}

fn read_certificates(option: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(option, file)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.expose().as_bytes()).collect();
    let certificates = parsed.ok().filter(|certificates| !certificates.is_empty());
    certificates.context(PemSnafu { option, expected: "certificate" })
}

/// WebPKI's verification, with the parts of it left out that the configuration switches off.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    server_name: Option<ServerName<'static>>,
    verify_certificate: bool,
    verify_hostname: bool,
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
        if !self.verify_certificate {
            return Ok(ServerCertVerified::assertion());
        }
        let Some(inner) = &self.inner else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let name = self.server_name.as_ref().unwrap_or(server_name);
        match inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
            // The name is checked last, when everything else has been found in order.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verify_hostname => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_with_each_option() {
        let with = |change: fn(&mut TlsConfig)| {
            let mut config = TlsConfig::default();
            change(&mut config);
            config.client_config().unwrap_err().to_string()
        };
        for (error, words) in [
            (
                with(|tls| tls.ca_file = Some("/nowhere/ca.pem".into())),
                "tls.ca_file: cannot read /nowhere/ca.pem",
            ),
            (with(|tls| tls.ca_file = Some("-----BEGIN NOTHING".into())), "tls.ca_file: no certificate"),
            (with(|tls| tls.crt_file = Some("x".into())), "set tls.key_file as well"),
            (with(|tls| tls.key_file = Some("x".into())), "set tls.crt_file as well"),
            (with(|tls| tls.key_pass = Some("x".into())), "openssl pkey"),
            (with(|tls| tls.server_name = Some("not a name".into())), "tls.server_name"),
        ] {
            assert!(error.contains(words), "{error}");
        }
        let config = TlsConfig { alpn_protocols: Some(vec!["h2".into()]), ..TlsConfig::default() };
        assert_eq!(config.client_config().unwrap().alpn_protocols, [b"h2"]);
    }
}
