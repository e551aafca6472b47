//! Groups the records of the tree into messages: a first part and its further parts.

use std::iter;

use sled::{IVec, Tree};

use super::keys::{MESSAGE, MessageKey};

/// The keys and records of one message, in order; never empty.
pub(super) type Parts = Vec<(IVec, IVec)>;

/// Returns all messages, complete or not. A part without its first part is returned alone.
pub(super) fn messages(tree: &Tree) -> impl Iterator<Item = sled::Result<Parts>> {
    const KEY: usize = size_of::<MessageKey>();
    let mut items = tree.scan_prefix([MESSAGE]).peekable();
    iter::from_fn(move || {
        let first = match items.next()? {
            Ok(first) => first,
            Err(error) => return Some(Err(error)),
        };
        let key = first.0.clone();
        let mut parts = vec![first];
        let continues = |next: &IVec| key.len() == KEY && next.starts_with(&key);
        while let Some(Ok(next)) =
            items.next_if(|next| next.as_ref().is_ok_and(|(next, _)| continues(next)))
        {
            parts.push(next);
        }
        Some(Ok(parts))
    })
}
