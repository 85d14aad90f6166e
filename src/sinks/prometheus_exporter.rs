//! `prometheus_exporter`: the books of the topology as a page that Prometheus reads.
//!
//! Under Vector this sink shows the metrics that the source `internal_metrics` feeds it with. Ours shows the
//! books themselves: `internal_metrics` feeds nothing, and whatever else comes in is discarded.

use super::auth::Auth;
use crate::config::{ComponentInfo, Result, SinkConfig, SinkContext, StreamSink};
use crate::healthcheck::Healthcheck;
use crate::http_server::{MetricsPage, Named, listen, serve};
use crate::topology::{BufferReceiver, Outcome};
use async_trait::async_trait;
use axum::Router;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use serde::Deserialize;
use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// A sink that serves `GET /metrics`.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusExporterConfig {
    /// Where the page is. Default: `127.0.0.1:9598`, which nobody else can reach (Vector's: `0.0.0.0:9598`);
    /// `[::]:9598` is open to every network of the machine.
    pub address: Option<SocketAddr>,
    /// Who may see the page: `basic`, `bearer` or `custom`. Default: anybody.
    pub auth: Option<Auth>,
    /// The name space of metrics without one. Without effect: they have Vector's, `vector`, or `log_shipper`.
    #[serde(alias = "namespace")]
    pub default_namespace: Option<String>,
    /// The bounds of histograms. Without effect: there are none.
    pub buckets: Option<Vec<f64>>,
    /// The quantiles of summaries. Without effect: there are none.
    pub quantiles: Option<Vec<f64>>,
    /// Whether distributions are summaries. Without effect: there are none.
    pub distributions_as_summaries: Option<bool>,
    /// Seconds after which a metric that nothing has changed is forgotten. Without effect: none is.
    pub flush_period_secs: Option<u64>,
    /// Whether samples have no times. Without effect: they have none.
    pub suppress_timestamp: Option<bool>,
    /// The page's certificates. Not supported: a mistake, unless it says `enabled = false`.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub tls: Option<toml::Table>,
}

impl PrometheusExporterConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "prometheus_exporter",
        "Serve the counts of all components to Prometheus.",
        "address = \"127.0.0.1:9598\"",
    );

    /// The header that a request must have.
    fn authorization(&self) -> Result<Option<HeaderValue>> {
        let Some(auth) = &self.auth else { return Ok(None) };
        let request = auth.authorize(Request::builder()).map_err(|error| format!("auth: {error}"))?;
        let header = request.headers_ref().and_then(|headers| headers.get(AUTHORIZATION)).cloned();
        match header {
            Some(header) => Ok(Some(header)),
            None => Err("auth: a page cannot ask for a signature; take basic, bearer or custom".into()),
        }
    }
}

const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9598);

impl SinkConfig for PrometheusExporterConfig {
    fn has_destination(&self) -> bool {
        false
    }

    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        let is_off = |tls: &toml::Table| tls.get("enabled").and_then(toml::Value::as_bool) == Some(false);
        if self.tls.as_ref().is_some_and(|tls| !is_off(tls)) {
            return Err(
                "tls: the page has no TLS, and would be readable on its way; remove this, and put a proxy \
                        with a certificate before it"
                    .into(),
            );
        }
        let address = self.address.unwrap_or(DEFAULT_ADDRESS);
        let page = MetricsPage::of(&cx.books, self.authorization()?);
        let listening = Arc::new(Listening { address, listener: Mutex::new(None) });
        let name = Named {
            sink: Some(cx.id.clone()),
            there: "metrics are",
            missing: "no page of metrics",
            path: "/metrics",
            advice: "set another `address`",
        };
        Ok((Box::new(Exporter { name, router: page.router(), listening }), None))
    }
}

struct Exporter {
    name: Named,
    router: Router,
    listening: Arc<Listening>,
}

/// The open port, which a reload gives to the next exporter of the same address.
struct Listening {
    address: SocketAddr,
    listener: Mutex<Option<Arc<TcpListener>>>,
}

impl Listening {
    fn get(&self) -> Option<Arc<TcpListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, listener: Option<Arc<TcpListener>>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }
}

#[async_trait]
impl StreamSink for Exporter {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let discard = async {
            while let Some(events) = input.recv().await {
                input.counts().settle_events(events, &Outcome::Delivered);
            }
        };
        tokio::select! {
            () = discard => {}
            () = self.serve() => {}
        }
        Ok(())
    }

    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::clone(&self.listening) as _)
    }

    fn succeed(&self, predecessor: Arc<dyn Any + Send + Sync>) {
        if let Ok(predecessor) = predecessor.downcast::<Listening>()
            && predecessor.address == self.listening.address
        {
            self.listening.set(predecessor.get());
            // What asks for it from now on is not for the old one any more.
            predecessor.set(None);
        }
    }
}

impl Exporter {
    async fn serve(&self) {
        let listener = match self.listening.get() {
            Some(listener) => listener,
            None => {
                let listener = Arc::new(listen(self.listening.address, &self.name).await);
                self.listening.set(Some(Arc::clone(&listener)));
                listener
            }
        };
        serve(&listener, self.router.clone()).await;
    }
}
