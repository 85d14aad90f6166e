//! JetStream of a server on loopback, as whoever runs it sees it.

use super::publisher::fly_event;
use async_nats::{Client, HeaderMap, Request, ToServerAddrs};
use serde_json::{Value, json};
use std::ops::Range;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A client that makes streams and consumers, looks at them, and publishes. All streams are called `S`, all
/// consumers `C`.
pub struct JetStream {
    /// The client itself.
    pub client: Client,
}

const POLL_EVERY: Duration = Duration::from_millis(10);
const WITHIN: Duration = Duration::from_secs(60);
/// How many messages wait for the stream's answer at once.
const WINDOW: usize = 200;

impl JetStream {
    /// Connects, and connects again whenever that is needed.
    pub async fn connect(servers: impl ToServerAddrs) -> JetStream {
        let options = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .ignore_discovered_servers()
            .reconnect_delay_callback(|_| Duration::from_millis(50));
        JetStream { client: options.connect(servers).await.expect("a client") }
    }

    /// Asks JetStream, and waits until it is there to answer.
    pub async fn ask(&self, question: &str, body: Value) -> Value {
        let answered = async {
            loop {
                let request =
                    Request::new().payload(body.to_string().into()).timeout(Some(Duration::from_secs(2)));
                if let Ok(answer) = self.client.send_request(format!("$JS.API.{question}"), request).await {
                    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
                    // No leader yet, or no longer.
                    if answer["error"]["code"] != 503 {
                        return answer;
                    }
                }
                sleep(POLL_EVERY).await;
            }
        };
        timeout(WITHIN, answered).await.unwrap_or_else(|_| panic!("no answer to {question}"))
    }

    /// Makes the stream of what is published below `logs`, with more options.
    pub async fn make_stream(&self, options: Value) {
        let mut config = json!({"name": "S", "subjects": ["logs.>"], "storage": "file"});
        config.as_object_mut().expect("an object").extend(options.as_object().cloned().unwrap_or_default());
        let answer = self.ask("STREAM.CREATE.S", config).await;
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// Makes a consumer that reads all of the stream, with more options.
    pub async fn make_consumer(&self, options: Value) {
        let mut config = json!({"durable_name": "C", "name": "C", "ack_policy": "explicit"});
        config.as_object_mut().expect("an object").extend(options.as_object().cloned().unwrap_or_default());
        let answer = self.ask("CONSUMER.CREATE.S.C", json!({"stream_name": "S", "config": config})).await;
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// Deletes the consumer.
    pub async fn delete_consumer(&self) {
        let answer = self.ask("CONSUMER.DELETE.S.C", json!({})).await;
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// What the server says of the consumer.
    pub async fn consumer(&self) -> Value {
        self.ask("CONSUMER.INFO.S.C", json!({})).await
    }

    /// Waits until the consumer is as it should be.
    pub async fn wait_for_consumer(&self, is_right: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let right = async {
            loop {
                last = self.consumer().await;
                if is_right(&last) {
                    return;
                }
                sleep(POLL_EVERY).await;
            }
        };
        let is_in_time = timeout(WITHIN, right).await.is_ok();
        assert!(is_in_time, "the consumer is not as it should be: {last}");
        last
    }

    /// Waits until everything is acknowledged.
    pub async fn wait_until_acknowledged(&self) -> Value {
        self.wait_for_consumer(|info| info["num_ack_pending"] == 0 && info["num_pending"] == 0).await
    }

    /// Publishes the event of each number, until the stream says that it has it.
    pub async fn publish(&self, numbers: Range<u64>) {
        for start in numbers.clone().step_by(WINDOW) {
            let mut missing: Vec<u64> = (start..numbers.end.min(start + WINDOW as u64)).collect();
            let published = async {
                while !missing.is_empty() {
                    let answers =
                        futures::future::join_all(missing.iter().map(|n| self.try_publish(*n))).await;
                    let mut answers = answers.into_iter();
                    missing.retain(|_| !answers.next().unwrap_or(false));
                }
            };
            timeout(WITHIN, published).await.expect("the stream takes messages");
        }
    }

    async fn try_publish(&self, n: u64) -> bool {
        let (subject, event) = fly_event(n);
        let mut headers = HeaderMap::new();
        // So that the stream has it once, however often it is published.
        headers.insert("Nats-Msg-Id", n.to_string());
        let request =
            Request::new().headers(headers).payload(event.into()).timeout(Some(Duration::from_millis(500)));
        let answer = self.client.send_request(subject, request).await;
        answer.is_ok_and(|answer| {
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            answer["seq"].is_u64() && answer["error"].is_null()
        })
    }
}
