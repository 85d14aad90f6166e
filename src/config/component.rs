//! The traits of components, and what they are given.

use super::{GlobalOptions, HealthcheckConfig, LogSchema, Problem, Result};
use crate::env::Env;
use crate::event::{LogEvent, Timestamp};
use crate::healthcheck::Healthcheck;
use crate::http::ProxyConfig;
use crate::nats::SubjectFilter;
use crate::status::Status;
use crate::topology::{Books, BufferReceiver, OutputNames, Outputs, SinkMemory, SourceSender};
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::any::Any;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A running source: it ends when it is told to, or when its input ends.
pub type Source = BoxFuture<'static, Result<()>>;

/// The configuration of a source.
#[async_trait]
pub trait SourceConfig: Debug + Send + Sync {
    /// Makes the source. Does not wait for the network.
    ///
    /// # Errors
    /// If the configuration cannot work: a file that cannot be read, options that exclude each other.
    async fn build(&self, cx: SourceContext) -> Result<Source>;

    /// One look at where the source reads from, if there is something to ask. Default: none.
    ///
    /// # Errors
    /// If the configuration cannot work.
    fn healthcheck(&self, _env: &Env) -> Result<Option<Healthcheck>> {
        Ok(None)
    }

    /// What it reads, and from where, in a few words without secrets. Default: nothing is said of that.
    fn about(&self) -> Option<String> {
        None
    }

    /// What the source reads, to be looked at beside it: nothing is taken from whoever ships it, and nobody is told
    /// that it arrived. Does not wait for the network. Default: it cannot be looked at.
    ///
    /// # Errors
    /// If the configuration, or what is asked for, cannot work.
    fn tap(&self, _options: &TapOptions, _env: &Env) -> Result<Option<Tap>> {
        Ok(None)
    }

    /// Whether the source waits for its events' receipts before it tells its peer that they arrived.
    fn can_acknowledge(&self) -> bool {
        false
    }
}

/// What to look at, of all that a source reads.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TapOptions {
    /// These subjects; none is all that the source reads.
    pub subjects: Vec<SubjectFilter>,
    /// From this time on, out of a stream that keeps messages. `None`: what comes from now on.
    pub since: Option<Timestamp>,
    /// The stream. `None`: the source's own, if it reads one.
    pub stream: Option<String>,
}

/// A look at what a source reads.
#[non_exhaustive]
pub struct Tap {
    /// Whether there is anything to look at.
    pub check: Healthcheck,
    /// The events, as they came. It connects when it is first asked, and again whenever that is needed.
    pub events: BoxStream<'static, Vec<LogEvent>>,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("check", &self.check).finish_non_exhaustive()
    }
}

/// What a source is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct SourceContext {
    /// The component's id.
    pub id: String,
    /// Where events go.
    pub output: SourceSender,
    /// Tells the source to stop: to take what has already been sent to it, and end.
    pub shutdown: CancellationToken,
    /// To be told when events can come: a source whose place this one takes goes on until then.
    pub ready: Ready,
    /// The environment, for secrets that are read anew.
    pub env: Env,
}

/// Whether a source is ready for events: connected, subscribed.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    token: CancellationToken,
    status: Status,
}

impl Ready {
    pub(crate) fn new(status: Status) -> Ready {
        Ready { token: CancellationToken::new(), status }
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// It is.
    pub fn set(&self) {
        self.status.working();
        self.token.cancel();
    }

    /// Waits until it is.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }
}

/// The configuration of a transform.
pub trait TransformConfig: Debug + Send + Sync {
    /// Makes the transform.
    ///
    /// # Errors
    /// If the configuration cannot work.
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>>;

    /// What other components may name as their inputs. Default: the transform's id.
    fn outputs(&self) -> OutputNames {
        OutputNames::default()
    }
}

/// What a transform is given.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TransformContext {
    /// The component's id.
    pub id: String,
    /// The time zone of dates that name none, as in Vector's `timezone`: `local` or a name of the IANA
    /// database. `None`: local.
    pub timezone: Option<String>,
    /// Which fields have a meaning for transforms.
    pub log_schema: LogSchema,
}

impl TransformContext {
    /// What the transform of this id is given, with these options for all.
    pub fn new(id: &str, global: &GlobalOptions) -> TransformContext {
        TransformContext {
            id: id.to_owned(),
            timezone: global.timezone.clone(),
            log_schema: global.log_schema.clone(),
        }
    }
}

/// Changes events on their way. Runs where its events come from, under a lock.
pub trait Transform: Send {
    /// Takes an event and puts what becomes of it into `outputs`: nothing, one event or several.
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs);

    /// How often [`Transform::flush`] is to be called, for a transform that holds events back.
    fn flush_every(&self) -> Option<Duration> {
        None
    }

    /// Puts out what has waited long enough.
    fn flush(&mut self, _outputs: &mut Outputs) {}

    /// Puts out all that it holds: no more events come.
    fn finish(&mut self, _outputs: &mut Outputs) {}
}

/// The configuration of a sink.
pub trait SinkConfig: Debug + Send + Sync {
    /// Makes the sink and its healthcheck, where there is something to ask. Does not wait for the network.
    ///
    /// # Errors
    /// If the configuration cannot work.
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)>;

    /// What works, but should be written otherwise. Default: nothing.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Whether there is somebody who gets the events, and keeps them. Such a sink that works does not make up for all
    /// those that fail. Default: yes.
    fn has_destination(&self) -> bool {
        true
    }

    /// Writes to no file that is taken, but to one beside it, with `.again` at the end of its name. Returns the
    /// path that it writes to then, which may be a template. Default: nothing, for a sink that writes no files.
    fn avoid_files(&mut self, _is_taken: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
        None
    }
}

/// What a sink is given.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SinkContext {
    /// The component's id.
    pub id: String,
    /// The proxies to use.
    pub proxy: ProxyConfig,
    /// The options of the sink's healthcheck.
    pub healthcheck: HealthcheckConfig,
    /// The environment, for secrets that are read anew and credentials that a vendor's own rules find there.
    pub env: Env,
    /// The books of the whole topology, for a sink that shows them.
    pub books: Books,
    /// What it may hold.
    pub memory: SinkMemory,
    /// Told what goes wrong, where the outcome of the events does not tell it.
    pub status: Status,
}

/// A running sink.
#[async_trait]
pub trait StreamSink: Send {
    /// Takes events until there are no more, and answers for each of them: through
    /// [`Receipts`](crate::topology::Receipts) or
    /// [`SinkCounts::settle_events`](crate::topology::SinkCounts::settle_events).
    ///
    /// # Errors
    /// If the sink cannot go on; what it holds is then lost, and counted.
    async fn run(self: Box<Self>, input: BufferReceiver) -> Result<()>;

    /// What a sink that takes the place of this one needs to finish its work. Default: nothing, and this one
    /// goes on with what it has taken until that is done.
    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Takes the place of a sink of the same type whose options differ only in how the destination is reached,
    /// by its [`StreamSink::handle`].
    fn succeed(&self, _predecessor: Arc<dyn Any + Send + Sync>) {}
}
