//! `loki`: Grafana Loki's push API, as JSON or as protobuf with snappy.
//!
//! Source: Loki's `pkg/loghttp/push` and `pkg/validation`. An answer of 400 stores the valid entries
//! and refuses the others; JSON may be compressed with gzip, not with zlib or zstd.

mod labels;
mod proto;

use super::codec::{Codec, EncodeError, EncodingConfig, Framing, write_integer};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, Signer, check_endpoint};
use super::verdict::Verdict;
use super::{Auth, Batch, BatchLimits, Partition, describe, judge_2xx};
use crate::config::{Result, SinkContext};
use crate::event::{LogEvent, Lookup, Path, Timestamp, json};
use crate::http::HttpClient;
use crate::secret::SensitiveString;
use crate::template::Template;
use bytes::Bytes;
use foldhash::fast::RandomState;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use labels::{Label, Pairs, write_object, write_selector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Loki's `max_line_size` by default. Here labels and escapes count too.
const MAX_LINE: usize = 256 << 10;

/// Delivers events to Loki.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loki {
    /// Loki's address, without the path.
    endpoint: String,
    /// The path of the push API.
    #[serde(default = "default_path")]
    path: String,
    /// How a line is written.
    encoding: EncodingConfig,
    /// The labels of a stream: name and value are templates. A label whose value needs a field that
    /// the event lacks is left out. A name that ends in `*` stands for all members of an object.
    labels: BTreeMap<String, Template>,
    /// The tenant (`X-Scope-OrgID`); a template.
    tenant_id: Option<Template>,
    /// Whether the fields that labels were made of are taken out of the line. Default: false.
    #[serde(default)]
    remove_label_fields: bool,
    /// Structured metadata of an entry, like labels.
    #[serde(default)]
    structured_metadata: BTreeMap<String, Template>,
    /// Whether the fields that it was made of are taken out of the line. Default: false.
    #[serde(default)]
    remove_structured_metadata_fields: bool,
    /// Whether `timestamp` is taken out of the line, because it is the entry's time. Default: true.
    #[serde(default = "yes")]
    remove_timestamp: bool,
    /// What to do with an entry that is older than the last of its stream.
    #[serde(default)]
    out_of_order_action: OutOfOrderAction,
    /// How to show who we are.
    auth: Option<Auth>,
    #[serde(skip)]
    prepared: Prepared,
}

/// What follows from the options, worked out once.
#[derive(Debug, Default)]
struct Prepared {
    is_protobuf: bool,
    labels: Pairs,
    metadata: Pairs,
    /// The fields of both.
    lookup: Lookup,
    removed: Vec<Path>,
    /// Whether all of these are fields of the root, which can be taken out of text.
    removes_only_root_fields: bool,
    /// The time of the last entry of each stream, where the order counts.
    last: Mutex<HashMap<Vec<u8>, Timestamp>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OutOfOrderAction {
    #[default]
    Accept,
    RewriteTimestamp,
    Drop,
}

fn default_path() -> String {
    "/loki/api/v1/push".to_owned()
}

fn yes() -> bool {
    true
}

/// How many streams' last times are remembered; beyond, all are forgotten, which at worst sends an
/// entry out of order that Loki takes or refuses by itself.
const MAX_STREAMS: usize = 10_000;

impl HttpSink for Loki {
    const NAME: &'static str = "loki";
    const SUMMARY: &'static str = "Deliver events to Grafana Loki.";
    const EXAMPLE: &'static str =
        "endpoint = \"https://loki.example\"\nencoding.codec = \"json\"\nlabels.app = \"{{ fly.app.name }}\"";
    const NOTES: &'static str = "- A request has at most 1,000,000 bytes and 100,000 lines; it is sent after 1 s at the latest. An \
        event has at most 262,144 bytes, labels included.\n\
        - An answer of 400 says how many lines were refused (too old, too long, too many labels): these are \
        rejected, the others are stored.";

    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        if self.labels.is_empty() {
            return Err("labels: empty; Loki needs at least one label for a stream".into());
        }
        check_endpoint("endpoint", &self.endpoint)?;
        let compression = options.compression.unwrap_or_else(|| self.compression());
        if matches!(compression.algorithm, Algorithm::Zlib | Algorithm::Zstd) {
            return Err(
                "compression: Loki does not read zlib or zstd; use gzip (JSON), snappy (protobuf) or none"
                    .into(),
            );
        }
        if self.out_of_order_action != OutOfOrderAction::Accept {
            // With more than one request under way, an order could not be kept.
            options.request.concurrency = super::request::Concurrency::Fixed(1);
        }
        if let Some(auth) = &self.auth {
            auth.check()?;
        }
        self.tenant_id.iter_mut().for_each(|tenant| options.confine("tenant_id", tenant));
        for (option, pairs) in [("labels", &self.labels), ("structured_metadata", &self.structured_metadata)]
        {
            // Only the names are places; a value is what it is, as in Vector since 0.58.
            for name in pairs.keys() {
                let mut template = Template::parse(name.trim_end_matches('*'))?;
                options.confine(&format!("{option}.{name}"), &mut template);
            }
        }
        let labels = Pairs::new("labels", &self.labels)?;
        let metadata = Pairs::new("structured_metadata", &self.structured_metadata)?;
        let mut removed = Vec::new();
        if self.remove_timestamp {
            removed.push(Path::root_field("timestamp"));
        }
        if self.remove_label_fields {
            removed.extend(labels.paths().cloned());
        }
        if self.remove_structured_metadata_fields {
            removed.extend(metadata.paths().cloned());
        }
        let is_protobuf = compression.algorithm == Algorithm::Snappy;
        let lookup = Lookup::new(labels.paths().chain(metadata.paths()).cloned());
        self.prepared = Prepared {
            is_protobuf,
            labels,
            metadata,
            lookup,
            removes_only_root_fields: removed.iter().all(|path| path.as_root_field().is_some()),
            removed,
            last: Mutex::default(),
        };
        Ok(())
    }

