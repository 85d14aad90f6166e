//! `route`: each event goes to every output whose condition holds.

use super::condition::{AnyCondition, Condition};
use crate::config::{ComponentInfo, Problem, Problems, Result, Transform, TransformConfig, TransformContext};
use crate::event::LogEvent;
use crate::topology::{OutputNames, Outputs};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The output of what no condition holds for.
pub(super) const UNMATCHED: &str = "_unmatched";

/// The configuration of the `route` transform.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The outputs, and what must hold for an event to go there: the one named `x` of the transform `route` is the
    /// input `route.x`.
    route: BTreeMap<String, AnyCondition>,
    /// Whether what fits none goes to the output `_unmatched`; otherwise it is left out. Default: true.
    #[serde(default = "default_reroute_unmatched")]
    reroute_unmatched: bool,
}

fn default_reroute_unmatched() -> bool {
    true
}

impl RouteConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "route",
        "Send each event to every output whose condition holds.",
        "route.errors = '.log.level == \"error\"'\nroute.edge = 'starts_with(string(.fly.app.name) ?? \"\", \"edge-\")'",
    );
}

impl TransformConfig for RouteConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        let routes = self.route.iter().map(|(name, condition)| (format!("route.{name}"), name, condition));
        let conditions = build_routes(routes, cx)?;
        Ok(Box::new(Route { conditions, reroute_unmatched: self.reroute_unmatched }))
    }

    fn outputs(&self) -> OutputNames {
        let unmatched = self.reroute_unmatched.then_some(UNMATCHED).map(str::to_owned);
        OutputNames { has_default: false, named: self.route.keys().cloned().chain(unmatched).collect() }
    }
}

/// The conditions of routes: of each its option, for messages, and its name, which must be a name of its own.
pub(super) fn build_routes<'a>(
    routes: impl Iterator<Item = (String, &'a String, &'a AnyCondition)>,
    cx: &TransformContext,
) -> Result<Vec<Condition>> {
    let (mut conditions, mut problems, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (option, name, condition) in routes {
        let mistake = match name.as_str() {
            "" => Some("an output needs a name".to_owned()),
            UNMATCHED | "_default" => {
                Some(format!("`{name}` is an output's name already; call it otherwise"))
            }
            _ if names.contains(&name) => {
                Some(format!("`{name}` is the name of an earlier route; call it otherwise"))
            }
            _ => None,
        };
        problems.extend(mistake.map(|mistake| Problem::at(option.clone(), mistake)));
        names.push(name);
        match condition.compile(&option, cx) {
            Ok(condition) => conditions.push(condition),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(conditions) } else { Err(Problems(problems).into()) }
}

struct Route {
    conditions: Vec<Condition>,
    reroute_unmatched: bool,
}

impl Transform for Route {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        let mut last = None;
        for (route, condition) in self.conditions.iter_mut().enumerate() {
            if condition.check(&event)
                && let Some(earlier) = last.replace(route)
            {
                outputs.push_to(earlier, event.clone());
            }
        }
        match last {
            Some(route) => outputs.push_to(route, event),
            None if self.reroute_unmatched => outputs.push_to(self.conditions.len(), event),
            None => outputs.discard(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
    use crate::topology::TransformCounts;
    use bytes::Bytes;
    use std::sync::Arc;

    const ROUTES: &str = "route.high = '.n > 5 ?? false'\nroute.even = 'mod!(.n, 2) == 0'\n";

    /// Where events with these numbers go: the outputs in their order, and how many are left out.
    #[track_caller]
    fn check(toml: &str, numbers: &[&str], expected: &[&[&str]], discarded: u64) {
        let config: RouteConfig = toml::from_str(toml).unwrap();
        let mut route = config.build(&TransformContext::default()).unwrap();
        let counts = Arc::new(TransformCounts::default());
        let mut outputs = Outputs::new(config.outputs().named.len(), Arc::clone(&counts));
        let (batch, mut answer) = BatchNotifier::new_with_receiver();
        for number in numbers {
            let event = LogEvent::from_json(Bytes::from(format!("{{\"n\":{number}}}"))).unwrap();
            route.transform(event.with_finalizers(EventFinalizers::new(Arc::clone(&batch))), &mut outputs);
        }
        drop(batch);
        let (default, named) = outputs.take();
        assert!(default.is_empty());
        let number = |mut event: LogEvent| {
            event.take_finalizers().answer(EventStatus::Delivered);
            event.json().trim_matches(['{', '}']).replace("\"n\":", "")
        };
        let seen: Vec<Vec<_>> =
            named.into_iter().map(|events| events.into_iter().map(number).collect()).collect();
        assert_eq!(seen, expected);
        assert_eq!(counts.snapshot().discarded, discarded);
        assert_eq!(answer.try_recv(), Ok(EventStatus::Delivered));
    }

    #[test]
    fn an_event_goes_wherever_it_fits() {
        let numbers = &["1", "2", "7", "8", "\"x\""];
        check(ROUTES, numbers, &[&["2", "8"], &["7", "8"], &["1", "\"x\""]], 0);
        check(&format!("reroute_unmatched = false\n{ROUTES}"), numbers, &[&["2", "8"], &["7", "8"]], 2);
        check("route = {}", numbers, &[numbers], 0);
    }

    #[test]
    fn its_outputs_are_its_routes() {
        let config: RouteConfig = toml::from_str(ROUTES).unwrap();
        let named = ["even", "high", "_unmatched"].map(str::to_owned).into();
        assert_eq!(config.outputs(), OutputNames { has_default: false, named });
    }

    #[test]
    fn every_mistake_is_told() {
        let config: RouteConfig = toml::from_str(
            "[route]\n_unmatched = 'true'\n_default = 'true'\n'' = 'true'\nx = '.a'\ny = '.a =='",
        )
        .unwrap();
        let error = config.build(&TransformContext::default()).err().unwrap().to_string();
        for expected in [
            "route._unmatched: `_unmatched` is an output's name already",
            "route._default: `_default` is",
            "route.: an output needs a name",
            "route.x: the condition is not always true or false",
            "route.y: the condition does not compile",
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }
}
