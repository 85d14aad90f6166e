//! The broker, as clients that talk bytes see it.

use std::future::Future;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::hub::MAX_PENDING;
use super::protocol::*;
use super::*;

/// One client of the broker, talking bytes.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and takes the INFO, but sends nothing.
    async fn open(broker: &Broker) -> Client {
        let stream = TcpStream::connect(broker.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { stream: BufReader::new(stream) };
        let info = client.line().await;
        let options = info.strip_prefix("INFO ").unwrap();
        let options: Value = serde_json::from_str(options).unwrap();
        assert_eq!(options["max_payload"], MAX_PAYLOAD);
        assert_eq!(options["headers"], true);
        assert_eq!(options["proto"], 1);
        client
    }

    async fn connect(broker: &Broker) -> Client {
        let mut client = Client::open(broker).await;
        client.send("CONNECT {\"verbose\":false}\r\n").await;
        client
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line
    }

    /// Everything the broker sent before its answer to a PING.
    async fn received(&mut self) -> String {
        self.send("PING\r\n").await;
        let mut received = String::new();
        loop {
            let line = self.line().await;
            assert!(!line.is_empty(), "closed after {received:?}");
            if line == "PONG\r\n" {
                return received;
            }
            received.push_str(&line);
        }
    }

    /// Everything until the broker closes the connection.
    async fn remainder(&mut self) -> String {
        let mut remainder = String::new();
        self.stream.read_to_string(&mut remainder).await.unwrap();
        remainder
    }
}

/// A test that hangs fails instead.
async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends in time")
}

#[tokio::test]
async fn url_names_the_loopback_address() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let port = broker.address.port();
        assert_eq!(broker.url(), format!("nats://127.0.0.1:{port}"));
    })
    .await;
}

#[tokio::test]
async fn connect_decides_whether_commands_are_acknowledged() {
    async fn check(sent: &str, expected: &str) {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::open(&broker).await;
        client.send(sent).await;
        assert_eq!(client.received().await, expected, "{sent:?}");
    }
    in_time(async {
        check("", "").await;
        check("PONG\r\n", "").await;
        check("CONNECT {\"verbose\":false}\r\n", "").await;
        check("CONNECT {\"verbose\":true}\r\n", "+OK\r\n").await;
        check("connect {\"user\":\"a\", \"pass\":\"b\"}\r\n", "+OK\r\n").await;
        check("SUB a 1\r\nUNSUB 1\r\n", "+OK\r\n+OK\r\n").await;
        check("sub\ta\t1\npub  a  1 \nx\r\n", "+OK\r\nMSG a 1 1\r\nx\r\n+OK\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn messages_reach_the_filters_that_match() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut subscriber = Client::connect(&broker).await;
        let mut publisher = Client::connect(&broker).await;
        subscriber.send("SUB logs.web 1\r\nSUB logs.* 2\r\nSUB logs.> 3\r\nSUB other 4\r\n").await;
        assert_eq!(subscriber.received().await, "");

        publisher.send("PUB logs.web 2\r\nhi\r\nPUB logs.db.x answers 0\r\n\r\nPUB logs 1\r\nx\r\n").await;
        assert_eq!(publisher.received().await, "");
        assert_eq!(
            subscriber.received().await,
            "MSG logs.web 1 2\r\nhi\r\nMSG logs.web 2 2\r\nhi\r\nMSG logs.web 3 2\r\nhi\r\n\
             MSG logs.db.x 3 answers 0\r\n\r\n"
        );
    })
    .await;
}

#[tokio::test]
async fn what_the_test_publishes_is_a_message_as_any_other() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut subscriber = Client::connect(&broker).await;
        broker.publish("logs.web", "nobody is there");
        subscriber.send("SUB logs.> 1\r\n").await;
        broker.wait_for_subscriptions(1).await;
        broker.publish("logs.web", "hi");
        broker.publish("logs.web", b"");
        broker.publish("other", "hi");
        assert_eq!(subscriber.received().await, "MSG logs.web 1 2\r\nhi\r\nMSG logs.web 1 0\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn what_no_client_could_publish_is_refused() {
    let broker = Broker::start().await.unwrap();
    let long = vec![b'x'; MAX_PAYLOAD + 1];
    for (subject, payload) in [("logs.*", &long[..1]), ("logs..web", &[]), ("a b", &[]), ("a", &long)] {
        let publish = std::panic::AssertUnwindSafe(|| broker.publish(subject, payload));
        assert!(std::panic::catch_unwind(publish).is_err(), "{subject}: {} bytes", payload.len());
    }
    broker.publish("a", &long[1..]);
}

#[tokio::test]
async fn headers_are_forwarded() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::connect(&broker).await;
        client.send("SUB a 1\r\n").await;
        client.send("HPUB a 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n").await;
        client.send("HPUB a back 12 12\r\nNATS/1.0\r\n\r\n\r\n").await;
        assert_eq!(
            client.received().await,
            "HMSG a 1 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n\
             HMSG a 1 back 12 12\r\nNATS/1.0\r\n\r\n\r\n"
        );
    })
    .await;
}

