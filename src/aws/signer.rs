//! [`AwsSigner`]: the signature under a request, version 4.
//!
//! Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

use super::Endpoint;
use super::credentials::describe;
use crate::config::Result;
use crate::sinks::Signer;
use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use http::Request;
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use md5::{Digest, Md5};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::hash::hex_sha256;
use reqsign_core::{Context, SignRequest};
use std::time::Duration;

/// Signs requests with the credentials of an [`AwsAuth`](super::AwsAuth), which it gets when they are needed
/// and keeps until shortly before they end.
#[derive(Debug)]
pub struct AwsSigner {
    signer: reqsign_core::Signer<Credential>,
    content_md5: bool,
}

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

impl AwsSigner {
    pub(super) fn new(signer: reqsign_core::Signer<Credential>) -> AwsSigner {
        AwsSigner { signer, content_md5: false }
    }

    /// The same signer, which also adds a `Content-MD5`.
    #[must_use]
    pub fn with_content_md5(self) -> AwsSigner {
        AwsSigner { content_md5: true, ..self }
    }
}

#[async_trait]
impl Signer for AwsSigner {
    /// The request, signed as of now, with the hash of its body. Its URI is percent-encoded already, once;
    /// services other than S3 want a path without characters that have to be.
    async fn sign(&self, request: Request<Bytes>) -> Result<Request<Bytes>> {
        let (mut parts, body) = request.into_parts();
        let sums = Sums { of: body.clone(), with_md5: self.content_md5 };
        let (sha256, md5) = match body.len() {
            0..LARGE_BODY => sums.compute(),
            _ => tokio::task::spawn_blocking(move || sums.compute()).await?,
        };
        parts.headers.insert(CONTENT_SHA256, HeaderValue::try_from(sha256)?);
        if let Some(md5) = md5 {
            parts.headers.insert(CONTENT_MD5, HeaderValue::try_from(md5)?);
        }
        self.signer.sign(&mut parts, None).await.map_err(|error| describe(&error))?;
        // It is signed; the client writes it itself, from the URI.
        parts.headers.remove(HOST);
        Ok(Request::from_parts(parts, body))
    }
}

/// Bytes of a body that are worth a thread for its sums: events come in meanwhile.
const LARGE_BODY: usize = 64 << 10;

/// The sums of a body, as its headers have them.
struct Sums {
    of: Bytes,
    with_md5: bool,
}

impl Sums {
    fn compute(self) -> (String, Option<String>) {
        let md5 = || base64::engine::general_purpose::STANDARD.encode(Md5::digest(&self.of));
        (hex_sha256(&self.of), self.with_md5.then(md5))
    }
}

/// The signature itself, for requests that may have to go to another place than the library thinks.
#[derive(Debug)]
pub(super) struct Signature {
    inner: RequestSigner,
    endpoint: Option<Endpoint>,
}

impl Signature {
    pub(super) fn new(service: &str, region: &str) -> Signature {
        Signature { inner: RequestSigner::new(service, region), endpoint: None }
    }

    pub(super) fn sent_to(self, endpoint: Option<Endpoint>) -> Signature {
        Signature { endpoint, ..self }
    }
}

impl SignRequest for Signature {
    type Credential = Credential;

    async fn sign_request(
        &self,
        context: &Context,
        parts: &mut Parts,
        credential: Option<&Credential>,
        expires_in: Option<Duration>,
    ) -> reqsign_core::Result<()> {
        if let Some(endpoint) = &self.endpoint {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            parts.uri = endpoint.uri(path).parse()?;
        }
        self.inner.sign_request(context, parts, credential, expires_in).await
    }

    fn required_valid_until(
        &self,
        credential: &Credential,
        expires_in: Option<Duration>,
    ) -> reqsign_core::time::Timestamp {
        self.inner.required_valid_until(credential, expires_in)
    }
}
