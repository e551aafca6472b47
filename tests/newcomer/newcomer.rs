//! A newcomer in a clean Debian: executes the commands of the quick start and the README
//! literally, and receives one push on the page *Try it* in Chromium and one in Firefox.
//!
//! `./test newcomer` runs this through `tests/newcomer/root`, which creates the Debian. The
//! browsers are those of this machine and reach the programs in the Debian over loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

mod browsers;
#[path = "../real_clients/marionette.rs"]
mod marionette;
mod terminal;

use bugle_book::block::{self, Block};
use bugle_book::pages::{self, Page};
use bugle_launch::Process;

use browsers::Firefox;
use terminal::Terminal;

/// Commands that need the internet, with their replacements.
const STAND_INS: &[(&str, &str)] = &[(
    "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y",
    // The toolchain is already installed; this is the last step of rustup.
    r#"echo '. "$HOME/.cargo/env"' >>"$HOME/.profile""#,
)];

/// Prefixes of commands that run until they are stopped.
const GOING_ON: &[&str] = &["cargo run", "bugle listen", "python3 -m http.server"];

#[test]
fn a_newcomer_gets_a_push_in_the_console_and_in_firefox() {
    let terminal = Terminal::new();
    // The README assumes that Rust is installed, which the quick start does.
    let quick_start = pages::read("docs/quick-start.md");
    Walk::new(&terminal, &quick_start).follow();
    let readme = pages::section(&pages::read("README.md"), "## A push in five minutes");
    Walk::new(&terminal, &readme).follow();
}

/// A reader who follows one document.
struct Walk<'a> {
    terminal: &'a Terminal,
    page: &'a Page,
    running: Vec<Process>,
    firefox: Option<Firefox>,
    /// The places in which a push has appeared.
    seen: Vec<&'static str>,
}

impl<'a> Walk<'a> {
    fn new(terminal: &'a Terminal, page: &'a Page) -> Self {
        terminal.forget();
        Self {
            terminal,
            page,
            running: Vec::new(),
            firefox: None,
            seen: Vec::new(),
        }
    }

    fn follow(mut self) {
        for block in block::of(self.page) {
            assert_eq!(block.language, "sh", "{}: not a command", block.place());
            eprintln!("-- {}\n{}", block.place(), block.text.trim_end());
            self.step(&block);
        }
        assert_eq!(self.seen, ["Chromium", "Firefox", "terminal"]);
    }

    fn step(&mut self, block: &Block) {
        let printed = if GOING_ON.iter().any(|begin| block.text.starts_with(begin)) {
            self.running.push(self.terminal.start(&block.text));
            String::new()
        } else {
            let lines = block.text.lines();
            lines.map(|line| self.run(line)).collect()
        };
        // Do and check what the text around the block says.
        match block.text.as_str() {
            run if run.starts_with("cargo run") => self.terminal.wait_for_service(),
            address if address.starts_with("echo \"http://") => {
                let pressed = pages::emphasised(&block.following(self.page));
                browsers::try_it(printed.trim(), &pressed);
                self.seen.push("Chromium");
            }
            server if server.starts_with("python3 ") => self.subscribe_firefox(block),
            send if send.starts_with("bugle send firefox.json") => {
                let firefox = self.firefox.as_mut().expect("it has subscribed");
                firefox.shows(quoted(send));
                self.seen.push("Firefox");
            }
            listen if listen.starts_with("bugle listen") => {
                self.terminal.wait_for_file("subscription.json");
            }
            send if send.starts_with("bugle send subscription.json") => {
                self.terminal.wait_for_line_with(quoted(send));
                self.seen.push("terminal");
            }
            install if install.starts_with("sudo apt") || install.starts_with("cargo install") => {}
            _ => panic!("{}: no newcomer here knows what comes next", block.place()),
        }
    }

    fn run(&self, line: &str) -> String {
        let stand_in = STAND_INS.iter().find(|(command, _)| *command == line);
        self.terminal
            .run(stand_in.map_or(line, |(_, instead)| instead))
    }

    fn subscribe_firefox(&mut self, block: &Block) {
        let mut firefox = Firefox::start();
        for (name, value) in preferences(&self.page.text) {
            firefox.set_preference(&name, &value);
        }
        let url = "http://localhost:8000/";
        assert!(self.page.text.contains(&format!("<{url}>")));
        self.terminal.wait_for_port(8000);
        let pressed = pages::emphasised(&block.following(self.page));
        let subscription = firefox.subscribe(url, &pressed);
        self.terminal.save("firefox.json", &subscription);
        self.firefox = Some(firefox);
    }
}

/// The rows of the table of preferences, in order.
fn preferences(text: &str) -> Vec<(String, serde_json::Value)> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `dom.")?.split('`');
        let (name, value) = (cells.next()?, cells.nth(1)?);
        let value = match value {
            "true" => true.into(),
            text => text.into(),
        };
        Some((format!("dom.{name}"), value))
    });
    rows.collect()
}

fn quoted(command: &str) -> &str {
    command.split('"').nth(1).expect("the text is in quotes")
}
