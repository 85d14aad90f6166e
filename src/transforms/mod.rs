//! Transforms: what changes events on their way.
//!
//! - `dedupe`: leaves out events that have been seen before
//! - `exclusive_route`: to the first output whose condition holds
//! - `filter`: only what a condition holds for
//! - `log_bodies`: what applications write into a log line
//! - `reduce`: makes one event of several
//! - `remap`: events changed by programs of VRL
//! - `route`: to every output whose condition holds
//! - `sample`: lets a part of the events through
//! - `throttle`: lets so many events through in a time
//!
//! What they share:
//!
//! - `condition`: [`AnyCondition`], what is asked of an event
//! - `key`: values as bytes, to tell events from each other
//! - `program`: VRL compiled and run; `no_program`: a build without the feature `vrl`

mod condition;
mod dedupe;
mod exclusive_route;
mod filter;
mod key;
mod log_bodies;
#[cfg(feature = "vrl")]
pub(crate) mod program;
#[cfg(not(feature = "vrl"))]
#[path = "no_program.rs"]
pub(crate) mod program;
mod reduce;
mod remap;
mod route;
mod sample;
#[cfg(test)]
mod testing;
mod throttle;

pub use condition::{AnyCondition, Condition, Runtime};
pub use dedupe::DedupeConfig;
pub use exclusive_route::ExclusiveRouteConfig;
pub use filter::FilterConfig;
pub use log_bodies::LogBodiesConfig;
pub use reduce::ReduceConfig;
pub use remap::RemapConfig;
#[cfg(feature = "cli")]
pub(crate) use remap::split;
pub use route::RouteConfig;
pub use sample::SampleConfig;
pub use throttle::ThrottleConfig;

use crate::config::{Problem, Registry, TransformContext};

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<DedupeConfig>(DedupeConfig::INFO);
    registry.transform::<ExclusiveRouteConfig>(ExclusiveRouteConfig::INFO);
    registry.transform::<FilterConfig>(FilterConfig::INFO);
    registry.transform::<LogBodiesConfig>(log_bodies::INFO);
    registry.transform::<ReduceConfig>(ReduceConfig::INFO);
    registry.transform::<RemapConfig>(RemapConfig::INFO);
    registry.transform::<RouteConfig>(RouteConfig::INFO);
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
    condition?.compile(option, cx).map_err(|problem| problems.push(problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ComponentKind, Config};
    use crate::env::Env;

    #[test]
    fn every_example_loads_and_builds() {
        let registry = Registry::builtin();
        for info in registry.components(ComponentKind::Transform) {
            let text = format!(
                "sources.in = {{ type = 'stdin' }}\nsinks.out = {{ type = 'blackhole', inputs = ['t*'] }}\n\
                 [transforms.t]\ntype = '{}'\ninputs = ['in']\n{}",
                info.name, info.example
            );
            let config = Config::from_toml(&text, "test.toml", &registry, &Env::default());
            let config = config.unwrap_or_else(|problems| panic!("{}: {problems}", info.name));
            let built = config.transforms[0].config.build(&TransformContext::default());
            assert!(built.is_ok(), "{}: {:?}", info.name, built.err());
        }
    }
}
