//! `elasticsearch`: the bulk API of Elasticsearch, OpenSearch and what speaks like them.
//!
//! Source: elastic.co/docs (bulk API), opensearch.org/docs (bulk). An answer of 200 has a status for each
//! document: those that failed for now come again, those that never fit are rejected one by one.

pub(super) mod bulk;
mod options;

use super::codec::{EncodeError, Framing, Missing, Splice, Transformer, write_with_missing};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, Signer, check_endpoint};
use super::{Auth, Batch, BatchLimits, Verdict, judge_2xx};
use crate::config::{Problem, Result, SinkContext};
use crate::event::{Field, LogEvent, Path, Segment};
use crate::http::HttpClient;
use crate::secret::SensitiveString;
use crate::template::{RenderError, Template};
use bulk::{Action, write_action};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use options::{
    ApiVersion, AwsOptions, BulkOptions, DataStreamOptions, EsAuth, Mode, OpenSearchService, Strings,
    VersionType, default_doc_type,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Delivers events to Elasticsearch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Elasticsearch {
    /// The servers' addresses; each attempt goes to the next one. A user and password in one become Basic
    /// authentication.
    endpoints: Strings,
    /// Into indices, or into data streams. Default: `bulk`.
    #[serde(default)]
    mode: Mode,
    /// What is done with a document, and where. For mode `bulk`.
    #[serde(default)]
    bulk: BulkOptions,
    /// The data stream's name. For mode `data_stream`.
    #[serde(default)]
    data_stream: DataStreamOptions,
    /// The server's version; before 7, a document needs a type. Default: found out from the answers.
    #[serde(default)]
    api_version: ApiVersion,
    /// A document's type, for servers before 7. Default: `_doc`.
    #[serde(default = "default_doc_type")]
    doc_type: String,
    /// Vector's old word for servers after 7: no types.
    #[serde(default)]
    suppress_type_name: bool,
    /// The field whose value becomes the document's id; it is taken out of the document.
    id_key: Option<String>,
    /// The ingest pipeline.
    pipeline: Option<String>,
    /// More parameters of the URL.
    #[serde(default)]
    query: BTreeMap<String, Strings>,
    /// How to show who we are.
    auth: Option<EsAuth>,
    /// What AWS's OpenSearch needs to be known by.
    #[serde(default)]
    aws: AwsOptions,
    /// Which of AWS's OpenSearch services, for its signatures. Default: `managed`.
    #[serde(default)]
    opensearch_service_type: OpenSearchService,
    /// Vector resends parts of a batch only if it is told to; here that is always so.
    #[serde(default, rename = "request_retry_partial")]
    _request_retry_partial: bool,
    /// Vector's weighing of endpoints; here they take turns.
    #[schemars(with = "Option<serde_json::Value>")]
    distribution: Option<toml::Value>,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
    /// What follows from the options.
    #[serde(skip)]
    prepared: Prepared,
}

#[derive(Debug)]
struct Prepared {
    index: Template,
    /// Each endpoint's URL up to the API, and its authentication.
    endpoints: Vec<(String, Option<Auth>)>,
    /// The parameters of every bulk request, with their question mark.
    query: String,
    /// The line before each document, where it is always the same.
    action: Option<Vec<u8>>,
    id_key: Option<Path>,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// How often a server has said that a document needs a type, which the URL then gives to all.
    asked_for_type: AtomicUsize,
}

impl Default for Prepared {
    fn default() -> Prepared {
        Prepared {
            index: Template::literal(""),
            endpoints: Vec::new(),
            query: String::new(),
            action: None,
            id_key: None,
            turn: AtomicUsize::new(0),
            asked_for_type: AtomicUsize::new(0),
        }
    }
}

impl HttpSink for Elasticsearch {
    const NAME: &'static str = "elasticsearch";
    const SUMMARY: &'static str = "Deliver events to Elasticsearch or OpenSearch.";
    const EXAMPLE: &'static str = "endpoints = [\"https://es.example:9200\"]\nbulk.index = \"logs-%F\"\nauth = { strategy = \"basic\", user = \"USER\", password = \"PASSWORD\" }";
    const NOTES: &'static str = "- A request has at most 10,000,000 bytes and 10,000 documents; it is sent after 1 s at the latest.\n\
        - The answer has a status for each document: 429 and 5xx come again, other failures are rejected one \
        by one, and a `create` that finds its copy (409) is delivered.";
    const RENAMED: &'static [(&'static str, &'static str)] = &[("endpoint", "endpoints"), ("normal", "bulk")];

    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        self.bulk.index.iter_mut().for_each(|index| options.confine("bulk.index", index));
        let DataStreamOptions { r#type, dataset, namespace, .. } = &mut self.data_stream;
        for (option, template) in [("type", r#type), ("dataset", dataset), ("namespace", namespace)] {
            options.confine(&format!("data_stream.{option}"), template);
        }
        let is_serverless = self.opensearch_service_type == OpenSearchService::Serverless;
        if let Some(EsAuth(Auth::Aws { auth, service, region })) = &mut self.auth {
            *service = if is_serverless { "aoss" } else { "es" }.to_owned();
            // As in Vector: `auth.region` is the token service's.
            *region = self.aws.region.clone();
            auth.check()?;
        } else if is_serverless {
            return Err(
                "opensearch_service_type: serverless wants AWS's signatures; set auth.strategy = \"aws\""
                    .into(),
            );
        }
        if let Some(auth) = &self.auth {
            auth.0.check()?;
        }
        let mut endpoints = Vec::new();
        for endpoint in self.endpoints.iter() {
            let (url, auth) = match (Auth::take_from_url(endpoint), &self.auth) {
                (Some(_), Some(_)) => {
                    return Err(
                        "endpoints: one has a user and password, and there is an `auth` as well; keep one of them"
                            .into(),
                    );
                }
                (Some((url, auth)), None) => (url, Some(auth)),
                (None, auth) => (endpoint.to_owned(), auth.as_ref().map(|auth| auth.0.clone())),
            };
            check_endpoint("endpoints", &url)?;
            endpoints.push((url.trim_end_matches('/').to_owned(), auth));
        }
        if endpoints.is_empty() {
            return Err("endpoints: empty; expected at least one URL".into());
        }
        // Without what was a password.
        self.endpoints = Strings::Many(endpoints.iter().map(|(url, _)| url.clone()).collect());
        if self.query.contains_key("filter_path") {
            return Err("query: filter_path would take out of the answer what became of each document".into());
        }
        if self.distribution.is_some() {
            let message = "has no effect: every attempt goes to the next endpoint; take it out";
            options.warnings.push(Problem::at("distribution", message));
        }
        self.check_action()?;
        let id_key = self.id_key.as_deref().map(Path::parse).transpose();
        let id_key = id_key.map_err(|error| format!("id_key: {error}"))?;
        let query = self.query(options);
        let index = self.bulk.index.clone().map_or_else(|| Template::parse("vector-%Y.%m.%d"), Ok)?;
        self.prepared = Prepared { index, endpoints, query, id_key, ..Prepared::default() };
        self.prepared.action = self.constant_action();
        Ok(())
    }

    /// 10 MB, as Vector; of so many documents the answer is still of a size that is read whole.
    fn limits(&self) -> BatchLimits {
        BatchLimits { max_events: bulk::MAX_DOCUMENTS, ..BatchLimits::DEFAULT }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (usize::MAX, bulk::MAX_DOCUMENTS)
    }

    fn framing(&self) -> Framing {
        Framing::NEWLINE_DELIMITED
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let id = self.id(event)?;
        match &self.prepared.action {
            Some(action) if id.is_none() => out.extend_from_slice(action),
            _ => self.write_own_action(event, id.as_deref(), out)?,
        }
        out.push(b'\n');
        let mut sent = self.encoding.apply(event);
        if let Some(path) = self.prepared.id_key.as_ref().filter(|_| id.is_some()) {
            let mut without = sent.without_receipts();
            match path.as_root_field() {
                Some(name) => without.remove_root_fields(std::iter::once(name)),
                None => drop(without.value_mut().remove(&path.to_vrl(), true)),
            }
            sent = Cow::Owned(without);
        }
        match self.mode {
            Mode::DataStream => self.write_stream_document(event, &sent, out)?,
            Mode::Bulk if self.is_update(event) => write_update(&sent, out)?,
            Mode::Bulk => self.write_document(event, &sent, out),
        }
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        let Prepared { endpoints, query, turn, asked_for_type, .. } = &self.prepared;
        let (url, auth) = &endpoints[turn.fetch_add(1, Ordering::Relaxed) % endpoints.len()];
        // The index of the URL is for documents that name none; all of ours do.
        let path = match asked_for_type.load(Ordering::Relaxed) {
            0 => "/_bulk".to_owned(),
            _ => format!("/log-shipper/{}/_bulk", self.doc_type),
        };
        let builder =
            Request::post(format!("{url}{path}{query}")).header(CONTENT_TYPE, "application/x-ndjson");
        match auth {
            Some(auth) => auth.authorize(builder),
            None => Ok(builder),
        }
    }

    fn secrets(&self) -> Vec<&SensitiveString> {
        self.prepared.endpoints.iter().flat_map(|(_, auth)| auth).flat_map(Auth::secrets).collect()
    }

    fn signer(&self, cx: &SinkContext, client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        self.auth.as_ref().map_or(Ok(None), |auth| auth.0.signer(cx, client))
    }

    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        let asks_for_type = response.status() == 400
            && self.api_version == ApiVersion::Auto
            && !self.suppress_type_name
            && memchr::memmem::find(response.body(), b"type is missing").is_some();
        // Those that were under way when the first answer came get the same one.
        if asks_for_type && self.prepared.asked_for_type.fetch_add(1, Ordering::Relaxed) < MAX_ASKED_FOR_TYPE
        {
            return Verdict::Retry { after: None };
        }
        bulk::verdict(response, batch.len())
    }

    /// The cluster's health, with our credentials; of several endpoints one that is well is enough.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        // The serverless service has no such question.
        if self.opensearch_service_type == OpenSearchService::Serverless {
            return Ok(None);
        }
        let mut check: Option<HealthcheckRequest> = None;
        for (url, auth) in &self.prepared.endpoints {
            let mut builder = Request::get(format!("{url}/_cluster/health"));
            if let Some(auth) = auth {
                builder = auth.authorize(builder)?;
            }
            let request = builder.body(Bytes::new())?;
            check = Some(match check {
                None => HealthcheckRequest::new(request, judge_2xx),
                Some(check) => check.or(request),
            });
        }
        Ok(check)
    }
}

