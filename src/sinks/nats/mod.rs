//! `nats`: events published to NATS subjects, each one message; to core NATS, or to JetStream.
//!
//! The message is the event as `encoding` writes it: time, level, host, app, region and instance stay where
//! they are in its JSON. The subject may have any of them as a token.
//!
//! **Core NATS** has no receipt but the server's answer to a `PING` behind the messages: the server has
//! them, and has given them to whoever was subscribed, or to nobody. **JetStream** answers for each message
//! when it is stored. In both modes what is unanswered when the connection is lost is published again, so
//! that it may arrive twice; a stream drops the copy if messages have ids (`jetstream.headers.message_id`).
//!
//! What NATS answers, and what becomes of the event:
//!
//! | answer | what the sink does |
//! |---|---|
//! | `PONG` (core), a PubAck (JetStream) | delivered |
//! | no connection, no answer | publishes again, without end |
//! | no stream takes the subject; JetStream's 408, 429 and 5xx, its errors 10002 and 10158: no leader, no room, the first copy is still being stored | publishes again after a pause, for a day (`give_up_after_secs`), or as often as `retry_attempts` says. Others go on until 1,024 wait |
//! | larger than `max_payload`; JetStream's other 4xx, such as larger than the stream takes | rejected |
//! | the user may not publish to the subject | the same for all events: held, because a person can mend it, and the events are good, for `hold_secs`. A template: rejected, lest one subject stop all others |

mod delivery;

use super::codec::EncodingConfig;
use super::request::{Backoff, JitterMode, RequestConfig, hold_warning};
use crate::config::{BoolOr, ComponentInfo, Problem, Result, Seconds, SinkConfig, SinkContext, StreamSink};
use crate::event::LogEvent;
use crate::healthcheck::Healthcheck;
use crate::nats::subject::is_valid_subject;
use crate::nats::{Confirmation, ConnectionOptions, NatsAuth, PING_INTERVAL, Publisher, Servers, TlsOptions};
use crate::secret::SensitiveString;
use crate::status::Status;
use crate::template::Template;
use crate::tls::TlsConfig;
use delivery::NatsSink;
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// A sink that publishes events to NATS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = crate::config::schema::alias("name", "connection_name"))]
pub struct NatsSinkConfig {
    /// The servers, comma-separated: `nats://host:4222`, `tls://host:4222`. A user and password in a
    /// URL are used, if `auth` says nothing.
    url: SensitiveString,
    /// The subject; a template, so that `shipped.{{ fly.app.name }}` is a subject for each app. Dots in a
    /// field divide tokens. An event that makes no subject of it (white space, an empty token, a wildcard,
    /// more than 1,024 bytes), or brings in a `$` or `_INBOX.` at its start, is rejected. It must not be one
    /// that a source of the same topology reads: the events would go round for ever.
    subject: Template,
    /// Whether an event may decide how the subject begins, even with `$` or `_INBOX.`. Default: false.
    #[serde(default)]
    dangerously_allow_unconfined_template_resolution: bool,
    /// The name that the server sees. Default: `log-shipper` (Vector's is `vector`).
    #[serde(alias = "name", default = "default_name")]
    connection_name: String,
    /// How an event is written.
    encoding: EncodingConfig,
    /// Who we are.
    auth: Option<NatsAuth>,
    /// TLS.
    tls: Option<TlsConfig>,
    /// Whether every connection begins with TLS, for servers with `handshake_first`. Default: false. Ours.
    #[serde(default)]
    tls_first: bool,
    /// Whether a JetStream stream has to confirm each message: a boolean or `{ enabled, headers }`.
    /// Default: false.
    #[serde(default)]
    jetstream: JetStreamConfig,
    /// How long an answer may take, and when a message is published again.
    #[serde(default)]
    request: NatsRequestConfig,
}

