//! The result of one read of a log.

/// The next entries of a log that fit into one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in the order of their ids.
    pub items: Vec<T>,
    /// Whether the log held further entries at the time of the read, which did not fit. An event
    /// announces later ones.
    pub more: bool,
}

impl<T> Page<T> {
    /// The page of an empty log.
    pub const EMPTY: Self = Self {
        items: Vec::new(),
        more: false,
    };

    /// Converts each entry.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(convert).collect(),
            more: self.more,
        }
    }
}