/// More requests than are under way at once; a server that asks once more has had the type.
const MAX_ASKED_FOR_TYPE: usize = 1_000;

/// Bytes of a document's id that Elasticsearch takes.
const MAX_ID: usize = 512;

/// An update has the document inside. Whoever has put one there himself knows better, and what stands beside it
/// is his too: one more member would be the end of the whole request.
fn write_update(sent: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match sent.get(&Path::root_field("doc")).map(Field::to_json) {
        Some(own) if own.starts_with('{') => out.extend_from_slice(sent.json().as_bytes()),
        Some(_) => {
            return Err(EncodeError { reason: "its `doc`, which an update stores, is no object".into() });
        }
        None => {
            out.extend_from_slice(b"{\"doc\":");
            out.extend_from_slice(sent.json().as_bytes());
            out.extend_from_slice(b",\"doc_as_upsert\":true}");
        }
    }
    Ok(())
}

impl Elasticsearch {
    /// The document's id, if the event has one.
    fn id<'a>(&self, event: &'a LogEvent) -> Result<Option<Cow<'a, str>>, EncodeError> {
        let field = self.prepared.id_key.as_ref().and_then(|path| event.get(path));
        let Some(field) = field.filter(|field| !field.is_null()) else { return Ok(None) };
        let id = field.to_text();
        let is_nested = field.to_json().starts_with(['{', '[']);
        if is_nested || id.len() > MAX_ID {
            let reason = format!("its id is no string or number, or has more than {MAX_ID} bytes");
            return Err(EncodeError { reason });
        }
        Ok(Some(id).filter(|id| !id.is_empty()))
    }

    /// The event, with its time where it has neither of the names by which people look for it. The level stands in
    /// `log.level`, which is the name that Elastic's common schema has for it.
    fn write_document(&self, event: &LogEvent, sent: &LogEvent, out: &mut Vec<u8>) {
        const TIME: [Missing; 1] = [Missing::time("timestamp").or("@timestamp")];
        match self.encoding == Transformer::default() {
            true => write_with_missing(event, &sent.json(), &TIME, out),
            false => out.extend_from_slice(sent.json().as_bytes()),
        }
    }

    fn check_action(&self) -> Result<()> {
        if self.mode == Mode::DataStream {
            return Ok(());
        }
        if let Some(action) = self.bulk.action.as_static() {
            Action::parse(action).map_err(|reason| format!("bulk.action: {reason}"))?;
            if action == "update" && self.id_key.is_none() {
                return Err("bulk.action: an update needs to know which document; set id_key".into());
            }
        }
        if self.bulk.version_type != VersionType::Internal && self.bulk.version.is_none() {
            return Err("bulk.version_type: only with bulk.version; set that too".into());
        }
        if self.bulk.version.is_some() && self.bulk.action.as_static() != Some("index") {
            return Err("bulk.version: only an index action has one; set bulk.action = \"index\"".into());
        }
        if self.bulk.version.is_some()
            && (self.bulk.version_type == VersionType::Internal || self.id_key.is_none())
        {
            return Err(
                "bulk.version: needs bulk.version_type external or external_gte, and id_key; set both".into(),
            );
        }
        Ok(())
    }

    fn query(&self, options: &HttpOptions) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("timeout", &format!("{}s", options.request.timeout_secs.0.as_secs().max(1)));
        if let Some(pipeline) = &self.pipeline {
            query.append_pair("pipeline", pipeline);
        }
        for (name, values) in &self.query {
            for value in values.iter() {
                query.append_pair(name, value);
            }
        }
        format!("?{}", query.finish())
    }

    /// The type in each action line; a server of unknown version is told in the URL, when it asks.
    fn doc_type(&self) -> Option<&str> {
        let is_old = self.api_version == ApiVersion::V6 && !self.suppress_type_name;
        is_old.then_some(self.doc_type.as_str())
    }

    fn constant_action(&self) -> Option<Vec<u8>> {
        let (action, index) = match self.mode {
            // A version belongs to an id, and so does an update.
            Mode::Bulk if self.bulk.version.is_some() || self.bulk.action.as_static() == Some("update") => {
                return None;
            }
            Mode::Bulk => (self.bulk.action.as_static()?, Cow::Borrowed(self.prepared.index.as_static()?)),
            Mode::DataStream if self.data_stream.auto_routing => return None,
            Mode::DataStream => {
                let DataStreamOptions { r#type, dataset, namespace, .. } = &self.data_stream;
                let parts = [r#type.as_static()?, dataset.as_static()?, namespace.as_static()?];
                ("create", Cow::Owned(parts.join("-")))
            }
        };
        let mut out = Vec::new();
        write_action(Action::parse(action).ok()?, &index, self.doc_type(), &[], &mut out);
        Some(out)
    }

    fn write_own_action(
        &self,
        event: &LogEvent,
        id: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let failed = |reason: String| EncodeError { reason };
        let mut more = Vec::new();
        more.extend(id.map(|id| ("_id", Cow::Borrowed(id))));
        let (action, index) = match self.mode {
            Mode::DataStream => (Action::Create, self.stream(event)?.join("-")),
            Mode::Bulk => {
                let action = self.bulk.action.render(event).map_err(|error| failed(error.to_string()))?;
                let action =
                    Action::parse(&action).map_err(|reason| failed(format!("bulk.action: {reason}")))?;
                if action == Action::Update && id.is_none() {
                    return Err(failed("bulk.action: an update needs the field of id_key".into()));
                }
                if let Some(version) = self.bulk.version.as_ref().filter(|_| id.is_some()) {
                    let version = version.render(event).map_err(|error| failed(error.to_string()))?;
                    version
                        .parse::<u64>()
                        .map_err(|_| failed(format!("bulk.version: `{version}` is no number")))?;
                    let kind = match self.bulk.version_type {
                        VersionType::ExternalGte => "external_gte",
                        _ => "external",
                    };
                    more.extend([("version", Cow::Owned(version)), ("version_type", kind.into())]);
                }
                let index = match (self.prepared.index.render(event), &self.bulk.template_fallback_index) {
                    (Ok(index), _) => index,
                    (Err(RenderError::Missing { .. }), Some(fallback)) => fallback.clone(),
                    (Err(error), _) => return Err(failed(format!("bulk.index: {error}"))),
                };
                (action, index)
            }
        };
        write_action(action, &index, self.doc_type(), &more, out);
        Ok(())
    }

    fn is_update(&self, event: &LogEvent) -> bool {
        match self.bulk.action.as_static() {
            Some(action) => action == "update",
            None => self.bulk.action.render(event).is_ok_and(|action| action == "update"),
        }
    }

    /// The type, dataset and namespace of the event's data stream.
    fn stream(&self, event: &LogEvent) -> Result<[String; 3], EncodeError> {
        let DataStreamOptions { r#type, dataset, namespace, auto_routing, .. } = &self.data_stream;
        let part = |name: &str, template: &Template| {
            let path = [Segment::Field("data_stream".into()), Segment::Field(name.to_owned().into())];
            let own = event.get(&Path::from_segments(path.into())).and_then(Field::as_str);
            match own.filter(|_| *auto_routing) {
                Some(own) => Ok(own.into_owned()),
                None => template
                    .render(event)
                    .map_err(|error| EncodeError { reason: format!("data_stream.{name}: {error}") }),
            }
        };
        Ok([part("type", r#type)?, part("dataset", dataset)?, part("namespace", namespace)?])
    }

    /// A document of a data stream must have its time as `@timestamp`.
    fn write_stream_document(
        &self,
        event: &LogEvent,
        sent: &LogEvent,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let text = sent.json();
        let sync_fields = self.data_stream.sync_fields;
        let mut own_stream = None;
        let mut document = Splice::open_with(out, &text, |name, value| match name {
            "timestamp" => Field::Json(value).as_timestamp().is_some(),
            "@timestamp" => true,
            "data_stream" if sync_fields => {
                own_stream = Some(value).filter(|value| value.starts_with('{'));
                true
            }
            _ => false,
        });
        document.string("@timestamp", &event.timestamp().to_rfc3339());
        if sync_fields {
            let out = document.key("data_stream");
            let is_part = |name: &str, _: &str| matches!(name, "type" | "dataset" | "namespace");
            let mut fields = Splice::open_with(out, own_stream.unwrap_or("{}"), is_part);
            for (name, part) in ["type", "dataset", "namespace"].into_iter().zip(self.stream(event)?) {
                fields.string(name, &part);
            }
            fields.close();
        }
        document.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        for (text, words) in [
            ("endpoints = []", "endpoints: empty"),
            ("endpoints = 'h'", "endpoints: not a URL"),
            ("endpoints = 'http://a:b@h'\nauth = {strategy = 'bearer', token = 't'}", "keep one of them"),
            ("endpoints = 'http://h'\nbulk.version = '{{ v }}'", "bulk.version: needs"),
            ("endpoints = 'http://h'\nbulk.version_type = 'external'", "bulk.version_type: only with"),
        ] {
            let mut sink: Elasticsearch = toml::from_str(text).unwrap();
            let error = sink.configure(&mut HttpOptions::default()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let mut options = HttpOptions::default();
        let mut sink: Elasticsearch = toml::from_str("endpoints = 'http://h'\ndistribution = {}").unwrap();
        sink.configure(&mut options).unwrap();
        assert!(options.warnings[0].to_string().starts_with("distribution: has no effect"));
    }
}
