//! `cargo xtask fit`: the weights of the chooser's estimates, from measured times.
//!
//! Times are measured once, of random shapes and of the catalogue's, and kept in `xtask/fit/times.csv`; the weights are fitted
//! to a part of them and judged by the others. Judged is what counts: by how much what the chooser picks is slower than the
//! fastest, its regret. Whoever adds a backend or makes one faster measures again.

mod draw;
mod generated;
mod measured;
mod regret;
mod times;
mod weights;

use anyhow::{Result, ensure};
use std::path::Path;
use std::process::ExitCode;
use times::{Times, Use};

/// Options of `cargo xtask fit`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  cargo xtask fit --measure            measure anew on this machine, which takes three quarters of an hour, and fit
  cargo xtask fit                      fit to the times there are, and write src/auto/fitted.rs
  cargo xtask fit --check              the regret of the chooser as it is; exit code 1 if its weights are not those of the times
  cargo xtask fit --check --measured   and that of a chooser that measures, on some shapes, which takes a few minutes")]
pub struct Options {
    /// Measure the times anew
    #[arg(long, conflicts_with = "check")]
    measure: bool,

    /// With --measure, only these settings, such as avx512-f32-nchw-1; the others keep their times
    #[arg(long, value_name = "SETTING", value_delimiter = ',', requires = "measure")]
    only: Vec<String>,

    /// Time those shapes again on which the fitted weights choose what is a tenth slower than the fastest, or more
    #[arg(long, conflicts_with_all = ["check", "measure"])]
    again: bool,

    /// Write nothing; print the regret and compare the weights
    #[arg(long)]
    check: bool,

    /// Have the chooser measure so many of the shapes held out in each setting, and print the regret of what it chooses
    #[arg(long, value_name = "SHAPES", num_args = 0..=1, default_missing_value = "60")]
    measured: Option<usize>,

    /// Print how far estimates are from times, for each kernel
    #[arg(long)]
    deviations: bool,

    /// Print each shape whose regret is beyond so many percent
    #[arg(long, value_name = "PERCENT")]
    worst: Option<f64>,
}

/// The regret from which on a time is doubted.
const DOUBTFUL: f64 = 0.1;

/// Where the times are kept.
const TIMES: &str = "xtask/fit/times.csv";

/// Where the weights go.
const WEIGHTS: &str = "src/auto/fitted.rs";

/// Measures, fits, writes, prints the regret.
pub fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    let path = root.join(TIMES);
    if options.measure {
        times::measure(root, &path, &options.only)?;
    }
    if options.again {
        let times = Times::read(&path)?;
        let regrets = regret::of(&times, &regret::Chooser::Fitted(&weights::fit(&times)))?;
        let doubtful = regrets.into_iter().filter(|regret| regret.value > DOUBTFUL);
        times::measure_again(root, &path, &doubtful.map(|regret| (regret.setting, regret.shape)).collect::<Vec<_>>())?;
    }
    let times = Times::read(&path)?;
    ensure!(!times.records.is_empty(), "{TIMES} holds no times: `cargo xtask fit --measure` measures some");
    let fitted = weights::fit(&times);
    let mut regrets = Vec::new();
    for (name, chosen_by) in
        [("the first that computes it", regret::Chooser::First), ("the chooser as built", regret::Chooser::Built)]
    {
        regrets.push((name, regret::of(&times, &chosen_by)?));
    }
    regrets.push(("with the weights fitted", regret::of(&times, &regret::Chooser::Fitted(&fitted))?));
    for purpose in [Use::Fit, Use::HeldOut, Use::Set] {
        println!("{purpose}");
        for (name, regrets) in &regrets {
            regret::print(name, regrets.iter().filter(|regret| regret.purpose == purpose));
        }
    }
    let measured = options.measured.map(|count| measured::regrets(root, &times, count)).transpose()?;
    if let Some(measured) = &measured {
        println!("held-out, measured now");
        regret::print("the chooser that measures", measured.iter());
    }
    if let Some(percent) = options.worst {
        let lists = regrets.last().map(|(_, regrets)| regrets).into_iter().chain(&measured);
        lists.for_each(|regrets| regret::print_worst(regrets, percent / 100.0));
    }
    if options.deviations {
        weights::print_deviations(&times, &fitted);
    }
    let text = generated::source(&times, &fitted, &regrets);
    if options.check {
        if !times.is_of_this_processor() {
            println!("This processor lacks an instruction set of {TIMES}: the weights cannot be compared.");
            return Ok(ExitCode::SUCCESS);
        }
        let same = std::fs::read_to_string(root.join(WEIGHTS))? == text;
        if !same {
            eprintln!("xtask: {WEIGHTS} is not what {TIMES} gives: run `cargo xtask fit`");
        }
        return Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(1) });
    }
    std::fs::write(root.join(WEIGHTS), text)?;
    println!("wrote {WEIGHTS}; build again to use it");
    Ok(ExitCode::SUCCESS)
}
