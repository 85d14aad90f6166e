//! What is said of a destination that cannot be connected to.

use crate::in_time;
use crate::support::certificates::Certificates;
use bytes::Bytes;
use log_shipper::healthcheck::Unhealthy;
use log_shipper::http::{HttpClient, HttpError, ProxyConfig};
use log_shipper::tls::TlsConfig;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const LIMIT: Duration = Duration::from_secs(5);

/// A server that shakes hands and says nothing.
async fn tls_server(acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

/// A server that speaks no TLS.
async fn plain_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example ESMTP\r\n").await;
        }
    });
    port
}

/// One that nothing listens at: it was another's a moment ago.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What is said of a request to this URL.
async fn said_of(url: &str, ca: Option<&Path>, proxy: &ProxyConfig, connect: Duration) -> String {
    let ca_file = ca.map(|ca| ca.display().to_string());
    let client = HttpClient::new(&TlsConfig { ca_file, ..TlsConfig::default() }, proxy, connect).unwrap();
    let request = http::Request::post(url).body(Bytes::new()).unwrap();
    let error = client.send(request, LIMIT).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_person_reads_the_place_the_cause_and_what_to_do() {
    in_time(async {
        let (ours, others) = (Certificates::generate(), Certificates::generate());
        let closed = closed_port().await;
        let unknown = tls_server(others.acceptor()).await;
        let expired = tls_server(ours.acceptor_for("127.0.0.1", 2001)).await;
        let other_name = tls_server(ours.acceptor_for("other.example", 4000)).await;
        let plain = plain_server().await;
        let (none, ca) = (None, Some(ours.ca.as_path()));
        for (url, ca, expected, advice) in [
            (
                format!("http://user:s3cr3t@127.0.0.1:{closed}/in?key=s3cr3t"),
                none,
                format!("cannot connect to 127.0.0.1:{closed}: connection refused"),
                "nothing listens there",
            ),
            (
                format!("https://127.0.0.1:{unknown}/"),
                none,
                format!(
                    "cannot connect to 127.0.0.1:{unknown}: its certificate is not trusted: it is of an unknown authority"
                ),
                "give that as tls.ca_file",
            ),
            (
                // Both authorities have the same name.
                format!("https://127.0.0.1:{unknown}/"),
                ca,
                format!(
                    "cannot connect to 127.0.0.1:{unknown}: its certificate is not trusted: it is of an unknown authority that has the name of a known one"
                ),
                "give that as tls.ca_file",
            ),
            (
                format!("https://127.0.0.1:{expired}/"),
                ca,
                format!(
                    "cannot connect to 127.0.0.1:{expired}: its certificate has expired: it was valid until 2001-01-01"
                ),
                "out of date, or the clock",
            ),
            (
                format!("https://127.0.0.1:{other_name}/"),
                ca,
                format!(
                    "cannot connect to 127.0.0.1:{other_name}: its certificate is for another name: for other.example, not for 127.0.0.1"
                ),
                "use the name that stands in it",
            ),
            (
                format!("https://127.0.0.1:{plain}/"),
                ca,
                format!("cannot connect to 127.0.0.1:{plain}: it does not speak TLS"),
                "check the port, or use an address without TLS",
            ),
        ] {
            let said = said_of(&url, ca, &ProxyConfig::default(), LIMIT).await;
            assert_eq!(said, expected);
            let unhealthy = Unhealthy::Down { reason: said };
            assert!(unhealthy.advice().contains(advice), "{unhealthy}: {}", unhealthy.advice());
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    in_time(async {
        let said = said_of("https://nowhere.invalid/", None, &ProxyConfig::default(), LIMIT).await;
        // Without any DNS server the resolver says that it does not know.
        let expected = ["the name is not found", "the name cannot be looked up now"];
        let expected = expected.map(|why| format!("cannot connect to nowhere.invalid:443: {why}"));
        assert!(expected.contains(&said), "{said}");
        assert!(Unhealthy::Down { reason: said }.advice().contains("check how it is spelt"));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_takes_too_long_has_timed_out() {
    in_time(async {
        // It takes the connection, and never says a word of the handshake.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("https://127.0.0.1:{port}/");
        let said = said_of(&url, None, &ProxyConfig::default(), Duration::from_millis(100)).await;
        assert_eq!(said, format!("cannot connect to 127.0.0.1:{port}: timed out"));
        assert!(Unhealthy::Down { reason: said }.advice().contains("firewall"));
    })
    .await;
}

#[tokio::test]
async fn a_proxy_in_between_is_named_without_its_password() {
    in_time(async {
        let closed = closed_port().await;
        let proxy = format!("http://user:s3cr3t@127.0.0.1:{closed}");
        let proxy = ProxyConfig { http: Some(proxy.into()), ..ProxyConfig::default() };
        let said = said_of("http://logs.example/in", None, &proxy, LIMIT).await;
        let place = "logs.example:80 (through proxy.http, unless no_proxy names it)";
        assert_eq!(said, format!("cannot connect to {place}: connection refused"));
    })
    .await;
}
