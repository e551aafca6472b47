//! `bugle-load`, a load tester for Web Push services.
//!
//! It is many user agents and many application servers in one process. It works
//! against any service that speaks the push WebSocket protocol and RFC 8030: it
//! is given the WebSocket URL and takes the endpoints from `register`.
//!
//! How a run goes: [`harness`] makes a [`run::Run`], which all parts of it
//! share, and gives it to a [`scenario`]. That connects
//! [`user_agent::UserAgent`]s and lets [`sender`]s push to them. Each push has
//! a number in its [`contents`], under which the [`ledger`] accounts for it;
//! [`meters`] hold rates and latencies. What comes out is an
//! [`outcome::Outcome`], printed and written as JSON.
//!
//! [`faults`] are runs of their own kind: they start the service themselves and
//! kill it, and hold what it accepted against what comes afterwards. A [`soak`]
//! is an hour of coming and going, after which a service must hold what it held
//! before. A [`siege`] lets strangers take what all share meanwhile. [`report`] makes a page of results; [`preflight`] and [`target`] say
//! what cannot be loaded, and what must not.

pub mod cli;
pub mod clock;
pub mod contents;
pub mod faults;
pub mod harness;
pub mod latency;
pub mod ledger;
pub mod machine;
pub mod meters;
pub mod outcome;
pub mod population;
pub mod preflight;
pub mod process;
pub mod progress;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod sender;
pub mod siege;
pub mod soak;
pub mod subscription;
pub mod target;
pub mod traffic;
pub mod usage;
pub mod user_agent;
pub mod visits;
