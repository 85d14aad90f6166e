//! What the integration tests and the benchmark share:
//!
//! - [`moto`]: AWS on loopback, as the Python project moto plays it;
//! - [`nats_server`]: the real nats-server, started, stopped and restarted at will;
//! - [`nats_cluster`]: several of them that are one cluster;
//! - [`proxy`]: a bad network between two of them;
//! - [`collector`]: a sink that keeps what it gets;
//! - [`log_lines`]: what a test's own thread logs;
//! - [`publisher`]: a plain NATS publisher and the made-up events it sends;
//! - [`http_server`]: a destination that answers as the test says and remembers what it got;
//! - [`one_event`]: a source that sends one event and ends;
//! - [`certificates`]: a private authority with certificates for TLS;
//! - [`jetstream`]: streams and consumers, made and looked at;
//! - [`ports`]: ports that stay ours while nobody listens on them;
//! - [`program`]: log-shipper itself, as a process, with its memory and its books;
//! - [`sigv4`]: AWS's signatures, checked independently of who makes them;
//! - [`terminal`]: a pseudo terminal, and what a person sees there.

// Every test binary compiles this whole module and uses only a part of it.
#![allow(dead_code)]

pub mod certificates;
pub mod collector;
pub mod http_server;
pub mod jetstream;
pub mod log_lines;
pub mod moto;
pub mod nats_cluster;
pub mod nats_server;
pub mod one_event;
pub mod ports;
pub mod program;
pub mod proxy;
pub mod publisher;
pub mod sigv4;
pub mod terminal;
