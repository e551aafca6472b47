//! The findings: line by line for people, or as one JSON object.

use std::env;
use std::io::{self, IsTerminal};

use serde_json::{Map, Value, json};

use crate::cli::{AlreadyReported, Failure, print};

/// Maximum length of a line in characters: parts of it come from the peer.
const LONGEST_LINE: usize = 400;

/// The checks, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Dns,
    Connect,
    Certificate,
    Http,
    Version,
    Clock,
    WebSocket,
    Endpoint,
    Push,
    PushNow,
    Idle,
    Chromium,
    FileHandles,
    Disk,
    Data,
    Space,
    WallClock,
}

impl Check {
    /// Checks through the public URL.
    pub(super) const OUTSIDE: [Self; 11] = [
        Self::Dns,
        Self::Connect,
        Self::Certificate,
        Self::Http,
        Self::Version,
        Self::Clock,
        Self::WebSocket,
        Self::Endpoint,
        Self::Push,
        Self::PushNow,
        Self::Idle,
    ];

    /// Checks on the machine of the service.
    pub(super) const HERE: [Self; 5] = [
        Self::FileHandles,
        Self::Disk,
        Self::Data,
        Self::Space,
        Self::WallClock,
    ];

    /// The name in both forms of the report. It is stable.
    fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Certificate => "certificate",
            Self::Http => "http",
            Self::Version => "version",
            Self::Clock => "clock",
            Self::WebSocket => "websocket",
            Self::Endpoint => "endpoint",
            Self::Push => "push",
            Self::PushNow => "push-ttl-0",
            Self::Idle => "idle",
            Self::Chromium => "chromium",
            Self::FileHandles => "file-handles",
            Self::Disk => "disk",
            Self::Data => "data",
            Self::Space => "space",
            Self::WallClock => "wall-clock",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Warn,
    Fail,
    Skip,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }

    /// The ANSI colour: green, yellow, red, faint.
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Warn => "33",
            Self::Fail => "31",
            Self::Skip => "2",
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    status: Status,
    text: String,
    mend: Option<String>,
    values: Map<String, Value>,
}

impl Finding {
    /// The check passed.
    pub(super) fn ok(text: impl AsRef<str>) -> Self {
        Self::new(Status::Ok, text.as_ref(), None)
    }

    /// It works but needs attention; `mend` says how to fix it.
    pub(super) fn warn(text: impl AsRef<str>, mend: impl AsRef<str>) -> Self {
        Self::new(Status::Warn, text.as_ref(), Some(mend.as_ref()))
    }

    /// It does not work; `mend` says how to fix it.
    pub(super) fn fail(text: impl AsRef<str>, mend: impl AsRef<str>) -> Self {
        Self::new(Status::Fail, text.as_ref(), Some(mend.as_ref()))
    }

    /// The check was skipped.
    pub(super) fn skip(why: impl AsRef<str>) -> Self {
        Self::new(Status::Skip, why.as_ref(), None)
    }

    /// Adds a value to the JSON report.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn is_fail(&self) -> bool {
        self.status == Status::Fail
    }

    fn new(status: Status, text: &str, mend: Option<&str>) -> Self {
        Self {
            status,
            text: one_line(text),
            mend: mend.map(one_line),
            values: Map::new(),
        }
    }
}

/// The result of a check with the input of the next ones, or a failure that skips them.
pub(super) type Outcome<T> = Result<(Finding, T), Finding>;

/// Replaces control characters and truncates: parts of the text come from the peer.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_LINE).map(shown).collect()
}

/// The findings so far.
pub(super) struct Report {
    findings: Vec<(Check, Finding)>,
    is_json: bool,
    is_coloured: bool,
    /// The error of writing to standard output, if any.
    written: io::Result<()>,
}

