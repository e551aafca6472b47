//! Access control of the admin API: bearer tokens from files, users of the unix socket, and the
//! defence against requests from foreign web pages.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, request};
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::AdminError;
use crate::app::peer::{Remote, User};
use crate::config::{Config, HostNames, SocketOthers};
use crate::secrets;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read and change.
    Full,
    /// Read.
    ReadOnly,
}

/// How a caller authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// `Authorization: Bearer`
    Token,
    /// The user at the other end of the unix socket.
    Socket,
}

/// The caller of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its role.
    pub role: Role,
    /// How it authenticated.
    pub via: Via,
    /// Where it connects from.
    pub remote: Remote,
}

impl Caller {
    /// Checks that the caller may make changes.
    ///
    /// # Errors
    /// [`AdminError::ReadOnly`].
    pub fn may_change(&self) -> Result<(), AdminError> {
        match self.role {
            Role::Full => Ok(()),
            Role::ReadOnly => Err(AdminError::ReadOnly),
        }
    }
}

/// Why the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can be neither read nor made.
    #[error("the admin token {}: {}", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// The file does not hold a valid token.
    #[error(
        "the admin token {}: a token is one line of 24 to 512 visible ASCII characters; remove \
         the file, and one is made at the next start", .0.display()
    )]
    Token(PathBuf),
    /// Both roles have the same token.
    #[error("admin.token_file and admin.read_token_file hold the same token: each needs its own")]
    Same,
}

/// The accepted credentials.
pub struct Access {
    full: Token,
    read_only: Token,
    hosts: HostNames,
    others: SocketOthers,
}

/// A secret, so it does not implement `Debug`.
struct Token(Vec<u8>);

impl Access {
    /// Reads the tokens. Makes each token whose file is missing.
    ///
    /// # Errors
    /// If a file can be neither read nor made, or does not hold a valid token, or if both are the
    /// same.
    pub fn open(config: &Config) -> Result<Self, TokenError> {
        let full = Token::load_or_make(&config.admin_token_file())?;
        let read_only = Token::load_or_make(&config.admin_read_token_file())?;
        if full.is(&read_only.0) {
            return Err(TokenError::Same);
        }
        Ok(Self {
            full,
            read_only,
            hosts: config.admin.hosts.clone(),
            others: config.admin.socket_others,
        })
    }

    /// Authenticates the caller of a request.
    ///
    /// # Errors
    /// [`AdminError::Unauthorized`], [`AdminError::OtherUser`]; [`AdminError::Origin`] and
    /// [`AdminError::HostName`] if a foreign web page may have sent it.
    pub fn caller(&self, parts: &request::Parts, remote: Remote) -> Result<Caller, AdminError> {
        self.check_origin(parts, remote)?;
        if let (Remote::User(user), false) = (remote, parts.headers.contains_key(AUTHORIZATION)) {
            let role = self.role_of(user)?;
            let via = Via::Socket;
            return Ok(Caller { role, via, remote });
        }
        let given = bearer(&parts.headers).ok_or(AdminError::Unauthorized)?;
        let role = if self.full.is(given) {
            Role::Full
        } else if self.read_only.is(given) {
            Role::ReadOnly
        } else {
            return Err(AdminError::Unauthorized);
        };
        Ok(Caller {
            role,
            via: Via::Token,
            remote,
        })
    }

    fn role_of(&self, user: User) -> Result<Role, AdminError> {
        match self.others {
            _ if user.is_own || user.uid == 0 => Ok(Role::Full),
            SocketOthers::ReadOnly => Ok(Role::ReadOnly),
            SocketOthers::Refuse => Err(AdminError::OtherUser),
        }
    }

