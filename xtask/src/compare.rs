//! `cargo xtask compare BASE [HEAD]`: whether a revision made anything slower, on a machine that is not quiet.
//!
//! Times of yesterday say nothing about today's machine, so both revisions are built and run in turns, many short rounds
//! (`rounds`), each beside a second copy of BASE: what the same program differs from itself is the machine's noise, and
//! only what goes beyond it is called a change (`statistics`). A row that looks changed is measured again with fresh
//! rounds and has to look so a second time. docs/comparing.md tells how to read the result.
//!
//! Revisions are timed by their own command line, whose form is stable: any that has it can be compared.

mod build;
mod judgement;
mod pairs;
mod plan;
mod rounds;
mod session;
mod statistics;
mod worktree;

use crate::record::{self, RecordFile};
use crate::run::Facts;
use crate::runner::Runner;
use anyhow::Result;
use convgrad::{NamedShape, Op};
use pairs::Run;
use rounds::{Manner, Programs};
use session::Session;
use statistics::Verdict;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use worktree::{Held, Revision};

/// Rounds: five times each of the six orders. After them a change of 5 % is found in 96 of 100 runs on the machine of the
/// statistics' tests, every eighth of whose times is spoilt.
const ROUNDS: usize = 30;

/// Rounds of a quick run, which finds a change of 10 % in 89 of 100 there.
const QUICK_ROUNDS: usize = 15;

/// Which revisions, and how they are timed.
#[derive(clap::Args)]
#[command(after_help = "\
EXIT CODES
  0 nothing got slower   1 something got slower   2 bad usage or bad input   130 interrupted

The ratio is HEAD's time over BASE's. docs/comparing.md tells how to read the table.")]
pub struct Options {
    /// The revision to compare with
    base: String,

    /// The revision in question; the commit that is checked out if not given
    head: Option<String>,

    /// Set of the catalogue
    #[arg(long, value_name = "NAME", default_value = "core", conflicts_with = "shape")]
    set: String,

    /// A shape instead of a set; may be repeated
    #[arg(long, value_name = "SHAPE")]
    shape: Vec<NamedShape>,

    /// Backends by name, separated by commas, or all that both revisions have
    #[arg(long, value_name = "LIST", default_value = "all", value_delimiter = ',')]
    backend: Vec<String>,

    /// Numbers of threads, separated by commas; 1 and one for each processor if not given
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,

    /// Pass of the layer: wgrad, bgrad, forward or dgrad
    #[arg(long, value_name = "PASS", default_value = "wgrad", value_parser = Op::ALL.map(Op::name))]
    pass: String,

    /// Memory order of input and delta
    #[arg(long, default_value = "nchw", value_parser = ["nchw", "nhwc"])]
    layout: String,

    /// Number type
    #[arg(long, default_value = "f32", value_parser = ["f32", "f64"])]
    dtype: String,

    /// Seconds of measuring for each backend and process
    #[arg(long, value_name = "SEC", default_value = "0.005", value_parser = seconds)]
    min_time: f64,

    /// Rounds: pairs of times for each row
    #[arg(long, value_name = "N", default_value_t = ROUNDS, value_parser = enough_rounds)]
    rounds: usize,

    /// Fewer rounds, which find only larger changes, and if not told otherwise on one thread
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0 && seconds.is_finite());
    seconds.ok_or_else(|| "give a positive number of seconds, like 0.005".to_owned())
}

fn enough_rounds(text: &str) -> Result<usize, String> {
    let rounds = text.parse().ok().filter(|&rounds| rounds >= statistics::MIN_PAIRS);
    rounds.ok_or_else(|| format!("give a whole number from {}: fewer pairs are not judged", statistics::MIN_PAIRS))
}

/// Builds, measures, judges and prints; the exit code is 1 when something got slower.
pub fn run(repository: &Path, options: &Options) -> Result<ExitCode> {
    let runner = Runner::watch()?;
    runner.or(compare(repository, options, &runner))
}

fn compare(repository: &Path, options: &Options, runner: &Runner) -> Result<ExitCode> {
    let shapes = plan::shapes(options)?;
    let base = Revision::resolve(repository, &options.base)?;
    let head = match &options.head {
        Some(name) => Revision::resolve(repository, name)?,
        None => Revision::checked_out(repository)?,
    };
    if base.hash == head.hash {
        eprintln!("BASE and HEAD are the same commit: whatever differs is noise");
    }

    let held = Held::wait(&repository.join("target/compare"), runner)?;
    let folder = held.begin(repository)?;
    let build = |revision| build::program_of(revision, repository, &held, &folder, runner);
    let kept = [build(&base)?, build(&head)?];
    let copies = |stage: &str| Programs::copy(&kept[0], &kept[1], &folder.path().join(stage));
    let stages = [copies("1")?, copies("2")?];
    // Programs are copied: the next comparison may build.
    drop(held);

    let manner = Manner {
        pass: options.pass.clone(),
        layout: options.layout.clone(),
        dtype: options.dtype.clone(),
        min_time: options.min_time,
    };
    let tasks = plan::tasks(options, &shapes, stages[0].base_and_head(), &manner, runner)?;
    let Facts { date, command, rustc, .. } = Facts::gather(repository)?;
    let records = RecordFile::create(&repository.join(record::DIRECTORY).join("compare"), &date, "compare")?;
    eprintln!("every time measured is kept in {}", records.path().display());
    let rounds = if options.quick { QUICK_ROUNDS } else { options.rounds };
    let run = Run {
        date,
        command,
        base: base.hash.clone(),
        head: head.hash.clone(),
        rustc,
        cores: std::thread::available_parallelism()?.get(),
        pass: manner.pass.clone(),
        layout: manner.layout.clone(),
        dtype: manner.dtype.clone(),
        min_time: manner.min_time,
    };
    let mut session = Session { run, records, manner, tasks, rounds, runner };
    let judgements = session.judge(&stages)?;

    let out = &mut std::io::stdout();
    writeln!(out, "BASE {} ({}), HEAD {} ({})\n", base.name, base.short(), head.name, head.short())?;
    writeln!(out, "{}\n", judgements.table(&session.tasks))?;
    writeln!(out, "{}", judgements.summary())?;
    Ok(if judgements.count(Verdict::Slower) > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
