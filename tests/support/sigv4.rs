//! AWS's signatures, version 4, worked out anew from what a server has received, because a check by the
//! library that signs would share its mistakes.
//!
//! Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

use super::http_server::Request;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Panics unless the request is signed with this secret, as of now, for what it is on the wire, and all of
/// its headers that name a body or an option are under the signature.
#[track_caller]
pub fn check(request: &Request, secret: &str) {
    let authorization = request.header("authorization").expect("an Authorization");
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").expect("version 4");
    let field = |name: &str| {
        let field = fields.split(", ").find_map(|field| field.strip_prefix(name));
        field.unwrap_or_else(|| panic!("no {name} in {authorization}"))
    };
    let scope = field("Credential=").split_once('/').expect("a scope").1;
    let (signed, signature) = (field("SignedHeaders="), field("Signature="));

    let content = request.header("x-amz-content-sha256").expect("the hash of the body");
    assert_eq!(content, hex(&Sha256::digest(&request.raw_body)));
    for name in request.headers.keys() {
        let name = name.as_str();
        let must = name == "host" || name.starts_with("x-amz-") || name.starts_with("content-");
        let is_signed = signed.split(';').any(|other| other == name);
        assert!(is_signed || !must || name == "content-length", "{name} is not signed: {signed}");
    }
    let date = request.header("x-amz-date").expect("a date");
    let time = chrono::NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ").expect("a date");
    let age = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).naive_utc() - time;
    assert!((0..120).contains(&age.num_seconds()), "signed at {date}");

    let headers: Vec<_> = signed.split(';').map(|name| (name, request.header(name).expect(name))).collect();
    let canonical = canonical(request.method.as_str(), &request.path_and_query, &headers, content);
    assert_eq!(signature, sign(&canonical, date, scope, secret), "of:\n{canonical}");
}

fn canonical(method: &str, path_and_query: &str, headers: &[(&str, &str)], content: &str) -> String {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let encode = |text: &str| {
        let plain: Vec<u8> = percent_decode_str(text).collect();
        percent_encode(&plain, UNRESERVED).to_string()
    };
    let path: Vec<_> = path.split('/').map(encode).collect();
    let mut query: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{}={}", encode(name), encode(value))
        })
        .collect();
    query.sort();
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    format!("{method}\n{}\n{}\n{headers}\n{}\n{content}", path.join("/"), query.join("&"), names.join(";"))
}

fn sign(canonical: &str, date: &str, scope: &str, secret: &str) -> String {
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The check itself against AWS's published examples: `get-vanilla` and `get-vanilla-query-order-key` of
/// its test suite, and the `PUT` of an object in S3's manual.
pub fn self_check() {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let (date, scope) = ("20150830T123600Z", "20150830/us-east-1/service/aws4_request");
    let empty = hex(&Sha256::digest(b""));
    let headers = [("host", "example.amazonaws.com"), ("x-amz-date", date)];
    for (path, signature) in [
        ("/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ] {
        assert_eq!(sign(&canonical("GET", path, &headers, &empty), date, scope, secret), signature);
    }
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let content = hex(&Sha256::digest(b"Welcome to Amazon S3."));
    let headers = [
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-content-sha256", content.as_str()),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ];
    let canonical = canonical("PUT", "/test%24file.text", &headers, &content);
    let scope = "20130524/us-east-1/s3/aws4_request";
    assert_eq!(
        sign(&canonical, "20130524T000000Z", scope, secret),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    );
}
