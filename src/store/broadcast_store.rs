//! Storage of broadcasts: [`BroadcastStore`].

use std::sync::Arc;

use super::broadcasts::{Broadcasts, Label};
use super::{BoxFuture, StoreError};

/// The versions of the broadcasts that user agents follow.
///
/// Durability, cancellation, events and errors are those of
/// [`Store`](super::Store).
pub trait BroadcastStore: Send + Sync + 'static {
    /// Sets the version of a broadcast, or removes the broadcast if `version` is `None`, and
    /// returns whether it existed. The change is durable when this returns.
    ///
    /// # Errors
    /// `Full` when the bound allows no further broadcast.
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Returns the current broadcasts. It never waits, and is cheap enough for every connection to
    /// call it.
    fn broadcasts(&self) -> Arc<Broadcasts>;
}
