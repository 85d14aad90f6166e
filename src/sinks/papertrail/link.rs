//! [`Link`]: one open connection; [`Connector`]: how to make it.

use crate::config::Result;
use crate::tls::{TlsConfig, is_not_tls};
use futures::FutureExt;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::{ResultExt, Snafu};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline, with = "String")]
pub(super) struct Endpoint {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Endpoint, String> {
        let authority = text.parse::<Authority>().ok().filter(|authority| !authority.as_str().contains('@'));
        let parts = authority.as_ref().and_then(|authority| Some((authority.host(), authority.port_u16()?)));
        let parts = parts.map(|(host, port)| (host.trim_start_matches('[').trim_end_matches(']'), port));
        match parts {
            Some((host, port)) if !host.is_empty() && port != 0 => {
                Ok(Endpoint { host: host.to_owned(), port })
            }
            _ => Err(format!(
                "`{text}` is not an address; expected a host and a port, as in logs1.papertrailapp.com:12345"
            )),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// There is no connection, or no longer one.
#[derive(Debug, Snafu)]
pub(super) enum LinkError {
    #[snafu(display("the name {host} cannot be looked up: {source}"))]
    Lookup { host: String, source: io::Error },
    #[snafu(display("the name {host} has no address"))]
    NoAddress { host: String },
    #[snafu(display("no connection to {address}: {source}"))]
    Connect { address: SocketAddr, source: io::Error },
    #[snafu(display("TLS with {address} failed: {source}"))]
    Tls { address: SocketAddr, source: io::Error },
    #[snafu(display(
        "TLS with {address} failed: {source}; if the port is one for plain TCP, set tls.enabled = false"
    ))]
    NotTls { address: SocketAddr, source: io::Error },
    #[snafu(display("the server has closed the connection"))]
    Closed,
    #[snafu(display("the server speaks TLS; take tls.enabled = false out"))]
    SpeaksTls,
    #[snafu(display("the connection has broken: {source}"))]
    Broken { source: io::Error },
}

/// How long each may take: to look the name up, and then, for each of its addresses, to connect, TLS
/// included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to hand over the lines of one chunk.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long we wait at the end for the server to close its side too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a new connection is on trial, at least and at most; see [`Link::stands_trial`].
const TRIAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// How often the system asks a silent server again that does not answer, and how many times.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// The most time that what is written may go without the server's system having it. Linux would go on
/// sending for a quarter of an hour, and all that is written meanwhile would count as delivered.
#[cfg(target_os = "linux")]
const MAX_UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    /// With the name to ask for, and to expect in the server's certificate.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How long a silent server is not asked whether it is there.
    keepalive: Duration,
    send_buffer_bytes: Option<u32>,
}

impl Connector {
    /// # Errors
    /// If the `tls` table cannot be used, or the endpoint's host is no name that TLS could ask for.
    pub(super) fn new(
        endpoint: Endpoint,
        tls: &TlsConfig,
        keepalive: Duration,
        send_buffer_bytes: Option<u32>,
    ) -> Result<Connector> {
        let tls = if tls.enabled == Some(false) {
            None
        } else {
            let config = Arc::new(tls.client_config()?);
            let name = tls.server_name.as_ref().unwrap_or(&endpoint.host);
            let name = ServerName::try_from(name.clone())
                .map_err(|_| format!("endpoint: `{name}` is not a host name that TLS could ask for"))?;
            Some((TlsConnector::from(config), name))
        };
        Ok(Connector { endpoint, tls, keepalive, send_buffer_bytes })
    }

    /// Connects to one of the addresses that the host has.
    ///
    /// # Errors
    /// Why there is no connection, to the last address if there are several.
    pub(super) async fn connect(&self) -> Result<Link, LinkError> {
        let Endpoint { host, port } = &self.endpoint;
        let lookup = by(Instant::now() + CONNECT_TIMEOUT, lookup_host((host.as_str(), *port)));
        let mut link = NoAddressSnafu { host }.fail();
        for address in lookup.await.context(LookupSnafu { host })? {
            link = self.open(address).await;
            if link.is_ok() {
                break;
            }
        }
        link
    }

