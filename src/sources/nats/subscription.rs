//! Core NATS: what is published to subjects while we are there.

use super::decode::Decoder;
use crate::bodies::{Bodies, Passed};
use crate::config::{Result, SourceContext};
use crate::deadline::sleep_until;
use crate::nats::Connection;
use std::time::Duration;
use tokio::time::Instant;

/// How long a drain waits for the next message.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn run(
    cx: SourceContext,
    mut connection: Connection,
    decoder: Decoder,
    mut bodies: Option<Bodies>,
) -> Result<()> {
    let counts = cx.output.counts();
    let mut is_draining = false;
    tokio::select! {
        () = connection.connect() => cx.ready.set(),
        () = cx.shutdown.cancelled() => {}
    }
    loop {
        let deadline = bodies.as_ref().and_then(Bodies::deadline);
        let chunk = tokio::select! {
            chunk = connection.next_chunk() => chunk,
            // On a connection that has died unnoticed, the end of a drain never comes.
            () = tokio::time::sleep(DRAIN_PATIENCE), if is_draining => None,
            () = sleep_until(deadline), if deadline.is_some() => {
                if let Some(bodies) = &mut bodies {
                    send(&cx, bodies.flush(Instant::now())).await;
                }
                continue;
            }
            () = cx.shutdown.cancelled(), if !is_draining => {
                is_draining = true;
                connection.drain();
                continue;
            }
        };
        counts.set_disconnects(connection.disconnects());
        counts.set_resubscribes(connection.resubscribes());
        let Some(chunk) = chunk else { break };
        let decoded = decoder.decode(chunk);
        counts.add_excluded(decoded.excluded);
        counts.add_undecodable(decoded.undecodable);
        let passed = match &mut bodies {
            Some(bodies) => bodies.pass(decoded.events, Instant::now()),
            None => Passed { events: decoded.events, ..Passed::default() },
        };
        send(&cx, passed).await;
    }
    if let Some(mut bodies) = bodies {
        send(&cx, bodies.flush_all()).await;
    }
    Ok(())
}

async fn send(cx: &SourceContext, passed: Passed) {
    let counts = cx.output.counts();
    counts.add_excluded(passed.excluded);
    counts.add_joined(passed.joined);
    if !passed.events.is_empty() {
        cx.output.send(passed.events).await;
    }
}
