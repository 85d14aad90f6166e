//! What the environment says of log bodies, as options of ours, and as transforms of a stock Vector.
//!
//! Lines are left out, stripped of colours and joined once, for all destinations. What is done to fields behind that
//! may differ: Loki, OpsVerse and EraSearch have always lifted JSON.

use super::environment::{EnvironmentError, escape, is_on, is_on_by_default, set};
use crate::bodies::{
    BodyOptions, LogParse, MultilineConfig, Redaction, ansi_program, ends_when, is_own_field,
    others_condition, program, starts_when,
};
use crate::env::Env;
use crate::list;
use crate::providers::Provider;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::{Table, Value};

/// `ENRICH_ENV=prod` gives every event a field `env`.
pub(super) const ENRICH: &str = "ENRICH_";

/// The source's options, which a stock Vector does not have.
const SOURCE_OPTIONS: [&str; 3] = ["exclude_app", "strip_ansi", "multiline"];

/// For whom a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For log-shipper.
    Own,
    /// For a stock Vector.
    Vector,
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// For all destinations.
    options: BodyOptions,
    /// What is lifted, if the environment says so; otherwise it is the provider's own habit.
    log_parse: Option<LogParse>,
}

impl Bodies {
    pub(super) fn from_env(env: &Env) -> Result<Bodies, EnvironmentError> {
        let wrong =
            |name: &str, reason: String| EnvironmentError::Unexpected { name: name.to_owned(), reason };
        let log_parse = match env.get("LOG_PARSE")? {
            None => None,
            Some(word) => match LogParse::ALL.iter().copied().find(|mode| mode.as_str() == word) {
                Some(mode) => Some(mode),
                None => return Err(wrong("LOG_PARSE", "expected off, json, logfmt or auto".into())),
            },
        };
        let default = MultilineConfig::default();
        let multiline = match env.get("LOG_MULTILINE")?.as_deref() {
            None | Some("false" | "0") => default,
            Some("true") => MultilineConfig { enabled: true, ..default },
            Some(millis) => match millis.parse() {
                Ok(millis @ 1..=60_000) => {
                    MultilineConfig { enabled: true, timeout: Duration::from_millis(millis), ..default }
                }
                _ => {
                    let what = "expected true, false, or how long an event waits for more lines: 1 to 60000 milliseconds";
                    return Err(wrong("LOG_MULTILINE", what.into()));
                }
            },
        };
        let ships_own = is_on(env, "SHIP_OWN_LOGS")?;
        let options = BodyOptions {
            exclude_app: env.get("FLY_APP_NAME")?.filter(|_| !ships_own),
            strip_ansi: is_on(env, "LOG_STRIP_ANSI")?,
            multiline,
            log_parse: LogParse::Off,
            detect_level: is_on_by_default(env, "LOG_DETECT_LEVEL")?,
            redact: redactions(env)?,
            enrich: enrich(env)?,
        };
        Ok(Bodies { options, log_parse })
    }

    /// Puts what the `nats` source does into its options.
    pub(super) fn set_source(&self, source: &mut Table) {
        if let Some(app) = &self.options.exclude_app {
            set(source, "exclude_app", escape(app));
        }
        if self.options.strip_ansi {
            set(source, "strip_ansi", true);
        }
        if self.options.multiline.enabled {
            set(source, "multiline.timeout_ms", self.timeout_ms());
        }
    }

    /// Takes the same options out of a source.
    pub(super) fn unset_source(source: &mut Table) {
        SOURCE_OPTIONS.iter().for_each(|option| drop(source.remove(*option)));
    }

    fn timeout_ms(&self) -> i64 {
        self.options.multiline.timeout.as_millis().try_into().unwrap_or(i64::MAX)
    }

