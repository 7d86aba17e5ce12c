//! The datagrams that captured hosts send and receive.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::base::time::Instant;

/// A datagram that a captured host sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// When it was sent, or arrived.
    pub at: Instant,
    /// Whether it was sent or received.
    pub direction: Direction,
    /// Destination, or source, as the host sees it.
    pub remote: SocketAddr,
    /// The payload.
    pub bytes: Box<[u8]>,
}

/// Direction of a datagram, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out of the host.
    Sent,
    /// Into the host.
    Received,
}

/// The datagrams of all captured hosts.
#[derive(Default)]
pub(super) struct Captures {
    all: bool,
    of_hosts: BTreeMap<u32, Vec<Captured>>,
}

impl Captures {
    /// Captures a host from now on.
    pub(super) fn add(&mut self, host: u32) {
        self.of_hosts.entry(host).or_default();
    }

    /// Captures all hosts from now on.
    pub(super) const fn add_all(&mut self) {
        self.all = true;
    }

    /// The datagrams of a host so far.
    pub(super) fn get(&self, host: u32) -> &[Captured] {
        self.of_hosts.get(&host).map_or(&[], |captured| captured)
    }

    /// Removes and returns the datagrams of a host so far.
    pub(super) fn take(&mut self, host: u32) -> Vec<Captured> {
        self.of_hosts.get_mut(&host).map(core::mem::take).unwrap_or_default()
    }

    /// The list for the datagrams of a host, if it is captured.
    pub(super) fn of(&mut self, host: u32) -> Option<&mut Vec<Captured>> {
        if self.all { Some(self.of_hosts.entry(host).or_default()) } else { self.of_hosts.get_mut(&host) }
    }
}
