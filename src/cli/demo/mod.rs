//! `log-shipper demo`: everything at work in one process, without a server or an account.
//!
//! A broker that speaks NATS's protocol on loopback ([`Broker`]), sample apps that publish as Fly.io
//! does, and the real pipeline with its real client: the `nats` source, the console sink, and every
//! destination whose secrets are set.

use super::{Failure, banner, print_problems, run, start_failure};
use crate::api::ApiServer;
use crate::config::{ApiOptions, Config, Registry, api_table, destinations, subscription};
use crate::env::Env;
use crate::event::Timestamp;
use crate::nats::{Answer, Confirmation, ConnectionOptions, Messages, PING_INTERVAL, Publisher, Servers};
use crate::sources::demo_logs::FlyEvent;
use crate::status::Status;
use crate::testing::Broker;
use crate::topology::{Observer, Topology, TopologyOptions, WhenFull};
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;
use tokio::net::TcpListener;
use toml::{Table, Value};

/// Events in a second: with fewer nobody sees anything, and none of them is a time that the clock does not know.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

/// `demo`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper demo --count 10\n  SUBJECT='logs.*.ord.*' log-shipper demo --rate 2"
)]
pub(super) struct Args {
    /// Events in a second.
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// How many events the apps publish; without it, until Ctrl-C.
    #[arg(long)]
    count: Option<u64>,
    /// No API and no status page. Otherwise they are where API_ADDRESS says, which may be `off`; without it on
    /// 127.0.0.1:8686, or on another port if somebody has that.
    #[arg(long)]
    no_api: bool,
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    if !RATES.contains(&args.rate) {
        return Err(Failure::Config(format!(
            "--rate: {:?} is no rate; expected at least {} and at most {}",
            args.rate,
            RATES.start(),
            RATES.end()
        )));
    }
    run::block_on(NonZero::<usize>::MIN, async {
        let broker = Broker::start()
            .await
            .map_err(|error| Failure::Failed(format!("cannot listen on loopback: {error}")))?;
        let environment = destinations(env, "nats").map_err(Failure::config)?;
        banner::environment(&environment);
        let table = table(&broker.url(), environment.table, env)?;
        let text = toml::to_string(&table).map_err(Failure::failed)?;
        let config = Config::from_toml(&text, "demo", registry, env);
        let config = config.map_err(|problems| print_problems(&problems, env))?;
        let subjects = subjects(&table);
        let options = TopologyOptions::default().with_when_full(WhenFull::DropOldest).with_env(env.clone());
        let signals = run::StopSignals::catch()?;
        let running = Topology::start(config, &options, std::future::pending::<()>()).await;
        let running = running.map_err(|error| start_failure(&error, env))?;
        let _api = if args.no_api { None } else { start_api(running.observer(), env).await? };
        tracing::info!(
            "sample apps publish to {}; the shipper has subscribed to {}",
            broker.url(),
            subjects.join(", ")
        );

        let (rate, count) = (args.rate, args.count);
        let stopper = running.stopper();
        let apps = async {
            if let Err(error) = publish(&broker, subjects.len(), rate, count).await {
                tracing::error!("the sample apps have ended: {error}");
            }
            stopper.cancel();
            std::future::pending::<()>().await;
        };
        // The broker stays until the shipper has taken everything and left.
        tokio::select! {
            () = apps => Ok(()),
            result = run::run_to_the_end(running, signals, Duration::from_secs(4), None, None) => result,
        }
    })
}

/// The API, unless it is off. It shows events: they are made up.
async fn start_api(observer: Observer, env: &Env) -> Result<Option<ApiServer>, Failure> {
    let table = api_table(env).map_err(Failure::config)?;
    let mut options: ApiOptions = table.try_into().map_err(Failure::config)?;
    (options.tail, options.metrics_address) = (true, None);
    if !options.enabled {
        return Ok(None);
    }
    if env.get("API_ADDRESS").map_err(Failure::config)?.is_none() {
        // Looked at the status page at the same time as another shipper's, it is not to wait for that to end.
        let loopback = ApiOptions::default_address(false);
        let is_free = TcpListener::bind(loopback).await.is_ok();
        options.address = Some(if is_free { loopback } else { SocketAddr::new(loopback.ip(), 0) });
    }
    Ok(Some(ApiServer::start(observer, &options)))
}

/// The environment's destinations, with the broker as the source and the console as one more sink.
fn table(url: &str, mut table: Table, env: &Env) -> Result<Table, Failure> {
    let parse = |text: &str| text.parse::<Table>().map_err(Failure::failed);
    let mut source = subscription(env).map_err(Failure::config)?;
    source.insert("url".into(), url.into());
    let console = parse("type = \"console\"\ninputs = [\"nats\"]\nencoding.codec = \"json\"")?;
    let sinks = table.entry("sinks").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(sinks) = sinks {
        sinks.insert("console".into(), Value::Table(console));
    }
    table.insert(
        "sources".into(),
        Value::Table([("nats".to_owned(), Value::Table(source))].into_iter().collect()),
    );
    Ok(table)
}

/// The subjects that the demo's source subscribes to.
fn subjects(table: &Table) -> Vec<String> {
    let source = &table["sources"]["nats"];
    let several = source.get("subjects").and_then(Value::as_array).into_iter().flatten();
    source.get("subject").into_iter().chain(several).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The sample apps: one client that publishes for all of them.
async fn publish(broker: &Broker, subscriptions: usize, rate: f64, count: Option<u64>) -> Result<(), String> {
    let options = ConnectionOptions {
        id: "sample apps".into(),
        name: "sample apps".into(),
        servers: Servers::parse(&broker.url()).map_err(|error| error.to_string())?,
        auth: None,
        tls: None,
        env: Env::default(),
        ping_interval: PING_INTERVAL,
        status: Status::default(),
    };
    let mut apps = Publisher::new(options, Confirmation::Server, Duration::from_secs(10));
    broker.subscriptions(subscriptions).await;
    // Above a thousand a second, several are published at each tick of the clock.
    let burst = (rate / 1000.0).ceil().max(1.0);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(burst / rate));
    let mut number = 0;
    let count = count.unwrap_or(u64::MAX);
    while number < count {
        ticks.tick().await;
        let mut messages = Messages::default();
        for _ in 0..(burst as u64).min(count - number) {
            let FlyEvent { subject, json } = FlyEvent::make(number, Timestamp::now());
            apps.add(&mut messages, &subject, None, json.as_bytes());
            number += 1;
        }
        if apps.publish(&messages).await.iter().any(|answer| *answer != Answer::Published) {
            return Err("the demo's broker has not taken an event".to_owned());
        }
    }
    Ok(())
}
