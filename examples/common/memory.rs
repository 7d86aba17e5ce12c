//! The memory of this process.

use std::fs;

/// Memory in bytes: `VmRSS` now, `VmHWM` at the peak. 0 where the system does not report it.
pub(crate) fn memory(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.trim_matches([':', 'k', 'B', ' ', '\t']).parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
