//! What `run` says of itself while it runs: at most a line a minute, and nothing while nothing happens but a sign of
//! life now and then.

use super::plural;
use crate::topology::{Books, Report};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How many intervals pass without a word when nothing happens.
const QUIET: u32 = 10;

/// Looks into the books of a topology at intervals.
pub(super) struct Pulse {
    books: Books,
    every: Duration,
    ticks: Interval,
    last: Figures,
    quiet: u32,
}

/// What the books say that is of interest, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    received: u64,
    delivered: u64,
    rejected: u64,
    dropped: u64,
    failed: u64,
    disconnects: u64,
    buffered: u64,
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    Well(String),
    NotWell(String),
}

impl Pulse {
    /// Begins with the books as they are.
    pub(super) fn new(books: Books, every: Duration) -> Pulse {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let last = Figures::of(&books.snapshot());
        Pulse { books, every, ticks, last, quiet: 0 }
    }

    /// Says what there is to say, for ever. Safe to cancel.
    pub(super) async fn beat(&mut self) {
        loop {
            self.ticks.tick().await;
            let now = Figures::of(&self.books.snapshot());
            match self.word(now) {
                Word::Nothing => {}
                Word::Well(text) => tracing::info!("{text}"),
                Word::NotWell(text) => tracing::warn!("{text}"),
            }
        }
    }

    fn word(&mut self, now: Figures) -> Word {
        let before = std::mem::replace(&mut self.last, now);
        if now == before {
            self.quiet += 1;
            if self.quiet < QUIET {
                return Word::Nothing;
            }
            self.quiet = 0;
            let waiting = match now.buffered {
                0 => String::new(),
                waiting => format!(", {waiting} still buffered"),
            };
            return Word::Well(format!("no events in the last {}{waiting}", time(self.every * QUIET)));
        }
        self.quiet = 0;
        let since = |count: fn(&Figures) -> u64| count(&now).saturating_sub(count(&before));
        let (received, delivered) = (since(|all| all.received), since(|all| all.delivered));
        let mut text = format!(
            "in the last {}: received {received} ({}/s), delivered {delivered}",
            time(self.every),
            rate(received, self.every)
        );
        let mut is_well = true;
        for (what, count) in [
            ("rejected", since(|all| all.rejected)),
            ("dropped", since(|all| all.dropped)),
            ("could not be processed", since(|all| all.failed)),
        ] {
            if count > 0 {
                is_well = false;
                text.push_str(&format!(", {what} {count}"));
            }
        }
        let lost = since(|all| all.disconnects);
        if lost > 0 {
            is_well = false;
            text.push_str(&format!(", connection lost {}", plural(lost, "time", "times")));
        }
        if now.buffered > 0 {
            let more = since(|all| all.buffered);
            text.push_str(&format!(", buffered {}", now.buffered));
            if more > 0 {
                text.push_str(&format!(" (+{more})"));
            }
            // A little is always on its way.
            is_well &= before.buffered == 0 || more <= received / 2;
        }
        if is_well { Word::Well(text) } else { Word::NotWell(text) }
    }
}

impl Figures {
    fn of(report: &Report) -> Figures {
        let totals = report.totals();
        let sources = || report.sources.iter().map(|(_, source)| source);
        Figures {
            received: sources().map(|source| source.received).sum(),
            delivered: totals.events.delivered,
            rejected: totals.events.rejected,
            dropped: totals.events.dropped_total(),
            failed: report.transforms.iter().map(|(_, transform)| transform.failed).sum(),
            disconnects: sources().map(|source| source.disconnects).sum(),
            buffered: totals.events.buffered,
        }
    }
}

/// `minute`, `10 minutes`, `0.5 s`.
fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        60.0 => "minute".to_owned(),
        seconds if seconds >= 60.0 && seconds % 60.0 == 0.0 => format!("{} minutes", seconds / 60.0),
        seconds => format!("{seconds} s"),
    }
}

fn rate(events: u64, time: Duration) -> String {
    let rate = events as f64 / time.as_secs_f64();
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(received: u64, delivered: u64, rejected: u64, buffered: u64) -> Figures {
        Figures { received, delivered, rejected, buffered, ..Figures::default() }
    }

    #[tokio::test]
    async fn a_line_when_something_happens_and_seldom_when_not() {
        let mut pulse = Pulse::new(Books::default(), Duration::from_secs(60));
        let mut say = |now| pulse.word(now);
        let well = |text: &str| Word::Well(text.to_owned());
        assert_eq!(
            say(figures(1200, 1190, 0, 10)),
            well("in the last minute: received 1200 (20/s), delivered 1190, buffered 10 (+10)")
        );
        assert_eq!(
            say(figures(1206, 1206, 0, 0)),
            well("in the last minute: received 6 (0.1/s), delivered 16")
        );
        for _ in 0..9 {
            assert_eq!(say(figures(1206, 1206, 0, 0)), Word::Nothing);
        }
        assert_eq!(say(figures(1206, 1206, 0, 0)), well("no events in the last 10 minutes"));
        assert_eq!(say(figures(1206, 1206, 0, 0)), Word::Nothing);
        let not_well = |text: &str| Word::NotWell(text.to_owned());
        assert_eq!(
            say(figures(1266, 1206, 30, 30)),
            not_well("in the last minute: received 60 (1.0/s), delivered 0, rejected 30, buffered 30 (+30)")
        );
        assert_eq!(
            say(figures(1326, 1206, 30, 90)),
            not_well("in the last minute: received 60 (1.0/s), delivered 0, buffered 90 (+60)")
        );
        assert_eq!(
            say(Figures { disconnects: 2, dropped: 7, failed: 1, ..figures(1326, 1206, 30, 83) }),
            not_well(
                "in the last minute: received 0 (0.0/s), delivered 0, dropped 7, could not be processed 1, connection lost 2 times, buffered 83"
            )
        );
    }
}
