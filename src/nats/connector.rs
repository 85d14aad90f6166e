//! [`Connector`]: finds a server that takes us, and signs in to it, for ever.

use super::auth::{AuthError, Credentials};
use super::connection_log::ConnectionLog;
use super::link::{
    CONNECT_TIMEOUT, Info, InfoSnafu, IoSnafu, Link, LinkError, NoAddressSnafu, RefusedSnafu,
    TlsSwitchedOffSnafu, within,
};
use super::options::{ConnectionOptions, TlsMode};
use super::servers::host_and_port;
use rand::seq::SliceRandom;
use rustls::pki_types::ServerName;
use serde::Serialize;
use snafu::{OptionExt, ResultExt};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Makes connections, one after the other, to the servers of one cluster.
pub(super) struct Connector {
    pub(super) options: ConnectionOptions,
    tls: Option<TlsConnector>,
    /// For every server, also those that others tell us of.
    tls_mode: TlsMode,
    /// The configured servers, in an order of our own.
    servers: Vec<String>,
    /// Those that a server has told us of last.
    learned: Vec<String>,
    /// Whose turn it is.
    turn: usize,
    /// How often we have connected, or tried to, since a connection last held for a while.
    attempts: usize,
    role: Role,
    pub(super) log: ConnectionLog,
}

/// What the connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// To read what others publish.
    Reader,
    /// To read a JetStream stream, with questions and acknowledgements.
    Consumer,
    /// To publish.
    Publisher,
}

/// A subject, and the queue group whose members share it.
pub(super) type Subscription = (String, Option<String>);

/// How long a connection must have held for the next one to be made without a pause: a server that takes
/// us and lets us go again at once would have us back at once, for ever.
const HELD: Duration = Duration::from_secs(10);
/// How long the lookup of a name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// Characters of an address that a server may tell us of: a name of the DNS, and a port.
const MAX_ADDRESS: usize = 260;
/// Servers of a cluster that are taken note of.
const MAX_LEARNED: usize = 1000;

/// What we say in `CONNECT`.
#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    echo: bool,
    headers: bool,
    /// Whether we want to hear at once that nobody takes a message that wants an answer. Said by
    /// those who want answers, and a server without headers refuses it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_responders: bool,
    #[serde(flatten)]
    credentials: Credentials,
}

impl Connector {
    pub(super) fn new(options: ConnectionOptions, role: Role) -> Connector {
        let log = ConnectionLog::new(&options.id, role, options.status.clone());
        let tls = options.tls.as_ref().map(|tls| TlsConnector::from(Arc::new(tls.config.clone())));
        let mut servers = options.servers.urls.clone();
        // So that many clients do not all go to the first server of the list.
        servers.shuffle(&mut rand::rng());
        let has_tls_url = servers.iter().any(|server| server.starts_with("tls://"));
        let by_url = if has_tls_url { TlsMode::Required } else { TlsMode::IfAsked };
        let tls_mode = options.tls.as_ref().map_or(by_url, |tls| tls.mode.max(by_url));
        Connector { options, tls, tls_mode, servers, learned: Vec::new(), turn: 0, attempts: 0, role, log }
    }

    /// Connects and subscribes, however long it takes. Safe to cancel.
    pub(super) async fn connect(&mut self, subscriptions: &[Subscription]) -> Link {
        loop {
            tokio::time::sleep(reconnect_delay(self.attempts)).await;
            let server = self.next_server();
            let link = self.open(&server, subscriptions).await;
            // Not before, so that an attempt that was cancelled costs no pause.
            self.attempts += 1;
            match link {
                Ok(link) => {
                    self.log.connected();
                    return link;
                }
                Err(error) => self.log.cannot_connect(&server, &error),
            }
        }
    }

    /// Another one that knows what this one knows, for a connection beside the one that this one has made.
    pub(super) fn twin(&self) -> Connector {
        Connector {
            options: self.options.clone(),
            tls: self.tls.clone(),
            tls_mode: self.tls_mode,
            servers: self.servers.clone(),
            learned: self.learned.clone(),
            turn: self.turn,
            attempts: self.attempts,
            role: self.role,
            log: ConnectionLog::new(&self.options.id, self.role, self.options.status.clone()),
        }
    }

