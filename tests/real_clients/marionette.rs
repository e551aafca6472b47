//! A client of Marionette, the remote control built into Firefox.
//!
//! Frames are `LENGTH:JSON`. A command is `[0, id, name, parameters]`, its response `[1, id,
//! error, result]`. After connecting, Firefox sends first.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than every timeout of a command inside Firefox.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of a frame; results of scripts are far smaller.
const MAX_FRAME: usize = 1 << 20;

/// The context of a script.
#[derive(Clone, Copy)]
pub(crate) enum Context {
    /// In the page of the current tab.
    Content,
    /// In the browser itself.
    Chrome,
}

/// A session with one Firefox.
pub(crate) struct Marionette {
    stream: BufReader<TcpStream>,
    last_id: u64,
}

impl Marionette {
    /// Opens a session with the Firefox that listens on this port.
    pub(crate) fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .and_then(|stream| {
                stream
                    .set_read_timeout(Some(ANSWER_TIMEOUT))
                    .map(|()| stream)
            })
            .map_err(|error| format!("no Marionette on port {port}: {error}"))?;
        let mut marionette = Self {
            stream: BufReader::new(stream),
            last_id: 0,
        };
        marionette.read_frame()?;
        marionette.command("WebDriver:NewSession", &json!({}))?;
        marionette.command("WebDriver:SetTimeouts", &json!({ "script": 40_000 }))?;
        Ok(marionette)
    }

    /// Sends a command and waits for its result.
    pub(crate) fn command(&mut self, name: &str, parameters: &Value) -> Result<Value, String> {
        self.last_id += 1;
        let body = json!([0, self.last_id, name, parameters]).to_string();
        self.stream
            .get_mut()
            .write_all(format!("{}:{body}", body.len()).as_bytes())
            .map_err(|error| format!("{name} could not be sent: {error}"))?;
        let mut answer = self
            .read_frame()
            .map_err(|error| format!("{name}: {error}"))?;
        if answer[1] != self.last_id {
            return Err(format!(
                "{name}: the answer is to another command: {answer}"
            ));
        }
        match answer[2].take() {
            Value::Null => Ok(answer[3].take()),
            error => Err(format!("{name}: {}: {}", error["error"], error["message"])),
        }
    }

    /// Opens a page in the current tab and waits until it is loaded.
    pub(crate) fn navigate(&mut self, url: &str) -> Result<(), String> {
        self.enter(Context::Content)?;
        self.command("WebDriver:Navigate", &json!({ "url": url }))
            .map(drop)
    }

    /// Clicks on the element of the page that a CSS selector matches.
    pub(crate) fn click(&mut self, selector: &str) -> Result<(), String> {
        self.enter(Context::Content)?;
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.command("WebDriver:FindElement", &query)?;
        let id = found["value"]
            .as_object()
            .and_then(|reference| reference.values().next())
            .ok_or("Firefox names no element")?;
        self.command("WebDriver:ElementClick", &json!({ "id": id }))
            .map(drop)
    }

    /// Runs the body of an async function and returns its result.
    pub(crate) fn run(
        &mut self,
        context: Context,
        body: &str,
        arguments: &Value,
    ) -> Result<Value, String> {
        self.enter(context)?;
        let script = format!("return (async (...arguments) => {{ {body} }})(...arguments);");
        let parameters = json!({ "script": script, "args": arguments });
        Ok(self.command("WebDriver:ExecuteScript", &parameters)?["value"].take())
    }

    fn enter(&mut self, context: Context) -> Result<(), String> {
        let value = match context {
            Context::Content => "content",
            Context::Chrome => "chrome",
        };
        self.command("Marionette:SetContext", &json!({ "value": value }))
            .map(drop)
    }

    fn read_frame(&mut self) -> Result<Value, String> {
        let mut length = Vec::new();
        (&mut self.stream)
            .take(8)
            .read_until(b':', &mut length)
            .map_err(|error| format!("no answer from Firefox: {error}"))?;
        let length = std::str::from_utf8(&length)
            .ok()
            .and_then(|text| text.strip_suffix(':')?.parse::<usize>().ok())
            .filter(|length| *length <= MAX_FRAME)
            .ok_or("Firefox closed the session or sent a broken frame")?;
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .map_err(|error| format!("the answer breaks off: {error}"))?;
        serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"))
    }
}
