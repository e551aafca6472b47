//! Samples of the service's resources over time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bugle_client::{ClientError, Dialer, HttpConnection};
use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::{Position, Url};

use super::{Soak, SoakError};
use crate::process::Observed;
use crate::run::Run;

/// The gauges of the service to record, if present.
const GAUGES: [&str; 8] = [
    "bugle_connections",
    "bugle_user_agents",
    "bugle_subscriptions",
    "bugle_stored_messages",
    "bugle_stored_bytes",
    "bugle_receipts",
    "bugle_disk_bytes",
    "bugle_tasks",
];

/// The resources at one time, summed over the processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SoakSample {
    /// Seconds since the start.
    pub at: f64,
    /// CPU time since the start of the processes, in seconds.
    pub cpu_seconds: f64,
    /// Memory (PSS) in bytes.
    pub memory: u64,
    /// Open file descriptors.
    pub files: u64,
    /// Threads.
    pub threads: u64,
    /// Disk space of the data folder, in bytes.
    pub disk: Option<u64>,
    /// Gauges of the service by name.
    pub gauges: BTreeMap<String, f64>,
}

/// The task that samples a service.
pub(super) struct Sampler {
    probe: Arc<Probe>,
    over: CancellationToken,
    task: JoinHandle<Vec<SoakSample>>,
}

struct Probe {
    run: Arc<Run>,
    processes: Vec<Observed>,
    data: Option<PathBuf>,
    metrics: Option<Url>,
    dialer: Dialer,
}

impl Sampler {
    pub(super) fn start(soak: &Soak, dialer: Dialer, run: &Arc<Run>) -> Result<Self, SoakError> {
        let processes: Result<_, _> = soak.pid.iter().map(|pid| Observed::new(*pid)).collect();
        let probe = Arc::new(Probe {
            run: Arc::clone(run),
            processes: processes?,
            data: soak.data.clone(),
            metrics: soak.metrics.clone(),
            dialer,
        });
        let over = CancellationToken::new();
        let task = tokio::spawn(watch(Arc::clone(&probe), over.clone(), soak.every));
        Ok(Self { probe, over, task })
    }

    /// Takes a sample now.
    pub(super) async fn now(&self) -> Result<SoakSample, SoakError> {
        self.probe.sample().await
    }

    /// Stops the task and returns the samples.
    pub(super) async fn end(self) -> Vec<SoakSample> {
        self.over.cancel();
        self.task.await.unwrap_or_default()
    }
}

async fn watch(probe: Arc<Probe>, over: CancellationToken, every: Duration) -> Vec<SoakSample> {
    let mut samples = Vec::new();
    let mut is_over = false;
    while !is_over {
        // A failed sample leaves a gap; the samples at the ends are taken separately.
        samples.extend(probe.sample().await.ok());
        let tick = tokio::time::sleep(every);
        is_over = over.run_until_cancelled(tick).await.is_none();
    }
    samples
}

impl Probe {
    async fn sample(&self) -> Result<SoakSample, SoakError> {
        let mut sample = SoakSample {
            at: self.run.now().as_secs_f64(),
            ..SoakSample::default()
        };
        for process in &self.processes {
            let one = process.sample()?;
            sample.cpu_seconds += one.cpu_seconds;
            sample.memory += one.memory;
            sample.files += one.files;
            sample.threads += one.threads;
        }
        if let Some(data) = &self.data {
            let disk = on_disk(data).map_err(|error| SoakError::System {
                what: format!("cannot measure {}", data.display()),
                error,
            })?;
            sample.disk = Some(disk);
        }
        if let Some(url) = &self.metrics {
            sample.gauges = gauges(&self.metrics_text(url).await?);
        }
        Ok(sample)
    }

    async fn metrics_text(&self, url: &Url) -> Result<String, ClientError> {
        let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
            .body(Full::new(Bytes::new()))
            .map_err(|error| ClientError::Url {
                url: url.to_string(),
                problem: error.to_string(),
            })?;
        let mut http = HttpConnection::open(&self.dialer, url.as_str()).await?;
        let answer = http.send(request).await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }
}

/// Parses the recorded gauges from the text format of Prometheus.
fn gauges(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let kept = lines.filter(|(name, _)| GAUGES.contains(name));
    kept.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

/// Disk space of the files below a folder, in bytes.
fn on_disk(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;

    let mut octets = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // The file was removed during the walk.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        octets += match metadata.is_dir() {
            true => on_disk(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn gauges_are_read_and_counters_ignored() {
        let text = "# TYPE bugle_connections gauge\nbugle_connections 3\n\
            bugle_disk_bytes 1.5e3\nbugle_messages_accepted_total 9\n# EOF\n";
        let read = gauges(text);
        assert_eq!(read.len(), 2);
        assert_eq!(read["bugle_connections"], 3.0);
        assert_eq!(read["bugle_disk_bytes"], 1500.0);
    }

    #[test]
    fn disk_space_includes_nested_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        assert_eq!(on_disk(folder.path()).unwrap(), 0);
        std::fs::write(folder.path().join("inner/file"), [1; 10_000]).unwrap();
        let taken = on_disk(folder.path()).unwrap();
        assert!((10_000..=65_536).contains(&taken), "{taken}");
    }
}
