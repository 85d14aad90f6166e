//! The rows. The names of variables are fly-log-shipper's.

use super::Setting::{Bool, Integer, List, Text, Unless};
use super::{Expects, Need, Places, Provider, Remap, Setting, TimeForm, Variable};

/// The event itself, which most destinations get as it is.
const EVENT: Places = Places {
    time: "timestamp",
    time_form: TimeForm::Rfc3339,
    level: "log.level",
    host: "host",
    app: "fly.app.name",
    region: "fly.region",
    instance: "fly.app.instance",
};

const fn variable(name: &'static str, need: Need, about: &'static str) -> Variable {
    Variable { name, or: None, need, about, is_shared: false, expects: None }
}

const fn required(name: &'static str, about: &'static str) -> Variable {
    variable(name, Need::Required, about)
}

const fn optional(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    variable(name, Need::Optional(Some(default)), about)
}

const fn always(program: &'static str) -> Remap {
    Remap { program, unless_host: None }
}

impl Variable {
    const fn or(self, old: &'static str) -> Variable {
        Variable { or: Some(old), ..self }
    }

    /// Others read it too.
    const fn shared(self) -> Variable {
        Variable { is_shared: true, ..self }
    }

    const fn expects(self, what: &'static str, fits: fn(&str) -> bool) -> Variable {
        Variable { expects: Some(Expects { what, fits }), ..self }
    }
}

/// A batch of this size costs little memory, and a larger one is hardly cheaper to send.
const BATCH_BYTES: (&str, Setting) = ("batch.max_bytes", Integer(1_000_000));
/// Vector refuses templates that begin with a field unless it is told that this is meant.
const UNCONFINED: (&str, Setting) = ("dangerously_allow_unconfined_template_resolution", Bool(true));
const JSON: (&str, Setting) = ("encoding.codec", Text("json"));
const LINES: (&str, Setting) = ("framing.method", Text("newline_delimited"));
const GZIP: (&str, Setting) = ("compression", Text("gzip"));

// Where they are not set, AWS's other places are looked at: profiles, web identity, the metadata service.
const AWS_ACCESS_KEY_ID: Variable =
    variable("AWS_ACCESS_KEY_ID", Need::Optional(None), "key's id, if no profile or role has it").shared();
const AWS_SECRET_ACCESS_KEY: Variable =
    variable("AWS_SECRET_ACCESS_KEY", Need::Optional(None), "key").shared();

