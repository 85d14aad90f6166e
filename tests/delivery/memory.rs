//! Memory: whatever destinations do, the process stays below its limit, and nothing grows with what comes by.

use crate::support::http_server::{HttpServer, Reply};
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::program::{Book, Program};
use crate::support::publisher::{Publisher, fly_event};
use crate::{check_books, in_time, soak};
use async_trait::async_trait;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::memory::resident;
use log_shipper::topology::{Topology, TopologyOptions};
use std::fmt::Write as _;
use std::path::Path;
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
            if request.path_and_query != "/" {
                return Reply::status(200);
            }
            let lines = request.raw_body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            count.fetch_add(lines as u64, Ordering::Relaxed);
            Reply::status(200)
        });
        Run { nats: NatsServer::start().await, well, seen, published: 0 }
    }

    /// A configuration with the sink that is well, and these.
    fn config(&self, sinks: &str) -> String {
        format!(
            "[sources.in]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\ndecoding.codec = 'json'\n\
             [sinks.well]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\n\
             framing.method = 'newline_delimited'\nbatch.timeout_secs = 0.02\nbuffer.when_full = 'drop_oldest'\n{sinks}",
            self.nats.url(),
            self.well.url("/"),
        )
    }

    async fn start(&self, sinks: &str, limit: &str) -> (Program, Publisher) {
        let shipper = Program::run(&self.config(sinks), &[("MEMORY_LIMIT", limit)]);
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
                "[sinks.dead_{n}]\ninputs = ['in']\nhealthcheck = false\nbuffer.when_full = 'drop_oldest'\nrequest.concurrency = 8\n{options}\n"
            )
            .unwrap();
        }
        sinks
    }
}

/// How many messages are published in one go.
const AT_ONCE: u64 = 500;

/// What the program takes before anything flows: as it is built for tests, several times what it takes as users have
/// it, most of it code.
async fn at_rest() -> usize {
    let run = Run::new().await;
    let (shipper, _) = run.start("", "64G").await;
    shipper.memory()
}

async fn dead_sinks_stay_below(for_sinks: usize, sinks: usize, events: u64) {
    in_time(async {
        let limit = at_rest().await / M * M + for_sinks;
        let (mut run, dead) = (Run::new().await, Dead::new().await);
        let (shipper, mut publisher) = run.start(&dead.sinks(sinks), &format!("{}M", limit / M)).await;
        for n in 0..events * u64::from(soak()) / AT_ONCE {
            run.ship(&mut publisher, (n * AT_ONCE..(n + 1) * AT_ONCE).map(fly_event)).await;
        }
        let peak = shipper.peak_memory();
        eprintln!("{sinks} dead sinks: {} MiB of {}", peak / M, limit / M);
        assert!(peak < limit, "{peak} bytes, of {limit}\n{}", shipper.log());
        assert!(
            shipper.log().contains("(MEMORY_LIMIT); what each sink may hold of it: "),
            "{}",
            shipper.log()
        );
        let books = shipper.stop().await;
        run.check(&books, sinks + 1);
        // Otherwise there was nothing to hold.
        for (id, book) in books.iter().filter(|(id, _)| id != "well") {
            assert!(book.dropped > 1000 && book.delivered == 0, "{id}: {book:?}");
        }
    })
    .await;
}

/// Without a limit it takes some 35 MiB more than at rest, for as few events.
#[tokio::test]
async fn a_dead_sink_stays_below_the_limit() {
    dead_sinks_stay_below(24 * M, 1, 60_000).await;
}

/// Without a limit they take some 280 MiB more.
#[tokio::test]
async fn twenty_five_dead_sinks_stay_below_the_limit_and_harm_nobody() {
    dead_sinks_stay_below(96 * M, 25, 20_000).await;
}

/// Messages as large as NATS takes them, many more than there is room for.
#[tokio::test]
async fn large_messages_in_full_buffers_stay_below_the_limit() {
    in_time(async {
        let limit = at_rest().await / M * M + 64 * M;
        let (mut run, dead) = (Run::new().await, Dead::new().await);
        let (shipper, mut publisher) = run.start(&dead.sinks(3), &format!("{}M", limit / M)).await;
        let filler = "0123456789abcdef".repeat(62_000);
        for n in 0..150 * soak() {
            let message = format!("{{\"message\":\"{filler}\",\"n\":{n}}}");
            // Small ones between them, which must not keep the large ones' memory.
            let small = (0..20).map(|m| fly_event(u64::from(n * 20 + m)));
            let all = small.chain([("logs.large.ams.1".to_owned(), message)]);
            run.ship(&mut publisher, all).await;
        }
        let peak = shipper.peak_memory();
        eprintln!("large messages: {} MiB of {}", peak / M, limit / M);
        assert!(peak < limit, "{peak} bytes, of {limit}\n{}", shipper.log());
        let books = shipper.stop().await;
        run.check(&books, 4);
        assert!(books.iter().all(|(id, book)| id == "well" || book.dropped > 100), "{books:?}");
    })
    .await;
}

