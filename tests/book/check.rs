//! Checks a block according to its language.

use std::fs;

use bugle::Config;
use bugle_book::block::Block;
use bugle_book::pages::root;

use crate::shell;

/// Parses the block in its language.
pub fn check(block: &Block) -> Result<(), String> {
    match block.language.as_str() {
        "sh" => shell::check(&block.text),
        "toml" => configuration(&block.text),
        "json" => serde_json::from_str(&block.text)
            .map(|_: serde_json::Value| ())
            .map_err(|error| format!("not JSON: {error}")),
        // Output and wire messages, which nobody types.
        "text" if block.text.lines().any(shell::is_ours) => {
            Err("a command of ours stands in a block of sh".to_owned())
        }
        "text" | "http" => Ok(()),
        // Other programs and their files must be included from a file that a test runs.
        "js" | "python" | "php" | "ruby" | "go" | "java" | "rust" | "nginx" | "caddy"
        | "haproxy" | "ini" | "yaml" | "dockerfile" | "html" => is_an_include(block),
        "" => Err("the block names no language: sh, toml, json, text, http, …".to_owned()),
        other => Err(format!("nothing checks the language {other:?}")),
    }
}

fn is_an_include(block: &Block) -> Result<(), String> {
    let Some(path) = block
        .text
        .trim()
        .strip_prefix("{{#include ")
        .and_then(|rest| rest.strip_suffix("}}"))
    else {
        let advice = "put it into a file that a test runs, and {{#include it}}";
        return Err(format!("{}: {advice}", block.language));
    };
    let page = root().join(&block.page);
    // The path may name a part of the file after a colon.
    let file = page.parent().unwrap().join(path.split(':').next().unwrap());
    match file.exists() {
        true => Ok(()),
        false => Err(format!("there is no file {path}")),
    }
}

/// Loads the configuration as the service does.
fn configuration(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bugle.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), [], &[])
        .map(|_| ())
        .map_err(|error| error.to_string())
}
