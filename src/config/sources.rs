//! The sources of settings: the default file, the configuration file, the environment, flags. Each
//! source is validated before the next is read.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::values::UNFIT_SECRET;
use super::{Config, unknown};

/// Maximum size of a configuration file or a file with a value, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What is wrong with the configuration: the place, and what would be valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A configuration file, or a file with a value, cannot be read.
    #[error("{name}: cannot read {}: {error}", path.display())]
    File {
        /// The flag or variable that names the file.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        error: io::Error,
    },
    /// The configuration file is not TOML, has an unknown key, or an invalid value.
    #[error("{}:{line}:{column}: {message}\n  {text}", path.display())]
    Text {
        /// The configuration file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// The line, truncated if it is long.
        text: String,
        /// What would be valid.
        message: String,
    },
    /// An environment variable or a flag is unknown or has an invalid value.
    #[error("{name}: {message}")]
    Setting {
        /// The variable or the flag.
        name: String,
        /// What would be valid.
        message: String,
    },
    /// Valid settings that contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// A user agent that collects the acknowledgements of a whole window could not send them in one
    /// frame.
    #[error(
        "user_agent.window_messages is {window}, but one ack frame of limits.frame_bytes holds {fit} \
         acknowledgements: set limits.frame_bytes to {needed} or more, or lower the window"
    )]
    TooManyToAcknowledge {
        /// `user_agent.window_messages`
        window: usize,
        /// How many acknowledgements fit in one frame.
        fit: usize,
        /// The `limits.frame_bytes` that would suffice, in bytes.
        needed: usize,
    },
}

/// One setting from outside the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in its source, such as `BUGLE_SERVER__LISTEN` or `--listen`.
    pub name: String,
    /// Its section, such as `server`.
    pub section: String,
    /// Its key, such as `listen`.
    pub key: String,
    /// The value as text, whatever the type of the key.
    pub value: String,
}

/// Reads the default file, overridden by `file`.
pub(super) fn read_file(file: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = file else {
        return Ok(Config::default());
    };
    let text = read_bounded(path).map_err(|error| ConfigError::File {
        name: "--config".to_owned(),
        path: path.to_owned(),
        error,
    })?;
    parse(&text).map_err(|refused| text_error(path, &text, refused))
}

/// Why a configuration file is rejected.
#[derive(Debug)]
pub(super) struct Refused {
    /// The place in its text.
    span: Option<Range<usize>>,
    message: String,
}

impl From<toml::de::Error> for Refused {
    fn from(error: toml::de::Error) -> Self {
        Self {
            span: error.span(),
            message: error.message().trim_end().to_owned(),
        }
    }
}

/// Reads a configuration file, with the defaults for missing keys.
pub(super) fn parse(text: &str) -> Result<Config, Refused> {
    let defaults = DeTable::parse(super::DEFAULTS)?;
    let mut given = DeTable::parse(text)?;
    let known = Config::default().to_table();
    if let Some((span, message)) = unknown::first(given.get_ref(), &known) {
        return Err(Refused {
            span: Some(span),
            message,
        });
    }
    for (name, section) in defaults.into_inner() {
        let DeValue::Table(keys) = section.get_ref() else {
            continue;
        };
        let span = section.span();
        let given = given
            .get_mut()
            .entry(name)
            .or_insert_with(|| Spanned::new(span, DeValue::Table(DeTable::new())));
        // The deserializer rejects a section that is not a table.
        if let DeValue::Table(given) = given.get_mut() {
            for (key, value) in keys {
                given.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    Ok(Config::deserialize(given.into_deserializer())?)
}

/// Applies settings; later ones override earlier ones.
pub(super) fn apply(config: Config, settings: &[Setting]) -> Result<Config, ConfigError> {
    settings.iter().try_fold(config, |config, setting| {
        let refuse = |message: String| ConfigError::Setting {
            name: setting.name.clone(),
            message,
        };
        let mut table = config.to_table();
        let value = value_of(&mut table, &setting.section, &setting.key).ok_or_else(|| {
            let known = Config::default().to_table();
            refuse(unknown::missing_key(&known, &setting.section, &setting.key))
        })?;
        let text = &setting.value;
        *value = match value {
            Value::Boolean(_) => text.parse().map(Value::Boolean).ok(),
            Value::Integer(_) => text.parse().map(Value::Integer).ok(),
            _ => None,
        }
        .unwrap_or_else(|| Value::String(text.clone()));
        Config::deserialize(table).map_err(|error| refuse(error.message().to_owned()))
    })
}

/// Returns the settings among environment variables, ordered by name: `BUGLE_SECTION__KEY` holds
/// the value, `BUGLE_SECTION__KEY_FILE` names a file with the value, which is trimmed.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Setting>, ConfigError> {
    let known = Config::default().to_table();
    let mut settings: Vec<Setting> = Vec::new();
    for (name, value) in variables {
        let Some((name, section, key)) = setting_name(&name) else {
            continue;
        };
        let is_known = |key: &str| known.get(&section).and_then(|keys| keys.get(key)).is_some();
        let setting = match key.strip_suffix("_file") {
            Some(base) if !is_known(&key) && is_known(base) => {
                let value = read_value(&name, Path::new(&value))?;
                Setting {
                    key: base.to_owned(),
                    name,
                    section,
                    value,
                }
            }
            _ => {
                let value = into_text(&name, value)?;
                Setting {
                    name,
                    section,
                    key,
                    value,
                }
            }
        };
        let twice = |other: &&Setting| other.section == setting.section && other.key == setting.key;
        if let Some(other) = settings.iter().find(twice) {
            return Err(ConfigError::Setting {
                message: format!("{} sets the same: leave one of the two out", other.name),
                name: setting.name,
            });
        }
        settings.push(setting);
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

/// Splits `BUGLE_SECTION__KEY`; returns `None` for other variables.
fn setting_name(name: &OsStr) -> Option<(String, String, String)> {
    let name = name.to_str()?;
    let (section, key) = name.strip_prefix("BUGLE_")?.split_once("__")?;
    Some((
        name.to_owned(),
        section.to_ascii_lowercase(),
        key.to_ascii_lowercase(),
    ))
}

fn into_text(name: &str, value: OsString) -> Result<String, ConfigError> {
    value.into_string().map_err(|_| ConfigError::Setting {
        name: name.to_owned(),
        message: "the value is not UTF-8".to_owned(),
    })
}

fn read_value(name: &str, path: &Path) -> Result<String, ConfigError> {
    match read_bounded(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(ConfigError::File {
            name: name.to_owned(),
            path: path.to_owned(),
            error,
        }),
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it has more than 1 MiB",
        ));
    }
    Ok(text)
}

fn value_of<'t>(table: &'t mut Table, section: &str, key: &str) -> Option<&'t mut Value> {
    table.get_mut(section)?.as_table_mut()?.get_mut(key)
}

fn text_error(path: &Path, text: &str, refused: Refused) -> ConfigError {
    let Range { start, .. } = refused.span.unwrap_or_default();
    // The span lies on character boundaries of this text; if it ever does not, show the start.
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let message = refused.message;
    // A misspelled key of this section may hold a secret too.
    let is_secret = message.contains(UNFIT_SECRET) || message.contains("`admission.");
    let shown = if is_secret { "" } else { line.trim() };
    ConfigError::Text {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        text: shown.chars().take(120).collect(),
        message,
    }
}
