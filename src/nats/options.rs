//! [`ConnectionOptions`]: how to reach a cluster.

use super::{NatsAuth, Servers};
use crate::env::Env;

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// The component's id, for log lines.
    pub id: String,
    /// The name that the server sees.
    pub name: String,
    /// The servers.
    pub servers: Servers,
    /// Who we are; without it, what the URLs say.
    pub auth: Option<NatsAuth>,
    /// TLS, unless it is switched off.
    pub tls: Option<TlsOptions>,
    /// For secrets that are read anew at each connect.
    pub env: Env,
}

/// How a connection is encrypted.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whom to trust, and our own certificate.
    pub config: rustls::ClientConfig,
    /// When.
    pub mode: TlsMode,
    /// The name to ask for and to expect in the certificate, instead of the URL's host.
    pub server_name: Option<String>,
}

/// When a connection turns to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// After `INFO`, if that or a `tls://` of the URLs wants it.
    IfAsked,
    /// After `INFO`, always.
    Required,
    /// Before `INFO`, always, so that nothing is read or said in plain text.
    First,
}
