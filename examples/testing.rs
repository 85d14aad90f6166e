//! A configuration and its tests: logs come from a broker inside the test, and go to a server that answers as it says.
//!
//! ```text
//! cargo test --example testing
//! ```

use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{RunningTopology, Topology, TopologyOptions};
use std::error::Error;
use std::time::Duration;

/// In a program of yours: `include_str!("vector.toml")`.
const CONFIG: &str = r#"
    [sources.nats]
    type = "nats"
    url = "${NATS_URL}"
    connection_name = "log-shipper"
    subject = "logs.>"
    decoding.codec = "json"

    [sinks.out]
    type = "http"
    inputs = ["nats"]
    uri = "${HTTP_URL}/{{ fly.app.name }}"
    encoding.codec = "json"
    compression = "gzip"
    batch.timeout_secs = 0.1
    request.retry_initial_backoff_secs = 0.1
"#;

async fn start(
    env: Env,
    end: impl Future<Output: Send> + Send + 'static,
) -> Result<RunningTopology, Box<dyn Error>> {
    let config = Config::from_toml(CONFIG, "vector.toml", &Registry::builtin(), &env)?;
    Ok(Topology::start(config, &TopologyOptions::default().with_env(env), end).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut running = start(Env::from_process(), tokio::signal::ctrl_c()).await?;
    running.ended().await;
    println!("{}", running.stop(Duration::from_secs(5)).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_shipper::testing::{Broker, HttpServer, Reply};

    const EVENT: &str = r#"{"message":"hello","fly":{"app":{"name":"web"}}}"#;

    /// The configuration, with the broker and the server in it.
    async fn start_between(broker: &Broker, server: &HttpServer) -> Result<RunningTopology, Box<dyn Error>> {
        let env = Env::from_pairs([("NATS_URL", broker.url()), ("HTTP_URL", server.url(""))]);
        let running = start(env, std::future::pending::<()>()).await?;
        // What is published before that reaches nobody.
        broker.wait_for_subscriptions(1).await;
        Ok(running)
    }

    #[tokio::test]
    async fn each_app_has_a_path_of_its_own() -> Result<(), Box<dyn Error>> {
        let (broker, server) = (Broker::start().await?, HttpServer::start().await);
        let mut running = start_between(&broker, &server).await?;
        broker.publish("logs.web.lhr.machine1", EVENT);
        let requests = server.wait_for(1).await;
        assert_eq!(requests[0].path_and_query, "/web");
        assert_eq!(requests[0].json()[0]["message"], "hello");
        running.stop(Duration::from_secs(5)).await;
        Ok(())
    }

    #[tokio::test]
    async fn what_cannot_be_taken_now_comes_again() -> Result<(), Box<dyn Error>> {
        let (broker, server) = (Broker::start().await?, HttpServer::start().await);
        server.push(Reply::status(503));
        server.push(Reply::Reset);
        let mut running = start_between(&broker, &server).await?;
        broker.publish("logs.web.lhr.machine1", EVENT);
        let requests = server.wait_for(3).await;
        assert_eq!(requests[2].body(), requests[0].body());
        let report = running.stop(Duration::from_secs(5)).await;
        let (_, counts) = &report.sinks[0];
        assert_eq!((counts.received, counts.delivered), (1, 1));
        Ok(())
    }
}
