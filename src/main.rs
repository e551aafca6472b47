//! Bugle, a self-hosted Web Push service.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use bugle::cli::{AlreadyReported, Cli, Failure};
use clap::Parser;

/// Returns memory after user agents disconnect, and wastes less per connection than the system's
/// allocator.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of our output has closed it, as `| head` does.
        Err(failure) if is_broken_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<AlreadyReported>() => ExitCode::FAILURE,
        Err(failure) => {
            // Standard error may be closed; the exit code remains.
            let _ = writeln!(io::stderr(), "bugle: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(failure: &Failure) -> bool {
    failure
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
