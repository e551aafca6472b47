//! Runs blocking jobs to completion, one after another.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// Maximum number of waiting jobs. Each belongs to a request, so the queue grows beyond the request
/// limit only if clients disconnect before their response.
const WAITING: usize = 256;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs on a blocking thread, one at a time and in the order of submission. A submitted job
/// always runs to completion, even if its caller is cancelled.
#[derive(Default)]
pub struct SerialExecutor {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Whether a thread is running the queue.
    is_running: bool,
}

impl SerialExecutor {
    /// Submits a job at the first poll and waits for its result. Returns `None` if too many jobs
    /// are waiting, or if the job panics.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // The caller may have been cancelled.
            let _ = answer.send(job());
        });
        self.hand_over(job)?;
        answered.await.ok()
    }

    /// Returns `None` if too many jobs are waiting.
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

/// Runs jobs until the queue is empty.
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
        // A panic ends only this job: its caller gets `None`.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// No code can panic while it holds this lock.
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

    const TIMEOUT: Duration = Duration::from_secs(60);

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
    async fn waiting_jobs_are_bounded() {
        let jobs = SerialExecutor::default();
        let (go_on, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(jobs.run(move || wait.recv_timeout(TIMEOUT).is_ok()));
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
    async fn a_panicking_job_ends_only_itself() {
        let jobs = SerialExecutor::default();
        assert_eq!(jobs.run(|| panic!("on purpose")).await, None::<()>);
        assert_eq!(jobs.run(|| 7).await, Some(7));
    }
}
