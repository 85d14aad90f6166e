//! [`ConnectionOptions`]: how to reach a cluster.

use super::{NatsAuth, Servers};
use crate::env::Env;
use crate::status::Status;
use crate::tls::{TlsConfig, TlsError};
use snafu::Snafu;
use std::time::Duration;

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
    /// How long a server may be silent before it is asked whether it is there; if nothing comes for as long
    /// again, it is not. See [`PING_INTERVAL`].
    pub ping_interval: Duration,
    /// Told how the connection is.
    pub status: Status,
}

/// How long a server may be silent before it is asked whether it is there, unless an option says otherwise.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);

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
#[non_exhaustive]
pub enum TlsMode {
    /// After `INFO`, if that or a `tls://` of the URLs wants it.
    IfAsked,
    /// After `INFO`, always.
    Required,
    /// Before `INFO`, always, so that nothing is read or said in plain text.
    First,
}

/// The options of TLS cannot be used.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum TlsOptionsError {
    /// They exclude each other.
    #[snafu(display("tls_first: it needs TLS, but tls.enabled is false; take one of them out"))]
    SwitchedOff,
    /// A file cannot be used.
    #[snafu(transparent)]
    Config {
        /// Why.
        source: TlsError,
    },
}

impl TlsOptions {
    /// What the `tls` table and `tls_first` of a component say; `None` if TLS is switched off.
    ///
    /// # Errors
    /// If they exclude each other, or a file cannot be used.
    pub fn new(tls: Option<&TlsConfig>, tls_first: bool) -> Result<Option<TlsOptions>, TlsOptionsError> {
        let tls = tls.cloned().unwrap_or_default();
        let mode = match (tls.enabled, tls_first) {
            (Some(false), true) => return SwitchedOffSnafu.fail(),
            (Some(false), false) => return Ok(None),
            (_, true) => TlsMode::First,
            (Some(true), false) => TlsMode::Required,
            (None, false) => TlsMode::IfAsked,
        };
        Ok(Some(TlsOptions { config: tls.client_config()?, mode, server_name: tls.server_name }))
    }
}
