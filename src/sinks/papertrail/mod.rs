//! `papertrail`: events as lines of syslog, over one long TLS or TCP connection.
//!
//! Papertrail takes RFC 5424 and RFC 3164 and tells them apart by itself, one line for each message, of at
//! most 100,000 bytes over TCP. Source: documentation.solarwinds.com, Papertrail's help on syslog.
//!
//! **TCP has no acknowledgement.** Events count as delivered when all their bytes have been handed to the
//! system and the server has not closed the connection by then; the first of a connection, when it has not
//! done so for a moment more. What is lost with a connection after that, nobody tells us. What could not be
//! written whole is sent again on the next connection, so that lines may come twice, and the one in which the
//! connection broke may be seen cut off before. No event is refused: each can be written as some line.
//!
//! - this file: the options, and the sink, which waits for the server as long as it takes
//! - `link`: one open connection
//! - `syslog`: the form of a line

mod link;
mod syslog;

use super::codec::EncodingConfig;
use super::request::{Backoff, RequestConfig};
use crate::config::{ComponentInfo, Result, Seconds, SinkConfig, SinkContext, StreamSink};
use crate::healthcheck::{Healthcheck, Unhealthy};
use crate::log_limit::LogLimit;
use crate::status::Status;
use crate::template::Template;
use crate::tls::TlsConfig;
use crate::topology::{BufferReceiver, Outcome, Receipts};
use async_trait::async_trait;
use link::{Connector, Endpoint, Link, LinkError};
use schemars::JsonSchema;
use serde::Deserialize;
use std::future::pending;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use syslog::{Rfc, Syslog};

/// Delivers events to Papertrail, or to another server that takes lines of syslog over TCP.
///
/// Proxies do not apply, because the connection is no HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PapertrailConfig {
    /// Host and port of the log destination, as Papertrail shows them: `logs1.papertrailapp.com:12345`.
    endpoint: Endpoint,
    /// How the message of a line is written.
    encoding: EncodingConfig,
    /// The form of a line: `rfc5424` or `rfc3164`, which has no year, no zone and no fractions of a second.
    /// Ours; Vector sends RFC 3164. Default: `rfc5424`.
    #[serde(default)]
    rfc: Rfc,
    /// What the line names as its program; a template. Default, and for an event that lacks a field of the
    /// template: the event's Fly app, else `log-shipper`. Vector's default is `vector`.
    process: Option<Template>,
    /// On, unless `tls.enabled` is false.
    #[serde(default)]
    tls: TlsConfig,
    /// When the system asks whether the server is still there.
    #[serde(default)]
    keepalive: Keepalive,
    /// The size of the system's buffer for what is to be sent, in bytes. Default: the system's.
    send_buffer_bytes: Option<NonZeroU32>,
}

/// The `keepalive` table.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keepalive {
    /// Seconds of silence after which the system asks. Default: 60. Vector does not ask by default, but a
    /// router on the way may forget a silent connection, and what is written to it then is lost. It asks three
    /// times, every 10 s; without an answer to them the connection has ended. In Linux it also ends when what
    /// is written has not arrived for as long as that takes in all, 90 s by default, but at most for 120 s.
    time_secs: Seconds,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive { time_secs: Seconds(Duration::from_secs(60)) }
    }
}

impl PapertrailConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "papertrail",
        "Deliver events to Papertrail, as syslog over TLS.",
        "endpoint = \"logs1.papertrailapp.com:12345\"\nencoding.codec = \"json\"",
    )
    .with_notes(
        "- An event goes out at once, as a line of syslog of at most 100,000 bytes.\n\
        - TCP has no acknowledgement: an event is delivered when all of its bytes have been handed to the \
        system and the server has not closed the connection by then. No event is refused.",
    );
}

impl SinkConfig for PapertrailConfig {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        if self.keepalive.time_secs.0 > MAX_KEEPALIVE {
            let most = MAX_KEEPALIVE.as_secs();
            return Err(format!("keepalive.time_secs: the system takes at most {most}").into());
        }
        let connector = Connector::new(
            self.endpoint.clone(),
            &self.tls,
            self.keepalive.time_secs.0,
            self.send_buffer_bytes.map(NonZeroU32::get),
        )?;
        let sink = Papertrail {
            id: cx.id.clone(),
            syslog: Syslog::new(self.rfc, self.process.clone(), self.encoding.clone()),
            connector: connector.clone(),
            link: None,
            backoff: Backoff::new(&RequestConfig::default()),
            pause: Duration::ZERO,
            failed_log: LogLimit::every_10_s(),
            status: cx.status.clone(),
            truncated_log: LogLimit::every_10_s(),
        };
        let healthcheck = Healthcheck::new(self.endpoint.to_string(), async move {
            let down = |error: LinkError| Unhealthy::Down { reason: error.to_string() };
            let mut link = connector.connect().await.map_err(down)?;
            link.stands_trial().await.map_err(down)?;
            link.close().await;
            Ok(())
        });
        Ok((Box::new(sink), Some(healthcheck)))
    }
}

