//! NATS's protocol as a client reads it: bytes to operations, in place.
//!
//! Source: docs.nats.io, "Client Protocol".

use crate::redact::one_line;
use snafu::Snafu;
use std::ops::Range;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `MSG` or `HMSG`.
    Message {
        /// Our number of the subscription.
        sid: u64,
        /// Where its subject stands.
        subject: Range<usize>,
        /// Where the subject for an answer stands; empty if none is wanted.
        reply: Range<usize>,
        /// Where its headers stand, with the line of the version and a status; empty if there are none.
        headers: Range<usize>,
        /// Where its payload stands.
        payload: Range<usize>,
    },
    /// `INFO`: where its JSON stands.
    Info(Range<usize>),
    /// `PING`, which wants a `PONG`.
    Ping,
    /// `PONG`
    Pong,
    /// `+OK`
    Ok,
    /// `-ERR`: where its text stands.
    Error(Range<usize>),
}

/// The bytes are not NATS's protocol. What follows cannot be understood either: the connection is of
/// no more use.
#[derive(Debug, Snafu, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line that says nothing of the protocol's.
    #[snafu(display("the server has sent a line that is not of the NATS protocol: {line:?}"))]
    Line {
        /// Its beginning.
        line: String,
    },
    /// A line without an end.
    #[snafu(display("the server has sent a line of more than {MAX_LINE} bytes"))]
    LineTooLong,
    /// A message of a size that no server is configured to take.
    #[snafu(display("the server has announced a message larger than any server sends: {line:?}"))]
    MessageTooLarge {
        /// The line that announces it.
        line: String,
    },
}

/// The longest line, of whatever kind: an `INFO` that names a large cluster. All others are far shorter (a server takes
/// 4 KiB of a client by default, its `max_control_line`).
const MAX_LINE: usize = 1 << 20;
/// The largest message that a server can be configured to take (`max_payload`), with its headers. The limit in its own
/// `INFO` is no bound for what it sends: another server of its cluster may take more, and its own may have been larger
/// when a stream was filled. Room is made only for what has come, not for what is announced.
const MAX_MESSAGE: usize = 128 << 20;

/// The operation at the start of the bytes and its length, or `None` if it is not whole yet.
///
/// # Errors
/// If the bytes are not NATS's protocol.
pub fn parse(input: &[u8]) -> Result<Option<(Op, usize)>, ProtocolError> {
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(MAX_LINE)]) else {
        return if input.len() >= MAX_LINE { Err(ProtocolError::LineTooLong) } else { Ok(None) };
    };
    let after = end + 1;
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let word_end = line.iter().position(|byte| is_blank(*byte)).unwrap_or(line.len());
    let op = match &line[..word_end] {
        // The most frequent first.
        b"MSG" => return message(input, line, word_end, after, false),
        b"HMSG" => return message(input, line, word_end, after, true),
        b"PING" => Op::Ping,
        b"PONG" => Op::Pong,
        b"+OK" => Op::Ok,
        b"INFO" => Op::Info(word_end..line.len()),
        b"-ERR" => Op::Error(word_end..line.len()),
        _ => return Err(unknown(line)),
    };
    Ok(Some((op, after)))
}

