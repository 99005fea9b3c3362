//! `cargo xtask bench`: criterion's bench over sets of the catalogue, its results kept as records.
//!
//! Criterion's own files say nothing of machine, threads and code, and the next run replaces them. Here each result goes
//! into a record file as soon as criterion has it, beside the peak and the bandwidths measured in the same run. Criterion
//! writes into a folder of this run only: the baselines a user has saved are untouched.

mod criterion;
mod table;

use crate::interruption::Interruption;
use crate::record::{self, Outcome, Record, RecordFile, Run};
use crate::run::{self, Facts};
use crate::{build, process};
use anyhow::{Context, Result, anyhow, bail, ensure};
use convgrad::catalog::{self, ShapeSet};
use convgrad::{Isa, NamedShape};
use criterion::{Measured, Results};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The set of `quick`.
const QUICK: &str = "core";

/// Seconds criterion warms up and measures. It takes ten samples of a call at least: one that takes 50 ms or more takes ten
/// times its own.
const WARM_UP: &str = "0.2";
const MEASUREMENT: &str = "0.5";

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  cargo xtask bench
  cargo xtask bench resnet50,vgg16 --threads 1
  cargo xtask bench full --dtype f64 --layout nhwc --output-dir records

Each result is in the record file, a JSON line, as soon as it is known; docs/benchmarking.md tells of its fields. \
Ctrl-C keeps what was measured.")]
pub struct BenchOptions {
    /// quick (the set core), full (all sets), or sets of the catalogue by name, separated by commas
    #[arg(value_name = "SET", value_delimiter = ',', default_value = "quick")]
    sets: Vec<String>,

    /// The same, written as other commands take it
    #[arg(long = "set", value_name = "SET", value_delimiter = ',', conflicts_with = "sets")]
    set: Vec<String>,

    /// Numbers of threads, separated by commas; 1 and one for each processor if not given
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,

    /// Pass of the layer: wgrad, forward or dgrad
    #[arg(long, value_parser = ["wgrad", "forward", "dgrad"], default_value = "wgrad")]
    pass: String,

    /// Number type
    #[arg(long, value_parser = ["f32", "f64"], default_value = "f32")]
    dtype: String,

    /// Memory order of input and delta
    #[arg(long, value_parser = ["nchw", "nhwc"], default_value = "nchw")]
    layout: String,

    /// Instruction set; the best of this processor if not given
    #[arg(long, value_name = "NAME", value_parser = |name: &str| Isa::by_name(name).map(|_| name.to_owned()))]
    isa: Option<String>,

