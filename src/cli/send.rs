//! `bugle send`

mod answer;
mod receipt;

use std::path::{Path, PathBuf};

use bugle_client::{
    ApplicationServer, Dialer, HttpConnection, Push, PushSubscription, ReceiptRequest,
};
use bugle_protocol::{Topic, Ttl, Urgency};

use self::answer::Answer;
use self::receipt::Awaited;
use super::url_arg::UrlArg;
use super::{Failure, files, print, vapid};
use crate::time::Clock;

pub(super) const EXAMPLE: &str = "\
Example:
  bugle listen --subscription subscription.json
  bugle send subscription.json \"Hello\" --ttl 3600 --urgency high
  bugle send subscription.json \"Hello\" --receipt=60";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with the PushSubscription JSON; - for standard input
    subscription: PathBuf,
    /// The message, at most 3993 bytes; without it, a push without data
    text: Option<String>,
    /// How long the service may keep the message, in seconds; 0: deliver now or never
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    ttl: Ttl,
    /// The urgency: very-low, low, normal or high
    #[arg(long)]
    urgency: Option<Urgency>,
    /// Replaces a waiting message with the same topic; 1 to 32 of A-Z a-z 0-9 - _
    #[arg(long)]
    topic: Option<Topic>,
    /// Wait for the receipt, which confirms the acknowledgement [default: as long as the TTL]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
    receipt: Option<Option<u64>>,
    /// Receive the receipt at this receipt subscription of an earlier push; @FILE reads it from a
    /// file, - from standard input, which hides it from `ps`: anyone who knows it can take the
    /// receipts
    #[arg(long, value_name = "URL", requires = "receipt")]
    receipt_subscription: Option<UrlArg>,
    /// VAPID key file; created if missing
    #[arg(long, value_name = "FILE", default_value = vapid::DEFAULT_FILE)]
    vapid: PathBuf,
    /// Contact for the operator of the service: mailto:… or https://…
    #[arg(long, value_name = "URI")]
    subject: Option<String>,
    /// Also trust these certificates (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print one JSON object: status, location, ttl; another for a receipt: type, message, status
    #[arg(long)]
    json: bool,
}

impl Args {
    /// How to request the receipt, if one is wanted.
    ///
    /// # Errors
    /// If the receipt subscription cannot be read.
    fn receipt_request(&self) -> Result<Option<ReceiptRequest>, Failure> {
        if self.receipt.is_none() {
            return Ok(None);
        }
        let Some(url) = &self.receipt_subscription else {
            return Ok(Some(ReceiptRequest::New));
        };
        if url.is_standard_input() && self.subscription == Path::new("-") {
            let problem = "standard input holds either the PushSubscription or the receipt \
                           subscription: give one of them as a file";
            return Err(problem.into());
        }
        Ok(Some(ReceiptRequest::At(url.read()?.into())))
    }
}

/// Sends one push and reports the response.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let receipt = args.receipt_request()?;
    let text = files::read(&args.subscription)?;
    let subscription: PushSubscription = serde_json::from_str(&text).map_err(|error| {
        let file = files::name(&args.subscription);
        format!("{file} holds no PushSubscription (endpoint, keys.p256dh, keys.auth): {error}")
    })?;
    let server = ApplicationServer {
        vapid: Some(vapid::load_or_make(&args.vapid)?),
        subject: args.subject,
    };
    let push = Push {
        text: args.text.map(String::into_bytes),
        ttl: args.ttl,
        urgency: args.urgency,
        topic: args.topic,
        receipt,
    };
    let request = server.request(&subscription, &push, Clock::system().now())?;
    let dialer = Dialer::new(args.ca.as_deref())?;
    let mut connection = HttpConnection::open(&dialer, &subscription.endpoint).await?;
    let answer = Answer::of(&connection.send(request).await?);
    print(if args.json {
        answer.json()
    } else {
        answer.text()
    })?;
    answer.accepted()?;
    let Some(wait) = args.receipt else {
        return Ok(());
    };
    let awaited = Awaited::new(&subscription.endpoint, &answer)?;
    awaited.wait(&dialer, wait, args.json).await
}
