//! Starts and stops the program under test, with a timeout on every wait.
//!
//! A [`Launcher`] starts `bugle`, and a [`Service`] is a running one. A [`Process`] is any
//! other program that a test needs.

mod launcher;
mod port;
mod process;
mod service;
mod wait;

pub use launcher::Launcher;
pub use port::free_port;
pub use process::Process;
pub use rustix::process::Signal;
pub use service::{LaunchError, Listening, Service};
pub use wait::{TIMEOUT, until, wait_for, wait_until};
