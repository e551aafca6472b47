//! Generates `docs/conformance.md`.

use crate::clauses::{Clause, Document};
use crate::results::Results;

/// The page without a date, so that it changes only with its contents.
pub fn write(documents: &[Document], results: &Results) -> String {
    let clauses: Vec<&Clause> = documents
        .iter()
        .flat_map(|document| &document.clauses)
        .collect();
    let shown = clauses
        .iter()
        .filter(|clause| !results.of_clause(clause).is_empty())
        .count();
    let reasons = clauses.iter().filter(|clause| clause.why.is_some()).count();
    let mut page = format!(
        "# Conformance\n\n\
         `./test conformance` writes and checks this page; the tables behind it are\n\
         `tests/conformance/*.toml`. Each clause has black-box tests in `tests/it` that are named after\n\
         it and passed, or the reason why a test from outside does not apply. They run under the strict\n\
         profile, once over HTTP/1.1 and once over HTTP/2; a test of a tolerance, or of 410, sets the\n\
         lenient profile. DEF is behaviour that a text states without MUST or SHOULD, \"choice\" is ours\n\
         where it leaves something open.\n\n\
         {} clauses: {shown} shown by tests, {reasons} with a reason",
        clauses.len()
    );
    match clauses.len() - shown - reasons {
        0 => page.push_str(".\n"),
        missing => page.push_str(&format!(", {missing} missing.\n")),
    }
    for document in documents {
        page.push_str(&table(document, results));
    }
    page
}

fn table(document: &Document, results: &Results) -> String {
    let mut table = format!(
        "\n## {}\n\n| id | clause | level | what | result |\n|---|---|---|---|---|\n",
        document.title
    );
    for clause in &document.clauses {
        let Clause {
            id, level, says, ..
        } = clause;
        let result = result(clause, &results.of_clause(clause));
        table.push_str(&format!(
            "| {id} | {} | {level} | {says} | {result} |\n",
            clause.clause
        ));
    }
    table
}

fn result(clause: &Clause, tests: &[&str]) -> String {
    match &clause.why {
        _ if !tests.is_empty() => format!("pass: `{}`", tests.join("`, `")),
        Some(why) => why.clone(),
        None => "MISSING".to_owned(),
    }
}
