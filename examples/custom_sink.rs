//! A destination of one's own: what differs, a line in the registry, and the whole command line.
//! `cargo run --example custom_sink -- list sinks`
use log_shipper::config::{Registry, Result};
use log_shipper::event::LogEvent;
use log_shipper::sinks::{Batch, HttpSink, codec::EncodeError};
use log_shipper::{cli, schemars, secret::SensitiveString};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Acme {
    /// Where the events go.
    endpoint: String,
    /// The API token.
    token: SensitiveString,
}

impl HttpSink for Acme {
    const NAME: &'static str = "acme";
    const SUMMARY: &'static str = "Deliver events to Acme.";
    const EXAMPLE: &'static str = r#"endpoint = "https://logs.acme.example/v1"
token = "${ACME_TOKEN}""#;

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(event.json().as_bytes());
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        Ok(http::Request::post(&self.endpoint).header("X-Token", self.token.to_header("")?))
    }
}

fn main() -> std::process::ExitCode {
    let mut registry = Registry::builtin();
    registry.http_sink::<Acme>();
    cli::main(registry)
}
