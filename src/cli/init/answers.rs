//! What has to be known for an app on Fly.io: from the arguments, or by asking.

use super::super::Failure;
use super::Args;
use crate::nats::SubjectFilter;
use crate::providers::{PROVIDERS, Provider, find};
use std::io;

/// What the file and the lines are made from.
pub(super) struct Answers {
    /// At least one.
    pub destinations: Vec<&'static Provider>,
    pub app: String,
    pub org: String,
    /// `None`: Fly.io chooses.
    pub region: Option<String>,
    /// One, or several by comma.
    pub subject: String,
    /// `None`: the Dockerfile is built.
    pub image: Option<String>,
}

/// Something that has to be known.
struct Question {
    /// The argument that answers it.
    option: &'static str,
    text: &'static str,
    /// `None`: there has to be an answer.
    default: Option<&'static str>,
    /// What is wrong with an answer.
    check: fn(&str) -> Result<(), String>,
}

const DESTINATIONS: Question = Question {
    option: "--destination",
    text: "Destination, by number or name; several by comma",
    default: None,
    check: |text| destinations(text).map(drop),
};
const APP: Question = Question { option: "--app", text: "Name of the app", default: None, check: slug };
const ORG: Question = Question {
    option: "--org",
    text: "Organisation whose logs are shipped",
    default: Some("personal"),
    check: slug,
};
const REGION: Question = Question {
    option: "--region",
    text: "Region, such as ams; if empty, Fly.io chooses",
    default: Some(""),
    check: region,
};
const SUBJECT: Question =
    Question { option: "--subject", text: "Subject", default: Some("logs.>"), check: subject };

/// Shows a prompt and reads a line; `None` at the end of the input.
pub(super) type Ask<'a> = dyn FnMut(&str) -> io::Result<Option<String>> + 'a;

impl Answers {
    /// The answers; what is not given is asked, if there is somebody to ask.
    ///
    /// # Errors
    /// If something is missing or wrong; all of it is named.
    pub(super) fn new(args: &Args, mut ask: Option<&mut Ask<'_>>) -> Result<Answers, Failure> {
        let given = (!args.destination.is_empty()).then(|| args.destination.join(","));
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        let mut answer = |question: &Question, given: Option<&String>| -> Result<String, Failure> {
            if let Some(text) = given {
                let text = text.trim();
                wrong.extend(
                    (question.check)(text).err().map(|reason| format!("{}: {reason}", question.option)),
                );
                return Ok(text.to_owned());
            }
            if let Some(asking) = &mut ask {
                match question.ask(asking)? {
                    Some(text) => return Ok(text),
                    // Nobody is there any more.
                    None => ask = None,
                }
            }
            missing.extend(question.default.is_none().then_some(question.option));
            Ok(question.default.unwrap_or_default().to_owned())
        };
        let names = answer(&DESTINATIONS, given.as_ref())?;
        let app = answer(&APP, args.app.as_ref())?;
        let org = answer(&ORG, args.org.as_ref())?;
        let region = answer(&REGION, args.region.as_ref())?;
        let subject = answer(&SUBJECT, args.subject.as_ref())?;
        if !missing.is_empty() {
            let hint = if missing.contains(&"--destination") {
                "; `log-shipper providers` lists the destinations"
            } else {
                ""
            };
            wrong.push(format!("{} must be given where nobody can be asked{hint}", missing.join(" and ")));
        }
        if !wrong.is_empty() {
            return Err(Failure::Usage(wrong.join("\n")));
        }
        let destinations = destinations(&names).map_err(Failure::Usage)?;
        let region = Some(region).filter(|region| !region.is_empty());
        Ok(Answers { destinations, app, org, region, subject, image: args.image.clone() })
    }
}

impl Question {
    /// Asks until an answer is right; `None` if there are no more.
    fn ask(&self, ask: &mut Ask<'_>) -> Result<Option<String>, Failure> {
        let default = self.default.filter(|default| !default.is_empty());
        let default_shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        let mut prompt = format!("{}{default_shown}: ", self.text);
        if self.option == DESTINATIONS.option {
            prompt = format!("{}{prompt}", menu());
        }
        loop {
            let Some(text) = ask(&prompt).map_err(Failure::failed)? else { return Ok(None) };
            let text = match (text.trim(), self.default) {
                ("", Some(default)) => default,
                (text, _) => text,
            };
            match (self.check)(text) {
                Ok(()) => return Ok(Some(text.to_owned())),
                Err(reason) => prompt = format!("{reason}\n{}{default_shown}: ", self.text),
            }
        }
    }
}