    /// Adds the transforms between the source and these providers; the input of each.
    pub(super) fn add(
        &self,
        form: Form,
        source: &str,
        providers: &[&'static Provider],
        table: &mut Table,
    ) -> Vec<String> {
        let mut input = source.to_owned();
        if form == Form::Vector {
            self.add_lines(&mut input, table);
        }
        let mut input_of = BTreeMap::new();
        let mut inputs = Vec::new();
        for provider in providers {
            let habit = if provider.lifts_json { LogParse::Json } else { LogParse::Off };
            let mode = self.log_parse.unwrap_or(habit);
            let id =
                input_of.entry(mode.as_str()).or_insert_with(|| self.add_fields(form, mode, &input, table));
            inputs.push(id.clone());
        }
        inputs
    }

    /// What the source of ours does by itself.
    fn add_lines(&self, input: &mut String, table: &mut Table) {
        let mut add = |id: &str, r#type: &str, options: &[(&str, Value)]| {
            set(table, &format!("transforms.{id}.type"), r#type);
            set(table, &format!("transforms.{id}.inputs"), vec![std::mem::replace(input, id.to_owned())]);
            for (option, value) in options {
                set(table, &format!("transforms.{id}.{option}"), value.clone());
            }
        };
        if let Some(app) = &self.options.exclude_app {
            add("others", "filter", &[("condition", escape(&others_condition(app)).into())]);
        }
        if self.options.strip_ansi {
            add("plain", "remap", &[("source", escape(&ansi_program()).into())]);
        }
        if self.options.multiline.enabled {
            let reduce = |condition: &'static str, program: String| {
                [
                    ("group_by", vec!["fly.app.name", "fly.app.instance"].into()),
                    ("merge_strategies.message", "concat_newline".into()),
                    (condition, escape(&program).into()),
                    ("expire_after_ms", self.timeout_ms().into()),
                    ("flush_period_ms", (self.timeout_ms() / 2).max(1).into()),
                ]
            };
            add("lines", "reduce", &reduce("starts_when", starts_when()));
            add("traces", "reduce", &reduce("ends_when", ends_when()));
        }
    }

    /// What is done to the fields of an event; the id of what does it.
    fn add_fields(&self, form: Form, mode: LogParse, input: &str, table: &mut Table) -> String {
        let options = BodyOptions { log_parse: mode, ..self.options.clone() };
        if !options.changes_fields() {
            return input.to_owned();
        }
        let id = match mode {
            LogParse::Off => "bodies".to_owned(),
            mode => format!("bodies_{}", mode.as_str()),
        };
        let mut put = |option: &str, value: Value| set(table, &format!("transforms.{id}.{option}"), value);
        put("type", (if form == Form::Own { "log_bodies" } else { "remap" }).into());
        put("inputs", vec![input].into());
        if form == Form::Vector {
            put("source", escape(&program(&options).unwrap_or_default()).into());
            return id;
        }
        if mode != LogParse::Off {
            put("log_parse", mode.as_str().into());
        }
        if options.detect_level {
            put("detect_level", true.into());
        }
        if !options.redact.is_empty() {
            let items: Vec<_> = options.redact.iter().map(|item| escape(item.as_str())).collect();
            put("redact", items.into());
        }
        for (name, value) in &options.enrich {
            put(&format!("enrich.{name}"), escape(value).into());
        }
        id
    }
}

/// What the environment wants nobody to see.
fn redactions(env: &Env) -> Result<Vec<Redaction>, EnvironmentError> {
    let parse = |item: &String| {
        Redaction::parse(item).map_err(|error| EnvironmentError::Unexpected {
            name: "REDACT".to_owned(),
            reason: error.to_string(),
        })
    };
    list::split(&env.get("REDACT")?.unwrap_or_default()).iter().map(parse).collect()
}

/// Puts what the environment wants nobody to see into a source's own options, for whoever looks at the source with
/// no transform behind it.
///
/// # Errors
/// If a pattern is none.
#[cfg(feature = "cli")]
pub(crate) fn redact_in_source(env: &Env, source: &mut Table) -> Result<(), EnvironmentError> {
    let items: Vec<_> = redactions(env)?.iter().map(|item| escape(item.as_str())).collect();
    if !items.is_empty() {
        set(source, "redact", items);
    }
    Ok(())
}

