//! Retries after transient failures, with exponential backoff.

use std::time::Duration;

use bugle_client::ClientError;
use tokio::time::sleep;

use super::{Failure, note};

/// Delay before the first retry; it doubles up to the last.
pub(super) const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The backoff state.
pub(super) struct Retry {
    next: Duration,
}

impl Retry {
    /// The state before any failure.
    pub(super) fn new() -> Self {
        Self { next: FIRST_DELAY }
    }

    /// Reports the error, and waits before the next attempt.
    ///
    /// # Errors
    /// Returns errors that a retry cannot fix.
    pub(super) async fn pause(&mut self, error: Failure) -> Result<(), Failure> {
        let error = passing(error)?;
        let wait = self.wait();
        note(format!("{error}; trying again in {} s", wait.as_secs()));
        sleep(wait).await;
        Ok(())
    }

    /// Resets the delay after a success.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_DELAY;
    }

    fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(MAX_DELAY);
        wait
    }
}

/// Separates errors that another connection may fix from those it cannot.
fn passing(error: Failure) -> Result<ClientError, Failure> {
    match *error.downcast::<ClientError>()? {
        // A refusal of the request itself would recur.
        error @ (ClientError::Refused {
            status: 400..=499, ..
        }
        | ClientError::Gone
        | ClientError::Url { .. }) => Err(error.into()),
        error => Ok(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_errors_are_worth_another_connection() {
        let refused = |status| ClientError::Refused {
            what: "register",
            status,
        };
        assert!(passing(refused(503).into()).is_ok());
        assert!(passing(refused(400).into()).is_err());
        assert!(passing(ClientError::Gone.into()).is_err());
        assert!(passing(ClientError::Silence("hello").into()).is_ok());
        assert!(passing("cannot write".into()).is_err());
    }

    #[test]
    fn delays_double_up_to_the_last() {
        let mut retry = Retry::new();
        let waits: Vec<_> = (0..8).map(|_| retry.wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        retry.reset();
        assert_eq!(retry.wait(), FIRST_DELAY);
    }
}
