//! A source of one's own: each datagram that comes over UDP is an event.
//!
//! ```text
//! cargo run --example custom_source -- run -c vector.toml
//! echo hello > /dev/udp/127.0.0.1/5140    # in bash
//! ```
//!
//! With this as `vector.toml`:
//!
//! ```toml
//! [sources.in]
//! type = "udp"
//! address = "127.0.0.1:5140"
//!
//! [sinks.out]
//! type = "console"
//! inputs = ["in"]
//! encoding.codec = "json"
//! ```

use async_trait::async_trait;
use log_shipper::config::{ComponentInfo, Registry, Result, Source, SourceConfig, SourceContext};
use log_shipper::event::{LogEvent, Path, Timestamp};
use log_shipper::{cli, schemars};
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// The options. Doc comments are what `list`, `schema` and editors say of them.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Udp {
    /// Where to listen.
    address: SocketAddr,
}

#[async_trait]
impl SourceConfig for Udp {
    /// What fails here ends the start; what fails in `run` ends the source.
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let socket = UdpSocket::bind(self.address).await?;
        Ok(Box::pin(run(socket, cx)))
    }
}

async fn run(socket: UdpSocket, cx: SourceContext) -> Result<()> {
    let host = Path::root_field("host");
    let mut datagram = vec![0; 65_536];
    // From now on events can come.
    cx.ready.set();
    // A source ends soon after it is told to.
    while let Some(received) = cx.shutdown.run_until_cancelled(socket.recv_from(&mut datagram)).await {
        let (length, sender) = received?;
        let mut event = LogEvent::from_message(&datagram[..length], Timestamp::now());
        event.insert_missing(&host, &sender.ip().to_string());
        // It waits while a buffer is full that is to block.
        cx.output.send(vec![event]).await;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let mut registry = Registry::builtin();
    registry.source::<Udp>(ComponentInfo::new("udp", "Receive datagrams.", "address = \"127.0.0.1:5140\""));
    cli::main(registry)
}
