//! NATS: our own client for core NATS. Used by the `nats` source and by the demo's sample apps.
//!
//! - `auth`: [`NatsAuth`], who we are, read anew at each connect
//! - `connection`: [`Connection`], one client that connects for ever
//! - `link`: one open connection to one server
//! - `connection_log`: what is said of it, and how often
//! - `message`: [`Message`], its subject and [`Payload`]
//! - `options`: [`ConnectionOptions`], how to reach a cluster
//! - `protocol`: bytes to operations
//! - `servers`: [`Servers`], the list of URLs
//! - `subject`: [`SubjectFilter`]

mod auth;
mod connection;
mod connection_log;
mod link;
mod message;
mod options;
pub mod protocol;
mod servers;
pub mod subject;

pub use auth::{AuthError, NatsAuth};
pub use connection::Connection;
pub use message::{Message, Payload};
pub use options::{ConnectionOptions, TlsMode, TlsOptions};
pub use servers::{Servers, ServersError};
pub use subject::{SubjectError, SubjectFilter};
