//! [`Status`]: how a component gets on with whom it speaks to, and what went wrong last.

use crate::event::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// How a component gets on; a clone shows the same.
///
/// ```
/// use log_shipper::status::{State, Status};
///
/// let status = Status::default();
/// status.failing("status 503 Service Unavailable", "wait: it is tried again");
/// assert_eq!(status.snapshot().state, State::Failing);
/// status.working();
/// let now = status.snapshot();
/// assert_eq!(now.state, State::Working);
/// assert_eq!(now.trouble.unwrap().text, "status 503 Service Unavailable");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// What is said with every batch costs no lock while nothing changes.
    is_working: AtomicBool,
    failures: AtomicU64,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    state: State,
    since: Option<Timestamp>,
    trouble: Option<Trouble>,
    doubt: Option<Doubt>,
    /// How many refusals have come since something last went well.
    refusals: u32,
}

/// Whether a component can do its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing is known yet: a source is not connected yet, a sink has sent nothing.
    #[default]
    Starting,
    /// A source can receive; what a sink sent last was taken.
    Working,
    /// A source cannot receive; what a sink sent last was not taken.
    Failing,
    /// A source has come to the end of its input.
    Ended,
}

/// What went wrong, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// When it was last seen.
    pub at: Timestamp,
    /// What it was; without secrets.
    pub text: String,
    /// What the other side said to it, if it said something; without secrets, but it may repeat what it was sent:
    /// the content of logs.
    pub answer: Option<String>,
    /// What to do.
    pub advice: String,
}

/// A source whose connection is there, and may be dead all the same: nothing comes, and what would tell whether
/// something could come has failed. Attempts are counted and the silence is that of a clock which nobody sets: a machine
/// that corrects its time is no reason to be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Since when nothing has come.
    pub silent_since: Instant,
    /// How many attempts in a row to renew it have failed since; at least one.
    pub failed_renewals: u32,
}

impl Doubt {
    /// Whether it counts as dead: one failed attempt may be chance, a second one is not.
    pub fn counts_as_dead(&self) -> bool {
        self.failed_renewals >= DEAD_AFTER
    }
}

/// So many failed attempts to renew a silent subscription, and it counts as dead.
const DEAD_AFTER: u32 = 2;

/// How a component got on at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSnapshot {
    /// Whether it could do its work.
    pub state: State,
    /// Since when; nothing if it has done nothing yet.
    pub since: Option<Timestamp>,
    /// What went wrong last, though all may be well since.
    pub trouble: Option<Trouble>,
    /// Whether it may be dead without a sign of it.
    pub doubt: Option<Doubt>,
}

/// So many refusals in a row, without anything that went well, and the component counts as failing: a few events
/// may well be bad by themselves.
const REFUSALS: u32 = 3;

impl Status {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It works: connected and subscribed, or something was delivered.
    pub fn working(&self) {
        if !self.0.is_working.load(Ordering::Relaxed) {
            let mut current = self.current();
            current.refusals = 0;
            current.doubt = None;
            current.turn(State::Working);
            self.0.is_working.store(true, Ordering::Relaxed);
        }
    }

    /// Something has come, which says that a source works that has not said so itself.
    pub(crate) fn received(&self) {
        if !self.0.is_working.load(Ordering::Relaxed) {
            let mut current = self.current();
            if current.state == State::Starting {
                current.turn(State::Working);
            }
        }
    }

    /// It takes the place of another, whose failures still count, and what of them was the last.
    fn succeed(&self, predecessor: &Status) {
        self.0.failures.fetch_add(predecessor.failures(), Ordering::Relaxed);
        let before = predecessor.current().trouble.clone();
        let mut current = self.current();
        current.trouble = current.trouble.take().or(before);
    }

    /// A source has come to the end of its input.
    pub(crate) fn ended(&self) {
        self.current().turn(State::Ended);
        self.0.is_working.store(false, Ordering::Relaxed);
    }

    /// It does not work, and is tried again.
    pub fn failing(&self, text: impl Into<String>, advice: impl Into<String>) {
        self.failing_with(text, None, advice);
    }

