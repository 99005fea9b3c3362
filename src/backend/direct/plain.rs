//! The definition as loops, for problems so small that to prepare for them would take longer than to compute them.
//!
//! ```text
//! for oc, ic, tap:
//!     for image, for row of the outputs that meet the input:
//!         sum += the row of delta times the row of the input
//! ```
//!
//! 1. Outputs whose input lies in the padding are left out.
//! 2. Both operands are walked by their strides: any layout is read where it lies, without scratch, on the caller's thread.

use crate::element::Element;
use crate::problem::WeightGradient;
use crate::shape::{Axis, ConvShape};
use crate::tensor::View;

/// Steps up to which nothing is gained by preparing for a problem: they take 1.4 microseconds, half of which passes before
/// a kernel that packs begins.
///
/// Of 777 small problems (images of 1 to 32, 1 to 16 channels, kernels of 1 to 5; Zen 5), from 2500 to 3500 cost the
/// least beside the better of both in each; a limit of the floating point operations alone costs half as much again.
const MAX_STEPS: f64 = 3500.0;

/// Steps that an entry of the gradient takes beside its rows, and a row beside its products, a step each: a fit to the
/// same problems.
const ENTRY_STEPS: f64 = 4.0;
const ROW_STEPS: f64 = 1.0;

/// Cycles of a step where kernels that pack are an alternative: 0.4 nanoseconds for the smallest, but 0.6 with 16 thousand
/// positions and 0.9 with as many entries of four (Zen 5).
const STEP_CYCLES: f64 = 3.5;

/// Whether a problem is computed so.
#[inline]
pub(super) fn suits(shape: &ConvShape) -> bool {
    steps(shape) <= MAX_STEPS
}

/// Cycles of the whole problem.
pub(super) fn cycles(shape: &ConvShape) -> f64 {
    STEP_CYCLES * steps(shape)
}

#[inline]
fn steps(shape: &ConvShape) -> f64 {
    let [depth, height, width] = shape.axes().map(|axis| axis.output as f64);
    let rows = shape.batch() as f64 * depth * height;
    shape.weights_len() as f64 * (ENTRY_STEPS + rows * (ROW_STEPS + width))
}

/// Computes a problem.
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>) {
    let WeightGradient { shape, input, delta, mut gradient, update, .. } = problem;
    let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
    let [depth, height, width] = shape.axes();
    for kd in 0..depth.kernel {
        let depths = Overlap::new(depth, kd);
        for kh in 0..height.kernel {
            let rows = Overlap::new(height, kh);
            for kw in 0..width.kernel {
                let columns = Overlap::new(width, kw);
                for group in 0..shape.groups() {
                    for oc in group * ocs..(group + 1) * ocs {
                        for ic in 0..ics {
                            let walk = Walk::new([&delta, &input], [oc, group * ics + ic], [&depths, &rows, &columns]);
                            update.apply(gradient.at_mut([oc, ic, kd, kh, kw]), walk.sum(shape.batch()));
                        }
                    }
                }
            }
        }
    }
}

/// The outputs of an axis that meet the input at a tap.
#[derive(Clone, Copy)]
struct Overlap {
    len: usize,
    /// Where they begin in delta and in the input.
    first: [usize; 2],
    input_step: usize,
}

impl Overlap {
    #[inline(always)]
    fn new(axis: &Axis, tap: usize) -> Overlap {
        let outputs = axis.valid_outputs(tap);
        // Of no outputs, where they begin does not matter, and may be too far to be computed with.
        let [output, input] = if outputs.is_empty() {
            [0, 0]
        } else {
            [outputs.start, axis.input_position(outputs.start, tap).cast_unsigned()]
        };
        Overlap { len: outputs.len(), first: [output, input], input_step: axis.stride }
    }
}

/// Pairs of elements whose products sum up to an entry of the gradient: image, depth, row, column, the last fastest.
struct Walk<'a, T> {
    operands: [&'a [T]; 2],
    first: [usize; 2],
    lens: [usize; 3],
    /// From an image, a depth, a row, a column to the next, in both operands.
    steps: [[isize; 2]; 4],
}

impl<'a, T: Element> Walk<'a, T> {
    #[inline(always)]
    fn new(
        [delta, input]: [&View<'a, T>; 2],
        [oc, ic]: [usize; 2],
        [depth, row, column]: [&Overlap; 3],
    ) -> Walk<'a, T> {
        let of_delta = delta.strides5();
        let of_input = input.strides5();
        // Wrapping, as an axis of length 1 may have any stride; only its first position is read then.
        let steps =
            |i: usize, overlap: &Overlap| [of_delta[i], of_input[i].wrapping_mul(overlap.input_step.cast_signed())];
        Walk {
            operands: [delta.data(), input.data()],
            first: [
                delta.index([0, oc, depth.first[0], row.first[0], column.first[0]]),
                input.index([0, ic, depth.first[1], row.first[1], column.first[1]]),
            ],
            lens: [depth.len, row.len, column.len],
            steps: [[of_delta[0], of_input[0]], steps(2, depth), steps(3, row), steps(4, column)],
        }
    }

    #[inline(always)]
    fn sum(&self, images: usize) -> T::Acc {
        let mut sum = T::Acc::default();
        let next = |at: [usize; 2], axis: usize| {
            [at[0].wrapping_add_signed(self.steps[axis][0]), at[1].wrapping_add_signed(self.steps[axis][1])]
        };
        let mut image = self.first;
        for _ in 0..images {
            let mut plane = image;
            for _ in 0..self.lens[0] {
                let mut row = plane;
                for _ in 0..self.lens[1] {
                    let mut at = row;
                    for _ in 0..self.lens[2] {
                        sum = sum + self.operands[0][at[0]].to_acc() * self.operands[1][at[1]].to_acc();
                        at = next(at, 3);
                    }
                    row = next(row, 2);
                }
                plane = next(plane, 1);
            }
            image = next(image, 0);
        }
        sum
    }
}
