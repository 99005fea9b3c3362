//! `cargo xtask peers`: our backends and other libraries side by side, on the same shapes, threads, layout and data.
//!
//! The Rust libraries live in the package `xtask/peers`, outside the workspace and with a lock file of its own, so that
//! nobody who builds convgrad builds them; PyTorch lives in a Python environment. Each contestant is a process of its
//! own ([`child`]), is held against the definition before it is timed ([`expected`]), and is timed in turns with the
//! others ([`contest`]). `auto` is the backend that the chooser takes by its estimate; it is timed once, under its own name.

mod answer;
mod child;
mod contest;
mod contestant;
mod expected;
mod summary;
mod table;
pub mod torch;

use crate::interruption::Interruption;
use crate::record::{self, FORMAT, Outcome, Record, RecordFile, Run};
use crate::run::{self, Facts};
use crate::{build, process};
use anyhow::{Context, Result, anyhow, ensure};
use child::Patience;
use contest::{Schedule, Standing, Task, Verdict};
use contestant::Contestant;
use convgrad::catalog::{self, ShapeSet};
use convgrad::{Auto, Backend, ConvShape, Layout, NamedShape, Op};
use expected::Expected;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use summary::Row;
use table::{Contest, Heading};

/// Options of `cargo xtask peers`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  cargo xtask peers --set lenet
  cargo xtask peers --threads 1,2 --torch --output peers.md
  cargo xtask peers --only direct,candle --layout nhwc
  cargo xtask peers --pass forward --set vgg16 --torch

The table goes to stdout, one record for each contestant and shape to a new file under target/records. The Rust \
libraries take some ten minutes to build, the first time.")]
pub struct PeersOptions {
    /// Set of the catalogue
    #[arg(long, value_name = "NAME", default_value = "resnet50", value_parser = known_set)]
    set: ShapeSet,

    /// Numbers of threads, one contest each; by default one thread, and one for each processor
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,

    /// Pass of the layer: wgrad, forward or dgrad
    #[arg(long, value_name = "PASS", default_value = "wgrad", value_parser = known_pass)]
    pass: Op,

    /// Memory order of input and delta
    #[arg(long, default_value = "nchw", value_parser = ["nchw", "nhwc"])]
    layout: String,

    /// Contestants by name; by default all but naive, and torch only if asked for
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = known_contestant)]
    only: Vec<String>,

    /// Let PyTorch take part, installed by pip into an environment under target/peers unless it is there
    #[arg(long)]
    torch: bool,

    /// Let PyTorch take part, from a Python that has it
    #[arg(long, value_name = "PATH")]
    torch_python: Option<PathBuf>,

    /// Rounds in which contestants take turns on each shape
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Seconds for which each contestant is timed on each shape, all rounds together
    #[arg(long, value_name = "SEC", default_value = "0.5", value_parser = seconds)]
    min_time: f64,

    /// Seconds after which a contestant that has not answered is given up
    #[arg(long, value_name = "SEC", default_value = "120", value_parser = seconds)]
    timeout: f64,

    /// Write the table to a file too
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn known_set(name: &str) -> Result<ShapeSet> {
    let known = || catalog::sets().iter().map(ShapeSet::name).collect::<Vec<_>>().join(", ");
    let set = catalog::sets().iter().find(|set| set.name() == name).copied();
    set.ok_or_else(|| anyhow!("no set is called `{name}`: choose from {}", known()))
}

/// A pass that contestants are asked for.
fn known_pass(name: &str) -> Result<Op> {
    let op = Op::ALL.into_iter().find(|op| op.name() == name && *op != Op::BiasGradient);
    op.ok_or_else(|| anyhow!("no pass is called `{name}`: choose from wgrad, forward, dgrad"))
}

fn known_contestant(name: &str) -> Result<String> {
    let known = contestant::names();
    ensure!(known.contains(&name), "nobody is called `{name}`: choose from {}", known.join(", "));
    Ok(name.to_owned())
}

/// A positive time.
fn seconds(text: &str) -> Result<f64> {
    let seconds = text.parse().ok().filter(|seconds: &f64| Duration::try_from_secs_f64(*seconds).is_ok());
    seconds.filter(|&seconds| seconds > 0.0).context("give a positive number of seconds, like 0.5")
}

impl PeersOptions {
    /// Who takes part, in the order of [`contestant::names`].
    fn names(&self) -> Vec<&'static str> {
        let usual = contestant::usual_names();
        let torch = self.torch || self.torch_python.is_some();
        let wanted = |name: &str| match name {
            contestant::TORCH if torch => true,
            name if self.only.is_empty() => usual.contains(&name),
            name => self.only.iter().any(|only| only == name),
        };
        contestant::names().into_iter().filter(|name| wanted(name)).collect()
    }

    fn threads(&self) -> Vec<usize> {
        if self.threads.is_empty() { run::usual_threads() } else { self.threads.iter().map(|&n| n.into()).collect() }
    }
}

/// Runs the contests. Fails with exit code 1 if a result was wrong or one of our backends broke off.
pub fn run(root: &Path, options: &PeersOptions) -> Result<ExitCode> {
    let interruption = Interruption::watch()?;
    interruption.or(compete(root, options, &|| interruption.asked()))
}

