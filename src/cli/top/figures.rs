//! Figures as people read them.

use crate::event::Timestamp;

/// So many in a second: `0`, `3.4`, `1234`, `12.3k`, `4.5M`.
pub(super) fn rate(value: f64) -> String {
    // What is not a number, or below zero, can be no rate.
    let value = if value.is_finite() { value.max(0.0) } else { 0.0 };
    match value {
        ..0.05 => "0".to_owned(),
        ..9.95 => format!("{value:.1}"),
        ..9_999.5 => format!("{value:.0}"),
        ..999_950.0 => format!("{:.1}k", value / 1e3),
        ..999_950_000.0 => format!("{:.1}M", value / 1e6),
        _ => format!("{:.1}G", value / 1e9),
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes: `512 B`, `1.5 MiB`.
pub(super) fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled < 1023.95 {
            return if unit == "B" { format!("{value} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

/// Seconds: `0.3 s`, `12 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn duration(secs: f64) -> String {
    let secs = if secs.is_finite() { secs.max(0.0) } else { 0.0 };
    if secs < 9.95 && secs.fract() >= 0.05 {
        return format!("{secs:.1} s");
    }
    let whole = secs as u64;
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {small_unit}"),
    };
    match whole {
        ..60 => format!("{whole} s"),
        60..3600 => pair(whole / 60, "min", whole % 60, "s"),
        3600..86_400 => pair(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => pair(whole / 86_400, "d", whole % 86_400 / 3600, "h"),
    }
}

/// Seconds in few columns: `0.3s`, `12s`, `5m`, `2h`, `3d`.
pub(super) fn short_duration(secs: f64) -> String {
    let secs = if secs.is_finite() { secs.max(0.0) } else { 0.0 };
    match secs {
        ..9.95 => format!("{secs:.1}s"),
        ..120.0 => format!("{secs:.0}s"),
        ..7200.0 => format!("{:.0}m", secs / 60.0),
        ..172_800.0 => format!("{:.0}h", secs / 3600.0),
        _ => format!("{:.0}d", secs / 86_400.0),
    }
}

/// Seconds since the epoch; nothing if it is no time.
pub(super) fn epoch(time: &str) -> Option<f64> {
    let time = Timestamp::parse_rfc3339(time)?;
    Some(time.seconds() as f64 + f64::from(time.subsecond_nanos()) / 1e9)
}

/// A time and how long ago that is: `12:03:04 UTC, 3 s ago`; with its day, if that is a day or more.
pub(super) fn moment(time: &str, now: f64) -> String {
    let (Some(stamp), Some(at)) = (Timestamp::parse_rfc3339(time), epoch(time)) else {
        return time.to_owned();
    };
    let ago = (now - at).max(0.0);
    let shape = if ago < 86_400.0 { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M UTC" };
    format!("{}, {} ago", stamp.to_chrono().format(shape), duration(ago.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (-3.0, "0"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
            (0.25, "0.2"),
            (9.96, "10"),
            (1234.4, "1234"),
            (12_345.0, "12.3k"),
            (999_960.0, "1.0M"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(rate(value), expected, "{value}");
        }
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(value), expected);
        }
        for (value, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(bytes(value), expected);
        }
        for (value, expected, short) in [
            (0.0, "0 s", "0.0s"),
            (0.31, "0.3 s", "0.3s"),
            (59.9, "59 s", "60s"),
            (303.0, "5 min 3 s", "5m"),
            (7500.0, "2 h 5 min", "2h"),
            (90_000.0, "1 d 1 h", "25h"),
            (1e6, "11 d 13 h", "12d"),
        ] {
            assert_eq!(duration(value), expected);
            assert_eq!(short_duration(value), short);
        }
    }

    #[test]
    fn a_moment_says_how_long_ago_it_was() {
        let now = epoch("2026-11-22T12:00:10Z").unwrap();
        assert_eq!(moment("2026-11-22T12:00:07.5Z", now), "12:00:07 UTC, 2 s ago");
        assert_eq!(moment("2026-11-20T12:00:10Z", now), "2026-11-20 12:00 UTC, 2 d ago");
        // Another clock is a little ahead.
        assert_eq!(moment("2026-11-22T12:00:12Z", now), "12:00:12 UTC, 0 s ago");
        assert_eq!(moment("never", now), "never");
    }
}
