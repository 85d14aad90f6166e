//! The sink `papertrail` against servers of syslog over TLS and TCP.

mod support;

use async_trait::async_trait;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext, SourceEntry};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::topology::{DropReason, Report, RunningTopology, SinkSnapshot, Topology, TopologyOptions};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use support::certificates::Certificates;
use support::log_lines::LogLines;
use support::ports::free_port;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// More than anything here takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);

const INPUT: &str = include_str!("golden/input.jsonl");

// === the sink ===

/// A source of the chunks that the test sends, until it stops sending.
#[derive(Debug)]
struct Fed(Mutex<Option<mpsc::UnboundedReceiver<Vec<LogEvent>>>>);

#[async_trait]
impl SourceConfig for Fed {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let mut chunks = self.0.lock().unwrap().take().expect("built once");
        Ok(Box::pin(async move {
            while let Some(chunk) = chunks.recv().await {
                cx.output.send(chunk).await;
            }
            Ok(())
        }))
    }
}

struct Shipper {
    feed: mpsc::UnboundedSender<Vec<LogEvent>>,
    running: RunningTopology,
}

fn load(options: &str) -> Result<Config, String> {
    let text = format!(
        "[sources.in]\ntype = 'stdin'\n[sinks.out]\ntype = 'papertrail'\ninputs = ['in']\n{options}\n"
    );
    Config::from_toml(&text, "test.toml", &Registry::builtin(), &Env::default())
        .map_err(|error| error.to_string())
}

impl Shipper {
    async fn start(options: &str) -> Shipper {
        let mut config = load(options).unwrap_or_else(|error| panic!("{error}\n{options}"));
        config.global.healthchecks.enabled = false;
        let (feed, chunks) = mpsc::unbounded_channel();
        config.sources = vec![SourceEntry::new("in", Fed(Mutex::new(Some(chunks))))];
        let topology = TopologyOptions::default();
        let running = timeout(WITHIN, Topology::start(config, &topology, std::future::pending::<()>())).await;
        let running = running.expect("a start in time").expect("a start");
        Shipper { feed, running }
    }

    fn send(&self, lines: &[String]) {
        self.feed.send(lines.iter().map(|line| event(line)).collect()).unwrap();
    }

    fn delivered(&self) -> u64 {
        self.running.counts().sinks[0].1.delivered
    }

    async fn wait_for(&self, what: &str, reached: impl Fn(&SinkSnapshot) -> bool) {
        let wait = async {
            while !reached(&self.running.counts().sinks[0].1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(WITHIN, wait).await.is_ok(), "{what} did not come");
    }

    async fn wait_for_delivered(&self, events: u64) {
        self.wait_for("a delivery", |books| books.delivered >= events).await;
    }

    async fn stop_within(mut self, deadline: Duration) -> SinkSnapshot {
        drop(self.feed);
        books(&self.running.stop(deadline).await)
    }

    /// Stops when everything is delivered.
    async fn stop(self) -> SinkSnapshot {
        self.stop_within(WITHIN).await
    }
}

fn event(line: &str) -> LogEvent {
    LogEvent::from_json(line.to_owned().into()).unwrap_or_else(|_| panic!("no object: {line}"))
}

#[track_caller]
fn books(report: &Report) -> SinkSnapshot {
    let (_, books) = report.sinks[0];
    let known = books.delivered + books.rejected + books.dropped_total() + books.buffered;
    assert_eq!((books.received, books.dropped_for(DropReason::Unanswered)), (known, 0), "{report}");
    books
}

/// All of them are delivered, and the books are closed.
#[track_caller]
fn check_delivered(books: SinkSnapshot, events: usize) {
    let events = events as u64;
    assert_eq!((books.received, books.delivered, books.buffered), (events, events, 0), "{books}");
}

// === the server ===

/// A server of syslog over TCP that keeps every line, also while it is stopped.
struct Server {
    port: u16,
    tls: Option<TlsAcceptor>,
    /// How many bytes it reads of a connection before it closes it. Default: all.
    takes: Option<usize>,
    seen: watch::Sender<Seen>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    lines: Vec<String>,
    connections: usize,
    /// Connections that the server has closed after as many bytes as it takes.
    closed: usize,
    /// Connections that the client has ended as it should.
    ended: usize,
}

impl Server {
    /// With these certificates it speaks TLS.
    async fn start(certificates: Option<&Certificates>) -> Server {
        let mut server = Server::down(certificates);
        server.start_again().await;
        server
    }

