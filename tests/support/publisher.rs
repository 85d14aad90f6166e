//! A plain NATS publisher, and made-up events in the shape Fly sends them.
//!
//! It speaks the protocol by hand, so that what is published does not depend
//! on the client library the program under test may use, and so that hundreds
//! of thousands of messages take a moment. It speaks no TLS.

use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
// Long, because the server slows a publisher down for a slow subscriber.
const FLUSH_WITHIN: Duration = Duration::from_secs(120);
const WRITE_SIZE: usize = 64 * 1024;

/// A connection that publishes.
pub struct Publisher {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Publisher {
    /// Connects to `nats://HOST:PORT`, with a user and password if given.
    pub async fn connect(url: &str, login: Option<(&str, &str)>) -> Self {
        let fields = match login {
            Some((user, password)) => serde_json::json!({"user": user, "pass": password}),
            None => serde_json::json!({}),
        };
        Self::connect_with(url, fields).await
    }

    /// Connects to `nats://HOST:PORT` with a token.
    pub async fn connect_with_token(url: &str, token: &str) -> Self {
        Self::connect_with(url, serde_json::json!({"auth_token": token})).await
    }

    async fn connect_with(url: &str, mut fields: serde_json::Value) -> Self {
        let address = url.strip_prefix("nats://").unwrap_or(url);
        let connected = timeout(CONNECT_WITHIN, async {
            let stream = TcpStream::connect(address)
                .await
                .unwrap_or_else(|error| panic!("no connection to {url}: {error}"));
            let (reader, writer) = stream.into_split();
            let mut publisher =
                Self { reader: BufReader::new(reader), writer, buffer: Vec::with_capacity(2 * WRITE_SIZE) };
            let info = publisher.read_line().await;
            assert!(info.starts_with("INFO "), "{url} is no NATS server: {info}");
            assert!(
                !info.contains("\"tls_required\":true"),
                "{url} wants TLS, which this publisher does not speak: use async-nats"
            );
            fields["verbose"] = false.into();
            fields["pedantic"] = false.into();
            fields["headers"] = true.into();
            fields["protocol"] = 1.into();
            fields["name"] = "test publisher".into();
            publisher.publish_framed(format!("CONNECT {fields}\r\n").as_bytes()).await;
            publisher.flush().await;
            publisher
        });
        connected.await.unwrap_or_else(|_| panic!("no answer of {url} within {CONNECT_WITHIN:?}"))
    }

    /// Publishes a message; it leaves for certain at the next `flush`.
    pub async fn publish(&mut self, subject: &str, payload: impl AsRef<[u8]>) {
        frame(&mut self.buffer, subject, payload.as_ref());
        if self.buffer.len() >= WRITE_SIZE {
            self.write_buffer().await;
        }
    }

    /// Publishes the event of each number with its own subject.
    pub async fn publish_events(&mut self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let (subject, event) = fly_event(n);
            self.publish(&subject, event).await;
        }
    }

    /// Sends bytes that are protocol lines already, as [`frame`] writes them.
    pub async fn publish_framed(&mut self, lines: &[u8]) {
        self.write_buffer().await;
        self.write(lines).await;
    }

