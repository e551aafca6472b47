//! The way of a Chromium: the certificate for the hosts that are compiled into it, check-in,
//! registration, login, and a push to itself.

use std::time::Duration;

use bugle_client::{
    ApplicationServer, ClientError, Dialer, HttpConnection, McsDevice, McsRegistration,
    McsUserAgent, Push, PushSubscription, new_channel_id, new_key_pair, new_user_agent_keys,
};
use bugle_protocol::Ttl;
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use super::network::{Trouble, millis, within};
use super::refusal::{RequestKind, explain};
use super::report::Finding;
use super::site::Site;
use crate::config::{Config, Sites};
use crate::random::random;
use crate::server::COMPILED_IN;
use crate::time::Clock;

/// The site that subscribes if all sites are admitted.
const ANY_SITE: &str = "https://doctor.invalid";

/// Where the check connects, and how.
struct Way {
    dialer: Dialer,
    /// For the check-in and the registration.
    http: Url,
    /// For the connection.
    mcs: Url,
    limit: Duration,
}

/// Checks the service as a Chromium would use it, with a subscription for this run.
pub(super) async fn check(
    site: &Site,
    dialer: &Dialer,
    config: &Config,
    limit: Duration,
) -> Finding {
    if !site.origin.is_tls() {
        return Finding::fail(
            format!(
                "Chromium connects by TLS only, and endpoints begin with {}",
                site.origin
            ),
            "set tls.cert_file and tls.key_file, and begin server.public_url with https://",
        );
    }
    let origin = match &config.chromium.origins {
        Sites::Any => ANY_SITE.to_owned(),
        Sites::Of(origins) => match origins.iter().next() {
            Some(origin) => origin.origin().to_owned(),
            None => {
                return Finding::fail(
                    "no site may subscribe: chromium.origins is empty",
                    "set chromium.origins to the origins of the sites, or to \"*\"",
                );
            }
        },
    };
    let way = Way::find(site, dialer, config, limit).await;
    let (way, objection) = match way {
        Ok(found) => found,
        Err(finding) => return finding,
    };
    let took = match way.push(&origin, site).await {
        Ok(took) => took,
        Err(finding) => return finding,
    };
    let says = format!("checked in, registered, logged in, and received a push after {took} ms");
    let finding = match objection {
        None => Finding::ok(says),
        Some(objection) => Finding::warn(
            format!("{says}; a managed policy does not suffice: {objection}"),
            format!(
                "make the certificate for {} too (`bugle tls init --host`)",
                COMPILED_IN.join(" and ")
            ),
        ),
    };
    finding.with("arrived_ms", took)
}

impl Way {
    /// The way by policy, to the hosts that are compiled in, if the certificate names them; else
    /// the way by switches, with the objection to the certificate.
    async fn find(
        site: &Site,
        dialer: &Dialer,
        config: &Config,
        limit: Duration,
    ) -> Result<(Self, Option<String>), Finding> {
        let port = config.chromium.listen.map_or(site.port(), |at| at.port());
        let url = |host: &str, port: u16| format!("https://{host}:{port}/").parse::<Url>();
        let broken = |_| Finding::fail("the host is no part of a URL", "set server.public_url");
        let there = dialer.clone().connect_to(site.host(), port);
        let [http, mcs] = COMPILED_IN;
        let (http, mcs) = (
            url(http, 443).map_err(broken)?,
            url(mcs, 5228).map_err(broken)?,
        );
        let mut objection = None;
        for url in [&http, &mcs] {
            if let Err(error) = within(limit, there.dial_bare(url)).await {
                objection.get_or_insert_with(|| error.to_string());
            }
        }
        let way = match objection {
            None => Self {
                dialer: there,
                http,
                mcs,
                limit,
            },
            Some(_) => {
                let own = site.websocket.host_str().unwrap_or_default();
                let own = url(own, port).map_err(broken)?;
                let (dialer, http) = (dialer.clone(), own.clone());
                Self {
                    dialer,
                    http,
                    mcs: own,
                    limit,
                }
            }
        };
        Ok((way, objection))
    }