/// The `jetstream` option.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(try_from = "BoolOr<JetStreamTable>")]
#[schemars(with = "BoolOr<JetStreamTable>")]
pub struct JetStreamConfig {
    /// Whether a stream has to confirm each message.
    pub enabled: bool,
    /// The id of a message, a template. A stream that has seen it within its `duplicate_window` (2 minutes
    /// by default) drops the copy and confirms it all the same. Default: none, as in Vector. For Fly's events
    /// `{{ fly.app.instance }}-{{ timestamp }}` is one, since their time is in nanoseconds. What has no time
    /// of its own gets that of its receipt, which several lines share: of those only the first would be kept,
    /// so take something of their own into the id. An event whose id cannot be made, because a field is
    /// missing or has control characters, is rejected.
    pub message_id: Option<Template>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JetStreamTable {
    /// Whether a stream has to confirm each message. Default: false.
    #[serde(default)]
    enabled: bool,
    /// Headers that JetStream heeds.
    #[serde(default)]
    headers: JetStreamHeaders,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JetStreamHeaders {
    /// The id of a message, a template. A stream that has seen it within its `duplicate_window` drops the copy.
    /// Default: none.
    message_id: Option<Template>,
}

impl TryFrom<BoolOr<JetStreamTable>> for JetStreamConfig {
    type Error = String;

    fn try_from(either: BoolOr<JetStreamTable>) -> Result<JetStreamConfig, String> {
        match either {
            BoolOr::Bool(enabled) => Ok(JetStreamConfig { enabled, message_id: None }),
            BoolOr::Table(JetStreamTable { enabled: false, headers }) if headers.message_id.is_some() => {
                Err("jetstream.headers: only JetStream heeds an id; set jetstream.enabled = true as well"
                    .into())
            }
            BoolOr::Table(JetStreamTable { enabled, headers }) => {
                Ok(JetStreamConfig { enabled, message_id: headers.message_id })
            }
        }
    }
}

/// The `request` table of the sink: those of Vector's options that mean something here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatsRequestConfig {
    /// Seconds without any answer, while one is due, after which the connection counts as dead, or the
    /// stream as absent. Default: 10. Vector's is 60, longer than any election of a stream's leader takes,
    /// and nothing else is published meanwhile.
    pub timeout_secs: Seconds,
    /// How often a message is published again that JetStream has refused for now, or not confirmed. A lost
    /// connection does not count. Default: until `give_up_after_secs`.
    pub retry_attempts: Option<usize>,
    /// Seconds for which a message is published again that JetStream has refused for now, or not confirmed. Then it
    /// is refused. Default: 86400, a day. Ours.
    pub give_up_after_secs: Seconds,
    /// Seconds for which a message is held whose only subject the user may not publish to. Then it is refused.
    /// Default: 900 if there are dead letters; else as long as `give_up_after_secs` says, so that nobody loses
    /// events to a default. Ours.
    pub hold_secs: Option<Seconds>,
    /// Seconds before the first retry. Default: 1.
    pub retry_initial_backoff_secs: Seconds,
    /// The most seconds between two attempts. Default: 30.
    pub retry_max_duration_secs: Seconds,
    /// Whether the pauses are drawn at random.
    pub retry_jitter_mode: JitterMode,
    /// Vector's, one by default. Here as much is under way as the server answers.
    #[serde(rename = "concurrency")]
    #[schemars(with = "Option<serde_json::Value>")]
    _concurrency: Option<toml::Value>,
}

impl Default for NatsRequestConfig {
    fn default() -> NatsRequestConfig {
        let request = RequestConfig::default();
        NatsRequestConfig {
            timeout_secs: Seconds(Duration::from_secs(10)),
            retry_attempts: request.retry_attempts,
            give_up_after_secs: request.give_up_after_secs,
            hold_secs: request.hold_secs,
            retry_initial_backoff_secs: request.retry_initial_backoff_secs,
            retry_max_duration_secs: request.retry_max_duration_secs,
            retry_jitter_mode: request.retry_jitter_mode,
            _concurrency: None,
        }
    }
}

impl NatsRequestConfig {
    /// The pauses between attempts.
    fn backoff(&self) -> Backoff {
        Backoff::new(&RequestConfig {
            retry_initial_backoff_secs: self.retry_initial_backoff_secs,
            retry_max_duration_secs: self.retry_max_duration_secs,
            retry_jitter_mode: self.retry_jitter_mode,
            ..RequestConfig::default()
        })
    }
}

fn default_name() -> String {
    "log-shipper".to_owned()
}

/// The most bytes of a subject: far below the line of 4,096 bytes (`max_control_line`) for which a server
/// ends the connection, and what Vector's templates may have.
const MAX_SUBJECT: usize = 1024;

impl NatsSinkConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "nats",
        "Publish events to NATS subjects, with or without JetStream.",
        "url = \"nats://localhost:4222\"\nsubject = \"shipped.{{ fly.app.name }}\"\nencoding.codec = \"json\"",
    )
    .with_notes("- An event goes out at once, as a message of its own; the server's `max_payload` is the most that it \
        may have.\n\
        - With `jetstream = true` an event is delivered when the stream has stored it; otherwise when the \
        server has it. What is unanswered when a connection is lost is published again.");

    /// The subject for an event. What the event brings in must not lead out of where the template says.
    fn subject(&self, event: &LogEvent) -> Result<Cow<'_, str>, String> {
        if let Some(subject) = self.subject.as_static() {
            return Ok(Cow::Borrowed(subject));
        }
        let subject = self.subject.render(event).map_err(|error| error.to_string())?;
        let reserved = ["$", "_INBOX."];
        let may_begin = |prefix: &str| {
            self.dangerously_allow_unconfined_template_resolution || self.subject.as_str().starts_with(prefix)
        };
        let is_reserved = |prefix: &&str| subject.starts_with(*prefix) && !may_begin(prefix);
        if subject.len() > MAX_SUBJECT {
            return Err(format!("its subject has {} bytes, more than {MAX_SUBJECT}", subject.len()));
        }
        match is_valid_subject(&subject) && !reserved.iter().any(is_reserved) {
            true => Ok(Cow::Owned(subject)),
            false => Err(format!(
                "the event makes no subject that can be published to: {subject:?} has white space, an empty token or a wildcard, or the event has brought in a `$` or `_INBOX.` at its start"
            )),
        }
    }

    /// The id for an event, if it has to have one.
    fn message_id(&self, event: &LogEvent) -> Result<Option<String>, String> {
        let Some(template) = &self.jetstream.message_id else { return Ok(None) };
        let id = template.render(event).map_err(|error| error.to_string())?;
        match id.contains(char::is_control) {
            true => Err(format!("its id {id:?} has control characters, which no header can carry")),
            false => Ok(Some(id)),
        }
    }
}

