//! Transforms: what changes events on their way.
//!
//! - `condition`: [`AnyCondition`], what is asked of an event
//! - `program`: VRL compiled and run
//! - `remap`: fields moved and copied by VRL assignments

mod condition;
mod program;
mod remap;

pub use condition::{AnyCondition, Condition, Runtime};
pub use remap::RemapConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<RemapConfig>(RemapConfig::INFO);
}
