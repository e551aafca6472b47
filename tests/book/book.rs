//! Every command and every configuration in the documents is run or parsed:
//! here by the programs' own parsers. What needs a running service is run by
//! `tests/real_clients` and `tests/newcomer`, which take it out of the
//! documents too.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod block;
mod pages;
mod shell;

use std::collections::BTreeSet;

use block::Block;

/// Fails with all that is wrong at once, so that one run shows it.
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_block_of_code_is_what_it_says() {
    let pages = pages::all();
    let blocks: Vec<Block> = pages.iter().flat_map(block::of).collect();
    assert!(blocks.len() > 10, "the pages were not found");
    let problems: Vec<String> = blocks
        .iter()
        .filter_map(|block| Some(format!("{}: {}", block.place(), block.check().err()?)))
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
fn every_link_inside_the_project_leads_somewhere() {
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
