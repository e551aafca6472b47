//! What one read of a log gives.

/// The next entries of a log that fit into one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries, in the order of their ids.
    pub items: Vec<T>,
    /// Whether the log held further ones, which the bounds of the read left
    /// out, when these were read. What comes later is told by an event.
    pub more: bool,
}

impl<T> Page<T> {
    /// Of a log that holds nothing.
    pub const EMPTY: Self = Self {
        items: Vec::new(),
        more: false,
    };
}
