//! Checks that the tests named in the threat model of `docs/security.md` exist.

use std::path::Path;

#[test]
fn every_test_in_the_threat_model_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let page = read("docs/security.md");
    let mut named = 0;
    for (file, test) in page.split('`').filter_map(|code| code.split_once("::")) {
        let tests = ["tests/it", "loadtest/tests"];
        let tests = tests
            .map(|folder| read(&format!("{folder}/{file}.rs")))
            .concat();
        let is_there = tests.contains(&format!("fn {test}("));
        // The page itself explains names as `file::test`.
        assert!(is_there || test == "test", "{file}::{test} is no test");
        named += usize::from(is_there);
    }
    assert!(named > 30, "only {named} tests are named");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    for row in rows.take_while(|row| !row.contains("executions")).skip(1) {
        let shown = row.rsplit('|').nth(1).unwrap();
        assert!(shown.contains('`') || shown.contains("below"), "{row}");
    }
}
