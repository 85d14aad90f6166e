//! Vector's types as far as the adapters name them. What they do is as little as the tests need; names, bounds and
//! signatures are those of Vector 0.58 (see `examples/vector-build/README.md` for what of it could be checked).

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

pub mod config {
    use crate::event::Event;
    use crate::{configurable, schema, sinks, sources};
    use async_trait::async_trait;
    use futures::FutureExt;
    use futures::future::{BoxFuture, Shared};
    use serde::{Deserialize, Serialize};
    use std::fmt::Debug;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::sync::{mpsc, oneshot};

    #[async_trait]
    #[typetag::serde(tag = "type")]
    pub trait SinkConfig: configurable::NamedComponent + Debug + Send + Sync {
        async fn build(&self, cx: SinkContext) -> crate::Result<(sinks::VectorSink, sinks::Healthcheck)>;
        fn input(&self) -> Input;
        fn acknowledgements(&self) -> &AcknowledgementsConfig;
    }

    #[async_trait]
    #[typetag::serde(tag = "type")]
    pub trait SourceConfig: configurable::NamedComponent + Debug + Send + Sync {
        async fn build(&self, cx: SourceContext) -> crate::Result<sources::Source>;
        fn outputs(&self, global_log_namespace: LogNamespace) -> Vec<SourceOutput>;
        fn can_acknowledge(&self) -> bool;
    }

    #[derive(Clone, Debug, Default)]
    pub struct SinkContext {
        pub proxy: ProxyConfig,
    }

    /// Vector's hosts without a proxy have a type of their own, which is a list when it is written.
    #[derive(Clone, Debug, Serialize)]
    pub struct ProxyConfig {
        pub enabled: bool,
        pub http: Option<String>,
        pub https: Option<String>,
        pub no_proxy: Vec<String>,
    }

    impl Default for ProxyConfig {
        fn default() -> Self {
            ProxyConfig { enabled: true, http: None, https: None, no_proxy: Vec::new() }
        }
    }

    pub struct SourceContext {
        pub key: ComponentKey,
        pub shutdown: ShutdownSignal,
        pub out: SourceSender,
        pub acknowledgements: bool,
    }

    pub struct ComponentKey(pub String);

    impl ComponentKey {
        pub fn id(&self) -> &str {
            &self.0
        }
    }

    pub struct ShutdownSignal(Shared<BoxFuture<'static, ()>>);

    impl ShutdownSignal {
        pub fn new() -> (ShutdownSignal, oneshot::Sender<()>) {
            let (trigger, told) = oneshot::channel();
            (ShutdownSignal(told.map(drop).boxed().shared()), trigger)
        }
    }

    impl Future for ShutdownSignal {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.0.poll_unpin(cx)
        }
    }

    pub struct SourceSender(pub mpsc::Sender<Event>);

    #[derive(Debug, snafu::Snafu)]
    #[snafu(display("nobody receives"))]
    pub struct SendError;

    impl SourceSender {
        pub async fn send_batch(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), SendError> {
            for event in events {
                self.0.send(event).await.map_err(|_| SendError)?;
            }
            Ok(())
        }
    }

    #[derive(Clone, Debug, Default, Deserialize, Serialize)]
    pub struct AcknowledgementsConfig {
        pub enabled: Option<bool>,
    }

    #[derive(Debug, PartialEq)]
    pub struct Input(DataType);

    impl Input {
        pub fn log() -> Input {
            Input(DataType::Log)
        }
    }

    #[derive(Debug, PartialEq)]
    pub enum DataType {
        Log,
    }

    pub enum LogNamespace {
        Legacy,
    }

    #[derive(Debug, PartialEq)]
    pub struct SourceOutput {
        pub ty: DataType,
    }

    impl SourceOutput {
        pub fn new_maybe_logs(ty: DataType, _: schema::Definition) -> SourceOutput {
            SourceOutput { ty }
        }
    }
}

pub mod configurable {
    pub trait NamedComponent {
        fn get_component_name(&self) -> &'static str;
    }
}

pub mod schema {
    pub struct Definition;

    impl Definition {
        pub fn any() -> Definition {
            Definition
        }
    }
}

