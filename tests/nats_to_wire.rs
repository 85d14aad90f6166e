//! From publish to the wire, over the real nats-server and real sockets.

mod support;

use futures::StreamExt;
use log_shipper::config::{Config, Registry, from_environment};
use log_shipper::env::Env;
use log_shipper::topology::{DropReason, RunningTopology, Topology, TopologyOptions, WhenFull};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use support::certificates::Certificates;
use support::http_server::{HttpServer, Reply, Request};
use support::nats_server::{NATS_SOURCE, NatsServer, Options, TlsFiles};
use support::publisher::{Publisher, fly_event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::LazyConfigAcceptor;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(120);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

/// Starts what this configuration says, with `{nats}` and `{http}` replaced by their URLs.
async fn start(text: &str, nats: &str, http: &HttpServer, env: Env) -> RunningTopology {
    let text = text.replace("{nats}", nats).replace("{http}", &http.url("/in"));
    let config = Config::from_toml(&text, "test", &Registry::builtin(), &env).unwrap();
    let options = TopologyOptions::default().with_env(env);
    Topology::start(config, &options, std::future::pending::<()>()).await.unwrap()
}

const LINES_SINK: &str = "
    [sinks.http]
    type = 'http'
    inputs = ['nats']
    uri = '{http}'
    encoding.codec = 'json'
    framing.method = 'newline_delimited'
    batch.timeout_secs = 0.05
    request.retry_initial_backoff_secs = 0.01
";

/// Events as lines, so that each arrives as the bytes it was published in; with more options of the source.
fn lines_with(options: &str) -> String {
    format!("{NATS_SOURCE}{options}\n{LINES_SINK}")
}

/// A server of one's own, and its address.
async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Starts what the environment says.
async fn start_from_environment(pairs: &[(&str, &str)]) -> RunningTopology {
    let env = Env::from_pairs(pairs.iter().copied());
    let text = from_environment(&env).unwrap().table.to_string();
    let config = Config::from_toml(&text, "environment", &Registry::builtin(), &env).unwrap();
    let options = TopologyOptions::default().with_when_full(WhenFull::DropOldest).with_env(env);
    Topology::start(config, &options, std::future::pending::<()>()).await.unwrap()
}

fn lines(requests: &[Request]) -> Vec<String> {
    let split = |request: &Request| request.text().split('\n').map(str::to_owned).collect::<Vec<_>>();
    requests.iter().flat_map(split).collect()
}

/// The numbers of the events in JSON arrays, sorted.
fn numbers(requests: &[Request]) -> Vec<u64> {
    let mut numbers: Vec<u64> = requests
        .iter()
        .flat_map(|request| request.json().as_array().cloned().unwrap_or_default())
        .filter_map(|event| event["n"].as_u64())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_thousand_messages_arrive_once_and_byte_for_byte() {
    in_time(async {
        const EVENTS: u64 = 200_000;
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let mut running = start(&lines_with(""), &nats.url(), &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let mut published = HashMap::new();
        for start in (0..EVENTS).step_by(20_000) {
            for n in start..start + 20_000 {
                let (subject, event) = fly_event(n);
                publisher.publish(&subject, &event).await;
                published.insert(event, 0u32);
            }
            publisher.flush().await;
            // No faster than they arrive: what the client drops under pressure is another test.
            let received = || running.counts().sinks[0].1.delivered;
            let target = start + 20_000;
            while received() < target {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let report = running.stop(Duration::from_secs(10)).await;
        for line in lines(&http.requests()) {
            *published.get_mut(&line).unwrap_or_else(|| panic!("not as it was published: {line}")) += 1;
        }
        assert!(published.values().all(|times| *times == 1), "lost or sent twice");
        assert_eq!(published.len() as u64, EVENTS);
        let (source, sink) = (report.sources[0].1, report.sinks[0].1);
        assert_eq!((source.received, source.disconnects, source.undecodable), (EVENTS, 0, 0));
        assert_eq!((sink.received, sink.delivered, sink.buffered), (EVENTS, EVENTS, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_of_one_queue_share_without_overlap() {
    in_time(async {
        const EVENTS: u64 = 5_000;
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let url = http.url("/");
        let nats_url = nats.url();
        let pairs =
            [("NATS_URL", nats_url.as_str()), ("QUEUE", "shippers"), ("HTTP_URL", &url), ("HTTP_TOKEN", "t")];
        let replicas = [start_from_environment(&pairs).await, start_from_environment(&pairs).await];
        while nats.subscriptions().await.iter().filter(|subject| *subject == "logs.>").count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..EVENTS).await;
        publisher.flush().await;
        http.wait_until(|requests| numbers(requests).len() as u64 >= EVENTS).await;
        let mut shares = Vec::new();
        for mut replica in replicas {
            shares.push(replica.stop(Duration::from_secs(5)).await.sources[0].1.received);
        }
        assert_eq!(numbers(&http.requests()), (0..EVENTS).collect::<Vec<_>>());
        assert_eq!(shares.iter().sum::<u64>(), EVENTS);
        assert!(shares.iter().all(|share| *share > 0), "one of them did nothing: {shares:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_at_first_and_restarts_later_is_found_again() {
    in_time(async {
        let mut nats = NatsServer::start().await;
        nats.stop().await;
        let http = HttpServer::start().await;
        let mut running = start(&lines_with(""), &nats.url(), &http, Env::default()).await;
        for round in 0..3 {
            match round {
                0 => nats.start_again().await,
                _ => nats.restart().await,
            }
            nats.wait_for_subscription("logs.>").await;
            let mut publisher = Publisher::connect(&nats.url(), None).await;
            publisher.publish_events(round * 100..(round + 1) * 100).await;
            publisher.flush().await;
            http.wait_until(|requests| lines(requests).len() as u64 >= (round + 1) * 100).await;
        }
        let report = running.stop(Duration::from_secs(5)).await;
        assert_eq!(report.sinks[0].1.delivered, 300);
        assert!(!report.has_losses());
    })
    .await;
}

/// One event through a server with these options, with the source's `auth` and `tls` as they are given.
async fn signs_in(options: Options, source: &str, url: impl Fn(&NatsServer) -> String, env: Env) {
    in_time(async {
        let nats = NatsServer::with(options.clone()).await;
        let http = HttpServer::start().await;
        let text = lines_with(source);
        let mut running = start(&text, &url(&nats), &http, env).await;
        nats.wait_for_subscription("logs.>").await;
        let client = client(&nats, &options).await;
        client.publish("logs.a.ord.1", "{\"n\":1}".into()).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(lines(&http.wait_for(1).await), ["{\"n\":1}"]);
        assert!(!running.stop(Duration::from_secs(5)).await.has_losses());
    })
    .await;
}

/// A client of the library itself, to publish where the plain publisher cannot: through TLS.
async fn client(nats: &NatsServer, options: &Options) -> async_nats::Client {
    let mut connect = async_nats::ConnectOptions::new();
    if let Some((user, password)) = &options.user_password {
        connect = connect.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &options.token {
        connect = connect.token(token.clone());
    }
    if let Some(tls) = &options.tls {
        let dir = tls.cert.parent().unwrap();
        connect = connect.add_root_certificates(dir.join("ca.pem"));
        if tls.ca.is_some() {
            connect = connect.add_client_certificate(dir.join("client.pem"), dir.join("client-key.pem"));
        }
        if tls.handshake_first.is_some() {
            connect = connect.tls_first();
        }
    }
    connect.connect(nats.url().replace("127.0.0.1", "localhost")).await.unwrap()
}

#[tokio::test]
async fn signs_in_with_user_and_password() {
    let options = || Options {
        user_password: Some(("org".into(), "FlyV1 fm2_a,fm2_b\"$".into())),
        ..Options::default()
    };
    let env = Env::from_pairs([("PASSWORD", "FlyV1 fm2_a,fm2_b\"$")]);
    let auth =
        "auth.strategy = 'user_password'\nauth.user_password = {user = 'org', password = '${PASSWORD}'}";
    signs_in(options(), auth, NatsServer::url, env).await;
    let with_userinfo =
        |nats: &NatsServer| nats.url().replace("nats://", "nats://org:FlyV1%20fm2_a,fm2_b%22$$@");
    signs_in(options(), "", with_userinfo, Env::default()).await;
}

#[tokio::test]
async fn signs_in_with_a_token() {
    let options = || Options { token: Some("t0ken".into()), ..Options::default() };
    let auth = "auth.strategy = 'token'\nauth.token.value = 't0ken'";
    signs_in(options(), auth, NatsServer::url, Env::default()).await;
    signs_in(options(), "", |nats| nats.url().replace("nats://", "nats://t0ken@"), Env::default()).await;
}

#[tokio::test]
async fn signs_in_with_an_nkey_given_or_in_a_file() {
    let pair = nkeys::KeyPair::new_user();
    let seed = pair.seed().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.nk");
    std::fs::write(&path, format!("{seed}\n")).unwrap();
    for given in [seed.as_str(), path.to_str().unwrap()] {
        let options = Options {
            nkey: Some(pair.public_key()),
            user_password: Some(("publisher".into(), "p".into())),
            ..Options::default()
        };
        let auth = "auth.strategy = 'nkey'\nauth.nkey.seed = '${NKEY}'";
        signs_in(options, auth, NatsServer::url, Env::from_pairs([("NKEY", given)])).await;
    }
}

#[tokio::test]
async fn connects_through_tls_with_a_private_authority() {
    let certificates = Certificates::generate();
    let (ca, cert, key) = (&certificates.ca, &certificates.client_cert, &certificates.client_key);
    let localhost = |nats: &NatsServer| nats.url().replace("127.0.0.1", "localhost");
    let trust = format!("tls.ca_file = '{}'", ca.display());
    let plain = || Options { tls: Some(certificates.tls()), ..Options::default() };
    signs_in(plain(), &trust, localhost, Env::default()).await;
    let identity =
        format!("{trust}\ntls.crt_file = '{}'\ntls.key_file = '{}'", cert.display(), key.display());
    let mutual = Options { tls: Some(certificates.mutual_tls()), ..Options::default() };
    signs_in(mutual, &identity, localhost, Env::default()).await;
    let unchecked = "tls.enabled = true\ntls.verify_certificate = false";
    signs_in(plain(), unchecked, localhost, Env::default()).await;
    let other_name = format!("{trust}\ntls.server_name = 'localhost'");
    signs_in(plain(), &other_name, NatsServer::url, Env::default()).await;
}

#[tokio::test]
async fn begins_with_tls_where_the_server_wants_it() {
    let certificates = Certificates::generate();
    let (ca, cert, key) = (&certificates.ca, &certificates.client_cert, &certificates.client_key);
    let localhost = |nats: &NatsServer| nats.url().replace("127.0.0.1", "localhost");
    let first = format!("tls_first = true\ntls.ca_file = '{}'", ca.display());
    let options = |tls, handshake_first| {
        let tls = TlsFiles { handshake_first: Some(handshake_first), ..tls };
        Options { tls: Some(tls), ..Options::default() }
    };
    signs_in(options(certificates.tls(), "true"), &first, localhost, Env::default()).await;
    // The server would wait for ten seconds before it says anything in plain text.
    signs_in(options(certificates.tls(), "10s"), &first, localhost, Env::default()).await;
    let identity =
        format!("{first}\ntls.crt_file = '{}'\ntls.key_file = '{}'", cert.display(), key.display());
    signs_in(options(certificates.mutual_tls(), "true"), &identity, localhost, Env::default()).await;
}

#[tokio::test]
async fn waits_for_a_server_that_would_like_tls_first() {
    let certificates = Certificates::generate();
    let localhost = |nats: &NatsServer| nats.url().replace("127.0.0.1", "localhost");
    let trust = format!("tls.ca_file = '{}'", certificates.ca.display());
    for wait in ["auto", "300ms"] {
        let tls = TlsFiles { handshake_first: Some(wait), ..certificates.tls() };
        let options = Options { tls: Some(tls), ..Options::default() };
        signs_in(options, &trust, localhost, Env::default()).await;
    }
}

/// With `tls_first`, what INFO says is believed, and no server hears a word in plain text.
#[tokio::test]
async fn a_server_of_the_cluster_is_learned_inside_tls_and_met_with_tls_first() {
    in_time(async {
        let ((first, address), (second, other_address)) = (listen().await, listen().await);
        let certificates = Certificates::generate();
        let http = HttpServer::start().await;
        let tls = format!("tls_first = true\ntls.ca_file = '{}'", certificates.ca.display());
        let url = format!("nats://localhost:{}", address.port());
        let text = lines_with(&tls);
        let _running = start(&text, &url, &http, Env::default()).await;

        let (stream, _) = first.accept().await.unwrap();
        let mut stream = certificates.acceptor().accept(stream).await.unwrap();
        let info = format!("INFO {{\"connect_urls\":[\"{}\"]}}\r\n", other_address);
        stream.write_all(info.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();

        // An address has no certificate of its own: the name is that of the server that is configured.
        let (stream, _) = second.accept().await.unwrap();
        assert_eq!(shown_name(stream).await.as_deref(), Some("localhost"));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_begin_with_tls_hears_nothing_but_the_handshake() {
    in_time(async {
        let (listener, address) = listen().await;
        let http = HttpServer::start().await;
        let text = lines_with("tls_first = true");
        let url = format!("nats://user:password@{address}");
        let _running = start(&text, &url, &http, Env::default()).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"INFO {\"server_id\":\"x\"}\r\n").await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        const HANDSHAKE: u8 = 22;
        assert_eq!(heard[0], HANDSHAKE);
        let heard = String::from_utf8_lossy(&heard);
        assert!(!heard.contains("CONNECT") && !heard.contains("user"), "{heard:?}");
    })
    .await;
}

#[tokio::test]
async fn the_handshake_shows_the_name_that_is_expected() {
    in_time(async {
        let (listener, address) = listen().await;
        let http = HttpServer::start().await;
        let text = lines_with("tls_first = true\ntls.server_name = 'nats.example'");
        let url = format!("nats://{address}");
        let _running = start(&text, &url, &http, Env::default()).await;
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(shown_name(stream).await.as_deref(), Some("nats.example"));
    })
    .await;
}

/// The name in the handshake (SNI) that this connection begins with.
async fn shown_name(stream: tokio::net::TcpStream) -> Option<String> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.unwrap();
    hello.client_hello().server_name().map(str::to_owned)
}

#[tokio::test]
async fn refuses_a_server_that_it_does_not_trust() {
    in_time(async {
        let (certificates, others) = (Certificates::generate(), Certificates::generate());
        let options = Options { tls: Some(certificates.tls()), ..Options::default() };
        let nats = NatsServer::with(options.clone()).await;
        let http = HttpServer::start().await;
        let cases = [
            format!("tls.ca_file = '{}'", others.ca.display()),
            format!("tls.ca_file = '{}'\ntls.server_name = 'other.example'", certificates.ca.display()),
        ];
        for tls in cases {
            let text = lines_with(&tls);
            let running =
                start(&text, &nats.url().replace("127.0.0.1", "localhost"), &http, Env::default()).await;
            // The server says in its log that the handshake failed; nobody has subscribed.
            while !nats.log().contains("TLS handshake error") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let reached = nats.subscriptions().await.iter().any(|subject| subject == "logs.>");
            assert!(!reached, "{tls}");
            drop(running);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_replaced_in_its_file_and_read_anew() {
    in_time(async {
        let options =
            Options { user_password: Some(("personal".into(), "right".into())), ..Options::default() };
        let nats = NatsServer::with(options).await;
        let http = HttpServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "wrong\n").unwrap();
        let (nats_url, url) = (nats.url(), http.url("/"));
        let pairs = [
            ("NATS_URL", nats_url.as_str()),
            ("ACCESS_TOKEN_FILE", path.to_str().unwrap()),
            ("HTTP_URL", &url),
            ("HTTP_TOKEN", "t"),
        ];
        let mut running = start_from_environment(&pairs).await;
        while !nats.log().contains("authentication error") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::write(&path, "right\n").unwrap();
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), Some(("personal", "right"))).await;
        publisher.publish_events(0..10).await;
        publisher.flush().await;
        http.wait_until(|requests| numbers(requests).len() == 10).await;
        assert!(!running.stop(Duration::from_secs(5)).await.has_losses());
    })
    .await;
}

#[tokio::test]
async fn subjects_and_exclusions_choose_what_is_shipped() {
    in_time(async {
        let all = [
            "logs.sandwich.ord.1",
            "logs.sandwich.ams.2",
            "logs.soup.ord.3",
            "logs.soup.ams.4",
            "logs.salad.ord.5",
            "metrics.sandwich.ord.6",
        ];
        type Variables = &'static [(&'static str, &'static str)];
        let cases: [(Variables, &[u64]); 6] = [
            (&[], &[1, 2, 3, 4, 5]),
            (&[("SUBJECT", "logs.sandwich.>")], &[1, 2]),
            (&[("SUBJECT", "logs.*.ord.*")], &[1, 3, 5]),
            (&[("SUBJECT", "logs.sandwich.>, logs.*.ord.* logs.salad.>")], &[1, 2, 3, 5]),
            (&[("SUBJECT_EXCLUDE", "logs.soup.>,logs.*.*.5")], &[1, 2]),
            (&[("SUBJECT", ">"), ("SUBJECT_EXCLUDE", "logs.*.ord.*")], &[2, 4, 6]),
        ];
        let nats = NatsServer::start().await;
        for (variables, expected) in cases {
            let http = HttpServer::start().await;
            let (nats_url, url) = (nats.url(), http.url("/"));
            let base = [("NATS_URL", nats_url.as_str()), ("HTTP_URL", url.as_str()), ("HTTP_TOKEN", "t")];
            let mut running = start_from_environment(&[&base, variables].concat()).await;
            let subjects =
                variables.iter().find(|(name, _)| *name == "SUBJECT").map_or("logs.>", |(_, value)| value);
            for subject in subjects.split([',', ' ']).filter(|subject| !subject.is_empty()) {
                nats.wait_for_subscription(subject).await;
            }
            let mut publisher = Publisher::connect(&nats.url(), None).await;
            for subject in all {
                let number = subject.rsplit('.').next().unwrap();
                publisher.publish(subject, format!("{{\"n\":{number}}}")).await;
            }
            publisher.flush().await;
            let report = running.stop(Duration::from_secs(5)).await;
            assert_eq!(numbers(&http.requests()), expected, "{variables:?}: {report}");
        }
    })
    .await;
}

#[tokio::test]
async fn overlapping_subjects_lose_nothing_in_a_queue_group() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let (nats_url, url) = (nats.url(), http.url("/"));
        let mut running = start_from_environment(&[
            ("NATS_URL", &nats_url),
            ("SUBJECT", "logs.>, logs.*.ord.*"),
            ("QUEUE", "shippers"),
            ("HTTP_URL", &url),
            ("HTTP_TOKEN", "t"),
        ])
        .await;
        nats.wait_for_subscription("logs.>").await;
        nats.wait_for_subscription("logs.*.ord.*").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for n in 0..200 {
            publisher.publish("logs.a.ord.1", format!("{{\"n\":{n}}}")).await;
        }
        publisher.flush().await;
        http.wait_until(|requests| numbers(requests).len() >= 200).await;
        running.stop(Duration::from_secs(5)).await;
        assert_eq!(numbers(&http.requests()), (0..200).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn nothing_is_published_to_a_reply_subject() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let mut running = start(&lines_with(""), &nats.url(), &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut replies = client.subscribe("replies.>").await.unwrap();
        client.publish_with_reply("logs.a.ord.1", "replies.1", "{}".into()).await.unwrap();
        http.wait_for(1).await;
        running.stop(Duration::from_secs(5)).await;
        // What the shipper could have sent would be here before the answer to this.
        client.publish("replies.end", "end".into()).await.unwrap();
        assert_eq!(replies.next().await.unwrap().payload, "end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dropped_while_a_sink_is_slow() {
    in_time(async {
        const EVENTS: u64 = 20_000;
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::Never);
        let slow = "[sinks.http]\nbuffer.max_events = 1000\nbatch.max_events = 100\nrequest.concurrency = 1\nrequest.timeout_secs = 0.5";
        let mut running = start(&lines_with("").replace("[sinks.http]", slow), &nats.url(), &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..EVENTS).await;
        publisher.flush().await;
        // The buffer is full and the source waits; what it does not read waits in the server.
        http.wait_for(1).await;
        http.default_reply(Reply::status(200));
        let report = running.stop(Duration::from_secs(60)).await;
        let (source, sink) = (report.sources[0].1, report.sinks[0].1);
        assert_eq!((source.received, source.disconnects), (EVENTS, 0), "{report}");
        assert_eq!((sink.delivered, sink.buffered), (EVENTS, 0), "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cuts_us_off_is_counted_and_found_again() {
    in_time(async {
        // As little patience as a server can have.
        let extra = "max_payload: 65536\nmax_pending: 100000\nwrite_deadline: \"200ms\"".to_owned();
        let nats = NatsServer::with(Options { extra, ..Options::default() }).await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::Never);
        let slow = "[sinks.http]\nbuffer.max_events = 1000\nbatch.max_events = 100\nrequest.concurrency = 1\nrequest.timeout_secs = 0.5";
        let mut running = start(&lines_with("").replace("[sinks.http]", slow), &nats.url(), &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let mut published = 0;
        while !nats.log().contains("Slow Consumer") {
            publisher.publish_events(published..published + 1000).await;
            publisher.flush().await;
            published += 1000;
        }
        http.default_reply(Reply::status(200));
        // It is back when something that is published only now arrives.
        nats.wait_for_subscription("logs.>").await;
        let last = fly_event(u64::MAX >> 16);
        while !lines(&http.requests()).contains(&last.1) {
            publisher.publish(&last.0, &last.1).await;
            publisher.flush().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let report = running.stop(Duration::from_secs(30)).await;
        assert!(report.sources[0].1.disconnects > 0 && !report.has_losses(), "{report}");
    })
    .await;
}

#[tokio::test]
async fn a_subject_that_is_forbidden_does_not_keep_the_others_from_working() {
    in_time(async {
        let extra = r#"accounts: { A: { users: [ { user: "u", password: "p", permissions: { subscribe: ["logs.>", "_INBOX.>"] } } ] } }"#;
        let nats = NatsServer::with(Options { extra: extra.to_owned(), ..Options::default() }).await;
        let http = HttpServer::start().await;
        let text = lines_with("").replace("subject = 'logs.>'", "subjects = ['secret.>', 'logs.>']");
        let url = nats.url().replace("nats://", "nats://u:p@");
        let mut running = start(&text, &url, &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), Some(("u", "p"))).await;
        publisher.publish("logs.a.ord.1", "{\"n\":1}").await;
        publisher.flush().await;
        assert_eq!(lines(&http.wait_for(1).await), ["{\"n\":1}"]);
        assert_eq!(running.stop(Duration::from_secs(5)).await.sources[0].1.disconnects, 0);
    })
    .await;
}

/// A server of one's own that says what it likes: none of it may do harm.
#[tokio::test]
async fn what_a_strange_server_says_does_no_harm() {
    in_time(async {
        let (listener, address) = listen().await;
        let url = format!("nats://{address}");
        let http = HttpServer::start().await;
        let mut running = start(&lines_with(""), &url, &http, Env::default()).await;
        let answers: [&[u8]; 6] = [
            b"",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"PONG\r\n-ERR\r\n",
            b"PONG\r\nMSG logs.a 99 2\r\n{}\r\nMSG logs.a 0 2\r\n{}\r\nMSG logs.a 1 999999999999\r\n",
            b"PONG\r\nMSG logs.a 1 2\r\n{}xx",
            b"PONG\r\nINFO {\"connect_urls\":[\"\",\":::\"]}\r\nMSG logs.\xff 1 2\r\n{}\r\n",
        ];
        // Each in turn, until the event that the last one brings has arrived.
        let server = async {
            for answer in answers.iter().cycle() {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"INFO {\"server_id\":\"x\"}\r\n").await.unwrap();
                let mut heard = vec![0; 1024];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        };
        tokio::select! {
            () = server => {}
            requests = http.wait_for(1) => assert_eq!(lines(&requests), ["{}"]),
        }
        let report = running.stop(Duration::from_secs(5)).await;
        assert!(report.sources[0].1.disconnects >= 3 && running.failures().is_empty(), "{report}");
    })
    .await;
}

/// What comes faster than a buffer holds is not dropped while the sink keeps up: each gets its turn, also in
/// a single thread.
#[tokio::test]
async fn a_burst_larger_than_the_buffer_reaches_a_sink_that_keeps_up() {
    in_time(async {
        const EVENTS: u64 = 20_000;
        let (listener, address) = listen().await;
        let url = format!("nats://{address}");
        let text = format!(
            "sources.nats = {{type = 'nats', url = '{url}', connection_name = 'test', subject = 'logs.>', decoding.codec = 'json'}}
             sinks.out = {{type = 'blackhole', inputs = ['nats'], buffer = {{max_events = 2000, when_full = 'drop_oldest'}}}}"
        );
        let config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
        let mut running = Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut burst = b"PONG\r\n".to_vec();
        for n in 0..EVENTS {
            let (subject, event) = fly_event(n);
            burst.extend_from_slice(format!("MSG {subject} 1 {}\r\n{event}\r\n", event.len()).as_bytes());
        }
        stream.write_all(b"INFO {}\r\n").await.unwrap();
        stream.write_all(&burst).await.unwrap();
        let books = running.books();
        while books.snapshot().sinks[0].1.received < EVENTS {
            tokio::task::yield_now().await;
        }
        drop(stream);
        let report = running.stop(Duration::from_secs(5)).await;
        assert_eq!(report.sinks[0].1.delivered, EVENTS, "{report}");
    })
    .await;
}

/// Our client and the library's see the same messages, whatever is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_and_the_library_receive_the_same() {
    in_time(async {
        use log_shipper::nats::{Connection, ConnectionOptions, Servers};
        let nats = NatsServer::start().await;
        let library = async_nats::connect(nats.url()).await.unwrap();
        let mut theirs = library.subscribe("logs.>").await.unwrap();
        library.flush().await.unwrap();
        let mut ours = Connection::new(ConnectionOptions {
            status: Default::default(),
            id: "test".into(),
            name: "test".into(),
            servers: Servers::parse(&nats.url()).unwrap(),
            auth: None,
            tls: None,
            env: Env::default(),
            ping_interval: log_shipper::nats::PING_INTERVAL,
        });
        ours.subscribe("logs.>", None);
        let mut seed = 7u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut messages: Vec<(String, Vec<u8>, bool, bool)> = Vec::new();
        for _ in 0..3_000 {
            let size = [0, 1, 10, 400, 400, 5_000, 100_000][random() as usize % 7];
            let byte = random() as u8;
            let payload = (0..size).map(|at| byte.wrapping_add((at % 251) as u8)).collect();
            let subject = format!("logs.a{}.{}", random() % 10, random() % 3);
            messages.push((subject, payload, random() % 4 == 0, random() % 4 == 0));
        }
        let publish = async {
            nats.wait_for_subscription("logs.>").await;
            while nats.subscriptions().await.iter().filter(|subject| *subject == "logs.>").count() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for (subject, payload, has_reply, has_headers) in &messages {
                let (subject, payload) = (subject.clone(), payload.clone().into());
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Key", "a value");
                match (has_reply, has_headers) {
                    (false, false) => library.publish(subject, payload).await,
                    (true, false) => library.publish_with_reply(subject, "reply.to", payload).await,
                    (false, true) => library.publish_with_headers(subject, headers, payload).await,
                    (true, true) => {
                        library.publish_with_reply_and_headers(subject, "reply.to", headers, payload).await
                    }
                }
                .unwrap();
            }
            library.flush().await.unwrap();
        };
        let receive = async {
            let mut seen = Vec::new();
            while seen.len() < messages.len() {
                seen.extend(ours.next_chunk().await.unwrap());
            }
            seen
        };
        let ((), seen) = tokio::join!(publish, receive);
        for (number, (our, (subject, payload, ..))) in seen.iter().zip(&messages).enumerate() {
            let their = theirs.next().await.unwrap();
            assert_eq!(&*our.subject, their.subject.as_str(), "message {number}");
            assert!(
                our.payload.as_bytes() == &*their.payload && our.payload.as_bytes() == &**payload,
                "message {number}"
            );
            assert_eq!(&*our.subject, subject);
        }
        // A drain ends when the server has nothing more for us.
        ours.drain();
        assert!(ours.next_chunk().await.is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_when_the_deadline_comes_first() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::Never);
        let blocked =
            "[sinks.http]\nbuffer.max_events = 1000\nbatch.max_events = 100\nrequest.concurrency = 3";
        let mut running =
            start(&lines_with("").replace("[sinks.http]", blocked), &nats.url(), &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..20_000).await;
        publisher.flush().await;
        http.wait_for(3).await;
        let books = running.books();
        let report = running.stop(Duration::from_millis(300)).await;
        let sink = report.sinks[0].1;
        assert!(sink.received > 1000 && report.has_losses(), "{report}");
        assert_eq!((sink.delivered, sink.buffered), (0, 0), "{report}");
        assert_eq!(sink.dropped_for(DropReason::Shutdown), sink.received, "{report}");
        assert_eq!(books.snapshot(), report);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_payload_nothing_is_lost_and_nothing_panics() {
    in_time(async {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let megabyte = format!("{{\"message\":\"{}\"}}", "x".repeat(1_000_000));
        let objects = [
            r#"{"a":1,"a":2}"#.to_owned(),
            r#"{"n":9007199254740993,"m":123456789012345678901234567890,"f":0.1000000000000000055}"#
                .to_owned(),
            r#"{"message":"nul \u0000 and \"quotes\" — naïve 日本語 🚀"}"#.to_owned(),
            "{ \"spaced\" : [ 1 , 2 ] }".to_owned(),
            "{}".to_owned(),
            nested(100),
            megabyte,
        ];
        let texts: [&[u8]; 12] = [
            b"plain text",
            b"{\"cut\":\"off",
            b"42",
            b"\"a string\"",
            b"null",
            b"[1,2]",
            b"",
            b"a\0b",
            b"\xff\xfe\xfd",
            b"{\"lone\":\"\\ud800\"}",
            nested(1000).as_bytes().to_vec().leak(),
            b"{\"a\":1} trailing",
        ];
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let mut running = start(&lines_with(""), &nats.url(), &http, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for payload in objects.iter().map(String::as_bytes).chain(texts) {
            publisher.publish("logs.app.ord.machine", payload).await;
        }
        publisher.flush().await;
        let total = objects.len() + texts.len();
        let requests = http.wait_until(|requests| lines(requests).len() == total).await;
        let lines = lines(&requests);
        assert_eq!(lines[..objects.len()], objects);
        for (line, text) in lines[objects.len()..].iter().zip(texts) {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["message"], String::from_utf8_lossy(text).as_ref());
            assert_eq!(
                event["fly"],
                serde_json::json!({"app": {"instance": "machine", "name": "app"}, "region": "ord"})
            );
            assert!(event["timestamp"].is_string());
        }
        let report = running.stop(Duration::from_secs(5)).await;
        assert_eq!(report.sources[0].1.undecodable, texts.len() as u64);
        assert_eq!(report.sinks[0].1.delivered, total as u64);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_destination_does_not_hold_up_another() {
    in_time(async {
        const EVENTS: u64 = 20_000;
        let nats = NatsServer::start().await;
        let (alive, dead) = (HttpServer::start().await, HttpServer::start().await);
        dead.default_reply(Reply::Never);
        let (nats_url, alive_url, dead_url) = (nats.url(), alive.url("/"), dead.url(""));
        let mut running = start_from_environment(&[
            ("NATS_URL", &nats_url),
            ("HTTP_URL", &alive_url),
            ("HTTP_TOKEN", "t"),
            ("LOKI_URL", &dead_url),
            ("LOKI_USERNAME", "u"),
            ("LOKI_PASSWORD", "p"),
        ])
        .await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for start in (0..EVENTS).step_by(5_000) {
            publisher.publish_events(start..start + 5_000).await;
            publisher.flush().await;
            alive.wait_until(|requests| numbers(requests).len() as u64 >= start + 5_000).await;
        }
        let report = running.stop(Duration::from_millis(200)).await;
        for (id, sink) in report.sinks {
            assert_eq!(sink.received, EVENTS, "{id}");
            assert_eq!(sink.delivered + sink.rejected + sink.dropped_total(), EVENTS, "{id}: {sink}");
            let expected = if id == "http" { EVENTS } else { 0 };
            assert_eq!(sink.delivered, expected, "{id}");
        }
    })
    .await;
}

/// The lines of a trace come between those of forty-nine others, and between the shipper's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_of_fifty_instances_arrive_as_an_event_each_and_own_lines_do_not() {
    in_time(async {
        const INSTANCES: usize = 50;
        const TRACE: [&str; 4] =
            ["[ERROR] no luck for a@b.io", "\tat com.example.A.b(A.java:5)", "Caused by: x", "\t... 2 more"];
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let (nats_url, url) = (nats.url(), http.url("/"));
        let mut running = start_from_environment(&[
            ("NATS_URL", &nats_url),
            ("HTTP_URL", &url),
            ("HTTP_TOKEN", "t"),
            ("FLY_APP_NAME", "shipper"),
            // Nothing waits so long: what is left comes at the end.
            ("LOG_MULTILINE", "60000"),
            ("REDACT", "email"),
            ("ENRICH_ENV", "test"),
        ])
        .await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for line in TRACE.iter().chain(["after"].iter()) {
            for instance in 0..INSTANCES {
                let event = serde_json::json!({
                    "fly": {"app": {"instance": instance.to_string(), "name": "web"}, "region": "ord"},
                    "log": {"level": "info"},
                    "message": line,
                });
                publisher.publish(&format!("logs.web.ord.{instance}"), &event.to_string()).await;
            }
            publisher.publish("logs.shipper.ord.1", "{\"message\":\"status 500\"}").await;
        }
        publisher.flush().await;
        let joined = (INSTANCES * (TRACE.len() - 1)) as u64;
        while running.counts().sources[0].1.joined < joined || running.counts().sources[0].1.excluded < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let report = running.stop(Duration::from_secs(10)).await;
        let source = report.sources[0].1;
        assert_eq!((source.received, source.joined, source.excluded), (2 * INSTANCES as u64, joined, 5));
        let requests = http.requests();
        let events: Vec<_> =
            requests.iter().flat_map(|request| request.json().as_array().cloned().unwrap()).collect();
        let trace = TRACE.join("\n").replace("a@b.io", "[email]");
        for (message, level) in [(trace.as_str(), "error"), ("after", "info")] {
            let mut instances: Vec<usize> = events
                .iter()
                .filter(|event| event["message"] == message && event["log"]["level"] == level)
                .filter(|event| event["env"] == "test")
                .map(|event| event["fly"]["app"]["instance"].as_str().unwrap().parse().unwrap())
                .collect();
            instances.sort_unstable();
            assert_eq!(instances, (0..INSTANCES).collect::<Vec<_>>(), "{message}");
        }
    })
    .await;
}