fn compete(root: &Path, options: &PeersOptions, stop: &dyn Fn() -> bool) -> Result<ExitCode> {
    let facts = Facts::gather(root)?;
    let convgrad = build::convgrad(root)?;
    let definition = contestant::build_program(root, "definition", "ours")?;
    let mut contestants = Vec::new();
    for name in options.names() {
        contestants.push(Contestant::prepare(root, name, options.torch_python.as_deref())?);
        ensure!(!stop(), "interrupted");
    }
    let mut records = RecordFile::create(&root.join(record::DIRECTORY), &facts.date, "peers")?;
    eprintln!("records go to {}", records.path().display());
    let patience = Patience { limit: Duration::from_secs_f64(options.timeout), stop };
    let mut contests = Vec::new();
    let mut versions = BTreeSet::new();
    for threads in options.threads() {
        let run = facts.on(run::machine(&convgrad, threads, "f32", None)?);
        contests.push(contest(root, options, &definition, run, &mut contestants, &mut records, patience)?);
        versions.extend(contestants.iter().map(|contestant| contestant.version.clone()));
        // The next contest is on another number of threads.
        contestants.iter_mut().for_each(Contestant::stop);
    }
    let versions: Vec<String> = versions.into_iter().collect();
    let heading = Heading { pass: options.pass, set: options.set.name(), layout: &options.layout, versions: &versions };
    let text = table::document(&heading, &contests);
    print!("{text}");
    if let Some(path) = &options.output {
        std::fs::write(path, &text).with_context(|| format!("--output {}: cannot be written", path.display()))?;
    }
    Ok(if contests.iter().any(|contest| contest.failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All shapes on one number of threads.
fn contest(
    root: &Path,
    options: &PeersOptions,
    definition: &Path,
    run: Run,
    contestants: &mut [Contestant],
    records: &mut RecordFile,
    patience: Patience<'_>,
) -> Result<Contest> {
    let threads = run.machine.threads;
    let schedule = Schedule { threads, rounds: options.rounds as usize, seconds: options.min_time };
    let names = contestants.iter().map(|contestant| contestant.name.clone()).collect();
    let mut contest = Contest { run, names, rows: Vec::new(), untimed: Vec::new(), failed: false };
    let shapes = options.set.shapes();
    // Operands may be large: they lie in the target directory and not where a system keeps small files in memory. Each
    // problem takes the place of the last; contestants, which have read it, leave their complaints beside it.
    let directory = tempfile::tempdir_in(root.join("target")).context("cannot create a directory in target")?;
    for (number, (shape, repetitions)) in shapes.iter().zip(options.set.repetitions()).enumerate() {
        eprintln!("threads {threads}, shape {} of {}: {shape}", number + 1, shapes.len());
        let mut make = Command::new(definition);
        let descriptor = shape.shape.to_string();
        process::output(make.args([&descriptor, &options.layout, options.pass.name()]).arg(directory.path()))?;
        let task = Task {
            directory: directory.path(),
            expected: Expected::read(directory.path())?,
            entries: entries(options.pass, &shape.shape),
            terms: terms(options.pass, &shape.shape),
        };
        let standings = contest::hold(contestants, &task, schedule, patience)?;
        let layout = if options.layout == "nhwc" { Layout::Nhwc } else { Layout::Nchw };
        let chosen = auto(options.pass, shape, layout, threads);
        for (contestant, standing) in contestants.iter().zip(&standings) {
            records.append(&record(&contest.run, options, shape, chosen, contestant, standing))?;
        }
        contest.add(shape, chosen, repetitions, contestants, &standings);
    }
    Ok(contest)
}

impl Contest {
    fn add(
        &mut self,
        shape: &NamedShape,
        chosen: Option<&str>,
        repetitions: usize,
        contestants: &[Contestant],
        standings: &[Standing],
    ) {
        let label = shape.name.clone().unwrap_or_else(|| shape.to_string());
        for (contestant, standing) in contestants.iter().zip(standings) {
            if let Some(reason) = standing.verdict.reason() {
                self.untimed.push((contestant.name.clone(), label.clone(), reason));
            }
            self.failed |= match standing.verdict {
                Verdict::Wrong(_) => true,
                Verdict::Failed(_) => contestant.ours,
                Verdict::Timed(_) | Verdict::Refused(_) => false,
            };
        }
        let time = |standing: &Standing| match &standing.verdict {
            Verdict::Timed(timing) => Some((timing.best, timing.median)),
            _ => None,
        };
        self.rows.push(Row {
            flops: shape.shape.flops(),
            repetitions,
            auto: chosen.and_then(|name| self.names.iter().position(|other| other == name)),
            times: standings.iter().map(time).collect(),
            label,
        });
    }
}

/// Entries of the result of a pass.
fn entries(op: Op, shape: &ConvShape) -> usize {
    match op {
        Op::Forward => shape.output_dims().iter().product(),
        Op::InputGradient => shape.input_dims().iter().product(),
        _ => shape.weights_len(),
    }
}

/// Products that each entry sums, or the most of them.
fn terms(op: Op, shape: &ConvShape) -> usize {
    match op {
        Op::Forward => shape.group_in_channels() * shape.taps(),
        Op::InputGradient => shape.group_out_channels() * shape.taps(),
        _ => shape.terms(),
    }
}

/// The backend that the chooser takes, by its estimates.
fn auto(op: Op, shape: &NamedShape, layout: Layout, threads: usize) -> Option<&'static str> {
    let auto = Auto::<f32>::new().layout(layout).threads(threads);
    auto.choose(op, &shape.shape).map(Backend::name)
}

fn record(
    run: &Run,
    options: &PeersOptions,
    shape: &NamedShape,
    chosen: Option<&str>,
    contestant: &Contestant,
    standing: &Standing,
) -> Record {
    let outcome = match &standing.verdict {
        Verdict::Timed(timing) => Outcome::Timed {
            best_ms: timing.best * 1e3,
            median_ms: timing.median * 1e3,
            samples: timing.samples as u64,
        },
        verdict => Outcome::Refused { refused: verdict.reason().unwrap_or_default() },
    };
    Record {
        format: FORMAT,
        run: run.clone(),
        set: options.set.name().to_owned(),
        shape: shape.to_string(),
        pass: options.pass.name().to_owned(),
        layout: options.layout.clone(),
        implementation: contestant.name.clone(),
        chosen: chosen == Some(&contestant.name),
        implementation_version: contestant.version.clone(),
        outcome,
        error: standing.error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use convgrad::measure::Timing;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: PeersOptions,
    }

    fn options(arguments: &[&str]) -> Result<PeersOptions, String> {
        let line = Line::try_parse_from(["peers"].iter().chain(arguments));
        line.map(|line| line.options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_names_who_takes_part() {
        let names = |arguments: &[&str]| options(arguments).unwrap().names();
        assert_eq!(names(&[]), contestant::usual_names());
        assert_eq!(names(&["--only", "torch,direct,naive"]), ["direct", "naive", "torch"]);
        assert_eq!(names(&["--only", "direct", "--torch"]), ["direct", "torch"]);
        assert_eq!(names(&["--torch-python", "python3"]).last(), Some(&"torch"));
        assert_eq!(options(&["--threads", "1,4"]).unwrap().threads(), [1, 4]);
    }

    #[test]
    fn bad_arguments_are_refused_with_what_there_is() {
        for (arguments, words) in [
            (["--set", "resnet51"], ["no set is called `resnet51`", "resnet50"]),
            (["--only", "direct,caffe"], ["nobody is called `caffe`", "im2col-gemm, candle"]),
            (["--threads", "0"], ["--threads", "1..=1024"]),
            (["--layout", "hwcn"], ["--layout", "nchw, nhwc"]),
            (["--pass", "bgrad"], ["no pass is called `bgrad`", "wgrad, forward, dgrad"]),
            (["--rounds", "0"], ["--rounds", "0"]),
            (["--min-time", "nan"], ["--min-time", "like 0.5"]),
            (["--timeout", "0"], ["--timeout", "positive"]),
        ] {
            let error = options(&arguments).err().unwrap();
            assert!(words.iter().all(|word| error.contains(word)), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_contest_fails_by_a_wrong_result_or_one_of_ours_that_broke_off() {
        let shape: NamedShape = "mb1ic1ih3oc1kh2n\"a\"".parse().unwrap();
        let contestants =
            [("direct", true), ("candle", false)].map(|(name, ours)| Contestant::new(name, ours, Ok(vec![])));
        let timed = Verdict::Timed(Timing { best: 1.0, median: 2.0, samples: 3 });
        let failed = |verdicts: [Verdict; 2]| {
            let run = serde_json::from_str(
                r#"{"date":"d","command":"c","revision":"r","rustc":"r","version":"0.1.0","cpu":"A","cores":2,"isa":"avx2",
                    "threads":1,"dtype":"f32","peak_gflops":1.5,"l1_gbs":4,"l2_gbs":3,"l3_gbs":2,"dram_gbs":1}"#,
            );
            let names = vec!["direct".to_owned(), "candle".to_owned()];
            let mut contest = Contest { run: run.unwrap(), names, rows: vec![], untimed: vec![], failed: false };
            let standings = verdicts.map(|verdict| Standing { verdict, error: None });
            contest.add(&shape, Some("direct"), 1, &contestants, &standings);
            assert_eq!(contest.rows[0].auto, Some(0));
            (contest.failed, contest.untimed.len())
        };
        let reason = String::new;
        assert_eq!(failed([timed.clone(), timed.clone()]), (false, 0));
        assert_eq!(failed([timed.clone(), Verdict::Refused(reason())]), (false, 1));
        assert_eq!(failed([timed.clone(), Verdict::Failed(reason())]), (false, 1));
        assert_eq!(failed([Verdict::Failed(reason()), timed.clone()]), (true, 1));
        assert_eq!(failed([timed, Verdict::Wrong(reason())]), (true, 1));
    }
}
