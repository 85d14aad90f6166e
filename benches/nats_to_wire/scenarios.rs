//! What is measured: which destinations, how they are configured, how fast the events come.

use crate::receiver::IN_JSON;
use tokio::process::Command;

/// A destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    Http,
}

impl Sink {
    /// How an event's number stands in what the destination gets.
    pub fn key(self) -> &'static [u8] {
        match self {
            Sink::Http => IN_JSON,
        }
    }
}

/// One measurement of each round.
#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub sinks: &'static [Sink],
}

pub const SCENARIOS: &[Scenario] = &[Scenario { name: "http", sinks: &[Sink::Http] }];

impl Scenario {
    /// log-shipper as the scenario says, before these addresses.
    pub fn log_shipper(&self, nats: &str, destinations: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command
            .env_clear()
            .env("NATS_URL", nats)
            .env("SUBJECT", crate::SUBJECT)
            .env("HTTP_URL", &destinations[0])
            .env("HTTP_TOKEN", "bench");
        command
    }
}
