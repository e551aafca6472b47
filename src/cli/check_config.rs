//! `bugle check-config`

use super::config_args::ConfigArgs;
use super::{Failure, note, print};

pub(super) const EXAMPLE: &str = "\
Example:
  bugle check-config --config bugle.toml";

/// Prints the configuration in effect as a configuration file, with secrets hidden.
pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let mut config = args.load()?;
    config.compat = config.compat.in_effect();
    config.admission = config.admission.concealed();
    print(config.to_toml().trim_end())?;
    let public_url = config.public_url(config.server.listen);
    note(format!(
        "The configuration is valid; endpoints begin with {public_url}/push/"
    ));
    Ok(())
}
