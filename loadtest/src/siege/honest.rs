//! An honest application server during a siege of receipts, which checks that its receipts
//! are true.

use std::fmt;
use std::time::Duration;

use bugle::Clock;
use bugle_client::{
    ApplicationServer, ClientError, Dialer, HttpConnection, Push, PushSubscription, ReceiptRequest,
    Receipts, TIMEOUT, UserAgent, new_channel_id, new_key_pair, new_user_agent_keys,
};
use bugle_protocol::{Ttl, link};
use serde::Serialize;
use tokio::time::{sleep, timeout};
use url::Url;

/// Pause between two messages.
const MESSAGE_PAUSE: Duration = Duration::from_millis(100);

/// The receipts of an honest application server for acknowledged messages with TTL 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReceiptCounts {
    /// Messages sent with a request for a receipt.
    pub asked: u64,
    /// Receipts that report delivery.
    pub delivered: u64,
    /// The first error, after which no more messages were sent.
    pub wrong: Option<String>,
}

impl fmt::Display for ReceiptCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "honest receipts: {} asked for, {} say delivered",
            self.asked, self.delivered
        )?;
        match &self.wrong {
            Some(wrong) => write!(f, "; FAILED: {wrong}"),
            None => Ok(()),
        }
    }
}

/// Runs until it is dropped or finds an error.
pub(super) async fn ask(dialer: &Dialer, url: &Url, counts: &mut ReceiptCounts) {
    if let Err(error) = pushes(dialer, url, counts).await {
        counts.wrong = Some(error.to_string());
    }
}

async fn pushes(dialer: &Dialer, url: &Url, counts: &mut ReceiptCounts) -> Result<(), ClientError> {
    let mut user_agent = UserAgent::connect(dialer, url).await?;
    user_agent.hello(None).await?;
    let subscription = PushSubscription {
        endpoint: user_agent.register(new_channel_id(), None).await?,
        keys: new_user_agent_keys().subscription_keys(),
    };
    let server = ApplicationServer {
        vapid: Some(new_key_pair()),
        subject: None,
    };
    let mut connection = HttpConnection::open(dialer, &subscription.endpoint).await?;
    let mut wanted = ReceiptRequest::New;
    let mut receipts = None;
    loop {
        let push = Push {
            text: None,
            ttl: Ttl::ZERO,
            urgency: None,
            topic: None,
            receipt: Some(wanted.clone()),
        };
        counts.asked += 1;
        let request = server.request(&subscription, &push, Clock::system().now())?;
        let answer = connection.send(request).await?;
        let status = answer.status().as_u16();
        let refused = ClientError::Refused {
            what: "promise a receipt",
            status,
        };
        let found = link::find(answer.headers(), link::RECEIPT).ok().flatten();
        let at = found.filter(|_| status == 202).ok_or(refused)?;
        let receipts = match &mut receipts {
            Some(receipts) => receipts,
            None => receipts.insert(Receipts::open(dialer, &at).await?),
        };
        wanted = ReceiptRequest::At(at);
        let notification = within("a notification", user_agent.receive()).await?;
        user_agent.acknowledge(&notification, 100).await?;
        let receipt = within("a receipt", receipts.receive()).await?;
        if !receipt.is_delivered() {
            let status = receipt.status;
            let problem = format!("a message was acknowledged, and its receipt says {status}");
            return Err(ClientError::Protocol(problem));
        }
        counts.delivered += 1;
        sleep(MESSAGE_PAUSE).await;
    }
}

async fn within<T>(
    what: &'static str,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let answer = timeout(TIMEOUT, answer).await;
    answer.unwrap_or(Err(ClientError::Silence(what)))
}
