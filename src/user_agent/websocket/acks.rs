//! What a user agent acknowledges.

use bugle_protocol::Uaid;
use bugle_protocol::websocket::AckUpdate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use crate::service::Outcome;

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Does what an ack says. A version that names none of this user agent's
    /// messages is passed over (WS-N-12).
    pub(super) async fn acknowledge(&mut self, uaid: Uaid, updates: Vec<AckUpdate>) {
        let service = &self.app.service;
        let named = |update: &AckUpdate| {
            let id = service.of_version(uaid, update.version.as_deref()?)?;
            Some((id, Outcome::from(update.code)))
        };
        let messages: Vec<_> = updates.iter().filter_map(named).collect();
        service.acknowledge(uaid, &messages).await;
        let mut ids: Vec<_> = messages.into_iter().map(|(id, _)| id).collect();
        for took in self.session.settle(&mut ids, Instant::now().into_std()) {
            self.app.service.metrics().ack.record(took);
        }
    }
}
