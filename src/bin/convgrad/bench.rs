//! `convgrad bench`: backends timed beside each other on the same operands.

use crate::arguments::{self, BackendList, Dtype, LayoutName, Pass, Task, Tasks, Threads};
use crate::data;
use crate::table::{self, Column};
use anyhow::{Context, Result};
use convgrad::measure::{self, Temperature, Timing};
use convgrad::{Backend, Error, Op, Registered};
use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

/// Options of `convgrad bench`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad bench mb8ic64ih56oc64kh3ph1
  convgrad bench -f shapes.txt --backend direct,im2col --threads 1 --layout nhwc
  convgrad bench --set resnet50,vgg16 --csv > times.csv
  convgrad bench --set resnet50 --pass dgrad

Rates count two operations per tap, channel pair and output position, padding included, whatever a backend executes: \
a backend that leaves the padding out can exceed the peak. The peak is that of this processor's fused multiply-adds \
for this number type and number of threads, measured in the same run. * marks the fastest.

The columns of --csv are backend, pass, layout, shape, threads, best_ms, median_ms, gflops. Times have 4 decimals, or \
as many as make 5 significant digits; rates have 1, or as many as make 3.")]
pub struct BenchOptions {
    #[command(flatten)]
    tasks: Tasks,

    #[command(flatten)]
    backends: BackendList,

    /// The pass of the layer
    #[arg(long, value_enum, default_value = "wgrad")]
    pass: Pass,

    /// Memory order of input, output and delta
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,

    /// Number type
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,

    #[command(flatten)]
    threads: Threads,

    /// Seconds of measuring for each backend and shape
    #[arg(long, value_name = "SEC", allow_negative_numbers = true, default_value = "0.5", value_parser = arguments::seconds)]
    min_time: Duration,

    /// Empty the caches before each call
    #[arg(long)]
    cold: bool,

    /// Print comma-separated values instead of a table
    #[arg(long)]
    csv: bool,

    /// Print under each result how the backend went about it, where it makes a plan
    #[arg(short, long, conflicts_with = "csv")]
    verbose: bool,
}

/// Times and prints, a shape after the other.
pub fn run(options: &BenchOptions) -> Result<()> {
    let tasks = options.tasks.read()?;
    options.threads.run(|| match options.dtype {
        Dtype::F32 => bench::<f32>(options, &tasks),
        Dtype::F64 => bench::<f64>(options, &tasks),
    })
}

