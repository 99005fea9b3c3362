//! `cargo xtask digits`: the example `digits` beside the same network in PyTorch, and the gradients its test knows.
//!
//! Both programs train in turns, each in a process of its own, and print a line for each epoch; only the epochs' times are
//! compared. The first epoch of a process is left out: it loads libraries and pages.

use crate::build;
use crate::peers::torch;
use crate::process;
use crate::run::Facts;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Options of `cargo xtask digits`.
#[derive(clap::Args)]
pub struct Options {
    /// Write the gradients that tests/network.rs compares with, and nothing else
    #[arg(long)]
    gradients: bool,

    /// Threads, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,

    /// Turns of each program
    #[arg(long, default_value_t = 5)]
    turns: usize,

    /// Epochs in a turn
    #[arg(long, default_value_t = 8)]
    epochs: usize,

    /// A Python that has PyTorch and numpy; one is made under target/peers if not given
    #[arg(long, value_name = "FILE")]
    torch_python: Option<PathBuf>,
}

/// Where the gradients are kept.
const GRADIENTS: &str = "tests/network/gradients.json";

/// Compares, or writes the gradients.
pub fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    ensure!(options.epochs > 1 && options.turns > 0, "give at least one turn of two epochs");
    let python = torch::python(root, options.torch_python.as_deref())?;
    let script = root.join("xtask/digits_torch.py");
    let torch = |arguments: &[String]| {
        let mut command = Command::new(&python);
        command.arg(&script).args(arguments);
        process::output(&mut command)
    };
    if options.gradients {
        let text = torch(&["gradients".to_owned()])?;
        let mut file: serde_json::Value = serde_json::from_str(&text).context("PyTorch's gradients are no JSON")?;
        let Facts { date, command, .. } = Facts::gather(root)?;
        file["command"] = command.into();
        file["date"] = date.into();
        let path = root.join(GRADIENTS);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::write(&path, serde_json::to_string_pretty(&file)? + "\n").context(GRADIENTS)?;
        println!("wrote {GRADIENTS}");
        return Ok(ExitCode::SUCCESS);
    }
    let example = build::executable(root, &["build", "--release", "--package", "convgrad", "--example", "digits"])?;
    println!("threads  program    best ms  median ms   PyTorch over ours: best, median");
    for &threads in &options.threads {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..options.turns {
            let mut command = Command::new(&example);
            let epochs = options.epochs.to_string();
            command.args(["--threads", &threads.to_string(), "--epochs", &epochs]).current_dir(root);
            ours.extend(epoch_times(&process::output(&mut command)?)?);
            theirs.extend(epoch_times(&torch(&["times".to_owned(), threads.to_string(), epochs])?)?);
        }
        let ([best, median], [their_best, their_median]) = (statistics(ours), statistics(theirs));
        println!("{threads:7}  convgrad  {best:8.2}  {median:9.2}");
        println!(
            "{threads:7}  PyTorch   {their_best:8.2}  {their_median:9.2}   {:.2}, {:.2}",
            their_best / best,
            their_median / median
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The last numbers of the lines that begin with the number of an epoch, without the first epoch.
fn epoch_times(text: &str) -> Result<Vec<f64>> {
    let epochs = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let epoch: usize = words.next()?.parse().ok()?;
        (epoch > 1 && words.clone().count() >= 3).then(|| words.next_back()?.parse().ok()).flatten()
    });
    let times: Vec<f64> = epochs.collect();
    ensure!(!times.is_empty(), "no epochs in what was printed: {text}");
    Ok(times)
}

/// The least and the middle one.
fn statistics(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times[0], times[times.len() / 2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_all_epochs_but_the_first() {
        let text = "1348 digits to learn from, 449 held out\nepoch error\n    1  0.9  88.86 %  60.5\n    2  0.2  95.5 %  50.6\n\n98.22 % are right";
        assert_eq!(epoch_times(text).unwrap(), [50.6]);
        assert_eq!(epoch_times("1 0.9 88.0 60.5\n2 0.2 95.0 50.5\n3 0.1 95.0 49.5").unwrap(), [50.5, 49.5]);
        assert!(epoch_times("nothing").is_err());
        assert_eq!(statistics(vec![3.0, 1.0, 2.0]), [1.0, 2.0]);
    }
}
