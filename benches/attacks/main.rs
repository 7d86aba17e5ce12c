//! Attacks on a node: prints the figures of the security page in one run.
//!
//! ```text
//! cargo bench --features sim --bench attacks -- [NAME] [SEEDS]
//! ```
//!
//! - `eclipse`: Sybils around an infohash
//! - `reflection`: liars that list a victim
//! - `tables`: entries of one network in the routing table, and its votes on the external address
//! - `bytes`: forged queries
//! - `strangers`: service to unverified hosts during a flood of forged queries
//! - `signatures`, `swarm`, `swarms`, `items`: floods of what is stored
//! - `steps`: the longest single call
//!
//! Time is virtual, so a busy machine changes only `steps`.

#[path = "../common/args.rs"]
mod args;
#[path = "../common/datagrams.rs"]
mod datagrams;
mod eclipse;
mod floods;
mod steps;
mod stores;
mod tables;
mod target;

use args::args;

fn main() {
    let (args, is_test) = args();
    let seeds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(if is_test { 1 } else { 20 });
    let name = args.iter().find(|arg| arg.parse::<u64>().is_err() && !arg.starts_with('-'));
    let runs = |this: &str| name.is_none_or(|name| name == this) && !(is_test && this != "swarm");
    let honest = 3000;
    if runs("eclipse") {
        eclipse::print(honest, seeds);
    }
    if runs("reflection") {
        eclipse::print_reflection(honest, seeds);
    }
    if runs("tables") {
        tables::print();
    }
    if runs("bytes") {
        floods::print_bytes();
    }
    if runs("strangers") {
        floods::print_strangers();
    }
    if runs("signatures") {
        floods::print_signatures();
    }
    if runs("swarm") {
        stores::print_swarm();
    }
    if runs("swarms") {
        stores::print_swarms();
    }
    if runs("items") {
        stores::print_items();
    }
    if runs("steps") {
        steps::print(&[100_000, 1_000_000]);
    }
}
