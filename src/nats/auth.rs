//! [`NatsAuth`]: Vector's `auth` options of NATS components.

use crate::env::Env;
use crate::redact::Redactor;
use crate::secret::SensitiveString;
use base64::Engine;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use snafu::{OptionExt, ResultExt, Snafu};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Who we are to a NATS server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "AuthTable")]
#[schemars(with = "AuthTable")]
#[non_exhaustive]
pub enum NatsAuth {
    /// A user and a password.
    UserPassword {
        /// The user.
        user: SensitiveString,
        /// The password.
        password: SensitiveString,
    },
    /// A token.
    Token {
        /// The token.
        value: SensitiveString,
    },
    /// A credentials file, with a user's JWT and seed.
    CredentialsFile {
        /// Its path, read at each connect; or its text.
        path: SensitiveString,
    },
    /// An nkey.
    Nkey {
        /// The public key; checked against the seed's.
        nkey: Option<String>,
        /// The seed, which signs the server's nonce, or the path of a file that holds it, as the NATS
        /// CLI's `NATS_NKEY` does.
        seed: SensitiveString,
    },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuthTable {
    /// Which of the tables beside it holds.
    strategy: Strategy,
    /// A user and a password.
    user_password: Option<UserPassword>,
    /// A token.
    token: Option<Token>,
    /// A credentials file, with a user's JWT and seed.
    credentials_file: Option<CredentialsFile>,
    /// An nkey.
    nkey: Option<Nkey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    UserPassword,
    Token,
    CredentialsFile,
    Nkey,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UserPassword {
    /// The user.
    user: SensitiveString,
    /// The password.
    password: SensitiveString,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Token {
    /// The token.
    value: SensitiveString,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CredentialsFile {
    /// The path of the file, which is read at each connect; or its text.
    path: SensitiveString,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nkey {
    /// The public key; checked against the seed's.
    nkey: Option<String>,
    /// The seed, or the path of a file that holds it.
    seed: SensitiveString,
}

impl TryFrom<AuthTable> for NatsAuth {
    type Error = String;

    fn try_from(table: AuthTable) -> Result<NatsAuth, String> {
        let missing = |name: &str| format!("auth.{name}: missing; auth.strategy is `{name}`, which needs it");
        let given = [
            ("user_password", table.user_password.is_some(), Strategy::UserPassword),
            ("token", table.token.is_some(), Strategy::Token),
            ("credentials_file", table.credentials_file.is_some(), Strategy::CredentialsFile),
            ("nkey", table.nkey.is_some(), Strategy::Nkey),
        ];
        if let Some((name, ..)) =
            given.iter().find(|(_, is_given, strategy)| *is_given && *strategy != table.strategy)
        {
            return Err(format!(
                "auth.{name}: it is not of the chosen auth.strategy; take it out, or choose `{name}`"
            ));
        }
        Ok(match table.strategy {
            Strategy::UserPassword => {
                let UserPassword { user, password } =
                    table.user_password.ok_or_else(|| missing("user_password"))?;
                NatsAuth::UserPassword { user, password }
            }
            Strategy::Token => NatsAuth::Token { value: table.token.ok_or_else(|| missing("token"))?.value },
            Strategy::CredentialsFile => {
                let CredentialsFile { path } =
                    table.credentials_file.ok_or_else(|| missing("credentials_file"))?;
                NatsAuth::CredentialsFile { path }
            }
            Strategy::Nkey => {
                let Nkey { nkey, seed } = table.nkey.ok_or_else(|| missing("nkey"))?;
                let auth = NatsAuth::Nkey { nkey, seed };
                auth.check().map_err(|error| error.to_string())?;
                auth
            }
        })
    }
}

/// We cannot say who we are. No message repeats a secret.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum AuthError {
    /// The credentials file or the file of the seed can't be read.
    #[snafu(display("auth: cannot read {}: {source}; expected a credentials file or a seed", path.display()))]
    Read {
        /// The path.
        path: PathBuf,
        /// Why it can't be read.
        source: std::io::Error,
    },
    /// It is not one.
    #[snafu(display(
        "auth.credentials_file.path: the credentials have no `{part}`; expected a file as `nsc generate creds` writes it"
    ))]
    Malformed {
        /// What it lacks.
        part: &'static str,
    },
    /// The seed is none.
    #[snafu(display(
        "auth: the seed is not that of a user nkey; expected text that begins with SU, or the path of a file that holds it"
    ))]
    Seed,
    /// The public key is not the seed's.
    #[snafu(display("auth.nkey.nkey: it is not the public key of auth.nkey.seed; one of them is wrong"))]
    PublicKey,
}

