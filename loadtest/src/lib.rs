//! `bugle-load`, a load tester for Web Push services.
//!
//! It runs many user agents and application servers in one process, against any service
//! that implements the push WebSocket protocol and RFC 8030. It needs the WebSocket URL only
//! and takes the endpoints from `register`.
//!
//! [`harness`] creates a [`run::Run`], the shared state, and passes it to a [`scenario`]. The
//! scenario connects [`user_agent::UserAgent`]s and lets [`sender`]s push to them. Each push
//! has a number in its [`contents`], under which the [`ledger`] accounts for it; [`meters`]
//! hold rates and latencies. The result is an [`outcome::Outcome`], printed and written as
//! JSON.
//!
//! [`faults`] runs start the service themselves, kill it, and check what it accepted against
//! what it delivers afterwards. A [`soak`] connects and disconnects user agents for an hour,
//! and then checks that the service has released its resources. A [`siege`] exhausts shared
//! limits while honest clients push. [`report`] renders results as a page. [`preflight`] checks
//! the limits of the machine, and [`target`] which hosts may be loaded.

pub mod cli;
pub mod clock;
pub mod contents;
pub mod faults;
pub mod harness;
pub mod latency;
pub mod ledger;
pub mod line;
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
