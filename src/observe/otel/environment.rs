//! The standard OpenTelemetry variables that decide whether traces are exported at all. The SDK
//! reads the others itself (`OTEL_EXPORTER_OTLP_*`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*`).

use std::env;
use std::path::PathBuf;

use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::Resource;

/// The only supported protocol.
const PROTOCOL: &str = "http/protobuf";

/// Settings that the SDK does not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// A PEM file of additional trusted certificates.
    pub(super) ca: Option<PathBuf>,
}

/// Why no traces are exported although the environment asks for them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotSent {
    /// An unsupported protocol.
    #[error("{0}={1} is not spoken here: set it to http/protobuf")]
    Protocol(&'static str, String),
    /// An unsupported exporter.
    #[error("OTEL_TRACES_EXPORTER={0} is not there: set it to otlp or none")]
    Kind(String),
    /// The SDK rejects the settings, or the certificates cannot be read.
    #[error("{0}")]
    Exporter(String),
}

impl Environment {
    pub(super) fn of_process() -> Result<Option<Self>, NotSent> {
        Self::of(|name| env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, NotSent> {
        let set = |name| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&'static str; 2]| {
            let mut set = names
                .into_iter()
                .filter_map(|name| Some((name, set(name)?)));
            set.next()
        };
        if set("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let endpoint = first([
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ]);
        match set("OTEL_TRACES_EXPORTER").as_deref() {
            Some("none") => return Ok(None),
            // The specification's default is `otlp`; here it is off.
            None if endpoint.is_none() => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => return Err(NotSent::Kind(other.to_owned())),
        }
        let protocol = first([
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ]);
        if let Some((name, protocol)) = protocol.filter(|(_, it)| it != PROTOCOL) {
            return Err(NotSent::Protocol(name, protocol));
        }
        let ca = first([
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ]);
        let ca = ca.map(|(_, path)| path.into());
        Ok(Some(Self { ca }))
    }
}

/// Identifies this service: `service.name` is bugle unless the environment sets it.
pub(super) fn resource() -> Resource {
    const NAME: &str = "service.name";
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let detected = Resource::builder().build();
    let name = detected.get(&Key::from_static_str(NAME));
    let name = name.map(|name| name.to_string());
    let name = name.filter(|name| !name.starts_with("unknown_service"));
    Resource::builder()
        .with_attribute(version)
        .with_service_name(name.unwrap_or_else(|| "bugle".to_owned()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Environment>, NotSent> {
        Environment::of(|name| {
            let mut named = variables.iter().filter(|(other, _)| *other == name);
            named.next().map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_sent_if_a_collector_is_named() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        let on = |variables: &[_]| of(variables).map(|wanted| wanted.is_some());
        assert_eq!(on(&[]), Ok(false));
        assert_eq!(on(&[ENDPOINT]), Ok(true));
        assert_eq!(
            on(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a")]),
            Ok(true)
        );
        assert_eq!(on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(false));
        assert_eq!(on(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(true));
        assert_eq!(on(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(on(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(false));
        assert_eq!(on(&[ENDPOINT, ("OTEL_SDK_DISABLED", "no")]), Ok(true));
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(on(&[ENDPOINT, http]), Ok(true));
    }

    #[test]
    fn unsupported_variables_are_named_in_the_error() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        let error = |variable| of(&[endpoint, variable]).map_err(|error| error.to_string());
        assert_eq!(
            error(("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")),
            Err(
                "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not spoken here: set it to http/protobuf"
                    .into()
            )
        );
        assert_eq!(
            error(("OTEL_TRACES_EXPORTER", "zipkin")),
            Err("OTEL_TRACES_EXPORTER=zipkin is not there: set it to otlp or none".into())
        );
    }
}
