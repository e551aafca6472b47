//! Blocking work that is done whole, one job after the other.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// How many jobs may wait. Each belongs to a request, so that more can only be
/// waiting when clients ask and do not stay for the answer.
const WAITING: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs on a thread that may block, one at a time and in the order in which
/// they were handed over. A job that was handed over runs to its end, whether or
/// not its caller waits for it.
#[derive(Default)]
pub struct SerialExecutor {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Whether a thread runs what waits.
    is_running: bool,
}

impl SerialExecutor {
    /// Hands over a job at the first poll, and waits for what it returns. Returns
    /// `None` if too many jobs wait already, or if the job panics.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody may be waiting for it any more.
            let _ = answer.send(job());
        });
        self.hand_over(job)?;
        answered.await.ok()
    }

    /// `None` if too many wait.
    fn hand_over(&self, job: Job) -> Option<()> {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() >= WAITING {
            return None;
        }
        queue.waiting.push_back(job);
        if !mem::replace(&mut queue.is_running, true) {
            let queue = Arc::clone(&self.queue);
            spawn_blocking(move || run_all(&queue));
        }
        Some(())
    }
}

/// Runs what waits until nothing does.
fn run_all(queue: &Mutex<Queue>) {
    loop {
        let job = {
            let mut queue = lock(queue);
            let job = queue.waiting.pop_front();
            queue.is_running = job.is_some();
            job
        };
        let Some(job) = job else {
            return;
        };
        // Its caller sees that there is no answer; the next job is another's.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// Nothing that holds this lock can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_abandoned_job_runs_before_those_after_it() {
        let (jobs, ran) = (SerialExecutor::default(), Arc::new(Mutex::new(Vec::new())));
        let note = |number: u32| {
            let ran = Arc::clone(&ran);
            move || ran.lock().unwrap().push(number)
        };
        for number in 0..50 {
            let mut abandoned = Box::pin(jobs.run(note(number)));
            assert_eq!(abandoned.as_mut().now_or_never(), None);
        }
        assert_eq!(jobs.run(note(50)).await, Some(()));
        let ran = ran.lock().unwrap().clone();
        assert_eq!(ran, (0..=50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn jobs_that_wait_are_bounded() {
        let jobs = SerialExecutor::default();
        let (go_on, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(jobs.run(move || wait.recv_timeout(PATIENCE).is_ok()));
        assert_eq!(first.as_mut().now_or_never(), None);
        let mut refused = false;
        for _ in 0..WAITING + 2 {
            refused |= Box::pin(jobs.run(|| ())).now_or_never() == Some(None);
        }
        assert!(refused);
        go_on.send(()).unwrap();
        assert_eq!(first.await, Some(true));
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_alone() {
        let jobs = SerialExecutor::default();
        assert_eq!(jobs.run(|| panic!("on purpose")).await, None::<()>);
        assert_eq!(jobs.run(|| 7).await, Some(7));
    }
}
