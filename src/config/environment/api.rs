//! Where the API and the metrics are.

use super::super::global::{ApiOptions, is_on_fly};
use super::{Environment, EnvironmentError, UnexpectedSnafu, is_on, set};
use crate::env::Env;
use std::net::SocketAddr;
use toml::Table;

/// Puts the API, and the metrics' own address, into the configurations. A stock Vector has a sink for the metrics, and
/// no tail.
pub(super) fn set_api(env: &Env, environment: &mut Environment) -> Result<(), EnvironmentError> {
    let api = api_table(env)?;
    let own = |name: &str| api.get(name).and_then(|value| value.as_str());
    let for_vector = &mut environment.for_vector;
    if let Some(address) = own("address") {
        set(for_vector, "api.enabled", true);
        set(for_vector, "api.address", address);
    }
    if let Some(address) = own("metrics_address") {
        set(for_vector, "sources.internal_metrics.type", "internal_metrics");
        set(for_vector, "sinks.prometheus_exporter.type", "prometheus_exporter");
        set(for_vector, "sinks.prometheus_exporter.inputs", vec!["internal_metrics"]);
        set(for_vector, "sinks.prometheus_exporter.address", address);
    }
    if api.contains_key("tail") && !api.contains_key("enabled") {
        environment.warnings.push("API_TAIL has no effect, because API_ADDRESS is off".to_owned());
    }
    if !api.is_empty() {
        environment.table.insert("api".to_owned(), api.into());
    }
    Ok(())
}

/// The table `api` that the environment means.
pub(crate) fn api_table(env: &Env) -> Result<Table, EnvironmentError> {
    let is_on_fly = is_on_fly(env);
    let mut api = Table::new();
    if let Some(address) = address(env, "API_ADDRESS", ApiOptions::default_address(is_on_fly))? {
        set(&mut api, "enabled", true);
        set(&mut api, "address", address.to_string());
    }
    if let Some(address) = address(env, "METRICS_ADDRESS", ApiOptions::default_metrics_address(is_on_fly))? {
        set(&mut api, "metrics_address", address.to_string());
    }
    if is_on(env, "API_TAIL")? {
        set(&mut api, "tail", true);
    }
    Ok(api)
}

/// Where the API listens by API_ADDRESS, and on loopback without it; nothing if it is off.
///
/// # Errors
/// If the variable holds no address.
#[cfg(feature = "cli")]
pub(crate) fn api_address(env: &Env) -> Result<Option<SocketAddr>, EnvironmentError> {
    address(env, "API_ADDRESS", ApiOptions::default_address(false))
}

/// The address in this variable; nothing if it is off.
fn address(env: &Env, name: &str, default: SocketAddr) -> Result<Option<SocketAddr>, EnvironmentError> {
    let Some(text) = env.get(name)? else { return Ok(Some(default)) };
    if text == "off" {
        return Ok(None);
    }
    match text.parse() {
        Ok(address) => Ok(Some(address)),
        Err(_) => {
            let reason = format!(
                "`{text}` is no address; expected an IP address and a port, such as {default} or [::]:{}, or `off`",
                default.port()
            );
            UnexpectedSnafu { name, reason }.fail()
        }
    }
}
