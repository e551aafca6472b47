//! The admin API against its own description: schemathesis makes requests up
//! from `docs/openapi.yaml`, good and bad ones, and compares the answers.

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
fn the_admin_api_is_what_its_description_says() {
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
