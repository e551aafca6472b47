//! The results of a test run by clause.

use std::collections::{BTreeMap, BTreeSet};

use crate::clauses::{Clause, Document};
use crate::names::Names;

/// The tests that passed for each clause.
#[derive(Default)]
pub struct Results {
    passed: BTreeMap<String, BTreeSet<String>>,
    /// Problems of the run itself.
    pub faults: Vec<String>,
}

impl Results {
    /// Parses the output of `cargo test`.
    pub fn of(run: &str, names: &Names) -> Self {
        let mut results = Self::default();
        for line in run.lines() {
            let test = line.strip_prefix("test ");
            if let Some((test, outcome)) = test.and_then(|test| test.split_once(" ... ")) {
                results.add(test, outcome, names);
            }
        }
        results
    }

    fn add(&mut self, test: &str, outcome: &str, names: &Names) {
        let ids = names.shown_by(test).unwrap_or_else(|fault| {
            self.faults.push(fault);
            Vec::new()
        });
        if outcome != "ok" {
            self.faults.push(format!("{test}: {outcome}"));
            return;
        }
        for id in ids {
            let tests = self.passed.entry(id.to_owned()).or_default();
            tests.insert(test.to_owned());
        }
    }

    /// The tests that passed for a clause, in alphabetical order.
    pub fn of_clause(&self, clause: &Clause) -> Vec<&str> {
        let tests = self.passed.get(&clause.id).into_iter().flatten();
        tests.map(String::as_str).collect()
    }

    /// The clauses of a document with neither test nor reason, or with both.
    pub fn missing(&self, document: &Document) -> Vec<String> {
        let fault = |clause: &Clause| match (&clause.why, self.of_clause(clause).first()) {
            (None, None) => Some(format!(
                "{}: no test is named after it, and no reason says why",
                clause.id
            )),
            (Some(_), Some(test)) => Some(format!(
                "{}: {test} shows it, so the reason why nothing could is to go",
                clause.id
            )),
            _ => None,
        };
        document.clauses.iter().filter_map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_parsed_line_by_line() {
        let documents = Document::all();
        let run = "running 3 tests\n\
                   test push::rfc8030_5_a_rfc8030_5_b_taken ... ok\n\
                   test push::rfc8030_3_b_port ... ok\n\
                   test push::ws_p_1_answered ... FAILED\n\
                   test result: FAILED. 2 passed; 1 failed\n";
        let results = Results::of(run, &Names::of(&documents));
        assert_eq!(results.faults, ["push::ws_p_1_answered: FAILED"]);
        let missing = results.missing(&documents[0]);
        let about = |id: &str| missing.iter().any(|fault| fault.starts_with(id));
        assert!(!about("8030-5-a:") && !about("8030-5-b:"));
        assert!(about("8030-5-c:"), "no test");
        assert!(about("8030-3-b:"), "a test beside a reason");
        assert!(!about("8030-3-c:"), "a reason");
    }
}
