//! AWS on loopback: moto's server, which speaks for S3, CloudWatch Logs, STS and IAM.
//!
//! It takes every request as it comes, until [`Moto::require_signatures`]: from then on it checks them, with
//! AWS's own library for Python.

use super::ports::free_port;
use bytes::Bytes;
use http::{Request, Response};
use log_shipper::http::{HttpClient, ProxyConfig};
use log_shipper::tls::TlsConfig;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

// It is Python, and the machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);
const PORTS_TRIED: usize = 10;

/// The region of everything here.
pub const REGION: &str = "eu-west-1";

/// A running server, killed when dropped.
pub struct Moto {
    directory: TempDir,
    port: u16,
    child: Child,
    client: HttpClient,
}

/// A key of a user who may do everything.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub secret: String,
}

impl Moto {
    /// Starts a server without anything in it.
    pub async fn start() -> Moto {
        for _ in 0..PORTS_TRIED {
            let mut moto = Moto::launch(free_port());
            let ready = timeout(READY_WITHIN, async {
                loop {
                    // It ends by itself if its port is taken.
                    if moto.child.try_wait().expect("the state of a child").is_some() {
                        return false;
                    }
                    if moto.try_get("/moto-api/data.json").await.is_some() {
                        return true;
                    }
                    sleep(POLL_EVERY).await;
                }
            });
            match ready.await {
                Ok(true) => return moto,
                Ok(false) => {}
                Err(_) => panic!("moto_server did not start; its log:\n{}", moto.log()),
            }
        }
        panic!("moto_server found no free port");
    }

    fn launch(port: u16) -> Moto {
        let directory = TempDir::new().expect("a temporary directory");
        let log = File::create(directory.path().join("log")).expect("a log file");
        let program = program();
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let client = HttpClient::new(&TlsConfig::default(), &ProxyConfig::default(), ANSWER_WITHIN);
        Moto { directory, port, child, client: client.expect("a client") }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn try_get(&self, path: &str) -> Option<Bytes> {
        let request = Request::get(format!("{}{path}", self.url())).body(Bytes::new()).expect("a request");
        let response = self.client.send(request, ANSWER_WITHIN).await.ok()?;
        response.status().is_success().then(|| response.into_body())
    }

    /// The answer to a request.
    pub async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let about = format!("{} {}", request.method(), request.uri());
        let sent = self.client.send(request, ANSWER_WITHIN).await;
        sent.unwrap_or_else(|error| panic!("{about}: {error}; the log of moto_server:\n{}", self.log()))
    }

    #[track_caller]
    fn expect(&self, response: Response<Bytes>) -> Bytes {
        let text = String::from_utf8_lossy(response.body());
        assert!(response.status().is_success(), "{}: {text}\n{}", response.status(), self.log());
        response.into_body()
    }

    // === S3 ===

    /// Makes a bucket.
    pub async fn create_bucket(&self, name: &str) {
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        let request = Request::put(format!("{}/{name}", self.url())).body(body.into()).expect("a request");
        self.expect(self.send(request).await);
    }

