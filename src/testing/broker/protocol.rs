//! What a client says: bytes to commands.

use memchr::memchr;
use serde_json::{Map, Value};

pub(super) const MAX_CONTROL_LINE: usize = 4096;
pub(super) const MAX_PAYLOAD: usize = 1024 * 1024;

/// What a client did that ends its connection, in the words of a NATS server.
pub(super) type Violation = &'static str;
pub(super) const UNKNOWN_OPERATION: Violation = "Unknown Protocol Operation";
pub(super) const PARSER_ERROR: Violation = "Parser Error";
pub(super) const CONTROL_LINE_EXCEEDED: Violation = "maximum control line exceeded";
pub(super) const PAYLOAD_EXCEEDED: Violation = "Maximum Payload Violation";

/// One command of a client, borrowed from its input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// The options.
    Connect(Map<String, Value>),
    Ping,
    Pong,
    Publish(Message<'a>),
    /// The subject, the queue group and the sid.
    Subscribe(&'a str, Option<&'a str>, &'a str),
    /// The sid, and after how many messages in all the subscription ends.
    Unsubscribe(&'a str, usize),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The operation that delivers it.
    pub(super) delivery: &'static str,
    pub(super) subject: &'a str,
    /// The reply subject, if any, and the sizes, which a delivery repeats.
    pub(super) tail: String,
    /// The headers, if any, and the payload.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// One without headers and a reply subject.
    pub(super) fn new(subject: &'a str, payload: &'a [u8]) -> Message<'a> {
        Message { delivery: "MSG ", subject, tail: payload.len().to_string(), body: payload }
    }
}

/// A command and the input after it, or `None` when more input is needed.
pub(super) type Parsed<'a> = Result<Option<(Command<'a>, &'a [u8])>, Violation>;

/// Reads the command at the start of `input`.
pub(super) fn parse_command(input: &[u8]) -> Parsed<'_> {
    let window = &input[..input.len().min(MAX_CONTROL_LINE + b"\r\n".len())];
    let line = match memchr(b'\n', window) {
        Some(line_end) => &window[..line_end],
        None if window.len() < MAX_CONTROL_LINE + b"\r\n".len() => return Ok(None),
        None => return Err(CONTROL_LINE_EXCEEDED),
    };
    let rest = &input[line.len() + 1..];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_CONTROL_LINE {
        return Err(CONTROL_LINE_EXCEEDED);
    }
    let line = std::str::from_utf8(line).map_err(|_| PARSER_ERROR)?;
    let (operation, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let words: Vec<&str> = arguments.split_ascii_whitespace().collect();
    let command = match (operation.to_ascii_uppercase().as_str(), &words[..]) {
        ("PUB", [subject, size] | [subject, _, size]) => {
            return parse_message("MSG ", subject, &words[1..], "0", size, rest);
        }
        ("HPUB", [subject, headers, size] | [subject, _, headers, size]) => {
            return parse_message("HMSG ", subject, &words[1..], headers, size, rest);
        }
        ("SUB", [subject, sid]) => Command::Subscribe(subject, None, sid),
        ("SUB", [subject, queue, sid]) => Command::Subscribe(subject, Some(queue), sid),
        ("UNSUB", [sid]) => Command::Unsubscribe(sid, 0),
        ("UNSUB", [sid, max]) => Command::Unsubscribe(sid, parse_number(max)?),
        ("PING", []) => Command::Ping,
        ("PONG", []) => Command::Pong,
        ("CONNECT", _) => Command::Connect(serde_json::from_str(arguments).map_err(|_| PARSER_ERROR)?),
        ("PUB" | "HPUB" | "SUB" | "UNSUB" | "PING" | "PONG", _) => return Err(PARSER_ERROR),
        _ => return Err(UNKNOWN_OPERATION),
    };
    Ok(Some((command, rest)))
}

fn parse_message<'a>(
    delivery: &'static str,
    subject: &'a str,
    tail: &[&str],
    header_size: &str,
    size: &str,
    input: &'a [u8],
) -> Parsed<'a> {
    let size = parse_number(size)?;
    if size > MAX_PAYLOAD {
        return Err(PAYLOAD_EXCEEDED);
    }
    if parse_number(header_size)? > size {
        return Err(PARSER_ERROR);
    }
    let Some((body, after_body)) = input.split_at_checked(size) else {
        return Ok(None);
    };
    let rest = match after_body.split_first_chunk() {
        Some((b"\r\n", rest)) => rest,
        Some(_) => return Err(PARSER_ERROR),
        None => return Ok(None),
    };
    let message = Message { delivery, subject, tail: tail.join(" "), body };
    Ok(Some((Command::Publish(message), rest)))
}

/// Unlike `str::parse` alone, this takes no sign.
fn parse_number(digits: &str) -> Result<usize, Violation> {
    match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().map_err(|_| PARSER_ERROR),
        false => Err(PARSER_ERROR),
    }
}
