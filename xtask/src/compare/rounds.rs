//! Rounds of measuring: three programs take turns on every shape, round after round.
//!
//! Each turn is a process of its own, so that the luck of where memory lies is drawn anew, and short, so that the three
//! meet the same machine. A round visits all shapes before the next begins: a disturbance of a minute then spoils a few
//! pairs of every shape, which the median bears, and not all pairs of one.

use crate::runner::Runner;
use anyhow::{Context, Result, bail};
use convgrad::{NamedShape, Op};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shape on a number of threads, and the backends to be timed in one process.
#[derive(Debug, Clone)]
pub struct Task {
    pub shape: NamedShape,
    pub threads: usize,
    pub backends: Vec<String>,
}

/// What every process is told, whatever its task.
#[derive(Debug, Clone)]
pub struct Manner {
    /// As the command line of `convgrad bench` has them.
    pub pass: String,
    pub layout: String,
    pub dtype: String,
    /// Seconds for each backend and process.
    pub min_time: f64,
}

/// A time as a program printed it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    pub best_ms: f64,
    pub median_ms: f64,
    /// One unit of the last digit of `best_ms`.
    pub resolution_ms: f64,
}

/// The times of a backend in one round: of BASE, of its copy, and of HEAD.
pub type Triple = [Time; 3];

/// The six orders of three programs. In turn they put each as often before every other, and as far: drift that goes on
/// over the round cancels.
pub const ORDERS: [[usize; 3]; 6] = [[0, 2, 1], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 1, 2], [2, 0, 1]];

/// The programs that take turns: BASE, a copy of it, HEAD.
pub struct Programs([PathBuf; 3]);

impl Programs {
    /// Fresh copies in `folder`, for where the system keeps a file's pages is luck as well. Their paths are equally long,
    /// since arguments move the stack.
    pub fn copy(base: &Path, head: &Path, folder: &Path) -> Result<Programs> {
        let place = |name: &str, program: &Path| -> Result<PathBuf> {
            let path = folder.join(name).join("convgrad");
            fs::create_dir_all(folder.join(name))?;
            fs::copy(program, &path).with_context(|| format!("cannot copy {}", program.display()))?;
            Ok(path)
        };
        Ok(Programs([place("a", base)?, place("c", base)?, place("b", head)?]))
    }

    /// BASE's program and HEAD's.
    pub fn base_and_head(&self) -> [&Path; 2] {
        [&self.0[0], &self.0[2]]
    }

    /// One round of a task: the times of each backend that all three have timed.
    pub fn round(
        &self,
        task: &Task,
        manner: &Manner,
        order: [usize; 3],
        runner: &Runner,
    ) -> Result<BTreeMap<String, Triple>> {
        let mut times = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
        for program in order {
            times[program] = bench(&self.0[program], task, manner, runner)?;
        }
        let [base, copy, head] = times;
        let triple = |(name, time): (String, Time)| Some((name.clone(), [time, *copy.get(&name)?, *head.get(&name)?]));
        Ok(base.into_iter().filter_map(triple).collect())
    }
}

/// One process: the times of the task's backends.
pub fn bench(program: &Path, task: &Task, manner: &Manner, runner: &Runner) -> Result<BTreeMap<String, Time>> {
    let mut command = Command::new(program);
    // Without its name, which may hold commas and quotes.
    command.args(["bench", &task.shape.shape.to_string(), "--csv", "--backend", &task.backends.join(",")]);
    command.args(["--threads", &task.threads.to_string(), "--min-time", &manner.min_time.to_string()]);
    command.args(["--layout", &manner.layout, "--dtype", &manner.dtype]);
    // The first revisions know the weight gradient only, and no name for it.
    if manner.pass != Op::WeightGradient.name() {
        command.args(["--pass", &manner.pass]);
    }
    let text = runner.output(&mut command)?;
    read_csv(&text).with_context(|| format!("what `{}` printed", crate::process::line(&command)))
}

/// Reads the columns that are needed by their titles: revisions may have others.
fn read_csv(text: &str) -> Result<BTreeMap<String, Time>> {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let titles = lines.next().unwrap_or_default();
    let column = |title: &str| {
        let position = titles.iter().position(|&t| t == title);
        position.with_context(|| format!("it has no column `{title}`"))
    };
    let (backend, best, median) = (column("backend")?, column("best_ms")?, column("median_ms")?);
    lines
        .map(|fields| {
            if fields.len() != titles.len() {
                bail!("a line has {} fields and not {}", fields.len(), titles.len());
            }
            let number = |text: &str| text.parse::<f64>().with_context(|| format!("`{text}` is no time"));
            let time = Time {
                best_ms: number(fields[best])?,
                median_ms: number(fields[median])?,
                resolution_ms: resolution(fields[best]),
            };
            Ok((fields[backend].to_owned(), time))
        })
        .collect()
}

/// One unit of the last digit of a decimal number.
fn resolution(number: &str) -> f64 {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    10f64.powi(exponent.parse::<i32>().unwrap_or(0) - decimals as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_by_the_titles_of_their_columns() {
        let text = "backend,pass,layout,shape,threads,best_ms,median_ms,gflops\n\
                    direct,wgrad,nchw,mb1ic1ih5oc1kh2,1,0.0023,0.0024,0.1\n\
                    im2col,wgrad,nchw,mb1ic1ih5oc1kh2,1,0.0007,0.0008,0.2\n";
        let times = read_csv(text).unwrap();
        assert_eq!(times.keys().collect::<Vec<_>>(), ["direct", "im2col"]);
        assert_eq!(times["im2col"], Time { best_ms: 0.0007, median_ms: 0.0008, resolution_ms: 1e-4 });
        let other = "median_ms,new,best_ms,backend\n2.5,x,1.25,direct\n";
        assert_eq!(read_csv(other).unwrap()["direct"], Time { best_ms: 1.25, median_ms: 2.5, resolution_ms: 0.01 });
    }

    #[test]
    fn what_is_no_table_of_times_is_refused() {
        let refusal = |text: &str| format!("{:#}", read_csv(text).unwrap_err());
        assert_eq!(refusal(""), "it has no column `backend`");
        assert_eq!(refusal("backend,best_ms\n"), "it has no column `median_ms`");
        assert_eq!(refusal("backend,best_ms,median_ms\ndirect,1.0\n"), "a line has 2 fields and not 3");
        assert!(refusal("backend,best_ms,median_ms\ndirect,fast,1.0\n").starts_with("`fast` is no time"));
    }

    #[test]
    fn a_number_tells_how_finely_it_was_written() {
        assert_eq!(["12", "0.0007", "1.50", "2.5e-3"].map(resolution), [1.0, 1e-4, 0.01, 1e-4]);
    }

    #[test]
    fn the_orders_are_all_there_are_and_drift_cancels_in_them() {
        let distinct: std::collections::HashSet<_> = ORDERS.into_iter().collect();
        assert_eq!(distinct.len(), ORDERS.len());
        let place = |order: [usize; 3], program| order.iter().position(|&p| p == program).expect("each has a turn");
        for other in [1, 2] {
            let later = |order| place(order, other) as i32 - place(order, 0) as i32;
            let mut distances = ORDERS.map(later);
            distances.sort_unstable();
            assert_eq!(distances, [-2, -1, -1, 1, 1, 2]);
        }
    }
}
