//! Waiting for a deadline that there may not be.

use tokio::time::Instant;

/// Waits for the deadline; without one, for ever.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
