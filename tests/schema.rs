//! The JSON Schema of configurations: what loads is valid by it, and what does not, is not.

use jsonschema::Validator;
use log_shipper::config::{ComponentKind, Config, Registry, from_environment};
use log_shipper::env::Env;
use log_shipper::providers::PROVIDERS;
use serde_json::Value;

fn validator() -> Validator {
    let schema = serde_json::to_value(Registry::builtin().schema()).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("no schema: {error}"));
    jsonschema::draft202012::new(&schema).unwrap()
}

/// The mistakes that the schema finds in a configuration.
fn mistakes(validator: &Validator, config: &impl serde::Serialize) -> Vec<String> {
    let config = serde_json::to_value(config).unwrap();
    validator.iter_errors(&config).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn table(text: &str) -> toml::Table {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

const SOURCE: &str = "[sources.in]\ntype = 'stdin'\n";

fn sink(options: &str) -> String {
    format!("{SOURCE}[sinks.out]\ninputs = ['in']\n{options}")
}

#[test]
fn every_components_example_is_valid() {
    let validator = validator();
    let registry = Registry::builtin();
    for kind in ComponentKind::ALL {
        for info in registry.components(kind) {
            let inputs = if kind == ComponentKind::Source { "" } else { "inputs = ['in']\n" };
            let text =
                format!("{SOURCE}[{}.one]\ntype = '{}'\n{inputs}{}", kind.plural(), info.name, info.example);
            assert_eq!(mistakes(&validator, &table(&text)), [""; 0], "{}", info.name);
            let schema = serde_json::to_value(registry.component_schema(kind, info.name).unwrap()).unwrap();
            let own = jsonschema::draft202012::new(&schema).unwrap();
            let one = &serde_json::to_value(table(&text)).unwrap()[kind.plural()]["one"];
            own.validate(one).unwrap_or_else(|error| panic!("{} by itself: {error}", info.name));
        }
    }
}

/// Configurations that people have, and those that they may begin with.
#[test]
fn whole_configurations_are_valid() {
    let validator = validator();
    let mut count = 0;
    for directory in ["tests/configs/vector_0_58", "tests/configs/vector_0_58/sinks", "examples/configs"] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let read = || std::fs::read_to_string(&path).unwrap();
            let config = match path.extension().and_then(|extension| extension.to_str()) {
                Some("toml") => serde_json::to_value(table(&read())).unwrap(),
                Some("json") => serde_json::from_str(&read()).unwrap(),
                _ => continue,
            };
            assert_eq!(mistakes(&validator, &config), [""; 0], "{}", path.display());
            count += 1;
        }
    }
    assert_eq!(count, 1 + PROVIDERS.len() + 8);
}

#[test]
fn what_the_environment_makes_is_valid() {
    let validator = validator();
    let example = std::fs::read_to_string("vector.toml.example").unwrap();
    assert_eq!(mistakes(&validator, &table(&example)), [""; 0]);
    for provider in PROVIDERS {
        let everything: Vec<_> = provider.variables.iter().map(|variable| (variable.name, "x")).collect();
        let needed = provider.variables.iter().filter(|variable| variable.default().is_none());
        let needed: Vec<_> = needed.map(|variable| (variable.name, "x")).collect();
        for variables in [everything, needed] {
            let env = Env::from_pairs(variables.into_iter().chain([("ACCESS_TOKEN", "t")]));
            let environment =
                from_environment(&env).unwrap_or_else(|error| panic!("{}: {error}", provider.name));
            assert_eq!(mistakes(&validator, &environment.table), [""; 0], "{}", provider.name);
        }
    }
}

/// The schema and the loader are of one mind.
#[track_caller]
fn check(validator: &Validator, text: &str, is_right: bool) {
    let found = mistakes(validator, &table(text));
    assert_eq!(found.is_empty(), is_right, "by the schema: {text}\n{found:#?}");
    let loaded = Config::from_toml(text, "test", &Registry::builtin(), &Env::from_pairs([("NUMBER", "7")]));
    assert_eq!(loaded.is_ok(), is_right, "by the loader: {text}\n{loaded:#?}");
}