/// The constant fields: the names of their variables without the prefix, in small letters.
fn enrich(env: &Env) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut fields = BTreeMap::new();
    for name in env.names() {
        let variable = name.strip_suffix("_FILE").unwrap_or(name);
        let Some(field) = variable.strip_prefix(ENRICH).map(str::to_ascii_lowercase) else { continue };
        let Some(value) = env.get(variable)? else { continue };
        let is_name =
            !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || is_own_field(&field) {
            let reason = if is_name {
                format!("expected another name: `{field}` is the event's own field")
            } else {
                "expected a name of letters, digits and `_` behind ENRICH_".to_owned()
            };
            return Err(EnvironmentError::Unexpected { name: variable.to_owned(), reason });
        }
        fields.insert(field, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Registry, from_environment, generate};

    const LOKI: [(&str, &str); 3] =
        [("LOKI_URL", "http://l"), ("LOKI_USERNAME", "u"), ("LOKI_PASSWORD", "p")];
    const HTTP: [(&str, &str); 2] = [("HTTP_URL", "http://h"), ("HTTP_TOKEN", "t")];

    fn env(more: &[(&str, &str)]) -> Env {
        Env::from_pairs([&[("ACCESS_TOKEN", "t")][..], &HTTP, &LOKI, more].concat())
    }

    fn try_environment(more: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        from_environment(&env(more))
    }

    #[track_caller]
    fn environment(more: &[(&str, &str)]) -> (Environment, Table) {
        let environment = try_environment(more).unwrap();
        let vectors = generate(&environment).unwrap().parse().unwrap();
        (environment, vectors)
    }

    /// The transforms, `id: type < input`.
    fn transforms(table: &Table) -> Vec<String> {
        let transforms = table.get("transforms").and_then(Value::as_table);
        let shown = |(id, transform): (&String, &Value)| {
            format!(
                "{id}: {} < {}",
                transform["type"].as_str().unwrap(),
                transform["inputs"][0].as_str().unwrap()
            )
        };
        transforms.into_iter().flatten().map(shown).collect()
    }

    fn inputs(table: &Table) -> [&str; 2] {
        ["http", "loki"].map(|sink| table["sinks"][sink]["inputs"][0].as_str().unwrap())
    }

    #[track_caller]
    fn check(more: &[(&str, &str)], ours: &[&str], vectors: &[&str], expected: [&str; 2]) {
        let (environment, generated) = environment(more);
        assert_eq!(transforms(&environment.table), ours);
        assert_eq!(transforms(&generated), vectors);
        assert_eq!(inputs(&environment.table), expected);
    }

    #[test]
    fn only_those_lift_json_that_always_have_unless_the_environment_says_so() {
        check(
            &[],
            &["bodies: log_bodies < nats", "bodies_json: log_bodies < nats"],
            &["bodies: remap < nats", "bodies_json: remap < nats"],
            ["bodies", "bodies_json"],
        );
        check(
            &[("LOG_DETECT_LEVEL", "false")],
            &["bodies_json: log_bodies < nats"],
            &["bodies_json: remap < nats"],
            ["nats", "bodies_json"],
        );
        check(&[("LOG_DETECT_LEVEL", "0"), ("LOG_PARSE", "off")], &[], &[], ["nats", "nats"]);
        check(
            &[("LOG_PARSE", "auto")],
            &["bodies_auto: log_bodies < nats"],
            &["bodies_auto: remap < nats"],
            ["bodies_auto", "bodies_auto"],
        );
    }

    #[test]
    fn the_source_takes_care_of_lines_and_vector_has_transforms_for_it() {
        let everything = [
            ("FLY_APP_NAME", "ship$per"),
            ("LOG_STRIP_ANSI", "true"),
            ("LOG_MULTILINE", "250"),
            ("LOG_PARSE", "json"),
            ("REDACT", "email, /a$,b{1,2}/"),
            ("ENRICH_ENV", "prod$1"),
        ];
        check(
            &everything,
            &["bodies_json: log_bodies < nats"],
            &[
                "others: filter < nats",
                "plain: remap < others",
                "lines: reduce < plain",
                "traces: reduce < lines",
                "bodies_json: remap < traces",
            ],
            ["bodies_json", "bodies_json"],
        );
        let (environment, vectors) = environment(&everything);
        let source = &environment.table["sources"]["nats"];
        assert_eq!(source["exclude_app"].as_str(), Some("ship$$per"));
        assert_eq!(source["multiline"]["timeout_ms"].as_integer(), Some(250));
        assert_eq!(source["strip_ansi"].as_bool(), Some(true));
        let fields = &environment.table["transforms"]["bodies_json"];
        assert_eq!(fields["redact"][1].as_str(), Some("/a$$,b{1,2}/"));
        assert_eq!(fields["enrich"]["env"].as_str(), Some("prod$$1"));
        let source = vectors["sources"]["nats"].as_table().unwrap();
        assert!(SOURCE_OPTIONS.iter().all(|option| !source.contains_key(*option)), "{source:?}");
        // Both load here.
        let (registry, env) = (Registry::builtin(), env(&everything));
        for table in [&environment.table, &environment.for_vector] {
            Config::from_toml(&table.to_string(), "generated", &registry, &env).unwrap();
        }
    }

    #[test]
    fn own_lines_are_left_out_unless_they_are_asked_for() {
        for (more, expected) in [
            (&[][..], None),
            (&[("FLY_APP_NAME", "a")], Some("a")),
            (&[("FLY_APP_NAME", "a"), ("SHIP_OWN_LOGS", "false")], Some("a")),
            (&[("FLY_APP_NAME", "a"), ("SHIP_OWN_LOGS", "true")], None),
        ] {
            let (environment, _) = environment(more);
            let app = environment.table["sources"]["nats"].get("exclude_app").and_then(Value::as_str);
            assert_eq!(app, expected, "{more:?}");
        }
    }

    #[test]
    fn says_what_it_expects() {
        for (name, value, words) in [
            ("LOG_PARSE", "xml", "LOG_PARSE is wrong: expected off, json, logfmt or auto"),
            ("LOG_DETECT_LEVEL", "yes", "LOG_DETECT_LEVEL is neither true nor false"),
            ("LOG_STRIP_ANSI", "x", "LOG_STRIP_ANSI is neither true nor false"),
            ("LOG_MULTILINE", "1m", "LOG_MULTILINE is wrong: expected true, false, or how long"),
            ("LOG_MULTILINE", "60001", "1 to 60000 milliseconds"),
            ("SHIP_OWN_LOGS", "x", "SHIP_OWN_LOGS is neither true nor false"),
            ("REDACT", "email,mail", "REDACT is wrong: `mail` is unknown, expected `bearer`"),
            ("REDACT", "/(/", "`/(/` is no regular expression"),
            (
                "ENRICH_HOST",
                "x",
                "ENRICH_HOST is wrong: expected another name: `host` is the event's own field",
            ),
            ("ENRICH_A-B", "x", "expected a name of letters, digits and `_`"),
        ] {
            let error = try_environment(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let (environment, _) = environment(&[("LOG_PARS", "x"), ("ENRICH_TEAM", "x"), ("REDACT", "")]);
        let warnings = environment.warnings.join("\n");
        assert!(warnings.contains("LOG_PARS is not known; did you mean LOG_PARSE?"), "{warnings}");
        assert!(warnings.contains("REDACT is empty") && !warnings.contains("ENRICH"), "{warnings}");
    }
}
