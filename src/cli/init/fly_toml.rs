//! `fly.toml`: the one of the repository, with other values.

use super::answers::Answers;
use toml::{Table, Value};

/// The repository's, with its comments.
const TEMPLATE: &str = include_str!("../../../fly.toml");

/// The file for these answers.
///
/// # Errors
/// If what came out is not what was meant.
pub(super) fn text(answers: &Answers) -> Result<String, String> {
    let build = match &answers.image {
        Some(image) => ("image", image.as_str()),
        None => ("dockerfile", "Dockerfile"),
    };
    // The line that begins with this key, and what takes its place.
    let mut lines = [
        ("app", "app", Some(answers.app.as_str())),
        ("primary_region", "primary_region", answers.region.as_deref()),
        ("dockerfile", build.0, Some(build.1)),
        ("ORG", "ORG", Some(answers.org.as_str())),
        ("SUBJECT", "SUBJECT", Some(answers.subject.as_str())),
    ]
    .into_iter()
    .peekable();
    let mut text = String::new();
    for line in TEMPLATE.lines() {
        let key = line.split_once(" = ").map(|(key, _)| key);
        match lines.next_if(|(old, _, _)| key == Some(old)) {
            Some((_, new, Some(value))) => text.push_str(&format!("{new} = {}\n", Value::from(value))),
            Some((_, _, None)) => {}
            None => text.push_str(&format!("{line}\n")),
        }
    }
    let table: Table = text.parse().map_err(|error| format!("fly.toml would be wrong: {error}"))?;
    let is = |path: &[&str], expected: Option<&str>| {
        let (last, tables) = path.split_last()?;
        let table = tables.iter().try_fold(&table, |table, name| table.get(*name)?.as_table());
        let found = table.and_then(|table| table.get(*last)?.as_str());
        (found != expected).then(|| path.join("."))
    };
    let wrong = [
        is(&["app"], Some(&answers.app)),
        is(&["primary_region"], answers.region.as_deref()),
        is(&["build", build.0], Some(build.1)),
        is(&["env", "ORG"], Some(&answers.org)),
        is(&["env", "SUBJECT"], Some(&answers.subject)),
    ];
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    match wrong.is_empty() {
        true => Ok(text),
        false => Err(format!("fly.toml would be wrong: {}", wrong.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::PROVIDERS;

    fn answers(app: &str, region: Option<&str>, image: Option<&str>) -> Answers {
        Answers {
            destinations: vec![&PROVIDERS[0]],
            app: app.to_owned(),
            org: "my-org".to_owned(),
            region: region.map(str::to_owned),
            subject: "logs.\"a\\b\".>".to_owned(),
            image: image.map(str::to_owned),
        }
    }

    #[test]
    fn the_answers_are_in_it_and_the_rest_is_the_template() {
        let text = text(&answers("a", Some("fra"), None)).unwrap();
        let (written, template): (Table, Table) = (text.parse().unwrap(), TEMPLATE.parse().unwrap());
        assert_eq!(written["app"].as_str(), Some("a"));
        assert_eq!(written["primary_region"].as_str(), Some("fra"));
        assert_eq!(written["env"]["SUBJECT"].as_str(), Some("logs.\"a\\b\".>"));
        for key in ["checks", "metrics", "restart", "vm", "kill_timeout", "processes", "build"] {
            assert_eq!(written[key], template[key], "{key}");
        }
        assert_eq!(text.lines().count(), TEMPLATE.lines().count());
    }

    #[test]
    fn an_image_takes_the_place_of_the_dockerfile_and_no_region_is_no_line() {
        let text: Table = text(&answers("a", None, Some("example/log-shipper:1"))).unwrap().parse().unwrap();
        assert_eq!(text["build"].to_string(), "{ image = \"example/log-shipper:1\" }");
        assert!(!text.contains_key("primary_region"));
    }
}
