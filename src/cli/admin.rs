//! `bugle admin`: the admin API from the command line.

mod api;
mod show;
mod top;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use http::Method;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use self::api::Api;
use super::config_args::ConfigArgs;
use super::{Failure, files, print};

pub(super) const EXAMPLE: &str = "\
It reads the address and the token from the configuration of the service: use the same --config or
--data. See docs/admin.md.

Examples:
  bugle admin --data ./bugle-data overview
  bugle admin trace https://push.example.org/push/…
  bugle admin block add 192.0.2.0/24 --note \"a loop\"
  bugle admin --json audit";

/// Characters to percent-encode in a path segment.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'?')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|');

/// The arguments of `bugle admin`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The service's configuration file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The service's data folder [default: ./bugle-data]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<String>,
    /// URL of the admin listener, such as http://127.0.0.1:8081 [default: admin.listen]
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// File with the admin token; admin-read-token is read-only [default: admin.token_file]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Also trust the certificates in this file (PEM)
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Print the JSON response of the API
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show the state of the service
    Overview,
    /// Show the largest holders of stored data and connections
    Top {
        /// Maximum number of entries of each kind
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
    },
    /// Show the history of messages
    Trace {
        /// An endpoint, a message URL or a VAPID public key; - reads it from standard input
        subject: String,
        /// Maximum number of messages, newest first
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show a user agent, or end all its subscriptions
    #[command(subcommand)]
    UserAgent(UserAgent),
    /// End one subscription
    #[command(subcommand)]
    Subscription(Subscription),
    /// Remove the waiting messages of an application server
    #[command(subcommand)]
    Sender(Sender),
    /// End one receipt subscription
    #[command(subcommand)]
    Receipts(Receipts),
    /// Manage blocked VAPID keys and addresses
    #[command(subcommand)]
    Block(Block),
    /// Manage broadcasts: versions that user agents ask for
    #[command(subcommand)]
    Broadcast(Broadcast),
    /// Shut the service down gracefully, as SIGTERM does
    Drain,
    /// Show the log filter, or change it until the service ends
    Log {
        /// A level, or a list such as info,bugle::store=debug
        filter: Option<String>,
    },
    /// Show the changes made over the admin API since the start
    Audit,
}