    /// One that does not run yet.
    fn down(certificates: Option<&Certificates>) -> Server {
        Server {
            port: free_port(),
            tls: certificates.map(Certificates::acceptor),
            takes: None,
            seen: watch::Sender::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Listens on the same port, with the lines kept.
    async fn start_again(&mut self) {
        let listener = listen(self.port);
        let (tls, takes, seen) = (self.tls.clone(), self.takes, self.seen.clone());
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (tls, seen) = (tls.clone(), seen.clone());
                connections.spawn(async move {
                    match tls {
                        None => read(stream, takes, &seen).await,
                        Some(tls) => {
                            // Otherwise the client does not like our certificate, or we not its.
                            if let Ok(stream) = tls.accept(stream).await {
                                read(stream, takes, &seen).await;
                            }
                        }
                    }
                });
            }
        });
    }

    /// Closes the port and all connections.
    async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    async fn wait_until(&self, what: &str, mut condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let found = timeout(WITHIN, seen.wait_for(|seen| condition(seen))).await.is_ok();
        assert!(found, "{what} did not come");
        self.seen.borrow().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.seen.borrow().lines.clone()
    }

    /// The options of a sink that sends to this server, and trusts the certificates.
    fn options(&self, certificates: Option<&Certificates>, more: &str) -> String {
        let tls = match certificates {
            Some(certificates) => format!("tls.ca_file = '{}'", certificates.ca.display()),
            None => "tls.enabled = false".to_owned(),
        };
        format!("endpoint = '127.0.0.1:{}'\n{tls}\n{more}", self.port)
    }
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    // Small, so that what a client has written and nobody has read is little.
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    socket.listen(64).unwrap()
}

async fn read(mut stream: impl AsyncRead + Unpin, takes: Option<usize>, seen: &watch::Sender<Seen>) {
    seen.send_modify(|seen| seen.connections += 1);
    let (mut open, mut total) = (Vec::new(), 0);
    while takes.is_none_or(|takes| total < takes) {
        let read = match stream.read_buf(&mut open).await {
            Ok(0) => return seen.send_modify(|seen| seen.ended += 1),
            Ok(read) => read,
            Err(_) => return,
        };
        total += read;
        if let Some(end) = open.iter().rposition(|byte| *byte == b'\n') {
            let whole: Vec<u8> = open.drain(..=end).collect();
            let whole = String::from_utf8(whole).expect("lines of UTF-8");
            let lines = whole.split_terminator('\n').map(str::to_owned);
            seen.send_modify(|seen| seen.lines.extend(lines));
        }
    }
    drop(stream);
    seen.send_modify(|seen| seen.closed += 1);
}

// === a strict parser of RFC 5424 ===

#[derive(Debug, PartialEq)]
struct Message<'a> {
    severity: u8,
    micros: i64,
    host: &'a str,
    app: &'a str,
    procid: &'a str,
    text: &'a str,
}

/// Reads a line by the grammar of RFC 5424 section 6, as far as the sink uses it: no structured data, no id.
#[track_caller]
fn parse(line: &str) -> Message<'_> {
    try_parse(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

fn try_parse(line: &str) -> Result<Message<'_>, String> {
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    ensure(line.len() < 100_000, "too long for Papertrail")?;
    ensure(!line.contains(['\n', '\r', '\0']), "not one line")?;
    let (pri, rest) = line.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or("no PRI")?;
    ensure(pri.len() <= 3 && pri.bytes().all(|byte| byte.is_ascii_digit()), "PRI is no number")?;
    ensure(pri == "0" || !pri.starts_with('0'), "PRI has a leading zero")?;
    let pri: u8 = pri.parse().map_err(|_| "PRI is no number")?;
    ensure(pri / 8 == 1, "the facility is not `user`")?;
    let rest = rest.strip_prefix("1 ").ok_or("not version 1")?;
    let fields: Vec<_> = rest.splitn(7, ' ').collect();
    let [time, host, app, procid, msgid, data, text] = fields[..] else {
        return Err("fields are missing".to_owned());
    };
    for (name, field, most) in
        [("HOSTNAME", host, 255), ("APP-NAME", app, 48), ("PROCID", procid, 128), ("MSGID", msgid, 32)]
    {
        ensure((1..=most).contains(&field.len()), &format!("the length of {name}"))?;
        ensure(field.bytes().all(|byte| (33..=126).contains(&byte)), &format!("the characters of {name}"))?;
    }
    ensure((msgid, data) == ("-", "-"), "MSGID and STRUCTURED-DATA are not nil")?;
    Ok(Message { severity: pri % 8, micros: parse_time(time)?, host, app, procid, text })
}

fn parse_time(text: &str) -> Result<i64, String> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let date_and_time = shape.get(..19) == Some("0000-00-00T00:00:00");
    let (fraction, zone) =
        shape.get(19..).and_then(|rest| rest.split_at_checked(rest.len() - 1)).unwrap_or_default();
    let fraction = fraction
        .strip_prefix('.')
        .is_some_and(|digits| (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte == b'0'));
    if !date_and_time || !fraction || zone != "Z" {
        return Err(format!("the form of TIMESTAMP {text}"));
    }
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| format!("TIMESTAMP {error}"))?;
    Ok(time.timestamp_micros())
}

