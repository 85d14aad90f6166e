//! Transforms: what changes events on their way.
//!
//! - `condition`: [`AnyCondition`], what is asked of an event
//! - `exclusive_route`: to the first output whose condition holds
//! - `filter`: only what a condition holds for
//! - `program`: VRL compiled and run
//! - `remap`: events changed by programs of VRL
//! - `route`: to every output whose condition holds

mod condition;
mod exclusive_route;
mod filter;
pub(crate) mod program;
mod remap;
mod route;

pub use condition::{AnyCondition, Condition, Runtime};
pub use exclusive_route::ExclusiveRouteConfig;
pub use filter::FilterConfig;
pub use remap::RemapConfig;
pub use route::RouteConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.transform::<ExclusiveRouteConfig>(ExclusiveRouteConfig::INFO);
    registry.transform::<FilterConfig>(FilterConfig::INFO);
    registry.transform::<RemapConfig>(RemapConfig::INFO);
    registry.transform::<RouteConfig>(RouteConfig::INFO);
}
