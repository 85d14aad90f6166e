use super::*;

fn load(text: &str) -> Result<Config, Vec<String>> {
    let env = Env::from_pairs([("TOKEN", "s3cr3t \"$x\" #"), ("NUMBER", "s3cr3t-number")]);
    Config::from_toml(text, "test.toml", &Registry::builtin(), &env)
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let problems = load(text).unwrap_err();
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, words) in problems.iter().zip(expected) {
        assert!(problem.contains(words), "{problem}\nshould contain\n{words}");
        assert!(!problem.contains("s3cr3t"), "{problem}");
    }
}

const SOURCE: &str = "[sources.in]\ntype = 'demo_logs'\nformat = 'fly'\n";

#[test]
fn loads_components_and_their_inputs() {
    let text = format!(
        "{SOURCE}[sources.other]\ntype = 'stdin'\n\
         [transforms.t]\ntype = 'remap'\ninputs = ['in']\nsource = '.a = .b'\n\
         [sinks.all]\ntype = 'blackhole'\ninputs = ['*']\n\
         [sinks.some]\ntype = 'http'\ninputs = ['t', 'o*r']\nuri = 'http://h'\nencoding.codec = 'json'\n\
         auth = {{strategy = 'bearer', token = '${{TOKEN}}'}}\n\
         buffer = {{type = 'memory', max_events = 5, when_full = 'drop_newest'}}\nhealthcheck = false\n\
         acknowledgements = true\nbatch.timeout_secs = 0.1\n"
    );
    let config = load(&text).unwrap();
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.sinks[0].options.inputs, ["in", "other", "t"]);
    assert_eq!(config.sinks[1].options.inputs, ["other", "t"]);
    assert_eq!(config.sinks[1].options.acknowledgements.enabled, Some(true));
    assert!(!format!("{config:?}").contains("s3cr3t"));
}

#[test]
fn reports_every_mistake_with_its_line() {
    let text = format!(
        "{SOURCE}\n[sinks.a]\ntype = 'http'\ninputs = ['nowhere']\nuri = 'http://h'\nencodin.codec = 'json'\ncompresion = 'gzip'\n\
         encoding.codec = 'json'\n\
         [sinks.b]\ntype = 'blackhol'\ninputs = ['in']\n\
         [sinks.c]\ntype = 'console'\ninputs = []\nbuffer.when_full = 'explode'\nencoding.codec = 'json'\ntarget = 3\n\
         [sinks.d]\ninputs = ['in']\n\
         [sinks.in]\ntype = 'blackhole'\ninputs = ['in']\n"
    );
    check(
        &text,
        &[
            "test.toml:7:11: sinks.a.inputs[0]: no component is called `nowhere`, expected one of `in`",
            "test.toml:9:1: sinks.a.encodin: unknown field `encodin`; did you mean `encoding`?",
            "test.toml:10:1: sinks.a.compresion: unknown field `compresion`; did you mean `compression`?",
            "test.toml:13:8: sinks.b.type: unknown type `blackhol`; did you mean `blackhole`?",
            "test.toml:17:10: sinks.c.inputs: empty",
            "test.toml:18:1: sinks.c.buffer: buffer.when_full: `explode` is unknown",
            "test.toml:20:10: sinks.c.target: invalid type, expected a string",
            "test.toml:21:8: sinks.d.type: missing",
            "test.toml:23:8: sinks.in: the id `in` is already that of one of the sources (test.toml:1:10)",
        ],
    );
}

#[test]
fn reports_wrong_inputs_and_circles() {
    let remap = |id: &str, input: &str| {
        format!("[transforms.{id}]\ntype = 'remap'\ninputs = ['{input}']\nsource = ''\n")
    };
    let text = format!(
        "{SOURCE}{}{}[sinks.s]\ntype='blackhole'\ninputs=['inn', 's']\n[sinks.e]\ntype='blackhole'\ninputs=[]\n",
        remap("x", "y"),
        remap("y", "x")
    );
    check(
        &text,
        &[
            "test.toml:6:10: transforms.x.inputs: `x` feeds itself",
            "test.toml:10:10: transforms.y.inputs: `y` feeds itself",
            "test.toml:14:9: sinks.s.inputs[0]: no component is called `inn`; did you mean `in`?",
            "test.toml:14:16: sinks.s.inputs[1]: no component is called `s`",
            "test.toml:17:8: sinks.e.inputs: empty",
        ],
    );
}