    /// As Vector.
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_bytes: 1_000_000,
            max_events: 100_000,
            max_event_bytes: MAX_LINE,
            ..BatchLimits::DEFAULT
        }
    }

    fn compression(&self) -> Compression {
        Algorithm::Snappy.into()
    }

    /// What is joined here is not the body itself: see `Entry`. Its prefix is as long as what stands
    /// around the streams.
    fn framing(&self) -> Framing {
        Framing { prefix: b"{\"streams\":[]}".into(), ..Framing::CONCATENATED }
    }

    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        match self.tenant_id.as_ref().map(|tenant| tenant.render(event)).transpose() {
            Ok(tenant) => Ok(tenant.into_iter().collect()),
            Err(error) => Err(EncodeError { reason: format!("tenant_id: {error}") }),
        }
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Prepared { labels, metadata, lookup, is_protobuf, .. } = &self.prepared;
        let (fields, time) = event.look_up(lookup);
        let (label_fields, metadata_fields) = fields.split_at(labels.paths().count());
        let mut labels = labels.render(label_fields, time);
        if labels.is_empty() {
            labels.push(Label::new("agent", "log-shipper"));
        }
        let metadata = metadata.render(metadata_fields, time);

        let start = Entry::begin(out);
        match is_protobuf {
            true => write_selector(&labels, out),
            false => write_object(&labels, out),
        }
        let time = self.in_order(event, time, &out[start..])?;
        Entry::end_stream(start, time, out);
        if *is_protobuf {
            let mut line = String::new();
            self.write_line(event, &mut |piece| line.push_str(piece));
            let entry = proto::Entry::new(time, line, &metadata);
            // Into memory there is always room.
            let _ = prost::Message::encode(&entry, out);
            return Ok(());
        }
        // The time and the line as the JSON of a value; the metadata, if any, stands behind them.
        out.extend_from_slice(b"[\"");
        write_integer(time.nanos(), out);
        out.extend_from_slice(b"\",\"");
        self.write_line(event, &mut |piece| json::write_escaped(piece, out));
        out.push(b'"');
        if !metadata.is_empty() {
            out.push(b',');
            write_object(&metadata, out);
        }
        out.push(b']');
        Ok(())
    }

    /// The entries by stream, each stream in the order of time.
    fn assemble(&self, batch: &Batch) -> Option<Vec<u8>> {
        let mut places = HashMap::with_hasher(RandomState::default());
        let mut streams: Vec<(&[u8], Vec<Entry<'_>>)> = Vec::new();
        for entry in batch.entries().filter_map(Entry::read) {
            let place = *places.entry(entry.stream).or_insert_with(|| {
                streams.push((entry.stream, Vec::new()));
                streams.len() - 1
            });
            streams[place].1.push(entry);
        }
        let mut out = Vec::with_capacity(batch.body().len());
        for (_, entries) in &mut streams {
            entries.sort_by_key(|entry| entry.time);
        }
        if self.prepared.is_protobuf {
            proto::write_streams(&streams, &mut out);
            return Some(out);
        }
        out.extend_from_slice(b"{\"streams\":[");
        for (index, (stream, entries)) in streams.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"{\"stream\":" } else { b",{\"stream\":" });
            out.extend_from_slice(stream);
            out.extend_from_slice(b",\"values\":[");
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(entry.text);
            }
            out.extend_from_slice(b"]}");
        }
        out.extend_from_slice(b"]}");
        Some(out)
    }

    fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        let content_type =
            if self.prepared.is_protobuf { "application/x-protobuf" } else { "application/json" };
        let mut builder = Request::post(format!("{}{}", self.endpoint.trim_end_matches('/'), self.path))
            .header(CONTENT_TYPE, content_type);
        if let (Some(_), Some(tenant)) = (&self.tenant_id, batch.partition().first()) {
            builder = builder.header("X-Scope-OrgID", tenant);
        }
        if let Some(auth) = &self.auth {
            builder = auth.authorize(builder)?;
        }
        Ok(builder)
    }

    fn secrets(&self) -> Vec<&SensitiveString> {
        self.auth.iter().flat_map(Auth::secrets).collect()
    }

    fn signer(&self, cx: &SinkContext, client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        self.auth.as_ref().map_or(Ok(None), |auth| auth.signer(cx, client))
    }

    /// 400 for lines that Loki refuses: it has stored the others, and tells how many it has not, but
    /// not in a form that names them; none is sent twice. 260 is the answer of a policy that blocks ingestion.
    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        match response.status().as_u16() {
            260 => Verdict::Rejected { reason: describe(response) },
            400 => match refused_lines(&String::from_utf8_lossy(response.body())) {
                0 => Verdict::Rejected { reason: describe(response) },
                count => Verdict::RejectedSome { count, reason: describe(response) },
            },
            _ => Verdict::of_status(response),
        }
    }

    /// `/ready`; a hosted Loki has none and answers 404, but it answers.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let mut builder = Request::get(format!("{}/ready", self.endpoint.trim_end_matches('/')));
        if let Some(tenant) = self.tenant_id.as_ref().and_then(Template::as_static) {
            builder = builder.header("X-Scope-OrgID", tenant);
        }
        if let Some(auth) = &self.auth {
            builder = auth.authorize(builder)?;
        }
        let judge = |response: &Response<Bytes>| match response.status().as_u16() {
            404 => Ok(()),
            _ => judge_2xx(response),
        };
        Ok(Some(HealthcheckRequest::new(builder.body(Bytes::new())?, judge)))
    }
}

