//! The tables: what each document asks.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;

/// The tables, in the order of the page.
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

/// One thing that is asked of somebody, or chosen by us where the text is open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// Such as `8030-5.2-j`; tests are named after it.
    pub id: String,
    /// Where it stands in the document.
    pub clause: String,
    /// MUST and its like, DEF for behaviour stated without such a word, "choice"
    /// for ours.
    pub level: String,
    /// What is asked.
    pub says: String,
    /// Why no test from outside applies.
    pub why: Option<String>,
}

impl Document {
    /// All of them, checked: an id stands for one clause.
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