#[test]
fn the_parser_is_strict() {
    let good = "<14>1 2026-11-22T05:00:00.000137Z h a p - - text  with spaces ";
    assert_eq!(
        try_parse(good),
        Ok(Message {
            severity: 6,
            micros: 1_795_323_600_000_137,
            host: "h",
            app: "a",
            procid: "p",
            text: "text  with spaces "
        })
    );
    for (from, to) in [
        ("<14>", "14 "),
        ("<14>", "<014>"),
        ("<14>", "<+14>"),
        ("<14>", "<30>"),
        (">1 ", ">2 "),
        (">1 ", ">1"),
        ("000137Z", "0001370Z"),
        ("000137Z", "000137+00:00"),
        (".000137Z", "Z"),
        ("T05", " 05"),
        ("T05", "T25"),
        ("-22T", "-32T"),
        (" h ", "  "),
        (" h ", " é "),
        (" a ", &format!(" {} ", "a".repeat(49))),
        (" - - ", " - "),
        ("text", "te\nxt"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert!(try_parse(&bad).is_err(), "{bad}");
    }
}

// === lines ===

/// What the server gets for these events, in one chunk, over TLS.
async fn ship(options: &str, events: Vec<LogEvent>) -> Vec<String> {
    let certificates = Certificates::generate();
    let server = Server::start(Some(&certificates)).await;
    let shipper = Shipper::start(&server.options(Some(&certificates), options)).await;
    let count = events.len();
    shipper.feed.send(events).unwrap();
    check_delivered(shipper.stop().await, count);
    let seen = server.wait_until("all lines", |seen| seen.lines.len() >= count).await;
    assert_eq!((seen.lines.len(), seen.connections), (count, 1));
    seen.lines
}

const TEXT: &str = "encoding.codec = 'text'";

/// Vector sends RFC 3164 alone, and for all of them `<14>`, its own local time of sending, `vector` and its
/// own process: `<14>Nov 22 05:00:00 31e2 vector[PID]: ` and the event. Ours has the event's own time, with
/// its zone and its microseconds, its level, its app and its machine.
#[tokio::test]
async fn golden_rfc5424() {
    let headers = [
        "<14>1 2026-11-22T05:00:00.000000Z 31e2 sandwich b921527403e430 - - ",
        "<14>1 2026-11-22T05:00:00.000137Z 1332 salad-api 27bddfab1031d0 - - ",
        "<14>1 2026-11-22T05:00:00.000274Z 1e84 sandwich ee635e506bf2ef - - ",
        "<11>1 2026-11-22T05:00:00.999999Z 31e2 sandwich e784079b449483 - - ",
        "<14>1 2026-11-22T05:00:01.000000Z 31e2 sandwich e784079b449483 - - ",
    ];
    golden("encoding.codec = 'json'", headers, |line| line.to_owned()).await;
    golden(TEXT, headers, |line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["message"].as_str().unwrap().to_owned()
    })
    .await;
}

/// As Vector's, but for what is said over `golden_rfc5424`.
#[tokio::test]
async fn golden_rfc3164() {
    let headers = [
        "<14>Nov 22 05:00:00 31e2 sandwich[b921527403e430]: ",
        "<14>Nov 22 05:00:00 1332 salad-api[27bddfab1031d0]: ",
        "<14>Nov 22 05:00:00 1e84 sandwich[ee635e506bf2ef]: ",
        "<11>Nov 22 05:00:00 31e2 sandwich[e784079b449483]: ",
        "<14>Nov 22 05:00:01 31e2 sandwich[e784079b449483]: ",
    ];
    golden("encoding.codec = 'json'\nrfc = 'rfc3164'", headers, |line| line.to_owned()).await;
}

async fn golden(options: &str, headers: [&str; 5], message: impl Fn(&str) -> String) {
    let lines = ship(options, INPUT.lines().map(event).collect()).await;
    let expected: Vec<_> = headers
        .iter()
        .zip(INPUT.lines())
        .map(|(header, line)| format!("{header}{}", message(line)))
        .collect();
    assert_eq!(lines, expected, "{options}");
    if !options.contains("rfc3164") {
        lines.iter().for_each(|line| {
            parse(line);
        });
    }
}

