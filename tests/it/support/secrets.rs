//! Collects secrets that must not appear in logs. With `BUGLE_TEST_SECRETS` set to a folder,
//! every service under test logs at trace level into it, and every token, uaid and key that a
//! test sends or receives is recorded there. `./test conformance real-clients secrets` runs the
//! tests this way and searches the logs.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The folder for logs and secrets, if set.
fn folder() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let named = || std::env::var_os("BUGLE_TEST_SECRETS").map(PathBuf::from);
    FOLDER.get_or_init(named).as_ref()
}

fn file(kind: &str) -> Option<File> {
    let path = folder()?.join(format!("{kind}-{}", std::process::id()));
    let file = OpenOptions::new().create(true).append(true).open(path);
    Some(file.unwrap())
}

/// Starts logging for services in this process: everything that `bugle serve` would write at
/// trace level.
pub fn log_here() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    if let Some(log) = folder().and_then(|_| file("log")) {
        BEGUN.get_or_init(|| {
            let ours = filter_fn(|metadata| metadata.target().starts_with("bugle"));
            let layer = tracing_subscriber::fmt::layer().with_ansi(false);
            let layer = layer.with_writer(log).with_filter(ours);
            tracing_subscriber::registry().with(layer).init();
        });
    }
}

/// Whether secrets are collected, so that every service must log at trace level.
pub fn are_kept() -> bool {
    folder().is_some()
}

/// Stores the log of a real program that ran at trace level.
pub fn keep_log(text: &[u8]) {
    if let Some(mut log) = file("program") {
        log.write_all(text).unwrap();
    }
}

/// Records each secret in a text between client and service once, with the name of the test.
pub fn see(text: &str) {
    text.split(|c: char| !is_of_tokens(c))
        .filter(is_secret)
        .for_each(note);
}

/// Records a secret that does not look like one, of at least 12 characters.
pub fn note(secret: &str) {
    static SEEN: OnceLock<Mutex<(HashSet<String>, File)>> = OnceLock::new();
    if folder().is_none() {
        return;
    }
    let seen = SEEN.get_or_init(|| Mutex::new((HashSet::new(), file("seen").unwrap())));
    let (seen, file) = &mut *seen.lock().unwrap();
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    if seen.insert(secret.to_owned()) {
        writeln!(file, "{test} {secret}").unwrap();
    }
}

fn is_of_tokens(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Whether a word looks like encoded random bytes: ordinary words are not that long with digits
/// and letters of both cases, nor are they UUIDs.
fn is_secret(word: &&str) -> bool {
    let has = |test: fn(&char) -> bool| word.chars().any(|c| test(&c));
    let is_base64 = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    let is_hex = word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    word.len() >= 20 && has(char::is_ascii_digit) && (is_base64 || is_hex)
}
