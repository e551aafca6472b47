//! A URL argument that may contain a secret: a password, a token, a secret path. All users of a
//! machine can read the arguments of its processes (`ps`), so it can come from a file or standard
//! input.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::{Failure, files, note};

/// A URL, or the file that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlArg {
    /// The URL.
    Here(Url),
    /// `@FILE`, or `-` for standard input: the file contains the URL.
    File(PathBuf),
}

impl FromStr for UrlArg {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some(file) => Ok(Self::File(file.into())),
            None if text == "-" => Ok(Self::File(text.into())),
            None => text.parse().map(Self::Here),
        }
    }
}

impl UrlArg {
    /// Whether it is read from standard input.
    pub(super) fn is_standard_input(&self) -> bool {
        matches!(self, Self::File(path) if path == Path::new("-"))
    }

    /// Reads the URL. Warns if the URL itself is an argument and contains a secret.
    ///
    /// # Errors
    /// If the file cannot be read or is not a URL. The error does not show its contents.
    pub(super) fn read(&self) -> Result<Url, Failure> {
        match self {
            Self::Here(url) => {
                if has_secret(url) {
                    note(
                        "The URL on the command line holds a secret that every user of this \
                         machine can see (ps): give it as @FILE, or as - on standard input",
                    );
                }
                Ok(url.clone())
            }
            Self::File(path) => {
                let url = Url::parse(files::read(path)?.trim());
                let file = files::name(path);
                Ok(url.map_err(|error| format!("{file} holds no URL: {error}"))?)
            }
        }
    }
}

fn has_secret(url: &Url) -> bool {
    let is_short = matches!(url.path(), "" | "/");
    url.password().is_some() || url.query().is_some() || !is_short
}

/// A URL without its secrets: without user, password, path, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for a URL without a host, which has neither.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn a_url_comes_from_the_command_line_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        let arg = |text: &str| text.parse::<UrlArg>();
        let url: Url = "wss://u:secret@a.example/".parse().unwrap();
        assert_eq!(arg(url.as_str()).unwrap().read().unwrap(), url);
        let from = arg(&format!("@{}", path.display())).unwrap();
        std::fs::write(&path, format!("{url}\n")).unwrap();
        assert_eq!(from.read().unwrap(), url);
        std::fs::write(&path, "secret").unwrap();
        let error = from.read().unwrap_err().to_string();
        assert!(error.contains("holds no URL") && !error.contains("secret"));
        assert_eq!(arg("-"), Ok(UrlArg::File("-".into())));
        assert!(arg("localhost").is_err());
    }

    #[test]
    fn a_shown_url_has_no_secrets() {
        for (text, secret) in [
            ("wss://user:secret@a.example:1/", true),
            ("wss://a.example:1/secret", true),
            ("wss://a.example:1/?token=secret", true),
            ("wss://a.example:1/", false),
        ] {
            let url = text.parse().unwrap();
            assert_eq!(has_secret(&url), secret, "{text}");
            assert_eq!(shown(&url), "wss://a.example:1/");
        }
    }
}