    /// The keys of a bucket, as they are when they are decoded, in order.
    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/{bucket}?list-type=2&encoding-type=url{after}");
            let text = self.try_get(&path).await.expect("a list of objects");
            let text = String::from_utf8(text.to_vec()).expect("XML");
            keys.extend(elements(&text, "Key").map(|key| decode(&key)));
            match elements(&text, "NextContinuationToken").next() {
                Some(token) => after = format!("&continuation-token={token}"),
                None => return keys,
            }
        }
    }

    /// An object with its headers, of which the body is as it is stored.
    pub async fn object(&self, bucket: &str, key: &str) -> Response<Bytes> {
        let key = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC);
        let url = format!("{}/{bucket}/{key}", self.url());
        let request = Request::get(url).header("authorization", authorization("s3")).body(Bytes::new());
        let response = self.send(request.expect("a request")).await;
        assert!(response.status().is_success(), "{key}: {response:?}");
        response
    }

    // === CloudWatch Logs ===

    /// The answer to a call of CloudWatch Logs.
    pub async fn logs(&self, operation: &str, arguments: &Value) -> Value {
        let request = Request::post(self.url())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("Logs_20140328.{operation}"))
            .header("authorization", authorization("logs"))
            .body(arguments.to_string().into())
            .expect("a request");
        let body = self.expect(self.send(request).await);
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// The names of a group's streams.
    pub async fn streams(&self, group: &str) -> Vec<String> {
        let answer = self.logs("DescribeLogStreams", &json!({"logGroupName": group})).await;
        let streams = answer["logStreams"].as_array().expect("streams").iter();
        streams.map(|stream| stream["logStreamName"].as_str().expect("a name").to_owned()).collect()
    }

    /// All events of a stream: the time in milliseconds, and the message.
    pub async fn events(&self, group: &str, stream: &str) -> Vec<(i64, String)> {
        let mut events = Vec::new();
        let mut arguments =
            json!({"logGroupName": group, "logStreamName": stream, "startFromHead": true, "limit": 5000});
        loop {
            let answer = self.logs("GetLogEvents", &arguments).await;
            let page = answer["events"].as_array().expect("events");
            let event = |event: &Value| {
                let message = event["message"].as_str().expect("a message");
                (event["timestamp"].as_i64().expect("a time"), message.to_owned())
            };
            events.extend(page.iter().map(event));
            if page.is_empty() {
                return events;
            }
            arguments["nextToken"] = answer["nextForwardToken"].clone();
        }
    }

    // === IAM ===

    /// A user who may do everything.
    pub async fn create_user(&self, name: &str) -> Key {
        self.query("iam", &[("Action", "CreateUser"), ("UserName", name)]).await;
        let policy = [("UserName", name), ("PolicyName", "all"), ("PolicyDocument", ALL)];
        self.query("iam", &[&[("Action", "PutUserPolicy")], &policy[..]].concat()).await;
        let answer = self.query("iam", &[("Action", "CreateAccessKey"), ("UserName", name)]).await;
        let element = |name: &str| elements(&answer, name).next().expect(name);
        Key { id: element("AccessKeyId"), secret: element("SecretAccessKey") }
    }

    /// A role that may do everything and that everybody may take on; its ARN.
    pub async fn create_role(&self, name: &str) -> String {
        let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
        let role = [("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", trust)];
        let answer = self.query("iam", &role).await;
        let policy = [("RoleName", name), ("PolicyName", "all"), ("PolicyDocument", ALL)];
        self.query("iam", &[&[("Action", "PutRolePolicy")], &policy[..]].concat()).await;
        elements(&answer, "Arn").next().expect("an ARN")
    }

    async fn query(&self, service: &str, arguments: &[(&str, &str)]) -> String {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(arguments)
            .append_pair("Version", "2010-05-08")
            .finish();
        let request = Request::post(self.url())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", authorization(service))
            .body(body.into())
            .expect("a request");
        String::from_utf8(self.expect(self.send(request).await).to_vec()).expect("XML")
    }

    /// From now on, a request must have a right signature, of a key that there is.
    pub async fn require_signatures(&self) {
        self.check_after("0").await;
    }

    /// From now on, everybody may do everything again.
    pub async fn require_nothing(&self) {
        self.check_after("inf").await;
    }

    /// So many requests are not checked.
    async fn check_after(&self, requests: &'static str) {
        let request = Request::post(format!("{}/moto-api/reset-auth", self.url())).body(requests.into());
        self.expect(self.send(request.expect("a request")).await);
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// By this the server knows which service is meant; the signature is not looked at.
fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIATEST/20261122/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// The texts of the elements of this name.
fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let end = format!("</{name}>");
    xml.split(&format!("<{name}>"))
        .skip(1)
        .map(move |rest| rest.split(&end).next().unwrap_or("").to_owned())
        .collect::<Vec<_>>()
        .into_iter()
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().expect("UTF-8").into_owned()
}

/// The program: LOG_SHIPPER_MOTO_SERVER, or the one in `.tools`.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("LOG_SHIPPER_MOTO_SERVER") {
        return PathBuf::from(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/moto_server");
    assert!(
        path.exists(),
        "{} is missing: `make test` installs it and runs the tests \
         (or set LOG_SHIPPER_MOTO_SERVER to the path of a moto_server)",
        path.display()
    );
    path
}
