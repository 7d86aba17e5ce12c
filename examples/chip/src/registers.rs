//! The registers of an LM3S6965 that this program uses, and all of its `unsafe`.
//!
//! Chapters 5 (system control) and 16 (Ethernet) of the data sheet describe them.
#![allow(unsafe_code, reason = "registers are memory that Rust does not know of")]

/// A register, by its address.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Register {
    /// Events of system control, such as that the clock is steady.
    Events = 0x400f_e050,
    /// The configuration of the clock.
    Clock = 0x400f_e060,
    /// Which devices have a clock; the second word.
    Devices = 0x400f_e108,
    Receive = 0x4004_8008,
    Send = 0x4004_800c,
    /// The FIFOs: a read takes from one, a write adds to the other.
    Data = 0x4004_8010,
    AddressLow = 0x4004_8014,
    AddressHigh = 0x4004_8018,
    Threshold = 0x4004_801c,
    /// The number of frames in the receive FIFO.
    Packets = 0x4004_8034,
    /// 1 from the request to send a frame until it is sent.
    Request = 0x4004_8038,
}

impl Register {
    pub fn read(self) -> u32 {
        // SAFETY: each variant is the aligned address of a register of this chip, where no memory of the
        // program lies. Whatever an access does, it does to a device, and none of them has DMA turned on.
        unsafe { (self as usize as *const u32).read_volatile() }
    }

    pub fn write(self, word: u32) {
        // SAFETY: as in `read`.
        unsafe { (self as usize as *mut u32).write_volatile(word) }
    }
}
