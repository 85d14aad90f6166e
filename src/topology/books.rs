//! [`Books`]: the books of all components, and [`Report`], what they say at one moment.

use super::counts::{
    SinkCounts, SinkSnapshot, SourceCounts, SourceSnapshot, TransformCounts, TransformSnapshot,
};
use super::metrics::{BufferFill, Measures};
use crate::config::{CUSTOM, ComponentKind};
use crate::event::Timestamp;
use crate::status::{Status, StatusSnapshot};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The books of every component of a topology; a clone shows the same ones. Those of a component that a
/// reload has removed stay: what became of its events is still to be told.
#[derive(Clone, Debug, Default)]
pub struct Books(Arc<Mutex<All>>);

#[derive(Debug)]
struct All {
    started: Instant,
    memory_limit: Option<u64>,
    sources: Vec<(String, Arc<SourceCounts>)>,
    transforms: Vec<(String, Arc<TransformCounts>)>,
    sinks: Vec<(String, Arc<SinkCounts>)>,
    types: Types,
    components: Vec<Description>,
    dead_letters: Option<String>,
    /// What those had whose books are no longer kept.
    forgotten: Totals,
}

/// Of so many components of a kind that reloads have removed the books are kept; of others, only what they add to
/// the totals.
const MAX_REMOVED: usize = 100;

impl Default for All {
    fn default() -> All {
        All {
            started: Instant::now(),
            memory_limit: None,
            sources: Vec::new(),
            transforms: Vec::new(),
            sinks: Vec::new(),
            types: Types::default(),
            components: Vec::new(),
            dead_letters: None,
            forgotten: Totals::default(),
        }
    }
}

impl All {
    /// Closes the books of components that were removed long ago, so that reloads do not add up.
    fn forget_removed(&mut self) {
        let components = std::mem::take(&mut self.components);
        let is_there =
            |kind, id: &String| components.iter().any(|one: &Description| one.kind == kind && one.id == *id);
        let letters = self.dead_letters.clone();
        forget(&mut self.sources, |id, _| is_there(ComponentKind::Source, id));
        let transforms = forget(&mut self.transforms, |id, _| is_there(ComponentKind::Transform, id));
        // What a sink still has is to be told.
        let sinks = forget(&mut self.sinks, |id, counts| {
            is_there(ComponentKind::Sink, id)
                || letters.as_ref() == Some(id)
                || counts.snapshot().buffered > 0
        });
        self.forgotten.lost += transforms.iter().map(|(_, counts)| counts.snapshot().lost).sum::<u64>();
        sinks.iter().for_each(|(_, counts)| self.forgotten.add(&counts.snapshot()));
        let has = |kind: ComponentKind, id: &str| match kind {
            ComponentKind::Source => find(&self.sources, id).is_some(),
            ComponentKind::Transform => find(&self.transforms, id).is_some(),
            ComponentKind::Sink => find(&self.sinks, id).is_some(),
        };
        self.types.retain(|(kind, id), _| has(*kind, id) || is_there(*kind, id));
        self.components = components;
    }

    /// Whether a component is there now.
    fn has(&self, kind: ComponentKind, id: &str) -> bool {
        self.components.iter().any(|one| one.kind == kind && one.id == id)
    }
}

/// The `type` of each component, by its kind and id.
type Types = HashMap<(ComponentKind, String), String>;

/// A component as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Source, transform or sink.
    pub kind: ComponentKind,
    /// Its id.
    pub id: String,
    /// Its type; `custom` for one that no registry has made.
    pub r#type: String,
    /// The outputs that feed it: ids of sources and transforms, or `id.output` of a transform with several.
    pub inputs: Vec<String>,
    /// Of a sink: whether there is somebody who gets the events; see
    /// [`SinkConfig::has_destination`](crate::config::SinkConfig::has_destination).
    pub has_destination: bool,
}

/// A component that is there now, and how it gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Component {
    /// What it is.
    pub description: Description,
    /// How it gets on; nothing for a transform.
    pub status: Option<StatusSnapshot>,
    /// When an event last came to a source, or was last delivered by a sink.
    pub last_event: Option<Timestamp>,
    /// Of a sink: what its buffer holds and may hold.
    pub buffer: Option<BufferFill>,
    /// Of a sink: from an event's own time to its delivery, of the last batch.
    pub last_lag: Option<Duration>,
    /// Of a sink: events on their way.
    pub buffered: u64,
    /// Of a sink: batches that are held until the destination accepts us.
    pub held_batches: u64,
    /// How often it could not do its work: a connection was lost, a request failed; tries included.
    pub failures: u64,
}

