//! `convgrad tune`: times the backends on problems, and keeps the times in a file for choices to come.

use crate::arguments::{self, Dtype, Task, Tasks};
use crate::choose::Limits;
use crate::table::{self, Column};
use anyhow::{Context, Result};
use convgrad::Registered;
use convgrad::auto::{Budget, Policy, Wisdom};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of `convgrad tune`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad tune -f shapes.txt --wisdom wisdom.json
  convgrad tune --set resnet50 --threads 1 --layout nhwc

Only candidates whose estimates are near the shortest are timed, and no problem that the file knows already. Times are saved \
after each problem, so that nothing is lost if it is stopped, and several processes may tune into one file.")]
pub struct TuneOptions {
    #[command(flatten)]
    tasks: Tasks,

    #[command(flatten)]
    limits: Limits,

    /// The file of times; in the platform's folder for caches if not given
    #[arg(long, value_name = "FILE")]
    wisdom: Option<PathBuf>,

    /// Seconds of measuring for each problem
    #[arg(long, value_name = "SEC", allow_negative_numbers = true, default_value = "0.5", value_parser = arguments::seconds)]
    budget: Duration,
}

/// The file named, or the usual one.
pub fn wisdom_path(named: Option<&Path>) -> Result<PathBuf> {
    let usual = || Wisdom::default_path().context("this platform has no folder for caches; name a file of wisdom");
    named.map_or_else(usual, |path| Ok(path.to_owned()))
}

/// Times, tells, saves.
pub fn run(options: &TuneOptions) -> Result<()> {
    let tasks = options.tasks.read()?;
    let path = wisdom_path(options.wisdom.as_deref())?;
    options.limits.threads.run(|| match options.limits.dtype() {
        Dtype::F32 => tune::<f32>(options, &tasks, &path),
        Dtype::F64 => tune::<f64>(options, &tasks, &path),
    })
}

fn tune<T: Registered>(options: &TuneOptions, tasks: &[Task], path: &Path) -> Result<()> {
    let (known, warnings) = Wisdom::load(path);
    for warning in warnings {
        writeln!(io::stderr(), "convgrad: {warning}")?;
    }
    let policy = Policy::Measure(Budget { shape: options.budget, process: Duration::MAX });
    let auto = options.limits.auto::<T>().policy(policy).with_wisdom(&known);
    let out = &mut io::stdout();
    let columns = [
        Column::new("backend", 10),
        Column::new("best ms", 10),
        Column::new("over estimate", 0),
        Column::new("shape", 0),
    ];
    table::write_titles(out, &columns)?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}")?;
    let progress = ProgressBar::new(tasks.len() as u64).with_style(style);
    // A file that cannot be written should be known before an hour of measuring.
    save(&Wisdom::default(), path)?;
    for Task { text, shape } in tasks {
        progress.set_message(text.clone());
        progress.tick();
        let explanation = auto.explain(options.limits.op(), shape);
        save(&auto.known(), path)?;
        let chosen = explanation.choice.and_then(|(name, _)| explanation.candidates.iter().find(|c| c.backend == name));
        let estimated = explanation.candidates.iter().filter(|c| c.refusal.is_none());
        let estimated = estimated
            .min_by(|a, b| a.handicapped_ms().partial_cmp(&b.handicapped_ms()).unwrap_or(std::cmp::Ordering::Equal));
        let gain = estimated.and_then(|c| Some(c.measured_ms? / chosen?.measured_ms?));
        let cells = [
            chosen.map_or("none", |candidate| candidate.backend).to_owned(),
            chosen.and_then(|candidate| candidate.measured_ms).map_or("-".to_owned(), |ms| format!("{ms:.4}")),
            gain.map_or("-".to_owned(), |gain| format!("{gain:.2}x")),
            text.clone(),
        ];
        progress.suspend(|| table::write_row(out, &columns, cells))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    writeln!(out, "\n{} problems in {}", Wisdom::load(path).0.of_here().len(), path.display())?;
    Ok(())
}

fn save(wisdom: &Wisdom, path: &Path) -> Result<()> {
    wisdom.save(path).with_context(|| format!("--wisdom {}: cannot be written; name another file", path.display()))
}
