//! `bugle-load report`: renders one or several results as a self-contained HTML page.

mod axis;
mod page;
mod plot;
mod plots;
mod table;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use self::plot::{DrawError, Plot};
use crate::outcome::{FORMAT, Outcome};
use crate::soak::SoakOutcome;

/// The style of plots, on the page and in files.
const STYLE: &str = include_str!("style.css");

/// Settings of `report`.
#[derive(Clone, Debug, Args)]
pub struct Report {
    /// Results written by --out
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to write the page
    #[arg(long, short, default_value = "report.html", value_name = "FILE")]
    pub out: PathBuf,
    /// Also write each plot as an SVG file into this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A file is not a result.
    #[error("{} is no result of bugle-load: {problem}", path.display())]
    Form {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A plot cannot be drawn.
    #[error("a plot of the report cannot be drawn: {0}")]
    Plot(#[from] DrawError),
}

/// A result with its name on the page.
struct Named<T> {
    name: String,
    result: T,
}

/// All given results.
#[derive(Default)]
struct Results {
    scenarios: Vec<Named<Outcome>>,
    soaks: Vec<Named<SoakOutcome>>,
}

/// Writes the page. Returns a text that says where it is.
///
/// # Errors
/// When a file cannot be read or written or is not a result, and when a plot cannot be
/// drawn.
pub fn write(report: &Report) -> Result<String, ReportError> {
    let results = Results::read(&report.files)?;
    save(&report.out, &page::page(&results)?)?;
    let mut message = format!("the report is in {}", report.out.display());
    if let Some(folder) = &report.plots {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let plots = results.plots();
        for plot in &plots {
            save(&folder.join(file_name(plot)), &plot.file(STYLE)?)?;
        }
        message += &format!(", its {} plots in {}", plots.len(), folder.display());
    }
    Ok(message)
}

impl Results {
    fn read(paths: &[PathBuf]) -> Result<Self, ReportError> {
        let mut results = Self::default();
        for path in paths {
            results.add(path)?;
        }
        Ok(results)
    }

    fn add(&mut self, path: &Path) -> Result<(), ReportError> {
        let text = std::fs::read_to_string(path).map_err(failed(path))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.into_owned();
        let unusable = |problem: String| ReportError::Form {
            path: path.to_owned(),
            problem,
        };
        // A soak names itself as its scenario.
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        if value["scenario"] == crate::soak::NAME {
            let result = serde_json::from_value(value);
            let result = result.map_err(|error| unusable(error.to_string()))?;
            self.soaks.push(Named { name, result });
            return Ok(());
        }
        let result: Outcome =
            serde_json::from_value(value).map_err(|error| unusable(error.to_string()))?;
        if result.format != FORMAT {
            let form = result.format;
            let problem = format!("it is of form {form}, and this program reads form {FORMAT}");
            return Err(unusable(problem));
        }
        self.scenarios.push(Named { name, result });
        Ok(())
    }

    fn plots(&self) -> Vec<Plot> {
        let mut plots = plots::of_scenarios(&self.scenarios);
        plots.extend(plots::of_soaks(&self.soaks));
        plots.retain(|plot| !plot.is_empty());
        plots
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ReportError {
    move |error| ReportError::File {
        path: path.to_owned(),
        error,
    }
}

fn save(path: &Path, text: &str) -> Result<(), ReportError> {
    std::fs::write(path, text).map_err(failed(path))
}

/// The file name of a plot: its title in lower case, with hyphens.
fn file_name(plot: &Plot) -> String {
    let words = plot
        .title
        .split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase() + ".svg"
}

#[cfg(test)]
mod tests;