impl Loki {
    /// Gives the line to `piece`, in one piece or several.
    fn write_line(&self, event: &LogEvent, piece: &mut impl FnMut(&str)) {
        let Prepared { removed, removes_only_root_fields, .. } = &self.prepared;
        if self.encoding.is_plain_json() && *removes_only_root_fields {
            let names = || removed.iter().filter_map(Path::as_root_field);
            return event.json_without(|key| names().any(|name| name == key), piece);
        }
        let mut sent = Cow::Borrowed(event);
        if self.encoding.codec != Codec::Text && !removed.is_empty() {
            let mut event = event.without_receipts();
            if *removes_only_root_fields {
                event.remove_root_fields(removed.iter().filter_map(Path::as_root_field));
            } else {
                let value = event.value_mut();
                for path in removed {
                    value.remove(&path.to_vrl(), true);
                }
            }
            sent = Cow::Owned(event);
        }
        let mut line = Vec::new();
        self.encoding.encode(&sent, &mut line);
        piece(&String::from_utf8_lossy(&line));
    }

    /// The time at which the entry is sent, by the last one of its stream.
    fn in_order(&self, event: &LogEvent, time: Timestamp, stream: &[u8]) -> Result<Timestamp, EncodeError> {
        if self.out_of_order_action == OutOfOrderAction::Accept {
            return Ok(time);
        }
        // Two tenants may have streams of the same labels.
        let key = [self.partition(event)?.concat().as_bytes(), b"\0", stream].concat();
        let mut last = self.prepared.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MAX_STREAMS {
            last.clear();
        }
        match last.get_mut(&key) {
            Some(last) if time < *last && self.out_of_order_action == OutOfOrderAction::Drop => {
                Err(EncodeError {
                    reason: "it is older than the last of its stream, and out_of_order_action is drop".into(),
                })
            }
            Some(last) => {
                *last = time.max(*last);
                Ok(*last)
            }
            None => {
                last.insert(key, time);
                Ok(time)
            }
        }
    }
}

