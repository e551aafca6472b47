//! Converts between clause ids and names of tests.
//!
//! An id becomes lower case, `-` and `.` become `_`, and `rfc` precedes a number: `8030-5.2-j`
//! is `rfc8030_5_2_j`, `WS-N-13` is `ws_n_13`. The name of a test or of its module starts with
//! the ids that it covers and continues with a claim:
//! `ws_n_15_rfc8030_5_2_j_ttl_0_reaches_only_connected_user_agents`.

use std::collections::BTreeMap;

use crate::clauses::Document;

/// A name with one of these prefixes must start with an id.
const FAMILIES: [&str; 8] = [
    "rfc8030_", "rfc8188_", "rfc8291_", "rfc8292_", "ws_", "vleg_", "papi_", "upl_",
];

/// All ids, keyed by their form in names.
pub struct Names(BTreeMap<String, String>);

impl Names {
    pub fn of(documents: &[Document]) -> Self {
        let clauses = documents.iter().flat_map(|document| &document.clauses);
        Self(
            clauses
                .map(|clause| (in_names(&clause.id), clause.id.clone()))
                .collect(),
        )
    }

    /// The ids in the path of a test such as `push::ws_n_3_…`.
    ///
    /// # Errors
    /// When a part looks like an id but is not one.
    pub fn shown_by(&self, test: &str) -> Result<Vec<&str>, String> {
        let mut ids = Vec::new();
        for part in test.split("::") {
            let mut rest = part;
            while let Some((word, id)) = self.leading(rest) {
                ids.push(id);
                rest = rest[word.len()..].trim_start_matches('_');
            }
            if FAMILIES.iter().any(|family| rest.starts_with(family)) {
                return Err(format!(
                    "{test}: '{rest}' begins with no id of the tables in tests/conformance"
                ));
            }
        }
        Ok(ids)
    }

    /// The longest id at the start of a name.
    fn leading(&self, name: &str) -> Option<(&str, &str)> {
        let ends = name.match_indices('_').map(|(end, _)| end);
        let words = ends.chain([name.len()]).map(|end| &name[..end]);
        let mut known = words.filter_map(|word| self.0.get_key_value(word));
        known
            .next_back()
            .map(|(word, id)| (word.as_str(), id.as_str()))
    }
}

fn in_names(id: &str) -> String {
    let word = id.to_lowercase().replace(['-', '.'], "_");
    let number = word.starts_with(|first: char| first.is_ascii_digit());
    format!("{}{word}", if number { "rfc" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_its_ids() {
        let names = Names::of(&Document::all());
        let shown = |test| names.shown_by(test);
        let both = vec!["WS-N-15", "8030-5.2-j"];
        assert_eq!(
            shown("delivery::ws_n_15_rfc8030_5_2_j_ttl_0_is_now"),
            Ok(both)
        );
        assert_eq!(
            shown("both::ws_p_1b_none_comes::http2"),
            Ok(vec!["WS-P-1b"])
        );
        assert_eq!(shown("x::ws_p_1"), Ok(vec!["WS-P-1"]));
        assert_eq!(shown("x::the_ws_p_1_way"), Ok(vec![]));
        assert!(shown("x::rfc8030_5_2_z_no_such_clause").is_err());
        assert!(shown("x::ws_p_1_ws_p_99_no_such_clause").is_err());
    }
}
