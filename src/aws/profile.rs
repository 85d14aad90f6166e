//! The files of AWS's command line tool: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Source: docs.aws.amazon.com/sdkref/latest/guide/file-format.html

use super::AwsAuth;
use crate::env::{Env, EnvError, MAX_FILE};
use crate::files::read_text;
use crate::secret::SensitiveString;
use snafu::{ResultExt, Snafu};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The settings of one profile. The library that signs knows these files too, but does not say why it finds
/// nothing in them.
#[derive(Debug, Default)]
pub(super) struct Profile {
    name: String,
    settings: BTreeMap<String, SensitiveString>,
}

/// A profile cannot be used.
#[derive(Debug, Snafu)]
pub enum ProfileError {
    /// A file can't be read.
    #[snafu(display("cannot read {}: {source}; expected AWS's file of profiles", path.display()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No file has a profile of the name that is asked for.
    #[snafu(display("there is no profile `{name}` in AWS's files; check auth.profile and AWS_PROFILE"))]
    Missing {
        /// The name.
        name: String,
    },
    /// It gets its keys in a way that is not supported.
    #[snafu(display(
        "the profile `{name}` has `{setting}`, which is not supported; put an aws_access_key_id and an \
         aws_secret_access_key into it, or set auth.assume_role"
    ))]
    Unsupported {
        /// The name.
        name: String,
        /// What asks for it.
        setting: &'static str,
    },
    /// The environment can't be read.
    #[snafu(transparent)]
    Env {
        /// Why not.
        source: EnvError,
    },
}

/// The profile that the options and the environment name, read from the file that they name, else from
/// both of AWS's files. Without such a file it is empty, unless somebody asks for it by name.
pub(super) fn load(auth: &AwsAuth, env: &Env) -> Result<Profile, ProfileError> {
    let named = match &auth.profile {
        Some(name) => Some(name.clone()),
        None => env.get("AWS_PROFILE")?,
    };
    let name = named.clone().unwrap_or_else(|| "default".to_owned());
    let home = env.get("HOME")?;
    // Without a home there is nothing in it.
    let in_home = |path: &str| match (path.strip_prefix("~/"), &home) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    };
    let mut settings = BTreeMap::new();
    let mut is_there = false;
    let mut take = |path: PathBuf, section: &str, tolerated: &[io::ErrorKind]| -> Result<(), ProfileError> {
        let text = match read_text(&path, MAX_FILE) {
            Err(error) if tolerated.contains(&error.kind()) => return Ok(()),
            text => SensitiveString::from(text.context(ReadSnafu { path })?),
        };
        is_there |= parse(text.expose(), section, &mut settings);
        Ok(())
    };
    if let Some(file) = &auth.credentials_file {
        take(in_home(file), &name, &[])?;
        snafu::ensure!(is_there, MissingSnafu { name });
        return Ok(Profile { name, settings });
    }
    // Another user's home, as in a container, may be closed to us.
    let in_general = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied, io::ErrorKind::NotADirectory];
    let section = if name == "default" { name.clone() } else { format!("profile {name}") };
    // The credentials come last, because they count where both files say something.
    for (variable, default, section) in [
        ("AWS_CONFIG_FILE", "~/.aws/config", &section),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", &name),
    ] {
        match env.get(variable)? {
            Some(path) => take(in_home(&path), section, &in_general[..1])?,
            None if home.is_none() => {}
            None => take(in_home(default), section, &in_general)?,
        }
    }
    snafu::ensure!(is_there || named.is_none(), MissingSnafu { name });
    Ok(Profile { name, settings })
}

/// Adds a section's settings; whether there is such a section.
fn parse(text: &str, section: &str, settings: &mut BTreeMap<String, SensitiveString>) -> bool {
    let (mut is_there, mut is_inside) = (false, false);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default();
            // AWS's tools take both.
            let name = if section == "default" { name.trim().trim_start_matches("profile ") } else { name };
            is_inside = name.split_whitespace().eq(section.split_whitespace());
            is_there |= is_inside;
        // What is indented belongs to a setting that has settings of its own, none of them ours.
        } else if is_inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            let comment = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
            let value = value[..comment.unwrap_or(value.len())].trim();
            settings.insert(key.trim().to_lowercase(), value.into());
        }
    }
    is_there
}

