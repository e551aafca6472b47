//! Black-box tests: they use only the wire, and their names begin with the clauses that they
//! test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test may fail"
)]

mod support;

mod ack;
mod admin;
mod admin_cli;
mod admin_manage;
mod admin_top;
mod admin_trace;
mod admission;
mod body;
mod broadcast;
mod chromium;
mod chromium_cli;
mod chromium_hostile;
mod chromium_tls;
mod clauses_http;
mod clauses_push;
mod clauses_rfc8030;
mod clauses_vapid;
mod clauses_websocket;
mod cli;
mod cli_doctor;
mod cli_doctor_faults;
mod cli_packaging;
mod cli_rfc8030;
mod cli_tls;
mod clocks;
mod compat;
mod connections;
mod cors;
mod delivery;
mod disk;
mod expiry;
mod fairness;
mod files;
mod first_hour;
mod first_hour_tls;
mod flood;
mod grammar;
mod half_close;
mod hang_up;
mod head;
mod hello;
mod hostile_http1;
mod hostile_http2;
mod hostile_page;
mod hostile_slow;
mod hostile_websocket;
mod interleavings;
mod kept_connections;
mod kept_http2;
mod limits;
mod malformed;
mod message;
mod monitor;
mod operations;
mod proxies;
mod proxy_protocol;
mod push;
mod push_bodies;
mod rates;
mod receipts;
mod register;
mod restart;
mod restarts;
mod shutdown;
mod sieges;
mod status;
mod store_commands;
mod stored_shares;
mod storm;
mod strangers;
mod subscribe;
mod telemetry_log;
mod telemetry_metrics;
mod telemetry_traces;
mod tls;
mod unix_socket;
mod unused;
mod urgency;
mod vapid;
mod vapid_token;
