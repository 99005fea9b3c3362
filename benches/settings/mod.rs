//! What environment variables choose of the benches, for criterion has no arguments for it.
//!
//! ```text
//! CONVGRAD_BENCH_SET       sets, separated by commas; core if not given
//! CONVGRAD_BENCH_DTYPE     f32 (if not given) or f64
//! CONVGRAD_BENCH_LAYOUT    of input, output and delta: nchw (if not given) or nhwc
//! CONVGRAD_BENCH_ISA       instruction set; the best of this processor if not given
//! ```
//!
//! What is not usual stands in the ids behind the set, so that its results are kept apart.

use convgrad::catalog::{self, ShapeSet};
use convgrad::{Isa, Layout};
use criterion::Criterion;
use std::process::ExitCode;
use std::time::Duration;

/// Work beyond which the definition is too slow to be timed: about a second of its loops.
pub const NAIVE_FLOPS: f64 = 2e8;

/// The benches of a set, in a group whose id ends as given.
pub type BenchSet = fn(&mut Criterion, &str, &ShapeSet, Layout, Isa);

/// Runs the benches, of `f32` or of `f64`, on everything that is chosen.
pub fn run(of_f32: BenchSet, of_f64: BenchSet) -> ExitCode {
    match bench(of_f32, of_f64) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn bench(of_f32: BenchSet, of_f64: BenchSet) -> Result<(), String> {
    let types = [("f32", of_f32), ("f64", of_f64)];
    let isas: Vec<_> = Isa::available().into_iter().rev().map(|isa| (isa.name(), isa)).collect();
    let sets = chosen_sets()?;
    let (bench_set, dtype_id) = choice("CONVGRAD_BENCH_DTYPE", &types)?;
    let (layout, layout_id) = choice("CONVGRAD_BENCH_LAYOUT", &[("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)])?;
    let (isa, isa_id) = choice("CONVGRAD_BENCH_ISA", &isas)?;

    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for set in &sets {
        bench_set(&mut criterion, &format!("{}{dtype_id}{layout_id}{isa_id}", set.name()), set, layout, isa);
    }
    criterion.final_summary();
    Ok(())
}

/// The sets `CONVGRAD_BENCH_SET` names.
fn chosen_sets() -> Result<Vec<ShapeSet>, String> {
    let names = std::env::var("CONVGRAD_BENCH_SET").unwrap_or_else(|_| "core".to_owned());
    let sets: Vec<_> = catalog::sets().iter().map(|set| (set.name(), *set)).collect();
    names.split(',').map(|name| find("CONVGRAD_BENCH_SET", name.trim(), &sets)).collect()
}

/// What a variable chooses, the first if it is not set; and its part of the ids, none for the first.
fn choice<V: Copy>(variable: &str, choices: &[(&'static str, V)]) -> Result<(V, String), String> {
    let name = std::env::var(variable).unwrap_or_else(|_| choices[0].0.to_owned());
    let chosen = find(variable, &name, choices)?;
    Ok((chosen, if name == choices[0].0 { String::new() } else { format!("/{name}") }))
}

fn find<V: Copy>(variable: &str, name: &str, choices: &[(&'static str, V)]) -> Result<V, String> {
    let chosen = choices.iter().find(|choice| choice.0 == name).map(|choice| choice.1);
    let names = || choices.iter().map(|choice| choice.0).collect::<Vec<_>>().join(", ");
    chosen.ok_or_else(|| format!("{variable}: there is no `{name}`: choose from {}", names()))
}