    async fn open(&self, address: SocketAddr) -> Result<Link, LinkError> {
        let began = Instant::now();
        let deadline = began + CONNECT_TIMEOUT;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            self.set_options(&stream)?;
            Ok(stream)
        };
        let stream = by(deadline, connect).await.context(ConnectSnafu { address })?;
        let trial = || 2 * began.elapsed();
        let Some((tls, name)) = &self.tls else { return Ok(Link::new(Box::new(stream), trial())) };
        match by(deadline, tls.connect(name.clone(), stream)).await {
            Ok(stream) => Ok(Link::new(Box::new(stream), trial())),
            // A server of plain TCP takes our greeting for a line, and waits for the next.
            Err(error) if is_not_tls(&error) || error.kind() == io::ErrorKind::TimedOut => {
                Err(error).context(NotTlsSnafu { address })
            }
            Err(error) => Err(error).context(TlsSnafu { address }),
        }
    }

    fn set_options(&self, stream: &TcpStream) -> io::Result<()> {
        // A chunk is written at once, and nothing comes after it that it could wait for.
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new()
            .with_time(self.keepalive)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        {
            // For a silent server it counts too, in the place of the retries.
            let limit = self.keepalive.saturating_add(KEEPALIVE_RETRIES * KEEPALIVE_INTERVAL);
            socket.set_tcp_user_timeout(Some(limit.min(MAX_UNACKNOWLEDGED)))?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }
}

/// What comes of this, if it comes in time.
async fn by<T>(deadline: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(late(CONNECT_TIMEOUT)))
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs()))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection.
pub(super) struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    pub(super) opened: Instant,
    /// How long it is on trial, until it has been.
    trial: Option<Duration>,
}

impl Link {
    fn new(stream: Box<dyn Stream>, trial: Duration) -> Link {
        let (reader, writer) = tokio::io::split(stream);
        let trial = trial.clamp(*TRIAL.start(), *TRIAL.end());
        Link { reader, writer, opened: Instant::now(), trial: Some(trial) }
    }

    /// Waits until the connection has ended, and says how. Safe to cancel.
    pub(super) async fn closed(&mut self) -> LinkError {
        end_of(&mut self.reader).await
    }

    /// Whether the server keeps a new connection for a moment. One that does not want us may say so only
    /// when the connection is there: in TLS 1.3 a server that asks for a certificate, a balancer with nobody
    /// behind it, a port for TLS that has got plain text. Every connection would look good, and all that is
    /// written be lost.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) async fn stands_trial(&mut self) -> Result<(), LinkError> {
        let Some(trial) = self.trial else { return Ok(()) };
        match timeout(trial, end_of(&mut self.reader)).await {
            Ok(error) => return Err(error),
            // On a machine that has been held up, the time may be over before anybody could do anything.
            Err(_) => look_at_the_sockets().await,
        }
        if let Some(error) = end_of(&mut self.reader).now_or_never() {
            return Err(error);
        }
        self.trial = None;
        Ok(())
    }

    /// Writes the lines, and hands all of them to the system.
    ///
    /// # Errors
    /// If the connection has ended before, meanwhile, or by the time that is done; the first lines of a
    /// connection are done when it has stood its trial.
    pub(super) async fn write(&mut self, lines: &[u8]) -> Result<(), LinkError> {
        let Link { reader, writer, .. } = self;
        let write = async {
            writer.write_all(lines).await?;
            writer.flush().await
        };
        look_at_the_sockets().await;
        tokio::select! {
            // First, so that nothing is written to a connection that is closed already.
            biased;
            error = end_of(reader) => return Err(error),
            written = timeout(WRITE_TIMEOUT, write) => {
                written.unwrap_or_else(|_| Err(late(WRITE_TIMEOUT))).context(BrokenSnafu)?;
            }
        }
        look_at_the_sockets().await;
        if let Some(error) = end_of(reader).now_or_never() {
            return Err(error);
        }
        self.stands_trial().await
    }

    /// Ends the connection so that the server can read everything that has been written: a socket that is
    /// dropped with something unread in it takes what is still on its way down with it.
    pub(super) async fn close(mut self) {
        let close = async {
            // Nothing is left to be written, and a server that has gone has not waited for us.
            let _ = self.writer.shutdown().await;
            self.closed().await
        };
        let _ = timeout(CLOSE_TIMEOUT, close).await;
    }
}

/// What ends the connection. A syslog server says nothing; if one does, it is read and forgotten.
async fn end_of(reader: &mut ReadHalf<Box<dyn Stream>>) -> LinkError {
    let mut forgotten = [0; 256];
    loop {
        match reader.read(&mut forgotten).await {
            Ok(0) => return LinkError::Closed,
            // An alert, which we have got as plain text (RFC 8446 section 5.1).
            Ok(_) if forgotten.starts_with(&[21, 3]) => return LinkError::SpeaksTls,
            Ok(_) => {}
            Err(source) => return LinkError::Broken { source },
        }
    }
}

