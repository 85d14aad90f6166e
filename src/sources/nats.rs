//! `nats`: messages of NATS subjects, each one event.

use crate::bodies::{Bodies, BodyOptions, LogParse, MultilineConfig, Passed, Redaction};
use crate::config::{ComponentInfo, Result, Source, SourceConfig, SourceContext};
use crate::deadline::sleep_until;
use crate::env::Env;
use crate::event::{LogEvent, Path, Timestamp};
use crate::healthcheck::Healthcheck;
use crate::nats::{
    Confirmation, Connection, ConnectionOptions, Message, NatsAuth, Payload, Publisher, Servers,
    SubjectFilter, TlsOptions,
};
use crate::secret::SensitiveString;
use crate::tls::TlsConfig;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

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
    /// The app whose lines are left out, and counted as excluded. Ours, as all that follow: see
    /// [`BodyOptions`].
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

    fn connection_options(&self, id: &str, env: &Env) -> Result<ConnectionOptions> {
        Ok(ConnectionOptions {
            id: id.to_owned(),
            name: self.connection_name.clone(),
            servers: Servers::parse(self.url.expose())?,
            auth: self.auth.clone(),
            tls: TlsOptions::new(self.tls.as_ref(), self.tls_first)?,
            env: env.clone(),
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
        let options = self.connection_options(&cx.id, &cx.env)?;
        let key = self.subject_key_field.trim();
        let subject_key = if key.is_empty() { None } else { Some(Path::parse(key)?) };
        let queue = Some(self.queue.clone()).filter(|queue| !queue.is_empty());
        let has_queue = queue.is_some();
        let decoder = Decoder { subjects, has_queue, exclude, codec: self.decoding.codec, subject_key };
        let mut connection = Connection::new(options);
        for subject in &decoder.subjects {
            connection.subscribe(subject.as_str(), queue.as_deref());
        }
        let bodies = self.bodies().build()?;
        Ok(Box::pin(run(cx, connection, decoder, bodies)))
    }

    /// Connects and signs in, as a client of its own that subscribes to nothing.
    fn healthcheck(&self, env: &Env) -> Result<Option<Healthcheck>> {
        let options = self.connection_options("healthcheck", env)?;
        let endpoint = options.servers.shown();
        let client = Publisher::new(options, Confirmation::Server, CHECK_PATIENCE);
        Ok(Some(Healthcheck::new(endpoint, async move { client.check(None).await })))
    }
}

/// How long the server may take for an answer to a healthcheck.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);

async fn run(
    cx: SourceContext,
    mut connection: Connection,
    decoder: Decoder,
    mut bodies: Option<Bodies>,
) -> Result<()> {
    let counts = cx.output.counts();
    let mut is_draining = false;
    tokio::select! {
        () = connection.connect() => cx.ready.set(),
        () = cx.shutdown.cancelled() => {}
    }
    loop {
        let deadline = bodies.as_ref().and_then(Bodies::deadline);
        let chunk = tokio::select! {
            chunk = connection.next_chunk() => chunk,
            // On a connection that has died unnoticed, the end of a drain never comes.
            () = tokio::time::sleep(DRAIN_PATIENCE), if is_draining => None,
            () = sleep_until(deadline), if deadline.is_some() => {
                if let Some(bodies) = &mut bodies {
                    send(&cx, bodies.flush(Instant::now())).await;
                }
                continue;
            }
            () = cx.shutdown.cancelled(), if !is_draining => {
                is_draining = true;
                connection.drain();
                continue;
            }
        };
        counts.set_disconnects(connection.disconnects());
        let Some(chunk) = chunk else { break };
        let decoded = decoder.decode(chunk);
        counts.add_excluded(decoded.excluded);
        counts.add_undecodable(decoded.undecodable);
        let passed = match &mut bodies {
            Some(bodies) => bodies.pass(decoded.events, Instant::now()),
            None => Passed { events: decoded.events, ..Passed::default() },
        };
        send(&cx, passed).await;
    }
    if let Some(mut bodies) = bodies {
        send(&cx, bodies.flush_all()).await;
    }
    Ok(())
}

async fn send(cx: &SourceContext, passed: Passed) {
    let counts = cx.output.counts();
    counts.add_excluded(passed.excluded);
    counts.add_joined(passed.joined);
    if !passed.events.is_empty() {
        cx.output.send(passed.events).await;
    }
}

/// The size of a block that a slow stream's messages are slices of.
const LEAST_BLOCK: usize = 16 << 10;

/// How long a drain waits for the next message.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// Messages to events.
#[derive(Debug)]
struct Decoder {
    subjects: Vec<SubjectFilter>,
    has_queue: bool,
    exclude: Vec<SubjectFilter>,
    codec: DecodingCodec,
    subject_key: Option<Path>,
}

#[derive(Debug, Default)]
struct Decoded {
    events: Vec<LogEvent>,
    excluded: usize,
    undecodable: usize,
}

impl Decoder {
    /// Whether a message on this subscription is one that we want; one that is excluded is counted.
    fn wants(&self, message: &Message, decoded: &mut Decoded) -> bool {
        let subject = &*message.subject;
        // Subjects may overlap, and then the server sends a message once for each of them. In a queue
        // group it sends it once in all, on any of them.
        let earlier = if self.has_queue { &[] } else { &self.subjects[..message.subscription] };
        if earlier.iter().any(|earlier| earlier.matches(subject)) {
            return false;
        }
        let is_excluded = self.exclude.iter().any(|filter| filter.matches(subject));
        decoded.excluded += usize::from(is_excluded);
        !is_excluded
    }

    /// The events of a chunk.
    fn decode(&self, mut messages: Vec<Message>) -> Decoded {
        let received = Timestamp::now();
        let mut decoded = Decoded::default();
        let size = |messages: &[Message]| -> usize {
            messages.iter().map(|message| message.subject.len() + message.payload.as_bytes().len()).sum()
        };
        let all = size(&messages);
        messages.retain(|message| self.wants(message, &mut decoded));
        // A message is a slice of a block that was read. If most of that is not wanted, what is gets memory
        // of its own, so that a buffer full of events is not a multiple of its size.
        let chooses = !self.exclude.is_empty() || self.subjects.len() > 1 && !self.has_queue;
        if chooses && size(&messages) < all.max(LEAST_BLOCK) / 2 {
            messages.iter_mut().for_each(Message::detach);
            messages.shrink_to_fit();
        }
        decoded.events.reserve_exact(messages.len());
        for Message { subject, payload, .. } in messages {
            let mut event = match self.codec {
                DecodingCodec::Json => {
                    let checked = match payload {
                        Payload::Text(text) => {
                            LogEvent::from_json_text(text, received).map_err(Payload::Text)
                        }
                        binary @ Payload::Binary(_) => Err(binary),
                    };
                    checked.unwrap_or_else(|payload| {
                        decoded.undecodable += 1;
                        LogEvent::from_text(payload.as_bytes(), Some(&subject), received)
                    })
                }
                DecodingCodec::Bytes => {
                    let mut event = LogEvent::from_message(payload.as_bytes(), received);
                    event.insert_missing(&Path::root_field("source_type"), "nats");
                    event
                }
            };
            if let Some(path) = &self.subject_key {
                event.insert_missing(path, &subject);
            }
            decoded.events.push(event.with_subject(subject));
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<SubjectFilter> {
        texts.iter().map(|text| SubjectFilter::parse(text).unwrap()).collect()
    }

    fn message(subscription: usize, subject: &str, payload: &[u8]) -> Message {
        Message {
            subscription,
            subject: subject.into(),
            payload: bytes::Bytes::copy_from_slice(payload).into(),
        }
    }

    #[test]
    fn a_message_for_two_subjects_is_one_event() {
        let subjects = filters(&["logs.a.>", "logs.*.ord.*", ">"]);
        let decoder = Decoder {
            subjects,
            has_queue: false,
            exclude: vec![],
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        for (subject, copies) in [("logs.a.ord.1", 3), ("logs.b.ord.1", 2), ("logs.b.ams.1", 1)] {
            let copies = (3 - copies..3).map(|subscription| message(subscription, subject, b"{}"));
            let events: usize = copies.map(|copy| decoder.decode(vec![copy]).events.len()).sum();
            assert_eq!(events, 1, "{subject}");
        }
    }

    #[track_caller]
    fn check(decoder: &Decoder, subject: &str, payload: &[u8], expected: &str) {
        let decoded = decoder.decode(vec![message(0, subject, payload)]);
        let text = decoded.events[0].json().into_owned();
        let at = text.find("\"timestamp\":\"").filter(|_| expected.contains("TIME"));
        let text = match at {
            Some(at) => format!("{}TIME{}", &text[..at + 13], &text[at + 43..]),
            None => text,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn an_object_stays_as_it_came_and_anything_else_becomes_a_message() {
        let mut decoder = Decoder {
            subjects: filters(&["logs.>"]),
            has_queue: false,
            exclude: vec![],
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        check(&decoder, "logs.a.ord.1", br#"{ "a" : 1 }"#, r#"{ "a" : 1 }"#);
        let fly = r#""fly":{"app":{"instance":"1","name":"a"},"region":"ord"}"#;
        check(&decoder, "logs.a.ord.1", b"x", &format!(r#"{{"message":"x",{fly},"timestamp":"TIME"}}"#));
        decoder.subject_key = Some(Path::parse("subject").unwrap());
        check(&decoder, "logs.a.ord.1", br#"{"a":1}"#, r#"{"a":1,"subject":"logs.a.ord.1"}"#);
        check(&decoder, "logs.a.ord.1", br#"{"subject":1}"#, r#"{"subject":1}"#);
        check(&decoder, "logs.a.ord.1", br#"{}"#, r#"{"subject":"logs.a.ord.1"}"#);
        decoder.codec = DecodingCodec::Bytes;
        check(
            &decoder,
            "s",
            br#"{"a":1}"#,
            r#"{"message":"{\"a\":1}","timestamp":"TIME","source_type":"nats","subject":"s"}"#,
        );
    }

    #[test]
    fn excluded_subjects_are_counted_and_left_out() {
        let decoder = Decoder {
            subjects: filters(&["logs.>"]),
            has_queue: false,
            exclude: filters(&["logs.noisy.>", "logs.*.ord.*"]),
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        let subjects = ["logs.a.ams.1", "logs.noisy.ams.1", "logs.a.ord.1", "logs.b.syd.2"];
        let decoded = decoder.decode(subjects.map(|subject| message(0, subject, b"{}")).into());
        assert_eq!((decoded.events.len(), decoded.excluded), (2, 2));
        assert_eq!(decoded.events[1].app().as_deref(), Some("b"));
    }
}
