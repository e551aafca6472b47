//! Application servers with persistent connections and a third of their pushes refused: popular
//! libraries, run by the scripts in `tests/senders/kept`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::secrets;

/// Number of pushes that each library sends.
const PUSHES: usize = 400;

/// Timeout for all pushes of one library, in seconds.
const LIBRARY_TIMEOUT: &str = "180";

/// The example of RFC 8291 §5.
const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmY\
                    WAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexS\
                    gSxsj_Qulcy4a-fN";

/// The public key of the example of RFC 8292 §2.4.
const KEY: &str =
    "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

/// The libraries: the program, and the script with its arguments.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("python", &["kept.py", "http.client"]),
    ("python", &["kept.py", "requests"]),
    ("ruby", &["kept.rb"]),
    ("node", &["kept.mjs", "keep-alive"]),
    ("node", &["kept.mjs", "close"]),
    ("php", &["kept.php"]),
    ("java", &["Kept.java"]),
];

/// An endpoint that accepts pushes, and others that refuse them in different ways, with the
/// statuses.
pub(crate) struct Endpoints {
    good: String,
    refused: Vec<(String, u16)>,
}

impl Endpoints {
    /// Subscribes at the service on this port, without TLS.
    pub(crate) fn of(port: u16) -> Self {
        let (_, good) = subscribe(port, "", "");
        let (subscription, gone) = subscribe(port, "", "");
        let path = subscription.splitn(4, '/').nth(3).unwrap();
        let ended = ask(port, "DELETE", &format!("/{path}"), "", "");
        assert!(ended.starts_with("HTTP/1.1 204"), "{ended}");
        let kind = "Content-Type: application/webpush-options+json\r\n";
        let (_, restricted) = subscribe(port, kind, &format!("{{\"vapid\":\"{KEY}\"}}"));
        let never = format!("{}never-issued", &good[..=good.rfind('/').unwrap()]);
        let refused = vec![(never, 404), (gone, 410), (restricted, 401)];
        Self { good, refused }
    }

    fn status(&self, nth: usize) -> u16 {
        match nth % 3 {
            2 => self.refused[nth / 3 % self.refused.len()].1,
            _ => 201,
        }
    }

    /// Lets every library send its pushes concurrently. Each push must get the service's
    /// response.
    pub(crate) fn lose_no_push(&self, authority: Option<&Path>) {
        let lost: Vec<_> = thread::scope(|scope| {
            let senders = LIBRARIES.map(|(program, arguments)| {
                scope.spawn(move || self.lost_of(program, arguments, authority))
            });
            senders
                .into_iter()
                .flat_map(|sender| sender.join().unwrap())
                .collect()
        });
        assert!(lost.is_empty(), "{} are lost: {lost:#?}", lost.len());
    }

    /// The pushes with an unexpected outcome.
    fn lost_of(&self, program: &str, arguments: &[&str], authority: Option<&Path>) -> Vec<String> {
        let body = STANDARD.encode(URL_SAFE_NO_PAD.decode(BODY).unwrap());
        let authority = authority.map_or("-".into(), Path::to_string_lossy);
        let urls = self.refused.iter().map(|(url, _)| url.as_str());
        let count = PUSHES.to_string();
        let lines = [&*count, &*authority, &body, &self.good];
        let input: Vec<_> = lines.into_iter().chain(urls).collect();
        let answers = run(program, arguments, &input.join("\n"));
        assert_eq!(
            answers.len(),
            PUSHES,
            "{program} {arguments:?}: {answers:#?}"
        );
        let lost = answers.iter().enumerate().filter_map(|(nth, answer)| {
            let wanted = self.status(nth).to_string();
            let line = || format!("{program} {arguments:?}, push {nth}: {answer}, not {wanted}");
            (*answer != wanted).then(line)
        });
        lost.collect()
    }
}

/// The lines that the script prints.
fn run(program: &str, arguments: &[&str], input: &str) -> Vec<String> {
    const ROOT: &str = env!("CARGO_MANIFEST_DIR");
    let program = match program {
        "python" => format!("{ROOT}/target/senders/bin/python"),
        other => other.to_owned(),
    };
    let (script, more) = arguments.split_first().unwrap();
    let mut process = Command::new("timeout")
        .args([LIBRARY_TIMEOUT, &program])
        .arg(format!("{ROOT}/tests/senders/kept/{script}"))
        .args(more)
        // A proxy from the environment must not come between sender and service.
        .envs([("NO_PROXY", "*"), ("no_proxy", "*")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    secrets::see(input);
    process
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed (run ./test): {errors}"
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

/// Creates an RFC 8030 subscription; returns its URL and that of its push resource.
fn subscribe(port: u16, fields: &str, body: &str) -> (String, String) {
    let answer = ask(port, "POST", "/subscribe", fields, body);
    let field = |begin: &str, end: &str| {
        let line = answer
            .lines()
            .find(|line| line.starts_with(begin) && line.ends_with(end));
        let value = line.map(|line| line[begin.len()..line.len() - end.len()].to_owned());
        value.unwrap_or_else(|| panic!("no {begin:?}: {answer}"))
    };
    let push = field("link: <", ">; rel=\"urn:ietf:params:push\"");
    (field("location: ", ""), push)
}

fn ask(port: u16, method: &str, path: &str, fields: &str, body: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let request = format!("{head}{fields}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    secrets::see(&answer);
    answer
}