/// Machines that come and go: hundreds at a time, each with a name that nobody has had before.
#[tokio::test]
async fn instances_that_come_and_go_leave_nothing_behind() {
    in_time(async {
        let mut run = Run::new().await;
        let url = run.well.url("/other");
        // Everything that tells events apart by what is in them.
        let config = format!(
            r#"
            [transforms.joined]
            type = 'log_bodies'
            inputs = ['in']
            multiline.timeout_ms = 50
            [transforms.throttled]
            type = 'throttle'
            inputs = ['joined']
            threshold = 100
            window_secs = 1
            key_field = '{{{{ fly.app.instance }}}}'
            [transforms.sampled]
            type = 'sample'
            inputs = ['throttled']
            rate = 2
            group_by = '{{{{ fly.app.instance }}}}'
            [transforms.once]
            type = 'dedupe'
            inputs = ['sampled']
            fields.match = ['fly.app.instance', 'n']
            [transforms.reduced]
            type = 'reduce'
            inputs = ['once']
            group_by = ['fly.app.instance']
            expire_after_ms = 200
            flush_period_ms = 100
            # What it holds depends on how fast they come otherwise.
            max_groups = 200
            [sinks.loki]
            type = 'loki'
            inputs = ['reduced']
            endpoint = '{url}'
            encoding.codec = 'json'
            labels.instance = '{{{{ fly.app.instance }}}}'
            out_of_order_action = 'rewrite_timestamp'
            buffer = {{ max_events = 1000, when_full = 'drop_oldest' }}
            [sinks.partitioned]
            type = 'http'
            inputs = ['once']
            uri = '{url}'
            encoding.codec = 'json'
            request.headers.x-instance = '{{{{ fly.app.instance }}}}'
            batch.timeout_secs = 0.1
            # It makes a request for each, which takes longer than they do.
            buffer = {{ max_events = 1000, when_full = 'drop_oldest' }}
            "#
        );
        let (shipper, mut publisher) = run.start(&config, "1G").await;
        let mut instances = 0u64;
        let mut warm = 0;
        // At first, what remembers so many thousand of the latest fills up.
        let bursts = 33 * u64::from(soak());
        let warm_up = bursts / 3 * 2;
        for burst in 0..bursts {
            let events = (0..1000).map(|n| {
                let instance = format!("{:014x}", instances + n / 2);
                let message = format!(
                    r#"{{"fly":{{"app":{{"name":"web","instance":"{instance}"}},"region":"ams"}},"message":"line {n}","n":{n}}}"#
                );
                (format!("logs.web.ams.{instance}"), message)
            });
            run.ship(&mut publisher, events).await;
            instances += 500;
            if burst == warm_up {
                warm = shipper.memory();
            }
        }
        let grown = shipper.memory().saturating_sub(warm);
        eprintln!("{instances} instances: {} KiB more than after {warm_up} bursts", grown >> 10);
        assert!(grown < 12 * M, "{grown} bytes more\n{}", shipper.log());
        let books = shipper.stop().await;
        let well: Vec<_> = books.into_iter().filter(|(id, _)| id == "well").collect();
        run.check(&well, 1);
    })
    .await;
}

/// What works is said to somebody who sets too little.
#[tokio::test]
async fn a_limit_that_is_too_small_is_told() {
    in_time(async {
        for (limit, words) in [
            ("20M", "MEMORY_LIMIT: 20 MiB is too little for 1 sink; expected at least "),
            ("lots", "MEMORY_LIMIT: `lots` is no size; expected bytes, such as 268435456, 256M or 1G"),
        ] {
            let config = "[sources.in]
type = 'stdin'
[sinks.out]
type = 'blackhole'
inputs = ['in']
";
            let (code, log) = Program::run(config, &[("MEMORY_LIMIT", limit)]).ended().await;
            assert!(code == Some(78) && log.contains(words), "{log}");
            let config = format!(
                "memory_limit = '{limit}'
{config}"
            );
            let words = words.replace("MEMORY_LIMIT: ", "memory_limit: ");
            let (code, log) = Program::run(&config, &[("MEMORY_LIMIT", "8G")]).ended().await;
            assert!(code == Some(78) && log.contains(&words), "{log}");
        }
    })
    .await;
}

/// A source of more events than anybody takes.
#[derive(Debug)]
struct Flood;

#[async_trait]
impl SourceConfig for Flood {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        Ok(Box::pin(async move {
            cx.ready.set();
            while !cx.shutdown.is_cancelled() {
                let events = (0..1000).map(|n| LogEvent::from_json(fly_event(n).1.into()));
                cx.output.send(events.map(|event| event.unwrap()).collect()).await;
            }
            Ok(())
        }))
    }
}

/// A sink that a reload keeps has to make room for those that it brings.
#[tokio::test]
async fn shares_follow_a_reload() {
    in_time(async {
        let dead = Dead::new().await;
        let limit = resident(Path::new("/")).unwrap() + 128 * M;
        let config = |more: usize| {
            let mut text = format!("memory_limit = {limit}\n[sources.in]\ntype = 'stdin'\n{}", dead.sinks(1));
            for n in 0..more {
                write!(text, "[sinks.more_{n}]\ntype = 'blackhole'\ninputs = ['in']\n").unwrap();
            }
            let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
            config.sources.clear();
            config.source("in", Flood)
        };
        let mut running =
            Topology::start(config(0), &TopologyOptions::default(), std::future::pending::<()>())
                .await
                .unwrap();
        let books = running.books();
        let full = loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let sink = books.snapshot().sinks[0].1;
            if sink.dropped_total() > 0 {
                break sink.buffered;
            }
        };
        let changes = running.reload(config(20)).await.unwrap();
        assert!(!changes.changed.contains(&"sinks.dead_0".to_owned()), "{changes}");
        // The bodies that have been made stay: they are a good half of it.
        while books.snapshot().sinks[0].1.buffered > full / 4 * 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        check_books(&running.abort().await);
    })
    .await;
}