#[derive(Clone, Debug, Subcommand)]
enum UserAgent {
    /// Show its connection, its waiting messages and its subscriptions
    Show {
        /// A uaid, an endpoint, subscription or message URL, or a handle; - reads it from standard input
        subject: String,
    },
    /// End all its subscriptions and remove their messages
    Drop {
        /// As for show
        subject: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Subscription {
    /// End it and remove its messages
    Drop {
        /// An endpoint, a subscription URL or a handle, or a uaid with --channel; - reads it from
        /// standard input
        subject: String,
        /// The channel, if the subject is a uaid
        #[arg(long)]
        channel: Option<String>,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Sender {
    /// Remove them
    Drop {
        /// Its VAPID public key or its handle; - reads it from standard input
        subject: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Receipts {
    /// End it and remove its receipts
    Drop {
        /// Its URL or its handle; - reads it from standard input
        subject: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Block {
    /// List all blocks
    List,
    /// Block from now on
    Add {
        /// A VAPID public key, an IP address, or a range such as 192.0.2.0/24
        value: String,
        /// The reason
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Remove a block
    Remove {
        /// As for add
        value: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Broadcast {
    /// List the version of each broadcast
    List,
    /// Set the version of a broadcast
    Set {
        /// The id of the broadcast
        id: String,
        /// The version
        version: String,
    },
    /// Remove a broadcast
    Remove {
        /// The id of the broadcast
        id: String,
    },
}

/// Sends the request and prints the response.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = ConfigArgs::of_service(args.config, args.data).load()?;
    let api = Api::new(&config, args.url, args.token_file, args.ca.as_deref())?;
    let (method, path, body) = args.command.request()?;
    let answer = api.ask(method, &path, body.as_ref()).await?;
    let text = if args.json {
        serde_json::to_string_pretty(&answer)?
    } else {
        args.command.show(&answer)
    };
    Ok(print(text.trim_end())?)
}

impl Command {
    /// The request: method, path below `/admin/v1/`, and body.
    fn request(&self) -> Result<(Method, String, Option<Value>), Failure> {
        let get = |path: &str| (Method::GET, path.to_owned(), None);
        let post = |path: &str, body| (Method::POST, path.to_owned(), Some(body));
        Ok(match self {
            Self::Overview => get("overview"),
            Self::Top { limit } => get(&format!("top?limit={limit}")),
            Self::Audit => get("audit"),
            Self::Log { filter: None } => get("log"),
            Self::Log { filter } => {
                let body = json!({ "filter": filter });
                (Method::PUT, "log".to_owned(), Some(body))
            }
            Self::Drain => (Method::POST, "drain".to_owned(), None),
            Self::Trace { subject, limit } => post(
                "trace",
                json!({ "subject": read(subject)?, "limit": limit }),
            ),
            Self::UserAgent(UserAgent::Show { subject }) => {
                post("user-agents/find", json!({ "subject": read(subject)? }))
            }
            Self::UserAgent(UserAgent::Drop { subject }) => {
                post("user-agents/drop", json!({ "subject": read(subject)? }))
            }
            Self::Subscription(Subscription::Drop { subject, channel }) => {
                let mut body = json!({ "subject": read(subject)? });
                if let Some(channel) = channel {
                    body["channel"] = json!(channel);
                }
                post("subscriptions/drop", body)
            }
            Self::Sender(Sender::Drop { subject }) => {
                post("senders/drop", json!({ "subject": read(subject)? }))
            }
            Self::Receipts(Receipts::Drop { subject }) => post(
                "receipt-subscriptions/drop",
                json!({ "subject": read(subject)? }),
            ),
            Self::Block(Block::List) => get("blocks"),
            Self::Block(Block::Add { value, note }) => (
                Method::PUT,
                block_path(value),
                Some(json!({ "note": note })),
            ),
            Self::Block(Block::Remove { value }) => (Method::DELETE, block_path(value), None),
            Self::Broadcast(Broadcast::List) => get("broadcasts"),
            Self::Broadcast(Broadcast::Set { id, version }) => {
                let body = json!({ "version": version });
                (Method::PUT, broadcast_path(id), Some(body))
            }
            Self::Broadcast(Broadcast::Remove { id }) => (Method::DELETE, broadcast_path(id), None),
        })
    }

    /// The response as text for people.
    fn show(&self, answer: &Value) -> String {
        match self {
            Self::Overview => show::overview(answer),
            Self::Top { .. } => top::top(answer),
            Self::Trace { .. } => show::trace(answer),
            Self::UserAgent(UserAgent::Show { .. }) => show::user_agent(answer),
            Self::UserAgent(UserAgent::Drop { .. }) | Self::Subscription(_) => {
                let ended = &answer["subscriptions"];
                format!(
                    "{ended} subscriptions of {} are ended",
                    show::text(&answer["handle"])
                )
            }
            Self::Sender(_) => format!(
                "{} messages of {} are removed",
                answer["messages"],
                show::text(&answer["handle"])
            ),
            Self::Receipts(_) => format!("{} is ended", show::text(&answer["handle"])),
            Self::Block(Block::List) => show::blocks(answer),
            Self::Block(Block::Add { value, .. }) => format!("{value} is blocked"),
            Self::Block(Block::Remove { value }) => format!("{value} is no longer blocked"),
            Self::Broadcast(Broadcast::List) => show::broadcasts(answer),
            Self::Broadcast(Broadcast::Set { id, version }) => format!("{id} is at {version}"),
            Self::Broadcast(Broadcast::Remove { id }) => format!("{id} is removed"),
            Self::Log { filter: None } => show::log(answer),
            Self::Log { filter } => {
                let filter = filter.as_deref().unwrap_or_default();
                format!("The log filter is {filter} until the service ends")
            }
            Self::Drain => "The service is shutting down".to_owned(),
            Self::Audit => show::audit(answer),
        }
    }
}

/// Reads a capability from standard input if it is `-`: other users of the machine can see the
/// arguments of a command.
fn read(subject: &str) -> Result<String, Failure> {
    if subject == "-" {
        return Ok(files::read(Path::new("-"))?.trim().to_owned());
    }
    Ok(subject.to_owned())
}

fn block_path(value: &str) -> String {
    // Every address has a dot or a colon; no key has.
    let kind = if value.contains(['.', ':']) {
        "addresses"
    } else {
        "keys"
    };
    format!("blocks/{kind}/{}", utf8_percent_encode(value, IN_PATH))
}

fn broadcast_path(id: &str) -> String {
    format!("broadcasts/{}", utf8_percent_encode(id, IN_PATH))
}
