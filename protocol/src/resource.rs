//! The resources with a token in their URL (RFC 8030 §4 to §6), and how to parse and print their
//! paths.
//!
//! A path is parsed in two steps: [`ResourcePath::parse`] finds the kind of the resource, which
//! determines the allowed methods, and [`Resource::open`] opens its token.

use std::fmt;

use crate::endpoint::{
    BadToken, Keyring, MessageUrl, PushEndpoint, ReceiptSubscriptionUrl, SubscriptionSetUrl,
};
use crate::mcs::Registration;

/// The kind of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/push/{token}`
    Push,
    /// `/message/{token}`
    Message,
    /// `/subscription/{token}`
    Subscription,
    /// `/subscription-set/{token}`
    SubscriptionSet,
    /// `/receipt-subscription/{token}`
    ReceiptSubscription,
}

/// The path of a resource, with its token unopened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResourcePath<'p> {
    /// Its kind.
    pub kind: Kind,
    /// Its last segment, a capability.
    pub token: &'p str,
}

/// A resource with a token in its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A push resource, to which application servers send messages (RFC 8030 §5).
    Push(PushEndpoint),
    /// A message, for its sender (§5) and its user agent (§6.2).
    Message(MessageUrl),
    /// A subscription, for its user agent (§4, §6).
    Subscription(PushEndpoint),
    /// A subscription set: all subscriptions of a user agent (§4.1, §6.1).
    SubscriptionSet(SubscriptionSetUrl),
    /// A receipt subscription, for the application server that requested receipts (§5.1, §6.3).
    ReceiptSubscription(ReceiptSubscriptionUrl),
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Push,
        Self::Message,
        Self::Subscription,
        Self::SubscriptionSet,
        Self::ReceiptSubscription,
    ];

    /// The first segment of the path.
    const fn segment(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Message => "message",
            Self::Subscription => "subscription",
            Self::SubscriptionSet => "subscription-set",
            Self::ReceiptSubscription => "receipt-subscription",
        }
    }

    fn of(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.segment() == segment)
    }
}

impl<'p> ResourcePath<'p> {
    /// Parses the path of a URL. Returns `None` if it is not such a resource.
    pub fn parse(path: &'p str) -> Option<Self> {
        let (segment, token) = path.strip_prefix('/')?.split_once('/')?;
        let kind = Kind::of(segment)?;
        Some(Self { kind, token })
    }

    /// Parses the path of an endpoint as a Chromium makes it: it puts the token behind a URL that is
    /// compiled into it. Such a push resource is the same as that at `/push/{token}`.
    pub fn parse_compiled_in(path: &'p str) -> Option<Self> {
        let tokens = ["/fcm/send/", "/wp/"].map(|prefix| path.strip_prefix(prefix));
        let token = tokens.into_iter().flatten().next()?;
        let kind = Kind::Push;
        (!token.contains('/')).then_some(Self { kind, token })
    }

    /// Parses the last two segments of a URL, whatever precedes them.
    pub fn at_end(url: &'p str) -> Option<Self> {
        let mut segments = url.rsplit('/');
        let (token, segment) = (segments.next()?, segments.next()?);
        let kind = match segment {
            "send" | "wp" => Kind::Push,
            segment => Kind::of(segment)?,
        };
        Some(Self { kind, token })
    }
}

impl fmt::Display for ResourcePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}", self.kind.segment(), self.token)
    }
}

impl Resource {
    /// Opens the token of a path.
    ///
    /// # Errors
    /// If no key of the ring sealed it as a token of this kind.
    pub fn open(path: ResourcePath<'_>, keyring: &Keyring) -> Result<Self, BadToken> {
        let token = path.token;
        match path.kind {
            Kind::Push => {
                let registered = || Registration::open(keyring, token).map(|it| it.endpoint());
                let endpoint = PushEndpoint::open(keyring, token).or_else(|_| registered());
                endpoint.map(Self::Push)
            }
            Kind::Message => MessageUrl::open(keyring, token).map(Self::Message),
            Kind::Subscription => {
                PushEndpoint::open_subscription(keyring, token).map(Self::Subscription)
            }
            Kind::SubscriptionSet => {
                SubscriptionSetUrl::open(keyring, token).map(Self::SubscriptionSet)
            }
            Kind::ReceiptSubscription => {
                ReceiptSubscriptionUrl::open(keyring, token).map(Self::ReceiptSubscription)
            }
        }
    }

