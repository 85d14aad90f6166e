//! `axiom`: Axiom's ingest API, a line of JSON for each event.
//!
//! Source: axiom.co/docs (ingest data, limits). Axiom takes an event's time from `_time` or from the
//! field that the parameter `timestamp-field` names, and its level from a top-level `level`.

use super::codec::{EncodeError, Framing, Missing, write_with_missing};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::verdict::{Verdict, shorten};
use super::{Batch, BatchLimits, judge_2xx};
use crate::config::Result;
use crate::event::LogEvent;
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;

/// Delivers events to Axiom.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Axiom {
    /// The API token.
    token: SensitiveString,
    /// The dataset.
    dataset: String,
    /// The organisation, for personal tokens.
    org_id: Option<String>,
    /// Another endpoint; with a path, it is used as it is. Default: `https://api.axiom.co`.
    url: Option<String>,
    /// An edge host such as `eu-central-1.aws.edge.axiom.co`, instead of `url`.
    region: Option<String>,
}

const WANTED: [Missing; 2] = [Missing::time("timestamp"), Missing::level("level")];

impl Axiom {
    fn uri(&self) -> String {
        let dataset = utf8_percent_encode(&self.dataset, NON_ALPHANUMERIC);
        let uri = match (&self.url, &self.region) {
            (Some(url), _) if has_path(url) => url.clone(),
            (Some(url), _) => format!("{}/v1/datasets/{dataset}/ingest", url.trim_end_matches('/')),
            (None, Some(region)) => format!("https://{region}/v1/ingest/{dataset}"),
            (None, None) => format!("https://api.axiom.co/v1/datasets/{dataset}/ingest"),
        };
        let separator = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{separator}timestamp-field=timestamp")
    }
}

impl Axiom {
    fn authorized(&self, builder: http::request::Builder) -> Result<http::request::Builder> {
        let builder = builder.header(AUTHORIZATION, self.token.to_header("Bearer ")?);
        Ok(match &self.org_id {
            Some(org_id) => builder.header("X-Axiom-Org-Id", org_id),
            None => builder,
        })
    }
}

fn has_path(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| !matches!(uri.path(), "" | "/"))
}

impl HttpSink for Axiom {
    const NAME: &'static str = "axiom";
    const SUMMARY: &'static str = "Deliver events to Axiom.";
    const EXAMPLE: &'static str = "token = \"TOKEN\"\ndataset = \"DATASET\"";
    const NOTES: &'static str = "- A request has at most 10,000,000 bytes and 10,000 events; it is sent after 1 s at the latest.\n\
        - A 200 says how many events failed, and not which: as many count as rejected, and none is sent \
        twice.";

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        if self.url.is_some() && self.region.is_some() {
            return Err("url and region exclude each other; keep one of them".into());
        }
        check_endpoint(if self.region.is_some() { "region" } else { "url" }, &self.uri())?;
        self.token.to_header("Bearer ")?;
        Ok(())
    }

    /// 10,000 events in a request.
    fn limits(&self) -> BatchLimits {
        BatchLimits { max_events: 10_000, ..BatchLimits::DEFAULT }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (usize::MAX, 10_000)
    }

    fn compression(&self) -> Compression {
        Algorithm::Zstd.into()
    }

    fn framing(&self) -> Framing {
        Framing::NEWLINE_SEPARATED
    }

    /// The event as it came, with `timestamp` and a top-level `level` where they are missing.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_with_missing(event, &event.json(), &WANTED, out);
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        self.authorized(Request::post(self.uri()).header(CONTENT_TYPE, "application/x-ndjson"))
    }

    /// A 200 counts the events that failed, and does not say which: none is sent twice.
    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            failed: usize,
            #[serde(default)]
            failures: Vec<Failure>,
        }
        #[derive(Deserialize)]
        struct Failure {
            #[serde(default)]
            error: String,
        }
        if !response.status().is_success() {
            return Verdict::of_status(response);
        }
        let answer =
            serde_json::from_slice::<Answer>(response.body()).ok().filter(|answer| answer.failed > 0);
        let Some(answer) = answer else { return Verdict::Delivered };
        let first = answer.failures.first().map_or("no reason given", |failure| failure.error.as_str());
        Verdict::RejectedSome { count: answer.failed, reason: shorten(first) }
    }

    /// Without a URI of the user's: an empty ingest, which stores nothing and checks the token.
    fn healthcheck(&self, uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let builder = match uri {
            Some(uri) => Request::head(uri),
            None => Request::post(self.uri()).header(CONTENT_TYPE, "application/x-ndjson"),
        };
        let request = self.authorized(builder)?.body(Bytes::new())?;
        Ok(Some(HealthcheckRequest::new(request, judge_2xx)))
    }
}
