//! [`Connection`]: a client that connects, and connects again, for ever.

use super::{NatsAuth, Servers};
use crate::env::Env;
use crate::log_limit::LogLimit;
use async_nats::connection::State;
use async_nats::{ClientError, ConnectOptions, Event, ServerError};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// The component's id, for log lines.
    pub id: String,
    /// The name that the server sees.
    pub name: String,
    /// The servers.
    pub servers: Servers,
    /// Who we are; without it, what the URLs say.
    pub auth: Option<NatsAuth>,
    /// TLS, and whether it is required.
    pub tls: Option<(rustls::ClientConfig, bool)>,
    /// How many messages wait in each subscription before the client drops the newest.
    pub subscriber_capacity: usize,
    /// For secrets that are read anew at each connect.
    pub env: Env,
}

/// One client, connected or trying to be.
#[derive(Debug)]
pub struct Connection {
    client: async_nats::Client,
    /// In the order in which they were made; one that has ended leaves an empty place.
    subscriptions: Vec<Option<async_nats::Subscriber>>,
    /// Where to look first for the next message, so that no subscription starves another.
    turn: usize,
    /// How many messages have been taken from the subscriptions.
    taken: u64,
    /// How many were missing at the last moments when nothing waited.
    missing: [u64; 4],
    lost: u64,
}

/// A message as it came.
#[derive(Debug)]
pub struct Message {
    /// Which subscription it came on, from 0, in the order in which they were made.
    pub subscription: usize,
    /// Its subject.
    pub subject: async_nats::Subject,
    /// Its payload: a slice of the client's read buffer, so that to keep one is to keep all of that.
    pub payload: Bytes,
}

