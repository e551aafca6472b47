//! Searches the logs of a run for secrets: every token, uaid and key that a test used. `./test
//! secrets` makes the run.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail")]

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The folder with the logs and secrets of the run.
const RUN: &str = "target/secrets";

/// Number of characters that identify a secret; logs may have truncated it.
const TRACE: usize = 12;

/// The secrets to search for, with the test that used each.
#[derive(Default)]
struct Secrets(HashMap<Vec<u8>, String>);

impl Secrets {
    /// Adds a secret in the forms in which a log may contain it: as on the wire, without
    /// dashes, and its bytes in hex and as a list. The start and end of each form suffice.
    fn add(&mut self, test: &str, secret: &str) {
        let bare = secret.replace('-', "");
        let mut forms = vec![secret.to_owned(), bare.clone()];
        let octets = match hex(&bare) {
            Some(octets) => Some(octets),
            None => URL_SAFE_NO_PAD.decode(secret).ok(),
        };
        if let Some(octets) = octets.filter(|octets| octets.len() >= 16) {
            forms.push(octets.iter().map(|octet| format!("{octet:02x}")).collect());
            let list: Vec<_> = octets.iter().map(u8::to_string).collect();
            forms.push(list.join(", "));
        }
        for form in forms {
            let form = form.as_bytes();
            if let (Some(first), Some(last)) = (form.first_chunk::<TRACE>(), form.last_chunk()) {
                let traces: [&[u8; TRACE]; 2] = [first, last];
                for trace in traces.into_iter().filter(|trace| is_telling(*trace)) {
                    self.0.insert(trace.to_vec(), format!("{test}: {secret}"));
                }
            }
        }
    }

    /// The secret that a line of a log contains.
    fn in_line(&self, line: &str) -> Option<&String> {
        let mut windows = line.as_bytes().windows(TRACE);
        windows.find_map(|window| self.0.get(window))
    }
}

/// Whether a part of a secret is random: some tests and clients use made-up names such as
/// zeros.
fn is_telling(trace: &[u8]) -> bool {
    trace.iter().collect::<HashSet<_>>().len() > 3
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    let octet = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(octet).collect()
}

/// The files of the run with this prefix.
fn files(kind: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(RUN)).unwrap_or_else(|error| {
        panic!("{RUN}: {error}; it comes from runs of the tests: use `./test conformance secrets`")
    });
    let files = files.map(|file| file.unwrap().path());
    let is_kind = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(kind)
    };
    files.filter(is_kind).collect()
}

#[test]
fn no_log_of_the_run_contains_a_secret() {
    let mut secrets = Secrets::default();
    for file in files("seen-") {
        for line in fs::read_to_string(file).unwrap().lines() {
            // The text that a test writes into its own invalid request is not a secret.
            let (test, secret) = line.rsplit_once(' ').unwrap();
            secrets.add(test, secret);
        }
    }
    let logs: Vec<_> = ["log-", "program-"].into_iter().flat_map(files).collect();
    let mut lines = 0;
    let mut faults = Vec::new();
    for log in &logs {
        for line in String::from_utf8_lossy(&fs::read(log).unwrap()).lines() {
            lines += 1;
            if let Some(secret) = secrets.in_line(line) {
                faults.push(format!("{secret}\n  in {}: {line}", log.display()));
            }
        }
    }
    println!("{} traces of secrets in {lines} lines", secrets.0.len());
    assert!(secrets.0.len() > 1000 && lines > 100, "that was no run");
    faults.truncate(20);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_secret_is_found_in_each_form() {
    let mut secrets = Secrets::default();
    let (uaid, token) = (
        "8f2c1a90-77b3-4d1e-9c55-0a6be2f4d813",
        "aOOygrE-bTK_8XfZNX49ys4OURqu",
    );
    secrets.add("one", uaid);
    secrets.add("other", token);
    for (line, found) in [
        (format!("user agent {uaid} connected"), "one"),
        (format!("uaid=\"{}\"", uaid.replace('-', "")), "one"),
        (
            "Uaid([143, 44, 26, 144, 119, 179, 77, 30, ...])".to_owned(),
            "one",
        ),
        ("path=/push/aOOygrE-bTK_8XfZ…".to_owned(), "other"),
        ("…_8XfZNX49ys4OURqu".to_owned(), "other"),
        ("68e3b282b13e6d32bff177d9".to_owned(), "other"),
    ] {
        let secret = secrets.in_line(&line);
        assert!(secret.is_some_and(|it| it.starts_with(found)), "{line}");
    }
    assert_eq!(
        secrets.in_line("refused status=404 reason=no such message"),
        None
    );
}