/// Who we are, as CONNECT says it: secrets in the open, for as long as it takes to write them. No
/// `Debug`.
#[derive(Default, Serialize)]
pub(super) struct Credentials {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Zeroizing<String>>,
    #[serde(rename = "pass", skip_serializing_if = "Option::is_none")]
    password: Option<Zeroizing<String>>,
    #[serde(rename = "auth_token", skip_serializing_if = "Option::is_none")]
    token: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(rename = "sig", skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl Credentials {
    pub(super) fn user_password(user: &SensitiveString, password: &SensitiveString) -> Credentials {
        let text = |secret: &SensitiveString| Some(Zeroizing::new(secret.expose().to_owned()));
        Credentials { user: text(user), password: text(password), ..Credentials::default() }
    }

    pub(super) fn token(token: &SensitiveString) -> Credentials {
        let token = Zeroizing::new(token.expose().to_owned());
        Credentials { token: Some(token), ..Credentials::default() }
    }

    /// A server's text without what we have said to it, which it may repeat. A user's name is no secret.
    pub(super) fn hide(&self, text: &str) -> String {
        let secrets =
            [&self.password, &self.token, &self.jwt].into_iter().flatten().map(|secret| secret.as_str());
        Redactor::new(secrets.chain(self.signature.as_deref())).hide(text)
    }
}

impl NatsAuth {
    /// A seed that is given must be the public key's; one in a file may not be there yet.
    fn check(&self) -> Result<(), AuthError> {
        let NatsAuth::Nkey { nkey, seed } = self else { return Ok(()) };
        if seed.expose().contains('/') {
            return Ok(());
        }
        let pair = key_pair(seed.expose())?;
        match nkey {
            Some(nkey) if !nkey.is_empty() && *nkey != pair.public_key() => PublicKeySnafu.fail(),
            _ => Ok(()),
        }
    }

    /// What to send in CONNECT to a server that has sent this nonce. Secrets that came from files are
    /// read anew.
    pub(super) fn answer(&self, nonce: &[u8], env: &Env) -> Result<Credentials, AuthError> {
        let mut auth = Credentials::default();
        match self {
            NatsAuth::UserPassword { user, password } => {
                auth = Credentials::user_password(&env.refresh(user), &env.refresh(password));
            }
            NatsAuth::Token { value } => auth = Credentials::token(&env.refresh(value)),
            NatsAuth::CredentialsFile { path } => {
                let path = env.refresh(path);
                let text = if path.expose().contains("-----BEGIN") { path } else { read(&path, env)? };
                let part = |name| pem_like(text.expose(), name).context(MalformedSnafu { part: name });
                auth.jwt = Some(Zeroizing::new(part("NATS USER JWT")?.to_owned()));
                auth.signature = Some(sign(part("USER NKEY SEED")?, nonce)?);
            }
            NatsAuth::Nkey { seed, .. } => {
                let mut seed = env.refresh(seed);
                if seed.expose().contains('/') {
                    seed = read(&seed, env)?;
                }
                auth.nkey = Some(key_pair(seed.expose())?.public_key());
                auth.signature = Some(sign(seed.expose(), nonce)?);
            }
        }
        Ok(auth)
    }
}

/// The text of the file, whose path is shown only if it looks like one: a secret may stand where a path
/// should.
fn read(path: &SensitiveString, env: &Env) -> Result<SensitiveString, AuthError> {
    let path = path.expose();
    let shown =
        if path.lines().count() == 1 && path.contains('/') { path } else { "what is given as a path" };
    env.read_file(Path::new(path)).context(ReadSnafu { path: shown })
}

fn key_pair(seed: &str) -> Result<nkeys::KeyPair, AuthError> {
    nkeys::KeyPair::from_seed(seed.trim()).map_err(|_| AuthError::Seed)
}

/// The signature as CONNECT wants it: base64 for URLs, without padding.
fn sign(seed: &str, nonce: &[u8]) -> Result<String, AuthError> {
    let signature = key_pair(seed)?.sign(nonce).map_err(|_| AuthError::Seed)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature))
}

/// The line after `-----BEGIN name-----`.
fn pem_like<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("-----BEGIN {name}-----"))?;
    after.lines().map(str::trim).find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NatsAuth, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn reads_all_strategies() {
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        for text in [
            "strategy = 'user_password'\nuser_password = {user = 'u', password = 'secret'}".to_owned(),
            "strategy = 'token'\ntoken.value = 'secret'".to_owned(),
            "strategy = 'credentials_file'\ncredentials_file.path = '/x/y.creds'".to_owned(),
            format!("strategy = 'nkey'\nnkey.seed = '{seed}'"),
        ] {
            let auth = parse(&text).unwrap();
            assert!(!format!("{auth:?}").contains("secret") && !format!("{auth:?}").contains(&seed));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let pair = nkeys::KeyPair::new_user();
        let (seed, other) = (pair.seed().unwrap(), nkeys::KeyPair::new_user().public_key());
        for (text, words) in [
            ("strategy = 'basic'".to_owned(), "`user_password`, `token`"),
            ("strategy = 'token'".to_owned(), "auth.token: missing"),
            (
                "strategy = 'token'\ntoken.value = 't'\nnkey.seed = 's'".to_owned(),
                "auth.nkey: it is not of the chosen",
            ),
            ("strategy = 'nkey'\nnkey.seed = 'nonsense'".to_owned(), "begins with SU"),
            (
                format!("strategy = 'nkey'\nnkey = {{seed = '{seed}', nkey = '{other}'}}"),
                "not the public key",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(words) && !error.contains(&seed), "{error}");
        }
    }

    #[test]
    fn a_credentials_file_signs_the_nonce() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.creds");
        let pair = nkeys::KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            pair.seed().unwrap()
        );
        std::fs::write(&path, text).unwrap();
        let auth = NatsAuth::CredentialsFile { path: path.to_str().unwrap().into() };
        let answer = auth.answer(b"nonce", &Env::default()).unwrap();
        assert_eq!(answer.jwt.as_ref().map(|jwt| jwt.as_str()), Some("eyJ0"));
        let signature =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(answer.signature.unwrap()).unwrap();
        pair.verify(b"nonce", &signature).unwrap();

        std::fs::write(&path, "nothing").unwrap();
        let error = auth.answer(b"nonce", &Env::default()).err().unwrap().to_string();
        assert!(error.contains("NATS USER JWT"), "{error}");
    }
}
