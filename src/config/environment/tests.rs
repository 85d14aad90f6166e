use super::*;
use crate::config::{Config, Registry};
use crate::providers::PROVIDERS;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    from_environment(&Env::from_pairs(pairs.iter().copied())).unwrap()
}

const HTTP: [(&str, &str); 2] = [("HTTP_URL", "http://h/"), ("HTTP_TOKEN", "t")];

#[test]
fn every_provider_loads_and_so_does_what_is_generated() {
    let mut pairs = vec![("ACCESS_TOKEN", "token")];
    let required =
        PROVIDERS.iter().flat_map(|provider| provider.variables).filter(|variable| variable.is_required());
    pairs.extend(required.map(|variable| {
        let is_url = ["_URL", "_URI", "LOGS_ENDPOINT"].iter().any(|end| variable.name.ends_with(end));
        let other = if variable.name == "PAPERTRAIL_ENDPOINT" { "h:1" } else { "xxx" };
        (variable.name, if is_url { "http://h" } else { other })
    }));
    let env = Env::from_pairs(pairs);
    let environment = from_environment(&env).unwrap();
    assert_eq!(environment.enabled.len(), PROVIDERS.len());
    let registry = Registry::builtin();
    let config = Config::from_toml(&generate(&environment).unwrap(), "generated", &registry, &env).unwrap();
    // And the metrics, which are a sink for Vector.
    assert_eq!(config.sinks.len(), PROVIDERS.len() + 1);
    Config::from_toml(&example().unwrap(), "example", &registry, &env).unwrap();
}

#[test]
fn signs_in_where_the_environment_says() {
    let strategy = |more: &[(&str, &str)]| {
        let table = environment(&[&HTTP, more].concat()).table;
        let source = &table["sources"]["nats"];
        let strategy = source.get("auth").map_or("none", |auth| auth["strategy"].as_str().unwrap());
        (source["url"].as_str().unwrap().to_owned(), strategy.to_owned())
    };
    let own = "${NATS_URL:-nats://localhost:4222}";
    for (variables, url, expected) in [
        (&[("ACCESS_TOKEN", "t")][..], "nats://[${NETWORK:-fdaa}::3]:4223", "user_password"),
        (&[("NATS_URL", "nats://h")], own, "none"),
        (&[("NATS_USER", "u"), ("NATS_PASSWORD", "p")], own, "user_password"),
        (&[("NATS_TOKEN", "t")], own, "token"),
        (&[("NATS_CREDS", "/c")], own, "credentials_file"),
        (&[("NATS_NKEY", "SU")], own, "nkey"),
        (&[("NATS_URL", "nats://h"), ("ACCESS_TOKEN", "t")], own, "user_password"),
        (&[("NATS_URL", "nats://u:p@h"), ("ACCESS_TOKEN", "t")], own, "none"),
        (&[("NATS_USER", "t")], own, "token"),
    ] {
        assert_eq!(strategy(variables), (url.to_owned(), expected.to_owned()), "{variables:?}");
    }
    assert!(matches!(from_environment(&Env::from_pairs(HTTP)), Err(EnvironmentError::NoAccessToken)));
}

#[test]
fn tls_comes_first_at_a_server_of_ones_own() {
    let tls_first = |value: &str| {
        let variables = [("ACCESS_TOKEN", "t"), ("NATS_TLS_FIRST", value)];
        from_environment(&Env::from_pairs([&HTTP[..], &variables].concat()))
    };
    let own = tls_first("true").unwrap();
    let source = &own.table["sources"]["nats"];
    assert_eq!(source["tls_first"].as_bool(), Some(true));
    assert_eq!(source["url"].as_str(), Some("${NATS_URL:-nats://localhost:4222}"));
    assert!(generate(&own).unwrap().contains("`tls_first` is log-shipper's own"));
    for value in ["false", ""] {
        let source = &tls_first(value).unwrap().table["sources"]["nats"];
        assert!(source.get("tls_first").is_none() && source["url"].as_str().unwrap().contains("fdaa"));
    }
    let error = tls_first("maybe").unwrap_err().to_string();
    assert!(error.contains("NATS_TLS_FIRST is neither true nor false"), "{error}");
}

