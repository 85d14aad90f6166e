//! `buffer`: the buffer in front of a sink.

use crate::topology::disk::{self, DiskSettings};
use crate::topology::{BufferSettings, Capacity, WhenFull};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// `buffer`: a table, or a list of two: memory, and the disk for what that has no room for.
#[derive(Clone, Copy, Debug, Default)]
pub struct BufferConfig {
    capacity: Option<Capacity>,
    when_full: Option<WhenFull>,
    disk: Option<DiskStage>,
}

#[derive(Clone, Copy, Debug)]
struct DiskStage {
    max_size: u64,
    is_overflow: bool,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BufferTable {
    /// `memory`, which is the default, or `disk`: below the global `data_dir`.
    #[serde(default)]
    r#type: BufferType,
    /// How many events it holds in memory; either this or `max_size`.
    #[schemars(range(min = 1))]
    max_events: Option<usize>,
    /// How many bytes it holds. Default: 16 MiB in memory, 256 MiB on disk. On disk, Vector takes no less than
    /// that, and log-shipper no less than 2 MiB.
    #[schemars(range(min = 1))]
    max_size: Option<u64>,
    /// What becomes of an event that does not fit: it waits, and so does its source (`block`), it is dropped
    /// (`drop_newest`), the oldest ones are dropped for it (`drop_oldest`, ours), or it goes into the next buffer of
    /// the list (`overflow`). Default: `block` in a configuration, and behind a stream; `drop_oldest` where secrets in
    /// the environment are the configuration.
    #[schemars(extend("enum" = ["block", "drop_newest", "drop_oldest", "overflow"]))]
    when_full: Option<String>,
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum BufferType {
    #[default]
    Memory,
    Disk,
}

impl<'de> Deserialize<'de> for BufferConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BufferConfig, D::Error> {
        struct Stages;

        impl<'de> Visitor<'de> for Stages {
            type Value = BufferConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or a list of two tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BufferConfig, A::Error> {
                let table = BufferTable::deserialize(MapAccessDeserializer::new(map))?;
                BufferConfig::from_tables(&[table]).map_err(A::Error::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<BufferConfig, A::Error> {
                let tables = Vec::deserialize(SeqAccessDeserializer::new(tables))?;
                BufferConfig::from_tables(&tables).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Stages)
    }
}

impl JsonSchema for BufferConfig {
    fn schema_name() -> Cow<'static, str> {
        "BufferConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        #[derive(JsonSchema)]
        #[serde(untagged)]
        #[expect(dead_code, reason = "only its form is wanted")]
        enum OneOrTwo {
            One(BufferTable),
            Two(#[schemars(length(min = 1, max = 2))] Vec<BufferTable>),
        }
        OneOrTwo::json_schema(generator)
    }
}

impl BufferConfig {
    fn from_tables(tables: &[BufferTable]) -> Result<BufferConfig, String> {
        match tables {
            [one] if one.when_full.as_deref() == Some(OVERFLOW) => Err(format!(
                "buffer.when_full: `{OVERFLOW}` needs another buffer to go to; write a list of two: [{{ type = \"memory\", when_full = \"{OVERFLOW}\" }}, {{ type = \"disk\" }}]"
            )),
            [one] => one.stage(),
            [first, second] => {
                if first.r#type != BufferType::Memory || first.when_full.as_deref() != Some(OVERFLOW) {
                    return Err(format!(
                        "buffer: the first of two must be one in memory with when_full = \"{OVERFLOW}\""
                    ));
                }
                if second.r#type != BufferType::Disk || second.when_full.as_deref() == Some(OVERFLOW) {
                    return Err(format!(
                        "buffer: the second of two must be one of type = \"disk\", and cannot {OVERFLOW}"
                    ));
                }
                let second = second.stage()?;
                let disk = second.disk.map(|disk| DiskStage { is_overflow: true, ..disk });
                let BufferConfig { capacity, .. } =
                    BufferTable { when_full: None, ..first.clone() }.stage()?;
                Ok(BufferConfig { capacity, disk, ..second })
            }
            _ => Err(format!("buffer: a list of {}; expected one or two", tables.len())),
        }
    }

    /// So many events in memory, and whoever brings more waits.
    pub(crate) fn waiting(events: usize) -> BufferConfig {
        BufferConfig {
            capacity: Some(Capacity::Events(events)),
            when_full: Some(WhenFull::Block),
            disk: None,
        }
    }

    /// The settings of what is in memory, with `when_full` where the configuration names no policy.
    pub fn settings(self, when_full: WhenFull) -> BufferSettings {
        BufferSettings {
            capacity: self.capacity.unwrap_or(Capacity::Bytes(DEFAULT_BUFFER_BYTES)),
            when_full: self.when_full.unwrap_or(when_full),
            acknowledges: true,
        }
    }

    /// The settings of what is on disk, if anything is.
    pub fn disk(self, data_dir: &Path, sink: &str) -> Option<DiskSettings> {
        self.disk.map(|DiskStage { max_size, is_overflow }| DiskSettings {
            sink: sink.to_owned(),
            directory: disk::directory(data_dir, sink),
            max_size,
            is_overflow,
        })
    }
}

const OVERFLOW: &str = "overflow";

impl BufferTable {
    fn stage(&self) -> Result<BufferConfig, String> {
        if self.max_events == Some(0) || self.max_size == Some(0) {
            return Err("buffer: its size is 0; expected at least 1".into());
        }
        let bytes = self.max_size.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let (capacity, disk) = match (self.r#type, self.max_events, bytes) {
            (BufferType::Memory, Some(_), Some(_)) => {
                return Err("buffer: max_events and max_size exclude each other; keep one of them".into());
            }
            (BufferType::Memory, events, bytes) => {
                (events.map(Capacity::Events).or(bytes.map(Capacity::Bytes)), None)
            }
            (BufferType::Disk, Some(_), _) => {
                return Err(
                    "buffer.max_events: a buffer on disk is measured in bytes; set max_size instead".into()
                );
            }
            (BufferType::Disk, None, _) if self.max_size.is_some_and(|size| size < LEAST_DISK_BYTES) => {
                return Err(format!(
                    "buffer.max_size: too little for a buffer on disk; expected at least {LEAST_DISK_BYTES} bytes"
                ));
            }
            (BufferType::Disk, None, _) => {
                let max_size = self.max_size.unwrap_or(DEFAULT_DISK_BYTES);
                (None, Some(DiskStage { max_size, is_overflow: false }))
            }
        };
        let when_full = match self.when_full.as_deref() {
            None => None,
            Some("block") => Some(WhenFull::Block),
            Some("drop_newest") => Some(WhenFull::DropNewest),
            Some("drop_oldest") => Some(WhenFull::DropOldest),
            Some(other) => {
                return Err(format!(
                    "buffer.when_full: `{other}` is unknown; expected `block`, `drop_newest`, `drop_oldest` or `overflow`"
                ));
            }
        };
        Ok(BufferConfig { capacity, when_full, disk })
    }
}

/// What a buffer in memory holds where the configuration does not say, in bytes. A destination that is
/// slow for some seconds loses nothing, and a dead one stays far below a small machine's memory.
pub const DEFAULT_BUFFER_BYTES: usize = 16 << 20;

/// The least that a buffer on disk may hold, in bytes: some blocks.
pub const LEAST_DISK_BYTES: u64 = 2 << 20;

/// The same on disk: the least that Vector takes.
pub const DEFAULT_DISK_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BufferConfig, String> {
        #[derive(Deserialize)]
        struct Options {
            buffer: BufferConfig,
        }
        toml::from_str::<Options>(text)
            .map(|options| options.buffer)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn stages_are_what_they_say() {
        let disk = |max_size, is_overflow| {
            let (sink, directory) = ("a".to_owned(), "/data/buffer/a".into());
            Some(DiskSettings { sink, directory, max_size, is_overflow })
        };
        let default = Capacity::Bytes(DEFAULT_BUFFER_BYTES);
        for (text, capacity, when_full, expected) in [
            ("buffer = {}", default, WhenFull::DropOldest, None),
            ("buffer.max_events = 5\nbuffer.when_full = 'block'", Capacity::Events(5), WhenFull::Block, None),
            ("buffer.type = 'disk'", default, WhenFull::DropOldest, disk(256 << 20, false)),
            ("buffer = [{max_size = 9}]", Capacity::Bytes(9), WhenFull::DropOldest, None),
            (
                "buffer = [{max_events = 9, when_full = 'overflow'}, {type = 'disk', max_size = 7000000, when_full = 'drop_newest'}]",
                Capacity::Events(9),
                WhenFull::DropNewest,
                disk(7_000_000, true),
            ),
        ] {
            let buffer = parse(text).unwrap();
            let settings = buffer.settings(WhenFull::DropOldest);
            assert_eq!((settings.capacity, settings.when_full), (capacity, when_full), "{text}");
            assert_eq!(buffer.disk(Path::new("/data"), "a"), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_explained() {
        for (text, words) in [
            ("buffer.type = 'tape'", "unknown variant `tape`, expected `memory` or `disk`"),
            ("buffer = {type = 'disk', max_events = 5}", "measured in bytes"),
            ("buffer = {type = 'disk', max_size = 0}", "its size is 0"),
            ("buffer = {type = 'disk', max_size = 2097151}", "expected at least 2097152 bytes"),
            ("buffer = {max_size = 1, max_events = 5}", "exclude each other"),
            ("buffer = {when_full = 'overflow'}", "needs another buffer"),
            ("buffer = [{when_full = 'block'}, {type = 'disk'}]", "the first of two"),
            ("buffer = [{when_full = 'overflow'}, {type = 'memory'}]", "the second of two"),
            ("buffer = []", "a list of 0"),
            ("buffer = {max_event = 5}", "unknown field `max_event`"),
            ("buffer = 5", "expected a table, or a list of two tables"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