#[tokio::test]
async fn every_level_has_its_severity() {
    let levels: [(Value, u8); 14] = [
        (json!("emergency"), 0),
        (json!("ALERT"), 1),
        (json!("critical"), 2),
        (json!("fatal"), 2),
        (json!("error"), 3),
        (json!("Warning"), 4),
        (json!("notice"), 5),
        (json!("info"), 6),
        (json!("debug"), 7),
        (json!("trace"), 7),
        (json!(0), 0),
        (json!(50), 3),
        (json!("blue"), 6),
        (Value::Null, 6),
    ];
    let events = levels.iter().map(|(level, _)| event(&json!({"level": level}).to_string()));
    let lines = ship(TEXT, events.collect()).await;
    for (line, (level, severity)) in lines.iter().zip(levels) {
        assert_eq!(parse(line).severity, severity, "{level}");
    }
}

#[tokio::test]
async fn the_header_has_what_the_event_has() {
    let full = r#"{"host":"h1","fly":{"app":{"name":"web","instance":"i1"}},"job":"nightly","message":"m"}"#;
    let bare = r#"{"message":"m"}"#;
    let nulls = r#"{"host":null,"fly":{"app":{"name":"","instance":""}},"job":"","message":"m"}"#;
    let odd = r#"{"host":"a b\né","fly":{"app":{"name":"my app[1]:x","instance":"]"}},"message":"m"}"#;
    let numbers = r#"{"host":17,"fly":{"app":{"name":8,"instance":{"a": 1}}},"message":"m"}"#;
    let (job, old) = ("process = '{{ job }}'", "rfc = 'rfc3164'");
    // The options, the event, and what stands between time and message.
    let rows = [
        ("", full, "h1 web i1 - - "),
        ("", bare, "- log-shipper - - - "),
        ("", nulls, "- log-shipper - - - "),
        ("", odd, "a_b__ my_app[1]:x ] - - "),
        ("", numbers, "17 8 {\"a\":_1} - - "),
        (job, full, "h1 nightly i1 - - "),
        (job, bare, "- log-shipper - - - "),
        (job, nulls, "- log-shipper - - - "),
        ("process = 'fly/{{ fly.app.name }}'", full, "h1 fly/web i1 - - "),
        // The header is the event's, whatever is left of it in the message.
        ("encoding.except_fields = ['fly', 'host']", full, "h1 web i1 - - "),
        (old, full, "h1 web[i1]: "),
        (old, bare, "- log-shipper: "),
        (old, nulls, "- log-shipper[-]: "),
        (old, odd, "a_b__ my_app_1__x[_]: "),
    ];
    for (options, line, expected) in rows {
        let lines = ship(&format!("{TEXT}\n{options}"), vec![event(line)]).await;
        let (_, seen) = if options == old {
            lines[0].split_at("<14>Nov 22 05:00:00 ".len())
        } else {
            lines[0].split_at("<14>1 2026-11-22T05:00:00.000000Z ".len())
        };
        assert_eq!(seen, format!("{expected}m"), "{options}: {line}");
    }

    // Of the subject, where the event does not say it.
    let of_subject = event(bare).with_subject("logs.shop.ams.i7".into());
    let lines = ship(TEXT, vec![of_subject]).await;
    let message = parse(&lines[0]);
    assert_eq!((message.app, message.procid), ("shop", "i7"));

    // As long as RFC 5424 allows, and RFC 3164 a tag.
    let long = "ab".repeat(200);
    let long = json!({"host": long, "fly": {"app": {"name": long, "instance": long}}, "message": "m"});
    let lines = ship(TEXT, vec![event(&long.to_string())]).await;
    let message = parse(&lines[0]);
    assert_eq!((message.host.len(), message.app.len(), message.procid.len()), (255, 48, 128));
    let lines = ship(&format!("{TEXT}\n{old}"), vec![event(&long.to_string())]).await;
    let tag = lines[0].split(' ').nth(4).unwrap();
    assert_eq!(tag, format!("{}[{}]:", "ab".repeat(16), "ab".repeat(64)));
}

#[tokio::test]
async fn the_time_is_the_events_own() {
    for (time, shown, old) in [
        ("2026-11-02T07:30:00.123456789+02:30", "2026-11-02T05:00:00.123456Z", "Nov  2 05:00:00"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z", "Dec 31 23:59:59"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z", "Feb 29 00:00:00"),
    ] {
        let line = json!({"timestamp": time, "message": "m"}).to_string();
        let lines = ship(TEXT, vec![event(&line)]).await;
        parse(&lines[0]);
        assert_eq!(lines[0], format!("<14>1 {shown} - log-shipper - - - m"));
        let lines = ship(&format!("{TEXT}\nrfc = 'rfc3164'"), vec![event(&line)]).await;
        assert_eq!(lines[0], format!("<14>{old} - log-shipper: m"));
    }
}

