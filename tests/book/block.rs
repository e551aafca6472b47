//! A block of code on a page, and what can be said of it by its language.

use std::fs;

use bugle::Config;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::pages::{Page, root};
use crate::shell;

/// A fenced block.
pub struct Block {
    page: String,
    line: usize,
    language: String,
    text: String,
}

/// The blocks of a page.
pub fn of(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    let events = Parser::new_ext(&page.text, Options::ENABLE_TABLES).into_offset_iter();
    for (event, range) in events {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => "text".to_owned(),
                };
                blocks.push(Block {
                    page: page.path.clone(),
                    line: page.text[..range.start].lines().count() + 1,
                    language,
                    text: String::new(),
                });
                is_inside = true;
            }
            Event::Text(text) if is_inside => {
                blocks.last_mut().unwrap().text.push_str(&text);
            }
            Event::End(TagEnd::CodeBlock) => is_inside = false,
            _ => {}
        }
    }
    blocks
}

impl Block {
    /// Where it begins.
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    /// Parses it as what it says it is.
    pub fn check(&self) -> Result<(), String> {
        match self.language.as_str() {
            "sh" => shell::check(&self.text),
            "toml" => configuration(&self.text),
            "json" => serde_json::from_str(&self.text)
                .map(|_: serde_json::Value| ())
                .map_err(|error| format!("not JSON: {error}")),
            // Shown, not typed: what a program prints, and what travels.
            "text" | "http" => Ok(()),
            // A program or a file of another: only by its file, which a test runs.
            "js" | "python" | "php" | "ruby" | "go" | "java" | "rust" | "nginx" | "caddy"
            | "haproxy" | "ini" | "yaml" | "dockerfile" | "html" => self.is_an_include(),
            "" => Err("the block names no language: sh, toml, json, text, http, …".to_owned()),
            other => Err(format!("nothing checks the language {other:?}")),
        }
    }

    fn is_an_include(&self) -> Result<(), String> {
        let Some(path) = self
            .text
            .trim()
            .strip_prefix("{{#include ")
            .and_then(|rest| rest.strip_suffix("}}"))
        else {
            let advice = "put it into a file that a test runs, and {{#include it}}";
            return Err(format!("{}: {advice}", self.language));
        };
        let page = root().join(&self.page);
        // A part of the file may be named behind a colon.
        let file = page.parent().unwrap().join(path.split(':').next().unwrap());
        match file.exists() {
            true => Ok(()),
            false => Err(format!("there is no file {path}")),
        }
    }
}

/// Loads it as the service would.
fn configuration(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bugle.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), [], &[])
        .map(|_| ())
        .map_err(|error| error.to_string())
}
