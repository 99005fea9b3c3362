//! The command line: convgrad from a shell, on .npy files and shape lists.
//!
//! A subcommand is a file with its options and a `run`. It returns an error for everything that stops it; here an error
//! becomes one line on stderr and an exit code: 1 for a check that failed, 2 for usage and input that cannot be served.
//! Output goes through `writeln!`, never `println!`, so that a reader that hangs up (`| head`) ends the program quietly.

#![deny(unsafe_code)]

mod arguments;
mod backends;
mod bench;
mod data;
mod demo;
mod gradient;
mod npy;
mod output;
mod table;
mod verify;

use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The gradient of a convolution with respect to its weights: compute it, check it, time it.
#[derive(Parser)]
#[command(name = "convgrad", version, after_long_help = SHAPE_HELP, after_help = "Without a command: demo.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show what this is about, on a worked example and a photograph (what runs without a command)
    Demo(demo::DemoOptions),
    /// List the backends, what they are and what they compute on this processor
    Backends,
    /// Compute dE/dw, and dE/db if wished, from .npy files
    Gradient(Box<gradient::GradientOptions>),
    /// Check backends against the definition in double precision; exit code 1 if one fails
    Verify(verify::VerifyOptions),
    /// Time backends beside each other
    Bench(bench::BenchOptions),
}

const SHAPE_HELP: &str = "\
SHAPES are problem descriptors as oneDNN's benchdnn reads them, fields in any order:

  mb8 g1 ic64 ih56 iw56 oc64 oh56 ow56 kh3 kw3 sh1 sw1 ph1 pw1 dh0 dw0 n\"name\"    without the blanks

  mb batch   g groups   ic, oc channels, all groups together
  i. o. k. s. p. d.     input, output, kernel, stride, padding before, dilation counted from 0, each with
                        w for 1-D; h, w for 2-D; d, h, w for 3-D

  Missing w fields copy h. Missing mb is 2, g and s are 1, d is 0; a missing o follows from p, a missing p from o.
  mb8ic64ih56oc64kh3ph1 is a 3x3 convolution of eight 56x56 images from 64 to 64 channels.

EXAMPLES
  convgrad                                             the demo
  convgrad backends
  convgrad verify mb2ic16ih14oc32kh3ph1
  convgrad bench mb8ic64ih56oc64kh3ph1 --threads 1
  convgrad gradient mb1ic1ih5oc1kh2 --input X.npy --delta D.npy -o DW.npy

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
        Command::Backends => backends::run(),
        Command::Gradient(options) => gradient::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Bench(options) => bench::run(&options),
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
    let complaints = paragraphs.map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    let complaints: Vec<String> = complaints.take_while(|p| !p.starts_with("Usage:")).collect();
    complain(
        &format!(
            "{} (--help explains)",
            complaints.join("; ").trim_end_matches("; For more information, try '--help'.")
        ),
        2,
    )
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