pub mod sources {
    pub type Source = futures::future::BoxFuture<'static, Result<(), ()>>;
}

pub mod sinks {
    use crate::event::Event;
    use crate::sink::StreamSink;
    use futures::future::BoxFuture;

    pub type Healthcheck = BoxFuture<'static, crate::Result<()>>;

    pub struct VectorSink(pub Box<dyn StreamSink<Event> + Send>);

    impl VectorSink {
        pub fn from_event_streamsink(sink: impl StreamSink<Event> + Send + 'static) -> VectorSink {
            VectorSink(Box::new(sink))
        }
    }
}

pub mod sink {
    use async_trait::async_trait;
    use futures::stream::BoxStream;

    #[async_trait]
    pub trait StreamSink<T> {
        async fn run(self: Box<Self>, input: BoxStream<'_, T>) -> Result<(), ()>;
    }
}

pub mod event {
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};
    use tokio::sync::oneshot;
    use vrl::value::Value;

    #[derive(Debug)]
    pub enum Event {
        Log(LogEvent),
        /// Stands for metrics and traces.
        Metric,
    }

    #[derive(Debug)]
    pub struct LogEvent {
        value: Value,
        metadata: EventMetadata,
    }

    #[derive(Debug, Default)]
    pub struct EventMetadata {
        finalizers: EventFinalizers,
    }

    impl LogEvent {
        pub fn into_parts(self) -> (Value, EventMetadata) {
            (self.value, self.metadata)
        }
    }

    impl From<Value> for LogEvent {
        fn from(value: Value) -> LogEvent {
            LogEvent { value, metadata: EventMetadata::default() }
        }
    }

    pub trait Finalizable {
        fn take_finalizers(&mut self) -> EventFinalizers;
    }

    impl Finalizable for LogEvent {
        fn take_finalizers(&mut self) -> EventFinalizers {
            std::mem::take(&mut self.metadata.finalizers)
        }
    }

    pub trait AddBatchNotifier {
        fn add_batch_notifier(&mut self, notifier: BatchNotifier);
    }

    impl AddBatchNotifier for LogEvent {
        fn add_batch_notifier(&mut self, notifier: BatchNotifier) {
            self.metadata.finalizers.0.push(notifier);
        }
    }

    /// Answers when it is dropped, with the worst that was said before.
    #[derive(Clone, Debug, Default)]
    pub struct EventFinalizers(Vec<BatchNotifier>);

    impl EventFinalizers {
        pub fn update_status(&self, status: EventStatus) {
            for BatchNotifier(batch) in &self.0 {
                let mut worst = batch.0.lock().unwrap();
                *worst = match (*worst, status) {
                    (BatchStatus::Rejected, _) | (_, EventStatus::Rejected) => BatchStatus::Rejected,
                    (BatchStatus::Errored, _) | (_, EventStatus::Errored) => BatchStatus::Errored,
                    _ => BatchStatus::Delivered,
                };
            }
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum EventStatus {
        Delivered,
        Errored,
        Rejected,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum BatchStatus {
        Delivered,
        Errored,
        Rejected,
    }

    #[derive(Clone, Debug)]
    pub struct BatchNotifier(Arc<Batch>);

    #[derive(Debug)]
    struct Batch(Mutex<BatchStatus>, Option<oneshot::Sender<BatchStatus>>);

    impl Drop for Batch {
        fn drop(&mut self) {
            let status = *self.0.lock().unwrap();
            let _ = self.1.take().unwrap().send(status);
        }
    }

    pub struct BatchStatusReceiver(oneshot::Receiver<BatchStatus>);

    impl Future for BatchStatusReceiver {
        type Output = BatchStatus;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BatchStatus> {
            Pin::new(&mut self.0).poll(cx).map(Result::unwrap)
        }
    }

    impl BatchNotifier {
        pub fn new_with_receiver() -> (BatchNotifier, BatchStatusReceiver) {
            let (sender, receiver) = oneshot::channel();
            let batch = Batch(Mutex::new(BatchStatus::Delivered), Some(sender));
            (BatchNotifier(Arc::new(batch)), BatchStatusReceiver(receiver))
        }
    }
}
