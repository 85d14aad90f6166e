//! A TCP proxy on loopback that plays a bad network: it can hold back, delay and cut what goes through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What becomes of bytes in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    is_paused: bool,
    delay: Duration,
    /// Only the first so many bytes of each connection go through.
    limit: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    to_server: Flow,
    to_client: Flow,
    /// Connections up to this number are silent for good.
    silent_up_to: u32,
    /// Connections up to this number are closed.
    closed_up_to: u32,
}

/// A running proxy; dropped, its connections end.
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    accepted: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// In front of the server at this port of this host.
    pub async fn start(server_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (rules, seen) = watch::channel(Rules::default());
        let accepted = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        let count = Arc::clone(&accepted);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                connections.spawn(carry(client, server_port, number, seen.clone()));
            }
        });
        Proxy { address, rules, accepted, _tasks: tasks }
    }

    /// Where clients connect to: `nats://127.0.0.1:PORT`.
    pub fn nats_url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Nothing goes this way any more, on any connection, until [`Proxy::resume`]: the sender can write until the
    /// buffers on the way are full.
    pub fn pause(&self, direction: Direction) {
        self.change(direction, |flow| flow.is_paused = true);
    }

    /// The opposite.
    pub fn resume(&self, direction: Direction) {
        self.change(direction, |flow| flow.is_paused = false);
    }

    /// What goes this way takes so much longer.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change(direction, |flow| flow.delay = delay);
    }

    /// Of each connection only the first so many bytes go this way; the rest waits for another limit.
    pub fn limit(&self, direction: Direction, bytes: Option<u64>) {
        self.change(direction, |flow| flow.limit = bytes);
    }

    /// The connections there are fall silent in both directions, for good, and stay open: half-open sockets. New
    /// ones are well.
    pub fn silence(&self) {
        let last = self.accepted();
        self.rules.send_modify(|rules| rules.silent_up_to = last);
    }

    /// Closes the connections there are.
    pub fn cut(&self) {
        let last = self.accepted();
        self.rules.send_modify(|rules| rules.closed_up_to = last);
    }

    fn change(&self, direction: Direction, change: impl FnOnce(&mut Flow)) {
        self.rules.send_modify(|rules| match direction {
            Direction::ToServer => change(&mut rules.to_server),
            Direction::ToClient => change(&mut rules.to_client),
        });
    }
}

async fn carry(client: TcpStream, server_port: u16, number: u32, rules: watch::Receiver<Rules>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut closed = rules.clone();
    tokio::select! {
        _ = async { tokio::join!(
            copy(from_client, to_server, Direction::ToServer, number, rules.clone()),
            copy(from_server, to_client, Direction::ToClient, number, rules),
        ) } => {}
        _ = closed.wait_for(|rules| rules.closed_up_to >= number) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    number: u32,
    mut rules: watch::Receiver<Rules>,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut passed = 0;
    loop {
        let Some(flow) = passage(&mut rules, direction, number, passed).await else { return };
        let room = flow.limit.map_or(buffer.len(), |limit| buffer.len().min((limit - passed) as usize));
        let read = from.read(&mut buffer[..room]).await.unwrap_or(0);
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        tokio::time::sleep(flow.delay).await;
        // It may have been closed to them while they were waited for.
        if passage(&mut rules, direction, number, passed).await.is_none() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        passed += read as u64;
    }
}

/// Waits until bytes may pass.
async fn passage(
    rules: &mut watch::Receiver<Rules>,
    direction: Direction,
    number: u32,
    passed: u64,
) -> Option<Flow> {
    let flow = |rules: &Rules| match direction {
        Direction::ToServer => rules.to_server,
        Direction::ToClient => rules.to_client,
    };
    let is_open = |rules: &Rules| {
        let flow = flow(rules);
        rules.silent_up_to < number && !flow.is_paused && flow.limit.is_none_or(|limit| passed < limit)
    };
    let rules = rules.wait_for(is_open).await.ok()?;
    Some(flow(&rules))
}
