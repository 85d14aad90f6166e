//! [`Syslog`]: the form of a line.

use crate::event::{Level, LogEvent, Semantics, Timestamp};
use crate::sinks::codec::{Codec, EncodingConfig, write_integer};
use crate::sinks::truncate::encode_within;
use crate::template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::convert::Infallible;
use std::io::Write as _;

/// Which of the two forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rfc {
    /// `<14>1 2026-11-22T05:00:00.000137Z HOST APP PROCID - - MESSAGE`
    #[default]
    Rfc5424,
    /// `<14>Nov 22 05:00:00 HOST TAG[PROCID]: MESSAGE`, the time in UTC.
    Rfc3164,
}

/// How events become lines.
pub(super) struct Syslog {
    rfc: Rfc,
    process: Option<Template>,
    encoding: EncodingConfig,
}

/// The most bytes of a line with its end. Papertrail takes messages of 100,000 bytes.
pub(super) const MAX_LINE: usize = 100_000;
/// Room for what stands in place of what was cut off, with a number of any size.
const MARKER_ROOM: usize = 48;

/// Messages of a program, as opposed to the kernel's or a mail server's (RFC 5424 section 6.2.1).
const FACILITY_USER: u8 = 1;

// The most characters of each field: RFC 5424 section 6, and RFC 3164 section 4.1.3 for the last. Papertrail
// itself cuts the host at 120.
const MAX_HOST: usize = 255;
const MAX_APP: usize = 48;
const MAX_PROCID: usize = 128;
const MAX_TAG: usize = 32;

impl Syslog {
    pub(super) fn new(rfc: Rfc, process: Option<Template>, encoding: EncodingConfig) -> Syslog {
        Syslog { rfc, process, encoding }
    }

    /// Appends the event as one line. Whether it was too long, and has been cut off.
    pub(super) fn write_line(&self, event: &LogEvent, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let write = |event: &LogEvent, out: &mut Vec<u8>| {
            self.write_header(event, out);
            let message = out.len();
            self.encoding.encode(event, out);
            self.join_lines(message, out);
            Ok::<_, Infallible>(())
        };
        // First its own message, so that JSON stays JSON, and then whatever else is long.
        let Ok(has_shorter_message) = encode_within(event, MAX_LINE - 1, out, write);
        let is_cut = cut(start + MAX_LINE - 1, out) || has_shorter_message;
        out.push(b'\n');
        is_cut
    }

    fn write_header(&self, event: &LogEvent, out: &mut Vec<u8>) {
        let known = event.semantics();
        let severity = known.level().unwrap_or(Level::Info).syslog_severity();
        let (time, host, instance) = (known.timestamp(), known.host(), known.instance());
        let process = self.process(event, &known);
        out.push(b'<');
        write_integer(i64::from(FACILITY_USER * 8 + severity), out);
        out.push(b'>');
        match self.rfc {
            Rfc::Rfc5424 => {
                out.extend_from_slice(b"1 ");
                write_time(time, out);
                for (field, most) in [(host, MAX_HOST), (Some(process), MAX_APP), (instance, MAX_PROCID)] {
                    out.push(b' ');
                    write_field(field.as_deref(), most, b"", out);
                }
                out.extend_from_slice(b" - - ");
            }
            Rfc::Rfc3164 => {
                // Writing into memory cannot fail.
                let _ = write!(out, "{} ", time.to_chrono().format("%b %e %H:%M:%S"));
                write_field(host.as_deref(), MAX_HOST, b"", out);
                out.push(b' ');
                write_field(Some(&process), MAX_TAG, b"[]:", out);
                if let Some(instance) = instance {
                    out.push(b'[');
                    write_field(Some(&instance), MAX_PROCID, b"[]:", out);
                    out.push(b']');
                }
                out.extend_from_slice(b": ");
            }
        }
    }

