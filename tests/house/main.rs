//! Checks the layout of `src/`: rooms (folders or loose files) must not use each other in a
//! cycle, and few files are loose. `docs/architecture.md` shows the rooms.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::{outside_tests, rooms_used};

/// Maximum number of loose files in `src/`.
const LOOSE: usize = 6;

/// The rooms that each room uses, with one file that does.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// The room of a file with this path relative to `src/`.
fn room_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// The source files that are no tests, by their paths below `src/`, with their
/// texts.
fn files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(source()).unwrap().to_owned();
            if path.extension().is_some_and(|is| is == "rs") && !imports::is_test(&name) {
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}

fn uses() -> Uses {
    let mut uses = Uses::new();
    for (name, text) in files() {
        let room = room_of(&name);
        // The two root files may use every room.
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let used = uses.entry(room.clone()).or_default();
        for other in rooms_used(&text) {
            if other != room {
                used.entry(other)
                    .or_insert_with(|| name.display().to_string());
            }
        }
    }
    uses
}

/// A cycle from a room back to itself, if there is one.
fn cycle(uses: &Uses, room: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![room.to_owned()]];
    while let Some(way) = ways.pop() {
        for other in uses
            .get(way.last().unwrap())
            .into_iter()
            .flat_map(BTreeMap::keys)
        {
            let way = [way.as_slice(), std::slice::from_ref(other)].concat();
            if other == room {
                return Some(way);
            }
            if seen.insert(other.clone()) {
                ways.push(way);
            }
        }
    }
    None
}

#[test]
fn rooms_do_not_use_each_other_in_cycles() {
    let uses = uses();
    assert!(uses.len() > 8, "the rooms are found: {:?}", uses.keys());
    if let Some(way) = uses.keys().find_map(|room| cycle(&uses, room)) {
        let steps = way.windows(2).map(|pair| {
            let [from, to] = pair else { unreachable!() };
            format!("  {from} uses {to} in src/{}", uses[from][to])
        });
        panic!(
            "these rooms of src/ use each other in a circle; move what both need into the lower one:\n{}",
            steps.collect::<Vec<_>>().join("\n")
        );
    }
}

#[test]
fn few_files_are_loose() {
    let entries = fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let loose: Vec<_> = entries.filter(|path| path.is_file()).collect();
    assert!(
        loose.len() <= LOOSE,
        "at most {LOOSE} files are loose in src/; give these a room: {loose:?}"
    );
}

#[test]
fn the_service_knows_no_transport() {
    const TRANSPORT: [&str; 5] = [
        "http::",
        "hyper",
        "tungstenite",
        "bugle_protocol::websocket",
        "bugle_protocol::session",
    ];
    let files = files();
    let core = files.iter().filter(|(name, _)| room_of(name) == "service");
    let mut seen = 0;
    for (name, text) in core {
        seen += 1;
        let code = outside_tests(text);
        let used = TRANSPORT.iter().find(|word| code.contains(**word));
        assert_eq!(used, None, "{} is to take parsed values", name.display());
    }
    assert!(seen > 8, "the files of the service are found");
}
