//! NATS: our own client. Used by the `nats` source and sink, and by the demo's sample apps.
//!
//! - `auth`: [`NatsAuth`], who we are, read anew at each connect
//! - `servers`: [`Servers`], the list of URLs
//! - `options`: [`ConnectionOptions`], how to reach a cluster
//! - `connector`: connects and signs in, for ever
//! - `connection_log`: what is said of it, and how often
//! - `link`: one open connection to one server
//! - `protocol`: bytes to operations
//! - `subject`: [`SubjectFilter`]
//!
//! To read:
//! - `connection`: [`Connection`], one client that reads
//! - `reader`: one open connection that reads, up to the end of its drain
//! - `renewal`: a second connection takes the place of one that is quiet, or whose server is about to stop
//! - `twice`: what both of them have brought
//! - `message`: [`Message`], its subject and [`Payload`]
//!
//! To read a JetStream stream:
//! - `consumer`: `PullConsumer`, one client that reads through a durable consumer
//! - `jetstream_api`: questions to JetStream, and its answers
//! - `pulls`: requests for messages; `heard`: what comes
//! - `acks`: `Ack`, what a consumer is told of a message
//!
//! To publish:
//! - `publisher`: `Publisher`, one client that publishes, to core NATS or JetStream
//! - `messages`: `Messages`, as they go over the wire
//! - `answer`: `Answer`, what became of one

mod acks;
mod answer;
mod auth;
mod connection;
mod connection_log;
mod connector;
mod consumer;
mod consumer_log;
mod heard;
mod jetstream_api;
mod link;
mod message;
mod messages;
mod options;
// For our benchmarks and the fuzz targets: no part of the API.
#[doc(hidden)]
pub mod protocol;
mod publisher;
mod pulls;
mod reader;
mod renewal;
mod servers;
pub(crate) mod subject;
mod twice;

pub(crate) use acks::Ack;
pub(crate) use answer::Answer;
#[doc(hidden)]
pub use auth::{AuthError, NatsAuth};
// One client without a topology around it, for our tests; others take the source `nats` as an `EventStream`.
#[doc(hidden)]
pub use connection::Connection;
pub(crate) use consumer::{Delivery, PullConsumer};
pub(crate) use jetstream_api::{AckSubject, CreateOptions, DeliverPolicy, LookFrom, PullOptions};
#[doc(hidden)]
pub use message::{Message, Payload};
pub(crate) use messages::Messages;
#[doc(hidden)]
pub use options::{ConnectionOptions, PING_INTERVAL, TlsMode, TlsOptions, TlsOptionsError};
pub(crate) use publisher::{Confirmation, Publisher};
pub(crate) use renewal::OVERLAP;
#[doc(hidden)]
pub use servers::{Servers, ServersError};
pub use subject::{SubjectError, SubjectFilter};