fn bench<T: Registered>(options: &BenchOptions, tasks: &[Task]) -> Result<()> {
    let op = options.pass.op();
    let backends = options.backends.select::<T>(options.layout.layout());
    let out = &mut io::stdout();
    let report = Report::begin::<T>(options, &backends, out)?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?;
    // Hidden by itself where stderr is no terminal.
    let progress = ProgressBar::new(tasks.len() as u64).with_style(style);
    for task in tasks {
        progress.set_message(task.text.clone());
        progress.tick();
        let mut able = Vec::new();
        for backend in &backends {
            match backend.supports(op, &task.shape) {
                Ok(()) => able.push(&**backend),
                // Of all backends there are, some refuse many shapes; that is worth a line only where one was asked for.
                Err(_) if !options.backends.names(backend.name()) => {}
                Err(refusal) => progress.suspend(|| writeln!(io::stderr(), "convgrad: {}: {refusal}", task.text))?,
            }
        }
        let temperature = if options.cold { Temperature::Cold } else { Temperature::Warm };
        let timings = measure::passes(op, &task.shape, options.layout.layout(), &able, options.min_time, temperature)
            .map_err(|error| match error {
                Error::OutOfMemory { bytes } => data::too_large(bytes as f64),
                other => other.into(),
            })
            .with_context(|| format!("SHAPE {}", task.text))?;
        let plan = |backend: &dyn Backend<T>| backend.plan(op, &task.shape).filter(|_| options.verbose);
        let results: Vec<_> = able.iter().zip(timings).map(|(&b, timing)| (b.name(), timing, plan(b))).collect();
        progress.suspend(|| report.write(task, &results, out))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}

/// How results are printed.
enum Report {
    Csv { op: Op, layout: LayoutName, threads: usize },
    Table { columns: [Column; 6], peak: f64 },
}

impl Report {
    /// Prints what stands above the results; for people, that takes a measurement of the peak.
    fn begin<T: Registered>(
        options: &BenchOptions,
        backends: &[Box<dyn Backend<T>>],
        out: &mut dyn Write,
    ) -> Result<Report> {
        let threads = rayon::current_num_threads();
        if options.csv {
            writeln!(out, "backend,pass,layout,shape,threads,best_ms,median_ms,gflops")?;
            return Ok(Report::Csv { op: options.pass.op(), layout: options.layout, threads });
        }
        let isa = options.backends.isa();
        let peak = measure::peak_flops::<T>(isa);
        let unit = if threads == 1 { "thread" } else { "threads" };
        writeln!(out, "FMA peak of {threads} {unit}, {} on {isa}: {:.1} GFLOP/s\n", T::NAME, peak / 1e9)?;
        // The mark of the fastest takes two places beside the name.
        let width = backends.iter().map(|b| b.name().len() + 2).max().unwrap_or(0);
        let columns = [
            Column::new("backend", width),
            Column::new("GFLOP/s", 8),
            Column::new("% peak", 0),
            Column::new("best ms", 10),
            Column::new("median ms", 10),
            Column::new("shape", 0),
        ];
        table::write_titles(out, &columns)?;
        Ok(Report::Table { columns, peak })
    }

    /// Prints the results of one shape, each with the plan behind it if that is wanted.
    fn write(&self, task: &Task, results: &[(&str, Timing, Option<String>)], out: &mut dyn Write) -> io::Result<()> {
        let flops = task.shape.flops();
        let fastest = results.iter().map(|(_, timing, _)| timing.best).fold(f64::INFINITY, f64::min);
        for (name, Timing { best, median, .. }, plan) in results {
            let rate = flops / best;
            match self {
                Report::Csv { op, layout, threads } => {
                    let (pass, layout, shape) = (op.name(), layout.name(), csv_field(&task.text));
                    let [best, median, gflops] = [milliseconds(*best), milliseconds(*median), gigaflops(rate)];
                    writeln!(out, "{name},{pass},{layout},{shape},{threads},{best},{median},{gflops}")?;
                }
                Report::Table { columns, peak } => {
                    let mark = if *best == fastest { "* " } else { "" };
                    let cells = [
                        format!("{mark}{name}"),
                        gigaflops(rate),
                        number(100.0 * rate / peak, 1, 3),
                        milliseconds(*best),
                        milliseconds(*median),
                        task.text.clone(),
                    ];
                    table::write_row(out, columns, cells)?;
                    if let Some(plan) = plan {
                        writeln!(out, "    {plan}")?;
                    }
                }
            }
        }
        match self {
            Report::Table { .. } => writeln!(out),
            Report::Csv { .. } => Ok(()),
        }
    }
}

fn milliseconds(seconds: f64) -> String {
    number(seconds * 1e3, 4, 5)
}

fn gigaflops(rate: f64) -> String {
    number(rate / 1e9, 1, 3)
}

/// A number with so many decimals, or more where it is so small that they would not hold as many significant digits:
/// the smallest problems take some ten nanoseconds, and would all seem to take the same time.
fn number(value: f64, decimals: usize, significant: i32) -> String {
    let places_to_first_digit = if value > 0.0 { -value.log10().floor() as i32 } else { 0 };
    let needed = usize::try_from(places_to_first_digit + significant - 1).unwrap_or(0);
    format!("{value:.digits$}", digits = decimals.max(needed))
}

/// A field as RFC 4180 has it, quoted only where it must be: quotes belong to a descriptor's name and are common.
fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_quoted_only_where_it_must_be() {
        assert_eq!(csv_field("ic1ih5oc1kh2n\"a\""), "ic1ih5oc1kh2n\"a\"");
        assert_eq!(csv_field("ic1ih5oc1kh2n\"a,b\""), "\"ic1ih5oc1kh2n\"\"a,b\"\"\"");
    }

    #[test]
    fn the_fastest_is_marked_and_rates_come_from_the_best() {
        let task: Task = "mb1ic1ih5oc1kh2".parse().unwrap();
        let timing = |best| Timing { best, median: 2.0 * best, samples: 3 };
        let results = [("slow", timing(1e-3), Some("plan".to_owned())), ("fast", timing(1e-6), None)];
        let columns = ["backend", "GFLOP/s", "% peak", "best ms", "median ms", "shape"].map(|t| Column::new(t, 6));
        let mut out = Vec::new();
        Report::Table { columns, peak: 1.28e9 }.write(&task, &results, &mut out).unwrap();
        let lines: Vec<Vec<String>> = String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect();
        assert_eq!(lines[0], ["slow", "0.000128", "0.0100", "1.0000", "2.0000", "mb1ic1ih5oc1kh2"]);
        assert_eq!(lines[1], ["plan"]);
        // 2 * 16 positions * 4 taps in a microsecond.
        assert_eq!(lines[2], ["*", "fast", "0.128", "10.0", "0.0010000", "0.0020000", "mb1ic1ih5oc1kh2"]);
    }

    #[test]
    fn small_numbers_keep_their_significant_digits() {
        for (seconds, text) in [
            (0.0, "0.0000"),
            (2.2134e-9, "0.0000022134"),
            (2.2134567e-6, "0.0022135"),
            (0.99999e-4, "0.099999"),
            (1e-4, "0.10000"),
            (1.23456e-3, "1.2346"),
            (12.5, "12500.0000"),
        ] {
            assert_eq!(milliseconds(seconds), text);
        }
        for (rate, text) in [(1.2345e6, "0.00123"), (1.2345e9, "1.23"), (98.76e9, "98.8"), (4567.89e9, "4567.9")] {
            assert_eq!(gigaflops(rate), text);
        }
    }
}
