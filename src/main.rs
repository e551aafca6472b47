//! Bugle, a self-hosted Web Push service.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use bugle::cli::{Cli, Failure, Told};
use clap::Parser;

/// Gives memory back when user agents have left, and packs what they take while
/// they are here more closely than the system's.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as `| head` has.
        Err(failure) if is_broken_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<Told>() => ExitCode::FAILURE,
        Err(failure) => {
            // Where there is no standard error, the exit code has to do.
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
