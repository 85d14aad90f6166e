//! `exclusive_route`: each event goes to the first output whose condition holds.

use super::condition::{AnyCondition, Condition};
use super::route::{UNMATCHED, build_routes};
use crate::config::{ComponentInfo, Result, Transform, TransformConfig, TransformContext};
use crate::event::LogEvent;
use crate::topology::{OutputNames, Outputs};
use serde::Deserialize;

/// The configuration of the `exclusive_route` transform.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExclusiveRouteConfig {
    /// The outputs, in the order in which they are asked.
    routes: Vec<NamedRoute>,
}

/// One output of an `exclusive_route`.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedRoute {
    /// Its name: the one named `x` of the transform `route` is the input `route.x`.
    name: String,
    /// What must hold for an event to go there.
    condition: AnyCondition,
}

impl ExclusiveRouteConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "exclusive_route",
        "Send each event to the first output whose condition holds.",
        "routes = [\n  { name = \"errors\", condition = '.log.level == \"error\"' },\n  { name = \"others\", condition = 'exists(.log.level)' },\n]",
    );
}

impl TransformConfig for ExclusiveRouteConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(at, route)| (format!("routes[{at}]"), &route.name, &route.condition));
        Ok(Box::new(ExclusiveRoute(build_routes(routes, cx)?)))
    }

    /// The routes, and `_unmatched` for what fits none.
    fn outputs(&self) -> OutputNames {
        let names = self.routes.iter().map(|route| route.name.as_str()).chain([UNMATCHED]);
        OutputNames { has_default: false, named: names.map(str::to_owned).collect() }
    }
}

struct ExclusiveRoute(Vec<Condition>);

impl Transform for ExclusiveRoute {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        let fits = self.0.iter_mut().position(|condition| condition.check(&event));
        outputs.push_to(fits.unwrap_or(self.0.len()), event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn an_event_goes_where_it_fits_first() {
        let config: ExclusiveRouteConfig = toml::from_str(ExclusiveRouteConfig::INFO.example).unwrap();
        let names = ["errors", "others", "_unmatched"].map(str::to_owned);
        assert_eq!(config.outputs(), OutputNames { has_default: false, named: names.into() });
        let mut route = config.build(&TransformContext::default()).unwrap();
        let mut outputs = Outputs::new(3, Default::default());
        let texts = [r#"{"log":{"level":"error"}}"#, r#"{"log":{"level":"info"}}"#, "{}"];
        for text in texts {
            route.transform(LogEvent::from_json(Bytes::from_static(text.as_bytes())).unwrap(), &mut outputs);
        }
        let (default, named) = outputs.take();
        assert!(default.is_empty());
        for (events, text) in named.iter().zip(texts) {
            assert_eq!(events.iter().map(LogEvent::json).collect::<Vec<_>>(), [text]);
        }
    }

    #[test]
    fn names_are_ones_own() {
        let config: ExclusiveRouteConfig = toml::from_str(
            "routes = [{ name = \"a\", condition = 'true' }, { name = \"a\", condition = '.x' }, { name = \"_unmatched\", condition = 'true' }]",
        )
        .unwrap();
        let error = config.build(&TransformContext::default()).err().unwrap().to_string();
        for expected in
            ["routes[1]: `a` is the name of an earlier route", "routes[1]: the condition", "routes[2]: `_u"]
        {
            assert!(error.contains(expected), "{error}");
        }
    }
}
