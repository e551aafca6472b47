//! The pages: README.md and other files in the root, and those in `docs/`.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// One document.
pub struct Page {
    /// The path relative to the root of the project.
    pub path: String,
    /// The text in Markdown.
    pub text: String,
}

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads the page at a path relative to the root of the project.
///
/// # Panics
/// When the page cannot be read.
pub fn read(path: &str) -> Page {
    let text = fs::read_to_string(root().join(path));
    Page {
        path: path.to_owned(),
        text: text.unwrap_or_else(|error| panic!("{path}: {error}")),
    }
}

/// All pages for users.
///
/// # Panics
/// When a page cannot be read.
pub fn all() -> Vec<Page> {
    let mut paths = vec![
        "README.md".into(),
        "CONTRIBUTING.md".into(),
        "CHANGELOG.md".into(),
    ];
    for optional in ["SECURITY.md", "loadtest/README.md"] {
        if root().join(optional).exists() {
            paths.push(optional.to_owned());
        }
    }
    collect("docs", &mut paths);
    paths.iter().map(|path| read(path)).collect()
}

fn collect(folder: &str, paths: &mut Vec<String>) {
    let entries = fs::read_dir(root().join(folder));
    let entries = entries.unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "node_modules" && name != "target")
        .collect();
    names.sort();
    for name in names {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            collect(&path, paths);
        } else if name.ends_with(".md") {
            paths.push(path);
        }
    }
}

/// The targets of the links and images in a text.
pub fn links(text: &str) -> impl Iterator<Item = String> {
    Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    })
}

/// The texts in `*…*`: in a manual, the names of buttons and headings.
pub fn emphasised(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_inside = false;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Emphasis) => is_inside = true,
            Event::End(TagEnd::Emphasis) => is_inside = false,
            Event::Text(word) if is_inside => words.push(word.into_string()),
            _ => {}
        }
    }
    words
}

/// A page with one section: from its heading to the next one of the same level.
///
/// # Panics
/// When the heading does not exist.
pub fn section(page: &Page, heading: &str) -> Page {
    let (level, _) = heading.split_once(' ').unwrap_or((heading, ""));
    let rest = page.text.split_once(&format!("\n{heading}\n"));
    let (_, rest) = rest.unwrap_or_else(|| panic!("{} has no {heading:?}", page.path));
    let end = rest.find(&format!("\n{level} ")).unwrap_or(rest.len());
    Page {
        path: page.path.clone(),
        text: rest[..end].to_owned(),
    }
}

impl Page {
    /// Whether a link is external or leads to an existing file.
    pub fn leads_to(&self, link: &str) -> bool {
        let path = link.split('#').next().unwrap_or_default();
        if link.contains("://") || link.starts_with("mailto:") || path.is_empty() {
            return true;
        }
        let page = root().join(&self.path);
        page.parent()
            .is_some_and(|folder| folder.join(path).exists())
    }
}
