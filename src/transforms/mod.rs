//! Transforms: what changes events on their way.
//!
//! - `dedupe`: leaves out events that have been seen before
//! - `remap`: fields moved and copied by VRL assignments
//!
//! What they share:
//!
//! - `key`: values as bytes, to tell events from each other

mod dedupe;
mod key;
mod remap;
#[cfg(test)]
mod testing;

pub use dedupe::DedupeConfig;
pub use remap::RemapConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<DedupeConfig>(DedupeConfig::INFO);
    registry.transform::<RemapConfig>(RemapConfig::INFO);
}
