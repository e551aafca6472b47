//! Unknown settings, with suggestions.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Minimum similarity (0 to 1) for a "did you mean" suggestion.
const LIKENESS: f64 = 0.8;

/// Maximum number of suggestions: enough for a key that several sections have.
const SUGGESTED: usize = 4;

/// Returns the place of the first unknown key in a file, and the error. `known` has every setting.
pub(super) fn first(given: &DeTable<'_>, known: &Table) -> Option<(Range<usize>, String)> {
    let mut found = Vec::new();
    for (name, value) in given {
        let section = name.get_ref().as_ref();
        match (known.get(section), value.get_ref()) {
            (None, value) => {
                let is_section = matches!(value, DeValue::Table(_));
                found.push((name.span(), missing_name(known, section, is_section)));
            }
            (Some(settings), DeValue::Table(keys)) => {
                let unknown = keys
                    .keys()
                    .filter(|key| settings.get(key.get_ref().as_ref()).is_none())
                    .map(|key| (key.span(), missing_key(known, section, key.get_ref())));
                found.extend(unknown);
            }
            // The deserializer rejects a section that is not a table.
            (Some(_), _) => {}
        }
    }
    found.into_iter().min_by_key(|(span, _)| span.start)
}

/// The error for an unknown section, or a key outside of a section.
fn missing_name(known: &Table, name: &str, is_section: bool) -> String {
    if is_section {
        return with_advice(
            format!("there is no section `{name}`"),
            nearest(name, sections(known)).into_iter(),
        );
    }
    let homes = sections(known).filter(|section| keys(known, section).any(|key| key == name));
    with_advice(
        format!("there is no setting `{name}` outside of a section"),
        homes.map(|section| format!("{section}.{name}")),
    )
}

/// The error for `section.key`, if either does not exist.
pub(super) fn missing_key(known: &Table, section: &str, key: &str) -> String {
    let section_is_known = sections(known).any(|name| name == section);
    let meant = match section_is_known {
        true => section.to_owned(),
        false => nearest(section, sections(known)).unwrap_or_default(),
    };
    let near = nearest(key, keys(known, &meant)).map(|key| format!("{meant}.{key}"));
    let elsewhere = sections(known)
        .filter(|section| keys(known, section).any(|name| name == key))
        .map(|section| format!("{section}.{key}"));
    with_advice(
        format!("there is no setting `{section}.{key}`"),
        near.into_iter().chain(elsewhere),
    )
}

fn with_advice(text: String, meant: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = meant
        .map(|name| format!("`{name}`"))
        .take(SUGGESTED)
        .collect();
    names.dedup();
    match names.is_empty() {
        true => format!("{text}; docs/configuration.md has them all"),
        false => format!("{text}; did you mean {}?", names.join(" or ")),
    }
}

fn sections(known: &Table) -> impl Iterator<Item = &str> {
    known.keys().map(String::as_str)
}

fn keys<'t>(known: &'t Table, section: &str) -> impl Iterator<Item = &'t str> {
    let settings = known.get(section).and_then(Value::as_table);
    settings
        .into_iter()
        .flat_map(Table::keys)
        .map(String::as_str)
}

/// The most similar name, if one is similar enough.
fn nearest<'t>(name: &str, all: impl Iterator<Item = &'t str>) -> Option<String> {
    let likeness = |other: &str| strsim::jaro_winkler(name, other);
    let near = all.filter(|other| likeness(other) >= LIKENESS);
    let nearest = near.max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    nearest.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn the_error_suggests_a_setting_for_the_first_unknown_name() {
        let known = crate::Config::default().to_table();
        for (text, at, printed) in [
            (
                "[limits]\nbody_bites = 1",
                9,
                "there is no setting `limits.body_bites`; did you mean `limits.body_bytes`?",
            ),
            (
                "[sever]\nlisten = 1",
                1,
                "there is no section `sever`; did you mean `server`?",
            ),
            (
                "listen = 1",
                0,
                "there is no setting `listen` outside of a section; did you mean `admin.listen` or `chromium.listen` or `server.listen`?",
            ),
            (
                "[push]\naesgcm = 1",
                7,
                "there is no setting `push.aesgcm`; did you mean `compat.aesgcm`?",
            ),
            (
                "[log]\ncolour = 1",
                6,
                "there is no setting `log.colour`; docs/configuration.md has them all",
            ),
            (
                "[tls]\na = 1\n[zzz]\n",
                6,
                "there is no setting `tls.a`; docs/configuration.md has them all",
            ),
            (
                "[zzz]\n[tls]\na = 1",
                1,
                "there is no section `zzz`; docs/configuration.md has them all",
            ),
        ] {
            let given = DeTable::parse(text).unwrap();
            let (span, message) = first(given.get_ref(), &known).unwrap();
            assert_eq!((span.start, message.as_str()), (at, printed), "{text}");
        }
        assert_eq!(
            missing_key(&known, "sever", "lisen"),
            "there is no setting `sever.lisen`; did you mean `server.listen`?"
        );
        for fine in ["", "[server]\nlisten = 1", "server = 1"] {
            let given = DeTable::parse(fine).unwrap();
            assert_eq!(first(given.get_ref(), &known), None);
        }
    }
}
