//! A transform of one's own: it numbers the events.
//!
//! ```text
//! echo '{"message": "hello"}' | cargo run --example custom_transform -- run -c vector.toml
//! ```
//!
//! With this as `vector.toml`:
//!
//! ```toml
//! [sources.in]
//! type = "stdin"
//! decoding.codec = "json"
//!
//! [transforms.number]
//! type = "number"
//! inputs = ["in"]
//! field = "number"
//!
//! [sinks.out]
//! type = "console"
//! inputs = ["number"]
//! encoding.codec = "json"
//! ```

use log_shipper::config::{ComponentInfo, Registry, Result, Transform, TransformConfig, TransformContext};
use log_shipper::event::LogEvent;
use log_shipper::topology::Outputs;
use log_shipper::{cli, schemars};

/// The options.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Number {
    /// The field that the number is written to.
    field: String,
}

impl TransformConfig for Number {
    fn build(&self, _cx: &TransformContext) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Numbering { field: self.field.clone(), last: 0 }))
    }
}

struct Numbering {
    field: String,
    last: u64,
}

impl Transform for Numbering {
    /// Each event is pushed, discarded or failed, so that the books are right.
    fn transform(&mut self, mut event: LogEvent, outputs: &mut Outputs) {
        self.last += 1;
        // JSON in place of a field: the rest of the event stays as it came, byte for byte.
        event.replace_root_fields(&[(&self.field, Some(self.last.to_string()))]);
        outputs.push(event);
    }
}

fn main() -> std::process::ExitCode {
    let mut registry = Registry::builtin();
    registry.transform::<Number>(ComponentInfo::new("number", "Number the events.", "field = \"number\""));
    cli::main(registry)
}
