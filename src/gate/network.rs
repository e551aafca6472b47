//! Groups client addresses into networks that count as one peer.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the IPv4 address itself, or for IPv6 the /64 that one customer usually has.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_peer() {
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
