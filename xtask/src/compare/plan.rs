//! What is timed: shapes, numbers of threads, and the backends that both revisions have.

use super::Options;
use super::rounds::{Manner, Task, bench};
use crate::run::usual_threads;
use crate::runner::Runner;
use anyhow::{Context, Result, bail, ensure};
use convgrad::{NamedShape, catalog};
use std::collections::BTreeSet;
use std::path::Path;

/// `naive`, the reference, is timed only up to this many operations: at some 3e9 a second, longer calls would take most
/// of the run. Named by `--backend` it is timed on all shapes.
const NAIVE_FLOPS: f64 = 1e8;

const ALL: &str = "all";

/// The tasks, shape by shape. What is left out is told.
pub fn tasks(
    options: &Options,
    shapes: &[NamedShape],
    programs: [&Path; 2],
    manner: &Manner,
    runner: &Runner,
) -> Result<Vec<Task>> {
    let [base, head] = programs;
    let base = backends(base, manner, runner).context("BASE cannot be timed by its command line")?;
    let head = backends(head, manner, runner).context("HEAD cannot be timed by its command line")?;
    let all = options.backend.iter().any(|name| name == ALL);
    let asked = if all { base.union(&head).cloned().collect() } else { options.backend.clone() };
    let mut chosen = Vec::new();
    for name in asked {
        match [base.contains(&name), head.contains(&name)] {
            [true, true] => chosen.push(name),
            [true, false] => eprintln!("{name}: only BASE has it, so it is not compared"),
            [false, true] => eprintln!("{name}: only HEAD has it, so it is not compared"),
            [false, false] => bail!("--backend {name}: neither revision has it; `cargo convgrad backends` lists them"),
        }
    }
    ensure!(!chosen.is_empty(), "the revisions have no backend in common that could be compared");

    let is_timed = |name: &str, shape: &NamedShape| !all || name != "naive" || shape.shape.flops() <= NAIVE_FLOPS;
    let untimed = shapes.iter().filter(|shape| chosen.iter().any(|name| !is_timed(name, shape))).count();
    if untimed > 0 {
        eprintln!("naive: not timed on {untimed} of {} shapes, which would take too long", shapes.len());
    }
    let mut tasks = Vec::new();
    for shape in shapes {
        let backends: Vec<String> = chosen.iter().filter(|name| is_timed(name, shape)).cloned().collect();
        for threads in threads(options) {
            tasks.push(Task { shape: shape.clone(), threads, backends: backends.clone() });
        }
    }
    tasks.retain(|task| !task.backends.is_empty());
    ensure!(
        !tasks.is_empty(),
        "`naive`, all they have in common, would take too long; ask for it with --backend naive"
    );
    Ok(tasks)
}

/// The shapes of the command line, or else of the set.
pub fn shapes(options: &Options) -> Result<Vec<NamedShape>> {
    if !options.shape.is_empty() {
        return Ok(options.shape.clone());
    }
    let names = || catalog::sets().iter().map(|set| set.name()).collect::<Vec<_>>().join(", ");
    catalog::set(&options.set)
        .with_context(|| format!("--set {}: there is none of this name; give one of {}", options.set, names()))
}

/// The numbers of threads, each once.
fn threads(options: &Options) -> Vec<usize> {
    if !options.threads.is_empty() {
        let asked: BTreeSet<usize> = options.threads.iter().map(|&count| usize::from(count)).collect();
        return asked.into_iter().collect();
    }
    if options.quick { vec![1] } else { usual_threads() }
}

/// The backends of a program, learned by having it time the smallest of problems.
fn backends(program: &Path, manner: &Manner, runner: &Runner) -> Result<BTreeSet<String>> {
    let shape: NamedShape = "mb1ic1ih5oc1kh2".parse()?;
    let task = Task { shape, threads: 1, backends: vec![ALL.to_owned()] };
    let manner = Manner { min_time: 0.001, ..manner.clone() };
    Ok(bench(program, &task, &manner, runner)?.into_keys().collect())
}
