//! Whose an address is, and how many connections it has.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use dashmap::DashMap;

/// What counts as one peer: an IPv4 address, or of IPv6 the network that one
/// customer usually gets, /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// How many connections each peer has, by [`network`]; of a client behind a
/// proxy, how many requests and WebSockets.
#[derive(Default)]
pub struct Addresses(DashMap<IpAddr, usize>);

/// One connection's place among those of its address.
pub struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// A place, unless the address has `most` already; 0 is no bound.
    pub fn enter(addresses: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let address = network(address);
        let mut open = addresses.0.entry(address).or_default();
        if most != 0 && *open >= most {
            return None;
        }
        *open += 1;
        Some(Place {
            addresses: Arc::clone(addresses),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let addresses = &self.addresses.0;
        addresses.alter(&self.address, |_, open| open - 1);
        addresses.remove_if(&self.address, |_, open| *open == 0);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_peer() {
        for (address, whole) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let network = network(address.parse().unwrap());
            assert_eq!(network, whole.parse::<IpAddr>().unwrap());
        }
    }
}
