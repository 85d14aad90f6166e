//! Events that a destination refuses for good.

use crate::support::http_server::{HttpServer, Reply, Request};
use crate::support::nats_server::{NATS_SOURCE, NatsServer};
use crate::support::ports::free_port;
use crate::support::program::{self, Program};
use crate::support::publisher::Publisher;
use crate::{check_books, in_time, start, until};
use async_trait::async_trait;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::topology::{Report, RunningTopology, SinkSnapshot, Topology, TopologyOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// A source that sends three events and stays until they are answered.
#[derive(Debug, Default)]
struct Waiting(Arc<Mutex<Option<oneshot::Sender<Vec<EventStatus>>>>>);

#[async_trait]
impl SourceConfig for Waiting {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let seen = self.0.lock().unwrap().take().unwrap();
        Ok(Box::pin(async move {
            let mut answers = Vec::new();
            let events = (0..3).map(|n| {
                let (batch, answer) = BatchNotifier::new_with_receiver();
                answers.push(answer);
                let event = LogEvent::from_json(format!("{{\"n\":{n}}}").into()).unwrap();
                event.with_finalizers(EventFinalizers::new(batch))
            });
            cx.output.send(events.collect()).await;
            // Nothing more comes: this is how the sinks learn that they have to send what they have.
            drop(cx.output);
            let statuses = futures::future::join_all(answers).await;
            let statuses = statuses.into_iter().map(|status| status.unwrap_or_default());
            let _ = seen.send(statuses.collect());
            Ok(())
        }))
    }
}

/// Three events to a sink of the id `a`, and what it refuses to that server in one request. What their source hears,
/// and the report.
async fn three_events(options: &str, letters: &HttpServer) -> (Vec<EventStatus>, Report, RunningTopology) {
    let text = format!(
        "[sources.in]\ntype = 'stdin'\n[sinks.a]\ninputs = ['in']\nhealthcheck = false\n{options}\n\
         [sinks.letters]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\nbatch.timeout_secs = 3600",
        letters.url("/"),
    );
    let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
    let (seen, statuses) = oneshot::channel();
    config.sources.clear();
    let mut config = config.source("in", Waiting(Arc::new(Mutex::new(Some(seen)))));
    config.dead_letters = config.sinks.pop().map(|mut sink| {
        sink.id = "dead_letters".into();
        sink
    });
    let mut running =
        Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
    running.finished().await;
    let report = running.counts();
    check_books(&report);
    (statuses.await.unwrap(), report, running)
}

/// The same to a destination that refuses the second of them, and with this answer to its letter.
async fn letter_that_is_answered(reply: Reply) -> (Vec<EventStatus>, HttpServer, Report) {
    let (http, letters) = (HttpServer::start().await, HttpServer::start().await);
    // One batch each.
    http.respond_with(|request| Reply::status(if request.text().contains("\"n\":1") { 400 } else { 200 }));
    letters.default_reply(reply);
    let url = http.url("/");
    let options = format!("type = 'http'\nuri = '{url}'\nencoding.codec = 'json'\nbatch.max_events = 1");
    let (statuses, report, _) = three_events(&options, &letters).await;
    (statuses, letters, report)
}

#[tokio::test]
async fn a_refused_event_is_written_before_its_source_hears_of_it() {
    in_time(async {
        let (statuses, letters, report) = letter_that_is_answered(Reply::status(200)).await;
        assert_eq!(statuses, [EventStatus::Delivered, EventStatus::Rejected, EventStatus::Delivered]);
        let written = letters.requests()[0].json();
        let letter = &written[0];
        assert_eq!((letter["sink"].as_str(), letter["status"].as_u64()), (Some("a"), Some(400)));
        assert_eq!((&letter["event"], letter["attempts"].as_u64()), (&serde_json::json!({"n": 1}), Some(1)));
        let (sink, letters) = (sink(&report, "a"), sink(&report, "dead_letters"));
        assert_eq!((sink.delivered, sink.rejected, letters.delivered), (2, 1, 1));
        assert!(!report.has_losses());
    })
    .await;
}

