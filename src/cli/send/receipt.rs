//! Waiting for the receipt of a message (RFC 8030 §6.3).

use std::time::Duration;

use bugle_client::{Dialer, Receipt, Receipts};
use serde_json::json;
use tokio::time::timeout;
use url::Url;

use super::answer::Answer;
use crate::cli::retry::Retry;
use crate::cli::{Failure, note, print, stop_signal};

/// How long to wait beyond the TTL: services sweep expired messages only from time to time.
const GRACE: Duration = Duration::from_secs(30);

/// A message whose receipt is awaited.
pub(super) struct Awaited {
    /// The receipt subscription.
    receipts: String,
    /// The URL of the message.
    message: String,
    /// The TTL of the message.
    ttl: Duration,
}

impl Awaited {
    /// Takes the URLs from the response to the push to `endpoint`.
    ///
    /// # Errors
    /// If the service offers no receipt.
    pub(super) fn new(endpoint: &str, answer: &Answer) -> Result<Self, Failure> {
        let (Some(receipts), Some(message)) = (&answer.receipts, &answer.location) else {
            return Err("the service took the message, but gives no receipt".into());
        };
        let endpoint = Url::parse(endpoint)?;
        Ok(Self {
            receipts: endpoint.join(receipts)?.into(),
            message: endpoint.join(message)?.into(),
            ttl: Duration::from_secs(answer.ttl.unwrap_or_default()),
        })
    }

    /// Waits for `seconds`, or by default until the message has expired, and reports the receipt.
    ///
    /// # Errors
    /// If the message was not delivered, or no receipt arrived.
    pub(super) async fn wait(
        &self,
        dialer: &Dialer,
        seconds: Option<u64>,
        as_json: bool,
    ) -> Result<(), Failure> {
        let wait = seconds.map_or(self.ttl + GRACE, Duration::from_secs);
        note("Waiting for the receipt; Ctrl-C ends");
        let stopped = stop_signal()?;
        let receipt = tokio::select! {
            receipt = timeout(wait, self.receipt(dialer)) => receipt
                .map_err(|_| format!("no receipt within {} s", wait.as_secs()))??,
            () = stopped => return Err("ended before there was a receipt".into()),
        };
        if as_json {
            let status = receipt.status.as_u16();
            let json = json!({ "type": "receipt", "message": receipt.message, "status": status });
            print(json.to_string())?;
        }
        if !receipt.is_delivered() {
            return Err("the message was not delivered: the service has given it up (410)".into());
        }
        if !as_json {
            print("Delivered: the user agent has acknowledged the message (204)")?;
        }
        Ok(())
    }

    async fn receipt(&self, dialer: &Dialer) -> Result<Receipt, Failure> {
        let mut retry = Retry::new();
        loop {
            match self.attempt(dialer, &mut retry).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) => retry.pause(error).await?,
            }
        }
    }

    /// Receives on one connection until the receipt arrives.
    async fn attempt(&self, dialer: &Dialer, retry: &mut Retry) -> Result<Receipt, Failure> {
        let mut receipts = Receipts::open(dialer, &self.receipts).await?;
        loop {
            let receipt = receipts.receive().await?;
            retry.reset();
            if receipt.message == self.message {
                return Ok(receipt);
            }
            // Other readers of this receipt subscription will not get this receipt, so print it.
            let (message, status) = (receipt.message, receipt.status.as_u16());
            note(format!(
                "The receipt of another message, {message}: {status}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use bugle_protocol::link;
    use bytes::Bytes;
    use http::Response;

    use super::*;

    #[test]
    fn the_urls_may_be_relative() {
        let link = link::print("/receipts/b", link::RECEIPT);
        let response = Response::builder()
            .status(202)
            .header("Location", "/message/a")
            .header("TTL", "7")
            .header("Link", link);
        let answer = Answer::of(&response.body(Bytes::new()).unwrap());
        let awaited = Awaited::new("https://push.example.org:1/push/c", &answer).unwrap();
        assert_eq!(awaited.receipts, "https://push.example.org:1/receipts/b");
        assert_eq!(awaited.message, "https://push.example.org:1/message/a");
        assert_eq!(awaited.ttl, Duration::from_secs(7));
    }

    #[test]
    fn a_response_without_a_receipt_is_an_error() {
        let response = Response::builder().status(201).header("Location", "/m");
        let answer = Answer::of(&response.body(Bytes::new()).unwrap());
        let error = Awaited::new("http://a/push/c", &answer).err().unwrap();
        assert!(error.to_string().contains("gives no receipt"), "{error}");
    }
}