#[test]
fn reports_syntax_and_interpolation() {
    check("[sources.in\ntype = 'stdin'\n", &["test.toml:1:"]);
    check(
        &format!(
            "{SOURCE}[sinks.a]\ntype='http'\ninputs=['in']\nuri='${{URL}}'\nauth.token='${{KEY:?set the key}}'\n"
        ),
        &[
            "test.toml:7:5: sinks.a.uri: environment variable URL is not set",
            "test.toml:8:12: sinks.a.auth.token: environment variable KEY is not set: set the key",
        ],
    );
    check(
        &format!("{SOURCE}[sinks.a]\ntype='blackhole'\ninputs=['in']\nprint_interval_secs='${{NUMBER}}'\n"),
        &["sinks.a.print_interval_secs: invalid type: string (a value from the environment)"],
    );
    check(
        &format!("{SOURCE}[sink.a]\ntype='blackhole'\n"),
        &[
            "test.toml:4:2: sink: unknown field `sink`; did you mean `sinks`?",
            "sinks: none: its events would go nowhere",
        ],
    );
}

#[test]
fn old_names_are_read_with_a_warning_that_has_the_new_one() {
    let text = format!(
        "{SOURCE}[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = 'http://h'\nencoding.codec = 'json'\n\
         headers.X-Key = 'k'\ntls.ca_path = 'ca.pem'\n"
    );
    let warnings: Vec<_> = load(&text).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "test.toml:9:1: sinks.out.headers: the old name of `request.headers`; use that",
            "test.toml:10:15: sinks.out.tls.ca_path: the old name of `tls.ca_file`; use that",
        ]
    );
    check(
        &format!(
            "{SOURCE}[sinks.out]\ntype = 'datadog_logs'\ninputs = ['in']\napi_key = 'a'\ndefault_api_key = 'b'"
        ),
        &["test.toml:7:11: sinks.out.api_key: the old name of `default_api_key`, which is there as well"],
    );
}

