//! Supervision of the background tasks that run as long as the service.
//!
//! A required task that ends, by a panic or a return, shuts the service down, so that the service
//! manager restarts the process: a new start of the task alone would not repair the service. Other
//! tasks keep no state of their own, so they are restarted.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep;

use crate::app::App;

#[cfg(test)]
use super::tests::Fault;

/// Delay before a task is restarted, so that one that always panics does not use up the CPU.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A required task ended unexpectedly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the task {task} ended unasked ({why}), and the service stopped because it cannot do without \
     it: start it again, and report this with the log before it as a bug"
)]
pub struct TaskEnded {
    /// The task's name.
    pub task: &'static str,
    /// The text of its panic, or that it returned.
    pub why: String,
}

/// Supervised tasks. Dropping it aborts them.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a required task.
    pub(super) fn require(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.running.spawn(Fault::of(name).apply(task));
        self.names.insert(handle.id(), name);
    }

    /// Starts a task that is restarted whenever it ends; each restart is counted.
    pub(super) fn restart<F>(
        &mut self,
        name: &'static str,
        app: &Arc<App>,
        task: impl Fn(Arc<App>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let (app, fault) = (Arc::clone(app), Fault::of(name));
        let handle = self.running.spawn(async move {
            loop {
                let run = fault.apply(async { task(Arc::clone(&app)).await });
                let why = match AssertUnwindSafe(run).catch_unwind().await {
                    Ok(()) => RETURNED.to_owned(),
                    Err(panic) => text_of(&*panic),
                };
                tracing::error!(
                    task = name,
                    %why,
                    "a task ended unasked and is started again: report this as a bug"
                );
                app.service.metrics().restart(name);
                sleep(RESTART_DELAY).await;
            }
        });
        self.names.insert(handle.id(), name);
    }

    /// Waits until a required task ends.
    pub(super) async fn ended(&mut self) -> TaskEnded {
        match self.running.join_next_with_id().await {
            Some(Ok((id, ()))) => self.describe(id, RETURNED.to_owned()),
            Some(Err(error)) => self.describe(error.id(), reason(error)),
            None => std::future::pending().await,
        }
    }

    /// Waits until all tasks have ended after they were asked to.
    pub(super) async fn join(&mut self) {
        while self.running.join_next().await.is_some() {}
    }

    fn describe(&self, id: Id, why: String) -> TaskEnded {
        let task = self.names.get(&id).copied().unwrap_or("of no name");
        TaskEnded { task, why }
    }
}

const RETURNED: &str = "it returned";

fn reason(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => text_of(&*panic),
        Err(error) => error.to_string(),
    }
}

/// The text of a panic.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a text"))
}

/// Only tests inject faults.
#[cfg(not(test))]
struct Fault;

#[cfg(not(test))]
impl Fault {
    fn of(_name: &'static str) -> Self {
        Self
    }

    fn apply<F>(&self, task: F) -> F {
        task
    }
}
