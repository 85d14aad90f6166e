//! `demo_logs`: made-up events, for a first look without any logs of one's own.

use crate::config::{ComponentInfo, Result, Seconds, Source, SourceConfig, SourceContext};
use crate::event::{LogEvent, Path, Timestamp, json};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

/// The configuration of the `demo_logs` source.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DemoLogsConfig {
    /// What kind of event.
    format: Format,
    /// Seconds between two events; 0 is as fast as they are taken. Default: 1.
    #[serde(default)]
    interval: Interval,
    /// How many events. Default: without end.
    count: Option<u64>,
    /// The lines of the format `shuffle`.
    #[serde(default)]
    lines: Vec<String>,
    /// Whether each line of `shuffle` begins with its number. Default: false.
    #[serde(default)]
    sequence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// An object as Fly.io publishes it. Ours.
    Fly,
    /// A web server's access as JSON text, in `message`.
    Json,
    /// Lines of one's own, at random.
    Shuffle,
    /// A line of syslog (RFC 5424), in `message`.
    Syslog,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
#[schemars(inline, with = "f64", extend("minimum" = 0))]
struct Interval(Duration);

impl Default for Interval {
    fn default() -> Interval {
        Interval(Duration::from_secs(1))
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Seconds(self.0).serialize(serializer)
    }
}

impl TryFrom<f64> for Interval {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Interval, String> {
        if seconds == 0.0 {
            return Ok(Interval(Duration::ZERO));
        }
        Seconds::try_from(seconds).map(|seconds| Interval(seconds.0))
    }
}

impl DemoLogsConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "demo_logs",
        "Make up events, for a first look.",
        "format = \"fly\"\ninterval = 0.1\ncount = 100",
    );
}

/// How many events are made before they are passed on, where there is no pause between them.
const CHUNK: u64 = 256;

#[async_trait]
impl SourceConfig for DemoLogsConfig {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        if self.format == Format::Shuffle && self.lines.is_empty() {
            return Err("lines: empty; the format `shuffle` needs at least one".into());
        }
        let config = self.clone();
        Ok(Box::pin(async move { config.run(cx).await }))
    }
}

