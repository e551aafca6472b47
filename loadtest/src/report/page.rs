//! The layout of the page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::{DrawError, Plot};
use super::{Named, Results, STYLE, table};
use crate::outcome::Outcome;
use crate::soak::SoakOutcome;

/// The style of the page itself.
const PAGE_STYLE: &str = include_str!("page.css");

/// Renders all results.
///
/// # Errors
/// When a plot cannot be drawn.
pub(super) fn page(results: &Results) -> Result<String, DrawError> {
    let names: Vec<_> = results
        .scenarios
        .iter()
        .map(|result| &result.name)
        .chain(results.soaks.iter().map(|result| &result.name))
        .map(String::as_str)
        .collect();
    let figures = results.plots();
    let figures: Vec<_> = figures.iter().map(Plot::figure).collect::<Result<_, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Load report: " (names.join(", ")) }
                style { (PreEscaped(STYLE)) (PreEscaped(PAGE_STYLE)) }
            }
            body {
                h1 { "Load report" }
                @for result in &results.scenarios { (scenario(result)) }
                @for result in &results.soaks { (soak(result)) }
                @if !results.scenarios.is_empty() {
                    h2 { "Figures" }
                    (table::figures(&results.scenarios))
                }
                h2 { "Curves" }
                div.plots {
                    @for figure in &figures { (figure) }
                }
                @if !results.scenarios.is_empty() {
                    h2 { "What became of the messages" }
                    (table::ledger(&results.scenarios))
                    h2 { "Settings" }
                    (table::settings(&results.scenarios))
                }
            }
        }
    };
    Ok(page.into_string())
}

fn scenario(result: &Named<Outcome>) -> Markup {
    let outcome = &result.result;
    html! {
        p {
            (verdict(outcome.passed)) " " (result.name) ", " (outcome.scenario) ", "
            (started(outcome.started_at)) " UTC " code { (outcome.command.join(" ")) }
        }
        (faults(&outcome.faults))
    }
}

fn soak(result: &Named<SoakOutcome>) -> Markup {
    let outcome = &result.result;
    html! {
        p {
            (verdict(outcome.passed)) " " (result.name) ", soak: " (outcome.lives)
            " subscriptions came and went, " (outcome.messages.accepted) " messages"
        }
        (faults(&outcome.faults))
        ul.checks {
            @for check in &outcome.checks { li { (check) } }
        }
    }
}

fn verdict(passed: bool) -> Markup {
    html! {
        @if passed { span.passed { "passed" } } @else { span.failed { "FAILED" } }
    }
}

fn faults(faults: &[String]) -> Markup {
    html! {
        @if !faults.is_empty() {
            ul.faults { @for fault in faults { li { (fault) } } }
        }
    }
}

/// Formats a time in seconds since 1970.
fn started(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .trim_end_matches('Z')
        .replace('T', " ")
}
