//! `bugle assets`: what a package has beside the program, made from the same
//! definition as `--help`.

use std::fs;
use std::path::PathBuf;

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_complete::aot::generate_to;

use super::{Failure, print};

/// What `bugle assets` takes.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    /// Where to write `man/*.1` and `completions/*`; made when it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes one man page for each command, and one completion for each shell.
pub(super) fn run(args: &Args, command: Command) -> Result<(), Failure> {
    let (pages, completions) = (args.folder.join("man"), args.folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(command.clone(), &pages)?;
    for shell in Shell::value_variants() {
        generate_to(*shell, &mut command.clone(), "bugle", &completions)?;
    }
    Ok(print(args.folder.display().to_string())?)
}