    /// The same with what the other side said: see [`Trouble::answer`].
    pub fn failing_with(&self, text: impl Into<String>, answer: Option<String>, advice: impl Into<String>) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        let mut current = self.current();
        current.note(text.into(), answer, advice.into());
        current.turn(State::Failing);
        current.doubt = None;
        self.0.is_working.store(false, Ordering::Relaxed);
    }

    /// It may be dead without a sign of it, and fails if it counts as that; [`Status::working`] says that it is not.
    pub fn doubtful(&self, doubt: Doubt, text: impl Into<String>, advice: impl Into<String>) {
        let mut current = self.current();
        current.note(text.into(), None, advice.into());
        current.doubt = Some(doubt);
        if doubt.counts_as_dead() {
            current.turn(State::Failing);
        }
        self.0.is_working.store(false, Ordering::Relaxed);
    }

    /// Something was refused for good, which says little of the next: several in a row count as failing.
    /// `answer`: see [`Trouble::answer`].
    pub fn refused(&self, text: impl Into<String>, answer: Option<String>, advice: impl Into<String>) {
        let mut current = self.current();
        current.note(text.into(), answer, advice.into());
        current.refusals += 1;
        if current.refusals >= REFUSALS {
            current.turn(State::Failing);
        }
        self.0.is_working.store(false, Ordering::Relaxed);
    }

    /// Something went wrong that changes nothing: it goes on as before.
    pub fn note(&self, text: impl Into<String>, advice: impl Into<String>) {
        self.current().note(text.into(), None, advice.into());
    }

    /// Whether it can do its work now.
    pub fn state(&self) -> State {
        self.current().state
    }

    /// How often [`Status::failing`] was said.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Now.
    pub fn snapshot(&self) -> StatusSnapshot {
        let current = self.current();
        StatusSnapshot {
            state: current.state,
            since: current.since,
            trouble: current.trouble.clone(),
            doubt: current.doubt,
        }
    }
}

/// The status of whichever component has a place in the topology now. One that a reload has replaced goes on to speak
/// for itself only.
#[derive(Debug, Default)]
pub(crate) struct CurrentStatus(Mutex<Status>);

impl CurrentStatus {
    /// That of the component that is there now.
    pub(crate) fn get(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another component has taken the place.
    pub(crate) fn set(&self, status: Status) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        status.succeed(&current);
        *current = status;
    }
}

impl Current {
    fn turn(&mut self, state: State) {
        if self.state != state || self.since.is_none() {
            self.state = state;
            self.since = Some(Timestamp::now());
        }
    }

    fn note(&mut self, text: String, answer: Option<String>, advice: String) {
        self.trouble = Some(Trouble { at: Timestamp::now(), text, answer, advice });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_refusals_are_no_failure_until_they_are_several_in_a_row() {
        let status = Status::default();
        status.refused("bad event", None, "");
        assert_eq!(status.snapshot().state, State::Starting);
        status.working();
        for _ in 0..2 {
            status.refused("bad event", None, "look at it");
            assert_eq!(status.snapshot().state, State::Working);
        }
        status.working();
        for expected in [State::Working, State::Working, State::Failing] {
            status.refused("bad event", None, "look at it");
            assert_eq!(status.snapshot().state, expected);
        }
        assert_eq!(status.snapshot().trouble.unwrap().advice, "look at it");
        let since = status.snapshot().since;
        status.failing("worse", "");
        assert_eq!(status.snapshot().since, since, "it has failed since then");
        status.working();
        assert_eq!(status.snapshot().state, State::Working);
    }

    #[test]
    fn one_failed_renewal_is_a_doubt_and_a_second_one_a_failure() {
        let status = Status::default();
        status.working();
        let doubt = |failed_renewals| Doubt { silent_since: Instant::now(), failed_renewals };
        for (failed_renewals, expected) in [(1, State::Working), (2, State::Failing), (3, State::Failing)] {
            status.doubtful(doubt(failed_renewals), "cannot open a second connection", "wait");
            let now = status.snapshot();
            assert_eq!(
                (now.state, now.doubt.map(|doubt| doubt.failed_renewals)),
                (expected, Some(failed_renewals))
            );
        }
        status.working();
        assert_eq!((status.snapshot().state, status.snapshot().doubt), (State::Working, None));
    }

    #[test]
    fn who_takes_a_place_begins_anew() {
        let place = CurrentStatus::default();
        let old = place.get();
        for _ in 0..2 {
            old.refused("bad event", None, "");
        }
        old.failing("no", "wait");
        place.set(Status::default());
        let status = place.get();
        let now = status.snapshot();
        assert_eq!((now.state, now.since), (State::Starting, None));
        assert_eq!(now.trouble.unwrap().text, "no", "it is what went wrong last");
        assert_eq!(status.failures(), 1);
        // Who has lost his place says nothing of the other.
        old.failing("still no", "wait");
        old.working();
        assert_eq!(status.snapshot().state, State::Starting);
        // Neither refusals nor a word of before count.
        status.refused("bad event", None, "");
        assert_eq!(status.snapshot().state, State::Starting);
        status.received();
        assert_eq!(status.snapshot().state, State::Working);
        status.failing("no", "wait");
        status.received();
        assert_eq!(status.snapshot().state, State::Failing, "that was still on its way");
        status.ended();
        assert_eq!(status.snapshot().state, State::Ended);
    }
}