    /// Connects to the first server that takes us, and logs nothing. The one that we have connected to last comes
    /// last.
    ///
    /// # Errors
    /// Why the last of the servers has not taken us, or the one that answered and refused us.
    pub(super) async fn connect_once(&mut self, subscriptions: &[Subscription]) -> Result<Link, LinkError> {
        let mut link = NoAddressSnafu { host: "" }.fail();
        for _ in 0..self.servers.len() + self.learned.len() {
            let server = self.next_server();
            link = self.open(&server, subscriptions).await;
            if matches!(&link, Ok(_) | Err(LinkError::Refused { .. } | LinkError::Auth { .. })) {
                break;
            }
        }
        link
    }

    fn next_server(&mut self) -> String {
        let count = self.servers.len() + self.learned.len();
        let server = self.servers.iter().chain(&self.learned).nth(self.turn % count);
        self.turn = self.turn.wrapping_add(1);
        server.cloned().unwrap_or_default()
    }

    /// Connects to one of the addresses that the server's name has.
    async fn open(&mut self, server: &str, subscriptions: &[Subscription]) -> Result<Link, LinkError> {
        let (host, port) = host_and_port(server);
        let lookup = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host.as_str(), port)));
        let found = lookup.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut addresses: Vec<_> = found.context(IoSnafu)?.collect();
        addresses.shuffle(&mut rand::rng());
        let mut link = NoAddressSnafu { host: &host }.fail();
        for address in addresses {
            let stream =
                within(CONNECT_TIMEOUT, async { TcpStream::connect(address).await.context(IoSnafu) });
            link = match stream.await {
                Ok(stream) => within(CONNECT_TIMEOUT, self.sign_in(&host, stream, subscriptions)).await,
                Err(error) => Err(error),
            };
            if link.is_ok() {
                break;
            }
        }
        link
    }

    async fn sign_in(
        &mut self,
        host: &str,
        stream: TcpStream,
        subscriptions: &[Subscription],
    ) -> Result<Link, LinkError> {
        stream.set_nodelay(true).context(IoSnafu)?;
        let (mut link, info) = self.greet(host, Link::new(Box::new(stream))).await?;
        link.max_payload = info.max_payload().unwrap_or(usize::MAX);
        link.ping_interval = self.options.ping_interval;
        // Secrets that come from files are read anew, and a disk that does not answer must not hold up all else.
        let (options, nonce) = (self.options.clone(), info.nonce.clone());
        let read = tokio::task::spawn_blocking(move || credentials(&options, nonce.as_bytes()));
        let credentials = read.await.map_err(std::io::Error::other).context(IoSnafu)??;
        let connect = Connect {
            verbose: false,
            pedantic: false,
            tls_required: self.tls_mode != TlsMode::IfAsked,
            name: &self.options.name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: true,
            headers: true,
            no_responders: self.role != Role::Reader && info.headers,
            credentials,
        };
        // Straight to the stream, so that no buffer keeps the secret.
        let text = Zeroizing::new(serde_json::to_vec(&connect).context(InfoSnafu)?);
        for part in [b"CONNECT ", text.as_slice(), b"\r\n"] {
            link.stream.write_all(part).await.context(IoSnafu)?;
        }
        link.subscribe(subscriptions);
        link.flush().await?;
        match link.wait_for_pong().await {
            Ok(()) => Ok(link),
            // It may repeat what we have just said.
            Err(LinkError::Refused { message }) => {
                RefusedSnafu { message: connect.credentials.hide(&message) }.fail()
            }
            Err(error) => Err(error),
        }
    }

    /// Reads `INFO`, and turns to TLS before or after it; the link is then as it stays.
    async fn greet(&mut self, host: &str, mut link: Link) -> Result<(Link, Info), LinkError> {
        if self.tls_mode == TlsMode::First {
            link = self.encrypt(host, link).await.map_err(LinkError::of_tls_first)?;
            let info = link.read_info().await?;
            self.learn(&info);
            return Ok((link, info));
        }
        let info = link.read_plain_info().await?;
        if info.tls_required || self.tls_mode == TlsMode::Required {
            link = self.encrypt(host, link).await?;
        } else {
            // What comes before TLS could come from anybody.
            self.learn(&info);
        }
        Ok((link, info))
    }

    async fn encrypt(&mut self, host: &str, link: Link) -> Result<Link, LinkError> {
        let tls = self.tls.as_ref().context(TlsSwitchedOffSnafu)?;
        let name = self.certified_name(host);
        let name = ServerName::try_from(name.clone()).ok().context(NoAddressSnafu { host: name })?;
        Ok(Link::new(Box::new(tls.connect(name, link.stream).await.context(IoSnafu)?)))
    }

    /// The name to ask for, and to expect in the certificate of this host. Servers tell each other's
    /// addresses, and certificates have names: for an address that is not configured, the name that is.
    fn certified_name(&self, host: &str) -> String {
        if let Some(name) = self.options.tls.as_ref().and_then(|tls| tls.server_name.as_ref()) {
            return name.clone();
        }
        let mut configured = self.servers.iter().map(|server| host_and_port(server).0);
        let is_configured = configured.clone().any(|name| name == host);
        match host.parse::<IpAddr>() {
            Ok(_) if !is_configured => configured.next().unwrap_or_else(|| host.to_owned()),
            _ => host.to_owned(),
        }
    }

    /// What a server says in the midst of a connection.
    pub(super) fn heed(&mut self, info: &Info) {
        self.learn(info);
        if info.ldm {
            self.log.will_stop();
        }
    }

    /// Takes note of the servers of the cluster, those that are there now.
    fn learn(&mut self, info: &Info) {
        if info.connect_urls.is_empty() {
            return;
        }
        // Anything else is no address, and would only be seen in the log.
        let is_fit = |address: &&String| {
            address.len() <= MAX_ADDRESS && address.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let is_new =
            |address: &&String| !self.servers.iter().any(|known| known.split("://").nth(1) == Some(address));
        self.learned = info
            .connect_urls
            .iter()
            .filter(is_fit)
            .filter(is_new)
            .take(MAX_LEARNED)
            .map(|address| format!("nats://{address}"))
            .collect();
    }

    /// Takes back a link that is of no more use, if there was one.
    pub(super) fn lost(&mut self, link: Option<Link>, error: &LinkError) {
        if link.is_some_and(|link| link.opened.elapsed() >= HELD) {
            self.attempts = 0;
        }
        // Of a server that is about to stop, it has been said.
        if !matches!(error, LinkError::LameDuck) {
            self.log.disconnected(error);
        }
    }
}

