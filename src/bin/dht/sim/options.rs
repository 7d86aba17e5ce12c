//! The arguments of `dht sim`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::args::groups::FormatArgs;
use crate::args::values::parse_svg;

/// The fewest nodes: twice the eight that store an announce. Among fewer, a lookup has nothing to do.
const LEAST_NODES: i64 = 16;
const MOST_NODES: i64 = 1_000_000;

/// The most lookups: each takes two clients of some 200 KB.
const MOST_LOOKUPS: i64 = 5000;

/// Measure announces and lookups among nodes in virtual time, without any network
#[derive(Debug, Args)]
#[command(after_help = super::LEGEND)]
pub(crate) struct SimOptions {
    /// Number of nodes
    #[arg(long, default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(LEAST_NODES..=MOST_NODES))]
    pub(super) nodes: u32,
    /// Seed of all random choices: the same seed gives the same figures
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Median round-trip time, log-normal over the pairs of nodes with a sigma of 0.6
    #[arg(long, value_name = "TIME", default_value = "80ms", value_parser = parse_rtt)]
    pub(super) rtt_median: Duration,
    /// Share of datagrams that are lost, such as 0.02 or 2%
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = parse_share)]
    pub(super) loss: f64,
    /// Share of nodes that have left without notice, and remain in the routing tables of others
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub(super) dead: f64,
    /// Median session length, such as 100m or 2h; each node that leaves is replaced [default: all stay]
    #[arg(long, value_name = "TIME", value_parser = parse_churn)]
    pub(super) churn: Option<Duration>,
    /// Share of nodes behind NAT: of these 40 % full cone, 40 % port-restricted, 20 % symmetric
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    pub(super) nat: f64,
    /// Number of announces to measure, and of lookups of what they announced
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=MOST_LOOKUPS))]
    pub(super) lookups: u32,
    /// Measure the algorithms of other clients too, each in an identical network
    #[arg(long)]
    pub(super) compare: bool,
    /// Plot the times as cumulative distributions to this file
    #[arg(long, value_name = "FILE.svg", value_parser = parse_svg)]
    pub(super) plot: Option<PathBuf>,
    #[command(flatten)]
    _format: FormatArgs,
}

fn parse_rtt(text: &str) -> Result<Duration, String> {
    let is_sound = |time: &Duration| (1..=10_000).contains(&time.as_millis());
    parse_time(text)
        .filter(is_sound)
        .ok_or_else(|| "expected a time from 1ms to 10s, with its unit".to_owned())
}

fn parse_churn(text: &str) -> Result<Duration, String> {
    let is_sound = |time: &Duration| (60..=365 * 86_400).contains(&time.as_secs());
    parse_time(text)
        .filter(is_sound)
        .ok_or_else(|| "expected a time from 1m to 365d, with its unit".to_owned())
}

/// Parses a number and `ms`, `s`, `m`, `h` or `d`.
fn parse_time(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Parses a number between 0 and 1, or a percentage.
fn parse_share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim_end().parse::<f64>().ok().map(|number| number / whole);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share between 0 and 1, or between 0% and 100%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        for (text, millis) in [("80ms", 80), ("1.5s", 1500), ("100m", 6_000_000), ("2h", 7_200_000)] {
            assert_eq!(parse_time(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "80", "ms", "-1s", "1 week", "1e400s", "nans", "1sm"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_bounds() {
        assert!(parse_rtt("10s").is_ok() && parse_rtt("10.1s").is_err() && parse_rtt("0ms").is_err());
        assert!(parse_churn("1m").is_ok() && parse_churn("59s").is_err() && parse_churn("366d").is_err());
    }

    #[test]
    fn shares_are_numbers_or_percentages() {
        for (text, share) in [("0", 0.0), ("0.3", 0.3), ("30%", 0.3), ("2.5 %", 0.025), ("100%", 1.0)] {
            assert_eq!(parse_share(text), Ok(share), "{text}");
        }
        for text in ["", "%", "2", "101%", "-1%", "nan", "inf%"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }
}
