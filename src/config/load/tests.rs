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
            "test.toml:9: sinks.a.encodin: unknown field `encodin`",
            "test.toml:10: sinks.a.compresion: unknown field `compresion`",
            "test.toml:13: sinks.b.type: unknown type `blackhol`, expected one of `",
            "test.toml:18: sinks.c.buffer: buffer.when_full: `explode` is unknown",
            "test.toml:20: sinks.c.target: invalid type, expected a string",
            "test.toml:21: sinks.d.type: missing",
            "test.toml:23: sinks.in: the id `in` is already that of one of the sources (test.toml:1)",
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
            "sinks.e.inputs: empty",
            "sinks.s.inputs: no component is called `inn`, expected one of `in`, `x`, `y`",
            "sinks.s.inputs: no component is called `s`",
            "transforms.x.inputs: `x` feeds itself",
            "transforms.y.inputs: `y` feeds itself",
        ],
    );
}

#[test]
fn reports_syntax_and_interpolation() {
    check("[sources.in\ntype = 'stdin'\n", &["test.toml:1: "]);
    check(
        &format!(
            "{SOURCE}[sinks.a]\ntype='http'\ninputs=['in']\nuri='${{URL}}'\nauth.token='${{KEY:?set the key}}'\n"
        ),
        &[
            "test.toml:7: sinks.a.uri: environment variable URL is not set",
            "test.toml:8: sinks.a.auth.token: environment variable KEY is not set: set the key",
        ],
    );
    check(
        &format!("{SOURCE}[sinks.a]\ntype='blackhole'\ninputs=['in']\nprint_interval_secs='${{NUMBER}}'\n"),
        &["sinks.a.print_interval_secs: invalid type: string (a value from the environment)"],
    );
    check(&format!("{SOURCE}[sink.a]\ntype='blackhole'\n"), &["test.toml:4: sink: unknown field `sink`"]);
}

#[test]
fn globs() {
    for (pattern, name, expected) in [
        ("a", "a", true),
        ("a", "b", false),
        ("*", "x", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "abc", true),
        ("a*b*c", "aXbYc", true),
        ("a*b", "ac", false),
        ("*b*", "abc", true),
        ("ab*b", "ab", false),
    ] {
        assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
    }
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
            "test.toml:9: sinks.out.headers: the old name of `request.headers`; use that",
            "test.toml:10: sinks.out.tls.ca_path: the old name of `tls.ca_file`; use that",
        ]
    );
    check(
        &format!(
            "{SOURCE}[sinks.out]\ntype = 'datadog_logs'\ninputs = ['in']\napi_key = 'a'\ndefault_api_key = 'b'"
        ),
        &["test.toml:7: sinks.out.api_key: the old name of `default_api_key`, which is there as well"],
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
