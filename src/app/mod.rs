//! What every listener, transport and route shares: the service, the gate in
//! front of it, and the state of the process. Knows no HTTP.

pub mod peer;
pub mod readiness;
pub mod refusal;
pub mod shutdown;

use std::net::IpAddr;

use tokio_util::task::TaskTracker;

use crate::gate::fairness::Slot;
use crate::gate::{Gate, Refusal};
use crate::service::{Error, PushService};

use self::readiness::Readiness;
use self::shutdown::Shutdown;

/// One running service.
pub struct App {
    /// The push service itself.
    pub service: PushService,
    /// What refuses a peer before the service is asked.
    pub gate: Gate,
    /// How far the shutdown has come.
    pub shutdown: Shutdown,
    /// Whether the service can do its work.
    pub readiness: Readiness,
    /// Effects that go on when their client hangs up.
    effects: TaskTracker,
}

impl App {
    /// Puts the gate that is configured in front of a service.
    pub fn new(service: PushService) -> Self {
        let gate = Gate::new(service.config(), service.clock());
        Self {
            service,
            gate,
            shutdown: Shutdown::default(),
            readiness: Readiness::default(),
            effects: TaskTracker::new(),
        }
    }

    /// Whether this address may send a request now.
    ///
    /// # Errors
    /// [`Refusal::BlockedAddress`], [`Refusal::Rate`].
    pub fn admit_peer(&self, address: IpAddr) -> Result<(), Refusal> {
        self.service.blocks().check_address(address)?;
        self.gate.rates.request(address)
    }

    /// Takes a place for one more connected user agent or held GET.
    ///
    /// # Errors
    /// [`Refusal::Limit`] when there is none, [`Refusal::Share`] when the address
    /// holds as many as are free, [`Error::Unavailable`] during shutdown.
    pub fn admit_user_agent(&self, address: IpAddr) -> Result<Box<Slot>, Error> {
        if self.shutdown.is_closing() {
            return Err(Error::Unavailable);
        }
        let place = self.gate.admit_user_agent(address)?;
        Ok(Box::new(place))
    }

    /// Runs an effect to its end, in a task of its own: over HTTP/1.1 a client
    /// that hangs up ends its request, which must not stop an effect half-way.
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

    /// Waits until all effects have ended.
    pub async fn finished(&self) {
        self.effects.close();
        self.effects.wait().await;
    }
}
