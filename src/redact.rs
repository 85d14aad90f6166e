//! What others have written, a destination or a server, made fit for our log: without our secrets, which it may repeat, and
//! as a piece of one line.

use crate::secret::SensitiveString;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

const HIDDEN: &str = "**REDACTED**";
/// A shorter secret may be found in ordinary words.
const LEAST: usize = 4;
/// So much in a row of a secret is taken out wherever it stands: it is no ordinary word, and may be a key by itself.
const LONG: usize = 12;
/// The same at the end of a text, which may have been cut there.
const LEAST_PIECE: usize = 8;
/// What need not be encoded in a URL (RFC 3986 section 2.3), and mostly is not.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The text without this secret: as it is, in the forms that JSON, URLs and base64 give it, and in pieces
/// of these. Also without its beginning at the text's end, which may have been cut there.
pub(crate) fn redact(text: &str, secret: &str) -> String {
    let mut is_hidden = vec![false; text.len()];
    forms(secret).iter().for_each(|form| hide(text, form, &mut is_hidden));
    let mut shown = String::with_capacity(text.len());
    let mut was_hidden = false;
    for (at, c) in text.char_indices() {
        match (is_hidden[at], was_hidden) {
            (false, _) => shown.push(c),
            (true, false) => shown.push_str(HIDDEN),
            (true, true) => {}
        }
        was_hidden = is_hidden[at];
    }
    shown
}

/// The text without these secrets.
pub(crate) fn redact_all<'a>(text: String, secrets: impl IntoIterator<Item = &'a SensitiveString>) -> String {
    secrets.into_iter().fold(text, |text, secret| redact(&text, secret.expose()))
}

/// The beginning of a text as a piece of one line: what would move the cursor, begin a line or turn the direction of the
/// text is a space.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    text.trim().chars().take(most).map(|c| if is_command(c) { ' ' } else { c }).collect()
}

/// Whether a terminal may do something else with it than to show it: control characters, those that turn the direction
/// of what follows, that begin a line, or that cannot be seen.
pub(crate) fn is_command(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// How a secret may be written.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    if secret.len() < LEAST {
        return Vec::new();
    }
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut forms = vec![
        secret.to_owned(),
        json.get(1..json.len().saturating_sub(1)).unwrap_or_default().to_owned(),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        utf8_percent_encode(secret, RESERVED).to_string(),
        utf8_percent_encode(secret, RESERVED).to_string().replace("%20", "+"),
        STANDARD.encode(secret),
    ];
    forms.sort();
    forms.dedup();
    forms.into_iter().map(Zeroizing::new).collect()
}

/// Marks where this stands in the text: all of it, every [`LONG`] bytes in a row of it, a shorter piece at the
/// text's end.
fn hide(text: &str, form: &str, is_hidden: &mut [bool]) {
    if form.len() < LEAST {
        return;
    }
    for (start, _) in form.char_indices() {
        let piece = &form[start..form.ceil_char_boundary((start + LONG).min(form.len()))];
        if start > 0 && piece.len() < LONG {
            break;
        }
        for (at, _) in text.match_indices(piece) {
            is_hidden[at..at + piece.len()].fill(true);
        }
    }
    // Where the text may have been cut: the beginning of the secret, or a piece of it that is no ordinary word either.
    for (start, _) in form.char_indices() {
        let least = if start == 0 { LEAST } else { LEAST_PIECE };
        let mut ends = (start + least..form.len()).rev().filter(|end| form.is_char_boundary(*end));
        if let Some(end) = ends.find(|end| text.ends_with(&form[start..*end])) {
            is_hidden[text.len() - (end - start)..].fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_taken_out() {
        let secret = r#"Ab12"cd\ef gh$"#;
        for (text, expected) in [
            (format!("key {secret}."), "key **REDACTED**."),
            (format!("key {}.", serde_json::to_string(secret).unwrap()), "key \"**REDACTED**\"."),
            ("key Ab12%22cd%5Cef%20gh%24.".to_owned(), "key **REDACTED**."),
            ("key Ab12%22cd%5Cef+gh%24.".to_owned(), "key **REDACTED**."),
            (format!("key {}", STANDARD.encode(secret)), "key **REDACTED**"),
            (format!("cut {}", &secret[..6]), "cut **REDACTED**"),
            ("Ab1 and gh".to_owned(), "Ab1 and gh"),
        ] {
            assert_eq!(redact(&text, secret), expected, "{text}");
        }
        assert_eq!(redact("an abc", "abc"), "an abc", "too short to be told from words");
    }

    #[test]
    fn a_text_becomes_a_piece_of_one_line() {
        let text = "\n a\x1b[31m\r\nb\u{9b}c\u{2028}d\u{202e}e\u{2067}f ü日 ";
        assert_eq!(one_line(text, 100), "a [31m  b c d e f ü日");
        assert_eq!(one_line(text, 3), "a [");
    }

    #[test]
    fn a_piece_of_a_secret_is_taken_out() {
        let dsn = "https://0123456789abcdef@host/1";
        assert_eq!(redact("no project 0123456789abcdef at host", dsn), "no project **REDACTED** at host");
        assert_eq!(redact("half: 6789abcdef@ho, 9abcdef", dsn), "half: **REDACTED**, 9abcdef");
        let encoded = &STANDARD.encode(dsn)[5..20];
        assert_eq!(redact(&format!("half: {encoded}; no more"), dsn), "half: **REDACTED**; no more");
        assert_eq!(redact("ein Schl\u{fc}ssel\u{fc}ber", "Schl\u{fc}ssel\u{fc}ber"), "ein **REDACTED**");
    }
}
