//! The two text formats of the metrics, both written by prometheus-client.

use std::fmt;

use bugle_protocol::accept;
use http::HeaderMap;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

/// A text format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which names units. Prometheus asks for it.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, for every other client.
    Plain,
}

impl Format {
    /// Returns [`OpenMetrics`](Self::OpenMetrics) if the `Accept` field of a
    /// request names it, [`Plain`](Self::Plain) otherwise.
    pub fn accepted(headers: &HeaderMap) -> Self {
        match accept::names(headers, "application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    /// The media type, for `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => prometheus_text::CONTENT_TYPE,
        }
    }

    /// Writes all metrics of `registry`.
    ///
    /// # Errors
    /// Only those of `text`; a `String` has none.
    pub fn write(self, text: &mut String, registry: &Registry) -> fmt::Result {
        match self {
            Self::OpenMetrics => text::encode(text, registry),
            Self::Plain => prometheus_text::encode(text, registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn openmetrics_is_sent_only_to_clients_that_accept_it() {
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
}
