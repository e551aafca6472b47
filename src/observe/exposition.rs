//! In which of the two text formats the metrics are told.

use std::collections::HashSet;

use bugle_protocol::accept;
use http::HeaderMap;

/// A text format that Prometheus and its like read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, with units; Prometheus itself asks for it.
    OpenMetrics,
    /// The older format of Prometheus, 0.0.4, which everything reads.
    Plain,
}

impl Format {
    /// The one for a request with these header fields: OpenMetrics where
    /// `Accept` names it.
    pub fn accepted(headers: &HeaderMap) -> Self {
        match accept::names(headers, "application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The metrics, which `open_metrics` tells in OpenMetrics, in this format.
    pub fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Plain => plain(&open_metrics),
        }
    }
}

/// There, the name of a counter ends with `_total` in its description too, and
/// units and the end are not told.
fn plain(open_metrics: &str) -> String {
    let types = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let counters: HashSet<_> = types
        .filter_map(|line| line.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let described = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
            counters.contains(name).then_some((kind, name, rest))
        });
        match described {
            Some((kind, name, rest)) => text += &format!("{kind}{name}_total {rest}\n"),
            None => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn prometheus_gets_openmetrics_and_whoever_does_not_ask_the_plain_format() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        let accepted = |accept: &'static str| {
            let field = (ACCEPT, HeaderValue::from_static(accept));
            Format::accepted(&HeaderMap::from_iter([field]))
        };
        assert_eq!(accepted(prometheus), Format::OpenMetrics);
        assert_eq!(accepted("*/*"), Format::Plain);
        assert_eq!(accepted("application/openmetrics-text;q=0"), Format::Plain);
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Plain);
    }

    #[test]
    fn the_plain_format_names_counters_by_what_their_samples_are_named() {
        let open_metrics = "# HELP a A.\n# TYPE a counter\na_total 1\n\
                            # HELP b_seconds B.\n# TYPE b_seconds gauge\n\
                            # UNIT b_seconds seconds\nb_seconds 2\n# EOF\n";
        let plain = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n\
                     # HELP b_seconds B.\n# TYPE b_seconds gauge\nb_seconds 2\n";
        assert_eq!(Format::Plain.of(open_metrics.to_owned()), plain);
    }
}
