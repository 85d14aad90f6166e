//! `nats`: messages of NATS subjects, each one event.
//!
//! - this file: the options
//! - `subscription`: what is published while we are there
//! - `jetstream`, with its options in `jetstream_config` and its books in `in_flight`: what a stream keeps
//! - `decode`: messages to events
//! - `tap`: a look at all that, beside whoever ships it

mod decode;
mod in_flight;
mod jetstream;
mod jetstream_config;
mod subscription;
mod tap;

use crate::bodies::{BodyOptions, LogParse, MultilineConfig, Redaction};
use crate::config::{ComponentInfo, Result, Seconds, Source, SourceConfig, SourceContext, Tap, TapOptions};
use crate::env::Env;
use crate::event::Path;
use crate::healthcheck::Healthcheck;
use crate::nats::{
    Confirmation, Connection, ConnectionOptions, NatsAuth, PING_INTERVAL, Publisher, PullConsumer, Servers,
    SubjectFilter, TlsOptions,
};
use crate::secret::SensitiveString;
use crate::status::Status;
use crate::tls::TlsConfig;
use async_trait::async_trait;
use decode::Decoder;
use jetstream_config::JetStreamConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The configuration of the `nats` source: Vector's options, and `subjects` and `exclude`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = crate::config::schema::alias("name", "connection_name"))]
pub struct NatsConfig {
    /// The servers, comma-separated: `nats://host:4222`, `tls://host:4222`. A user and password in a
    /// URL are used, if `auth` says nothing.
    url: SensitiveString,
    /// The name that the server sees.
    #[serde(alias = "name")]
    connection_name: String,
    /// The subject to subscribe to; `*` is one token, `>` all that follow.
    subject: Option<String>,
    /// More subjects. A message that fits several of them is one event. Ours.
    #[serde(default)]
    subjects: Vec<String>,
    /// Subjects to leave out, with the same wildcards. Ours.
    #[serde(default)]
    exclude: Vec<String>,
    /// The queue group whose members share the messages. Empty is none.
    #[serde(default)]
    queue: String,
    /// Reads from JetStream. Default: core NATS, what is published while we are there.
    jetstream: Option<JetStreamConfig>,
    /// Who we are.
    auth: Option<NatsAuth>,
    /// TLS.
    tls: Option<TlsConfig>,
    /// Whether every connection begins with TLS, for servers with `handshake_first`. Default: false, and
    /// the server's `INFO` comes first, in plain text. Ours.
    #[serde(default)]
    tls_first: bool,
    /// What a payload is. Default: `bytes`, as in Vector.
    #[serde(default)]
    decoding: Decoding,
    /// Only `bytes`: a message is one event.
    #[expect(dead_code, reason = "it is read so that any other framing is refused")]
    framing: Option<MessageFraming>,
    /// The field that gets the subject, if the event has no such field. Default: `subject`; empty is
    /// none.
    #[serde(default = "default_subject_key")]
    subject_key_field: String,
    /// Vector's limit of the messages that wait in its client. Ours has no queue of its own: messages that
    /// are not read yet wait in the server. Default: 65,536.
    #[serde(default = "default_capacity")]
    subscriber_capacity: usize,
    /// After how many seconds of silence the server is asked whether it is there; if nothing comes for as long
    /// again, the connection is made anew. Default: 20. Ours.
    #[serde(default = "default_ping_interval")]
    ping_interval_secs: Seconds,
    /// After how many seconds without a message a fresh connection takes the place of the one there is, because a
    /// server may have forgotten a subscription though it answers. Nothing is lost by it, and nothing comes twice.
    /// 0 is never. A stream's consumer has heartbeats instead. Default: 300. Ours.
    #[serde(default)]
    idle_resubscribe_secs: IdleLimit,
    /// The app whose lines are left out, and counted as excluded. Ours, as are `strip_ansi`, `multiline`, `log_parse`,
    /// `detect_level`, `redact` and `enrich`.
    exclude_app: Option<String>,
    /// Whether escape sequences for terminals are taken out of messages. Default: false.
    #[serde(default)]
    strip_ansi: bool,
    /// Whether lines of one instance that belong together become one event: true, or a table with `timeout_ms`,
    /// `max_lines`, `max_bytes`. Default: false.
    #[serde(default)]
    multiline: MultilineConfig,
    /// What is lifted out of the message into the event: `off`, `json`, `logfmt` or `auto`. Default: `off`.
    #[serde(default)]
    log_parse: LogParse,
    /// Whether the level that a line names takes the place of a missing one, or of `info`. Default: false.
    #[serde(default)]
    detect_level: bool,
    /// What is replaced by markers. Default: nothing.
    #[serde(default)]
    redact: Vec<Redaction>,
    /// Fields that every event gets. Default: none.
    #[serde(default)]
    enrich: BTreeMap<String, String>,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// The codec. Default: `bytes`.
    #[serde(default)]
    pub codec: DecodingCodec,
}

/// How a payload becomes an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecodingCodec {
    /// It is the message.
    #[default]
    Bytes,
    /// It is the event, a JSON object; anything else becomes the message, and is counted.
    Json,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
enum MessageFraming {
    Bytes,
}

/// Seconds without a message; zero is none.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
#[schemars(with = "f64", extend("minimum" = 0))]
struct IdleLimit(Option<Duration>);

impl Default for IdleLimit {
    fn default() -> IdleLimit {
        IdleLimit(Some(Duration::from_secs(300)))
    }
}

impl TryFrom<f64> for IdleLimit {
    type Error = String;

