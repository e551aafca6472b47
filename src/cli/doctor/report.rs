//! What was found, for people line by line, for scripts as one JSON object.

use std::env;
use std::io::{self, IsTerminal};

use serde_json::{Map, Value, json};

use crate::cli::{Failure, Told, print};

/// No text of a peer makes a line longer, in characters.
const LONGEST_LINE: usize = 400;

/// What is looked at, in the order of the report.
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
    FileHandles,
    Disk,
    Data,
    Space,
    WallClock,
}

impl Check {
    /// Through the public URL.
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

    /// On the machine of the service.
    pub(super) const HERE: [Self; 5] = [
        Self::FileHandles,
        Self::Disk,
        Self::Data,
        Self::Space,
        Self::WallClock,
    ];

    /// Its name in both forms of the report; never changes.
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

    /// SGR of a terminal: green, yellow, red, faint.
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Warn => "33",
            Self::Fail => "31",
            Self::Skip => "2",
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    status: Status,
    says: String,
    mend: Option<String>,
    values: Map<String, Value>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(says: impl AsRef<str>) -> Self {
        Self::new(Status::Ok, says.as_ref(), None)
    }

    /// It works, and somebody should look at it.
    pub(super) fn warn(says: impl AsRef<str>, mend: impl AsRef<str>) -> Self {
        Self::new(Status::Warn, says.as_ref(), Some(mend.as_ref()))
    }

    /// It does not work; what mends it.
    pub(super) fn fail(says: impl AsRef<str>, mend: impl AsRef<str>) -> Self {
        Self::new(Status::Fail, says.as_ref(), Some(mend.as_ref()))
    }

    /// It was not looked at.
    pub(super) fn skip(why: impl AsRef<str>) -> Self {
        Self::new(Status::Skip, why.as_ref(), None)
    }

    /// Adds a figure for scripts.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn is_fail(&self) -> bool {
        self.status == Status::Fail
    }

    fn new(status: Status, says: &str, mend: Option<&str>) -> Self {
        Self {
            status,
            says: one_line(says),
            mend: mend.map(one_line),
            values: Map::new(),
        }
    }
}

/// What a check found, with what the next ones need of it; or why there is no
/// next one.
pub(super) type Looked<T> = Result<(Finding, T), Finding>;

/// A text as one line without control characters: parts of it are a peer's.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_LINE).map(shown).collect()
}

/// What was found so far.
pub(super) struct Report {
    findings: Vec<(Check, Finding)>,
    is_json: bool,
    is_coloured: bool,
    /// Why standard output cannot be written.
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

    /// Adds a finding, and what the next checks need.
    pub(super) fn take<T>(&mut self, check: Check, looked: Looked<T>) -> Option<T> {
        match looked {
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
            self.say(&self.line(check, &finding));
        }
        self.findings.push((check, finding));
    }

    /// Says of those of `checks` that were not made why; for people, in one
    /// line.
    pub(super) fn skip(&mut self, checks: &[Check], why: &str) {
        let is_made = |check: &Check| self.findings.iter().any(|(made, _)| *made == *check);
        let left: Vec<_> = checks.iter().filter(|check| !is_made(check)).collect();
        if left.is_empty() {
            return;
        }
        if !self.is_json {
            let names: Vec<_> = left.iter().map(|check| check.name()).collect();
            let status = self.status(Status::Skip);
            self.say(&format!("{status}  {}: {why}", names.join(", ")));
        }
        let skipped = left.into_iter().map(|check| (*check, Finding::skip(why)));
        self.findings.extend(skipped.collect::<Vec<_>>());
    }

    /// What it is about, or a remark; not for scripts.
    pub(super) fn head(&mut self, line: &str) {
        if !self.is_json {
            self.say(line);
        }
    }

    /// The end of the report.
    ///
    /// # Errors
    /// [`Told`] when something is wrong.
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
            format!("\n{ok} fine, {warn} to look at, {fail} wrong, {skip} not looked at")
        };
        self.say(&text);
        self.written?;
        if fail > 0 { Err(Told.into()) } else { Ok(()) }
    }

    fn json(&self, url: &str) -> String {
        let checks = self.findings.iter().map(|(check, found)| {
            json!({
                "name": check.name(),
                "status": found.status.name(),
                "message": found.says,
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
        let mut line = format!("{status}  {name:12}  {}", found.says);
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

    fn say(&mut self, text: &str) {
        if self.written.is_ok() {
            self.written = print(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_the_status_and_what_mends_it() {
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
    fn the_json_tells_the_worst() {
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
        assert!(report.end("u").is_err_and(|failure| failure.is::<Told>()));
    }
}
