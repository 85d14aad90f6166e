//! AWS: credentials and signatures, S3 and CloudWatch Logs, against moto's server and scripted ones.

mod support;

use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response};
use log_shipper::aws::{AwsAuth, AwsError, AwsSigner};
use log_shipper::config::{
    ComponentInfo, Config, Registry, Source, SourceConfig, SourceContext, SourceEntry,
};
use log_shipper::env::Env;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::http::{HttpClient, ProxyConfig};
use log_shipper::sinks::Signer;
use log_shipper::tls::TlsConfig;
use log_shipper::topology::{Report, RunningTopology, Topology, TopologyOptions};
use md5::{Digest, Md5};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::time::Duration;
use support::http_server::{self, HttpServer, Reply};
use support::moto::{Key, Moto, REGION};
use support::nats_server::NatsServer;
use support::publisher::{Publisher, fly_event};
use support::sigv4;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(120);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

fn client() -> HttpClient {
    HttpClient::new(&TlsConfig::default(), &ProxyConfig::default(), Duration::from_secs(20)).unwrap()
}

/// A variable of the environment.
type Variable<'a> = (&'a str, &'a str);

/// A signer for S3 with these options in TOML and these variables.
fn signer(options: &str, variables: &[(&str, &str)]) -> Result<AwsSigner, String> {
    let auth: AwsAuth = toml::from_str(options).map_err(|error| error.message().to_owned())?;
    let env = Env::from_pairs(variables.iter().copied());
    auth.signer("s3", REGION, &env, &client()).map_err(|error| error.to_string())
}

async fn signed(signer: &AwsSigner, request: Request<Bytes>) -> Result<Request<Bytes>, String> {
    signer.sign(request).await.map_err(|error| error.to_string())
}

fn request(method: &str, url: &str, body: &'static str) -> Request<Bytes> {
    Request::builder().method(method).uri(url).body(body.into()).unwrap()
}

/// The answer to a request with this signature.
async fn send(signer: &AwsSigner, request: Request<Bytes>) -> Response<Bytes> {
    let request = signed(signer, request).await.expect("a signature");
    client().send(request, Duration::from_secs(60)).await.expect("an answer")
}

fn keys(key: &Key) -> String {
    format!("access_key_id = '{}'\nsecret_access_key = '{}'", key.id, key.secret)
}

// === credentials and signatures ===

/// Keys as the bytes of a path, percent-encoded once.
const ODD_PATHS: [&str; 5] = [
    "/bucket/plain",
    "/bucket/a%20b%2Bc%3Dd/%C3%A9%E6%97%A5%F0%9F%9A%80",
    "/bucket/app%3Dweb/date%3D2026-11-22/~x-1_2.log.gz",
    "/bucket//double//slash",
    "/bucket/%25%21%2A%27%28%29%3B%3A%40%26%24%2C%3F%23%5B%5D",
];

#[tokio::test]
async fn signatures_are_right_by_an_independent_computation() {
    sigv4::self_check();
    let server = HttpServer::start().await;
    for token in ["", "session_token = 'FwoG/x+y='"] {
        let options = format!("access_key_id = 'AKIAX'\nsecret_access_key = 's/e+c='\n{token}");
        let signer = signer(&options, &[]).unwrap().with_content_md5();
        for path in ODD_PATHS.iter().chain(&["/bucket?list-type=2&prefix=a%2Fb&delimiter"]) {
            let request = Request::put(server.url(path))
                .header("content-type", "text/plain")
                .header("x-amz-acl", "private");
            send(&signer, request.body("a body".into()).unwrap()).await;
            let requests = server.requests();
            let request = requests.last().unwrap();
            assert_eq!(request.path_and_query, *path, "it arrives as it was signed");
            sigv4::check(request, "s/e+c=");
            assert_eq!(request.header("content-md5"), Some("df2YmYFQmVh3fN/Nxm4htQ=="));
            assert_eq!(request.header("x-amz-security-token").is_some(), !token.is_empty());
            assert!(request.header("authorization").unwrap().contains("/eu-west-1/s3/aws4_request"));
        }
        // The sums of a large body are computed elsewhere.
        send(&signer, Request::put(server.url("/large")).body(vec![7; 1 << 20].into()).unwrap()).await;
        let large = server.requests().pop().unwrap();
        assert_eq!(large.header("content-md5"), Some("JMi0Lp9NU+9YmH5Gm6qtSQ=="));
        sigv4::check(&large, "s/e+c=");
    }
}

/// moto computes signatures with AWS's own library for Python, of what has arrived.
#[tokio::test]
async fn aws_s_own_library_computes_the_same_signatures() {
    in_time(async {
        let moto = Moto::start().await;
        moto.create_bucket("bucket").await;
        let user = moto.create_user("shipper").await;
        let role = moto.create_role("logs").await;
        moto.require_signatures().await;
        let url = moto.url();

        let right = signer(&keys(&user), &[]).unwrap().with_content_md5();
        for path in ODD_PATHS {
            let answer = send(&right, request("PUT", &format!("{url}{path}"), "text")).await;
            assert_eq!(answer.status(), 200, "{path}: {answer:?}");
        }
        let wrong = signer(&keys(&Key { secret: "wrong".into(), ..user.clone() }), &[]).unwrap();
        let answer = send(&wrong, request("PUT", &format!("{url}/bucket/x"), "text")).await;
        assert_eq!(answer.status(), 403);
        assert_eq!(AwsError::of(&answer).code, "SignatureDoesNotMatch");

        // The token service checks the signature too, and the role's own has a token in it.
        let options = format!("{}\nassume_role = '{role}'\nexternal_id = 'ext/1'", keys(&user));
        let role = signer(&options, &[("AWS_ENDPOINT_URL_STS", &url)]).unwrap();
        let signed = signed(&role, request("PUT", &format!("{url}/bucket/by-role"), "text")).await.unwrap();
        assert!(signed.headers().contains_key("x-amz-security-token"));
        assert_eq!(moto.send(signed).await.status(), 200);
    })
    .await;
}

/// The id of the key by which a request has been signed, and its token.
async fn identity(signer: &AwsSigner) -> Result<(String, Option<String>), String> {
    let signed = signed(signer, request("GET", "http://h/", "")).await?;
    let header = |name: &str| signed.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let authorization = header("authorization").unwrap();
    let id = authorization.split_once("Credential=").unwrap().1.split('/').next().unwrap();
    Ok((id.to_owned(), header("x-amz-security-token")))
}

