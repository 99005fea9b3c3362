//! The forward pass as loops, for problems so small that to prepare for them would take longer than to compute them.
//!
//! ```text
//! for image, output channel, output:
//!     output = bias + sum over input channels, and the taps that do not meet the padding
//! ```

use super::super::window::meeting_taps;
use crate::correlation::Correlation;
use crate::element::Element;
use crate::shape::{ConvShape, positions};

/// Multiplications up to which nothing is gained by preparing for a problem: they take 2 microseconds, as long as the kernels
/// take to begin.
const MAX_PRODUCTS: f64 = 2000.0;

/// Whether a problem is computed so.
pub(super) fn suits(shape: &ConvShape) -> bool {
    shape.flops() <= 2.0 * MAX_PRODUCTS
}

/// Computes a problem.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>) {
    let Correlation { shape, input, weights, bias, mut output, update } = problem;
    let axes = shape.axes();
    let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
    for (image, channel) in (0..shape.batch()).flat_map(|image| (0..shape.out_channels()).map(move |c| (image, c))) {
        let (group, oc) = (channel / ocs, channel % ocs);
        let bias = bias.map_or(T::Acc::default(), |bias| bias[channel].to_acc());
        for at in positions(axes.map(|axis| 0..axis.output)) {
            let taps = [0, 1, 2].map(|i| meeting_taps(&axes[i], at[i]));
            let mut sum = bias;
            for ic in 0..ics {
                let first = weights.index(group, oc, ic);
                for tap in positions(taps.clone()) {
                    let weight = first.wrapping_add_signed(weights.tap_offset(tap));
                    let [depth, row, column] = [0, 1, 2].map(|i| axes[i].input_position(at[i], tap[i]).cast_unsigned());
                    let number = input.at([image, group * ics + ic, depth, row, column]);
                    sum = sum + weights.data[weight].to_acc() * number.to_acc();
                }
            }
            update.apply(output.at_mut([image, channel, at[0], at[1], at[2]]), sum);
        }
    }
}
