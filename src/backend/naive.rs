//! The definition, written as loops: the reference every other backend is judged by.
//!
//! ```text
//! dW[oc,ic,k]    = sum_n sum_o     delta[n,oc,o] * input[n, ic of oc's group, o*stride + k*dilation - padding]
//! x[n,oc,o]      = sum_ic sum_k    w[oc,ic,k] * input[n, ic of oc's group, o*stride + k*dilation - padding] + b[oc]
//! dInput[n,ic,i] = sum_oc sum_k    w[oc,ic,k] * delta[n,oc,o]         over the o with o*stride + k*dilation - padding = i
//! ```
//!
//! Deviations from the plain definition:
//! 1. Positions `o` whose input lies in the padding are left out of the loops rather than multiplied by zero.
//! 2. Sums are formed in `f64`. A product of two `f32` is exact in `f64`, so for `f32` a result is the correctly
//!    rounded sum but for the rounding of `f64` additions. The judge must be better than the judged.
//! 3. A row of outputs is summed by itself, both operands walked by their strides: additions of one row need not wait
//!    for those of the row before.
//!
//! It uses one thread and no scratch.

use super::Backend;
use crate::cost::Cost;
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::problem::{BiasGradient, Forward, InputGradient, Problem, WeightGradient};
use crate::shape::{ConvShape, positions};

/// See the [module](self).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Naive;

impl<T: Element> Backend<T> for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn description(&self) -> String {
        "the definition as loops, summed in f64: the reference".to_owned()
    }

    fn supports(&self, _: Op, _: &ConvShape) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch_len(&self, _: Op, _: &ConvShape) -> usize {
        0
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let outputs = shape.terms() as f64 * shape.out_channels() as f64;
        let (flops, loops) = match op {
            Op::BiasGradient => (outputs, 0.0),
            // Only what meets the input is multiplied; of a tap's outputs a row is a loop, and an entry's
            // images are a part of one, and itself some.
            Op::WeightGradient => {
                let [(depths, _), (heights, _), (widths, columns)] = shape.axes().map(|axis| axis.meetings());
                let entries = shape.out_channels() as f64 * shape.group_in_channels() as f64;
                let lines = entries * shape.batch() as f64 * depths * heights;
                let images = 0.5 * shape.batch() as f64 + 2.0;
                (2.0 * lines * widths, lines * columns + shape.weights_len() as f64 * images)
            }
            // Every tap is visited, and multiplied where it meets something: a visit takes an eighth of what an output takes
            // beside.
            Op::Forward => (shape.met_flops(), outputs + shape.flops() / 16.0),
            // A visit that meets an output begins a loop over its channels.
            Op::InputGradient => {
                let inputs = shape.axes().iter().map(|axis| axis.input as f64).product::<f64>();
                let visits = shape.batch() as f64 * shape.in_channels() as f64 * inputs * shape.taps() as f64;
                let loops = shape.met_flops() / (2.0 * shape.group_out_channels() as f64);
                (shape.met_flops(), visits + loops)
            }
        };
        let kernel = if op == Op::WeightGradient { "" } else { op.name() };
        Cost { flops, bytes: flops * size_of::<T>() as f64, loops, tasks: 1, kernel }
    }

    /// A sum of `n` products in `f64` errs by at most `(n + 1) * u64` of the sum of magnitudes (Higham, Accuracy and
    /// Stability of Numerical Algorithms, 2nd ed., section 4.2), the rounding to `T` by `u` more. The bias is one more
    /// term, and a scale of 1 multiplies exactly.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        let terms = match op {
            Op::WeightGradient | Op::BiasGradient => shape.terms(),
            Op::Forward => shape.group_in_channels() * shape.taps(),
            Op::InputGradient => shape.group_out_channels() * shape.taps(),
        };
        1.0 + (terms as f64 + 2.0) * f64::UNIT_ROUNDOFF / T::UNIT_ROUNDOFF * 1.01
    }

    /// Rust's arithmetic is IEEE's: nothing is fused or summed in another order.
    fn is_reproducible(&self) -> bool {
        true
    }

    fn run(&self, problem: Problem<'_, T>, _: &mut [T::Acc]) {
        match problem {
            Problem::WeightGradient(problem) => weight_gradient(problem),
            Problem::BiasGradient(problem) => bias_gradient(problem),
            Problem::Forward(problem) => forward(problem),
            Problem::InputGradient(problem) => input_gradient(problem),
        }
    }
}

