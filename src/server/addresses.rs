//! How many connections each peer has.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;

use crate::addresses::network;

/// How many connections each peer has, by [`network`].
#[derive(Default)]
pub(super) struct Addresses(DashMap<IpAddr, usize>);

/// One connection's place among those of its address.
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// A place, unless the address has `most` already; 0 is no bound.
    pub(super) fn enter(addresses: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
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
