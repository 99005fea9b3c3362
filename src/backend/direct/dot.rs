//! The dot-product kernel over a whole problem: positions in lanes.
//!
//! Planes are laid flat with one pitch for delta and input, zeros filling the gaps, so that a tap is a constant shift
//! between two streams, whatever the row:
//!
//! ```text
//! dW[oc,ic,k] = sum_x  delta[oc][x] * input[ic, phase of k][x + shift of k]
//! ```
//!
//! ```text
//! for slot (some groups, some of their units) in parallel:
//!     for group, for unit (an image, or a band of its outputs):
//!         pack delta and input, flat
//!         for segment of the streams:                          short enough for the L1 cache
//!             for tile of delta streams by input streams:
//!                 lane sums[tile] += dot products over the segment
//!     sums of the group = lanes of its lane sums, added up
//! merge slots of the same groups in their order; write the sums into the gradient
//! ```
//!
//! 1. *Stride becomes phases*: input positions that are a stride apart are packed side by side, one plane a phase, so
//!    that streams are contiguous for every stride and dilation. Padding is packed as zeros.
//! 2. *Rows of taps shift delta.* With one or two output channels a tile would hold one or two streams of delta, and
//!    load one input vector for each product. Tap row `kh` is as well delta shifted back by `kh` rows, so that `V` rows
//!    of taps and `N` columns make the tile: `dW[kh,kw] = sum_x delta[x - kh rows] * input[x + kw]`.
//! 3. Lanes are partial sums: short chains, small errors.
//! 4. Units depend on the shape only, as [slots](super::slots) do.
//! 5. The zeros in delta's gaps are multiplied, too. The sum is the definition's as long as the input is finite; an
//!    infinite or NaN input makes a NaN of taps that do not meet it, where a gap does.

use super::dot_pack::{pack_delta, pack_input};
use super::dot_plan::DotPlan;
use super::dot_streams::Streams;
use super::slots::{Share, Slots};
use crate::element::Element;
use crate::problem::WeightGradient;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::tensor::View;

/// Computes a problem by its plan.
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &DotPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, .. } = problem;
    let slots = (&mut scratch[..plan.scratch_len(shape)], plan.slot_len(shape));
    plan.slots.run((shape, isa, plan.units(shape)), slots, (gradient, update), |share, slot| {
        Slot { shape, plan, isa, input, delta }.sum_up(share, slot);
    });
}

/// What a slot computes from.
struct Slot<'a, T> {
    shape: &'a ConvShape,
    plan: &'a DotPlan,
    isa: Isa,
    input: View<'a, T>,
    delta: View<'a, T>,
}

impl<T: Element> Slot<'_, T> {
    /// Fills the sums of a slot.
    fn sum_up(&self, share: Share, slot: &mut [T::Acc]) {
        let Slot { shape, plan, isa, .. } = self;
        let [delta_len, input_len, lane_sums_len] = plan.slot_parts(shape);
        let (delta, rest) = slot.split_at_mut(delta_len);
        let (input, rest) = rest.split_at_mut(input_len);
        let (lane_sums, sums) = rest.split_at_mut(lane_sums_len);
        let streams = Streams { shape, plan, isa: *isa };
        for (group, sums) in share.groups.zip(sums.chunks_exact_mut(Slots::group_len(shape))) {
            lane_sums.fill(T::Acc::default());
            for unit in share.units.clone() {
                pack_delta(shape, plan, &self.delta, group, unit, delta);
                pack_input(shape, plan, &self.input, group, unit, input);
                streams.add_products(delta, input, lane_sums);
            }
            streams.total_lanes(lane_sums, sums);
        }
    }
}
