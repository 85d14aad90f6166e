//! What others have written, a destination or a server, made fit for our log: without our secrets, which it may repeat, and
//! as a piece of one line.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
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
/// So much of the beginning of a form is taken out in pieces, in bytes: each takes three to four kilobytes of memory, and a
/// longer secret is a file, of which no answer repeats a piece from the middle.
const MOST_IN_PIECES: usize = 4096;
/// What need not be encoded in a URL (RFC 3986 section 2.3), and mostly is not.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What takes secrets out of texts. Each is found as it is, in the forms that JSON, URLs and base64 give it, and in
/// pieces of these; also its beginning at a text's end, which may have been cut there. Of a very long one the pieces are
/// those of its first 4 KiB, and what follows them.
///
/// Made once for a set of secrets: an answer may have a reason for each of ten thousand events. The pieces of all secrets
/// are looked for at once, so that how long this takes depends on the text alone; only the text's end is compared with
/// each secret by itself.
#[derive(Debug)]
pub(crate) struct Redactor {
    forms: Vec<Zeroizing<String>>,
    /// Finds every piece that is taken out wherever it stands; none if there is no secret.
    pieces: Option<AhoCorasick>,
}

impl Redactor {
    /// For these secrets.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Redactor {
        let mut forms: Vec<_> = secrets.into_iter().flat_map(forms).collect();
        forms.retain(|form| form.len() >= LEAST);
        forms.sort_by(|one, other| one.as_str().cmp(other));
        forms.dedup_by(|one, other| one.as_str() == other.as_str());
        // A table of all transitions would be faster to run, and take far longer to make.
        let mut builder = AhoCorasick::builder();
        builder.kind(Some(AhoCorasickKind::ContiguousNFA));
        // It fails at four thousand million states: with less than that, there are no secrets.
        let pieces = builder.build(forms.iter().flat_map(|form| pieces(form))).ok();
        Redactor { pieces: pieces.filter(|_| !forms.is_empty()), forms }
    }

    /// The text without the secrets.
    pub(crate) fn hide(&self, text: &str) -> String {
        let Some(pieces) = &self.pieces else { return text.to_owned() };
        let mut is_hidden = vec![false; text.len()];
        for found in pieces.find_overlapping_iter(text) {
            is_hidden[found.range()].fill(true);
        }
        for form in &self.forms {
            hide_cut(text, form, &mut is_hidden);
            hide_rest(text, form, &mut is_hidden);
        }
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

/// The part of a form of which each piece is looked for.
fn beginning(form: &str) -> &str {
    &form[..form.floor_char_boundary(MOST_IN_PIECES)]
}

/// What is taken out wherever it stands: all of a form, or every [`LONG`] bytes in a row of its beginning.
fn pieces(form: &str) -> impl Iterator<Item = &str> {
    let form = beginning(form);
    let pieces = form.char_indices().map(|(start, _)| &form[start..piece_end(form, start)]);
    pieces.enumerate().take_while(|(index, piece)| *index == 0 || piece.len() >= LONG).map(|(_, piece)| piece)
}

fn piece_end(form: &str, start: usize) -> usize {
    form.ceil_char_boundary((start + LONG).min(form.len()))
}

/// Marks what of this stands at the text's end, where it may have been cut: the beginning of the secret, or a piece of
/// it that is no ordinary word either. What is as long as a piece has been found by itself.
fn hide_cut(text: &str, form: &str, is_hidden: &mut [bool]) {
    let form = beginning(form);
    for (start, _) in form.char_indices() {
        let least = if start == 0 { LEAST } else { LEAST_PIECE };
        let most = piece_end(form, start).min(form.len() - 1);
        let mut ends = (start + least..=most).rev().filter(|end| form.is_char_boundary(*end));
        if let Some(end) = ends.find(|end| text.ends_with(&form[start..*end])) {
            is_hidden[text.len() - (end - start)..].fill(true);
        }
    }
}

/// Marks what follows the beginning of a very long form, as far as it is that form.
fn hide_rest(text: &str, form: &str, is_hidden: &mut [bool]) {
    let (beginning, rest) = form.split_at(beginning(form).len());
    if rest.is_empty() {
        return;
    }
    let last = &beginning[beginning.floor_char_boundary(beginning.len() - LONG)..];
    let mut at = 0;
    while let Some(found) = text[at..].find(last) {
        let begin = at + found + last.len();
        let same = text[begin..].chars().zip(rest.chars()).take_while(|(one, other)| one == other);
        at = begin + same.map(|(c, _)| c.len_utf8()).sum::<usize>();
        is_hidden[begin..at].fill(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn redact(text: &str, secret: &str) -> String {
        Redactor::new([secret]).hide(text)
    }

    /// The same by looking for each piece of each secret in turn.
    fn redact_slowly(text: &str, secrets: &[String]) -> String {
        let mut is_hidden = vec![false; text.len()];
        for form in secrets.iter().flat_map(|secret| forms(secret)).filter(|form| form.len() >= LEAST) {
            for (start, _) in form.char_indices() {
                for (end, _) in form.char_indices().chain([(form.len(), ' ')]).filter(|(end, _)| *end > start)
                {
                    let piece = &form[start..end];
                    let is_window = end == piece_end(&form, start);
                    let least_at_end = if start == 0 { LEAST } else { LEAST_PIECE };
                    for at in
                        text.char_indices().map(|(at, _)| at).filter(|at| text[*at..].starts_with(piece))
                    {
                        let is_cut =
                            at + piece.len() == text.len() && piece.len() >= least_at_end && end < form.len();
                        if (is_window && (start == 0 || piece.len() >= LONG)) || is_cut {
                            is_hidden[at..at + piece.len()].fill(true);
                        }
                    }
                }
            }
        }
        let shown: String = text.char_indices().map(|(at, c)| if is_hidden[at] { '\0' } else { c }).collect();
        let mut parts = vec![];
        for c in shown.chars() {
            match (c, parts.last()) {
                ('\0', Some('\0')) => {}
                _ => parts.push(c),
            }
        }
        parts.into_iter().collect::<String>().replace('\0', HIDDEN)
    }

    proptest! {
        #[test]
        fn many_secrets_at_once_are_hidden_as_each_by_itself(
            secrets in prop::collection::vec("[abé/]{0,20}", 1..4),
            words in prop::collection::vec((0..4usize, 0..20usize, 0..20usize, "[ ab]{0,3}"), 0..6),
        ) {
            let mut text = String::new();
            for (which, from, length, word) in words {
                let secret = &secrets[which % secrets.len()];
                text.extend(secret.chars().skip(from).take(length));
                text.push_str(&word);
            }
            let redactor = Redactor::new(secrets.iter().map(String::as_str));
            prop_assert_eq!(redactor.hide(&text), redact_slowly(&text, &secrets), "{} without {:?}", text, secrets);
        }
    }

    #[test]
    fn a_huge_text_without_many_secrets_takes_no_time_that_anybody_notices() {
        let secrets: Vec<_> =
            (0..25u64).map(|n| format!("{:016x}-{n}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let redactor = Redactor::new(secrets.iter().map(String::as_str));
        let text = secrets.join(" is no key, and neither is ").repeat(1 << 20 >> 10);
        let begin = Instant::now();
        let shown = redactor.hide(&text[..1 << 20]);
        // An optimised build takes 16 ms, and 230 ms if it looks for each piece in turn; this one is slower, and so may
        // the machine be.
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert!(secrets.iter().all(|secret| !shown.contains(secret)) && shown.contains("is no key"));
    }

    #[test]
    fn a_huge_secret_takes_bounded_work_and_is_hidden_all_the_same() {
        let secret = |length: u64| (0..length / 16).map(|n| format!("{n:014x}é")).collect::<String>();
        let hides = |redactor: &Redactor, text: &str, expected: &str| {
            let hidden = redactor.hide(text);
            let shown = &hidden[..hidden.floor_char_boundary(100)];
            assert!(hidden == expected, "{shown}, {} bytes, not {expected}", hidden.len());
        };
        let huge = secret(1 << 20);
        let redactor = Redactor::new([huge.as_str()]);
        let pieces = redactor.pieces.as_ref().map(AhoCorasick::patterns_len);
        assert!(
            huge.len() >= 1 << 20 && pieces.is_some_and(|pieces| pieces <= 6 * MOST_IN_PIECES),
            "{pieces:?}"
        );
        hides(&redactor, "no key", "no key");
        hides(&redactor, &format!("key {}.", &huge[..100]), "key **REDACTED**.");
        hides(&redactor, &format!("key {}.", &huge[2000..2100]), "key **REDACTED**.");
        hides(&redactor, &format!("key {}.", &STANDARD.encode(&huge)[..100]), "key **REDACTED**.");
        hides(&redactor, &format!("cut {}", &huge[..8]), "cut **REDACTED**");
        // What follows the pieces goes with them.
        let long = secret(4 * MOST_IN_PIECES as u64);
        let redactor = Redactor::new([long.as_str()]);
        hides(&redactor, &format!("keys {long} {long}."), "keys **REDACTED** **REDACTED**.");
        hides(&redactor, &format!("key {}.", STANDARD.encode(&long)), "key **REDACTED**.");
        hides(&redactor, &format!("cut {}", &long[..10_000]), "cut **REDACTED**");
    }

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
