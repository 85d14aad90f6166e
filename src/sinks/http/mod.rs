//! `http`: any HTTP server that takes log events.
//!
//! - `answers`: vendors who say in the body what they have refused

mod answers;

use super::codec::{Codec, EncodeError, EncodingConfig, Framing, FramingConfig};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, Signer, check_endpoint};
use super::{Auth, Batch, Partition, Verdict, judge_2xx};
use crate::config::{Problem, Result, SinkContext};
use crate::event::LogEvent;
use crate::healthcheck::Unhealthy;
use crate::http::HttpClient;
use crate::secret::SensitiveString;
use crate::template::Template;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Delivers events to an HTTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where to; a template, in which the values of fields are percent-encoded. A user and password in it
    /// become Basic authentication.
    #[serde(deserialize_with = "uri_template")]
    uri: Template,
    /// The method. Default: `post`.
    #[serde(default)]
    method: HttpMethod,
    /// How to show who we are.
    auth: Option<Auth>,
    /// How an event is written.
    encoding: EncodingConfig,
    /// How events are joined. Default: a JSON array for `json`, lines for anything else.
    framing: Option<FramingConfig>,
    /// Before the events; only around a JSON array.
    #[serde(default)]
    payload_prefix: String,
    /// After the events; only around a JSON array.
    #[serde(default)]
    payload_suffix: String,
    /// Whether what an event brings into the URI stands there as it is.
    #[serde(skip)]
    is_unconfined: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HttpMethod {
    Get,
    Head,
    #[default]
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Trace,
}

impl From<HttpMethod> for Method {
    fn from(method: HttpMethod) -> Method {
        match method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
            HttpMethod::Options => Method::OPTIONS,
            HttpMethod::Trace => Method::TRACE,
        }
    }
}

impl Http {
    fn is_json(&self) -> bool {
        matches!(self.encoding.codec, Codec::Json { .. })
    }

    fn is_array(&self) -> bool {
        self.is_json() && matches!(self.framing, None | Some(FramingConfig::CharacterDelimited(b',')))
    }

    fn head(&self, uri: &str) -> Result<http::request::Builder> {
        let mut builder = Request::builder().method(Method::from(self.method)).uri(uri);
        let content_type = match (self.is_json(), &self.framing) {
            (true, _) if self.is_array() => Some("application/json"),
            (true, Some(FramingConfig::NewlineDelimited)) => Some("application/x-ndjson"),
            (false, _) if self.encoding.is_text() => Some("text/plain"),
            _ => None,
        };
        if let Some(content_type) = content_type {
            builder = builder.header(CONTENT_TYPE, content_type);
        }
        self.authorized(builder)
    }

    fn authorized(&self, builder: http::request::Builder) -> Result<http::request::Builder> {
        match &self.auth {
            Some(auth) => auth.authorize(builder),
            None => Ok(builder),
        }
    }

    /// A user and password in the URI, taken out of it.
    fn take_userinfo(&mut self) -> Result<()> {
        let Some((uri, auth)) = Auth::take_from_url(self.uri.as_str()) else { return Ok(()) };
        if self.auth.replace(auth).is_some() {
            return Err(
                "uri: it has a user and password, and there is an `auth` as well; keep one of them".into()
            );
        }
        self.uri = Template::parse_uri(&uri)?;
        Ok(())
    }

    /// The URI must be one.
    fn check_uri(&self) -> Result<()> {
        if let Some(text) = self.uri.as_static() {
            return check_endpoint("uri", text);
        }
        let literal = self.uri.as_str().split("{{").next().unwrap_or_default();
        let Some((scheme, _)) = literal.split_once("://") else {
            return Err("uri: no scheme; expected a URI that starts with http:// or https://".into());
        };
        if !matches!(scheme, "http" | "https") {
            return Err("uri: not HTTP; expected a URI that starts with http:// or https://".into());
        }
        Ok(())
    }
}

fn uri_template<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
    let text = String::deserialize(deserializer)?;
    Template::parse_uri(&text).map_err(serde::de::Error::custom)
}

