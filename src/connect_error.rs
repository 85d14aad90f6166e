//! Why a connection cannot be made, in the words of a person: a library says it in chains of its own layers.

use crate::redact::one_line;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use std::error::Error;
use std::io;

/// How much of a server's own text is shown: the names in a certificate are its own choice.
const MAX_TEXT: usize = 300;

/// What is behind this error. Where nothing better is known, the innermost cause in its own words.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(words) = known(error) {
            return words;
        }
        innermost = error;
        cause = below(error);
    }
    one_line(without_number(&innermost.to_string()), MAX_TEXT)
}

/// The error behind this one. An I/O error made of another one passes it over as its source.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    let text = error.to_string();
    // The system's resolver has no kind of its own for what it finds; it begins so whatever that is.
    if let Some(why) = text.strip_prefix("failed to lookup address information") {
        let is_for_now = why.contains("Temporary failure");
        return Some(
            if is_for_now { "the name cannot be looked up now" } else { "the name is not found" }.to_owned(),
        );
    }
    // One that only wraps another says less than that does.
    let error = error.downcast_ref::<io::Error>().filter(|error| error.get_ref().is_none())?;
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::HostUnreachable => "the host is unreachable",
        io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        io::ErrorKind::UnexpectedEof => "the other side has closed the connection",
        _ => return None,
    };
    Some(words.to_owned())
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => of_certificate(error),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        error => format!("TLS: {}", one_line(&error.to_string(), MAX_TEXT)),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate is not trusted: it is of an unknown authority".to_owned()
        }
        // Whoever has made an authority anew, with the same name, meets this one.
        CertificateError::BadSignature => {
            "its certificate is not trusted: it is of an unknown authority that has the name of a known one"
                .to_owned()
        }
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired: it was valid until {}", date(*not_after))
        }
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid yet: it will be from {}", date(*not_before))
        }
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            let names = one_line(&names, MAX_TEXT);
            format!("its certificate is for another name: for {names}, not for {}", expected.to_str())
        }
        error => format!("its certificate is not valid: {}", one_line(&error.to_string(), MAX_TEXT)),
    }
}

/// A name in a certificate without its type, as in `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp(seconds, 0)
        .map_or_else(String::new, |time| time.date_naive().to_string())
}

/// Without the system's number of the error, which says nothing to anybody.
fn without_number(text: &str) -> &str {
    text.split_once(" (os error").map_or(text, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use std::time::Duration;

    #[test]
    fn the_cause_is_said_and_not_the_layers() {
        let certificate = |error: CertificateError| io::Error::other(rustls::Error::from(error));
        let day = |day: u64| UnixTime::since_unix_epoch(Duration::from_secs(day * 86_400));
        let expected = ServerName::try_from("a.example").unwrap();
        let presented = vec!["DnsName(\"b.example\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        for (error, words) in [
            (io::Error::from_raw_os_error(111), "connection refused"),
            (io::Error::other(io::Error::from_raw_os_error(104)), "connection reset"),
            (io::Error::from_raw_os_error(110), "timed out"),
            (io::Error::from_raw_os_error(113), "the host is unreachable"),
            (io::Error::from_raw_os_error(101), "the network is unreachable"),
            (io::Error::from_raw_os_error(13), "Permission denied"),
            (
                io::Error::other("failed to lookup address information: Name or service not known"),
                "the name is not found",
            ),
            (
                io::Error::other(
                    "failed to lookup address information: Temporary failure in name resolution",
                ),
                "the name cannot be looked up now",
            ),
            (
                certificate(CertificateError::UnknownIssuer),
                "its certificate is not trusted: it is of an unknown authority",
            ),
            (
                certificate(CertificateError::ExpiredContext { time: day(2), not_after: day(1) }),
                "its certificate has expired: it was valid until 1970-01-02",
            ),
            (
                certificate(CertificateError::NotValidYetContext { time: day(2), not_before: day(3) }),
                "its certificate is not valid yet: it will be from 1970-01-04",
            ),
            (
                certificate(CertificateError::NotValidForNameContext { expected, presented }),
                "its certificate is for another name: for b.example, 10.0.0.1, not for a.example",
            ),
            (certificate(CertificateError::BadEncoding), "its certificate is not valid: BadEncoding"),
            (
                io::Error::other(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
                "it does not speak TLS",
            ),
        ] {
            assert_eq!(in_words(&error), words);
        }
    }

    #[test]
    fn a_servers_text_is_bounded_and_one_line() {
        let names = vec![format!("DnsName(\"\x1b[31m{}\")", "x".repeat(5000))];
        let expected = ServerName::try_from("a.example").unwrap();
        let error: rustls::Error =
            CertificateError::NotValidForNameContext { expected, presented: names }.into();
        let words = in_words(&io::Error::other(error));
        assert!(words.len() < 400 && !words.contains('\x1b'), "{words:?}");
    }
}
