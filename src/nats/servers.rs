//! [`Servers`]: the `url` option, a comma-separated list of NATS servers.

use crate::secret::SensitiveString;
use snafu::Snafu;
use url::{Host, Url};

/// The servers of a cluster, and the user and password that their URLs hold.
#[derive(Clone, Debug)]
pub struct Servers {
    /// URLs without userinfo.
    pub urls: Vec<String>,
    /// The user and password of the URLs; a user alone is a token.
    pub userinfo: Option<(SensitiveString, Option<SensitiveString>)>,
}

/// The list cannot be used. No message repeats what may be a password.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum ServersError {
    /// It is empty.
    #[snafu(display("url: empty; expected at least one server such as nats://localhost:4222"))]
    Empty,
    /// A part of it is no URL.
    #[snafu(display(
        "url: server {number} of the list is not a URL of a NATS server; expected one such as nats://localhost:4222 or tls://host:4222, with special characters in user and password percent-encoded"
    ))]
    NotAUrl {
        /// Which one, from 1.
        number: usize,
    },
    /// The URLs hold different users.
    #[snafu(display(
        "url: the servers have different users or passwords; all of them must have the same, or none"
    ))]
    DifferentUsers,
}

impl Servers {
    /// Parses the list. Commas inside a user or password do not divide it.
    ///
    /// # Errors
    /// If a part is no URL, or the URLs hold different users.
    pub fn parse(list: &str) -> Result<Servers, ServersError> {
        let mut servers = Servers { urls: Vec::new(), userinfo: None };
        for (index, text) in split(list).into_iter().enumerate() {
            let text = text.trim();
            let not_a_url = ServersError::NotAUrl { number: index + 1 };
            let with_scheme = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
            let Some((scheme, rest)) = with_scheme.split_once("://") else { return Err(not_a_url) };
            // A password may hold anything, so that the host begins at the last `@`.
            let (userinfo, host) = match rest.rsplit_once('@') {
                Some((userinfo, host)) => (Some(userinfo), host),
                None => (None, rest),
            };
            let url = format!("{scheme}://{host}");
            let has_host = Url::parse(&url).is_ok_and(|url| url.host().is_some());
            if !matches!(scheme, "nats" | "tls") || !has_host {
                return Err(not_a_url);
            }
            servers.urls.push(url);
            let Some(userinfo) = userinfo else { continue };
            let (user, password) = match userinfo.split_once(':') {
                Some((user, password)) => (decode(user), Some(decode(password))),
                None => (decode(userinfo), None),
            };
            match &servers.userinfo {
                Some(other) if *other != (user.clone(), password.clone()) => {
                    return Err(ServersError::DifferentUsers);
                }
                _ => servers.userinfo = Some((user, password)),
            }
        }
        if servers.urls.is_empty() { Err(ServersError::Empty) } else { Ok(servers) }
    }

    /// The list as it may be shown.
    pub fn shown(&self) -> String {
        self.urls.join(", ")
    }
}

/// Where a URL that [`Servers::parse`] has taken, or that a server has told us of, leads to.
pub(super) fn host_and_port(url: &str) -> (String, u16) {
    const PORT: u16 = 4222;
    let Ok(url) = Url::parse(url) else { return (url.to_owned(), PORT) };
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => String::new(),
    };
    (host, url.port().unwrap_or(PORT))
}

fn decode(text: &str) -> SensitiveString {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned().into()
}

/// The list at its commas, but for those inside a userinfo: after `scheme://`, a comma before the next
/// `@` divides nothing, unless a new URL begins right behind it.
fn split(list: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let pieces: Vec<&str> = list.split(',').collect();
    for (index, piece) in pieces.iter().enumerate() {
        let is_open = parts.last().is_some_and(|last| last.contains("://") && !last.contains('@'));
        let rest = &pieces[index..];
        let until_next_url = rest.iter().position(|piece| piece.contains("://")).unwrap_or(rest.len());
        let closes_later = rest[..until_next_url].iter().any(|piece| piece.contains('@'));
        match parts.last_mut().filter(|_| is_open && closes_later) {
            Some(last) => {
                last.push(',');
                last.push_str(piece);
            }
            None => parts.push((*piece).to_owned()),
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, urls: &[&str], userinfo: Option<(&str, Option<&str>)>) {
        let servers = Servers::parse(list).unwrap();
        assert_eq!(servers.urls, urls, "{list}");
        let seen = servers.userinfo.as_ref();
        let seen =
            seen.map(|(user, password)| (user.expose(), password.as_ref().map(SensitiveString::expose)));
        assert_eq!(seen, userinfo, "{list}");
    }

    #[test]
    fn parses_lists() {
        check("nats://a:4222", &["nats://a:4222"], None);
        check("a:4222, tls://b", &["nats://a:4222", "tls://b"], None);
        check("nats://[fdaa::3]:4223", &["nats://[fdaa::3]:4223"], None);
        check("nats://u:p@a,nats://u:p@b", &["nats://a", "nats://b"], Some(("u", Some("p"))));
        check("nats://u:p@a,b:4222", &["nats://a", "nats://b:4222"], Some(("u", Some("p"))));
        check("nats://token@a", &["nats://a"], Some(("token", None)));
        check("nats://org:FlyV1%20fm2_a,fm2_b@a", &["nats://a"], Some(("org", Some("FlyV1 fm2_a,fm2_b"))));
        check("nats://o:a,b,c@a,nats://o:a,b,c@b", &["nats://a", "nats://b"], Some(("o", Some("a,b,c"))));
        check("nats://u:p%40ss@a", &["nats://a"], Some(("u", Some("p@ss"))));
    }

    #[test]
    fn leads_to_a_host_and_a_port() {
        for (url, host, port) in [
            ("nats://a", "a", 4222),
            ("tls://a.b:5", "a.b", 5),
            ("nats://[fdaa::3]:4223", "fdaa::3", 4223),
            ("nats://10.0.0.1:4222", "10.0.0.1", 4222),
        ] {
            assert_eq!(host_and_port(url), (host.to_owned(), port));
        }
    }

    #[test]
    fn says_what_is_wrong_without_the_password() {
        for (list, words) in [
            ("", "empty"),
            (" , ", "empty"),
            ("http://u:secret@a", "server 1"),
            ("nats://a,nats://u:secret@:x:y", "server 2"),
            ("nats://u:secret@a,nats://v:secret@b", "different users"),
        ] {
            let error = Servers::parse(list).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{list}: {error}");
        }
    }
}
