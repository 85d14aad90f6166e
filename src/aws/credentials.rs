//! Where keys come from: the options, files, the environment, AWS's services; and roles that are taken on with them.

use super::context::Http;
use super::signer::{AwsSigner, Signature};
use super::{AwsAuth, Endpoint, profile};
use crate::config::Result;
use crate::env::Env;
use crate::http::{HttpClient, ProxyConfig};
use crate::secret::SensitiveString;
use crate::sinks::shorten_to;
use crate::tls::TlsConfig;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, AssumeRoleWithWebIdentityCredentialProvider, Credential,
    ECSCredentialProvider, IMDSv2CredentialProvider,
};
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, Error, ProvideCredential, Signer};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What signs requests with the credentials of these options.
pub(super) fn signer(
    auth: &AwsAuth,
    service: &str,
    region: &str,
    env: &Env,
    client: &HttpClient,
) -> Result<AwsSigner> {
    let sts = TokenService::new(auth, region, env, client)?;
    let keys = Keys::new(auth, &sts, env)?;
    let context = sts.http.clone().context(env);
    let signature = Signature::new(service, region);
    let Some(role) = &auth.assume_role else {
        return Ok(AwsSigner::new(Signer::new(context, keys, signature)));
    };
    let signer = Signer::new(context.clone(), keys, sts.signature());
    let keys = sts.role(role, auth.external_id.as_deref(), signer);
    Ok(AwsSigner::new(Signer::new(context, keys, signature)))
}

/// AWS's token service (STS), which gives keys for a role.
#[derive(Debug)]
struct TokenService {
    /// None is the service for the whole world.
    region: Option<String>,
    endpoint: Option<Endpoint>,
    session_name: String,
    http: Http,
}

impl TokenService {
    fn new(auth: &AwsAuth, region: &str, env: &Env, client: &HttpClient) -> Result<TokenService> {
        // Who has the region `auto` has no token service of his own.
        let region = Some(auth.region.as_deref().unwrap_or(region)).filter(|region| *region != "auto");
        let session_name = match &auth.session_name {
            Some(name) => name.clone(),
            None => env.get("AWS_ROLE_SESSION_NAME")?.unwrap_or_else(|| "log-shipper".to_owned()),
        };
        Ok(TokenService {
            region: region.map(str::to_owned),
            endpoint: Endpoint::from_env(&["AWS_ENDPOINT_URL_STS"], env)?,
            session_name,
            http: Http { client: client.clone(), attempts: 1, limit: auth.load_timeout(), endpoint: None },
        })
    }

    fn signature(&self) -> Signature {
        Signature::new("sts", self.region.as_deref().unwrap_or("us-east-1")).sent_to(self.endpoint.clone())
    }

    /// The keys of a role that is taken on with the keys of this signer.
    fn role(
        &self,
        arn: &str,
        external_id: Option<&str>,
        signer: Signer<Credential>,
    ) -> AssumeRoleCredentialProvider {
        let mut provider = AssumeRoleCredentialProvider::new(arn.to_owned(), signer)
            .with_role_session_name(self.session_name.clone());
        if let Some(region) = &self.region {
            provider = provider.with_region(region.clone()).with_regional_sts_endpoint();
        }
        if let Some(id) = external_id {
            provider = provider.with_external_id(id.to_owned());
        }
        provider
    }

    /// The keys of the role and the token that the environment names, and the way to ask for them.
    fn web_identity(&self, env: &Env) -> (Context, AssumeRoleWithWebIdentityCredentialProvider) {
        let mut provider = AssumeRoleWithWebIdentityCredentialProvider::new()
            .with_role_session_name(self.session_name.clone());
        if let Some(region) = &self.region {
            provider = provider.with_region(region.clone()).with_regional_sts_endpoint();
        }
        let http = Http { endpoint: self.endpoint.clone(), ..self.http.clone() };
        (http.context(env), provider)
    }
}

/// The places where keys are looked for.
#[derive(Debug)]
struct Keys {
    auth: AwsAuth,
    env: Env,
    web_identity: (Context, AssumeRoleWithWebIdentityCredentialProvider),
    container: ECSCredentialProvider,
    instance: IMDSv2CredentialProvider,
    /// What both of them are asked through.
    machine: Context,
}

impl Keys {
    fn new(auth: &AwsAuth, sts: &TokenService, env: &Env) -> Result<Keys> {
        // These services are on this machine or beside it; a proxy has no way there.
        let no_proxy = ProxyConfig { enabled: Some(false), ..ProxyConfig::default() };
        let connect = auth.imds.connect_timeout_seconds.0;
        let machine = Http {
            client: HttpClient::new(&TlsConfig::default(), &no_proxy, connect)?,
            attempts: auth.imds.max_attempts,
            limit: connect + auth.imds.read_timeout_seconds.0,
            endpoint: None,
        };
        Ok(Keys {
            auth: auth.clone(),
            env: env.clone(),
            web_identity: sts.web_identity(env),
            container: ECSCredentialProvider::new(),
            instance: IMDSv2CredentialProvider::new(),
            machine: machine.context(env),
        })
    }
}

/// How long keys without an end are used until they are read again. The library asks for new ones two
/// minutes before the end, which makes it five.
const READ_AGAIN: Duration = Duration::from_secs(7 * 60);

