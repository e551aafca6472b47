//! What the operator writes.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use bugle::config::{Config, ConfigError};

/// A configuration file. What it means is printed and read back the same; what
/// is wrong with it is said in one place.
pub fn config(data: &[u8]) {
    let file = env::temp_dir().join(format!("bugle-fuzz-{}.toml", process::id()));
    let file = Removed(file);
    match load(&file.0, data) {
        Ok(config) => match load(&file.0, config.to_toml().as_bytes()) {
            Ok(again) => assert_eq!(again, config),
            Err(error) => panic!("printed as what cannot be read: {error}"),
        },
        Err(ConfigError::Text { line, column, .. }) => assert!(line > 0 && column > 0),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A file that is gone when this is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // It may never have been there.
        drop(fs::remove_file(&self.0));
    }
}

fn load(file: &Path, text: &[u8]) -> Result<Config, ConfigError> {
    match fs::write(file, text) {
        Ok(()) => Config::load(Some(file), [], &[]),
        Err(error) => panic!("the file for the input cannot be written: {error}"),
    }
}