/// An older configuration knows no switch for templates that an event begins: it loads, and is told of it.
#[test]
fn templates_that_an_event_begins_are_told_of() {
    const SWITCH: &str = "dangerously_allow_unconfined_template_resolution = true\n";
    let told = |options: &str| {
        let text = format!("{SOURCE}[sinks.out]\ninputs = ['in']\n{options}");
        let config = load(&text).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"));
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let json = "encoding.codec = 'json'";
    for (option, options) in [
        ("key_prefix", format!("type = 'aws_s3'\nbucket = 'logs'\nkey_prefix = '{{{{fly.app.name}}}}/%F/'\n{json}")),
        ("stream_name", format!("type = 'aws_cloudwatch_logs'\ngroup_name = 'g'\nstream_name = '{{{{ host }}}}'\n{json}")),
        ("bulk.index", "type = 'elasticsearch'\nendpoints = ['http://h']\nbulk.index = '{{ index }}'".to_owned()),
        ("data_stream.dataset", "type = 'elasticsearch'\nendpoints = ['http://h']\nmode = 'data_stream'\ndata_stream.dataset = '{{ d }}'".to_owned()),
        ("index", format!("type = 'splunk_hec_logs'\ndefault_token = 't'\nendpoint = 'http://h'\nindex = '{{{{ i }}}}'\n{json}")),
        ("source", format!("type = 'humio_logs'\ntoken = 't'\nsource = '{{{{ s }}}}'\n{json}")),
        ("tenant_id", format!("type = 'loki'\nendpoint = 'http://h'\ntenant_id = '{{{{ t }}}}'\nlabels.a = '{{{{ a }}}}'\n{json}")),
        ("labels.{{ a }}", format!("type = 'loki'\nendpoint = 'http://h'\nlabels.'{{{{ a }}}}' = 'b'\n{json}")),
        ("uri", format!("type = 'http'\nuri = 'http://h/?x={{{{ x }}}}'\n{json}")),
        ("request.headers.X-App", format!("type = 'http'\nuri = 'http://h/'\nrequest.headers.X-App = '{{{{ x }}}}'\n{json}")),
        ("path", format!("type = 'file'\npath = '{{{{ app }}}}.log'\n{json}")),
        ("subject", format!("type = 'nats'\nurl = 'nats://h'\nsubject = '{{{{ app }}}}'\n{json}")),
    ] {
        let warnings = told(&options);
        assert_eq!(warnings.len(), 1, "{options}: {warnings:?}");
        let place = format!("sinks.out.{option}: ");
        assert!(warnings[0].contains(&place) && warnings[0].contains(SWITCH.trim_end()), "{warnings:?}");
        assert_eq!(told(&format!("{SWITCH}{options}")), [""; 0], "{options}");
        // What is fixed needs no switch.
        let fixed = options.replace("{{", "a").replace("}}", "z").replace(' ', "").replace("%F", "d");
        assert_eq!(told(&fixed), [""; 0], "{fixed}");
    }
    let text =
        format!("{SOURCE}[sinks.out]\ninputs = ['in']\ntype = 'http'\nuri = 'http://{{{{ h }}}}/'\n{json}");
    check(
        &text,
        &[
            "an event could choose the host; put a `/` between the host and the first field, or set dangerously",
        ],
    );
    assert_eq!(
        told("type = 'file'\npath = '{{ app }}.log'\nbase_dir = '/logs'\nencoding.codec = 'json'"),
        [""; 0]
    );
}
fn load_files(files: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let env = Env::from_pairs([("PORT", "8080"), ("TOKEN", "12345"), ("YES", "true")]);
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| match name.split_once(" = ") {
            None => ConfigFile::new(name, text),
            Some((name, component)) => {
                let (kind, id) = component.split_once('.').unwrap();
                let kind = *KINDS.iter().chain(&["tests"]).find(|known| **known == kind).unwrap();
                ConfigFile { component: Some((kind, id.to_owned())), ..ConfigFile::new(name, text) }
            }
        })
        .collect();
    Config::from_files(&files, &Registry::builtin(), &env)
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

const YAML: &str =
    "sources: {in: {type: demo_logs, format: fly}}\nsinks:\n  out: {type: blackhole, inputs: [in]}\n";

#[test]
fn files_of_all_formats_are_one_configuration() {
    let toml = "data_dir = '/d'\napi.enabled = true\n[sources.in]\ntype = 'demo_logs'\nformat = 'fly'\n";
    let yaml = "data_dir: /d\napi:\n  address: 127.0.0.1:8686\ntests:\n- name: one\n";
    let json =
        r#"{"sinks": {"out": {"type": "blackhole", "inputs": ["in", "o*"]}}, "tests": [{"name": "two"}]}"#;
    let config = load_files(&[
        ("a.toml", toml),
        ("b.yaml", yaml),
        ("c.json", json),
        ("sources/other.yml = sources.other", "type: stdin\n"),
        ("tests/three.toml = tests.three", "name = 'three'"),
    ])
    .unwrap();
    assert_eq!(config.global.data_dir.as_deref(), Some(std::path::Path::new("/d")));
    assert!(config.global.api.enabled && config.global.api.address.is_some());
    assert_eq!(config.sinks[0].options.inputs, ["in", "other"]);
    let names: Vec<_> = config.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[track_caller]
fn check_files(files: &[(&str, &str)], expected: &[&str]) {
    let problems = load_files(files).unwrap_err();
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, words) in problems.iter().zip(expected) {
        assert!(problem.contains(words), "{problem}\nshould contain\n{words}");
    }
}

#[test]
fn what_two_files_disagree_about_names_both() {
    let toml = "data_dir = '/a'\n[api]\nenabled = true\n[sinks.in]\ntype = 'blackhole'\ninputs = ['in']";
    check_files(
        &[("a.yaml", YAML), ("b.toml", toml), ("c.yaml", "data_dir: /b\napi: {enabled: false}\n")],
        &[
            "b.toml:4:8: sinks.in: the id `in` is already that of one of the sources (a.yaml:1:11)",
            "c.yaml:1:11: data_dir: it has another value in b.toml:1:1; keep one of the two",
            "c.yaml:2:16: api.enabled: it has another value in b.toml:3:1; keep one of the two",
        ],
    );
    check_files(
        &[
            ("a.yaml", YAML),
            ("sinks/x.toml = sinks.x", "type = 'blackhole'\ninputs = ['inn']\n"),
            ("sinks/y.toml = sinks.y", "type = 'blackhole'\ninputs = ['in']\nrat = 1\n"),
        ],
        &[
            "sinks/x.toml:2:11: sinks.x.inputs[0]: no component is called `inn`; did you mean `in`?",
            "sinks/y.toml:3:1: sinks.y.rat: unknown field `rat`; did you mean `rate`?",
        ],
    );
    // A file that cannot be read is the only mistake then.
    let toml = "[sinks.x]\ntype = 'blackhole'\ninputs = ['in']";
    check_files(&[("a.yaml", "sources: ["), ("b.toml", toml)], &["a.yaml:"]);
}

#[test]
fn what_holds_for_all_is_what_vector_takes() {
    let text = format!(
        "timezone = 'UTC'\nacknowledgements = true\nexpire_metrics_secs = 60\nwildcard_matching = 'relaxed'\n\
         healthchecks.enabled = false\nproxy.enabled = false\nlog_schema.host_key = 'h'\n\
         schema.enabled = true\ntelemetry.tags.emit_service = true\n\
         [api]\nenabled = '${{YES}}'\naddress = '[::]:8686'\nplayground = false\ngraphql = true\n\
         {SOURCE}[sinks.out]\ntype = 'blackhole'\ninputs = ['in', 'none*']\n"
    );
    let config = load_files(&[("a.toml", &text)]).unwrap();
    assert!(config.global.api.enabled);
    assert_eq!(config.global.timezone.as_deref(), Some("UTC"));
    let text = format!(
        "{YAML}api: {{enabld: true}}\nenrichment_tables: {{t: {{type: file}}}}\nwildcard_matching: lose\n"
    );
    check_files(
        &[("a.yaml", &text)],
        &[
            "a.yaml:4:7: api.enabld: unknown field `enabld`; did you mean `enabled`?",
            "a.yaml:5:1: enrichment_tables: enrichment tables are not supported",
            "a.yaml:6:20: wildcard_matching: unknown variant `lose`",
        ],
    );
}

#[test]
fn a_reference_is_what_its_option_wants() {
    let text = format!(
        "{SOURCE}[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = 'http://h'\nencoding.codec = 'json'\n\
         auth = {{strategy = 'bearer', token = ${{TOKEN}}}}\nrequest.timeout_secs = ${{TOKEN}}\n\
         request.concurrency = \"${{NONE:-4}}\"\nhealthcheck.enabled = ${{YES}}\nbatch.max_events = \"${{PORT}}\"\n"
    );
    load_files(&[("a.toml", &text)]).unwrap();
    // Text that is not one reference is text.
    let text = text.replace("\"${PORT}\"", "\"1${PORT}\"");
    let expected = "a.toml:13:20: sinks.out.batch.max_events: invalid type: string";
    check_files(&[("a.toml", &text)], &[expected]);
}

#[test]
fn secrets_come_from_their_backends() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "s3cr3t-$TOKEN\n").unwrap();
    let begin = format!(
        "[secret.dir]\ntype = 'directory'\npath = '{}'\nremove_trailing_whitespace = true\n{SOURCE}\
         [sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = 'http://h'\nencoding.codec = 'json'\n",
        dir.path().display()
    );
    let config =
        load(&format!("{begin}auth = {{strategy = 'bearer', token = 'SECRET[dir.token]'}}\n")).unwrap();
    assert!(!format!("{config:?}").contains("s3cr3t"));
    // A failure is told where the secret is used.
    check(
        &format!(
            "{begin}auth = {{strategy = 'bearer', token = 'SECRET[dir.none]'}}\n\
             batch.max_events = 'SECRET[dir.token]'\ncompression = 'SECRET[vault.x]'\n"
        ),
        &[
            "test.toml:13:38: sinks.out.auth.token: SECRET[dir.none]: cannot read ",
            "test.toml:15:15: sinks.out.compression: SECRET[vault.x]: there is no [secret.vault]",
        ],
    );
    check(
        &format!("{begin}batch.max_events = 'SECRET[dir.token]'\n"),
        &["sinks.out.batch.max_events: invalid type: string (a value from the environment)"],
    );
}

