//! Tests of pages with several results, and of invalid results.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn outcome(rate: u64, missing: u64) -> Value {
    let latency = json!({
        "count": 10, "mean": 1500.0, "min": 900, "p50": 1500, "p90": 2000, "p99": 3000,
        "p99_9": 3000, "p99_99": 3000, "max": 3000, "buckets": [[1500, 9], [3000, 1]],
    });
    let second = |at: f64| {
        json!({
            "at": at, "connected": 5, "sent": rate, "accepted": rate, "refused": 0,
            "delivered": rate, "latency": { "delivery": latency },
        })
    };
    let sample = |at: f64, connected: u64, delivered: u64| {
        json!({
            "at": at, "cpu_seconds": at / 10.0, "memory": (1 << 20) + connected * 2048,
            "files": 10, "threads": 4, "connected": connected, "delivered": delivered,
        })
    };
    json!({
        "format": 1, "version": "0.1.0", "scenario": "push", "command": ["bugle-load", "push"],
        "started_at": 1_767_225_600, "seconds": 2.0,
        "config": { "rate": rate, "user_agents": 5, "note": "<b>" },
        "machine": { "cpus": 2, "cpu_model": "some", "memory": 1, "kernel": "6" },
        "passed": missing == 0, "faults": if missing > 0 { vec!["one is missing"] } else { vec![] },
        "messages": {
            "sent": 20, "accepted": 20, "refused": 0, "unanswered": 0, "delivered": 20,
            "acknowledged": 20, "expired": 0, "replaced": 0, "withdrawn": 0, "not_stored": 0,
            "redelivered": 0, "missing": missing, "duplicate": 0, "out_of_order": 0, "late": 0,
            "corrupted": 0, "foreign": 0, "abandoned": 0, "rejected": 0,
        },
        "unsent": 0, "answers": { "201": 20 },
        "connections": {
            "user_agents": 5, "peak": 5, "attempts": 5, "established": 5, "failed": 0,
            "broken": 0, "forgotten": 0, "reasons": {},
        },
        "latency": { "delivery": latency },
        "phases": [{ "name": "push", "from": 0.0, "to": 2.0 }],
        "series": [second(1.0), second(2.0)],
        "generator": null,
        "service": [{
            "pid": 1, "name": "bugle", "samples": [sample(0.0, 0, 0), sample(2.0, 500, 20)],
        }],
    })
}

fn soak() -> Value {
    let sample = |at: f64| {
        json!({
            "at": at, "cpu_seconds": 1.0, "memory": 1 << 20, "files": 10, "threads": 4,
            "disk": 1 << 20, "gauges": { "bugle_user_agents": 7 },
        })
    };
    json!({
        "scenario": "soak", "config": {}, "passed": true, "faults": [], "lives": 12,
        "messages": outcome(10, 0)["messages"],
        "checks": [{
            "what": "threads", "before": 4.0, "after": 4.0, "allowed": 5.0, "passed": true,
        }],
        "samples": [sample(0.0), sample(60.0)],
    })
}

/// Writes the report of these results; returns it with its folder.
fn report(results: &[(&str, Value)]) -> Result<(String, TempDir), ReportError> {
    let folder = tempfile::tempdir().unwrap();
    let file = |(name, result): &(&str, Value)| {
        let path = folder.path().join(format!("{name}.json"));
        std::fs::write(&path, result.to_string()).unwrap();
        path
    };
    let report = Report {
        files: results.iter().map(file).collect(),
        out: folder.path().join("report.html"),
        plots: Some(folder.path().join("plots")),
    };
    write(&report)?;
    Ok((std::fs::read_to_string(&report.out).unwrap(), folder))
}

#[test]
fn a_page_is_self_contained() {
    let results = [
        ("one", outcome(10, 0)),
        ("two", outcome(20, 0)),
        ("three", soak()),
    ];
    let (page, _folder) = report(&results).unwrap();
    let own = page.replace("http://www.w3.org/2000/svg", "");
    for trace in [
        "http:", "https:", "<script", "<link", "<img", "src=", "url(", "@import",
    ] {
        assert!(!own.contains(trace), "{trace}");
    }
}

#[test]
fn results_have_one_column_each() {
    let (page, _folder) = report(&[("one", outcome(10, 0)), ("two", outcome(20, 3))]).unwrap();
    assert!(page.contains("<th>one</th><th>two</th>"));
    let differs = r#"<td>rate</td><td class="differs">10</td><td class="differs">20</td>"#;
    assert!(page.contains(differs), "{page}");
    let same = r#"<td>user-agents</td><td class="">5</td><td class="">5</td>"#;
    assert!(page.contains(same));
    let wrong = r#"<td>missing</td><td class="">0</td><td class="wrong">3</td>"#;
    assert!(page.contains(wrong));
    assert!(page.contains("one is missing") && page.contains("FAILED"));
    // 0.2 s for 20 messages, and 1000 KiB for 500 user agents.
    assert!(page.contains("10000.0") && page.contains("2.00"));
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
}

#[test]
fn plots_are_also_written_as_files() {
    let (_page, folder) = report(&[("one", outcome(10, 0)), ("long", soak())]).unwrap();
    let plots = folder.path().join("plots");
    for name in [
        "messages-delivered.svg",
        "latency-from-push-to-notification-one.svg",
        "memory-of-the-service-over-connections.svg",
        "soak-memory.svg",
        "soak-user-agents-connected.svg",
    ] {
        let plot = std::fs::read_to_string(plots.join(name));
        let plot = plot.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(plot.contains("prefers-color-scheme: dark"), "{name}");
    }
    // The results have no data for it.
    assert!(!plots.join("soak-tasks.svg").exists());
}

#[test]
fn an_invalid_result_is_named() {
    let problem = |result: Value| {
        report(&[("odd", result)])
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(problem(json!({ "a": 1 })).contains("odd.json is no result of bugle-load"));
    assert!(problem(json!(["soak"])).contains("odd.json is no result"));
    let mut later = outcome(1, 0);
    later["format"] = json!(2);
    assert!(problem(later).contains("form 2, and this program reads form 1"));
    let report = Report {
        files: vec!["no-such-file.json".into()],
        out: "unused".into(),
        plots: None,
    };
    assert!(write(&report).is_err_and(|error| error.to_string().contains("no-such-file.json")));
}