/// At once the first time, then from at most 100 ms up to at most 4 s, drawn at random so that many
/// clients do not come back together.
pub(super) fn reconnect_delay(attempts: usize) -> Duration {
    if attempts == 0 {
        return Duration::ZERO;
    }
    let most = 4_000.min(100u64 << attempts.min(8));
    Duration::from_millis(rand::random_range(most / 2..=most))
}

/// Who we are, for this connection.
fn credentials(options: &ConnectionOptions, nonce: &[u8]) -> Result<Credentials, AuthError> {
    let env = &options.env;
    Ok(match (&options.auth, &options.servers.userinfo) {
        (Some(auth), _) => auth.answer(nonce, env)?,
        (None, Some((user, Some(password)))) => {
            Credentials::user_password(&env.refresh(user), &env.refresh(password))
        }
        (None, Some((token, None))) => Credentials::token(&env.refresh(token)),
        (None, None) => Credentials::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_at_once_then_slower_with_jitter() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        for (attempts, most) in [(1, 200), (2, 400), (5, 3200), (6, 4000), (1_000_000, 4000)] {
            let delays: Vec<_> = (0..100).map(|_| reconnect_delay(attempts).as_millis()).collect();
            assert!(delays.iter().all(|delay| (most / 2..=most).contains(delay)), "{attempts}: {delays:?}");
            assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter");
        }
    }
}
