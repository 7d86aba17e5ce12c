//! The limit on the bytes of all responses, and their distribution over subnets when they are scarce.
//!
//! The bytes that may be sent form a token bucket with a burst of two seconds. While more than half of it is
//! left, no subnet is limited. Below that, the share of a subnet shrinks with what is left: a subnet that
//! received more within the last minute gets short responses, and one that received twice as much gets none.
//! So the bucket reaches a level at which the heaviest subnets receive no more than is available, however many
//! they are, and there is always room for subnets that query little.

use crate::base::time::Instant;

/// Maximum length of a response to a subnet that has used up its share: a token, some nodes and some peers.
const SHORT: usize = 300;
/// Divisor of the bytes of all responses in a minute that yields the share of a subnet at a half-full bucket.
const LARGEST_SHARE: u64 = 64;
const NANOS_PER_SEC: u64 = 1_000_000_000;
/// Burst of the bucket, as time at the full rate.
const BURST: u64 = 2 * NANOS_PER_SEC;
/// Minimum rate in bytes per second: with a lower one, a response would not fit into the bucket.
const MIN_PER_SEC: u32 = 2048;

/// A token bucket for the bytes of all responses, stored as the time at which it is full again (GCRA).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Volume {
    /// Time at which the bucket is full again, in nanoseconds.
    full_at: u64,
    /// Time that one byte takes; 0 if there is no limit.
    nanos_per_byte: u32,
}

impl Volume {
    /// Creates a limit of 60 times `per_sec` bytes in any minute.
    ///
    /// Less than 2 KiB counts as 2 KiB, and [`u32::MAX`] means no limit.
    pub(crate) fn new(per_sec: u32) -> Self {
        // A minute at this rate and the burst before it add up to the limit of a minute.
        let nanos = (NANOS_PER_SEC * 62).div_ceil(60 * u64::from(per_sec.max(MIN_PER_SEC)));
        Self { full_at: 0, nanos_per_byte: if per_sec == u32::MAX { 0 } else { nanos as u32 } }
    }

    /// Whether so much has been sent that shares will be needed soon.
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        self.debt(now) > BURST / 4
    }

    /// Returns the maximum length of a response to a subnet that received `drawn` bytes within the last minute.
    pub(crate) fn max_len(&self, now: Instant, drawn: impl FnOnce() -> u64) -> usize {
        let debt = self.debt(now);
        if debt <= BURST / 2 {
            return usize::MAX;
        }
        let nanos = u64::from(self.nanos_per_byte);
        let left = BURST.saturating_sub(debt);
        let free = (left / nanos) as usize;
        // The square reserves part of the bucket for newcomers before it is known which subnets receive most.
        let part = (left << 10) / (BURST / 2);
        let share = (60 * NANOS_PER_SEC / nanos / LARGEST_SHARE * part * part) >> 20;
        match drawn() {
            drawn if drawn <= share => free,
            drawn if drawn <= 2 * share => free.min(SHORT),
            _ => 0,
        }
    }

    /// Counts a response.
    pub(crate) fn count(&mut self, bytes: usize, now: Instant) {
        // A datagram is never longer.
        let bytes = bytes.min(u16::MAX.into()) as u64;
        let full_at = self.full_at.max(nanos(now));
        self.full_at = full_at.saturating_add(u64::from(self.nanos_per_byte) * bytes);
    }

    /// Returns how long the bucket takes to be full again.
    fn debt(&self, now: Instant) -> u64 {
        self.full_at.saturating_sub(nanos(now))
    }
}

const fn nanos(now: Instant) -> u64 {
    now.as_micros().saturating_mul(1000)
}

/// Length of an interval in which bytes are counted.
const TICK_SECS: u64 = 20;
/// Number of intervals that together cover any minute that ends now.
pub(crate) const TICKS: usize = 4;

/// The bytes sent within the last minute. Zeroed memory means none.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Minute {
    /// The interval that the first count belongs to.
    tick: u32,
    /// Bytes sent in this interval and in the previous ones.
    bytes: [u32; TICKS],
}

impl Minute {
    pub(crate) const EMPTY: Self = Self { tick: 0, bytes: [0; TICKS] };

    /// Returns the bytes of all current intervals.
    pub(crate) fn sum(&self, now: Instant) -> u64 {
        let past = self.past(now);
        if past >= TICKS {
            return 0;
        }
        self.bytes[..TICKS - past].iter().map(|&bytes| u64::from(bytes)).sum()
    }

    /// Returns the number of intervals that have passed since bytes were last added.
    pub(crate) fn past(&self, now: Instant) -> usize {
        tick(now).wrapping_sub(self.tick) as usize
    }

    /// Advances to the current interval.
    pub(crate) fn advance(&mut self, now: Instant) {
        let past = self.past(now);
        shift(&mut self.bytes, past);
        self.tick = tick(now);
    }