impl Connection {
    /// Makes the client, and returns before it is connected: it tries for ever.
    ///
    /// # Errors
    /// If the client refuses the options.
    pub async fn open(options: ConnectionOptions) -> Result<Connection, String> {
        let ConnectionOptions { id, name, servers, auth, tls, subscriber_capacity, env } = options;
        let auth = auth.or_else(|| {
            servers.userinfo.clone().map(|userinfo| match userinfo {
                (user, Some(password)) => NatsAuth::UserPassword { user, password },
                (token, None) => NatsAuth::Token { value: token },
            })
        });
        let log = Arc::new(ConnectionLog::new(id, servers.urls.clone()));
        let mut connect = match auth {
            None => ConnectOptions::new(),
            Some(auth) => {
                let log = Arc::clone(&log);
                ConnectOptions::with_auth_callback(move |nonce| {
                    let answer = auth.answer(&nonce, &env);
                    if let Err(error) = &answer {
                        log.auth_failed(error);
                    }
                    std::future::ready(answer.map_err(async_nats::AuthError::new))
                })
            }
        };
        if let Some((config, is_required)) = tls {
            connect = connect.tls_client_config(config).require_tls(is_required);
        }
        let addresses: Result<Vec<async_nats::ServerAddr>, _> =
            servers.urls.iter().map(|url| url.parse()).collect();
        let client = connect
            .name(name)
            .retry_on_initial_connect()
            // Two unanswered ones end a connection that has died unnoticed.
            .ping_interval(Duration::from_secs(20))
            .reconnect_delay_callback(reconnect_delay)
            .subscription_capacity(subscriber_capacity)
            .event_callback(move |event| {
                let log = Arc::clone(&log);
                async move { log.event(&event) }
            })
            .connect(addresses.map_err(|error| error.to_string())?)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Connection { client, subscriptions: Vec::new(), turn: 0, taken: 0, missing: [0; 4], lost: 0 })
    }

    /// Adds a subscription; the server hears of it as soon as there is a connection, and again at each
    /// new one.
    ///
    /// # Errors
    /// If the client has ended, which it never does by itself.
    pub async fn subscribe(&mut self, subject: &str, queue: Option<&str>) -> Result<(), String> {
        let subject = subject.to_owned();
        let subscriber = match queue {
            Some(queue) => self.client.queue_subscribe(subject, queue.to_owned()).await,
            None => self.client.subscribe(subject).await,
        };
        self.subscriptions.push(Some(subscriber.map_err(|error| error.to_string())?));
        Ok(())
    }

    /// Waits for a message, then takes those that are there already: at most so many messages, and
    /// about so many bytes. `None` when every subscription has ended. Safe to cancel.
    pub async fn next_chunk(&mut self, max_messages: usize, max_bytes: usize) -> Option<Vec<Message>> {
        self.turn = (self.turn + 1) % self.subscriptions.len().max(1);
        let first = std::future::poll_fn(|cx| self.poll_next(cx)).await?;
        let mut bytes = first.payload.len();
        let mut chunk = vec![first];
        // Read before the queue is emptied: what is counted here and not found below was dropped.
        let arrived = self.arrived();
        let mut is_empty = false;
        while chunk.len() < max_messages && bytes < max_bytes {
            // Unconstrained: tokio would otherwise say after 128 messages that there are no more, to let
            // other tasks run, and what is still in the queue would look as if it had been dropped.
            let next = tokio::task::coop::unconstrained(std::future::poll_fn(|cx| self.poll_next(cx)));
            let Some(Some(message)) = next.now_or_never() else {
                is_empty = true;
                break;
            };
            bytes += message.payload.len();
            chunk.push(message);
        }
        self.taken += chunk.len() as u64;
        if is_empty {
            self.note_missing(arrived);
        }
        Some(chunk)
    }

    /// The next message of any subscription.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut has_ended = true;
        let count = self.subscriptions.len();
        for index in (self.turn..count).chain(0..self.turn) {
            let Some(subscription) = &mut self.subscriptions[index] else { continue };
            match subscription.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    let (subject, payload) = (message.subject, message.payload);
                    return Poll::Ready(Some(Message { subscription: index, subject, payload }));
                }
                Poll::Ready(None) => self.subscriptions[index] = None,
                Poll::Pending => has_ended = false,
            }
        }
        if has_ended { Poll::Ready(None) } else { Poll::Pending }
    }

    fn arrived(&self) -> u64 {
        self.client.statistics().in_messages.load(Ordering::Relaxed)
    }

    /// The client counts a message before it puts it into a queue, so that one may seem to be missing
    /// that is only late. What is missing several times in a row has been dropped.
    fn note_missing(&mut self, arrived: u64) {
        self.missing.rotate_left(1);
        self.missing[3] = arrived.saturating_sub(self.taken);
        self.lost = self.lost.max(*self.missing.iter().min().unwrap_or(&0));
    }

    /// How many messages the client has dropped because we read too slowly.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The same at the end, when nothing is late any more: exact.
    pub fn lost_in_the_end(&self) -> u64 {
        self.arrived().saturating_sub(self.taken).max(self.lost)
    }

    /// Tells the server to send nothing more. What it has sent is still to be taken;
    /// [`Connection::next_chunk`] then ends. Without a connection there is nothing to wait for, and
    /// what is here already is all there is.
    ///
    /// async-nats 0.51 forgets a draining subscription as soon as it has told the server so, and with it
    /// what is on its way at that moment. So this waits first, for at most a tenth of a second, until
    /// nothing has come for a while; on a stream that never pauses, what is on its way is lost, and
    /// counted.
    pub async fn drain(&mut self) {
        self.wait_until_still(5).await;
        if self.client.connection_state() == State::Connected {
            for subscription in self.subscriptions.iter_mut().flatten() {
                // Fails only if the client has ended, and then the subscriptions have as well.
                let _ = subscription.drain().await;
            }
        } else {
            for subscription in self.subscriptions.iter_mut().flatten() {
                // Closes our side of the queue; what is in it can still be taken.
                let _ = subscription.unsubscribe().now_or_never();
            }
        }
    }

    /// Waits until nothing has arrived for 20 ms, so many times at most.
    pub async fn wait_until_still(&self, times: usize) {
        for _ in 0..times {
            let arrived = self.arrived();
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.arrived() == arrived {
                return;
            }
        }
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Publishes a message; it is sent as soon as there is a connection. For the demo's sample apps.
    ///
    /// # Errors
    /// If the subject is not valid or the client has ended.
    pub async fn publish(&self, subject: String, payload: Bytes) -> Result<(), String> {
        self.client.publish(subject, payload).await.map_err(|error| error.to_string())
    }

    /// Waits until everything published has been sent.
    ///
    /// # Errors
    /// If the client has ended.
    pub async fn flush(&self) -> Result<(), String> {
        self.client.flush().await.map_err(|error| error.to_string())
    }
}

