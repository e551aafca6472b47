//! Reads which rooms a file of `src/` uses from its paths that begin with `crate::`.

use std::collections::BTreeSet;
use std::path::Path;

/// Short names that `src/lib.rs` exports, with their rooms.
const SHORT: [(&str, &str); 3] = [
    ("Clock", "time"),
    ("Config", "config"),
    ("Server", "server"),
];

/// Whether a file contains only tests, which may use every room.
pub fn is_test(name: &Path) -> bool {
    name.iter().any(|part| {
        matches!(
            part.to_str(),
            Some("tests" | "tests.rs" | "conformance" | "conformance.rs")
        )
    })
}

/// The rooms that the code of a file uses outside of tests.
pub fn rooms_used(text: &str) -> BTreeSet<String> {
    let code = outside_tests(text);
    let mut rooms = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => rooms.extend(first_segments(group)),
            None => rooms.extend(name_at(after)),
        }
    }
    rooms.iter().map(|room| full(room)).collect()
}

/// The lines of code without comments and tests.
pub fn outside_tests(text: &str) -> String {
    let (mut code, mut for_tests) = (String::new(), false);
    for line in text.lines() {
        let is_attribute = line.trim_start().starts_with("#[");
        if line.trim_start().starts_with("//") || (for_tests && is_attribute) {
            continue;
        }
        if line.trim_start().starts_with("#[cfg(test)]") {
            for_tests = true;
        } else if for_tests && line.starts_with("mod ") && line.ends_with('{') {
            // The module of tests is the last item of a file.
            break;
        } else if !std::mem::take(&mut for_tests) {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn full(room: &str) -> String {
    let found = SHORT.iter().find(|(short, _)| *short == room);
    found.map_or(room, |(_, room)| room).to_owned()
}

/// The identifier at the start of a text.
fn name_at(text: &str) -> Option<String> {
    let name = text
        .split(|is: char| !is.is_alphanumeric() && is != '_')
        .next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The first segment of each path in a group, up to the closing brace.
fn first_segments(group: &str) -> Vec<String> {
    let (mut depth, mut begins, mut names) = (0, true, Vec::new());
    for (at, is) in group.char_indices() {
        match is {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && depth == 0 && !is.is_whitespace() => {
                names.extend(name_at(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn rooms_are_read_from_paths_and_groups() {
    let text = "use crate::store::{Full, Limit};\nuse crate::{Clock, config::Config};\n\
                // crate::comment\nfn f() { crate::http::serve(); }\n#[cfg(test)]\nuse crate::test;\n\
                use crate::after;\n#[cfg(test)]\n#[expect(x)]\nmod tests {\nuse crate::tests;\n}";
    let rooms: Vec<_> = rooms_used(text).into_iter().collect();
    assert_eq!(rooms, ["after", "config", "http", "store", "time"]);
}
