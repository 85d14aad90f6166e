//! Where the API of this environment is, for the commands that ask it.

use super::Failure;
use crate::config::api_address;
use crate::env::Env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::Url;

/// The URL at which the API of API_ADDRESS, or else of 127.0.0.1:8686, answers to its own host: what listens everywhere
/// is here as well. `None` if it is off.
///
/// # Errors
/// If API_ADDRESS is no address.
pub(super) fn of_environment(env: &Env) -> Result<Option<Url>, Failure> {
    let Some(address) = api_address(env).map_err(Failure::config)? else { return Ok(None) };
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("http://{}/", SocketAddr::new(host, address.port()));
    Url::parse(&url).map(Some).map_err(Failure::failed)
}

/// The URL that somebody has given with `--url`. It is said to everybody who reads the output, so that no password may
/// stand in it; neither is it repeated if it is wrong.
///
/// # Errors
/// If it is none of HTTP, or has a user or password; `example` is what is expected.
pub(super) fn given(text: &str, example: &str) -> Result<Url, Failure> {
    let wrong =
        |what: &str| Failure::Usage(format!("--url: {what}; expected the API's URL, such as {example}"));
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(wrong("it does not begin with http:// or https://"));
    }
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(url),
        false => Err(wrong("the API takes no user and password")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_given_is_of_http_and_has_no_password() {
        let example = "http://127.0.0.1:8686";
        assert_eq!(given("http://[::1]:8686", example).unwrap().as_str(), "http://[::1]:8686/");
        for (wrong, words) in [
            ("http://u:s3cr3t@127.0.0.1:1", "no user and password"),
            ("http://s3cr3t@127.0.0.1:1/ready", "no user and password"),
            ("https://:s3cr3t@127.0.0.1:1", "no user and password"),
            ("http://u:s3cr3t@[bad", "invalid IPv6 address"),
            ("ftp://u:s3cr3t@h", "does not begin with http://"),
        ] {
            let Err(Failure::Usage(text)) = given(wrong, example) else { panic!("{wrong}") };
            assert!(text.contains(words) && text.ends_with(example) && !text.contains("s3cr3t"), "{text}");
        }
    }

    #[test]
    fn the_url_is_that_of_the_api_as_its_own_host_sees_it() {
        for (address, expected) in [
            ("", Some("http://127.0.0.1:8686/")),
            ("127.0.0.1:8686", Some("http://127.0.0.1:8686/")),
            ("0.0.0.0:9000", Some("http://127.0.0.1:9000/")),
            ("[::]:9000", Some("http://[::1]:9000/")),
            ("10.1.2.3:80", Some("http://10.1.2.3/")),
            ("[fdaa::3]:8686", Some("http://[fdaa::3]:8686/")),
            ("off", None),
        ] {
            let url = of_environment(&Env::from_pairs([("API_ADDRESS", address)])).unwrap();
            assert_eq!(url.as_ref().map(Url::as_str), expected, "{address}");
        }
        for wrong in ["8686", "localhost:8686", "http://127.0.0.1:8686"] {
            let error = of_environment(&Env::from_pairs([("API_ADDRESS", wrong)])).unwrap_err();
            let Failure::Config(text) = error else { panic!("{error:?}") };
            assert!(text.contains("API_ADDRESS") && text.contains("such as 127.0.0.1:8686"), "{text}");
        }
    }
}
