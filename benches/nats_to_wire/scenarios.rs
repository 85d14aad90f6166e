//! What is measured: which destinations, how they are configured, how fast the events come.

use crate::SUBJECT;
use crate::receiver::{IN_ESCAPED_JSON, IN_JSON};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// A destination.
#[derive(Clone, Copy, Debug)]
pub enum Sink {
    Http,
    HttpGzip,
    LokiGzip,
    DatadogGzip,
    HoneycombGzip,
    Elasticsearch,
    S3Gzip,
}

impl Sink {
    /// How an event's number stands in what the destination gets.
    pub fn key(self) -> &'static [u8] {
        match self {
            Sink::Http
            | Sink::HttpGzip
            | Sink::DatadogGzip
            | Sink::HoneycombGzip
            | Sink::Elasticsearch
            | Sink::S3Gzip => IN_JSON,
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
            Sink::Elasticsearch => {
                format!("type = \"elasticsearch\"\nendpoints = [\"{url}\"]\nbulk.index = \"logs\"\n")
            }
            // Vector fills an object for five minutes; nobody waits so long here.
            Sink::S3Gzip => format!(
                "type = \"aws_s3\"\nendpoint = \"{url}\"\nbucket = \"bench\"\nregion = \"us-east-1\"\n\
                 auth.access_key_id = \"bench\"\nauth.secret_access_key = \"bench\"\n\
                 key_prefix = \"{{{{ fly.app.name }}}}/%F/\"\nbatch.timeout_secs = 5\nencoding.codec = \"json\"\n\
                 framing.method = \"newline_delimited\"\n\
                 dangerously_allow_unconfined_template_resolution = true\n"
            ),
            Sink::HoneycombGzip => format!(
                "type = \"honeycomb\"\nendpoint = \"{url}\"\napi_key = \"bench\"\ndataset = \"bench\"\n"
            ),
        }
    }

    fn compression(self) -> &'static str {
        match self {
            Sink::Http | Sink::Elasticsearch => "none",
            Sink::HttpGzip | Sink::LokiGzip | Sink::DatadogGzip | Sink::HoneycombGzip | Sink::S3Gzip => {
                "gzip"
            }
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
    pub about: &'static str,
    pub sinks: &'static [Sink],
    /// Whether log-shipper runs from secrets of the environment, where a full buffer drops the oldest
    /// events, and not from a configuration file, where it makes the source wait.
    from_environment: bool,
    /// Whether events come at a steady rate, and not as fast as they are taken.
    pub is_steady: bool,
    /// The scenarios that do separately what this one does at once.
    pub parts: &'static [&'static str],
    pub targets: Targets,
}

/// What log-shipper shall reach.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// Seconds of CPU for a million events, at most.
    pub cpu: Option<f64>,
    /// Events a second, at least.
    pub rate: Option<f64>,
    /// Peak of resident memory in MiB, at most.
    pub memory: Option<f64>,
}

pub const NO_TARGETS: Targets = Targets { cpu: None, rate: None, memory: None };

/// What most scenarios have in common.
const USUAL: Scenario = Scenario {
    name: "",
    about: "",
    sinks: &[],
    from_environment: false,
    is_steady: true,
    parts: &[],
    targets: NO_TARGETS,
};

/// The targets of a scenario with one destination.
const fn one(cpu: f64) -> Targets {
    Targets { cpu: Some(cpu), memory: Some(32.0), ..NO_TARGETS }
}

