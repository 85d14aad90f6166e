//! The level of an event, whatever its application calls it.

use std::fmt;

/// How serious an event is, from the least to the most: syslog's severities, with `trace` below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Finer than debug.
    Trace,
    /// For developers.
    Debug,
    /// Ordinary.
    Info,
    /// Ordinary but worth noticing.
    Notice,
    /// Something may go wrong.
    Warn,
    /// Something went wrong.
    Error,
    /// A part has failed; `fatal` and `panic` count here.
    Critical,
    /// Somebody must act at once.
    Alert,
    /// Nothing works.
    Emergency,
}

impl Level {
    /// All levels, from the least to the most serious.
    pub const ALL: [Level; 9] = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Notice,
        Level::Warn,
        Level::Error,
        Level::Critical,
        Level::Alert,
        Level::Emergency,
    ];

    /// The words that [`Level::from_word`] knows.
    pub(crate) const WORDS: [(&str, Level); 26] = [
        ("trace", Level::Trace),
        ("verbose", Level::Trace),
        ("finest", Level::Trace),
        ("debug", Level::Debug),
        ("dbg", Level::Debug),
        ("fine", Level::Debug),
        ("info", Level::Info),
        ("information", Level::Info),
        ("informational", Level::Info),
        ("inf", Level::Info),
        ("notice", Level::Notice),
        ("warn", Level::Warn),
        ("warning", Level::Warn),
        ("wrn", Level::Warn),
        ("error", Level::Error),
        ("err", Level::Error),
        ("eror", Level::Error),
        ("severe", Level::Error),
        ("critical", Level::Critical),
        ("crit", Level::Critical),
        ("fatal", Level::Critical),
        ("panic", Level::Critical),
        ("dpanic", Level::Critical),
        ("alert", Level::Alert),
        ("emergency", Level::Emergency),
        ("emerg", Level::Emergency),
    ];

    /// From a word, in any case: `info`, `WARNING`, `err`, `fatal`, ... `None` for an unknown one.
    pub fn from_word(word: &str) -> Option<Level> {
        let mut lower = [0u8; 16];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"trace" | b"verbose" | b"finest" => Level::Trace,
            b"debug" | b"dbg" | b"fine" => Level::Debug,
            b"info" | b"information" | b"informational" | b"inf" => Level::Info,
            b"notice" => Level::Notice,
            b"warn" | b"warning" | b"wrn" => Level::Warn,
            b"error" | b"err" | b"eror" | b"severe" => Level::Error,
            b"critical" | b"crit" | b"fatal" | b"panic" | b"dpanic" => Level::Critical,
            b"alert" => Level::Alert,
            b"emergency" | b"emerg" => Level::Emergency,
            _ => return None,
        })
    }

    /// From a number: 10 to 60 are the steps of pino and bunyan, 0 to 7 syslog's severities.
    pub fn from_number(number: u64) -> Option<Level> {
        Some(match number {
            0 => Level::Emergency,
            1 => Level::Alert,
            2 => Level::Critical,
            3 => Level::Error,
            4 => Level::Warn,
            5 => Level::Notice,
            6 => Level::Info,
            7 => Level::Debug,
            10..=19 => Level::Trace,
            20..=29 => Level::Debug,
            30..=39 => Level::Info,
            40..=49 => Level::Warn,
            50..=59 => Level::Error,
            60..=69 => Level::Critical,
            _ => return None,
        })
    }

    /// The usual word, in small letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Alert => "alert",
            Level::Emergency => "emergency",
        }
    }

    /// Syslog's number (RFC 5424 section 6.2.1): 0 is an emergency, 7 is debug.
    pub const fn syslog_severity(self) -> u8 {
        match self {
            Level::Trace | Level::Debug => 7,
            Level::Info => 6,
            Level::Notice => 5,
            Level::Warn => 4,
            Level::Error => 3,
            Level::Critical => 2,
            Level::Alert => 1,
            Level::Emergency => 0,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_reads_its_own_word_and_severity() {
        let levels = Level::ALL;
        for level in levels {
            assert_eq!(Level::from_word(level.as_str()), Some(level));
            assert_eq!(Level::from_word(&level.as_str().to_uppercase()), Some(level));
        }
        for level in &levels[1..] {
            assert_eq!(Level::from_number(level.syslog_severity().into()), Some(*level));
        }
        assert!(levels.is_sorted());
        for (word, level) in Level::WORDS {
            assert_eq!(Level::from_word(word), Some(level), "{word}");
        }
    }

    #[test]
    fn reads_what_libraries_write() {
        for (word, level) in [("Warning", Level::Warn), ("FATAL", Level::Critical), ("err", Level::Error)] {
            assert_eq!(Level::from_word(word), Some(level), "{word}");
        }
        for word in ["", "blue", "informationalistically", "é"] {
            assert_eq!(Level::from_word(word), None, "{word}");
        }
        for (number, level) in
            [(10, Level::Trace), (30, Level::Info), (35, Level::Info), (60, Level::Critical)]
        {
            assert_eq!(Level::from_number(number), Some(level), "{number}");
        }
        assert_eq!(Level::from_number(8), None);
        assert_eq!(Level::from_number(1000), None);
    }
}
