//! `log-shipper health`

use crate::support::http_server::{HttpServer, Reply};
use crate::support::ports::free_port;
use crate::support::program::run;
use std::time::{Duration, Instant};

#[tokio::test]
async fn it_is_one_line_and_the_exit_code_says_the_same() {
    let server = HttpServer::start().await;
    server.push(Reply::status(200).body("{\"ok\": true}\n"));
    server.push(Reply::status(503).body("{\n\"ok\": false, \"reason\": \"the subscription is not live\"\n}"));
    server.push(Reply::status(503).body("x".repeat(8 << 20)));
    let url = server.url("/health");
    let ended = run(&["health", "--url", &url], &[]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "200 OK: {\"ok\": true}\n"));
    let ended = run(&["health", "--url", &url], &[]).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_eq!(
        ended.err,
        "log-shipper: not healthy: 503 Service Unavailable: { \"ok\": false, \"reason\": \"the subscription is not live\" }\n"
    );
    // Somebody else's page.
    server.push(Reply::status(200).body("<!doctype html><title>hello</title>"));
    let ended = run(&["health", "--url", &url], &[]).await;
    assert!(ended.code == Some(1) && ended.err.len() < 1000 && ended.err.lines().count() == 1, "{ended:?}");
    let ended = run(&["health", "--url", &server.url("")], &[]).await;
    assert!(ended.code == Some(1) && !ended.err.contains("doctype"), "{ended:?}");
    assert!(server.requests().iter().all(|request| request.path_and_query == "/health"));
}

#[tokio::test]
async fn it_asks_where_the_environment_says_the_api_is() {
    let server = HttpServer::start().await;
    server.default_reply(Reply::status(200).body("{\"ok\": true}"));
    let ended = run(&["health"], &[("API_ADDRESS", &format!("0.0.0.0:{}", server.port()))]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(server.requests()[0].path_and_query, "/health");
    let ended = run(&["health"], &[("API_ADDRESS", "off")]).await;
    assert!(ended.code == Some(1) && ended.err.contains("API_ADDRESS is off"), "{ended:?}");
}

#[tokio::test]
async fn nobody_there_is_1_an_answer_that_does_not_come_is_too_and_a_wrong_url_is_64() {
    let url = format!("http://127.0.0.1:{}/health", free_port());
    let ended = run(&["health", "--url", &url], &[]).await;
    assert!(ended.code == Some(1) && ended.err.contains(&url) && ended.err.lines().count() == 1, "{ended:?}");
    let server = HttpServer::start().await;
    server.push(Reply::status(200).late(Duration::from_secs(60)));
    let start = Instant::now();
    let ended = run(&["health", "--url", &server.url("/health")], &[]).await;
    assert!(ended.code == Some(1) && ended.err.contains("no answer within 5 s"), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    for url in
        ["127.0.0.1:8686", "ftp://a/", "no url", "http://u:s3cr3t@127.0.0.1:1/ready", "http://u:s3cr3t@["]
    {
        let ended = run(&["health", "--url", url], &[]).await;
        assert!(ended.code == Some(64) && ended.err.contains("--url: "), "{url}: {ended:?}");
        assert!(!ended.err.contains("s3cr3t"), "{ended:?}");
    }
}
