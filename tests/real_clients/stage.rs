//! Everything that a test needs, started and connected.

use url::Url;

use crate::authority::Authority;
use crate::firefox::Firefox;
use crate::profile::Profile;
use crate::senders::{Answer, Library, Push, Senders, Subscription, VapidKeys};
use crate::service::Service;
use crate::site::Site;

/// A service, a site open in Firefox, and application servers.
pub(crate) struct Stage {
    // The browser is dropped first, then its peers.
    firefox: Option<Firefox>,
    profile: Profile,
    senders: Senders,
    pub(crate) keys: VapidKeys,
    pub(crate) site: Site,
    pub(crate) service: Service,
}

impl Stage {
    /// Uses `ws://` and `http://`.
    pub(crate) fn plain() -> Self {
        Self::with(Service::start())
    }

    /// Uses `wss://` and `https://` with a private authority that the browser and the
    /// application servers trust.
    pub(crate) fn tls() -> Self {
        Self::tls_by(Authority::new())
    }

    /// Like `tls`, with a given authority.
    pub(crate) fn tls_by(authority: Authority) -> Self {
        Self::with(Service::start_with_tls(authority))
    }

    fn with(service: Service) -> Self {
        let url = service.push_server_url();
        Self::with_url(service, &url)
    }

    /// Without TLS, with this value of `dom.push.serverURL`.
    pub(crate) fn with_url(service: Service, push_server_url: &str) -> Self {
        let root = service.root();
        let profile = Profile::new(push_server_url, root.as_deref());
        let mut stage = Self {
            firefox: None,
            profile,
            senders: Senders::new(root),
            keys: VapidKeys::generate(),
            site: Site::start(),
            service,
        };
        stage.start_firefox();
        stage.open_site();
        stage
    }

    /// The running browser.
    pub(crate) fn firefox(&mut self) -> &mut Firefox {
        self.firefox
            .as_mut()
            .expect("the test has started the browser")
    }

    /// Starts the browser with its profile and an empty page.
    pub(crate) fn start_firefox(&mut self) {
        self.firefox = Some(Firefox::start(&self.profile));
    }

    /// Quits the browser and keeps its profile.
    pub(crate) fn quit_firefox(&mut self) {
        self.firefox
            .take()
            .expect("the test has started the browser")
            .quit();
    }

    /// Suspends the browser once its subscription in this scope is on disk, so that it reads
    /// and acknowledges nothing more.
    pub(crate) fn freeze_firefox(&mut self, scope: &str) {
        self.profile.wait_for_saved(scope);
        self.firefox().freeze();
    }

    /// Kills the browser (SIGKILL) and keeps its profile.
    pub(crate) fn kill_firefox(&mut self) {
        self.firefox = None;
    }

    /// Opens the site, whose page then manages its subscriptions.
    pub(crate) fn open_site(&mut self) {
        let url = self.site.url();
        self.firefox().open(&url);
    }

    /// Subscribes in a scope with the application servers' key.
    pub(crate) fn subscribe(&mut self, scope: &str) -> Subscription {
        let key = self.keys.public_key.clone();
        self.firefox().subscribe(scope, Some(&key))
    }

    /// Sends pushes signed with the application servers' key; all must be accepted.
    pub(crate) fn push<'a>(
        &self,
        library: Library,
        subscription: &Subscription,
        texts: impl IntoIterator<Item = &'a str>,
    ) {
        let push = |text| Push::text(subscription, text).signed(&self.keys);
        self.send_accepted(library, &texts.into_iter().map(push).collect::<Vec<_>>());
    }

    /// Sends pushes; all must be accepted.
    pub(crate) fn send_accepted(&self, library: Library, pushes: &[Push]) {
        for (push, answer) in pushes.iter().zip(self.senders.send_all(library, pushes)) {
            assert_accepted(push, &answer);
        }
    }

    /// Sends a push that must be refused with this status and a JSON body.
    pub(crate) fn send_refused(&self, library: Library, push: Push, status: u16) {
        let answer = self.senders.send_all(library, &[push]).remove(0);
        assert_eq!(answer.status, status, "{library:?}: {answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("no JSON body ({error}): {answer:?}"));
        assert_eq!(body["code"], status, "{answer:?}");
    }
}

/// Asserts the response to an accepted push (RFC 8030): 201 with the URL of the message (§5)
/// and the granted TTL (§5.2), at most the requested one.
fn assert_accepted(push: &Push, answer: &Answer) {
    assert_eq!(answer.status, 201, "{push:?}: {answer:?}");
    let origin = Url::parse(push.subscription.endpoint()).unwrap().origin();
    let location = answer
        .header("location")
        .and_then(|location| Url::parse(location).ok());
    assert_eq!(
        location.map(|location| location.origin()),
        Some(origin),
        "{answer:?}"
    );
    let ttl = answer.header("ttl").and_then(|ttl| ttl.parse::<u32>().ok());
    assert!(ttl.is_some_and(|ttl| ttl <= push.ttl), "{answer:?}");
}