#[tokio::test]
async fn a_queue_group_shares_messages_in_turn() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut workers = Vec::new();
        // The filters differ: it is the name that makes the group.
        for filter in ["jobs", "jobs", "*"] {
            let mut worker = Client::connect(&broker).await;
            worker.send(format!("SUB {filter} workers 7\r\n")).await;
            assert_eq!(worker.received().await, "");
            workers.push(worker);
        }
        let mut witness = Client::connect(&broker).await;
        witness.send("SUB jobs 1\r\nSUB jobs auditors 2\r\n").await;
        assert_eq!(witness.received().await, "");

        let mut publisher = Client::connect(&broker).await;
        for number in 0..9 {
            publisher.send(format!("PUB jobs 1\r\n{number}\r\n")).await;
        }
        assert_eq!(publisher.received().await, "");

        for (first, worker) in workers.iter_mut().enumerate() {
            let shared: String =
                (first..9).step_by(3).map(|number| format!("MSG jobs 7 1\r\n{number}\r\n")).collect();
            assert_eq!(worker.received().await, shared);
        }
        let all: String = (0..9).map(|n| format!("MSG jobs 1 1\r\n{n}\r\nMSG jobs 2 1\r\n{n}\r\n")).collect();
        assert_eq!(witness.received().await, all);

        // Those who remain take over from one who left.
        workers[1].send("UNSUB 7\r\n").await;
        assert_eq!(workers[1].received().await, "");
        publisher.send("PUB jobs 1\r\na\r\nPUB jobs 1\r\nb\r\n").await;
        assert_eq!(publisher.received().await, "");
        assert_eq!(workers[0].received().await, "MSG jobs 7 1\r\na\r\n");
        assert_eq!(workers[2].received().await, "MSG jobs 7 1\r\nb\r\n");
    })
    .await;
}

#[tokio::test]
async fn unsub_ends_a_subscription_now_or_later() {
    async fn check(commands: &str, delivered: usize) {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::connect(&broker).await;
        client.send(commands.replace('|', "\r\n")).await;
        let received = client.received().await;
        assert_eq!(received, "MSG a 1 1\r\nx\r\n".repeat(delivered), "{commands}");
    }
    in_time(async {
        check("SUB a 1|PUB a 1|x|UNSUB 1|PUB a 1|x|", 1).await;
        check("SUB a 1|UNSUB 1 2|PUB a 1|x|PUB a 1|x|PUB a 1|x|", 2).await;
        check("SUB a g 1|UNSUB 1 2|PUB a 1|x|PUB a 1|x|PUB a 1|x|", 2).await;
        check("SUB a 1|PUB a 1|x|PUB a 1|x|UNSUB 1 2|PUB a 1|x|", 2).await;
        check("SUB a 1|UNSUB 2|UNSUB 1 0|PUB a 1|x|", 0).await;
        check("SUB a 1|SUB b 1|UNSUB 1|SUB a 1|PUB a 1|x|", 1).await;
        check("SUB a 1|SUB a 1|PUB a 1|x|", 1).await;
    })
    .await;
}