const FULL_RATE: Targets = Targets { rate: Some(200_000.0), ..NO_TARGETS };

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "http",
        about: "any HTTP server, uncompressed; log-shipper from the secrets of the environment",
        sinks: &[Sink::Http],
        from_environment: true,
        targets: one(0.75),
        ..USUAL
    },
    Scenario {
        name: "http-gzip",
        about: "the `http` sink",
        sinks: &[Sink::HttpGzip],
        targets: one(2.3),
        ..USUAL
    },
    Scenario {
        name: "loki-gzip",
        about: "the `loki` sink with six labels",
        sinks: &[Sink::LokiGzip],
        targets: one(2.5),
        ..USUAL
    },
    Scenario {
        name: "elasticsearch",
        about: "the `elasticsearch` sink, bulk, uncompressed",
        sinks: &[Sink::Elasticsearch],
        targets: one(1.5),
        ..USUAL
    },
    Scenario {
        name: "s3-gzip",
        about: "the `aws_s3` sink, an object for each app and day",
        sinks: &[Sink::S3Gzip],
        targets: one(2.5),
        ..USUAL
    },
    Scenario {
        name: "datadog-gzip",
        about: "the `datadog_logs` sink",
        sinks: &[Sink::DatadogGzip],
        targets: one(2.3),
        ..USUAL
    },
    Scenario {
        name: "honeycomb-gzip",
        about: "the `honeycomb` sink",
        sinks: &[Sink::HoneycombGzip],
        targets: one(3.0),
        ..USUAL
    },
    Scenario {
        name: "three",
        about: "Loki, Datadog and Honeycomb at once",
        sinks: &[Sink::LokiGzip, Sink::DatadogGzip, Sink::HoneycombGzip],
        parts: &["loki-gzip", "datadog-gzip", "honeycomb-gzip"],
        ..USUAL
    },
    Scenario {
        name: "ten",
        about: "ten `http` sinks at once, uncompressed",
        sinks: &[Sink::Http; 10],
        targets: Targets { memory: Some(64.0), ..NO_TARGETS },
        ..USUAL
    },
    Scenario {
        name: "full-rate",
        about: "like `http`, with events as fast as the server takes them",
        sinks: &[Sink::Http],
        from_environment: true,
        is_steady: false,
        targets: FULL_RATE,
        ..USUAL
    },
    Scenario {
        name: "full-rate-gzip",
        about: "like `http-gzip`, with events as fast as the server takes them",
        sinks: &[Sink::HttpGzip],
        is_steady: false,
        targets: FULL_RATE,
        ..USUAL
    },
];

/// A program that runs the scenarios.
#[derive(Debug)]
pub enum Shipper {
    LogShipper,
    Vector(PathBuf),
}

impl Shipper {
    /// The Vector that VECTOR or PATH names, if one does.
    pub fn vector() -> Option<Shipper> {
        let named = std::env::var_os("VECTOR").filter(|path| !path.is_empty()).map(PathBuf::from);
        let on_path = || {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|folder| folder.join("vector")).find(|file| file.is_file())
        };
        named.or_else(on_path).map(Shipper::Vector)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Shipper::LogShipper => "log-shipper",
            Shipper::Vector(_) => "Vector",
        }
    }

    fn command(&self) -> Command {
        let program = match self {
            Shipper::LogShipper => Path::new(env!("CARGO_BIN_EXE_log-shipper")),
            Shipper::Vector(program) => program,
        };
        let mut command = Command::new(program);
        // Several may run at once, and each would like to have the same ports.
        command.env_clear().envs([("API_ADDRESS", "off"), ("METRICS_ADDRESS", "off")]);
        command
    }
}

/// log-shipper with the secrets of an HTTP destination.
pub fn from_environment(nats: &str, destination: &str) -> Command {
    let mut command = Shipper::LogShipper.command();
    command.envs([("NATS_URL", nats), ("SUBJECT", SUBJECT)]);
    command.envs([("HTTP_URL", destination), ("HTTP_TOKEN", "bench")]);
    command
}

impl Scenario {
    pub fn named(name: &str) -> &'static Scenario {
        SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario of this name")
    }

    /// The shipper as the scenario says, before these addresses; a file that it needs goes into the
    /// directory.
    pub fn command(
        &self,
        shipper: &Shipper,
        nats: &str,
        destinations: &[String],
        directory: &Path,
    ) -> Command {
        if matches!(shipper, Shipper::LogShipper) && self.from_environment {
            return from_environment(nats, &destinations[0]);
        }
        let mut command = shipper.command();
        let file = directory.join("vector.toml");
        std::fs::write(&file, self.configuration(nats, destinations)).expect("a temporary file");
        match shipper {
            Shipper::LogShipper => command.arg("run").arg("-c"),
            Shipper::Vector(_) => command.arg("--config"),
        };
        command.arg(file);
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
