//! A look at the subjects, beside whoever ships them: as a client of its own that is no member of a queue group, and
//! through no durable consumer.

use super::decode::Decoder;
use super::{CHECK_PATIENCE, DecodingCodec, NatsConfig};
use crate::bodies::{Bodies, BodyOptions};
use crate::config::{Result, Tap, TapOptions};
use crate::env::Env;
use crate::event::{LogEvent, Timestamp};
use crate::healthcheck::Healthcheck;
use crate::nats::{
    Confirmation, Connection, ConnectionOptions, CreateOptions, Delivery, LookFrom, Publisher, PullConsumer,
    PullOptions, SubjectFilter,
};
use crate::status::Status;
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use tokio::time::Instant;

/// The name that the server sees.
const NAME: &str = "log-shipper tail";
/// How many messages of a stream are asked for at once.
const BATCH: usize = 200;

pub(super) fn tap(config: &NatsConfig, options: &TapOptions, env: &Env) -> Result<Tap> {
    let all: Vec<_> = config.subject.iter().chain(&config.subjects).collect();
    let (subjects, exclude) = match options.subjects.as_slice() {
        [] => (config.filters("subject", &all)?, config.exclude.iter().collect()),
        // Whoever asks for a subject wants to see it.
        wanted => (wanted.to_vec(), Vec::new()),
    };
    let decoder = Decoder {
        subjects,
        has_queue: false,
        exclude: config.filters("exclude", &exclude)?,
        codec: DecodingCodec::Json,
        subject_key: None,
    };
    // What no destination sees, nobody who looks on sees. All else is shown as it came.
    let redaction = BodyOptions { redact: config.redact.clone(), ..BodyOptions::default() }.build()?;
    let connection = || {
        Ok::<_, crate::config::Error>(ConnectionOptions {
            name: NAME.to_owned(),
            ..config.connection_options("tail", env, Status::default())?
        })
    };
    let endpoint = connection()?.servers.shown();
    let Some(since) = options.since else {
        let client = Publisher::new(connection()?, Confirmation::Server, CHECK_PATIENCE);
        let mut reader = Connection::new(connection()?);
        decoder.subjects.iter().for_each(|subject| reader.subscribe(subject.as_str(), None));
        reader.renew_when_idle(config.idle_resubscribe_secs.0);
        let check = Healthcheck::new(endpoint, async move { client.check(None).await });
        return Ok(Tap { check, events: redacted(published(reader, decoder), redaction) });
    };
    let stream = options.stream.clone().or_else(|| config.jetstream.as_ref().map(|own| own.stream.clone()));
    let Some(stream) = stream else {
        return Err("core NATS keeps nothing, so that only a JetStream stream has what came earlier; expected the name of one".into());
    };
    if !SubjectFilter::parse(&stream).is_ok_and(|name| !name.as_str().contains(['.', '*', '>'])) {
        return Err(format!("{stream:?} cannot be the name of a stream; expected one word").into());
    }
    // A server refuses filters that overlap: then all of the stream comes, and is sorted out here.
    let overlap = decoder
        .subjects
        .iter()
        .enumerate()
        .any(|(at, one)| decoder.subjects[at + 1..].iter().any(|other| one.overlaps(other)));
    let filters = if overlap { &[][..] } else { &decoder.subjects };
    let pull = PullOptions {
        stream,
        consumer: LookFrom::name(),
        batch: BATCH,
        max_bytes: 0,
        create: Some(CreateOptions {
            filter_subjects: filters.iter().map(|filter| filter.as_str().to_owned()).collect(),
            look: Some(LookFrom::Time(since)),
            ..CreateOptions::default()
        }),
    };
    let client = PullConsumer::new(connection()?, pull.clone());
    let check = Healthcheck::new(endpoint, async move { client.check().await });
    let events = kept(PullConsumer::new(connection()?, pull), decoder);
    Ok(Tap { check, events: redacted(events, redaction) })
}

/// The events with markers where something is to be redacted.
fn redacted(
    events: BoxStream<'static, Vec<LogEvent>>,
    redaction: Option<Bodies>,
) -> BoxStream<'static, Vec<LogEvent>> {
    match redaction {
        None => events,
        Some(mut redaction) => {
            Box::pin(events.map(move |events| redaction.pass(events, Instant::now()).events))
        }
    }
}

/// What is published from now on.
fn published(reader: Connection, decoder: Decoder) -> BoxStream<'static, Vec<LogEvent>> {
    Box::pin(unfold((reader, decoder), |(mut reader, decoder)| async {
        let chunk = reader.next_chunk().await?;
        Some((decoder.decode(chunk).events, (reader, decoder)))
    }))
}

/// What a stream keeps, and then what comes.
fn kept(reader: PullConsumer, decoder: Decoder) -> BoxStream<'static, Vec<LogEvent>> {
    Box::pin(unfold((reader, decoder), |(mut reader, decoder)| async {
        let chunk = reader.next_chunk().await?;
        let is_wanted = |delivery: &Delivery| {
            let subject = &delivery.message.subject;
            decoder.subjects.iter().any(|filter| filter.matches(subject))
                && !decoder.excludes(&delivery.message)
        };
        let event = |delivery: Delivery| {
            // What does not say when it was has the time at which it was stored.
            let stored = Timestamp::from_nanos(i64::try_from(delivery.ack.timestamp).unwrap_or(i64::MAX));
            decoder.event(delivery.message, stored).0
        };
        let events = chunk.into_iter().filter(is_wanted).map(event).collect();
        Some((events, (reader, decoder)))
    }))
}