#[tokio::test]
async fn input_may_be_split_anywhere() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::open(&broker).await;
        let commands = "CONNECT {\"verbose\":false}\r\nSUB a.* g 1\r\nPUB a.b 4\r\n\r\nhi\r\n\
                        HPUB a.b r 12 13\r\nNATS/1.0\r\n\r\nx\r\n";
        for byte in commands.bytes() {
            client.send([byte]).await;
            // Gives the broker's task a chance to read this byte alone.
            tokio::task::yield_now().await;
        }
        assert_eq!(
            client.received().await,
            "MSG a.b 1 4\r\n\r\nhi\r\nHMSG a.b 1 r 12 13\r\nNATS/1.0\r\n\r\nx\r\n"
        );
    })
    .await;
}

#[test]
fn a_cut_command_asks_for_more() {
    #[track_caller]
    fn check(command: &str) {
        for cut in 0..command.len() {
            let parsed = parse_command(&command.as_bytes()[..cut]);
            assert_eq!(parsed, Ok(None), "{command:?} cut at {cut}");
        }
        let followed = format!("{command}PING");
        let (_, rest) = parse_command(followed.as_bytes()).unwrap().unwrap();
        assert_eq!(rest, b"PING", "{command:?}");
    }
    check("PING\r\n");
    check("CONNECT {\"name\": \"a b\"}\r\n");
    check("SUB a.b g 1\r\n");
    check("UNSUB 1 5\r\n");
    check("PUB a 0\r\n\r\n");
    check("PUB a r 5\r\n\r\n\r\n!\r\n");
    check("HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
}

#[tokio::test]
async fn breaking_the_protocol_is_answered_and_ends_the_connection() {
    async fn check(sent: impl AsRef<[u8]>, reason: &str) {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::connect(&broker).await;
        client.send(&sent).await;
        let answer = client.remainder().await;
        let sent = String::from_utf8_lossy(sent.as_ref());
        assert_eq!(answer, format!("-ERR '{reason}'\r\n"), "{sent:.60?}");
    }
    in_time(async {
        check("HELLO\r\nPING\r\n", UNKNOWN_OPERATION).await;
        check("\r\n", UNKNOWN_OPERATION).await;
        check("PINGS\r\n", UNKNOWN_OPERATION).await;
        check(b"\xff\xfe\n", PARSER_ERROR).await;
        check("CONNECT\r\n", PARSER_ERROR).await;
        check("CONNECT []\r\n", PARSER_ERROR).await;
        check("SUB a\r\n", PARSER_ERROR).await;
        check("SUB a b c d\r\n", PARSER_ERROR).await;
        check("UNSUB\r\n", PARSER_ERROR).await;
        check("UNSUB 1 x\r\n", PARSER_ERROR).await;
        check("PUB a\r\n", PARSER_ERROR).await;
        check("PUB a +1\r\nx\r\n", PARSER_ERROR).await;
        check("PUB a 99999999999999999999999\r\n", PARSER_ERROR).await;
        check("PUB a 1\r\nxyz\r\n", PARSER_ERROR).await;
        check("HPUB a 5\r\n", PARSER_ERROR).await;
        check("HPUB a 6 5\r\n", PARSER_ERROR).await;
        check("PUB a 1048577\r\n", PAYLOAD_EXCEEDED).await;
        check("HPUB a 1 1048577\r\n", PAYLOAD_EXCEEDED).await;
        // More than the system buffers: what follows must not cost the client the answer.
        check("x".repeat(16 * 1024 * 1024), CONTROL_LINE_EXCEEDED).await;
        check(format!("SUB {} 1\r\n", "x".repeat(4096)), CONTROL_LINE_EXCEEDED).await;
    })
    .await;
}

#[tokio::test]
async fn the_limits_themselves_are_allowed() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::connect(&broker).await;
        let subject = "x".repeat(MAX_CONTROL_LINE - "SUB  1".len());
        client.send(format!("SUB {subject} 1\r\nSUB a 2\r\n")).await;
        let payload = "y".repeat(MAX_PAYLOAD);
        client.send(format!("PUB a {MAX_PAYLOAD}\r\n{payload}\r\n")).await;
        let expected = format!("MSG a 2 {MAX_PAYLOAD}\r\n{payload}\r\n");
        assert!(client.received().await == expected, "the payload differs");
    })
    .await;
}