#[test]
fn a_literal_secret_is_in_no_message() {
    let text = format!(
        "{SOURCE}[sinks.out]\ntype = 'honeycomb'\ninputs = ['in']\napi_key = ['s3cr3t']\ndataset = 'd'\n"
    );
    let problems = Config::from_toml(&text, "test.toml", &Registry::builtin(), &Env::default()).unwrap_err();
    assert!(!problems.render(false).contains("s3cr3t"), "{}", problems.render(false));
    // The name of a field is none.
    check(
        &format!("log_schema = {{message_key = 'field', hst_key = 'h'}}\n{SOURCE}"),
        &["unknown field `hst_key`; did you mean `host_key`?", "sinks: none"],
    );
}

#[test]
fn a_backend_that_cannot_be_asked_is_no_unknown_one() {
    let text = format!(
        "[secret.dir]\ntype = 'directory'\npath = '${{NOWHERE}}'\n{SOURCE}\
         [sinks.out]\ntype = 'honeycomb'\ninputs = ['in']\napi_key = 'SECRET[dir.key]'\ndataset = 'd'\n"
    );
    check(
        &text,
        &[
            "test.toml:3:8: secret.dir.path: environment variable NOWHERE is not set",
            "test.toml:10:11: sinks.out.api_key: SECRET[dir.key]: [secret.dir] cannot be used",
        ],
    );
}