/// The books of a topology at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Every source by id.
    pub sources: Vec<(String, SourceSnapshot)>,
    /// Every transform by id.
    pub transforms: Vec<(String, TransformSnapshot)>,
    /// Every sink by id, and the one of the dead letters among them.
    pub sinks: Vec<(String, SinkSnapshot)>,
    /// What was wrong with each component that ended before its time.
    pub failures: Vec<String>,
    types: Types,
    dead_letters: Option<String>,
    forgotten: Totals,
    pub(super) measures: Measures,
}

/// The books of all sinks together. Those of the dead letters have no part in them: what is in a letter has been
/// counted as rejected already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The sums over all sinks; an event that goes to two of them counts twice.
    pub events: SinkSnapshot,
    /// How many of the rejected became dead letters that have been written.
    pub dead_letters: u64,
    /// What is on its way, and in a buffer on disk.
    pub buffered_on_disk: u64,
    /// See [`Report::has_losses`]; dead letters that were lost have a part in this.
    pub lost: u64,
}

impl Component {
    /// One of which nothing is known yet.
    pub(crate) fn new(description: Description) -> Component {
        Component {
            description,
            status: None,
            last_event: None,
            buffer: None,
            last_lag: None,
            buffered: 0,
            held_batches: 0,
            failures: 0,
        }
    }
}

impl Books {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn source(&self, id: &str) -> Arc<SourceCounts> {
        book(&mut self.all().sources, id)
    }

    pub(super) fn transform(&self, id: &str) -> Arc<TransformCounts> {
        book(&mut self.all().transforms, id)
    }

    /// Notes which components there are now, and which sink is that of the dead letters.
    pub(super) fn describe(&self, components: Vec<Description>, dead_letters: Option<&String>) {
        let mut all = self.all();
        let types = components.iter().map(|one| ((one.kind, one.id.clone()), one.r#type.clone()));
        all.types.extend(types.collect::<Vec<_>>());
        all.components = components;
        if let Some(id) = dead_letters {
            book(&mut all.sinks, id).set_holds_letters();
            all.dead_letters = Some(id.clone());
        }
        all.forget_removed();
    }

    /// Notes how much memory the sinks share.
    pub(super) fn set_memory_limit(&self, bytes: Option<usize>) {
        self.all().memory_limit = bytes.map(|bytes| bytes as u64);
    }

    pub(crate) fn sink(&self, id: &str) -> Arc<SinkCounts> {
        book(&mut self.all().sinks, id)
    }

    /// The components that are there now, in the order of the configuration.
    pub fn components(&self) -> Vec<Component> {
        let all = self.all();
        let component = |description: &Description| {
            let id = &description.id;
            let mut component = Component::new(description.clone());
            let mut with_status = |status: Status| {
                component.status = Some(status.snapshot());
                component.failures = status.failures();
            };
            match description.kind {
                ComponentKind::Source => {
                    if let Some(counts) = find(&all.sources, id) {
                        with_status(counts.status());
                        component.last_event = counts.last_event();
                    }
                }
                ComponentKind::Transform => {}
                ComponentKind::Sink => {
                    if let Some(counts) = find(&all.sinks, id) {
                        with_status(counts.status());
                        component.last_event = counts.last_delivery();
                        component.buffer = counts.meters().buffer();
                        component.last_lag = counts.meters().last_lag();
                        component.buffered = counts.snapshot().buffered;
                        component.held_batches = counts.meters().held().0;
                    }
                }
            }
            component
        };
        all.components.iter().map(component).collect()
    }

    /// So many books there are, of each kind.
    pub(super) fn mark(&self) -> [usize; 3] {
        let all = self.all();
        [all.sources.len(), all.transforms.len(), all.sinks.len()]
    }

    /// Closes the books that were opened since the mark.
    pub(super) fn forget_since(&self, [sources, transforms, sinks]: [usize; 3]) {
        let mut all = self.all();
        all.sources.truncate(sources);
        all.transforms.truncate(transforms);
        all.sinks.truncate(sinks);
    }

    /// Closes the dead letters: no sink refuses anything any more.
    pub(super) fn forget_dead_letters(&self) {
        self.all().sinks.iter().for_each(|(_, counts)| counts.set_dead_letters(None));
    }

    /// What is unanswered from now on is nobody's fault.
    pub(super) fn give_up(&self) {
        self.all().sinks.iter().for_each(|(_, counts)| counts.give_up());
    }

    /// The books now.
    pub fn snapshot(&self) -> Report {
        let all = self.all();
        Report {
            sources: all.sources.iter().map(|(id, counts)| (id.clone(), counts.snapshot())).collect(),
            transforms: all.transforms.iter().map(|(id, counts)| (id.clone(), counts.snapshot())).collect(),
            sinks: all.sinks.iter().map(|(id, counts)| (id.clone(), counts.snapshot())).collect(),
            failures: Vec::new(),
            types: all.types.clone(),
            dead_letters: all.dead_letters.clone(),
            forgotten: all.forgotten,
            measures: all.measures(),
        }
    }
}

impl All {
    fn measures(&self) -> Measures {
        let sources = self.sources.iter();
        let transforms = self.transforms.iter();
        let sinks = self.sinks.iter();
        Measures {
            sources: sources
                .map(|(id, counts)| counts.measures(self.has(ComponentKind::Source, id)))
                .collect(),
            transforms: transforms
                .map(|(id, counts)| counts.measures(self.has(ComponentKind::Transform, id)))
                .collect(),
            sinks: sinks.map(|(id, counts)| counts.measures(self.has(ComponentKind::Sink, id))).collect(),
            now: Some(Timestamp::now()),
            uptime: self.started.elapsed(),
            memory_limit: self.memory_limit,
        }
    }
}

/// Takes out the oldest of those that are not kept, if there are too many.
fn forget<T>(
    books: &mut Vec<(String, Arc<T>)>,
    is_kept: impl Fn(&String, &T) -> bool,
) -> Vec<(String, Arc<T>)> {
    let removed = books.iter().filter(|(id, counts)| !is_kept(id, counts)).count();
    let mut left = removed.saturating_sub(MAX_REMOVED);
    let forgotten = books.extract_if(.., |(id, counts)| {
        let goes = left > 0 && !is_kept(id, counts);
        left -= usize::from(goes);
        goes
    });
    forgotten.collect()
}

/// The book of this component.
fn find<'a, T>(books: &'a [(String, Arc<T>)], id: &str) -> Option<&'a Arc<T>> {
    books.iter().find(|(other, _)| other == id).map(|(_, counts)| counts)
}

