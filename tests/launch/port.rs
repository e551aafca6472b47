//! Free ports.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Returns a port of 127.0.0.1 that nothing uses, for a program that must know its port before
/// it starts. Each call and each process gets a different one, outside the range of ephemeral
/// ports, so that no outgoing connection takes it.
///
/// # Panics
/// When no port of the range can be bound.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const RANGE: u16 = 20_000;
    /// Number of ports that a process can request before it reaches those of the next.
    const EACH: u32 = 40;
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let begin = process::id() * EACH % u32::from(RANGE);
    let free = (0..RANGE).find_map(|_| {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let offset = (begin + u32::from(call)) % u32::from(RANGE);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        listener.is_ok().then_some(port)
    });
    free.unwrap_or_else(|| panic!("every port from {FIRST} on is in use"))
}