impl DemoLogsConfig {
    async fn run(self, cx: SourceContext) -> Result<()> {
        cx.ready.set();
        let count = self.count.unwrap_or(u64::MAX);
        let pause = self.interval.0;
        let mut pauses = (!pause.is_zero()).then(|| tokio::time::interval(pause));
        let mut made = 0;
        while made < count && !cx.shutdown.is_cancelled() {
            let chunk = match &mut pauses {
                None => CHUNK.min(count - made),
                Some(pauses) => tokio::select! {
                    _ = pauses.tick() => 1,
                    () = cx.shutdown.cancelled() => 0,
                },
            };
            let events = (made..made + chunk).map(|number| self.event(number));
            cx.output.send(events.collect()).await;
            made += chunk;
            // Without a pause and with buffers that never block, nothing else would get its turn.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn event(&self, number: u64) -> LogEvent {
        let now = Timestamp::now();
        let message = match self.format {
            Format::Fly => {
                let FlyEvent { subject, json } = FlyEvent::make(number, now);
                let event = LogEvent::from_json(json.clone().into());
                let event = event.unwrap_or_else(|_| LogEvent::from_message(json.as_bytes(), now));
                return event.with_subject(subject.into());
            }
            Format::Json => format!(
                "{{\"host\":\"10.0.0.{}\",\"method\":\"GET\",\"path\":\"{}\",\"status\":{},\"bytes\":{}}}",
                number % 250,
                pick(PATHS, number),
                pick(&[200u16, 200, 200, 404, 500], number),
                number * 7919 % 50_000
            ),
            Format::Syslog => format!(
                "<{}>1 {} web-{} app {} ID{} - {}",
                pick(&[13u8, 14, 11], number),
                now.to_rfc3339(),
                number % 4,
                number % 9000 + 1000,
                number % 500,
                pick(MESSAGES, number).1
            ),
            Format::Shuffle => {
                let line = &self.lines[rand::random_range(0..self.lines.len())];
                if self.sequence { format!("{number} {line}") } else { line.clone() }
            }
        };
        let mut event = LogEvent::from_message(message.as_bytes(), now);
        event.insert_missing(&Path::root_field("source_type"), "demo_logs");
        event
    }
}

fn pick<T>(items: &[T], number: u64) -> &T {
    // Multiplied so that neighbours in the sequence differ in everything that is picked.
    &items[(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % items.len()]
}

const PATHS: &[&str] = &["/", "/login", "/api/v1/items", "/api/v1/items/17", "/health", "/static/app.js"];

/// Levels and messages of the sample apps.
const MESSAGES: &[(&str, &str)] = &[
    ("info", "GET /api/v1/items 200 in 12ms"),
    ("info", "GET / 200 in 3ms"),
    ("info", "user signed in"),
    ("info", "{\"level\":\"info\",\"msg\":\"job done\",\"queue\":\"mail\",\"duration_ms\":41.7}"),
    ("debug", "cache hit: items:17"),
    ("warn", "slow query: SELECT * FROM items WHERE owner = $1 (812ms)"),
    ("error", "upstream said \"connection reset by peer\""),
    ("info", "health check passed"),
];

/// An event as Fly.io publishes it, and its subject.
#[derive(Debug)]
pub(crate) struct FlyEvent {
    /// `logs.<app>.<region>.<instance>`
    pub(crate) subject: String,
    /// The payload.
    pub(crate) json: String,
}

impl FlyEvent {
    /// The event of this number: of one of three apps on six machines in four regions.
    pub(crate) fn make(number: u64, now: Timestamp) -> FlyEvent {
        let machines = [
            ("sandwich", "ord", "3d8d9930b32189"),
            ("sandwich", "ams", "148e21ea7e4789"),
            ("salad-api", "ord", "91857e5bd2d683"),
            ("salad-api", "syd", "e784079b449483"),
            ("billing", "ams", "d891275f404438"),
            ("billing", "iad", "683d920b6e9558"),
        ];
        let (app, region, instance) = *pick(&machines, number);
        let (level, message) = *pick(MESSAGES, number / 2 + 3);
        let mut text = Vec::new();
        json::write_string(message, &mut text);
        let message = String::from_utf8_lossy(&text);
        FlyEvent {
            subject: format!("logs.{app}.{region}.{instance}"),
            json: format!(
                "{{\"event\":{{\"provider\":\"app\"}},\"fly\":{{\"app\":{{\"instance\":\"{instance}\",\"name\":\"{app}\"}},\
                 \"region\":\"{region}\"}},\"host\":\"{:04x}\",\"log\":{{\"level\":\"{level}\"}},\"message\":{message},\
                 \"timestamp\":\"{}\"}}",
                number % 7 * 4099 % 65_536,
                now.to_rfc3339()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    #[test]
    fn fly_events_are_whole() {
        let now = Timestamp::from_nanos(1_795_323_600_000_137_000);
        let mut levels = std::collections::BTreeSet::new();
        for number in 0..200 {
            let FlyEvent { subject, json } = FlyEvent::make(number, now);
            let event = LogEvent::from_json(json.into()).unwrap();
            let known = event.semantics();
            let tokens: Vec<_> = subject.split('.').map(str::to_owned).collect();
            let seen = [known.app().unwrap(), known.region().unwrap(), known.instance().unwrap()];
            assert_eq!(&tokens[1..], seen.each_ref().map(|part| part.as_ref()));
            assert_eq!(known.timestamp(), now);
            levels.insert(known.level().unwrap());
        }
        assert_eq!(
            levels.into_iter().collect::<Vec<_>>(),
            [Level::Debug, Level::Info, Level::Warn, Level::Error]
        );
    }

    #[test]
    fn every_format_makes_events() {
        for (format, expected) in
            [("json", "\\\"method\\\""), ("syslog", "<1"), ("shuffle", "5 my line"), ("fly", "provider")]
        {
            let text = format!("format = '{format}'\nlines = ['my line']\nsequence = true");
            let config: DemoLogsConfig = toml::from_str(&text).unwrap();
            let event = config.event(5);
            assert!(event.json().contains(expected), "{}", event.json());
        }
    }
}
