//! What the screen shows: the last answer, what the last minutes were like, and what the user has chosen.

use super::figures::epoch;
use crate::api::status::{ComponentStatus, History, TopologyStatus};
use crate::config::DEAD_LETTERS;
use std::collections::{BTreeMap, VecDeque};

/// How many seconds the sparklines show.
pub(super) const WINDOW_SECS: f64 = 300.0;

/// How long the screen says that the shipper has been started again.
const RESTART_SHOWN_SECS: f64 = 60.0;

/// What came of one question.
pub(super) struct Answer {
    /// The status, or what kept it away.
    pub(super) result: Result<TopologyStatus, Failed>,
    /// The last hour, which is asked for once.
    pub(super) history: Option<History>,
    /// Seconds since the answer before.
    pub(super) elapsed_secs: f64,
}

/// Why there is no answer, and what to do.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) error: String,
    pub(super) advice: String,
}

/// What is known of the shipper.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// What it said last; nothing before its first answer.
    pub(super) status: Option<TopologyStatus>,
    /// Why it says nothing now, and for how many seconds.
    pub(super) failed: Option<(Failed, f64)>,
    /// The time by its clock, in seconds since the epoch.
    pub(super) now: f64,
    /// When it was seen to have been started again.
    restarted: Option<f64>,
    /// By a component's kind and id.
    trails: BTreeMap<String, VecDeque<Point>>,
}

/// How fast a component went for a while, in seconds since the epoch.
#[derive(Clone, Copy, Debug)]
struct Point {
    from: f64,
    to: f64,
    rate: f64,
}

/// The order of components of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As in the configuration.
    #[default]
    Configuration,
    /// The fastest first.
    Rate,
    /// The most errors in a second first, then the most errors.
    Errors,
    /// The fullest buffer first.
    Buffer,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Up,
    Down,
    First,
    Last,
    Sort,
    Pause,
    Help,
    /// Closes the help, or else the program.
    Back,
    Quit,
}

/// All that the screen depends on.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Where it asks.
    pub(super) url: String,
    /// Seconds between two questions.
    pub(super) interval_secs: f64,
    pub(super) sort: Sort,
    pub(super) has_help: bool,
    live: Live,
    /// What is shown instead while it is paused.
    frozen: Option<Live>,
    /// The key of the component whose details are shown; none is the first.
    selected: Option<String>,
}

impl Live {
    /// Takes in what came of a question.
    fn take(&mut self, answer: Answer) {
        match answer.result {
            Ok(status) => {
                self.failed = None;
                let was = self.status.as_ref().map(|status| status.started.as_str());
                let is_other = was.is_some_and(|started| started != status.started);
                self.now = epoch(&status.now).unwrap_or(self.now + answer.elapsed_secs);
                if is_other {
                    self.restarted = Some(self.now);
                }
                if let Some(history) = &answer.history {
                    self.load(history);
                }
                for component in &status.components {
                    let to = self.now;
                    let from = to - answer.elapsed_secs.clamp(0.0, WINDOW_SECS);
                    let trail = self.trails.entry(key(component)).or_default();
                    trail.push_back(Point { from, to, rate: main_rate(component) });
                }
                self.status = Some(status);
            }
            Err(failed) => {
                self.now += answer.elapsed_secs;
                let silent = self.failed.as_ref().map_or(0.0, |(_, secs)| secs + answer.elapsed_secs);
                self.failed = Some((failed, silent));
            }
        }
        let oldest = self.now - WINDOW_SECS;
        self.trails.retain(|_, trail| {
            trail.retain(|point| point.to > oldest && point.from <= self.now);
            !trail.is_empty()
        });
    }

    /// What was before the first answer.
    fn load(&mut self, history: &History) {
        let step = history.step_secs as f64;
        for (key, series) in &history.components {
            let rates = if key.starts_with("sources.") { &series.received } else { &series.sent };
            let points = history.times.iter().zip(rates).filter_map(|(&to, rate)| {
                let to = to as f64;
                Some(Point { from: to - step, to, rate: rate.as_ref()?.max(0.0) })
            });
            self.trails.insert(key.clone(), points.collect());
        }
    }

    /// How many seconds ago it was started again, if that is news.
    pub(super) fn restarted_secs_ago(&self) -> Option<f64> {
        let ago = self.now - self.restarted?;
        (ago < RESTART_SHOWN_SECS).then_some(ago)
    }

