//! log-shipper inside another program: a topology from TOML, in this program's own runtime.
//!
//! ```text
//! cargo run --example embed
//! ```

use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{Topology, TopologyOptions};
use std::time::Duration;

const CONFIG: &str = r#"
    [sources.apps]
    type = "demo_logs"
    format = "fly"
    interval = 0.1
    count = 5

    [sinks.out]
    type = "console"
    inputs = ["apps"]
    encoding.codec = "logfmt"
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_toml(CONFIG, "embed.rs", &Registry::builtin(), &Env::default())?;
    let mut running = Topology::start(config, &TopologyOptions::default(), tokio::signal::ctrl_c()).await?;
    // Here the input ends by itself. What Ctrl-C leaves undelivered has five seconds more.
    running.ended().await;
    println!("{}", running.stop(Duration::from_secs(5)).await);
    Ok(())
}
