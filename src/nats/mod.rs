//! NATS: servers, authentication, subjects. Used by the `nats` source and by the demo's sample apps; the
//! only place that names the NATS library.
//!
//! - `auth`: [`NatsAuth`], who we are, read anew at each connect
//! - `connection`: [`Connection`], one client that connects for ever
//! - `servers`: [`Servers`], the list of URLs
//! - `subject`: [`SubjectFilter`]

mod auth;
mod connection;
mod servers;
pub mod subject;

pub use auth::{AuthError, NatsAuth};
pub use connection::{Connection, ConnectionOptions, Message};
pub use servers::{Servers, ServersError};
pub use subject::{SubjectError, SubjectFilter};
