//! Asks a shipper's API how it gets on.

use crate::api::status::{History, TopologyStatus};
use crate::http::{ClientError, HttpClient, HttpError, ProxyConfig};
use crate::redact::is_command;
use crate::tls::TlsConfig;
use bytes::Bytes;
use http::StatusCode;
use http::header::ACCEPT;
use serde::de::DeserializeOwned;
use serde_json::Value;
use snafu::{ResultExt, Snafu};
use std::time::Duration;
use url::Url;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(3);

/// How large an answer may be: a component takes less than a KiB, an hour of it some 20 KiB.
const MAX_BYTES: usize = 3 << 20;

/// One shipper's API.
#[derive(Debug)]
pub(super) struct Client {
    http: HttpClient,
    base: Url,
}

/// The API said nothing that is of use.
#[derive(Debug, Snafu)]
pub(super) enum AskError {
    /// There is no answer.
    #[snafu(display("{source}"))]
    Unreachable { source: HttpError },
    /// There is one, of another status than 200.
    #[snafu(display("it answers {status}"))]
    Refused { status: StatusCode },
    /// It is larger than ours ever is.
    #[snafu(display("its answer is larger than {} MiB", MAX_BYTES >> 20))]
    TooLarge,
    /// It is not what a shipper says.
    #[snafu(display("its answer is not a shipper's: {source}"))]
    NotOurs { source: serde_json::Error },
}

impl AskError {
    /// What a person can do about it.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            AskError::Unreachable { source: HttpError::Timeout { .. } } => {
                "the address may be behind a firewall, or the machine overloaded; on Fly.io the private network \
                 needs WireGuard, or: fly ssh console --pty -C \"log-shipper top\""
            }
            AskError::Unreachable { .. } => {
                "is log-shipper running, with the API on (`api.enabled = true`)? is this its address (`api.address`, \
                 API_ADDRESS)? on Fly.io the private network needs WireGuard, or: fly ssh console --pty -C \"log-shipper top\""
            }
            AskError::Refused { status: StatusCode::NOT_FOUND } => {
                "something else answers there, or an older log-shipper: --url is the address of the API \
                 (`api.address`, port 8686), not that of the metrics"
            }
            AskError::Refused {
                status: StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::MISDIRECTED_REQUEST,
            } => {
                "ask at the API's own address (`api.address`): by its IP address, as localhost, or by a name that ends \
                 in .internal; not through a proxy"
            }
            AskError::Refused { .. } => "see log-shipper's own log, or that of the proxy in front of it",
            AskError::TooLarge | AskError::NotOurs { .. } => {
                "something else answers there, or another version of log-shipper: is this its `api.address`?"
            }
        }
    }
}

impl Client {
    /// For the API at this URL. Proxies of the environment are for the world outside, and not used.
    ///
    /// # Errors
    /// If there can be no HTTP client.
    pub(super) fn new(base: Url) -> Result<Client, ClientError> {
        let no_proxy = ProxyConfig { enabled: Some(false), ..ProxyConfig::default() };
        Ok(Client { http: HttpClient::new(&TlsConfig::default(), &no_proxy, LIMIT)?, base })
    }

    /// Where it asks.
    pub(super) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// How the topology gets on.
    pub(super) async fn status(&self) -> Result<TopologyStatus, AskError> {
        self.get("status").await
    }

    /// How it got on in the last hour.
    pub(super) async fn history(&self) -> Result<History, AskError> {
        self.get("history").await
    }

    async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, AskError> {
        let mut request = http::Request::new(Bytes::new());
        if let Ok(uri) = format!("{}/api/{what}", self.url()).parse() {
            *request.uri_mut() = uri;
        }
        request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        let answer = self.http.send(request, LIMIT).await.context(UnreachableSnafu)?;
        if answer.status() != StatusCode::OK {
            return RefusedSnafu { status: answer.status() }.fail();
        }
        if answer.body().len() > MAX_BYTES {
            return TooLargeSnafu.fail();
        }
        let mut value: Value = serde_json::from_slice(answer.body()).context(NotOursSnafu)?;
        clean_all(&mut value);
        serde_json::from_value(value).context(NotOursSnafu)
    }
}

/// Cleans every text and name in it, so that nothing beyond this file has to think of it.
fn clean_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(values) => values.iter_mut().for_each(clean_all),
        Value::Object(members) => {
            for (name, mut value) in std::mem::take(members) {
                clean_all(&mut value);
                members.insert(clean(&name), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text that can do nothing to a terminal: no control characters, and none that turn the writing around.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_command(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_reaches_the_terminal_raw() {
        let mut value = serde_json::json!({
            "a\u{1b}[31m": ["\u{1b}]0;title\u{7}", {"deep": "one\r\ntwo\u{9b}2J\u{202e}"}],
            "plain": "Grüße, 12 %",
        });
        clean_all(&mut value);
        let expected = serde_json::json!({
            "a\u{fffd}[31m": ["\u{fffd}]0;title\u{fffd}", {"deep": "one  two\u{fffd}2J\u{fffd}"}],
            "plain": "Grüße, 12 %",
        });
        assert_eq!(value, expected);
    }
}
