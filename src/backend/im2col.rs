//! im2col and a matrix product: the convolution unfolded until it is a multiplication of two matrices.
//!
//! ```text
//! unfolded[(ic,k), (n,o)] = input[n, ic, o*stride + k*dilation - padding]
//! dW[oc, (ic,k)]          = sum_(n,o)  delta[oc, (n,o)] * unfolded[(ic,k), (n,o)]        for each group
//! x[oc, (n,o)]            = sum_(ic,k) w[oc, (ic,k)] * unfolded[(ic,k), (n,o)] + b[oc]     and so the input gradient
//! ```
//!
//! ```text
//! for each task (block of rows of a group, part of the terms):       in parallel
//!     for each piece of the part:
//!         copy unfolded[rows, piece]                                 unless the input holds it as a matrix
//!         copy delta[channels, piece]                                unless delta holds it as a matrix
//!         block += delta * unfolded^T                                matrixmultiply
//! for each entry of dW:                                              in parallel
//!     update the entry with the sum of its block over the parts
//! ```
//!
//! Deviations from the textbook, and why:
//! 1. *The unfolded matrix never exists.* It is larger than the input by the number of taps: a terabyte for a 127x127
//!    kernel on a 4222x4222 image. Pieces of at most `PIECE` elements stay in the second-level cache instead.
//! 2. *Tasks own rows of the result, not images of the batch.* Every weight sums over the whole batch, so a split by
//!    images would need a copy of dW for each thread, and their merging. Only where there are too few rows for all
//!    threads are the terms split too, into a number of parts that the shape fixes, merged in the order of the parts.
//!    Either way the result has the same bits on any number of threads.
//! 3. *Rows in the order of memory.* Where channels are innermost the copied pieces have the channels innermost, too,
//!    so that copies are runs of an input line in both common layouts.
//! 4. *Padding is multiplied.* Its zeros are part of the matrix. The sum is the definition's as long as delta is finite;
//!    an infinite delta makes a NaN where its tap reads padding.
//!
//! One call of matrixmultiply allocates its packing buffer (at most 256 by 64 and 256 by 1024 elements); all else lives
//! in the caller's scratch.

mod forward;
mod gradient;
mod plan;
mod unfold;

use super::Backend;
use crate::bias::{bias_error_bound, bias_gradient};
use crate::correlation::{for_each_correlation, phase_shapes};
use crate::cost::Cost;
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::problem::Problem;
use crate::shape::ConvShape;
use forward::forward;
use gradient::weight_gradient;
use plan::{Blocking, ForwardPlan, GradientPlan, Pieces};

/// im2col and a matrix product by matrixmultiply: the input unfolded, in pieces of bounded size, until the convolution is
/// a multiplication of two matrices. Every shape, layout and operation; what is a matrix in memory is not copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Im2col;

