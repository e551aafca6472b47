//! Tests the admin API against its description: schemathesis generates valid and invalid
//! requests from `docs/openapi.yaml` and checks the responses.

use std::process::Command;

use crate::service::Service;

const SCHEMATHESIS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/admin-api/bin/schemathesis"
);
const CONFIG: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/admin_api/schemathesis.toml"
);

#[test]
fn the_admin_api_matches_its_description() {
    let service = Service::start();
    let output = Command::new(SCHEMATHESIS)
        .args(["--config-file", CONFIG, "run"])
        .arg(format!("{}/admin/v1/openapi.yaml", service.admin_url()))
        .args(["--max-examples", "50", "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", service.admin_token()))
        .current_dir(service.folder())
        .output()
        .expect("`./test real-clients` installs schemathesis");
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{errors}");
}