/// Lets the runtime ask the system what has happened: before it has, a read does not know of a close.
async fn look_at_the_sockets() {
    tokio::task::yield_now().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, shown) in [
            ("logs1.papertrailapp.com:12345", Some("logs1.papertrailapp.com:12345")),
            ("10.0.0.1:514", Some("10.0.0.1:514")),
            ("[fdaa::3]:514", Some("[fdaa::3]:514")),
            ("logs1.papertrailapp.com", None),
            ("", None),
            (":514", None),
            ("h:0", None),
            ("h:65536", None),
            ("h:x", None),
            ("u:p@h:514", None),
            ("syslog+tls://h:514", None),
            ("h:514/path", None),
            ("h h:514", None),
        ] {
            let endpoint = Endpoint::try_from(text.to_owned());
            assert_eq!(endpoint.map(|endpoint| endpoint.to_string()).ok().as_deref(), shown, "{text}");
        }
    }

    fn link() -> (Link, DuplexStream) {
        let (ours, theirs) = duplex(1 << 10);
        (Link::new(Box::new(ours), Duration::ZERO), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_ends_in_time() {
        let (mut link, mut theirs) = link();
        link.write(b"taken").await.unwrap();
        let began = Instant::now();
        let error = link.write(&[b'x'; 2 << 10]).await.unwrap_err().to_string();
        assert!(error.contains("no answer within 60 s"), "{error}");
        assert_eq!(began.elapsed(), WRITE_TIMEOUT);
        let mut taken = [0; 5];
        theirs.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"taken");
    }

    // In all of these the server closes its side only: ours could still write.

    #[tokio::test(start_paused = true)]
    async fn a_write_ends_when_the_server_closes_meanwhile() {
        let (mut link, mut theirs) = link();
        let began = Instant::now();
        let close = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            theirs.shutdown().await.unwrap();
        };
        let (written, ()) = tokio::join!(link.write(&[b'x'; 2 << 10]), close);
        assert!(matches!(written, Err(LinkError::Closed)), "{written:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_the_server_closes_right_after() {
        for writes_before in [0, 1] {
            let (mut link, mut theirs) = link();
            for _ in 0..writes_before {
                link.write(b"a").await.unwrap();
                theirs.read_exact(&mut [0]).await.unwrap();
            }
            let close = async {
                theirs.read_exact(&mut [0]).await.unwrap();
                theirs.shutdown().await.unwrap();
            };
            let (written, ()) = tokio::join!(biased; link.write(b"b"), close);
            assert!(matches!(written, Err(LinkError::Closed)), "{written:?}");
        }
        // The first write of a connection a little later too, and when both come at the same moment, as they
        // do on a machine that has been held up.
        for millis in [99, 100] {
            let (mut link, mut theirs) = link();
            let close = async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                theirs.shutdown().await.unwrap();
            };
            let (written, ()) = tokio::join!(biased; link.write(b"b"), close);
            assert!(matches!(written, Err(LinkError::Closed)), "{millis} ms: {written:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_written_to_a_connection_that_the_server_has_closed() {
        let (mut link, mut theirs) = link();
        theirs.shutdown().await.unwrap();
        assert!(matches!(link.write(b"lost").await, Err(LinkError::Closed)));
        drop(link);
        let mut seen = Vec::new();
        theirs.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"");
    }

    /// With the default `keepalive`, within 90 s.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_notices_a_server_that_has_vanished() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plain = TlsConfig { enabled: Some(false), ..TlsConfig::default() };
        for (keepalive, unacknowledged) in [(60, 90), (5, 35), (600, 120)] {
            let endpoint = Endpoint::try_from(address.to_string()).unwrap();
            let connector = Connector::new(endpoint, &plain, Duration::from_secs(keepalive), None).unwrap();
            let stream = TcpStream::connect(address).await.unwrap();
            connector.set_options(&stream).unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            let seconds = [
                socket.tcp_keepalive_time().unwrap(),
                socket.tcp_keepalive_interval().unwrap(),
                socket.tcp_user_timeout().unwrap().unwrap(),
            ];
            assert_eq!(seconds, [keepalive, 10, unacknowledged].map(Duration::from_secs));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        }
    }

    /// The runtime has had no occasion to see it.
    #[tokio::test]
    async fn a_close_that_has_just_happened_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::try_from(listener.local_addr().unwrap().to_string()).unwrap();
        let plain = TlsConfig { enabled: Some(false), ..TlsConfig::default() };
        let connector = Connector::new(endpoint, &plain, Duration::from_secs(60), None).unwrap();
        let mut link = connector.connect().await.unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        link.write(b"taken").await.unwrap();
        std::io::Read::read_exact(&mut theirs, &mut [0; 5]).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(link.write(b"lost").await, Err(LinkError::Closed)));
        drop(link);
        let mut seen = Vec::new();
        std::io::Read::read_to_end(&mut theirs, &mut seen).unwrap();
        assert_eq!(seen, b"");
    }
}