#[test]
fn what_loads_is_valid() {
    let validator = validator();
    let http = "type = 'http'\nuri = 'http://h/'\nencoding.codec = 'json'\n";
    for options in [
        "type = 'blackhole'",
        "type = 'blackhole'\nbuffer = {type = 'disk', max_size = 10000000, when_full = 'drop_oldest'}",
        "type = 'blackhole'\nbuffer = [{type = 'memory', when_full = 'overflow'}, {type = 'disk'}]",
        "type = 'blackhole'\nbuffer.max_events = 500\nbuffer.when_full = 'block'\nhealthcheck = false",
        "type = 'blackhole'\nhealthcheck = {enabled = true, timeout = 2.5}\nacknowledgements.enabled = true\nproxy.no_proxy = ['*']",
        "type = 'console'\nencoding = {codec = 'text', only_fields = ['a.b']}",
        "type = 'console'\nencoding.codec = 'json'\nframing = {method = 'character_delimited', character_delimited.delimiter = ','}",
        "type = 'sematext_logs'\ntoken = 't'\nregion = 'US'",
        "type = 'sematext_logs'\ntoken = 't'\nhost = 'https://h'",
        "type = 'logdna'\napi_key = 'k'\nhostname = 'h'\nhost = 'https://h'",
        "type = 'datadog_logs'\napi_key = 'k'",
        "type = 'splunk_hec_logs'\ntoken = 't'\nendpoint = 'https://h'\nencoding.codec = 'json'\nacknowledgements = {enabled = true, query_interval = 2}",
        "type = 'elasticsearch'\nendpoint = 'https://h'\nmode = 'normal'\nauth = {strategy = 'aws', access_key_id = 'a', secret_access_key = 's'}\naws.region = 'eu-west-1'",
        "type = 'elasticsearch'\nendpoints = ['https://h']\nnormal.index = 'i'\nquery.a = ['b', 'c']",
        "type = 'aws_s3'\nbucket = 'bucket'\nregion = 'r'\nassume_role = 'arn:aws:iam::1:role/x'\nencoding.codec = 'json'",
        "type = 'nats'\nname = 'n'\nurl = 'nats://h'\nsubject = 's'\nencoding.codec = 'json'\njetstream = {enabled = true, headers.message_id = '{{ id }}'}\nrequest = {hold_secs = 60, give_up_after_secs = 60}",
    ] {
        check(&validator, &sink(options), true);
    }
    for options in [
        "headers.x = 'y'",
        "request = {concurrency = 'none', timeout_secs = 0.5, retry_attempts = 3, headers.x = '{{ y }}'}",
        "request = {concurrency = 5, retry_jitter_mode = 'None', adaptive_concurrency.decrease_ratio = 0.5}",
        "batch = {max_bytes = 1000, timeout_secs = 1, when_event_too_large = 'reject'}",
        "compression = 'gzip'",
        "compression = {algorithm = 'zstd', level = 'best'}",
        "retry_strategy = {type = 'custom', status_codes = [500]}",
        "failure_policy = {404 = 'reject', 5xx = 'hold', 400 = 'retry'}",
        "request = {hold_secs = 60, give_up_after_secs = 3600.5, circuit_breaker.failures = 3}",
        "auth = {strategy = 'basic', user = 'u', password = 'p'}\ntls = {verify_hostname = false, ca_path = '/dev/null'}",
        "compression = '${ALGORITHM:-gzip}'",
        "batch.max_events = '${NUMBER}'",
        "request.retry_attempts = '${NUMBER}'",
        "tls.verify_hostname = '${SWITCH:-false}'",
    ] {
        check(&validator, &sink(&format!("{http}{options}")), true);
    }
    for text in [
        "api.enabled = false\nschema.log_namespace = false\nwildcard_matching = 'relaxed'\nexpire_metrics_secs = 60",
        "[secret.a]\ntype = 'file'\npath = 'x.json'\n[secret.b]\ntype = 'exec'\ncommand = ['true']\ntimeout = 1",
        "[secret.d]\ntype = 'directory'\npath = '/run/secrets'\nremove_trailing_whitespace = true",
        "[[tests]]\nname = 'one'\n[[tests.outputs]]\nextract_from = 't'",
        "[dead_letters]\ntype = 'file'\npath = '/data/dead.jsonl'",
        "[dead_letters]\ntype = 'file'\npath = '/d'\nencoding.codec = 'json'\nrotate = {max_bytes = '${NUMBER}'}",
        "[dead_letters]\ntype = 'nats'\nurl = 'nats://h'\nsubject = 'dead.{{ sink }}'\nbuffer.max_events = 5",
        "[dead_letters]\ntype = 'http'\nuri = 'http://h/'\nencoding.codec = 'json'",
    ] {
        check(&validator, &format!("{text}\n{}", sink("type = 'blackhole'")), true);
    }
}

