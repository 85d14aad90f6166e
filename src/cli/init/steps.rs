//! The lines that set the app up, with a place for each secret.

use super::answers::Answers;
use crate::providers::{Need, Provider, Variable};
use std::path::Path;

/// What to run, in order; lines with `#` explain.
pub(super) fn text(answers: &Answers, directory: &Path) -> String {
    let Answers { app, org, .. } = answers;
    let mut text = format!(
        "fly apps create {app} --org {org}\n\n\
         # Secrets, for which `fly` has the only place: put in what belongs between the quotes. One that is in a file stays out\n\
         # of the shell's history: NAME=\"$(cat FILE)\".\n\
         fly secrets set --app {app} --stage ACCESS_TOKEN=\"$(fly tokens create readonly {org})\"\n"
    );
    answers.destinations.iter().for_each(|provider| text.push_str(&secrets(app, provider)));
    let directory = match directory.to_str() {
        Some(".") | None => String::new(),
        // As a shell takes it.
        Some(directory) => format!(" '{}'", directory.replace('\'', r"'\''")),
    };
    text.push_str(&format!(
        "\nfly deploy{directory}\n\n\
         # Is it well? The last opens the status page on http://localhost:8686.\n\
         fly checks list --app {app}\nfly logs --app {app}\nfly proxy 8686 --app {app}\n"
    ));
    text
}

/// The line that sets a destination's secrets, and what else there is to set.
fn secrets(app: &str, provider: &Provider) -> String {
    let mut text = format!("\n# {}\n", provider.title);
    let alternatives = provider.variables.iter().filter(|variable| matches!(variable.need, Need::OneOf(_)));
    let first = alternatives.clone().next().map(|variable| variable.name);
    let is_set = |variable: &&Variable| variable.need == Need::Required || Some(variable.name) == first;
    for variable in provider.variables {
        let default = variable.default().map(|default| format!(", {default} if not set")).unwrap_or_default();
        let note = match variable.need {
            Need::OneOf(_) if Some(variable.name) != first => "; instead",
            Need::Optional(_) => "; optional",
            Need::Required | Need::OneOf(_) => "",
        };
        text.push_str(&format!("#   {}: {}{default}{note}\n", variable.name, variable.about));
    }
    text.push_str(&format!("fly secrets set --app {app} --stage"));
    for variable in provider.variables.iter().filter(is_set) {
        text.push_str(&format!(" {}='...'", variable.name));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::providers::{PROVIDERS, State};

    #[test]
    fn the_lines_switch_every_destination_on() {
        for provider in PROVIDERS {
            let text = secrets("my-app", provider);
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("fly secrets set --app my-app --stage "))
                .unwrap();
            let pairs = line.split(' ').map(|pair| pair.split_once('=').unwrap());
            let state = provider.state(&Env::from_pairs(pairs)).unwrap();
            assert_eq!(state, State::On, "{text}");
        }
    }
}
