//! Where events are kept that are not delivered yet, or never will be: buffers on disk, dead letters.

use super::source::{is_own_server, list};
use super::{Environment, EnvironmentError, UnexpectedSnafu, escape, set};
use crate::config::{DEFAULT_BUFFER_BYTES, LEAST_DISK_BYTES};
use crate::env::Env;
use crate::memory::ByteSize;
use crate::nats::SubjectFilter;
use crate::template::Template;
use std::path::Path;
use toml::Table;

/// What the sinks' buffers are: on disk, if the environment names a place for them; and when one is full, no destination
/// holds up another, but behind a stream, which would only get once more what is dropped. Vector has no `drop_oldest`: its
/// configuration drops the newest events.
pub(super) fn set_buffers(env: &Env, environment: &mut Environment) -> Result<(), EnvironmentError> {
    let max_size = env.get("BUFFER_MAX_SIZE")?.map(|text| {
        let wrong = |reason| EnvironmentError::Unexpected { name: "BUFFER_MAX_SIZE".to_owned(), reason };
        match text.parse::<ByteSize>().map_err(wrong)? {
            ByteSize(bytes) if (bytes as u64) < LEAST_DISK_BYTES => {
                Err(wrong(format!("{bytes} bytes are too little; expected at least {LEAST_DISK_BYTES} (2M)")))
            }
            ByteSize(bytes) => Ok(i64::try_from(bytes).unwrap_or(i64::MAX)),
        }
    });
    let max_size = max_size.transpose()?;
    let has_stream = env.get("JETSTREAM_STREAM")?.is_some();
    let on_disk = env.get("DATA_DIR")?.is_some();
    let (mut own, mut for_vector) = (Table::new(), Table::new());
    if on_disk {
        set(&mut own, "type", "disk");
        if let Some(max_size) = max_size {
            set(&mut own, "max_size", max_size);
        }
        set(&mut for_vector, "type", "disk");
        // Vector has no smaller ones.
        set(&mut for_vector, "max_size", max_size.unwrap_or_default().max(VECTOR_DISK_BYTES));
        [&mut environment.table, &mut environment.for_vector]
            .into_iter()
            .for_each(|table| set(table, "data_dir", "${DATA_DIR}"));
    } else if max_size.is_some() {
        let warning = "BUFFER_MAX_SIZE has no effect: set DATA_DIR to a directory for the buffers";
        environment.warnings.push(warning.to_owned());
    }
    if !has_stream {
        if !on_disk {
            set(&mut for_vector, "type", "memory");
            set(&mut for_vector, "max_size", DEFAULT_BUFFER_BYTES as i64);
        }
        set(&mut own, "when_full", "drop_oldest");
        set(&mut for_vector, "when_full", "drop_newest");
    } else if on_disk {
        set(&mut for_vector, "when_full", "block");
    }
    for provider in &environment.enabled {
        for (table, buffer) in [(&mut environment.table, &own), (&mut environment.for_vector, &for_vector)] {
            if !buffer.is_empty() {
                set(table, &format!("sinks.{}.buffer", provider.name), buffer.clone());
            }
        }
    }
    Ok(())
}

/// The least that Vector takes for a buffer on disk: two of its files, and their headers.
const VECTOR_DISK_BYTES: i64 = 268_435_488;

/// Where refused events go: to a file, or to a subject of the server that the logs come from.
pub(super) fn dead_letters(env: &Env, source: &Table) -> Result<Option<Table>, EnvironmentError> {
    let unexpected = |name: &str, reason: &str| UnexpectedSnafu { name, reason }.fail();
    let mut sink = Table::new();
    match (env.get("DEAD_LETTERS")?, env.get("DEAD_LETTERS_SUBJECT")?, env.get("DATA_DIR")?) {
        (Some(_), Some(_), _) => {
            return unexpected(
                "DEAD_LETTERS_SUBJECT",
                "DEAD_LETTERS names a file for the same letters; take one of them",
            );
        }
        (Some(path), None, _) if path.contains("://") => {
            return unexpected(
                "DEAD_LETTERS",
                "it is a URL; expected the path of a file. A subject of your NATS server is DEAD_LETTERS_SUBJECT",
            );
        }
        (Some(path), None, _) => {
            set(&mut sink, "type", "file");
            set(&mut sink, "path", escape(&Template::escape(&path)));
        }
        (None, Some(subject), _) => {
            if !is_own_server(env)? {
                return unexpected(
                    "DEAD_LETTERS_SUBJECT",
                    "nobody may publish to Fly.io's own NATS; set DEAD_LETTERS to the path of a file, or NATS_URL to \
                     a server of your own",
                );
            }
            let subjects = list(env.get("SUBJECT")?);
            let subjects = if subjects.is_empty() { vec!["logs.>".to_owned()] } else { subjects };
            let is_excluded = |excluded: &String| *excluded == subject;
            if let Some(read) = subjects.iter().find(|read| may_be_read(&subject, read))
                && !list(env.get("SUBJECT_EXCLUDE")?).iter().any(is_excluded)
            {
                let reason = format!(
                    "letters would come back as logs, because SUBJECT has `{read}`; expected a subject beside it, \
                     such as dead.{{{{ sink }}}}, or the same in SUBJECT_EXCLUDE"
                );
                return unexpected("DEAD_LETTERS_SUBJECT", &reason);
            }
            set(&mut sink, "type", "nats");
            set(&mut sink, "subject", escape(&subject));
            set(&mut sink, "connection_name", "log-shipper dead letters");
            let shared = ["url", "auth", "tls", "tls_first"];
            let shared = shared.iter().filter_map(|key| Some((*key, source.get(*key)?.clone())));
            sink.extend(shared.map(|(key, value)| (key.to_owned(), value)));
        }
        (None, None, Some(directory)) => {
            let path = Path::new(&directory).join("dead-letters.jsonl");
            set(&mut sink, "type", "file");
            set(&mut sink, "path", escape(&Template::escape(&path.to_string_lossy())));
        }
        (None, None, None) => return Ok(None),
    }
    // Nor do dead letters.
    if env.get("JETSTREAM_STREAM")?.is_none() {
        set(&mut sink, "buffer.when_full", "drop_oldest");
    }
    Ok(Some(sink))
}

/// Whether what this template makes of an event may be a subject that is read.
fn may_be_read(template: &str, read: &str) -> bool {
    let fixed = template.split(['{', '%']).next().unwrap_or_default();
    // From the token on that an event has a part in, it may be anything.
    let pattern = match fixed.len() == template.len() {
        true => fixed.to_owned(),
        false => format!("{}>", fixed.rfind('.').map_or("", |dot| &fixed[..=dot])),
    };
    match (SubjectFilter::parse(&pattern), SubjectFilter::parse(read)) {
        (Ok(pattern), Ok(read)) => pattern.overlaps(&read),
        // What is wrong with it is said where it is used.
        _ => false,
    }
}