/// `MSG subject sid [reply] size` or `HMSG subject sid [reply] header-size size`, then the headers and
/// the payload, and a line break.
fn message(
    input: &[u8],
    line: &[u8],
    word_end: usize,
    body: usize,
    has_headers: bool,
) -> Result<Option<(Op, usize)>, ProtocolError> {
    let mut arguments = [const { 0..0 }; 5];
    let mut count = 0;
    let mut at = word_end;
    while let Some(blanks) = line[at..].iter().position(|byte| !is_blank(*byte)) {
        let start = at + blanks;
        at =
            line[start..].iter().position(|byte| is_blank(*byte)).map_or(line.len(), |length| start + length);
        *arguments.get_mut(count).ok_or_else(|| unknown(line))? = start..at;
        count += 1;
    }
    let least = 3 + usize::from(has_headers);
    if count != least && count != least + 1 {
        return Err(unknown(line));
    }
    let number = |index: usize| number(&line[arguments[index].clone()]).ok_or_else(|| unknown(line));
    let (sid, size) = (number(1)?, number(count - 1)?);
    let headers = if has_headers { number(count - 2)? } else { 0 };
    if headers > size {
        return Err(unknown(line));
    }
    let size = usize::try_from(size).ok().filter(|size| *size <= MAX_MESSAGE);
    let Some(size) = size else { return Err(ProtocolError::MessageTooLarge { line: shown(line) }) };
    let end = body + size;
    match input.get(end..end + 2) {
        None => Ok(None),
        Some(b"\r\n") => {
            // At most the size, which has just been seen to fit.
            let headers = body..body + headers as usize;
            let payload = headers.end..end;
            let reply = if count > least { arguments[2].clone() } else { 0..0 };
            Ok(Some((Op::Message { sid, subject: arguments[0].clone(), reply, headers, payload }, end + 2)))
        }
        Some(_) => Err(unknown(line)),
    }
}

#[inline]
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Decimal digits, at most as many as a number of 64 bits has for certain.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |sum: u64, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

fn unknown(line: &[u8]) -> ProtocolError {
    ProtocolError::Line { line: shown(line) }
}