#[tokio::test]
async fn a_bad_subject_is_answered_and_forgiven() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::connect(&broker).await;
        client.send("SUB > 1\r\nSUB a..b 2\r\nPUB a.* 1\r\nx\r\nPUB a 1\r\ny\r\n").await;
        assert_eq!(
            client.received().await,
            "-ERR 'Invalid Subject'\r\n-ERR 'Invalid Publish Subject'\r\nMSG a 1 1\r\ny\r\n"
        );
    })
    .await;
}

#[tokio::test]
async fn messages_of_a_publisher_keep_their_order() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut subscriber = Client::connect(&broker).await;
        subscriber.send("SUB n 1\r\n").await;
        assert_eq!(subscriber.received().await, "");
        let mut publisher = Client::connect(&broker).await;
        let published: String = (10_000..30_000).map(|n| format!("PUB n 5\r\n{n}\r\n")).collect();
        publisher.send(published).await;
        assert_eq!(publisher.received().await, "");
        let expected: String = (10_000..30_000).map(|n| format!("MSG n 1 5\r\n{n}\r\n")).collect();
        assert!(subscriber.received().await == expected, "the order differs");
    })
    .await;
}

#[tokio::test]
async fn a_slow_consumer_is_closed_and_no_one_else() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut slow = Client::connect(&broker).await;
        slow.send("SUB a 1\r\n").await;
        assert_eq!(slow.received().await, "");

        let mut publisher = Client::connect(&broker).await;
        let message = format!("PUB a {MAX_PAYLOAD}\r\n{}\r\n", "x".repeat(MAX_PAYLOAD));
        let published = 2 * MAX_PENDING / MAX_PAYLOAD;
        for _ in 0..published {
            publisher.send(&message).await;
        }
        assert_eq!(publisher.received().await, "");

        // What the system had buffered still arrives, and then the end.
        let received = tokio::io::copy(&mut slow.stream, &mut tokio::io::sink()).await;
        assert!(received.is_ok_and(|bytes| bytes < MAX_PENDING as u64));
        publisher.send("SUB b 1\r\nPUB b 0\r\n\r\n").await;
        assert_eq!(publisher.received().await, "MSG b 1 0\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn dropping_the_broker_closes_its_clients() {
    in_time(async {
        let broker = Broker::start().await.unwrap();
        let mut client = Client::connect(&broker).await;
        assert_eq!(client.received().await, "");
        let address = broker.address;
        drop(broker);
        assert_eq!(client.remainder().await, "");
        assert!(TcpStream::connect(address).await.is_err());
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(4222),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn hostile_input_is_parsed_or_refused(
        start in "((H?PUB|SUB|UNSUB|CONNECT|PING|pong)[ \t]+)?",
        rest in prop_oneof![
            "[a-z0-9 .{}\"*>]{0,16}\r?\n[\\PC\r\n]{0,16}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..64),
        ],
    ) {
        let input = [start.as_bytes(), &rest].concat();
        if let Ok(Some((_, unread))) = parse_command(&input) {
            prop_assert!(unread.len() < input.len());
            prop_assert!(input.ends_with(unread));
        }
    }
}