/// Linux's `MAX_TCP_KEEPIDLE`.
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);

struct Papertrail {
    id: String,
    syslog: Syslog,
    connector: Connector,
    link: Option<Link>,
    backoff: Backoff,
    /// Before the next connection is made.
    pause: Duration,
    failed_log: LogLimit,
    status: Status,
    truncated_log: LogLimit,
}

/// How long a connection must have held for the next one to be made without a pause: a server that takes us
/// and lets us go again at once would have us back at once, for ever, and Papertrail counts connections.
const HELD: Duration = Duration::from_secs(10);

#[async_trait]
impl StreamSink for Papertrail {
    async fn run(mut self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let mut lines = Vec::new();
        loop {
            let events = tokio::select! {
                // First, so that no event is written to a connection of which we know that it is closed.
                biased;
                error = closed(&mut self.link) => {
                    self.ended(&error);
                    continue;
                }
                events = input.recv() => events,
            };
            let Some(events) = events else { break };
            lines.clear();
            let mut truncated = 0;
            // All of them before the first is written: an event that waits is counted if the sink is ended.
            let mut receipts = Receipts::new(Arc::clone(input.counts()));
            for event in events {
                truncated += usize::from(self.syslog.write_line(&event, &mut lines));
                receipts.push(event);
            }
            input.counts().add_truncated(truncated);
            self.note_truncated(truncated);
            self.deliver(&lines).await;
            input.counts().meters().add_sent_bytes(lines.len());
            receipts.settle(&Outcome::Delivered);
        }
        if let Some(link) = self.link {
            link.close().await;
        }
        Ok(())
    }
}

/// Waits until the connection has ended; if there is none, for ever.
async fn closed(link: &mut Option<Link>) -> LinkError {
    match link {
        Some(link) => link.closed().await,
        None => pending().await,
    }
}

impl Papertrail {
    /// Sends the lines, however long it takes; until then the buffer fills.
    async fn deliver(&mut self, lines: &[u8]) {
        while let Err(error) = self.try_deliver(lines).await {
            self.lose();
            let advice = "check the address and the network; if both are right, wait: it is tried again";
            self.status.failing(format!("cannot send to {}: {error}", self.connector.endpoint), advice);
            if let Some(unsaid) = self.failed_log.allow() {
                let endpoint = &self.connector.endpoint;
                tracing::error!(sink = self.id, unsaid, "cannot send to {endpoint}, will try again: {error}");
            }
        }
    }

    async fn try_deliver(&mut self, lines: &[u8]) -> Result<(), LinkError> {
        let link = match &mut self.link {
            Some(link) => link,
            none => {
                tokio::time::sleep(self.pause).await;
                let link = self.connector.connect().await?;
                tracing::info!(sink = self.id, "connected to {}", self.connector.endpoint);
                none.insert(link)
            }
        };
        link.write(lines).await
    }

    /// The connection has ended while nothing was written to it.
    fn ended(&mut self, error: &LinkError) {
        // A server may close what has been idle for long.
        if self.lose() && matches!(error, LinkError::Closed) {
            tracing::debug!(sink = self.id, "{error}");
        } else if let Some(unsaid) = self.failed_log.allow() {
            let endpoint = &self.connector.endpoint;
            tracing::warn!(
                sink = self.id,
                unsaid,
                "{endpoint}: {error}; what was still on its way there may be lost"
            );
        }
    }

    /// Lets go of the connection, if there is one, and works out when the next may be made. Whether it had
    /// held for a while.
    fn lose(&mut self) -> bool {
        let has_held = self.link.take().is_some_and(|link| link.opened.elapsed() >= HELD);
        if has_held {
            self.backoff = Backoff::new(&RequestConfig::default());
            self.pause = Duration::ZERO;
        } else {
            self.pause = self.backoff.pause();
        }
        has_held
    }

    fn note_truncated(&self, events: usize) {
        if events == 0 {
            return;
        }
        if let Some(unsaid) = self.truncated_log.allow() {
            tracing::warn!(
                sink = self.id,
                unsaid,
                "{events} events were cut off: Papertrail takes at most {} bytes",
                syslog::MAX_LINE
            );
        }
    }
}
