//! The baseline: receives with async-nats, counts, and does nothing else. Any program in log-shipper's
//! place has to pay about as much.

use crate::SUBJECT;
use crate::measure::PATIENCE;
use futures::StreamExt;
use tokio::time::{sleep, timeout};

/// Its name in reports, and the command by which this program becomes it.
pub const BASELINE: &str = "subscribe-and-count";

/// Prints how many events came. The measuring process reads our costs and ends us while we sleep.
pub fn subscribe_and_count(url: &str, events: u64) {
    // One thread, which is the cheapest way to receive.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!("{}", count(url, events).await);
        sleep(PATIENCE).await;
    });
}

async fn count(url: &str, events: u64) -> u64 {
    let client = async_nats::ConnectOptions::new()
        // With the usual capacity async-nats drops what comes in too fast.
        .subscription_capacity(usize::try_from(events).expect("events fit in memory") + 1024)
        .connect(url)
        .await
        .expect("a connection");
    let mut messages = client.subscribe(SUBJECT).await.expect("a subscription");
    let mut counted = 0;
    while counted < events {
        let before = counted;
        // One timer for many messages, for the timer is no part of the cost.
        let more = timeout(PATIENCE, async {
            for _ in 0..(events - counted).min(1000) {
                messages.next().await.expect("a message");
                counted += 1;
            }
        });
        if more.await.is_err() && counted == before {
            break;
        }
    }
    counted
}
