//! The bytes that determine a scenario.

use std::net::SocketAddr;

use dht_proto::wire::Want;
use dht_proto::{Family, InfoHash};

/// The bytes, read from the front, and then zeros without end.
pub struct Script<'a>(pub &'a [u8]);

impl Script<'_> {
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub const fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub const fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub const fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns a number below `count`, which must not be 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    pub fn take(&mut self, len: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn infohash(&mut self) -> InfoHash {
        infohash(self.byte() % INFOHASHES)
    }

    pub const fn family(&mut self) -> Family {
        if self.flag() { Family::V6 } else { Family::V4 }
    }

    pub const fn want(&mut self) -> Want {
        let byte = self.byte();
        Want { v4: byte & 1 != 0, v6: byte & 2 != 0 }
    }

    /// Returns a host: most in a subnet of their own, some in a shared one, some with reserved addresses.
    pub fn host(&mut self) -> SocketAddr {
        host(self.byte())
    }
}

/// The number of torrents.
pub const INFOHASHES: u8 = 5;

pub const fn infohash(index: u8) -> InfoHash {
    InfoHash::from_bytes([index; 20])
}

pub fn host(index: u8) -> SocketAddr {
    match index {
        0..160 => SocketAddr::from(([60, index, 7, 1], 6881)),
        160..180 => SocketAddr::from(([61, 1, 1, index], 6881)),
        180..184 => SocketAddr::from(([60, 0, 7, 1], 6881 + u16::from(index))),
        184..230 => SocketAddr::from(([0x2a00, index.into(), 0, 0, 0, 0, 0, 1], 6881)),
        230..240 => SocketAddr::from(([0x2a00, 1, 1, 0, 0, 0, 0, index.into()], 6881)),
        240 => SocketAddr::from(([60, 1, 7, 1], 0)),
        241 => SocketAddr::from(([127, 0, 0, 1], 6881)),
        242 => SocketAddr::from(([10, 0, 0, 1], 6881)),
        243 => SocketAddr::from(([255, 255, 255, 255], 6881)),
        244 => SocketAddr::from(([224, 0, 0, 1], 6881)),
        245 => SocketAddr::from(([0, 0, 0, 0], 6881)),
        246 => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 6881)),
        247 => SocketAddr::from(([0xff02, 0, 0, 0, 0, 0, 0, 1], 6881)),
        248 => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x3c02, 0x0701], 6881)),
        249 => SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 6881)),
        250 => SocketAddr::from(([0x2a00, 3, 0, 0, 0, 0, 0, 1], 0)),
        _ => SocketAddr::from(([60, 2, 7, 1], 1000 + u16::from(index))),
    }
}