    /// Folder of the record file; target/records of the repository if not given
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

impl BenchOptions {
    /// The criterion bench that times the pass, and how its ids begin.
    fn bench(&self) -> (&'static str, &str) {
        if self.pass == "wgrad" { ("weight_gradient", "weight_gradient") } else { ("layer", &self.pass) }
    }
}

/// Builds, measures, and prints tables of what was measured, also after an interruption.
pub fn run(root: &Path, options: &BenchOptions) -> Result<ExitCode> {
    let names = if options.set.is_empty() { &options.sets } else { &options.set };
    let sets = chosen_sets(names)?;
    let interruption = Interruption::watch()?;
    let mut kept = Kept { records: Vec::new(), path: None };
    let outcome = measure(root, options, &sets, &interruption, &mut kept);
    for table in table::of(&kept.records) {
        println!("\n{}", table.trim_end());
    }
    if let Some(path) = &kept.path {
        println!("\n{} results in {}", kept.records.len(), path.display());
    }
    interruption.or(outcome)
}

/// What was measured so far, and the file that holds it.
struct Kept {
    records: Vec<Record>,
    path: Option<PathBuf>,
}

/// The sets of these names, each once.
fn chosen_sets(names: &[String]) -> Result<Vec<ShapeSet>> {
    let all = catalog::sets();
    let mut chosen: Vec<ShapeSet> = Vec::new();
    for name in names {
        let of_name: Vec<ShapeSet> = match name.as_str() {
            "full" => all.to_vec(),
            name => {
                let name = if name == "quick" { QUICK } else { name };
                all.iter().filter(|set| set.name() == name).copied().collect()
            }
        };
        let known = || all.iter().map(ShapeSet::name).collect::<Vec<_>>().join(", ");
        ensure!(!of_name.is_empty(), "no set is called `{name}`: choose from quick, full, {}", known());
        chosen.extend(of_name);
    }
    let mut seen = Vec::new();
    chosen.retain(|set| {
        !seen.contains(&set.name()) && {
            seen.push(set.name());
            true
        }
    });
    Ok(chosen)
}

fn measure(
    root: &Path,
    options: &BenchOptions,
    sets: &[ShapeSet],
    interruption: &Interruption,
    kept: &mut Kept,
) -> Result<ExitCode> {
    let facts = Facts::gather(root)?;
    let convgrad = build::convgrad(root)?;
    let bench = build::bench(root, options.bench().0)?;
    let threads = match options.threads.is_empty() {
        true => run::usual_threads(),
        false => options.threads.iter().map(|&count| usize::from(count)).collect(),
    };
    let directory = options.output_dir.clone().unwrap_or_else(|| root.join(record::DIRECTORY));
    let mut file = RecordFile::create(&directory, &facts.date, "bench")?;
    kept.path = Some(file.path().to_owned());
    for threads in threads {
        let run = facts.on(run::machine(&convgrad, threads, &options.dtype, options.isa.as_deref())?);
        for set in sets {
            let series = Series { options, set, run: &run, root };
            let keep = |record: Record| -> Result<()> {
                file.append(&record)?;
                eprintln!("{}", table::line(&record));
                kept.records.push(record);
                Ok(())
            };
            if let Err(error) = series.bench(&bench, interruption, keep) {
                // A bench ends early when a result is wrong, and has said so; or with an interruption, of which is told later.
                if !interruption.asked() {
                    eprintln!("xtask: {error:#}");
                }
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One set with one number of threads.
struct Series<'a> {
    options: &'a BenchOptions,
    set: &'a ShapeSet,
    run: &'a Run,
    root: &'a Path,
}

impl Series<'_> {
    /// Runs criterion and hands on each result.
    fn bench(
        &self,
        bench: &Path,
        interruption: &Interruption,
        mut keep: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let target = bench.parent().with_context(|| format!("{} lies in no folder", bench.display()))?;
        let home = tempfile::Builder::new().prefix("criterion-").tempdir_in(target)?;
        let mut results = Results::in_folder(home.path());
        let shapes = self.set.shapes();

        let mut command = self.command(bench, home.path());
        let mut child = command.spawn().with_context(|| format!("cannot start `{}`", process::line(&command)))?;
        let stderr = child.stderr.take().context("the bench was started with a pipe")?;
        for line in BufReader::new(stderr).lines() {
            if interruption.asked() {
                // Where the signal did not reach it: it may have been sent to this program alone.
                child.kill()?;
                break;
            }
            // Criterion tells each stage of each benchmark, and what it would draw with; the rest is for the user.
            let line = line?;
            if !["Benchmarking ", "Gnuplot not found"].iter().any(|begin| line.starts_with(begin)) {
                writeln!(std::io::stderr(), "{line}")?;
            }
            // When a benchmark begins, the one before has its results; looking more often would disturb what is measured.
            let begins = line.starts_with("Benchmarking ") && !line.contains(": ");
            for measured in if begins { results.arrived() } else { Vec::new() } {
                keep(self.record(&shapes, measured)?)?;
            }
        }
        let status = child.wait()?;
        let complete = status.success() && !interruption.asked();
        for measured in if complete { results.rest()? } else { results.arrived() } {
            keep(self.record(&shapes, measured)?)?;
        }
        ensure!(complete, "the bench of set {} ended with {status}; earlier results are kept", self.set.name());
        Ok(())
    }

    fn command(&self, bench: &Path, home: &Path) -> Command {
        let mut command = Command::new(bench);
        command.current_dir(self.root).env("CRITERION_HOME", home);
        command.env("RAYON_NUM_THREADS", self.run.machine.threads.to_string());
        command.env("CONVGRAD_BENCH_SET", self.set.name());
        command.env("CONVGRAD_BENCH_DTYPE", &self.options.dtype);
        command.env("CONVGRAD_BENCH_LAYOUT", &self.options.layout);
        command.env("CONVGRAD_BENCH_ISA", &self.run.machine.isa);
        // Of criterion's statistics only the median is used, which resampling leaves as it is: as little as it advises.
        command.args(["--bench", "--noplot", "--nresamples", "1000"]);
        // A filter: the bench has other passes as well.
        command.arg(format!("{}/", self.options.bench().1));
        command.args(["--warm-up-time", WARM_UP, "--measurement-time", MEASUREMENT]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn record(&self, shapes: &[NamedShape], measured: Measured) -> Result<Record> {
        let Measured { group, function, value, best_ms, median_ms, samples } = measured;
        let expected = self.group();
        if group != expected {
            bail!("the bench measured `{group}` where it was asked for `{expected}`");
        }
        let shape = shapes.iter().find(|named| named.shape.to_string() == value);
        let shape =
            shape.ok_or_else(|| anyhow!("the bench measured {value}, which is not in set {}", self.set.name()))?;
        Ok(Record {
            format: record::FORMAT,
            run: self.run.clone(),
            set: self.set.name().to_owned(),
            shape: shape.to_string(),
            pass: self.options.pass.clone(),
            layout: self.options.layout.clone(),
            implementation: function,
            chosen: false,
            implementation_version: format!("convgrad {}", self.run.machine.version),
            outcome: Outcome::Timed { best_ms, median_ms, samples },
            error: None,
        })
    }

    /// The group of the benchmarks' ids, as the benches form it: that it comes back as expected shows that
    /// the bench did what it was asked to.
    fn group(&self) -> String {
        let mut group = format!("{}/{}", self.options.bench().1, self.set.name());
        let (layout, machine) = (self.options.layout.as_str(), &self.run.machine);
        for (name, usual) in [(machine.dtype.as_str(), "f32"), (layout, "nchw"), (&machine.isa, Isa::best().name())] {
            if name != usual {
                group = format!("{group}/{name}");
            }
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Machine;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn options(line: &str) -> Result<BenchOptions, clap::Error> {
        Line::try_parse_from(["bench"].into_iter().chain(line.split_whitespace())).map(|line| line.options)
    }

    fn set_names(line: &str) -> Result<Vec<&'static str>> {
        Ok(chosen_sets(&options(line)?.sets)?.iter().map(ShapeSet::name).collect())
    }

    #[test]
    fn sets_are_chosen_by_name_each_once() {
        assert_eq!(set_names("lenet,tiny,lenet").unwrap(), ["lenet", "tiny"]);
        assert_eq!(set_names("full,tiny").unwrap(), catalog::sets().iter().map(ShapeSet::name).collect::<Vec<_>>());
        let error = set_names("tiny,resnet51").unwrap_err().to_string();
        assert!(error.starts_with("no set is called `resnet51`: choose from quick, full, ") && error.contains("lenet"));
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        assert_eq!(options("--threads 1,2").unwrap().threads, [1, 2]);
        for line in [
            "--threads 0",
            "--threads 2000",
            "--threads x",
            "--pass bgrad",
            "--dtype f16",
            "--layout chwn",
            "--isa mmx",
        ] {
            assert!(options(line).is_err(), "{line}");
        }
    }

    /// A series of set tiny with these options, measured on scalar if not told otherwise.
    fn with_series<R>(line: &str, isa: &str, work: impl FnOnce(Series) -> R) -> R {
        let options = options(line).unwrap();
        let machine = Machine {
            version: "0.1.0".to_owned(),
            cpu: String::new(),
            cores: 2,
            isa: isa.to_owned(),
            threads: 2,
            dtype: options.dtype.clone(),
            peak_gflops: 1.0,
            l1_gbs: 1.0,
            l2_gbs: 1.0,
            l3_gbs: 1.0,
            dram_gbs: 1.0,
        };
        let [date, command, revision, rustc] = [(); 4].map(|()| String::new());
        let run = Run { date, command, revision, rustc, machine };
        let sets = chosen_sets(&["tiny".to_owned()]).unwrap();
        work(Series { options: &options, set: &sets[0], run: &run, root: Path::new(".") })
    }

    #[test]
    fn ids_name_what_is_not_usual() {
        let best = Isa::best().name();
        assert_eq!(with_series("tiny", best, |series| series.group()), "weight_gradient/tiny");
        let unusual = with_series("tiny --dtype f64 --layout nhwc", best, |series| series.group());
        assert_eq!(unusual, "weight_gradient/tiny/f64/nhwc");
        assert_eq!(with_series("tiny --pass dgrad --dtype f64", best, |series| series.group()), "dgrad/tiny/f64");
        if best != "scalar" {
            assert_eq!(with_series("tiny", "scalar", |series| series.group()), "weight_gradient/tiny/scalar");
        }
    }

    #[test]
    fn a_result_becomes_a_record_if_it_is_what_was_asked_for() {
        let measured = |group: &str, value: &str| Measured {
            group: group.to_owned(),
            function: "direct".to_owned(),
            value: value.to_owned(),
            best_ms: 0.5,
            median_ms: 0.75,
            samples: 10,
        };
        with_series("tiny --layout nhwc", Isa::best().name(), |series| {
            let shapes = series.set.shapes();
            let record = |group, value| series.record(&shapes, measured(group, value));
            let kept = record("weight_gradient/tiny/nhwc", "mb1ic1ih5oc1oh4kh2").unwrap();
            assert_eq!(kept.shape, r#"mb1ic1ih5oc1oh4kh2n"tiny:square""#);
            assert_eq!([&*kept.set, &*kept.layout, &*kept.implementation], ["tiny", "nhwc", "direct"]);
            assert_eq!(kept.implementation_version, "convgrad 0.1.0");
            assert_eq!(kept.outcome, Outcome::Timed { best_ms: 0.5, median_ms: 0.75, samples: 10 });
            let error = record("weight_gradient/tiny", "mb1ic1ih5oc1oh4kh2").unwrap_err().to_string();
            assert!(error.contains("measured `weight_gradient/tiny` where it was asked for `"), "{error}");
            let error = record("weight_gradient/tiny/nhwc", "mb9ic1ih5oc1oh4kh2").unwrap_err().to_string();
            assert!(error.contains("not in set tiny"), "{error}");
        });
    }
}