#[tokio::test]
async fn a_letter_that_is_refused_itself_is_lost_and_its_source_hears_that_it_has_failed() {
    in_time(async {
        let (statuses, _, report) = letter_that_is_answered(Reply::status(400)).await;
        assert_eq!(statuses, [EventStatus::Delivered, EventStatus::Errored, EventStatus::Delivered]);
        let totals = report.totals();
        assert_eq!((totals.events.rejected, totals.dead_letters, totals.lost), (1, 0, 1), "{report}");
        assert!(report.has_losses(), "{report}");
        let page = report.to_prometheus();
        let of_letters = "{component_id=\"dead_letters\",component_kind=\"sink\",component_type=\"http\"}";
        for line in
            ["log_shipper_dead_letters_total 0", &format!("log_shipper_lost_events_total{of_letters} 1")]
        {
            assert!(page.lines().any(|found| found == line), "{line}\nshould be in\n{page}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_whose_letter_was_refused_stays_on_disk_for_the_next_run() {
    in_time(async {
        let dir = tempfile::tempdir().unwrap();
        let (http, letters) = (HttpServer::start().await, HttpServer::start().await);
        http.default_reply(Reply::status(400));
        let text = format!(
            "data_dir = '{}'\n[sources.in]\ntype = 'stdin'\n{}buffer = {{type = 'disk'}}\n\
             [dead_letters]\ntype = 'http'\nuri = '{}'\nencoding.codec = 'json'\n",
            dir.path().display(),
            http_sink("out", "in", &http.url("/")),
            letters.url("/"),
        );
        for (events, reply, written) in [(3, 400, 0), (0, 200, 3), (0, 200, 0)] {
            letters.default_reply(Reply::status(reply));
            let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
            config.sources.clear();
            let config = config.source("in", Bad(events));
            let mut running =
                Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>())
                    .await
                    .unwrap();
            running.finished().await;
            let report = running.stop(Duration::from_secs(10)).await;
            check_books(&report);
            assert_eq!(report.totals().dead_letters, written, "{report}");
            assert_eq!(report.has_losses(), reply == 400, "{report}");
        }
    })
    .await;
}

/// Runs the program with these dead letters until so many events have been refused.
async fn refuse(letters: &str, events: usize) -> (Option<i32>, String) {
    let (nats, http) = (NatsServer::start().await, HttpServer::start().await);
    http.default_reply(Reply::status(400));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("vector.toml");
    let text = format!("{}{}{letters}", nats_source(&nats), http_sink("out", "nats", &http.url("/")));
    std::fs::write(&config, text).unwrap();
    let program = Program::start(&["run", "-c", config.to_str().unwrap()], &[], "connected to NATS").await;
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    for n in 0..events {
        publisher.publish("logs.app", event(n)).await;
    }
    publisher.flush().await;
    http.wait_for(events).await;
    program.signal("-TERM").await;
    program.ended().await
}

#[tokio::test]
async fn the_exit_code_says_that_letters_were_not_written() {
    in_time(async {
        let dir = tempfile::tempdir().unwrap();
        // What this event makes of the path is no file.
        std::fs::create_dir(dir.path().join("out")).unwrap();
        let path = format!("{}/{{{{ sink }}}}", dir.path().display());
        let (code, log) = refuse(&format!("[dead_letters]\ntype = 'file'\npath = '{path}'\n"), 3).await;
        assert_eq!(code, Some(1), "{log}");
        for words in [
            "sink dead_letters: received 3, delivered 0, rejected 3",
            "all sinks: received 3, delivered 0, rejected 3, dropped 0, buffered 0, lost 3",
        ] {
            assert!(log.contains(words), "{words}\nshould be in\n{log}");
        }
    })
    .await;
}

#[tokio::test]
async fn letters_are_for_their_owner_alone_and_it_is_told_where_they_go_and_when_old_ones_are_removed() {
    in_time(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let options = "rotate = {max_bytes = 1000, max_files = 2}";
        let letters = format!("[dead_letters]\ntype = 'file'\npath = '{}'\n{options}\n", path.display());
        let (code, log) = refuse(&letters, 30).await;
        assert_eq!(code, Some(0), "{log}");
        let place = path.display();
        for words in [format!("dead letters go to {place}"), format!("removed {place}.1, the oldest file")] {
            assert_eq!(log.matches(&words).count(), 1, "{words}\nshould be once in\n{log}");
        }
        let files = set_of(&path);
        assert_eq!(files.len(), 2, "{files:?}");
        for file in files {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_path_that_can_be_no_file_is_told_at_the_start() {
    in_time(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let below = file.join("dead.jsonl");
        for (path, words) in [(dir.path(), "is a directory; expected a file"), (&below, "cannot be a file")] {
            let path = path.to_str().unwrap();
            let env = [
                ("NATS_URL", "nats://127.0.0.1:1"),
                ("HTTP_URL", "http://127.0.0.1:1/"),
                ("HTTP_TOKEN", "s3cr3t"),
                ("DEAD_LETTERS", path),
            ];
            let ended = program::run(&["run"], &env).await;
            assert_eq!(ended.code, Some(78), "{ended:?}");
            assert!(ended.err.contains(&format!("dead_letters: path: {path} {words}")), "{ended:?}");
        }
    })
    .await;
}

/// A destination that says how many it has refused and not which: nobody can know which are lost, so all of them are
/// written.
#[tokio::test]
async fn where_only_a_number_is_told_the_whole_batch_is_written() {
    in_time(async {
        let loki = "type = 'loki'\nendpoint = 'URL'\nencoding.codec = 'json'\nlabels.a = 'x'";
        let axiom = "type = 'axiom'\nurl = 'URL'\ntoken = 's3cr3t'\ndataset = 'd'";
        let http = "type = 'http'\nuri = 'URL'\nencoding.codec = 'json'";
        let ignored =
            "entry ignored, reason: 'entry too far behind', total ignored: 2 out of 3 for stream: {}";
        for (options, status, answer, refused, words) in [
            (loki, 400, ignored, 2, "too far behind"),
            (axiom, 200, r#"{"ingested":2,"failed":1,"failures":[{"error":"bad value"}]}"#, 1, "bad value"),
            (axiom, 200, r#"{"failed":3,"failures":[{"error":"bad value"}]}"#, 3, "bad value"),
            (http, 200, r#"{"code":200,"status":[{"failed":1,"error":"too old"}]}"#, 1, "too old"),
        ] {
            let (server, letters) = (HttpServer::start().await, HttpServer::start().await);
            server.default_reply(Reply::status(status).body(answer));
            let (statuses, report, _running) =
                three_events(&options.replace("URL", &server.url("/")), &letters).await;
            assert_eq!(server.requests().len(), 1, "{answer}");
            assert_eq!(statuses, [EventStatus::Rejected; 3], "{answer}");
            let books = sink(&report, "a");
            assert_eq!((books.delivered, books.rejected), (3 - refused, refused), "{answer}");
            assert_eq!(sink(&report, "dead_letters").delivered, 3, "{answer}");
            let written = letters.requests()[0].json();
            for (n, letter) in written.as_array().unwrap().iter().enumerate() {
                assert_eq!(letter["event"]["n"], n);
                let reason = letter["reason"].as_str().unwrap();
                let begins = format!("{refused} of 3 were refused, and the destination does not say which: ");
                assert_eq!(reason.starts_with(&begins), refused < 3, "{reason}");
                assert!(reason.contains(words), "{reason}");
            }
        }
    })
    .await;
}

/// Refuses what says that it is bad.
fn refuse_bad(request: &Request) -> Reply {
    Reply::status(if request.text().contains("\"bad\"") { 400 } else { 200 })
}

/// A `http` sink that sends one event at a time, as it came.
fn http_sink(id: &str, input: &str, url: &str) -> String {
    format!(
        "[sinks.{id}]\ntype = 'http'\ninputs = ['{input}']\nuri = '{url}'\nencoding.codec = 'json'\n\
         framing.method = 'newline_delimited'\nbatch.max_events = 1\n"
    )
}

fn nats_source(nats: &NatsServer) -> String {
    NATS_SOURCE.replace("{nats}", &nats.url())
}

/// Such events as must come through byte for byte.
fn event(n: usize) -> String {
    let kind = if n.is_multiple_of(3) { "bad" } else { "good" };
    format!("{{ \"n\":{n}, \"kind\":\"{kind}\", \"f\" : 1.50, \"t\":\"\\u00e9 \\\" \\\\ \u{e9}\" }}")
}

/// `dead.jsonl` and those put aside, the oldest first.
fn set_of(path: &Path) -> Vec<PathBuf> {
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    let old = (1..).map(numbered).take_while(|path| path.exists()).collect::<Vec<_>>();
    old.into_iter().rev().chain([path.to_owned()]).collect()
}

fn bodies(http: &HttpServer) -> Vec<String> {
    let mut bodies: Vec<_> = http.requests().iter().map(Request::text).collect();
    bodies.sort();
    bodies
}

fn sink(report: &Report, id: &str) -> SinkSnapshot {
    report.sinks.iter().find(|(other, _)| other == id).unwrap_or_else(|| panic!("no {id} in {report}")).1
}

/// Numbered bad events, one after the other.
#[derive(Debug)]
struct Bad(usize);

#[async_trait]
impl SourceConfig for Bad {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let count = self.0;
        Ok(Box::pin(async move {
            for n in 0..count {
                let event = LogEvent::from_json(format!("{{\"n\":{n},\"kind\":\"bad\"}}").into()).unwrap();
                cx.output.send(vec![event]).await;
            }
            Ok(())
        }))
    }
}

#[tokio::test]
async fn refused_events_fill_files_and_are_replayed_as_they_came() {
    in_time(async {
        let nats = NatsServer::start().await;
        let (http, mended) = (HttpServer::start().await, HttpServer::start().await);
        http.respond_with(refuse_bad);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let config = |name: &str, url: &str| {
            let text = format!(
                "{}{}request.headers.authorization = 'Bearer ${{KEY}}'\n[dead_letters]\ntype = 'file'\npath = '{}'\n\
                 rotate = {{max_bytes = 1000, max_files = 50}}\n",
                nats_source(&nats),
                http_sink("out", "nats", url),
                path("letters/dead.jsonl").display(),
            );
            std::fs::write(path(name), text).unwrap();
            path(name).to_str().unwrap().to_owned()
        };
        let env = [("KEY", "s3cr3t-key")];
        let file = config("one.toml", &http.url("/s3cr3t-path"));
        let program = Program::start(&["run", "-c", &file], &env, "connected to NATS").await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for n in 0..60 {
            publisher.publish("logs.app", event(n)).await;
        }
        publisher.flush().await;
        http.wait_for(60).await;
        program.signal("-TERM").await;
        let (code, log) = program.ended().await;
        assert_eq!(code, Some(0), "{log}");
        for words in [
            "sink out: received 60, delivered 40, rejected 20, dropped 0, buffered 0",
            "sink dead_letters: received 20, delivered 20",
            "all sinks: received 60, delivered 40, rejected 20, dropped 0, buffered 0, dead letters 20, lost 0",
        ] {
            assert!(log.contains(words), "{words}\nshould be in\n{log}");
        }

        let files = set_of(&path("letters/dead.jsonl"));
        assert!(files.len() > 3, "{files:?}");
        let texts: Vec<_> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert!(texts.iter().all(|text| text.len() <= 1000 && text.ends_with('\n')));
        let all = texts.concat();
        assert_eq!(all.lines().count(), 20);
        for (line, n) in all.lines().zip((0..60).step_by(3)) {
            let letter: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = (letter["sink"].as_str(), letter["status"].as_u64(), letter["attempts"].as_u64());
            assert_eq!(fields, (Some("out"), Some(400), Some(1)), "{line}");
            assert_eq!(letter["subject"], "logs.app");
            assert!(line.ends_with(&format!("\"event\":{}}}", event(n))), "{line}");
        }
        assert!(!format!("{log}{all}").contains("s3cr3t"), "{log}{all}");

        let names: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
        let dry_run = program::run(&[&["replay", "--dry-run"][..], &names].concat(), &[]).await;
        assert_eq!(dry_run.code, Some(0), "{dry_run:?}");
        let row = dry_run.out.lines().nth(1).unwrap();
        assert!(row.starts_with("out   400     20") && row.contains("400"), "{}", dry_run.out);

        // To a destination that takes them now: exactly those, once, as they came.
        let file = config("two.toml", &mended.url("/"));
        let replayed = program::run(&[&["replay", "-c", &file][..], &names].concat(), &env).await;
        assert_eq!(replayed.code, Some(0), "{replayed:?}");
        assert!(replayed.out.ends_with("out   20       20         0        0\n"), "{}", replayed.out);
        let mut expected: Vec<_> = (0..60).step_by(3).map(event).collect();
        expected.sort();
        assert_eq!(bodies(&mended), expected);
        assert_eq!(set_of(&path("letters/dead.jsonl")), files, "replay leaves the files as they are");

        // To one that refuses them once more: they are in another file, and the read ones stay.
        let file = config("three.toml", &http.url("/"));
        let newest = names.last().unwrap();
        let count = |text: &str| text.lines().count();
        let beside = || {
            let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
            set_of(&path("letters/dead.jsonl.again")).iter().map(read).collect::<String>()
        };
        let mut expected = 0;
        for (name, number) in [(names[0], 0), (newest, texts.len() - 1), ("-", texts.len() - 1)] {
            let input = std::fs::File::open(newest).unwrap();
            let again = program::run_with(input, &["replay", "-c", &file, name], &env).await;
            assert_eq!(again.code, Some(1), "{again:?}");
            let place = format!("dead letters once more, in {}.again", path("letters/dead.jsonl").display());
            assert!(again.err.contains("refused again") && again.err.contains(&place), "{again:?}");
            expected += count(&texts[number]);
            assert_eq!(count(&beside()), expected, "{name}");
        }
        for (path, text) in files.iter().zip(&texts) {
            assert_eq!(std::fs::read_to_string(path).unwrap(), *text);
        }
    })
    .await;
}

#[tokio::test]
async fn replay_tells_what_it_cannot_send_before_and_after() {
    in_time(async {
        let http = HttpServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (letters, config) = (path("dead.jsonl"), path("vector.toml"));
        let sinks = http_sink("one", "in", &http.url("/one")) + &http_sink("two", "in", &http.url("/two"));
        std::fs::write(&config, format!("[sources.in]\ntype = 'stdin'\n{sinks}")).unwrap();
        let letter = |sink: &str, n: u32| {
            format!("{{\"sink\":\"{sink}\",\"reason\":\"no\",\"event\":{{\"n\":{n}}}}}\n")
        };

        std::fs::write(&letters, letter("one", 1) + &letter("gone", 2)).unwrap();
        let unknown = program::run(&["replay", "-c", &config, &letters], &[]).await;
        assert_eq!(unknown.code, Some(78), "{unknown:?}");
        assert!(unknown.err.contains("letters of the sink `gone`") && unknown.err.contains("`one`, `two`"));
        let unknown = program::run(&["replay", "-c", &config, &letters, "--sink", "tow"], &[]).await;
        assert_eq!(unknown.code, Some(78), "{unknown:?}");
        assert_eq!(http.requests().len(), 0, "something was sent");

        let all = program::run(&["replay", "-c", &config, &letters, "--sink", "two"], &[]).await;
        assert_eq!(all.code, Some(0), "{all:?}");
        let paths: Vec<_> = http.requests().iter().map(|request| request.path_and_query.clone()).collect();
        assert_eq!(paths, ["/two", "/two"]);

        // A crash has cut off the last line; what is whole is sent.
        let cut = format!("{}nonsense\n{}{}", letter("one", 1), letter("two", 2), &letter("one", 3)[..20]);
        std::fs::write(&letters, cut).unwrap();
        let cut = program::run(&["replay", "-c", &config, &letters], &[]).await;
        assert_eq!(cut.code, Some(1), "{cut:?}");
        for words in
            [":2: skipped: it is no JSON object", ":4: skipped: it is cut off", "2 lines were no dead"]
        {
            assert!(cut.err.contains(words), "{words}\nshould be in\n{}", cut.err);
        }
        assert_eq!(http.requests().len(), 4);
        for (args, code, words) in [
            (&["replay"][..], 64, "FILE"),
            (&["replay", "/nowhere"], 1, "/nowhere: cannot be read"),
            (&["replay", &letters, &letters], 1, "is named twice"),
        ] {
            let ended = program::run(args, &[]).await;
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert!(ended.err.contains(words), "{ended:?}");
        }

        // A destination that does not answer: a signal ends it, and what is left is told.
        http.default_reply(Reply::Never);
        std::fs::write(&letters, letter("one", 1)).unwrap();
        let args = ["replay", "-c", &config, &letters];
        let replay = Program::start(&args, &[("LOG_SHIPPER_LOG", "debug")], "").await;
        http.wait_for(5).await;
        replay.signal("-TERM").await;
        let (code, log) = replay.ended().await;
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("not all letters were delivered"), "{log}");
    })
    .await;
}

#[tokio::test]
async fn letters_go_to_a_subject_that_has_the_name_of_the_sink() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.respond_with(refuse_bad);
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut letters = client.subscribe("dead.>").await.unwrap();
        client.flush().await.unwrap();
        let text = format!(
            "{}{}[dead_letters]\ntype = 'nats'\nurl = '{}'\nsubject = 'dead.{{{{ sink }}}}'\n",
            nats_source(&nats),
            http_sink("out", "nats", &http.url("/")),
            nats.url(),
        );
        let mut running = start(&text, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for n in 0..3 {
            publisher.publish("logs.app", event(n)).await;
        }
        publisher.flush().await;
        let letter = futures::StreamExt::next(&mut letters).await.unwrap();
        assert_eq!(letter.subject.as_str(), "dead.out");
        let payload = std::str::from_utf8(&letter.payload).unwrap();
        assert!(payload.ends_with(&format!("\"event\":{}}}", event(0))), "{payload}");
        until(&running, |report| sink(report, "out").delivered == 2).await;
        let report = running.stop(Duration::from_secs(10)).await;
        check_books(&report);
        assert_eq!((sink(&report, "dead_letters").delivered, report.totals().dead_letters), (1, 1));
        assert!(!report.has_losses(), "{report}");
    })
    .await;
}

/// Where nobody takes the letters, nothing is lost: those who refuse wait, and so does the source.
#[tokio::test]
async fn letters_that_nobody_takes_hold_up_their_source_and_are_not_lost() {
    const EVENTS: usize = 300;
    in_time(async {
        let http = HttpServer::start().await;
        http.respond_with(refuse_bad);
        let port = free_port();
        let text = format!(
            "[sources.in]\ntype = 'stdin'\n{}buffer.max_events = 10\nrequest.concurrency = 2\n\
             [dead_letters]\ntype = 'http'\nuri = 'http://127.0.0.1:{port}/'\nencoding.codec = 'json'\n\
             buffer.max_events = 10\nbatch = {{max_events = 10, timeout_secs = 0.05}}\n\
             request = {{concurrency = 1, retry_initial_backoff_secs = 0.01, retry_max_duration_secs = 0.05}}\n",
            http_sink("out", "in", &http.url("/")),
        );
        let config = || {
            let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
            config.sources.clear();
            config.source("in", Bad(EVENTS))
        };
        let options = TopologyOptions::default();

        // The end comes before they are taken: this is told as a loss.
        let mut running = Topology::start(config(), &options, std::future::pending::<()>()).await.unwrap();
        until(&running, |report| sink(report, "dead_letters").buffered >= 10).await;
        let report = running.stop(Duration::from_millis(200)).await;
        check_books(&report);
        let letters = sink(&report, "dead_letters");
        assert_eq!((letters.delivered, letters.buffered), (0, 0), "{report}");
        assert!(letters.lost() > 0 && report.has_losses() && report.totals().lost >= letters.lost(), "{report}");

        // They are taken later: all arrive.
        let mut running = Topology::start(config(), &options, std::future::pending::<()>()).await.unwrap();
        until(&running, |report| sink(report, "dead_letters").buffered >= 10).await;
        let mut seen = running.counts();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            seen = running.counts();
            check_books(&seen);
            // Its buffer and a batch or two, and what the sink before it holds.
            assert!(sink(&seen, "dead_letters").buffered <= 40, "{seen}");
            assert!(sink(&seen, "out").received <= 80, "{seen}");
        }
        assert_eq!(sink(&seen, "dead_letters").delivered, 0);
        let letters = HttpServer::start_on(port).await;
        running.finished().await;
        let report = running.counts();
        check_books(&report);
        assert_eq!(sink(&report, "out").rejected, EVENTS as u64, "{report}");
        assert_eq!(sink(&report, "dead_letters").delivered, EVENTS as u64, "{report}");
        let mut found: Vec<_> = letters
            .requests()
            .iter()
            .flat_map(|request| request.json().as_array().unwrap().clone())
            .map(|letter| letter["event"]["n"].as_u64().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, (0..EVENTS as u64).collect::<Vec<_>>());
        assert!(!report.has_losses(), "{report}");
    })
    .await;
}

/// What a sink refuses by itself, before it sends anything, waits for room too.
#[tokio::test]
async fn letters_of_what_a_sink_refuses_itself_are_bounded() {
    const EVENTS: usize = 3000;
    in_time(async {
        let (nats, http) = (NatsServer::start().await, HttpServer::start().await);
        let http = format!(
            "{}batch.max_event_bytes = 5\nbatch.when_event_too_large = 'reject'\n",
            http_sink("out", "in", &http.url("/"))
        );
        let nats = format!(
            "[sinks.out]\ntype = 'nats'\ninputs = ['in']\nurl = '{}'\nsubject = 'out.{{{{ missing }}}}'\n\
             encoding.codec = 'json'\n",
            nats.url()
        );
        for out in [http, nats] {
            let port = free_port();
            let text = format!(
                "[sources.in]\ntype = 'stdin'\n{out}buffer.max_events = 10\n\
                 [dead_letters]\ntype = 'http'\nuri = 'http://127.0.0.1:{port}/'\nencoding.codec = 'json'\n\
                 buffer.max_events = 10\nbatch = {{max_events = 10, timeout_secs = 0.05}}\n\
                 request = {{concurrency = 1, retry_initial_backoff_secs = 0.01, retry_max_duration_secs = 0.05}}\n"
            );
            let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
            config.sources.clear();
            let config = config.source("in", Bad(EVENTS));
            let mut running = Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
            until(&running, |report| sink(report, "dead_letters").buffered >= 10).await;
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let seen = running.counts();
                check_books(&seen);
                // Its buffer, a batch or two, and what was taken last.
                assert!(sink(&seen, "dead_letters").buffered <= 50, "{out}: {seen}");
                assert_eq!(sink(&seen, "dead_letters").delivered, 0);
            }
            let _letters = HttpServer::start_on(port).await;
            running.finished().await;
            let report = running.counts();
            check_books(&report);
            assert_eq!(sink(&report, "out").rejected, EVENTS as u64, "{report}");
            assert_eq!(sink(&report, "dead_letters").delivered, EVENTS as u64, "{report}");
            assert!(!report.has_losses(), "{report}");
        }
    })
    .await;
}

/// A file that can grow no more is what a full disk is: a part of a write comes through, and then an error.
#[tokio::test]
async fn a_full_disk_cuts_no_letter_in_two_and_writes_none_twice() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::status(400));
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("dead.jsonl"), dir.path().join("moved.jsonl"));
        let text = format!(
            "{}{}[dead_letters]\ntype = 'file'\npath = '{}'\n",
            nats_source(&nats),
            http_sink("out", "nats", &http.url("/")),
            path.display(),
        );
        let config = dir.path().join("vector.toml");
        std::fs::write(&config, text).unwrap();
        let args = ["run", "-c", config.to_str().unwrap()];
        let mut program = Program::start_with_short_files(2, &args, "connected to NATS").await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for n in 0..5 {
            publisher.publish("logs.app", event(n)).await;
        }
        publisher.flush().await;
        program.wait_for_log("will try again").await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.is_empty() || text.len() <= 1024 && text.ends_with('\n'), "{text}");
        // Room is made.
        std::fs::rename(&path, &moved).unwrap();
        program.signal("-TERM").await;
        let (code, log) = program.ended().await;
        assert_eq!(code, Some(0), "{log}");
        let all = [&moved, &path].map(|path| std::fs::read_to_string(path).unwrap()).concat();
        let mut found: Vec<_> = all
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{all}")))
            .map(|letter| letter["event"]["n"].as_u64().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4]);
    })
    .await;
}

