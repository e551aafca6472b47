//! The text forms of values: durations, sizes, counts, and optional texts. For `#[serde(with =
//! …)]`; every error says what is valid.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bugle_protocol::Ttl;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::ser::{self, Serializer};

use super::public_url::{NotAnOrigin, PublicUrl};
use super::sections::HostNames;

/// Maximum of a count: timers, semaphores and queues accept it without overflow.
const MAX_COUNT: u64 = u32::MAX as u64;

/// Maximum TTL in seconds: 2^31 rounded down to whole days; RFC 8030 §5.2 treats larger values as
/// 2^31.
pub(super) const MAX_TTL: u64 = 24_855 * 24 * 3600;

/// A whole number from 1.
pub(super) fn count<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(Count::<1, T>(PhantomData))
}

/// A whole number from 0.
pub(super) fn count_or_zero<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    from: D,
) -> Result<T, D::Error> {
    from.deserialize_any(Count::<0, T>(PhantomData))
}

struct Count<const MIN: u64, T>(PhantomData<T>);

impl<const MIN: u64, T: TryFrom<u64>> Visitor<'_> for Count<MIN, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX_COUNT}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let refused = || E::invalid_value(Unexpected::Unsigned(number), &self);
        if !(MIN..=MAX_COUNT).contains(&number) {
            return Err(refused());
        }
        T::try_from(number).map_err(|_| refused())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// A size in bytes from `MIN`, as a number or with a unit.
pub(super) mod size {
    use super::*;

    /// One pebibyte: larger than any disk, and small enough that sums cannot overflow.
    const MAX: u64 = 1 << 50;

    pub(in super::super) fn deserialize<'de, const MIN: u64, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<u64>,
    {
        from.deserialize_any(Size::<MIN, T>(PhantomData))
    }

    /// Exact, in the largest unit that divides it.
    pub(in super::super) fn serialize<S, T>(octets: &T, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Copy + TryInto<u64>,
    {
        let octets = (*octets)
            .try_into()
            .map_err(|_| ser::Error::custom("too large"))?;
        to.serialize_str(&print(octets))
    }

    fn print(octets: u64) -> String {
        [
            ("PiB", 50),
            ("TiB", 40),
            ("GiB", 30),
            ("MiB", 20),
            ("KiB", 10),
        ]
        .into_iter()
        .find(|(_, shift)| octets != 0 && octets.trailing_zeros() >= *shift)
        .map_or_else(
            || format!("{octets}B"),
            |(unit, shift)| format!("{}{unit}", octets >> shift),
        )
    }

    struct Size<const MIN: u64, T>(PhantomData<T>);

    impl<const MIN: u64, T: TryFrom<u64>> Visitor<'_> for Size<MIN, T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (min, max) = (print(MIN), print(MAX));
            write!(
                f,
                "a size from \"{min}\" to \"{max}\", such as 4096 or \"64KiB\""
            )
        }

        fn visit_u64<E: de::Error>(self, octets: u64) -> Result<T, E> {
            let refused = || E::invalid_value(Unexpected::Unsigned(octets), &self);
            if !(MIN..=MAX).contains(&octets) {
                return Err(refused());
            }
            T::try_from(octets).map_err(|_| refused())
        }

        fn visit_i64<E: de::Error>(self, octets: i64) -> Result<T, E> {
            match u64::try_from(octets) {
                Ok(octets) => self.visit_u64(octets),
                Err(_) => Err(E::invalid_value(Unexpected::Signed(octets), &self)),
            }
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            match text.parse::<bytesize::ByteSize>() {
                Ok(size) => self.visit_u64(size.as_u64()),
                Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }
    }
}

/// A duration in whole milliseconds, from `MIN` milliseconds to `MAX` seconds.
pub(super) mod duration {
    use super::*;

    /// One year: long enough for any timeout, and short enough that clocks cannot overflow.
    pub(in super::super) const YEAR: u64 = 365 * 24 * 3600;

