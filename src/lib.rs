//! log-shipper reads logs from NATS subjects and ships them to log aggregators.
//!
//! # Use
//!
//! A topology is made of sources, transforms and sinks. Load it from TOML under Vector's names, or
//! put it together in code, and start it in any tokio runtime:
//!
//! ```no_run
//! use log_shipper::config::{Config, Registry};
//! use log_shipper::env::Env;
//! use log_shipper::topology::{Topology, TopologyOptions};
//! use std::time::Duration;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let text = std::fs::read_to_string("vector.toml")?;
//! let env = Env::from_process();
//! let config = Config::from_toml(&text, "vector.toml", &Registry::builtin(), &env)?;
//! let options = TopologyOptions::default().with_env(env);
//! let mut running = Topology::start(config, &options, tokio::signal::ctrl_c()).await?;
//! running.ended().await;
//! println!("{}", running.stop(Duration::from_secs(60)).await);
//! # Ok(())
//! # }
//! ```
//!
//! A destination of one's own is an implementation of [`sinks::HttpSink`], which says only what
//! differs, and a line: `registry.http_sink::<Acme>()`. Its options derive [`schemars`]`::JsonSchema` too, so that
//! `log-shipper schema` and `list` know them.
//!
//! # Layout
//!
//! The path of an event, from NATS to the wire, is eight files:
//!
//! 1. [`nats`]`/connection.rs`: what one read of the socket brings, as a chunk of messages
//! 2. [`sources`]`/nats/decode.rs`: messages become [`event::LogEvent`]s
//! 3. [`topology`]`/mod.rs`: each chunk goes to every consumer
//! 4. [`topology`]`/buffer/mod.rs`: the bounded buffer in front of each sink
//! 5. [`sinks`]`/intake.rs`: into a batch (`batch.rs`)
//! 6. [`sinks`]`/<vendor>.rs`: how an event, a request and an answer look there; an event is encoded
//!    once, straight into the body it is sent in
//! 7. [`sinks`]`/delivery.rs`: the batch to the destination, until every event has been answered for
//! 8. [`http`]: the socket
//!
//! Beside it: [`config`] (loading, interpolation, the registry, the environment), [`memory`] (what the process may take), [`providers`]
//! (which secrets switch on which destination), [`healthcheck`], [`aws`], [`template`], [`transforms`], [`finalizer`],
//! [`secret`], [`tls`], [`env`](mod@env), [`nats`], [`status`] (how components get on), [`api`] (what of that is served over HTTP), and [`cli`].
//!
//! # Invariants
//!
//! - An event stays the text it came as until somebody changes it.
//! - Every event's receipts are answered exactly once.
//! - received = delivered + rejected + dropped + buffered, for each sink, always.
//! - A secret is a [`secret::SensitiveString`] from parsing to the wire.
//! - Nothing waits for the network at start.
//! - A sink file does no I/O, asks no clock, reads no environment and logs nothing; `blackhole`, `console`, `file`,
//!   `nats` and `papertrail`, which are not HTTP, do the I/O that is theirs.
//! - Only `http.rs` names the HTTP library; only [`nats`] speaks NATS's protocol;
//!   only `env.rs` reads the environment, and only [`cli`] asks it to.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
pub mod aws;
pub mod bodies;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod connect_error;
mod deadline;
#[cfg(feature = "cli")]
mod docs;
pub mod env;
pub mod event;
mod files;
pub mod finalizer;
pub mod healthcheck;
pub mod http;
#[cfg(feature = "api")]
mod http_server;
mod list;
mod log_limit;
pub mod memory;
pub mod nats;
pub mod providers;
mod redact;
pub mod secret;
pub mod sinks;
pub mod sources;
pub mod status;
pub mod template;
pub mod tls;
pub mod topology;
pub mod transforms;
mod uuid;

pub use schemars;

/// The blocks of Rust in the README and in the book, compiled with the examples of the documentation.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/src/embedding.md")]
    mod embedding {}
    #[doc = include_str!("../docs/src/writing-a-sink.md")]
    mod writing_a_sink {}
}