    /// How fast a component went in each of so many steps of the last minutes; nothing where nobody knows.
    pub(super) fn trail(&self, component: &ComponentStatus, steps: usize) -> Vec<Option<f64>> {
        let Some(points) = self.trails.get(&key(component)) else {
            return vec![None; steps];
        };
        let step = WINDOW_SECS / steps.max(1) as f64;
        // Steps begin at multiples of their length, so that bars stay as they are while they move on.
        let end = (self.now / step).ceil() * step;
        let bar = |index: usize| {
            let from = end - step * (steps - index) as f64;
            let inside =
                points.iter().filter(|point| point.to > from + 1e-6 && point.from < from + step - 1e-6);
            let (sum, count) = inside.fold((0.0, 0), |(sum, count), point| (sum + point.rate, count + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        (0..steps).map(bar).collect()
    }

    /// Events that come in, and that are delivered, and errors, in a second, of the whole topology.
    pub(super) fn total_rates(&self) -> (f64, f64, f64) {
        let components = self.status.iter().flat_map(|status| &status.components);
        components.fold((0.0, 0.0, 0.0), |(received, sent, errors), component| {
            let rates = &component.rates;
            let errors = errors + rates.errors.max(0.0);
            match component.kind.as_str() {
                "source" => (received + rates.received.max(0.0), sent, errors),
                "sink" => (received, sent + rates.sent.max(0.0), errors),
                _ => (received, sent, errors),
            }
        })
    }
}

impl State {
    /// For the API there.
    pub(super) fn new(url: &str, interval_secs: f64) -> State {
        State { url: url.to_owned(), interval_secs, ..State::default() }
    }

    /// Takes in what came of a question.
    pub(super) fn take(&mut self, answer: Answer) {
        self.live.take(answer);
    }

    /// What is to be shown.
    pub(super) fn shown(&self) -> &Live {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    /// Whether it is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    /// The components in the order in which they are shown.
    pub(super) fn rows(&self) -> Vec<&ComponentStatus> {
        let mut rows: Vec<_> = self.shown().status.iter().flat_map(|status| &status.components).collect();
        let kind = |component: &ComponentStatus| match component.kind.as_str() {
            "source" => 0,
            "transform" => 1,
            _ => 2,
        };
        // The sort is stable: what is equal stays as in the configuration.
        rows.sort_by(|a, b| {
            let within = match self.sort {
                Sort::Configuration => std::cmp::Ordering::Equal,
                Sort::Rate => main_rate(b).total_cmp(&main_rate(a)),
                Sort::Errors => {
                    b.rates.errors.total_cmp(&a.rates.errors).then_with(|| b.errors.cmp(&a.errors))
                }
                Sort::Buffer => fill(b).unwrap_or(-1.0).total_cmp(&fill(a).unwrap_or(-1.0)),
            };
            kind(a).cmp(&kind(b)).then(within)
        });
        rows
    }

    /// Which of the rows is selected: the first, if the one that was is gone.
    pub(super) fn selected(&self, rows: &[&ComponentStatus]) -> usize {
        let is_selected = |row: &&ComponentStatus| self.selected.as_deref() == Some(key(row).as_str());
        rows.iter().position(is_selected).unwrap_or(0)
    }

    /// Does what a key asks for; false ends the program.
    pub(super) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Up => self.select(|at, _| at.saturating_sub(1)),
            Action::Down => self.select(|at, last| (at + 1).min(last)),
            Action::First => self.select(|_, _| 0),
            Action::Last => self.select(|_, last| last),
            Action::Sort => {
                self.sort = match self.sort {
                    Sort::Configuration => Sort::Rate,
                    Sort::Rate => Sort::Errors,
                    Sort::Errors => Sort::Buffer,
                    Sort::Buffer => Sort::Configuration,
                }
            }
            Action::Pause => {
                self.frozen = match self.frozen {
                    Some(_) => None,
                    None => Some(self.live.clone()),
                }
            }
            Action::Help => self.has_help = !self.has_help,
            Action::Back if self.has_help => self.has_help = false,
            Action::Back | Action::Quit => return false,
        }
        true
    }

    fn select(&mut self, choose: impl Fn(usize, usize) -> usize) {
        let rows = self.rows();
        let to = choose(self.selected(&rows), rows.len().saturating_sub(1));
        self.selected = rows.get(to).map(|row| key(row));
    }
}

impl Sort {
    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Configuration => "configuration",
            Sort::Rate => "rate",
            Sort::Errors => "errors",
            Sort::Buffer => "buffer",
        }
    }
}

/// A component as it stands in the configuration: `sinks.loki`; the sink of the dead letters has a table of its own.
pub(super) fn key(component: &ComponentStatus) -> String {
    match component.id.as_str() {
        DEAD_LETTERS => DEAD_LETTERS.to_owned(),
        id => format!("{}s.{id}", component.kind),
    }
}

/// The rate that matters most: what a source gets, and what the others hand on.
fn main_rate(component: &ComponentStatus) -> f64 {
    let rates = &component.rates;
    let rate = if component.kind == "source" { rates.received } else { rates.sent };
    rate.max(0.0)
}

/// How full a sink's buffer is, 0 to 1, by the limit that is nearer.
pub(super) fn fill(component: &ComponentStatus) -> Option<f64> {
    let buffer = component.buffer.as_ref()?;
    let part = |has: u64, max: Option<u64>| max.filter(|&max| max > 0).map(|max| has as f64 / max as f64);
    let parts = [part(buffer.bytes, buffer.max_bytes), part(buffer.events, buffer.max_events)];
    parts.into_iter().flatten().reduce(f64::max).map(|fill| fill.clamp(0.0, 1.0))
}