    /// Registers, pushes to the endpoint at the service's own origin, and ends the registration.
    /// Returns after how many milliseconds the push arrived.
    async fn push(&self, site: &str, at: &Site) -> Result<f64, Finding> {
        let checked_in = McsDevice::check_in(&self.dialer, &self.http, None);
        let checked_in = within(self.limit, checked_in).await;
        let device = checked_in.map_err(|trouble| failed("the check-in", &trouble))?;
        let vapid = new_key_pair();
        let registration = McsRegistration {
            site: site.to_owned(),
            id: new_channel_id().to_string(),
            key: vapid.public_key(),
        };
        let registered = device.register(&self.dialer, &self.http, &registration);
        let registered = within(self.limit, registered).await;
        let token = registered.map_err(|trouble| failed("the registration", &trouble))?;
        let server = ApplicationServer {
            vapid: Some(vapid),
            subject: None,
        };
        let endpoint = at.origin.url(&format!("/fcm/send/{token}"));
        let came = self.deliver(&device, &server, endpoint).await;
        let ended = device.unregister(&self.dialer, &self.http, &registration);
        // On failure only one unused subscription remains at the service.
        let _ = within(self.limit, ended).await;
        came
    }

    async fn deliver(
        &self,
        device: &McsDevice,
        server: &ApplicationServer,
        endpoint: String,
    ) -> Result<f64, Finding> {
        let connected = McsUserAgent::connect(&self.dialer, &self.mcs, device, Vec::new());
        let connected = within(self.limit, connected).await;
        let mut agent = connected.map_err(|trouble| failed("the login", &trouble))?;
        let (keys, text) = (new_user_agent_keys(), random::<16>().to_vec());
        let push = Push {
            text: Some(text.clone()),
            ttl: Ttl::from_secs(60),
            urgency: None,
            topic: None,
            receipt: None,
        };
        let keys_of = keys.subscription_keys();
        let to = PushSubscription {
            endpoint: endpoint.clone(),
            keys: keys_of,
        };
        let request = server.request(&to, &push, Clock::system().now());
        let request = request.map_err(|error| failed("the push", &Trouble::Client(error)))?;
        let begin = Instant::now();
        let sent = async {
            let mut connection = HttpConnection::open(&self.dialer_of_senders(), &endpoint).await?;
            connection.send(request).await
        };
        let answer = within(self.limit, sent).await;
        let answer = answer.map_err(|trouble| failed("the push", &trouble))?;
        if answer.status() != StatusCode::CREATED {
            return Err(explain(RequestKind::Push, &answer));
        }
        let came = within(self.limit, agent.receive()).await;
        let came = came.map_err(|trouble| failed("the delivery", &trouble))?;
        let took = millis(begin.elapsed());
        match came.decrypt(&keys) {
            Ok(Some(came)) if came == text => {}
            _ => {
                let changed = ClientError::Protocol("the push says something else".to_owned());
                return Err(failed("the delivery", &Trouble::Client(changed)));
            }
        }
        let confirmed = async {
            agent.acknowledge().await?;
            agent.ping().await
        };
        let confirmed = within(self.limit, confirmed).await;
        confirmed.map_err(|trouble| failed("the confirmation", &trouble))?;
        Ok(took)
    }

    /// Senders connect to the host of the endpoint.
    fn dialer_of_senders(&self) -> Dialer {
        self.dialer.clone().connect_to_hosts()
    }
}

fn failed(what: &str, trouble: &Trouble) -> Finding {
    let mend = match trouble {
        Trouble::Client(ClientError::Registration(word)) if word == "INVALID_SENDER" => {
            "start the service again with the chromium.origins of this configuration"
        }
        _ => "see the log of the service, and docs/chromium.md",
    };
    Finding::fail(format!("{what} of a Chromium fails: {trouble}"), mend)
}