/// A copy of the level, for destinations that look for it at the top.
const LEVEL: Remap = always("if exists(.log.level) { .level = .log.level }");
/// An event without an app, where the name of one decides where it goes.
const APP: Remap = always(r#"if is_null(.fly.app.name) { .fly.app.name = "unknown" }"#);
/// An event without a time of its own.
const TIMESTAMP: Remap = always("if is_null(.timestamp) { .timestamp = now() }");

fn is_uuid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// Every provider, by name.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        name: "appsignal",
        title: "AppSignal",
        variables: &[required("APPSIGNAL_PUSH_API_KEY", "push API key")],
        sink: "appsignal",
        set: &[("push_api_key", Text("${APPSIGNAL_PUSH_API_KEY}")), GZIP],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "log.timestamp",
            level: "log.severity",
            host: "log.hostname",
            app: "log.group",
            region: "log.fly.region",
            instance: "log.fly.app.instance",
            ..EVENT
        },
        notes: include_str!("notes/appsignal.md"),
    },
    Provider {
        name: "aws_cloudwatch",
        title: "AWS CloudWatch Logs",
        variables: &[
            required("CLOUDWATCH_LOG_GROUP_NAME", "log group"),
            required("AWS_REGION", "region").shared(),
            AWS_ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY,
        ],
        sink: "aws_cloudwatch_logs",
        set: &[
            ("region", Text("${AWS_REGION}")),
            ("group_name", Text("${CLOUDWATCH_LOG_GROUP_NAME}")),
            ("stream_name", Text("{{ fly.app.name }}/{{ host }}")),
            JSON,
            UNCONFINED,
        ],
        // What is not Fly's has no app, and what is no JSON no host; their stream needs a name all the same.
        remap: &[
            APP,
            always("if is_null(.host) { .host = .fly.app.instance }"),
            always(r#"if is_null(.host) { .host = "unknown" }"#),
        ],
        lifts_json: false,
        places: Places {
            time: "timestamp",
            time_form: TimeForm::Millis,
            level: "message.log.level",
            host: "message.host",
            app: "message.fly.app.name",
            region: "message.fly.region",
            instance: "message.fly.app.instance",
        },
        notes: include_str!("notes/aws_cloudwatch.md"),
    },
    Provider {
        name: "aws_s3",
        title: "S3, Tigris, R2, Wasabi, MinIO",
        variables: &[
            required("AWS_BUCKET", "bucket").or("BUCKET_NAME"),
            optional("AWS_REGION", "auto", "region").shared(),
            variable("S3_ENDPOINT", Need::Optional(None), "address, for others than AWS")
                .or("AWS_ENDPOINT_URL_S3"),
            AWS_ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY,
        ],
        sink: "aws_s3",
        set: &[
            ("bucket", Text("${AWS_BUCKET}")),
            ("region", Text("${AWS_REGION}")),
            ("endpoint", Text("${S3_ENDPOINT}")),
            ("key_prefix", Text("{{ fly.app.name }}/%F/")),
            JSON,
            LINES,
            GZIP,
            UNCONFINED,
        ],
        // What is not Fly's has no app, and its key needs a beginning all the same.
        remap: &[APP],
        lifts_json: false,
        places: EVENT,
        notes: include_str!("notes/aws_s3.md"),
    },
    Provider {
        name: "axiom",
        title: "Axiom",
        variables: &[required("AXIOM_TOKEN", "API token"), required("AXIOM_DATASET", "dataset")],
        sink: "axiom",
        set: &[("token", Text("${AXIOM_TOKEN}")), ("dataset", Text("${AXIOM_DATASET}")), GZIP, BATCH_BYTES],
        remap: &[],
        lifts_json: false,
        places: Places { level: "level", ..EVENT },
        notes: include_str!("notes/axiom.md"),
    },
    Provider {
        name: "baselime",
        title: "Baselime",
        variables: &[
            required("BASELIME_API_KEY", "API key"),
            optional("BASELIME_DATASET", "flyio", "dataset"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("https://events.baselime.io/v1/${BASELIME_DATASET}")),
            JSON,
            // The vendor documents `x-api-key`; fly-log-shipper sends a bearer token.
            ("auth.strategy", Text("bearer")),
            ("auth.token", Text("${BASELIME_API_KEY}")),
            ("request.headers.x-api-key", Text("${BASELIME_API_KEY}")),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: EVENT,
        notes: include_str!("notes/baselime.md"),
    },
    Provider {
        name: "better_stack",
        title: "Better Stack (Logtail)",
        variables: &[
            required("BETTER_STACK_SOURCE_TOKEN", "source token").or("LOGTAIL_TOKEN"),
            optional("BETTER_STACK_INGESTING_HOST", "in.logs.betterstack.com", "ingesting host"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("https://${BETTER_STACK_INGESTING_HOST}")),
            JSON,
            ("auth.strategy", Text("bearer")),
            ("auth.token", Text("${BETTER_STACK_SOURCE_TOKEN}")),
            BATCH_BYTES,
        ],
        remap: &[always("if exists(.timestamp) { .dt = del(.timestamp) }"), LEVEL],
        lifts_json: false,
        places: Places { time: "dt", level: "level", ..EVENT },
        notes: include_str!("notes/better_stack.md"),
    },
    Provider {
        name: "datadog",
        title: "Datadog",
        variables: &[
            required("DATADOG_API_KEY", "API key"),
            optional("DATADOG_SITE", "datadoghq.com", "site"),
        ],
        sink: "datadog_logs",
        set: &[
            ("default_api_key", Text("${DATADOG_API_KEY}")),
            ("site", Text("${DATADOG_SITE}")),
            GZIP,
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "timestamp",
            time_form: TimeForm::Millis,
            level: "status",
            host: "hostname",
            app: "service",
            region: "ddtags",
            instance: "ddtags",
        },
        notes: include_str!("notes/datadog.md"),
    },
    Provider {
        name: "erasearch",
        title: "EraSearch",
        variables: &[
            required("ERASEARCH_URL", "address"),
            required("ERASEARCH_AUTH", "the whole Authorization header, `Bearer ...`"),
            required("ERASEARCH_INDEX", "index"),
        ],
        sink: "elasticsearch",
        set: &[
            ("endpoints", List("${ERASEARCH_URL}")),
            ("mode", Text("bulk")),
            ("bulk.index", Text("${ERASEARCH_INDEX}")),
            // So that nothing is asked of it first.
            ("api_version", Text("v8")),
            ("request.headers.Authorization", Text("${ERASEARCH_AUTH}")),
            ("healthcheck.enabled", Bool(false)),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: true,
        places: EVENT,
        notes: include_str!("notes/erasearch.md"),
    },
    Provider {
        name: "highlight",
        title: "Highlight.io",
        variables: &[required("HIGHLIGHT_PROJECT_ID", "project")],
        sink: "http",
        set: &[
            ("uri", Text("https://pub.highlight.io/v1/logs/json")),
            JSON,
            LINES,
            GZIP,
            ("request.headers.x-highlight-project", Text("${HIGHLIGHT_PROJECT_ID}")),
            BATCH_BYTES,
        ],
        // Highlight refuses a line without a time, and what comes after it.
        remap: &[TIMESTAMP, LEVEL],
        lifts_json: false,
        places: Places { level: "level", ..EVENT },
        notes: include_str!("notes/highlight.md"),
    },
    Provider {
        name: "honeybadger",
        title: "Honeybadger",
        variables: &[required("HONEYBADGER_API_KEY", "API key")],
        sink: "http",
        set: &[
            ("uri", Text("https://api.honeybadger.io/v1/events")),
            JSON,
            LINES,
            ("request.headers.X-API-Key", Text("${HONEYBADGER_API_KEY}")),
            // It takes 102,400 bytes.
            ("batch.max_bytes", Integer(100_000)),
        ],
        remap: &[always("if exists(.timestamp) { .ts = del(.timestamp) }")],
        lifts_json: false,
        places: Places { time: "ts", ..EVENT },
        notes: include_str!("notes/honeybadger.md"),
    },
    Provider {
        name: "honeycomb",
        title: "Honeycomb",
        variables: &[required("HONEYCOMB_API_KEY", "API key"), required("HONEYCOMB_DATASET", "dataset")],
        sink: "honeycomb",
        set: &[
            ("api_key", Text("${HONEYCOMB_API_KEY}")),
            ("dataset", Text("${HONEYCOMB_DATASET}")),
            GZIP,
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: Places { time: "time", ..EVENT },
        notes: include_str!("notes/honeycomb.md"),
    },
    Provider {
        name: "http",
        title: "Any HTTP server",
        variables: &[
            required("HTTP_URL", "URL that takes JSON arrays"),
            required("HTTP_TOKEN", "bearer token"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("${HTTP_URL}")),
            JSON,
            ("auth.strategy", Text("bearer")),
            ("auth.token", Text("${HTTP_TOKEN}")),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: EVENT,
        notes: include_str!("notes/http.md"),
    },
    Provider {
        name: "humio",
        title: "LogScale (Humio)",
        variables: &[
            required("HUMIO_TOKEN", "ingest token"),
            optional("HUMIO_ENDPOINT", "https://cloud.humio.com", "address"),
        ],
        sink: "humio_logs",
        set: &[
            ("token", Text("${HUMIO_TOKEN}")),
            ("endpoint", Text("${HUMIO_ENDPOINT}")),
            JSON,
            GZIP,
            ("host_key", Text("fly.app.instance")),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "time",
            time_form: TimeForm::Seconds,
            level: "event.log.level",
            host: "event.host",
            app: "event.fly.app.name",
            region: "event.fly.region",
            instance: "host",
        },
        notes: include_str!("notes/humio.md"),
    },
    Provider {
        name: "hyperdx",
        title: "HyperDX",
        variables: &[
            // Anything else is thrown away there, with a 200.
            required("HYPERDX_API_KEY", "API key").expects("a UUID", is_uuid),
        ],
        sink: "http",
        set: &[
            ("uri", Text("https://in.hyperdx.io?hdx_platform=flyio")),
            JSON,
            ("auth.strategy", Text("bearer")),
            ("auth.token", Text("${HYPERDX_API_KEY}")),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: EVENT,
        notes: include_str!("notes/hyperdx.md"),
    },
    Provider {
        name: "logdna",
        title: "Mezmo (LogDNA)",
        variables: &[required("LOGDNA_API_KEY", "ingestion key")],
        sink: "mezmo",
        set: &[
            ("api_key", Text("${LOGDNA_API_KEY}")),
            ("hostname", Text("{{ fly.app.instance }}")),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "timestamp",
            time_form: TimeForm::Millis,
            level: "level",
            host: "meta.host",
            app: "app",
            region: "meta.fly.region",
            instance: "meta.fly.app.instance",
        },
        notes: include_str!("notes/logdna.md"),
    },
    Provider {
        name: "logflare",
        title: "Logflare",
        variables: &[
            required("LOGFLARE_API_KEY", "API key"),
            required("LOGFLARE_SOURCE_TOKEN", "source token"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("https://api.logflare.app/logs/vector?source=${LOGFLARE_SOURCE_TOKEN}")),
            JSON,
            ("request.headers.X-API-Key", Text("${LOGFLARE_API_KEY}")),
            BATCH_BYTES,
        ],
        // An event without a time makes Logflare answer 500, for ever.
        remap: &[TIMESTAMP, LEVEL],
        lifts_json: false,
        places: Places { level: "level", ..EVENT },
        notes: include_str!("notes/logflare.md"),
    },
    Provider {
        name: "loki",
        title: "Grafana Loki",
        variables: &[
            required("LOKI_URL", "address, without the path"),
            required("LOKI_USERNAME", "user"),
            required("LOKI_PASSWORD", "password or token"),
        ],
        sink: "loki",
        set: &[
            ("endpoint", Text("${LOKI_URL}")),
            ("auth.strategy", Text("basic")),
            ("auth.user", Text("${LOKI_USERNAME}")),
            ("auth.password", Text("${LOKI_PASSWORD}")),
            JSON,
            GZIP,
            ("labels.event_provider", Text("{{ event.provider }}")),
            ("labels.fly_region", Text("{{ fly.region }}")),
            ("labels.fly_app_name", Text("{{ fly.app.name }}")),
            ("labels.fly_app_instance", Text("{{ fly.app.instance }}")),
            ("labels.host", Text("{{ host }}")),
            ("labels.level", Text("{{ log.level }}")),
            BATCH_BYTES,
            UNCONFINED,
        ],
        remap: &[],
        lifts_json: true,
        places: LOKI,
        notes: include_str!("notes/loki.md"),
    },
    Provider {
        name: "new_relic",
        title: "New Relic",
        variables: &[
            variable("NEW_RELIC_LICENSE_KEY", Need::OneOf(None), "licence key"),
            variable("NEW_RELIC_INSERT_KEY", Need::OneOf(None), "Insights insert key"),
            optional("NEW_RELIC_REGION", "us", "`us` or `eu`"),
            variable("NEW_RELIC_ACCOUNT_ID", Need::Optional(None), "account, which logs do not need"),
        ],
        sink: "new_relic",
        set: &[
            ("license_key", Text("${NEW_RELIC_LICENSE_KEY}")),
            ("insert_key", Unless("NEW_RELIC_LICENSE_KEY", "${NEW_RELIC_INSERT_KEY}")),
            ("region", Text("${NEW_RELIC_REGION}")),
            ("account_id", Text("${NEW_RELIC_ACCOUNT_ID}")),
            ("api", Text("logs")),
            GZIP,
            // Vector's 100 are many small requests.
            ("batch.max_events", Integer(10_000)),
            BATCH_BYTES,
        ],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "timestamp",
            time_form: TimeForm::Millis,
            level: "attributes.level",
            host: "attributes.hostname",
            app: "service.name",
            region: "fly.region",
            instance: "fly.app.instance",
        },
        notes: include_str!("notes/new_relic.md"),
    },
    Provider {
        name: "openobserve",
        title: "OpenObserve",
        variables: &[
            required("OPENOBSERVE_URI", "URL, with /api/{organisation}/{stream}/_json"),
            required("OPENOBSERVE_USER", "user"),
            required("OPENOBSERVE_PASSWORD", "password"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("${OPENOBSERVE_URI}")),
            JSON,
            GZIP,
            ("auth.strategy", Text("basic")),
            ("auth.user", Text("${OPENOBSERVE_USER}")),
            ("auth.password", Text("${OPENOBSERVE_PASSWORD}")),
            BATCH_BYTES,
        ],
        // OpenObserve reads the time from nowhere else.
        remap: &[
            always(
                r#"._timestamp = to_unix_timestamp(parse_timestamp(.timestamp, "%+") ?? now(), unit: "microseconds")"#,
            ),
            LEVEL,
        ],
        lifts_json: false,
        places: Places { time: "_timestamp", time_form: TimeForm::Micros, level: "level", ..EVENT },
        notes: include_str!("notes/openobserve.md"),
    },
    Provider {
        name: "opsverse",
        title: "OpsVerse",
        variables: &[
            required("OPSVERSE_LOGS_ENDPOINT", "address, without the path"),
            required("OPSVERSE_USERNAME", "user"),
            required("OPSVERSE_PASSWORD", "password"),
        ],
        sink: "loki",
        set: &[
            ("endpoint", Text("${OPSVERSE_LOGS_ENDPOINT}")),
            ("auth.strategy", Text("basic")),
            ("auth.user", Text("${OPSVERSE_USERNAME}")),
            ("auth.password", Text("${OPSVERSE_PASSWORD}")),
            ("encoding.codec", Text("logfmt")),
            GZIP,
            ("labels.event_provider", Text("{{ event.provider }}")),
            ("labels.fly_region", Text("{{ fly.region }}")),
            ("labels.fly_app_name", Text("{{ fly.app.name }}")),
            ("labels.fly_app_instance", Text("{{ fly.app.instance }}")),
            ("labels.host", Text("{{ host }}")),
            ("labels.level", Text("{{ log.level }}")),
            BATCH_BYTES,
            UNCONFINED,
        ],
        remap: &[],
        lifts_json: true,
        places: LOKI,
        notes: include_str!("notes/opsverse.md"),
    },
    Provider {
        name: "papertrail",
        title: "Papertrail",
        variables: &[
            required("PAPERTRAIL_ENDPOINT", "host and port of the log destination"),
            optional("PAPERTRAIL_ENCODING_CODEC", "json", "`json`, `text` or `logfmt`"),
        ],
        sink: "papertrail",
        set: &[
            ("endpoint", Text("${PAPERTRAIL_ENDPOINT}")),
            ("encoding.codec", Text("${PAPERTRAIL_ENCODING_CODEC}")),
        ],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "TIMESTAMP",
            time_form: TimeForm::Rfc3339,
            level: "PRI",
            host: "HOSTNAME",
            app: "APP-NAME",
            region: "MSG.fly.region",
            instance: "PROCID",
        },
        notes: include_str!("notes/papertrail.md"),
    },
    Provider {
        name: "sematext",
        title: "Sematext",
        variables: &[
            required("SEMATEXT_TOKEN", "token of the Logs App"),
            optional("SEMATEXT_REGION", "us", "`us` or `eu`"),
        ],
        sink: "sematext_logs",
        set: &[("token", Text("${SEMATEXT_TOKEN}")), ("region", Text("${SEMATEXT_REGION}")), BATCH_BYTES],
        remap: &[],
        lifts_json: false,
        places: Places { time: "@timestamp", level: "severity", host: "os.host", ..EVENT },
        notes: include_str!("notes/sematext.md"),
    },
    Provider {
        name: "signoz",
        title: "SigNoz",
        variables: &[
            variable("SIGNOZ_INGESTION_KEY", Need::OneOf(None), "ingestion key, for SigNoz Cloud"),
            variable(
                "SIGNOZ_URI",
                Need::OneOf(Some("https://ingest.us.signoz.cloud/logs/vector")),
                "URL of another region, or of a SigNoz of one's own, which needs no key",
            ),
        ],
        sink: "http",
        set: &[
            ("uri", Text("${SIGNOZ_URI}")),
            JSON,
            // The header of today, and the one before.
            ("request.headers.signoz-ingestion-key", Text("${SIGNOZ_INGESTION_KEY}")),
            ("request.headers.signoz-access-token", Text("${SIGNOZ_INGESTION_KEY}")),
            BATCH_BYTES,
        ],
        remap: &[
            TIMESTAMP,
            always("if exists(.log.level) { .severity_text = .log.level }"),
            // One's own SigNoz refuses a batch with a time that is no number.
            Remap {
                program: r#".timestamp = to_unix_timestamp!(parse_timestamp(.timestamp, "%+") ?? now(), unit: "nanoseconds")"#,
                unless_host: Some(("SIGNOZ_URI", "signoz.cloud")),
            },
        ],
        lifts_json: false,
        places: Places { level: "severity_text", ..EVENT },
        notes: include_str!("notes/signoz.md"),
    },
    Provider {
        name: "slack",
        title: "Slack alerts",
        variables: &[
            required("SLACK_WEBHOOK_URL", "URL of an incoming webhook"),
            required("SLACK_ALERT_KEYWORDS", "words, and `/regular expressions/`, divided by commas"),
        ],
        sink: "slack",
        set: &[("webhook_url", Text("${SLACK_WEBHOOK_URL}")), ("keywords", Text("${SLACK_ALERT_KEYWORDS}"))],
        remap: &[],
        lifts_json: false,
        places: Places {
            time: "text",
            time_form: TimeForm::Rfc3339,
            level: "text",
            host: "",
            app: "text",
            region: "text",
            instance: "text",
        },
        notes: include_str!("notes/slack.md"),
    },
    Provider {
        name: "uptrace",
        title: "Uptrace",
        variables: &[
            required("UPTRACE_API_KEY", "API key"),
            required("UPTRACE_PROJECT", "project"),
            variable("UPTRACE_SINK_INPUT", Need::Optional(None), "not used; fly-log-shipper needed it"),
            optional("UPTRACE_SINK_ENCODING", "json", "codec; Uptrace reads only json"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("https://api.uptrace.dev/api/v1/vector/logs")),
            ("encoding.codec", Text("${UPTRACE_SINK_ENCODING}")),
            LINES,
            GZIP,
            (
                "request.headers.uptrace-dsn",
                Text("https://${UPTRACE_API_KEY}@uptrace.dev/${UPTRACE_PROJECT}"),
            ),
            BATCH_BYTES,
        ],
        remap: &[LEVEL],
        lifts_json: false,
        places: Places { level: "level", ..EVENT },
        notes: include_str!("notes/uptrace.md"),
    },
];

/// Labels of a stream, but for the time, which is an entry's.
const LOKI: Places = Places {
    time: "time",
    time_form: TimeForm::Nanos,
    level: "labels.level",
    host: "labels.host",
    app: "labels.fly_app_name",
    region: "labels.fly_region",
    instance: "labels.fly_app_instance",
};
