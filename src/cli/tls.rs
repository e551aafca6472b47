//! `bugle tls init`: a private certificate authority, a certificate that Firefox accepts, and the
//! Firefox policy that deploys both.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;
use url::Host;

use super::{Failure, files, note, print};
use crate::time::Clock;

pub(super) const EXAMPLE: &str = "\
Example:
  bugle tls init --host push.example.org --host 192.0.2.7 > policies.json
  bugle --listen 0.0.0.0:443 --public-url https://push.example.org --tls-cert cert.pem --tls-key key.pem";

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Ten years: the authority's certificate is installed on every machine.
const CA_DAYS: u32 = 3650;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a private certificate authority and a certificate for the service
    ///
    /// Writes ca.pem, ca-key.pem, cert.pem and key.pem. An existing authority is used again: run
    /// the command again to renew the certificate. Prints the policies.json that makes Firefox
    /// trust the authority and use the service.
    #[command(after_help = EXAMPLE)]
    Init(Init),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// Host name or IP address that clients use; the first one goes into the policy
    #[arg(long = "host", value_name = "NAME", required = true, value_parser = host)]
    hosts: Vec<Host>,
    /// Port that clients use
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// Folder of the four files; created if missing
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Validity of the certificate, in days
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Path of ca.pem on the machines with Firefox [default: its path here]
    #[arg(long, value_name = "PATH")]
    ca_path: Option<PathBuf>,
}

fn host(text: &str) -> Result<Host, String> {
    // Accepts an IPv6 address with or without the brackets of a URL.
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(IpAddr::V4(address)) => Ok(Host::Ipv4(address)),
        Ok(IpAddr::V6(address)) => Ok(Host::Ipv6(address)),
        Err(_) => Host::parse(text).map_err(|error| error.to_string()),
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Command::Init(init) = &args.command;
    init.run()
}

impl Init {
    fn run(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| format!("cannot make {}: {error}", self.folder.display()))?;
        let authority = self.authority()?;
        let key = KeyPair::generate()?;
        let certificate = self.certificate()?.signed_by(&key, &authority)?;
        self.check(&certificate)?;
        files::replace_private(&self.file(KEY), &key.serialize_pem())?;
        files::replace_private(&self.file(CERTIFICATE), &certificate.pem())?;
        note(format!(
            "Made {} for {}, valid for {} days: run this again to renew it; a running service \
             takes the new one by itself",
            self.file(CERTIFICATE).display(),
            self.names().join(", "),
            self.days,
        ));
        print(serde_json::to_string_pretty(&self.policies()?)?)?;
        Ok(())
    }

    /// Loads the authority in the folder, or creates one.
    fn authority(&self) -> Result<Issuer<'static, KeyPair>, Failure> {
        let (ca, ca_key) = (self.file(CA), self.file(CA_KEY));
        match (ca.try_exists()?, ca_key.try_exists()?) {
            (true, true) => {
                let key = KeyPair::from_pem(&files::read(&ca_key)?)
                    .map_err(|error| format!("{}: {error}", ca_key.display()))?;
                Ok(Issuer::new(authority_params()?, key))
            }
            (false, false) => self.new_authority(&ca, &ca_key),
            _ => Err(format!(
                "only one of {} and {} is there: bring back the other, or move it away to make a \
                 new authority",
                ca.display(),
                ca_key.display()
            )
            .into()),
        }
    }

    fn new_authority(&self, ca: &Path, ca_key: &Path) -> Result<Issuer<'static, KeyPair>, Failure> {
        let params = authority_params()?;
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        files::create_private(ca_key, &key.serialize_pem())?;
        files::create_private(ca, &certificate.pem())?;
        note(format!(
            "Made an authority in {}; keep {} secret and off the service's machine",
            ca.display(),
            ca_key.display()
        ));
        Ok(Issuer::new(params, key))
    }

    /// Fails if `ca.pem` does not belong to the key beside it.
    fn check(&self, certificate: &Certificate) -> Result<(), Failure> {
        let ca = CertificateDer::from_pem_file(self.file(CA))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let name = ServerName::try_from(self.names()[0].clone())?;
        let now = UnixTime::since_unix_epoch(now());
        let checked = verifier.verify_server_cert(certificate.der(), &[], &name, &[], now);
        checked.map(|_| ()).map_err(|error| {
            format!(
                "{} has not signed what {CA_KEY} signs ({error}): move both away to make a new \
                 authority",
                self.file(CA).display()
            )
            .into()
        })
    }

    /// The form that Firefox requires: a leaf certificate for TLS servers, with every name in
    /// `subjectAltName`.
    fn certificate(&self) -> Result<CertificateParams, Failure> {
        let mut params = params(self.names(), self.days)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params
            .distinguished_name
            .push(DnType::CommonName, self.names()[0].clone());
        Ok(params)
    }

    fn policies(&self) -> Result<serde_json::Value, Failure> {
        let port = match self.port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let ca = match &self.ca_path {
            Some(path) => path.clone(),
            None => self.file(CA).canonicalize()?,
        };
        Ok(json!({ "policies": {
            "Preferences": { "dom.push.serverURL": {
                "Value": format!("wss://{}{port}/", self.hosts[0]),
                "Status": "locked",
            } },
            "Certificates": { "Install": [ca] },
        } }))
    }

    /// The hosts as in certificates: IPv6 without brackets.
    fn names(&self) -> Vec<String> {
        let name = |host: &Host| match host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        self.hosts.iter().map(name).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Deterministic, so that the key alone suffices to sign under the same authority again.
fn authority_params() -> Result<CertificateParams, Failure> {
    let mut params = params(Vec::new(), CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "Bugle private authority");
    Ok(params)
}

/// Valid for `days` from one hour ago, which tolerates clocks that are behind.
fn params(names: Vec<String>, days: u32) -> Result<CertificateParams, Failure> {
    const HOUR: Duration = Duration::from_secs(3600);
    let begin = SystemTime::UNIX_EPOCH + now().saturating_sub(HOUR);
    let mut params = CertificateParams::new(names)?;
    params.not_before = begin.into();
    params.not_after = (begin + 24 * HOUR * days).into();
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// Time since the Unix epoch.
fn now() -> Duration {
    Duration::from_millis(Clock::system().now().as_millis())
}