#[tokio::test]
async fn a_reload_switches_dead_letters_on_and_off() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::status(400));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let without = nats_source(&nats) + &http_sink("out", "nats", &http.url("/"));
        let with = format!("{without}[dead_letters]\ntype = 'file'\npath = '{}'\n", path.display());
        let changed = format!("{with}rotate.max_bytes = 1000000\n");
        let load =
            |text: &str| Config::from_toml(text, "test", &Registry::builtin(), &Env::default()).unwrap();
        let mut running = start(&without, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let steps = [
            (&without, "no component is different", 0),
            (&with, "added dead_letters", 1),
            (&with, "no component is different", 2),
            (&changed, "changed dead_letters", 3),
            (&without, "removed dead_letters", 3),
            (&with, "added dead_letters", 4),
        ];
        for (at, (text, change, letters)) in steps.into_iter().enumerate() {
            assert_eq!(running.reload(load(text)).await.unwrap().to_string(), change);
            publisher.publish("logs.app", event(at)).await;
            publisher.flush().await;
            let refused = at as u64 + 1;
            until(&running, |report| {
                let has_letters =
                    report.dead_letters().map_or(letters == 0, |books| books.delivered == letters);
                sink(report, "out").rejected == refused && has_letters
            })
            .await;
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(written.lines().count() as u64, letters, "after `{change}`: {written}");
        }
        let report = running.stop(Duration::from_secs(10)).await;
        check_books(&report);
        assert!(!report.has_losses(), "{report}");
    })
    .await;
}

