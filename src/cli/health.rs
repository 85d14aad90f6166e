//! `log-shipper health`

use super::{Failure, api_url, print, run};
use crate::env::Env;
use crate::http::{HttpClient, ProxyConfig};
use crate::tls::TlsConfig;
use bytes::Bytes;
use http::{Request, Response};
use std::num::NonZero;
use std::time::Duration;
use url::Url;

/// Whoever asks, such as Docker, gives up a little later.
const LIMIT: Duration = Duration::from_secs(5);
/// The most characters of the answer that are shown.
const MAX_SHOWN: usize = 500;

/// `health`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  log-shipper health\n  log-shipper health --url http://[::1]:8686/ready")]
pub(super) struct Args {
    /// What is asked: where the API is, and `/health` unless another path is given. Default: that of API_ADDRESS, or
    /// http://127.0.0.1:8686/health.
    #[arg(long)]
    url: Option<String>,
}

/// Asks a running log-shipper whether logs flow: one line, and exit code 0 or 1.
pub(super) fn run(args: &Args, env: &Env) -> Result<(), Failure> {
    let url = match &args.url {
        Some(text) => of_health(api_url::given(text, "http://127.0.0.1:8686/health")?),
        None => default_url(env)?,
    };
    let answer = run::block_on(NonZero::<usize>::MIN, async {
        // No proxy is wanted on the way to ourselves.
        let client = HttpClient::new(&TlsConfig::default(), &ProxyConfig::default(), LIMIT);
        let request = Request::get(url.as_str()).body(Bytes::new()).map_err(Failure::failed)?;
        client.map_err(Failure::failed)?.send(request, LIMIT).await.map_err(Failure::failed)
    });
    match answer {
        Ok(answer) if !is_of_the_api(&answer) => Err(Failure::Failed(format!(
            "not healthy: {url} answers with {}, but not as log-shipper's /health does; is something else there?",
            answer.status()
        ))),
        Ok(answer) if answer.status().is_success() => print(&format!("{}\n", line(&answer))),
        Ok(answer) => Err(Failure::Failed(format!("not healthy: {}", line(&answer)))),
        Err(Failure::Failed(reason)) => Err(Failure::Failed(format!(
            "log-shipper does not answer at {url}: {reason}; does it run, and with its API on (API_ADDRESS, or `api.enabled`)?"
        ))),
        Err(other) => Err(other),
    }
}

/// What says how the API of this environment gets on.
fn default_url(env: &Env) -> Result<Url, Failure> {
    let off = || Failure::Failed("not healthy: nobody can say, because API_ADDRESS is off".to_owned());
    let api = api_url::of_environment(env)?.ok_or_else(off)?;
    Ok(of_health(api))
}

/// Whether this is what /health, /ready or /live says: JSON that says whether it is well.
fn is_of_the_api(answer: &Response<Bytes>) -> bool {
    serde_json::from_slice::<serde_json::Value>(answer.body())
        .is_ok_and(|json| json.get("ok").is_some_and(serde_json::Value::is_boolean))
}

/// The same, at `/health` unless it says which path is asked.
fn of_health(mut url: Url) -> Url {
    if url.path() == "/" {
        url.set_path("health");
    }
    url
}

/// The answer in one line of bounded length, without anything that a terminal would obey.
fn line(answer: &Response<Bytes>) -> String {
    let text = String::from_utf8_lossy(answer.body());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    format!("{}: {text}", answer.status()).trim_end_matches(": ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_health_of_the_environment_s_api() {
        let url = |address| default_url(&Env::from_pairs([("API_ADDRESS", address)]));
        assert_eq!(url("[::]:9000").unwrap().to_string(), "http://[::1]:9000/health");
        assert!(matches!(url("off"), Err(Failure::Failed(_))));
        assert!(matches!(url("8686"), Err(Failure::Config(_))));
    }

    #[test]
    fn what_is_asked_is_health_and_what_answers_is_log_shipper() {
        for (given, asked) in [
            ("http://127.0.0.1:8686", "http://127.0.0.1:8686/health"),
            ("http://127.0.0.1:8686/", "http://127.0.0.1:8686/health"),
            ("http://127.0.0.1:8686/ready", "http://127.0.0.1:8686/ready"),
        ] {
            assert_eq!(of_health(Url::parse(given).unwrap()).as_str(), asked);
        }
        let cases = [
            ("{\"ok\":true,\"healthy\":true}", true),
            ("{\"ok\":true}", true),
            ("ok\n", false),
            ("", false),
            ("{\"status\":\"up\"}", false),
            ("<!doctype html>", false),
        ];
        for (body, expected) in cases {
            assert_eq!(is_of_the_api(&Response::new(Bytes::from(body))), expected, "{body}");
        }
    }

    #[test]
    fn the_answer_is_one_short_line() {
        let answer = |body: &str| Response::new(Bytes::copy_from_slice(body.as_bytes()));
        assert_eq!(line(&answer("")), "200 OK");
        assert_eq!(line(&answer("{\n  \"a\": 1\u{1b}[31m\n}\n")), "200 OK: { \"a\": 1[31m }");
        assert!(line(&answer(&"x".repeat(10_000))).len() < 600);
    }
}