#[tokio::test]
async fn keys_are_found_in_every_place_in_their_order() {
    in_time(async {
        let moto = Moto::start().await;
        let (sts, role) = (moto.url(), moto.create_role("web").await);
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let credentials = home.path().join(".aws/credentials");
        std::fs::write(&credentials, "[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key=s\n[work]\naws_access_key_id=AKIAWORK\naws_secret_access_key=s\naws_session_token=T\n").unwrap();
        let key_file = home.path().join("key");
        std::fs::write(&key_file, "s\n").unwrap();
        let token_file = home.path().join("token");
        std::fs::write(&token_file, "a.web.token\n").unwrap();
        let machine = HttpServer::start().await;
        machine.respond_with(|request| {
            let keys = |token: &str| format!(r#"{{"AccessKeyId":"ASIAMACHINE","SecretAccessKey":"s","Token":"{token}","Expiration":"2999-01-01T00:00:00Z","Code":"Success","Message":""}}"#);
            Reply::status(200).body(match request.path_and_query.as_str() {
                "/container" => keys(request.header("authorization").unwrap_or("none")),
                "/latest/api/token" => "imds-token".to_owned(),
                "/latest/meta-data/iam/security-credentials/" => "machine-role".to_owned(),
                "/latest/meta-data/iam/security-credentials/machine-role" => {
                    keys(request.header("x-aws-ec2-metadata-token").unwrap_or("none"))
                }
                other => panic!("{other}"),
            })
        });
        let (container, imds) = (machine.url("/container"), machine.url(""));
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let (home, credentials, key_file, token_file) =
            (text(home.path()), text(&credentials), text(&key_file), text(&token_file));

        let keys = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let from_file = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY_FILE", &key_file)];
        let token = [("AWS_SESSION_TOKEN", "T")];
        let profile = [("HOME", home.as_str())];
        let web = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file.as_str()),
            ("AWS_ROLE_ARN", &role),
            ("AWS_ENDPOINT_URL_STS", &sts),
        ];
        let container =
            [("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "T")];
        let instance = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str())];
        let all = [&keys[..], &profile, &web, &container, &instance].concat();
        let work = format!("credentials_file = '{credentials}'\nprofile = 'work'");
        // The options, the environment, the key's id or how it begins, and the token.
        let rows: [(&str, Vec<Variable<'_>>, &str, Option<&str>); 10] = [
            ("access_key_id = 'AKIAOWN'\nsecret_access_key = 's'", all.clone(), "AKIAOWN", None),
            (&work, all.clone(), "AKIAWORK", Some("T")),
            ("profile = 'work'", all.clone(), "AKIAWORK", Some("T")),
            ("", [&keys[..], &token].concat(), "AKIAENV", Some("T")),
            ("", from_file.to_vec(), "AKIAENV", None),
            ("", all[2..].to_vec(), "AKIADEFAULT", None),
            ("", [&profile[..], &[("AWS_PROFILE", "work")]].concat(), "AKIAWORK", Some("T")),
            ("", all[3..].to_vec(), "ASIA", Some("")),
            ("", all[6..].to_vec(), "ASIAMACHINE", Some("T")),
            ("", all[8..].to_vec(), "ASIAMACHINE", Some("imds-token")),
        ];
        for (options, variables, id, token) in rows {
            let context = format!("{options} {variables:?}");
            let signer = signer(options, &variables).unwrap_or_else(|error| panic!("{context}: {error}"));
            let (found, found_token) = identity(&signer).await.unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(found.starts_with(id), "{context}: {found}");
            match token {
                Some("") => assert!(found_token.is_some_and(|token| token.len() > 20), "{context}"),
                _ => assert_eq!(found_token.as_deref(), token, "{context}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_web_identity_is_good_for_what_its_role_may_do() {
    in_time(async {
        let moto = Moto::start().await;
        moto.create_bucket("bucket").await;
        let (url, role) = (moto.url(), moto.create_role("web").await);
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "a.web.token").unwrap();
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap()),
            ("AWS_ROLE_ARN", &role),
            ("AWS_ENDPOINT_URL_STS", &url),
        ];
        let signer = signer("", &variables).unwrap();
        identity(&signer).await.unwrap();
        // The token service of moto wants signatures of everybody from here on, but the keys are there.
        moto.require_signatures().await;
        let answer = send(&signer, request("PUT", &format!("{url}/bucket/key"), "text")).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn says_why_there_are_no_credentials() {
    let nowhere = "http://127.0.0.1:1";
    let late = HttpServer::start().await;
    late.default_reply(Reply::Never);
    let (late, down) = (late.url(""), HttpServer::start().await);
    down.default_reply(Reply::status(500).body("oh"));
    let down_url = down.url("");
    let sts = HttpServer::start().await;
    sts.default_reply(Reply::status(403).body(
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>",
    ));
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "s3cr3t").unwrap();
    let (sts_url, token) = (sts.url(""), token.path().to_str().unwrap());
    let role = "arn:aws:iam::123456789012:role/r";
    let imds = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
    let rows: [(&str, &[Variable<'_>], &str); 9] = [
        ("", &[(imds, nowhere)], "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("", &[(imds, nowhere)], "metadata service: failed to connect to IMDS: cannot connect"),
        ("", &[("AWS_EC2_METADATA_DISABLED", "true")], "it is switched off"),
        ("imds.max_attempts = 2", &[(imds, &down_url)], "IMDS server error: oh"),
        ("load_timeout_secs = 0.2", &[(imds, &late)], "no answer within 0.2 s (auth.load_timeout_secs)"),
        (
            "imds = {max_attempts = 1, connect_timeout_seconds = 0.1, read_timeout_seconds = 0.1}",
            &[(imds, &late)],
            "no answer within 0.2 s",
        ),
        ("", &[("AWS_ACCESS_KEY_ID", "A")], "only one is set"),
        (
            "",
            &[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ("AWS_ROLE_ARN", role),
                ("AWS_ENDPOINT_URL_STS", &sts_url),
            ],
            "AccessDenied: not you",
        ),
        (
            "access_key_id = 'AKIAIOSFODNN7EXAMPLE'\nsecret_access_key = 's3cr3t'\nassume_role = 'arn:aws:iam::123456789012:role/r'",
            &[("AWS_ENDPOINT_URL_STS", &sts_url)],
            "AccessDenied: not you",
        ),
    ];
    for (options, variables, words) in rows {
        let signer = signer(options, variables).unwrap();
        let error = identity(&signer).await.unwrap_err();
        assert!(error.contains(words) && !error.contains("s3cr3t"), "{options} {variables:?}: {error}");
        assert!(!format!("{signer:?}").contains("s3cr3t"));
    }
    assert_eq!(down.requests().len(), 2, "as often as it says");
    // The web identity's request is signed by nobody, the role's is.
    let asked = sts.requests();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0].text().contains("WebIdentityToken=s3cr3t") && asked[0].header("authorization").is_none()
    );
    sigv4::check(&asked[1], "s3cr3t");
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    for (options, words) in [
        ("access_key_id = 'A'", "set both or none"),
        ("secret_access_key = 'A'", "set both or none"),
        ("session_token = 'A'", "set auth.access_key_id"),
        ("access_key_id = 'A'\nsecret_access_key = 's3cr3t'\nprofile = 'x'", "keep one of them"),
        ("assume_role = 'admin'", "not the ARN of a role"),
        ("external_id = 'x'", "set auth.assume_role"),
        ("imds.max_attempts = 0", "at least 1"),
        ("key = 'A'", "unknown field `key`"),
    ] {
        let error = signer(options, &[]).unwrap_err();
        assert!(error.contains(words) && !error.contains("s3cr3t"), "{options}: {error}");
    }
}

#[test]
fn regions_and_endpoints_come_from_the_options_first() {
    let auth = AwsAuth::default();
    let region = |option: Option<&str>, variables: &[(&str, &str)]| {
        let env = Env::from_pairs(variables.iter().copied());
        log_shipper::aws::region(option, &auth, &env).map_err(|error| error.to_string())
    };
    let both = [("AWS_REGION", "eu-central-1"), ("AWS_DEFAULT_REGION", "us-west-2")];
    assert_eq!(region(Some("auto"), &both).unwrap(), "auto");
    assert_eq!(region(None, &both).unwrap(), "eu-central-1");
    assert_eq!(region(None, &both[1..]).unwrap(), "us-west-2");
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[default]\nregion = ap-south-1\n").unwrap();
    assert_eq!(region(None, &[("AWS_CONFIG_FILE", config.path().to_str().unwrap())]).unwrap(), "ap-south-1");
    assert!(region(None, &[]).unwrap_err().contains("set it, or AWS_REGION"));
    assert!(region(Some("eu west"), &[]).unwrap_err().contains("`eu west`"));

    let endpoint = |option: Option<&str>, region: &str, variables: &[(&str, &str)]| {
        let env = Env::from_pairs(variables.iter().copied());
        let found = log_shipper::aws::endpoint(option, &["AWS_ENDPOINT_URL_S3"], "s3", region, &env);
        found.map(|endpoint| endpoint.uri("/b/k")).map_err(|error| error.to_string())
    };
    let both =
        [("AWS_ENDPOINT_URL_S3", "https://S3.example:443/base/"), ("AWS_ENDPOINT_URL", "http://all:4566")];
    assert_eq!(endpoint(Some("http://own:80/"), "auto", &both).unwrap(), "http://own/b/k");
    assert_eq!(endpoint(None, "auto", &both).unwrap(), "https://s3.example/base/b/k");
    assert_eq!(endpoint(None, "auto", &both[1..]).unwrap(), "http://all:4566/b/k");
    assert_eq!(endpoint(None, "eu-west-3", &[]).unwrap(), "https://s3.eu-west-3.amazonaws.com/b/k");
    assert_eq!(endpoint(None, "cn-north-1", &[]).unwrap(), "https://s3.cn-north-1.amazonaws.com.cn/b/k");
    for (option, region, variables, words) in [
        (None, "auto", &[][..], "`auto` goes with an endpoint"),
        (Some("s3.example"), "auto", &[], "endpoint: not a URL"),
        (Some("https://u:p@s3.example"), "auto", &[], "user and password"),
        (Some("https://s3.example/?x"), "auto", &[], "`?`"),
        (None, "auto", &[("AWS_ENDPOINT_URL", "x")], "AWS_ENDPOINT_URL: not a URL"),
    ] {
        let error = endpoint(option, region, variables).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

// === feeding sinks ===

const INPUT: &str = include_str!("golden/input.jsonl");

/// A source of these events, chunk by chunk. It then stays until it is told to stop.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Scripted {
    chunks: Vec<Vec<String>>,
}

#[async_trait]
impl SourceConfig for Scripted {
    async fn build(&self, cx: SourceContext) -> log_shipper::config::Result<Source> {
        let Scripted { chunks } = self.clone();
        Ok(Box::pin(async move {
            for chunk in chunks {
                let events = chunk.into_iter().map(|line| LogEvent::from_json(line.into()).unwrap());
                cx.output.send(events.collect()).await;
            }
            cx.shutdown.cancelled().await;
            Ok(())
        }))
    }
}

/// The configuration of one sink, `out`, which takes its events from `in`.
fn load(kind: &str, options: &str) -> Result<Config, String> {
    let mut registry = Registry::builtin();
    registry.source::<Scripted>(ComponentInfo::new("scripted", "For tests.", ""));
    let text = format!(
        "healthchecks.enabled = false\n[sources.in]\ntype = 'scripted'\n[sinks.out]\ninputs = ['in']\ntype = '{kind}'\n\
         request.retry_initial_backoff_secs = 0.01\n{options}"
    );
    Config::from_toml(&text, "test.toml", &registry, &Env::default()).map_err(|error| error.to_string())
}

async fn start(mut config: Config, chunks: Vec<Vec<String>>, variables: &[Variable<'_>]) -> RunningTopology {
    config.sources = vec![SourceEntry::new("in", Scripted { chunks })];
    let env = Env::from_pairs(variables.iter().copied());
    let options = TopologyOptions::default().with_env(env);
    Topology::start(config, &options, std::future::pending::<()>()).await.expect("a start")
}

/// Ships the events, until the sink has answered for all of them.
async fn ship(kind: &str, options: &str, lines: &[String], variables: &[Variable<'_>]) -> Report {
    let config = load(kind, options).unwrap_or_else(|error| panic!("{error}\n{options}"));
    start(config, vec![lines.to_vec()], variables).await.stop(Duration::from_secs(60)).await
}

#[track_caller]
fn check_books(report: &Report, delivered: u64, rejected: u64, context: &str) {
    let books = report.sinks[0].1;
    assert_eq!((books.delivered, books.rejected), (delivered, rejected), "{context}: {report}");
    assert_eq!((books.received, books.buffered), (delivered + rejected, 0), "{context}: {report}");
}

fn input() -> Vec<String> {
    INPUT.lines().map(str::to_owned).collect()
}

fn gunzip(body: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(body).read_to_string(&mut text).expect("gzip");
    text
}

// === S3 ===

const SECRET: &str = "s3cr3t/+=";
const KEYS: &str = "{access_key_id = 'AKIAX', secret_access_key = 's3cr3t/+='}";

/// The options of a sink for S3 with this endpoint.
fn s3(endpoint: &str, more: &str) -> String {
    let mut options =
        format!("bucket = 'bucket'\nregion = 'auto'\nendpoint = '{endpoint}'\nauth = {KEYS}\n{more}");
    for (option, default) in [
        ("key_prefix = ", "'{{ fly.app.name }}/%F/'"),
        ("encoding.codec = ", "'json'"),
        ("framing.method = ", "'newline_delimited'"),
    ] {
        if !more.contains(option) {
            options.push_str(&format!("\n{option}{default}"));
        }
    }
    options
}

/// The requests of a sink for S3 that stores these events.
async fn s3_requests(more: &str, lines: &[String]) -> Vec<http_server::Request> {
    let server = HttpServer::start().await;
    let report = ship("aws_s3", &s3(&server.url(""), more), lines, &[]).await;
    check_books(&report, lines.len() as u64, 0, more);
    let requests = server.requests();
    for request in &requests {
        sigv4::check(request, SECRET);
    }
    requests
}

/// Whether the text is `<prefix><uuid><suffix>`.
fn is_with_uuid(text: &str, prefix: &str, suffix: &str) -> bool {
    let uuid = text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)).unwrap_or_default();
    let form: Vec<_> = uuid.split('-').map(str::len).collect();
    let is_random = uuid.as_bytes().get(14) == Some(&b'4') && b"89ab".contains(&uuid.as_bytes()[19]);
    form == [8, 4, 4, 4, 12] && is_random && uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// As Vector's, but for the day and the time in the key, which are the events' own and not those of sending,
/// the `Content-Type`, which says what is inside, the storage class, which is the bucket's, and the one
/// checksum, beside which Vector has a CRC32.
#[tokio::test]
async fn golden_aws_s3() {
    let mut requests = s3_requests("", &input()).await;
    requests.sort_by_key(|request| request.path_and_query.clone());
    let lines = input();
    let salad = vec![lines[1].clone()];
    let sandwich = [&lines[..1], &lines[2..]].concat();
    for (request, (app, lines)) in requests.iter().zip([("salad-api", salad), ("sandwich", sandwich)]) {
        assert_eq!(request.method, Method::PUT);
        let prefix = format!("/bucket/{app}/2026-11-22/1795323600-");
        assert!(is_with_uuid(&request.path_and_query, &prefix, ".log.gz"), "{}", request.path_and_query);
        assert_eq!(gunzip(&request.raw_body), lines.join("\n") + "\n");
        let mut names: Vec<_> = request.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let expected = "accept authorization content-encoding content-length content-md5 content-type host user-agent x-amz-content-sha256 x-amz-date";
        assert_eq!(names.join(" "), expected);
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        let sum = base64::engine::general_purpose::STANDARD.encode(Md5::digest(&request.raw_body));
        assert_eq!(request.header("content-md5"), Some(sum.as_str()));
        assert_eq!(request.header("content-length"), Some(request.raw_body.len().to_string().as_str()));
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn an_object_has_what_the_options_say() {
    let lines: Vec<_> = input().into_iter().take(1).collect();
    let message = "Jun 17 04:09:45 combo su(pam_unix)[29190]: session closed for user news\n";
    let line = format!("{}\n", lines[0]);
    let array = format!("[{}]", lines[0]);
    // The options, the end of the key, the Content-Type and -Encoding, and the body.
    let rows = [
        ("", ".log.gz", "application/x-ndjson", Some("gzip"), line.as_str()),
        ("compression = 'none'", ".log", "application/x-ndjson", None, &line),
        ("compression = 'zstd'", ".log.zst", "application/x-ndjson", Some("zstd"), &line),
        ("compression = 'zlib'", ".log.zz", "application/x-ndjson", Some("deflate"), &line),
        ("compression = 'snappy'", ".log.snappy", "application/x-ndjson", Some("snappy"), &line),
        ("encoding.codec = 'text'", ".log.gz", "text/plain", Some("gzip"), message),
        ("filename_extension = 'json'", ".json", "application/x-ndjson", Some("gzip"), &line),
        ("filename_extension = ''", "", "application/x-ndjson", Some("gzip"), &line),
        ("content_type = 'text/x-log'", ".log.gz", "text/x-log", Some("gzip"), &line),
        (
            "framing.method = 'character_delimited'\nframing.character_delimited.delimiter = ','",
            ".log.gz",
            "application/json",
            Some("gzip"),
            &array,
        ),
        ("framing.method = 'bytes'", ".log.gz", "text/plain", Some("gzip"), &lines[0]),
    ];
    for (options, end, content_type, encoding, body) in rows {
        let requests = s3_requests(options, &lines).await;
        assert_eq!(requests.len(), 1, "{options}");
        let path = &requests[0].path_and_query;
        assert!(is_with_uuid(path, "/bucket/sandwich/2026-11-22/1795323600-", end), "{options}: {path}");
        assert_eq!(requests[0].header("content-type"), Some(content_type), "{options}");
        assert_eq!(requests[0].header("content-encoding"), encoding, "{options}");
        assert_eq!(requests[0].text(), body, "{options}");
    }
    let all = "acl = 'bucket-owner-full-control'\ngrant_full_control = 'id=\"1\"'\ngrant_read = 'a'\ngrant_read_acp = 'b'\ngrant_write_acp = 'c'\nserver_side_encryption = 'aws:kms'\nssekms_key_id = 'key-{{ fly.region }}'\nstorage_class = 'STANDARD_IA'\ntags = {'a b' = 'c&d', e = 'f'}\ncontent_encoding = 'x'\nrequest.headers.X-Own = '1'\nfilename_time_format = '%H%M%S'\nfilename_append_uuid = false\nkey_prefix = 'p/'";
    let requests = s3_requests(all, &lines).await;
    assert_eq!(requests[0].path_and_query, "/bucket/p/050000.log.gz");
    for (name, value) in [
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-grant-full-control", "id=\"1\""),
        ("x-amz-grant-read", "a"),
        ("x-amz-grant-read-acp", "b"),
        ("x-amz-grant-write-acp", "c"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "key-syd"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "a%20b=c%26d&e=f"),
        ("content-encoding", "x"),
        ("x-own", "1"),
    ] {
        assert_eq!(requests[0].header(name), Some(value), "{name}");
    }
}

/// An error of S3's.
fn s3_error(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>words for people</Message></Error>"
    );
    Reply::status(status).header("content-type", "application/xml").body(body)
}

#[tokio::test]
async fn what_s3_answers_decides_and_a_retry_keeps_the_key() {
    // The answer, how many requests there are when it comes once, and whether the events are delivered.
    let rows = [
        (Reply::status(200), 1, true),
        (s3_error(403, "AccessDenied"), 2, true),
        (s3_error(403, "SignatureDoesNotMatch"), 2, true),
        (s3_error(403, "RequestTimeTooSkewed"), 2, true),
        (s3_error(404, "NoSuchBucket"), 2, true),
        (s3_error(503, "SlowDown"), 2, true),
        (s3_error(500, "InternalError"), 2, true),
        (s3_error(400, "RequestTimeTooSkewed"), 2, true),
        (s3_error(400, "ExpiredToken"), 2, true),
        (s3_error(400, "RequestTimeout"), 2, true),
        (s3_error(400, "RequestExpired"), 2, true),
        (s3_error(400, "AuthorizationHeaderMalformed"), 2, true),
        (s3_error(400, "KMS.DisabledException"), 2, true),
        (s3_error(409, "OperationAborted"), 2, true),
        (s3_error(307, "TemporaryRedirect").header("location", "http://127.0.0.1:1/"), 2, true),
        (s3_error(400, "BadDigest"), 2, true),
        (s3_error(400, "InvalidArgument"), 1, false),
        (s3_error(400, "KeyTooLongError"), 1, false),
        (Reply::status(400), 1, false),
        (Reply::Reset, 2, true),
    ];
    for (reply, count, is_delivered) in rows {
        let server = HttpServer::start().await;
        server.push(reply.clone());
        let lines = &input()[..1];
        let report = ship("aws_s3", &s3(&server.url(""), ""), lines, &[]).await;
        check_books(&report, u64::from(is_delivered), u64::from(!is_delivered), &format!("{reply:?}"));
        let requests = server.requests();
        assert_eq!(requests.len(), count, "{reply:?}");
        for request in &requests {
            sigv4::check(request, SECRET);
            assert_eq!(request.path_and_query, requests[0].path_and_query, "{reply:?}");
            assert_eq!(request.raw_body, requests[0].raw_body, "{reply:?}");
        }
    }
}

/// The parts of a batch that is too large must not take each other's place, whatever their keys are made of.
#[tokio::test]
async fn parts_of_a_batch_are_objects_of_their_own() {
    let server = HttpServer::start().await;
    server.push(s3_error(400, "EntityTooLarge"));
    let options = s3(&server.url(""), "filename_append_uuid = false\nkey_prefix = 'p/'");
    check_books(&ship("aws_s3", &options, &input(), &[]).await, 5, 0, "in two");
    let keys: Vec<_> = server.requests().into_iter().map(|request| request.path_and_query).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "{keys:?}");
}

/// What cannot be signed can never be sent, and holds nothing up.
#[tokio::test]
async fn a_header_that_cannot_be_signed_rejects_its_events() {
    let server = HttpServer::start().await;
    let options = s3(&server.url(""), "request.headers.X-App = '{{ app }}'\nkey_prefix = 'p/'");
    let lines = [json!({"app": "café"}).to_string(), json!({"app": "a  b"}).to_string()];
    check_books(&ship("aws_s3", &options, &lines, &[]).await, 1, 1, "a header");
    let requests = server.requests();
    // A server reads several spaces as one, and signs that.
    assert_eq!((requests.len(), requests[0].header("x-app")), (1, Some("a b")));
    sigv4::check(&requests[0], SECRET);
}

/// A token service that is down, or that knows us only later, holds the events, and loses none.
#[tokio::test]
async fn events_wait_for_credentials() {
    let (server, sts) = (HttpServer::start().await, HttpServer::start().await);
    for reply in [Reply::status(500), Reply::Reset, s3_error(403, "AccessDenied")] {
        sts.push(reply);
    }
    let keys = format!(
        "<AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
         <SessionToken>T</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>"
    );
    sts.default_reply(Reply::status(200).body(format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials>{keys}</Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )));
    let role = "auth.assume_role = 'arn:aws:iam::123456789012:role/logs'\nauth.session_name = 'tests'";
    let options = s3(&server.url(""), "").replace(&format!("auth = {KEYS}"), role);
    let sts_url = sts.url("");
    let variables = [
        ("AWS_ENDPOINT_URL_STS", sts_url.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "own"),
    ];
    check_books(&ship("aws_s3", &options, &input(), &variables).await, 5, 0, "late keys");
    let asked = sts.requests();
    assert!(asked.len() >= 4 && sts.queued() == 0, "{}", asked.len());
    for request in &asked {
        sigv4::check(request, "own");
        assert!(request.path_and_query.contains("RoleSessionName=tests"), "{}", request.path_and_query);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        sigv4::check(request, SECRET);
        assert_eq!(request.header("x-amz-security-token"), Some("T"));
    }
}

/// The bucket stands in the host or in the path, by the endpoint.
/// Servers of others than S3 want AWS's signatures too: `http`, Loki and OpenSearch by the service's name.
#[tokio::test]
async fn other_sinks_sign_as_well() {
    let auth = "auth = {strategy = 'aws', service = 'execute-api', auth = {access_key_id = 'AKID', secret_access_key = 'SECRET', region = 'eu-west-1'}}";
    let opensearch = "auth = {strategy = 'aws', access_key_id = 'AKID', secret_access_key = 'SECRET'}\naws.region = 'eu-west-1'";
    for (kind, options, service) in [
        ("http", format!("uri = 'URL/in'\nencoding.codec = 'json'\n{auth}"), "execute-api"),
        ("loki", format!("endpoint = 'URL'\nencoding.codec = 'json'\nlabels.a = 'b'\n{auth}"), "execute-api"),
        ("elasticsearch", format!("endpoints = ['URL']\nbulk.index = 'i'\n{opensearch}"), "es"),
        (
            "elasticsearch",
            format!(
                "endpoints = ['URL']\nbulk.index = 'i'\nopensearch_service_type = 'serverless'\n{opensearch}"
            ),
            "aoss",
        ),
    ] {
        let server = HttpServer::start().await;
        let report = ship(kind, &options.replace("URL", &server.url("")), &input(), &[]).await;
        check_books(&report, 5, 0, kind);
        let requests = server.requests();
        sigv4::check(&requests[0], "SECRET");
        let scope = format!("/eu-west-1/{service}/aws4_request");
        assert!(requests[0].header("authorization").unwrap().contains(&scope), "{kind}");
    }
    let error = load("elasticsearch", "endpoints = ['http://h']\nopensearch_service_type = 'serverless'")
        .unwrap_err();
    assert!(error.contains("auth.strategy = \"aws\""), "{error}");
}

#[tokio::test]
async fn a_bucket_is_found_in_the_host_or_in_the_path() {
    let proxy = HttpServer::start().await;
    // The endpoint, more options, the Host, and how the path begins.
    let rows = [
        ("http://s3.eu-west-1.amazonaws.com", "", "bucket.s3.eu-west-1.amazonaws.com", "/p/"),
        ("http://t3.storage.dev", "", "bucket.t3.storage.dev", "/p/"),
        ("http://fly.storage.tigris.dev", "", "bucket.fly.storage.tigris.dev", "/p/"),
        ("http://bucket.fly.storage.tigris.dev", "", "bucket.fly.storage.tigris.dev", "/p/"),
        // A host of one's own may begin with any word.
        ("http://bucket.objects.example:9000", "", "bucket.objects.example:9000", "/bucket/p/"),
        ("http://bucket.objects.example", "force_path_style = false", "bucket.objects.example", "/p/"),
        ("http://bucket.s3.eu-west-1.amazonaws.com", "", "bucket.s3.eu-west-1.amazonaws.com", "/p/"),
        ("http://bucket.objects.example", "force_path_style = true", "bucket.objects.example", "/bucket/p/"),
        ("http://a.r2.cloudflarestorage.com", "", "a.r2.cloudflarestorage.com", "/bucket/p/"),
        ("http://s3.wasabisys.com", "force_path_style = false", "bucket.s3.wasabisys.com", "/p/"),
        ("http://t3.storage.dev", "force_path_style = true", "t3.storage.dev", "/bucket/p/"),
        ("http://minio.example/base/", "", "minio.example", "/base/bucket/p/"),
        ("http://notamazonaws.com", "", "notamazonaws.com", "/bucket/p/"),
    ];
    for (endpoint, more, host, path) in rows {
        let before = proxy.requests().len();
        let options = s3(endpoint, &format!("proxy.http = '{}'\nkey_prefix = 'p/'\n{more}", proxy.url("")));
        check_books(&ship("aws_s3", &options, &input(), &[]).await, 5, 0, endpoint);
        let requests = proxy.requests();
        assert_eq!(requests.len(), before + 1);
        let request = requests.last().unwrap();
        assert_eq!(request.header("host"), Some(host), "{endpoint} {more}");
        assert!(request.path_and_query.starts_with(path), "{endpoint} {more}: {}", request.path_and_query);
        sigv4::check(request, SECRET);
    }
    // A name with a dot in it has no certificate as a part of a host.
    let options = s3(
        "http://s3.eu-west-1.amazonaws.com",
        &format!("proxy.http = '{}'\nkey_prefix = 'p/'", proxy.url("")),
    );
    let options = options.replace("bucket = 'bucket'", "bucket = 'my.bucket'");
    check_books(&ship("aws_s3", &options, &input(), &[]).await, 5, 0, "a dot");
    let request = proxy.requests().pop().unwrap();
    assert!(request.path_and_query.starts_with("/my.bucket/p/"), "{}", request.path_and_query);
}

#[tokio::test]
async fn the_region_and_the_endpoint_may_come_from_the_environment() {
    let server = HttpServer::start().await;
    let url = server.url("");
    let variables = [
        ("AWS_REGION", "eu-north-1"),
        ("AWS_ENDPOINT_URL_S3", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ];
    let options = "bucket = 'bucket'\nencoding.codec = 'text'";
    check_books(&ship("aws_s3", options, &input(), &variables).await, 5, 0, "environment");
    let request = server.requests().pop().unwrap();
    sigv4::check(&request, SECRET);
    let authorization = request.header("authorization").unwrap();
    assert!(
        authorization.contains("AKIAENV/") && authorization.contains("/eu-north-1/s3/"),
        "{authorization}"
    );
    // Vector's default of the prefix, which is no folder.
    assert!(is_with_uuid(&request.path_and_query, "/bucket/date%3D2026-11-221795323600-", ".log.gz"));

    let config = load("aws_s3", options).unwrap();
    let error = Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("region: missing"), "{error}");
}

#[test]
fn options_of_s3_that_cannot_work_are_refused() {
    for (options, words) in [
        ("bucket = 'a b c'", "bucket: `a b c`"),
        ("bucket = 'arn:aws:s3:x'", "its alias"),
        ("endpoint = 'minio:9000'", "endpoint: not a URL"),
        ("endpoint = 'http://127.0.0.1:9000'\nforce_path_style = false", "force_path_style: "),
        ("key_prefix = 'a/../b'", "key_prefix: the key"),
        ("key_prefix = '%Q'", "begins no date"),
        ("filename_time_format = '{{ n }}'", "put that into key_prefix"),
        ("acl = 'everybody'", "acl: `everybody` is unknown; expected one of private, "),
        ("storage_class = 'GLASS'", "storage_class: `GLASS`"),
        ("server_side_encryption = 'rot13'", "AES256, aws:kms"),
        ("ssekms_key_id = 'x'", "set server_side_encryption"),
        ("grant_read = \"a\\nb\"", "grant_read: it has a character"),
        ("auth.access_key_id = 'x'", "set both or none"),
        ("auth.imds.tries = 3", "unknown field `tries`"),
        ("tags = {a='',b='',c='',d='',e='',f='',g='',h='',i='',j='',k=''}", "more than the ten"),
    ] {
        let bucket = if options.starts_with("bucket") { "" } else { "bucket = 'bucket'\n" };
        let error = load("aws_s3", &format!("encoding.codec = 'json'\n{bucket}{options}")).unwrap_err();
        assert!(error.contains(words), "{options}: {error}");
    }
}

#[tokio::test]
async fn keys_of_any_characters_arrive_as_they_are() {
    let apps = ["a b+c=d", "é日🚀", "a/b//c", "%2F&?#;:@$,'()*!", "~._-", "x\\y"];
    let line =
        |app: &&str| json!({"fly": {"app": {"name": app}}, "timestamp": "2026-11-22T05:00:00Z"}).to_string();
    let lines: Vec<_> = apps.iter().map(line).collect();
    let bad: Vec<_> = ["a/../b", "..", "a/./b"].iter().map(line).collect();
    let moto = Moto::start().await;
    moto.create_bucket("bucket").await;
    let user = moto.create_user("shipper").await;
    moto.require_signatures().await;
    let options = s3(&moto.url(), "region = 'eu-west-1'").replace("region = 'auto'\n", "");
    let options = options.replace("AKIAX", &user.id).replace(SECRET, &user.secret);
    check_books(&ship("aws_s3", &options, &[lines, bad].concat(), &[]).await, 6, 3, "odd keys");
    moto.require_nothing().await;
    let mut found = BTreeSet::new();
    for key in moto.keys("bucket").await {
        let app = key.split_once("/2026-11-22/").expect(&key).0;
        found.insert(app.to_owned());
    }
    assert_eq!(found, apps.iter().map(|app| (*app).to_owned()).collect());
}

/// Hundreds of prefixes that fill slowly: what is open stays below a bound long before a batch is full or
/// its time has come, and what is open at the end is stored too.
#[tokio::test]
async fn five_hundred_open_prefixes_stay_in_bounded_memory_and_are_stored_at_the_end() {
    const PREFIXES: usize = 500;
    const ROUNDS: usize = 15;
    let server = HttpServer::start().await;
    let message = "x".repeat(8000);
    let line = |n: usize| {
        let (app, time) = (n % PREFIXES, format!("2026-11-22T05:00:{:02}Z", n % 60));
        json!({"n": n, "fly": {"app": {"name": format!("app-{app}")}}, "message": message, "timestamp": time})
            .to_string()
    };
    let lines: Vec<_> = (0..PREFIXES * ROUNDS).map(line).collect();
    let total: usize = lines.iter().map(|line| line.len() + 1).sum();
    let chunks = lines.chunks(100).map(<[String]>::to_vec).collect();
    let config = load("aws_s3", &s3(&server.url(""), "compression = 'none'")).unwrap();
    let mut running = start(config, chunks, &[]).await;
    // The bound, and one more batch that may be on its way to be closed.
    const MOST_OPEN: usize = 33 << 20;
    assert!(total > MOST_OPEN + (16 << 20), "{total}");
    let size = |requests: &[http_server::Request]| {
        requests.iter().map(|request| request.raw_body.len()).sum::<usize>()
    };
    server.wait_until(|requests| total - size(requests) <= MOST_OPEN).await;
    check_books(&running.stop(Duration::from_secs(60)).await, (PREFIXES * ROUNDS) as u64, 0, "prefixes");

    let requests = server.requests();
    assert_eq!(size(&requests), total);
    // The largest are closed first, so that objects stay large.
    assert!((PREFIXES..4 * PREFIXES).contains(&requests.len()), "{} objects", requests.len());
    let mut seen = vec![false; PREFIXES * ROUNDS];
    for request in &requests {
        for event in request.json_lines() {
            let n = usize::try_from(event["n"].as_u64().unwrap()).unwrap();
            assert!(!std::mem::replace(&mut seen[n], true), "{n} twice");
            let prefix = format!("/bucket/app-{}/2026-11-22/", n % PREFIXES);
            assert!(request.path_and_query.starts_with(&prefix), "{n} in {}", request.path_and_query);
        }
    }
    assert!(seen.iter().all(|seen| *seen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_events_are_in_s3_each_once_and_byte_for_byte() {
    in_time(async {
        let moto = Moto::start().await;
        moto.create_bucket("bucket").await;
        let published: Vec<_> = (0..EVENTS).map(fly_event).collect();
        let options = s3(&moto.url(), "batch = {max_bytes = 500_000, timeout_secs = 0.5}");
        ship_from_nats("aws_s3", &options, &published).await;

        let mut left: HashMap<_, _> =
            published.iter().map(|(subject, event)| (event.as_str(), subject)).collect();
        let keys = moto.keys("bucket").await;
        assert!(keys.len() > 20, "{keys:?}");
        for key in keys {
            let object = moto.object("bucket", &key).await;
            for line in gunzip(object.body()).lines() {
                let subject =
                    left.remove(line).unwrap_or_else(|| panic!("twice, or never published: {line}"));
                let app = subject.split('.').nth(1).unwrap();
                assert!(key.starts_with(&format!("{app}/2026-11-22/")), "{key}: {line}");
            }
        }
        assert_eq!(left.len(), 0, "lost");
    })
    .await;
}

const EVENTS: u64 = 100_000;

/// Publishes the events (subject and text) to a broker, from where a sink ships them.
async fn ship_from_nats(kind: &str, options: &str, events: &[(String, String)]) {
    let nats = NatsServer::start().await;
    let text = format!(
        "healthchecks.enabled = false\n[sources.nats]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'test'\n\
         subject = 'logs.>'\ndecoding.codec = 'json'\nsubject_key_field = ''\n\
         [sinks.out]\ntype = '{kind}'\ninputs = ['nats']\n{options}",
        nats.url()
    );
    let config = Config::from_toml(&text, "test.toml", &Registry::builtin(), &Env::default()).unwrap();
    let mut running =
        Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    for (subject, event) in events {
        publisher.publish(subject, event).await;
    }
    publisher.flush().await;
    while running.counts().sinks[0].1.delivered < events.len() as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    check_books(&running.stop(Duration::from_secs(60)).await, events.len() as u64, 0, kind);
}

// === CloudWatch Logs ===

/// The options of a sink for CloudWatch with this endpoint.
fn cloudwatch(endpoint: &str, more: &str) -> String {
    let mut options = format!("region = '{REGION}'\nauth = {KEYS}\n{more}");
    let endpoint = format!("'{endpoint}'");
    for (option, default) in [
        ("endpoint = ", endpoint.as_str()),
        ("group_name = ", "'fly'"),
        ("stream_name = ", "'{{ fly.app.name }}/{{ host }}'"),
        ("encoding.codec = ", "'json'"),
    ] {
        if !more.contains(option) {
            options.push_str(&format!("\n{option}{default}"));
        }
    }
    options
}

/// What is called, and with which arguments.
fn calls(server: &HttpServer) -> Vec<(String, Value)> {
    let call = |request: &http_server::Request| {
        sigv4::check(request, SECRET);
        assert_eq!((&request.method, request.path_and_query.as_str()), (&Method::POST, "/"));
        assert_eq!(request.header("content-type"), Some("application/x-amz-json-1.1"));
        assert_eq!(request.header("content-encoding"), None);
        assert!(request.header("authorization").unwrap().contains("/eu-west-1/logs/aws4_request"));
        let target = request.header("x-amz-target").unwrap();
        (target.strip_prefix("Logs_20140328.").expect(target).to_owned(), request.json())
    };
    server.requests().iter().map(call).collect()
}

/// An error of CloudWatch's.
fn logs_error(status: u16, code: &str, message: &str) -> Reply {
    Reply::status(status).body(json!({"__type": code, "message": message}).to_string())
}

fn no_group() -> Reply {
    logs_error(400, "ResourceNotFoundException", "The specified log group does not exist.")
}

fn no_stream() -> Reply {
    logs_error(400, "ResourceNotFoundException", "The specified log stream does not exist.")
}

/// As Vector's, but for the time, which is the event's own and not that of sending, and that nothing is
/// asked before.
#[tokio::test]
async fn golden_aws_cloudwatch_logs() {
    let server = HttpServer::start().await;
    let options = cloudwatch(&server.url(""), "stream_name = '{{ fly.app.name }}'");
    check_books(&ship("aws_cloudwatch_logs", &options, &input(), &[]).await, 5, 0, "golden");
    let mut calls = calls(&server);
    calls.sort_by_key(|(_, arguments)| arguments["logStreamName"].to_string());
    let lines = input();
    let entry = |(index, millis): &(usize, u64)| json!({"timestamp": millis, "message": lines[*index]});
    let start = 1_795_323_600_000;
    let sandwich = [(0, start), (2, start), (3, start + 999), (4, start + 1000)];
    let expected =
        [("salad-api", vec![(1, start)]), ("sandwich", sandwich.to_vec())].map(|(stream, events)| {
            let events: Vec<_> = events.iter().map(entry).collect();
            (
                "PutLogEvents".to_owned(),
                json!({"logGroupName": "fly", "logStreamName": stream, "logEvents": events}),
            )
        });
    assert_eq!(calls, expected);
}

fn timed(n: u64, time: &str) -> String {
    json!({"n": n, "fly": {"app": {"name": "web"}}, "host": "h", "message": format!("m{n}"), "timestamp": time})
        .to_string()
}

/// The numbers of the events of each call.
fn sent(calls: &[(String, Value)]) -> Vec<Vec<u64>> {
    let number = |event: &Value| {
        let event: Value = serde_json::from_str(event["message"].as_str().unwrap()).unwrap();
        event["n"].as_u64().unwrap()
    };
    calls.iter().map(|(_, call)| call["logEvents"].as_array().unwrap().iter().map(number).collect()).collect()
}

#[tokio::test]
async fn a_request_is_in_order_and_within_a_day() {
    let server = HttpServer::start().await;
    let lines = [
        timed(0, "2026-11-22T23:59:59.999Z"),
        timed(1, "2026-11-22T05:00:00.001Z"),
        timed(2, "2026-11-23T00:00:00Z"),
        timed(3, "2026-11-22T05:00:00Z"),
        timed(4, "2026-11-22T05:00:00.001Z"),
        timed(5, "2026-11-22T00:00:00Z"),
        timed(6, "1969-12-31T23:59:59Z"),
    ];
    let report = ship("aws_cloudwatch_logs", &cloudwatch(&server.url(""), ""), &lines, &[]).await;
    check_books(&report, 6, 1, "before the epoch");
    let mut sent = sent(&calls(&server));
    sent.sort();
    assert_eq!(sent, [vec![2], vec![5, 3, 1, 4, 0]]);
}

#[tokio::test]
async fn what_is_missing_is_made_when_the_answer_says_so() {
    let exists =
        || logs_error(400, "ResourceAlreadyExistsException", "The specified log group already exists");
    let aborted =
        || logs_error(400, "OperationAbortedException", "Multiple requests to update the same resource");
    let throttled = || logs_error(400, "ThrottlingException", "Rate exceeded");
    let denied =
        || logs_error(400, "AccessDeniedException", "not authorized to perform: logs:CreateLogGroup");
    let limit = || logs_error(400, "LimitExceededException", "Resource limit exceeded.");
    let ok = || Reply::status(200);
    let retention = "retention = {enabled = true, days = 30}\nkms_key = 'arn:key'\ntags = {team = 'ops'}";
    // The options, the answers, and the calls by their first letters: Put, Group, Retention, Stream.
    let rows = [
        ("", vec![no_group(), ok(), ok()], "PGSP"),
        ("", vec![no_group(), exists(), exists()], "PGSP"),
        (retention, vec![no_group(), ok(), ok(), ok()], "PGRSP"),
        ("", vec![no_stream(), ok()], "PSP"),
        (retention, vec![no_stream(), ok()], "PSP"),
        // What is not made now is made when the batch has come again.
        ("", vec![no_group(), denied(), no_group(), limit(), no_group(), ok(), ok()], "PGPGPGSP"),
        // What passes is tried again by itself: a group would not be asked for again, nor its retention set.
        ("", vec![no_group(), aborted(), ok(), ok()], "PGGSP"),
        (retention, vec![no_group(), ok(), throttled(), ok(), ok()], "PGRRSP"),
        ("", vec![no_stream(), throttled(), ok()], "PSSP"),
        ("", vec![no_group(), ok(), Reply::status(503), ok()], "PGSSP"),
        ("request.retry_attempts = 0", vec![no_stream(), ok()], "PSP"),
        ("retry_strategy.type = 'all'", vec![no_stream(), ok()], "PSP"),
        ("retry_strategy.type = 'none'", vec![no_stream(), ok()], "PSP"),
        // Until somebody else has made it, the events wait.
        ("create_missing_group = false", vec![no_group(), no_group(), no_stream(), ok()], "PPPSP"),
        ("create_missing_stream = false", vec![no_group(), ok(), no_stream(), no_stream()], "PGPPP"),
        ("create_missing_group = false\ncreate_missing_stream = false", vec![no_group(), no_stream()], "PPP"),
    ];
    for (more, answers, expected) in rows {
        let server = HttpServer::start().await;
        answers.into_iter().for_each(|answer| server.push(answer));
        let options = cloudwatch(&server.url(""), more);
        let report = ship("aws_cloudwatch_logs", &options, &[timed(1, "2026-11-22T05:00:00Z")], &[]).await;
        check_books(&report, 1, 0, expected);
        let calls = calls(&server);
        let letter = |(operation, _): &(String, Value)| match operation.as_str() {
            "PutLogEvents" => 'P',
            "PutRetentionPolicy" => 'R',
            "CreateLogGroup" => 'G',
            "CreateLogStream" => 'S',
            other => panic!("{other}"),
        };
        assert_eq!(calls.iter().map(letter).collect::<String>(), expected, "{more}");
        for (operation, arguments) in &calls {
            let expected = match (operation.as_str(), more == retention) {
                ("CreateLogGroup", false) => json!({"logGroupName": "fly"}),
                ("CreateLogGroup", true) => {
                    json!({"logGroupName": "fly", "kmsKeyId": "arn:key", "tags": {"team": "ops"}})
                }
                ("PutRetentionPolicy", _) => json!({"logGroupName": "fly", "retentionInDays": 30}),
                ("CreateLogStream", _) => json!({"logGroupName": "fly", "logStreamName": "web/h"}),
                _ => continue,
            };
            assert_eq!(*arguments, expected);
        }
    }
}

#[tokio::test]
async fn what_cloudwatch_answers_decides() {
    // The answer, how many calls there are when it comes once, and whether the event is delivered.
    let rows = [
        (logs_error(400, "ThrottlingException", "Rate exceeded"), 2, true),
        (logs_error(500, "ServiceUnavailableException", ""), 2, true),
        (logs_error(503, "ServiceUnavailableException", ""), 2, true),
        (
            logs_error(
                400,
                "com.amazonaws.logs#UnrecognizedClientException",
                "The security token is invalid",
            ),
            2,
            true,
        ),
        (logs_error(400, "AccessDeniedException", ""), 2, true),
        (logs_error(400, "ExpiredTokenException", ""), 2, true),
        (logs_error(400, "InvalidSignatureException", "Signature expired"), 2, true),
        (logs_error(403, "Other", ""), 2, true),
        (logs_error(400, "InvalidParameterException", "no"), 1, false),
        (Reply::status(400), 1, false),
        (Reply::Reset, 2, true),
    ];
    for (reply, count, is_delivered) in rows {
        let server = HttpServer::start().await;
        server.push(reply.clone());
        let options = cloudwatch(&server.url(""), "");
        let report = ship("aws_cloudwatch_logs", &options, &[timed(1, "2026-11-22T05:00:00Z")], &[]).await;
        check_books(&report, u64::from(is_delivered), u64::from(!is_delivered), &format!("{reply:?}"));
        assert_eq!(calls(&server).len(), count, "{reply:?}");
    }
}

/// The indexes count in the order of the request, which is not that in which the events came.
#[tokio::test]
async fn events_that_are_refused_by_themselves_are_counted() {
    let minutes = [4, 2, 0, 3, 1];
    let lines = minutes.map(|n| timed(n, &format!("2026-11-22T05:0{n}:00Z")));
    for (info, delivered) in [
        (json!({}), 5),
        (json!({"tooOldLogEventEndIndex": 2}), 3),
        (json!({"expiredLogEventEndIndex": 1}), 4),
        (json!({"tooNewLogEventStartIndex": 4}), 4),
        (
            json!({"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2, "tooNewLogEventStartIndex": 3}),
            1,
        ),
        (json!({"tooOldLogEventEndIndex": 5}), 0),
        (json!({"tooNewLogEventStartIndex": 0}), 0),
    ] {
        let server = HttpServer::start().await;
        server.push(
            Reply::status(200)
                .body(json!({"nextSequenceToken": "1", "rejectedLogEventsInfo": info}).to_string()),
        );
        let report = ship("aws_cloudwatch_logs", &cloudwatch(&server.url(""), ""), &lines, &[]).await;
        check_books(&report, delivered, 5 - delivered, &info.to_string());
        assert_eq!(sent(&calls(&server)), [[0, 1, 2, 3, 4]], "none is sent twice");
    }
}

#[tokio::test]
async fn requests_are_within_the_limits_of_the_api() {
    let line = |n: u64, text: &str| {
        json!({"n": n, "message": text, "timestamp": "2026-11-22T05:00:00Z"}).to_string()
    };
    let many: Vec<_> = (0..10_001).map(|n| line(n, "m")).collect();
    let large: Vec<_> = (0..40).map(|n| line(n, &"é\"\n".repeat(20_000))).collect();
    let too_large = vec![line(0, "small"), line(1, &"x".repeat(2_000_000)), line(2, &"\"".repeat(700_000))];
    for (lines, least) in [(many, 2), (large, 5), (too_large, 3)] {
        let server = HttpServer::start().await;
        let options = cloudwatch(&server.url(""), "stream_name = 's'");
        let report = ship("aws_cloudwatch_logs", &options, &lines, &[]).await;
        check_books(&report, lines.len() as u64, 0, "limits");
        let calls = calls(&server);
        assert!((least..3 * least).contains(&calls.len()), "{} calls", calls.len());
        for (_, call) in &calls {
            let events = call["logEvents"].as_array().unwrap();
            let size: usize = events.iter().map(|event| event["message"].as_str().unwrap().len() + 26).sum();
            assert!(events.len() <= 10_000 && size <= 1_048_576, "{} events, {size} bytes", events.len());
        }
        let numbers: BTreeSet<_> = sent(&calls).into_iter().flatten().collect();
        assert_eq!(numbers, (0..lines.len() as u64).collect());
    }
}

/// The API needs no order among requests, so that a slow one holds no other up.
#[tokio::test]
async fn several_requests_for_one_stream_are_under_way_at_once() {
    let server = HttpServer::start().await;
    server.push(Reply::Never);
    let options = cloudwatch(&server.url(""), "batch.max_events = 1\nrequest.concurrency = 3");
    let lines: Vec<_> = (0..5).map(|n| timed(n, "2026-11-22T05:00:00Z")).collect();
    let mut running = start(load("aws_cloudwatch_logs", &options).unwrap(), vec![lines], &[]).await;
    server.wait_for(5).await;
    in_time(async {
        while running.counts().sinks[0].1.delivered < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let books = running.stop(Duration::from_millis(100)).await.sinks[0].1;
    assert_eq!((books.received, books.delivered), (5, 4));
}

#[tokio::test]
async fn names_and_messages_have_nothing_in_them_that_the_api_refuses() {
    let server = HttpServer::start().await;
    let options = cloudwatch(
        &server.url(""),
        "group_name = '/fly/{{ app }}'\nstream_name = '{{ host }}'\nencoding.codec = 'text'",
    );
    let line = |app: &str, host: &str, message: &str| {
        json!({"app": app, "host": host, "message": message, "timestamp": "2026-11-22T05:00:00Z"}).to_string()
    };
    let lines = [
        line("a b:é#", "fdaa::3*", "message"),
        line("x", &"h".repeat(600), "\u{1}\"\\\n"),
        line("x", "", "no name"),
        line("x", "h", ""),
        json!({"app": "x", "message": "no host"}).to_string(),
    ];
    check_books(&ship("aws_cloudwatch_logs", &options, &lines, &[]).await, 2, 3, "names");
    let mut calls: Vec<_> = calls(&server).into_iter().map(|(_, call)| call).collect();
    calls.sort_by_key(|call| call["logGroupName"].to_string());
    assert_eq!(
        (&calls[0]["logGroupName"], &calls[0]["logStreamName"]),
        (&json!("/fly/a_b__#"), &json!("fdaa__3_"))
    );
    assert_eq!(calls[1]["logStreamName"].as_str().unwrap().len(), 512);
    assert_eq!(calls[1]["logEvents"][0]["message"], "\u{1}\"\\\n");
}

#[tokio::test]
async fn a_healthcheck_looks_for_the_right_group() {
    let groups = |names: &[&str]| {
        let groups: Vec<_> = names.iter().map(|name| json!({"logGroupName": name})).collect();
        Reply::status(200).body(json!({"logGroups": groups}).to_string())
    };
    let no_creation = "create_missing_group = false";
    let dynamic = "create_missing_group = false\ngroup_name = '{{ fly.app.name }}'";
    let asks_for_it = json!({"logGroupNamePrefix": "fly"});
    let asks_for_any = json!({"limit": 1});
    for (more, answer, asked, problem) in [
        ("", groups(&[]), &asks_for_any, None),
        (no_creation, groups(&["fly", "fly-other"]), &asks_for_it, None),
        (no_creation, groups(&["fly-other"]), &asks_for_it, Some("there is no log group `fly`")),
        (no_creation, groups(&[]), &asks_for_it, Some("create_missing_group is false")),
        (dynamic, groups(&[]), &asks_for_any, None),
        (
            "",
            logs_error(400, "UnrecognizedClientException", "bad"),
            &asks_for_any,
            Some("does not accept our credentials: UnrecognizedClientException: bad"),
        ),
        (
            "",
            logs_error(400, "ThrottlingException", "Rate exceeded"),
            &asks_for_any,
            Some("ThrottlingException"),
        ),
        ("", Reply::status(502), &asks_for_any, Some("502")),
    ] {
        let server = HttpServer::start().await;
        server.push(answer);
        let mut config = load("aws_cloudwatch_logs", &cloudwatch(&server.url(""), more)).unwrap();
        config.global.healthchecks.enabled = true;
        config.sources = vec![SourceEntry::new("in", Scripted::default())];
        let options = TopologyOptions::default().with_require_healthy(true);
        let started = Topology::start(config, &options, std::future::pending::<()>())
            .await
            .map(drop)
            .map_err(|error| error.to_string());
        match (started, problem) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) => assert!(error.contains(words), "{more}: {error}"),
            (started, problem) => panic!("{more}: {started:?} instead of {problem:?}"),
        }
        assert_eq!(calls(&server), [("DescribeLogGroups".to_owned(), asked.clone())], "{more}");
    }
}

#[test]
fn options_of_cloudwatch_that_cannot_work_are_refused() {
    for (options, words) in [
        ("compression = 'gzip'", "uncompressed only"),
        ("group_name = 'a b'", "group_name: `a b`"),
        ("stream_name = 'a:b'", "stream_name: `a:b`"),
        ("stream_name = ''", "1 to 512"),
        ("retention = {enabled = true, days = 31}", "retention.days: 31"),
        ("retention = {enabled = true}", "retention.days: 0"),
        ("batch.max_bytes = 2_000_000", "at most 1048576"),
        ("batch.max_events = 10_001", "at most 10000"),
        ("endpoint = 'logs'", "endpoint: not a URL"),
    ] {
        let error = load("aws_cloudwatch_logs", &cloudwatch("http://127.0.0.1:1", options)).unwrap_err();
        assert!(error.contains(words), "{options}: {error}");
    }
    assert!(load("aws_cloudwatch_logs", &cloudwatch("http://h", "compression = 'none'")).is_ok());
}

#[tokio::test]
async fn healthchecks_of_real_answers_say_what_is_wrong() {
    let moto = Moto::start().await;
    moto.create_bucket("bucket").await;
    moto.logs("CreateLogGroup", &json!({"logGroupName": "fly-other"})).await;
    let user = moto.create_user("shipper").await;
    moto.require_signatures().await;
    let url = moto.url();
    let no_creation = "create_missing_group = false";
    for (kind, options, secret, problem) in [
        ("aws_s3", s3(&url, ""), user.secret.as_str(), None),
        ("aws_s3", s3(&url, "").replace("'bucket'", "'elsewhere'"), &user.secret, Some("no such bucket")),
        ("aws_s3", s3(&url, ""), "wrong", Some("does not accept our credentials: status 403")),
        ("aws_cloudwatch_logs", cloudwatch(&url, ""), &user.secret, None),
        ("aws_cloudwatch_logs", cloudwatch(&url, no_creation), &user.secret, Some("no log group `fly`")),
        ("aws_cloudwatch_logs", cloudwatch(&url, ""), "wrong", Some("does not accept our credentials")),
    ] {
        let options = options.replace("'auto'", "'eu-west-1'").replace("AKIAX", &user.id);
        let mut config = load(kind, &options.replace(SECRET, secret)).unwrap();
        config.global.healthchecks.enabled = true;
        config.sources = vec![SourceEntry::new("in", Scripted::default())];
        let options = TopologyOptions::default().with_require_healthy(true);
        let started = Topology::start(config, &options, std::future::pending::<()>())
            .await
            .map(drop)
            .map_err(|error| error.to_string());
        match (started, problem) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) => assert!(error.contains(words), "{kind}: {error}"),
            (started, problem) => panic!("{kind}: {started:?} instead of {problem:?}"),
        }
    }
}

/// Event times near now, because CloudWatch takes no others, and not in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_events_are_in_cloudwatch_each_once_and_byte_for_byte() {
    in_time(async {
        let moto = Moto::start().await;
        let hour_ago = Timestamp::from_nanos(Timestamp::now().nanos() - 3_600_000_000_000).to_rfc3339();
        let published: Vec<_> = (0..EVENTS)
            .map(|n| {
                let (subject, event) = fly_event(n ^ 0x3f);
                (subject, event.replace("2026-11-22T05:", &hour_ago[..14]))
            })
            .collect();
        let options = cloudwatch(
            &moto.url(),
            "stream_name = '{{ fly.app.name }}'\nretention = {enabled = true, days = 7}\nbatch.timeout_secs = 0.5",
        );
        ship_from_nats("aws_cloudwatch_logs", &options, &published).await;

        let mut left: HashMap<_, _> = published.iter().map(|(subject, event)| (event.as_str(), subject)).collect();
        let streams = moto.streams("fly").await;
        assert_eq!(streams.len(), 5, "{streams:?}");
        for stream in streams {
            for (millis, message) in moto.events("fly", &stream).await {
                let subject = left.remove(message.as_str()).unwrap_or_else(|| panic!("twice, or never published: {message}"));
                assert_eq!(subject.split('.').nth(1).unwrap(), stream);
                let event: Value = serde_json::from_str(&message).unwrap();
                let time = Timestamp::parse_rfc3339(event["timestamp"].as_str().unwrap()).unwrap();
                assert_eq!(time.millis(), millis);
            }
        }
        assert_eq!(left.len(), 0, "lost");
        let groups = moto.logs("DescribeLogGroups", &json!({})).await;
        assert_eq!(groups["logGroups"][0]["retentionInDays"], 7);
    })
    .await;
}
