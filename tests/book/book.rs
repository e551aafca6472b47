//! Checks every command and configuration in the documents with the programs' own parsers.
//! `tests/real_clients` and `tests/newcomer` execute those that need a running service; they
//! read the same documents.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod check;
mod shell;

use std::collections::BTreeSet;

use bugle_book::block::{self, Block};
use bugle_book::pages;

/// Fails with all problems at once, so that one run shows them.
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_block_of_code_is_valid_in_its_language() {
    let pages = pages::all();
    let blocks: Vec<Block> = pages.iter().flat_map(block::of).collect();
    assert!(blocks.len() > 10, "the pages were not found");
    let problems: Vec<String> = blocks
        .iter()
        .filter_map(|block| Some(format!("{}: {}", block.place(), check::check(block).err()?)))
        .collect();
    report(&problems);
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = pages::read("docs/SUMMARY.md");
    let listed: BTreeSet<String> = pages::links(&summary.text).collect();
    let missing = pages::all()
        .into_iter()
        .filter_map(|page| Some(page.path.strip_prefix("docs/")?.to_owned()))
        .filter(|path| path != "SUMMARY.md" && !listed.contains(path))
        .map(|path| format!("docs/{path} is not in docs/SUMMARY.md"));
    report(&missing.collect::<Vec<_>>());
}

#[test]
fn every_link_inside_the_project_has_a_target() {
    let broken = pages::all().into_iter().flat_map(|page| {
        let links: Vec<String> = pages::links(&page.text).collect();
        links
            .into_iter()
            .filter(|link| !page.leads_to(link))
            .map(|link| format!("{}: {link}", page.path))
            .collect::<Vec<_>>()
    });
    report(&broken.collect::<Vec<_>>());
}

/// The README repeats a part of the quick start.
#[test]
fn readme_and_quick_start_agree() {
    let readme = pages::read("README.md");
    let start = pages::section(&readme, "## A push in five minutes");
    let quick_start = pages::read("docs/quick-start.md");
    let known: Vec<String> = block::of(&quick_start)
        .into_iter()
        .map(|block| block.text)
        .collect();
    let commands = block::of(&start);
    assert!(commands.len() > 5, "the start was not found");
    let other = commands
        .iter()
        .filter(|block| !known.contains(&block.text))
        .map(|block| format!("{}: docs/quick-start.md has it not", block.place()));
    let preferences = start.text.lines().filter(|line| line.starts_with("| `"));
    let missing = preferences
        .filter(|row| !quick_start.text.contains(row))
        .map(|row| format!("docs/quick-start.md has not {row}"));
    report(&other.chain(missing).collect::<Vec<_>>());
}
