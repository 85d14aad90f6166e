//! `--since`: `10m`, or a time.

use crate::event::Timestamp;

const UNITS: [(char, i64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
const NANOS: i64 = 1_000_000_000;

/// The time that is so long ago, or that stands there.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    ago(text)
        .and_then(|ago| Timestamp::now().nanos().checked_sub(ago))
        .map(Timestamp::from_nanos)
        .or_else(|| Timestamp::parse_rfc3339(text))
        .ok_or_else(|| {
            "expected a time span such as 30s, 10m, 2h or 1d, or a time such as 2026-11-22T10:00:00Z"
                .to_owned()
        })
}

/// A span in nanoseconds.
fn ago(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| unit.starts_with(*name))?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(NANOS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
        ] {
            assert_eq!(ago(text), seconds.map(|seconds: i64| seconds * NANOS), "{text}");
        }
        assert_eq!(parse("2026-11-22T10:00:00Z").unwrap().seconds(), 1_795_341_600);
        for text in
            ["", "m", "10", "-5m", "10x", "5é", "é", "99999999999999999999d", "9999999999999d", "yesterday"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains("such as 30s"), "{text}: {error}");
        }
    }
}
