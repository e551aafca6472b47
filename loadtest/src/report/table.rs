//! Tables with one column per result.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::Named;
use super::axis::short;
use super::plots::{float, service};
use crate::outcome::{Outcome, Sample};

/// A row: its label, and one cell per result.
struct Row {
    what: String,
    cells: Vec<Cell>,
}

struct Cell {
    text: String,
    class: &'static str,
}

impl Row {
    fn new(results: &[Named<Outcome>], what: &str, text: impl Fn(&Outcome) -> String) -> Self {
        let cell = |result: &Named<Outcome>| Cell {
            text: text(&result.result),
            class: "",
        };
        Self {
            what: what.to_owned(),
            cells: results.iter().map(cell).collect(),
        }
    }

    /// Marks all cells if they differ.
    fn compared(mut self) -> Self {
        let all: BTreeSet<_> = self.cells.iter().map(|cell| &cell.text).collect();
        if all.len() > 1 {
            self.cells
                .iter_mut()
                .for_each(|cell| cell.class = "differs");
        }
        self
    }

    /// Marks the cells that are not 0.
    fn of_faults(mut self) -> Self {
        let wrong = self.cells.iter_mut().filter(|cell| cell.text != "0");
        wrong.for_each(|cell| cell.class = "wrong");
        self
    }
}

/// Minimum number of connections for a meaningful memory per connection.
const MIN_CONNECTIONS: u64 = 500;

/// The most important figures.
pub(super) fn figures(results: &[Named<Outcome>]) -> Markup {
    let row = |what: &str, text: &dyn Fn(&Outcome) -> String| Row::new(results, what, text);
    let latency = |name: &'static str, value: fn(&crate::latency::Latency) -> u64| {
        move |outcome: &Outcome| {
            let latency = outcome.latency.get(name);
            latency.map_or("–".to_owned(), |latency| ms(value(latency)))
        }
    };
    table(
        results,
        &[
            row("scenario", &|outcome| outcome.scenario.clone()),
            row("seconds", &|outcome| format!("{:.1}", outcome.seconds)),
            row("user agents, most at one time", &|outcome| {
                outcome.connections.peak.to_string()
            }),
            row("messages delivered", &|outcome| {
                outcome.messages.delivered.to_string()
            }),
            row("delivery p50, ms", &latency("delivery", |l| l.p50)),
            row("delivery p99, ms", &latency("delivery", |l| l.p99)),
            row("delivery p99.9, ms", &latency("delivery", |l| l.p99_9)),
            row("delivery max, ms", &latency("delivery", |l| l.max)),
            row("accepted p99, ms", &latency("acceptance", |l| l.p99)),
            row("hello p99, ms", &latency("hello", |l| l.p99)),
            row("CPU of the service, s", &|outcome| {
                ends(outcome).map_or("–".to_owned(), |(first, last)| {
                    format!("{:.2}", last.cpu_seconds - first.cpu_seconds)
                })
            }),
            row("CPU for each message, µs, all phases", &cpu_for_each),
            row("memory for each connection, KiB", &memory_for_each),
            row("cores, processor", &|outcome| {
                let machine = &outcome.machine;
                format!("{} × {}", machine.cpus, machine.cpu_model)
            }),
        ],
    )
}

/// The message counts.
pub(super) fn ledger(results: &[Named<Outcome>]) -> Markup {
    let count = |what: &str, value: fn(&crate::ledger::Counts) -> u64| {
        Row::new(results, what, |outcome| {
            value(&outcome.messages).to_string()
        })
    };
    table(
        results,
        &[
            count("sent", |m| m.sent),
            count("accepted", |m| m.accepted),
            count("refused", |m| m.refused),
            count("unanswered", |m| m.unanswered),
            count("delivered", |m| m.delivered),
            count("acknowledged", |m| m.acknowledged),
            count("expired", |m| m.expired),
            count("replaced", |m| m.replaced),
            count("withdrawn", |m| m.withdrawn),
            count("not stored (TTL 0)", |m| m.not_stored),
            count("delivered again, as allowed", |m| m.redelivered),
            count("missing", |m| m.missing).of_faults(),
            count("delivered twice", |m| m.duplicate).of_faults(),
            count("out of order", |m| m.out_of_order).of_faults(),
            count("late after their TTL", |m| m.late).of_faults(),
            count("corrupted", |m| m.corrupted).of_faults(),
            count("foreign", |m| m.foreign).of_faults(),
        ],
    )
}

/// The settings of the runs; differing ones are marked.
pub(super) fn settings(results: &[Named<Outcome>]) -> Markup {
    let names: BTreeSet<_> = results
        .iter()
        .flat_map(|result| result.result.config.keys())
        .collect();
    let row = |name: &&String| {
        let row = Row::new(results, &name.replace('_', "-"), |outcome| {
            outcome.config.get(*name).map_or("–".to_owned(), setting)
        });
        row.compared()
    };
    let rows: Vec<_> = names.iter().map(row).collect();
    table(results, &rows)
}

fn table(results: &[Named<Outcome>], rows: &[Row]) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th {}
                        @for result in results { th { (result.name) } }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            td { (row.what) }
                            @for cell in &row.cells { td class=(cell.class) { (cell.text) } }
                        }
                    }
                }
            }
        }
    }
}

/// The first and last sample of the service.
fn ends(outcome: &Outcome) -> Option<(Sample, Sample)> {
    let samples = service(outcome);
    Some((samples.first()?.clone(), samples.last()?.clone()))
}

fn cpu_for_each(outcome: &Outcome) -> String {
    let each = ends(outcome).and_then(|(first, last)| {
        let delivered = last.delivered.checked_sub(first.delivered)?;
        (delivered > 0).then(|| (last.cpu_seconds - first.cpu_seconds) * 1e6 / float(delivered))
    });
    each.map_or("–".to_owned(), |micros| format!("{micros:.1}"))
}

/// Memory growth per connection from the first sample to the one with the most connections;
/// `–` if they are too few.
fn memory_for_each(outcome: &Outcome) -> String {
    let samples = service(outcome);
    let most = samples.iter().max_by_key(|sample| sample.connected);
    let each = samples.first().zip(most).and_then(|(first, most)| {
        let connected = most.connected.checked_sub(first.connected)?;
        let grown = float(most.memory) - float(first.memory);
        (connected >= MIN_CONNECTIONS).then(|| grown / 1024.0 / float(connected))
    });
    each.map_or("–".to_owned(), |kib| format!("{kib:.2}"))
}

fn setting(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn ms(micros: u64) -> String {
    short(float(micros) / 1000.0)
}
