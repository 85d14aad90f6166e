//! Several real nats-servers that are one cluster.

use super::nats_server::{NatsServer, Options};
use super::ports::free_port;
use std::time::Duration;

/// A cluster; its servers are killed when it is dropped.
pub struct NatsCluster {
    /// Each of them.
    pub servers: Vec<NatsServer>,
}

const COMPLETE_WITHIN: Duration = Duration::from_secs(30);

impl NatsCluster {
    /// Starts so many servers with these options, to each of which those of a cluster are added, and waits until
    /// they know each other. In lame duck mode they let go of their clients after a second.
    pub async fn start(size: usize, options: &Options) -> NatsCluster {
        let ports: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let routes: Vec<_> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut servers = Vec::new();
        for port in &ports {
            // Less than thirty seconds the server refuses; with few clients it ends long before.
            let extra = format!(
                "{}\nlame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\n\
                 cluster {{ name: \"test\", listen: \"127.0.0.1:{port}\", routes: [{}] }}",
                options.extra,
                routes.join(", ")
            );
            servers.push(NatsServer::with(Options { extra, ..options.clone() }).await);
        }
        let cluster = NatsCluster { servers };
        cluster.wait_until_complete().await;
        cluster
    }

    /// The URLs of all servers, comma-separated.
    pub fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Waits until each server tells its clients of all of them.
    pub async fn wait_until_complete(&self) {
        let complete = async {
            for server in &self.servers {
                while server.known_servers().await < self.servers.len() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(COMPLETE_WITHIN, complete)
            .await
            .expect("the servers of the cluster find each other");
    }
}
