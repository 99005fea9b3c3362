//! The project's own commands, as a program of the workspace so that they need nothing but cargo.

mod asm;
mod bench;
mod build;
mod check;
mod compare;
mod digits;
mod fit;
mod interruption;
mod layering;
mod peers;
mod process;
#[cfg(test)]
mod readme;
mod record;
mod report;
mod run;
mod runner;
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
    /// Measure sets of the catalogue with criterion, and keep the results as records
    Bench(bench::BenchOptions),
    /// Whether a revision made anything slower: both are built, timed in turns, and judged by the machine's noise
    Compare(compare::Options),
    /// Write docs/report.html, docs/performance.md and the README's figures from records of measurements
    Report(report::Options),
    /// Fit the chooser's estimates to measured times, and tell its regret
    Fit(fit::Options),
    /// Read the kernels' innermost loops: no vector on the stack, no panic
    Asm(asm::Options),
    /// Time the example `digits` beside the same network in PyTorch
    Digits(digits::Options),
    /// Time our backends beside other libraries, in turns and on the same data
    Peers(peers::PeersOptions),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Check => check::run(root()),
        Command::Bench(options) => bench::run(root(), &options),
        Command::Compare(options) => compare::run(root(), &options),
        Command::Report(options) => report::run(&options, root()).map(|()| ExitCode::SUCCESS),
        Command::Fit(options) => fit::run(root(), &options),
        Command::Asm(options) => asm::run(root(), &options),
        Command::Digits(options) => digits::run(root(), &options),
        Command::Peers(options) => peers::run(root(), &options),
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
