//! [`ConsumerLog`]: what is said of a JetStream consumer, and not more often than every ten seconds where it may
//! come often.

use super::jetstream_api::{Consumer, PullOptions, differences};
use crate::log_limit::LogLimit;
use crate::status::Status;

/// What is said of it.
#[derive(Debug)]
pub(super) struct ConsumerLog {
    /// The component's id.
    id: String,
    /// `consumer C of stream S`
    name: String,
    missing: LogLimit,
    broken: LogLimit,
    other: LogLimit,
    status: Status,
}

impl ConsumerLog {
    pub(super) fn new(id: &str, options: &PullOptions, status: Status) -> ConsumerLog {
        ConsumerLog {
            id: id.to_owned(),
            name: format!("JetStream consumer {} of stream {}", options.consumer, options.stream),
            missing: LogLimit::every_10_s(),
            broken: LogLimit::every_10_s(),
            other: LogLimit::every_10_s(),
            status,
        }
    }

    pub(super) fn reads(&self, found: &Consumer) {
        self.status.working();
        tracing::info!(
            source = self.id,
            pending = found.num_pending,
            max_ack_pending = found.limits.max_ack_pending,
            "reading through the {}",
            self.name
        );
    }

    pub(super) fn made(&self, made: &Consumer) {
        tracing::info!(source = self.id, "made the {}, for the subjects {}", self.name, made.filters());
    }

    /// Others who share it read other messages from now on, or otherwise.
    pub(super) fn changed(&self, old: &Consumer, new: &Consumer) {
        let differences = differences(&old.config, &new.config);
        tracing::info!(source = self.id, "changed the {}: {differences}", self.name);
    }

    /// The stream takes nothing of what it is made for.
    pub(super) fn reads_nothing(&self, why: &str) {
        tracing::warn!(source = self.id, "the {} {why}", self.name);
    }

    /// The one that is there can be read all the same.
    pub(super) fn cannot_change(&mut self, why: &str) {
        self.status.note(
            format!("the {} cannot be changed to what the options say: {why}", self.name),
            "make the options say what it is, or delete it, so that it is made anew",
        );
        if let Some(unsaid) = self.other.allow() {
            tracing::error!(
                source = self.id,
                unsaid,
                "the {} stays as it is, because it cannot be changed to what the options say: {why}",
                self.name
            );
        }
    }

    pub(super) fn has_too_large_a_message(&mut self) {
        if let Some(unsaid) = self.other.allow() {
            tracing::warn!(
                source = self.id,
                unsaid,
                "a message is larger than jetstream.batch_config.max_bytes, and is asked for by itself"
            );
        }
    }

    pub(super) fn is_broken(&mut self, why: &str) {
        self.status.failing(format!("the {} sends no more: {why}", self.name), "wait: it is asked for again");
        if let Some(unsaid) = self.broken.allow() {
            tracing::warn!(
                source = self.id,
                unsaid,
                "the {} sends no more, asking for it again: {why}",
                self.name
            );
        }
    }

    /// Something that a person has to mend, or that passes.
    pub(super) fn is_missing(&mut self, why: &str) {
        let advice = "make the stream or the consumer, or let `jetstream.create` make the consumer";
        self.status.failing(format!("cannot read the {}: {why}", self.name), advice);
        if let Some(unsaid) = self.missing.allow() {
            tracing::error!(source = self.id, unsaid, "cannot read yet, will try again: {why}");
        }
    }
}
