//! The HTTP API of a running topology.
//!
//! - `status`: what `/api/status` says: the topology, its health, the books and their rates

pub mod status;