impl SinkConfig for NatsSinkConfig {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        let only_subject = self.subject.as_static();
        if let Some(subject) = only_subject
            && (!is_valid_subject(subject) || subject.len() > MAX_SUBJECT)
        {
            return Err(format!(
                "subject: {subject:?} cannot be published to; expected tokens separated by dots, without white space and wildcards"
            )
            .into());
        }
        let options = ConnectionOptions {
            id: cx.id.clone(),
            name: self.connection_name.clone(),
            servers: Servers::parse(self.url.expose())?,
            auth: self.auth.clone(),
            tls: TlsOptions::new(self.tls.as_ref(), self.tls_first)?,
            env: cx.env.clone(),
            ping_interval: PING_INTERVAL,
            status: cx.status.clone(),
        };
        let confirmation = if self.jetstream.enabled { Confirmation::Stream } else { Confirmation::Server };
        let publisher = |status: &Status| {
            let options = ConnectionOptions { status: status.clone(), ..options.clone() };
            Publisher::new(options, confirmation, self.request.timeout_secs.0)
        };
        let (check, subject) = (publisher(&Status::default()), only_subject.map(str::to_owned));
        let check = async move { check.check(subject.as_deref()).await };
        let check = Healthcheck::new(options.servers.shown(), check);
        let sink = NatsSink::new(cx, self.clone(), publisher(&cx.status));
        Ok((Box::new(sink), Some(check)))
    }

    fn warnings(&self) -> Vec<Problem> {
        let is_meant = self.dangerously_allow_unconfined_template_resolution;
        let said = self.subject.clone().confine().filter(|_| !is_meant);
        let said = said.map(|message| Problem::at("subject", message));
        let request = &self.request;
        said.into_iter().chain(hold_warning(request.hold_secs, request.give_up_after_secs)).collect()
    }
}
