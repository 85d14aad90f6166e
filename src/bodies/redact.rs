//! What nobody should see: patterns that are replaced by a marker.

use super::{Object, RESERVED, regex};
use crate::event::json;
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::Snafu;

/// A pattern, and what takes the place of the text that fits it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Redaction {
    name: String,
    marker: String,
    patterns: Vec<Regex>,
}

impl PartialEq for Redaction {
    fn eq(&self, other: &Redaction) -> bool {
        self.name == other.name
    }
}

/// Why a text is no pattern.
#[derive(Debug, Snafu)]
pub enum RedactionError {
    /// No pattern has this name.
    #[snafu(display("`{name}` is unknown, expected {} or a /regular expression/", known_names()))]
    UnknownPattern {
        /// The name.
        name: String,
    },
    /// A regular expression is none.
    #[snafu(display("`{pattern}` is no regular expression: {reason}"))]
    BadPattern {
        /// The expression.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A regular expression fits what is not there.
    #[snafu(display(
        "`{pattern}` fits the empty text, so that a marker would stand everywhere; expected an expression for what is to be replaced"
    ))]
    EmptyPattern {
        /// The expression.
        pattern: String,
    },
}

/// A pattern that has a name.
struct Named {
    name: &'static str,
    about: &'static str,
    /// Each replaced by the name in brackets.
    patterns: &'static [&'static str],
    marker: &'static str,
}

// Where a word begins and ends is asked in ASCII, because regular expressions are several times slower on text with
// other letters otherwise; `_` is an end too, and goes with what is replaced: `user_10.0.0.1`.
const IPV4: &str = r"(?:_|(?-u:\b))(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:_|(?-u:\b))";
/// Eight groups; or shortened by `::`, if the beginning is that of an address in use (global, private, link-local,
/// multicast): `abc::def` is a name in many languages.
const IPV6: [&str; 2] = [
    r"(?i)(?:_|(?-u:\b))(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(?:_|(?-u:\b))",
    r"(?i)(?:_|(?-u:\b))(?:[23][0-9a-f]{3}|f[c-f][0-9a-f]{2})(?::[0-9a-f]{1,4}){0,6}::[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6}(?:_|(?-u:\b))",
];

/// In the order of their names.
const NAMED: &[Named] = &[
    Named {
        name: "bearer",
        about: "what follows the word Bearer, if it is 16 characters or longer",
        patterns: &[r"(?i)(?-u:\b)bearer +[a-z0-9._~+/-]{16,}=*"],
        marker: "[bearer]",
    },
    Named {
        name: "credit_card",
        about: "numbers of Visa, Mastercard, Discover and American Express, with spaces or hyphens or without",
        patterns: &[
            r"(?:_|(?-u:\b))(?:4[0-9]{3}|5[1-5][0-9]{2}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)|6(?:011|5[0-9]{2}))(?:[ -]?[0-9]{4}){3}(?:_|(?-u:\b))",
            r"(?:_|(?-u:\b))3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}(?:_|(?-u:\b))",
        ],
        marker: "[credit_card]",
    },
    Named {
        name: "email",
        about: "addresses of mail",
        patterns: &[
            r"(?i)(?-u:\b)[a-z0-9_][a-z0-9._%+-]*@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}(?-u:\b)",
        ],
        marker: "[email]",
    },
    Named {
        name: "ip",
        about: "IPv4 and IPv6 addresses",
        patterns: &[IPV6[0], IPV6[1], IPV4],
        marker: "[ip]",
    },
    Named { name: "ipv4", about: "IPv4 addresses", patterns: &[IPV4], marker: "[ip]" },
    Named {
        name: "ipv6",
        about: "IPv6 addresses that are in use anywhere, and all that are written out",
        patterns: &IPV6,
        marker: "[ip]",
    },
    Named {
        name: "jwt",
        about: "JSON web tokens",
        patterns: &[r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"],
        marker: "[jwt]",
    },
    Named {
        name: "us_social_security_number",
        about: "numbers such as 078-05-1120",
        patterns: &[
            r"(?:_|(?-u:\b))(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6(?:[0-57-9][0-9]|6[0-57-9]))-(?:0[1-9]|[1-9][0-9])-(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})(?:_|(?-u:\b))",
        ],
        marker: "[us_social_security_number]",
    },
    Named {
        name: "uuid",
        about: "UUIDs",
        patterns: &[
            r"(?i)(?:_|(?-u:\b))[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:_|(?-u:\b))",
        ],
        marker: "[uuid]",
    },
];

fn known_names() -> String {
    NAMED.iter().map(|named| format!("`{}`", named.name)).collect::<Vec<_>>().join(", ")
}

/// The memory that a regular expression of the user's may take: whoever writes it may not know what it costs.
const REGEX_BYTES: usize = 4 << 20;

impl Redaction {
    /// The pattern of this name, or, between slashes, a regular expression; with an `i` behind it for capitals or
    /// not.
    ///
    /// # Errors
    /// If there is none of this name, or if it is no regular expression.
    pub fn parse(text: &str) -> Result<Redaction, RedactionError> {
        let text = text.trim();
        let name = text.to_owned();
        if let Some(named) = NAMED.iter().find(|named| named.name == text) {
            let patterns = named.patterns.iter().map(|pattern| regex(pattern)).collect();
            return Ok(Redaction { name, marker: named.marker.to_owned(), patterns });
        }
        let expression = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
        let Some((expression, flags @ ("" | "i"))) = expression else {
            return Err(RedactionError::UnknownPattern { name });
        };
        let flags = if flags.is_empty() { "" } else { "(?i)" };
        let pattern = format!("{flags}{}", expression.replace("\\/", "/"));
        let regex = RegexBuilder::new(&pattern).size_limit(REGEX_BYTES).build();
        let regex = regex.map_err(|error| {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            let reason = last.trim_start_matches("error: ").to_owned();
            RedactionError::BadPattern { pattern: name.clone(), reason }
        })?;
        if regex.is_match("") {
            return Err(RedactionError::EmptyPattern { pattern: name });
        }
        Ok(Redaction { name, marker: "[redacted]".to_owned(), patterns: vec![regex] })
    }

    /// What it was made of: a name or an expression between slashes.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The names that there are, and what each fits.
    pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMED.iter().map(|named| (named.name, named.about))
    }

    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(Regex::as_str)
    }
}

