//! Keeps `docs/configuration.md` the same as `config.default.toml`.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::fmt::Write;
use std::path::Path;

use super::DEFAULTS;

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from config.default.toml: run `BUGLE_BLESS=1 cargo test --lib documentation`. -->

Bugle runs without a configuration file. Settings that differ from the defaults below come from
three sources; a later source overrides an earlier one:

1. a TOML file: `bugle --config FILE`;
2. the environment: `BUGLE_SECTION__KEY`, with two underscores between section and key, such as
   `BUGLE_LIMITS__BODY_BYTES=8192`. `BUGLE_SECTION__KEY_FILE` names a file that holds the value, for
   secrets that are mounted as files;
3. flags: `--listen`, `--admin-listen`, `--data`, `--public-url`, `--tls-cert`, `--tls-key`,
   `--log`.

Bugle reads its settings at the start: restart it to apply a change. Only TLS files (`tls.check_every`)
and the log filter (`bugle admin log`) change while it runs.

An unknown key or an invalid value is an error that names its place in the file. `bugle check-config`
takes the same file, environment and flags, and prints either the resulting configuration or the error.

Durations are written `\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"12h\"`, `\"30d\"`; sizes are numbers of bytes, or
`\"64KiB\"`, `\"16MiB\"`, `\"8GiB\"`. Paths are relative to the working directory.
";

/// Renders the page from the text of the default file.
fn page(defaults: &str) -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut comment = String::new();
    for line in defaults.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment += text.trim();
            comment.push(' ');
        } else if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let about = std::mem::take(&mut comment);
            let table = "| key | default | |\n|---|---|---|";
            writeln!(page, "\n## `[{section}]`\n\n{}\n\n{table}", about.trim()).unwrap();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let about = std::mem::take(&mut comment);
            writeln!(page, "| `{key}` | `{value}` | {} |", about.trim()).unwrap();
        } else {
            // An empty line ends a comment that belongs to no key.
            comment.clear();
        }
    }
    page
}

#[test]
fn page_matches_default_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page(DEFAULTS);
    if std::env::var_os("BUGLE_BLESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(
        written == page,
        "docs/configuration.md is not what config.default.toml says: run \
         `BUGLE_BLESS=1 cargo test --lib documentation`"
    );
}

#[test]
fn every_key_has_a_row_with_an_explanation() {
    let page = page(DEFAULTS);
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    for (section, keys) in &defaults {
        let (_, rest) = page.split_once(&format!("## `[{section}]`")).unwrap();
        let rows = rest.split("\n## ").next().unwrap();
        for key in keys.as_table().unwrap().keys() {
            let row = rows
                .lines()
                .find(|l| l.starts_with(&format!("| `{key}` |")))
                .unwrap();
            assert!(!row.ends_with("|  |"), "{section}.{key} has no comment");
        }
    }
}
