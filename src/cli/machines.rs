//! A word at the start on Fly.io if every machine of the app would ship every line.

use crate::env::{Env, EnvError};
use std::collections::HashSet;
use std::time::Duration;

/// How long the lookup may take; nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The app whose machines do not share what they read, as far as the environment tells: on Fly.io, without a queue
/// group or a stream.
///
/// # Errors
/// If a variable cannot be read.
pub(super) fn app_without_queue(env: &Env) -> Result<Option<String>, EnvError> {
    // All readers of one consumer of a stream share its messages too.
    Ok(match env.get("QUEUE")?.or(env.get("JETSTREAM_STREAM")?) {
        Some(_) => None,
        None => env.get("FLY_APP_NAME")?,
    })
}

/// Warns if several machines of this app run.
pub(super) async fn warn_of_duplicates(app: String) {
    if let Some(warning) = warning(count(&format!("{app}.internal")).await) {
        tracing::warn!("{warning}");
    }
}

fn warning(machines: usize) -> Option<String> {
    (machines > 1).then(|| {
        format!(
            "{machines} machines of this app run and QUEUE is not set: every one ships every line; set QUEUE=auto"
        )
    })
}

/// How many addresses this name has: Fly.io's own names have one for each machine that runs. None if nobody
/// answers.
async fn count(host: &str) -> usize {
    // The port is of no matter.
    let lookup = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, 0)));
    match lookup.await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect::<HashSet<_>>().len(),
        Ok(Err(_)) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_app_on_fly_without_a_queue_is_looked_up() {
        for (variables, expected) in [
            (&[("FLY_APP_NAME", "a")][..], Some("a")),
            (&[("FLY_APP_NAME", "a"), ("QUEUE", "")], Some("a")),
            (&[("FLY_APP_NAME", "a"), ("QUEUE", "auto")], None),
            (&[("FLY_APP_NAME", "a"), ("QUEUE", "q")], None),
            (&[("FLY_APP_NAME", "a"), ("JETSTREAM_STREAM", "s")], None),
            (&[], None),
        ] {
            let env = Env::from_pairs(variables.iter().copied());
            assert_eq!(app_without_queue(&env).unwrap().as_deref(), expected, "{variables:?}");
        }
    }

    #[tokio::test]
    async fn addresses_are_counted_and_no_answer_is_none() {
        assert_eq!(count("127.0.0.1").await, 1);
        assert_eq!(count("not a name").await, 0);
    }

    #[test]
    fn several_machines_are_a_warning() {
        assert_eq!((warning(0), warning(1)), (None, None));
        assert!(warning(3).unwrap().starts_with("3 machines of this app run and QUEUE is not set"));
    }
}
