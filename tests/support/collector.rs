//! A sink that keeps what it gets, in order.

use async_trait::async_trait;
use log_shipper::config::{Result, SinkConfig, SinkContext, StreamSink};
use log_shipper::healthcheck::Healthcheck;
use log_shipper::topology::{BufferReceiver, Outcome};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A sink that keeps the text of each event. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    texts: Arc<Mutex<Vec<String>>>,
    is_held: Arc<AtomicBool>,
}

impl Collector {
    /// What has come so far.
    pub fn texts(&self) -> Vec<String> {
        self.texts.lock().unwrap().clone()
    }

    /// How many events have come so far.
    pub fn len(&self) -> usize {
        self.texts.lock().unwrap().len()
    }

    /// The numbers `n` of what has come so far, in order.
    pub fn numbers(&self) -> Vec<u64> {
        let number = |text: &String| serde_json::from_str::<serde_json::Value>(text).ok()?["n"].as_u64();
        self.texts().iter().map(|text| number(text).unwrap_or_else(|| panic!("no number: {text}"))).collect()
    }

    /// Lets it take nothing more than what it has begun to take, or go on.
    pub fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::SeqCst);
    }

    /// Waits until so many have come.
    pub async fn wait_for(&self, events: usize) {
        while self.len() < events {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl SinkConfig for Collector {
    fn build(&self, _cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        Ok((Box::new(self.clone()), None))
    }
}

#[async_trait]
impl StreamSink for Collector {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        while let Some(events) = input.recv().await {
            while self.is_held.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let texts = events.iter().map(|event| event.json().into_owned());
            self.texts.lock().unwrap().extend(texts);
            input.counts().settle_events(events, &Outcome::Delivered);
        }
        Ok(())
    }
}
