//! What a bench was called with.

/// The arguments, and whether this is only a test that the bench runs: `cargo test` runs it without
/// `--bench`.
pub(crate) fn args() -> (Vec<String>, bool) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_test = args.iter().any(|arg| arg == "--test") || !args.iter().any(|arg| arg == "--bench");
    (args, is_test)
}