impl ProvideCredential for Keys {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        let mut found = self.find().await?;
        found.expires_in.get_or_insert_with(|| Timestamp::now() + READ_AGAIN);
        Ok(Some(found))
    }
}

impl Keys {
    async fn find(&self) -> reqsign_core::Result<Credential> {
        let auth = &self.auth;
        if let (Some(key), Some(secret)) = (&auth.access_key_id, &auth.secret_access_key) {
            let now = |secret: &SensitiveString| self.env.refresh(secret).expose().to_owned();
            return Ok(credential(now(key), now(secret), auth.session_token.as_ref().map(now)));
        }
        let has_profile = auth.credentials_file.is_some() || auth.profile.is_some();
        if !has_profile && let Some(found) = self.environment()? {
            return Ok(found);
        }
        let profile = profile::load(auth, &self.env).map_err(failed)?;
        if let Some([key, secret, token]) = profile.keys().map_err(failed)? {
            let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
            return Ok(credential(owned(key), owned(secret), token.map(str::to_owned)));
        }
        if has_profile {
            return Err(Error::config_invalid(
                "auth: the profile has no aws_access_key_id and aws_secret_access_key",
            ));
        }
        self.ask().await
    }

    fn environment(&self) -> reqsign_core::Result<Option<Credential>> {
        let get = |name: &str| self.env.get(name).map_err(failed);
        match (get("AWS_ACCESS_KEY_ID")?, get("AWS_SECRET_ACCESS_KEY")?) {
            (Some(key), Some(secret)) => Ok(Some(credential(key, secret, get("AWS_SESSION_TOKEN")?))),
            (None, None) => Ok(None),
            _ => Err(Error::config_invalid(
                "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set; set both",
            )),
        }
    }

    /// The services that give keys away.
    async fn ask(&self) -> reqsign_core::Result<Credential> {
        let until = Instant::now() + self.auth.load_timeout();
        let late = |_| {
            let seconds = self.auth.load_timeout().as_secs_f64();
            Error::unexpected(format!("no answer within {seconds} s (auth.load_timeout_secs)"))
        };
        let (context, web_identity) = &self.web_identity;
        let found = timeout_at(until, web_identity.provide_credential(context)).await.map_err(late)??;
        if let Some(found) = found {
            return Ok(found);
        }
        let found =
            timeout_at(until, self.container.provide_credential(&self.machine)).await.map_err(late)??;
        if let Some(found) = found {
            return Ok(found);
        }
        let found = timeout_at(until, self.instance.provide_credential(&self.machine)).await;
        let reason = match found.map_err(late).and_then(|found| found) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "it is switched off".to_owned(),
            Err(error) => describe(&error),
        };
        Err(Error::config_invalid(format!(
            "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or auth.access_key_id and \
             auth.secret_access_key (there is also no profile with keys, no AWS_WEB_IDENTITY_TOKEN_FILE with \
             AWS_ROLE_ARN, no AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI, and of the instance's \
             metadata service: {reason})"
        )))
    }
}

fn credential(access_key_id: String, secret_access_key: String, session_token: Option<String>) -> Credential {
    Credential { access_key_id, secret_access_key, session_token, expires_in: None }
}

fn failed(error: impl std::error::Error) -> Error {
    Error::config_invalid(error.to_string())
}

/// The library's error with those behind it, each of which it shows by itself.
pub(super) fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    // It may have a whole answer in it.
    shorten_to(&text, 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_that_change_where_they_come_from_are_used_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, file) = (dir.path().join("secret"), dir.path().join("credentials"));
        let write = |text: &str| {
            std::fs::write(&secret, text).unwrap();
            let profile = format!("[default]\naws_access_key_id = A\naws_secret_access_key = {text}\n");
            std::fs::write(&file, profile).unwrap();
        };
        write("one");
        let env = Env::from_pairs([
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY_FILE", secret.to_str().unwrap()),
        ]);
        // As `${AWS_SECRET_ACCESS_KEY}` in a configuration.
        let given = env.get("AWS_SECRET_ACCESS_KEY").unwrap().unwrap();
        let from_environment = AwsAuth::default();
        let given = AwsAuth {
            access_key_id: Some("A".into()),
            secret_access_key: Some(given.into()),
            ..AwsAuth::default()
        };
        let from_file =
            AwsAuth { credentials_file: Some(file.to_str().unwrap().to_owned()), ..AwsAuth::default() };
        let client = HttpClient::new(&TlsConfig::default(), &ProxyConfig::default(), Duration::from_secs(1));
        let client = client.unwrap();
        let keys = [from_environment, given, from_file].map(|auth| {
            let sts = TokenService::new(&auth, "eu-west-1", &env, &client).unwrap();
            Keys::new(&auth, &sts, &env).unwrap()
        });
        for expected in ["one", "two"] {
            write(expected);
            for keys in &keys {
                let found = keys.provide_credential(&Context::new()).await.unwrap().unwrap();
                assert_eq!(found.secret_access_key, expected, "{:?}", keys.auth);
                let end = found.expires_in.unwrap();
                assert!(end <= Timestamp::now() + READ_AGAIN, "{end}");
            }
        }
    }
}
