//! Destinations that answer nonsense, too much, too slowly or with malice: they do no harm. All of them at once, each in
//! front of a sink of its own in one process: its memory stays flat, its books balance, its log is lines of text, and when
//! they answer well again, events are delivered.

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::program::Program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Events for each sink, a request each.
const EVENTS: usize = 8;
/// So many of the first requests are answered badly.
const BAD_ANSWERS: usize = 2;
const LIMIT: Duration = Duration::from_secs(100);
const MIB: usize = 1 << 20;

/// What a destination does about a request.
enum Answer {
    /// This, and the connection is closed.
    Bytes(Vec<u8>),
    /// This, and then that for as long as anybody reads.
    Endless(Vec<u8>, Vec<u8>),
    /// This, a byte at a time, so slowly that it never comes to an end.
    Drip(Vec<u8>),
}

use Answer::{Bytes, Drip, Endless};

fn text(text: &str) -> Answer {
    Bytes(text.as_bytes().to_vec())
}

/// A whole answer with this status and body.
fn answer(status: u16, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
    Bytes([head.as_bytes(), body].concat())
}

/// A gibibyte of zeros, in a mebibyte.
fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; MIB];
    (0..64).for_each(|_| encoder.write_all(&zeros).unwrap());
    let piece = encoder.finish().unwrap();
    // Gzip's members one after the other are one text.
    let body = piece.repeat(16);
    let head = format!("HTTP/1.1 400 X\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

/// JSON of so many levels.
fn deep(levels: usize) -> String {
    "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels)
}

/// Every vendor whose answers are read: the options of its sink.
const READERS: &[(&str, &str)] = &[
    ("axiom", "type='axiom'\ntoken='t'\ndataset='d'\nurl='URL'\n"),
    (
        "cloudwatch",
        "type='aws_cloudwatch_logs'\ngroup_name='g'\nstream_name='s'\nregion='eu-west-1'\nendpoint='URL'\n\
         auth.access_key_id='i'\nauth.secret_access_key='k'\nencoding.codec='json'\n",
    ),
    ("datadog", "type='datadog_logs'\ndefault_api_key='k'\nendpoint='URL'\n"),
    ("elasticsearch", "type='elasticsearch'\nendpoints=['URL']\nbulk.index='i'\n"),
    ("honeycomb", "type='honeycomb'\napi_key='k'\ndataset='d'\nendpoint='URL'\n"),
    ("http", "type='http'\nuri='URL/in'\nencoding.codec='json'\n"),
    ("loki", "type='loki'\nendpoint='URL'\nlabels.a='b'\nencoding.codec='json'\n"),
    (
        "s3",
        "type='aws_s3'\nbucket='bucket'\nregion='eu-west-1'\nendpoint='URL'\nauth.access_key_id='i'\n\
            auth.secret_access_key='k'\nencoding.codec='json'\n",
    ),
    ("splunk", "type='splunk_hec_logs'\ndefault_token='t'\nendpoint='URL'\nencoding.codec='json'\n"),
];

/// What any destination may do; a plain `http` sink is in front of each.
fn hostile() -> Vec<(String, Answer)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let of = |name: &str, answer: Answer| (name.to_owned(), answer);
    let chunked = format!("{ok}transfer-encoding: chunked\r\n\r\n");
    vec![
        of("endless_body", Endless(format!("{ok}\r\n").into(), vec![b'x'; 1 << 16])),
        of("endless_chunks", Endless(chunked.clone().into(), b"4\r\nabcd\r\n".repeat(1000))),
        of("endless_refusal", Endless(b"HTTP/1.1 400 X\r\n\r\n".to_vec(), vec![b'x'; 1 << 16])),
        of("endless_headers", Endless(ok.into(), b"x: y\r\n".repeat(1000))),
        of("endless_header", Endless(format!("{ok}x: ").into(), vec![b'x'; 1 << 16])),
        of("endless_status", Endless(b"HTTP/1.1 200 ".to_vec(), vec![b'x'; 1 << 16])),
        of("many_headers", text(&format!("{ok}{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(5000)))),
        of("long_header", text(&format!("{ok}x: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(MIB)))),
        of("endless_100", Endless(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100))),
        of("endless_103", Endless(Vec::new(), b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n".repeat(100))),
        of("upgrade", text("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nxxxx")),
        of("negative_length", text(&format!("{ok}content-length: -1\r\n\r\nx"))),
        of("length_of_65_bits", text(&format!("{ok}content-length: 36893488147419103232\r\n\r\nx"))),
        of("length_of_63_bits", text(&format!("{ok}content-length: 9223372036854775807\r\n\r\nx"))),
        of("two_lengths", text(&format!("{ok}content-length: 1\r\ncontent-length: 2\r\n\r\nxx"))),
        of(
            "length_and_chunks",
            text(&format!("{ok}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")),
        ),
        of("bad_chunk", text(&format!("{chunked}zz\r\nabc"))),
        of("chunk_of_65_bits", text(&format!("{chunked}1ffffffffffffffff\r\nabc"))),
        of("endless_extension", Endless(format!("{chunked}1;").into(), vec![b'x'; 1 << 16])),
        of("endless_trailers", Endless(format!("{chunked}0\r\n").into(), b"x: y\r\n".repeat(1000))),
        of("short_body", text(&format!("{ok}content-length: 100\r\n\r\nx"))),
        of("zip_bomb", Bytes(bomb())),
        of("drip_of_head", Drip(format!("{ok}{}", "x: y\r\n".repeat(100)).into())),
        of("drip_of_body", Drip(format!("{ok}content-length: 1000\r\n\r\n{}", "x".repeat(1000)).into())),
        of("silence", Drip(Vec::new())),
        of("hang_up", Bytes(Vec::new())),
        of("no_http", Bytes((0..=255).cycle().take(10_000).collect())),
        of("other_version", text("HTTP/9.9 200 OK\r\n\r\n")),
        of("status_0", answer(0, b"")),
        of("status_999", answer(999, b"x")),
        of("redirect", text("HTTP/1.1 307 X\r\nlocation: /in\r\ncontent-length: 0\r\n\r\n")),
        of(
            "bad_location",
            text("HTTP/1.1 301 X\r\nlocation: \u{1}\u{2}http://[\r\ncontent-length: 0\r\n\r\n"),
        ),
        of("retry_after", text("HTTP/1.1 429 X\r\nretry-after: 1e999\r\ncontent-length: 0\r\n\r\n")),
        of(
            "retry_in_the_past",
            text("HTTP/1.1 503 X\r\nretry-after: -9999999999999999999\r\ncontent-length: 0\r\n\r\n"),
        ),
        of("no_utf_8", answer(400, &[b'a', 0xff, 0xfe, 0xc0, 0x80, b'\n', b'b'])),
        of("control_characters", answer(400, &(0..32).chain([127, 0xc2, 0x9b]).collect::<Vec<u8>>())),
        of(
            "ansi",
            answer(400, b"\x1b[2J\x1b[31mred\x1b]0;title\x07\r\nERROR forged=line\n2026 INFO forged\n"),
        ),
        of("direction", answer(400, "\u{202e}desrever\u{2028}line\u{2029}".as_bytes())),
        of("no_words", answer(400, &vec![b' '; 5 * MIB])),
    ]
}

/// What vendors' answers are read for, taken to extremes.
fn answers() -> Vec<(&'static str, Answer)> {
    let mut items = "{\"errors\":true,\"items\":[{}".to_owned();
    while items.len() < 4 * MIB - 20 {
        items.push_str(",{\"a\":{}}");
    }
    items.push_str("]}");
    let numbers = format!("[{}0]", "0,".repeat(2 * MIB - 2));
    let ansi = "\\u001b[31mforged\\n2026 ERROR forged\\u0007";
    let errors = format!(
        r#"{{"errors":true,"items":[{{"index":{{"status":400,"error":{{"type":"{ansi}","reason":"{ansi}"}}}}}}],"failed":1,"failures":[{{"error":"{ansi}"}}],"status":[{{"failed":1,"error":"{ansi}"}}],"code":6,"text":"{ansi}"}}"#
    );
    let aws = format!(r#"{{"__type":"a#{ansi}{}","message":"{ansi}"}}"#, "x".repeat(MIB));
    let xml = format!(
        "<Error><Code>\x1b[31m\nforged{}</Code><Message>\x07\nforged</Message></Error>",
        "x".repeat(MIB)
    );
    vec![
        ("deep", answer(200, deep(100_000).as_bytes())),
        ("deep_400", answer(400, deep(100_000).as_bytes())),
        ("open", answer(200, &vec![b'['; 4 * MIB - 1])),
        ("items", answer(200, items.as_bytes())),
        ("numbers", answer(200, numbers.as_bytes())),
        ("numbers_400", answer(400, format!("{{\"invalid\":{numbers}}}").as_bytes())),
        ("errors", answer(200, errors.as_bytes())),
        ("errors_400", answer(400, errors.as_bytes())),
        ("entry", answer(200, format!("[{{\"status\":400,\"error\":\"{ansi}\"}}]").as_bytes())),
        ("aws", answer(400, aws.as_bytes())),
        ("xml", answer(400, xml.as_bytes())),
    ]
}

/// The request's head and body; nothing if there is none.
async fn request(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    Some(())
}

async fn misbehave(mut stream: TcpStream, answer: &Answer) {
    // It may well hang up on us, which is right.
    let _ = match answer {
        Bytes(bytes) => stream.write_all(bytes).await,
        Endless(head, unit) => {
            let mut written = stream.write_all(head).await;
            while written.is_ok() {
                written = stream.write_all(unit).await;
                // Fast, but not so that the others get nothing of the processor.
                sleep(Duration::from_millis(1)).await;
            }
            written
        }
        Drip(bytes) => {
            let mut written = Ok(());
            for byte in bytes {
                written = stream.write_all(&[*byte]).await;
                if written.is_err() {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
            // Until it is left.
            let _ = stream.read(&mut [0]).await;
            written
        }
    };
    let _ = stream.shutdown().await;
}

/// A destination; how many requests it has answered well.
async fn destination(answer: Answer) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (good, taken, answer) =
        (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::new(answer));
    let count = Arc::clone(&good);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (good, taken, answer) = (Arc::clone(&good), Arc::clone(&taken), Arc::clone(&answer));
            tokio::spawn(async move {
                while request(&mut stream).await.is_some() {
                    if taken.fetch_add(1, Ordering::Relaxed) < BAD_ANSWERS {
                        return misbehave(stream, &answer).await;
                    }
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
                    good.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (port, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_does_harm() {
    let mut config = format!(
        "[sources.in]\ntype='demo_logs'\nformat='fly'\ncount={EVENTS}\ninterval=0.0\n\
         [sources.idle]\ntype='demo_logs'\nformat='fly'\ninterval=3600\n\
         [sinks.nowhere]\ntype='blackhole'\ninputs=['idle']\n\
         [sinks.quiet]\ntype='blackhole'\ninputs=['in']\n"
    );
    let mut cases: Vec<(String, &str, Answer)> = Vec::new();
    let http = READERS.iter().find(|(name, _)| *name == "http").unwrap().1;
    cases.extend(hostile().into_iter().map(|(name, answer)| (name, http, answer)));
    for (vendor, options) in READERS {
        cases.extend(
            answers().into_iter().map(|(name, answer)| (format!("{vendor}_{name}"), *options, answer)),
        );
    }
    let mut destinations = Vec::new();
    for (name, options, answer) in cases {
        let (port, good) = destination(answer).await;
        let options = options.replace("URL", &format!("http://127.0.0.1:{port}"));
        let timeout =
            if name.starts_with("drip") || name.starts_with("endless") || name == "silence" { 1 } else { 20 };
        write!(
            config,
            "[sinks.{name}]\ninputs=['in']\nhealthcheck=false\n{options}batch={{max_events=1,timeout_secs=0.1}}\n\
             request={{timeout_secs={timeout},retry_max_duration_secs=1,concurrency=1}}\n"
        )
        .unwrap();
        destinations.push((name, good));
    }
    let program = Program::run(&config, &[("LOG_SHIPPER_LOG", "debug,hyper=info,reqwest=info")]);
    let done = |good: &AtomicUsize| good.load(Ordering::Relaxed) >= EVENTS - BAD_ANSWERS;
    let all = timeout(LIMIT, async {
        while !destinations.iter().all(|(_, good)| done(good)) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    if all.await.is_err() {
        let left: Vec<_> =
            destinations.iter().filter(|(_, good)| !done(good)).map(|(name, _)| name).collect();
        panic!("still waiting for {left:?}\n{}", program.log());
    }
    let (peak, now) = (program.peak_memory() / MIB, program.memory() / MIB);
    println!("{} hostile destinations: {peak} MiB at most, {now} MiB at the end", destinations.len());
    program.signal("-TERM").await;
    let (_, log) = program.ended().await;

    for line in log.lines() {
        let is_unfit = |c: char| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c);
        assert!(!line.chars().any(is_unfit), "{line:?}");
        assert!(line.len() < 4000, "a line of {} bytes: {}", line.len(), &line[..1000]);
        // A line begins with its time, or it is a forged one; but for the last one, if somebody was not done.
        let is_ours =
            line.starts_with("20") && line.as_bytes()[10] == b'T' || line.starts_with("log-shipper: ");
        assert!(is_ours, "{line:?}");
    }
    for (name, _) in &destinations {
        let book = support::program::book_of(&log, name);
        let book = book.unwrap_or_else(|| panic!("no books of {name}: {log}"));
        assert_eq!(book.received, EVENTS as u64, "{name}: {book:?}");
        assert_eq!(
            book.received,
            book.delivered + book.rejected + book.dropped + book.buffered,
            "{name}: {book:?}"
        );
        assert!(book.delivered >= (EVENTS - BAD_ANSWERS) as u64, "{name}: {book:?}");
    }
    // 4 MiB of an answer at most, and what is made of it; at rest, so many sinks take 100.
    assert!(peak < 400, "{peak} MiB");
}
