#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]
//! Tests of the log, written to memory.

use std::time::Duration;

use tokio::time::advance;
use tracing::subscriber::{DefaultGuard, set_default};

use super::*;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl io::Write for Memory {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn lines(&self) -> Vec<String> {
        let octets = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(octets).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn begin(repeat_limit: u32, format: LogFormat) -> (Memory, Log, DefaultGuard) {
    let memory = Memory::default();
    let writer = memory.clone();
    let config = LogConfig {
        filter: "info".to_owned(),
        format,
        repeat_limit,
    };
    let (subscriber, log) = Log::of(&config, move || writer.clone(), false).unwrap();
    (memory, log, set_default(subscriber))
}

fn disk_fails() {
    tracing::error!(detail = "a detail", "the disk fails");
}

#[tokio::test(start_paused = true)]
async fn repeated_lines_are_capped_and_counted() {
    let (memory, log, _guard) = begin(3, LogFormat::Text);
    let counting = tokio::spawn({
        let log = log.clone();
        async move { log.count().await }
    });
    tokio::task::yield_now().await;
    for _ in 0..10 {
        disk_fails();
        tracing::info!(target: "bugle::audit", "changed");
    }
    tracing::warn!("something else");
    let lines = memory.lines();
    let those = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(those("the disk fails"), 3, "{lines:?}");
    assert_eq!((those("something else"), those("changed")), (1, 10));

    advance(Duration::from_secs(59)).await;
    disk_fails();
    assert_eq!(memory.lines(), [] as [&str; 0]);
    advance(Duration::from_secs(2)).await;
    tokio::task::yield_now().await;
    let lines = memory.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "bugle::log",
        "lines=8",
        "the disk fails",
        "log.repeat_limit",
    ] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
    assert!(!lines[0].contains("a detail"));

    disk_fails();
    assert_eq!(memory.lines().len(), 1);
    advance(Duration::from_secs(60)).await;
    tokio::task::yield_now().await;
    assert_eq!(memory.lines(), [] as [&str; 0], "nothing was held back");
    counting.abort();
    for _ in 0..4 {
        disk_fails();
    }
    memory.lines();
    log.end();
    assert!(memory.lines()[0].contains("lines=1"));
}

#[test]
fn a_repeat_limit_of_zero_caps_nothing() {
    let (memory, log, _guard) = begin(0, LogFormat::Text);
    for _ in 0..1000 {
        disk_fails();
    }
    log.end();
    assert_eq!(memory.lines().len(), 1000);
}

#[test]
fn the_filter_can_be_changed() {
    let (memory, log, _guard) = begin(0, LogFormat::Json);
    let say = || {
        tracing::debug!("in detail");
        tracing::error!("aloud");
        tracing::error!(target: "hyper", "a header");
        tracing::info!(target: "bugle::audit", "changed");
    };
    for (filter, lines) in [("info", 2), ("debug", 3), ("off", 1), ("bugle=error", 2)] {
        if filter != "info" {
            log.set_filter(filter.parse().unwrap());
            assert_eq!(log.filter().as_deref(), Some(filter));
        }
        say();
        let written = memory.lines();
        assert_eq!(written.len(), lines, "{filter}: {written:?}");
        for line in written {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(line["level"].is_string() && line["message"].is_string());
        }
    }
}
