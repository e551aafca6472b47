//! Guards against loading foreign hosts: services of this machine are allowed, others only
//! if the user claims to own them.

use url::{Host, Url};

/// The allowed hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    owned: Option<String>,
}

/// Why a target is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The host is not a loopback address and was not declared as owned.
    #[error(
        "{0} is not a loopback address: load tests can take a service down. If that host is \
         yours, add --i-own-this-host {0}"
    )]
    NotOwned(String),
    /// The URL has no host.
    #[error("{0} names no host")]
    NoHost(Url),
}

impl Guard {
    /// Allows this machine, and the host with this name or address if given.
    pub fn new(owned: Option<&str>) -> Self {
        let owned = owned.map(|name| {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            name.to_ascii_lowercase()
        });
        Self { owned }
    }

    /// Checks the host of a URL: that of the WebSocket, and those of the endpoints, which
    /// may differ.
    ///
    /// # Errors
    /// When the host is not allowed. The only name that counts as this machine is
    /// `localhost`, whatever other names resolve to.
    pub fn check(&self, url: &Url) -> Result<(), TargetError> {
        let host = url.host().ok_or_else(|| TargetError::NoHost(url.clone()))?;
        let (is_here, name) = match host {
            Host::Ipv4(address) => (address.is_loopback(), address.to_string()),
            Host::Ipv6(address) => (address.is_loopback(), address.to_string()),
            Host::Domain(name) => (name == "localhost", name.to_ascii_lowercase()),
        };
        match is_here || self.owned.as_ref() == Some(&name) {
            true => Ok(()),
            false => Err(TargetError::NotOwned(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    fn check(owned: Option<&str>, url: &str) -> Result<(), TargetError> {
        Guard::new(owned).check(&url.parse().unwrap())
    }

    #[test]
    fn this_machine_is_allowed() {
        for url in [
            "ws://127.0.0.1:8080/",
            "wss://127.9.9.9/",
            "ws://[::1]:1/",
            "http://localhost/push/x",
        ] {
            assert_eq!(check(None, url), Ok(()), "{url}");
        }
    }

    #[test]
    fn other_hosts_are_rejected() {
        for url in [
            "wss://push.example.org/",
            "ws://192.0.2.1/",
            "ws://[2001:db8::1]/",
            "ws://localhost.example.org/",
            "ws://0.0.0.0/",
        ] {
            assert!(check(None, url).is_err(), "{url}");
            assert!(check(Some("other.example.org"), url).is_err(), "{url}");
        }
        let error = check(None, "wss://push.example.org/").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("--i-own-this-host push.example.org")
        );
    }

    #[test]
    fn an_owned_host_is_allowed() {
        for (name, url) in [
            ("push.example.org", "wss://push.example.org:8443/"),
            ("Push.Example.ORG", "wss://push.example.org/"),
            ("192.0.2.1", "http://192.0.2.1/push/x"),
            ("2001:db8::1", "ws://[2001:db8::1]/"),
            ("[2001:db8::1]", "ws://[2001:db8::1]/"),
        ] {
            assert_eq!(check(Some(name), url), Ok(()), "{name}");
        }
    }
}
