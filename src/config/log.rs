//! `[log]`: what is written to standard error.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::values::count_or_zero;

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A [`LogFilter`]: a level, or levels per module.
    #[serde(deserialize_with = "filter")]
    pub filter: String,
    /// The format of a line.
    pub format: LogFormat,
    /// Maximum number of lines per minute from one call site; 0 means no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub repeat_limit: u32,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Which lines are written: a level, or levels of Bugle's modules, separated by commas; later ones
/// override earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFilter {
    text: String,
    targets: Targets,
}

/// The text is not a [`LogFilter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a log filter is a level (error, warn, info, debug, trace, off) or a list of at most {longest} \
     characters such as \"info,bugle::store=debug\"; modules begin with bugle",
    longest = LogFilter::MAX_LENGTH
)]
pub struct NotAFilter;

impl LogFilter {
    /// Maximum length, in characters.
    pub const MAX_LENGTH: usize = 256;

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The filter in the form that the subscriber takes.
    pub fn targets(&self) -> Targets {
        self.targets.clone()
    }
}

impl FromStr for LogFilter {
    type Err = NotAFilter;

    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        if text.len() > Self::MAX_LENGTH {
            return Err(NotAFilter);
        }
        let mut targets = Targets::new();
        for part in text.split(',') {
            targets = match part.split_once('=') {
                None => targets.with_default(level(part)?),
                Some((module, _)) if !is_ours(module) => return Err(NotAFilter),
                Some((module, part)) => targets.with_target(module, level(part)?),
            };
        }
        let text = text.to_owned();
        Ok(Self { text, targets })
    }
}

fn level(name: &str) -> Result<LevelFilter, NotAFilter> {
    Ok(match name {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(NotAFilter),
    })
}

/// Only Bugle's own modules are ever logged: lines of libraries may contain capabilities.
fn is_ours(module: &str) -> bool {
    let mut names = module.split("::");
    let is_name = |name: &str| {
        let of_names = |c: char| c.is_ascii_lowercase() || c == '_';
        !name.is_empty() && name.chars().all(of_names)
    };
    names.next() == Some("bugle") && names.all(is_name)
}

fn filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    match text.parse::<LogFilter>() {
        Ok(_) => Ok(text),
        Err(problem) => Err(de::Error::custom(problem)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_a_level_or_a_list_of_modules() {
        let lets = |filter: &str, module: &str, level: Level| {
            let filter: LogFilter = filter.parse().unwrap();
            filter.targets().would_enable(module, &level)
        };
        assert!(lets("info", "bugle::store", Level::INFO));
        assert!(!lets("info", "bugle::store", Level::DEBUG));
        let of_store = "warn,bugle::store=debug,bugle::store::sled=off";
        assert!(lets(of_store, "bugle::store", Level::DEBUG));
        assert!(!lets(of_store, "bugle::store::sled", Level::ERROR));
        assert!(!lets(of_store, "bugle::http", Level::INFO));
        assert!(!lets("bugle::http=info", "bugle::store", Level::ERROR));
    }

    #[test]
    fn an_invalid_log_filter_is_refused() {
        for wrong in [
            "",
            "inf",
            "INFO",
            "info,",
            "hyper=debug",
            "bugle::=info",
            "bugle[span]=info",
            "bugle::store=loud",
            "buglers=info",
            "info, bugle=debug",
        ] {
            assert_eq!(wrong.parse::<LogFilter>(), Err(NotAFilter), "{wrong}");
        }
        let long = "info,".repeat(60) + "info";
        assert_eq!(long.parse::<LogFilter>(), Err(NotAFilter));
    }
}
