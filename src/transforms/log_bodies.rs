//! `log_bodies`: what applications write into a log line, for the destinations behind it alone.
//!
//! Vector has no such transform; `generate` writes it as VRL.

use crate::bodies::{Bodies, BodyOptions, Passed};
use crate::config::{ComponentInfo, Result, Transform, TransformConfig, TransformContext};
use crate::event::LogEvent;
use crate::topology::Outputs;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// The configuration of the `log_bodies` transform: the options of [`BodyOptions`], which the `nats` source has too.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LogBodiesConfig {
    options: BodyOptions,
}

impl LogBodiesConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "log_bodies",
        "Lift JSON and logfmt out of messages, find levels, join stack traces, redact.",
        "log_parse = \"auto\"\ndetect_level = true\nredact = [\"email\", \"ip\"]",
    );
}

impl TransformConfig for LogBodiesConfig {
    fn build(&self, _cx: &TransformContext) -> Result<Box<dyn Transform>> {
        let bodies = self.options.build()?;
        let wait = self.options.multiline.enabled.then_some(self.options.multiline.timeout);
        Ok(Box::new(LogBodies { bodies, wait, start: Instant::now(), passed: Passed::default() }))
    }
}

struct LogBodies {
    bodies: Option<Bodies>,
    /// How long lines wait for more.
    wait: Option<Duration>,
    start: Instant,
    /// Empty but for its memory.
    passed: Passed,
}

impl LogBodies {
    fn put(passed: &mut Passed, outputs: &mut Outputs) {
        outputs.counts().add_discarded(passed.excluded + passed.joined);
        (passed.excluded, passed.joined) = (0, 0);
        passed.events.drain(..).for_each(|event| outputs.push(event));
    }
}

impl Transform for LogBodies {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        match &mut self.bodies {
            None => outputs.push(event),
            Some(bodies) => {
                // The clock is for lines that wait.
                let now = if self.wait.is_some() { Instant::now() } else { self.start };
                bodies.push(event, now, &mut self.passed);
                Self::put(&mut self.passed, outputs);
            }
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        // Lines wait for half of the time longer at most.
        self.wait.map(|wait| wait / 2)
    }

    fn flush(&mut self, outputs: &mut Outputs) {
        if let Some(bodies) = &mut self.bodies {
            Self::put(&mut bodies.flush(Instant::now()), outputs);
        }
    }

    fn finish(&mut self, outputs: &mut Outputs) {
        if let Some(bodies) = &mut self.bodies {
            Self::put(&mut bodies.flush_all(), outputs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_what_it_has_changed_and_holds_lines_back() {
        let config: LogBodiesConfig = toml::from_str("multiline = true\nlog_parse = \"json\"").unwrap();
        let mut transform = config.build(&TransformContext::default()).unwrap();
        assert_eq!(transform.flush_every(), Some(Duration::from_millis(500)));
        let mut outputs = Outputs::new(0, Default::default());
        for text in [r#"{"message":"{\"a\":1,"}"#, r#"{"message":" \"b\":2}"}"#, r#"{"message":"x"}"#] {
            transform.transform(LogEvent::from_json(text.into()).unwrap(), &mut outputs);
        }
        transform.flush(&mut outputs);
        let (events, _) = outputs.take();
        assert_eq!(events.iter().map(LogEvent::json).collect::<Vec<_>>(), [r#"{"a":1,"b":2}"#]);
        transform.finish(&mut outputs);
        assert_eq!(outputs.take().0.len(), 1);
    }

    #[test]
    fn refuses_unknown_options() {
        assert!(toml::from_str::<LogBodiesConfig>("parse = true").is_err());
    }
}
