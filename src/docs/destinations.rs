//! A page for each destination of the environment, and the one that lists them.

use super::components::own_options;
use super::options::table;
use super::{Page, head, row};
use crate::config::{ComponentKind, EnvironmentError, Registry, from_environment};
use crate::env::Env;
use crate::providers::{Need, PROVIDERS, Provider, Variable};
use toml::Table;

pub(super) fn pages(registry: &Registry) -> Result<Vec<Page>, EnvironmentError> {
    let mut pages = vec![overview()];
    for provider in PROVIDERS {
        pages.push(page(provider, registry)?);
    }
    Ok(pages)
}

fn link(provider: &Provider) -> String {
    format!("[{}](destinations/{}.md)", provider.title, provider.name)
}

fn overview() -> Page {
    let mut text = String::from(
        "# Destinations\n\nA destination is on when its secrets are set; several at once each get every event, and none holds up another. \
         `log-shipper providers` shows what is set and what is missing, `log-shipper check` asks each whether it is well and \
         knows us.\n\n",
    );
    text.push_str(&head(["destination", "needed", "optional"]));
    for provider in PROVIDERS {
        let names = |is_required: bool| {
            let wanted = provider.variables.iter().filter(|variable| variable.is_required() == is_required);
            let is_choice = wanted.clone().any(|variable| matches!(variable.need, Need::OneOf(_)));
            let names: Vec<_> = wanted.map(|variable| format!("`{}`", variable.name)).collect();
            names.join(if is_choice { " or " } else { ", " })
        };
        text.push_str(&row([&link(provider), &names(true), &names(false)]));
    }
    text.push_str(
        "\n## Where an event's time, level and origin go\n\nThe paths are those of what the destination receives for an \
         event. A test sends an event to each and looks there. The time is the event's own, never that of sending; the level is \
         `log.level`, `level` or `severity` of the event, in the vendor's words.\n\n",
    );
    text.push_str(&head(["destination", "time", "level", "host", "app", "region", "machine"]));
    for provider in PROVIDERS {
        let places = &provider.places;
        let time = format!("{}, {}", code(places.time), places.time_form.as_str());
        let [level, host, app, region, machine] =
            [places.level, places.host, places.app, places.region, places.instance].map(code);
        text.push_str(&row([&link(provider), &time, &level, &host, &app, &region, &machine]));
    }
    text.push_str(
        "\nOther destinations, and more of one kind, take a [configuration](configuration.md): \
         [Sinks](reference/sinks.md) has all types. What becomes of a destination's answers is in \
         [What becomes of an answer](answers.md).\n",
    );
    Page::new("destinations.md", text)
}

fn code(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!("`{place}`") }
}

fn page(provider: &Provider, registry: &Registry) -> Result<Page, EnvironmentError> {
    let Provider { title, sink, .. } = provider;
    // Keys that others read too may come from elsewhere, but on Fly.io they rarely do.
    let keys = provider.variables.iter().filter(|one| one.is_shared && one.need == Need::Optional(None));
    let set = needed(provider).into_iter().chain(keys.map(|variable| variable.name));
    let set: Vec<_> = set.map(|name| format!("{name}=...")).collect();
    let mut text = format!(
        "# {title}\n\nSink: [`{sink}`](../reference/sinks.md#{sink}).\n\n## Secrets\n\n{}\n\
         On Fly.io:\n\n```sh\nfly secrets set {}\n```\n\nElsewhere they are variables of the environment; \
         `log-shipper check` says whether all is well.\n",
        secrets(provider),
        set.join(" ")
    );
    text.push_str(&format!("\n## What it gets\n\n{}", places(provider)));
    let notes = provider.notes.trim();
    text.push_str(&format!("\n{notes}\n"));
    let info = registry.components(ComponentKind::Sink).into_iter().find(|info| info.name == *sink);
    let limits = info.map_or("", |info| info.notes);
    text.push_str(&format!("\n## Limits and answers\n\n{}\n", limits.trim()));
    if let Some(bytes) = batch_bytes(provider) {
        text.push_str(&format!(
            "- Switched on by its secrets, it gets requests of at most {} bytes.\n",
            grouped(bytes)
        ));
    }
    text.push_str(&format!(
        "\n[What becomes of an answer](../answers.md) has what holds for all.\n\n## As a configuration\n\n\
         What `log-shipper generate` prints for it, behind a source called `nats`:\n\n```toml\n{}```\n",
        generated(provider)?
    ));
    let (options, is_http) = own_options(registry, ComponentKind::Sink, sink);
    text.push_str(&format!("\n## Options of `{sink}`\n\n{}", table(&options)));
    if is_http {
        text.push_str(
            "\nAnd [the options of sinks over HTTP](../reference/sink-options.md#sinks-over-http).\n",
        );
    }
    Ok(Page::new(format!("destinations/{}.md", provider.name), text))
}

/// The variables without which it is off; of alternatives, the first.
fn needed(provider: &Provider) -> Vec<&'static str> {
    let mut has_alternative = false;
    let wanted = provider.variables.iter().filter(|variable| match variable.need {
        Need::Required => true,
        Need::OneOf(_) => !std::mem::replace(&mut has_alternative, true),
        Need::Optional(_) => false,
    });
    wanted.map(|variable| variable.name).collect()
}

fn secrets(provider: &Provider) -> String {
    let mut text = head(["variable", "", "what it is"]);
    for variable in provider.variables {
        let need = match variable.need {
            Need::Required => "needed".to_owned(),
            Need::OneOf(default) => format!("one of them{}", default_of(default)),
            Need::Optional(default) => format!("optional{}", default_of(default)),
        };
        let Variable { name, or, about, .. } = variable;
        let or = or.map(|or| format!("; also read as `{or}`")).unwrap_or_default();
        text.push_str(&row([&format!("`{name}`"), &need, &format!("{about}{or}")]));
    }
    text
}

fn default_of(default: Option<&str>) -> String {
    default.map(|default| format!("; `{default}` if not set")).unwrap_or_default()
}

fn places(provider: &Provider) -> String {
    let places = &provider.places;
    let mut text = head(["of the event", "where it is found"]);
    text.push_str(&row(["time", &format!("`{}`, {}", places.time, places.time_form.as_str())]));
    for (name, place) in [
        ("level", places.level),
        ("host", places.host),
        ("app", places.app),
        ("region", places.region),
        ("machine", places.instance),
    ] {
        text.push_str(&row([
            name,
            if place.is_empty() { "nowhere".to_owned() } else { code(place) }.as_str(),
        ]));
    }
    text
}

fn batch_bytes(provider: &Provider) -> Option<i64> {
    provider.set.iter().find_map(|(path, setting)| match setting {
        crate::providers::Setting::Integer(bytes) if *path == "batch.max_bytes" => Some(*bytes),
        _ => None,
    })
}

/// A number with commas between thousands.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The tables of the sink, and of the transform in front of it, as the environment makes them.
fn generated(provider: &Provider) -> Result<String, EnvironmentError> {
    let secrets = needed(provider).into_iter().map(|name| (name, "https://vendor.example"));
    // Log bodies are another page's.
    let more = [("ACCESS_TOKEN", "-"), ("LOG_PARSE", "off"), ("LOG_DETECT_LEVEL", "false")];
    let environment = from_environment(&Env::from_pairs(secrets.chain(more)))?;
    let mut table = Table::new();
    for kind in ["transforms", "sinks"] {
        if let Some(components) = environment.table.get(kind) {
            table.insert(kind.to_owned(), components.clone());
        }
    }
    toml::to_string_pretty(&table).map_err(|source| EnvironmentError::Serialize { source })
}