    /// The template's text, or the app, or our own name: the first that is there and not empty.
    fn process<'a>(&self, event: &LogEvent, known: &Semantics<'a>) -> Cow<'a, str> {
        let rendered = self.process.as_ref().and_then(|template| template.render(event).ok());
        let rendered = rendered.filter(|text| !text.is_empty()).map(Cow::Owned);
        let app = || known.app().filter(|text| !text.is_empty());
        rendered.or_else(app).unwrap_or(Cow::Borrowed("log-shipper"))
    }

    /// Makes the message one line, because the server would take each of several for an event of its own.
    /// In JSON a line break stands between values only, and is as good as a space; elsewhere it is written
    /// as an escape. So is NUL, which to some servers is the end of a message too (RFC 6587 section 3.4.2).
    fn join_lines(&self, from: usize, out: &mut Vec<u8>) {
        if memchr::memchr3(b'\n', b'\r', b'\0', &out[from..]).is_none() {
            return;
        }
        let is_json = matches!(self.encoding.codec, Codec::Json { .. });
        let message = out.split_off(from);
        let end = message.trim_ascii_end().len();
        // Those at its end say nothing.
        let breaks = message[end..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        for byte in &message[..breaks.map_or(message.len(), |at| end + at)] {
            match byte {
                b'\n' | b'\r' if is_json => out.push(b' '),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\0' => out.extend_from_slice(b"\\0"),
                other => out.push(*other),
            }
        }
    }
}

/// Appends RFC 3339 in UTC with six fractional digits, the most that RFC 5424 allows.
fn write_time(time: Timestamp, out: &mut Vec<u8>) {
    time.write_rfc3339(out);
    out.truncate(out.len() - "000Z".len());
    out.push(b'Z');
}

/// Appends a field of the header: at most so many characters of printable ASCII but for those reserved, each
/// other character as `_`; `-` if it is missing or empty.
fn write_field(text: Option<&str>, most: usize, reserved: &[u8], out: &mut Vec<u8>) {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("-");
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() && !reserved.contains(byte);
    let bytes = text.chars().map(|c| u8::try_from(c).ok().filter(is_allowed).unwrap_or(b'_'));
    out.extend(bytes.take(most));
}

/// Cuts off, at the end of a character, what is longer than the limit, and says so in its place.
fn cut(limit: usize, out: &mut Vec<u8>) -> bool {
    let length = out.len();
    if length <= limit {
        return false;
    }
    let mut end = limit - MARKER_ROOM;
    while out[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    out.truncate(end);
    // Writing into memory cannot fail.
    let _ = write!(out, "... [truncated {} bytes]", length - end);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        // The codec, the event, and the end of its line.
        for (codec, event, message) in [
            (r#"{"codec":"text"}"#, r#"{"message":"a\nb\r\n\r\nc\u0000\td\n\r\n"}"#, r"a\nb\r\n\r\nc\0	d"),
            (r#"{"codec":"text"}"#, r#"{"message":"a  \n"}"#, "a  "),
            (r#"{"codec":"text"}"#, r#"{"message":"\n"}"#, ""),
            (r#"{"codec":"text"}"#, r#"{"n":1}"#, ""),
            (
                r#"{"codec":"json"}"#,
                "{\"a\":\r\n[1,\n2],\"b\":\"\\n\\u0000\"}",
                r#"{"a":  [1, 2],"b":"\n\u0000"}"#,
            ),
            (r#"{"codec":"json","json":{"pretty":true}}"#, r#"{"a":1}"#, r#"{   "a": 1 }"#),
            (r#"{"codec":"logfmt"}"#, r#"{"a":"b\nc\rd","e":1}"#, r#"a="b\nc\rd" e=1"#),
        ] {
            let encoding = serde_json::from_str(codec).unwrap();
            let syslog = Syslog::new(Rfc::Rfc5424, None, encoding);
            let event = LogEvent::from_json(event.to_owned().into()).unwrap();
            let mut out = Vec::new();
            assert!(!syslog.write_line(&event, &mut out));
            let line = String::from_utf8(out).unwrap();
            let (_, seen) = line.split_once(" log-shipper - - - ").unwrap();
            assert_eq!(seen, format!("{message}\n"), "{line}");
        }
    }

    #[test]
    fn a_field_is_printable_and_no_longer_than_allowed() {
        for (text, reserved, expected) in [
            (None, "", "-"),
            (Some(""), "", "-"),
            (Some("web-1"), "", "web-1"),
            (Some("a b\tc\n\u{7f}é日"), "", "a_b_c____"),
            (Some("fdaa::3"), "", "fdaa::3"),
            (Some("a[b]:c"), "[]:", "a_b__c"),
            (Some("0123456789ab"), "", "0123456789"),
            (Some("日日日日日日日日日日日日"), "", "__________"),
        ] {
            let mut out = Vec::new();
            write_field(text, 10, reserved.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{text:?}");
        }
    }
}
