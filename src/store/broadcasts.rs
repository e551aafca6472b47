//! Broadcasts: versions of data that concerns all user agents, such as a browser's remote settings
//! (WS-B-1 to WS-B-3). The operator sets them, the store keeps them, and each connection compares
//! them with what its user agent has.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

/// Maximum length of an id or version in bytes.
const MAX_LENGTH: usize = 128;

/// How many broadcasts one connection may follow; further ones are ignored. This bounds the memory
/// of a connection to 1 KiB.
const FOLLOWED: usize = 64;

/// The id or the version of a broadcast: 1 to 128 bytes of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(Box<str>);

impl Label {
    /// Parses a label; `None` when it is empty, too long, or contains other characters.
    pub fn new(text: &str) -> Option<Self> {
        is_label(text).then(|| Self(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(text: &str) -> bool {
    let printable = |octet| matches!(octet, b' '..=b'~');
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(printable)
}

/// A snapshot of all broadcasts. A change creates a new one, so readers hold no lock.
#[derive(Clone, Debug, Default)]
pub struct Broadcasts {
    /// Indexed by the fingerprint of the id.
    entries: HashMap<u64, Entry>,
    fingerprints: RandomState,
}

#[derive(Clone, Debug)]
struct Entry {
    id: Label,
    version: Label,
    /// The fingerprint of the version.
    fingerprint: u64,
}

impl Broadcasts {
    /// Returns the number of broadcasts.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether this broadcast has a version.
    pub fn has(&self, id: &Label) -> bool {
        self.entries.contains_key(&self.fingerprint(id.as_str()))
    }

    /// Returns the version of a broadcast, if it has one.
    pub fn version(&self, id: &Label) -> Option<&Label> {
        let entry = self.entries.get(&self.fingerprint(id.as_str()));
        entry.map(|entry| &entry.version)
    }

    /// Sets a version.
    pub fn insert(&mut self, id: Label, version: Label) {
        let key = self.fingerprint(id.as_str());
        let fingerprint = self.fingerprint(version.as_str());
        let entry = Entry {
            id,
            version,
            fingerprint,
        };
        self.entries.insert(key, entry);
    }

    /// Returns a copy with one version set, or one broadcast removed.
    pub fn with(&self, id: Label, version: Option<Label>) -> Self {
        let mut changed = self.clone();
        match version {
            Some(version) => changed.insert(id, version),
            None => drop(changed.entries.remove(&self.fingerprint(id.as_str()))),
        }
        changed
    }

    /// Returns each id with its version, in the order of ids.
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

/// The broadcasts that one connection follows: a fingerprint of each id, and of the version that
/// the user agent has. An id thus takes 16 bytes whatever its length, even if no version is set
/// yet, and a connection that follows nothing takes no memory. The fingerprints are keyed at
/// random, so nobody can construct two ids with the same one, and an accidental collision is
/// negligible.
#[derive(Debug, Default)]
pub struct Followed(Vec<Mark>);

#[derive(Clone, Copy, Debug)]
struct Mark {
    id: u64,
    version: u64,
}

impl Followed {
    /// Adds broadcasts to follow, each with the version that the user agent has.
    pub fn follow(&mut self, broadcasts: &Broadcasts, wanted: &BTreeMap<String, String>) {
        let wanted = wanted.iter().filter(|(id, _)| is_label(id));
        for (id, version) in wanted {
            let mark = Mark {
                id: broadcasts.fingerprint(id),
                version: broadcasts.fingerprint(version),
            };
            if let Some(known) = self.0.iter_mut().find(|known| known.id == mark.id) {
                *known = mark;
            } else if self.0.len() < FOLLOWED {
                self.0.reserve_exact(1);
                self.0.push(mark);
            }
        }
    }

    /// Returns the followed broadcasts whose version differs from the user agent's, and records
    /// that the user agent has it now. Broadcasts without a version are left out (WS-B-3).
    pub fn updates(&mut self, broadcasts: &Broadcasts) -> BTreeMap<String, String> {
        let mut updates = BTreeMap::new();
        for mark in &mut self.0 {
            if let Some(entry) = broadcasts.entries.get(&mark.id)
                && entry.fingerprint != mark.version
            {
                mark.version = entry.fingerprint;
                updates.insert(entry.id.as_str().into(), entry.version.as_str().into());
            }
        }
        updates
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(id, version)| ((*id).to_owned(), (*version).to_owned()))
            .collect()
    }

    fn with(broadcasts: &Broadcasts, id: &str, version: Option<&str>) -> Broadcasts {
        broadcasts.with(label(id), version.map(label))
    }

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

    #[test]
    fn a_followed_broadcast_that_differs_is_an_update_once() {
        let mut broadcasts = with(&Broadcasts::default(), "a", Some("1"));
        broadcasts = with(&broadcasts, "b", Some("1"));
        broadcasts = with(&broadcasts, "c", Some("1"));
        let mut followed = Followed::default();
        followed.follow(&broadcasts, &map(&[("a", "0"), ("b", "1"), ("later", "0")]));
        assert_eq!(followed.updates(&broadcasts), map(&[("a", "1")]));
        assert_eq!(followed.updates(&broadcasts), map(&[]));
        broadcasts = with(&broadcasts, "later", Some("1"));
        broadcasts = with(&broadcasts, "b", Some("2"));
        broadcasts = with(&broadcasts, "c", Some("2"));
        broadcasts = with(&broadcasts, "a", None);
        assert_eq!(
            followed.updates(&broadcasts),
            map(&[("b", "2"), ("later", "1")])
        );
        // Set back to what the user agent has.
        broadcasts = with(&broadcasts, "a", Some("1"));
        assert_eq!(followed.updates(&broadcasts), map(&[]));
        followed.follow(&broadcasts, &map(&[("a", "0")]));
        assert_eq!(followed.updates(&broadcasts), map(&[("a", "1")]));
    }

    #[test]
    fn the_broadcasts_of_a_connection_are_bounded() {
        let broadcasts = with(&Broadcasts::default(), "x63", Some("1"));
        let broadcasts = with(&broadcasts, "x64", Some("1"));
        let mut followed = Followed::default();
        assert_eq!(followed.0.capacity(), 0);
        followed.follow(&broadcasts, &map(&[(&"x".repeat(129), "0"), ("é", "0")]));
        assert_eq!(followed.0.capacity(), 0, "they can never be set");
        for i in 0..100 {
            followed.follow(&broadcasts, &map(&[(&format!("x{i}"), "0")]));
        }
        assert_eq!(followed.0.capacity(), FOLLOWED);
        assert_eq!(followed.updates(&broadcasts), map(&[("x63", "1")]));
    }
}
