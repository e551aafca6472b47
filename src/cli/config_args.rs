//! The flags that select the configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Setting};

/// A configuration file, and the settings that have a flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct ConfigArgs {
    /// Configuration file (TOML); every key is in docs/configuration.md
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen at [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the metrics, health and admin API, "" for none [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// Folder of the store and the keys [default: ./bugle-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Origin that endpoints begin with, such as https://push.example.org
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Certificate chain (PEM); with --tls-key
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// Private key of the certificate (PEM); with --tls-cert
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Log filter: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

impl ConfigArgs {
    /// For commands that address a service: the configuration of that service.
    pub(super) fn of_service(config: Option<PathBuf>, data: Option<String>) -> Self {
        Self {
            config,
            data,
            ..Self::default()
        }
    }

    /// Loads the configuration from file, environment and flags.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(
            self.config.as_deref(),
            std::env::vars_os(),
            &self.settings(),
        )
    }

    fn settings(&self) -> Vec<Setting> {
        let flags = [
            ("--listen", "server", "listen", &self.listen),
            ("--admin-listen", "admin", "listen", &self.admin_listen),
            ("--data", "server", "data", &self.data),
            ("--public-url", "server", "public_url", &self.public_url),
            ("--tls-cert", "tls", "cert_file", &self.tls_cert),
            ("--tls-key", "tls", "key_file", &self.tls_key),
            ("--log", "log", "filter", &self.log),
        ];
        let given = flags.into_iter().filter_map(|(name, section, key, value)| {
            Some(Setting {
                name: name.to_owned(),
                section: section.to_owned(),
                key: key.to_owned(),
                value: value.clone()?,
            })
        });
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn every_flag_is_a_setting_that_exists() {
        let value = |text: &str| Some(text.to_owned());
        let args = ConfigArgs {
            config: None,
            listen: value("127.0.0.1:1"),
            admin_listen: value(""),
            data: value("d"),
            public_url: value("https://push.example.org"),
            tls_cert: value("c"),
            tls_key: value("k"),
            log: value("debug"),
        };
        let config = Config::load(None, [], &args.settings()).unwrap();
        assert_eq!(config.server.listen.port(), 1);
        assert_eq!(config.admin.listen, None);
        assert_eq!(config.server.data, PathBuf::from("d"));
        assert!(config.server.public_url.unwrap().is_tls());
        assert_eq!(config.tls.cert_file, Some("c".into()));
        assert_eq!(config.tls.key_file, Some("k".into()));
        assert_eq!(config.log.filter, "debug");
        assert_eq!(ConfigArgs::default().settings(), []);
    }
}
