//! [`Books`]: the books of all components, and [`Report`], what they say at one moment.

use super::counts::{
    SinkCounts, SinkSnapshot, SourceCounts, SourceSnapshot, TransformCounts, TransformSnapshot,
};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The books of every component of a topology; a clone shows the same ones. Those of a component that a
/// reload has removed stay: what became of its events is still to be told.
#[derive(Clone, Debug, Default)]
pub struct Books(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    sources: Vec<(String, Arc<SourceCounts>)>,
    transforms: Vec<(String, Arc<TransformCounts>)>,
    sinks: Vec<(String, Arc<SinkCounts>)>,
}

/// The books of a topology at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every source by id.
    pub sources: Vec<(String, SourceSnapshot)>,
    /// Every transform by id.
    pub transforms: Vec<(String, TransformSnapshot)>,
    /// Every sink by id.
    pub sinks: Vec<(String, SinkSnapshot)>,
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

    pub(super) fn sink(&self, id: &str) -> Arc<SinkCounts> {
        book(&mut self.all().sinks, id)
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
        }
    }
}

/// The book of this component, opened if there is none.
fn book<T: Default>(books: &mut Vec<(String, Arc<T>)>, id: &str) -> Arc<T> {
    if let Some((_, counts)) = books.iter().find(|(other, _)| other == id) {
        return Arc::clone(counts);
    }
    let counts = Arc::<T>::default();
    books.push((id.to_owned(), Arc::clone(&counts)));
    counts
}

impl Report {
    /// Whether events were lost that nobody chose to lose: dropped at the shutdown's deadline or by a
    /// faulty sink, or still on their way.
    pub fn has_losses(&self) -> bool {
        self.sinks.iter().any(|(_, sink)| sink.lost() > 0)
            || self.transforms.iter().any(|(_, transform)| transform.lost > 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.iter().map(|(id, source)| format!("source {id}: {source}"));
        let transforms = self.transforms.iter().map(|(id, transform)| format!("transform {id}: {transform}"));
        let sinks = self.sinks.iter().map(|(id, sink)| format!("sink {id}: {sink}"));
        f.write_str(&sources.chain(transforms).chain(sinks).collect::<Vec<_>>().join("\n"))
    }
}
