//! A semaphore for each key, which exists only while a caller waits for it or has its permits.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A fair semaphore for each key. A key that nobody uses takes no memory.
pub struct KeyedSemaphore<K: Eq + Hash> {
    entries: DashMap<K, Entry>,
    /// The permits of each key.
    permits: usize,
}

struct Entry {
    /// Callers that wait or have permits.
    users: usize,
    semaphore: Arc<Semaphore>,
}

/// Permits of a key; dropping it releases them.
pub struct KeyedPermit<'s, K: Eq + Hash> {
    _permit: OwnedSemaphorePermit,
    _user: User<'s, K>,
}

/// Counts a caller as a user of its key, until it is dropped.
struct User<'s, K: Eq + Hash> {
    semaphore: &'s KeyedSemaphore<K>,
    key: K,
}

impl<K: Eq + Hash + Clone> KeyedSemaphore<K> {
    /// Gives `permits` permits to each key.
    pub fn new(permits: usize) -> Self {
        Self {
            entries: DashMap::new(),
            permits,
        }
    }

    /// Waits for `count` permits of a key, which are granted in the order of the calls. Returns
    /// `None` if they are not free within `limit`. Cancellation-safe.
    pub async fn acquire(&self, key: K, count: u32, limit: Duration) -> Option<KeyedPermit<'_, K>> {
        let (semaphore, user) = self.join(key);
        // The semaphore is never closed.
        let permit = timeout(limit, semaphore.acquire_many_owned(count))
            .await
            .ok()?;
        Some(KeyedPermit {
            _permit: permit.ok()?,
            _user: user,
        })
    }

    fn join(&self, key: K) -> (Arc<Semaphore>, User<'_, K>) {
        let semaphore = {
            let mut entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
                users: 0,
                semaphore: Arc::new(Semaphore::new(self.permits)),
            });
            entry.users += 1;
            Arc::clone(&entry.semaphore)
        };
        let user = User {
            semaphore: self,
            key,
        };
        (semaphore, user)
    }

    /// Returns whether nobody waits or has permits.
    #[cfg(test)]
    pub fn is_unused(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: Eq + Hash> Drop for User<'_, K> {
    fn drop(&mut self) {
        self.semaphore.entries.remove_if_mut(&self.key, |_, entry| {
            entry.users -= 1;
            entry.users == 0
        });
    }
}