#[test]
fn ids_have_no_dots_and_what_nobody_takes_is_told() {
    check(
        &format!("{SOURCE}[sinks.'a.b']\ntype = 'blackhole'\ninputs = ['in']\n"),
        &["test.toml:4:8: sinks.\"a.b\": the id `a.b` has a dot"],
    );
    check("", &["sinks: none: ", "sources: none: "]);
    let text = format!(
        "{SOURCE}[sources.idle]\ntype = 'stdin'\n[transforms.t]\ntype = 'remap'\ninputs = ['in']\nsource = ''\n\
         [sinks.out]\ntype = 'blackhole'\ninputs = ['in']\n"
    );
    let warnings: Vec<_> = load(&text).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "test.toml:4:10: sources.idle: no component takes the events of `idle`; name it in `inputs`, or remove it",
            "test.toml:6:13: transforms.t: no component takes the events of `t`; name it in `inputs`, or remove it",
        ]
    );
}

#[test]
fn a_hold_that_is_longer_than_the_patience_is_told() {
    let http = "type = 'http'\nuri = 'http://h'";
    let nats = "type = 'nats'\nurl = 'nats://h'\nsubject = 's'";
    for sink in [http, nats] {
        let told = |request: &str| {
            let text = format!(
                "{SOURCE}[sinks.out]\n{sink}\ninputs = ['in']\nencoding.codec = 'json'\nrequest = {{{request}}}\n"
            );
            load(&text).unwrap().warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(told("hold_secs = 60, give_up_after_secs = 60").is_empty());
        let [warning] = &told("hold_secs = 90000")[..] else { panic!("{sink}") };
        let words = "sinks.out.request.hold_secs: 90000 s is longer than request.give_up_after_secs, 86400 s";
        assert!(warning.contains(words), "{warning}");
    }
}

#[test]
fn a_number_that_must_not_be_zero_is_told_without_a_type() {
    let out = "[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = 'http://h'\nencoding.codec = 'json'\n";
    check(
        &format!("{SOURCE}{out}request.circuit_breaker.failures = 0\n"),
        &["request.circuit_breaker.failures: invalid value: integer `0`, expected at least 1"],
    );
}

/// A transform with outputs of its own.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Forked {
    only_named: bool,
}

