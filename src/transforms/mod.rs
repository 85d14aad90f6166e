//! Transforms: what changes events on their way.
//!
//! - `remap`: fields moved and copied by VRL assignments

mod remap;

pub use remap::RemapConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<RemapConfig>(RemapConfig::INFO);
}
