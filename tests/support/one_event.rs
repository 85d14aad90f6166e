//! A source that sends one event and ends.

use log_shipper::config::{Result, Source, SourceConfig, SourceContext};
use log_shipper::event::LogEvent;

/// The time of [`OneEvent::of_fly`].
pub const TIME: &str = "2026-11-22T05:00:00.000137000Z";

/// One event of this text.
#[derive(Debug)]
pub struct OneEvent(pub String);

impl OneEvent {
    /// A Fly event.
    pub fn of_fly() -> OneEvent {
        OneEvent::with_message("m")
    }

    /// A Fly event with this message.
    pub fn with_message(message: &str) -> OneEvent {
        let message = serde_json::Value::from(message);
        OneEvent(format!(
            r#"{{"event":{{"provider":"app"}},"fly":{{"app":{{"instance":"machine1","name":"web"}},"region":"ord"}},"host":"h1","log":{{"level":"warn"}},"message":{message},"timestamp":"{TIME}"}}"#
        ))
    }
}

#[async_trait::async_trait]
impl SourceConfig for OneEvent {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let event = LogEvent::from_json(self.0.clone().into()).unwrap();
        Ok(Box::pin(async move {
            cx.output.send(vec![event]).await;
            Ok(())
        }))
    }
}