    fn try_from(seconds: f64) -> std::result::Result<IdleLimit, String> {
        if seconds == 0.0 {
            return Ok(IdleLimit(None));
        }
        let limit = Seconds::try_from(seconds);
        limit.map(|seconds| IdleLimit(Some(seconds.0))).map_err(|error| format!("{error}, or 0 for never"))
    }
}

fn default_ping_interval() -> Seconds {
    Seconds(PING_INTERVAL)
}

fn default_subject_key() -> String {
    "subject".to_owned()
}

fn default_capacity() -> usize {
    65_536
}

impl NatsConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "nats",
        "Read messages of NATS subjects.",
        "url = \"nats://localhost:4222\"\nconnection_name = \"log-shipper\"\nsubject = \"logs.>\"\ndecoding.codec = \"json\"",
    );

    fn connection_options(&self, id: &str, env: &Env, status: Status) -> Result<ConnectionOptions> {
        Ok(ConnectionOptions {
            id: id.to_owned(),
            name: self.connection_name.clone(),
            servers: Servers::parse(self.url.expose())?,
            auth: self.auth.clone(),
            tls: TlsOptions::new(self.tls.as_ref(), self.tls_first)?,
            env: env.clone(),
            ping_interval: self.ping_interval_secs.0,
            status,
        })
    }

    fn bodies(&self) -> BodyOptions {
        BodyOptions {
            exclude_app: self.exclude_app.clone(),
            strip_ansi: self.strip_ansi,
            multiline: self.multiline,
            log_parse: self.log_parse,
            detect_level: self.detect_level,
            redact: self.redact.clone(),
            enrich: self.enrich.clone(),
        }
    }

    fn filters(&self, option: &str, subjects: &[&String]) -> Result<Vec<SubjectFilter>> {
        let parse = |subject: &&String| {
            SubjectFilter::parse(subject).map_err(|error| format!("{option}: {error}").into())
        };
        subjects.iter().map(parse).collect()
    }
}

#[async_trait]
impl SourceConfig for NatsConfig {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let subjects: Vec<_> = self.subject.iter().chain(&self.subjects).collect();
        if subjects.is_empty() {
            return Err("subject: missing; expected a subject such as `logs.>`".into());
        }
        let subjects = self.filters("subject", &subjects)?;
        let exclude = self.filters("exclude", &self.exclude.iter().collect::<Vec<_>>())?;
        if self.queue.contains(|c: char| c.is_whitespace()) {
            return Err("queue: it has white space in it; expected one word".into());
        }
        if self.subscriber_capacity == 0 {
            return Err("subscriber_capacity: 0 would drop everything; expected at least 1".into());
        }
        let options = self.connection_options(&cx.id, &cx.env, cx.output.status().clone())?;
        let key = self.subject_key_field.trim();
        let subject_key = if key.is_empty() { None } else { Some(Path::parse(key)?) };
        let queue = Some(self.queue.clone()).filter(|queue| !queue.is_empty());
        let has_queue = queue.is_some();
        let decoder = Decoder { subjects, has_queue, exclude, codec: self.decoding.codec, subject_key };
        let bodies = self.bodies().build()?;
        if let Some(jetstream) = &self.jetstream {
            if has_queue {
                return Err("queue: with jetstream, all that name the same consumer share its messages; take queue out".into());
            }
            let dedupe = jetstream.dedupe;
            let consumer = PullConsumer::new(options, jetstream.options(&decoder.subjects)?);
            return Ok(Box::pin(jetstream::run(cx, consumer, decoder, bodies, dedupe)));
        }
        let mut connection = Connection::new(options);
        for subject in &decoder.subjects {
            connection.subscribe(subject.as_str(), queue.as_deref());
        }
        connection.renew_when_idle(self.idle_resubscribe_secs.0);
        Ok(Box::pin(subscription::run(cx, connection, decoder, bodies)))
    }

    /// Connects and signs in, as a client of its own that subscribes to nothing; with JetStream, also looks for
    /// the stream and the consumer.
    fn healthcheck(&self, env: &Env) -> Result<Option<Healthcheck>> {
        let options = self.connection_options("healthcheck", env, Status::default())?;
        let endpoint = options.servers.shown();
        if let Some(jetstream) = &self.jetstream {
            let client = PullConsumer::new(options, jetstream.options(&[])?);
            return Ok(Some(Healthcheck::new(endpoint, async move { client.check().await })));
        }
        let client = Publisher::new(options, Confirmation::Server, CHECK_PATIENCE);
        Ok(Some(Healthcheck::new(endpoint, async move { client.check(None).await })))
    }

    fn about(&self) -> Option<String> {
        let all: Vec<_> = self.subject.iter().chain(&self.subjects).map(String::as_str).collect();
        let subjects = if all.len() == 1 { "subject" } else { "subjects" };
        // One that cannot be read is refused when the source is made.
        let servers = Servers::parse(self.url.expose()).ok()?.shown();
        let way = match (&self.jetstream, self.queue.as_str()) {
            (Some(jetstream), _) => format!("JetStream {}", jetstream.shown()),
            (None, "") => "no queue group".to_owned(),
            (None, queue) => format!("queue group {queue}"),
        };
        let exclude = match self.exclude.as_slice() {
            [] => String::new(),
            exclude => format!(" without {}", exclude.join(", ")),
        };
        Some(format!("{subjects} {}{exclude} from {servers}, {way}", all.join(", ")))
    }

    fn tap(&self, options: &TapOptions, env: &Env) -> Result<Option<Tap>> {
        tap::tap(self, options, env).map(Some)
    }

    fn can_acknowledge(&self) -> bool {
        self.jetstream.is_some()
    }
}

/// How long the server may take for an answer to a healthcheck.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