impl TryFrom<String> for Redaction {
    type Error = RedactionError;

    fn try_from(text: String) -> Result<Redaction, RedactionError> {
        Redaction::parse(&text)
    }
}

/// The event with markers in the strings of all fields that are not Fly's; `None` if nothing fits.
pub(super) fn redact(text: &str, redactions: &[Redaction]) -> Option<String> {
    let is_reserved = |key: &str| RESERVED.iter().any(|name| json::key_is(key, name));
    let mut is_changed = false;
    let mut out = Object::with_capacity(0);
    let members = json::members(text).map(|(key, value)| {
        let has_text = !is_reserved(key) && memchr::memchr(b'"', value.as_bytes()).is_some();
        let redacted = if has_text { json::map_strings(value, |text| hide(text, redactions)) } else { None };
        (key, value, redacted)
    });
    let members: smallvec::SmallVec<[_; 8]> =
        members.inspect(|(_, _, redacted)| is_changed |= redacted.is_some()).collect();
    if !is_changed {
        return None;
    }
    for (key, value, redacted) in members {
        out.push(key, redacted.as_deref().unwrap_or(value));
    }
    Some(out.end())
}

/// The text with markers; `None` if nothing fits.
fn hide(text: &str, redactions: &[Redaction]) -> Option<String> {
    let mut hidden: Option<String> = None;
    for redaction in redactions {
        for pattern in &redaction.patterns {
            let text = hidden.as_deref().unwrap_or(text);
            let replaced = pattern.replace_all(text, regex::NoExpand(&redaction.marker));
            if let std::borrow::Cow::Owned(replaced) = replaced {
                hidden = Some(replaced);
            }
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, text: &str, expected: &str) {
        let redaction = Redaction::parse(name).unwrap();
        assert_eq!(hide(text, &[redaction]).as_deref().unwrap_or(text), expected, "{name}");
    }

    #[track_caller]
    fn stays(name: &str, texts: &[&str]) {
        texts.iter().for_each(|text| check(name, text, text));
    }

    #[test]
    fn email() {
        check("email", "from A.b+c@mail.example.com, to <x@y.io>", "from [email], to <[email]>");
        check("email", "a@b.co.", "[email].");
        stays("email", &["a@b", "@user", "a @b.com", "user@", "git@github", "x@1.2", "5 @ 3.50"]);
    }

    #[test]
    fn ip() {
        for name in ["ip", "ipv4"] {
            check(name, "10.0.0.1:80 -> 255.255.255.255", "[ip]:80 -> [ip]");
            check(name, "::ffff:1.2.3.4", "::ffff:[ip]");
            stays(name, &["256.1.1.1", "1.2.3", "v1.2", "1.2.3.999", "1.2.3.x", "1234.5.6.7", "1.2.3.4567"]);
        }
        for name in ["ip", "ipv6"] {
            check(name, "[fdaa:0:1::3]:4223 2001:db8::1,", "[[ip]]:4223 [ip],");
            check(name, "2001:0DB8:85a3:0000:0000:8a2e:0370:7334", "[ip]");
            check(name, "fe80::1%eth0", "[ip]%eth0");
            stays(
                name,
                &[
                    "std::vec",
                    "abc::def",
                    "12:34:56",
                    "aa:bb:cc:dd:ee:ff",
                    "a::b",
                    "fdaa::",
                    "::1",
                    "2026::x",
                ],
            );
        }
        stays("ipv6", &["1.2.3.4"]);
    }

    #[test]
    fn uuid() {
        let uuid = "9e885f1a-0e02-4A3c-9b5e-6f7b1e3f5a10";
        check("uuid", &format!("id={uuid};"), "id=[uuid];");
        stays(
            "uuid",
            &["9e885f1a-0e02-4a3c-9b5e-6f7b1e3f5a1", "9e885f1a0e024a3c9b5e6f7b1e3f5a10", &format!("x{uuid}")],
        );
    }

    #[test]
    fn credit_card() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "5500-0000-0000-0004",
            "340000000000009",
            "2223000048400011",
            "6011000000000004",
        ] {
            check("credit_card", &format!("card {card}."), "card [credit_card].");
        }
        stays(
            "credit_card",
            &[
                "1795323600000137",
                "1795323600000137000",
                "411111111111111",
                "41111111111111111",
                "4111 1111 1111",
                "x4111111111111111",
            ],
        );
    }

    #[test]
    fn tokens() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln-bmF0_XJl";
        check("jwt", &format!("t={jwt} x"), "t=[jwt] x");
        stays("jwt", &["eyJhbGciOiJIUzI1NiJ9", "eyJ.eyJ.x", "a.b.c"]);
        check("bearer", &format!("Authorization: Bearer {jwt}"), "Authorization: [bearer]");
        check("bearer", "bearer  0123456789abcdef==, x", "[bearer], x");
        stays(
            "bearer",
            &["bearer token", "the bearer of bad news", "Bearer authentication", "bearers 0123456789abcdef"],
        );
    }

    /// Names are often put together with `_`, and other letters are no reason to miss an address.
    #[test]
    fn edges_of_words() {
        check("ip", "user_10.0.0.1_x", "user[ip]x");
        check("uuid", "req_9e885f1a-0e02-4a3c-9b5e-6f7b1e3f5a10", "req[uuid]");
        check("credit_card", "card_4111111111111111", "card[credit_card]");
        check("email", "_foo@example.com jörg@example.com", "[email] jö[email]");
        check("ip", "grüße 10.0.0.1é", "grüße [ip]é");
    }

    #[test]
    fn us_social_security_number() {
        let name = "us_social_security_number";
        check(name, "ssn 078-05-1120.", "ssn [us_social_security_number].");
        stays(
            name,
            &[
                "000-05-1120",
                "666-05-1120",
                "900-05-1120",
                "078-00-1120",
                "078-05-0000",
                "1078-05-1120",
                "078-05-11203",
            ],
        );
    }

    #[test]
    fn expressions_of_ones_own() {
        check("/se[ck]ret-\\d{1,2}/", "a secret-15, a SECRET-1", "a [redacted], a SECRET-1");
        check("/a\\/b/i", "A/B", "[redacted]");
        for (text, words) in [
            ("mail", "`mail` is unknown, expected `bearer`"),
            ("/a", "`/a` is unknown"),
            ("/a/x", "`/a/x` is unknown"),
            ("/(/", "`/(/` is no regular expression"),
            ("/a*/", "`/a*/` fits the empty text"),
            ("//", "`//` fits the empty text"),
            (
                "/(a{1000}){1000}/",
                "`/(a{1000}){1000}/` is no regular expression: Compiled regex exceeds size limit",
            ),
        ] {
            let error = Redaction::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(NAMED.is_sorted_by_key(|named| named.name));
    }

    #[test]
    fn strings_of_all_fields_but_flys_and_no_keys() {
        let redactions = ["email", "ip"].map(|name| Redaction::parse(name).unwrap());
        let text = r#"{"host":"1.2.3.4","fly":{"x":"a@b.io"},"message":"\u0061@b.io \n1.2.3.4","a@b.io":[1,{"c":"a@b.io","d":["x"]}],"log":{"level":"1.2.3.4"},"n":1}"#;
        let expected = r#"{"host":"1.2.3.4","fly":{"x":"a@b.io"},"message":"[email] \n[ip]","a@b.io":[1,{"c":"[email]","d":["x"]}],"log":{"level":"1.2.3.4"},"n":1}"#;
        assert_eq!(redact(text, &redactions).as_deref(), Some(expected));
        assert_eq!(redact(expected, &redactions), None);
    }
}