    /// The path of its URL.
    pub fn path(&self, keyring: &Keyring) -> String {
        let (kind, token) = match self {
            Self::Push(endpoint) => (Kind::Push, endpoint.seal(keyring)),
            Self::Message(message) => (Kind::Message, message.seal(keyring)),
            Self::Subscription(endpoint) => {
                (Kind::Subscription, endpoint.seal_subscription(keyring))
            }
            Self::SubscriptionSet(set) => (Kind::SubscriptionSet, set.seal(keyring)),
            Self::ReceiptSubscription(receipts) => {
                (Kind::ReceiptSubscription, receipts.seal(keyring))
            }
        };
        let token = &token;
        ResourcePath { kind, token }.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;
    use crate::id::{ChannelId, MessageId, ReceiptSubscriptionId, SubscriptionId, Uaid};
    use crate::key_pair::KeyPair;
    use crate::mcs::{Device, Names};

    const UAID: Uaid = Uaid::from_bytes([1; 16]);
    const ENDPOINT: PushEndpoint = PushEndpoint {
        uaid: UAID,
        channel: ChannelId::from_bytes([2; 16]),
        subscription: SubscriptionId::from_bytes([3; 16]),
    };

    fn all() -> [Resource; 5] {
        [
            Resource::Push(ENDPOINT),
            Resource::Message(MessageUrl {
                uaid: UAID,
                id: MessageId::new(7),
            }),
            Resource::Subscription(ENDPOINT),
            Resource::SubscriptionSet(SubscriptionSetUrl(UAID)),
            Resource::ReceiptSubscription(ReceiptSubscriptionUrl(
                ReceiptSubscriptionId::from_bytes([4; 16]),
            )),
        ]
    }

    #[test]
    fn every_resource_is_read_from_the_path_that_it_prints() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        for resource in all() {
            let path = resource.path(&keyring);
            let read = ResourcePath::parse(&path).unwrap();
            assert_eq!(read.to_string(), path);
            assert_eq!(Resource::open(read, &keyring), Ok(resource));
            let url = format!("https://push.example{path}");
            assert!(ResourcePath::at_end(&url) == Some(read), "{path}");
        }
    }

    #[test]
    fn a_token_opens_at_its_own_path_alone() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        for resource in all() {
            let path = resource.path(&keyring);
            let token = ResourcePath::parse(&path).unwrap().token;
            let opens = |kind: &Kind| Resource::open(ResourcePath { kind: *kind, token }, &keyring);
            let opened: Vec<_> = Kind::ALL
                .iter()
                .filter_map(|kind| opens(kind).ok())
                .collect();
            assert_eq!(opened, [resource]);
        }
    }

    #[test]
    fn an_endpoint_of_a_chromium_is_a_push_resource_under_three_paths() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let device = Device::from_random([7; 8]).unwrap();
        let names = Names::new("app".to_owned(), "wp:https://a.example/#1".to_owned()).unwrap();
        let key = KeyPair::from_bytes(&[5; 32]).unwrap().public_key();
        let registration = Registration::new(device, [1; 8], &key, names);
        let token = registration.seal(&keyring);
        let own = format!("/push/{token}");
        assert!(ResourcePath::parse_compiled_in(&own).is_none());
        for path in [format!("/fcm/send/{token}"), format!("/wp/{token}")] {
            assert!(ResourcePath::parse(&path).is_none());
            let read = ResourcePath::parse_compiled_in(&path).unwrap();
            assert_eq!(read.to_string(), own);
            let opened = Resource::open(read, &keyring);
            assert_eq!(opened, Ok(Resource::Push(registration.endpoint())));
            let url = format!("https://push.example{path}");
            assert!(ResourcePath::at_end(&url) == Some(read), "{path}");
            assert!(ResourcePath::parse_compiled_in(&format!("{path}/more")).is_none());
        }
    }

    #[test]
    fn other_paths_are_no_resources() {
        for path in [
            "",
            "/",
            "/push",
            "push/a",
            "/pushes/a",
            "/Push/a",
            "//push/a",
            "/subscribe",
        ] {
            assert!(ResourcePath::parse(path).is_none(), "{path}");
        }
    }
}
