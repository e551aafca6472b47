//! Fields of which what cannot be used counts as absent: a message that ended the
//! connection for one of them would come again on the next.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::AckUpdate;

/// A value of the type that is wanted; `None` for any other JSON.
pub(super) fn value<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// A text that can be parsed; `None` for any other JSON.
pub(super) fn text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    let value = Value::deserialize(from)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

/// A map from names to versions; empty for any other JSON.
pub(super) fn versions<'de, D>(from: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(value(from)?.unwrap_or_default())
}

/// The entries of a list that name a message; empty for any other JSON.
pub(super) fn updates<'de, D>(from: D) -> Result<Vec<AckUpdate>, D::Error>
where
    D: Deserializer<'de>,
{
    let Value::Array(updates) = Value::deserialize(from)? else {
        return Ok(Vec::new());
    };
    let updates = updates.into_iter();
    let read = updates.filter_map(|update| serde_json::from_value::<AckUpdate>(update).ok());
    Ok(read.filter(|update| update.version.is_some()).collect())
}