/// The beginning of a server's text, fit for a line of the log.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
    one_line(&text, 200).trim_matches([' ', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the bytes say, as text, and how many of them are left.
    fn read(input: &[u8]) -> Result<(Vec<String>, usize), ProtocolError> {
        let (mut seen, mut rest) = (Vec::new(), input);
        while let Some((op, length)) = parse(rest)? {
            let text = |range: Range<usize>| String::from_utf8_lossy(&rest[range]).trim().to_owned();
            seen.push(match op {
                Op::Message { sid, subject, reply, headers, payload } => {
                    let (reply, headers) = (text(reply), text(headers));
                    format!("{sid} {} <{reply}> <{headers}> {}", text(subject), text(payload))
                }
                Op::Info(range) => format!("info {}", text(range)),
                Op::Error(range) => format!("error {}", text(range)),
                other => format!("{other:?}"),
            });
            rest = &rest[length..];
        }
        Ok((seen, rest.len()))
    }

    const STREAM: &[u8] =
        b"INFO {\"a\":1} \r\nMSG logs.a 1 2\r\nab\r\nMSG logs.b 22 reply.to 0\r\n\r\nPING\r\n\
        HMSG logs.c 3 12 14\r\nNATS/1.0\r\n\r\nxy\r\nHMSG  logs.d\t4 r 12 12\r\nNATS/1.0\r\n\r\n\r\n\
        MSG e 5 4\r\n\r\n\r\n\r\n+OK\r\n-ERR 'Slow Consumer'\r\nPONG\r\n";

    #[test]
    fn reads_what_a_server_says() {
        let (seen, left) = read(STREAM).unwrap();
        let expected = [
            "info {\"a\":1}",
            "1 logs.a <> <> ab",
            "22 logs.b <reply.to> <> ",
            "Ping",
            "3 logs.c <> <NATS/1.0> xy",
            "4 logs.d <r> <NATS/1.0> ",
            "5 e <> <> ",
            "Ok",
            "error 'Slow Consumer'",
            "Pong",
        ];
        assert_eq!((seen, left), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn a_stream_cut_anywhere_is_read_as_far_as_it_goes() {
        let whole = read(STREAM).unwrap().0;
        for cut in 0..STREAM.len() {
            let (first, left) = read(&STREAM[..cut]).unwrap();
            assert_eq!(first, whole[..first.len()], "cut at {cut}");
            let rest = read(&STREAM[cut - left..]).unwrap().0;
            assert_eq!(rest, whole[first.len()..], "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_protocol_is_refused() {
        for text in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            "MSG a 1\r\n",
            "MSG a 1 2 3 4\r\nab\r\n",
            "MSG a x 2\r\nab\r\n",
            "MSG a 1 -2\r\n",
            "MSG a 1 2\r\nabc\r\n",
            "HMSG a 1 3 2\r\nab\r\n",
            "MSG a 1 99999999999999999999\r\n",
            "MSG a 1 999999999999\r\n",
            "ping\u{0}\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(parse(&vec![b'x'; MAX_LINE]), Err(ProtocolError::LineTooLong));
        assert_eq!(parse(&vec![b'x'; MAX_LINE - 1]), Ok(None));
    }

    #[test]
    fn every_length_has_a_bound() {
        for word in ["INFO", "-ERR", "MSG", "HMSG", "PING"] {
            let line = format!("{word} {}", "x".repeat(MAX_LINE));
            assert_eq!(parse(line.as_bytes()), Err(ProtocolError::LineTooLong), "{word}");
        }
        let (most, more) = (MAX_MESSAGE, MAX_MESSAGE + 1);
        for (line, is_taken) in [
            (format!("MSG a 1 {most}"), true),
            (format!("MSG a 1 {more}"), false),
            (format!("HMSG a 1 {most} {most}"), true),
            (format!("HMSG a 1 12 {more}"), false),
            (format!("HMSG a 1 {more} {more}"), false),
            (format!("MSG a 1 {}", u64::MAX), false),
        ] {
            let parsed = parse(format!("{line}\r\nab").as_bytes());
            match is_taken {
                // The rest of it is still to come.
                true => assert_eq!(parsed, Ok(None), "{line}"),
                false => assert!(parsed.unwrap_err().to_string().contains(&line), "{line}"),
            }
        }
        // What it says of an error is shown as a piece of a line.
        assert_eq!(shown(&[b'x'; MAX_LINE]).len(), 200);
    }

    proptest! {
        #[test]
        fn any_messages_are_read_as_they_were_written(
            messages in prop::collection::vec(
                ("[a-z.]{1,12}", 0..1000u64, prop::option::of("[a-z.]{1,8}"), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)),
                0..12,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for (subject, sid, reply, has_headers, payload) in &messages {
                let reply = reply.as_ref().map(|reply| format!("{reply} ")).unwrap_or_default();
                let headers: &[u8] = if *has_headers { b"NATS/1.0\r\nA: b\r\n\r\n" } else { b"" };
                let size = headers.len() + payload.len();
                let line = match has_headers {
                    true => format!("HMSG {subject} {sid} {reply}{} {size}\r\n", headers.len()),
                    false => format!("MSG {subject} {sid} {reply}{size}\r\n"),
                };
                stream.extend_from_slice(line.as_bytes());
                stream.extend_from_slice(headers);
                stream.extend_from_slice(payload);
                stream.extend_from_slice(b"\r\n");
                let reply = reply.trim_end().as_bytes().to_vec();
                expected.push((*sid, subject.clone().into_bytes(), reply, headers.to_vec(), payload.clone()));
            }
            // In two pieces, as a socket may give them.
            let (mut seen, mut buffer) = (Vec::new(), Vec::new());
            let (first, second) = stream.split_at(if stream.is_empty() { 0 } else { cut.index(stream.len()) });
            for piece in [first, second] {
                buffer.extend_from_slice(piece);
                while let Some((op, length)) = parse(&buffer).unwrap() {
                    let Op::Message { sid, subject, reply, headers, payload } = op else { panic!("{op:?}") };
                    let bytes = |range: Range<usize>| buffer[range].to_vec();
                    seen.push((sid, bytes(subject), bytes(reply), bytes(headers), bytes(payload)));
                    buffer.drain(..length);
                }
            }
            prop_assert_eq!(seen, expected);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn any_bytes_end_without_a_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&input);
        }
    }
}
