//! Implements [`BroadcastStore`].

use std::sync::Arc;

use super::MemoryStore;
use crate::store::broadcasts::{Broadcasts, Label};
use crate::store::event::Event;
use crate::store::{BoxFuture, BroadcastStore, Limit, StoreError};

impl BroadcastStore for MemoryStore {
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let current = &mut state.broadcasts;
            let had = current.has(&id);
            if version.is_some() && !had && current.len() >= self.limits.broadcasts {
                return Err(StoreError::Full(Limit::Broadcasts.into()));
            }
            *current = current.with(id, version).into();
            drop(state);
            self.notifier.notify(Event::Broadcasts.into());
            Ok(had)
        })
    }

    fn broadcasts(&self) -> Arc<Broadcasts> {
        Arc::clone(&self.state().broadcasts)
    }
}
