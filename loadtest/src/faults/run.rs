//! The rounds of a fault run: load, fault, restart, check.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bugle_client::Dialer;
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::outcome::{Fates, FaultOutcome, Round};
use super::receiver::Receiver;
use super::scene::{Life, Scene};
use super::sender::Sender;
use super::service::Service;
use super::violation::Violation;
use super::{Fault, FaultArgs, FaultError};
use crate::contents::mix;

/// Minimum load before a fault.
const MIN_LOAD_TIME: Duration = Duration::from_millis(50);

/// Maximum number of user agents. Until it is reached, one subscribes in each round shortly
/// before the fault.
const MAX_USER_AGENTS: usize = 100;

/// How long clients may take to notice that the service has ended.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A fault run in progress.
pub(super) struct Run<'a> {
    args: &'a FaultArgs,
    fault: Fault,
    seed: u64,
    scene: Arc<Scene>,
    service: Service,
    disk: Option<Disk>,
    rounds: Vec<Round>,
    /// Connected receivers that have received what was stored for them.
    receivers: Vec<Receiver>,
}

impl<'a> Run<'a> {
    /// Prepares a run with its files in `folder`.
    ///
    /// # Errors
    /// When a requirement is missing.
    pub(super) fn new(
        fault: Fault,
        args: &'a FaultArgs,
        folder: &Path,
    ) -> Result<Self, FaultError> {
        let disk = match fault {
            Fault::Kill => None,
            Fault::Power => Some(Disk::new(folder)?),
        };
        let data = disk.as_ref().map_or(folder, Disk::root).join("data");
        let log = folder.join("service.log");
        let service = Service::new(&args.command, args.url.as_ref(), &data, &log)?;
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
        let scene = Scene::new(Dialer::new(None)?, service.url().clone(), seed);
        Ok(Self {
            args,
            fault,
            seed,
            scene: Arc::new(scene),
            service,
            disk,
            rounds: Vec::new(),
            receivers: Vec::new(),
        })
    }

    /// Carries out all rounds and reports each.
    ///
    /// # Errors
    /// When a round could not be carried out for a reason other than the service.
    pub(super) async fn all_rounds(
        mut self,
        report: impl Fn(&Round),
    ) -> Result<FaultOutcome, FaultError> {
        self.service.start(&self.scene.dialer).await?;
        for _ in 0..self.args.user_agents {
            self.scene.subscribe().await?;
        }
        self.check(0).await;
        for number in 1..=self.args.rounds {
            let Some(round) = self.round(number).await? else {
                break;
            };
            report(&round);
            self.rounds.push(round);
        }
        self.service.kill().await?;
        Ok(self.outcome())
    }

    /// Carries out one round; `None` if the service does not start again.
    async fn round(&mut self, number: usize) -> Result<Option<Round>, FaultError> {
        let before = self.counts();
        let load = self.load_and_fault(number).await?;
        let start = match self.service.start(&self.scene.dialer).await {
            Ok(start) => start,
            Err(error) => {
                self.never_came_back(&error);
                return Ok(None);
            }
        };
        let came = self.check(number).await;
        let after = self.counts();
        Ok(Some(Round {
            number,
            load_ms: millis(load),
            accepted: after.accepted - before.accepted,
            in_doubt: after.in_doubt - before.in_doubt,
            start_ms: millis(start),
            came,
            violations: after.violations - before.violations,
        }))
    }

