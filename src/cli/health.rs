//! `bugle health`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bugle_client::HttpConnection;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config_args::ConfigArgs;
use super::{Failure, print};
use crate::Config;

pub(super) const EXAMPLE: &str = "\
It asks the admin listener of the configuration, or the public listener if there is none. Use it
as the health check of a container.

Example:
  bugle health --ready";

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The arguments of `bugle health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask whether it accepts new work (/ready), not whether it is alive (/health)
    #[arg(long)]
    ready: bool,
}

/// Sends the request; any status but 200 is a failure.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let address = address(&args.config.load()?)?;
    let path = if args.ready { "/ready" } else { "/health" };
    let status = timeout(REQUEST_TIMEOUT, ask(address, path)).await;
    let wait = REQUEST_TIMEOUT.as_secs();
    let status = status.map_err(|_| format!("no answer from {address} within {wait} s"))?;
    match status {
        Ok(StatusCode::OK) => Ok(print("ok")?),
        Ok(status) => Err(format!("http://{address}{path} says {status}").into()),
        Err(error) => Err(format!("nothing to be heard at {address}: {error}").into()),
    }
}

/// The address of the service as reached from this machine.
fn address(config: &Config) -> Result<SocketAddr, Failure> {
    let mut address = match config.admin.listen {
        Some(admin) => admin,
        None if config.tls.files().is_some() => {
            return Err("set admin.listen: the public listener speaks TLS alone".into());
        }
        None => config.server.listen,
    };
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    Ok(address)
}

async fn ask(address: SocketAddr, path: &str) -> Result<StatusCode, Failure> {
    let stream = TcpStream::connect(address).await?;
    let mut connection = HttpConnection::on_stream(Box::new(stream)).await?;
    let request = Request::get(path).header(HOST, address.to_string());
    let answer = connection.send(request.body(Full::default())?).await?;
    Ok(answer.status())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_service_is_asked_where_it_listens_on_this_machine() {
        let mut config = Config::default();
        for (admin, asked) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
        ] {
            config.admin.listen = Some(admin.parse().unwrap());
            assert_eq!(address(&config).unwrap().to_string(), asked);
        }
        config.admin.listen = None;
        config.server.listen = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(address(&config).unwrap().to_string(), "127.0.0.1:8080");
        config.tls.cert_file = Some("cert.pem".into());
        config.tls.key_file = Some("key.pem".into());
        assert!(address(&config).is_err());
    }
}
