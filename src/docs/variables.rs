//! Every variable of the environment.

use super::{Page, head, row};
use crate::config::{VARIABLES, VariableGroup};

pub(super) fn page() -> Page {
    let mut text = String::from(
        "# Environment variables\n\nWithout a configuration file these are the configuration. Each may come from a file: \
         `LOKI_PASSWORD_FILE=/run/secrets/loki` names one that holds the value of `LOKI_PASSWORD`; one line break at its end is \
         taken off. A value is used byte for byte, and an empty one counts as not set.\n\n\
         The secrets that switch a destination on are on its page; [Destinations](../destinations.md) has all of them. \
         A name that is nearly one of these is warned about at the start.\n",
    );
    for &group in VariableGroup::ALL {
        text.push_str(&format!("\n## {}\n\n", group.title()));
        text.push_str(&head(["variable", "default", "what it is"]));
        for variable in VARIABLES.iter().filter(|variable| variable.group == group) {
            text.push_str(&row([&format!("`{}`", variable.name), variable.default, variable.about]));
        }
    }
    text.push_str(
        "\nIn a configuration file any variable may stand as [`${NAME}`](../configuration.md#name). AWS's own variables, such as \
         `AWS_PROFILE` and `AWS_ROLE_ARN`, are read where a sink signs in to AWS.\n",
    );
    Page::new("reference/variables.md", text)
}