/// How many lines an answer says were refused: `3 errors like: ...`, `total ignored: 2 out of 9`, or
/// one that it describes.
fn refused_lines(body: &str) -> usize {
    let number_before =
        |text: &str| text.split_whitespace().last().and_then(|word| word.parse::<usize>().ok());
    let grouped = body.match_indices(" errors like:").filter_map(|(at, _)| number_before(&body[..at]));
    let ignored = body.match_indices("total ignored: ").filter_map(|(at, found)| {
        body[at + found.len()..].split_whitespace().next().and_then(|word| word.parse::<usize>().ok())
    });
    let counted = grouped.chain(ignored).fold(0, usize::saturating_add);
    // Loki names the stream or the label of a line that it refuses; a body that it can't read has none.
    let describes_one = [
        "for stream",
        "stream '",
        "too old",
        "too far behind",
        "too new",
        "max entry size",
        "out of order",
        "has label",
    ];
    let is_unreadable = ["parse error", "error parsing", "unexpected", "invalid character"];
    let describes_one = describes_one.iter().any(|words| body.contains(words));
    match counted {
        0 if describes_one && !is_unreadable.iter().any(|words| body.contains(words)) => 1,
        counted => counted,
    }
}

/// An entry as it stands in a batch: its time, its stream's labels, and itself as it will be sent. It
/// takes as much room as it can take at most in the body, where streams may have many entries, so that
/// the limits of a batch hold for the body.
struct Entry<'a> {
    time: i64,
    stream: &'a [u8],
    text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `{"stream":,"values":[]},` has 24 bytes, of which the two numbers take 16.
    const PADDING: usize = 8;

    /// Makes room for what stands before the stream; where the stream starts.
    fn begin(out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&[0; Entry::PADDING + 8 + 8]);
        out.len()
    }

    /// The stream ends here, and the text follows.
    fn end_stream(start: usize, time: Timestamp, out: &mut [u8]) {
        let length = (out.len() - start) as u64;
        out[start - 16..start - 8].copy_from_slice(&time.nanos().to_le_bytes());
        out[start - 8..start].copy_from_slice(&length.to_le_bytes());
    }

    fn read(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (_, rest) = bytes.split_first_chunk::<{ Entry::PADDING }>()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (stream, text) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Entry { time: i64::from_le_bytes(*time), stream, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_lines_that_loki_refuses() {
        for (body, expected) in [
            ("entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z", 1),
            ("3 errors like: entry too far behind; 2 errors like: max entry size exceeded", 5),
            (
                "entry with timestamp x ignored, reason: 'entry too far behind',\nuser 'fake', total ignored: 2 out of 9 for stream: {}",
                2,
            ),
            ("unexpected end of JSON input", 0),
        ] {
            assert_eq!(refused_lines(body), expected, "{body}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, words) in [
            ("labels = {}", "labels: empty"),
            ("labels.'a-b' = 'x'", "not a label's name"),
            ("labels.a = 'x'\ncompression", "zlib or zstd"),
        ] {
            let mut options = HttpOptions::default();
            let text = match text.strip_suffix("\ncompression") {
                None => text,
                Some(text) => {
                    options.compression = Some(Algorithm::Zstd.into());
                    text
                }
            };
            let text = format!("endpoint = 'http://h'\nencoding.codec = 'json'\n{text}");
            let mut loki: Loki = toml::from_str(&text).unwrap();
            let error = loki.configure(&mut options).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
