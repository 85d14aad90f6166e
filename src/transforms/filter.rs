//! `filter`: only the events for which a condition holds go on.

use super::condition::{AnyCondition, Condition};
use crate::config::{ComponentInfo, Result, Transform, TransformConfig, TransformContext};
use crate::event::LogEvent;
use crate::topology::Outputs;
use serde::Deserialize;

/// The configuration of the `filter` transform.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// What must hold for an event to go on.
    condition: AnyCondition,
}

impl FilterConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "filter",
        "Let only those events pass for which a condition holds.",
        "condition = '.log.level != \"debug\"'",
    );
}

impl TransformConfig for FilterConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Filter(self.condition.build("condition", cx)?)))
    }
}

struct Filter(Condition);

impl Transform for Filter {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        match self.0.check(&event) {
            true => outputs.push(event),
            false => outputs.discard(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::TransformCounts;
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let config: FilterConfig = toml::from_str(FilterConfig::INFO.example).unwrap();
        let mut filter = config.build(&TransformContext::default()).unwrap();
        let counts = Arc::new(TransformCounts::default());
        let mut outputs = Outputs::new(0, Arc::clone(&counts));
        for text in [r#"{"log":{"level":"debug"}}"#, r#"{"log":{"level":"info"}}"#, r#"{"log":1}"#] {
            filter.transform(LogEvent::from_json(Bytes::from_static(text.as_bytes())).unwrap(), &mut outputs);
        }
        let passed = outputs.take().0;
        assert_eq!(
            passed.iter().map(LogEvent::json).collect::<Vec<_>>(),
            [r#"{"log":{"level":"info"}}"#, r#"{"log":1}"#]
        );
        assert_eq!((counts.snapshot().discarded, counts.snapshot().failed), (1, 0));
    }

    #[test]
    fn a_condition_that_does_not_compile_is_named() {
        let config: FilterConfig = toml::from_str("condition = '.a'").unwrap();
        let error = config.build(&TransformContext::default()).err().unwrap().to_string();
        assert!(error.starts_with("condition: "), "{error}");
    }
}
