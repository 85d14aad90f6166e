//! Memory: whatever destinations do, the process stays below its limit, and nothing grows with what comes by.

use crate::support::http_server::{HttpServer, Reply};
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::process::{Book, Shipper};
use crate::support::publisher::{Publisher, fly_event};
use crate::{in_time, soak};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const M: usize = 1 << 20;

/// A NATS server, a destination that is well, and the process between them.
struct Run {
    nats: NatsServer,
    well: HttpServer,
    /// Events that the destination which is well has.
    seen: Arc<AtomicU64>,
    published: u64,
}

impl Run {
    async fn new() -> Run {
        let well = HttpServer::start().await;
        let seen = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&seen);
        well.respond_with(move |request| {
            let lines = request.raw_body.iter().filter(|byte| **byte == b'\n').count();
            count.fetch_add(lines as u64, Ordering::Relaxed);
            Reply::status(200)
        });
        Run { nats: NatsServer::start().await, well, seen, published: 0 }
    }

    /// A configuration with the sink that is well, and these.
    fn config(&self, sinks: &str) -> String {
        format!(
            "[sources.in]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\n\
             [sinks.well]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\n\
             framing.method = 'newline_delimited'\nbatch.timeout_secs = 0.02\nbuffer.when_full = 'drop_oldest'\n{sinks}",
            self.nats.url(),
            self.well.url("/"),
        )
    }

    async fn start(&self, sinks: &str, limit: &str) -> (Shipper, Publisher) {
        let shipper = Shipper::start(&self.config(sinks), &[("MEMORY_LIMIT", limit)]);
        self.nats.wait_for_subscription("logs.>").await;
        (shipper, Publisher::connect(&self.nats.url(), None).await)
    }

    /// Publishes these in one go, and waits until the destination that is well has them: so they come as fast as that
    /// takes them.
    async fn ship(&mut self, publisher: &mut Publisher, messages: impl Iterator<Item = (String, String)>) {
        for (subject, payload) in messages {
            publisher.publish(&subject, payload).await;
            self.published += 1;
        }
        publisher.flush().await;
        let all = self.published;
        self.well.wait_until(|_| self.seen.load(Ordering::Relaxed) >= all).await;
        assert_eq!(self.seen.load(Ordering::Relaxed), all, "none comes twice");
    }

    /// The books must balance, and the sink that is well must have got everything.
    #[track_caller]
    fn check(&self, books: &[(String, Book)], sinks: usize) {
        assert_eq!(books.len(), sinks, "{books:?}");
        for (id, book) in books {
            let Book { received, delivered, rejected, dropped, buffered } = *book;
            assert_eq!(received, self.published, "{id}: {book:?}");
            assert_eq!(received, delivered + rejected + dropped + buffered, "{id}: {book:?}");
            if id == "well" {
                assert_eq!(delivered, self.published, "{id}: {book:?}");
            }
        }
    }
}

/// Destinations that take nothing, each in its own way.
struct Dead {
    /// "Come back later."
    unavailable: HttpServer,
    /// It takes a request and never says anything.
    silent: HttpServer,
    /// Nobody listens.
    refused: u16,
}

impl Dead {
    async fn new() -> Dead {
        let dead = Dead {
            unavailable: HttpServer::start().await,
            silent: HttpServer::start().await,
            refused: free_port(),
        };
        dead.unavailable.default_reply(Reply::status(503));
        dead.silent.default_reply(Reply::Never);
        dead
    }

    /// So many sinks in all the ways, with all kinds of bodies.
    fn sinks(&self, count: usize) -> String {
        let urls =
            [self.unavailable.url("/"), self.silent.url("/"), format!("http://127.0.0.1:{}/", self.refused)];
        let mut sinks = String::new();
        for n in 0..count {
            let url = &urls[n % urls.len()];
            let options = match n / urls.len() % 4 {
                0 => format!("type = 'http'\nuri = '{url}'\nencoding.codec = 'json'"),
                1 => format!("type = 'http'\nuri = '{url}'\nencoding.codec = 'json'\ncompression = 'gzip'"),
                2 => format!(
                    "type = 'loki'\nendpoint = '{url}'\nencoding.codec = 'json'\nlabels.app = '{{{{ fly.app.name }}}}'\ncompression = 'gzip'"
                ),
                _ => format!("type = 'http'\nuri = '{url}'\nencoding.codec = 'json'\ncompression = 'zstd'"),
            };
            write!(
                sinks,
                "[sinks.dead_{n}]\ninputs = ['in']\nhealthcheck = false\nbuffer.when_full = 'drop_oldest'\n{options}\n"
            )
            .unwrap();
        }
        sinks
    }
}

/// How many messages are published in one go.
const AT_ONCE: u64 = 500;

async fn dead_sinks_stay_below(limit: usize, sinks: usize, events: u64) {
    in_time(async {
        let (mut run, dead) = (Run::new().await, Dead::new().await);
        let (shipper, mut publisher) = run.start(&dead.sinks(sinks), &format!("{}M", limit / M)).await;
        let at_rest = shipper.memory();
        for n in 0..events * u64::from(soak()) / AT_ONCE {
            run.ship(&mut publisher, (n * AT_ONCE..(n + 1) * AT_ONCE).map(fly_event)).await;
        }
        let peak = shipper.peak_memory();
        eprintln!("{sinks} dead sinks: {} MiB at rest, {} MiB at most, of {}", at_rest / M, peak / M, limit / M);
        assert!(peak < limit, "{peak} bytes, of {limit}\n{}", shipper.log());
        let books = shipper.stop().await;
        run.check(&books, sinks + 1);
        // Otherwise there was nothing to hold.
        for (id, book) in books.iter().filter(|(id, _)| id != "well") {
            assert!(book.dropped > 1000 && book.delivered == 0, "{id}: {book:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_sink_stays_below_the_limit() {
    dead_sinks_stay_below(96 * M, 1, 60_000).await;
}

#[tokio::test]
async fn twenty_five_dead_sinks_stay_below_the_limit_and_harm_nobody() {
    dead_sinks_stay_below(192 * M, 25, 20_000).await;
}
