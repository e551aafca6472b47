//! `bugle vapid`, and the key pair of `bugle send`.

use std::path::{Path, PathBuf};

use bugle_client::new_key_pair;
use bugle_protocol::KeyPair;
use serde_json::{Value, json};

use super::{Failure, files, note, print};

pub(super) const EXAMPLE: &str = "\
Example:
  bugle vapid
  bugle listen --vapid-key \"$(bugle vapid --json | jq -r .publicKey)\"";

/// The default file of the key pair.
pub(super) const DEFAULT_FILE: &str = "vapid.pem";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Private key file: PEM, JWK or raw base64url. Created if missing (PEM, mode 0600), never
    /// overwritten
    #[arg(default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// Print one JSON object: publicKey, privateKey, pem, jwk
    #[arg(long)]
    json: bool,
}

/// Prints the key pair in the formats that libraries take.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let pair = load_or_make(&args.file)?;
    let public_key = pair.public_key().to_base64url();
    let (private_key, pem, jwk) = (pair.to_base64url(), pair.to_pem()?, pair.to_jwk());
    if args.json {
        let jwk: Value = serde_json::from_str(&jwk)?;
        let forms = json!({
            "publicKey": public_key, "privateKey": private_key, "pem": pem, "jwk": jwk,
        });
        print(forms.to_string())?;
    } else {
        print(format!(
            "Public key, the applicationServerKey of a page (base64url):\n{public_key}\n\n\
             Private key (base64url):\n{private_key}\n\n\
             Private key (PEM):\n{pem}\n\
             Private key (JWK):\n{jwk}"
        ))?;
    }
    Ok(())
}

/// Loads the key pair in `path`; creates and reports one if the file is missing.
///
/// # Errors
/// If the file is not a key pair, or cannot be read or written.
pub(super) fn load_or_make(path: &Path) -> Result<KeyPair, Failure> {
    if path.try_exists()? {
        let text = files::read(path)?;
        return parse(&text).map_err(|error| format!("{}: {error}", path.display()).into());
    }
    let pair = new_key_pair();
    files::create_private(path, &pair.to_pem()?)?;
    note(format!(
        "Made a VAPID key pair in {}: keep it, and keep it secret",
        path.display()
    ));
    Ok(pair)
}

/// Reads a private key in any common format.
fn parse(text: &str) -> Result<KeyPair, Failure> {
    let text = text.trim();
    if text.starts_with('{') {
        // The output of `bugle vapid --json` or `web-push generate-vapid-keys --json`, or a JWK.
        let json: Value = serde_json::from_str(text)?;
        return match json["privateKey"].as_str() {
            Some(raw) => Ok(KeyPair::from_base64url(raw)?),
            None => Ok(KeyPair::from_jwk(text)?),
        };
    }
    if text.starts_with("-----BEGIN") {
        return Ok(KeyPair::from_pem(text)?);
    }
    Ok(KeyPair::from_base64url(text)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn every_form_reads_as_the_same_pair() {
        let pair = new_key_pair();
        let raw = pair.to_base64url();
        let json = json!({ "publicKey": pair.public_key().to_base64url(), "privateKey": raw });
        let padded = format!(" {raw}=\n");
        for text in [
            pair.to_pem().unwrap(),
            pair.to_jwk(),
            raw,
            padded,
            json.to_string(),
        ] {
            assert_eq!(parse(&text).unwrap(), pair);
        }
        for text in ["", "key", "{}", "{", "-----BEGIN CERTIFICATE-----"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vapid.pem");
        let made = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path).unwrap(), made);
        std::fs::write(&path, "nonsense").unwrap();
        let error = load_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("vapid.pem: "), "{error}");
    }
}
