//! Shell commands: bash checks the syntax, and the program's own parser checks each of our
//! commands.

use std::process::Command;

use bugle::cli::Cli;
use clap::CommandFactory;

/// Other programs that the documents may use.
const OTHERS: &[&str] = &[
    ".",
    "apt",
    "cargo",
    "cat",
    "cd",
    "certutil",
    "cp",
    "curl",
    "docker",
    "dpkg",
    "echo",
    "export",
    "git",
    "install",
    "jq",
    "journalctl",
    "mkdir",
    "mv",
    "nginx",
    "npm",
    "openssl",
    "pip",
    "printf",
    "promtool",
    "python3",
    "rm",
    "rsync",
    "sh",
    "ssh",
    "sudo",
    "sysctl",
    "systemctl",
    "systemd-analyze",
    "tar",
    "tee",
    "test",
    "tr",
    "ulimit",
    "./packaging/build-deb",
    "./test",
    "loadtest/scale.sh",
];

/// Words before a program that are not part of it.
const PREFIXES: &[&[&str]] = &[
    &["cargo", "run", "--release", "--"],
    &["sudo", "-u", "bugle"],
    &["sudo"],
];

/// Replaces the output of a command; the documents use such output only for keys.
const SAMPLE_KEY: &str =
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";

/// Checks the syntax of a block and each command in it.
pub fn check(text: &str) -> Result<(), String> {
    let syntax = Command::new("bash")
        .args(["-n", "-c", text])
        .output()
        .unwrap();
    if !syntax.status.success() {
        return Err(String::from_utf8_lossy(&syntax.stderr).into_owned());
    }
    let whole_lines = substituted(&text.replace("\\\n", " "))?;
    let lines = whole_lines.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .try_for_each(line)
}

/// Replaces each `$(command)` with a key and checks the command.
fn substituted(text: &str) -> Result<String, String> {
    let mut parts = text.split("$(");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (inner, rest) = part.split_once(')').ok_or("$( without its )")?;
        line(inner)?;
        whole.push_str(SAMPLE_KEY);
        whole.push_str(rest);
    }
    Ok(whole)
}

fn line(line: &str) -> Result<(), String> {
    // Commands are separated by pipes and semicolons.
    let words = shell_words::split(line).map_err(|error| format!("{line}: {error}"))?;
    words
        .split(|word| matches!(word.as_str(), "|" | "&&" | "||" | "&" | ";"))
        .filter(|command| !command.is_empty())
        .try_for_each(|words| command(words).map_err(|error| format!("{line}: {error}")))
}

fn command(words: &[String]) -> Result<(), String> {
    // Any number may replace the process id.
    let word = |word| if word == "$!" { "1" } else { word };
    let mut words: Vec<&str> = words.iter().map(String::as_str).map(word).collect();
    // Redirections belong to the shell.
    if let Some(redirection) = words.iter().position(|word| word.starts_with(['>', '<'])) {
        words.truncate(redirection);
    }
    while words.first().is_some_and(|word| is_assignment(word)) {
        words.remove(0);
    }
    for prefix in PREFIXES {
        if words.starts_with(prefix) {
            words.drain(..prefix.len());
            if prefix[0] == "cargo" {
                words.insert(0, "bugle");
            }
        }
    }
    match words.first() {
        None => Ok(()),
        Some(&"bugle") => parse(Cli::command(), &words),
        Some(&"bugle-load") => parse(bugle_load::cli::Cli::command(), &words),
        Some(program) if OTHERS.contains(program) => Ok(()),
        Some(program) => Err(format!(
            "{program} is not a program that the documents know"
        )),
    }
}

/// Whether a line runs a program of this project.
pub fn is_ours(line: &str) -> bool {
    let is_command = |word: &&str| !is_assignment(word) && *word != "sudo";
    let program = line.split(' ').find(is_command);
    matches!(program, Some("bugle" | "bugle-load" | "./test"))
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| name.bytes().all(|c| c.is_ascii_uppercase() || c == b'_'))
}

fn parse(program: clap::Command, words: &[&str]) -> Result<(), String> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    match program.try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(asked) if matches!(asked.kind(), DisplayHelp | DisplayVersion) => Ok(()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

#[test]
fn an_unknown_flag_is_reported() {
    assert_eq!(
        check("bugle --listen 127.0.0.1:1\nbugle send a \"b\""),
        Ok(())
    );
    assert!(check("bugle \\\n  --lisen 127.0.0.1:1").is_err());
    assert!(check("cargo run --release -- sned a").is_err());
    assert_eq!(check("bugle-load push ws://127.0.0.1:1/ --pid $!"), Ok(()));
    assert!(check("bugle-load push ws://127.0.0.1:1/ --pit $!").is_err());
    assert!(check("cat key | bugle fly").is_err());
    assert!(check("format c").is_err());
    assert!(check("echo \"").is_err());
    assert!(is_ours("sudo bugle health") && is_ours("BUGLE_A=1 bugle-load push"));
    assert!(!is_ours("bugle: the data folder") && !is_ours("the bugle"));
}