impl crate::config::TransformConfig for Forked {
    fn build(
        &self,
        _: &crate::config::TransformContext,
    ) -> crate::config::Result<Box<dyn crate::config::Transform>> {
        Err("this is for tests".into())
    }

    fn outputs(&self) -> crate::topology::OutputNames {
        let named = vec!["_unmatched".to_owned(), "errors".to_owned()];
        crate::topology::OutputNames { has_default: !self.only_named, named }
    }
}

#[test]
fn inputs_name_outputs() {
    let mut registry = Registry::builtin();
    registry.transform::<Forked>(crate::config::ComponentInfo::new("forked", "For tests.", ""));
    let load = |inputs: &str| {
        let text = format!(
            "{SOURCE}[transforms.r]\ntype = 'forked'\ninputs = ['in']\nonly_named = true\n\
             [transforms.d]\ntype = 'forked'\ninputs = ['r.errors']\nonly_named = false\n\
             [sinks.out]\ntype = 'blackhole'\ninputs = {inputs}\n"
        );
        Config::from_toml(&text, "f", &registry, &Env::default())
            .map(|config| config.sinks[0].options.inputs.clone())
            .map_err(|problems| problems.to_string())
    };
    assert_eq!(load("['r.errors', 'd', 'd.errors']").unwrap(), ["d", "d.errors", "r.errors"]);
    let all = ["d", "d._unmatched", "d.errors", "r._unmatched", "r.errors"];
    assert_eq!(load("['r.*', 'd*']").unwrap(), all);
    for (inputs, words) in [
        ("['r', 'd']", "`r` has no output of its own name, only `r._unmatched`, `r.errors`"),
        ("['r.eror', 'd']", "`r` has no output `r.eror`, only `r._unmatched`, `r.errors`"),
        ("['in.x', 'd']", "`in` has no named outputs; take `in`"),
    ] {
        let error = load(inputs).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_component_that_cannot_be_built_is_told_with_its_place() {
    let text = format!(
        "{SOURCE}[transforms.r]\ntype = 'remap'\ninputs = ['in']\nsource = ''\n\
         [sinks.out]\ntype = 'blackhole'\ninputs = ['in']\n"
    );
    let config = load(&text).unwrap();
    let inner = Problems(vec![Problem::at("source", "wrong")]);
    let problems = config.places.of_component("transforms", "r", inner.into());
    assert_eq!(problems[0].to_string(), "test.toml:7:10: transforms.r.source: wrong");
    let problems = config.places.of_component("transforms", "r", "odd".into());
    assert_eq!(problems[0].to_string(), "test.toml:4:13: transforms.r: odd");
}

#[test]
fn a_fingerprint_tells_what_has_changed() {
    let of = |text: &str| {
        let config = load(text).unwrap();
        (config.sources[0].fingerprint.unwrap(), config.sinks[0].fingerprint.unwrap())
    };
    let text = format!(
        "{SOURCE}[sources.b]\ntype='stdin'\n[sinks.out]\ntype = 'blackhole'\ninputs = ['in']\nrate = 1\n"
    );
    let (source, sink) = of(&text);
    assert_eq!(of(&text.replace("inputs = ['in']", "inputs = ['b']")), (source, sink));
    let changed = of(&text.replace("rate = 1", "rate = 2"));
    assert!(changed.0 == source && changed.1 != sink);
    let global = of(&format!("data_dir = '/x'\n{text}"));
    assert!(global.0 != source && global.1 != sink);
}

#[test]
fn fly_log_shippers_own_configuration_loads() {
    let text = r#"
        api.enabled = true
        api.address = "[::]:8686"
        [sources.fly_log_metrics]
        type = "internal_metrics"
        [sources.nats]
        type = "nats"
        url = "nats://[${NETWORK-fdaa}::3]:4223"
        queue = "${QUEUE-}"
        subject = "${SUBJECT-logs.>}"
        auth.strategy = "user_password"
        auth.user_password.user = "${ORG-personal}"
        auth.user_password.password = "${TOKEN?Missing ACCESS_TOKEN}"
        connection_name = "Fly logs stream"
        [transforms.log_json]
        type = "remap"
        inputs = ["nats"]
        source = ". = parse_json!(.message)"
        [sinks.fly_log_metrics_prometheus]
        type = "prometheus_exporter"
        inputs = ["fly_log_metrics"]
        address = "[::]:9598"
        default_namespace = "fly-logs"
        [sinks.blackhole]
        type = "blackhole"
        inputs = ["log_json"]
        print_interval_secs = 100000
    "#;
    let config = load(text).unwrap();
    assert!(config.global.api.enabled);
    assert_eq!((config.sources.len(), config.sinks.len()), (2, 2));
}

proptest::proptest! {
    #[test]
    fn no_configuration_makes_it_panic(
        text in "([\\[\\]{}=.\"'$#\n: -]|sources|sinks|in|out|type|inputs|secret|blackhole|stdin|SECRET\\[a.b\\]){0,40}",
    ) {
        for name in ["a.toml", "a.yaml", "a.json"] {
            let files = [ConfigFile::new(name, &text)];
            let _ = Config::from_files(&files, &Registry::builtin(), &Env::default())
                .map_err(|problems| problems.render(true));
        }
    }
}

/// What a placeholder stands for may be right; what else is wrong is told.
#[test]
fn values_of_placeholders_are_not_judged() {
    let env = Env::default().with_placeholder("https://placeholder.invalid");
    let load = |text: &str| Config::from_toml(text, "test.toml", &Registry::builtin(), &env);
    let text = format!(
        "{SOURCE}[transforms.t]\ntype = 'throttle'\ninputs = ['in']\nthreshold = '${{N}}'\nwindow_secs = 1\n\
         [sinks.archive]\ntype = 'aws_s3'\ninputs = ['t']\nbucket = '${{BUCKET}}'\nencoding.codec = 'json'\n\
         [sinks.out]\ntype = 'blackhole'\ninputs = ['${{INPUT}}']\n"
    );
    let config = load(&text).unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warnings, ["sinks.archive.bucket"], "{:?}", config.warnings);
    assert!(config.warnings[0].message.contains("it depends on the environment"));
    let wrong =
        format!("{text}[sinks.bad]\ntype = 'aws_s3'\ninputs = ['x']\nbucket = '${{BUCKET}}'\nbuket = 1\n");
    let problems: Vec<_> = load(&wrong).unwrap_err().0.into_iter().map(|problem| problem.path).collect();
    assert_eq!(problems, ["sinks.bad", "sinks.bad.inputs[0]", "sinks.bad.buket"]);
}

/// The inputs of a component with another mistake are those that the environment says.
#[test]
fn inputs_from_the_environment_are_resolved_first() {
    let env = Env::from_pairs([("INPUT", "in")]);
    let text = format!("{SOURCE}[sinks.out]\ntype = 'blackhole'\ninputs = ['${{INPUT}}']\nrat = 1\n");
    let problems = Config::from_toml(&text, "test.toml", &Registry::builtin(), &env).unwrap_err().0;
    assert_eq!(problems.len(), 1, "{problems:?}");
}

/// A program that does not compile is shown by the compiler, but not what the environment has put into it.
#[test]
fn a_secret_in_a_program_is_not_shown() {
    let text = format!(
        "{SOURCE}[transforms.t]\ntype = 'remap'\ninputs = ['in']\nsource = '.token = \"${{NUMBER}}\"; .a ='\n\
         [sinks.out]\ntype = 'blackhole'\ninputs = ['t']\n"
    );
    let env = Env::from_pairs([("NUMBER", "s3cr3t-number")]);
    let config = Config::from_toml(&text, "test.toml", &Registry::builtin(), &env).unwrap();
    let shown = Problems(config.check_transforms()).render(false);
    assert!(shown.contains("transforms.t.source") && shown.contains("syntax error"), "{shown}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

/// What cannot be parsed may have a secret anywhere.
#[test]
fn a_text_that_cannot_be_parsed_shows_no_values() {
    for text in [
        "[sinks.o.request.headers]\nX-Honeycomb-Team = \"s3cr3t\" oops",
        "sinks.o = {type='http', request = {headers = {Authorization = \"Bearer s3cr3t\"}} oops}",
        "token = \"\"\"\ns3cr3t\"\"\" oops",
        "a = \"b\"\n\"s3cr3t\" oops",
    ] {
        let problems =
            Config::from_toml(text, "test.toml", &Registry::builtin(), &Env::default()).unwrap_err();
        let shown = problems.render(false);
        assert!(!shown.contains("s3cr3t") && shown.contains("test.toml:"), "{shown}");
    }
}

/// Values with characters that a message escapes, or of several lines, are no less secret.
#[test]
fn what_came_in_is_hidden_in_every_form() {
    for (variable, value) in [("QUOTED", "to\"s3cr3t-one"), ("LINES", "s3cr3t-first\ns3cr3t-second\n")] {
        let env = Env::from_pairs([(variable, value)]);
        let text = format!(
            "{SOURCE}[sinks.o]\ntype = 'blackhole'\ninputs = ['in']\nbuffer = 'Bearer ${{{variable}}} x'\n"
        );
        let problems = Config::from_toml(&text, "test.toml", &Registry::builtin(), &env).unwrap_err();
        assert!(!problems.render(false).contains("s3cr3t"), "{problems}");
    }
    // A default is no secret: its typo is told.
    let text = format!(
        "{SOURCE}[sinks.o]\ntype = 'http'\nuri = 'http://h'\nencoding.codec = '${{C:-gzpi}}'\ninputs = ['in']\n"
    );
    let problems = Config::from_toml(&text, "test.toml", &Registry::builtin(), &Env::default()).unwrap_err();
    assert!(problems.to_string().contains("gzpi"), "{problems}");
}

#[test]
fn a_component_without_options_is_told() {
    let files = [(
        "v.yaml",
        "sources:\n  in: {type: stdin}\nsinks:\n  out: {type: blackhole, inputs: [in]}\n  loki:\n",
    )];
    let problems = load_files(&files).unwrap_err();
    assert!(problems.len() == 1 && problems[0].contains("v.yaml:5:3: sinks.loki"), "{problems:?}");
}

/// Between brackets of YAML a reference needs no quotes, as in Vector.
#[test]
fn references_between_brackets_of_yaml_need_no_quotes() {
    let text = "# it's [\nsources:\n  in: {type: stdin, max_length: ${PORT}}\nsinks:\n  out: {type: blackhole, inputs: [${INPUT:-in}, \"in\"], print_interval_secs: ${PORT}} # [\n";
    let config = load_files(&[("v.yaml", text)]).unwrap();
    assert_eq!(config.sinks[0].options.inputs, ["in"]);
    // What is wrong otherwise is told as it is.
    for text in ["a: [${PORT}, pre-${PORT}", "a: [${PORT}, pre-${PORT}]\nb: {", "a: '[${PORT}"] {
        let problems = load_files(&[("v.yaml", text)]).unwrap_err();
        assert!(problems[0].starts_with("v.yaml:"), "{problems:?}");
    }
}
