//! The variables of the environment that are no destination's, as one table: the page of the book is printed
//! from it, and what is not in it may be misspelt.

use crate::topology::MEMORY_LIMIT;

/// A variable of the environment that is no destination's.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CoreVariable {
    /// Its name; with a `...` at its end, what the name begins with.
    pub name: &'static str,
    /// What it is about.
    pub group: VariableGroup,
    /// What counts where it is not set; empty if nothing does.
    pub default: &'static str,
    /// What it holds, in Markdown.
    pub about: &'static str,
}

/// What variables are about, in the order of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariableGroup {
    /// What is read, and from where.
    Source,
    /// A NATS server of one's own. The names are the NATS CLI's.
    OwnServer,
    /// What is kept, and how long.
    Delivery,
    /// What is done to an application's lines.
    Bodies,
    /// log-shipper itself.
    Process,
    /// What the system or the platform sets.
    Platform,
}

impl VariableGroup {
    /// All of them.
    pub const ALL: &'static [VariableGroup] = &[
        VariableGroup::Source,
        VariableGroup::OwnServer,
        VariableGroup::Delivery,
        VariableGroup::Bodies,
        VariableGroup::Process,
        VariableGroup::Platform,
    ];

    /// The group as a title.
    pub const fn title(self) -> &'static str {
        match self {
            VariableGroup::Source => "What is read",
            VariableGroup::OwnServer => "A NATS server of your own",
            VariableGroup::Delivery => "Delivery and memory",
            VariableGroup::Bodies => "Log bodies",
            VariableGroup::Process => "log-shipper itself",
            VariableGroup::Platform => "Set by the system or by Fly.io",
        }
    }
}

const fn variable(
    name: &'static str,
    group: VariableGroup,
    default: &'static str,
    about: &'static str,
) -> CoreVariable {
    CoreVariable { name, group, default, about }
}

use VariableGroup::{Bodies, Delivery, OwnServer, Platform, Process, Source};