    /// From 1 ms to a year.
    pub(in super::super) fn deserialize<'de, D>(from: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        range::<1, YEAR, D>(from)
    }

    pub(in super::super) fn range<'de, const MIN: u64, const MAX: u64, D>(
        from: D,
    ) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        from.deserialize_str(Range::<MIN, MAX>)
    }

    /// Exact, in the largest unit that divides it.
    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&print(*duration))
    }

    pub(super) fn print(duration: Duration) -> String {
        let millis = duration.as_millis();
        [
            ("d", 24 * 3600 * 1000),
            ("h", 3600 * 1000),
            ("m", 60 * 1000),
            ("s", 1000),
        ]
        .into_iter()
        .find(|(_, unit)| millis != 0 && millis.is_multiple_of(*unit))
        .map_or_else(
            || {
                if millis == 0 {
                    "0s".to_owned()
                } else {
                    format!("{millis}ms")
                }
            },
            |(name, unit)| format!("{}{name}", millis / unit),
        )
    }

    struct Range<const MIN: u64, const MAX: u64>;

    impl<const MIN: u64, const MAX: u64> Visitor<'_> for Range<MIN, MAX> {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (min, max) = (Duration::from_millis(MIN), Duration::from_secs(MAX));
            write!(
                f,
                "a duration from \"{}\" to \"{}\", such as \"30s\"",
                print(min),
                print(max)
            )
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let allowed = Duration::from_millis(MIN)..=Duration::from_secs(MAX);
            humantime_serde::re::humantime::parse_duration(text)
                .ok()
                .filter(|duration| allowed.contains(duration))
                .filter(|duration| duration.subsec_nanos() % 1_000_000 == 0)
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

/// The description of a rejected secret, which is not shown.
pub(super) const UNFIT_SECRET: &str = "another text as the secret";

/// A value that is written as text.
pub(super) trait Text: Sized {
    /// Whether errors must not repeat the value.
    const IS_SECRET: bool = false;

    /// A description of valid texts.
    fn expected() -> String;

    fn parse(text: &str) -> Option<Self>;

    fn print(&self) -> String;
}

impl Text for SocketAddr {
    fn expected() -> String {
        "an IP address and a port, such as \"127.0.0.1:8080\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Text for Ttl {
    fn expected() -> String {
        let most = duration::print(Duration::from_secs(MAX_TTL));
        format!("a duration of whole seconds from \"0s\" to \"{most}\", such as \"28d\"")
    }

    fn parse(text: &str) -> Option<Self> {
        let duration = humantime_serde::re::humantime::parse_duration(text).ok()?;
        let secs = duration.as_secs();
        (duration.subsec_nanos() == 0 && secs <= MAX_TTL).then(|| Self::from_secs(secs))
    }

    fn print(&self) -> String {
        duration::print(Duration::from_secs(self.as_secs().into()))
    }
}

impl Text for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }

    fn print(&self) -> String {
        // The path was read from text, so the conversion is lossless.
        self.display().to_string()
    }
}

impl Text for PublicUrl {
    fn expected() -> String {
        NotAnOrigin::EXPECTED.to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Text for HostNames {
    fn expected() -> String {
        "host names without ports, separated by spaces, or \"\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            let mut octets = name.bytes();
            octets.all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_'))
        };
        let names = text.split_ascii_whitespace();
        let names = names.map(|name| is_name(name).then(|| name.to_ascii_lowercase()));
        names.collect::<Option<_>>().map(Self)
    }

    fn print(&self) -> String {
        self.0.join(" ")
    }
}

/// The empty text means `None`.
impl<T: Text> Text for Option<T> {
    const IS_SECRET: bool = T::IS_SECRET;

    fn expected() -> String {
        format!("{}, or \"\"", T::expected())
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            Some(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn print(&self) -> String {
        self.as_ref().map_or_else(String::new, T::print)
    }
}

/// Any [`Text`].
pub(super) mod text {
    use super::*;

    pub(in super::super) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: Text,
    {
        from.deserialize_str(TextVisitor(PhantomData))
    }

    pub(in super::super) fn serialize<S: Serializer, T: Text>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.print())
    }

    struct TextVisitor<T>(PhantomData<T>);

    impl<T: Text> Visitor<'_> for TextVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&T::expected())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            let given = match T::IS_SECRET {
                true => Unexpected::Other(UNFIT_SECRET),
                false => Unexpected::Str(text),
            };
            T::parse(text).ok_or_else(|| E::invalid_value(given, &self))
        }
    }
}
