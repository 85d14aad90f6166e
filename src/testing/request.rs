//! What the server has been sent.

use bytes::Bytes;
use http::{HeaderMap, Method};
use libdeflater::{DecompressionError, Decompressor};
use std::time::Instant;

/// A body that would be longer than this when it is decoded is none of a test.
const MAX_DECODED: usize = 1 << 30;

/// A request that an [`HttpServer`](super::HttpServer) has taken in whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path with the query, as `/v1/logs?app=web`.
    pub path_and_query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came over the wire.
    pub raw_body: Bytes,
    /// The number of the connection it came over, from 0 on.
    pub connection: usize,
    /// When its last byte was here.
    pub at: Instant,
}

impl Request {
    /// The value of a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body after undoing its `Content-Encoding`: `gzip`, `deflate`, `zstd` or `snappy`.
    ///
    /// # Panics
    ///
    /// If it is in another encoding, is not what that says, or is longer than 1 GiB when it is decoded.
    pub fn body(&self) -> Vec<u8> {
        let raw = &self.raw_body[..];
        let (name, decoded) = match self.header("content-encoding") {
            None | Some("identity") => return raw.to_vec(),
            Some("gzip") => ("gzip", gunzip(raw)),
            Some("deflate") => {
                ("deflate", inflate(raw, raw.len().saturating_mul(4), Decompressor::zlib_decompress))
            }
            Some("zstd") => ("zstd", zstd::stream::decode_all(raw).map_err(|error| error.to_string())),
            Some("snappy") => {
                ("snappy", snap::raw::Decoder::new().decompress_vec(raw).map_err(|error| error.to_string()))
            }
            Some(other) => panic!("a body with the unknown encoding {other}"),
        };
        decoded.unwrap_or_else(|error| panic!("a body that is no {name}: {error}"))
    }

    /// The decoded body as text.
    ///
    /// # Panics
    ///
    /// As [`Request::body`], and if it is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8(self.body()).unwrap_or_else(|error| panic!("a body that is no text: {error}"))
    }

    /// The decoded body as one JSON document.
    ///
    /// # Panics
    ///
    /// As [`Request::body`], and if it is none.
    pub fn json(&self) -> serde_json::Value {
        let body = self.body();
        serde_json::from_slice(&body).unwrap_or_else(|error| {
            panic!("a body that is no JSON ({error}): {}", String::from_utf8_lossy(&body))
        })
    }

    /// The decoded body as JSON documents, one a line.
    ///
    /// # Panics
    ///
    /// As [`Request::text`], and if a line is none.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("a line that is no JSON ({error}): {line}"))
        };
        self.text().lines().map(parse).collect()
    }
}

type Decompress = fn(&mut Decompressor, &[u8], &mut [u8]) -> Result<usize, DecompressionError>;

/// What is in one member of gzip, which is all that a sink sends.
fn gunzip(raw: &[u8]) -> Result<Vec<u8>, String> {
    // It ends with the length of what it holds; another one is that of another member.
    let length = raw.last_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    let decoded = inflate(raw, length, Decompressor::gzip_decompress)?;
    match decoded.len() == length {
        true => Ok(decoded),
        false => Err("there is something behind its end".to_owned()),
    }
}

/// Tries with more and more room, because the length is not known before.
fn inflate(raw: &[u8], expected: usize, decompress: Decompress) -> Result<Vec<u8>, String> {
    // Deflate makes nothing smaller than by this.
    let mut room = expected.clamp(4 << 10, raw.len().saturating_mul(1_032).clamp(4 << 10, MAX_DECODED));
    loop {
        let mut decoded = vec![0; room];
        match decompress(&mut Decompressor::new(), raw, &mut decoded) {
            Ok(length) => {
                decoded.truncate(length);
                return Ok(decoded);
            }
            Err(DecompressionError::InsufficientSpace) if room < MAX_DECODED => {
                room = (room * 4).min(MAX_DECODED);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::compression::{Algorithm, Compression};
    use std::panic::catch_unwind;

    fn request(encoding: Option<&str>, body: Vec<u8>) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert("content-encoding", encoding.parse().unwrap());
        }
        Request {
            method: Method::POST,
            path_and_query: "/".to_owned(),
            headers,
            raw_body: body.into(),
            connection: 0,
            at: Instant::now(),
        }
    }

    #[test]
    fn a_body_is_what_it_was_before_its_encoding() {
        for text in [String::new(), "x".repeat(3_000_000), (0..10_000).map(|n| n.to_string()).collect()] {
            for algorithm in
                [Algorithm::None, Algorithm::Gzip, Algorithm::Zlib, Algorithm::Zstd, Algorithm::Snappy]
            {
                let compression = Compression::from(algorithm);
                let body = compression.compress(text.clone().into_bytes().into()).unwrap();
                let request = request(compression.content_encoding(), body.to_vec());
                assert!(request.text() == text, "{algorithm:?} of {} bytes", text.len());
            }
        }
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_no_body() {
        let gzip = Compression::from(Algorithm::Gzip);
        let member = gzip.compress(b"one".to_vec().into()).unwrap();
        let two = [&member[..], &gzip.compress(b"other".to_vec().into()).unwrap()].concat();
        for (encoding, body) in [
            ("gzip", b"x".to_vec()),
            ("gzip", member[..member.len() - 1].to_vec()),
            ("gzip", two),
            ("deflate", member.to_vec()),
            ("zstd", b"x".to_vec()),
            ("snappy", b"\xff".to_vec()),
            ("br", b"x".to_vec()),
        ] {
            let request = request(Some(encoding), body);
            assert!(catch_unwind(|| request.body()).is_err(), "{encoding}: {request:?}");
        }
    }
}
