//! A race of the backends over kernel and input sizes: no way of computing the sum is the best one everywhere.
//!
//! Within a cell the backends run in turn and are judged by their best times; see [`convgrad::measure`].

use super::page::heading;
use crate::data::Operands;
use convgrad::measure::interleaved;
use convgrad::{Backend, ConvShape, Error, Op, Problem, Update, View, ViewMut, WeightGradient};
use std::io::Write;
use std::time::Duration;

/// Measuring time of each backend in a cell.
const TIME: Duration = Duration::from_millis(15);

const INPUTS: [usize; 7] = [8, 16, 32, 64, 128, 256, 512];
const KERNELS: [usize; 7] = [1, 3, 5, 7, 11, 15, 31];

/// Channels in, channels out, groups, and rows and columns of the input, for square layers as networks have them.
const LAYERS: [[usize; 4]; 6] =
    [[3, 32, 1, 112], [16, 16, 1, 56], [64, 64, 1, 28], [256, 256, 1, 14], [512, 512, 1, 7], [64, 64, 64, 56]];
const LAYER_KERNELS: [usize; 3] = [1, 3, 5];

/// Prints two tables of winners: a single channel, and layers with many.
pub fn show(out: &mut impl Write) -> anyhow::Result<()> {
    heading(out, "3  Which backend wins where?")?;
    let threads = match rayon::current_num_threads() {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    writeln!(out, "   The weight gradient in f32 on {threads}. A cell names the fastest backend, and how many times")?;
    writeln!(out, "   faster it is than the second.\n")?;
    let race = Race::new();

    writeln!(out, "   One channel; kernels downwards, inputs to the right")?;
    race.header(out, INPUTS.map(|n| format!("{n}x{n}")))?;
    for kernel in KERNELS {
        let shapes = INPUTS.map(|n| ConvShape::conv2d(1, 1, [n, n], 1, [kernel, kernel]).build());
        race.row(out, kernel, shapes)?;
    }

    writeln!(out, "\n   Layers with channels in>out, depthwise (dw) or dense, at their input size")?;
    let title = |[channels, outputs, groups, n]: [usize; 4]| match groups {
        1 => format!("{channels}>{outputs} {n}²"),
        _ => format!("dw {channels} {n}²"),
    };
    race.header(out, LAYERS.map(title))?;
    for kernel in LAYER_KERNELS {
        let shapes = LAYERS.map(|[channels, outputs, groups, n]| {
            ConvShape::conv2d(1, channels, [n, n], outputs, [kernel, kernel]).groups(groups).padding(kernel / 2).build()
        });
        race.row(out, kernel, shapes)?;
    }
    Ok(())
}

/// The backends, all of which run in every cell they can: a plainly slow one costs its few calls, and no lead is guessed.
struct Race {
    backends: Vec<Box<dyn Backend<f32>>>,
}

/// The best times of one cell in seconds, the fastest first.
type Ranking = Vec<(&'static str, f64)>;

impl Race {
    fn new() -> Self {
        Race { backends: convgrad::backends() }
    }

    /// Columns a cell takes: a gap, a name, a blank and a ratio as in `12.3x`.
    fn cell_width(&self) -> usize {
        self.backends.iter().map(|b| b.name().len()).max().unwrap_or(0) + 7
    }

    fn header(&self, out: &mut impl Write, titles: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        let width = self.cell_width();
        let cells: String = titles.into_iter().map(|title| format!("{title:>width$}")).collect();
        Ok(writeln!(out, "   kernel{cells}")?)
    }

    /// Runs and prints one row, cell by cell; a shape that does not exist gets a dash.
    fn row(
        &self,
        out: &mut impl Write,
        kernel: usize,
        shapes: impl IntoIterator<Item = Result<ConvShape, Error>>,
    ) -> anyhow::Result<()> {
        let width = self.cell_width();
        write!(out, "   {:>6}", format!("{kernel}x{kernel}"))?;
        for shape in shapes {
            let cell = match shape {
                Ok(shape) => cell(&self.run(&shape)?),
                Err(Error::KernelTooLarge { .. }) => "-".to_owned(),
                Err(error) => return Err(error.into()),
            };
            write!(out, "{cell:>width$}")?;
            out.flush()?;
        }
        Ok(writeln!(out)?)
    }

    fn run(&self, shape: &ConvShape) -> anyhow::Result<Ranking> {
        let supporting = self.backends.iter().filter(|b| b.supports(Op::WeightGradient, shape).is_ok());
        let runners: Vec<&dyn Backend<f32>> = supporting.map(|b| &**b).collect();
        let operands = Operands::uniform(shape)?;
        let mut entrants: Vec<Entrant> = runners.iter().map(|&b| Entrant::new(b, shape, &operands)).collect();
        let timings = interleaved(TIME, &mut entrants.iter_mut().map(|e| || e.run()).collect::<Vec<_>>());
        entrants.into_iter().try_for_each(|e| e.outcome)?;

        let mut ranking: Ranking = runners.iter().map(|b| b.name()).zip(timings.iter().map(|t| t.best)).collect();
        ranking.sort_by(|a, b| a.1.total_cmp(&b.1));
        Ok(ranking)
    }
}

/// The winner and its lead over the second.
fn cell(ranking: &[(&str, f64)]) -> String {
    match ranking {
        [] => "none".to_owned(),
        [(only, _)] => format!("{only} alone"),
        [(winner, first), (_, second), ..] => match second / first {
            lead @ 100.0.. => format!("{winner} {lead:.0}x"),
            lead => format!("{winner} {lead:.1}x"),
        },
    }
}

/// A backend in one cell, with the memory it writes.
struct Entrant<'a> {
    backend: &'a dyn Backend<f32>,
    shape: &'a ConvShape,
    operands: &'a Operands<f32>,
    gradient: Vec<f32>,
    scratch: Vec<f32>,
    /// Of the calls so far; a timed call has nowhere to return it to.
    outcome: Result<(), Error>,
}

impl<'a> Entrant<'a> {
    fn new(backend: &'a dyn Backend<f32>, shape: &'a ConvShape, operands: &'a Operands<f32>) -> Self {
        let gradient = vec![0.0; shape.weights_len()];
        let scratch = vec![0.0; backend.scratch_len(Op::WeightGradient, shape)];
        Entrant { backend, shape, operands, gradient, scratch, outcome: Ok(()) }
    }

    fn run(&mut self) {
        if self.outcome.is_ok() {
            self.outcome = self.weight_gradient();
        }
    }

    fn weight_gradient(&mut self) -> Result<(), Error> {
        let shape = self.shape;
        let problem = WeightGradient::new(
            shape,
            View::nchw(&self.operands.input, &shape.input_dims())?,
            View::nchw(&self.operands.delta, &shape.output_dims())?,
            ViewMut::nchw(&mut self.gradient, &shape.weights_dims())?,
            Update::overwrite(),
        )?;
        self.backend.execute(Problem::WeightGradient(problem), &mut self.scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::able_backends;
    use super::*;

    #[test]
    fn a_cell_names_the_winner_and_its_lead() {
        assert_eq!(cell(&[("direct", 2e-6), ("im2col", 5e-6), ("naive", 1e-3)]), "direct 2.5x");
        assert_eq!(cell(&[("direct", 2e-6), ("naive", 1e-3)]), "direct 500x");
        assert_eq!(cell(&[("direct", 2e-6)]), "direct alone");
    }

    /// In the second cell too, where some take a hundred times as long as others: what an earlier cell showed of a
    /// backend says nothing of the next.
    #[test]
    fn every_backend_runs_in_every_cell_it_can_and_is_ranked_by_its_time() {
        let race = Race::new();
        for shape in ["mb1g64ic64ih56oc64kh1", "mb1ic64ih28oc64kh3ph1"] {
            let shape = shape.parse().unwrap();
            let ranking = race.run(&shape).unwrap();
            assert_eq!(ranking.len(), able_backends(&shape).len());
            assert!(ranking.iter().all(|r| r.1 > 0.0) && ranking.is_sorted_by_key(|r| r.1), "{ranking:?}");
        }
    }

    #[test]
    fn a_kernel_beyond_the_input_has_a_dash() {
        let mut out = Vec::new();
        let shape = ConvShape::conv2d(1, 1, [8, 8], 1, [11, 11]).build();
        let race = Race::new();
        race.row(&mut out, 11, [shape]).unwrap();
        let width = race.cell_width();
        assert_eq!(String::from_utf8(out).unwrap().trim_end(), format!("    11x11{:>width$}", "-"));
    }
}
