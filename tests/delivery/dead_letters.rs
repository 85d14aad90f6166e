//! Events that a destination refuses for good.

use crate::support::http_server::{HttpServer, Reply};
use crate::{check_books, in_time};
use async_trait::async_trait;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::topology::{Topology, TopologyOptions};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// A source that sends three events and stays until they are answered.
#[derive(Debug, Default)]
struct Waiting(Arc<Mutex<Option<oneshot::Sender<Vec<EventStatus>>>>>);

#[async_trait]
impl SourceConfig for Waiting {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let seen = self.0.lock().unwrap().take().unwrap();
        Ok(Box::pin(async move {
            let mut answers = Vec::new();
            let events = (0..3).map(|n| {
                let (batch, answer) = BatchNotifier::new_with_receiver();
                answers.push(answer);
                let event = LogEvent::from_json(format!("{{\"n\":{n}}}").into()).unwrap();
                event.with_finalizers(EventFinalizers::new(batch))
            });
            cx.output.send(events.collect()).await;
            // Nothing more comes: this is how the sinks learn that they have to send what they have.
            drop(cx.output);
            let statuses = futures::future::join_all(answers).await;
            let statuses = statuses.into_iter().map(|status| status.unwrap_or_default());
            let _ = seen.send(statuses.collect());
            Ok(())
        }))
    }
}

#[tokio::test]
async fn a_refused_event_is_written_before_its_source_hears_of_it() {
    in_time(async {
        let http = HttpServer::start().await;
        // One batch each; the second is refused.
        http.respond_with(|request| Reply::status(if request.text().contains("\"n\":1") { 400 } else { 200 }));
        let letters = HttpServer::start().await;
        let text = format!(
            "[sinks.http]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\nbatch.max_events = 1\n\
             [sinks.letters]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\nbatch.timeout_secs = 3600",
            http.url("/"),
            letters.url("/"),
        );
        let text = format!("[sources.in]\ntype = 'stdin'\n{text}");
        let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
        let (seen, statuses) = oneshot::channel();
        config.sources.clear();
        let mut config = config.source("in", Waiting(Arc::new(Mutex::new(Some(seen)))));
        config.dead_letters = config.sinks.pop().map(|mut sink| {
            sink.id = "dead_letters".into();
            sink
        });
        let mut running = Topology::start(config, &TopologyOptions::default()).await.unwrap();
        running.finished().await;
        let report = running.report();
        check_books(&report);
        assert_eq!(statuses.await.unwrap(), [
            EventStatus::Delivered,
            EventStatus::Rejected,
            EventStatus::Delivered
        ]);
        let written = letters.requests()[0].json();
        let letter = &written[0];
        assert_eq!((letter["sink"].as_str(), letter["status"].as_u64()), (Some("http"), Some(400)));
        assert_eq!((&letter["event"], letter["attempts"].as_u64()), (&serde_json::json!({"n": 1}), Some(1)));
        let [(_, letters), (_, sink)] = &report.sinks[..] else { panic!("{report}") };
        assert_eq!((sink.delivered, sink.rejected, letters.delivered), (2, 1, 1));
        assert!(!running.stop(Duration::from_secs(5)).await.has_losses());
    })
    .await;
}
