//! Two topologies in one program: each has its own configuration, its own environment and its own end.
//!
//! ```text
//! cargo run --example two_topologies -- logs
//! ```

use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{RunningTopology, Topology, TopologyOptions};
use std::error::Error;
use std::time::Duration;
use tokio::sync::oneshot;

/// What both do, for a tenant each.
const CONFIG: &str = r#"
    [sources.apps]
    type = "demo_logs"
    format = "fly"
    interval = 0.01

    [sinks.out]
    type = "file"
    inputs = ["apps"]
    path = "${DIRECTORY}/${TENANT}.jsonl"
    encoding.codec = "json"
"#;

/// Starts the topology of a tenant, which ends with the future.
async fn ship(
    tenant: &str,
    directory: &str,
    end: impl Future<Output: Send> + Send + 'static,
) -> Result<RunningTopology, Box<dyn Error>> {
    let env = Env::from_pairs([("TENANT", tenant), ("DIRECTORY", directory)]);
    let config = Config::from_toml(CONFIG, "two_topologies.rs", &Registry::builtin(), &env)?;
    Ok(Topology::start(config, &TopologyOptions::default().with_env(env), end).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: two_topologies DIRECTORY")?;
    let (stop_acme, acme_ends) = oneshot::channel::<()>();
    let mut acme = ship("acme", &directory, acme_ends).await?;
    let mut umbrella = ship("umbrella", &directory, tokio::time::sleep(Duration::from_millis(500))).await?;

    // One ends by its own clock, and the other one goes on until it is told to.
    umbrella.ended().await;
    println!("umbrella: {}", umbrella.stop(Duration::from_secs(5)).await);
    drop(stop_acme);
    acme.ended().await;
    println!("acme: {}", acme.stop(Duration::from_secs(5)).await);
    Ok(())
}
