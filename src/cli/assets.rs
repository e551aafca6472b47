//! `bugle assets`: man pages and shell completions for packages, generated from the same definition
//! as `--help`.

use std::fs;
use std::path::PathBuf;

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_complete::aot::generate_to;

use super::{Failure, print};

/// The arguments of `bugle assets`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    /// Folder for `man/*.1` and `completions/*`; created if missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a man page for each command, and completions for each shell.
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
