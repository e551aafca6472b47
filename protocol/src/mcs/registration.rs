//! The token of a registration: the last segment of a Chromium's endpoint.

use crate::endpoint::{BadToken, Keyring, PushEndpoint};
use crate::id::{ChannelId, SubscriptionId};
use crate::key::PublicKey;

use super::device::{Device, id_of};

/// Binds a token to its kind and format version.
const REGISTRATION: &[u8] = b"bugle registration 1";
const CHANNEL: &[u8] = b"bugle registration channel 1";
const LIFE: &[u8] = b"bugle registration life 1";

/// The bytes before `app`.
const HEAD: usize = 8 + 8 + 33 + 1;
/// Maximum length of `app` in bytes. The name that a Chromium gives itself has about 20.
const LONGEST_APP: usize = 64;
/// Maximum length of `X-subtype` in bytes: enough for an origin with the longest host name.
const LONGEST_SUBTYPE: usize = 320;

/// The names by which a client finds a registration of its device.
#[derive(Clone, PartialEq, Eq)]
pub struct Names {
    app: String,
    subtype: String,
}

impl Names {
    /// The names as sent; `None` if one is empty, or longer than 64 and 320 bytes.
    pub fn new(app: String, subtype: String) -> Option<Self> {
        let fits = (1..=LONGEST_APP).contains(&app.len())
            && (1..=LONGEST_SUBTYPE).contains(&subtype.len());
        fits.then_some(Self { app, subtype })
    }

    /// The name of the program, `app`.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The name within it, `X-subtype`. It contains the origin of the site.
    pub fn subtype(&self) -> &str {
        &self.subtype
    }

    /// The channel of a registration with these names.
    pub fn channel(&self) -> ChannelId {
        let names = (self.app.as_bytes(), self.subtype.as_bytes());
        ChannelId::from_bytes(id_of(&[CHANNEL, &self.head(), names.0, names.1]))
    }

    /// The length of `app` in one byte, which tells the two names apart where they stand together.
    fn head(&self) -> [u8; 1] {
        [u8::try_from(self.app.len()).unwrap_or(u8::MAX)]
    }
}

/// A registration: everything that the service must know to deliver a message to it, so that a
/// token outlives the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// The device.
    pub device: Device,
    /// Which store knows it: a random number that is made with each new store.
    pub store: [u8; 8],
    /// The application server key, as a compressed point.
    key: [u8; 33],
    /// Its names.
    pub names: Names,
}

impl Registration {
    /// A registration of a device over this store.
    pub fn new(device: Device, store: [u8; 8], key: &PublicKey, names: Names) -> Self {
        let key = key.compressed();
        Self {
            device,
            store,
            key,
            names,
        }
    }

    /// The subscription that it is stored as: the same for the same registration, in every store.
    pub fn endpoint(&self) -> PushEndpoint {
        let life = id_of(&[
            LIFE,
            &self.device.id().to_be_bytes(),
            &self.key,
            &self.names.head(),
            self.names.app.as_bytes(),
            self.names.subtype.as_bytes(),
        ]);
        PushEndpoint {
            uaid: self.device.uaid(),
            channel: self.names.channel(),
            subscription: SubscriptionId::from_bytes(life),
        }
    }

    /// The application server key. This decompresses a point, which takes about as long as a
    /// tenth of a signature check.
    ///
    /// # Errors
    /// If the point is not on the curve, which no sealed token contains.
    pub fn key(&self) -> Result<PublicKey, BadToken> {
        PublicKey::from_compressed(&self.key).map_err(|_| BadToken)
    }

    /// The token, in base64url: 88 characters for what is not in the names, and four thirds of their
    /// length.
    pub fn seal(&self, keyring: &Keyring) -> String {
        let (device, head) = (self.device.id().to_be_bytes(), self.names.head());
        let plain: [&[u8]; 6] = [
            &device,
            &self.store,
            &self.key,
            &head,
            self.names.app.as_bytes(),
            self.names.subtype.as_bytes(),
        ];
        keyring.seal(REGISTRATION, &plain.concat())
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// If no key of the ring sealed it as a registration.
    pub fn open(keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        const MOST: usize = HEAD + LONGEST_APP + LONGEST_SUBTYPE;
        let plain = keyring.open_any(REGISTRATION, token, HEAD..=MOST)?;
        let (device, rest) = plain.split_first_chunk().ok_or(BadToken)?;
        let (store, rest) = rest.split_first_chunk().ok_or(BadToken)?;
        let (key, rest) = rest.split_first_chunk().ok_or(BadToken)?;
        let (app_length, rest) = rest.split_first().ok_or(BadToken)?;
        let names = rest.split_at_checked(usize::from(*app_length));
        let (app, subtype) = names.ok_or(BadToken)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| BadToken);
        Ok(Self {
            device: Device::of(u64::from_be_bytes(*device)).ok_or(BadToken)?,
            store: *store,
            key: *key,
            names: Names::new(text(app)?, text(subtype)?).ok_or(BadToken)?,
        })
    }
}

impl std::fmt::Debug for Names {
    /// Does not show the site.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names(…)")
    }
}

impl std::fmt::Debug for Registration {
    /// Shows neither the device nor the site.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registration(…)")
    }
}
