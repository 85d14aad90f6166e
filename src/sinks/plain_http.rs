//! Keys that would go over a network as plain text, for whoever listens there to take.

use super::batch::Batch;
use super::http_sink::HttpSink;
use crate::config::{Problem, is_secret};
use crate::event::{LogEvent, Timestamp};
use crate::template::Template;
use http::header::HeaderName;
use http::uri::{Scheme, Uri};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

/// A warning, if the sink's requests go by `http://` to where others may listen, with something in them that says who
/// we are. It names the hosts, and never a key.
pub(super) fn warning<S: HttpSink>(sink: &S, headers: &[(HeaderName, Template)]) -> Option<Problem> {
    // What asks whether a destination is well knows all its endpoints; a sink without that is asked for a request.
    let requests = match sink.healthcheck(None) {
        Ok(Some(check)) => check.requests,
        _ => {
            // A sink may rely on what it says itself of an event.
            let empty = LogEvent::from_json_text("{}".into(), Timestamp::from_nanos(0)).ok()?;
            let request = sink.request(&Batch::empty(sink.partition(&empty).ok()?)).ok()?;
            vec![request.body(bytes::Bytes::new()).ok()?]
        }
    };
    let has_secret = !sink.secrets().is_empty()
        || headers.iter().any(|(name, _)| is_secret(&name.as_str().replace('-', "_")))
        || requests.iter().any(|request| request.headers().values().any(|value| value.is_sensitive()));
    let hosts: BTreeSet<_> = requests.iter().filter_map(|request| exposed_host(request.uri())).collect();
    if !has_secret || hosts.is_empty() {
        return None;
    }
    let hosts: Vec<_> = hosts.iter().map(|host| format!("`{host}`")).collect();
    Some(Problem::new(format!(
        "the key goes to {} in plain text, and so do the logs: whoever is on the way can read them; expected a URL that \
         begins with https://",
        hosts.join(", ")
    )))
}

/// The host, if it is reached without encryption and may be far away.
///
/// Those of a private network are not warned of: Fly.io's (`fdaa:`, `.internal`, `.flycast`) is encrypted, and to a host
/// with a private address, or a name that only a local network knows, nobody issues a certificate. A warning that
/// people cannot heed is one that they learn not to read.
fn exposed_host(uri: &Uri) -> Option<&str> {
    let host = uri.host().filter(|_| uri.scheme() == Some(&Scheme::HTTP))?;
    let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let is_near = match name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip == Ipv6Addr::LOCALHOST || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => {
            let name = name.to_ascii_lowercase();
            !name.contains('.')
                || [".internal", ".flycast", ".localhost", ".local"].iter().any(|end| name.ends_with(end))
        }
    };
    (!is_near).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Registry};
    use crate::env::Env;

    #[test]
    fn a_host_is_exposed_that_is_far_away_and_not_encrypted() {
        for (url, expected) in [
            ("http://logs.example/x", true),
            ("http://LOGS.example.:80", true),
            ("http://203.0.113.7:3100", true),
            ("http://[2001:db8::1]:80/", true),
            ("http://internal.example", true),
            ("https://logs.example", false),
            ("http://localhost:3100", false),
            ("http://loki:3100", false),
            ("http://127.0.0.2", false),
            ("http://[::1]:1", false),
            ("http://[::ffff:10.0.0.1]", false),
            ("http://loki.internal:3100", false),
            ("http://Loki.Flycast", false),
            ("http://[fdaa:0:1::3]:80", false),
            ("http://10.0.0.1", false),
            ("http://172.16.1.1", false),
            ("http://192.168.1.1", false),
        ] {
            assert_eq!(exposed_host(&url.parse().unwrap()).is_some(), expected, "{url}");
        }
    }

    #[test]
    fn whoever_sends_a_key_in_plain_text_is_told() {
        let (far, near) = ("http://logs.example", "http://loki.internal");
        for (sink, expected) in [
            (
                format!(
                    "type = 'loki'\nencoding.codec = 'json'\nlabels.a = 'b'\nendpoint = '{far}'\nauth = {{ strategy = 'bearer', token = 's3cr3t' }}"
                ),
                true,
            ),
            (
                format!(
                    "type = 'loki'\nencoding.codec = 'json'\nlabels.a = 'b'\nendpoint = '{near}'\nauth = {{ strategy = 'bearer', token = 's3cr3t' }}"
                ),
                false,
            ),
            (format!("type = 'loki'\nencoding.codec = 'json'\nlabels.a = 'b'\nendpoint = '{far}'"), false),
            (
                format!(
                    "type = 'http'\nencoding.codec = 'json'\nuri = '{far}/s3cr3t'\nrequest.headers.X-Api-Key = 's3cr3t'"
                ),
                true,
            ),
            (
                format!(
                    "type = 'http'\nencoding.codec = 'json'\nuri = '{far}'\nrequest.headers.X-Team = 'web'"
                ),
                false,
            ),
            (format!("type = 'axiom'\nurl = '{far}'\ntoken = 's3cr3t'\ndataset = 'd'"), true),
            (
                format!(
                    "type = 'elasticsearch'\nendpoints = ['{near}', '{far}', 'https://x.example']\nauth = {{ strategy = 'basic', user = 'u', password = 's3cr3t' }}"
                ),
                true,
            ),
        ] {
            let text = format!("[sources.in]\ntype = 'stdin'\n[sinks.out]\ninputs = ['in']\n{sink}\n");
            let config = Config::from_toml(&text, "file", &Registry::builtin(), &Env::default());
            let config = config.unwrap_or_else(|problems| panic!("{sink}: {problems:?}"));
            let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
            let told: Vec<_> = warnings.iter().filter(|text| text.contains("in plain text")).collect();
            assert_eq!(told.len(), usize::from(expected), "{sink}: {warnings:?}");
            for text in told {
                assert!(text.contains("sinks.out") && text.contains("`logs.example` in plain"), "{text}");
                assert!(!text.contains("s3cr3t"), "{text}");
            }
        }
    }
}
