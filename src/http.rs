//! [`HttpClient`]: the only file that names the HTTP library.

use crate::connect_error::in_words;
use crate::env::{Env, EnvError};
use crate::healthcheck::CANNOT_CONNECT_TO;
use crate::secret::SensitiveString;
use crate::tls::{TlsConfig, TlsError};
use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::{ResultExt, Snafu};
use std::time::Duration;

/// How much of an answer is read. A destination's verdict is short; a hostile or broken one must not
/// fill our memory.
const MAX_RESPONSE_BYTES: usize = 4 << 20;

/// An HTTP client: a pool of connections with one set of TLS and proxy settings. It does not follow
/// redirects, and it never retries by itself.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    /// The schemes for whose destinations there is a proxy.
    proxied: Vec<&'static str>,
}

/// The `proxy` table of a sink, or of the whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Whether proxies are used at all. Default: true.
    pub enabled: Option<bool>,
    /// The proxy for `http` destinations; its URL may hold a password.
    pub http: Option<SensitiveString>,
    /// The proxy for `https` destinations.
    pub https: Option<SensitiveString>,
    /// Hosts, domains and networks that are reached without a proxy; `*` is all.
    #[serde(default)]
    pub no_proxy: Vec<String>,
}

/// A client can't be made.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum ClientError {
    /// Its TLS settings are wrong.
    #[snafu(transparent)]
    Tls {
        /// What is wrong.
        source: TlsError,
    },
    /// A proxy's URL is wrong.
    #[snafu(display("proxy.{option}: not a proxy's URL; expected one such as http://proxy.example:3128"))]
    Proxy {
        /// The option.
        option: &'static str,
    },
    /// The library refuses the settings.
    #[snafu(display("the HTTP client cannot be made: {source}"))]
    Client {
        /// Its reason.
        source: reqwest::Error,
    },
}

/// A request got no answer. All of these may pass, so that a sender tries again.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum HttpError {
    /// It took too long.
    #[snafu(display("no answer within {} s", limit.as_secs_f64()))]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// No connection: refused, no such host, bad certificate.
    #[snafu(display("{CANNOT_CONNECT_TO}{place}: {reason}"))]
    Connect {
        /// Host and port, and that a proxy is in between.
        place: String,
        /// The cause.
        reason: String,
    },
    /// The connection broke.
    #[snafu(display("the connection failed: {reason}"))]
    Transport {
        /// The cause.
        reason: String,
    },
}

impl ProxyConfig {
    /// The proxies that the environment names: `http_proxy`, `https_proxy` and `no_proxy`, in small
    /// letters first, then in capitals.
    ///
    /// # Errors
    /// If a variable cannot be read.
    pub fn from_env(env: &Env) -> Result<ProxyConfig, EnvError> {
        let either = |small: &str, capital: &str| Ok(env.get(small)?.or(env.get(capital)?));
        let hosts = either("no_proxy", "NO_PROXY")?.unwrap_or_default();
        Ok(ProxyConfig {
            enabled: None,
            http: either("http_proxy", "HTTP_PROXY")?.map(SensitiveString::from),
            https: either("https_proxy", "HTTPS_PROXY")?.map(SensitiveString::from),
            no_proxy: hosts
                .split(',')
                .map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect(),
        })
    }

    /// These settings, and where they say nothing, the other's.
    pub fn or(&self, other: &ProxyConfig) -> ProxyConfig {
        ProxyConfig {
            enabled: self.enabled.or(other.enabled),
            http: self.http.clone().or_else(|| other.http.clone()),
            https: self.https.clone().or_else(|| other.https.clone()),
            no_proxy: if self.no_proxy.is_empty() { other.no_proxy.clone() } else { self.no_proxy.clone() },
        }
    }
}