#[test]
fn what_does_not_load_is_not_valid() {
    let validator = validator();
    let http = "type = 'http'\nuri = 'http://h/'\nencoding.codec = 'json'\n";
    for options in [
        "",
        "type = 'blackhol'",
        "type = 7",
        "type = 'blackhole'\nrat = 1",
        "type = 'blackhole'\nrate = 'fast'",
        "type = 'blackhole'\nrate = 0",
        "type = 'blackhole'\nbatch.max_bytes = 1",
        "type = 'blackhole'\nbuffer.max_event = 5",
        "type = 'blackhole'\nbuffer = [{type = 'tape'}]",
        "type = 'blackhole'\nbuffer.max_events = 0",
        "type = 'blackhole'\nbuffer.when_full = 'blok'",
        "type = 'blackhole'\nhealthcheck = 'yes'",
        "type = 'blackhole'\nacknowledgements.indexer_acknowledgements_enabled = true",
        "type = 'console'",
        "type = 'console'\nencoding.codec = 'jsn'",
        "type = 'console'\nencoding = 'json'",
        "type = 'mezmo'\nhostname = 'h'",
        "type = 'splunk_hec_logs'\nendpoint = 'https://h'\nencoding.codec = 'json'",
        "type = 'sematext_logs'\ntoken = 't'\nregion = 'mars'",
    ] {
        check(&validator, &sink(options), false);
    }
    for options in [
        "uri2 = 'x'",
        "request.timeout_secs = 0",
        "request.timeout_secs = 'soon'",
        "request.concurrency = 0",
        "request.concurrency = 'many'",
        "request.retry_attempts = -1",
        "batch = {max_byte = 1}",
        "compression = 'gzipp'",
        "compression = {level = 3}",
        "auth.strategy = 'basic'",
        "auth = {strategy = 'bearer', token = 't', user = 'u'}",
        "retry_strategy.type = 'sometimes'",
        "failure_policy.404 = 'drop'",
        "failure_policy.200 = 'retry'",
        "failure_policy.413 = 'hold'",
        "request.circuit_breaker.failures = 0",
        "request.hold_secs = 0",
        "tls.ca_files = 'x'",
    ] {
        check(&validator, &sink(&format!("{http}{options}")), false);
    }
    for text in [
        "[sinks.out]\ntype = 'blackhole'",
        "[transforms.t]\ntype = 'remap'\nsource = ''",
        "[sources.in]\ntype = 'nats'\nurl = 'nats://h'\nsubject = 's'",
        "[sources.in]\ntype = 'stdin'\ninputs = ['x']",
        "sources = []",
        "sink = 1",
        "healthchecks.enabled = 5",
        "wildcard_matching = 'loose'",
        "[sinks.x]\ntype = 'blackhole'\ninputs = ['in']\n[sources.in]\ntype = 'stdin'\n[dead_letters]\npath = '/d'",
        "[sinks.x]\ntype = 'blackhole'\ninputs = ['in']\n[sources.in]\ntype = 'stdin'\n[dead_letters]\ntype = 'file'",
        "[sinks.x]\ntype = 'blackhole'\ninputs = ['in']\n[sources.in]\ntype = 'stdin'\n[dead_letters]\ntype = 'file'\npath = '/d'\ninputs = ['in']",
        "[sinks.x]\ntype = 'blackhole'\ninputs = ['in']\n[sources.in]\ntype = 'stdin'\n[dead_letters]\ntype = 'http'\nuri = 'http://h/'",
        "secret.a = {type = 'file'}",
        "secret.a = {type = 'vault', path = 'x'}",
        "tests = 5",
    ] {
        check(&validator, text, false);
    }
}

/// What is in the table is said by its types; this is what the rest is for.
#[test]
fn an_editor_is_told_what_an_option_is() {
    let schema = serde_json::to_value(Registry::builtin().schema()).unwrap();
    let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_default();
    let http = "/$defs/sinks.http/properties";
    assert_eq!(at(&format!("{http}/method/default")), "post");
    assert_eq!(at("/$defs/RequestConfig/properties/timeout_secs/default"), 60);
    assert_eq!(at("/$defs/sinks.aws_s3/properties/key_prefix/default"), "date=%F");
    assert_eq!(at("/$defs/sinks.mezmo/properties/host/deprecated"), true);
    assert_eq!(at("/$defs/sinks.honeycomb/properties/api_key/format"), "password");
    assert_eq!(at("/$defs/TlsConfig/properties/ca_path/deprecated"), true);
    assert_eq!(without_description(&schema, "#"), [""; 0]);
}

/// Properties about which nothing is said.
fn without_description(schema: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Value::Object(members) = schema {
        for (name, member) in members {
            let path = format!("{path}/{name}");
            if name == "properties" && !path.contains("/if/") {
                let is_silent = |property: &Value| property.get("description").is_none();
                let silent =
                    member.as_object().into_iter().flatten().filter(|(_, property)| is_silent(property));
                // A tag is described where its table is.
                let silent = silent.filter(|(_, property)| {
                    property.get("const").is_none() && property.get("enum").is_none()
                });
                found.extend(silent.map(|(name, _)| format!("{path}/{name}")));
            }
            found.extend(without_description(member, &path));
        }
    } else if let Value::Array(items) = schema {
        found.extend(
            items
                .iter()
                .enumerate()
                .flat_map(|(at, item)| without_description(item, &format!("{path}/{at}"))),
        );
    }
    found
}

/// The steps for log bodies are options of the source and of a transform: all of them of both.
#[test]
fn log_bodies_are_the_same_in_the_source_and_in_the_transform() {
    let properties = |kind, name| {
        let schema = Registry::builtin().component_schema(kind, name).unwrap().to_value();
        schema["properties"].as_object().unwrap().clone()
    };
    let source = properties(ComponentKind::Source, "nats");
    let transform = properties(ComponentKind::Transform, "log_bodies");
    let own: Vec<_> =
        transform.iter().filter(|(name, _)| !["type", "inputs"].contains(&name.as_str())).collect();
    assert_eq!(own.len(), 7, "{own:?}");
    for (name, option) in own {
        assert_eq!(source.get(name).map(|option| &option["type"]), Some(&option["type"]), "{name}");
    }
}