#[test]
fn mistakes_in_the_table_are_told() {
    let load = |text: &str| {
        let text =
            format!("[sources.in]\ntype = 'stdin'\n[sinks.out]\ntype = 'blackhole'\ninputs = ['in']\n{text}");
        Config::from_toml(&text, "test", &Registry::builtin(), &Env::from_pairs([("DIR", "/data")]))
    };
    for (text, expected) in [
        ("[dead_letters]\ntype = 'file'\npath = '/d'\ninputs = ['in']", "dead_letters.inputs: it gets what"),
        ("[dead_letters]\ntype = 'file'\npth = '/d'", "dead_letters.pth: unknown field"),
        ("[dead_letters]\ntype = 'fil'\npath = '/d'", "did you mean `file`?"),
        ("[dead_letters]\npath = '/d'", "dead_letters.type: missing"),
        ("[dead_letters]\ntype = 'nats'\nurl = 'nats://h'", "missing field `subject`"),
        ("[dead_letter]\ntype = 'file'\npath = '/d'", "did you mean `dead_letters`?"),
        ("[dead_letters]\ntype = 'file'\npath = '/d'\nrotate.max_bytes = 0", "dead_letters.rotate.max_bytes"),
        ("[dead_letters]\ntype = 'file'\npath = '${NO}/d'", "dead_letters.path"),
        (
            "[dead_letters]\ntype = 'file'\npath = '/d'\nencoding.codec = 'text'",
            "dead_letters.encoding.codec: `text` does not write a letter whole",
        ),
        (
            "[dead_letters]\ntype = 'console'\nencoding.codec = 'logfmt'",
            "dead_letters.encoding.codec: `logfmt` does not",
        ),
        (
            "[dead_letters]\ntype = 'file'\npath = '/d'\nencoding = {codec = 'json', json.pretty = true}",
            "dead_letters.encoding.json.pretty: `replay` reads",
        ),
        (
            "[dead_letters]\ntype = 'file'\npath = '/d'\nframing.method = 'bytes'",
            "dead_letters.framing.method: `bytes`: `replay` reads",
        ),
        (
            "[sinks.dead_letters]\ntype = 'blackhole'\ninputs = ['in']\n[dead_letters]\ntype = 'file'\npath = '/d'",
            "the id `dead_letters` is that of one of the sinks",
        ),
    ] {
        let problems = load(text).unwrap_err().to_string();
        assert!(problems.contains(expected), "{text}:\n{problems}");
    }
    let config = load("[dead_letters]\ntype = 'file'\npath = '${DIR}/d'").unwrap();
    assert!(config.dead_letters.is_some_and(|sink| sink.r#type == "file" && sink.fingerprint.is_some()));
}
