//! What is promised of delivery: nothing lost, nothing stuck, everything counted.
//!
//! Each test ends by looking at the books. The long ones are short here and long in `make soak`.

#[path = "../support/mod.rs"]
mod support;

mod accounting;
mod dead_letters;
mod disk;
mod failures;
mod jetstream;
mod memory;
mod metrics;
mod subscription;
mod unreachable;

use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{Report, RunningTopology, Topology, TopologyOptions};
use std::time::Duration;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(120);

/// The test, which must end in time.
async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT * soak(), test).await.expect("the test takes too long")
}

/// By how much the long tests are lengthened: `LOG_SHIPPER_SOAK`, 1 if it is not set.
fn soak() -> u32 {
    std::env::var("LOG_SHIPPER_SOAK").map_or(1, |factor| factor.parse().expect("LOG_SHIPPER_SOAK: a number"))
}

/// Checks that every event is accounted for, at every sink.
#[track_caller]
fn check_books(report: &Report) {
    for (id, sink) in &report.sinks {
        let found = sink.delivered + sink.rejected + sink.dropped_total() + sink.buffered;
        assert_eq!(sink.received, found, "the books of {id} do not balance: {sink}");
    }
}

/// Waits until the books say this.
async fn until(running: &RunningTopology, condition: impl Fn(&Report) -> bool) {
    while !condition(&running.counts()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts what this configuration says, with the secrets of this environment.
async fn start(text: &str, env: Env) -> RunningTopology {
    let config = Config::from_toml(text, "test", &Registry::builtin(), &env)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let options = TopologyOptions::default().with_env(env);
    Topology::start(config, &options, std::future::pending::<()>())
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}
