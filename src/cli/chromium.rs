//! `bugle chromium policy`: what points a managed Chromium at the service.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::config_args::ConfigArgs;
use super::{Failure, note, print};
use crate::config::{Config, PublicUrl, Sites};
use crate::server::COMPILED_IN;

pub(super) const EXAMPLE: &str = "\
Example:
  bugle chromium policy --config bugle.toml --ca ca.pem > /etc/chromium/policies/managed/bugle.json";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the managed policy for Chromium, and the command line that does the same
    ///
    /// The policy sends the two hosts that Chromium connects to through the service, trusts the
    /// authority, and lets the admitted sites show notifications.
    #[command(after_help = EXAMPLE)]
    Policy(Policy),
}

#[derive(Debug, clap::Args)]
struct Policy {
    #[command(flatten)]
    config: ConfigArgs,
    /// Certificate of the authority that Chromium must trust (PEM), such as `bugle tls init` makes
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Command::Policy(args) = &args.command;
    let config = args.config.load()?;
    if !config.chromium.enabled {
        return Err(
            "this service does not speak the protocol of Chromium: set chromium.enabled".into(),
        );
    }
    let ca = CertificateDer::from_pem_file(&args.ca)
        .map_err(|error| format!("no certificate in PEM in {}: {error}", args.ca.display()))?;
    let url = config.public_url(config.server.listen);
    if !url.is_tls() {
        return Err(format!(
            "Chromium connects by TLS only, and endpoints begin with {url}: set server.public_url"
        )
        .into());
    }
    let policy = policy(&config, &url, &ca);
    print(serde_json::to_string_pretty(&policy)?)?;
    note(format!(
        "Without the policy, for a trial:\n  chromium {}\n\
         The certificate of the service must have the name of {url}{} as well. To leave, remove \
         the policy: docs/chromium.md",
        switches(&config, &url).join(" "),
        COMPILED_IN.map(|host| format!(", {host}")).concat(),
    ));
    Ok(())
}

/// Host and port at which Chromium reaches the service: that of its own listener, if there is one.
fn authority(config: &Config, url: &PublicUrl) -> String {
    let origin = url.origin().trim_start_matches("https://");
    let port = match (config.chromium.listen, origin.strip_prefix(url.host())) {
        (Some(address), _) => format!(":{}", address.port()),
        (None, Some("")) | (None, None) => ":443".to_owned(),
        (None, Some(port)) => port.to_owned(),
    };
    format!("{}{port}", url.host())
}

fn policy(config: &Config, url: &PublicUrl, ca: &CertificateDer<'_>) -> Value {
    let hosts = COMPILED_IN.map(|host| format!("host == \"{host}\""));
    let script = format!(
        "function FindProxyForURL(url, host) {{ if ({}) return \"PROXY {}\"; return \"DIRECT\"; }}",
        hosts.join(" || "),
        authority(config, url)
    );
    let script = STANDARD.encode(script);
    let mut policy = json!({
        "ProxySettings": {
            "ProxyMode": "pac_script",
            "ProxyPacUrl": format!("data:application/x-ns-proxy-autoconfig;base64,{script}"),
        },
        "CACertificates": [STANDARD.encode(ca)],
    });
    if let Sites::Of(origins) = &config.chromium.origins {
        let sites: Vec<_> = origins.iter().map(PublicUrl::origin).collect();
        policy["NotificationsAllowedForUrls"] = json!(sites);
    }
    policy
}

fn switches(config: &Config, url: &PublicUrl) -> [String; 3] {
    let base = format!("https://{}", authority(config, url));
    [
        format!("--gcm-checkin-url={base}/checkin"),
        format!("--gcm-registration-url={base}/c2dm/register3"),
        format!("--gcm-mcs-endpoint={base}"),
    ]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn the_policy_names_the_service_the_authority_and_the_sites() {
        let mut config = Config::default();
        let url: PublicUrl = "https://push.example".parse().unwrap();
        let site = "https://a.example".parse().unwrap();
        config.chromium.origins = Sites::Of([site].into_iter().collect());
        let policy = policy(&config, &url, &CertificateDer::from(vec![1, 2, 3]));
        assert_eq!(policy["CACertificates"], json!(["AQID"]));
        let sites = &policy["NotificationsAllowedForUrls"];
        assert_eq!(*sites, json!(["https://a.example"]));
        let script = policy["ProxySettings"]["ProxyPacUrl"].as_str().unwrap();
        let script = STANDARD.decode(script.split_once(',').unwrap().1).unwrap();
        let script = String::from_utf8(script).unwrap();
        assert!(
            script.contains("return \"PROXY push.example:443\""),
            "{script}"
        );
        assert!(COMPILED_IN.iter().all(|host| script.contains(host)));
        let switches = switches(&config, &url);
        let checkin = "--gcm-checkin-url=https://push.example:443/checkin";
        assert_eq!(switches[0], checkin);
    }

    #[test]
    fn a_listener_for_chromium_has_its_own_port() {
        let mut config = Config::default();
        let url: PublicUrl = "https://push.example:8443".parse().unwrap();
        assert_eq!(authority(&config, &url), "push.example:8443");
        config.chromium.listen = Some("0.0.0.0:5228".parse().unwrap());
        assert_eq!(authority(&config, &url), "push.example:5228");
        let url: PublicUrl = "https://[::1]:8443".parse().unwrap();
        config.chromium.listen = None;
        assert_eq!(authority(&config, &url), "[::1]:8443");
    }
}
