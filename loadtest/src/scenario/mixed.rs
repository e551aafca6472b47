//! Several kinds of traffic concurrently, while some user agents stay connected and others
//! connect and disconnect; a file describes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::Urgency;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::push::rate;
use crate::cli::{Common, Pushing, seconds};
use crate::ledger::Terms;
use crate::run::Run;
use crate::subscription::PushSpec;
use crate::traffic::{Mix, Traffic};
use crate::visits::Visits;

/// Settings of `mixed`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Mixed {
    /// Common settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How application servers push; the file takes precedence.
    #[command(flatten)]
    #[serde(flatten)]
    pub pushing: Pushing,
    /// Description of the traffic, in TOML; loadtest/mixed.toml is an example
    #[arg(long, value_name = "FILE", value_parser = read)]
    pub file: MixedFile,
}

/// The parsed file of `mixed`.
#[derive(Clone, Debug, Serialize)]
pub struct MixedFile {
    path: PathBuf,
    #[serde(rename = "says")]
    settings: MixSettings,
}

/// The contents of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MixSettings {
    /// A duration such as "30s", at most 6h.
    duration: String,
    #[serde(default)]
    user_agents: UserAgents,
    traffic: Vec<Kind>,
}

/// `[user_agents]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserAgents {
    come_and_go: u32,
    stay: Option<String>,
    away: Option<String>,
    resubscribe: u32,
}

/// `[[traffic]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    rate: f64,
    size: Option<u32>,
    ttl: Option<u32>,
    urgency: Option<String>,
    #[serde(default)]
    topics: u32,
    #[serde(default)]
    withdraw: u32,
}

impl Mixed {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        // `read` has already validated it.
        if let Ok(mix) = self.file.settings.mix(&self.pushing.spec()) {
            mix.play(run).await;
        }
    }
}

fn read(path: &str) -> Result<MixedFile, String> {
    let path = Path::new(path).to_owned();
    let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let settings: MixSettings = toml::from_str(&text).map_err(|error| error.to_string())?;
    settings.mix(&PushSpec::default())?;
    Ok(MixedFile { path, settings })
}

impl MixSettings {
    fn mix(&self, default: &PushSpec) -> Result<Mix, String> {
        let user_agents = &self.user_agents;
        if self.traffic.is_empty() {
            return Err("it has no [[traffic]]".to_owned());
        }
        Ok(Mix {
            duration: seconds::<21_600>(&self.duration)
                .map_err(|error| format!("duration: {error}"))?,
            come_and_go: percent("come_and_go", user_agents.come_and_go)?,
            visits: Visits {
                stay: mean("stay", user_agents.stay.as_deref())?,
                away: mean("away", user_agents.away.as_deref())?,
                resubscribe: percent("resubscribe", user_agents.resubscribe)?,
            },
            traffic: self
                .traffic
                .iter()
                .map(|kind| kind.traffic(default))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Kind {
    fn traffic(&self, default: &PushSpec) -> Result<Traffic, String> {
        let size = match self.size {
            None => default.size,
            Some(size @ 123..=4096) => size as usize,
            Some(_) => return Err("size: 123 to 4096 is allowed".to_owned()),
        };
        let urgency: Option<Urgency> = match &self.urgency {
            None => default.urgency,
            Some(word) => Some(word.parse().map_err(|_| {
                "urgency: one of very-low, low, normal and high is needed".to_owned()
            })?),
        };
        let ttl = self.ttl.unwrap_or(default.terms.ttl);
        let terms = Terms { ttl, topic: None };
        Ok(Traffic {
            spec: PushSpec {
                terms,
                urgency,
                size,
            },
            rate: rate(&self.rate.to_string()).map_err(|error| format!("rate: {error}"))?,
            topics: self.topics,
            withdraw: percent("withdraw", self.withdraw)?,
        })
    }
}

fn percent(name: &str, percent: u32) -> Result<u32, String> {
    match percent {
        0..=100 => Ok(percent),
        _ => Err(format!("{name}: a percentage, 0 to 100, is needed")),
    }
}

fn mean(name: &str, text: Option<&str>) -> Result<Duration, String> {
    let mean = seconds::<3600>(text.unwrap_or("5s"));
    mean.map_err(|error| format!("{name}: {error}"))
}
