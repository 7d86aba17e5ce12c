//! Attacks on the node, and what is left of it: the table of the security page, in one run.
//!
//! ```text
//! cargo bench --features sim --bench attacks -- [NAME] [SEEDS]
//! ```
//!
//! Time is virtual, so a busy machine changes nothing but the last rows.

#[path = "../common/args.rs"]
mod args;
mod eclipse;

use args::args;

fn main() {
    let (args, is_test) = args();
    let seeds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(if is_test { 1 } else { 20 });
    let name = args.iter().find(|arg| arg.parse::<u64>().is_err() && !arg.starts_with('-'));
    let runs = |this: &str| name.is_none_or(|name| name == this);
    let honest = if is_test { 200 } else { 3000 };
    if runs("eclipse") {
        eclipse::print(honest, seeds);
    }
    if runs("reflection") {
        eclipse::print_reflection(honest, seeds);
    }
}
