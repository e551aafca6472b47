//! Persistent connections directly to the service.

use crate::kept::Endpoints;
use crate::service::Service;

#[test]
fn libraries_with_persistent_connections_lose_no_push_after_refusals() {
    let service = Service::start();
    Endpoints::of(service.port()).lose_no_push(None);
}
