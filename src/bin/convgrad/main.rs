//! The command line: convgrad from a shell, on .npy files and shape lists.
//!
//! A subcommand is a file with its options and a `run`. It returns an error for everything that stops it; here an error
//! becomes one line on stderr and an exit code: 1 for a check that failed, 2 for usage and input that cannot be served.
//! Output goes through `writeln!`, never `println!`, so that a reader that hangs up (`| head`) ends the program quietly.

#![deny(unsafe_code)]

mod arguments;
mod backends;
mod bench;
mod choose;
mod data;
mod demo;
mod gradient;
mod machine;
mod npy;
mod output;
mod sets;
mod table;
mod tune;
mod verify;
mod wisdom;

use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The gradient of a convolution with respect to its weights: compute it, check it, time it.
#[derive(Parser)]
#[command(name = "convgrad", version, after_help = SHAPE_HELP)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show what this is about, on a worked example and a photograph (what runs without a command)
    Demo(demo::DemoOptions),
    /// List the backends, what they are and what they compute on this processor, or how they would compute given problems
    Backends(backends::BackendsOptions),
    /// List the named sets of problems, or print the problems of some
    Sets(sets::SetsOptions),
    /// Compute dE/dw, and dE/db if wished, from .npy files
    Gradient(Box<gradient::GradientOptions>),
    /// Check backends against the definition in double precision; exit code 1 if one fails
    Verify(verify::VerifyOptions),
    /// Time backends beside each other
    Bench(bench::BenchOptions),
    /// Tell which backend is chosen for a problem, and why; exit code 1 if none is
    Choose(choose::ChooseOptions),
    /// Time the backends on problems, and remember which was the fastest
    Tune(tune::TuneOptions),
    /// Show, merge and check files of remembered times
    Wisdom(wisdom::WisdomOptions),
    /// Measure what this machine has to give: its peak, and how fast it reads
    Machine(machine::MachineOptions),
}

const SHAPE_HELP: &str = "\
SHAPES are problem descriptors as oneDNN's benchdnn reads them:

  mb8ic64ih56oc64kh3ph1    3x3 convolution of eight 56x56 images, 64 channels
                           to 64, padding 1
  mb8_ic64_iw500_oc8_kw9   blanks are not allowed, _ is; only w fields: 1-D

  mb          batch, 2 if missing
  g           groups, 1 if missing
  ic oc       channels of input and output, all groups together
  ih oh kh    height of input, output and kernel
  sh ph dh    stride (1 if missing), padding before the input, and dilation
              counted from 0, along the height
  iw ow ...   the same along the width, copied from the height if missing
  id od ...   the same along the depth, for 3-D
  n\"name\"     at the end: a name

  A missing output follows from the padding, a missing padding from the output.

EXAMPLES
  convgrad
  convgrad backends
  convgrad backends mb8ic64ih56oc64kh3ph1
  convgrad sets
  convgrad verify mb2ic16ih14oc32kh3ph1
  convgrad bench mb8ic64ih56oc64kh3ph1 --threads 1
  convgrad bench --set core
  convgrad choose mb8ic64ih56oc64kh3ph1
  convgrad gradient mb1ic1ih5oc1kh2 --input X.npy --delta D.npy -o DW.npy

Without a command, the demo runs.

EXIT CODES
  0 fine   1 a check failed   2 bad usage or bad input";

/// A check that was carried out and failed, in contrast to one that could not be.
#[derive(Debug)]
pub struct CheckFailed(pub String);

impl fmt::Display for CheckFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CheckFailed {}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.len() < 2 {
        arguments = vec!["convgrad".into(), "demo".into()];
    }
    let result = match CommandLine::try_parse_from(arguments) {
        Ok(line) => run(line.command),
        Err(refused) => return usage(&refused),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if hung_up(&error) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), exit_code(&error)),
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Backends(options) => backends::run(&options),
        Command::Sets(options) => sets::run(&options),
        Command::Gradient(options) => gradient::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Choose(options) => choose::run(&options),
        Command::Tune(options) => tune::run(&options),
        Command::Wisdom(options) => wisdom::run(&options),
        Command::Machine(options) => machine::run(&options),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<CheckFailed>() { 1 } else { 2 }
}

/// Whether whoever read our output has stopped reading.
fn hung_up(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Help and version as clap prints them; its complaints, spread over paragraphs, drawn together to one line.
fn usage(refused: &clap::Error) -> ExitCode {
    if matches!(refused.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = refused.print();
        return ExitCode::SUCCESS;
    }
    let text = refused.render().to_string();
    let paragraphs = text.trim_start_matches("error:").split("\n\n");
    let lines = paragraphs.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let complaints = lines.filter(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    complain(&format!("{} (--help explains)", complaints.collect::<Vec<_>>().join("; ")), 2)
}

fn complain(line: &str, code: u8) -> ExitCode {
    // Nothing is left to be done for a user whose stderr is closed.
    let _ = writeln!(io::stderr(), "convgrad: {line}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn only_a_failed_check_exits_with_1() {
        assert_eq!(exit_code(&CheckFailed("1 of 2 failed".into()).into()), 1);
        let with_context: anyhow::Error = Err::<(), _>(CheckFailed("1".into())).context("verify").unwrap_err();
        assert_eq!(exit_code(&with_context), 1);
        assert_eq!(exit_code(&anyhow!("no such file")), 2);
    }

    #[test]
    fn only_a_broken_pipe_is_a_reader_that_hung_up() {
        assert!(hung_up(&io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(!hung_up(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