impl Profile {
    /// A setting, if it is there and says something.
    pub(super) fn get(&self, setting: &str) -> Option<&str> {
        self.settings.get(setting).map(SensitiveString::expose).filter(|value| !value.is_empty())
    }

    /// Its key, secret and session token.
    ///
    /// # Errors
    /// If it has none, but asks for another way to get them.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "it is for those who sign"))]
    pub(super) fn keys(&self) -> Result<Option<[Option<&str>; 3]>, ProfileError> {
        let (key, secret) = (self.get("aws_access_key_id"), self.get("aws_secret_access_key"));
        if key.is_some() && secret.is_some() {
            return Ok(Some([key, secret, self.get("aws_session_token")]));
        }
        let others = ["role_arn", "credential_process", "sso_session", "sso_start_url", "login_session"];
        match others.into_iter().find(|setting| self.get(setting).is_some()) {
            Some(setting) => UnsupportedSnafu { name: &self.name, setting }.fail(),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# a comment
[default]
region = eu-west-1   # there
s3 =
  region = not-this-one
[profile work]
region=us-west-2
[profile  sso]
sso_session = corp
";
    const CREDENTIALS: &str = "\
[default]
AWS_ACCESS_KEY_ID = AKIADEFAULT
aws_secret_access_key = a/b+c=
; a comment
[work]
aws_access_key_id=AKIAWORK
aws_secret_access_key=secret
aws_session_token = token
";

    #[test]
    fn reads_both_files_and_says_what_is_wrong() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config"), CONFIG).unwrap();
        std::fs::write(folder.join("credentials"), CREDENTIALS).unwrap();
        let home = home.path().to_str().unwrap();
        let load = |profile: Option<&str>, file: Option<&str>, variables: &[(&str, &str)]| {
            let (profile, credentials_file) = (profile.map(str::to_owned), file.map(str::to_owned));
            let auth = AwsAuth { profile, credentials_file, ..AwsAuth::default() };
            let variables = [("HOME", home)].into_iter().chain(variables.iter().copied());
            load(&auth, &Env::from_pairs(variables))
        };
        let default = load(None, None, &[]).unwrap();
        assert_eq!(default.keys().unwrap(), Some([Some("AKIADEFAULT"), Some("a/b+c="), None]));
        assert_eq!(default.get("region"), Some("eu-west-1"));
        assert!(!format!("{default:?}").contains("a/b+c="));
        for work in [load(Some("work"), None, &[]), load(None, None, &[("AWS_PROFILE", "work")])] {
            let work = work.unwrap();
            assert_eq!(work.keys().unwrap(), Some([Some("AKIAWORK"), Some("secret"), Some("token")]));
            assert_eq!(work.get("region"), Some("us-west-2"));
        }
        let file = load(Some("work"), Some("~/.aws/credentials"), &[]).unwrap();
        assert_eq!((file.keys().unwrap().unwrap()[0], file.get("region")), (Some("AKIAWORK"), None));

        let error = load(Some("sso"), None, &[]).unwrap().keys().unwrap_err().to_string();
        assert!(error.contains("`sso`") && error.contains("`sso_session`"), "{error}");
        for (profile, file, words) in [
            (Some("none"), None, "no profile `none`"),
            (Some("none"), Some("~/.aws/credentials"), "no profile `none`"),
            (None, Some("/nowhere/credentials"), "cannot read /nowhere/credentials"),
        ] {
            let error = load(profile, file, &[]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let elsewhere = [("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"), ("AWS_CONFIG_FILE", "/nowhere")];
        assert_eq!(load(None, None, &elsewhere).unwrap().keys().unwrap(), None);
    }
}
