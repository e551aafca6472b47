//! The plots for the results.

use super::Named;
use super::axis::Scale;
use super::plot::{Line, Plot};
use crate::outcome::{Outcome, Sample};
use crate::soak::{SoakOutcome, SoakSample};

const MIB: f64 = 1048576.0;

/// The name and accessor of a percentile.
type Percentile = (&'static str, fn(&crate::latency::Latency) -> u64);

const PERCENTILES: [Percentile; 4] = [
    ("p50", |latency| latency.p50),
    ("p90", |latency| latency.p90),
    ("p99", |latency| latency.p99),
    ("max", |latency| latency.max),
];

/// The latencies to plot over time.
const MEASURES: [(&str, &str); 2] = [
    ("delivery", "from push to notification"),
    ("hello", "from connecting to the answer to hello"),
];

/// The plots of scenarios: all results in one plot, except for percentiles.
pub(super) fn of_scenarios(results: &[Named<Outcome>]) -> Vec<Plot> {
    let mut plots = vec![
        over_time(results, "Messages delivered", "per second", |outcome| {
            let series = outcome.series.iter();
            rates(series.map(|second| (second.at, second.delivered)))
        }),
        over_time(results, "User agents connected", "", |outcome| {
            let series = outcome.series.iter();
            series
                .map(|second| (second.at, float(second.connected)))
                .collect()
        }),
    ];
    for (measure, what) in MEASURES {
        plots.extend(
            results
                .iter()
                .map(|result| percentiles(result, measure, what)),
        );
    }
    plots.push(distribution(results));
    plots.push(memory_over_connections(results));
    plots.push(over_time(
        results,
        "Memory of the service",
        "MiB",
        |outcome| {
            let samples = service(outcome).into_iter();
            samples
                .map(|sample| (sample.at, float(sample.memory) / MIB))
                .collect()
        },
    ));
    plots.push(over_time(results, "CPU of the service", "% of a core", cpu));
    plots
}

/// The plots of soaks.
pub(super) fn of_soaks(results: &[Named<SoakOutcome>]) -> Vec<Plot> {
    let gauge = |name: &'static str| move |sample: &SoakSample| sample.gauges.get(name).copied();
    let curve = |title: &str, y, value: &dyn Fn(&SoakSample) -> Option<f64>| {
        let line = |(colour, result): (usize, &Named<SoakOutcome>)| {
            let samples = result.result.samples.iter();
            let points = samples.filter_map(|sample| Some((sample.at / 60.0, value(sample)?)));
            Line {
                name: result.name.clone(),
                colour,
                points: points.collect(),
            }
        };
        Plot {
            title: format!("Soak: {title}"),
            x: "minutes",
            y,
            scale: Scale::Linear,
            lines: results.iter().enumerate().map(line).collect(),
        }
    };
    vec![
        curve("memory", "MiB", &|sample| Some(float(sample.memory) / MIB)),
        curve("user agents connected", "", &gauge("bugle_user_agents")),
        curve("file handles", "", &|sample| Some(float(sample.files))),
        curve("tasks", "", &gauge("bugle_tasks")),
        curve("threads", "", &|sample| Some(float(sample.threads))),
        curve("disk", "MiB", &|sample| Some(float(sample.disk?) / MIB)),
        curve("messages stored", "", &gauge("bugle_stored_messages")),
        curve("subscriptions", "", &gauge("bugle_subscriptions")),
    ]
}

/// The summed usage of all processes of the service over time.
pub(super) fn service(outcome: &Outcome) -> Vec<Sample> {
    let Some((first, others)) = outcome.service.split_first() else {
        return Vec::new();
    };
    let mut sum = first.samples.clone();
    for other in others {
        // The processes are sampled together, so equal indices mean equal times.
        for (sum, sample) in sum.iter_mut().zip(&other.samples) {
            sum.cpu_seconds += sample.cpu_seconds;
            sum.memory += sample.memory;
            sum.files += sample.files;
            sum.threads += sample.threads;
        }
    }
    sum
}

fn over_time(
    results: &[Named<Outcome>],
    title: &str,
    y: &'static str,
    points: impl Fn(&Outcome) -> Vec<(f64, f64)>,
) -> Plot {
    let line = |(colour, result): (usize, &Named<Outcome>)| Line {
        name: result.name.clone(),
        colour,
        points: points(&result.result),
    };
    Plot {
        title: title.to_owned(),
        x: "seconds",
        y,
        scale: Scale::Linear,
        lines: results.iter().enumerate().map(line).collect(),
    }
}

/// Converts counts per interval to rates.
fn rates(counts: impl Iterator<Item = (f64, u64)>) -> Vec<(f64, f64)> {
    let mut begin = 0.0;
    let rate = |(end, count): (f64, u64)| {
        let length = end - begin;
        begin = end;
        // A very short last interval gives no meaningful rate.
        (length > 0.1).then(|| (end, float(count) / length))
    };
    counts.filter_map(rate).collect()
}

fn percentiles(result: &Named<Outcome>, measure: &str, what: &str) -> Plot {
    let line = |(colour, (name, value)): (usize, &Percentile)| {
        let seconds = result.result.series.iter();
        let points = seconds.filter_map(|second| {
            let latency = second.latency.get(measure)?;
            Some((second.at, float(value(latency)) / 1000.0))
        });
        Line {
            name: (*name).to_owned(),
            colour,
            points: points.collect(),
        }
    };
    Plot {
        title: format!("Latency {what}, {}", result.name),
        x: "seconds",
        y: "ms",
        scale: Scale::Logarithmic,
        lines: PERCENTILES.iter().enumerate().map(line).collect(),
    }
}

/// The latency distribution. Its axis is logarithmic towards 100 %: each ten times smaller
/// tail has the same width.
fn distribution(results: &[Named<Outcome>]) -> Plot {
    let line = |(colour, result): (usize, &Named<Outcome>)| {
        let latency = result.result.latency.get("delivery");
        let (count, buckets) = latency.map_or((0, &[][..]), |latency| {
            (latency.count, &latency.buckets[..])
        });
        let mut below = 0;
        let point = |(micros, in_bucket): &(u64, u64)| {
            // The share of this bucket and all later ones.
            let share = float(count - below.min(count)) / float(count.max(1));
            below += in_bucket;
            (-share.log10(), float(*micros) / 1000.0)
        };
        let points = buckets.iter().map(point).collect();
        Line {
            name: result.name.clone(),
            colour,
            points,
        }
    };
    Plot {
        title: "Latency from push to notification, by percentile".to_owned(),
        x: "nines: 1 is p90, 2 is p99, 3 is p99.9",
        y: "ms",
        scale: Scale::Logarithmic,
        lines: results.iter().enumerate().map(line).collect(),
    }
}

fn memory_over_connections(results: &[Named<Outcome>]) -> Plot {
    let line = |(colour, result): (usize, &Named<Outcome>)| {
        let samples = service(&result.result);
        // Only while connections increase; the plot over time shows what remains when they
        // close.
        let most = samples.iter().map(|sample| sample.connected).max();
        let coming = samples
            .iter()
            .position(|sample| Some(sample.connected) == most)
            .map_or(&[][..], |peak| &samples[..=peak]);
        let points = coming
            .iter()
            .map(|sample| (float(sample.connected), float(sample.memory) / MIB));
        Line {
            name: result.name.clone(),
            colour,
            points: points.collect(),
        }
    };
    Plot {
        title: "Memory of the service over connections".to_owned(),
        x: "user agents connected",
        y: "MiB",
        scale: Scale::Linear,
        lines: results.iter().enumerate().map(line).collect(),
    }
}

fn cpu(outcome: &Outcome) -> Vec<(f64, f64)> {
    let samples = service(outcome);
    let pairs = samples.iter().zip(samples.iter().skip(1));
    let shares = pairs.filter(|(one, next)| next.at - one.at > 0.1);
    shares
        .map(|(one, next)| {
            let share = (next.cpu_seconds - one.cpu_seconds) / (next.at - one.at);
            (next.at, 100.0 * share)
        })
        .collect()
}

/// Converts a count, which is far below the limit of exact floats.
#[expect(clippy::cast_precision_loss, reason = "drawn, not counted with")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
