//! What is measured: which destinations, how they are configured, how fast the events come.

use crate::SUBJECT;
use crate::receiver::{IN_ESCAPED_JSON, IN_JSON};
use std::path::Path;
use tokio::process::Command;

/// A destination.
#[derive(Clone, Copy, Debug)]
pub enum Sink {
    Http,
    HttpGzip,
    LokiGzip,
    DatadogGzip,
    HoneycombGzip,
}

impl Sink {
    /// How an event's number stands in what the destination gets.
    pub fn key(self) -> &'static [u8] {
        match self {
            Sink::Http | Sink::HttpGzip | Sink::DatadogGzip | Sink::HoneycombGzip => IN_JSON,
            // Its lines are events as text.
            Sink::LokiGzip => IN_ESCAPED_JSON,
        }
    }

    /// The sink's own options, as `log-shipper generate` writes them, with the destination's address.
    fn options(self, url: &str) -> String {
        match self {
            Sink::Http | Sink::HttpGzip => format!(
                "type = \"http\"\nuri = \"{url}/\"\nencoding.codec = \"json\"\n\
                 auth.strategy = \"bearer\"\nauth.token = \"bench\"\n"
            ),
            Sink::LokiGzip => format!(
                "type = \"loki\"\nendpoint = \"{url}\"\nencoding.codec = \"json\"\n{LOKI_LABELS}\
                 dangerously_allow_unconfined_template_resolution = true\n"
            ),
            Sink::DatadogGzip => {
                format!("type = \"datadog_logs\"\nendpoint = \"{url}\"\ndefault_api_key = \"bench\"\n")
            }
            Sink::HoneycombGzip => format!(
                "type = \"honeycomb\"\nendpoint = \"{url}\"\napi_key = \"bench\"\ndataset = \"bench\"\n"
            ),
        }
    }

    fn compression(self) -> &'static str {
        match self {
            Sink::Http => "none",
            Sink::HttpGzip | Sink::LokiGzip | Sink::DatadogGzip | Sink::HoneycombGzip => "gzip",
        }
    }
}

const LOKI_LABELS: &str = r#"labels.fly_app_name = "{{ fly.app.name }}"
labels.fly_region = "{{ fly.region }}"
labels.fly_app_instance = "{{ fly.app.instance }}"
labels.host = "{{ host }}"
labels.level = "{{ log.level }}"
labels.event_provider = "{{ event.provider }}"
"#;

/// One measurement of each round.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub sinks: &'static [Sink],
    /// Whether log-shipper runs from secrets of the environment, where a full buffer drops the oldest
    /// events, and not from a configuration file, where it makes the source wait.
    from_environment: bool,
    /// Whether events come at a steady rate, and not as fast as they are taken.
    pub is_steady: bool,
}

const USUAL: Scenario = Scenario { name: "", sinks: &[], from_environment: false, is_steady: true };

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "http", sinks: &[Sink::Http], from_environment: true, ..USUAL },
    Scenario { name: "http-gzip", sinks: &[Sink::HttpGzip], ..USUAL },
    Scenario { name: "loki-gzip", sinks: &[Sink::LokiGzip], ..USUAL },
    Scenario { name: "datadog-gzip", sinks: &[Sink::DatadogGzip], ..USUAL },
    Scenario { name: "honeycomb-gzip", sinks: &[Sink::HoneycombGzip], ..USUAL },
    Scenario { name: "three", sinks: &[Sink::LokiGzip, Sink::DatadogGzip, Sink::HoneycombGzip], ..USUAL },
    Scenario { name: "ten", sinks: &[Sink::Http; 10], ..USUAL },
    Scenario { name: "full-rate", sinks: &[Sink::Http], from_environment: true, is_steady: false },
    Scenario { name: "full-rate-gzip", sinks: &[Sink::HttpGzip], is_steady: false, ..USUAL },
];

impl Scenario {
    /// log-shipper as the scenario says, before these addresses; a file that it needs goes into the
    /// directory.
    pub fn log_shipper(&self, nats: &str, destinations: &[String], directory: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command.env_clear();
        if self.from_environment {
            command
                .env("NATS_URL", nats)
                .env("SUBJECT", SUBJECT)
                .env("HTTP_URL", &destinations[0])
                .env("HTTP_TOKEN", "bench");
        } else {
            let file = directory.join("vector.toml");
            std::fs::write(&file, self.configuration(nats, destinations)).expect("a temporary file");
            command.arg("run").arg("-c").arg(file);
        }
        command
    }

    /// The scenario as a configuration that a stock Vector runs too.
    fn configuration(&self, nats: &str, destinations: &[String]) -> String {
        let mut text = format!(
            "healthchecks.enabled = false\n\n[sources.nats]\ntype = \"nats\"\nurl = \"{nats}\"\n\
             connection_name = \"bench\"\nsubject = \"{SUBJECT}\"\nsubject_key_field = \"\"\n\
             decoding.codec = \"json\"\n"
        );
        for (index, (sink, url)) in self.sinks.iter().zip(destinations).enumerate() {
            text += &format!(
                "\n[sinks.sink_{index}]\ninputs = [\"nats\"]\n{}compression = \"{}\"\nbatch.max_bytes = 1000000\n",
                sink.options(url),
                sink.compression()
            );
        }
        text
    }
}
