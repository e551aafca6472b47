//! An application server of a fault run: pushes one message after the other, replaces some
//! by topic and withdraws some.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bugle_client::{ClientError, HttpConnection};
use bytes::Bytes;
use fastrand::Rng;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::sleep;
use url::{Position, Url};

use super::scene::{Life, Plan, Subscriber};
use crate::contents::MessageName;

/// TTLs of messages, in seconds; some expire during the run.
const TTLS: [u64; 6] = [1, 3, 10, 60, 3600, 86_400];

/// Maximum size of the contents: one record of RFC 8291.
const MAX_CONTENTS: usize = 3993;

/// Number of recent messages that may still be withdrawn.
const MAX_REMEMBERED: usize = 16;

/// Pause before reconnecting.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Sender {
    life: Life,
    /// Distinguishes its topics from those of other senders: only a sender that pushes
    /// sequentially knows which message replaces which.
    number: usize,
    rng: Rng,
    accepted: VecDeque<(MessageName, String)>,
}

impl Sender {
    pub(super) fn new(life: Life, number: usize, rng: Rng) -> Self {
        let accepted = VecDeque::new();
        Self {
            life,
            number,
            rng,
            accepted,
        }
    }

    /// Pushes until the service has ended.
    pub(super) async fn run(mut self) {
        while !self.life.over.is_cancelled() {
            // After any error, the account knows what is in doubt.
            let _ = self.push_on().await;
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn push_on(&mut self) -> Result<(), ClientError> {
        let scene = self.life.scene.clone();
        let Some(first) = self.recipient(None) else {
            return Ok(());
        };
        let mut http = HttpConnection::open(&scene.dialer, first.endpoint()).await?;
        while !self.life.over.is_cancelled() {
            let plan = self.plan();
            let Some(to) = self.recipient(plan.topic.as_deref()) else {
                return Ok(());
            };
            if let (name, Some(url)) = scene.push(&mut http, &to, plan).await? {
                self.accepted.push_back((name, url));
            }
            if self.accepted.len() > MAX_REMEMBERED {
                self.accepted.pop_front();
            }
            if self.rng.u8(..10) == 0 {
                self.withdraw(&mut http).await?;
            }
            sleep(Duration::from_micros(self.rng.u64(..4000))).await;
        }
        Ok(())
    }

    /// Chooses a random subscriber; messages with a topic always go to the same one, so
    /// that they replace each other.
    fn recipient(&mut self, topic: Option<&str>) -> Option<Arc<Subscriber>> {
        let subscribers = self.life.scene.subscribers();
        match topic {
            Some(_) => subscribers.iter().cycle().nth(self.number).cloned(),
            None => self.rng.choice(subscribers.iter()).cloned(),
        }
    }

    fn plan(&mut self) -> Plan {
        let topic =
            (self.rng.u8(..3) == 0).then(|| format!("sender-{}-{}", self.number, self.rng.u8(..3)));
        let ttl = self.rng.choice(TTLS).unwrap_or(TTLS[0]);
        // Most messages are small, as in practice.
        let largest = if self.rng.u8(..5) == 0 {
            MAX_CONTENTS
        } else {
            300
        };
        Plan {
            topic,
            ttl: Duration::from_secs(ttl),
            size: self.rng.usize(..=largest),
        }
    }

    /// Withdraws one of its recent messages.
    async fn withdraw(&mut self, http: &mut HttpConnection) -> Result<(), ClientError> {
        if self.accepted.is_empty() {
            return Ok(());
        }
        let index = self.rng.usize(..self.accepted.len());
        let Some((name, url)) = self.accepted.remove(index) else {
            return Ok(());
        };
        let unusable = |error: &dyn ToString| ClientError::Url {
            url: url.clone(),
            problem: error.to_string(),
        };
        let url = Url::parse(&url).map_err(|error| unusable(&error))?;
        let request = Request::delete(&url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
            .body(Full::new(Bytes::new()))
            .map_err(|error| unusable(&error))?;
        let scene = &self.life.scene;
        scene.account().begin_withdrawal(name);
        // After any other response, the outcome is unknown.
        match http.send(request).await?.status() {
            StatusCode::NO_CONTENT => scene.account().withdrawal_answered(name, true),
            StatusCode::NOT_FOUND => scene.account().withdrawal_answered(name, false),
            _ => {}
        }
        Ok(())
    }
}