    pub(crate) fn add(&mut self, bytes: usize, now: Instant) {
        self.advance(now);
        self.bytes[0] = self.bytes[0].saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

/// Shifts counts by `past` intervals.
pub(crate) fn shift<T: Copy + Default>(counts: &mut [T; TICKS], past: usize) {
    if past > 0 {
        let kept = TICKS.saturating_sub(past);
        counts.copy_within(..kept, TICKS - kept);
        counts[..TICKS - kept].fill(T::default());
    }
}

const fn tick(now: Instant) -> u32 {
    (now.as_micros() / (TICK_SECS * 1_000_000)) as u32
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const START: Instant = Instant::from_micros(1_000_000_000);
    const PER_SEC: u32 = 128 * 1024;

    /// Simulates subnets that request 1 KB in turn, one every `every` microseconds, for two minutes.
    ///
    /// Returns the bytes of each, and the maximum of all together in one minute.
    fn draw(subnets: usize, every: u64) -> (Vec<u64>, usize) {
        let mut volume = Volume::new(PER_SEC);
        let mut drawn = vec![(Minute::EMPTY, 0); subnets];
        let mut sent: Vec<(Instant, usize)> = Vec::new();
        for at in 0..120_000_000 / every {
            let now = START + Duration::from_micros(at * every);
            let (minute, total) = &mut drawn[at as usize % subnets];
            let most = volume.max_len(now, || minute.sum(now)).min(1000);
            if most >= 100 {
                if volume.is_busy(now) {
                    minute.add(most, now);
                }
                volume.count(most, now);
                *total += most as u64;
                sent.push((now, most));
            }
        }
        let (mut first, mut sum, mut largest) = (0, 0, 0);
        for (at, bytes) in &sent {
            sum += bytes;
            while *at - sent[first].0 >= Duration::from_secs(60) {
                sum -= sent[first].1;
                first += 1;
            }
            largest = largest.max(sum);
        }
        (drawn.into_iter().map(|(_, total)| total).collect(), largest)
    }

    #[test]
    fn h_20_no_minute_has_more_than_sixty_times_the_rate() {
        for subnets in [1, 5, 100, 1000] {
            let (_, largest) = draw(subnets, 333);
            assert!(largest <= 60 * PER_SEC as usize, "{subnets}: {largest}");
        }
        let (_, largest) = draw(1000, 333);
        assert!(largest > 50 * PER_SEC as usize, "and most of it is used: {largest}");
    }

    #[test]
    fn below_the_rate_no_subnet_is_limited() {
        let (drawn, _) = draw(5, 8_000);
        assert_eq!(drawn.iter().sum::<u64>(), 15_000 * 1000);
    }

    #[test]
    fn h_20_subnets_that_request_too_much_have_equal_shares() {
        let (drawn, _) = draw(600, 333);
        let (least, most) = (drawn.iter().min(), drawn.iter().max());
        assert!(most < least.map(|least| least * 2).as_ref(), "{least:?} {most:?}");
    }

    #[test]
    fn h_20_a_newcomer_finds_room_whatever_others_request() {
        let mut volume = Volume::new(PER_SEC);
        let mut drawn = [Minute::EMPTY; 600];
        for at in 0..400_000 {
            let now = START + Duration::from_micros(at * 300);
            let minute = &mut drawn[at as usize % 600];
            let most = volume.max_len(now, || minute.sum(now)).min(1000);
            if most >= 100 {
                minute.add(most, now);
                volume.count(most, now);
            }
            // At first, all subnets are newcomers.
            assert!(at < 3000 || volume.max_len(now, || 0) >= 1024, "after {at}");
        }
    }

    #[test]
    fn a_subnet_over_its_share_first_gets_short_responses_and_then_none() {
        let mut volume = Volume::new(PER_SEC);
        (0..180).for_each(|_| volume.count(1024, START));
        let share =
            (0..1 << 30).step_by(100).take_while(|&drawn| volume.max_len(START, || drawn) > SHORT).count();
        let short =
            (0..1 << 30).step_by(100).take_while(|&drawn| volume.max_len(START, || drawn) > 0).count();
        assert!(share > 10 && (2 * share).abs_diff(short) <= 2, "{share} {short}");
        assert_eq!(volume.max_len(START, || 1 << 40), 0);
    }

    #[test]
    fn odd_rates_and_odd_times_do_no_harm() {
        let last = Instant::from_micros(u64::MAX);
        for per_sec in [0, 1, 2047, 2048, 1_000_000_000, u32::MAX - 1] {
            let mut volume = Volume::new(per_sec);
            assert!(volume.max_len(START, || u64::MAX) >= 1472);
            volume.count(usize::MAX, START);
            let _ = (volume.max_len(START, || 0), volume.max_len(last, || 0));
            volume.count(1472, last);
            let _ = volume.max_len(last, || 1);
        }
        let mut none = Volume::new(u32::MAX);
        none.count(usize::MAX, START);
        assert!(!none.is_busy(START) && none.max_len(START, || u64::MAX) == usize::MAX);
    }
}
