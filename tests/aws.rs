//! AWS: credentials and signatures, S3 and CloudWatch Logs, against moto's server and scripted ones.

mod support;

use bytes::Bytes;
use http::{Request, Response};
use log_shipper::aws::{AwsAuth, AwsSigner};
use log_shipper::env::Env;
use log_shipper::http::{HttpClient, ProxyConfig};
use log_shipper::sinks::Signer;
use log_shipper::tls::TlsConfig;
use std::time::Duration;
use support::http_server::{HttpServer, Reply};
use support::moto::{Key, Moto, REGION};
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
        assert_eq!(log_shipper::aws::AwsError::of(&answer).code, "SignatureDoesNotMatch");

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
        (None, "auto", &[][..], "`auto` is no region of AWS's"),
        (Some("s3.example"), "auto", &[], "endpoint: not a URL"),
        (Some("https://u:p@s3.example"), "auto", &[], "user and password"),
        (Some("https://s3.example/?x"), "auto", &[], "`?`"),
        (None, "auto", &[("AWS_ENDPOINT_URL", "x")], "AWS_ENDPOINT_URL: not a URL"),
    ] {
        let error = endpoint(option, region, variables).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
