//! Kept connections straight to the service.

use crate::kept::Endpoints;
use crate::service::Service;

#[test]
fn libraries_that_keep_connections_lose_no_push_beside_refusals() {
    let service = Service::start();
    Endpoints::of(service.port()).lose_no_push(None);
}
