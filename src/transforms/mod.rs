//! Transforms: what changes events on their way.
//!
//! - `dedupe`: leaves out events that have been seen before
//! - `remap`: fields moved and copied by VRL assignments
//! - `sample`: lets a part of the events through
//! - `throttle`: lets so many events through in a time
//!
//! What they share:
//!
//! - `condition`: [`AnyCondition`], what is asked of an event
//! - `key`: values as bytes, to tell events from each other
//! - `program`: VRL compiled and run

mod condition;
mod dedupe;
mod key;
mod program;
mod remap;
mod sample;
#[cfg(test)]
mod testing;
mod throttle;

pub use condition::{AnyCondition, Condition, Runtime};
pub use dedupe::DedupeConfig;
pub use remap::RemapConfig;
pub use sample::SampleConfig;
pub use throttle::ThrottleConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<DedupeConfig>(DedupeConfig::INFO);
    registry.transform::<RemapConfig>(RemapConfig::INFO);
    registry.transform::<SampleConfig>(SampleConfig::INFO);
    registry.transform::<ThrottleConfig>(ThrottleConfig::INFO);
}
