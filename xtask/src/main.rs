//! The project's own commands, as a program of the workspace so that they need nothing but cargo.

mod build;
mod check;
mod interruption;
mod layering;
mod measured;
mod peers;
mod process;
#[cfg(test)]
mod readme;
#[allow(dead_code)]
mod record;
mod run;
mod source;

use clap::Parser;
use std::path::Path;
use std::process::ExitCode;

/// The project's own commands.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "EXIT CODES\n  0 fine, 1 a check failed, 2 bad usage or bad input, 130 interrupted"
)]
enum Command {
    /// Format, sources, clippy, docs, benches once; stops at the first step that fails
    Check,
    /// Write the measurements in README.md anew, from this machine
    Measured,
    /// Time our backends beside other libraries, in turns and on the same data
    Peers(peers::PeersOptions),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Check => check::run(root()),
        Command::Peers(options) => peers::run(root(), &options),
        Command::Measured => measured::run(root()).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(2)
    })
}

/// The repository, in which this program is the folder `xtask`.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}