impl<T: Element> Backend<T> for Im2col {
    fn name(&self) -> &'static str {
        "im2col"
    }

    fn description(&self) -> String {
        "the input unfolded in pieces, multiplied by matrixmultiply on the instruction set it finds".to_owned()
    }

    fn supports(&self, _: Op, _: &ConvShape) -> Result<(), Unsupported> {
        Ok(())
    }

    /// At most `32 * 2 * 65536` elements for pieces, whatever the shape; besides those, little more than twice the
    /// number of weights or `2^21` elements, whichever is more, for a gradient, and the weights once for a forward pass.
    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        match op {
            Op::WeightGradient => GradientPlan::new(shape).scratch_len(),
            Op::BiasGradient => 0,
            Op::Forward => ForwardPlan::scratch_len(shape),
            Op::InputGradient => phase_shapes(shape).map(|phase| ForwardPlan::scratch_len(&phase)).max().unwrap_or(0),
        }
    }

    /// Matrix products round channels and rows up to the 8 by 8 tile of matrixmultiply's common kernels, which packs both
    /// matrices so, delta (or the output) again for each block of rows; unless memory holds the unfolded matrix, it is copied
    /// before. Lines that are copied are loops, and so are the tiles of the products.
    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let size = size_of::<T>() as f64;
        let outputs = (shape.terms() * shape.out_channels()) as f64;
        if op == Op::BiasGradient {
            return Cost { flops: outputs, bytes: outputs * size, ..Cost::default() };
        }
        if op == Op::InputGradient {
            return Cost::sum(phase_shapes(shape).map(|phase| Backend::<T>::cost(self, Op::Forward, &phase)));
        }
        let blocking = Blocking::new(shape);
        let tiled = |n: usize| n.next_multiple_of(8) as f64;
        let products = shape.groups() as f64 * tiled(shape.group_out_channels()) * tiled(blocking.all_rows);
        let unfolded = shape.groups() as f64 * blocking.all_rows as f64 * shape.terms() as f64;
        let apart = unfold::one_image_lies_unfolded(shape);
        let pieces = Pieces::new(shape, blocking.columns, apart);
        let holds_several = pieces.get(0).len() > shape.output_positions();
        let in_place = apart && (!holds_several || shape.output_positions() == 1);
        let delta_lines = if holds_several && shape.output_positions() > 1 {
            (shape.batch() * blocking.row_blocks) as f64 * shape.out_channels() as f64
        } else {
            0.0
        };
        // Lines of outputs, or where the channels of an input position lie side by side, as those of single ones do, of channels.
        // Those that meet nothing but padding are filled with zeros, one as the other.
        let are_channels = shape.group_in_channels() > 1 && shape.axes().iter().all(|axis| axis.input == 1);
        let line = if are_channels { shape.group_in_channels() } else { shape.axes()[2].output };
        let lines = if in_place { 0.0 } else { unfolded / line as f64 };
        let tiles = products / 64.0 * pieces.count() as f64;
        let copied = if in_place { 0.0 } else { unfolded } + if delta_lines > 0.0 { outputs } else { 0.0 };
        let rows = tiled(shape.group_out_channels()) * blocking.row_blocks as f64 + tiled(blocking.all_rows);
        let packed = shape.groups() as f64 * rows * shape.terms() as f64;
        let elements = 2.0 * (copied + packed + shape.weights_len() as f64);
        let tasks = match op {
            Op::Forward => ForwardPlan::new(shape).tasks,
            _ => {
                let plan = GradientPlan::new(shape);
                plan.parts * plan.tasks_per_part()
            }
        };
        let flops = 2.0 * products * shape.terms() as f64;
        let kernel = match (op, in_place) {
            (Op::WeightGradient, true) => "in place",
            (Op::WeightGradient, false) => "copied",
            (_, true) => "forward in place",
            (_, false) => "forward copied",
        };
        Cost { flops, bytes: elements * size, loops: lines + delta_lines + tiles, tasks, kernel }
    }

    /// matrixmultiply adds up to 256 products one after the other in a register (its `kc`, the same for all its kernels),
    /// then adds that to the entry of the result. So a product of the weight gradient is rounded once itself, takes part in
    /// at most 256 additions in a register, one for each such block of its part, and one for each part. `h` roundings on
    /// the way to the result bound the error by `h * u / (1 - h * u)` of the sum of magnitudes (Higham, Accuracy and
    /// Stability of Numerical Algorithms, 2nd ed., section 4.2). Zeros of the padding and the scale 1 do not round. No
    /// order of summing `n` products errs by more than `n * u` (Jeannerod and Rump, SIAM J. Matrix Anal. Appl. 34, 2013),
    /// which is less for short sums.
    ///
    /// A forward pass is summed likewise over its rows, and adding the bias rounds once more. Every input's gradient is an output
    /// of one such pass.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        let bound = |roundings: usize, terms: usize| {
            let roundings = roundings as f64;
            (roundings / (1.0 - roundings * T::UNIT_ROUNDOFF).max(0.0)).min(terms as f64)
        };
        match op {
            Op::BiasGradient => bias_error_bound::<T>(shape),
            Op::WeightGradient => {
                let plan = GradientPlan::new(shape);
                // Pieces of one image each or of several, as the operands lie; either may make more blocks of a part.
                let blocks = |apart| {
                    let pieces = Pieces::new(shape, plan.blocking.columns, apart);
                    pieces.count().div_ceil(plan.parts) * pieces.get(0).len().div_ceil(SUM_BLOCK)
                };
                let blocks = blocks(true).max(blocks(false));
                bound(1 + plan.blocking.columns.min(SUM_BLOCK) + blocks + plan.parts, shape.terms())
            }
            Op::Forward => {
                let Blocking { all_rows, rows, row_blocks, .. } = Blocking::new(shape);
                bound(2 + rows.min(SUM_BLOCK) + row_blocks * rows.div_ceil(SUM_BLOCK), all_rows + 1)
            }
            Op::InputGradient => phase_shapes(shape)
                .map(|phase| Backend::<T>::error_bound(self, Op::Forward, &phase))
                .fold(0.0, f64::max),
        }
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        match problem {
            Problem::WeightGradient(problem) => weight_gradient(problem, scratch),
            Problem::BiasGradient(problem) => bias_gradient(problem),
            Problem::Forward(problem) => forward(problem.into(), scratch),
            Problem::InputGradient(problem) => for_each_correlation(problem, |pass| forward(pass, scratch)),
        }
    }
}

/// Products matrixmultiply 0.3 adds up in registers before it adds them to the result: `S_KC` and `D_KC` in its
/// `archparam_defaults.rs`.
const SUM_BLOCK: usize = 256;
