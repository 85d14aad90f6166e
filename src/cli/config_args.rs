//! `-c` and `-C`: which configuration a command is for.

use super::{Failure, print_problems};
use crate::config::{
    Config, ConfigFile, Environment, EnvironmentError, Problem, Problems, Registry, from_environment,
};
use crate::env::Env;
use std::path::PathBuf;

/// Where the configuration comes from.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// A configuration file, by its name TOML, YAML or JSON; may be given several times, and with `*` for
    /// several files. Without one: the environment.
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A directory of configuration files; may be given several times. Its folders `sources`, `transforms`,
    /// `sinks` and `tests` hold files of one component each, called as the file is.
    #[arg(short = 'C', long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
}

/// Why there is no configuration.
pub(super) enum Mistakes {
    Files(Problems),
    /// Not one file could be read.
    Unread(Problems),
    Environment(EnvironmentError),
}

impl ConfigArgs {
    /// Whether the configuration comes from the environment's secrets.
    pub(super) fn is_environment(&self) -> bool {
        self.config.is_empty() && self.config_dir.is_empty()
    }

    /// The same with these files as well, which Vector's commands take without `-c`.
    pub(super) fn and(&self, files: &[PathBuf]) -> ConfigArgs {
        let config = self.config.iter().chain(files).cloned().collect();
        ConfigArgs { config, config_dir: self.config_dir.clone() }
    }

    /// The files and directories that it comes from.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.config.iter().chain(&self.config_dir)
    }

    /// The configuration; mistakes in it are shown on standard error. Of an environment, `announce` gets to see
    /// what it says.
    pub(super) fn load(
        &self,
        registry: &Registry,
        env: &Env,
        announce: fn(&Environment),
    ) -> Result<Config, Failure> {
        self.read(registry, env, announce).map_err(|mistakes| match mistakes {
            Mistakes::Files(problems) => print_problems(&problems, env),
            Mistakes::Unread(problems) => {
                print_problems(&problems, env);
                Failure::Config(
                    "there is no configuration to read there; expected the path of a file or, with -C, of a directory"
                        .to_owned(),
                )
            }
            Mistakes::Environment(error) => Failure::config(error),
        })
    }

    /// The configuration in the files; without one, that of the environment.
    pub(super) fn read(
        &self,
        registry: &Registry,
        env: &Env,
        announce: fn(&Environment),
    ) -> Result<Config, Mistakes> {
        if self.is_environment() {
            let environment = from_environment(env).map_err(Mistakes::Environment)?;
            announce(&environment);
            return environment.load(registry, env).map_err(Mistakes::Files);
        }
        let (files, mut problems) = ConfigFile::read(&self.config, &self.config_dir);
        // What is in a file that cannot be read, nobody knows: that there is nothing is no mistake then.
        if files.is_empty() {
            return Err(Mistakes::Unread(Problems(problems)));
        }
        match Config::from_files(&files, registry, env) {
            Ok(mut config) if problems.is_empty() => {
                config.warnings.extend(without_effect(&config, &files, env));
                return Ok(config);
            }
            result => problems.extend(result.err().into_iter().flat_map(|problems| problems.0)),
        }
        Err(Mistakes::Files(Problems(problems)))
    }
}

/// Variables that are for a start without files, where it would hurt to believe that they hold: nothing is read from a
/// stream, or nothing is redacted.
fn without_effect(config: &Config, files: &[ConfigFile], env: &Env) -> Vec<Problem> {
    let is_set = |name| env.get(name).is_ok_and(|value| value.is_some());
    let has_stream = config.sources.iter().any(|source| source.config.can_acknowledge());
    let redacts = files.iter().any(|file| file.text.contains("redact"));
    let mut warnings = Vec::new();
    if is_set("JETSTREAM_STREAM") && !has_stream {
        warnings.push(
            "JETSTREAM_STREAM has no effect with a configuration file, and none of its sources reads a stream; give the \
             source `nats` a table `jetstream`",
        );
    }
    if is_set("REDACT") && !redacts {
        warnings.push(
            "REDACT has no effect with a configuration file, which redacts nothing; give the source `nats`, or a transform \
             `log_bodies`, the option `redact`",
        );
    }
    warnings.into_iter().map(Problem::new).collect()
}
