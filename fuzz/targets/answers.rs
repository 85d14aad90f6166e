//! What a destination may answer: no answer is a panic, and what it says is fit for a line of the log.

#![no_main]

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use libfuzzer_sys::fuzz_target;
use log_shipper::env::Env;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::sinks::{
    AppSignal, AwsCloudwatchLogs, AwsS3, Axiom, Batch, BatchLimits, Batcher, DatadogLogs, Elasticsearch, EntryVerdict,
    Honeycomb, Http, HttpOptions, HttpSink, HumioLogs, Loki, Mezmo, NewRelic, SematextLogs, Slack, SplunkHecLogs,
    Verdict,
};
use std::sync::{Arc, LazyLock};

type Judge = Box<dyn Fn(&Response<Bytes>, usize) -> Verdict + Send + Sync>;

/// Every destination, and of one a second way to configure it that reads the answer otherwise.
static JUDGES: LazyLock<Vec<(&str, Judge)>> = LazyLock::new(|| {
    vec![
        judge::<AppSignal>(""),
        judge::<AwsCloudwatchLogs>(""),
        judge::<AwsS3>(""),
        judge::<Axiom>(""),
        judge::<DatadogLogs>(""),
        judge::<Elasticsearch>(""),
        judge::<Honeycomb>(""),
        judge::<Http>(""),
        judge::<HumioLogs>(""),
        judge::<Loki>(""),
        judge::<Mezmo>(""),
        judge::<NewRelic>(""),
        judge::<SematextLogs>(""),
        judge::<Slack>(""),
        judge::<SplunkHecLogs>(""),
        judge::<SplunkHecLogs>("\nindex = \"{{ message }}\""),
    ]
});

fn judge<S: HttpSink>(more: &str) -> (&'static str, Judge) {
    let mut sink: S = toml::from_str(&format!("{}{more}", S::EXAMPLE)).expect("the example is a configuration");
    sink.configure(&mut HttpOptions::default()).expect("the example is right");
    let none = std::iter::empty::<(String, String)>();
    let sink = sink.in_environment(&Env::from_pairs(none)).expect("the example is whole").unwrap_or(sink);
    (S::NAME, Box::new(move |response, events| sink.verdict(response, &batch(&sink, events))))
}

fn batch<S: HttpSink>(sink: &S, events: usize) -> Batch {
    let mut batcher = Batcher::new(BatchLimits::DEFAULT, sink.framing(), Arc::default());
    for _ in 0..events {
        let event = LogEvent::from_json_at(r#"{"message":"m","host":"h","fly":{"app":{"name":"a"}}}"#.into(), Timestamp::from_nanos(1));
        let event = event.expect("an object");
        let partition = sink.partition(&event).expect("the event has what is needed");
        let encode = |event: &LogEvent, out: &mut Vec<u8>| {
            sink.encode(event, out).map_err(|error| error.to_string())
        };
        batcher.push(partition, event, encode, &mut Vec::new()).expect("it fits");
    }
    batcher.close_all().pop().expect("a batch")
}

fn check(name: &str, verdict: &Verdict, response: &Response<Bytes>, events: usize, depth: usize) {
    let check_reason = |reason: &str| {
        assert!(!reason.chars().any(char::is_control), "{name}: {reason:?}");
        assert!(reason.chars().count() <= 1000, "{name}: {} characters", reason.len());
    };
    match verdict {
        Verdict::Rejected { reason } | Verdict::RejectedSome { reason, .. } => check_reason(reason),
        Verdict::Partial(entries) => {
            assert!(entries.len() <= events, "{name}: {} verdicts for {events} events", entries.len());
            for entry in entries {
                if let EntryVerdict::Rejected { reason, .. } = entry {
                    check_reason(reason);
                }
            }
        }
        Verdict::Missing { first } if depth == 0 => {
            first.iter().for_each(|side| check(name, &(side.judge)(response), response, events, 1));
        }
        Verdict::Confirm { ask, .. } if depth == 0 => {
            check(name, &(ask.judge)(response), response, events, 1);
        }
        _ => {}
    }
}

fuzz_target!(|input: (u16, Vec<(&str, &[u8])>, u8, &[u8])| {
    let (status, headers, events, body) = input;
    let Ok(status) = StatusCode::from_u16(100 + status % 900) else { return };
    let mut response = Response::new(Bytes::copy_from_slice(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
            response.headers_mut().append(name, value);
        }
    }
    let events = usize::from(events % 4) + 1;
    for (name, judge) in JUDGES.iter() {
        check(name, &judge(&response, events), &response, events, 0);
    }
});
