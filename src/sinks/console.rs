//! `console`: events on standard output or standard error.

use super::codec::{EncodingConfig, FramingConfig};
use crate::config::{ComponentInfo, Result, SinkConfig, SinkContext, StreamSink};
use crate::healthcheck::Healthcheck;
use crate::topology::{BufferReceiver, Outcome, Receipts};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// A sink that writes events to the terminal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {
    /// Which stream. Default: `stdout`.
    #[serde(default)]
    pub target: Target,
    /// How an event is written.
    pub encoding: EncodingConfig,
    /// How events are separated. Default: a line for each.
    pub framing: Option<FramingConfig>,
}

/// One of the process's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl ConsoleConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "console",
        "Write events to standard output or standard error.",
        "target = \"stdout\"\nencoding.codec = \"json\"",
    );
}

impl SinkConfig for ConsoleConfig {
    fn has_destination(&self) -> bool {
        false
    }

    fn build(&self, _cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        Ok((Box::new(Console { config: self.clone() }), None))
    }
}

struct Console {
    config: ConsoleConfig,
}

#[async_trait]
impl StreamSink for Console {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let mut stream: Box<dyn AsyncWrite + Send + Unpin> = match self.config.target {
            Target::Stdout => Box::new(tokio::io::stdout()),
            Target::Stderr => Box::new(tokio::io::stderr()),
        };
        let framing = self.config.framing.as_ref().unwrap_or(&FramingConfig::NewlineDelimited);
        let mut out = Vec::new();
        while let Some(events) = input.recv().await {
            out.clear();
            let mut receipts = Receipts::new(Arc::clone(input.counts()));
            for event in events {
                self.config.encoding.encode(&event, &mut out);
                out.extend_from_slice(framing.terminator());
                receipts.push(event);
            }
            let written = async {
                stream.write_all(&out).await?;
                stream.flush().await
            };
            if let Err(error) = written.await {
                let reason = format!(
                    "cannot write to {:?}: {error}; is the other end of the pipe closed?",
                    self.config.target
                );
                receipts.settle(&Outcome::unsent(&*reason));
                return Err(reason.into());
            }
            input.counts().meters().add_sent_bytes(out.len());
            receipts.settle(&Outcome::Delivered);
        }
        Ok(())
    }
}