/// Every variable that is no destination's.
pub const VARIABLES: &[CoreVariable] = &[
    variable(
        "ACCESS_TOKEN",
        Source,
        "",
        "the Fly.io token that reads the logs: `fly tokens create readonly`",
    ),
    variable("ORG", Source, "`personal`", "the Fly.io organisation"),
    variable(
        "SUBJECT",
        Source,
        "`logs.>`",
        "what to ship: `logs.<app>.<region>.<instance>`, with `*` and `>`; several, by comma or space",
    ),
    variable("SUBJECT_EXCLUDE", Source, "", "what to leave out, in the same form"),
    variable(
        "QUEUE",
        Source,
        "",
        "the queue group; replicas with the same one share the events. `auto`: named after the Fly app",
    ),
    variable("NETWORK", Source, "`fdaa`", "the prefix of Fly's private network"),
    variable(
        "JETSTREAM_STREAM",
        Source,
        "",
        "read this JetStream stream of a server of your own: nothing is acknowledged before it is delivered, or on disk",
    ),
    variable(
        "JETSTREAM_CONSUMER",
        Source,
        "`log-shipper`",
        "its durable consumer, made if there is none; replicas with the same one share the events",
    ),
    variable(
        "NATS_URL",
        OwnServer,
        "`nats://localhost:4222`",
        "the server; several of a cluster, by comma. With any variable of this group, Fly.io's own NATS is not read",
    ),
    variable("NATS_USER", OwnServer, "", "the user; without a password, a token"),
    variable("NATS_PASSWORD", OwnServer, "", "the user's password"),
    variable("NATS_TOKEN", OwnServer, "", "a token, instead of a user"),
    variable("NATS_CREDS", OwnServer, "", "the path of a credentials file"),
    variable("NATS_NKEY", OwnServer, "", "the seed of an nkey"),
    variable("NATS_CERT", OwnServer, "", "the path of our certificate (PEM); TLS is then on"),
    variable("NATS_KEY", OwnServer, "", "the path of its key (PEM)"),
    variable(
        "NATS_CA",
        OwnServer,
        "",
        "the path of the authority that the server is checked against (PEM); TLS is then on",
    ),
    variable(
        "NATS_TLS_FIRST",
        OwnServer,
        "`false`",
        "TLS from the first byte, for a server with `handshake_first`; what `--tlsfirst` is to the NATS CLI",
    ),
    variable("DATA_DIR", Delivery, "", "a directory for buffers on disk, and for dead letters"),
    variable("BUFFER_MAX_SIZE", Delivery, "`256M`", "how large the buffer of each destination may be there"),
    variable(
        "DEAD_LETTERS",
        Delivery,
        "`dead-letters.jsonl` in `DATA_DIR`, if that is set",
        "the file for events that a destination refuses for good",
    ),
    variable(
        "DEAD_LETTERS_SUBJECT",
        Delivery,
        "",
        "a subject of your own server for them, instead of a file",
    ),
    variable(
        MEMORY_LIMIT,
        Delivery,
        "four fifths of the machine",
        "how much memory the process may take: `256M`, `1G`",
    ),
    variable(
        "LOG_PARSE",
        Bodies,
        "`json` for Loki, OpsVerse and EraSearch, else `off`",
        "what is lifted out of messages into fields: `off`, `json`, `logfmt`, `auto`",
    ),
    variable(
        "LOG_DETECT_LEVEL",
        Bodies,
        "`true`",
        "the level that a line names takes the place of Fly's `info`",
    ),
    variable(
        "LOG_MULTILINE",
        Bodies,
        "`false`",
        "stack traces become one event: `true`, or milliseconds to wait for more lines",
    ),
    variable("LOG_STRIP_ANSI", Bodies, "`false`", "colours are taken out of messages"),
    variable(
        "REDACT",
        Bodies,
        "",
        "what is replaced by a marker: `email`, `ip`, `uuid`, `credit_card`, `jwt`, ..., `/regex/`, by comma",
    ),
    variable("ENRICH_...", Bodies, "", "a constant field: `ENRICH_ENV=prod` gives every event `env`"),
    variable(
        "SHIP_OWN_LOGS",
        Bodies,
        "`false`",
        "whether the lines of `FLY_APP_NAME`, the shipper itself, are shipped too",
    ),
    variable(
        "LOG_SHIPPER_LOG",
        Process,
        "`info`",
        "what log-shipper logs of itself, on standard error: a level, or directives such as `info,log_shipper::nats=debug`",
    ),
    variable("LOG_SHIPPER_LOG_FORMAT", Process, "`text`", "how: `text` or `json`"),
    variable(
        "API_ADDRESS",
        Process,
        "`127.0.0.1:8686`; on Fly.io `[::]:8686`",
        "where the status page, health and metrics are; `off` is nowhere",
    ),
    variable(
        "API_TAIL",
        Process,
        "`false`",
        "whether the status page shows the events themselves as they come",
    ),
    variable(
        "METRICS_ADDRESS",
        Process,
        "`127.0.0.1:9598`; on Fly.io `[::]:9598`",
        "where the metrics are besides; `off` is nowhere",
    ),
    variable("NO_COLOR", Platform, "", "without colours; they are for terminals only"),
    variable(
        "FLY_APP_NAME",
        Platform,
        "",
        "the shipper's own app: its lines are left out, `QUEUE=auto` is named after it, and the number of its machines is looked up at the start",
    ),
    variable("HOSTNAME", Platform, "the system's", "for `${HOSTNAME}` in a configuration"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::source::OWN_SERVER;
    use std::collections::BTreeSet;

    #[test]
    fn names_stand_once_and_groups_together() {
        let names: BTreeSet<_> = VARIABLES.iter().map(|variable| variable.name).collect();
        assert_eq!(names.len(), VARIABLES.len());
        let place =
            |variable: &CoreVariable| VariableGroup::ALL.iter().position(|all| *all == variable.group);
        assert!(VARIABLES.is_sorted_by_key(place));
        for name in OWN_SERVER {
            assert!(VARIABLES.iter().any(|known| known.name == *name && known.group == OwnServer), "{name}");
        }
    }
}