impl HttpSink for Http {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "Deliver events to an HTTP server.";
    const EXAMPLE: &'static str = "uri = \"https://logs.example/in\"\nencoding.codec = \"json\"\nauth.strategy = \"bearer\"\nauth.token = \"TOKEN\"";
    const NOTES: &'static str = "- A request has at most 10,000,000 bytes; it is sent after 1 s at the latest.\n\
        - Where the vendor says in the body how many events of a batch were invalid (Baselime, Logflare, \
        OpenObserve), as many count as rejected, and none is sent twice.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("headers", "request.headers")];

    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        self.take_userinfo()?;
        self.is_unconfined = options.dangerously_allow_unconfined_template_resolution;
        self.check_uri()?;
        if !self.is_unconfined {
            let said = self.uri.confine_uri().map_err(|error| format!("uri: {error}"))?;
            options.warnings.extend(said.map(|message| Problem::at("uri", message)));
        }
        if let Some(auth) = &self.auth {
            auth.check()?;
        }
        let has_authorization =
            options.request.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"));
        if has_authorization && self.auth.is_some() {
            return Err("auth: request.headers has an Authorization as well; keep one of them".into());
        }
        let is_wrapped = !self.payload_prefix.is_empty() || !self.payload_suffix.is_empty();
        let whole = format!("{}{{}}{}", self.payload_prefix, self.payload_suffix);
        if is_wrapped && !(self.is_array() && serde_json::from_str::<serde::de::IgnoredAny>(&whole).is_ok()) {
            return Err("payload_prefix and payload_suffix: with the events between them they must be JSON, and the events a JSON array".into());
        }
        Ok(())
    }

    /// As Vector: JSON in lines has no line break at its end, text has one.
    fn framing(&self) -> Framing {
        let framing = match &self.framing {
            _ if self.is_array() => Framing::JSON_ARRAY,
            None | Some(FramingConfig::NewlineDelimited) if !self.is_json() => Framing::NEWLINE_DELIMITED,
            None | Some(FramingConfig::NewlineDelimited) => Framing::NEWLINE_SEPARATED,
            Some(FramingConfig::Bytes) => Framing::CONCATENATED,
            Some(FramingConfig::CharacterDelimited(delimiter)) => {
                Framing { separator: vec![*delimiter].into(), ..Framing::CONCATENATED }
            }
        };
        framing.wrapped(&self.payload_prefix, &self.payload_suffix)
    }

    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        if self.uri.as_static().is_some() {
            return Ok(Partition::new());
        }
        let rendered = if self.is_unconfined { self.uri.render(event) } else { self.uri.render_uri(event) };
        match rendered {
            Ok(uri) => Ok(vec![uri]),
            Err(error) => Err(EncodeError { reason: format!("uri: {error}") }),
        }
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encoding.encode(event, out);
        Ok(())
    }

    fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        let uri = self.uri.as_static().or(batch.partition().first().map(String::as_str)).unwrap_or_default();
        self.head(uri)
    }

    fn secrets(&self) -> Vec<&SensitiveString> {
        self.auth.iter().flat_map(Auth::secrets).collect()
    }

    fn signer(&self, cx: &SinkContext, client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        self.auth.as_ref().map_or(Ok(None), |auth| auth.signer(cx, client))
    }

    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        answers::verdict(response)
    }

    /// As Vector with a URI of the user's. Without one, whoever asks for it sends a body with no events: an
    /// answer about that is one from a destination that knows us.
    fn healthcheck(&self, uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        if let Some(uri) = uri {
            let request = self.authorized(Request::head(uri))?.body(Bytes::new())?;
            return Ok(Some(HealthcheckRequest::new(request, judge_200)));
        }
        let Some(uri) = self.uri.as_static() else { return Ok(None) };
        let Framing { prefix, suffix, .. } = self.framing();
        let body = Bytes::from([prefix, suffix].concat());
        Ok(Some(HealthcheckRequest::new(self.head(uri)?.body(body)?, judge_credentials).only_if_asked_for()))
    }
}

/// As Vector: exactly 200.
fn judge_200(response: &Response<Bytes>) -> Result<(), Unhealthy> {
    judge_2xx(response)?;
    match response.status().as_u16() {
        200 => Ok(()),
        status => {
            Err(Unhealthy::Down { reason: format!("expected status 200, the destination answers {status}") })
        }
    }
}

/// Whatever is said about the body: only about our credentials, the address and the server's own state we want
/// to know.
fn judge_credentials(response: &Response<Bytes>) -> Result<(), Unhealthy> {
    match response.status().as_u16() {
        300..=399 | 401 | 402 | 403 | 404 | 407 | 500..=599 => judge_2xx(response),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> Result<Http, String> {
        let mut http: Http = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        http.configure(&mut HttpOptions::default()).map_err(|error| error.to_string())?;
        Ok(http)
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, words) in [
            ("uri = 'logs.example'", "not a URL"),
            ("uri = 'http://h h/'", "not a URL"),
            ("uri = 'https://h{{ a }}'", "choose the host"),
            ("uri = 'https://h/%Q'", "begins no date"),
            ("uri = '{{ host }}/x'", "http:// or https://"),
            ("uri = 'http://u:p@h/'\nauth.strategy = 'bearer'\nauth.token = 't'", "keep one of them"),
            ("uri = 'http://h/'\npayload_prefix = '{'", "must be JSON"),
            (
                "uri = 'http://h/'\nauth.strategy = 'bearer'\nauth.token = \"a\\nb\"",
                "no HTTP header can carry",
            ),
            ("uri = 'http://h/'\nmethod = 'POST'", "`post`"),
        ] {
            let error = configured(&format!("encoding.codec = 'json'\n{text}")).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_user_in_the_uri_is_basic_authentication() {
        let http =
            configured("encoding.codec = 'json'\nuri = 'https://us%40er:p%3Ass@h:8/p@th?q=@'").unwrap();
        assert_eq!(http.uri.as_str(), "https://h:8/p@th?q=@");
        let request = http.authorized(Request::builder()).unwrap().body(()).unwrap();
        assert_eq!(request.headers()["authorization"], "Basic dXNAZXI6cDpzcw==");
    }
}
