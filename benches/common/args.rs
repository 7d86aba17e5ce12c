//! The command line of a bench.

/// The arguments, and whether the bench is only tested: `cargo test` runs it without `--bench`.
pub(crate) fn args() -> (Vec<String>, bool) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_test = args.iter().any(|arg| arg == "--test") || !args.iter().any(|arg| arg == "--bench");
    (args, is_test)
}
