//! What every listener, transport and route shares: the service, the gate in
//! front of it, and the state of the process. Knows no HTTP.

pub mod peer;
pub mod readiness;
pub mod refusal;
pub mod shutdown;

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::window::WindowSettings;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::gate::fairness::Slot;
use crate::gate::{Gate, Refusal};
use crate::service::{Error, PushService};

use self::readiness::Readiness;
use self::shutdown::Shutdown;

/// One running service, shared by all listeners and connections.
pub struct App {
    /// The push service itself.
    pub service: PushService,
    /// The checks that a request passes before it reaches the service.
    pub gate: Gate,
    /// The stage of the shutdown.
    pub shutdown: Shutdown,
    /// Whether the service can do its work.
    pub readiness: Readiness,
    /// How much may be in flight on one connection of a user agent.
    pub window: Arc<WindowSettings>,
    /// Effects that continue when their client disconnects.
    effects: TaskTracker,
}

impl App {
    /// Creates the state of a service, with a gate as configured.
    pub fn new(service: PushService) -> Self {
        let gate = Gate::new(service.config(), service.clock());
        let window = Arc::new(service.config().window());
        Self {
            window,
            service,
            gate,
            shutdown: Shutdown::default(),
            readiness: Readiness::default(),
            effects: TaskTracker::new(),
        }
    }

    /// Checks whether this address may send a request now.
    ///
    /// # Errors
    /// [`Refusal::BlockedAddress`], [`Refusal::Rate`].
    pub fn admit_peer(&self, address: IpAddr) -> Result<(), Refusal> {
        self.service.blocks().check_address(address)?;
        self.gate.rates.request(address)
    }

    /// Delays the response to a refused request by `limits.refusal_delay`, if its address is over a
    /// limit of its own. The caller holds no slot meanwhile.
    pub async fn delay(&self, refusal: &Refusal) {
        if refusal.is_delayed() {
            sleep(self.service.config().limits.refusal_delay).await;
        }
    }

    /// Takes a slot for a user agent's connection or monitor (held GET).
    ///
    /// # Errors
    /// [`Refusal::Limit`] if no slot is free, [`Refusal::Share`] if the address already has as many
    /// as are free, [`Error::Unavailable`] during shutdown.
    pub fn admit_user_agent(&self, address: IpAddr) -> Result<Box<Slot>, Error> {
        if self.shutdown.is_closing() {
            return Err(Error::Unavailable);
        }
        let slot = self.gate.admit_user_agent(address)?;
        Ok(Box::new(slot))
    }

    /// Runs an effect to completion in a task of its own. Over HTTP/1.1 a client that disconnects
    /// cancels its request handler; that must not stop an effect half-way.
    ///
    /// # Errors
    /// Those of the effect; [`Error::Unavailable`] when it panics.
    pub async fn finish<T, E>(
        &self,
        effect: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let task = self.effects.spawn(effect);
        task.await
            .unwrap_or_else(|_| Err(Error::Unavailable.into()))
    }

    /// Waits until all effects are complete.
    pub async fn finished(&self) {
        self.effects.close();
        self.effects.wait().await;
    }
}
