//! What happens to a connection, said to a person.

use super::link::LinkError;
use crate::log_limit::LogLimit;

/// What happens to a connection, said once, and not more often than every ten seconds.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    pub(super) id: String,
    refused: LogLimit,
    failed: LogLimit,
    lost: LogLimit,
}

impl ConnectionLog {
    pub(super) fn new(id: &str) -> ConnectionLog {
        ConnectionLog {
            id: id.to_owned(),
            refused: LogLimit::every_10_s(),
            failed: LogLimit::every_10_s(),
            lost: LogLimit::every_10_s(),
        }
    }

    pub(super) fn cannot_connect(&self, server: &str, error: &LinkError) {
        match error {
            LinkError::Refused { message } => self.refused(message),
            LinkError::Auth { source } => {
                if let Some(unsaid) = self.refused.allow() {
                    tracing::error!(
                        source = self.id,
                        unsaid,
                        "cannot sign in to NATS, will try again: {source}"
                    );
                }
            }
            error => {
                if let Some(unsaid) = self.failed.allow() {
                    tracing::warn!(
                        source = self.id,
                        unsaid,
                        "cannot connect to NATS at {server}, will try again: {error}"
                    );
                }
            }
        }
    }

    pub(super) fn disconnected(&self, error: &LinkError) {
        if let Some(unsaid) = self.lost.allow() {
            tracing::warn!(
                source = self.id,
                unsaid,
                "the connection to NATS is lost, connecting again: {error}"
            );
        }
    }

    pub(super) fn refused(&self, reason: &str) {
        if let Some(unsaid) = self.refused.allow() {
            tracing::error!(
                source = self.id,
                unsaid,
                "NATS refuses us ({reason}); check the user, the token or password, and what they may subscribe to. Will try again, with the secret as it is then"
            );
        }
    }
}
