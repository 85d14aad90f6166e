//! `slack`: messages to a Slack channel for the events that somebody must see. Vector has no such sink.
//!
//! Source: docs.slack.dev (incoming webhooks, rate limits, Block Kit reference): one JSON document in a
//! request, a request a second, at most 3,000 characters in a section and 50 blocks; `&`, `<` and `>` are
//! escaped. What a webhook answers to an empty message, and how long a whole message may be, is not documented.

mod keywords;

use super::codec::{EncodeError, Splice};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::request::Concurrency;
use super::truncate::truncate;
use super::{Batch, BatchLimits, Verdict, describe, judge_empty};
use crate::config::Result;
use crate::event::{LogEvent, json};
use crate::healthcheck::Unhealthy;
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use keywords::Keywords;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

/// Sends messages to a Slack channel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// The incoming webhook's URL, which is a secret.
    webhook_url: SensitiveString,
    /// Words and `/regular expressions/`; an event whose message has none of them is not for Slack.
    keywords: Keywords,
    /// What of the URL is the secret.
    #[serde(skip)]
    path: SensitiveString,
}

/// Characters of a section's text.
const MAX_TEXT: usize = 3_000;
/// Characters of all sections of a message; so far, whole events are shown.
const MAX_SHOWN: usize = 12_000;
/// Of a flood that a person must read, the beginning and the numbers are enough.
const MAX_SHOWN_EVENTS: usize = 10;

impl HttpSink for Slack {
    const NAME: &'static str = "slack";
    const SUMMARY: &'static str = "Send alerts to a Slack channel.";
    const EXAMPLE: &'static str = "webhook_url = \"https://hooks.slack.com/services/T/B/X\"\nkeywords = \"panic, /out of (memory|disk)/\"";
    const NOTES: &'static str = "- A message a second: ten events are shown, up to 1,000 are summed up. It is sent after 1 s at the \
        latest. Of an event's message 3,000 bytes are shown.\n\
        - A 410 (the channel is archived) is held, with an alarm.";

