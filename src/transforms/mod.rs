//! Transforms: what changes events on their way.
//!
//! - `log_bodies`: what applications write into a log line
//! - `remap`: fields moved and copied by VRL assignments

mod log_bodies;
mod remap;

pub use log_bodies::LogBodiesConfig;
pub use remap::RemapConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<LogBodiesConfig>(LogBodiesConfig::INFO);
    registry.transform::<RemapConfig>(RemapConfig::INFO);
}
