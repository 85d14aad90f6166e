//! What a test of a configuration, of a sink or of a program with a topology in it needs: a place that logs come from, and
//! one where they go. Both are real servers on loopback, inside the test's own process.
//!
//! - [`Broker`]: a NATS server, as far as a test needs one
//! - [`HttpServer`]: a destination that answers as the test says ([`Reply`]), and remembers what it got ([`Request`])
//! - [`free_port`]: a port for a server that is not there yet
//!
//! They are for tests: what is used wrongly, or does not come in time, panics and says what was there instead.
//!
//! ```
//! use log_shipper::config::{Config, Registry};
//! use log_shipper::env::Env;
//! use log_shipper::testing::{Broker, HttpServer, Reply};
//! use log_shipper::topology::{Topology, TopologyOptions};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (broker, server) = (Broker::start().await?, HttpServer::start().await);
//! // The first request is refused for now, so that it comes again.
//! server.push(Reply::status(503));
//!
//! let text = r#"
//!     [sources.nats]
//!     type = "nats"
//!     url = "${NATS_URL}"
//!     connection_name = "test"
//!     subject = "logs.>"
//!     decoding.codec = "json"
//!
//!     [sinks.out]
//!     type = "http"
//!     inputs = ["nats"]
//!     uri = "${HTTP_URL}"
//!     encoding.codec = "json"
//!     compression = "zstd"
//!     batch.timeout_secs = 0.05
//!     request.retry_initial_backoff_secs = 0.05
//! "#;
//! let env = Env::from_pairs([("NATS_URL", broker.url()), ("HTTP_URL", server.url("/in"))]);
//! let config = Config::from_toml(text, "vector.toml", &Registry::builtin(), &env)?;
//! let never = std::future::pending::<()>();
//! let mut running = Topology::start(config, &TopologyOptions::default(), never).await?;
//!
//! broker.wait_for_subscriptions(1).await;
//! broker.publish("logs.web.lhr.machine1", r#"{"message":"hello"}"#);
//! let requests = server.wait_for(2).await;
//! assert_eq!(requests[1].path_and_query, "/in");
//! assert_eq!(requests[1].json()[0]["message"], "hello");
//!
//! let report = running.stop(Duration::from_secs(5)).await;
//! assert_eq!(report.sinks[0].1.delivered, 1);
//! # Ok(())
//! # }
//! ```

mod broker;
mod http_server;
mod ports;
mod reply;
mod request;

pub use broker::Broker;
#[doc(hidden)]
pub use broker::broker_answers;
pub use http_server::HttpServer;
pub use ports::free_port;
pub use reply::Reply;
pub use request::Request;