    /// Sends what is buffered and waits until the server has taken all of it.
    pub async fn flush(&mut self) {
        self.buffer.extend_from_slice(b"PING\r\n");
        self.write_buffer().await;
        timeout(FLUSH_WITHIN, async {
            loop {
                let line = self.read_line().await;
                match line.as_str() {
                    "PONG" => return,
                    "PING" => self.write(b"PONG\r\n").await,
                    // The server tells again about itself when its cluster changes.
                    _ if line.starts_with("INFO ") || line == "+OK" => {}
                    _ => panic!("the publisher got: {line}"),
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no PONG within {FLUSH_WITHIN:?}"));
    }

    async fn write_buffer(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer).await;
        self.buffer = buffer;
        self.buffer.clear();
    }

    async fn write(&mut self, bytes: &[u8]) {
        timeout(FLUSH_WITHIN, self.writer.write_all(bytes))
            .await
            .unwrap_or_else(|_| panic!("the server takes no bytes for {FLUSH_WITHIN:?}"))
            .unwrap_or_else(|error| panic!("the publisher lost its connection: {error}"));
    }

    async fn read_line(&mut self) -> String {
        let mut line = String::new();
        match self.reader.read_line(&mut line).await {
            Ok(0) => panic!("the server closed the publisher's connection"),
            Ok(_) => line.trim_end().to_owned(),
            Err(error) => panic!("the publisher lost its connection: {error}"),
        }
    }
}

/// Appends the protocol lines that publish one message.
pub fn frame(lines: &mut Vec<u8>, subject: &str, payload: &[u8]) {
    let length = payload.len().to_string();
    for part in [b"PUB ".as_slice(), subject.as_bytes(), b" ", length.as_bytes(), b"\r\n", payload, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

const APPS: [&str; 5] = ["checkout-api", "web", "billing-worker", "search", "edge-proxy"];
const REGIONS: [&str; 6] = ["ams", "fra", "iad", "lhr", "nrt", "syd"];
const INSTANCES: [&str; 8] = [
    "91857e9fb45e18",
    "3d8d4e21c60d89",
    "e2865013a75768",
    "568325ec2d6e8e",
    "148ed193b57189",
    "6e82d5e1b32987",
    "90802e4c9d7787",
    "4d89696f7e2d28",
];
const HOSTS: [&str; 4] = ["b7c1", "5ee9", "a1f2", "98d3"];
const LEVELS: [&str; 8] = ["info", "info", "info", "info", "info", "debug", "warn", "error"];
// Pieces of messages, escaped for JSON already: plain words, quotes, other
// alphabets, control characters, and JSON inside the text.
const WORDS: [&str; 12] = [
    "GET",
    "/api/v1/orders",
    "200",
    "completed",
    "in",
    "request_id=01JD8Z",
    "connection",
    "pool",
    "retry",
    "duration=12.7ms",
    "cache",
    "miss",
];
const SPECIALS: [&str; 5] = [
    r#"\"quoted value\""#,
    "na\u{ef}ve \u{2713} \u{65e5}\u{672c}\u{8a9e} \u{1f680}",
    r#"{\"level\":\"info\",\"ok\":true,\"n\":7,\"tags\":[\"a\",\"b\"]}"#,
    r"C:\\temp\tline\nnext",
    r"\u001b[32mINFO\u001b[0m",
];

/// Subject and JSON text of the event with this number, always the same for it.
///
/// The JSON texts of many events are 386 bytes long on average, as in the logs
/// of a real organisation: mostly short lines and some much longer ones.
pub fn fly_event(n: u64) -> (String, String) {
    let mut random = XorShift::new(n);
    let app = random.pick(&APPS);
    let region = random.pick(&REGIONS);
    let instance = random.pick(&INSTANCES);
    let host = random.pick(&HOSTS);
    let level = random.pick(&LEVELS);
    // 0.8 * 300 + 0.2 * 730 = 386
    let wanted = if random.below(5) < 4 { 250 + random.below(101) } else { 500 + random.below(461) };

    // One event each 137 microseconds, within the hours the day has left.
    let micros = n.wrapping_mul(137) % (19 * 3600 * 1_000_000);
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = (5 + seconds / 3600, seconds / 60 % 60, seconds % 60);
    let nanos = micros % 1_000_000 * 1000;
    let tail =
        format!("\",\"timestamp\":\"2026-11-22T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z\",\"n\":{n}}}");

    let mut event = String::with_capacity(wanted + 64);
    write!(
        event,
        "{{\"event\":{{\"provider\":\"app\"}},\"fly\":{{\"app\":{{\"instance\":\"{instance}\",\
         \"name\":\"{app}\"}},\"region\":\"{region}\"}},\"host\":\"{host}\",\
         \"log\":{{\"level\":\"{level}\"}},\"message\":\""
    )
    .expect("a String takes everything");
    let end = wanted.saturating_sub(tail.len());
    if random.below(4) == 0 {
        let special = random.pick(&SPECIALS);
        if event.len() + special.len() < end {
            event.push_str(special);
            event.push(' ');
        }
    }
    while event.len() < end {
        event.push_str(random.pick(&WORDS));
        event.push(' ');
    }
    // Words hold neither escapes nor wide characters, so any cut is a clean one.
    event.truncate(end.max(1));
    event.push_str(&tail);
    (format!("logs.{app}.{region}.{instance}"), event)
}

struct XorShift(u64);

impl XorShift {
    /// Neighbouring seeds are spread first, or their first numbers would be alike.
    fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Zero is the one state xorshift never leaves.
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a small limit");
        usize::try_from(self.next() % limit).expect("smaller than the limit")
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}
