//! Senders with persistent connections to a proxy, which has persistent connections to the
//! service: a refusal must not close a connection that another push is about to use (502), nor
//! lose a push.

use crate::kept_senders::Endpoints;
use crate::proxy::Kind;
use crate::service::{Service, settings_with};

fn lose_no_push_behind(kind: Kind) {
    let service = Service::start(settings_with("# The proxy does TLS."), &[]);
    let _proxy = kind.start(&service, &[]);
    let endpoints = Endpoints::of(service.port());
    endpoints.lose_no_push(Some(&service.authority.root()));
}

#[test]
fn kept_connections_lose_no_push_behind_nginx() {
    lose_no_push_behind(Kind::Nginx);
}

#[test]
fn kept_connections_lose_no_push_behind_caddy() {
    lose_no_push_behind(Kind::Caddy);
}

#[test]
fn kept_connections_lose_no_push_behind_haproxy() {
    lose_no_push_behind(Kind::Haproxy);
}