#[test]
fn refused_events_are_kept_where_the_environment_says() {
    let made = |more: &[(&str, &str)]| {
        let env = Env::from_pairs([&HTTP[..], &[("ACCESS_TOKEN", "t")], more].concat());
        let environment = from_environment(&env).map_err(|error| error.to_string())?;
        let text = environment.table.to_string();
        let config = Config::from_toml(&text, "environment", &Registry::builtin(), &env);
        let made = config.unwrap_or_else(|problems| panic!("{problems}")).dead_letters.is_some();
        let table = environment.table.get("dead_letters");
        assert_eq!(made, table.is_some());
        let generated = generate(&environment).unwrap();
        assert_eq!(generated.contains("# [dead_letters]"), made, "{generated}");
        assert!(!generated.contains("\n[dead_letters]"), "{generated}");
        let get = |key| table.and_then(|table| table.get(key)).and_then(Value::as_str).unwrap_or_default();
        Ok::<_, String>(format!("{} {}{}", get("type"), get("path"), get("subject")))
    };
    let own = ("NATS_URL", "nats://h");
    for (variables, expected) in [
        (&[][..], Ok(" ")),
        (&[("DEAD_LETTERS", "/data/100%.jsonl")][..], Ok("file /data/100\\%.jsonl")),
        (&[("DATA_DIR", "/data")], Ok("file /data/dead-letters.jsonl")),
        (&[("DATA_DIR", "/data"), ("DEAD_LETTERS", "/d")], Ok("file /d")),
        (&[own, ("DEAD_LETTERS_SUBJECT", "dead.{{ sink }}")], Ok("nats dead.{{ sink }}")),
        (&[("DEAD_LETTERS_SUBJECT", "dead")], Err("nobody may publish to Fly.io's own NATS")),
        (&[own, ("DEAD_LETTERS_SUBJECT", "logs.{{ sink }}")], Err("letters would come back as logs")),
        (&[own, ("DEAD_LETTERS_SUBJECT", "logs.d"), ("SUBJECT_EXCLUDE", "logs.x,logs.d")], Ok("nats logs.d")),
        (&[own, ("DEAD_LETTERS_SUBJECT", "d"), ("DEAD_LETTERS", "/d")], Err("take one of them")),
        (&[("DEAD_LETTERS", "nats://h")], Err("it is a URL")),
    ] {
        match (made(variables), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{variables:?}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{variables:?}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn a_stream_is_read_at_a_server_of_ones_own() {
    let source = |more: &[(&str, &str)]| {
        let own = [("ACCESS_TOKEN", "t"), ("NATS_URL", "nats://h"), ("DATA_DIR", "/data")];
        let environment = environment(&[&HTTP[..], &own, more].concat());
        let (text, has_stream) =
            (generate(&environment).unwrap(), !more.is_empty() && more[0].0.ends_with("STREAM"));
        // For Vector, the consumer is there already.
        assert_eq!(text.contains("# `create = true` to [sources.nats.jetstream]"), has_stream);
        assert!(!text.contains("\ncreate = true"), "{text}");
        let when_full = environment.for_vector["sinks"]["http"]["buffer"]["when_full"].as_str();
        assert_eq!(when_full, Some(if has_stream { "block" } else { "drop_newest" }));
        (environment.table["sources"]["nats"].clone(), environment.warnings)
    };
    let (read, warnings) = source(&[("JETSTREAM_STREAM", "LOGS")]);
    let jetstream = &read["jetstream"];
    assert_eq!(jetstream["stream"].as_str(), Some("LOGS"));
    assert_eq!(jetstream["consumer"].as_str(), Some("log-shipper"));
    assert_eq!((jetstream["create"].as_bool(), warnings), (Some(true), vec![]));
    assert_eq!(read["url"].as_str(), Some("${NATS_URL:-nats://localhost:4222}"));
    let (read, _) = source(&[("JETSTREAM_STREAM", "LOGS"), ("JETSTREAM_CONSUMER", "c")]);
    assert_eq!(read["jetstream"]["consumer"].as_str(), Some("c"));
    let (read, warnings) = source(&[("JETSTREAM_CONSUMER", "c")]);
    assert!(read.get("jetstream").is_none() && warnings[0].contains("has no effect"), "{warnings:?}");
    for (more, words) in
        [(("QUEUE", "q"), "QUEUE is wrong"), (("ORG", "o"), "Fly.io's own NATS has no streams; set NATS_URL")]
    {
        let variables = [("ACCESS_TOKEN", "t"), ("JETSTREAM_STREAM", "LOGS"), more];
        let error = from_environment(&Env::from_pairs([&HTTP[..], &variables].concat())).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn subjects_are_divided_and_kept_literally() {
    let variables = [
        ("ACCESS_TOKEN", "t"),
        ("SUBJECT", "logs.a.>, logs.$x.> "),
        ("SUBJECT_EXCLUDE", "logs.b.>"),
        ("QUEUE", "q"),
    ];
    let table = environment(&[&HTTP[..], &variables].concat()).table;
    let source = &table["sources"]["nats"];
    assert_eq!(source["subjects"].as_array().unwrap().len(), 2);
    assert_eq!(source["subjects"][1].as_str(), Some("logs.$$x.>"));
    assert_eq!(source["exclude"][0].as_str(), Some("logs.b.>"));
    assert_eq!(source["queue"].as_str(), Some("q"));
}

#[test]
fn a_queue_that_is_found_out_is_named_after_the_app() {
    for (app, expected) in [(&[("FLY_APP_NAME", "my-shipper")][..], "my-shipper"), (&[], "log-shipper")] {
        let variables = [&HTTP[..], &[("ACCESS_TOKEN", "t"), ("QUEUE", "auto")], app].concat();
        let env = Env::from_pairs(variables);
        let text = from_environment(&env).unwrap().table.to_string();
        let config = Config::from_toml(&text, "environment", &Registry::builtin(), &env).unwrap();
        let source = format!("{:?}", config.sources);
        assert!(source.contains(&format!("queue: \"{expected}\"")), "{source}");
    }
}

#[test]
fn says_what_looks_like_a_mistake() {
    let variables = [
        ("ACCESS_TOKEN", "t"),
        ("LOKI_URL", "http://l"),
        ("LOKI_URLL", "http://m"),
        ("BETTERSTACK_SOURCE_TOKEN", "x"),
        ("AXIOM_TOKEN", ""),
        ("HTTP_PROXY", "http://proxy"),
    ];
    let warnings = environment(&[&HTTP[..], &variables].concat()).warnings.join("\n");
    for words in [
        "Grafana Loki is off: LOKI_USERNAME and LOKI_PASSWORD are not set",
        "LOKI_URLL is not read; did you mean LOKI_URL, which is set?",
        "BETTERSTACK_SOURCE_TOKEN is not known; did you mean BETTER_STACK_SOURCE_TOKEN?",
        "AXIOM_TOKEN is empty",
    ] {
        assert!(warnings.contains(words), "{warnings}");
    }
    assert!(!warnings.contains("HTTP_PROXY"), "{warnings}");
    let error = from_environment(&Env::from_pairs([("ACCESS_TOKEN", "t"), ("AXIOM_TOKN", "x")])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no destination") && text.contains("did you mean AXIOM_TOKEN?"), "{text}");
}

#[test]
fn a_data_directory_means_buffers_on_disk() {
    let with = |more: &[(&str, &str)]| {
        let access = [("ACCESS_TOKEN", "t")];
        from_environment(&Env::from_pairs([&HTTP[..], &access, more].concat()))
    };
    let buffer = |table: &Table| table["sinks"]["http"].get("buffer").map(ToString::to_string);
    let in_memory = with(&[]).unwrap();
    assert_eq!(buffer(&in_memory.table).unwrap(), r#"{ when_full = "drop_oldest" }"#);
    // Vector has no such policy, and would let a destination that takes nothing hold up all others.
    let for_vector = r#"{ type = "memory", max_size = 16777216, when_full = "drop_newest" }"#;
    assert_eq!(buffer(&in_memory.for_vector).unwrap(), for_vector);
    assert!(generate(&in_memory).unwrap().contains("`when_full = \"drop_oldest\"`"));
    for (size, own, for_vector) in [
        (None, "{ type = \"disk\", when_full = \"drop_oldest\" }", 268_435_488),
        (Some("64M"), "{ max_size = 67108864, type = \"disk\", when_full = \"drop_oldest\" }", 268_435_488),
        (
            Some("2 GiB"),
            "{ max_size = 2147483648, type = \"disk\", when_full = \"drop_oldest\" }",
            2_147_483_648_i64,
        ),
    ] {
        let size: Vec<_> = size.map(|size| ("BUFFER_MAX_SIZE", size)).into_iter().collect();
        let environment = with(&[&[("DATA_DIR", "/data")][..], &size].concat()).unwrap();
        assert_eq!(environment.table["data_dir"].as_str(), Some("${DATA_DIR}"));
        let own: Value = format!("x = {own}").parse::<Table>().unwrap()["x"].clone();
        assert_eq!(environment.table["sinks"]["http"]["buffer"], own);
        let buffer = &environment.for_vector["sinks"]["http"]["buffer"];
        assert_eq!(
            (buffer["max_size"].as_integer(), buffer["when_full"].as_str()),
            (Some(for_vector), Some("drop_newest"))
        );
        assert!(generate(&environment).unwrap().contains("`when_full = \"drop_oldest\"`"));
    }
    let warnings = with(&[("BUFFER_MAX_SIZE", "1G")]).unwrap().warnings.join("\n");
    assert!(warnings.contains("BUFFER_MAX_SIZE has no effect"), "{warnings}");
    for size in ["much", "0", "1M", "-1", "1.5G", "G", "99999999T"] {
        let error = with(&[("DATA_DIR", "/data"), ("BUFFER_MAX_SIZE", size)]).unwrap_err().to_string();
        assert!(error.contains("BUFFER_MAX_SIZE is wrong"), "{error}");
    }
}

#[test]
fn the_api_is_on_loopback_or_flys_private_network_unless_another_address_is_written_down() {
    let with = |more: &[(&'static str, &'static str)]| {
        from_environment(&Env::from_pairs([&HTTP[..], &[("ACCESS_TOKEN", "t")], more].concat()))
    };
    let api = |more| with(more).unwrap().table.get("api").map(ToString::to_string).unwrap_or_default();
    let fly = [("FLY_APP_NAME", "a"), ("FLY_MACHINE_ID", "m")];
    let off = [("API_ADDRESS", "off"), ("METRICS_ADDRESS", "off")];
    for (more, enabled, address, metrics) in [
        (&[][..], true, "127.0.0.1:8686", "127.0.0.1:9598"),
        (&fly[..1], true, "127.0.0.1:8686", "127.0.0.1:9598"),
        (&fly, true, "[::]:8686", "[::]:9598"),
        (&[("FLY_APP_NAME", "a"), ("FLY_ALLOC_ID", "m")], true, "[::]:8686", "[::]:9598"),
        (&[("API_ADDRESS", "0.0.0.0:1"), ("METRICS_ADDRESS", "off")], true, "0.0.0.0:1", "-"),
        (&[("API_ADDRESS", "off"), ("METRICS_ADDRESS", "[::1]:2")], false, "-", "[::1]:2"),
    ] {
        let environment = with(more).unwrap();
        let api = &environment.table["api"];
        let text = |name| api.get(name).and_then(Value::as_str).unwrap_or("-");
        assert_eq!(api.get("enabled").is_some(), enabled, "{more:?}");
        assert_eq!((text("address"), text("metrics_address")), (address, metrics), "{more:?}");
        // A stock Vector has a sink for the metrics.
        let vector = &environment.for_vector;
        assert_eq!(vector.get("api").and_then(|api| api.get("address")?.as_str()).unwrap_or("-"), address);
        let sink = vector["sinks"].get("prometheus_exporter");
        assert_eq!(sink.and_then(|sink| sink.get("address")?.as_str()).unwrap_or("-"), metrics, "{more:?}");
        assert_eq!(vector["sources"].get("internal_metrics").is_some(), metrics != "-");
    }
    assert_eq!(api(&off), "");
    let tail = with(&[("API_TAIL", "true")]).unwrap();
    assert_eq!(tail.table["api"]["tail"].as_bool(), Some(true));
    assert!(!generate(&tail).unwrap().contains("tail"), "Vector has none");
    for (name, value) in [("API_ADDRESS", "8686"), ("METRICS_ADDRESS", "localhost:1"), ("API_TAIL", "maybe")]
    {
        let error = with(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let warnings =
        with(&[("METRICS_ADRESS", "x"), ("API_TAIL", "true"), off[0]]).unwrap().warnings.join("\n");
    assert!(warnings.contains("did you mean METRICS_ADDRESS?"), "{warnings}");
    assert!(warnings.contains("API_TAIL has no effect"), "{warnings}");
}

#[test]
fn generated_text_holds_no_secret() {
    let environment =
        environment(&[("ACCESS_TOKEN", "s3cr3t"), ("HTTP_URL", "http://h"), ("HTTP_TOKEN", "s3cr3t")]);
    assert!(!generate(&environment).unwrap().contains("s3cr3t"));
}