#[tokio::test]
async fn a_message_stays_one_line() {
    // The codec, the event, and its message.
    let rows = [
        ("text", r#"{"message":"at a\n\tat b\r\nend\n"}"#, "at a\\n\tat b\\r\\nend"),
        (
            "text",
            r#"{"message":"naïve 日本語 🚀 \u001b[31mred\u001b[0m \u0000\u0007"}"#,
            "naïve 日本語 🚀 \u{1b}[31mred\u{1b}[0m \\0\u{7}",
        ),
        (
            "text",
            r#"{"message":"<14>1 forged\n<8>1 - - - - - - forged"}"#,
            "<14>1 forged\\n<8>1 - - - - - - forged",
        ),
        ("text", r#"{"no":"message"}"#, ""),
        ("json", "{\"message\":\"a\\nb\",\n  \"n\": 1\r\n}", "{\"message\":\"a\\nb\",   \"n\": 1  }"),
        ("logfmt", r#"{"message":"a\nb\rc"}"#, "message=\"a\\nb\\rc\""),
    ];
    for (codec, line, expected) in rows {
        let lines = ship(&format!("encoding.codec = '{codec}'"), vec![event(line)]).await;
        assert_eq!(parse(&lines[0]).text, expected, "{codec}: {line}");
    }
}

#[tokio::test]
async fn what_is_too_long_is_cut_off_at_the_end_of_a_character() {
    let header = "<14>1 2026-11-22T05:00:00.000000Z - log-shipper - - - ".len();
    // With its end, the line has just as much as Papertrail takes.
    let fits = 100_000 - header - 1;
    for (message, is_cut) in [
        ("x".repeat(fits), false),
        ("x".repeat(fits + 1), true),
        ("é".repeat(60_000), true),
        (format!("x{}", "é".repeat(60_000)), true),
        (format!("xy{}", "日".repeat(50_000)), true),
        ("🚀".repeat(250_000), true),
        ("\n".repeat(99_999) + "end", true),
    ] {
        let line = json!({"timestamp": "2026-11-22T05:00:00Z", "message": message}).to_string();
        let after = json!({"timestamp": "2026-11-22T05:00:00Z", "message": "after"}).to_string();
        let lines = ship(TEXT, vec![event(&line), event(&after)]).await;
        assert_eq!(parse(&lines[1]).text, "after", "the next event is whole");
        let sent = parse(&lines[0]).text;
        let sent = sent.replace("\\n", "\n");
        if !is_cut {
            assert_eq!(sent, message);
            continue;
        }
        let (kept, marker) = sent.rsplit_once("... [truncated ").expect("a marker");
        let missing: usize = marker.strip_suffix(" bytes]").expect("a marker").parse().unwrap();
        assert!(message.starts_with(kept));
        assert_eq!(kept.len() + missing, message.len());
        assert!(lines[0].len() > 99_800, "hardly more is cut off than must be: {}", lines[0].len());
    }
}

/// Events with anything in the fields that the sink looks at.
fn any_event() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![any::<String>(), "[ -~\r\n\0\u{85}\u{2028}é]{0,300}"];
    let value = || {
        prop_oneof![
            text().prop_map(Value::from),
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            text().prop_map(|text| json!({ text.clone(): [text, "\n"] })),
        ]
    };
    let time = prop_oneof![
        value(),
        (-9_000_000_000i64..9_000_000_000).prop_map(|seconds| {
            chrono::DateTime::from_timestamp(seconds, 123_456_789).unwrap().to_rfc3339().into()
        })
    ];
    let fields = (value(), value(), value(), value(), value(), time, any::<bool>());
    fields.prop_map(|(message, host, app, instance, level, time, is_long)| {
        let padding = if is_long { "é\n".repeat(40_000) } else { String::new() };
        let message = match message {
            Value::String(text) => Value::from(text + &padding),
            other => other,
        };
        json!({"message": message, "host": host, "fly": {"app": {"name": app, "instance": instance}},
               "level": level, "timestamp": time})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_event_is_exactly_one_good_line(
        events in prop::collection::vec(any_event(), 1..20),
        codec in prop::sample::select(vec!["'text'", "'json'", "'logfmt'", "'json'\nencoding.json.pretty = true"]),
        is_old in any::<bool>(),
    ) {
        let rfc = if is_old { "rfc3164" } else { "rfc5424" };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lines = runtime.block_on(async {
            let server = Server::start(None).await;
            let more = format!("encoding.codec = {codec}\nrfc = '{rfc}'\nprocess = '{{{{ fly.app.name }}}}'");
            let shipper = Shipper::start(&server.options(None, &more)).await;
            // Over several lines, as an application may write it.
            let texts: Vec<_> = events.iter().map(|event| serde_json::to_string_pretty(event).unwrap()).collect();
            shipper.send(&texts);
            shipper.send(&[r#"{"message":"the end"}"#.to_owned()]);
            check_delivered(shipper.stop().await, events.len() + 1);
            server.wait_until("the last line", |seen| seen.lines.last().is_some_and(|line| line.contains("the end"))).await.lines
        });
        prop_assert_eq!(lines.len(), events.len() + 1);
        for line in &lines {
            if is_old {
                let is_whole = line.starts_with("<8>") || line.starts_with("<9>") || line.starts_with("<1");
                prop_assert!(is_whole && line.contains(": "), "{}", line);
                prop_assert!(line.len() < 100_000 && !line.contains(['\r', '\0']));
            } else {
                let parsed = try_parse(line);
                prop_assert!(parsed.is_ok(), "{:?}: {}", parsed, line);
            }
        }
        if codec == "'json'" && !is_old {
            for (line, event) in lines.iter().zip(&events) {
                let text = parse(line).text;
                // It is still the same JSON.
                if !text.contains("... [truncated ") {
                    prop_assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), event);
                }
            }
        }
    }
}

// === connections ===

fn numbered(numbers: std::ops::Range<usize>, padding: usize) -> Vec<String> {
    let padding = "x".repeat(padding);
    numbers.map(|n| json!({"n": n, "message": format!("{n} {padding}")}).to_string()).collect()
}

/// The numbers at the start of the messages.
fn numbers(lines: &[String]) -> BTreeSet<usize> {
    let number = |line: &String| parse(line).text.split(' ').next().unwrap().parse().unwrap();
    lines.iter().map(number).collect()
}

#[tokio::test]
async fn plain_tcp_where_tls_is_switched_off() {
    let server = Server::start(None).await;
    let shipper = Shipper::start(&server.options(None, TEXT)).await;
    for start in [0, 10, 20] {
        shipper.send(&numbered(start..start + 10, 10));
        server.wait_until("the chunk", |seen| seen.lines.len() == start + 10).await;
    }
    check_delivered(shipper.stop().await, 30);
    let seen = server.seen.borrow().clone();
    assert_eq!((numbers(&seen.lines).len(), seen.connections), (30, 1), "one connection for all of them");
}

#[tokio::test]
async fn a_name_and_socket_options() {
    let certificates = Certificates::generate();
    let server = Server::start(Some(&certificates)).await;
    let options = format!(
        "{TEXT}\nkeepalive.time_secs = 10\nsend_buffer_bytes = 20_000\ntls.alpn_protocols = ['syslog']"
    );
    let options = server.options(Some(&certificates), &options).replace("127.0.0.1", "localhost");
    let shipper = Shipper::start(&options).await;
    shipper.send(&numbered(0..2_000, 500));
    check_delivered(shipper.stop().await, 2_000);
    let seen = server.wait_until("the end", |seen| seen.ended == 1).await;
    assert_eq!(seen.lines.len(), 2_000);
}

#[tokio::test]
async fn a_chunk_that_breaks_off_is_sent_again_as_a_whole() {
    let certificates = Certificates::generate();
    for certificates in [Some(&certificates), None] {
        let mut server = Server::down(certificates);
        server.takes = Some(100_000);
        server.start_again().await;
        // More than both systems keep for those who read later, so that the write cannot be done before.
        let options = format!("{TEXT}\nsend_buffer_bytes = 16384");
        let shipper = Shipper::start(&server.options(certificates, &options)).await;
        shipper.send(&numbered(0..8_000, 1_000));
        shipper.send(&numbered(8_000..8_010, 1));
        server.wait_until("a close in the middle", |seen| seen.closed == 1).await;
        server.stop().await;
        let before = server.lines().len();
        assert!((1..8_000).contains(&before), "{before}");
        assert_eq!(shipper.delivered(), 0, "nothing counts that was not sent whole");
        server.takes = None;
        server.start_again().await;
        check_delivered(shipper.stop().await, 8_010);
        let seen = server.wait_until("the last line", |seen| seen.lines.len() >= before + 8_010).await;
        assert_eq!(numbers(&seen.lines), (0..8_010).collect());
        assert_eq!(seen.lines.len(), before + 8_010, "twice is only what had come before the break");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_written_to() {
    let certificates = Certificates::generate();
    for certificates in [Some(&certificates), None] {
        let mut server = Server::start(certificates).await;
        let shipper = Shipper::start(&server.options(certificates, TEXT)).await;
        for round in 0..3 {
            shipper.send(&numbered(round * 10..round * 10 + 10, 10));
            server.wait_until("the chunk", |seen| seen.lines.len() == round * 10 + 10).await;
            // A close before that would have the chunk sent again.
            shipper.wait_for_delivered(round as u64 * 10 + 10).await;
            server.stop().await;
            server.start_again().await;
        }
        check_delivered(shipper.stop().await, 30);
        let seen = server.seen.borrow().clone();
        assert_eq!((numbers(&seen.lines), seen.connections), ((0..30).collect(), 3));
    }
}

#[tokio::test]
async fn a_server_that_is_down_gets_everything_when_it_comes_up() {
    let certificates = Certificates::generate();
    let (log, _guard) = LogLines::keep();
    let mut server = Server::down(Some(&certificates));
    let shipper = Shipper::start(&server.options(Some(&certificates), TEXT)).await;
    for start in [0, 10, 20] {
        shipper.send(&numbered(start..start + 10, 10));
    }
    log.wait_for("Connection refused").await;
    server.start_again().await;
    check_delivered(shipper.stop().await, 30);
    assert_eq!(numbers(&server.wait_until("all", |seen| seen.lines.len() == 30).await.lines).len(), 30);
    log.wait_for("connected to 127.0.0.1").await;
}

#[tokio::test]
async fn what_waits_at_the_deadline_is_counted() {
    let server = Server::down(None);
    let shipper = Shipper::start(&server.options(None, TEXT)).await;
    shipper.send(&numbered(0..10, 10));
    shipper.send(&numbered(10..20, 10));
    shipper.wait_for("a receipt", |books| books.received == 20).await;
    let books = shipper.stop_within(Duration::from_millis(300)).await;
    assert_eq!((books.received, books.buffered, books.dropped_for(DropReason::Shutdown)), (20, 0, 20));
}

#[tokio::test]
async fn a_bad_certificate_is_told_and_loses_nothing() {
    let (good, bad) = (Certificates::generate(), Certificates::generate());
    let (log, _guard) = LogLines::keep();
    let mut server = Server::start(Some(&bad)).await;
    let shipper = Shipper::start(&server.options(Some(&good), TEXT)).await;
    shipper.send(&numbered(0..10, 10));
    log.wait_for("failed: invalid peer certificate: ").await;
    assert!(server.lines().is_empty());
    server.stop().await;
    server.tls = Some(good.acceptor());
    server.start_again().await;
    check_delivered(shipper.stop().await, 10);
    assert_eq!(numbers(&server.wait_until("all", |seen| seen.lines.len() == 10).await.lines).len(), 10);
}

/// In TLS 1.3 a connection is there, for the client, before the server has looked at its certificate.
#[tokio::test]
async fn a_server_that_refuses_us_after_the_handshake_takes_nothing() {
    let certificates = Certificates::generate();
    let (log, _guard) = LogLines::keep();
    let mut server = Server::down(Some(&certificates));
    server.tls = Some(certificates.mutual_acceptor());
    server.start_again().await;
    let shipper = Shipper::start(&server.options(Some(&certificates), TEXT)).await;
    shipper.send(&numbered(0..10, 10));
    log.wait_for("received fatal alert: CertificateRequired").await;
    assert_eq!(shipper.delivered(), 0);
    server.stop().await;
    server.tls = Some(certificates.acceptor());
    server.start_again().await;
    check_delivered(shipper.stop().await, 10);
    assert_eq!(numbers(&server.wait_until("all", |seen| seen.lines.len() == 10).await.lines).len(), 10);
}

#[tokio::test]
async fn our_own_certificate() {
    let certificates = Certificates::generate();
    let mut server = Server::down(Some(&certificates));
    server.tls = Some(certificates.mutual_acceptor());
    server.start_again().await;
    let (cert, key) = (certificates.client_cert.display(), certificates.client_key.display());
    let options = format!("{TEXT}\ntls.crt_file = '{cert}'\ntls.key_file = '{key}'");
    let shipper = Shipper::start(&server.options(Some(&certificates), &options)).await;
    shipper.send(&numbered(0..10, 10));
    check_delivered(shipper.stop().await, 10);
    server.wait_until("all", |seen| seen.lines.len() == 10).await;
}

#[tokio::test]
async fn plain_text_to_a_port_of_tls_is_told_and_is_not_delivered() {
    let certificates = Certificates::generate();
    let (log, _guard) = LogLines::keep();
    let server = Server::start(Some(&certificates)).await;
    let shipper = Shipper::start(&server.options(None, TEXT)).await;
    shipper.send(&numbered(0..10, 10));
    log.wait_for("the server speaks TLS; take tls.enabled = false out").await;
    let books = shipper.stop_within(Duration::from_millis(1)).await;
    assert_eq!((books.delivered, books.dropped_for(DropReason::Shutdown)), (0, 10));
}

#[tokio::test]
async fn a_connection_that_ends_early_is_told() {
    let (log, _guard) = LogLines::keep();
    let mut server = Server::start(None).await;
    let shipper = Shipper::start(&server.options(None, TEXT)).await;
    shipper.send(&numbered(0..10, 10));
    server.wait_until("the chunk", |seen| seen.lines.len() == 10).await;
    shipper.wait_for_delivered(10).await;
    server.stop().await;
    log.wait_for("the server has closed the connection; what was still on its way there may be lost").await;
    check_delivered(shipper.stop().await, 10);
}

#[tokio::test]
async fn healthchecks_say_what_is_wrong() {
    let (good, other) = (Certificates::generate(), Certificates::generate());
    let (tls, plain) = (Server::start(Some(&good)).await, Server::start(None).await);
    let mut down = Server::down(Some(&good));
    down.stop().await;
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http_port = http.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = http.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let mut mutual = Server::down(Some(&good));
    mutual.tls = Some(good.mutual_acceptor());
    mutual.start_again().await;
    let ca = |certificates: &Certificates| format!("tls.ca_file = '{}'", certificates.ca.display());
    // Which no resolver has to be asked about: it is longer than a label may be.
    let nobody = "x".repeat(64);
    let rows = [
        (format!("127.0.0.1:{}", tls.port), ca(&good), None),
        (format!("localhost:{}", tls.port), ca(&good), None),
        (format!("127.0.0.1:{}", plain.port), "tls.enabled = false".to_owned(), None),
        (format!("127.0.0.1:{}", tls.port), ca(&other), Some("failed: invalid peer certificate")),
        (
            format!("127.0.0.1:{}", tls.port),
            format!("{}\ntls.server_name = 'other.test'", ca(&good)),
            Some("certificate not valid for name \"other.test\""),
        ),
        (format!("127.0.0.1:{}", mutual.port), ca(&good), Some("CertificateRequired")),
        (format!("127.0.0.1:{}", down.port), ca(&good), Some("Connection refused")),
        (format!("127.0.0.1:{http_port}"), ca(&good), Some("set tls.enabled = false")),
        (format!("{nobody}:514"), "tls.enabled = false".to_owned(), Some("cannot be looked up")),
    ];
    let options = TopologyOptions::default().with_require_healthy(true);
    for (endpoint, tls, words) in rows {
        let mut config = load(&format!("endpoint = '{endpoint}'\n{tls}\n{TEXT}")).unwrap();
        config.sources = vec![SourceEntry::new("in", Fed(Mutex::new(Some(mpsc::unbounded_channel().1))))];
        let started = timeout(WITHIN, Topology::start(config, &options, std::future::pending::<()>()))
            .await
            .expect("in time");
        match (started, words) {
            (Ok(_), None) => {}
            (Err(error), Some(words)) => {
                let error = error.to_string();
                assert!(error.contains("sinks.out: healthcheck failed"), "{endpoint}: {error}");
                assert!(error.contains(words), "{endpoint}: {error}");
            }
            (started, _) => panic!("{endpoint}, {words:?}: {started:?}"),
        }
    }
    assert!(tls.lines().is_empty() && plain.lines().is_empty(), "a healthcheck sends nothing");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let endpoint = "endpoint = 'h:514'";
    for (options, words) in [
        (TEXT.to_owned(), "missing field `endpoint`"),
        (endpoint.to_owned(), "missing field `encoding`"),
        (format!("endpoint = 'h'\n{TEXT}"), "expected a host and a port"),
        (format!("endpoint = 'https://h:514'\n{TEXT}"), "expected a host and a port"),
        (format!("{endpoint}\n{TEXT}\nrfc = 'rfc1'"), "`rfc5424` or `rfc3164`"),
        (format!("{endpoint}\n{TEXT}\nprocess = '{{{{ a b }}}}'"), "not a field path"),
        (format!("{endpoint}\n{TEXT}\nsend_buffer_bytes = 0"), "expected at least 1"),
        (format!("{endpoint}\n{TEXT}\nkeepalive.time_secs = 0"), "more than zero"),
        (format!("{endpoint}\n{TEXT}\nkeepalive.seconds = 1"), "unknown field `seconds`"),
        (format!("{endpoint}\n{TEXT}\nmode = 'tcp'"), "unknown field `mode`"),
        (format!("{endpoint}\n{TEXT}\ntls.ca_file = '/nowhere/ca.pem'"), "cannot read /nowhere/ca.pem"),
        (format!("endpoint = 'a_b$:514'\n{TEXT}"), "`a_b$` is not a host name that TLS could ask for"),
    ] {
        let error = match load(&options) {
            Err(error) => error,
            Ok(config) => {
                Topology::build(config, &TopologyOptions::default()).await.expect_err(&options).to_string()
            }
        };
        assert!(error.contains(words) && error.contains("sinks.out"), "{options}: {error}");
    }
}
