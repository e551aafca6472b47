//! A browser profile: preferences, trusted authorities, and other data that a browser keeps
//! between runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bugle_launch::wait_until;
use serde_json::json;
use tempfile::TempDir;

use crate::secrets;

const PREFERENCES: &str = include_str!("user.js");
const SAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// A browser profile, which persists when the browser ends.
pub(crate) struct Profile {
    directory: TempDir,
}

impl Profile {
    /// Creates a profile that uses this push service and trusts this authority.
    pub(crate) fn new(push_server_url: &str, authority: Option<&Path>) -> Self {
        let directory = TempDir::new().unwrap();
        let service = json!(push_server_url);
        let preferences = format!("{PREFERENCES}user_pref(\"dom.push.serverURL\", {service});\n");
        fs::write(directory.path().join("user.js"), preferences).unwrap();
        if let Some(authority) = authority {
            trust(directory.path(), authority);
        }
        Self { directory }
    }

    /// Waits until Firefox has written the data of a subscription to disk: the worker's
    /// registration and the browser's uaid.
    pub(crate) fn wait_for_saved(&self, scope: &str) {
        for (file, content) in [
            ("serviceworker.txt", scope),
            ("prefs.js", "dom.push.userAgentID"),
        ] {
            wait_until(&format!("{content} in {file}"), SAVE_TIMEOUT, || {
                let text = fs::read_to_string(self.path(file)).ok()?;
                text.contains(content).then_some(())
            });
        }
    }

    /// A file of the profile.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // The browser's uaid.
        let preferences = fs::read_to_string(self.path("prefs.js"));
        secrets::see(&preferences.unwrap_or_default());
    }
}

/// Creates the certificate store of a new profile and adds an authority.
fn trust(profile: &Path, authority: &Path) {
    let database = format!("sql:{}", profile.display());
    let run = |command: &mut Command| {
        let output = command
            .args(["-d", &database])
            .output()
            .expect("certutil must be installed (Debian: libnss3-tools)");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "certutil: {errors}");
    };
    run(Command::new("certutil").args(["-N", "--empty-password"]));
    run(Command::new("certutil")
        .args(["-A", "-n", "private authority", "-t", "C,,", "-i"])
        .arg(authority));
}
