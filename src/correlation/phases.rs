//! The input gradient as forward passes, one for each residue of the stride.
//!
//! ```text
//! along an axis, for each residue r < stride:
//!     taps  k = first + j*step                   those with r + padding - k*dilation divisible by the stride
//!     step  = stride / gcd(stride, dilation)
//!     dInput[r + stride*t] = sum_j  w[first + j*step] * delta[t + (r + padding - first*dilation)/stride - j*dilation/gcd]
//! ```
//!
//! Taps in reverse order make that a forward pass of stride 1. What of delta lies before its first position that is read is
//! cut off, so that the padding is never negative. Inputs without taps, and those that no output reads, are zeros.

use super::{Correlation, Weights};
use crate::element::Element;
use crate::problem::InputGradient;
use crate::shape::{Axis, ConvShape};

/// A residue along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Phase {
    /// The forward pass: delta is its input.
    axis: Axis,
    /// The first position of delta it reads.
    delta: usize,
    /// The last tap, and taps to the one before.
    last_tap: usize,
    tap_step: usize,
    /// The first input it computes; the others are `stride` apart.
    input: usize,
    stride: usize,
}

impl Phase {
    /// The residues along an axis whose inputs any output reads, in the order of their first taps.
    fn all(axis: &Axis) -> impl Iterator<Item = Phase> + Clone + use<> {
        let axis = *axis;
        let common_step = axis.common_step();
        let tap_step = axis.stride / common_step;
        // Taps that are `tap_step` apart have the same residue.
        (0..tap_step.min(axis.kernel)).filter_map(move |first_tap| {
            let Axis { input, kernel, output, stride, dilation, padding } = axis;
            let shift = (first_tap * dilation).cast_signed() - padding.cast_signed();
            let residue = shift.rem_euclid(stride.cast_signed()).cast_unsigned();
            if residue >= input {
                return None;
            }
            let taps = (kernel - first_tap).div_ceil(tap_step);
            let last_tap = first_tap + (taps - 1) * tap_step;
            // Of the last tap, the output that the first of these inputs meets.
            let met = residue.cast_signed() + padding.cast_signed() - (last_tap * dilation).cast_signed();
            let met = met / stride.cast_signed();
            let delta = met.max(0).cast_unsigned();
            let inputs = (input - residue).div_ceil(stride);
            let phase = Axis {
                input: output.checked_sub(delta).filter(|&left| left > 0)?,
                kernel: taps,
                output: inputs,
                stride: 1,
                dilation: if taps == 1 { 1 } else { dilation / common_step },
                padding: (-met).max(0).cast_unsigned(),
            };
            let meets = (0..taps).any(|tap| !phase.valid_outputs(tap).is_empty());
            meets.then_some(Phase { axis: phase, delta, last_tap, tap_step, input: residue, stride })
        })
    }
}

/// All combinations of the residues of three axes.
fn phases(shape: &ConvShape) -> impl Iterator<Item = [Phase; 3]> + use<> {
    let [depth, height, width] = shape.axes().map(|axis| Phase::all(&axis));
    depth.flat_map(move |d| {
        let width = width.clone();
        height.clone().flat_map(move |h| width.clone().map(move |w| [d, h, w]))
    })
}

/// The forward passes that make an input gradient.
pub(crate) fn phase_shapes(shape: &ConvShape) -> impl Iterator<Item = ConvShape> + use<> {
    let shape = *shape;
    phases(&shape).map(move |phases| shape.transposed(phases.map(|phase| phase.axis)))
}

/// Calls `run` for each forward pass that makes an input gradient, after zeros where none of them writes.
pub(crate) fn for_each_correlation<T: Element>(problem: InputGradient<'_, T>, mut run: impl FnMut(Correlation<'_, T>)) {
    let InputGradient { shape, weights, delta, mut gradient, update } = problem;
    let written: usize = phase_shapes(shape).map(|phase| phase.output_positions()).sum();
    if !update.accumulate && written < shape.axes().iter().map(|axis| axis.input).product() {
        gradient.fill(T::default());
    }
    let weights = Weights::of_layer(shape, &weights).transposed();
    for phases in phases(shape) {
        let mut correlation = Correlation {
            shape: shape.transposed(phases.map(|phase| phase.axis)),
            input: delta,
            weights: weights
                .taps_from(phases.map(|phase| phase.last_tap), phases.map(|phase| -phase.tap_step.cast_signed())),
            bias: None,
            output: gradient.reborrow(),
            update,
        };
        for (axis, phase) in phases.iter().enumerate() {
            correlation.input = correlation.input.every(axis + 2, phase.delta, 1, phase.axis.input);
            correlation.output = correlation.output.every(axis + 2, phase.input, phase.stride, phase.axis.output);
        }
        run(correlation);
    }
}
