//! Where a bucket is, and the form of keys.

use crate::aws::Endpoint;
use crate::config::Result;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What of a name or value stands in a URI as it is, and what of a key does: signatures leave the same.
pub(super) const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const KEY: &AsciiSet = &UNRESERVED.remove(b'/');

/// Where a bucket is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    endpoint: Endpoint,
    /// The bucket, with a slash before it, or nothing if the endpoint is the bucket's own.
    path: String,
}

impl Place {
    /// A bucket at this endpoint: in the host of its URIs or in their path.
    pub(super) fn new(endpoint: Endpoint, bucket: &str, force_path_style: Option<bool>) -> Result<Place> {
        let host = endpoint.host();
        let own = |endpoint| Place { endpoint, path: String::new() };
        let is_in_path = match force_path_style {
            Some(is_in_path) => is_in_path,
            None => !(is_for_virtual_hosts(host) && is_label(bucket)),
        };
        // Somebody may have put it there already; Vector then has it twice. But a host of one's own may begin
        // with any word.
        let rest = host.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.'));
        let is_there = |rest: &str| force_path_style == Some(false) || is_service(rest);
        if force_path_style != Some(true) && rest.is_some_and(is_there) {
            return Ok(own(endpoint));
        }
        if is_in_path {
            return Ok(Place { endpoint, path: format!("/{bucket}") });
        }
        endpoint.below(bucket).map(own).ok_or_else(|| {
            "force_path_style: the endpoint is an address, before which no bucket can stand; leave it out"
                .into()
        })
    }

    pub(super) fn uri(&self, key: &str) -> String {
        self.endpoint.uri(&format!("{}/{}", self.path, utf8_percent_encode(key, KEY)))
    }

    pub(super) fn bucket_uri(&self) -> String {
        self.endpoint.uri(if self.path.is_empty() { "/" } else { &self.path })
    }
}

/// Where buckets have hosts of their own. Tigris's buckets of 2025 and later have no other place.
///
/// Source: tigrisdata.com/blog/virtual-hosted-urls
fn is_for_virtual_hosts(host: &str) -> bool {
    ["amazonaws.com", "amazonaws.com.cn", "tigris.dev", "t3.storage.dev"]
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Whether this is the address of a service itself, before which a bucket may stand.
fn is_service(host: &str) -> bool {
    let is_s3 = |domain: &str| host.starts_with("s3") && host.ends_with(domain);
    ["fly.storage.tigris.dev", "t3.storage.dev"].contains(&host)
        || [".amazonaws.com", ".amazonaws.com.cn", ".wasabisys.com"].into_iter().any(is_s3)
        || host.ends_with(".r2.cloudflarestorage.com")
}

/// Whether the bucket's name can be a part of a host's name for which there is a certificate; with a dot in
/// it, it would be two.
fn is_label(bucket: &str) -> bool {
    bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A key with `..` in it would be another one on its way through the network.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    match key.split('/').any(|part| matches!(part, "." | "..")) {
        true => Err(format!("the key `{key}` has a `.` or `..` between its slashes")),
        false => Ok(()),
    }
}

/// The same for the beginning of a key: after its last slash, more will follow.
pub(super) fn check_prefix(prefix: &str) -> Result<(), String> {
    prefix.rsplit_once('/').map_or(Ok(()), |(folders, _)| check_key(folders))
}
