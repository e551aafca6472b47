//! The tables of requirements of each document.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;

/// The tables in the order of the page.
const TABLES: [&str; 6] = [
    "rfc8030",
    "rfc8292",
    "rfc8291",
    "websocket",
    "unifiedpush",
    "push_api",
];

/// One document with its clauses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub title: String,
    pub clauses: Vec<Clause>,
}

/// A requirement of a document, or our choice where the text is open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// An id such as `8030-5.2-j`, with which test names begin.
    pub id: String,
    /// The section of the document.
    pub clause: String,
    /// The level: MUST, SHOULD etc., DEF for behaviour stated without such a word, "choice" for
    /// ours.
    pub level: String,
    /// The requirement.
    pub says: String,
    /// Why no black-box test can show it.
    pub why: Option<String>,
}

impl Document {
    /// Reads all tables and asserts that ids are unique.
    pub fn all() -> Vec<Self> {
        let documents: Vec<Self> = TABLES.iter().map(|name| Self::read(name)).collect();
        let mut ids = BTreeSet::new();
        for clause in documents.iter().flat_map(|document| &document.clauses) {
            assert!(ids.insert(&clause.id), "{} stands there twice", clause.id);
        }
        documents
    }

    fn read(name: &str) -> Self {
        let path = format!("tests/conformance/{name}.toml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}
