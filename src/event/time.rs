//! The time of an event: nanoseconds since the Unix epoch, read from and written as text.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z, which reaches from 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const NANOS: i64 = 1_000_000_000;
const SECONDS_A_DAY: i64 = 86_400;

impl Timestamp {
    /// The system's time.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// That many nanoseconds after the epoch.
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole microseconds since the epoch, rounded down.
    pub const fn micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// Nanoseconds after [`Timestamp::seconds`].
    pub const fn subsecond_nanos(self) -> u32 {
        self.0.rem_euclid(NANOS) as u32
    }

    /// RFC 3339 (`2026-11-22T05:00:00.000137Z`): a capital or small T or a space, any number of
    /// fractional digits (those past the ninth are cut off), `Z` or an offset. `None` for anything
    /// else, and for a day that does not exist.
    pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        // `2026-11-22T05:00:00` is always there, in its places.
        let [
            y1,
            y2,
            y3,
            y4,
            b'-',
            m1,
            m2,
            b'-',
            d1,
            d2,
            b'T' | b't' | b' ',
            h1,
            h2,
            b':',
            n1,
            n2,
            b':',
            s1,
            s2,
        ] = *bytes.first_chunk::<19>()?
        else {
            return None;
        };
        let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
        let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        // Second 60 is a leap second; it counts as the last nanosecond-free instant of its minute.
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (mut at, mut nanos) = (19, 0);
        if bytes.get(at) == Some(&b'.') {
            let mut places = 0;
            at += 1;
            while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
                if places < 9 {
                    nanos = nanos * 10 + i64::from(digit - b'0');
                    places += 1;
                }
                at += 1;
            }
            if places == 0 {
                return None;
            }
            nanos *= SCALES[places];
        }
        let offset = match *bytes.get(at)? {
            b'Z' | b'z' if bytes.len() == at + 1 => 0,
            sign @ (b'+' | b'-') => {
                let [h1, h2, b':', m1, m2] = *bytes.get(at + 1..)? else { return None };
                let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 3600 + minutes * 60) * if sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        let seconds =
            days_from_civil(year, month, day) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second - offset;
        seconds.checked_mul(NANOS)?.checked_add(nanos).map(Timestamp)
    }

    /// A count since the epoch whose unit its size tells: seconds, milliseconds, microseconds or
    /// nanoseconds. A fraction is allowed. `None` if the text is no number, or is too small to be a
    /// time since 1973: a field called `time` may well hold a duration.
    pub fn parse_epoch(text: &str) -> Option<Timestamp> {
        let scale_of = |whole: u64| match whole {
            0..=99_999_999_999 => 1_000_000_000,
            100_000_000_000..=99_999_999_999_999 => 1_000_000,
            100_000_000_000_000..=99_999_999_999_999_999 => 1_000,
            _ => 1,
        };
        const LEAST: u64 = 100_000_000;
        if let Ok(whole) = text.parse::<u64>() {
            let nanos = i64::try_from(whole).ok()?.checked_mul(scale_of(whole))?;
            return (whole >= LEAST).then_some(Timestamp(nanos));
        }
        let number =
            text.parse::<f64>().ok().filter(|number| *number >= LEAST as f64 && *number < i64::MAX as f64)?;
        let whole = number.trunc();
        let scale = scale_of(whole as u64);
        // The whole part is multiplied as an integer, because a float holds only 53 bits.
        let nanos = (whole as i64).checked_mul(scale)?;
        nanos.checked_add(((number - whole) * scale as f64).round() as i64).map(Timestamp)
    }

    /// Year, month and day in UTC.
    pub fn date(self) -> (i64, i64, i64) {
        civil_from_days(self.seconds().div_euclid(SECONDS_A_DAY))
    }

    /// Appends RFC 3339 in UTC with nine fractional digits: `2026-11-22T05:00:00.000137000Z`.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let (days, second) =
            (self.seconds().div_euclid(SECONDS_A_DAY), self.seconds().rem_euclid(SECONDS_A_DAY));
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let mut put = |at: usize, width: usize, mut number: i64| {
            for digit in text[at..at + width].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, second / 3600);
        put(14, 2, second / 60 % 60);
        put(17, 2, second % 60);
        put(20, 9, i64::from(self.subsecond_nanos()));
        out.extend_from_slice(&text);
    }

    /// The same as a string.
    pub fn to_rfc3339(self) -> String {
        let mut out = Vec::with_capacity(30);
        self.write_rfc3339(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The same point in time for chrono's formatting.
    pub fn to_chrono(self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::from_timestamp_nanos(self.0)
    }
}

/// What a fraction of so many digits has to be multiplied with to be nanoseconds.
const SCALES: [i64; 10] =
    [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

#[inline]
fn number<const DIGITS: usize>(digits: &[u8; DIGITS]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch of a date of the Gregorian calendar. The year starts in March here, so that
/// the leap day is its last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_rfc3339(text: &str, expected: Option<i64>) {
        assert_eq!(Timestamp::parse_rfc3339(text).map(Timestamp::nanos), expected, "{text}");
    }

    #[test]
    fn parses_rfc3339() {
        check_rfc3339("1970-01-01T00:00:00Z", Some(0));
        check_rfc3339("2026-11-22T05:00:00.000137000Z", Some(1_795_323_600_000_137_000));
        check_rfc3339("2026-11-22 05:00:00z", Some(1_795_323_600_000_000_000));
        check_rfc3339("2026-11-22t07:30:00.5+02:30", Some(1_795_323_600_500_000_000));
        check_rfc3339("2026-11-22T05:00:00.1234567891234Z", Some(1_795_323_600_123_456_789));
        check_rfc3339("1969-12-31T23:59:59.5Z", Some(-500_000_000));
        check_rfc3339("2016-12-31T23:59:60Z", Some(1_483_228_800_000_000_000));
        for text in [
            "",
            "2026",
            "2026-11-22",
            "2026-11-22T05:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T05:00:00.Z",
            "2026-11-22T05:00:00Zx",
            "2026-11-22T05:00:00+2",
            "2026-11-22T05:00:00+25:00",
            "x026-11-22T05:00:00Z",
            "9999-12-31T00:00:00Z",
            "2026-11-22T05:00:00é",
        ] {
            check_rfc3339(text, None);
        }
    }

    #[test]
    fn parses_epochs_by_their_size() {
        for (text, expected) in [
            ("1795323600", Some(1_795_323_600_000_000_000)),
            ("1795323600.25", Some(1_795_323_600_250_000_000)),
            ("1795323600123", Some(1_795_323_600_123_000_000)),
            ("1795323600123456", Some(1_795_323_600_123_456_000)),
            ("1795323600123456789", Some(1_795_323_600_123_456_789)),
            ("1.795e9", Some(1_795_000_000_000_000_000)),
            ("0", None),
            ("35", None),
            ("99999999.9", None),
            ("-5", None),
            ("NaN", None),
            ("inf", None),
            ("99999999999999999999999", None),
            ("yesterday", None),
        ] {
            assert_eq!(Timestamp::parse_epoch(text).map(Timestamp::nanos), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_number_are_the_same_instant(nanos in any::<i64>()) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_rfc3339()), Some(time));
            prop_assert_eq!(time.to_rfc3339(), time.to_chrono().format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string());
        }

        #[test]
        fn parses_what_chrono_parses(
            nanos in 0..4_000_000_000_000_000_000i64, offset in -1439..1440i32, digits in 0..10usize,
        ) {
            let zone = chrono::FixedOffset::east_opt(offset * 60).unwrap();
            let local = Timestamp::from_nanos(nanos).to_chrono().with_timezone(&zone);
            let mut text = local.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
            text.truncate(if digits == 0 { 19 } else { 20 + digits });
            text.push_str(&local.format("%:z").to_string());
            let expected = chrono::DateTime::parse_from_rfc3339(&text).unwrap().timestamp_nanos_opt();
            prop_assert_eq!(Timestamp::parse_rfc3339(&text).map(Timestamp::nanos), expected);
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = (Timestamp::parse_rfc3339(&text), Timestamp::parse_epoch(&text));
        }
    }
}