/// At once the first time, then from at most 100 ms up to at most 4 s, drawn at random so that many
/// clients do not come back together.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let most = 4_000.min(50u64 << attempts.min(8));
    Duration::from_millis(rand::random_range(most / 2..=most))
}

/// What happens to a connection, said once, and not more often than every ten seconds.
#[derive(Debug)]
struct ConnectionLog {
    id: String,
    servers: Vec<String>,
    refused: LogLimit,
    failed: LogLimit,
    slow: LogLimit,
    other: LogLimit,
}

impl ConnectionLog {
    fn new(id: String, servers: Vec<String>) -> ConnectionLog {
        ConnectionLog {
            id,
            servers,
            refused: LogLimit::every_10_s(),
            failed: LogLimit::every_10_s(),
            slow: LogLimit::every_10_s(),
            other: LogLimit::every_10_s(),
        }
    }

    fn auth_failed(&self, error: &super::AuthError) {
        if let Some(unsaid) = self.refused.allow() {
            tracing::error!(source = self.id, unsaid, "cannot sign in to NATS, will try again: {error}");
        }
    }

    fn event(&self, event: &Event) {
        let id = &self.id;
        match event {
            Event::Connected => {
                tracing::info!(source = id, "connected to NATS");
            }
            Event::Disconnected => {
                if let Some(unsaid) = self.failed.allow() {
                    tracing::warn!(source = id, unsaid, "the connection to NATS is lost, connecting again");
                }
            }
            Event::SlowConsumer(_) => {
                if let Some(unsaid) = self.slow.allow() {
                    tracing::warn!(
                        source = id,
                        unsaid,
                        "messages come faster than the sinks take them, and the client drops some; they are counted as lost"
                    );
                }
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.say_refused("authorization violation")
            }
            Event::ClientError(ClientError::Other(text)) if is_refusal(text) => self.say_refused(text),
            Event::ServerError(ServerError::Other(text))
                if text.to_lowercase().contains("permissions violation") =>
            {
                self.say_refused(text);
            }
            Event::ServerError(error) => {
                if let Some(unsaid) = self.other.allow() {
                    tracing::error!(source = id, unsaid, "NATS says: {error}");
                }
            }
            Event::ClientError(error) => {
                if let Some(unsaid) = self.failed.allow() {
                    tracing::warn!(
                        source = id,
                        unsaid,
                        "cannot connect to NATS at {}, will try again: {error}",
                        self.servers.join(", ")
                    );
                }
            }
            // We ask for these ourselves, at the end.
            Event::Closed | Event::Draining => tracing::debug!(source = id, "NATS: {event}"),
            other => {
                if let Some(unsaid) = self.other.allow() {
                    tracing::info!(source = id, unsaid, "NATS: {other}");
                }
            }
        }
    }

    fn say_refused(&self, reason: &str) {
        if let Some(unsaid) = self.refused.allow() {
            tracing::error!(
                source = self.id,
                unsaid,
                "NATS refuses us ({reason}); check the user, the token or password, and what they may subscribe to. Will try again, with the secret as it is then"
            );
        }
    }
}

fn is_refusal(text: &str) -> bool {
    text.contains("authorization violation") || text.contains("failed signing nonce")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_at_once_then_slower_with_jitter() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for (attempts, most) in [(2, 200), (3, 400), (6, 3200), (7, 4000), (1_000_000, 4000)] {
            let delays: Vec<_> = (0..100).map(|_| reconnect_delay(attempts).as_millis()).collect();
            assert!(delays.iter().all(|delay| (most / 2..=most).contains(delay)), "{attempts}: {delays:?}");
            assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter");
        }
    }
}
