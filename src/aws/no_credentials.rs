//! A build without the feature `aws`: AWS's options are known, and nothing is signed.

use super::AwsAuth;
use crate::config::Result;
use crate::env::Env;
use crate::http::HttpClient;
use crate::sinks::Signer;
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use std::convert::Infallible;

/// Signs requests, in a build with the feature `aws`. Here there is none.
#[derive(Debug)]
pub struct AwsSigner(Infallible);

impl AwsSigner {
    /// The same signer, which also adds a `Content-MD5`.
    #[must_use]
    pub fn with_content_md5(self) -> AwsSigner {
        self
    }
}

#[async_trait]
impl Signer for AwsSigner {
    async fn sign(&self, _request: Request<Bytes>) -> Result<Request<Bytes>> {
        match self.0 {}
    }
}

pub(super) fn signer(
    _auth: &AwsAuth,
    _service: &str,
    _region: &str,
    _env: &Env,
    _client: &HttpClient,
) -> Result<AwsSigner> {
    Err("this build cannot sign requests for AWS; build log-shipper with its feature `aws`".into())
}