impl Report {
    pub(super) fn new(is_json: bool) -> Self {
        // https://no-color.org: any value but the empty one.
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            findings: Vec::new(),
            is_json,
            is_coloured: io::stdout().is_terminal() && !plain,
            written: Ok(()),
        }
    }

    /// Adds the finding, and returns the input of the next checks.
    pub(super) fn take<T>(&mut self, check: Check, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Ok((finding, more)) => {
                self.add(check, finding);
                Some(more)
            }
            Err(finding) => {
                self.add(check, finding);
                None
            }
        }
    }

    pub(super) fn add(&mut self, check: Check, finding: Finding) {
        if !self.is_json {
            self.print_line(&self.line(check, &finding));
        }
        self.findings.push((check, finding));
    }

    /// Skips those of `checks` that have not run, in one line for people.
    pub(super) fn skip(&mut self, checks: &[Check], why: &str) {
        let is_made = |check: &Check| self.findings.iter().any(|(made, _)| *made == *check);
        let left: Vec<_> = checks.iter().filter(|check| !is_made(check)).collect();
        if left.is_empty() {
            return;
        }
        if !self.is_json {
            let names: Vec<_> = left.iter().map(|check| check.name()).collect();
            let status = self.status(Status::Skip);
            self.print_line(&format!("{status}  {}: {why}", names.join(", ")));
        }
        let skipped = left.into_iter().map(|check| (*check, Finding::skip(why)));
        self.findings.extend(skipped.collect::<Vec<_>>());
    }

    /// Prints a heading or a remark in the text report.
    pub(super) fn head(&mut self, line: &str) {
        if !self.is_json {
            self.print_line(line);
        }
    }

    /// Ends the report.
    ///
    /// # Errors
    /// [`AlreadyReported`] if a check failed.
    pub(super) fn end(mut self, url: &str) -> Result<(), Failure> {
        let count = |status| {
            let findings = self.findings.iter();
            findings.filter(|(_, found)| found.status == status).count()
        };
        let (fail, warn, ok, skip) = (
            count(Status::Fail),
            count(Status::Warn),
            count(Status::Ok),
            count(Status::Skip),
        );
        let text = if self.is_json {
            self.json(url)
        } else {
            format!("\n{ok} ok, {warn} warn, {fail} fail, {skip} skip")
        };
        self.print_line(&text);
        self.written?;
        if fail > 0 {
            Err(AlreadyReported.into())
        } else {
            Ok(())
        }
    }

    fn json(&self, url: &str) -> String {
        let checks = self.findings.iter().map(|(check, found)| {
            json!({
                "name": check.name(),
                "status": found.status.name(),
                "message": found.text,
                "mend": found.mend,
                "values": found.values,
            })
        });
        let worst = [Status::Fail, Status::Warn].into_iter().find(|status| {
            let mut findings = self.findings.iter();
            findings.any(|(_, found)| found.status == *status)
        });
        let report = json!({
            "url": url,
            "version": env!("CARGO_PKG_VERSION"),
            "status": worst.unwrap_or(Status::Ok).name(),
            "checks": checks.collect::<Vec<_>>(),
        });
        format!("{report:#}")
    }

    fn line(&self, check: Check, found: &Finding) -> String {
        let (status, name) = (self.status(found.status), check.name());
        let mut line = format!("{status}  {name:12}  {}", found.text);
        if let Some(mend) = &found.mend {
            line += &format!("\n      {:12}  -> {mend}", "");
        }
        line
    }

    fn status(&self, status: Status) -> String {
        match self.is_coloured {
            true => format!("\x1b[{}m{:4}\x1b[0m", status.colour(), status.name()),
            false => format!("{:4}", status.name()),
        }
    }

    fn print_line(&mut self, text: &str) {
        if self.written.is_ok() {
            self.written = print(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_status_and_the_remedy() {
        let report = Report::new(true);
        let found = Finding::fail("bad\u{1b}[2J\nthing", "set server.public_url");
        let line = report.line(Check::Dns, &found);
        assert_eq!(
            line,
            "fail  dns           bad [2J thing\n                    -> set server.public_url"
        );
        let line = report.line(Check::FileHandles, &Finding::ok("x".repeat(1000)));
        assert_eq!(line.len(), "ok    file-handles  ".len() + LONGEST_LINE);
    }

    #[test]
    fn the_json_names_the_worst_status() {
        let mut report = Report::new(true);
        report.add(Check::Dns, Finding::ok("a").with("n", 1));
        report.add(Check::Connect, Finding::warn("b", "c"));
        report.skip(&[Check::Dns, Check::Http], "d");
        let json: Value = report.json("u").parse().unwrap_or_default();
        assert_eq!(
            (&json["url"], &json["status"]),
            (&"u".into(), &"warn".into())
        );
        let names = json["checks"].as_array().into_iter().flatten();
        let names: Vec<_> = names.map(|check| check["name"].clone()).collect();
        assert_eq!(names, ["dns", "connect", "http"]);
        assert_eq!(json["checks"][0]["values"]["n"], 1);
        assert!(report.end("u").is_ok());
        let mut report = Report::new(true);
        report.add(Check::Dns, Finding::fail("a", "b"));
        assert!(
            report
                .end("u")
                .is_err_and(|failure| failure.is::<AlreadyReported>())
        );
    }
}