fn weight_gradient<T: Element>(problem: WeightGradient<'_, T>) {
    let WeightGradient { shape, input, delta, mut gradient, update, .. } = problem;
    let [depth, height, width] = shape.axes();
    for oc in 0..shape.out_channels() {
        for ic in 0..shape.group_in_channels() {
            let channel = input_channel(shape, oc, ic);
            for [kd, kh, kw] in shape.tap_positions() {
                // The outputs that meet the input are a box, walked row by row from its first column, if it has one.
                let columns = width.valid_outputs(kw);
                let first_column = columns.start..columns.end.min(columns.start + 1);
                let rows = positions([depth.valid_outputs(kd), height.valid_outputs(kh), first_column]);
                let mut sum = 0.0;
                for n in 0..shape.batch() {
                    for [od, oh, ow] in rows.clone() {
                        let [id, ih, iw] = input_position(shape, [od, oh, ow], [kd, kh, kw]);
                        let deltas = delta.walk([n, oc, od, oh, ow], 1);
                        let inputs = input.walk([n, channel, id, ih, iw], width.stride);
                        let products = deltas.zip(inputs).map(|(delta, input)| delta.to_f64() * input.to_f64());
                        sum += products.take(columns.len()).sum::<f64>();
                    }
                }
                update.apply(gradient.at_mut([oc, ic, kd, kh, kw]), T::Acc::from_f64(sum));
            }
        }
    }
}

fn bias_gradient<T: Element>(problem: BiasGradient<'_, T>) {
    let BiasGradient { shape, delta, mut gradient, update } = problem;
    for oc in 0..shape.out_channels() {
        let mut sum = 0.0;
        for n in 0..shape.batch() {
            for [od, oh, ow] in positions(shape.axes().map(|a| 0..a.output)) {
                sum += delta.at([n, oc, od, oh, ow]).to_f64();
            }
        }
        update.apply(gradient.at_mut([oc, 0, 0, 0, 0]), T::Acc::from_f64(sum));
    }
}

fn forward<T: Element>(problem: Forward<'_, T>) {
    let Forward { shape, input, weights, bias, mut output, update } = problem;
    for n in 0..shape.batch() {
        for oc in 0..shape.out_channels() {
            for [od, oh, ow] in positions(shape.axes().map(|a| 0..a.output)) {
                let mut sum = bias.map_or(0.0, |b| b[oc].to_f64());
                for ic in 0..shape.group_in_channels() {
                    let channel = input_channel(shape, oc, ic);
                    for [kd, kh, kw] in shape.tap_positions() {
                        let position = input_position(shape, [od, oh, ow], [kd, kh, kw]);
                        let inside = position.iter().zip(shape.axes()).all(|(&p, a)| p < a.input);
                        if inside {
                            let [id, ih, iw] = position;
                            sum +=
                                weights.at([oc, ic, kd, kh, kw]).to_f64() * input.at([n, channel, id, ih, iw]).to_f64();
                        }
                    }
                }
                update.apply(output.at_mut([n, oc, od, oh, ow]), T::Acc::from_f64(sum));
            }
        }
    }
}

fn input_gradient<T: Element>(problem: InputGradient<'_, T>) {
    let InputGradient { shape, weights, delta, mut gradient, update } = problem;
    let axes = shape.axes();
    for n in 0..shape.batch() {
        for channel in 0..shape.in_channels() {
            let (group, ic) = (channel / shape.group_in_channels(), channel % shape.group_in_channels());
            for position in positions(axes.map(|a| 0..a.input)) {
                let mut sum = 0.0;
                for tap in shape.tap_positions() {
                    let output = [0, 1, 2].map(|i| axes[i].output_at(position[i], tap[i]));
                    let ([Some(od), Some(oh), Some(ow)], [kd, kh, kw]) = (output, tap) else { continue };
                    for oc in (0..shape.group_out_channels()).map(|oc| group * shape.group_out_channels() + oc) {
                        let (weight, delta) = (weights.at([oc, ic, kd, kh, kw]), delta.at([n, oc, od, oh, ow]));
                        sum += weight.to_f64() * delta.to_f64();
                    }
                }
                let [id, ih, iw] = position;
                update.apply(gradient.at_mut([n, channel, id, ih, iw]), T::Acc::from_f64(sum));
            }
        }
    }
}

/// The input channel that weight `[oc, ic]` multiplies: `ic` counts within the group of `oc`.
#[inline]
fn input_channel(shape: &ConvShape, oc: usize, ic: usize) -> usize {
    oc / shape.group_out_channels() * shape.group_in_channels() + ic
}

/// Where output `o` and tap `k` meet in the input; a position before the input wraps to a huge one beyond it.
#[inline]
fn input_position(shape: &ConvShape, o: [usize; 3], k: [usize; 3]) -> [usize; 3] {
    let axes = shape.axes();
    [0, 1, 2].map(|i| axes[i].input_position(o[i], k[i]).cast_unsigned())
}
