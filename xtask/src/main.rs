//! The project's own commands, as a program of the workspace so that they need nothing but cargo.
//!
//! `cargo xtask check` is everything a change must pass besides its tests; `cargo xtask measured` renews the README's
//! measurements.

mod check;
mod layering;
mod measured;
#[cfg(test)]
mod readme;
mod source;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

commands:
  check      format, sources, clippy, docs, benches once; stops at the first step that fails
  measured   writes the measurements in README.md anew, from this machine
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => check::run(root()),
        ["measured"] => measured::run(root()),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The repository, in which this program is the folder `xtask`.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}