/// Every destination with its number.
fn menu() -> String {
    let line = |(index, provider): (usize, &Provider)| {
        format!("{:>3}  {:<16} {}\n", index + 1, provider.name, provider.title)
    };
    PROVIDERS.iter().enumerate().map(line).collect()
}

/// The destinations of a list of numbers and names.
fn destinations(text: &str) -> Result<Vec<&'static Provider>, String> {
    let mut found: Vec<&'static Provider> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let by_number = word.parse::<usize>().ok().and_then(|number| PROVIDERS.get(number.checked_sub(1)?));
        let provider = by_number.or_else(|| find(&word.to_lowercase().replace('-', "_")));
        let Some(provider) = provider else {
            let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
            return Err(format!("no destination is called `{word}`; expected one of {}", names.join(", ")));
        };
        if !found.iter().any(|other| other.name == provider.name) {
            found.push(provider);
        }
    }
    if found.is_empty() { Err("expected at least one destination".to_owned()) } else { Ok(found) }
}

/// The name of an app or an organisation.
fn slug(text: &str) -> Result<(), String> {
    // It becomes a part of a host's name.
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !text.is_empty() && text.len() <= 63 && text.chars().all(fits) && !text.starts_with('-') {
        true => Ok(()),
        false => Err(format!("`{text}` is no name; expected up to 63 small letters, digits and dashes")),
    }
}

fn region(text: &str) -> Result<(), String> {
    match text.is_empty() || text.len() == 3 && text.chars().all(|c| c.is_ascii_lowercase()) {
        true => Ok(()),
        false => Err(format!("`{text}` is no region; expected three small letters, such as ams")),
    }
}

fn subject(text: &str) -> Result<(), String> {
    // As SUBJECT is read.
    let subjects: Vec<_> = text.split([',', ' ']).filter(|subject| !subject.is_empty()).collect();
    if subjects.is_empty() {
        return Err("expected a subject such as logs.>".to_owned());
    }
    subjects.iter().try_for_each(|subject| match SubjectFilter::parse(subject) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        #[derive(clap::Parser)]
        struct Init {
            #[command(flatten)]
            args: Args,
        }
        let words = [&["init"], words].concat();
        <Init as clap::Parser>::try_parse_from(words).unwrap().args
    }

    /// The answers of somebody who types these lines, and what was asked.
    fn typed(words: &[&str], lines: &[&str]) -> (Result<Answers, Failure>, Vec<String>) {
        let (mut lines, mut prompts) = (lines.iter(), Vec::new());
        let mut ask = |prompt: &str| {
            prompts.push(prompt.to_owned());
            Ok(lines.next().map(|line| (*line).to_owned()))
        };
        let answers = Answers::new(&args(words), Some(&mut ask));
        (answers, prompts)
    }

    #[test]
    fn what_is_not_given_is_asked_until_it_is_right() {
        let (answers, prompts) = typed(
            &["--org", "my-org"],
            &["nowhere", "loki, 1,Better-Stack,loki", "My App", "", "my-app", "Amsterdam", "ams", ""],
        );
        let answers = answers.unwrap();
        let names: Vec<_> = answers.destinations.iter().map(|provider| provider.name).collect();
        assert_eq!(names, ["loki", PROVIDERS[0].name, "better_stack"]);
        assert_eq!((answers.app.as_str(), answers.org.as_str()), ("my-app", "my-org"));
        assert_eq!((answers.region.as_deref(), answers.subject.as_str()), (Some("ams"), "logs.>"));
        assert_eq!(prompts.len(), 8);
        for provider in PROVIDERS {
            assert!(prompts[0].contains(provider.title), "{}", prompts[0]);
        }
        assert!(prompts[1].starts_with("no destination is called `nowhere`"), "{}", prompts[1]);
        assert!(prompts[4].starts_with("`` is no name"), "{}", prompts[4]);
        assert!(prompts[7].ends_with("Subject [logs.>]: "), "{}", prompts[7]);
    }

    #[test]
    fn all_mistakes_and_all_that_is_missing_are_named_at_once() {
        let Err(Failure::Usage(reason)) =
            Answers::new(&args(&["--org", "A", "--region", "x", "--subject", "a..b"]), None)
        else {
            panic!("wrong arguments")
        };
        for part in ["--org", "--region", "--subject", "--destination and --app must be given"] {
            assert!(reason.contains(part), "{part:?} should be in {reason}");
        }
        let (answers, _) = typed(&["--destination", "loki"], &[]);
        assert!(matches!(answers, Err(Failure::Usage(reason)) if reason.starts_with("--app must be given")));
    }
}