    /// A request a second, one at a time, unless the user says otherwise.
    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        let limit = &mut options.request.rate_limit_num;
        *limit = limit.or(NonZeroU64::new(1));
        if options.request.concurrency == Concurrency::Adaptive {
            options.request.concurrency = Concurrency::Fixed(1);
        }
        let url = self.webhook_url.expose();
        check_endpoint("webhook_url", url)?;
        let path = url.parse::<http::Uri>()?.path().to_owned();
        self.path = path.into();
        Ok(())
    }

    /// What matches within a second becomes one message.
    fn limits(&self) -> BatchLimits {
        let timeout = Duration::from_secs(1);
        BatchLimits { max_events: 1_000, timeout, max_message_bytes: MAX_TEXT, ..BatchLimits::DEFAULT }
    }

    fn wants(&self, event: &LogEvent) -> bool {
        event.message().is_some_and(|message| self.keywords.are_in(&message))
    }

    /// The app, a zero byte, and the section: see [`Slack::assemble`].
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let known = event.semantics();
        let app = known.app().unwrap_or("unknown app".into());
        out.extend(app.bytes().filter(|byte| *byte != 0));
        out.push(0);
        let time = known.timestamp();
        // Everybody reads the time in his own zone; the text behind the bar is for old clients.
        let date = format!("<!date^{}^{{date_short}} {{time_secs}}|{}>", time.seconds(), time.to_rfc3339());
        let level = known.level().map(|level| level.as_str().into());
        let origin = [Some(app), level, known.region(), known.instance()];
        let origin: Vec<_> = origin.into_iter().flatten().map(|part| escape(&part, 200)).collect();
        let mut text = format!("*{}* {date}\n```", origin.join(" | "));
        let room = MAX_TEXT.saturating_sub(text.chars().count() + "```".len());
        // A message that has the fence's end in it would end it.
        let message = known.message().unwrap_or_default().replace("```", "`\u{200b}`\u{200b}`");
        text.push_str(&escape(&message, room));
        text.push_str("```");
        write_section(&text, out);
        Ok(())
    }

    /// The first events, as far as a message has room, and how many there are besides, by app.
    fn assemble(&self, batch: &Batch) -> Option<Vec<u8>> {
        let mut blocks = Vec::new();
        let mut shown = 0;
        let mut more: BTreeMap<String, usize> = BTreeMap::new();
        let mut apps: BTreeMap<String, usize> = BTreeMap::new();
        for (index, entry) in batch.entries().enumerate() {
            let end = memchr::memchr(0, entry).unwrap_or_default();
            let (app, section) = (String::from_utf8_lossy(&entry[..end]).into_owned(), &entry[end + 1..]);
            *apps.entry(app.clone()).or_default() += 1;
            let is_shown = more.is_empty() && index < MAX_SHOWN_EVENTS && shown + section.len() <= MAX_SHOWN;
            if is_shown || index == 0 {
                shown += section.len();
                blocks.push(section.to_vec());
            } else {
                *more.entry(app).or_default() += 1;
            }
        }
        if !more.is_empty() {
            let mut section = Vec::new();
            let count: usize = more.values().sum();
            write_section(&truncate(&format!("and {count} more: {}", by_app(&more)), MAX_TEXT), &mut section);
            blocks.push(section);
        }
        let mut body = Vec::new();
        let mut message = Splice::open(&mut body);
        // What a notification shows.
        message.string("text", &truncate(&by_app(&apps), 200));
        let out = message.key("blocks");
        out.push(b'[');
        out.extend(blocks.join(&b','));
        out.push(b']');
        message.close();
        Some(body)
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        Ok(Request::post(self.webhook_url.expose()).header(CONTENT_TYPE, "application/json"))
    }

    /// A webhook that is gone (410: the channel is archived) is for a person to mend.
    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        match response.status().as_u16() {
            410 => Verdict::Unauthorized,
            _ => Verdict::of_status(response),
        }
    }

    fn secrets(&self) -> Vec<&SensitiveString> {
        vec![&self.webhook_url, &self.path]
    }

    /// An empty message, which no channel shows: a webhook that exists finds fault with it.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = Request::post(self.webhook_url.expose()).header(CONTENT_TYPE, "application/json");
        let request = request.body(Bytes::from_static(b"{}"))?;
        Ok(Some(HealthcheckRequest::new(request, |response| match response.status().as_u16() {
            410 => Err(Unhealthy::NotFound { reason: describe(response) }),
            _ => judge_empty(response),
        })))
    }
}

/// `*web* 3, *api* 1`, the most first.
fn by_app(apps: &BTreeMap<String, usize>) -> String {
    let mut apps: Vec<_> = apps.iter().collect();
    apps.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = apps.iter().map(|(app, count)| format!("*{}* {count}", escape(app, 100)));
    named.collect::<Vec<_>>().join(", ")
}

fn write_section(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"section","text":{"type":"mrkdwn","text":"#);
    json::write_string(text, out);
    out.extend_from_slice(b"}}");
}

/// The text with Slack's three characters escaped, in at most so many characters, with a marker if it is cut.
fn escape(text: &str, most: usize) -> String {
    const MARKER: &str = "... [truncated]";
    let mut out = String::new();
    let (mut length, mut room) = (0, 0);
    for c in text.chars() {
        let mut one = [0; 4];
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            c => c.encode_utf8(&mut one),
        };
        length += piece.chars().count();
        if length > most {
            out.truncate(room);
            out.push_str(MARKER);
            break;
        }
        out.push_str(piece);
        if length + MARKER.len() <= most {
            room = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaped_text_fits_and_keeps_its_escapes_whole(text in "[<&>a🚀]{0,60}", most in 15..60usize) {
            let escaped = escape(&text, most);
            prop_assert!(escaped.chars().count() <= most);
            let plain = escaped.replace("... [truncated]", "");
            let plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            prop_assert!(text.starts_with(&plain), "{}", escaped);
        }
    }
}
