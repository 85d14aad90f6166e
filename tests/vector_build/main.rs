//! The adapters for a custom Vector build, over a stand-in for what they use of Vector: they compile against our API,
//! and events, receipts, shutdown, proxies and healthchecks go through them.

#[path = "../support/mod.rs"]
mod support;

/// What the adapters use of Vector 0.58, by the same names and signatures: `vector` and `vector_lib` are this crate.
extern crate self as vector;
extern crate self as vector_lib;

mod stand_in;
pub use stand_in::*;

#[path = "../../examples/vector-build/log_shipper_sink.rs"]
mod log_shipper_sink;
#[path = "../../examples/vector-build/log_shipper_source.rs"]
mod log_shipper_source;

mod tests;
