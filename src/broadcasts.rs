//! Broadcasts: versions of things that concern all user agents, such as a
//! browser's remote settings (WS-B-1 to WS-B-3). The operator sets them, the
//! store keeps them, and connections compare.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

/// The longest id or version, in octets.
const LONGEST: usize = 128;

/// The id or the version of a broadcast: 1 to 128 octets of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(Box<str>);

impl Label {
    /// From its text; `None` when it is empty, too long, or holds other
    /// characters.
    pub fn new(text: &str) -> Option<Self> {
        is_label(text).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(text: &str) -> bool {
    let printable = |octet| matches!(octet, b' '..=b'~');
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(printable)
}

/// All broadcasts at one time. A change makes another one, so that readers
/// hold no lock.
#[derive(Clone, Debug, Default)]
pub struct Broadcasts {
    /// By the fingerprint of the id.
    entries: HashMap<u64, Entry>,
    fingerprints: RandomState,
}

#[derive(Clone, Debug)]
struct Entry {
    id: Label,
    version: Label,
}

impl Broadcasts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is a version of this broadcast.
    pub fn has(&self, id: &Label) -> bool {
        self.entries.contains_key(&self.fingerprint(id.as_str()))
    }

    /// Sets a version.
    pub fn insert(&mut self, id: Label, version: Label) {
        let key = self.fingerprint(id.as_str());
        self.entries.insert(key, Entry { id, version });
    }

    /// The same with one version set, or with one broadcast less.
    pub fn with(&self, id: Label, version: Option<Label>) -> Self {
        let mut changed = self.clone();
        match version {
            Some(version) => changed.insert(id, version),
            None => drop(changed.entries.remove(&self.fingerprint(id.as_str()))),
        }
        changed
    }

    /// Each id with its version, in the order of ids.
    pub fn versions(&self) -> BTreeMap<&str, &str> {
        let entries = self.entries.values();
        entries
            .map(|entry| (entry.id.as_str(), entry.version.as_str()))
            .collect()
    }

    fn fingerprint(&self, text: &str) -> u64 {
        self.fingerprints.hash_one(text)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_label_is_short_and_printable() {
        for good in ["a", "remote-settings/monitor_changes", "\"0\"", " ", "~"] {
            assert_eq!(Label::new(good).unwrap().as_str(), good);
        }
        assert!(Label::new(&"x".repeat(128)).is_some());
        for bad in ["", "a\n", "\u{7f}", "é", &"x".repeat(129)] {
            assert_eq!(Label::new(bad), None, "{bad:?}");
        }
    }
}
