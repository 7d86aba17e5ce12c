//! The driver of the Ethernet controller of an LM3S6965: frames go in and out word by word, through one
//! register, and the controller holds what waits. It is polled, and has no DMA.

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use crate::registers::Register;

/// The most bytes of a frame, without its checksum.
const MAX_FRAME: usize = 1514;

/// Bytes of a frame that its length in the transmit FIFO does not count: two addresses and a type.
const HEADER: usize = 14;

/// Bytes that the length in the receive FIFO counts beside the frame: itself, and the checksum.
const AROUND: usize = 2 + 4;

/// The controller and its transceiver, among the devices that have a clock.
const CLOCKS: u32 = 1 << 28 | 1 << 30;

/// Receive, drop what has a wrong checksum, and forget what came before.
const RECEIVE: u32 = 1 | 1 << 3 | 1 << 4;

/// Send, fill up short frames, add the checksum; in both directions at once.
const SEND: u32 = 1 | 1 << 1 | 1 << 2 | 1 << 4;

/// Do not begin to send before the frame is whole.
const WHOLE_FRAMES: u32 = 0x3f;

/// The Ethernet controller, and memory for a frame in each direction.
pub struct Ethernet {
    arrived: [u8; MAX_FRAME],
    leaving: [u8; MAX_FRAME],
}

/// A received frame.
pub struct Arrived<'a>(&'a [u8]);

/// Permission to send a frame.
pub struct Leaving<'a>(&'a mut [u8; MAX_FRAME]);

impl Ethernet {
    /// Memory for the controller.
    pub const fn new() -> Self {
        Self { arrived: [0; MAX_FRAME], leaving: [0; MAX_FRAME] }
    }

    /// Starts the controller, which receives what is sent to `address` and to all.
    pub fn start(&mut self, address: EthernetAddress) {
        let [a, b, c, d, e, f] = address.0;
        Register::Devices.write(Register::Devices.read() | CLOCKS);
        Register::AddressLow.write(u32::from_le_bytes([a, b, c, d]));
        Register::AddressHigh.write(u32::from_le_bytes([e, f, 0, 0]));
        Register::Threshold.write(WHOLE_FRAMES);
        Register::Send.write(SEND);
        Register::Receive.write(RECEIVE);
    }
}

impl Device for Ethernet {
    type RxToken<'a> = Arrived<'a>;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Leaving<'_>)> {
        // A frame that arrives asks for an answer perhaps.
        if Register::Packets.read() == 0 || Register::Request.read() != 0 {
            return None;
        }
        // The length comes first, and the frame begins in the same word.
        let first = Register::Data.read().to_le_bytes();
        let len = usize::from(u16::from_le_bytes([first[0], first[1]]));
        let rest = (4..len).step_by(4).flat_map(|_| Register::Data.read().to_le_bytes());
        let mut places = self.arrived.iter_mut();
        // What is too long for a frame is taken from the FIFO all the same.
        for byte in first.into_iter().skip(2).chain(rest) {
            if let Some(place) = places.next() {
                *place = byte;
            }
        }
        let len = len.saturating_sub(AROUND);
        Some((Arrived(self.arrived.get(..len)?), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        (Register::Request.read() == 0).then_some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }
}

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

impl phy::TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let frame = &mut self.0[..len];
        let result = write(frame);
        let (head, rest) = frame.split_at(2);
        let counted = (len - HEADER) as u16;
        let [low, high] = counted.to_le_bytes();
        Register::Data.write(u32::from_le_bytes([low, high, head[0], head[1]]));
        for part in rest.chunks(4) {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            Register::Data.write(u32::from_le_bytes(word));
        }
        Register::Request.write(1);
        result
    }
}