/// The book of this component, opened if there is none.
fn book<T: Default>(books: &mut Vec<(String, Arc<T>)>, id: &str) -> Arc<T> {
    if let Some(counts) = find(books, id) {
        return Arc::clone(counts);
    }
    let counts = Arc::<T>::default();
    books.push((id.to_owned(), Arc::clone(&counts)));
    counts
}

impl Report {
    /// Whether events were lost that nobody chose to lose: dropped at the shutdown's deadline or by a
    /// faulty sink, or still on their way; or dead letters that were refused themselves.
    pub fn has_losses(&self) -> bool {
        self.sinks.iter().any(|(_, sink)| sink.lost() > 0)
            || self.transforms.iter().any(|(_, transform)| transform.lost > 0)
    }

    /// The `type` of a component; `custom` for one that no registry has made.
    pub(super) fn component_type(&self, kind: ComponentKind, id: &str) -> &str {
        self.types.get(&(kind, id.to_owned())).map_or(CUSTOM, String::as_str)
    }

    /// The books of the dead letters, if there are any.
    pub fn dead_letters(&self) -> Option<&SinkSnapshot> {
        let id = self.dead_letters.as_ref()?;
        self.sinks.iter().find(|(other, _)| other == id).map(|(_, sink)| sink)
    }

    /// The books of all sinks together.
    pub fn totals(&self) -> Totals {
        let mut totals = self.forgotten;
        let mut all_durable = true;
        for (id, sink) in &self.sinks {
            if self.dead_letters.as_ref() == Some(id) {
                totals.lost += sink.lost();
                totals.dead_letters = sink.delivered;
                continue;
            }
            totals.add(sink);
            all_durable &= sink.is_durable || sink.buffered == 0;
            totals.buffered_on_disk += if sink.is_durable { sink.buffered } else { 0 };
        }
        totals.events.is_durable = all_durable && totals.buffered_on_disk > 0;
        totals.lost += self.transforms.iter().map(|(_, transform)| transform.lost).sum::<u64>();
        totals
    }
}

impl Totals {
    /// Adds a sink's books.
    fn add(&mut self, sink: &SinkSnapshot) {
        self.lost += sink.lost();
        let all = &mut self.events;
        all.received += sink.received;
        all.delivered += sink.delivered;
        all.rejected += sink.rejected;
        all.dropped.iter_mut().zip(sink.dropped).for_each(|(all, dropped)| *all += dropped);
        all.truncated += sink.truncated;
        all.buffered += sink.buffered;
        all.recovered += sink.recovered;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.events)?;
        if !self.events.is_durable && self.buffered_on_disk > 0 {
            write!(f, " ({} of them on disk)", self.buffered_on_disk)?;
        }
        if self.dead_letters > 0 {
            write!(f, ", dead letters {}", self.dead_letters)?;
        }
        write!(f, ", lost {}", self.lost)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.iter().map(|(id, source)| format!("source {id}: {source}"));
        let transforms = self.transforms.iter().map(|(id, transform)| format!("transform {id}: {transform}"));
        let sinks = self.sinks.iter().map(|(id, sink)| format!("sink {id}: {sink}"));
        let all = std::iter::once(format!("all sinks: {}", self.totals()));
        f.write_str(&sources.chain(transforms).chain(sinks).chain(all).collect::<Vec<_>>().join("\n"))
    }
}