impl HttpClient {
    /// A client with these settings; connecting takes at most `connect_timeout`.
    ///
    /// # Errors
    /// If the TLS or proxy settings are wrong.
    pub fn new(
        tls: &TlsConfig,
        proxy: &ProxyConfig,
        connect_timeout: Duration,
    ) -> Result<HttpClient, ClientError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.client_config()?)
            .user_agent(concat!("log-shipper/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(connect_timeout)
            .no_proxy();
        let mut proxied = Vec::new();
        if proxy.enabled.unwrap_or(true) {
            let except = reqwest::NoProxy::from_string(&proxy.no_proxy.join(","));
            if let Some(url) = &proxy.http {
                let proxy =
                    reqwest::Proxy::http(url.expose()).map_err(|_| ClientError::Proxy { option: "http" })?;
                builder = builder.proxy(proxy.no_proxy(except.clone()));
                proxied.push("http");
            }
            if let Some(url) = &proxy.https {
                let proxy = reqwest::Proxy::https(url.expose())
                    .map_err(|_| ClientError::Proxy { option: "https" })?;
                builder = builder.proxy(proxy.no_proxy(except));
                proxied.push("https");
            }
        }
        let client = builder.build().context(ClientSnafu)?;
        Ok(HttpClient { client, proxied })
    }

    /// Sends a request and reads the answer, of a huge one only the beginning, within `limit`.
    ///
    /// # Errors
    /// If there is no answer. An answer of any status is not an error.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, HttpError> {
        tokio::time::timeout(limit, self.exchange(request)).await.unwrap_or(Err(HttpError::Timeout { limit }))
    }

    async fn exchange(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(broken)?;
        let place = self.place(request.url());
        let mut answer = self.client.execute(request).await.map_err(|error| failed(error, place))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            // The status says the most; what is past the limit is not even read.
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = http::Response::new(body.freeze());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }

    /// Where a request goes: host and port, without a user and password.
    fn place(&self, url: &reqwest::Url) -> String {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        match self.proxied.iter().find(|scheme| **scheme == url.scheme()) {
            // Which hosts are excepted, only the library knows.
            Some(scheme) => format!("{host}:{port} (through proxy.{scheme}, unless no_proxy names it)"),
            None => format!("{host}:{port}"),
        }
    }
}

/// A request has no answer. The URL, in which a secret may stand, is no part of what is said.
fn failed(error: reqwest::Error, place: String) -> HttpError {
    match error.is_connect() {
        true if error.is_timeout() => HttpError::Connect { place, reason: "timed out".to_owned() },
        true => HttpError::Connect { place, reason: in_words(&error.without_url()) },
        false => broken(error),
    }
}

fn broken(error: reqwest::Error) -> HttpError {
    HttpError::Transport { reason: in_words(&error.without_url()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_from_the_environment_small_letters_first() {
        let env = Env::from_pairs([
            ("HTTP_PROXY", "http://a:1"),
            ("https_proxy", "http://b:2"),
            ("HTTPS_PROXY", "http://c:3"),
            ("NO_PROXY", "localhost, .internal"),
        ]);
        let proxy = ProxyConfig::from_env(&env).unwrap();
        assert_eq!(proxy.http.as_ref().map(SensitiveString::expose), Some("http://a:1"));
        assert_eq!(proxy.https.as_ref().map(SensitiveString::expose), Some("http://b:2"));
        assert_eq!(proxy.no_proxy, ["localhost", ".internal"]);
        let own = ProxyConfig { http: Some("http://own:4".into()), ..ProxyConfig::default() };
        assert_eq!(own.or(&proxy).http.as_ref().map(SensitiveString::expose), Some("http://own:4"));
        assert_eq!(own.or(&proxy).https.as_ref().map(SensitiveString::expose), Some("http://b:2"));
    }

    #[test]
    fn a_bad_proxy_is_named_without_its_password() {
        let proxy = ProxyConfig { http: Some("http://u:secret@:bad".into()), ..ProxyConfig::default() };
        let error =
            HttpClient::new(&TlsConfig::default(), &proxy, Duration::from_secs(1)).unwrap_err().to_string();
        assert!(error.contains("proxy.http") && !error.contains("secret"), "{error}");
    }
}
