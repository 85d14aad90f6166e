//! Transforms: what changes events on their way.
//!
//! - `dedupe`: leaves out events that have been seen before
//! - `log_bodies`: what applications write into a log line
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
mod log_bodies;
mod program;
mod remap;
mod sample;
#[cfg(test)]
mod testing;
mod throttle;

pub use condition::{AnyCondition, Condition, Runtime};
pub use dedupe::DedupeConfig;
pub use log_bodies::LogBodiesConfig;
pub use remap::RemapConfig;
pub use sample::SampleConfig;
pub use throttle::ThrottleConfig;

use crate::config::{Problem, Problems, Registry, TransformContext};

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<DedupeConfig>(DedupeConfig::INFO);
    registry.transform::<LogBodiesConfig>(LogBodiesConfig::INFO);
    registry.transform::<RemapConfig>(RemapConfig::INFO);
    registry.transform::<SampleConfig>(SampleConfig::INFO);
    registry.transform::<ThrottleConfig>(ThrottleConfig::INFO);
}

/// The condition of an option that may be missing; its mistakes join the others of the component.
fn optional_condition(
    condition: Option<&AnyCondition>,
    option: &str,
    cx: &TransformContext,
    problems: &mut Vec<Problem>,
) -> Option<Condition> {
    let built = condition?.build(option, cx);
    built
        .map_err(|error| match error.downcast::<Problems>() {
            Ok(more) => problems.extend(more.0),
            Err(error) => problems.push(Problem::at(option, error.to_string())),
        })
        .ok()
}
