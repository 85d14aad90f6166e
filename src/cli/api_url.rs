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

#[cfg(test)]
mod tests {
    use super::*;

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
