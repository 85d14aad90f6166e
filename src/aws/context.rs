//! What the signing library asks of its surroundings: HTTP, files and the environment are ours.

use super::Endpoint;
use crate::env::Env;
use crate::http::HttpClient;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use reqsign_core::{Context, Error, Result};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// Requests for credentials.
#[derive(Clone, Debug)]
pub(super) struct Http {
    pub(super) client: HttpClient,
    /// How often each is sent until it is answered without a server's error.
    pub(super) attempts: u32,
    /// How long an answer may take.
    pub(super) limit: Duration,
    /// Where they go, instead of where the library would send them.
    pub(super) endpoint: Option<Endpoint>,
}

impl Http {
    /// All of what the library asks for.
    pub(super) fn context(self, env: &Env) -> Context {
        Context::new().with_http_send(self).with_file_read(Files).with_env(Variables(env.clone()))
    }
}

impl reqsign_core::HttpSend for Http {
    async fn http_send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
        // The client writes it itself, from the URI.
        request.headers_mut().remove(HOST);
        if let Some(endpoint) = &self.endpoint {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = endpoint.uri(path).parse()?;
        }
        let mut attempt = 1;
        loop {
            match self.client.send(request.clone(), self.limit).await {
                Ok(response) if !response.status().is_server_error() || attempt >= self.attempts => {
                    return Ok(response);
                }
                Err(error) if attempt >= self.attempts => return Err(Error::unexpected(error.to_string())),
                _ => attempt += 1,
            }
        }
    }
}

#[derive(Debug)]
struct Files;

impl reqsign_core::FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        Ok(tokio::fs::read(path).await?)
    }
}

#[derive(Debug)]
struct Variables(Env);

/// The variables that the library asks for all at once.
const ALL: [&str; 4] = [
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

impl reqsign_core::Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        // A variable that cannot be read is one that is not set: the library knows no third way.
        self.0.get(name).ok().flatten()
    }

    fn vars(&self) -> HashMap<String, String> {
        ALL.iter().filter_map(|name| Some(((*name).to_owned(), self.var(name)?))).collect()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }
}
