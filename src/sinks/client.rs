//! A client that signs what it sends, if the destination wants that.

use crate::config::Result;
use crate::http::{HttpClient, HttpError};
use crate::topology::{ErrorKind, Failure, SinkMeters};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use snafu::{ResultExt, Snafu};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Signs requests, with credentials that it may have to fetch.
#[async_trait]
pub trait Signer: Debug + Send + Sync {
    /// The request with its signature.
    ///
    /// # Errors
    /// If there are no credentials now; the batch is held, and it is tried again.
    async fn sign(&self, request: Request<Bytes>) -> Result<Request<Bytes>>;
}

/// A client that signs what it sends, if the destination wants that.
#[derive(Clone, Debug)]
pub(super) struct SigningClient {
    pub(super) client: HttpClient,
    pub(super) signer: Option<Arc<dyn Signer>>,
    pub(super) timeout: Duration,
    pub(super) meters: Arc<SinkMeters>,
}

/// A request got no answer.
#[derive(Debug, Snafu)]
pub(super) enum SendError {
    /// It could not be signed.
    #[snafu(display("cannot sign the request: {source}"))]
    Sign { source: crate::config::Error },
    /// It never can be: a header has other characters than ASCII's.
    #[snafu(display("the header {name} has characters that cannot be signed; expected visible ASCII"))]
    NotText { name: HeaderName },
    /// It was sent in vain.
    #[snafu(transparent)]
    Http { source: HttpError },
}

impl SigningClient {
    /// Signs the request, which stays as it is sent, and sends it.
    pub(super) async fn send(&self, request: &mut Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        if let Some(signer) = &self.signer {
            // A signature is of text, and the server reads several spaces as one.
            for (name, value) in request.headers_mut() {
                let text = value.to_str().map_err(|_| SendError::NotText { name: name.clone() })?;
                if text.contains("  ") {
                    let is_sensitive = value.is_sensitive();
                    let text = text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
                    *value =
                        HeaderValue::try_from(text).map_err(|_| SendError::NotText { name: name.clone() })?;
                    value.set_sensitive(is_sensitive);
                }
            }
            let signed = tokio::time::timeout(self.timeout, signer.sign(request.clone())).await;
            let late = || Err("no credentials in time".into());
            *request = signed.unwrap_or_else(|_| late()).context(SignSnafu)?;
        }
        let http = self.meters.http();
        http.sending(request.method().as_str());
        let start = Instant::now();
        let answer = self.client.send(request.clone(), self.timeout).await;
        match &answer {
            Ok(response) => http.answered(response.status().as_u16(), start.elapsed()),
            Err(error) => http.unanswered(kind(error), start.elapsed()),
        }
        Ok(answer?)
    }
}

fn kind(error: &HttpError) -> ErrorKind {
    match error {
        HttpError::Connect { .. } => ErrorKind::Connect,
        HttpError::Timeout { .. } => ErrorKind::Timeout,
        HttpError::Transport { .. } => ErrorKind::Transport,
    }
}

impl SendError {
    /// For the metrics.
    pub(super) fn failure(&self) -> Failure {
        match self {
            SendError::Http { source } => Failure::Unanswered(kind(source)),
            SendError::Sign { .. } | SendError::NotText { .. } => Failure::Unsigned,
        }
    }
}
