//! The `nats` source that the environment means.

use super::{Bodies, EnvironmentError, NoAccessTokenSnafu, UnexpectedSnafu, escape, is_on, set};
use crate::env::{Env, EnvError};
use snafu::ensure;
use toml::Table;

/// The `nats` source: Fly's own NATS, or the server that the NATS CLI's variables name.
pub(crate) fn nats_source(env: &Env) -> Result<Table, EnvironmentError> {
    let is_set = |name: &str| Ok::<_, EnvError>(env.get(name)?.is_some());
    let mut source = subscription(env)?;
    let tls_first = is_on(env, "NATS_TLS_FIRST")?;
    let stream = env.get("JETSTREAM_STREAM")?;
    let is_own_server = is_own_server(env)?;
    let has_access_token = is_set("ACCESS_TOKEN")?;
    ensure!(is_own_server || has_access_token, NoAccessTokenSnafu);
    let url = if is_own_server {
        "${NATS_URL:-nats://localhost:4222}"
    } else {
        "nats://[${NETWORK:-fdaa}::3]:4223"
    };
    set(&mut source, "url", url);
    if is_set("NATS_CREDS")? {
        set(&mut source, "auth.strategy", "credentials_file");
        set(&mut source, "auth.credentials_file.path", "${NATS_CREDS}");
    } else if is_set("NATS_NKEY")? {
        set(&mut source, "auth.strategy", "nkey");
        set(&mut source, "auth.nkey.seed", "${NATS_NKEY}");
    } else if is_set("NATS_TOKEN")? {
        set(&mut source, "auth.strategy", "token");
        set(&mut source, "auth.token.value", "${NATS_TOKEN}");
    } else if is_set("NATS_USER")? && !is_set("NATS_PASSWORD")? {
        // As the NATS CLI has it: a user alone is a token.
        set(&mut source, "auth.strategy", "token");
        set(&mut source, "auth.token.value", "${NATS_USER}");
    } else if is_set("NATS_USER")? {
        set(&mut source, "auth.strategy", "user_password");
        set(&mut source, "auth.user_password.user", "${NATS_USER}");
        set(&mut source, "auth.user_password.password", "${NATS_PASSWORD}");
    } else if has_access_token && !env.get("NATS_URL")?.is_some_and(|url| url.contains('@')) {
        // A server whose URL says who we are must not get to see the token for another.
        set(&mut source, "auth.strategy", "user_password");
        set(&mut source, "auth.user_password.user", "${ORG:-personal}");
        set(&mut source, "auth.user_password.password", "${ACCESS_TOKEN}");
    }
    for (name, option) in [("NATS_CA", "ca_file"), ("NATS_CERT", "crt_file"), ("NATS_KEY", "key_file")] {
        if is_set(name)? {
            set(&mut source, "tls.enabled", true);
            set(&mut source, &format!("tls.{option}"), format!("${{{name}}}"));
        }
    }
    if tls_first {
        set(&mut source, "tls_first", true);
    }
    let queue = env.get("QUEUE")?;
    if let (Some(_), Some(_)) = (&stream, &queue) {
        let reason =
            "with JETSTREAM_STREAM, all that have the same JETSTREAM_CONSUMER share its messages; unset it";
        return UnexpectedSnafu { name: "QUEUE", reason }.fail();
    }
    match queue.as_deref() {
        // All machines of an app share the events, and no other app's.
        Some("auto") => set(&mut source, "queue", "${FLY_APP_NAME:-log-shipper}"),
        Some(queue) => set(&mut source, "queue", escape(queue)),
        None => {}
    }
    if stream.is_some() && has_access_token && !is_set("NATS_URL")? {
        let reason = "Fly.io's own NATS has no streams; set NATS_URL to your own server";
        return UnexpectedSnafu { name: "JETSTREAM_STREAM", reason }.fail();
    }
    if let Some(stream) = stream {
        let consumer = env.get("JETSTREAM_CONSUMER")?.unwrap_or_else(|| JETSTREAM_CONSUMER.to_owned());
        set(&mut source, "jetstream.stream", escape(&stream));
        set(&mut source, "jetstream.consumer", escape(&consumer));
        set(&mut source, "jetstream.create", true);
    }
    Ok(source)
}

/// Whether the variables mean a NATS server of one's own, and not Fly's.
pub(super) fn is_own_server(env: &Env) -> Result<bool, EnvironmentError> {
    // Fly's own NATS has no TLS and no JetStream, so that one of these alone means another server.
    let mut is_own_server = is_on(env, "NATS_TLS_FIRST")? || env.get("JETSTREAM_STREAM")?.is_some();
    for name in OWN_SERVER {
        is_own_server |= env.get(name)?.is_some();
    }
    Ok(is_own_server)
}

/// A `nats` source without its servers: what to subscribe to, and what a message is.
pub(crate) fn subscription(env: &Env) -> Result<Table, EnvironmentError> {
    let mut source = Table::new();
    set(&mut source, "type", "nats");
    set(&mut source, "connection_name", "log-shipper");
    let subjects = list(env.get("SUBJECT")?);
    match subjects.as_slice() {
        [] => set(&mut source, "subject", "logs.>"),
        [subject] => set(&mut source, "subject", escape(subject)),
        several => {
            set(&mut source, "subjects", several.iter().map(|subject| escape(subject)).collect::<Vec<_>>())
        }
    }
    let exclude = list(env.get("SUBJECT_EXCLUDE")?);
    if !exclude.is_empty() {
        set(&mut source, "exclude", exclude.iter().map(|subject| escape(subject)).collect::<Vec<_>>());
    }
    set(&mut source, "decoding.codec", "json");
    // A Fly event says for itself where it comes from, and stays the text that it came as.
    set(&mut source, "subject_key_field", "");
    Bodies::from_env(env)?.set_source(&mut source);
    Ok(source)
}

/// The variables that mean a NATS server of one's own.
pub(super) const OWN_SERVER: &[&str] = &[
    "NATS_URL",
    "NATS_USER",
    "NATS_PASSWORD",
    "NATS_TOKEN",
    "NATS_CREDS",
    "NATS_NKEY",
    "NATS_CERT",
    "NATS_KEY",
    "NATS_CA",
];

/// The consumer of the stream, where nothing else is said.
const JETSTREAM_CONSUMER: &str = "log-shipper";

/// Words divided by commas or white space.
pub(super) fn list(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
