//! The contents of messages. They name the message and its user agent, so that every byte
//! can be checked on arrival.

/// Length of the header of a message, in bytes: the run, the user agent, the number and the
/// size.
pub const NAME: usize = 20;

/// Identifies a message of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageName {
    /// The user agent that should receive it, counted from 0.
    pub user_agent: u32,
    /// Its position among the messages for that user agent, counted from 0.
    pub number: u32,
}

/// Why received contents do not belong to a message of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// The contents are too short, or a byte differs.
    #[error("the contents are not what was sent")]
    Corrupted,
    /// The message belongs to another run, or to another sender.
    #[error("the message is not of this run")]
    Foreign,
}

/// Prints and checks the contents of one run's messages.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    run: u64,
}

impl Contents {
    /// For the run with this number, which must be unique among the runs against one
    /// service.
    pub const fn new(run: u64) -> Self {
        Self { run }
    }

    /// The contents of a message, `size` bytes long but at least [`NAME`].
    pub fn print(&self, name: MessageName, size: usize) -> Vec<u8> {
        let size = size.max(NAME);
        let mut octets = Vec::with_capacity(size);
        octets.extend(self.run.to_be_bytes());
        octets.extend(name.user_agent.to_be_bytes());
        octets.extend(name.number.to_be_bytes());
        octets.extend(u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        let filler = Filler::new(self.run, name);
        octets.extend(filler.flat_map(u64::to_be_bytes).take(size - NAME));
        octets
    }

    /// Parses the contents of a received message and checks every byte.
    ///
    /// # Errors
    /// When they differ from what [`Contents::print`] returned.
    pub fn read(&self, octets: &[u8]) -> Result<MessageName, ContentsError> {
        let (run, rest) = octets.split_first_chunk().ok_or(ContentsError::Corrupted)?;
        if u64::from_be_bytes(*run) != self.run {
            return Err(ContentsError::Foreign);
        }
        let (name, _) = rest
            .split_first_chunk::<8>()
            .ok_or(ContentsError::Corrupted)?;
        let (user_agent, number) = name.split_at(4);
        let number_of = |part: &[u8]| {
            part.iter()
                .fold(0, |sum, octet| sum << 8 | u32::from(*octet))
        };
        let name = MessageName {
            user_agent: number_of(user_agent),
            number: number_of(number),
        };
        // Regenerate the expected contents instead of keeping what was sent.
        if self.print(name, octets.len()) != octets {
            return Err(ContentsError::Corrupted);
        }
        Ok(name)
    }
}

/// Generates the bytes after the header with SplitMix64, a different sequence for each
/// message.
struct Filler(u64);

impl Filler {
    fn new(run: u64, name: MessageName) -> Self {
        Self(run ^ u64::from(name.user_agent) << 32 ^ u64::from(name.number))
    }
}

impl Iterator for Filler {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Some(mix(self.0))
    }
}

/// The finalizer of SplitMix64: each bit of the result depends on all bits of `seed`.
pub fn mix(seed: u64) -> u64 {
    let z = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME_OF_ONE: MessageName = MessageName {
        user_agent: 7,
        number: 3,
    };

    #[test]
    fn contents_are_read_as_they_were_printed() {
        for size in [0, NAME, NAME + 1, 97, 3993] {
            let octets = Contents::new(1).print(NAME_OF_ONE, size);
            assert_eq!(octets.len(), size.max(NAME));
            assert_eq!(Contents::new(1).read(&octets), Ok(NAME_OF_ONE));
        }
    }

    #[test]
    fn every_changed_bit_is_detected() {
        let octets = Contents::new(1).print(NAME_OF_ONE, 64);
        for bit in 0..octets.len() * 8 {
            let mut changed = octets.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Contents::new(1).read(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn foreign_and_truncated_contents_are_rejected() {
        let octets = Contents::new(2).print(NAME_OF_ONE, 64);
        assert_eq!(Contents::new(1).read(&octets), Err(ContentsError::Foreign));
        for length in 0..NAME {
            let cut = Contents::new(2).read(&octets[..length]);
            assert_eq!(cut, Err(ContentsError::Corrupted));
        }
    }
}