    /// Refuses requests from pages of another origin, and requests for a foreign host name. A page
    /// can make its own host name resolve to this listener (DNS rebinding), but not an IP address
    /// or `localhost`.
    ///
    /// # Errors
    /// [`AdminError::Origin`], [`AdminError::HostName`].
    pub fn check_origin(&self, parts: &request::Parts, remote: Remote) -> Result<(), AdminError> {
        let host = authority(parts).ok_or(AdminError::HostName)?;
        // A browser cannot connect to a unix socket.
        if matches!(remote, Remote::Address { .. }) && !self.is_ours(host.host()) {
            return Err(AdminError::HostName);
        }
        let Some(origin) = parts.headers.get(ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        let named = origin.split_once("://").map(|(_, authority)| authority);
        if named.is_some_and(|named| named.eq_ignore_ascii_case(host.as_str())) {
            Ok(())
        } else {
            Err(AdminError::Origin)
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.0.contains(&name)
    }
}

impl Token {
    const MIN_LENGTH: usize = 24;
    const MAX_LENGTH: usize = 512;

    fn load_or_make(file: &Path) -> Result<Self, TokenError> {
        let text = secrets::read_or_make(file)
            .map_err(|error| TokenError::File(file.to_owned(), error))?;
        let token = text.trim();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&token.len()) {
            Ok(Self(token.into()))
        } else {
            Err(TokenError::Token(file.to_owned()))
        }
    }

    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

/// The token of `Authorization: Bearer`, if there is exactly one such field.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (field, None) = (fields.next()?.as_bytes(), fields.next()) else {
        return None;
    };
    let (scheme, token) = field.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// The host and port of the request: from the URI in HTTP/2, from `Host` in HTTP/1.1.
fn authority(parts: &request::Parts) -> Option<Authority> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => parts.headers.get(HOST)?.to_str().ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use http::Request;

    use super::*;

    const REMOTE: Remote = Remote::Address {
        peer: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        forwarded_for: None,
    };

    fn access() -> Access {
        Access {
            full: Token(vec![b'f'; 24]),
            read_only: Token(vec![b'r'; 24]),
            hosts: HostNames(vec!["admin.example.org".into()]),
            others: SocketOthers::Refuse,
        }
    }

    fn ask(headers: &[(&str, &str)]) -> Result<Role, AdminError> {
        let mut request = Request::get("/admin/v1/session");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        access().caller(&parts, REMOTE).map(|caller| caller.role)
    }

    #[test]
    fn the_token_determines_the_role() {
        let host = ("host", "127.0.0.1:8081");
        let with = |value: &str| ask(&[host, ("authorization", value)]);
        let (full, read) = ("f".repeat(24), "r".repeat(24));
        assert_eq!(with(&format!("Bearer {full}")), Ok(Role::Full));
        assert_eq!(with(&format!("bearer  {read}")), Ok(Role::ReadOnly));
        for wrong in ["", "Bearer", "Bearer ", "Bearer x", "Basic x", &full] {
            assert_eq!(with(wrong), Err(AdminError::Unauthorized), "{wrong}");
        }
        let bearer = format!("Bearer {full}");
        let twice = [
            host,
            ("authorization", &*bearer),
            ("authorization", &*bearer),
        ];
        assert_eq!(ask(&twice), Err(AdminError::Unauthorized));
    }

    #[test]
    fn socket_others_determines_the_role_of_other_users() {
        let request = Request::get("/").header("host", "bugle");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        for (uid, is_own, others, role) in [
            (0, false, SocketOthers::Refuse, Ok(Role::Full)),
            (7, true, SocketOthers::Refuse, Ok(Role::Full)),
            (7, false, SocketOthers::Refuse, Err(AdminError::OtherUser)),
            (7, false, SocketOthers::ReadOnly, Ok(Role::ReadOnly)),
        ] {
            let access = Access { others, ..access() };
            let caller = access.caller(&parts, Remote::User(User { uid, is_own }));
            assert_eq!(caller.map(|caller| caller.role), role, "{uid}");
        }
    }

    #[test]
    fn foreign_pages_are_refused_even_with_the_token() {
        let bearer = format!("Bearer {}", "f".repeat(24));
        let from = |host: &str, origin: Option<&str>| {
            let mut headers = vec![("authorization", &*bearer), ("host", host)];
            headers.extend(origin.map(|origin| ("origin", origin)));
            ask(&headers)
        };
        for host in [
            "127.0.0.1:1",
            "[::1]:8081",
            "localhost",
            "LOCALHOST.",
            "admin.example.org",
        ] {
            assert_eq!(from(host, None), Ok(Role::Full), "{host}");
            let own = format!("http://{host}");
            assert_eq!(from(host, Some(&own)), Ok(Role::Full), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert_eq!(from(host, None), Err(AdminError::HostName), "{host}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:2",
            "127.0.0.1:1",
        ] {
            let refused = from("127.0.0.1:1", Some(origin));
            assert_eq!(refused, Err(AdminError::Origin), "{origin}");
        }
    }
}
