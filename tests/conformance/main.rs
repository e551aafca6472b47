//! Compares a run of the black-box tests with the tables of clauses: every clause needs a test
//! with its id or a reason why it has none, and `docs/conformance.md` must list them. `./test
//! conformance` makes the run.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail")]

mod clauses;
mod names;
mod page;
mod results;

use std::fs;

use clauses::Document;
use names::Names;
use results::Results;

/// The file with the output of the run.
const RUN: &str = "target/conformance.txt";
const PAGE: &str = "docs/conformance.md";

#[test]
fn every_clause_has_a_test_or_a_reason() {
    let run = fs::read_to_string(RUN).unwrap_or_else(|error| {
        panic!("{RUN}: {error}; it comes from a run of the tests: use `./test conformance`")
    });
    let documents = Document::all();
    let names = Names::of(&documents);
    let results = Results::of(&run, &names);
    let mut faults = results.faults.clone();
    faults.extend(
        documents
            .iter()
            .flat_map(|document| results.missing(document)),
    );

    let page = page::write(&documents, &results);
    if std::env::var_os("BUGLE_BLESS").is_some() {
        fs::write(PAGE, page).unwrap();
    } else if fs::read_to_string(PAGE).unwrap_or_default() != page {
        faults.push(format!(
            "{PAGE} is not what this run shows: BUGLE_BLESS=1 ./test conformance writes it anew"
        ));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