    /// Applies load until the fault. Returns its duration.
    async fn load_and_fault(&mut self, number: usize) -> Result<Duration, FaultError> {
        let mut rng = self.rng(number, 0);
        let life = Life {
            scene: self.scene.clone(),
            over: CancellationToken::new(),
        };
        let mut clients = JoinSet::new();
        for index in 0..self.args.senders {
            let rng = self.rng(number, 1 + index);
            clients.spawn(Sender::new(life.clone(), index, rng).run());
        }
        for receiver in self.receivers.drain(..) {
            clients.spawn(receiver.run(life.clone()));
        }
        let load = Duration::from_millis(rng.u64(millis(MIN_LOAD_TIME)..=self.longest_ms()));
        if self.scene.subscribers().len() < MAX_USER_AGENTS {
            let scene = self.scene.clone();
            let when = load.mul_f64(rng.f64());
            clients.spawn(async move {
                sleep(when).await;
                // If the subscription is not confirmed, the service owes nothing.
                let _ = scene.subscribe().await;
            });
        }
        sleep(load).await;
        self.strike().await?;
        life.over.cancel();
        let all = async { while clients.join_next().await.is_some() {} };
        if timeout(END_TIMEOUT, all).await.is_err() {
            let mut account = self.scene.account();
            let what = "clients wait for a service that is gone";
            account.violations.describe(Violation::NotServing, what);
        }
        clients.shutdown().await;
        self.scene.account().crashed();
        if let Some(disk) = &mut self.disk {
            disk.power_on()?;
        }
        Ok(load)
    }

    /// Injects the fault; afterwards the process has ended.
    async fn strike(&mut self) -> Result<(), FaultError> {
        let struck = match &self.disk {
            Some(disk) => disk.cut_power(),
            None => Ok(()),
        };
        self.service.kill().await?;
        struck
    }

    /// Lets all user agents receive what is stored for them. Returns the number of
    /// messages.
    async fn check(&mut self, number: usize) -> u64 {
        let subscribers = self.scene.subscribers().clone();
        let mut checks = JoinSet::new();
        for subscriber in &subscribers {
            let index = 1 + self.args.senders + subscriber.number as usize;
            let rng = self.rng(number + 1, index);
            let receiver = Receiver::new(self.scene.clone(), subscriber.clone(), rng);
            let known = subscriber.number;
            checks.spawn(async move { (known, receiver.take_stored().await) });
        }
        let mut came = 0;
        while let Some(checked) = checks.join_next().await {
            match checked {
                Ok((_, Some((receiver, count)))) => {
                    self.receivers.push(receiver);
                    came += count as u64;
                }
                Ok((forgotten, None)) => self
                    .scene
                    .subscribers()
                    .retain(|subscriber| subscriber.number != forgotten),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        came
    }

    fn never_came_back(&mut self, error: &FaultError) {
        let now = self.scene.now();
        let subscribers = std::mem::take(&mut *self.scene.subscribers());
        let mut account = self.scene.account();
        account
            .violations
            .describe(Violation::NotServing, &error.to_string());
        for subscriber in subscribers {
            account.forgotten(subscriber.number, now);
        }
    }

    fn outcome(&self) -> FaultOutcome {
        let account = self.scene.account();
        let violations = account.violations.clone();
        FaultOutcome {
            fault: self.fault.to_string(),
            command: self.args.command.clone(),
            seed: self.seed,
            user_agents: self.args.user_agents,
            senders: self.args.senders,
            rounds: self.rounds.clone(),
            fates: Fates::of(account.fates()),
            kept: violations.total() == 0,
            violations,
        }
    }

    fn counts(&self) -> Counts {
        let account = self.scene.account();
        let (accepted, in_doubt) = account.answers();
        Counts {
            accepted,
            in_doubt,
            violations: account.violations.total(),
        }
    }

    fn longest_ms(&self) -> u64 {
        millis(self.args.longest).max(millis(MIN_LOAD_TIME))
    }

    /// The random choices of one client in one round. They do not fix the order of
    /// concurrent clients.
    fn rng(&self, round: usize, client: usize) -> Rng {
        let which = (round as u64) << 32 | client as u64;
        Rng::with_seed(mix(self.seed ^ mix(which)))
    }
}

/// The counts so far.
struct Counts {
    accepted: u64,
    in_doubt: u64,
    violations: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
