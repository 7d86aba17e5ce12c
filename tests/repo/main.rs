//! What holds for the repository itself: every requirement has its test, and no file uses what lies above it.
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

mod checklist;
mod floors;
mod language;
