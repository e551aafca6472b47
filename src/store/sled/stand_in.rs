//! Simulates a slow or broken disk in tests: the engine reads its pages at any time, and panics if
//! that fails.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::fmt;
use std::sync::{Arc, Mutex};

type Step = Arc<dyn Fn() + Send + Sync>;

/// Hooks that run before each read of the tree, and before the flush after a failure. They may
/// block or panic.
#[derive(Default)]
pub(super) struct StandIn {
    read: Mutex<Option<Step>>,
    flush: Mutex<Option<Step>>,
}

impl StandIn {
    pub(super) fn before_reads(&self, step: impl Fn() + Send + Sync + 'static) {
        *self.read.lock().unwrap() = Some(Arc::new(step));
    }

    pub(super) fn before_flushes(&self, step: impl Fn() + Send + Sync + 'static) {
        *self.flush.lock().unwrap() = Some(Arc::new(step));
    }

    pub(super) fn read(&self) {
        run(&self.read);
    }

    pub(super) fn flush(&self) {
        run(&self.flush);
    }
}

/// Runs the hook without the lock, so that a hook that blocks delays no other caller.
fn run(step: &Mutex<Option<Step>>) {
    let step = step.lock().unwrap().clone();
    if let Some(step) = step {
        step();
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandIn")
    }
}
