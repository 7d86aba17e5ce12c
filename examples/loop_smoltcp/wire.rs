//! The driver of the network hardware and the wire behind it: here queues of packets.

use heapless::{Deque, Vec};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

type Packet = Vec<u8, 1500>;
type Queue = Deque<Packet, 8>;

/// The network interface of a chip.
#[derive(Default)]
pub(crate) struct Port {
    arrived: Queue,
    sent: Queue,
}

/// Delivers the packets of each port to all others, and returns whether there were any.
pub(crate) fn carry(ports: &mut [Port]) -> bool {
    let mut carried = false;
    for from in 0..ports.len() {
        while let Some(packet) = ports[from].sent.pop_front() {
            for (_, port) in ports.iter_mut().enumerate().filter(|&(to, _)| to != from) {
                let _ = port.arrived.push_back(packet.clone()); // lost if the queue is full
            }
            carried = true;
        }
    }
    carried
}

pub(crate) struct Arrived(Packet);

pub(crate) struct Room<'a>(&'a mut Queue);

impl Device for Port {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Arrived, Room<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), self.transmit(now)?))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (!self.sent.is_full()).then_some(Room(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ip, 1500);
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = Packet::new();
        packet.resize(len, 0).expect("it is no longer than the device allows");
        let result = write(&mut packet);
        let _ = self.0.push_back(packet); // there was room when the token was issued
        result
    }
}
