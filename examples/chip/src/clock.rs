//! The time since the start, in milliseconds: the timer of the processor interrupts it that often.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;

use crate::registers::Register;

/// Cycles in a millisecond, at 50 MHz.
const CYCLES: u32 = 50_000;

/// The crystal of 8 MHz drives the oscillator; neither is bypassed or off, except by the next two.
const CRYSTAL: u32 = 0xe << 6;
/// The processor runs without the multiplied clock.
const BYPASS: u32 = 1 << 11;
/// The multiplied clock of 200 MHz is divided by four.
const DIVIDER: u32 = 3 << 23 | 1 << 22;

/// The event that the multiplied clock is steady.
const STEADY: u32 = 1 << 6;

static MILLIS: AtomicU32 = AtomicU32::new(0);

/// A clock that does not wrap.
pub struct Clock {
    last: u32,
    millis: u64,
}

impl Clock {
    /// Sets the speed of the processor, and starts the timer.
    pub fn start(mut timer: SYST) -> Self {
        Register::Clock.write(Register::Clock.read() & !DIVIDER | BYPASS);
        Register::Clock.write(CRYSTAL | DIVIDER | BYPASS);
        while Register::Events.read() & STEADY == 0 {}
        Register::Clock.write(CRYSTAL | DIVIDER);
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(CYCLES - 1);
        timer.clear_current();
        timer.enable_counter();
        timer.enable_interrupt();
        Self { last: 0, millis: 0 }
    }

    /// Returns the time since the start. Must be called once in 49 days at least.
    pub fn micros(&mut self) -> u64 {
        let millis = MILLIS.load(Ordering::Relaxed);
        self.millis += u64::from(millis.wrapping_sub(self.last));
        self.last = millis;
        self.millis * 1000
    }
}

#[exception]
fn SysTick() {
    MILLIS.fetch_add(1, Ordering::Relaxed);
}
