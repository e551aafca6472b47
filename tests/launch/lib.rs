//! Starts the program under test and ends it again, with a bound on every wait.
//!
//! A [`Launcher`] says how `bugle` is started, and a [`Service`] is one that
//! runs. A [`Process`] is any other program that a test needs beside it.

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
pub use wait::{PATIENCE, until, wait_for, wait_until};
