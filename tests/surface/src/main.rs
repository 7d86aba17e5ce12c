//! Lists what the crate offers to its users, and shows what has changed in `surface.txt`.
//!
//! Needs a nightly toolchain. With `--write` the list is accepted as it is.

use std::process::ExitCode;
use std::{env, error::Error, fs, path::Path};

/// All but `cli`, which adds nothing to the library.
const FEATURES: [&str; 8] = ["net", "items", "tokio", "smol", "sim", "checkpoint", "log", "tracing"];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let json = rustdoc_json::Builder::default()
        .toolchain("nightly")
        .manifest_path(here.join("../../Cargo.toml"))
        .features(FEATURES)
        .build()?;
    let surface = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    let surface = match surface {
        Ok(surface) => surface,
        Err(error) => {
            println!("skipped: the format of this nightly toolchain is not known: {error}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let now: Vec<String> = surface.items().map(ToString::to_string).collect();
    let path = here.join("surface.txt");
    if env::args().any(|arg| arg == "--write") {
        fs::write(&path, now.join("\n") + "\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&path)?;
    let before: Vec<&str> = text.lines().collect();
    let gone = before.iter().filter(|line| !now.iter().any(|item| item == *line));
    let new = now.iter().filter(|item| !before.contains(&item.as_str()));
    let changes: Vec<String> =
        gone.map(|item| format!("- {item}")).chain(new.map(|item| format!("+ {item}"))).collect();
    println!("{} public items, {} changes", now.len(), changes.len());
    if changes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{}\nif this is meant: cargo run --manifest-path tests/surface/Cargo.toml -- --write",
        changes.join("\n")
    );
    Ok(ExitCode::FAILURE)
}
